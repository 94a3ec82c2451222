//! Version 5 after the greeting: records both ways, and the books over them.
//!
//! What is to be said beside frames is noted as due, and written when a buffer is about to be sent, behind its frames:
//! so that it is as new as can be, and nothing of it is lost with frames that are discarded before.

mod books;
mod heartbeat;
mod joins;
mod matching;
mod ring;
mod speech;

use std::collections::VecDeque;
use std::time::Duration;

pub use books::Books;

use self::books::News;
use self::heartbeat::{Asked, Heartbeat};
use self::matching::Matching;
use self::speech::Due;
use super::clock_offset::{ClockOffset, Estimate};
use super::{
    Cause, Disposal, Event, Fault, FrameQueue, Identity, OneWay, Outcome, Progress, ReceivedFrame, Role,
    SessionCounters,
};
use crate::buffer::SendBuffer;
use crate::frame::Image;
use crate::moment::{Moment, Now, WallTime};
use crate::wire::echo;
use crate::wire::v5::{
    BusName, BusState, Entry, EntrySize, Goodbye, HEADER_BYTES, Header, Hello, Losses, MAX_BUSES,
    MAX_CONTROL_BYTES, Name, Pong, Receipt, RecordKind, RecordWriter, discard_front, move_front, read_ping,
};

/// How long the peer's HELLO may take. A server opens its buses before, and joining a software bus has its own time-outs.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// The least time between two LOSS records of a bus that loses frames all the time.
const LOSS_INTERVAL: Duration = Duration::from_millis(100);

/// Events that may wait to be taken; the oldest go first. A connection's start makes three a bus and a few more.
const EVENTS: usize = 64;

/// A frame that is older than this when it comes, or is of the future, may be neither: the peer's clock may have been set.
/// Until a PONG shows that, good frames are dropped as too old, or old ones taken for good ones.
const DOUBTFUL_AGE_NS: i64 = 100_000_000;

/// How far the opening of a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The peer's HELLO has not come.
    AwaitHello { until: Moment },
    /// It has, and our buses are being opened.
    AwaitBuses,
    /// Our HELLO, LOSS and RECEIPT are written: frames may go.
    Started,
}

/// Frames of a record that are still to come.
#[derive(Clone, Copy, Debug)]
struct Reading {
    size: EntrySize,
    bus: usize,
    left: u16,
    number: u64,
}

/// One end of a version 5 connection.
#[derive(Debug)]
pub(super) struct Conversation {
    role: Role,
    identity: Identity,
    stage: Stage,
    books: Books,
    peer: Option<Hello>,
    matching: Matching,
    writer: RecordWriter,
    reading: Option<Reading>,
    /// Buses whose first LOSS, and first RECEIPT, of this connection has come.
    loss_seen: [bool; MAX_BUSES],
    receipt_seen: [bool; MAX_BUSES],
    clock: ClockOffset,
    heartbeat: Heartbeat,
    /// When the last PINGs were sent, as far as they are not answered.
    asked: Asked,
    due: Due,
    states: [BusState; MAX_BUSES],
    peer_states: [Option<BusState>; MAX_BUSES],
    disposals: [Disposal; MAX_BUSES],
    counters: SessionCounters,
    events: VecDeque<Event>,
    round_trips: VecDeque<Duration>,
    goodbye: Option<Goodbye>,
    /// GOODBYE was written: nothing follows it.
    is_silent: bool,
    /// The peer was told why it is refused: it gets no bus, and takes over no books.
    is_refused: bool,
    /// The peer's HELLO has come, and whether its pairs of buses may be joined is to be said.
    awaits_join: bool,
    /// The peer's GOODBYE has come.
    peer_said_goodbye: bool,
    /// Whether both sides remember each other from an earlier connection.
    remembered: bool,
}

