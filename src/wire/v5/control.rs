//! The records that carry no frames, each as a structure that writes itself and is read from a body.

use super::{HEADER_BYTES, Header, MAX_BUSES, Malformed, RecordKind, word};
use crate::buffer::SendBuffer;
use crate::frame::FD_BYTES;
use crate::moment::WallTime;

/// Bytes of HELLO before its buses, of each bus, and of each bus's identity behind them all.
pub(super) const HELLO_BYTES: usize = 24;
pub(super) const HELLO_BUS_BYTES: usize = 32;
const HELLO_IDENTITY_BYTES: usize = 8;

/// Bytes that a name has at most.
pub const NAME_BYTES: usize = 16;

/// A name, padded with zeros; empty if there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Name([u8; NAME_BYTES]);

impl Name {
    /// The name, cut to what fits.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; NAME_BYTES];
        let mut end = text.len().min(NAME_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self(bytes)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
}

/// What a peer says may be no UTF-8, or hold what a terminal would obey.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
        for character in String::from_utf8_lossy(&self.0[..end]).chars() {
            write!(f, "{}", if character.is_control() { '?' } else { character })?;
        }
        Ok(())
    }
}

/// A bus as HELLO tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BusName {
    /// By which it is matched with one of the peer's; empty for matching in order.
    pub matched_by: Name,
    /// Its interface.
    pub interface: Name,
    /// Which bus it is, of all buses of all hosts, as a hash; 0 where that is not known. Two that are the same one are
    /// equal.
    pub identity: u64,
}

/// Who a sender is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The sender's process.
    pub instance: u64,
    /// Whom its RECEIPTs are about; 0 for nobody.
    pub receipts_for: u64,
    /// Milliseconds between heartbeats; 0 for none.
    pub heartbeat_ms: u32,
    /// How many of [`Hello::buses`] there are.
    pub bus_count: usize,
    /// Its buses.
    pub buses: [BusName; MAX_BUSES],
}

impl Hello {
    /// The longest HELLO record.
    pub const MAX_BYTES: usize =
        HEADER_BYTES + HELLO_BYTES + MAX_BUSES * (HELLO_BUS_BYTES + HELLO_IDENTITY_BYTES);

    /// Appends the record; false if it does not fit.
    #[must_use]
    pub fn write(&self, out: &mut SendBuffer) -> bool {
        let identities = HELLO_BYTES + self.bus_count * HELLO_BUS_BYTES;
        let body_bytes = identities + self.bus_count * HELLO_IDENTITY_BYTES;
        let mut body = [0; Self::MAX_BYTES - HEADER_BYTES];
        body[..8].copy_from_slice(&self.instance.to_le_bytes());
        body[8..16].copy_from_slice(&self.receipts_for.to_le_bytes());
        body[16..20].copy_from_slice(&self.heartbeat_ms.to_le_bytes());
        body[20..22].copy_from_slice(&(self.bus_count as u16).to_le_bytes());
        for (bus, room) in self.buses().iter().zip(body[HELLO_BYTES..].chunks_exact_mut(HELLO_BUS_BYTES)) {
            room[..NAME_BYTES].copy_from_slice(&bus.matched_by.0);
            room[NAME_BYTES..].copy_from_slice(&bus.interface.0);
        }
        for (bus, room) in self.buses().iter().zip(body[identities..].chunks_exact_mut(HELLO_IDENTITY_BYTES))
        {
            room.copy_from_slice(&bus.identity.to_le_bytes());
        }
        write(out, RecordKind::Hello, 0, 0, &body[..body_bytes])
    }

