//! The small values of a histogram, counted by step alone: two or three instructions a value, where the histogram takes sixty
//! to find its place among steps that grow.

use hdrhistogram::Histogram;

/// Steps that are counted here: those that the histogram keeps apart in its finest one, 2,048 at three digits. Of times that
/// is everything below 131 µs, of batches everything below 2,048 frames.
const STEPS: usize = 2048;

/// How often each of the first [`STEPS`] steps of a histogram was recorded, beyond what the histogram itself holds.
#[derive(Debug)]
pub struct Near {
    counts: Box<[u64; STEPS]>,
    /// A step is two to this power: the histogram's own.
    step_bits: u32,
    is_empty: bool,
}

impl Near {
    /// For a histogram that tells `lowest` from zero.
    pub fn new(lowest: u64) -> Self {
        Self { counts: Box::new([0; STEPS]), step_bits: lowest.ilog2(), is_empty: true }
    }

    /// Counts a value; false if it is too large for here, and was not counted.
    #[inline]
    pub fn record(&mut self, value: u64, count: u32) -> bool {
        let step = usize::try_from(value >> self.step_bits).unwrap_or(STEPS);
        let Some(counted) = self.counts.get_mut(step) else { return false };
        *counted += u64::from(count);
        self.is_empty = false;
        true
    }

    /// Moves all to the histogram, which is then as if it had been given the values.
    pub fn move_to(&mut self, histogram: &mut Histogram<u64>) {
        if std::mem::replace(&mut self.is_empty, true) {
            return;
        }
        for (value, count) in (0u64..).zip(self.counts.iter_mut()).filter(|(_, count)| **count > 0) {
            histogram.saturating_record_n(value << self.step_bits, std::mem::take(count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::histograms::Kind;

    /// Values all over the steps, and where these begin to grow.
    fn values() -> impl Iterator<Item = u64> {
        (0..140_000).step_by(37).chain([63, 64, 131_071, 131_072, 10_000_000])
    }

    #[test]
    fn a_histogram_cannot_tell_how_it_was_given_its_values() {
        for kind in Kind::ALL {
            let mut direct = kind.histogram();
            let (mut near, mut rest) = (Near::new(kind.lowest()), kind.histogram());
            for (count, value) in (1..).zip(values()) {
                direct.saturating_record_n(value, u64::from(count));
                if !near.record(value, count) {
                    rest.saturating_record_n(value, u64::from(count));
                }
            }
            near.move_to(&mut rest);
            assert_eq!(rest, direct, "{kind:?}");
            assert_eq!((rest.min(), rest.max(), rest.len()), (direct.min(), direct.max(), direct.len()));
            assert_eq!(rest.min_nz(), direct.min_nz());
            near.move_to(&mut rest);
            assert_eq!(rest, direct, "moved once");
        }
    }

    #[test]
    fn small_values_stay_out_of_the_histogram_until_they_are_moved() {
        let mut near = Near::new(100);
        assert!(near.record(131_071, 1) && !near.record(131_072, 1));
        let mut histogram = Kind::CanToTcp.histogram();
        near.move_to(&mut histogram);
        assert_eq!((histogram.len(), histogram.max()), (1, 131_071));
    }
}
