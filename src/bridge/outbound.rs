//! Bus to peer: frames gather in one buffer while the other is on its way.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::network_queue::NetworkQueue;
use crate::buffer::SendBuffer;
use crate::engine::tcp_info::{self, TcpInfo};
use crate::engine::{Engine, Sending, StreamId};
use crate::frame::Image;
use crate::moment::{Moment, Now, WallTime, nanoseconds};
use crate::session::{Cause, Fault, Outcome, Session};
use crate::wire::v5::MAX_CONTROL_BYTES;

/// Bytes of each of a link's two send buffers: a quarter of a second of 40,000 frames a second in version 5's entries. A
/// faster peer that stalls loses the newest frames, which are counted as `slow_peer`.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// Room that is made where there is less: the longest frame with its header, and what is kept free for records without
/// frames.
const LONGEST_FRAME_BYTES: usize = 96 + MAX_CONTROL_BYTES;

/// Frames that a buffer can hold: the shortest have 14 bytes.
const BUFFER_FRAMES: usize = BUFFER_BYTES / 14;

/// The shortest piece that is handed to TCP while more waits: about what one segment carries, three times.
const SHORTEST_PIECE_BYTES: usize = 4 * 1024;

/// The longest time that a piece is meant to wait in TCP, as a part of the age that frames may have: what was handed to TCP
/// can no longer be dropped, and goes out however old it is by then.
const PIECE_PART_OF_AGE: u64 = 5;

/// How long frames may wait for more before they are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Linger {
    /// Zero: what came in one turn is sent at once.
    pub time: Duration,
    /// So many frames are sent at once in any case.
    pub frames: usize,
}

/// The sending half of a link.
#[derive(Debug)]
pub struct Outbound {
    filling: SendBuffer,
    /// When the kernel received each frame of `filling`.
    received: VecDeque<WallTime>,
    /// When the first of them was added.
    gathering_since: Moment,
    /// The other buffer, unless it is in flight.
    spare: Option<SendBuffer>,
    /// When the kernel received each frame of the buffer that is in flight, and where in it they begin.
    in_flight: VecDeque<WallTime>,
    in_flight_start: usize,
    in_flight_since: Moment,
    in_flight_bytes: usize,
    /// Bytes that may be in flight while more wait: as many as TCP lately took within `piece_time_ns`.
    piece_bytes: usize,
    piece_time_ns: Option<u64>,
    /// The age, in nanoseconds, that frames may have.
    max_age_ns: u64,
    linger: Linger,
    /// Frames wait, whatever has gathered.
    is_held: bool,
    /// How much may wait in the network, and when to ask again whether there is room.
    network: NetworkQueue,
    room_at: Option<Moment>,
    /// Something was sent since that was last asked.
    has_sent: bool,
    /// Frames of buffers that were sent.
    sent_frames: u64,
    /// Of those, frames that were too old by then.
    overdue_frames: u64,
    /// Frames that were discarded because a buffer was in flight for too long.
    stale_frames: u64,
}

impl Outbound {
    /// Nothing to send yet. Frames may wait for `max_age`.
    pub fn new(max_age: Option<Duration>, linger: Linger) -> Self {
        Self {
            filling: SendBuffer::with_capacity(BUFFER_BYTES),
            received: VecDeque::with_capacity(BUFFER_FRAMES),
            gathering_since: Moment::default(),
            spare: Some(SendBuffer::with_capacity(BUFFER_BYTES)),
            in_flight: VecDeque::with_capacity(BUFFER_FRAMES),
            in_flight_start: 0,
            in_flight_since: Moment::default(),
            in_flight_bytes: 0,
            piece_bytes: BUFFER_BYTES,
            piece_time_ns: max_age.map(|age| nanoseconds(age) / PIECE_PART_OF_AGE),
            max_age_ns: max_age.map_or(u64::MAX, nanoseconds),
            linger,
            is_held: false,
            network: NetworkQueue::new(max_age),
            room_at: None,
            has_sent: false,
            sent_frames: 0,
            overdue_frames: 0,
            stale_frames: 0,
        }
    }

