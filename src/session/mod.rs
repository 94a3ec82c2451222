//! The sans-I/O peer: greeting, framing, sequence numbers, liveness and orderly close of one connection.
//!
//! A [`Session`] takes bytes, frames and the time, and gives back frames, bytes and deadlines. It owns no
//! descriptor, reads no clock, logs nothing, and allocates nothing after it was made. Whoever drives it
//!
//! 1. calls [`Session::open`] before anything else, and whenever something has happened until [`Session::is_open`],
//! 2. hands it what arrives through [`Session::receive`] and the frames of its buses through [`Session::send`],
//! 3. has it [`Session::speak`] into every buffer that is about to be sent, and sends one when it
//!    [has something to say](Session::has_something_to_say),
//! 4. calls [`Session::tick`] when [`Session::deadline`] has come,
//! 5. closes the connection on any [`Fault`].
//!
//! ```text
//!  client ── greeting sent ──► AwaitGreeting ── line ──► 4.1, or 5: HELLO ─► peer's HELLO ─► LOSS, RECEIPT ─┐
//!         └─ protocol 4.0 ──────────────────────────────► 4.0                                             │
//!  server ── AwaitFirstByte ── 'C' ──► AwaitGreeting ──► 4.1, or 5: peer's HELLO ─► HELLO, LOSS, RECEIPT ──┼─► frames
//!                │  └─ other byte ─────────────────────► 4.0                                              │
//!                └─ 2 s of silence ─────────────────────► 4.0 ─────────────────────────────────────────────┘
//! ```

pub mod clock_offset;
mod crossing;
mod fault;
mod liveness;
mod v4;
mod v5;

pub use clock_offset::Estimate;
pub use crossing::*;
pub use fault::{Fault, Sample};
pub use liveness::Keepalive;
pub use v5::Books;

use std::rc::Rc;
use std::time::Duration;

use crate::buffer::SendBuffer;
use crate::frame::Image;
use crate::moment::{Moment, Now, WallTime};
use crate::wire::greeting::{self, Features, Offer, Scan};
use crate::wire::v4::Layout;
use crate::wire::v5::{BusName, BusState, Goodbye};

/// How long a side waits for the peer's greeting, and a server for the first byte (the existing tool's 2 s).
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// Which end of the connection a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Accepted the connection; speaks after the client has.
    Server,
    /// Made the connection; speaks first.
    Client,
}

/// Which versions of the protocol a side speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// A client greets, and offers version 5; a server tells 4.0 peers from those that greet.
    #[default]
    Auto,
    /// No greeting, 14-byte frames.
    V40,
    /// A greeting is sent and required.
    V41,
    /// The same, with version 5 in both greetings.
    V5,
}

/// Who this side is, as a version 5 peer is told.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This process: a random number other than 0.
    pub instance: u64,
    /// How often the peer is asked for a sign of life; zero for never.
    pub heartbeat: Duration,
    /// The buses of this side: 1 to 16.
    pub buses: Rc<[BusName]>,
}

/// What a session is made from.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Which end this is.
    pub role: Role,
    /// Which versions it speaks.
    pub protocol: Protocol,
    /// What it offers for version 4 in its greeting.
    pub offer: Features,
    /// Who this is.
    pub identity: Identity,
}

/// What an open session speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// Legacy framing without a greeting.
    V40,
    /// A greeting was exchanged.
    V41,
    /// Both greetings offered it.
    V5,
}

/// What was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// The version spoken.
    pub version: Version,
    /// The features in use.
    pub features: Features,
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            Version::V40 => f.write_str("version 4.0"),
            Version::V41 => write!(f, "version 4.1 ({})", self.features),
            Version::V5 => f.write_str("version 5"),
        }
    }
}

/// How far [`Session::receive`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes that need not be shown again. What is left is an incomplete line or frame, or waits for room.
    pub consumed: usize,
    /// The queue had no room for a frame that is complete: show the rest again when it has.
    pub blocked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    AwaitFirstByte { until: Moment },
    AwaitGreeting { until: Moment },
    Greeted,
}

/// What is spoken after the greeting.
#[derive(Debug)]
enum Framing {
    V4(Box<v4::Framing>),
    V5(Box<v5::Conversation>),
}

/// One end of one connection.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    stage: Stage,
    greeting_due: bool,
    agreement: Agreement,
    framing: Framing,
    /// Of earlier connections with the peer, until version 5 takes them up.
    books: Option<Box<Books>>,
}

