//! Frames from the peer that wait for the bus.
//!
//! Bounded in number and in time: what the bus does not take within [`MAX_WAIT`] is discarded and counted as stale,
//! because a command that comes late is worse than one that is missing. The peer's stream is read on meanwhile, so
//! that nothing grows old in the kernel, where it could not be seen.

use std::time::Duration;

use crate::frame::Frame;
use crate::moment::Moment;
use crate::session::{Inbound, InboundQueue};

/// Frames that may wait: a second of a saturated 500 kbit/s bus, four times what [`MAX_WAIT`] lets pass. One turn's
/// worth of a stream is more (`STREAM_RECEIVE_BYTES`); the rest of it is shown again when these are written.
pub const CAPACITY: usize = 4096;

/// How long a frame may wait for the bus.
pub const MAX_WAIT: Duration = Duration::from_millis(250);

/// A ring of frames, each with the moment of its arrival.
#[derive(Debug)]
pub struct TransmitQueue {
    frames: Box<[Frame]>,
    arrivals: Box<[Moment]>,
    /// Index of the oldest frame.
    first: usize,
    length: usize,
    /// The moment given to frames that are pushed.
    now: Moment,
}

impl TransmitQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            frames: vec![Frame::EMPTY; CAPACITY].into_boxed_slice(),
            arrivals: vec![Moment::default(); CAPACITY].into_boxed_slice(),
            first: 0,
            length: 0,
            now: Moment::default(),
        }
    }

    /// Sets the arrival of the frames that come next.
    pub fn set_now(&mut self, now: Moment) {
        self.now = now;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// The oldest frames, as many as lie in one piece.
    pub fn front(&self) -> &[Frame] {
        let end = CAPACITY.min(self.first + self.length);
        &self.frames[self.first..end]
    }

    /// Takes `count` frames away from the front.
    pub fn remove(&mut self, count: usize) {
        assert!(count <= self.length, "more removed than waited");
        self.first = (self.first + count) % CAPACITY;
        self.length -= count;
    }

    /// When the oldest frame will have waited too long.
    pub fn deadline(&self) -> Option<Moment> {
        (!self.is_empty()).then(|| self.arrivals[self.first].after(MAX_WAIT))
    }

    /// Discards what has waited too long; returns how many.
    pub fn discard_stale(&mut self, now: Moment) -> usize {
        let mut discarded = 0;
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.remove(1);
            discarded += 1;
        }
        discarded
    }

    /// Discards everything; returns how many.
    pub fn clear(&mut self) -> usize {
        let discarded = self.length;
        self.remove(discarded);
        discarded
    }
}

impl InboundQueue for TransmitQueue {
    fn has_room(&self) -> bool {
        self.length < CAPACITY
    }

    fn push(&mut self, inbound: Inbound) {
        let index = (self.first + self.length) % CAPACITY;
        self.frames[index] = inbound.frame;
        self.arrivals[index] = self.now;
        self.length += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Identifier;

    fn inbound(raw: u32) -> Inbound {
        Inbound { frame: Frame::data(Identifier::extended(raw).unwrap(), &[]).unwrap(), peer_time: None }
    }

    fn identifiers(frames: &[Frame]) -> Vec<u32> {
        frames.iter().map(|frame| frame.image().identifier().raw()).collect()
    }

    #[test]
    fn keeps_order_across_the_end_of_the_ring() {
        let mut queue = TransmitQueue::new();
        for round in 0..3 {
            for raw in 0..CAPACITY as u32 {
                assert!(queue.has_room());
                queue.push(inbound(round * 10_000 + raw));
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
    }

    #[test]
    fn what_waits_250_ms_is_discarded() {
        let milliseconds = |count: u64| Moment::from_nanos(count * 1_000_000);
        let mut queue = TransmitQueue::new();
        queue.set_now(milliseconds(10));
        queue.push(inbound(1));
        queue.set_now(milliseconds(11));
        queue.push(inbound(2));
        assert_eq!(queue.deadline(), Some(milliseconds(260)));
        assert_eq!(queue.discard_stale(milliseconds(259)), 0);
        assert_eq!(queue.discard_stale(milliseconds(260)), 1);
        assert_eq!(identifiers(queue.front()), [2]);
        assert_eq!(queue.clear(), 1);
        assert_eq!(queue.deadline(), None);
    }
}
