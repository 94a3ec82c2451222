//! A bridge process: production's links on the simulated engine, driven as `bridge::data_path` drives them on a real one,
//! and connected as `bridge::server` and `bridge::client` connect them.

use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use canip_peer::bridge::backoff::{Backoff, LONGEST_TURNED_AWAY, LONGEST_UNREACHABLE};
use canip_peer::bridge::bus_socket::BusSocket;
use canip_peer::bridge::links::Links;
use canip_peer::bridge::platform::Platform;
use canip_peer::bridge::{Ended, Ending, Linger, LinkLimits};
use canip_peer::bus::{BusAddress, BusKind, BusOptions};
use canip_peer::engine::Engine;
use canip_peer::frame::filter::{Filter, FilterSet};
use canip_peer::metrics::Counters;
use canip_peer::moment::{Moment, Now};
use canip_peer::session::{Fault, Identity, Protocol, Role, SessionConfig};
use canip_peer::wire::greeting::Features;
use canip_peer::wire::v5::{BusName, Name};
use tokio::sync::oneshot::Receiver;

use super::checker::Ledger;
use super::engine::{SimulatedEngine, descriptor};
use super::network::End;
use super::platform::SimulatedPlatform;
use super::scenario::{ProcessPlan, Scenario};
use super::world::{Shared, Task};

/// As `bridge::data_path` has it: how often a bus that is gone is looked for.
const BUS_RETRY_NS: u64 = 100_000_000;

/// As `bridge::report` has it.
const INCIDENTS_NS: u64 = 1_000_000_000;

/// As `bridge::client` has it: a connection that lasted this long worked.
const WORKED_NS: u64 = 1_000_000_000;

/// Turns of the engine in a row: then the other tasks of the process have theirs.
const TURNS: usize = 8;

/// Silence after which a peer is dead, in heartbeats; and what finding out and saying so may take beside: a heartbeat's
/// rounding, and waiting for the bus to take what came before.
const DEAD_AFTER: u64 = 3;
const NOTICE_NS: u64 = 1_100_000_000;

/// The opening's time-outs together: a greeting and a HELLO.
const OPENING_NS: u64 = 12_100_000_000;

/// A connection that worked for so long is one whose books both ends know to share: the server has read the client's first
/// RECEIPT. What a shorter one costs is not known, as a server that has not begins anew.
const SHARED_NS: u64 = 1_000_000_000;

/// A link that this process waits for the end of.
struct Waiting {
    connection: usize,
    end: usize,
    opened_at_ns: u64,
    receiver: Receiver<Ended>,
}

/// A process that runs.
pub struct Process {
    pub number: usize,
    pub plan: ProcessPlan,
    world: Shared,
    platform: SimulatedPlatform,
    links: Links<SimulatedPlatform>,
    pub engine: SimulatedEngine,
    deadline: Option<Moment>,
    retry_at_ns: Option<u64>,
    incidents_at_ns: u64,
    /// The interfaces have changed.
    pub must_look: bool,
    waiting: Vec<Waiting>,
    backoff: Backoff,
    /// It ends in order, and does not connect again.
    is_closing: bool,
    /// What the kernel had seen of earlier lives.
    pub before: Ledger,
}