    /// Lets the session write what the connection opens with: no frame is in the buffer yet.
    pub fn open(&mut self, session: &mut Session, buses_tried: bool, now: Now) {
        debug_assert!(self.received.is_empty() || session.is_open());
        session.open(buses_tried, now, &mut self.filling);
    }

    /// Lets the session say why a peer is refused, if it has words for that.
    pub fn refuse(&mut self, session: &mut Session) -> bool {
        self.received.is_empty() && session.refuse(&mut self.filling)
    }

    /// Lets the session tell a client that there is no place for it.
    pub fn turn_away(&mut self, session: &mut Session) -> bool {
        self.received.is_empty() && session.turn_away(&mut self.filling)
    }

    /// Lets the session tell the peer that another connection joins one of our buses to one of its: no frame is in the buffer
    /// yet.
    pub fn refuse_to_join(&mut self, session: &mut Session, bus: usize) -> Option<Fault> {
        debug_assert!(self.received.is_empty());
        session.refuse_to_join(bus, &mut self.filling)
    }

    /// Encodes a frame behind those that wait.
    #[inline]
    pub fn add_frame(
        &mut self,
        session: &mut Session,
        bus: usize,
        image: Image<'_>,
        received_at: WallTime,
        now: Now,
    ) -> Outcome {
        if self.received.is_empty() {
            self.gathering_since = now.monotonic;
        } else {
            self.discard_stale(session, now.wall);
        }
        if self.filling.room() < LONGEST_FRAME_BYTES && self.filling.sent_bytes() > 0 {
            self.filling.compact();
            session.turn_page();
        }
        let outcome = session.send(bus, image, received_at, &mut self.filling);
        if outcome == Outcome::Queued {
            self.received.push_back(received_at);
        }
        outcome
    }

    /// Holds frames, or lets them go.
    #[inline]
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Whether something was sent since the last call, or may be as soon as the network has room, so that TCP has news of it.
    pub fn take_has_sent(&mut self) -> bool {
        std::mem::take(&mut self.has_sent) || self.network.is_bounded()
    }

    /// What TCP knows of the connection.
    pub fn note_network(&mut self, info: TcpInfo, now: Moment) {
        self.network.note(info, now);
    }

    /// Sends what has gathered and what the session has to say, unless a buffer is in flight already; `sent` sees when
    /// the kernel received each frame, and when it was sent. `now` is when the turn began, which says nothing of frames
    /// that are sent long after: the process may have stood still. Whether they are fresh is told by `clock`, before each
    /// piece. What grows too old even so, until TCP has taken the piece, is counted as overdue. What is held
    /// waits; what the session has to say goes without it.
    ///
    /// # Errors
    /// The stream is broken.
    #[inline(always)]
    pub fn flush<E: Engine>(
        &mut self,
        engine: &mut E,
        stream: StreamId,
        session: &mut Session,
        now: Now,
        clock: impl Fn() -> WallTime,
        mut sent: impl FnMut(&VecDeque<WallTime>, WallTime),
    ) -> io::Result<()> {
        if self.spare.is_none() {
            self.discard_stale(session, now.wall);
            return Ok(());
        }
        // Once, unless what gathered is longer than a piece and TCP takes one at once.
        loop {
            let looked_at = if self.received.is_empty() { now.wall } else { clock() };
            self.discard_stale(session, looked_at);
            // Whether there is room is asked anew, or does not matter: what is held waits for something else.
            self.room_at = None;
            let has_gathered = self.has_gathered(now.monotonic);
            let waits = !self.received.is_empty() && !self.is_held;
            let asks = waits || self.network.is_looking();
            let room = if asks { self.room(engine, stream, now)? } else { BUFFER_BYTES };
            // What the session has to say waits for none.
            let room = if waits { room } else { BUFFER_BYTES };
            if (!has_gathered || room == 0) && !session.has_something_to_say() {
                return Ok(());
            }
            let Some(empty) = self.spare.take() else { return Ok(()) };
            let (piece, frames) = self.take_piece(empty, session, now, room);
            if frames == 0 && piece.is_sent() {
                self.spare = Some(piece);
                return Ok(());
            }
            self.has_sent = true;
            self.note_in_flight(frames);
            self.in_flight_start = piece.sent_bytes();
            sent(&self.in_flight, looked_at);
            (self.in_flight_since, self.in_flight_bytes) = (now.monotonic, piece.unsent().len());
            self.network.note_handed_over(self.in_flight_bytes, now.monotonic);
            match engine.send(stream, piece) {
                Sending::Done(buffer) => {
                    let wall = if frames > 0 { clock() } else { now.wall };
                    self.give_back(buffer, session, Some(Now { wall, ..now }));
                }
                Sending::InFlight => return Ok(()),
                Sending::Failed { buffer, error } => {
                    self.give_back(buffer, session, None);
                    return Err(error);
                }
            }
        }
    }

