//! `canip_peer dump`: prints the frames of a bus, as candump does.

use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout_at;

use super::bus_argument::CanInterface;
use super::clock::{Clock, TimeStyle};
use super::logging;
use super::values::{parse_frames, parse_quiet_ms};
use crate::bus::{self, BusAddress, BusError, BusKind, BusOptions, Packet, Receiver, software};
use crate::frame::Image;
use crate::frame::filter::{Filter, FilterError, FilterSet, parse_candump};
use crate::frame::notation::{IdColumn, LOG_LINE_BYTES_MAX, write_dump_line, write_log_line};
use crate::metrics::counted;
use crate::moment::{WallTime, nanoseconds};

/// Receive queue to ask a SocketCAN interface for: five seconds of a busy 1 Mbit/s bus (some 8,000 frames a second,
/// 800 bytes each with the kernel's bookkeeping), in which a terminal or a pager may block.
const RECEIVE_QUEUE_BYTES: usize = 32 << 20;
/// Lost frames are told at most that often while they go on being lost.
const DROPS_TOLD_EVERY: Duration = Duration::from_secs(1);

/// Print the frames of a bus, in the notation of candump
#[derive(Args, Clone, Debug)]
#[command(after_help = "Filters, separated by commas after the interface (as candump has them):
  123:7FF    frames whose identifier and flags, masked, equal this
  400~7F0    frames for which they do not
  #FFFFFFFF  error frames of these classes (without it none)
  j          all filters must match instead of any")]
pub struct DumpArguments {
    /// Kind of bus: socketcan, or software (in user space)
    #[arg(long, value_name = "KIND", value_enum, default_value = "socketcan", hide_possible_values = true)]
    pub can_interface: CanInterface,
    /// Interface or name of the software bus, then filters: can0,123:7FF,400~7F0
    #[arg(value_name = "IFACE[,FILTER...]")]
    pub bus: String,
    /// Print in the format of candump's log files
    #[arg(short = 'L')]
    pub log_format: bool,
    /// End after this many frames
    #[arg(short = 'n', value_name = "COUNT", value_parser = parse_frames, allow_negative_numbers = true)]
    pub count: Option<u64>,
    /// End after this many milliseconds without a frame
    #[arg(short = 'T', value_name = "MS", value_parser = parse_quiet_ms, allow_negative_numbers = true)]
    pub timeout_ms: Option<u64>,
    /// Print receive times: (a)bsolute, (d)elta, from (z)ero, (A)bsolute with the date, in UTC
    #[arg(short = 't', value_enum, value_name = "a|d|z|A", hide_possible_values = true)]
    pub time: Option<TimeStyle>,
}

/// Why no more frames could be printed.
#[derive(thiserror::Error, Debug)]
pub enum DumpError {
    /// A filter does not parse.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The bus cannot be opened or joined anew.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Standard output takes no more.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The program's own surroundings failed.
    #[error("cannot wait for frames and signals: {0}")]
    Host(io::Error),
    /// The interface was deleted, or its adapter unplugged.
    #[error("interface {bus} has gone: start again when it is back")]
    Gone {
        /// The interface.
        bus: String,
    },
    /// The kernel refused to receive.
    #[error("{bus}: cannot receive: {source}")]
    Receive {
        /// The bus.
        bus: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl DumpError {
    /// Whether the command line is at fault, rather than the bus: exit status 2.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Filter(_) => true,
            Self::Bus(error) => error.is_usage(),
            _ => false,
        }
    }
}

/// Prints frames until the count, the time-out or a signal ends it.
pub fn run(arguments: &DumpArguments) -> Result<(), DumpError> {
    let (name, filters) = match arguments.bus.split_once(',') {
        Some((name, filters)) => (name, Some(filters)),
        None => (arguments.bus.as_str(), None),
    };
    let filter = compile(filters)?;
    let address = BusAddress::parse(arguments.can_interface.into(), name)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DumpError::Host)?;
    let result = runtime.block_on(dump(arguments, address, filter));
    software::stop_hosting();
    result
}

/// As candump does, error frames are printed only on demand.
fn compile(filters: Option<&str>) -> Result<Filter, FilterError> {
    let mut expression = filters.map(parse_candump).transpose()?.unwrap_or_default();
    expression.error_mask.get_or_insert(0);
    FilterSet { expressions: vec![expression], ..FilterSet::default() }.compile()
}

async fn dump(arguments: &DumpArguments, address: BusAddress, filter: Filter) -> Result<(), DumpError> {
    let mut signals = Signals::new()?;
    let mut source = Source::open(address, &filter)?;
    let mut printer = Printer::new(arguments, source.address.name.clone());
    let mut receiver = Receiver::new();
    loop {
        let event = next_event(&mut signals, &source, &mut receiver);
        let event = match printer.quiet_until() {
            Some(end) => timeout_at(end.into(), event).await.unwrap_or(Ok(Event::Quiet))?,
            None => event.await?,
        };
        match event {
            Event::Packets => {
                printer.take(&receiver, source.address.kind, &filter);
                if !printer.flush()? || printer.is_done() {
                    break;
                }
            }
            Event::HostLeft => {
                source.rejoin(&filter)?;
                printer.drops.new_socket();
            }
            Event::Down => {
                logging::say(&format!("canip_peer dump: {} is down; waiting", source.address.name));
            }
            Event::Signal | Event::Quiet => break,
        }
    }
    printer.drops.tell(&source.address.name);
    Ok(())
}

