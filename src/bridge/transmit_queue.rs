//! Frames from the peer that wait for the bus.
//!
//! Bounded in number and in time: what the bus does not take within the age limit is discarded and counted as stale,
//! because a command that comes late is worse than one that is missing. The peer's stream is read on meanwhile, so
//! that frames grow old here, where it can be seen.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frame::Frame;
use crate::moment::{Moment, nanoseconds};

/// Frames that may wait: a second of a saturated 500 kbit/s bus. One turn's worth of a stream can be as many
/// (`STREAM_RECEIVE_BYTES`); the rest of it is shown again when these are written.
pub const CAPACITY: usize = 4096;

/// When a frame came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// From the peer.
    pub at: Moment,
    /// When it is too old: [`Moment::NEVER`] where frames may have any age.
    pub fresh_until: Moment,
}

/// Frames from the front of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    pub frames: &'a [Frame],
    /// One for each.
    pub arrivals: &'a [Arrival],
    /// When the first of them becomes too old.
    pub fresh_until: Moment,
}

/// A ring of frames, each with its arrival. Allocated once; its pages are touched as far as it fills.
#[derive(Debug)]
pub struct TransmitQueue {
    frames: VecDeque<Frame>,
    arrivals: VecDeque<Arrival>,
    max_age_ns: Option<u64>,
}

impl TransmitQueue {
    /// An empty queue whose frames may have an age of `max_age`.
    pub fn new(max_age: Option<Duration>) -> Self {
        Self {
            frames: VecDeque::with_capacity(CAPACITY),
            arrivals: VecDeque::with_capacity(CAPACITY),
            max_age_ns: max_age.map(nanoseconds),
        }
    }

    /// The arrival at `now` of a frame that has such an age by then.
    #[inline]
    pub fn arrival(&self, now: Moment, age_ns: u64) -> Arrival {
        let origin = now.before_nanos(age_ns);
        Arrival { at: now, fresh_until: self.max_age_ns.map_or(Moment::NEVER, |max| origin.after_nanos(max)) }
    }