    /// Reads a body.
    ///
    /// # Errors
    /// No instance, no bus, or too many.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let instance = word(body, 0);
        let buses = u16::from_le_bytes([body[20], body[21]]);
        let wrong = Malformed::Hello { instance, buses };
        let bus_count = usize::from(buses);
        let fits =
            (1..=MAX_BUSES).contains(&bus_count) && body.len() >= HELLO_BYTES + bus_count * HELLO_BUS_BYTES;
        if instance == 0 || !fits {
            return Err(wrong);
        }
        let mut hello = Self {
            instance,
            receipts_for: word(body, 8),
            heartbeat_ms: u32::from_le_bytes([body[16], body[17], body[18], body[19]]),
            bus_count,
            buses: [BusName::default(); MAX_BUSES],
        };
        let described = body[HELLO_BYTES..].chunks_exact(HELLO_BUS_BYTES).take(bus_count);
        for (bus, bytes) in hello.buses.iter_mut().zip(described) {
            bus.matched_by.0.copy_from_slice(&bytes[..NAME_BYTES]);
            bus.interface.0.copy_from_slice(&bytes[NAME_BYTES..]);
        }
        // Whoever does not know of them sends none.
        let identities = body[HELLO_BYTES + bus_count * HELLO_BUS_BYTES..].chunks_exact(HELLO_IDENTITY_BYTES);
        if identities.len() >= bus_count {
            for (bus, bytes) in hello.buses.iter_mut().zip(identities.take(bus_count)) {
                bus.identity = word(bytes, 0);
            }
        }
        Ok(hello)
    }

    /// The buses that are described.
    pub fn buses(&self) -> &[BusName] {
        &self.buses[..self.bus_count]
    }
}

/// What a sender has dropped of a bus's frames since its process began, by cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// Its kernel, because its receive queue was full.
    pub kernel: u64,
    /// They had waited too long.
    pub stale: u64,
    /// The peer took them too slowly.
    pub slow_peer: u64,
    /// There was no connection.
    pub outage: u64,
}

impl Losses {
    /// Appends a LOSS record; false if it does not fit. `next` is the number of the bus's next frame.
    #[must_use]
    pub fn write(&self, out: &mut SendBuffer, bus: u8, next: u64) -> bool {
        let body = words([self.kernel, self.stale, self.slow_peer, self.outage]);
        write(out, RecordKind::Loss, bus, next, body.as_flattened())
    }

    /// Reads a body.
    pub fn read(body: &[u8]) -> Self {
        Self {
            kernel: word(body, 0),
            stale: word(body, 8),
            slow_peer: word(body, 16),
            outage: word(body, 24),
        }
    }

    /// All of them; what a peer says need not add up.
    pub fn total(&self) -> u64 {
        [self.kernel, self.stale, self.slow_peer, self.outage].into_iter().fold(0, u64::saturating_add)
    }

    /// What came after `earlier`.
    pub fn since(&self, earlier: &Losses) -> Losses {
        Losses {
            kernel: self.kernel.saturating_sub(earlier.kernel),
            stale: self.stale.saturating_sub(earlier.stale),
            slow_peer: self.slow_peer.saturating_sub(earlier.slow_peer),
            outage: self.outage.saturating_sub(earlier.outage),
        }
    }
}

/// What became of the frames of a peer's bus that arrived, since the peer's process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Receipt {
    /// They arrived.
    pub arrived: u64,
    /// The bus took them.
    pub accepted: u64,
    /// They were too old, or pushed out by newer ones.
    pub stale: u64,
    /// They did not get onto the bus for any other reason; and error frames.
    pub refused: u64,
}

impl Receipt {
    /// Appends a RECEIPT record; false if it does not fit. `expected` is the number that comes next.
    #[must_use]
    pub fn write(&self, out: &mut SendBuffer, bus: u8, expected: u64) -> bool {
        let body = words([self.arrived, self.accepted, self.stale, self.refused]);
        write(out, RecordKind::Receipt, bus, expected, body.as_flattened())
    }

    /// Reads a body.
    pub fn read(body: &[u8]) -> Self {
        Self {
            arrived: word(body, 0),
            accepted: word(body, 8),
            stale: word(body, 16),
            refused: word(body, 24),
        }
    }
}

/// Appends a PING record; false if it does not fit.
#[must_use]
pub fn write_ping(out: &mut SendBuffer, sent_at: WallTime) -> bool {
    write(out, RecordKind::Ping, 0, 0, words([sent_at.as_nanos()]).as_flattened())
}

