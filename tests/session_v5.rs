//! Two ends of a version 5 link joined in memory, on virtual time: the network splits what they say anywhere and breaks
//! anywhere, frames are dropped for every cause, and afterwards the books of both ends agree to the frame.
//!
//! ```text
//!   End (client) ── bytes, a part of which has arrived ──► End (server)
//!                ◄──                                    ──
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use canip_peer::buffer::SendBuffer;
use canip_peer::frame::{Frame, Identifier};
use canip_peer::moment::{Moment, Now, WallTime};
use canip_peer::session::{
    Books, Cause, Disposal, FrameQueue, Identity, Outcome, Protocol, ReceivedFrame, Role, Session,
    SessionConfig, SessionCounters,
};
use canip_peer::wire::greeting::Features;
use canip_peer::wire::v5::{BusName, Losses, MAX_CONTROL_BYTES};
use proptest::prelude::*;

/// Buses of each end.
const BUSES: usize = 2;

/// Small, so that it is full at times: some forty frames beside what is kept free for records without frames.
const BUFFER_BYTES: usize = MAX_CONTROL_BYTES + 1024;

const CAUSES: [Cause; 4] = [Cause::Kernel, Cause::Stale, Cause::SlowPeer, Cause::Outage];

/// Frames that arrived, by bus: their numbers in the order in which they came; and how long the last one seemed to take.
#[derive(Default)]
struct Arrived([Vec<u32>; BUSES], Option<i64>);

impl FrameQueue for Arrived {
    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn push(&mut self, bus: usize, received: ReceivedFrame) {
        let payload = received.frame.image().classic_payload();
        self.0[bus].push(u32::from_be_bytes(*payload.first_chunk().unwrap()));
        self.1 = received.one_way.map(|one_way| one_way.elapsed_ns);
    }
}

/// What a test knows of one of an end's buses beside the session.
#[derive(Default, Clone, Copy)]
struct Truth {
    /// Frames that the bus had for the peer.
    offered: u32,
    /// Those that were handed to the network.
    sent: u64,
    dropped: Losses,
}

impl Truth {
    fn drop(&mut self, cause: Cause, count: u64) {
        *match cause {
            Cause::Kernel => &mut self.dropped.kernel,
            Cause::Stale => &mut self.dropped.stale,
            Cause::SlowPeer => &mut self.dropped.slow_peer,
            Cause::Outage => &mut self.dropped.outage,
        } += count;
    }
}

/// One end, as the bridge drives it.
struct End {
    config: SessionConfig,
    session: Session,
    /// The books of a server's connection before, until the client is known.
    past: Option<Books>,
    filling: SendBuffer,
    /// The bus of each frame in `filling`.
    gathered: VecDeque<usize>,
    /// Bytes from the peer that wait to be taken.
    inbox: Vec<u8>,
    arrived: Arrived,
    truth: [Truth; BUSES],
    /// What the sessions before have counted.
    counted: SessionCounters,
    is_connected: bool,
}

impl End {
    fn new(role: Role) -> End {
        let instance = if role == Role::Client { 7 } else { 9 };
        let buses = [BusName::default(); BUSES].into();
        let identity = Identity { instance, heartbeat: Duration::from_millis(500), buses };
        let config = SessionConfig { role, protocol: Protocol::V5, offer: Features::default(), identity };
        End {
            session: Session::new(config.clone(), None, Moment::default()),
            config,
            past: None,
            filling: SendBuffer::with_capacity(BUFFER_BYTES),
            gathered: VecDeque::new(),
            inbox: Vec::new(),
            arrived: Arrived::default(),
            truth: [Truth::default(); BUSES],
            counted: SessionCounters::default(),
            is_connected: false,
        }
    }

    fn disposal(&self, bus: usize) -> Disposal {
        Disposal { accepted: self.arrived.0[bus].len() as u64, ..Disposal::default() }
    }

    /// A connection is there.
    fn connect(&mut self, now: Now) {
        let config = self.config.clone();
        let fresh = Session::new(config.clone(), None, now.monotonic);
        self.count();
        let books = std::mem::replace(&mut self.session, fresh).into_books();
        match config.role {
            Role::Client => self.session = Session::new(config, books, now.monotonic),
            // One that broke before its client was known leaves what was known before.
            Role::Server => self.past = self.past.take().or(books.map(|books| *books)),
        }
        self.is_connected = true;
        self.service(now);
    }

    /// The connection breaks.
    fn disconnect(&mut self) {
        let gathered = self.gathered.len() as u64;
        self.session.discard_front(&mut self.filling, gathered, Cause::Outage);
        for bus in self.gathered.drain(..) {
            self.truth[bus].drop(Cause::Outage, 1);
        }
        self.filling.clear();
        self.inbox.clear();
        self.is_connected = false;
    }

