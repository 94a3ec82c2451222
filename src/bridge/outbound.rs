//! Bus to peer: frames gather in one buffer while the other is on its way.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::buffer::SendBuffer;
use crate::engine::{Engine, Sending, StreamId};
use crate::frame::Image;
use crate::moment::{Moment, Now, WallTime};
use crate::session::{Cause, Outcome, Session};
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
const PIECE_PART_OF_AGE: u32 = 5;

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
    /// Frames in the buffer that is in flight, and where in it they begin.
    in_flight_frames: u64,
    in_flight_start: usize,
    in_flight_since: Moment,
    in_flight_bytes: usize,
    /// Bytes that may be in flight while more wait: as many as TCP lately took within `piece_time`.
    piece_bytes: usize,
    piece_time: Option<Duration>,
    /// The age, in nanoseconds, that frames may have.
    max_age_ns: u64,
    linger: Linger,
    /// Frames of buffers that were sent.
    sent_frames: u64,
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
            in_flight_frames: 0,
            in_flight_start: 0,
            in_flight_since: Moment::default(),
            in_flight_bytes: 0,
            piece_bytes: BUFFER_BYTES,
            piece_time: max_age.map(|age| age / PIECE_PART_OF_AGE),
            max_age_ns: max_age.map_or(u64::MAX, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
            linger,
            sent_frames: 0,
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

    /// Encodes a frame behind those that wait.
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

    /// Sends what has gathered and what the session has to say, unless a buffer is in flight already. `sent` sees when
    /// the kernel received each frame (in two parts, the first one first).
    ///
    /// # Errors
    /// The stream is broken.
    pub fn flush<E: Engine>(
        &mut self,
        engine: &mut E,
        stream: StreamId,
        session: &mut Session,
        now: Now,
        mut sent: impl FnMut(&[WallTime], &[WallTime]),
    ) -> io::Result<()> {
        self.discard_stale(session, now.wall);
        // Once, unless what gathered is longer than a piece and TCP takes one at once.
        while let Some(empty) = self.spare.take() {
            let speaks = session.has_something_to_say();
            if !speaks && (self.filling.is_sent() || self.lingers(now.monotonic)) {
                self.spare = Some(empty);
                return Ok(());
            }
            let (piece, frames) = self.take_piece(empty, session, now);
            let (first, second) = self.received.as_slices();
            let in_first = frames.min(first.len());
            sent(&first[..in_first], &second[..frames - in_first]);
            self.received.drain(..frames);
            (self.in_flight_frames, self.in_flight_start) = (frames as u64, piece.sent_bytes());
            (self.in_flight_since, self.in_flight_bytes) = (now.monotonic, piece.unsent().len());
            match engine.send(stream, piece) {
                Sending::Done(buffer) => self.give_back(buffer, session, Some(now.monotonic)),
                Sending::InFlight => return Ok(()),
                Sending::Failed { buffer, error } => {
                    self.give_back(buffer, session, None);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// What is sent next, and how many frames are in it: all that has gathered, or as much as may be in flight.
    fn take_piece(&mut self, mut empty: SendBuffer, session: &mut Session, now: Now) -> (SendBuffer, usize) {
        if self.filling.unsent().len() <= self.piece_bytes {
            session.speak(now, &mut self.filling, &[]);
            return (std::mem::replace(&mut self.filling, empty), self.received.len());
        }
        let frames = session.move_front(&mut self.filling, &mut empty, self.piece_bytes);
        session.speak(now, &mut empty, self.filling.unsent());
        (empty, usize::try_from(frames).unwrap_or(usize::MAX).min(self.received.len()))
    }

    /// When [`Outbound::flush`] must be called, even if nothing happens.
    pub fn deadline(&self) -> Option<Moment> {
        let lingering = !self.linger.time.is_zero() && !self.received.is_empty() && self.spare.is_some();
        lingering.then(|| self.gathering_since.after(self.linger.time))
    }

    /// Takes a buffer back from the engine, all of which was sent, at `sent_at`, or not.
    pub fn give_back(&mut self, mut buffer: SendBuffer, session: &Session, sent_at: Option<Moment>) {
        match sent_at {
            Some(now) => {
                self.sent_frames += std::mem::take(&mut self.in_flight_frames);
                self.adapt_piece(now);
            }
            None => self.note_partly_sent(buffer.sent_bytes(), session),
        }
        buffer.clear();
        self.spare = Some(buffer);
    }

    /// TCP took the last piece at some pace: the next one is as long as it takes within the time that it may.
    fn adapt_piece(&mut self, now: Moment) {
        let Some(allowed) = self.piece_time else { return };
        let took = now.since(self.in_flight_since);
        if took <= allowed / 2 {
            self.piece_bytes = (self.piece_bytes * 2).min(BUFFER_BYTES);
        } else {
            let within = self.in_flight_bytes as u128 * allowed.as_nanos() / took.as_nanos();
            // Half a buffer at most, so that there is room for what the session says behind it.
            let within = usize::try_from(within).unwrap_or(usize::MAX).min(BUFFER_BYTES / 2);
            self.piece_bytes = within.max(SHORTEST_PIECE_BYTES);
        }
    }

    /// The stream took `bytes` of the buffer in flight, and will take no more. Where the protocol keeps books, all of it
    /// counts as sent: what did not arrive is found to have been lost under way.
    pub fn note_partly_sent(&mut self, bytes: usize, session: &Session) {
        let frames = match session.frame_bytes() {
            Some(frame_bytes) => (bytes.saturating_sub(self.in_flight_start) / frame_bytes) as u64,
            None => self.in_flight_frames,
        };
        let sent = frames.min(self.in_flight_frames);
        self.in_flight_frames -= sent;
        self.sent_frames += sent;
    }

    /// The connection is of no use any more: drops what was not handed to TCP. Returns how many frames that cost.
    pub fn discard(&mut self, session: &mut Session) -> u64 {
        let frames = self.received.len() as u64;
        session.discard_front(&mut self.filling, frames, Cause::Outage);
        self.received.clear();
        self.filling.clear();
        frames
    }

    /// The connection is gone: does the same, and is as new.
    pub fn reset(&mut self, session: &mut Session) -> u64 {
        let frames = self.discard(session);
        self.in_flight_frames = 0;
        self.spare.get_or_insert_with(|| SendBuffer::with_capacity(BUFFER_BYTES));
        frames
    }

    /// Whether everything was handed to TCP.
    pub fn is_idle(&self) -> bool {
        self.spare.is_some() && self.filling.is_sent()
    }

    /// Frames handed to TCP so far.
    pub fn sent_frames(&self) -> u64 {
        self.sent_frames
    }

    /// Frames discarded so far because they had waited too long for the buffer before them.
    pub fn stale_frames(&self) -> u64 {
        self.stale_frames
    }

    /// Frames that are encoded and not handed to TCP.
    pub fn unsent_frames(&self) -> u64 {
        self.received.len() as u64 + self.in_flight_frames
    }

    /// Whether more frames are waited for.
    fn lingers(&self, now: Moment) -> bool {
        let Linger { time, frames } = self.linger;
        !time.is_zero()
            && !self.received.is_empty()
            && self.received.len() < frames
            && self.gathering_since.after(time) > now
    }

    /// Discards what grew too old while the buffer before it was in flight. Its sequence numbers are used up: the peer sees
    /// what is missing.
    fn discard_stale(&mut self, session: &mut Session, now: WallTime) {
        let is_stale = |received: &WallTime| now.nanos_since(*received) > self.max_age_ns;
        if !self.received.front().is_some_and(is_stale) {
            return;
        }
        let stale = self.received.iter().take_while(|received| is_stale(received)).count();
        session.discard_front(&mut self.filling, stale as u64, Cause::Stale);
        self.received.drain(..stale);
        self.stale_frames += stale as u64;
    }
}
