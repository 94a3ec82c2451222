//! A whole session, driven as the bridge drives it: anything arrives in any pieces, time passes, frames go both ways,
//! connections break and follow each other. The input says what happens.

use std::time::Duration;

use canip_peer::buffer::SendBuffer;
use canip_peer::frame::{Frame, Identifier};
use canip_peer::moment::{Moment, Now, WallTime};
use canip_peer::session::{
    Books, Cause, Disposal, FrameQueue, Identity, Outcome, Protocol, ReceivedFrame, Role, Session,
    SessionConfig, SessionCounters, Version,
};
use canip_peer::wire::greeting::{Features, Offer};
use canip_peer::wire::v5::{
    BusName, BusState, Controller, Goodbye, HEADER_BYTES, Header, Hello, Losses, MAX_BUSES,
    MAX_CONTROL_BYTES, Name, Pong, Presence, Receipt, RecordWriter, write_ping,
};

use super::assert_one_line;
use super::script::Script;

/// A record, the longest thing that must be whole before it is taken, less one byte.
const LEFT_BYTES_MAX: usize = 64 * 1024 - 1;

/// Bytes of a send buffer: small, so that it is full at times. What a connection opens with goes into it before: a greeting,
/// HELLO, and LOSS and RECEIPT of each bus, 2.3 KB of 16 buses.
const BUFFER_BYTES: usize = MAX_CONTROL_BYTES + 4 * 1024;

/// Things that happen in a run; what is left of longer inputs does not.
const STEPS: usize = 2_000;

/// Times in a row that a session may be due at the same moment.
const LOOKS: u32 = 10;

/// The process of the session, and that of its peer, where it follows the protocol.
const OURS: u64 = 7;
const THEIRS: u64 = 9;

/// Whatever a client sends.
pub fn server(bytes: &[u8]) {
    run(Role::Server, bytes);
}

/// Whatever a server sends.
pub fn client(bytes: &[u8]) {
    run(Role::Client, bytes);
}

fn run(role: Role, bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut end = End::new(role, script.byte());
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        end.step(&mut script);
    }
}

/// Where frames go: a queue that has room or not, as the input says.
pub struct Queue {
    pub buses: usize,
    pub has_room: bool,
    pub frames: u64,
    pub accepted: [u64; MAX_BUSES],
}

impl FrameQueue for Queue {
    fn has_room(&self, bus: usize) -> bool {
        assert!(bus < self.buses, "a bus that this side has not");
        self.has_room
    }

    fn push(&mut self, bus: usize, received: ReceivedFrame) {
        assert!(self.has_room(bus), "a frame without room");
        assert!(received.frame.image().len() <= 64);
        self.frames += 1;
        self.accepted[bus] += 1;
    }

    fn see_error(&mut self, bus: usize, _: Frame) {
        assert!(bus < self.buses, "a bus that this side has not");
    }
}

/// One end of connections that follow each other.
struct End {
    config: SessionConfig,
    session: Session,
    out: SendBuffer,
    /// Frames in `out`.
    gathered: u64,
    inbox: Vec<u8>,
    queue: Queue,
    now: Now,
    counted: SessionCounters,
    /// A server's books of the connection before, and whose they are.
    past: Option<(u64, Books)>,
    sought_past: bool,
    is_closing: bool,
    /// Nothing of the session's was sent yet.
    is_fresh: bool,
}