    /// Whether one more frame fits.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.frames.len() < CAPACITY
    }

    /// Adds a frame, for which there is room.
    #[inline]
    pub fn push(&mut self, frame: Frame, arrival: Arrival) {
        self.frames.push_back(frame);
        self.arrivals.push_back(arrival);
    }

    /// What waits, oldest first.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> + Clone {
        self.frames.iter()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// The oldest frames, as many as lie in one piece and are fresh, `limit` at most.
    #[inline]
    pub fn front(&self, now: Moment, limit: usize) -> Piece<'_> {
        let (frames, arrivals) = (self.frames.as_slices().0, self.arrivals.as_slices().0);
        let piece = frames.len().min(arrivals.len()).min(limit);
        let (mut fresh, mut fresh_until) = (0, Moment::NEVER);
        for arrival in &arrivals[..piece] {
            if arrival.is_stale(now) {
                break;
            }
            fresh_until = fresh_until.min(arrival.fresh_until);
            fresh += 1;
        }
        Piece { frames: &frames[..fresh], arrivals: &arrivals[..fresh], fresh_until }
    }

    /// Takes `count` frames away from the front.
    #[inline]
    pub fn remove(&mut self, count: usize) {
        if count == self.len() {
            // All, as is usual: that needs no moving.
            self.frames.clear();
            self.arrivals.clear();
        } else {
            self.frames.drain(..count);
            self.arrivals.drain(..count);
        }
    }

    /// When the oldest frame will have waited too long.
    pub fn deadline(&self) -> Option<Moment> {
        self.arrivals.front().map(|arrival| arrival.fresh_until).filter(|until| *until != Moment::NEVER)
    }

    /// Whether the oldest frame has waited too long.
    #[inline]
    pub fn has_stale(&self, now: Moment) -> bool {
        self.arrivals.front().is_some_and(|arrival| arrival.is_stale(now))
    }

    /// Discards what has waited too long at the front; returns how many.
    pub fn discard_stale(&mut self, now: Moment) -> usize {
        let stale = self.arrivals.iter().take_while(|arrival| arrival.is_stale(now)).count();
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

impl Arrival {
    /// Whether the frame is too old.
    #[inline]
    pub fn is_stale(self, now: Moment) -> bool {
        self.fresh_until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Identifier;

    const NEVER_TOO_LATE: Moment = Moment::from_nanos(0);

    fn frame(raw: u32) -> Frame {
        Frame::data(Identifier::extended(raw).unwrap(), &[]).unwrap()
    }

    fn milliseconds(count: u64) -> Moment {
        Moment::from_nanos(count * 1_000_000)
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
                queue.push(frame(round * 10_000 + raw), queue.arrival(NEVER_TOO_LATE, 0));
            }
            assert!(!queue.has_room());
            let mut taken = Vec::new();
            while !queue.is_empty() {
                let Piece { frames, arrivals, .. } = queue.front(NEVER_TOO_LATE, 1_500);
                assert_eq!(frames.len(), arrivals.len());
                assert!(frames.len() <= 1_500);
                let piece = frames.len();
                taken.extend(identifiers(&frames[..piece]));
                queue.remove(piece);
            }
            assert_eq!(taken, (round * 10_000..round * 10_000 + 4_096).collect::<Vec<_>>());
        }
        assert_eq!(queue.frames.capacity(), capacity);
    }

    #[test]
    fn what_waits_too_long_is_discarded() {
        let mut queue = TransmitQueue::new(Some(Duration::from_millis(250)));
        queue.push(frame(1), queue.arrival(milliseconds(10), 0));
        queue.push(frame(2), queue.arrival(milliseconds(11), 0));
        assert_eq!(queue.deadline(), Some(milliseconds(260)));
        assert_eq!(queue.discard_stale(milliseconds(259)), 0);
        assert_eq!(queue.discard_stale(milliseconds(260)), 1);
        assert_eq!(identifiers(queue.front(milliseconds(260), CAPACITY).frames), [2]);
        assert_eq!(queue.clear(), 1);
        assert_eq!(queue.deadline(), None);
    }

    #[test]
    fn what_was_old_when_it_came_does_not_wait() {
        let mut queue = TransmitQueue::new(Some(Duration::from_millis(250)));
        let old = [750, 751, 990, 999].map(|origin| {
            queue.arrival(milliseconds(1_000), milliseconds(1_000).nanos_since(milliseconds(origin)))
        });
        assert_eq!(old.map(|arrival| arrival.is_stale(milliseconds(1_000))), [true, false, false, false]);
        queue.push(frame(2), old[2]);
        queue.push(frame(3), old[1]);
        queue.push(frame(4), old[3]);
        // The one in the middle grows old first: it is not written with the one before it, or both before that.
        assert_eq!(queue.front(milliseconds(1_000), 2).fresh_until, milliseconds(1_001));
        assert_eq!(queue.front(milliseconds(1_000), 1).fresh_until, milliseconds(1_240));
        assert_eq!(identifiers(queue.front(milliseconds(1_001), CAPACITY).frames), [2]);
        queue.remove(1);
        assert_eq!(queue.discard_stale(milliseconds(1_001)), 1);
        assert_eq!(identifiers(queue.front(milliseconds(1_001), CAPACITY).frames), [4]);
    }

    #[test]
    fn without_a_limit_nothing_grows_too_old() {
        let mut queue = TransmitQueue::new(None);
        queue.push(frame(1), queue.arrival(NEVER_TOO_LATE, 0));
        assert_eq!(queue.deadline(), None);
        assert_eq!(queue.front(NEVER_TOO_LATE, CAPACITY).fresh_until, Moment::NEVER);
        let last = Moment::from_nanos(u64::MAX - 1);
        assert_eq!(queue.discard_stale(last), 0);
        assert_eq!(queue.front(last, CAPACITY).frames.len(), 1);
    }
}
