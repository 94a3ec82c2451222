//! `canip_peer send`: puts frames on a bus, as cansend does.

use std::io::{self, BufRead};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;

use super::bus_argument::CanInterface;
use crate::bus::{self, BusAddress, BusError, BusKind, BusOptions, OpenBus, software};
use crate::frame::filter::KernelFilter;
use crate::frame::notation::{NotationError, parse_compact, parse_log_line};
use crate::frame::{Frame, Kind};

/// How long one frame may wait for a place in the transmit queue. On a bus that works a place becomes free within
/// milliseconds; on one where nobody acknowledges, never.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// After that long the user is told what is waited for.
const SAY_AFTER: Duration = Duration::from_secs(1);
/// Between two tries when the kernel says that the interface's queue is full, for which it offers no wait: about the
/// time that four frames take at 500 kbit/s.
const RETRY_PAUSE: Duration = Duration::from_millis(1);
/// Hosts that may leave one after the other while one frame is sent.
const REJOINS_MAX: u32 = 5;

/// Send frames to a bus, in the notation of cansend
#[derive(Args, Clone, Debug)]
#[command(after_help = "Frames:
  123#DEADBEEF            standard identifier (3 digits), 4 bytes
  1F334455#11.22.33       extended identifier (8 digits)
  123#R   123#R4          remote frame, with its length
  123##311223344          CAN FD, flags digit (1: bit rate switch, 2: error state)
  (1.5) can0 123#11       a line of a candump log: its frame, at once
  -                       read frames from standard input, one a line")]
pub struct SendArguments {
    /// What kind of bus it is
    #[arg(long, value_enum, default_value = "socketcan")]
    pub can_interface: CanInterface,
    /// Interface, or name of the software bus
    #[arg(value_name = "IFACE")]
    pub bus: String,
    /// Frames, or - for standard input
    #[arg(value_name = "FRAME", required = true)]
    pub frames: Vec<String>,
}

/// Why not all frames were sent.
#[derive(thiserror::Error, Debug)]
pub enum SendError {
    /// An argument is no frame; nothing was sent.
    #[error("{0} (see canip_peer send --help)")]
    Frame(#[from] NotationError),
    /// A line of standard input is no frame; those before it were sent.
    #[error("standard input, line {line}: {fault}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        fault: NotationError,
    },
    /// Standard input cannot be read.
    #[error("standard input, line {line}: {source}")]
    Input {
        /// Counted from 1.
        line: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// The bus cannot be opened, joined anew, or left.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The transmit queue stayed full.
    #[error(
        "{bus}: no room in the transmit queue for {} s: see that another node is on the bus and acknowledges, \
         and that their bit rates are equal; {sent} frames were sent",
        SEND_LIMIT.as_secs()
    )]
    QueueFull {
        /// The bus.
        bus: String,
        /// Frames that went out before.
        sent: u64,
    },
    /// The interface takes no FD frames.
    #[error(
        "{bus} carries no CAN FD frames: set it up for them (ip link set {bus} mtu 72; for a controller: type can ... dbitrate ... fd on)"
    )]
    NoFd {
        /// The interface.
        bus: String,
    },
    /// The kernel refused a frame.
    #[error("{bus}: cannot send: {source}; {sent} frames were sent")]
    System {
        /// The bus.
        bus: String,
        /// Frames that went out before.
        sent: u64,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl SendError {
    /// Whether the command line is at fault, rather than the bus: exit status 2.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Frame(_) => true,
            Self::Bus(error) => error.is_usage(),
            _ => false,
        }
    }
}

