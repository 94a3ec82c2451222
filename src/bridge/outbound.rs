//! Bus to peer: frames gather in one buffer while the other is on its way.

use std::io;
use std::time::Duration;

use crate::buffer::SendBuffer;
use crate::engine::{Engine, Sending, StreamId};
use crate::frame::Image;
use crate::moment::{Moment, WallTime};
use crate::session::{Outcome, Session};

/// Bytes of each of a link's two send buffers: a quarter of a second of 40,000 frames a second in the longest version
/// 4 layout. A faster peer that stalls loses the newest frames, which are counted as `slow_peer`.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// The sending half of a link.
#[derive(Debug)]
pub struct Outbound {
    filling: SendBuffer,
    filling_frames: u64,
    /// When the oldest frame of `filling` was added.
    filling_since: Moment,
    /// The other buffer, unless it is in flight.
    spare: Option<SendBuffer>,
    /// Frames in the buffer that is in flight, and the bytes of each.
    in_flight_frames: u64,
    frame_bytes: usize,
    max_age: Option<Duration>,
    /// Frames of buffers that were sent.
    sent_frames: u64,
    /// Frames that were discarded because a buffer was in flight for too long.
    stale_frames: u64,
}

impl Outbound {
    /// Nothing to send yet. Frames may wait for `max_age`.
    pub fn new(max_age: Option<Duration>) -> Self {
        Self {
            filling: SendBuffer::with_capacity(BUFFER_BYTES),
            filling_frames: 0,
            filling_since: Moment::default(),
            spare: Some(SendBuffer::with_capacity(BUFFER_BYTES)),
            in_flight_frames: 0,
            frame_bytes: 1,
            max_age,
            sent_frames: 0,
            stale_frames: 0,
        }
    }

    /// Adds bytes that are no frame. The greeting is the only one, and the first: it always fits.
    pub fn add_greeting(&mut self, bytes: &[u8]) {
        assert!(self.filling.append(bytes), "the greeting goes into an empty buffer");
    }

    /// Encodes a frame behind those that wait.
    pub fn add_frame(
        &mut self,
        session: &mut Session,
        image: Image<'_>,
        received_at: WallTime,
        now: Moment,
    ) -> Outcome {
        if self.filling_frames == 0 {
            self.filling_since = now;
        } else {
            self.discard_stale(now);
        }
        let before = self.filling.unsent().len();
        let outcome = session.send(image, received_at, &mut self.filling);
        if outcome == Outcome::Queued {
            self.filling_frames += 1;
            self.frame_bytes = self.filling.unsent().len() - before;
        }
        outcome
    }

    /// Sends what has gathered, unless a buffer is in flight already.
    ///
    /// # Errors
    /// The stream is broken.
    pub fn flush<E: Engine>(&mut self, engine: &mut E, stream: StreamId, now: Moment) -> io::Result<()> {
        if self.filling.is_sent() {
            return Ok(());
        }
        let Some(empty) = self.spare.take() else { return Ok(()) };
        self.discard_stale(now);
        let full = std::mem::replace(&mut self.filling, empty);
        self.in_flight_frames = std::mem::take(&mut self.filling_frames);
        match engine.send(stream, full) {
            Sending::Done(buffer) => {
                self.give_back(buffer, true);
                Ok(())
            }
            Sending::InFlight => Ok(()),
            Sending::Failed { buffer, error } => {
                self.give_back(buffer, false);
                Err(error)
            }
        }
    }

    /// Takes a buffer back from the engine.
    pub fn give_back(&mut self, mut buffer: SendBuffer, sent: bool) {
        if sent {
            self.sent_frames += std::mem::take(&mut self.in_flight_frames);
        } else {
            self.note_partly_sent(buffer.sent_bytes());
        }
        buffer.clear();
        self.spare = Some(buffer);
    }

    /// The stream took `bytes` of the buffer in flight, and will take no more.
    pub fn note_partly_sent(&mut self, bytes: usize) {
        let frames = (bytes / self.frame_bytes) as u64;
        let sent = frames.min(self.in_flight_frames);
        self.in_flight_frames -= sent;
        self.sent_frames += sent;
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
        self.filling_frames + self.in_flight_frames
    }

    /// Discards what gathered while the buffer before it was in flight for too long. Its sequence numbers are used up:
    /// the peer sees what is missing.
    fn discard_stale(&mut self, now: Moment) {
        let Some(max_age) = self.max_age else { return };
        if self.filling_frames > 0 && self.filling_since.after(max_age) <= now {
            self.stale_frames += std::mem::take(&mut self.filling_frames);
            self.filling.clear();
            self.filling_since = now;
        }
    }
}
