//! Version 4 after the greeting: fixed-size frames both ways, each direction with its own sequence numbers.

use super::{Fault, FrameQueue, Outcome, Progress, ReceivedFrame, Sample, SessionCounters};
use crate::buffer::SendBuffer;
use crate::frame::{Image, Kind};
use crate::moment::WallTime;
use crate::wire::sequence::{Arrival, SequenceTracker};
use crate::wire::v4::{Layout, NotRepresentable};

/// The bus of a version 4 connection: it knows of one.
const BUS: usize = 0;

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

    #[inline(never)]
    pub(super) fn receive(&mut self, bytes: &[u8], queue: &mut impl FrameQueue) -> Result<Progress, Fault> {
        let mut frames = bytes.chunks_exact(self.layout.frame_bytes());
        let mut consumed = 0;
        for encoded in &mut frames {
            if !queue.has_room(BUS) {
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
                // A time it may carry says nothing without knowing how its clock differs from ours.
                queue.push(BUS, ReceivedFrame::of_unknown_age(view.to_frame()));
            }
        }
        Ok(Progress { consumed, blocked: false })
    }

    /// Bytes of a frame.
    pub(super) fn frame_bytes(&self) -> usize {
        self.layout.frame_bytes()
    }

    pub(super) fn move_front(&self, out: &mut SendBuffer, into: &mut SendBuffer, limit: usize) -> u64 {
        let frame_bytes = self.layout.frame_bytes();
        let frames = (limit.min(out.unsent().len()).min(into.room()) / frame_bytes).max(1);
        let bytes = (frames * frame_bytes).min(out.unsent().len());
        if !into.append(&out.unsent()[..bytes]) {
            return 0;
        }
        out.consume(bytes);
        (bytes / frame_bytes) as u64
    }

    /// Uses up sequence numbers for frames that will not be sent.
    pub(super) fn skip(&mut self, count: u64) {
        // The number wraps at 2^32, and so does the count of those that are skipped.
        self.next_sequence = self.next_sequence.wrapping_add(count as u32);
    }

    /// Out of line, as [`Framing::receive`], for the sake of version 5, which does not come by here.
    #[inline(never)]
    pub(super) fn send(&mut self, image: Image<'_>, received_at: WallTime, out: &mut SendBuffer) -> Outcome {
        let frame_bytes = self.layout.frame_bytes();
        let encoded = match (image.kind(), out.vacant(frame_bytes)) {
            (Kind::Data, None) => {
                self.skip(1);
                return Outcome::Full;
            }
            (_, Some(room)) => self.layout.encode(image, self.next_sequence, received_at, room),
            // What has no encoding is refused whether there is room or not, and takes no number.
            (kind, None) => Err(NotRepresentable(kind)),
        };
        match encoded {
            Ok(()) => {
                out.advance(frame_bytes);
                self.skip(1);
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