impl End {
    fn new(role: Role, choices: u8) -> Self {
        let protocol = [Protocol::Auto, Protocol::V40, Protocol::V41, Protocol::V5][usize::from(choices & 3)];
        let heartbeat = if choices & 4 == 0 { Duration::from_millis(500) } else { Duration::ZERO };
        let named = |name| BusName { matched_by: Name::new(name), interface: Name::new("can0"), identity: 0 };
        let buses: Vec<BusName> = match choices >> 3 & 3 {
            0 => vec![named("")],
            1 => vec![named("engine"), named(""), named("body")],
            2 => vec![named(""); MAX_BUSES],
            _ => vec![named(""), named("canip-bench")],
        };
        let count = buses.len();
        let identity = Identity { instance: OURS, heartbeat, buses: buses.into() };
        let offer = Features { sequence: choices & 32 != 0, time: choices & 64 != 0 };
        let config = SessionConfig { role, protocol, offer, identity };
        let monotonic = Moment::from_nanos(1_000_000_000);
        let now = Now { monotonic, wall: WallTime::from_nanos(1_700_000_000_000_000_000) };
        let mut end = Self {
            session: Session::new(config.clone(), None, monotonic),
            config,
            out: SendBuffer::with_capacity(BUFFER_BYTES),
            gathered: 0,
            inbox: Vec::new(),
            queue: Queue { buses: count, has_room: true, frames: 0, accepted: [0; MAX_BUSES] },
            now,
            counted: SessionCounters::default(),
            past: None,
            sought_past: false,
            is_closing: false,
            is_fresh: true,
        };
        end.settle();
        end
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0 | 1 => {
                let count = usize::from(script.byte());
                self.arrive(script.take(count));
            }
            2 => {
                let count = usize::from(script.short());
                self.arrive(script.take(count));
            }
            3 | 4 => {
                let record = well_formed(script, self.config.role);
                self.arrive(&record);
            }
            5 => {
                // A few bytes of a record at a time.
                let record = well_formed(script, self.config.role);
                let piece = usize::from(script.byte()).max(1);
                record.chunks(piece).for_each(|piece| self.arrive(piece));
            }
            6 | 7 => self.pass_time(script),
            8 | 9 => self.send(script),
            10 => self.flush(),
            11 => self.skip(script),
            12 => {
                self.queue.has_room = script.byte() & 1 == 0;
                self.arrive(&[]);
            }
            13 => {
                let state = bus_state(script);
                let bus = usize::from(script.byte()) % self.queue.buses;
                self.session.note_bus_state(bus, state);
            }
            14 => {
                self.session.say_goodbye(Goodbye::Stopping);
                self.is_closing = true;
            }
            _ => self.reconnect(),
        }
        self.settle();
    }

    /// Bytes of the peer.
    fn arrive(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        match self.session.receive(&self.inbox, self.now, &mut self.queue) {
            Ok(progress) => {
                assert!(progress.consumed <= self.inbox.len());
                assert!(!progress.blocked || !self.queue.has_room);
                self.inbox.drain(..progress.consumed);
                if progress.blocked {
                    // The engine reads no more; the rest comes again.
                    self.inbox.truncate(LEFT_BYTES_MAX);
                    return;
                }
                assert!(self.inbox.len() <= LEFT_BYTES_MAX, "{} bytes wait for more", self.inbox.len());
                let again = self.session.receive(&self.inbox, self.now, &mut self.queue);
                let again = again.expect("what was incomplete is incomplete");
                assert!(again.consumed == 0 && !again.blocked, "what was left can be taken: {again:?}");
            }
            Err(fault) => {
                assert_one_line(&fault.to_string());
                // As the bridge does before it closes the connection.
                if self.gathered == 0 && self.session.refuse(&mut self.out) {
                    self.flush();
                }
                self.reconnect();
            }
        }
    }

    /// What the bridge does after every turn.
    fn settle(&mut self) {
        self.seek_past();
        for bus in 0..self.queue.buses {
            let accepted = self.queue.accepted[bus];
            self.session.note_disposal(bus, Disposal { accepted, ..Disposal::default() });
        }
        if self.session.is_opening() {
            self.session.open(true, self.now, &mut self.out);
        }
        let mut events = 0;
        while let Some(_event) = self.session.take_event() {
            events += 1;
        }
        while self.session.take_round_trip().is_some() {
            events += 1;
        }
        assert!(events <= 2 * 64 && !self.session.has_news());
        let counted = self.session.counters();
        assert_grows(&self.counted, &counted);
        self.counted = counted;
    }

    /// A server that is greeted by a process that it knows goes on with its books.
    fn seek_past(&mut self) {
        let Some(instance) = self.session.peer_instance().filter(|_| !self.sought_past) else { return };
        self.sought_past = true;
        if self.config.role == Role::Server
            && let Some((_, books)) = self.past.take_if(|(known, _)| *known == instance)
        {
            self.session.adopt(books);
        }
    }

    fn pass_time(&mut self, script: &mut Script<'_>) {
        let elapsed = Duration::from_millis(u64::from(script.byte()) * u64::from(script.byte()) / 8);
        let until = self.now.monotonic.after(elapsed);
        // The clock that people read may be set meanwhile.
        let wall = match script.byte() {
            0 => script.number(),
            _ => self.now.wall.as_nanos().saturating_add(elapsed.as_nanos() as u64),
        };
        // Woken at each deadline, as a bridge is that runs.
        let mut at_once = 0;
        for _ in 0..1_000 {
            let deadline = self.session.deadline().filter(|deadline| *deadline <= until);
            let moment = deadline.unwrap_or(until).max(self.now.monotonic);
            self.now = Now { monotonic: moment, wall: WallTime::from_nanos(wall) };
            if self.session.tick(moment).is_err() {
                return self.reconnect();
            }
            let next = self.session.deadline();
            // A silent peer is looked for several times before it is taken for dead.
            at_once = if next.is_some_and(|next| next <= moment) { at_once + 1 } else { 0 };
            assert!(at_once < LOOKS, "due again at once: {next:?} at {moment:?}");
            self.settle();
            self.flush();
            if moment == until && at_once == 0 {
                return;
            }
        }
        panic!("a deadline every 8 ms or less");
    }

    fn send(&mut self, script: &mut Script<'_>) {
        let frame = frame(script);
        let bus = usize::from(script.byte()) % self.queue.buses;
        if self.is_closing || !self.session.is_open() || !self.session.carries(bus) {
            return;
        }
        let received_at = WallTime::from_nanos(script.number());
        if self.session.send(bus, frame.image(), received_at, &mut self.out) == Outcome::Queued {
            self.gathered += 1;
        }
    }

    fn skip(&mut self, script: &mut Script<'_>) {
        let bus = usize::from(script.byte()) % self.queue.buses;
        let cause =
            [Cause::Kernel, Cause::Stale, Cause::SlowPeer, Cause::Outage][usize::from(script.byte() & 3)];
        if self.session.is_open() && self.gathered > 0 && cause == Cause::Stale {
            let count = u64::from(script.byte()).clamp(1, self.gathered);
            self.session.discard_front(&mut self.out, count, cause);
            self.gathered -= count;
        } else {
            self.session.skip(bus, cause, script.byte().into());
        }
    }

    /// What gathered goes out. It is what the protocol allows.
    fn flush(&mut self) {
        self.session.speak(self.now, &mut self.out, &[]);
        let mut sent = self.out.unsent();
        if std::mem::take(&mut self.is_fresh) && sent.starts_with(b"CANIP/4.1") {
            let end = sent.iter().position(|&byte| byte == b'\n').expect("a whole line");
            sent = &sent[end + 1..];
        } else if sent.is_empty() {
            self.is_fresh = true;
        }
        if self.session.agreement().is_some_and(|agreement| agreement.version == Version::V5) {
            while let Some(header) = Header::parse(sent).expect("a record of ours") {
                sent = &sent[HEADER_BYTES + header.body_bytes as usize..];
            }
            assert!(sent.is_empty(), "{} bytes of no record", sent.len());
        }
        self.out.clear();
        self.gathered = 0;
    }

    /// The connection is over, and there is another one.
    fn reconnect(&mut self) {
        if self.gathered > 0 {
            self.session.discard_front(&mut self.out, self.gathered, Cause::Outage);
        }
        self.out.clear();
        self.gathered = 0;
        self.inbox.clear();
        (self.sought_past, self.is_closing, self.is_fresh) = (false, false, true);
        self.counted = SessionCounters::default();
        let instance = self.session.peer_instance();
        let fresh = Session::new(self.config.clone(), None, self.now.monotonic);
        let books = std::mem::replace(&mut self.session, fresh).into_books();
        match (self.config.role, books) {
            (Role::Client, books) => {
                self.session = Session::new(self.config.clone(), books, self.now.monotonic);
            }
            (Role::Server, Some(books)) => self.past = instance.map(|instance| (instance, *books)),
            (Role::Server, None) => {}
        }
    }
}

