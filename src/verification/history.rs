//! When frames were due that are too long ago to be remembered one by one: enough to know a stamp again.

use crate::load::Stamp;

/// Points in time that are kept. When there are more, every other one is forgotten, and the distance doubles.
const POINTS_MAX: usize = 4096;

/// The times that stamps may have, at evenly spaced numbers.
#[derive(Debug)]
pub(super) struct History {
    first: u64,
    stride: u64,
    /// The latest due time stamped up to each number, microseconds modulo 2^32.
    points: Vec<u32>,
    latest_us: u32,
    next: u64,
}

impl History {
    pub fn new() -> Self {
        Self { first: 0, stride: 1, points: Vec::with_capacity(POINTS_MAX), latest_us: 0, next: 0 }
    }

    /// Notes a frame that was sent; its stamp if it has one.
    pub fn push(&mut self, number: u64, stamp: Option<Stamp>) {
        if self.points.is_empty() {
            self.first = number;
        }
        if let Some(stamp) = stamp {
            self.latest_us = stamp.due_us;
        }
        self.next = number + 1;
        if (number - self.first).is_multiple_of(self.stride) {
            if self.points.len() == POINTS_MAX {
                self.thin_out();
            }
            // The number of points is even then: the next one's place is still a multiple of the stride.
            self.points.push(self.latest_us);
        }
    }

    fn thin_out(&mut self) {
        let mut at = 0;
        self.points.retain(|_| {
            at += 1;
            at % 2 == 1
        });
        self.stride *= 2;
    }

    /// The number of the frame sent last whose lower 32 bits are these.
    pub fn number(&self, lower: u32) -> Option<u64> {
        let last = self.next.checked_sub(1)?;
        let number = last.checked_sub(u64::from((last as u32).wrapping_sub(lower)))?;
        (number >= self.first).then_some(number)
    }

    /// Whether a frame of this number may have been due then.
    pub fn is_plausible(&self, number: u64, due_us: u32) -> bool {
        let Some(point) = number.checked_sub(self.first).map(|number| (number / self.stride) as usize) else {
            return false;
        };
        let Some(&from_us) = self.points.get(point) else { return false };
        let until_us = self.points.get(point + 1).copied().unwrap_or(self.latest_us);
        due_us.wrapping_sub(from_us) <= until_us.wrapping_sub(from_us)
    }
}