    /// How many bytes of frames the network has room for; none where frames wait for it.
    #[inline]
    fn room<E: Engine>(&mut self, engine: &E, stream: StreamId, now: Now) -> io::Result<usize> {
        if self.network.is_bounded() { self.room_in_network(engine, stream, now) } else { Ok(BUFFER_BYTES) }
    }

    #[inline(never)]
    fn room_in_network<E: Engine>(&mut self, engine: &E, stream: StreamId, now: Now) -> io::Result<usize> {
        let Some(descriptor) = engine.stream_descriptor(stream) else { return Ok(BUFFER_BYTES) };
        let (under_way, gathered) = (tcp_info::under_way(descriptor)?, self.filling.unsent().len());
        let room = self.network.room(under_way, gathered, self.gathering_since, now.monotonic);
        self.room_at = room.err();
        Ok(room.unwrap_or(0))
    }

    /// What is sent next, and how many frames are in it: all that has gathered, or as much as may be in flight and the network
    /// has room for.
    #[inline(always)]
    fn take_piece(
        &mut self,
        mut empty: SendBuffer,
        session: &mut Session,
        now: Now,
        room: usize,
    ) -> (SendBuffer, usize) {
        if (self.is_held || room == 0) && !self.received.is_empty() {
            session.speak(now, &mut empty, self.filling.unsent());
            return (empty, 0);
        }
        let piece_bytes = self.piece_bytes.min(room);
        if self.filling.unsent().len() <= piece_bytes {
            session.speak(now, &mut self.filling, &[]);
            return (std::mem::replace(&mut self.filling, empty), self.received.len());
        }
        let frames = self.take_part(&mut empty, session, now, piece_bytes);
        (empty, frames)
    }

    #[inline(never)]
    fn take_part(
        &mut self,
        piece: &mut SendBuffer,
        session: &mut Session,
        now: Now,
        piece_bytes: usize,
    ) -> usize {
        let frames = session.move_front(&mut self.filling, piece, piece_bytes);
        session.speak(now, piece, self.filling.unsent());
        usize::try_from(frames).unwrap_or(usize::MAX).min(self.received.len())
    }

    /// When [`Outbound::flush`] must be called, even if nothing happens.
    pub fn deadline(&self) -> Option<Moment> {
        self.spare.as_ref()?;
        let waits = !self.received.is_empty() && !self.is_held;
        let lingers = waits && !self.linger.time.is_zero();
        // What there is no room for need linger no longer, but waits for room.
        let room_at = self.room_at.filter(|_| waits || self.network.is_looking());
        room_at.or_else(|| lingers.then(|| self.gathering_since.after(self.linger.time)))
    }

    /// Takes a buffer back from the engine, all of which was sent, by `sent_at`, or not.
    #[inline(always)]
    pub fn give_back(&mut self, mut buffer: SendBuffer, session: &Session, sent_at: Option<Now>) {
        match sent_at {
            Some(now) => {
                self.sent_frames += self.in_flight.len() as u64;
                if self.in_flight.iter().any(|at| self.is_stale(*at, now.wall)) {
                    self.count_overdue(now.wall);
                }
                self.in_flight.clear();
                self.adapt_piece(now.monotonic);
            }
            None => self.note_partly_sent(buffer.sent_bytes(), session),
        }
        buffer.clear();
        self.spare = Some(buffer);
    }

