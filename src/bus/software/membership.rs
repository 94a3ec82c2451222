//! Joining and leaving a bus: finding its host, or becoming it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::host::Host;
use super::hub::MEMBERS_MAX;
use super::notice::{NOTICE_BYTES, Notice};
use super::system::{self, Address};
use crate::bus::{BusError, Pace};

/// Characters of a bus name; with the prefix it must fit into a Unix address (107 bytes).
const NAME_MAX: usize = 64;
/// Bit rates by which a bus is paced: from the slowest that transceivers do to the highest of arbitration
/// (ISO 11898-2), bits per second.
const PACED_BIT_RATES: std::ops::RangeInclusive<u32> = 1_000..=1_000_000;
/// How long a joiner waits for a host's welcome: longer than a host that ends takes to drain.
const JOIN_LIMIT: Duration = Duration::from_secs(3);
/// The same where the host is a thread of this process, which nobody can stop alone: it is late only on a machine that has
/// far more to do than it can, and nothing is gained by not waiting for it.
const OWN_HOST_LIMIT: Duration = Duration::from_secs(30);
/// Between two tries while another starter has bound the name and does not listen yet, or its backlog is full:
/// there is nothing to wait on, and binding and listening are microseconds apart.
const RETRY_PAUSE: Duration = Duration::from_millis(1);
/// How long a member that leaves waits for the hub to take its last frames: a paced bus on which others have
/// precedence may take its time.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// Send queue of a member of a paced bus, bytes. The kernel raises it to its minimum (4,608), which six frames
/// fill: about the depth of a real controller's transmit queue (`txqueuelen` 10).
const PACED_SEND_QUEUE_BYTES: libc::c_int = 1;

/// Send queue of a member of any other bus, bytes; the kernel doubles it. 911 full batches fit then, or 2,731 frames one by
/// one (kernel 6.18): what a flood of a million frames a second brings while the hub's thread waits 50 ms for a
/// processor. With the kernel's default of 212,992 bytes, floods of two million a second lost frames in two of
/// four runs, with this in none of four. Where `net.core.wmem_max` is smaller, that much is granted.
const SEND_QUEUE_BYTES: libc::c_int = 1 << 20;

/// A member's end of a bus.
#[derive(Debug)]
pub struct Membership {
    descriptor: OwnedFd,
    paced_bit_rate: Option<u32>,
    host: Option<Host>,
}

impl Membership {
    /// The bit rate by which the bus is paced, bits per second; `None` if it is not.
    pub fn paced_bit_rate(&self) -> Option<u32> {
        self.paced_bit_rate
    }

    /// Whether this process hosts the bus by this membership.
    pub fn hosts(&self) -> bool {
        self.host.is_some()
    }

    /// The socket, and the hosting if it came with it.
    pub fn into_parts(self) -> (OwnedFd, Option<Host>) {
        (self.descriptor, self.host)
    }
}