    /// Adds up what this session has counted.
    fn count(&mut self) {
        let (sum, new) = (&mut self.counted, self.session.counters());
        sum.sequence.missing += new.sequence.missing;
        sum.sequence.duplicates += new.sequence.duplicates;
        sum.in_transit += new.in_transit;
        sum.peer_in_transit += new.peer_in_transit;
        sum.peer_losses.kernel += new.peer_losses.kernel;
        sum.peer_losses.stale += new.peer_losses.stale;
        sum.peer_losses.slow_peer += new.peer_losses.slow_peer;
        sum.peer_losses.outage += new.peer_losses.outage;
    }

    fn skip(&mut self, bus: usize, cause: Cause, count: u64) {
        self.truth[bus].drop(cause, count);
        match &mut self.past {
            // A server whose client is not known yet counts for the connection before.
            Some(past) => past.outgoing_mut(bus).drop_frames(cause, count),
            None => self.session.skip(bus, cause, count),
        }
    }

    /// Frames of a bus for the peer.
    fn offer(&mut self, bus: usize, count: u32, at: WallTime) {
        for _ in 0..count {
            let number = self.truth[bus].offered;
            self.truth[bus].offered += 1;
            if !self.is_connected || !self.session.is_open() {
                self.skip(bus, Cause::Outage, 1);
                continue;
            }
            let frame = Frame::data(Identifier::standard(0x100).unwrap(), &number.to_be_bytes()).unwrap();
            match self.session.send(bus, frame.image(), at, &mut self.filling) {
                Outcome::Queued => self.gathered.push_back(bus),
                Outcome::Full => self.truth[bus].drop(Cause::SlowPeer, 1),
                outcome => panic!("{outcome:?}"),
            }
        }
    }

    /// What comes from a bus is lost before it gets here.
    fn lose(&mut self, bus: usize, cause: Cause, count: u32) {
        self.truth[bus].offered += count;
        self.skip(bus, cause, count.into());
    }

    /// The oldest frames that wait to be sent grow too old.
    fn age(&mut self, count: usize) {
        let count = count.min(self.gathered.len());
        self.session.discard_front(&mut self.filling, count as u64, Cause::Stale);
        for bus in self.gathered.drain(..count) {
            self.truth[bus].drop(Cause::Stale, 1);
        }
    }

    /// Bytes of the peer arrive.
    fn take(&mut self, bytes: &[u8], now: Now) {
        self.inbox.extend(bytes);
        let progress = self.session.receive(&self.inbox, now, &mut self.arrived).unwrap();
        assert!(!progress.blocked);
        self.inbox.drain(..progress.consumed);
        self.service(now);
    }

    /// What the bridge does once a turn.
    fn service(&mut self, now: Now) {
        if !self.is_connected {
            return;
        }
        for bus in 0..BUSES {
            self.session.note_disposal(bus, self.disposal(bus));
        }
        if self.session.peer_instance().is_some()
            && let Some(past) = self.past.take()
        {
            self.session.adopt(past);
        }
        if self.session.is_opening() {
            self.session.open(true, now, &mut self.filling);
        }
    }

    /// Hands what there is to say to the network.
    fn send(&mut self, now: Now) -> Vec<u8> {
        if !self.is_connected {
            return Vec::new();
        }
        self.session.tick(now.monotonic).unwrap();
        self.service(now);
        self.session.speak(now, &mut self.filling, &[]);
        self.gathered.drain(..).for_each(|bus| self.truth[bus].sent += 1);
        let bytes = self.filling.unsent().to_vec();
        self.filling.clear();
        bytes
    }
}

/// Both ends, and what is under way to each.
struct World {
    ends: [End; 2],
    under_way: [Vec<u8>; 2],
    now_ns: u64,
    /// How far the wall clock of each end is ahead.
    ahead_ns: [u64; 2],
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Offer {
        end: usize,
        bus: usize,
        count: u32,
    },
    Lose {
        end: usize,
        bus: usize,
        cause: usize,
        count: u32,
    },
    Age {
        end: usize,
        count: usize,
    },
    Send {
        end: usize,
    },
    /// A part of what is under way arrives, in 256ths.
    Arrive {
        end: usize,
        part: usize,
    },
    Break,
    Connect,
    /// The server has waited long enough for its client.
    Forget,
    Wait {
        milliseconds: u64,
    },
}

impl World {
    fn new() -> World {
        let ends = [End::new(Role::Client), End::new(Role::Server)];
        World { ends, under_way: [Vec::new(), Vec::new()], now_ns: 1_000_000_000, ahead_ns: [0, 0] }
    }

    fn now(&self, end: usize) -> Now {
        let wall = WallTime::from_nanos(self.now_ns + self.ahead_ns[end]);
        Now { monotonic: Moment::from_nanos(self.now_ns), wall }
    }