impl Session {
    /// A session on a connection that came up at `now`. A client brings the books of its last connection.
    pub fn new(config: SessionConfig, books: Option<Box<Books>>, now: Moment) -> Self {
        let until = now.after(GREETING_TIMEOUT);
        let stage = match (config.protocol, config.role) {
            (Protocol::V40, _) => Stage::Greeted,
            (_, Role::Server) => Stage::AwaitFirstByte { until },
            (_, Role::Client) => Stage::AwaitGreeting { until },
        };
        Self {
            config,
            stage,
            greeting_due: matches!(stage, Stage::AwaitGreeting { .. }),
            agreement: Agreement { version: Version::V40, features: Features::default() },
            framing: Framing::V4(Box::new(v4::Framing::new(Layout::default()))),
            books,
        }
    }

    /// Writes what the connection opens with, as far as it is due, into a buffer that no frame is in yet. `buses_tried`
    /// says that every bus which the session [carries](Session::carries) is open, or could not be opened.
    pub fn open(&mut self, buses_tried: bool, now: Now, out: &mut SendBuffer) {
        // A 4.1 server's line waits for the bus: whoever has it gets every frame from then on. Version 5 says that with
        // its HELLO.
        let may_greet = self.stage != Stage::Greeted || buses_tried || self.agreement.version == Version::V5;
        if self.greeting_due && may_greet {
            self.greeting_due = false;
            assert!(out.append(self.offer().greeting()), "the greeting goes into an empty buffer");
        }
        if let Framing::V5(conversation) = &mut self.framing {
            conversation.open(buses_tried, now, out);
        }
    }

    /// After a fault: writes what lets the peer find the reason itself, if there is such a thing.
    pub fn refuse(&mut self, out: &mut SendBuffer) -> bool {
        match &mut self.framing {
            Framing::V4(_) => false,
            Framing::V5(conversation) => conversation.refuse(out),
        }
    }

    /// A server has as many clients as it takes: writes what tells this one so, if there is such a thing, in place of
    /// whatever the connection would open with. The session is to hear and say nothing more.
    pub fn turn_away(&mut self, out: &mut SendBuffer) -> bool {
        let greeting_due = std::mem::take(&mut self.greeting_due);
        match &mut self.framing {
            // Without a greeting there is no word for it.
            Framing::V4(_) => greeting_due && out.append(greeting::FULL),
            Framing::V5(conversation) => {
                let version_5 = Offer { features: self.config.offer, version_5: true };
                (!greeting_due || out.append(version_5.greeting())) && conversation.turn_away(out)
            }
        }
    }

    /// Whether the peer's buses are known, and it is to be said whether ours may be joined to them: with [`Session::join`], or
    /// [`Session::refuse_to_join`] if another connection joins one of [`Session::joins`]. Nothing more is read before.
    pub fn awaits_join(&self) -> bool {
        matches!(&self.framing, Framing::V5(conversation) if conversation.awaits_join())
    }

    /// The pairs that this is about.
    pub fn joins(&self) -> impl Iterator<Item = Join> {
        let conversation = match &self.framing {
            Framing::V4(_) => None,
            Framing::V5(conversation) => Some(conversation),
        };
        conversation.into_iter().flat_map(|conversation| conversation.joins())
    }

    /// No other connection joins any of them.
    pub fn join(&mut self) {
        if let Framing::V5(conversation) = &mut self.framing {
            conversation.join();
        }
    }

    /// Another connection joins what this one would join to one of our buses: writes what tells the peer so, in place of
    /// whatever the connection would go on with. The session is to hear and say nothing more.
    pub fn refuse_to_join(&mut self, bus: usize, out: &mut SendBuffer) -> Option<Fault> {
        let greeting = std::mem::take(&mut self.greeting_due).then(|| self.offer().greeting());
        let Framing::V5(conversation) = &mut self.framing else { return None };
        let greeted = greeting.is_none_or(|greeting| out.append(greeting));
        let (fault, said) = conversation.refuse_to_join(bus, out);
        assert!(greeted && said, "there is room in a buffer without frames");
        Some(fault)
    }

    /// What was agreed on, once both have greeted, or will not.
    pub fn agreement(&self) -> Option<Agreement> {
        (self.stage == Stage::Greeted).then_some(self.agreement)
    }