/// Packets or a signal, whichever comes first. Cancelling it loses no packet.
async fn next_event(
    signals: &mut Signals,
    source: &Source,
    receiver: &mut Receiver,
) -> Result<Event, DumpError> {
    let mut receive = pin!(source.receive(receiver));
    poll_fn(|context| match signals.poll(context) {
        Poll::Ready(()) => Poll::Ready(Ok(Event::Signal)),
        Poll::Pending => receive.as_mut().poll(context),
    })
    .await
}

enum Event {
    Packets,
    HostLeft,
    Down,
    Signal,
    Quiet,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, DumpError> {
        let watch = |kind| signal(kind).map_err(DumpError::Host);
        Ok(Self { interrupt: watch(SignalKind::interrupt())?, terminate: watch(SignalKind::terminate())? })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (interrupt, terminate) = (self.interrupt.poll_recv(context), self.terminate.poll_recv(context));
        if interrupt.is_ready() || terminate.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }
}

struct Source {
    address: BusAddress,
    bus: AsyncFd<OwnedFd>,
}

impl Source {
    fn open(mut address: BusAddress, filter: &Filter) -> Result<Self, DumpError> {
        let options = BusOptions {
            receive_queue_bytes: RECEIVE_QUEUE_BYTES,
            require_fd: false,
            kernel_filter: filter.kernel.clone(),
            error_mask: filter.error_mask,
        };
        let open = bus::open(&address, &options)?;
        // Whoever hosts the bus next is to pace it as it was.
        address.paced_bit_rate = open.paced_bit_rate;
        Ok(Self { address, bus: bus::watched(open.descriptor).map_err(DumpError::Host)? })
    }

    fn rejoin(&mut self, filter: &Filter) -> Result<(), DumpError> {
        *self = Self::open(self.address.clone(), filter)?;
        Ok(())
    }

    /// Takes packets only in its last step, so that cancelling it loses none.
    async fn receive(&self, receiver: &mut Receiver) -> Result<Event, DumpError> {
        // An interface that goes down makes its sockets ready for nothing but an error.
        let interest = Interest::READABLE | Interest::ERROR;
        loop {
            let mut ready = self.bus.ready(interest).await.map_err(DumpError::Host)?;
            if let Ok(result) = ready.try_io(|bus| receiver.receive(bus.get_ref().as_fd()))
                && let Some(event) = self.event_of(result)?
            {
                return Ok(event);
            }
        }
    }

    /// `None`: nothing to tell, receive again.
    fn event_of(&self, result: io::Result<usize>) -> Result<Option<Event>, DumpError> {
        let failed = |source| DumpError::Receive { bus: self.address.name.clone(), source };
        match result {
            Ok(0) if self.address.kind == BusKind::Software => Ok(Some(Event::HostLeft)),
            Ok(0) => Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(Some(Event::Packets)),
            Err(error) => match error.raw_os_error() {
                // A software bus: its host left. What it had sent before is read up to the end.
                Some(libc::EINTR | libc::ECONNRESET) => Ok(None),
                Some(libc::ENODEV) => Err(DumpError::Gone { bus: self.address.name.clone() }),
                Some(libc::ENETDOWN) => Ok(Some(Event::Down)),
                _ => Err(failed(error)),
            },
        }
    }
}

struct Printer {
    name: String,
    log_format: bool,
    clock: Option<Clock>,
    column: IdColumn,
    /// Frames still to print.
    left: Option<u64>,
    quiet_limit: Option<Duration>,
    last_frame: Instant,
    lines: Vec<u8>,
    drops: Drops,
}

impl Printer {
    fn new(arguments: &DumpArguments, name: String) -> Self {
        Self {
            name,
            log_format: arguments.log_format,
            clock: arguments.time.map(Clock::new),
            column: IdColumn::default(),
            left: arguments.count,
            quiet_limit: arguments.timeout_ms.map(Duration::from_millis),
            last_frame: Instant::now(),
            // Enough for one frame a packet. A flood in batches lets it grow, to the lines of as many full batches.
            lines: Vec::with_capacity(bus::RECEIVE_BATCH * LOG_LINE_BYTES_MAX * 2),
            drops: Drops::default(),
        }
    }

    /// When `-T` ends the program if no frame comes.
    fn quiet_until(&self) -> Option<Instant> {
        self.quiet_limit.map(|limit| self.last_frame + limit)
    }

