//! Bus to peer: frames gather in one buffer while the other is on its way.

use std::io;

use crate::buffer::SendBuffer;
use crate::engine::{Engine, Sending, StreamId};
use crate::frame::Image;
use crate::moment::WallTime;
use crate::session::{Outcome, Session};

/// Bytes of each of a link's two send buffers: a quarter of a second of 40,000 frames a second in the longest version
/// 4 layout. A peer that stalls longer loses the newest frames, which are counted as `slow_peer`.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// The sending half of a link.
#[derive(Debug)]
pub struct Outbound {
    filling: SendBuffer,
    filling_frames: u64,
    /// The other buffer, unless it is in flight.
    spare: Option<SendBuffer>,
    /// Frames in the buffer that is in flight.
    in_flight_frames: u64,
    /// Frames of buffers that were sent.
    sent_frames: u64,
}

impl Outbound {
    pub fn new() -> Self {
        Self {
            filling: SendBuffer::with_capacity(BUFFER_BYTES),
            filling_frames: 0,
            spare: Some(SendBuffer::with_capacity(BUFFER_BYTES)),
            in_flight_frames: 0,
            sent_frames: 0,
        }
    }

    /// Adds bytes that are no frame. The greeting is the only one, and the first: it always fits.
    pub fn add_greeting(&mut self, bytes: &[u8]) {
        assert!(self.filling.append(bytes), "the greeting goes into an empty buffer");
    }

    /// Encodes a frame behind those that wait.
    pub fn add_frame(&mut self, session: &mut Session, image: Image<'_>, received_at: WallTime) -> Outcome {
        let outcome = session.send(image, received_at, &mut self.filling);
        self.filling_frames += u64::from(outcome == Outcome::Queued);
        outcome
    }

    /// Sends what has gathered, unless a buffer is in flight already.
    ///
    /// # Errors
    /// The stream is broken.
    pub fn flush<E: Engine>(&mut self, engine: &mut E, stream: StreamId) -> io::Result<()> {
        if self.filling.is_sent() {
            return Ok(());
        }
        let Some(empty) = self.spare.take() else { return Ok(()) };
        let full = std::mem::replace(&mut self.filling, empty);
        self.in_flight_frames = std::mem::take(&mut self.filling_frames);
        match engine.send(stream, full) {
            Sending::Done(buffer) => {
                self.give_back(buffer, true);
                Ok(())
            }
            Sending::InFlight => Ok(()),
            Sending::Failed { error, .. } => Err(error),
        }
    }

    /// Takes a buffer back from the engine.
    pub fn give_back(&mut self, mut buffer: SendBuffer, sent: bool) {
        buffer.clear();
        self.spare = Some(buffer);
        if sent {
            self.sent_frames += std::mem::take(&mut self.in_flight_frames);
        }
    }

    /// Whether everything was handed to TCP.
    pub fn is_idle(&self) -> bool {
        self.spare.is_some() && self.filling.is_sent()
    }

    /// Frames handed to TCP so far.
    pub fn sent_frames(&self) -> u64 {
        self.sent_frames
    }

    /// Frames that are encoded and not handed to TCP.
    pub fn unsent_frames(&self) -> u64 {
        self.filling_frames + self.in_flight_frames
    }
}