impl Conversation {
    /// Begins where the greeting ends. A client brings its books; a server adopts some when it knows the client.
    pub fn new(role: Role, identity: Identity, books: Books, now: Moment) -> Self {
        let heartbeat = Heartbeat::new(identity.heartbeat, now);
        Self {
            role,
            identity,
            stage: Stage::AwaitHello { until: now.after(HELLO_TIMEOUT) },
            books,
            peer: None,
            matching: Matching::default(),
            writer: RecordWriter::default(),
            reading: None,
            loss_seen: [false; MAX_BUSES],
            receipt_seen: [false; MAX_BUSES],
            clock: ClockOffset::new(),
            heartbeat,
            asked: Asked::default(),
            due: Due { hello: role == Role::Client, ..Due::default() },
            states: [BusState::default(); MAX_BUSES],
            peer_states: [None; MAX_BUSES],
            disposals: [Disposal::default(); MAX_BUSES],
            counters: SessionCounters::default(),
            events: VecDeque::with_capacity(EVENTS),
            round_trips: VecDeque::with_capacity(EVENTS),
            goodbye: None,
            is_silent: false,
            is_refused: false,
            awaits_join: false,
            peer_said_goodbye: false,
            remembered: false,
        }
    }

    /// The peer's process, once its HELLO has come, unless it is refused.
    pub fn peer_instance(&self) -> Option<u64> {
        self.peer.filter(|_| !self.is_refused).map(|hello| hello.instance)
    }

    /// Takes over the books of an earlier connection with the same peer. Before the buses are opened.
    pub fn adopt(&mut self, books: Books) {
        debug_assert_eq!(self.stage, Stage::AwaitBuses, "books are adopted when the peer is known");
        self.books = books;
    }

    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The books, for the next connection.
    pub fn into_books(self) -> Books {
        self.books
    }

    /// Whether frames of one of our buses cross, or will once it is open.
    pub fn carries(&self, bus: usize) -> bool {
        self.peer.is_some() && !self.is_refused && self.matching.peers(bus).is_some()
    }