/// Reads a PING's body: when it was sent.
pub fn read_ping(body: &[u8]) -> WallTime {
    WallTime::from_nanos(word(body, 0))
}

/// The answer to a PING.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pong {
    /// When the PING was sent.
    pub ping_sent_at: WallTime,
    /// When it was received.
    pub ping_received_at: WallTime,
    /// When this was sent.
    pub sent_at: WallTime,
}

impl Pong {
    /// Appends the record; false if it does not fit.
    #[must_use]
    pub fn write(&self, out: &mut SendBuffer) -> bool {
        let times = [self.ping_sent_at, self.ping_received_at, self.sent_at];
        write(out, RecordKind::Pong, 0, 0, words(times.map(WallTime::as_nanos)).as_flattened())
    }

    /// Reads a body.
    pub fn read(body: &[u8]) -> Self {
        let time = |offset| WallTime::from_nanos(word(body, offset));
        Self { ping_sent_at: time(0), ping_received_at: time(8), sent_at: time(16) }
    }
}

/// Whether an interface is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Presence {
    /// It is not.
    #[default]
    Missing,
    /// It is down.
    Down,
    /// It is up.
    Up,
}

/// The fault confinement state of a CAN controller (ISO 11898-1), or why it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Controller {
    /// A virtual interface, or one that does not tell.
    #[default]
    Unknown,
    /// Takes part without restriction.
    ErrorActive,
    /// An error counter has reached 96.
    ErrorWarning,
    /// An error counter has reached 128: it may not disturb others any more.
    ErrorPassive,
    /// The transmit error counter has passed 255: it takes no part.
    BusOff,
    /// Stopped.
    Stopped,
    /// Asleep.
    Sleeping,
}

/// How a bus is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BusState {
    /// Its interface.
    pub presence: Presence,
    /// Its controller.
    pub controller: Controller,
    /// Bytes of its largest image; 0 if not known.
    pub mtu: u16,
    /// Bits per second; 0 if it has no bit rate.
    pub bit_rate: u32,
    /// The same for the data of FD frames.
    pub data_bit_rate: u32,
    /// Whether the sender has found a loop, and keeps the receiver's frames off the bus.
    pub has_loop: bool,
}

/// The flag of [`BusState::has_loop`].
const HAS_LOOP: u8 = 1;

impl BusState {
    /// Whether the bus is known to carry FD frames.
    pub fn carries_fd(&self) -> bool {
        usize::from(self.mtu) >= FD_BYTES
    }

    /// Appends the record; false if it does not fit.
    #[must_use]
    pub fn write(&self, out: &mut SendBuffer, bus: u8) -> bool {
        let mut body = [0; 16];
        body[0] = self.presence as u8;
        body[1] = self.controller as u8;
        body[2..4].copy_from_slice(&self.mtu.to_le_bytes());
        body[4..8].copy_from_slice(&self.bit_rate.to_le_bytes());
        body[8..12].copy_from_slice(&self.data_bit_rate.to_le_bytes());
        body[12] = if self.has_loop { HAS_LOOP } else { 0 };
        write(out, RecordKind::BusState, bus, 0, &body)
    }

    /// Reads a body. What a later version has more of is not known.
    pub fn read(body: &[u8]) -> Self {
        Self {
            presence: match body[0] {
                1 => Presence::Down,
                2 => Presence::Up,
                _ => Presence::Missing,
            },
            controller: match body[1] {
                1 => Controller::ErrorActive,
                2 => Controller::ErrorWarning,
                3 => Controller::ErrorPassive,
                4 => Controller::BusOff,
                5 => Controller::Stopped,
                6 => Controller::Sleeping,
                _ => Controller::Unknown,
            },
            mtu: u16::from_le_bytes([body[2], body[3]]),
            bit_rate: u32::from_le_bytes([body[4], body[5], body[6], body[7]]),
            data_bit_rate: u32::from_le_bytes([body[8], body[9], body[10], body[11]]),
            has_loop: body[12] & HAS_LOOP != 0,
        }
    }
}