    fn do_one(&mut self, step: Step) {
        match step {
            Step::Offer { end, bus, count } => {
                let now = self.now(end);
                self.ends[end].offer(bus, count, now.wall);
            }
            Step::Lose { end, bus, cause, count } => self.ends[end].lose(bus, CAUSES[cause], count),
            Step::Age { end, count } => self.ends[end].age(count),
            Step::Send { end } => {
                let now = self.now(end);
                let bytes = self.ends[end].send(now);
                self.under_way[1 - end].extend(bytes);
            }
            Step::Arrive { end, part } => {
                let count = self.under_way[end].len() * part / 256;
                let bytes: Vec<u8> = self.under_way[end].drain(..count).collect();
                let now = self.now(end);
                self.ends[end].take(&bytes, now);
            }
            Step::Break => self.disconnect(),
            Step::Connect => self.connect(),
            Step::Forget => {
                // Only who has no connection is forgotten.
                if !self.ends[1].is_connected {
                    let fresh = End::new(Role::Server);
                    self.ends[1].count();
                    self.ends[1].session = fresh.session;
                    self.ends[1].past = None;
                }
            }
            Step::Wait { milliseconds } => self.now_ns += milliseconds * 1_000_000,
        }
    }

    fn disconnect(&mut self) {
        self.under_way.iter_mut().for_each(Vec::clear);
        self.ends.iter_mut().filter(|end| end.is_connected).for_each(End::disconnect);
    }

    fn connect(&mut self) {
        self.disconnect();
        for end in [0, 1] {
            let now = self.now(end);
            self.ends[end].connect(now);
        }
    }

    /// Everything that is to be said arrives, and losses are told again.
    fn settle(&mut self) {
        for _ in 0..8 {
            for end in [0, 1] {
                self.do_one(Step::Send { end });
                self.do_one(Step::Arrive { end: 1 - end, part: 256 });
            }
            self.now_ns += 100_000_000;
        }
        self.ends.iter_mut().for_each(End::count);
    }

    /// The first connection comes to be: before, a client has nobody for whom it could count.
    fn settle_opening(&mut self) {
        for _ in 0..3 {
            for end in [0, 1] {
                self.do_one(Step::Send { end });
                self.do_one(Step::Arrive { end: 1 - end, part: 256 });
            }
        }
        assert!(self.ends.iter().all(|end| end.session.is_open()));
    }

    /// What one end sent, and the other got.
    fn assert_books(&self, from: usize) {
        let (sender, receiver) = (&self.ends[from], &self.ends[1 - from]);
        let dropped = sender.truth.iter().fold(Losses::default(), |sum, truth| Losses {
            kernel: sum.kernel + truth.dropped.kernel,
            stale: sum.stale + truth.dropped.stale,
            slow_peer: sum.slow_peer + truth.dropped.slow_peer,
            outage: sum.outage + truth.dropped.outage,
        });
        let counted = receiver.counted;
        assert_eq!(counted.peer_losses, dropped);
        assert_eq!(counted.peer_in_transit, sender.counted.in_transit);
        assert_eq!(counted.sequence.missing, dropped.total() + counted.peer_in_transit);
        assert_eq!(counted.sequence.duplicates, 0);
        let sent: u64 = sender.truth.iter().map(|truth| truth.sent).sum();
        let arrived: u64 = receiver.arrived.0.iter().map(|numbers| numbers.len() as u64).sum();
        assert_eq!(sent - sender.counted.in_transit, arrived);
        for (truth, numbers) in sender.truth.iter().zip(&receiver.arrived.0) {
            assert_eq!(u64::from(truth.offered), truth.sent + truth.dropped.total());
            assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{numbers:?}");
        }
    }
}