impl Process {
    /// Starts it; its buses must be up.
    pub fn start(number: usize, scenario: &Scenario, world: &Shared) -> Self {
        let plan = scenario.processes[number].clone();
        let platform = SimulatedPlatform {
            world: Rc::clone(world),
            process: number,
            receive_limit: plan.receive_limit,
            send_limit: plan.send_limit,
        };
        let filter: Rc<Filter> = Rc::new(FilterSet::default().compile().expect("an empty filter is small"));
        let options = BusOptions {
            receive_queue_bytes: 0,
            require_fd: false,
            kernel_filter: filter.kernel.clone(),
            error_mask: filter.error_mask,
        };
        let start = |name: &String| {
            let address = BusAddress { kind: BusKind::SocketCan, name: name.clone(), paced_bit_rate: None };
            let probe = world.borrow().can.sockets.len();
            let (bus, _) = BusSocket::start(address, options.clone(), Rc::clone(&filter), &platform)
                .expect("a bridge is started where its buses are");
            // It was opened to see that it can be, and dropped.
            world.borrow_mut().can.close(probe);
            bus
        };
        let names: Vec<String> = (0..plan.buses.len()).map(|bus| format!("can{bus}")).collect();
        let buses = names.iter().map(start).collect();
        let name = |name: &String| BusName { interface: Name::new(name), ..BusName::default() };
        let session = SessionConfig {
            role: plan.role,
            protocol: plan.protocol,
            offer: Features { sequence: true, time: false },
            identity: Identity {
                instance: world.borrow_mut().random.u64(1..),
                heartbeat: plan.heartbeat,
                buses: names.iter().map(name).collect(),
            },
        };
        let limits = LinkLimits {
            max_age: scenario.max_age,
            linger: Linger { time: plan.linger, frames: 64 },
            bus_count: plan.buses.len(),
            detects_loops: true,
        };
        let links = Links::new(platform.clone(), buses, session, limits, None);
        let engine = SimulatedEngine::new(Rc::clone(world), number);
        let now_ns = {
            let world = &mut *world.borrow_mut();
            world.processes[number].is_running = true;
            world.checker.lives[number] += 1;
            let now_ns = world.now_ns;
            world.wake(number, now_ns + INCIDENTS_NS);
            if plan.role == Role::Client {
                world.assign(now_ns, Task::Connect(number));
            }
            now_ns
        };
        let before = world.borrow().checker.ledgers[number];
        Self {
            number,
            plan,
            world: Rc::clone(world),
            platform,
            links,
            engine,
            deadline: None,
            retry_at_ns: None,
            incidents_at_ns: now_ns + INCIDENTS_NS,
            must_look: false,
            waiting: Vec::new(),
            backoff: Backoff::default(),
            is_closing: false,
            before,
        }
    }

    /// A connection is there; `end` is ours.
    pub fn open(&mut self, connection: usize, end: usize) {
        let descriptor = descriptor();
        let opened_at_ns = {
            let world = &mut *self.world.borrow_mut();
            world.descriptors.insert(descriptor.as_raw_fd(), connection * 2 + end);
            world.connections[connection].ends[end].is_open = true;
            world.now_ns
        };
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.links
            .open(&mut self.engine, format!("connection {connection}"), descriptor, sender)
            .expect("the engine takes every stream");
        self.waiting.push(Waiting { connection, end, opened_at_ns, receiver });
        let now_ns = self.world.borrow().now_ns;
        self.world.borrow_mut().wake(self.number, now_ns);
    }

    /// Runs until there is nothing to do. Returns false if a connection has ended that leaves frames uncounted.
    pub fn step(&mut self) -> bool {
        let mut now = self.platform.read();
        self.service(now);
        for _ in 0..TURNS {
            self.engine.turn(Duration::ZERO, &mut self.links).expect("the simulated engine does not break");
            now = self.links.now();
            self.service(now);
            if !self.engine.is_ready() {
                break;
            }
        }
        let now_ns = self.world.borrow().now_ns;
        if self.incidents_at_ns <= now_ns {
            self.incidents_at_ns = now_ns + INCIDENTS_NS;
            self.links.check_buses(&mut self.engine);
            self.links.report_incidents(&self.engine);
            self.service(now);
        }
        let is_retry_due = self.retry_at_ns.is_some_and(|at_ns| at_ns <= now_ns);
        if self.links.take_bus_wanted() || is_retry_due || std::mem::take(&mut self.must_look) {
            self.provide_buses();
            let now = self.platform.read();
            self.service(now);
        }
        let is_exact = self.see_ends();
        self.check_liveness();
        self.plan_next_step();
        is_exact
    }

    fn service(&mut self, now: Now) {
        let all = self.deadline.is_some_and(|deadline| deadline <= now.monotonic);
        if self.links.service(&mut self.engine, now, all) || all {
            self.deadline = self.links.deadline();
        }
    }