    /// Whether frames may cross.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Started
    }

    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Whether the peer has said its last word.
    pub fn peer_said_goodbye(&self) -> bool {
        self.peer_said_goodbye
    }

    /// Whether there is an event, or a round trip, to take.
    pub fn has_news(&self) -> bool {
        !self.events.is_empty() || !self.round_trips.is_empty()
    }

    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn take_round_trip(&mut self) -> Option<Duration> {
        self.round_trips.pop_front()
    }

    /// What is known of the peer's clock.
    pub fn clock(&self, now: Moment) -> Option<Estimate> {
        self.clock.estimate(now)
    }

    /// How one of our buses is; told if it is news.
    pub fn note_bus_state(&mut self, bus: usize, state: BusState) {
        if std::mem::replace(&mut self.states[bus], state) != state && self.carries(bus) {
            self.due.states |= 1 << bus;
        }
    }

    /// What became of the frames that the peer sent, in all.
    pub fn note_disposal(&mut self, bus: usize, disposal: Disposal) {
        self.disposals[bus] = disposal;
    }

    /// Ends in order: what is due, then GOODBYE, go out with the next buffer.
    pub fn say_goodbye(&mut self, reason: Goodbye) {
        if self.goodbye.is_none() {
            self.goodbye = Some(reason);
            self.due.goodbye = true;
        }
    }

    #[inline]
    pub fn send(
        &mut self,
        bus: usize,
        image: Image<'_>,
        received_at: WallTime,
        out: &mut SendBuffer,
    ) -> Outcome {
        if !self.is_open() || !self.carries(bus) {
            self.skip(bus, Cause::Outage, 1);
            return Outcome::NotOpen;
        }
        let number = self.books.outgoing(bus).next;
        if !self.writer.write(out, MAX_CONTROL_BYTES, bus as u8, number, received_at, image) {
            self.skip(bus, Cause::SlowPeer, 1);
            return Outcome::Full;
        }
        self.books.outgoing_mut(bus).next += 1;
        self.counters.encoded += 1;
        Outcome::Queued
    }

    /// Frames are dropped before they were encoded.
    pub fn skip(&mut self, bus: usize, cause: Cause, count: u64) {
        self.books.outgoing_mut(bus).drop_frames(cause, count);
        self.due.losses |= 1 << bus;
    }

    /// Moves frames from the front of a buffer to another one.
    pub fn move_front(&mut self, out: &mut SendBuffer, into: &mut SendBuffer, limit: usize) -> u64 {
        self.writer.close();
        move_front(out, into, limit)
    }

    /// Whether frames of a record are still to come.
    pub fn is_inside_a_record(&self) -> bool {
        self.reading.is_some()
    }

    /// The next frame goes into another buffer.
    pub fn turn_page(&mut self) {
        self.writer.close();
    }

    /// Drops the first `count` frames that a buffer holds.
    pub fn discard_front(&mut self, out: &mut SendBuffer, count: u64, cause: Cause) {
        let (books, due) = (&mut self.books, &mut self.due);
        discard_front(out, count, |bus, frames| {
            books.outgoing_mut(usize::from(bus)).drop_numbered(cause, frames);
            due.losses |= 1 << bus;
        });
        self.writer.close();
    }

    #[inline(always)]
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Now,
        queue: &mut impl FrameQueue,
    ) -> Result<Progress, Fault> {
        self.heartbeat.heard(now.monotonic);
        if self.is_refused {
            // It was told why, and may not have read that yet.
            return Ok(Progress { consumed: bytes.len(), blocked: false });
        }
        let clock = self.clock.estimate(now.monotonic);
        let mut consumed = 0;
        loop {
            if self.awaits_join {
                return Ok(Progress { consumed, blocked: true });
            }
            let rest = &bytes[consumed..];
            if let Some(reading) = &mut self.reading {
                let Some(entry) = rest.get(..reading.size.bytes()) else { break };
                if !queue.has_room(reading.bus) {
                    return Ok(Progress { consumed, blocked: true });
                }
                let entry = Entry::parse(entry).map_err(Fault::Record)?;
                consumed += reading.size.bytes();
                let (bus, number) = (reading.bus, reading.number);
                reading.number = number.saturating_add(1);
                reading.left -= 1;
                if reading.left == 0 {
                    self.reading = None;
                }
                self.take_frame(bus, number, entry, now.monotonic, clock, queue);
                continue;
            }
            let Some(header) = Header::parse(rest).map_err(Fault::Record)? else { break };
            if matches!(header.kind, RecordKind::Frames | RecordKind::FdFrames) {
                self.begin_frames(header)?;
                consumed += HEADER_BYTES;
                continue;
            }
            let Some(body) = rest[HEADER_BYTES..].get(..header.body_bytes as usize) else { break };
            self.take_control(header, body, now)?;
            consumed += HEADER_BYTES + body.len();
        }
        Ok(Progress { consumed, blocked: false })
    }

    #[inline]
    pub fn deadline(&self) -> Option<Moment> {
        match self.stage {
            Stage::AwaitHello { until } => Some(until),
            Stage::AwaitBuses => None,
            Stage::Started => {
                let heartbeat = self.heartbeat.deadline();
                let waits = self.due.losses != 0 && !self.due.losses_ripe;
                match heartbeat {
                    Some(heartbeat) if waits => Some(heartbeat.min(self.due.next_loss)),
                    None if waits => Some(self.due.next_loss),
                    heartbeat => heartbeat,
                }
            }
        }
    }

    pub fn tick(&mut self, now: Moment) -> Result<(), Fault> {
        match self.stage {
            Stage::AwaitHello { until } if until <= now => Err(Fault::NoHello),
            Stage::Started if self.heartbeat.is_dead(now) => Err(Fault::Dead),
            Stage::Started => {
                self.ripen(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn take_frame(
        &mut self,
        bus: usize,
        number: u64,
        entry: Entry<'_>,
        now: Moment,
        clock: Option<Estimate>,
        queue: &mut impl FrameQueue,
    ) {
        let incoming = self.books.incoming_mut(bus);
        // `begin_frames` has seen to it that there is one.
        let expected = incoming.expected.unwrap_or(number);
        if number < expected {
            self.counters.sequence.duplicates += 1;
            return;
        }
        incoming.arrive(1, number.saturating_add(1));
        if entry.is_error() {
            incoming.error_frames += 1;
            self.counters.peer_error_frames += 1;
            queue.see_error(bus, entry.to_frame());
            return;
        }
        let one_way = clock.and_then(|clock| one_way(entry.time(), now, clock));
        let age_ns = one_way.map_or(0, |one_way| {
            // What is certain to have passed.
            let certain = one_way.elapsed_ns.saturating_sub_unsigned(one_way.uncertainty_ns);
            let is_impossible = one_way.elapsed_ns.saturating_add_unsigned(one_way.uncertainty_ns) < 0;
            if certain > DOUBTFUL_AGE_NS || is_impossible {
                self.heartbeat.hurry(now);
            }
            u64::try_from(certain).unwrap_or(0)
        });
        queue.push(bus, ReceivedFrame { frame: entry.to_frame(), age_ns, one_way });
    }

    /// The header of a frame record: which bus, and whether numbers are missing before it.
    fn begin_frames(&mut self, header: Header) -> Result<(), Fault> {
        let bus = self.our_bus(header)?;
        if !self.loss_seen[bus] {
            return Err(Fault::TooEarly { kind: header.kind });
        }
        let incoming = self.books.incoming_mut(bus);
        let expected = incoming.expected.unwrap_or(header.number);
        if header.number > expected {
            self.counters.sequence.gaps += 1;
            let missing = &mut self.counters.sequence.missing;
            *missing = missing.saturating_add(header.number - expected);
            // Now, and not with the first frame, which may never come.
            incoming.expected = Some(header.number);
        }
        let size = EntrySize::of(header.kind);
        self.reading = Some(Reading { size, bus, left: header.count, number: header.number });
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn take_control(&mut self, header: Header, body: &[u8], now: Now) -> Result<(), Fault> {
        let is_greeted = match self.role {
            Role::Client => self.peer.is_some(),
            // A client has nothing to say before it has read our HELLO.
            Role::Server => self.is_open(),
        };
        if header.kind == RecordKind::Goodbye && (is_greeted || self.role == Role::Client) {
            match Goodbye::read(body) {
                Goodbye::Full if !is_greeted => return Err(Fault::Full),
                Goodbye::AlreadyJoined { bus, interface } => return Err(self.joined_already(bus, interface)),
                _ => {}
            }
        }
        if !is_greeted && !matches!(header.kind, RecordKind::Hello | RecordKind::Optional) {
            return Err(Fault::TooEarly { kind: header.kind });
        }
        match header.kind {
            RecordKind::Hello => self.take_hello(Hello::read(body).map_err(Fault::Record)?)?,
            RecordKind::Ping => self.due.pong = Some((read_ping(body), now.wall)),
            RecordKind::Pong => self.take_pong(Pong::read(body), now),
            RecordKind::Loss => self.take_loss(header, Losses::read(body))?,
            RecordKind::BusState => self.take_bus_state(header, BusState::read(body))?,
            RecordKind::Receipt => self.take_receipt(header, Receipt::read(body))?,
            RecordKind::Goodbye => {
                self.peer_said_goodbye = true;
                self.note(Event::Goodbye(Goodbye::read(body)));
            }
            RecordKind::Optional | RecordKind::Frames | RecordKind::FdFrames => {}
        }
        Ok(())
    }

    fn take_hello(&mut self, hello: Hello) -> Result<(), Fault> {
        if self.peer.is_some() {
            return Err(Fault::TooEarly { kind: RecordKind::Hello });
        }
        if hello.instance == self.identity.instance {
            return Err(Fault::Ourselves);
        }
        self.matching = Matching::of(&self.identity.buses, hello.buses());
        self.peer = Some(hello);
        self.stage = Stage::AwaitBuses;
        if self.matching.is_empty() {
            return Err(why_nothing_matches(self.role, &self.identity.buses, hello.buses()));
        }
        if let Some(fault) = self.ring(&hello) {
            return Err(fault);
        }
        let awaits_join = self.joins().next().is_some();
        self.awaits_join = awaits_join;
        if !awaits_join {
            self.join();
        }
        Ok(())
    }

    /// Why frames would go round, if the pairs of this connection alone make them.
    fn ring(&self, peer: &Hello) -> Option<Fault> {
        let ours = self.identity.buses.iter().enumerate();
        let pairs = ours.filter_map(|(number, bus)| {
            let peers = peer.buses().get(usize::from(self.matching.peers(number)?))?;
            Some((bus, peers))
        });
        ring::find(pairs)
    }

    fn take_pong(&mut self, pong: Pong, now: Now) {
        let Pong { ping_sent_at, ping_received_at, sent_at } = pong;
        // An answer to what was not asked says nothing.
        let Some(asked_at) = self.asked.take(ping_sent_at) else { return };
        let round_trip = self.clock.sample(asked_at, ping_received_at, sent_at, now.monotonic);
        if let Some(round_trip) = round_trip
            && self.round_trips.len() < EVENTS
        {
            self.round_trips.push_back(round_trip);
        }
    }

    fn take_loss(&mut self, header: Header, losses: Losses) -> Result<(), Fault> {
        let bus = self.our_bus(header)?;
        let is_first = !std::mem::replace(&mut self.loss_seen[bus], true);
        let incoming = self.books.incoming_mut(bus);
        let is_anew = is_first && incoming.expected.is_none();
        if !is_anew && !incoming.allows(header.number, &losses) {
            return Err(Fault::Backwards { kind: header.kind });
        }
        let news = if is_first {
            incoming.begin(header.number, losses)
        } else {
            incoming.note(header.number, losses)
        };
        let News { missing, losses, in_transit } = news;
        let counted = &mut self.counters.sequence.missing;
        *counted = counted.saturating_add(missing);
        self.counters.sequence.gaps += u64::from(missing > 0);
        let counted = &mut self.counters.peer_losses;
        counted.kernel = counted.kernel.saturating_add(losses.kernel);
        counted.stale = counted.stale.saturating_add(losses.stale);
        counted.slow_peer = counted.slow_peer.saturating_add(losses.slow_peer);
        counted.outage = counted.outage.saturating_add(losses.outage);
        let counted = &mut self.counters.peer_in_transit;
        *counted = counted.saturating_add(in_transit);
        if is_first && !is_anew {
            self.note(Event::Resumed { bus, missing, losses, in_transit });
        }
        Ok(())
    }

    fn take_receipt(&mut self, header: Header, receipt: Receipt) -> Result<(), Fault> {
        let bus = self.our_bus(header)?;
        if !std::mem::replace(&mut self.receipt_seen[bus], true) {
            // Whoever sends one has read our HELLO.
            self.books.share();
            // The client's first one may be about another process; then both count from here.
            let arrived = if self.remembered { receipt.arrived } else { 0 };
            let lost = self.books.outgoing_mut(bus).settle(arrived);
            self.counters.in_transit += lost;
            if lost > 0 {
                self.note(Event::LostInTransit { bus, frames: lost });
            }
        }
        Ok(())
    }

    fn take_bus_state(&mut self, header: Header, state: BusState) -> Result<(), Fault> {
        let bus = self.our_bus(header)?;
        let before = self.peer_states[bus].replace(state);
        if before != Some(state)
            && let Some(peer) = self.peer
        {
            let name = peer.buses[usize::from(header.bus)].interface;
            self.note(Event::PeerBus { bus, name, state, is_first: before.is_none() });
        }
        Ok(())
    }

    /// Our number for the bus that a record is about.
    fn our_bus(&self, header: Header) -> Result<usize, Fault> {
        self.matching.ours(header.bus).ok_or(Fault::UnknownBus { bus: header.bus })
    }

    /// Both HELLOs are known: the books go on, or begin anew.
    fn begin_books(&mut self, peer: &Hello) {
        let before = self.books.peer_instance();
        let is_same = peer.receipts_for == self.identity.instance && before == peer.instance;
        self.remembered = is_same && self.books.is_shared();
        let disposals = &self.disposals;
        self.books.begin(peer.instance, self.remembered, |bus| disposals[bus]);
        // Whoever counts on us to remember it came back too late, or to another process.
        let is_forgotten = self.role == Role::Server && peer.receipts_for == self.identity.instance;
        if (before != 0 || is_forgotten) && !self.remembered {
            self.note(Event::Anew);
        }
    }

    fn note(&mut self, event: Event) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Load tests are a client's wish, and a server's leave.
fn why_nothing_matches(role: Role, ours: &[BusName], peers: &[BusName]) -> Fault {
    let has_tests = |buses: &[BusName]| buses.iter().any(|bus| bus.matched_by == Name::new(echo::BUS));
    match role {
        Role::Server if has_tests(peers) => Fault::TestNotAllowed,
        Role::Client if has_tests(ours) => Fault::NoTests,
        _ => Fault::NoCommonBus,
    }
}

/// The time that a frame took, by the peer's corrected clock and ours; `None` for a time that cannot be one.
fn one_way(sent: WallTime, now: Moment, clock: Estimate) -> Option<OneWay> {
    if sent == WallTime::default() {
        return None;
    }
    let [sent, now] = [sent.as_nanos(), now.as_nanos()].map(i64::try_from);
    let elapsed_ns = now.ok()?.checked_sub(sent.ok()?)?.checked_add(clock.ahead_ns)?;
    Some(OneWay { elapsed_ns, uncertainty_ns: clock.uncertainty_ns })
}
