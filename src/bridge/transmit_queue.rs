//! Frames from the peer that wait for the bus.
//!
//! Bounded in number and in time: what the bus does not take within the age limit is discarded and counted as stale,
//! because a command that comes late is worse than one that is missing. The peer's stream is read on meanwhile, so
//! that frames grow old here, where it can be seen.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frame::Frame;
use crate::moment::Moment;
use crate::session::{FrameQueue, ReceivedFrame};

/// Frames that may wait: a second of a saturated 500 kbit/s bus. One turn's worth of a stream can be as many
/// (`STREAM_RECEIVE_BYTES`); the rest of it is shown again when these are written.
pub const CAPACITY: usize = 4096;

/// A ring of frames, each with the moment of its arrival. Allocated once; its pages are touched as far as it fills.
#[derive(Debug)]
pub struct TransmitQueue {
    frames: VecDeque<Frame>,
    arrivals: VecDeque<Moment>,
    max_age: Option<Duration>,
    /// The moment given to frames that are pushed.
    now: Moment,
}

impl TransmitQueue {
    /// An empty queue whose frames may wait for `max_age`.
    pub fn new(max_age: Option<Duration>) -> Self {
        Self {
            frames: VecDeque::with_capacity(CAPACITY),
            arrivals: VecDeque::with_capacity(CAPACITY),
            max_age,
            now: Moment::default(),
        }
    }

    /// Sets the arrival of the frames that come next.
    pub fn set_now(&mut self, now: Moment) {
        self.now = now;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// The oldest frames, as many as lie in one piece.
    pub fn front(&self) -> &[Frame] {
        self.frames.as_slices().0
    }

    /// Takes `count` frames away from the front.
    pub fn remove(&mut self, count: usize) {
        self.frames.drain(..count);
        self.arrivals.drain(..count);
    }

    /// When the oldest frame will have waited too long.
    pub fn deadline(&self) -> Option<Moment> {
        Some(self.arrivals.front()?.after(self.max_age?))
    }

    /// Discards what has waited too long; returns how many.
    pub fn discard_stale(&mut self, now: Moment) -> usize {
        let Some(max_age) = self.max_age else { return 0 };
        let stale = self.arrivals.iter().take_while(|arrival| arrival.after(max_age) <= now).count();
        self.remove(stale);
        stale
    }

    /// Discards everything; returns how many.
    pub fn clear(&mut self) -> usize {
        let discarded = self.len();
        self.remove(discarded);
        discarded
    }
}

impl FrameQueue for TransmitQueue {
    fn has_room(&self) -> bool {
        self.frames.len() < CAPACITY
    }

    fn push(&mut self, received: ReceivedFrame) {
        self.frames.push_back(received.frame);
        self.arrivals.push_back(self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Identifier;

    fn received(raw: u32) -> ReceivedFrame {
        ReceivedFrame {
            frame: Frame::data(Identifier::extended(raw).unwrap(), &[]).unwrap(),
            peer_time: None,
        }
    }

    fn identifiers(frames: &[Frame]) -> Vec<u32> {
        frames.iter().map(|frame| frame.image().identifier().raw()).collect()
    }

    #[test]
    fn keeps_order_across_the_end_of_the_ring_and_never_grows() {
        let mut queue = TransmitQueue::new(None);
        let capacity = queue.frames.capacity();
        for round in 0..3 {
            for raw in 0..CAPACITY as u32 {
                assert!(queue.has_room());
                queue.push(received(round * 10_000 + raw));
            }
            assert!(!queue.has_room());
            let mut taken = Vec::new();
            while !queue.is_empty() {
                let piece = queue.front().len().min(1_500);
                taken.extend(identifiers(&queue.front()[..piece]));
                queue.remove(piece);
            }
            assert_eq!(taken, (round * 10_000..round * 10_000 + 4_096).collect::<Vec<_>>());
        }
        assert_eq!(queue.frames.capacity(), capacity);
    }

    #[test]
    fn what_waits_too_long_is_discarded() {
        let milliseconds = |count: u64| Moment::from_nanos(count * 1_000_000);
        let mut queue = TransmitQueue::new(Some(Duration::from_millis(250)));
        queue.set_now(milliseconds(10));
        queue.push(received(1));
        queue.set_now(milliseconds(11));
        queue.push(received(2));
        assert_eq!(queue.deadline(), Some(milliseconds(260)));
        assert_eq!(queue.discard_stale(milliseconds(259)), 0);
        assert_eq!(queue.discard_stale(milliseconds(260)), 1);
        assert_eq!(identifiers(queue.front()), [2]);
        assert_eq!(queue.clear(), 1);
        assert_eq!(queue.deadline(), None);
    }

    #[test]
    fn without_a_limit_nothing_grows_too_old() {
        let mut queue = TransmitQueue::new(None);
        queue.push(received(1));
        assert_eq!(queue.deadline(), None);
        assert_eq!(queue.discard_stale(Moment::from_nanos(u64::MAX)), 0);
    }
}