    /// Opens bus sockets for the links that want one, as far as there are any.
    fn provide_buses(&mut self) {
        self.retry_at_ns = None;
        let mut is_missing = false;
        self.links.check_buses(&mut self.engine);
        for bus in 0..self.links.bus_count() {
            while let Some(opening) = self.links.wanted_bus(bus) {
                let opened = opening.map(|_| {
                    let name = format!("can{bus}");
                    let address = BusAddress { kind: BusKind::SocketCan, name, paced_bit_rate: None };
                    let filter = canip_peer::frame::filter::KernelFilter::everything();
                    let options = BusOptions {
                        receive_queue_bytes: 0,
                        require_fd: false,
                        kernel_filter: filter,
                        error_mask: u32::MAX,
                    };
                    self.platform.open_bus(&address, &options)
                });
                let socket = self.links.note_opened(bus, opened);
                let there_is_one = socket.is_some();
                self.links.give_bus(&mut self.engine, bus, socket);
                if !there_is_one {
                    is_missing = true;
                    break;
                }
            }
        }
        if is_missing {
            self.retry_at_ns = Some(self.world.borrow().now_ns + BUS_RETRY_NS);
        }
    }

    /// Links that have ended: whether they may have, and what a client does next.
    fn see_ends(&mut self) -> bool {
        let mut is_exact = true;
        for index in (0..self.waiting.len()).rev() {
            let Ok(Ended { ending, was_open }) = self.waiting[index].receiver.try_recv() else { continue };
            let Waiting { connection, end, opened_at_ns, .. } = self.waiting.remove(index);
            let wait_ns = {
                let world = &mut *self.world.borrow_mut();
                let now_ns = world.now_ns;
                world.trace.line(
                    now_ns,
                    format_args!("process {}: connection {connection} ended: {ending}", self.number),
                );
                self.check_death(world, connection, end, &ending);
                let keeps_books = self.plan.protocol == Protocol::Auto;
                is_exact &= keeps_books && world.worked_ns(connection) >= SHARED_NS;
                if self.plan.role == Role::Client && !keeps_books {
                    world.checker.given_up(self.number);
                }
                let worked = now_ns - opened_at_ns >= WORKED_NS;
                if was_open && worked {
                    self.backoff.reset();
                }
                let restarts = was_open && worked && matches!(ending, Ending::ClosedByPeer);
                if restarts {
                    0
                } else {
                    self.backoff.next(LONGEST_TURNED_AWAY, world.random.f64()).as_nanos() as u64
                }
            };
            if self.plan.role == Role::Client && !self.is_closing {
                let world = &mut *self.world.borrow_mut();
                let at_ns = world.now_ns + wait_ns;
                world.assign(at_ns, Task::Connect(self.number));
            }
        }
        is_exact
    }

    /// The next attempt to connect, after one that failed.
    pub fn connect_later(&mut self) {
        let world = &mut *self.world.borrow_mut();
        let wait_ns = self.backoff.next(LONGEST_UNREACHABLE, world.random.f64()).as_nanos() as u64;
        let at_ns = world.now_ns + wait_ns;
        world.assign(at_ns, Task::Connect(self.number));
    }