    /// Whether frames may cross.
    pub fn is_open(&self) -> bool {
        match &self.framing {
            Framing::V4(_) => self.stage == Stage::Greeted,
            Framing::V5(conversation) => conversation.is_open(),
        }
    }

    /// Whether [`Session::open`] may have something to write yet.
    pub fn is_opening(&self) -> bool {
        self.greeting_due || !self.is_open()
    }

    /// Whether frames of one of our buses cross, or will once it is open.
    pub fn carries(&self, bus: usize) -> bool {
        match &self.framing {
            Framing::V4(_) => self.stage == Stage::Greeted && bus == 0,
            Framing::V5(conversation) => conversation.carries(bus),
        }
    }

    /// The peer's process, where the protocol tells.
    pub fn peer_instance(&self) -> Option<u64> {
        match &self.framing {
            Framing::V4(_) => None,
            Framing::V5(conversation) => conversation.peer_instance(),
        }
    }

    /// Takes over the books of an earlier connection with the same peer: between the peer's HELLO and ours.
    pub fn adopt(&mut self, books: Books) {
        if let Framing::V5(conversation) = &mut self.framing {
            conversation.adopt(books);
        }
    }

    /// Whether there are books, from which both ends learn what a broken connection cost: those that the protocol keeps,
    /// or, before it is known what will be spoken, those of earlier connections.
    pub fn keeps_books(&self) -> bool {
        matches!(self.framing, Framing::V5(_)) || self.books.is_some()
    }

    /// The books, where the protocol keeps some.
    pub fn books(&self) -> Option<&Books> {
        match &self.framing {
            Framing::V4(_) => None,
            Framing::V5(conversation) => Some(conversation.books()),
        }
    }

    /// The books, for the next connection with the same peer.
    pub fn into_books(self) -> Option<Box<Books>> {
        match self.framing {
            Framing::V4(_) => self.books,
            Framing::V5(conversation) => Some(Box::new(conversation.into_books())),
        }
    }

    /// When [`Session::tick`] must be called next.
    #[inline]
    pub fn deadline(&self) -> Option<Moment> {
        match (self.stage, &self.framing) {
            (Stage::AwaitFirstByte { until } | Stage::AwaitGreeting { until }, _) => Some(until),
            (Stage::Greeted, Framing::V4(_)) => None,
            (Stage::Greeted, Framing::V5(conversation)) => conversation.deadline(),
        }
    }

    /// What has been counted so far.
    pub fn counters(&self) -> SessionCounters {
        match &self.framing {
            Framing::V4(framing) => framing.counters(),
            Framing::V5(conversation) => conversation.counters(),
        }
    }

    /// Whether there is an event, or a round trip, to take.
    #[inline]
    pub fn has_news(&self) -> bool {
        matches!(&self.framing, Framing::V5(conversation) if conversation.has_news())
    }

    /// Whether the peer has said that it closes the connection.
    pub fn peer_said_goodbye(&self) -> bool {
        matches!(&self.framing, Framing::V5(conversation) if conversation.peer_said_goodbye())
    }

    /// What there is to tell beside frames, oldest first.
    pub fn take_event(&mut self) -> Option<Event> {
        match &mut self.framing {
            Framing::V4(_) => None,
            Framing::V5(conversation) => conversation.take_event(),
        }
    }

    /// Round trips that were measured, oldest first.
    pub fn take_round_trip(&mut self) -> Option<Duration> {
        match &mut self.framing {
            Framing::V4(_) => None,
            Framing::V5(conversation) => conversation.take_round_trip(),
        }
    }

    /// What is known of the peer's clock.
    pub fn clock(&self, now: Moment) -> Option<Estimate> {
        match &self.framing {
            Framing::V4(_) => None,
            Framing::V5(conversation) => conversation.clock(now),
        }
    }

    /// How one of our buses is, for the peer.
    pub fn note_bus_state(&mut self, bus: usize, state: BusState) {
        if let Framing::V5(conversation) = &mut self.framing {
            conversation.note_bus_state(bus, state);
        }
    }

    /// What became of the peer's frames for one of our buses, for the peer.
    pub fn note_disposal(&mut self, bus: usize, disposal: Disposal) {
        if let Framing::V5(conversation) = &mut self.framing {
            conversation.note_disposal(bus, disposal);
        }
    }