impl std::fmt::Display for BusState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.presence {
            Presence::Missing => return f.write_str("missing"),
            Presence::Down => return f.write_str("down"),
            Presence::Up => "up",
        })?;
        f.write_str(match self.controller {
            Controller::Unknown => "",
            Controller::ErrorActive => ", error-active",
            Controller::ErrorWarning => ", error-warning",
            Controller::ErrorPassive => ", error-passive",
            Controller::BusOff => ", bus-off",
            Controller::Stopped => ", stopped",
            Controller::Sleeping => ", asleep",
        })?;
        match (self.bit_rate, self.data_bit_rate) {
            (0, _) => {}
            (rate, 0) => write!(f, ", {rate} bit/s")?,
            (rate, data) => write!(f, ", {rate} bit/s, {data} bit/s for FD data")?,
        }
        f.write_str(if self.carries_fd() { ", CAN FD" } else { "" })
    }
}

/// The body of a GOODBYE that names two buses.
const ALREADY_JOINED_BYTES: usize = 8 + NAME_BYTES;

/// Why a side says goodbye.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goodbye {
    /// It stops.
    Stopping,
    /// The peer has connected anew.
    Replaced,
    /// A server has as many clients as it takes; said in place of its HELLO.
    Full,
    /// Another connection joins a bus of the peer's to one of the sender's; said in place of all that would follow the peer's
    /// HELLO.
    AlreadyJoined {
        /// The peer's number of its bus.
        bus: u8,
        /// The interface of the sender's.
        interface: Name,
    },
}

impl Goodbye {
    /// Appends the record; false if it does not fit.
    #[must_use]
    pub fn write(self, out: &mut SendBuffer) -> bool {
        let reason: u64 = match self {
            Self::Stopping => 0,
            Self::Replaced => 1,
            Self::Full => 2,
            Self::AlreadyJoined { bus, interface } => {
                let mut body = [0; ALREADY_JOINED_BYTES];
                body[..8].copy_from_slice(&(3 | u64::from(bus) << 32).to_le_bytes());
                body[8..].copy_from_slice(&interface.0);
                return write(out, RecordKind::Goodbye, 0, 0, &body);
            }
        };
        write(out, RecordKind::Goodbye, 0, 0, words([reason]).as_flattened())
    }

    /// Reads a body. A reason of a later version is one to stop.
    pub fn read(body: &[u8]) -> Self {
        match body[..4] {
            [1, 0, 0, 0] => Self::Replaced,
            [2, 0, 0, 0] => Self::Full,
            [3, 0, 0, 0] if body.len() >= ALREADY_JOINED_BYTES => {
                let mut interface = Name::default();
                interface.0.copy_from_slice(&body[8..ALREADY_JOINED_BYTES]);
                let bus = match body[4..8] {
                    [bus, 0, 0, 0] => bus,
                    _ => u8::MAX,
                };
                Self::AlreadyJoined { bus, interface }
            }
            _ => Self::Stopping,
        }
    }
}

/// The most that LOSS, RECEIPT and BUS STATE of all buses, a PING, a PONG and a GOODBYE take together.
pub const MAX_CONTROL_BYTES: usize =
    MAX_BUSES * (3 * HEADER_BYTES + 32 + 32 + 16) + (3 * HEADER_BYTES + 8 + 24 + 8);

fn words<const N: usize>(values: [u64; N]) -> [[u8; 8]; N] {
    values.map(u64::to_le_bytes)
}

fn write(out: &mut SendBuffer, kind: RecordKind, bus: u8, number: u64, body: &[u8]) -> bool {
    let Some(room) = out.vacant(HEADER_BYTES + body.len()) else { return false };
    Header { kind, bus, count: 0, body_bytes: body.len() as u32, number }.write(room);
    room[HEADER_BYTES..].copy_from_slice(body);
    out.advance(HEADER_BYTES + body.len());
    true
}