    fn take(&mut self, receiver: &Receiver, kind: BusKind, filter: &Filter) {
        for received in receiver.iter() {
            if let Some(count) = received.info.dropped_total {
                self.drops.kernel_count(count);
            }
            match bus::interpret(kind, received.packet) {
                Packet::Frames(images) => {
                    let time_ns = received.info.received_at.map_or_else(now_ns, WallTime::as_nanos);
                    for image in images.filter(|&image| filter.passes(image)) {
                        self.print(image, time_ns);
                    }
                }
                Packet::Dropped { total } => self.drops.hub_count(total),
                Packet::Welcome { .. } => {}
                Packet::Malformed => {
                    let length = received.packet.len();
                    let name = &self.name;
                    logging::say(&format!("canip_peer dump: {name}: a packet of {length} bytes is no frame"));
                }
            }
        }
        if self.drops.due() {
            self.drops.tell(&self.name);
        }
    }

    /// Nothing more once as many were printed as were asked for.
    fn print(&mut self, image: Image<'_>, time_ns: u64) {
        if self.is_done() {
            return;
        }
        if self.log_format {
            write_log_line(&mut self.lines, time_ns, &self.name, image);
        } else {
            if let Some(clock) = &mut self.clock {
                clock.write(&mut self.lines, time_ns);
            }
            self.column = self.column.including(image);
            write_dump_line(&mut self.lines, &self.name, image, self.column);
        }
        self.left = self.left.map(|left| left - 1);
        self.last_frame = Instant::now();
    }

    fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Hands on what was printed; false if nobody reads it any more.
    fn flush(&mut self) -> Result<bool, DumpError> {
        let mut output = io::stdout().lock();
        let result = output.write_all(&self.lines).and_then(|()| output.flush());
        self.lines.clear();
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(DumpError::Output(error)),
        }
    }
}

/// Frames that did not get here because they were read too slowly.
#[derive(Default)]
struct Drops {
    total: u64,
    told: u64,
    told_at: Option<Instant>,
    /// What the present socket has counted.
    kernel: u32,
    hub: u64,
}

impl Drops {
    /// The kernel's count wraps.
    fn kernel_count(&mut self, count: u32) {
        self.total += u64::from(count.wrapping_sub(self.kernel));
        self.kernel = count;
    }

    fn hub_count(&mut self, total: u64) {
        self.total += total.saturating_sub(self.hub);
        self.hub = total;
    }

    fn new_socket(&mut self) {
        (self.kernel, self.hub) = (0, 0);
    }

    fn due(&self) -> bool {
        self.told_at.is_none_or(|at| at.elapsed() >= DROPS_TOLD_EVERY)
    }

    fn tell(&mut self, name: &str) {
        if self.total == self.told {
            return;
        }
        let (more, total) = (self.total - self.told, self.total);
        logging::say(&format!(
            "canip_peer dump: {name}: {} dropped because of reading too slowly ({total} in all)",
            counted(more, "frame")
        ));
        self.told = self.total;
        self.told_at = Some(Instant::now());
    }
}

fn now_ns() -> u64 {
    nanoseconds(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_across_wraps_and_hosts() {
        let mut drops = Drops::default();
        drops.kernel_count(u32::MAX);
        drops.kernel_count(4);
        assert_eq!(drops.total, 4_294_967_300);
        drops.hub_count(10);
        drops.hub_count(15);
        drops.new_socket();
        drops.hub_count(3);
        assert_eq!(drops.total, 4_294_967_318);
    }

    fn printed(arguments: &[&str], frames: &[(u64, &str)]) -> String {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            dump: DumpArguments,
        }
        let words = ["dump"].iter().chain(arguments);
        let arguments = <Program as clap::Parser>::try_parse_from(words).unwrap().dump;
        let mut printer = Printer::new(&arguments, arguments.bus.clone());
        for (time_ns, text) in frames {
            let frame = crate::frame::notation::parse_compact(text).unwrap();
            printer.print(frame.image(), *time_ns);
        }
        String::from_utf8(printer.lines).unwrap()
    }

    // Compared with candump 2020.11 on vcan0.
    #[test]
    fn lines_are_candumps() {
        let frames = [
            (1_795_504_052_980_479_000, "123#11"),
            (1_795_504_053_188_465_000, "1F334455#22"),
            (1_795_504_053_224_828_000, "123#R"),
        ];
        assert_eq!(
            printed(&["vcan0"], &frames),
            "  vcan0  123   [1]  11\n  vcan0  1F334455   [1]  22\n  vcan0       123   [0]  remote request\n"
        );
        assert_eq!(
            printed(&["-t", "A", "vcan0"], &frames[..1]),
            " (2026-11-24 07:07:32.980479)  vcan0  123   [1]  11\n"
        );
        assert_eq!(
            printed(&["-td", "vcan0"], &frames[..2]),
            " (000.000000)  vcan0  123   [1]  11\n (000.207986)  vcan0  1F334455   [1]  22\n"
        );
        assert_eq!(printed(&["-L", "vcan0"], &frames[..1]), "(1795504052.980479) vcan0 123#11\n");
    }

    #[test]
    fn error_frames_are_printed_on_demand() {
        let error = crate::frame::Frame::error(0x40, [0; 8]);
        assert!(!compile(None).unwrap().passes(error.image()));
        assert!(!compile(Some("123:7FF")).unwrap().passes(error.image()));
        assert!(compile(Some("#FFFFFFFF")).unwrap().passes(error.image()));
        assert!(!compile(Some("#00000004")).unwrap().passes(error.image()));
    }
}
