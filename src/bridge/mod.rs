//! The bridge: one process, one thread, a few buses, any number of connections.
//!
//! ```text
//!             host (tokio-uring, or tokio)
//!   ┌──────────────┬──────────────┬───────────┬──────────┐
//!   │ server or    │ signals,     │ link      │ recording│
//!   │ client       │ summaries    │ watch     │ writer   │
//!   └──────┬───────┴──────┬───────┴─────┬─────┴────▲─────┘
//!          ▼ streams      ▼ counters    ▼          │ lines
//!   ┌───────────────── data path ──────────────────┴─────┐
//!   │ engine ◄── turn ──► links ── session, two halves   │
//!   └────────────────────────────────────────────────────┘
//! ```
//!
//! This is where clocks are read and log lines are written. It uses the wire's types where it has something to say in them (how a
//! bus is, why a connection ends, which frames answer a load test), and knows nothing of greetings, records or layouts: what
//! a peer's bytes mean, and which bytes go to it, a link asks its session.

pub mod backoff;
mod bounds;
pub mod bus_socket;
mod bus_words;
mod client;
pub mod clock;
mod data_path;
mod detached;
mod host;
mod inbound;
mod incidents;
mod limiter;
mod link;
mod link_bus;
pub mod links;
mod loops;
mod network_queue;
mod outbound;
pub mod platform;
#[cfg(test)]
mod pretended_kernel;
mod question;
mod reflector;
mod report;
mod reporter;
mod server;
mod stop;
mod tcp;
mod throttle;
mod transmit_queue;
mod turns;
mod worker;

pub use self::link::{Ended, Ending, LinkLimits};
pub use self::outbound::Linger;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use tracing::{error, info, warn};

use self::bus_socket::BusSocket;
use self::client::Target;
use self::clock::Clock;
use self::data_path::DataPath;
use self::host::{Chosen, Host};
use self::links::Links;
use self::platform::System;
use self::reflector::Reflector;
use self::reporter::Reporter;
use self::stop::Stop;
use self::worker::Worker;
use crate::bus::watch::LinkWatch;
use crate::bus::{self, BusError, BusKind, BusOptions};
use crate::config::{BridgeConfig, NamedBus, Side};
use crate::engine::epoll::EpollEngine;
use crate::engine::priority::Reach;
use crate::engine::uring::UringEngine;
use crate::engine::{self, Engine};
use crate::random;
use crate::record::{Backend, HistogramLog, RecordError, Recording};
use crate::session::{Identity, Keepalive, Role, SessionConfig};
use crate::wire::v5::{BusName, Name};

/// How long an orderly end may take: the links' own time-out, and a little for what they wait in.
const STOP_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How often controllers are asked how they are.
const CONTROLLER_INTERVAL: Duration = Duration::from_secs(1);

/// Each tenth time all interfaces are looked at: a look takes as long as ten to twenty frames, and virtual ones have
/// no controller to ask.
const CONTROLLER_LOOKS_A_LOOK: u64 = 10;

/// Why a bridge cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The recording.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The address to listen on.
    #[error("cannot listen on {address}: {}", listen_advice(.source))]
    Listen {
        /// What was asked for.
        address: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// io_uring was demanded.
    #[error("--engine uring: {}; leave the option out to use epoll", host::why(.0))]
    NoUring(io::Error),
    /// Real-time priority was demanded.
    #[error("--realtime: {}", realtime_advice(*.priority, .source))]
    Realtime {
        /// Which.
        priority: u8,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The process's own machinery.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl BridgeError {
    /// Whether the command line is at fault, rather than the bus or the host: exit status 2.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Bus(error) => error.is_usage(),
            Self::Record(error) => matches!(error, RecordError::UnknownFormat { .. }),
            Self::Listen { .. } | Self::NoUring(_) | Self::Realtime { .. } | Self::System { .. } => false,
        }
    }
}

fn system(operation: &'static str) -> impl FnOnce(io::Error) -> BridgeError {
    move |source| BridgeError::System { operation, source }
}

fn listen_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{error}: is a canip_peer running already? Choose another --port")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}: ports below 1024 are the administrator's: choose a --port from 1024 on")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{error}: see the addresses of this host with: ip address")
        }
        _ => error.to_string(),
    }
}

fn realtime_advice(priority: u8, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{error}: it takes root's CAP_SYS_NICE, or LimitRTPRIO={priority} in the unit (ulimit -r {priority} in a shell)"
        ),
        _ => error.to_string(),
    }
}