    #[cold]
    #[inline(never)]
    fn count_overdue(&mut self, now: WallTime) {
        let overdue = self.in_flight.iter().filter(|at| self.is_stale(**at, now));
        self.overdue_frames += overdue.count() as u64;
    }

    /// TCP took the last piece at some pace: the next one is as long as it takes within the time that it may.
    fn adapt_piece(&mut self, now: Moment) {
        let Some(allowed_ns) = self.piece_time_ns else { return };
        let took_ns = now.nanos_since(self.in_flight_since);
        if took_ns <= allowed_ns / 2 {
            self.piece_bytes = (self.piece_bytes * 2).min(BUFFER_BYTES);
        } else {
            self.shorten_piece(took_ns, allowed_ns);
        }
    }

    #[cold]
    #[inline(never)]
    fn shorten_piece(&mut self, took_ns: u64, allowed_ns: u64) {
        let within = self.in_flight_bytes as u128 * u128::from(allowed_ns) / u128::from(took_ns);
        // Half a buffer at most, so that there is room for what the session says behind it.
        let within = usize::try_from(within).unwrap_or(usize::MAX).min(BUFFER_BYTES / 2);
        self.piece_bytes = within.max(SHORTEST_PIECE_BYTES);
    }

    /// The stream took `bytes` of the buffer in flight, and will take no more. Where the protocol keeps books, all of it
    /// counts as sent: what did not arrive is found to have been lost under way.
    #[cold]
    #[inline(never)]
    pub fn note_partly_sent(&mut self, bytes: usize, session: &Session) {
        let frames = match session.frame_bytes() {
            Some(frame_bytes) => bytes.saturating_sub(self.in_flight_start) / frame_bytes,
            None => self.in_flight.len(),
        };
        let sent = frames.min(self.in_flight.len());
        self.in_flight.drain(..sent);
        self.sent_frames += sent as u64;
    }

    /// The connection is of no use any more: drops what was not handed to TCP. Returns how many frames that cost.
    pub fn discard(&mut self, session: &mut Session) -> u64 {
        let frames = self.received.len() as u64;
        session.discard_front(&mut self.filling, frames, Cause::Outage);
        self.received.clear();
        self.room_at = None;
        self.filling.clear();
        frames
    }

    /// The connection is gone: does the same, with what was in flight too, and is as new.
    pub fn reset(&mut self, session: &mut Session) -> u64 {
        // Where the protocol keeps no books, what was in flight was sent as far as TCP had taken it.
        let frames = self.discard(session) + self.in_flight.len() as u64;
        self.in_flight.clear();
        self.network.forget();
        self.spare.get_or_insert_with(|| SendBuffer::with_capacity(BUFFER_BYTES));
        frames
    }

