//! Version 4 after the greeting: fixed-size frames both ways, each direction with its own sequence numbers.

use super::{Fault, Progress, Sample};
use crate::buffer::SendBuffer;
use crate::frame::{Frame, Image, Kind};
use crate::moment::WallTime;
use crate::wire::sequence::{Arrival, SequenceCounters, SequenceTracker};
use crate::wire::v4::{Layout, NotRepresentable};

/// A frame from the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceivedFrame {
    /// The frame as the kernel takes it.
    pub frame: Frame,
    /// When the peer received it, by the peer's clock, where the link carries times.
    pub peer_time: Option<WallTime>,
}

/// Where a session puts the frames that it received.
pub trait FrameQueue {
    /// Whether one more frame fits.
    fn has_room(&self) -> bool;
    /// Takes a frame; called only while there is room.
    fn push(&mut self, inbound: ReceivedFrame);
}

/// What became of a frame for the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It lies encoded in the buffer.
    Queued,
    /// The protocol has no encoding for this kind; counted.
    NotRepresentable,
    /// The buffer has no room. The frame's sequence number is used up, so that the peer sees that it is missing.
    Full,
}

/// What a session counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionCounters {
    /// Frames encoded for the peer.
    pub encoded: u64,
    /// Remote frames kept off the link.
    pub remote_frames: u64,
    /// Error frames kept off the link.
    pub error_frames: u64,
    /// FD frames kept off the link.
    pub fd_frames: u64,
    /// What the peer's sequence numbers told.
    pub sequence: SequenceCounters,
}

/// The framing of an open connection.
#[derive(Debug)]
pub(super) struct Framing {
    layout: Layout,
    next_sequence: u32,
    tracker: SequenceTracker,
    counters: SessionCounters,
}

impl Framing {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            next_sequence: 0,
            tracker: SequenceTracker::default(),
            counters: SessionCounters::default(),
        }
    }

    pub(super) fn counters(&self) -> SessionCounters {
        SessionCounters { sequence: self.tracker.counters(), ..self.counters }
    }

    pub(super) fn receive(&mut self, bytes: &[u8], queue: &mut impl FrameQueue) -> Result<Progress, Fault> {
        let mut frames = bytes.chunks_exact(self.layout.frame_bytes());
        let mut consumed = 0;
        for encoded in &mut frames {
            if !queue.has_room() {
                return Ok(Progress { consumed, blocked: true });
            }
            let view = self
                .layout
                .view(encoded)
                .map_err(|malformed| Fault::Malformed { malformed, sample: Sample::of(encoded) })?;
            consumed += encoded.len();
            let arrival = view.sequence().map(|number| self.tracker.receive(number));
            // A frame that was put on the bus already must not go there again.
            if arrival != Some(Arrival::Duplicate) {
                let peer_time = view.time_us().map(|time| WallTime::from_nanos(time.saturating_mul(1_000)));
                queue.push(ReceivedFrame { frame: view.to_frame(), peer_time });
            }
        }
        Ok(Progress { consumed, blocked: false })
    }

    /// Uses up a sequence number for a frame that will not be sent.
    pub(super) fn skip(&mut self) {
        self.next_sequence = self.next_sequence.wrapping_add(1);
    }

    pub(super) fn send(&mut self, image: Image<'_>, received_at: WallTime, out: &mut SendBuffer) -> Outcome {
        let frame_bytes = self.layout.frame_bytes();
        let room = out.vacant();
        if room.len() < frame_bytes {
            // What has no encoding is refused whether there is room or not, and takes no number.
            if image.kind() == Kind::Data {
                self.skip();
                return Outcome::Full;
            }
        }
        match self.layout.encode(image, self.next_sequence, received_at, room) {
            Ok(()) => {
                out.advance(frame_bytes);
                self.skip();
                self.counters.encoded += 1;
                Outcome::Queued
            }
            Err(NotRepresentable(kind)) => {
                *match kind {
                    Kind::Remote => &mut self.counters.remote_frames,
                    Kind::Error => &mut self.counters.error_frames,
                    Kind::Fd | Kind::Data => &mut self.counters.fd_frames,
                } += 1;
                Outcome::NotRepresentable
            }
        }
    }
}
