//! `canip_peer send`: puts frames on a bus, as cansend does.

use std::io::{self, BufRead};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;

use super::bus_argument::CanInterface;
use super::logging;
use crate::bus::{self, BusAddress, BusError, BusKind, BusOptions, OpenBus, software};
use crate::frame::filter::KernelFilter;
use crate::frame::notation::{NotationError, parse_compact, parse_log_line};
use crate::frame::{Frame, Kind};
use crate::metrics::counted;

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
  123#DEADBEEF               standard identifier (3 digits), 4 bytes
  1F334455#11.22.33          extended identifier (8 digits)
  123#1122334455667788_E     8 bytes with a raw DLC of 9 to F
  123#R   123#R4   123#R8_E  remote frame, with its length, with a raw DLC
  123##311223344             CAN FD, flags digit (1: switches bit rate, 2: ESI)
  20000004#0001000000000000  error frame: 20000000 and its class, up to 8 bytes
  (1.5) can0 123#11          a line of a candump log: its frame, at once
  -                          read frames from standard input, one a line")]
pub struct SendArguments {
    /// Kind of bus: socketcan, or software (in user space)
    #[arg(long, value_name = "KIND", value_enum, default_value = "socketcan", hide_possible_values = true)]
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
    #[error(transparent)]
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
        "{bus}: no room in the transmit queue for {} s: see that another node acknowledges at the same bit rate, \
         and that frames of higher priority leave room; {} sent",
        SEND_LIMIT.as_secs(),
        counted(*.sent, "frame")
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
    /// A software bus lost its host while frames were on their way to it.
    #[error("{bus}: the process that hosted the bus ended, and the last frames sent to it are lost")]
    Lost {
        /// The bus.
        bus: String,
    },
    /// The kernel refused a frame.
    #[error("{bus}: cannot send: {source}; {} sent", counted(*.sent, "frame"))]
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
    let mut sender = Sender::open(address.clone(), require_fd)?;
    if address.kind == BusKind::Software && software::is_hosted_here(&address.name) {
        logging::say(&format!("canip_peer send: nobody else is on software bus {}", address.name));
    }
    let result = sources.iter().try_for_each(|source| match source {
        Source::Frame(frame) => sender.send(frame),
        Source::StandardInput => send_lines(&mut sender, io::stdin().lock()),
    });
    let result = result.and_then(|()| sender.leave());
    software::stop_hosting_of(&address.name);
    result
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
    /// A host has left without having taken all frames.
    lost: bool,
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
        let mut sender =
            Self { open: bus::open(&address, &options)?, address, options, sent: 0, lost: false };
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
                Some(code @ (libc::EPIPE | libc::ECONNRESET)) if self.may_rejoin(rejoins) => {
                    rejoins += 1;
                    self.rejoin(code == libc::ECONNRESET)?;
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
                let name = &self.address.name;
                logging::say(&format!("canip_peer send: {name}: waiting for room in the transmit queue"));
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

    fn may_rejoin(&self, rejoins: u32) -> bool {
        self.address.kind == BusKind::Software && rejoins < REJOINS_MAX
    }

    /// The host has left. If it did not take what was sent to it, the kernel says so once: by a reset.
    fn rejoin(&mut self, reset: bool) -> Result<(), SendError> {
        let open = bus::open(&self.address, &self.options)?;
        let old = std::mem::replace(&mut self.open, open);
        self.keep_pace();
        self.lost |= reset || software::leave(&self.address.name, old.descriptor).is_err();
        Ok(())
    }

    /// Closes the bus once it has taken every frame. (A SocketCAN interface has taken them when the call returned.)
    fn leave(self) -> Result<(), SendError> {
        if self.address.kind == BusKind::Software {
            software::leave(&self.address.name, self.open.descriptor)?;
        }
        if self.lost { Err(SendError::Lost { bus: self.address.name }) } else { Ok(()) }
    }

    fn failed(&self, source: io::Error) -> SendError {
        SendError::System { bus: self.name(), sent: self.sent, source }
    }

    fn name(&self) -> String {
        self.address.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Packet, Receiver, interpret};
    use crate::frame::notation::write_compact;

    fn arguments(bus: &str, frames: &[&str]) -> SendArguments {
        let frames = frames.iter().map(|&frame| frame.to_owned()).collect();
        SendArguments { can_interface: CanInterface::Software, bus: bus.to_owned(), frames }
    }

    /// All that a member got, after everybody else has left.
    fn received(member: &software::Membership) -> Vec<String> {
        let mut receiver = Receiver::new();
        let mut frames = Vec::new();
        while receiver.receive(member.as_fd()).is_ok() {
            for received in receiver.iter() {
                let Packet::Frames(images) = interpret(BusKind::Software, received.packet) else {
                    panic!("{received:?}");
                };
                for image in images {
                    let mut text = String::new();
                    write_compact(&mut text, image).unwrap();
                    frames.push(text);
                }
            }
        }
        frames
    }

    #[test]
    fn it_returns_when_the_bus_has_taken_the_frames() {
        let name = format!("test-send-{}", std::process::id());
        let member = software::join(&name, None).unwrap();
        let frames = ["123#DEADBEEF", "1F334455#R3", "123##311", "(1.5) can0 7FF#01"];
        run(&arguments(&name, &frames)).unwrap();
        assert_eq!(received(&member), ["123#DEADBEEF", "1F334455#R3", "123##311", "7FF#01"]);
    }

    #[test]
    fn lines_are_sent_up_to_the_first_that_is_no_frame() {
        let name = format!("test-send-lines-{}", std::process::id());
        let member = software::join(&name, None).unwrap();
        let address = BusAddress::parse(BusKind::Software, &name).unwrap();
        let mut sender = Sender::open(address, false).unwrap();
        let input = "123#11\r\n\n(0.1) vcan0 456#22\nnonsense\n123#33\n";
        let error = send_lines(&mut sender, input.as_bytes()).unwrap_err();
        assert!(matches!(error, SendError::Line { line: 4, .. }), "{error}");
        sender.leave().unwrap();
        assert_eq!(received(&member), ["123#11", "456#22"]);
    }

    #[test]
    fn nothing_is_sent_if_an_argument_is_no_frame() {
        let error = run(&arguments("unused", &["123#11", "123#1"])).unwrap_err();
        assert!(matches!(error, SendError::Frame(_)) && error.is_usage());
        assert!(run(&arguments("no name", &["123#11"])).unwrap_err().is_usage());
    }
}