/// A peer's clock that is set is found out by the first frame, and set right by the answer to a question; one's own does nothing.
#[test]
fn clocks_that_are_set() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    for (set, back) in [(0, false), (0, true), (1, false), (1, true)] {
        let mut world = World::new();
        world.ahead_ns = [2 * HOUR_NS, HOUR_NS];
        world.connect();
        world.settle_opening();
        world.settle();
        let mut wrong = 0;
        for turn in 0..100 {
            if turn == 50 {
                let ahead_ns = &mut world.ahead_ns[set];
                *ahead_ns = if back { *ahead_ns - HOUR_NS } else { *ahead_ns + HOUR_NS };
            }
            world.now_ns += 10_000_000;
            world.do_one(Step::Offer { end: 0, bus: 0, count: 1 });
            for end in [0, 1] {
                world.do_one(Step::Send { end });
                world.do_one(Step::Arrive { end: 1 - end, part: 256 });
            }
            let took_ns = world.ends[1].arrived.1.expect("the clocks are compared");
            if took_ns.unsigned_abs() > 1_000_000 {
                wrong += 1;
                assert!(
                    set == 0 && turn < 54,
                    "of the peer's clock, for a round trip: {took_ns} in turn {turn}"
                );
            }
        }
        assert_eq!(wrong > 0, set == 0, "{set} {back}");
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let (end, bus) = (0..2usize, 0..BUSES);
    prop_oneof![
        6 => (end.clone(), bus.clone(), 1..30u32).prop_map(|(end, bus, count)| Step::Offer { end, bus, count }),
        2 => (end.clone(), bus, 0..4usize, 1..5u32)
            .prop_map(|(end, bus, cause, count)| Step::Lose { end, bus, cause, count }),
        1 => (end.clone(), 1..20usize).prop_map(|(end, count)| Step::Age { end, count }),
        8 => end.clone().prop_map(|end| Step::Send { end }),
        8 => (end, prop_oneof![Just(256), 0..256usize]).prop_map(|(end, part)| Step::Arrive { end, part }),
        1 => Just(Step::Break),
        1 => Just(Step::Connect),
        2 => (1..120u64).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ]
}

/// What an opening consists of: it may break between any two of these, and within.
fn any_exchange() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2usize).prop_map(|end| Step::Send { end }),
        4 => (0..2usize).prop_map(|end| Step::Arrive { end, part: 256 }),
        1 => (0..2usize, 0..256usize).prop_map(|(end, part)| Step::Arrive { end, part }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// However the stream is split, and wherever connections break.
    #[test]
    fn both_ends_agree_on_every_frame(
        steps in proptest::collection::vec(any_step(), 0..120),
        openings in proptest::collection::vec(proptest::collection::vec(any_exchange(), 0..12), 0..4),
    ) {
        let mut world = World::new();
        world.connect();
        world.settle_opening();
        steps.into_iter().for_each(|step| world.do_one(step));
        for opening in openings {
            world.connect();
            opening.into_iter().for_each(|step| world.do_one(step));
        }
        world.connect();
        world.settle();
        world.assert_books(0);
        world.assert_books(1);
    }

    /// A server that has forgotten its client, whenever: both begin anew, and what they count from then on agrees.
    #[test]
    fn who_was_forgotten_begins_anew(
        before in proptest::collection::vec(any_step(), 0..60),
        openings in proptest::collection::vec(proptest::collection::vec(any_exchange(), 0..12), 0..4),
    ) {
        let mut world = World::new();
        world.connect();
        world.settle_opening();
        before.into_iter().for_each(|step| world.do_one(step));
        world.do_one(Step::Break);
        world.do_one(Step::Forget);
        for opening in openings {
            world.connect();
            opening.into_iter().for_each(|step| world.do_one(step));
        }
        world.connect();
        world.settle();
        // Frames that are sent now arrive: nobody takes them for ones that were seen.
        let before = [0, 1].map(|end| world.ends[end].arrived.0.each_ref().map(Vec::len));
        for end in [0, 1] {
            (0..BUSES).for_each(|bus| world.do_one(Step::Offer { end, bus, count: 5 }));
        }
        world.settle();
        for (end, before) in world.ends.iter().zip(before) {
            prop_assert_eq!(end.arrived.0.each_ref().map(Vec::len), before.map(|count| count + 5));
            for numbers in &end.arrived.0 {
                prop_assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{:?}", numbers);
            }
        }
    }

    /// Whatever a peer sends after its greeting, the other side says what is wrong or goes on.
    #[test]
    fn flipped_bits_and_noise_never_panic(
        frames in 0..40u32,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u8), 0..8),
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        noise_at in any::<prop::sample::Index>(),
        to in 0..2usize,
    ) {
        let mut world = World::new();
        world.connect();
        // The greeting is another protocol's test; what may be wrong begins behind it.
        for end in [0, 1] {
            world.do_one(Step::Send { end });
            world.do_one(Step::Arrive { end: 1 - end, part: 256 });
        }
        let now = world.now(0);
        let mut bytes = Vec::new();
        for _ in 0..3 {
            (0..BUSES).for_each(|bus| world.do_one(Step::Offer { end: 1 - to, bus, count: frames }));
            bytes.extend(world.ends[1 - to].send(now));
            world.do_one(Step::Send { end: to });
            world.do_one(Step::Arrive { end: 1 - to, part: 256 });
        }
        let at = noise_at.index(bytes.len() + 1);
        bytes.splice(at..at, noise);
        for (at, bit) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
        }
        let end = &mut world.ends[to];
        for _ in 0..2 {
            end.inbox.extend(&bytes);
            if let Ok(progress) = end.session.receive(&end.inbox, now, &mut end.arrived) {
                end.inbox.drain(..progress.consumed);
            }
            end.service(now);
            end.send(now);
        }
    }
}