    /// Whether nothing waits to be handed to TCP.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.received.is_empty() && self.filling.is_sent()
    }

    /// Whether everything was handed to TCP.
    pub fn is_idle(&self) -> bool {
        self.spare.is_some() && self.filling.is_sent()
    }

    /// Frames handed to TCP so far.
    pub fn sent_frames(&self) -> u64 {
        self.sent_frames
    }

    /// Of those, frames that had become too old when TCP had taken them.
    pub fn overdue_frames(&self) -> u64 {
        self.overdue_frames
    }

    /// Frames discarded so far because they had waited too long for the buffer before them.
    pub fn stale_frames(&self) -> u64 {
        self.stale_frames
    }

    /// Frames that are encoded and not handed to TCP.
    pub fn unsent_frames(&self) -> u64 {
        (self.received.len() + self.in_flight.len()) as u64
    }

    /// The first `frames` frames go out.
    #[inline(always)]
    fn note_in_flight(&mut self, frames: usize) {
        if frames == self.received.len() {
            // All, as is usual: that needs no moving.
            std::mem::swap(&mut self.in_flight, &mut self.received);
            self.received.clear();
        } else {
            self.note_part_in_flight(frames);
        }
    }

    #[inline(never)]
    fn note_part_in_flight(&mut self, frames: usize) {
        self.in_flight.clear();
        self.in_flight.extend(self.received.drain(..frames));
    }

    /// Whether there is something to send, and no more is waited for.
    fn has_gathered(&self, now: Moment) -> bool {
        !self.is_held && !self.filling.is_sent() && !self.lingers(now)
    }

    /// Whether more frames are waited for.
    fn lingers(&self, now: Moment) -> bool {
        let Linger { time, frames } = self.linger;
        !time.is_zero()
            && !self.received.is_empty()
            && self.received.len() < frames
            && self.gathering_since.after(time) > now
    }

    /// Discards what grew too old while the buffer before it was in flight, or will have when it has crossed the network. Its
    /// sequence numbers are used up: the peer sees what is missing.
    #[inline(always)]
    fn discard_stale(&mut self, session: &mut Session, now: WallTime) {
        // By the time they come out.
        let then = WallTime::from_nanos(now.as_nanos().saturating_add(self.network.transit_ns()));
        if self.received.front().is_some_and(|received| self.is_stale(*received, then)) {
            self.discard_all_stale(session, then);
        }
    }

    #[cold]
    #[inline(never)]
    fn discard_all_stale(&mut self, session: &mut Session, then: WallTime) {
        let stale = self.received.iter().take_while(|received| self.is_stale(**received, then)).count();
        session.discard_front(&mut self.filling, stale as u64, Cause::Stale);
        self.received.drain(..stale);
        self.stale_frames += stale as u64;
    }

    fn is_stale(&self, received: WallTime, now: WallTime) -> bool {
        now.nanos_since(received) > self.max_age_ns
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::engine::Token;
    use crate::engine::epoll::EpollEngine;
    use crate::frame::{Frame, Identifier};
    use crate::session::{Identity, Protocol, Role, SessionConfig};
    use crate::wire::greeting::Features;
    use crate::wire::v5::BusName;

    const START: WallTime = WallTime::from_nanos(1_000_000_000);
    const THREE_SECONDS_LATER: WallTime = WallTime::from_nanos(4_000_000_000);

    fn session() -> Session {
        let identity =
            Identity { instance: 1, heartbeat: Duration::ZERO, buses: [BusName::default()].into() };
        let (role, protocol, offer) = (Role::Client, Protocol::V40, Features::default());
        Session::new(SessionConfig { role, protocol, offer, identity }, None, Moment::default())
    }

    /// Frames that were sent, that were overdue, and that were stale, of 100 that came when a process was stopped, for longer
    /// than they may live, after so many looks at the clock.
    fn stopped_after(looks: u32) -> (u64, u64, u64) {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut engine = EpollEngine::new().unwrap();
        let stream = engine.open_stream(Token(0), ours.into()).unwrap();
        let (mut session, now) = (session(), Now { monotonic: Moment::default(), wall: START });
        let linger = Linger { time: Duration::ZERO, frames: 1 };
        let mut outbound = Outbound::new(Some(Duration::from_millis(250)), linger);
        outbound.open(&mut session, true, now);
        let frame = Frame::data(Identifier::standard(0x123).unwrap(), &[0xAB]).unwrap();
        for _ in 0..100 {
            let outcome = outbound.add_frame(&mut session, 0, frame.image(), START, now);
            assert_eq!(outcome, Outcome::Queued);
        }
        let looked = Cell::new(0);
        let clock = || {
            looked.set(looked.get() + 1);
            if looked.get() <= looks { START } else { THREE_SECONDS_LATER }
        };
        outbound.flush(&mut engine, stream, &mut session, now, clock, |_, _| {}).unwrap();
        assert!(outbound.is_idle());
        (outbound.sent_frames(), outbound.overdue_frames(), outbound.stale_frames())
    }

    #[test]
    fn what_is_held_waits_and_asks_for_no_time() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        let mut engine = EpollEngine::new().unwrap();
        let stream = engine.open_stream(Token(0), ours.into()).unwrap();
        let (mut session, now) = (session(), Now { monotonic: Moment::default(), wall: START });
        let mut outbound = Outbound::new(None, Linger { time: Duration::from_millis(1), frames: 1 });
        outbound.open(&mut session, true, now);
        let frame = Frame::data(Identifier::standard(0x123).unwrap(), &[0xAB]).unwrap();
        let outcome = outbound.add_frame(&mut session, 0, frame.image(), START, now);
        assert_eq!(outcome, Outcome::Queued);
        for (is_held, sent) in [(true, 0), (false, 1)] {
            outbound.hold(is_held);
            assert_eq!(outbound.deadline().is_none(), is_held);
            outbound.flush(&mut engine, stream, &mut session, now, || START, |_, _| {}).unwrap();
            assert_eq!((outbound.sent_frames(), outbound.unsent_frames()), (sent, 1 - sent));
        }
    }

    #[test]
    fn what_waits_for_the_network_asks_again_unless_it_is_held() {
        waits_for_the_network(Linger { time: Duration::ZERO, frames: 1 });
        // What has lingered long enough waits for the network only.
        waits_for_the_network(Linger { time: Duration::from_millis(1), frames: 1_000 });
    }

    fn waits_for_the_network(linger: Linger) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut engine = EpollEngine::new().unwrap();
        let stream = engine.open_stream(Token(0), ours.into()).unwrap();
        let (mut session, mut now) = (session(), Now { monotonic: Moment::default(), wall: START });
        let mut outbound = Outbound::new(Some(Duration::from_millis(250)), linger);
        outbound.open(&mut session, true, now);
        let frame = Frame::data(Identifier::standard(0x123).unwrap(), &[0xAB]).unwrap();
        let add = |outbound: &mut Outbound, session: &mut Session, count: usize| {
            for _ in 0..count {
                let now = Now { monotonic: Moment::default(), wall: START };
                assert_eq!(outbound.add_frame(session, 0, frame.image(), START, now), Outcome::Queued);
            }
        };
        add(&mut outbound, &mut session, 100);
        now.monotonic = now.monotonic.after(Duration::from_millis(1));
        outbound.flush(&mut engine, stream, &mut session, now, || START, |_, _| {}).unwrap();
        assert_eq!(outbound.sent_frames(), 100);
        for round_trip_ms in [0, 200, 200, 200] {
            let info = TcpInfo {
                acknowledged_bytes: 0,
                bytes_under_way: 9_000,
                segments_under_way: 9,
                round_trip_ns: round_trip_ms * 1_000_000,
                shortest_round_trip_ns: 0,
            };
            outbound.note_network(info, now.monotonic);
            now.monotonic = now.monotonic.after(Duration::from_millis(100));
        }
        // What was sent is unread, which is more than may be under way.
        add(&mut outbound, &mut session, 1);
        for is_held in [false, true, false] {
            outbound.hold(is_held);
            outbound.flush(&mut engine, stream, &mut session, now, || START, |_, _| {}).unwrap();
            assert_eq!((outbound.sent_frames(), outbound.unsent_frames()), (100, 1));
            assert_eq!(outbound.deadline().is_some_and(|at| at > now.monotonic), !is_held);
            assert_eq!(outbound.deadline().is_none(), is_held);
        }
        theirs.set_nonblocking(true).unwrap();
        std::io::copy(&mut theirs, &mut std::io::sink()).unwrap_err();
        outbound.flush(&mut engine, stream, &mut session, now, || START, |_, _| {}).unwrap();
        assert_eq!((outbound.sent_frames(), outbound.deadline()), (101, None));
    }

    #[test]
    fn what_grew_old_while_the_process_was_stopped_is_not_sent_or_is_overdue() {
        // Before all was ready to be sent; while it was sent; behind that.
        assert_eq!([0, 1, 2].map(stopped_after), [(0, 0, 100), (100, 100, 0), (100, 0, 0)]);
    }
}