/// What a peer that follows the protocol might say, with numbers of the input's.
pub fn well_formed(script: &mut Script<'_>, receiver: Role) -> Vec<u8> {
    let mut out = SendBuffer::with_capacity(8 * 1024);
    let bus = script.byte() % 4;
    let did_fit = match script.byte() % 9 {
        0 => {
            let choices = script.byte();
            let features = Features { sequence: choices & 1 != 0, time: choices & 2 != 0 };
            let offer = Offer { features, version_5: choices & 4 == 0 };
            out.append(offer.greeting())
        }
        1 => {
            let mut buses = [BusName::default(); MAX_BUSES];
            let bus_count = usize::from(script.byte() % 16) + 1;
            if script.byte() & 1 == 0 {
                buses[0].matched_by = Name::new("engine");
            }
            let receipts_for = if script.byte() & 1 == 0 { OURS } else { script.number() };
            let instance = if script.byte() & 7 != 0 { THEIRS } else { script.number().max(1) };
            Hello { instance, receipts_for, heartbeat_ms: 500, bus_count, buses }.write(&mut out)
        }
        2 => {
            let [kernel, stale, slow_peer, outage] = std::array::from_fn(|_| script.number());
            Losses { kernel, stale, slow_peer, outage }.write(&mut out, bus, script.number())
        }
        3 => {
            let [arrived, accepted, stale, refused] = std::array::from_fn(|_| script.number());
            Receipt { arrived, accepted, stale, refused }.write(&mut out, bus, script.number())
        }
        4 => bus_state(script).write(&mut out, bus),
        5 => write_ping(&mut out, WallTime::from_nanos(script.number())),
        6 => {
            let [one, two, three] = std::array::from_fn(|_| WallTime::from_nanos(script.number()));
            Pong { ping_sent_at: one, ping_received_at: two, sent_at: three }.write(&mut out)
        }
        7 => {
            // The opening in one: what lies between a greeting and frames.
            let mut buses = [BusName::default(); MAX_BUSES];
            buses[0].matched_by = Name::new(if script.byte() & 1 == 0 { "engine" } else { "" });
            let hello =
                Hello { instance: THEIRS, receipts_for: OURS, heartbeat_ms: 500, bus_count: 3, buses };
            let greeting = Offer { features: Features::default(), version_5: true }.greeting();
            // A client has nothing to say before it has read the server's HELLO.
            let all = receiver == Role::Client;
            out.append(greeting)
                && hello.write(&mut out)
                && (!all
                    || Losses::default().write(&mut out, 1, 0) && Receipt::default().write(&mut out, 1, 0))
        }
        _ => {
            let mut writer = RecordWriter::default();
            let (first, count) = (script.number(), u64::from(script.byte() % 32));
            let did_fit = (0..count).all(|number| {
                let (frame, time) = (frame(script), WallTime::from_nanos(script.number()));
                writer.write(&mut out, 0, bus, number, time, frame.image())
            });
            // Any number, which a sender of ours never comes to.
            let header = out.filled_mut().first_chunk_mut::<HEADER_BYTES>();
            header.into_iter().for_each(|header| header[8..].copy_from_slice(&first.to_le_bytes()));
            did_fit
        }
    };
    assert!(did_fit);
    out.unsent().to_vec()
}