/// Runs a bridge until SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// What keeps it from starting, for the user. Once it runs, nothing that peers, networks or buses do ends it.
pub fn run(config: BridgeConfig, side: Side) -> Result<(), BridgeError> {
    // First, so that a second server on the port leaves the interface alone.
    let end = End::prepare(side)?;
    // Before anything is changed, so that a refusal leaves nothing behind.
    if let Some(priority) = config.realtime {
        engine::priority::set_real_time(priority, Reach::ThisThread)
            .map_err(|source| BridgeError::Realtime { priority, source })?;
    }
    if let Some(rate) = config.bit_rate {
        for bus in &config.buses {
            bus::bit_rate::set(&bus.address.name, rate.nominal, rate.data)?;
        }
    }
    engine::memory::refuse_huge_pages();
    engine::memory::give_back_buffers();
    let chosen = Host::choose(config.engine)?;
    let host = chosen.host;
    let finished = match host {
        Host::Uring => host.run(run_on(UringEngine::new, chosen, config, end)),
        Host::Tokio => host.run(run_on(EpollEngine::new, chosen, config, end)),
    };
    // What peers sent shortly before the end is on its way through a bus that this process may host.
    bus::software::stop_hosting();
    finished.map_err(system("set up the runtime"))?
}

async fn run_on<E: Engine>(
    new_engine: fn() -> io::Result<E>,
    chosen: Chosen,
    config: BridgeConfig,
    end: End,
) -> Result<(), BridgeError> {
    let host = chosen.host;
    let clock = Clock::start();
    let platform = System { clock };
    let (mut buses, mut bus_lines) = open_buses(&config, &platform)?;
    let reflector = if end.allows_bench() { Some(Reflector::start()?) } else { None };
    if let Some(reflector) = &reflector {
        // Behind the user's, which keep their numbers.
        let (bus, line) = reflector.bus(&platform)?;
        buses.push(bus);
        bus_lines.push(line);
    }
    let interfaces = interface_worker(config.kind(), platform)?;
    let mut stop = Stop::listen().map_err(system("listen for signals"))?;
    let recording = match &config.record {
        Some(path) => Some(Recording::start(path, backend(host))?),
        None => None,
    };
    let histogram_log = match &config.histogram_log {
        Some(path) => Some(HistogramLog::start(path, backend(host), clock::wall_time())?),
        None => None,
    };
    // Said only now: what fails at the start is said in one line.
    info!("engine: {}", chosen.reason);
    if let Some(priority) = config.realtime {
        info!("real-time priority: SCHED_FIFO {priority}");
    }
    bus_lines.iter().for_each(|line| info!("{line}"));
    let session = SessionConfig {
        role: end.role(),
        protocol: config.protocol,
        offer: config.offer,
        identity: identity(&config, reflector.as_ref())?,
    };
    let recorder = recording.as_ref().map(Recording::recorder);
    let limits = LinkLimits {
        max_age: config.max_age,
        linger: Linger { time: config.linger, frames: config.batch_frames },
        bus_count: buses.len(),
        detects_loops: config.detects_loops,
    };
    let mut links = Links::new(platform, buses, session, limits, recorder);
    if let End::Server { max_clients, .. } = end {
        links.limit_clients(max_clients);
    }
    let engine = new_engine().map_err(system("set up the engine"))?;
    let data_path = DataPath::new(engine, links, interfaces, host, clock, config.busy_poll);
    let keepalive = Keepalive::for_heartbeat(config.heartbeat);
    let reporter = Reporter::start(histogram_log).map_err(system("make a thread for reports"))?;

    let result = tokio::select! {
        result = connections(end, keepalive, &data_path) => result,
        result = data_path.run() => result.map_err(system("move frames")),
        () = report::summaries(config.stats_interval, &reporter, &data_path) => Ok(()),
        () = report::distributions_on_demand(&reporter, &data_path) => Ok(()),
        () = report::incidents(&data_path) => Ok(()),
        () = watch_links(config.kind(), &data_path) => Ok(()),
        () = look_at_buses(&data_path) => Ok(()),
        () = data_path.provide_buses() => Ok(()),
        name = stop.requested() => {
            info!("{name}: closing connections");
            Ok(())
        }
    };
    close(&data_path, &mut stop).await;
    let last_words = reporter.finish(&data_path);
    last_words.distributions();
    // Before the last line, which says what could not be written.
    if let Some(recording) = recording {
        tokio::select! {
            summary = recording.finish() => report::recorded(summary),
            name = stop.requested() => warn!("{name} again: the end of the record is not written"),
        }
    }
    report::total(&data_path, &last_words);
    last_words.end_log().await;
    result
}

/// The user's buses, and what is said of them.
fn open_buses(
    config: &BridgeConfig,
    platform: &System,
) -> Result<(Vec<BusSocket>, Vec<String>), BridgeError> {
    let options = BusOptions {
        receive_queue_bytes: config.receive_queue_bytes,
        require_fd: config.require_fd,
        kernel_filter: config.filter.kernel.clone(),
        error_mask: config.filter.error_mask,
    };
    let (mut buses, mut lines) = (Vec::new(), Vec::new());
    for NamedBus { address, .. } in &config.buses {
        let (bus, line) =
            BusSocket::start(address.clone(), options.clone(), Rc::clone(&config.filter), platform)?;
        let bus = bus.bounded(&config.bounds)?;
        lines.push(line);
        lines.extend(bounds::in_words(bus.name(), bus.bounds(), bus.bit_rate()));
        buses.push(bus);
    }
    Ok((buses, lines))
}