    /// Whether it waits for the end of a connection.
    pub fn is_connected(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn heartbeat_ns(&self) -> u64 {
        self.plan.heartbeat.as_nanos() as u64
    }

    /// A live peer is never declared dead: one from which something came within three heartbeats.
    fn check_death(&self, world: &mut super::world::World, connection: usize, end: usize, ending: &Ending) {
        let Ending::Fault(fault) = ending else { return };
        match fault {
            Fault::Dead => {}
            // Whose connection breaks as it begins is not heard in time; a server takes silence for version 4.0, which
            // what comes at last is not.
            Fault::NoGreeting | Fault::NoHello | Fault::NoPeer { .. } | Fault::Malformed { .. } => return,
            Fault::Truncated { .. } => return,
            // All peers here are honest.
            _ => {
                let text =
                    format!("process {} found fault with connection {connection}: {ending}", self.number);
                return world.checker.violation(text);
            }
        }
        let now_ns = world.now_ns;
        let End { heard_at_ns, silences, .. } = &world.connections[connection].ends[end];
        let silent_ns = now_ns - heard_at_ns;
        // It is found when the link begins to end. Then what came before is written to the bus, which takes a second at the
        // most, and a sign of life comes too late.
        let since_ns = now_ns.saturating_sub(NOTICE_NS);
        let earlier = silences.iter().filter(|silence| silence.to_ns >= since_ns);
        let longest_ns = earlier.map(|silence| silence.to_ns - silence.from_ns).fold(silent_ns, u64::max);
        // A part in a thousand: the host's clock may be fast.
        if longest_ns + longest_ns / 1_000 < DEAD_AFTER * self.heartbeat_ns() {
            let text = format!(
                "process {} took the peer of connection {connection} for dead, {:.3} ms after it was heard",
                self.number,
                silent_ns as f64 / 1e6
            );
            world.checker.violation(text);
        }
    }

    /// A dead peer is noticed.
    fn check_liveness(&mut self) {
        let heartbeat_ns = self.heartbeat_ns();
        if heartbeat_ns == 0 {
            return;
        }
        let world = &mut *self.world.borrow_mut();
        for stream in self.engine.streams() {
            let heard_at_ns = world.connections[stream.connection].ends[stream.end].heard_at_ns;
            let still_ns = world.stood_still_ns(self.number, heard_at_ns);
            let silent_ns = (world.now_ns - heard_at_ns).saturating_sub(still_ns);
            let is_version_5 = world.checker.hops.iter().any(|hop| {
                let [client, server] =
                    [0, 1].map(|end| world.connections[stream.connection].ends[end].process);
                hop.is_version_5 && hop.from_process == client && hop.to_process == server
            });
            // Stopping costs it a heartbeat and a half at the most each time, as short ones do not count.
            let stops = world.processes[self.number].stopped.len() as u64;
            let allowed_ns = (DEAD_AFTER + 2 * stops) * heartbeat_ns + heartbeat_ns / 100 + NOTICE_NS;
            let connection = &world.connections[stream.connection];
            let has_begun = heard_at_ns - connection.opened_at_ns >= SHARED_NS;
            let limit_ns = if has_begun { allowed_ns } else { allowed_ns.max(OPENING_NS) };
            if is_version_5 && silent_ns > limit_ns {
                let text = format!(
                    "process {} has not noticed that connection {} has been silent for {:.3} ms",
                    self.number,
                    stream.connection,
                    silent_ns as f64 / 1e6
                );
                world.checker.violation(text);
            }
        }
    }

    fn plan_next_step(&mut self) {
        let is_ready = self.engine.is_ready() || self.links.is_bus_wanted();
        let world = &mut *self.world.borrow_mut();
        let now_ns = world.now_ns;
        let clocks = &world.clocks[self.plan.host];
        let deadline_ns = self.deadline.map(|deadline| clocks.true_ns(deadline.as_nanos(), now_ns));
        let at_once_ns = is_ready.then_some(now_ns + 1_000);
        let next = [deadline_ns, at_once_ns, self.retry_at_ns, Some(self.incidents_at_ns)];
        if let Some(at_ns) = next.into_iter().flatten().min() {
            world.wake(self.number, at_ns);
        }
    }

    /// What it has counted.
    pub fn totals(&mut self) -> Counters {
        self.links.totals(&self.engine)
    }

    /// How many connections it has.
    pub fn link_count(&self) -> usize {
        self.links.count()
    }

    /// Begins the orderly end.
    pub fn close_all(&mut self) {
        self.is_closing = true;
        self.links.close_all();
        let now_ns = self.world.borrow().now_ns;
        self.world.borrow_mut().wake(self.number, now_ns);
    }

    /// Ends.
    pub fn abandon_all(&mut self) {
        self.links.abandon_all(&mut self.engine);
    }
}