/// Sends what the arguments say, and returns when the bus has taken it.
pub fn run(arguments: &SendArguments) -> Result<(), SendError> {
    // All are read before the first is sent.
    let sources = arguments.frames.iter().map(|text| Source::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let require_fd = sources.iter().any(|source| matches!(source, Source::Frame(frame) if is_fd(frame)));
    let address = BusAddress::parse(arguments.can_interface.into(), &arguments.bus)?;
    let mut sender = Sender::open(address, require_fd)?;
    let result = sources.iter().try_for_each(|source| match source {
        Source::Frame(frame) => sender.send(frame),
        Source::StandardInput => send_lines(&mut sender, io::stdin().lock()),
    });
    let left = sender.leave();
    result.and(left)
}

enum Source {
    Frame(Frame),
    StandardInput,
}

impl Source {
    fn parse(text: &str) -> Result<Self, NotationError> {
        if text == "-" { Ok(Self::StandardInput) } else { parse_frame(text).map(Self::Frame) }
    }
}

/// A frame alone, or a line of a log.
fn parse_frame(text: &str) -> Result<Frame, NotationError> {
    let text = text.trim();
    if text.starts_with('(') { parse_log_line(text).map(|line| line.frame) } else { parse_compact(text) }
}

fn is_fd(frame: &Frame) -> bool {
    frame.image().kind() == Kind::Fd
}

fn send_lines(sender: &mut Sender, mut input: impl BufRead) -> Result<(), SendError> {
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        match input.read_line(&mut text) {
            Ok(0) => break,
            Ok(_) if text.trim().is_empty() => {}
            Ok(_) => {
                let frame = parse_frame(&text).map_err(|fault| SendError::Line { line, fault })?;
                sender.send(&frame)?;
            }
            Err(source) => return Err(SendError::Input { line, source }),
        }
    }
    Ok(())
}

struct Sender {
    address: BusAddress,
    options: BusOptions,
    open: OpenBus,
    sent: u64,
}

impl Sender {
    fn open(address: BusAddress, require_fd: bool) -> Result<Self, SendError> {
        let options = BusOptions {
            // Nothing is received: the filter is empty.
            receive_queue_bytes: 0,
            require_fd,
            kernel_filter: KernelFilter { rules: Vec::new(), join: false },
            error_mask: 0,
        };
        let mut sender = Self { open: bus::open(&address, &options)?, address, options, sent: 0 };
        sender.keep_pace();
        Ok(sender)
    }

    /// Whoever hosts the bus next is to pace it as it was.
    fn keep_pace(&mut self) {
        self.address.paced_bit_rate = self.open.paced_bit_rate;
    }

    fn send(&mut self, frame: &Frame) -> Result<(), SendError> {
        let start = Instant::now();
        let (mut told, mut rejoins) = (false, 0);
        loop {
            let error = match bus::send(self.open.descriptor.as_fd(), frame.image().as_bytes()) {
                Ok(()) => {
                    self.sent += 1;
                    return Ok(());
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EAGAIN | libc::ENOBUFS) => {}
                Some(libc::EPIPE | libc::ECONNRESET)
                    if self.address.kind == BusKind::Software && rejoins < REJOINS_MAX =>
                {
                    rejoins += 1;
                    self.rejoin()?;
                    continue;
                }
                Some(libc::EINVAL) if is_fd(frame) => return Err(SendError::NoFd { bus: self.name() }),
                _ => return Err(self.failed(error)),
            }
            let waited = start.elapsed();
            if waited >= SEND_LIMIT {
                return Err(SendError::QueueFull { bus: self.name(), sent: self.sent });
            }
            if waited >= SAY_AFTER && !told {
                eprintln!("canip_peer send: {}: waiting for room in the transmit queue", self.address.name);
                told = true;
            }
            self.wait(&error)?;
        }
    }

    fn wait(&self, error: &io::Error) -> Result<(), SendError> {
        if error.raw_os_error() == Some(libc::ENOBUFS) {
            std::thread::sleep(RETRY_PAUSE);
            return Ok(());
        }
        match bus::wait_writable(self.open.descriptor.as_fd(), SAY_AFTER) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// The host has left. What it had not taken of earlier frames is lost, and it cannot be known how much that was.
    fn rejoin(&mut self) -> Result<(), SendError> {
        self.open = bus::open(&self.address, &self.options)?;
        self.keep_pace();
        Ok(())
    }

    /// Closes the bus once it has taken every frame. (A SocketCAN interface has taken them when the call returned.)
    fn leave(self) -> Result<(), SendError> {
        if self.address.kind == BusKind::Software {
            let left = software::leave(&self.address.name, self.open.descriptor);
            software::stop_hosting();
            left?;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> SendError {
        SendError::System { bus: self.name(), sent: self.sent, source }
    }

    fn name(&self) -> String {
        self.address.name.clone()
    }
}