/// Serves clients, or a server, for ever. A server's socket is closed when this is dropped.
async fn connections<E: Engine>(
    end: End,
    keepalive: Option<Keepalive>,
    data_path: &DataPath<E>,
) -> Result<(), BridgeError> {
    match end {
        End::Server { listener, .. } => {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(system("accept clients"))?;
            info!("listening on {}", listener.local_addr().map_err(system("accept clients"))?);
            server::accept(&listener, keepalive, data_path).await;
        }
        End::Client(target) => client::connect(&target, keepalive, data_path).await,
    }
    Ok(())
}

/// Ends all links in order, for a bounded time; a second signal ends the wait.
async fn close<E: Engine>(data_path: &DataPath<E>, stop: &mut Stop) {
    data_path.close_all();
    let all_closed = async {
        while data_path.link_count() > 0 {
            data_path.link_closed().await;
        }
    };
    tokio::select! {
        () = all_closed => {}
        () = data_path.provide_buses() => {}
        result = data_path.run() => if let Err(error) = result {
            error!("cannot move frames: {error}");
        },
        name = stop.requested() => warn!("{name} again: not waiting for {} connections", data_path.link_count()),
        () = tokio::time::sleep(STOP_TIMEOUT) => {
            warn!("{} connections did not close in time", data_path.link_count());
        }
    }
    data_path.abandon_all();
}

/// The thread that asks the kernel about interfaces; none for software buses. It is not waited for at the end: the kernel may
/// keep it waiting then.
fn interface_worker(kind: BusKind, platform: System) -> Result<Option<Worker<System>>, BridgeError> {
    match kind {
        BusKind::SocketCan => Worker::start("interfaces", platform, || ())
            .map(Some)
            .map_err(system("make a thread for interfaces")),
        BusKind::Software => Ok(None),
    }
}

/// Asks controllers how they are, which announce little of it themselves; and now and then how all interfaces are, in case the
/// announcement of a change was missed.
async fn look_at_buses<E: Engine>(data_path: &DataPath<E>) {
    let mut ticks = report::ticks(CONTROLLER_INTERVAL);
    for count in 1u64.. {
        ticks.tick().await;
        if count.is_multiple_of(CONTROLLER_LOOKS_A_LOOK) {
            data_path.check_buses().await;
        } else {
            data_path.check_controllers().await;
        }
    }
}

/// Looks at the interface whenever one changes.
async fn watch_links<E: Engine>(kind: BusKind, data_path: &DataPath<E>) {
    let watching = async {
        let watch = LinkWatch::open()?;
        let readiness = bus::watched_for_reading(watch.descriptor().try_clone_to_owned()?)?;
        loop {
            readiness.readable().await?.clear_ready();
            // What one call leaves behind must be taken too: readiness is told once. What is not taken fills the socket,
            // and a full one tells of nothing any more.
            while watch.drain()? {}
            // Changes that come meanwhile, however many, are noticed together afterwards: one look at a time is asked for.
            data_path.note_interface_change().await;
        }
    };
    if kind == BusKind::SocketCan {
        let Err(error): io::Result<std::convert::Infallible> = watching.await;
        warn!("cannot watch for interface changes: {error}; an interface is found again when it is used");
    }
    std::future::pending::<()>().await;
}

/// Which end of the connection this process is, with what that end needs.
enum End {
    /// It listens already.
    Server {
        listener: TcpListener,
        allow_bench: bool,
        max_clients: usize,
    },
    Client(Target),
}

impl End {
    fn prepare(side: Side) -> Result<Self, BridgeError> {
        let (bind, port, allow_bench, max_clients) = match side {
            Side::Server { bind, port, allow_bench, max_clients } => (bind, port, allow_bench, max_clients),
            Side::Client { host, port } => return Ok(Self::Client(Target { host, port })),
        };
        let address = || match bind {
            Some(address) => SocketAddr::new(address, port).to_string(),
            None => format!("port {port}"),
        };
        tcp::listen(bind, port)
            .map(|listener| Self::Server { listener, allow_bench, max_clients })
            .map_err(|source| BridgeError::Listen { address: address(), source })
    }

    fn role(&self) -> Role {
        match self {
            Self::Server { .. } => Role::Server,
            Self::Client(_) => Role::Client,
        }
    }

    /// Whether load tests are answered.
    fn allows_bench(&self) -> bool {
        matches!(self, Self::Server { allow_bench: true, .. })
    }
}

/// Who this process is, as its peers are told.
fn identity(config: &BridgeConfig, reflector: Option<&Reflector>) -> Result<Identity, BridgeError> {
    let name = |bus: &NamedBus| BusName {
        matched_by: Name::new(&bus.matched_by),
        interface: Name::new(&bus.address.name),
        identity: bus::identity::of(&bus.address),
    };
    Ok(Identity {
        instance: random::unique_number().map_err(system("draw a random number"))?,
        heartbeat: config.heartbeat,
        buses: config.buses.iter().map(name).chain(reflector.map(Reflector::name)).collect(),
    })
}

fn backend(host: Host) -> Backend {
    match host {
        Host::Uring => Backend::Uring,
        Host::Tokio => Backend::Blocking,
    }
}
