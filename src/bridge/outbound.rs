//! Bus to peer: frames gather in one buffer while the other is on its way.

use std::io;
use std::time::Duration;

use crate::buffer::SendBuffer;
use crate::engine::{Engine, Sending, StreamId};
use crate::frame::Image;
use crate::moment::{Moment, Now, WallTime};
use crate::session::{Cause, Outcome, Session};

/// Bytes of each of a link's two send buffers: a quarter of a second of 40,000 frames a second in version 5's entries. A
/// faster peer that stalls loses the newest frames, which are counted as `slow_peer`.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// Frames that a buffer can hold: the shortest have 14 bytes.
const BUFFER_FRAMES: usize = BUFFER_BYTES / 14;

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
    received: Vec<WallTime>,
    /// When the first of them was added.
    gathering_since: Moment,
    /// The other buffer, unless it is in flight.
    spare: Option<SendBuffer>,
    /// Frames in the buffer that is in flight, and where in it they begin.
    in_flight_frames: u64,
    in_flight_start: usize,
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
            received: Vec::with_capacity(BUFFER_FRAMES),
            gathering_since: Moment::default(),
            spare: Some(SendBuffer::with_capacity(BUFFER_BYTES)),
            in_flight_frames: 0,
            in_flight_start: 0,
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
        let outcome = session.send(bus, image, received_at, &mut self.filling);
        if outcome == Outcome::Queued {
            self.received.push(received_at);
        }
        outcome
    }

    /// Sends what has gathered and what the session has to say, unless a buffer is in flight already. `sent` sees when
    /// the kernel received each frame.
    ///
    /// # Errors
    /// The stream is broken.
    pub fn flush<E: Engine>(
        &mut self,
        engine: &mut E,
        stream: StreamId,
        session: &mut Session,
        now: Now,
        sent: impl FnOnce(&[WallTime]),
    ) -> io::Result<()> {
        if self.spare.is_none() {
            return Ok(());
        }
        self.discard_stale(session, now.wall);
        let speaks = session.has_something_to_say();
        if !speaks && (self.filling.is_sent() || self.lingers(now.monotonic)) {
            return Ok(());
        }
        session.speak(now, &mut self.filling);
        let Some(empty) = self.spare.take() else { return Ok(()) };
        let full = std::mem::replace(&mut self.filling, empty);
        self.in_flight_frames = self.received.len() as u64;
        self.in_flight_start = full.sent_bytes();
        sent(&self.received);
        self.received.clear();
        match engine.send(stream, full) {
            Sending::Done(buffer) => {
                self.give_back(buffer, session, true);
                Ok(())
            }
            Sending::InFlight => Ok(()),
            Sending::Failed { buffer, error } => {
                self.give_back(buffer, session, false);
                Err(error)
            }
        }
    }

    /// When [`Outbound::flush`] must be called, even if nothing happens.
    pub fn deadline(&self) -> Option<Moment> {
        let lingering = !self.linger.time.is_zero() && !self.received.is_empty() && self.spare.is_some();
        lingering.then(|| self.gathering_since.after(self.linger.time))
    }

    /// Takes a buffer back from the engine.
    pub fn give_back(&mut self, mut buffer: SendBuffer, session: &Session, sent: bool) {
        if sent {
            self.sent_frames += std::mem::take(&mut self.in_flight_frames);
        } else {
            self.note_partly_sent(buffer.sent_bytes(), session);
        }
        buffer.clear();
        self.spare = Some(buffer);
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
        if !self.received.first().is_some_and(is_stale) {
            return;
        }
        let stale = self.received.iter().take_while(|received| is_stale(received)).count();
        session.discard_front(&mut self.filling, stale as u64, Cause::Stale);
        self.received.drain(..stale);
        self.filling.compact();
        self.stale_frames += stale as u64;
    }
}