fn bus_state(script: &mut Script<'_>) -> BusState {
    let presence = [Presence::Missing, Presence::Down, Presence::Up][usize::from(script.byte() % 3)];
    let bit_rate = u32::from(script.short());
    BusState {
        presence,
        controller: Controller::ErrorActive,
        mtu: 72,
        bit_rate,
        data_bit_rate: bit_rate,
        has_loop: script.byte().is_multiple_of(2),
    }
}

fn frame(script: &mut Script<'_>) -> Frame {
    let identifier = Identifier::extended(u32::from(script.short())).expect("within 29 bits");
    let choices = script.byte();
    let made = match choices & 3 {
        0 => Frame::data(identifier, script.take(usize::from(choices >> 2) % 9)),
        1 => Frame::fd(identifier, script.take(usize::from(choices >> 2) % 9), 1),
        2 => Frame::remote(identifier, choices >> 2 & 7),
        _ => Some(Frame::error(u32::from(script.short()), [0; 8])),
    };
    made.expect("a frame of the least kinds")
}

/// What is counted goes never back.
fn assert_grows(before: &SessionCounters, after: &SessionCounters) {
    let list = |counters: &SessionCounters| {
        let SessionCounters { sequence, peer_losses, .. } = counters;
        [
            counters.encoded,
            counters.remote_frames,
            counters.error_frames,
            counters.fd_frames,
            sequence.gaps,
            sequence.duplicates,
            sequence.reordered,
            sequence.restarts,
            peer_losses.kernel,
            peer_losses.stale,
            peer_losses.slow_peer,
            peer_losses.outage,
            counters.peer_in_transit,
            counters.in_transit,
            counters.peer_error_frames,
        ]
    };
    let (before, after) = (list(before), list(after));
    assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "{before:?} to {after:?}");
}