impl AsFd for Membership {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether a bus may have this name: 1 to 64 ASCII letters, digits, `_`, `-`, `.`.
pub fn is_valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// Reads `NAME` or `NAME@BITRATE` (bits per second, 1,000 to 1,000,000).
pub fn parse_name(text: &str) -> Result<(&str, Option<u32>), BusError> {
    let (name, bit_rate) = match text.split_once('@') {
        Some((name, bit_rate)) => (name, Some(bit_rate)),
        None => (text, None),
    };
    if !is_valid_name(name) {
        return Err(BusError::SoftwareName { name: name.to_owned() });
    }
    let Some(bit_rate) = bit_rate else {
        return Ok((name, None));
    };
    match bit_rate.parse() {
        Ok(number) if PACED_BIT_RATES.contains(&number) => Ok((name, Some(number))),
        _ => Err(BusError::SoftwareBitRate { name: name.to_owned(), bit_rate: bit_rate.to_owned() }),
    }
}

/// Joins the bus of this name, and hosts it if nobody does.
///
/// `paced_bit_rate` is what the bus must be paced at, and will be if this process hosts it; with `None` a bus is
/// joined as it is. Takes microseconds if all is well, and at most three seconds for a host that is another process.
pub fn join(name: &str, paced_bit_rate: Option<u32>) -> Result<Membership, BusError> {
    if let Some(bit_rate) = paced_bit_rate.filter(|rate| !PACED_BIT_RATES.contains(rate)) {
        return Err(BusError::SoftwareBitRate { name: name.to_owned(), bit_rate: bit_rate.to_string() });
    }
    let address = address_of(name)?;
    let mut deadline = Instant::now() + JOIN_LIMIT;
    let mut host = None;
    while Instant::now() < deadline {
        let descriptor = new_socket().map_err(|source| system_error(name, "make a socket", source))?;
        match system::connect(&descriptor, &address) {
            Ok(()) => match welcome(name, &descriptor, deadline)? {
                Some(actual) => {
                    check_pace(name, paced_bit_rate, actual)?;
                    let queue = if actual.is_some() { PACED_SEND_QUEUE_BYTES } else { SEND_QUEUE_BYTES };
                    system::set_socket_option(&descriptor, libc::SO_SNDBUF, queue)
                        .map_err(|source| system_error(name, "set its send queue", source))?;
                    return Ok(Membership { descriptor, paced_bit_rate: actual, host });
                }
                None => continue,
            },
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                host = try_to_host(name, &address, paced_bit_rate)?;
                if host.is_some() {
                    deadline = Instant::now() + OWN_HOST_LIMIT;
                    tracing::debug!(bus = name, pace = %Pace(paced_bit_rate), "hosting software bus");
                    continue;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(system_error(name, "join", error)),
        }
        std::thread::sleep(RETRY_PAUSE);
    }
    Err(BusError::SoftwareSilent { name: name.to_owned(), pid: 0 })
}

/// Leaves a bus once its hub has taken every frame that this member sent. Frames that were not read are lost.
pub fn leave(name: &str, descriptor: OwnedFd) -> Result<(), BusError> {
    let failed = |source| system_error(name, "hand over the last frames", source);
    match system::shutdown(&descriptor, libc::SHUT_WR) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => return Err(failed(error)),
        _ => {}
    }
    let deadline = Instant::now() + LEAVE_LIMIT;
    let mut packet = [0; crate::frame::FD_BYTES];
    loop {
        match system::receive_until(&descriptor, &mut packet, deadline) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

pub(super) fn address_of(name: &str) -> Result<Address, BusError> {
    is_valid_name(name)
        .then(|| Address::abstract_name(&format!("canip_peer/bus/{name}")))
        .flatten()
        .ok_or_else(|| BusError::SoftwareName { name: name.to_owned() })
}

/// With receive times, which the kernel takes when the hub sends; asked for before anything can arrive.
fn new_socket() -> io::Result<OwnedFd> {
    let socket = system::seqpacket_socket()?;
    system::set_socket_option(&socket, libc::SO_TIMESTAMPNS, 1)?;
    Ok(socket)
}

/// Binding is the election: one of several starters gets the name. `None` if it was another.
fn try_to_host(name: &str, address: &Address, pace: Option<u32>) -> Result<Option<Host>, BusError> {
    let failed = |source| system_error(name, "host it", source);
    let listener = system::seqpacket_socket().map_err(failed)?;
    match system::listen(&listener, address) {
        Ok(()) => Host::start(name, listener, pace, MEMBERS_MAX).map(Some).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The pace that the hub welcomes with; `None` if it left before.
fn welcome(name: &str, socket: &OwnedFd, deadline: Instant) -> Result<Option<Option<u32>>, BusError> {
    let name = || name.to_owned();
    let mut packet = [0; NOTICE_BYTES];
    match system::receive_until(socket, &mut packet, deadline) {
        Ok(0) => Ok(None),
        Ok(length) => match Notice::parse(&packet[..length]) {
            Some(Notice::Welcome { paced_bit_rate }) => Ok(Some(paced_bit_rate)),
            Some(Notice::Full { members }) => Err(BusError::SoftwareFull { name: name(), members }),
            _ => Err(BusError::SoftwareForeign { name: name(), pid: system::peer_pid(socket) }),
        },
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(BusError::SoftwareSilent { name: name(), pid: system::peer_pid(socket) })
        }
        Err(error) => Err(system_error(&name(), "join", error)),
    }
}

fn check_pace(name: &str, asked: Option<u32>, actual: Option<u32>) -> Result<(), BusError> {
    if asked.is_none() || asked == actual {
        return Ok(());
    }
    Err(BusError::SoftwarePace { name: name.to_owned(), asked: Pace(asked), actual: Pace(actual) })
}

fn system_error(name: &str, operation: &'static str, source: io::Error) -> BusError {
    BusError::SoftwareSystem { name: name.to_owned(), operation, source }
}