    /// Nothing more is to be said after what is due, where the protocol has a word for it.
    pub fn say_goodbye(&mut self, reason: Goodbye) {
        if let Framing::V5(conversation) = &mut self.framing {
            conversation.say_goodbye(reason);
        }
    }

    /// Whether a buffer is to be sent although no frame is in it.
    #[inline]
    pub fn has_something_to_say(&self) -> bool {
        match &self.framing {
            Framing::V4(_) => false,
            Framing::V5(conversation) => conversation.has_something_to_say(),
        }
    }

    /// Writes what is due behind the frames of a buffer that is about to be sent. The next frame goes into another one.
    /// `rest` holds the frames that will be sent after it.
    #[inline]
    pub fn speak(&mut self, now: Now, out: &mut SendBuffer, rest: &[u8]) {
        if let Framing::V5(conversation) = &mut self.framing {
            conversation.turn_page();
            if conversation.has_something_to_say() {
                conversation.speak(now, out, rest);
            }
        }
    }

    /// Takes what the peer sent: all bytes that no earlier call consumed, oldest first. Complete frames go to
    /// `queue`.
    ///
    /// # Errors
    /// The peer does not speak the protocol: close the connection. Frames before the fault are in `queue`.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Now,
        queue: &mut impl FrameQueue,
    ) -> Result<Progress, Fault> {
        let consumed = if self.stage == Stage::Greeted { 0 } else { self.receive_greeting(bytes, now)? };
        if self.stage != Stage::Greeted {
            return Ok(Progress { consumed, blocked: false });
        }
        let progress = match &mut self.framing {
            Framing::V4(framing) => framing.receive(&bytes[consumed..], queue)?,
            Framing::V5(conversation) => conversation.receive(&bytes[consumed..], now, queue)?,
        };
        Ok(Progress { consumed: consumed + progress.consumed, ..progress })
    }

    /// Takes the greeting from the front of what the peer sent, if it is there: how long it is.
    #[cold]
    #[inline(never)]
    fn receive_greeting(&mut self, bytes: &[u8], now: Now) -> Result<usize, Fault> {
        if let (Stage::AwaitFirstByte { .. }, Some(&first)) = (self.stage, bytes.first()) {
            self.tell_apart(first, bytes, now.monotonic)?;
        }
        if !matches!(self.stage, Stage::AwaitGreeting { .. }) {
            return Ok(0);
        }
        match greeting::scan(bytes) {
            Scan::Incomplete => Ok(0),
            Scan::Foreign => Err(self.foreign(bytes)),
            // A client's word that it is full means nothing.
            Scan::Full if self.config.role == Role::Client => Err(Fault::Full),
            Scan::Full => Err(self.foreign(bytes)),
            Scan::Greeting(offered, length) => {
                self.agree(offered, now.monotonic)?;
                Ok(length)
            }
        }
    }

    /// Encodes a frame of a bus, received at `received_at`, into `out`.
    #[inline]
    pub fn send(
        &mut self,
        bus: usize,
        image: Image<'_>,
        received_at: WallTime,
        out: &mut SendBuffer,
    ) -> Outcome {
        match &mut self.framing {
            Framing::V4(framing) => framing.send(image, received_at, out),
            Framing::V5(conversation) => conversation.send(bus, image, received_at, out),
        }
    }

    /// Notes that frames of a bus are dropped before they were encoded: their sequence numbers are used up, so that the
    /// peer sees that they are missing.
    pub fn skip(&mut self, bus: usize, cause: Cause, count: u64) {
        match (&mut self.framing, &mut self.books) {
            (Framing::V5(conversation), _) => conversation.skip(bus, cause, count),
            // It is not known yet what will be spoken.
            (Framing::V4(_), Some(books)) => books.outgoing_mut(bus).drop_frames(cause, count),
            (Framing::V4(framing), None) => framing.skip(count),
        }
    }

    /// Drops the first `count` frames of a buffer that holds unsent ones.
    pub fn discard_front(&mut self, out: &mut SendBuffer, count: u64, cause: Cause) {
        match &mut self.framing {
            // More frames than memory holds bytes there are not.
            Framing::V4(framing) => out.consume(count as usize * framing.frame_bytes()),
            Framing::V5(conversation) => conversation.discard_front(out, count, cause),
        }
    }

    /// Moves frames from the front of a buffer to another one, as many as fit into `limit` bytes, and one at the least;
    /// how many.
    pub fn move_front(&mut self, out: &mut SendBuffer, into: &mut SendBuffer, limit: usize) -> u64 {
        match &mut self.framing {
            Framing::V4(framing) => framing.move_front(out, into, limit),
            Framing::V5(conversation) => conversation.move_front(out, into, limit),
        }
    }

    /// What was written is elsewhere in its buffer, or in another one: nothing is added to it.
    pub fn turn_page(&mut self) {
        if let Framing::V5(conversation) = &mut self.framing {
            conversation.turn_page();
        }
    }

    /// Bytes of a frame, where all have the same: `None` in version 5, whose books tell what a broken connection cost.
    pub fn frame_bytes(&self) -> Option<usize> {
        match &self.framing {
            Framing::V4(framing) => Some(framing.frame_bytes()),
            Framing::V5(_) => None,
        }
    }

    /// Lets time pass: call at or after [`Session::deadline`].
    ///
    /// # Errors
    /// The peer did not greet in time, or is dead: close the connection.
    pub fn tick(&mut self, now: Moment) -> Result<(), Fault> {
        match self.stage {
            Stage::AwaitFirstByte { until } if now >= until => match self.config.protocol {
                Protocol::V41 | Protocol::V5 => Err(Fault::NoGreeting),
                // A 4.0 client has nothing to say until its bus has.
                Protocol::Auto | Protocol::V40 => {
                    self.stage = Stage::Greeted;
                    Ok(())
                }
            },
            Stage::AwaitGreeting { until } if now >= until => Err(Fault::NoGreeting),
            Stage::AwaitFirstByte { .. } | Stage::AwaitGreeting { .. } => Ok(()),
            Stage::Greeted => match &mut self.framing {
                Framing::V4(_) => Ok(()),
                Framing::V5(conversation) => conversation.tick(now),
            },
        }
    }

    /// The peer has closed its direction with `unconsumed` bytes left over.
    ///
    /// # Errors
    /// The stream ended inside a greeting or a frame.
    pub fn finish(&self, unconsumed: usize) -> Result<(), Fault> {
        let inside = matches!(&self.framing, Framing::V5(conversation) if conversation.is_inside_a_record());
        if unconsumed > 0 || inside { Err(Fault::Truncated { bytes: unconsumed }) } else { Ok(()) }
    }

    /// A server's decision on the first byte.
    fn tell_apart(&mut self, first: u8, bytes: &[u8], now: Moment) -> Result<(), Fault> {
        if first == greeting::PREFIX[0] {
            self.stage = Stage::AwaitGreeting { until: now.after(GREETING_TIMEOUT) };
            Ok(())
        } else if matches!(self.config.protocol, Protocol::V41 | Protocol::V5) {
            Err(self.foreign(bytes))
        } else {
            self.stage = Stage::Greeted;
            Ok(())
        }
    }

    fn offer(&self) -> Offer {
        let version_5 = matches!(self.config.protocol, Protocol::Auto | Protocol::V5);
        Offer { features: self.config.offer, version_5 }
    }

    fn agree(&mut self, offered: Offer, now: Moment) -> Result<(), Fault> {
        let SessionConfig { role, ref identity, .. } = self.config;
        let version_5 = self.offer().version_5 && offered.version_5;
        if self.config.protocol == Protocol::V5 && !version_5 {
            return Err(Fault::NotVersion5);
        }
        if version_5 {
            let books = self.books.take().map(|books| *books).unwrap_or_default();
            self.agreement = Agreement { version: Version::V5, features: Features::default() };
            let conversation = v5::Conversation::new(role, identity.clone(), books, now);
            self.framing = Framing::V5(Box::new(conversation));
        } else {
            // A peer that keeps none.
            self.books = None;
            let features = self.config.offer.agreed_with(offered.features);
            self.agreement = Agreement { version: Version::V41, features };
            self.framing = Framing::V4(Box::new(v4::Framing::new(Layout::new(features))));
        }
        // A server answers; a client has spoken already.
        self.greeting_due = role == Role::Server;
        self.stage = Stage::Greeted;
        Ok(())
    }

    fn foreign(&self, bytes: &[u8]) -> Fault {
        Fault::NoPeer { sample: Sample::of(bytes) }
    }
}

#[cfg(test)]
mod tests;
