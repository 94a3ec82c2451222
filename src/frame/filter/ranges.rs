//! Ranges of identifiers: merged, widened, and cut into the masks that a kernel rule can express.

/// Identifiers `first` to `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) last: u32,
}

/// Sorted ranges of which no two touch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ranges(Vec<Range>);

impl Ranges {
    pub(super) fn merged(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let touches = next.first <= kept.last.saturating_add(1);
            if touches {
                kept.last = kept.last.max(next.last);
            }
            touches
        });
        Self(ranges)
    }

    pub(super) fn as_slice(&self) -> &[Range] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        let after = self.0.partition_point(|range| range.first <= id);
        after > 0 && id <= self.0[after - 1].last
    }

    /// The ranges with their ends moved outward to multiples of 2^`bits`, within identifiers up to `widest`.
    pub(super) fn widened(&self, bits: u32, widest: u32) -> Self {
        let slack = (1 << bits) - 1;
        let widen =
            |range: &Range| Range { first: range.first & !slack, last: (range.last | slack).min(widest) };
        Self::merged(self.0.iter().map(widen).collect())
    }

    /// The ranges as (id, mask) pairs within identifiers up to `widest` (all ones): the fewest aligned blocks.
    pub(super) fn blocks(&self, widest: u32) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().flat_map(move |range| Blocks { next: range.first, last: range.last, widest })
    }
}

struct Blocks {
    next: u32,
    last: u32,
    widest: u32,
}

impl Iterator for Blocks {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        if self.next > self.last {
            return None;
        }
        // The largest block that begins here is limited by the alignment and by what is left.
        let aligned = self.next.trailing_zeros().min(self.widest.count_ones());
        let left = (self.last - self.next + 1).ilog2();
        let size = 1 << aligned.min(left);
        let block = (self.next, self.widest & !(size - 1));
        self.next += size;
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges(pairs: &[(u32, u32)]) -> Ranges {
        Ranges::merged(pairs.iter().map(|&(first, last)| Range { first, last }).collect())
    }

    #[test]
    fn touching_ranges_become_one() {
        assert_eq!(ranges(&[(5, 6), (0, 2), (3, 4), (9, 20), (10, 11)]), ranges(&[(0, 6), (9, 20)]));
        assert_eq!(ranges(&[(5, 6), (0, 2), (3, 4), (9, 20), (10, 11)]).as_slice().len(), 2);
    }

    #[test]
    fn blocks_are_the_fewest() {
        let blocks = |first, last, widest| ranges(&[(first, last)]).blocks(widest).collect::<Vec<_>>();
        assert_eq!(blocks(0x100, 0x1FF, 0x7FF), [(0x100, 0x700)]);
        assert_eq!(blocks(0x7FF, 0x7FF, 0x7FF), [(0x7FF, 0x7FF)]);
        assert_eq!(blocks(0, 0x7FF, 0x7FF), [(0, 0)]);
        assert_eq!(blocks(0, 0x1FFF_FFFF, 0x1FFF_FFFF), [(0, 0)]);
        assert_eq!(blocks(0x0FF, 0x201, 0x7FF), [(0x0FF, 0x7FF), (0x100, 0x700), (0x200, 0x7FE)]);
        assert_eq!(blocks(1, 0x1FFF_FFFE, 0x1FFF_FFFF).len(), 56);
    }

    proptest! {
        #[test]
        fn blocks_hold_the_range_and_nothing_else(a in 0u32..0x800, b in 0u32..0x800) {
            let (first, last) = (a.min(b), a.max(b));
            let blocks: Vec<_> = ranges(&[(first, last)]).blocks(0x7FF).collect();
            for id in 0..0x800 {
                let holders = blocks.iter().filter(|(value, mask)| id & mask == *value).count();
                prop_assert_eq!(holders, usize::from(first <= id && id <= last));
            }
        }

        #[test]
        fn merged_ranges_hold_what_they_were_made_of(
            pairs in prop::collection::vec((0u32..0x800, 0u32..0x40), 0..20), bits in 0u32..11,
        ) {
            let pairs: Vec<_> = pairs.iter().map(|&(first, more)| (first, (first + more).min(0x7FF))).collect();
            let merged = ranges(&pairs);
            let widened = merged.widened(bits, 0x7FF);
            for id in 0..0x800 {
                let expected = pairs.iter().any(|&(first, last)| first <= id && id <= last);
                prop_assert_eq!(merged.contains(id), expected);
                prop_assert!(!expected || widened.contains(id));
            }
        }
    }
}
