//! Sets of id words of which some bits are fixed and the others free, as one kernel rule describes them.
//!
//! Intersections are cubes again and differences are a few of them, so a whole filter can be rewritten as a union of
//! cubes, which is what the kernel can match. Bits 11 to 28 count as zero in standard frames.

use super::kernel::{INVERT_FLAG, KernelRule};
use super::ranges::Range;
use super::rule::Condition;
use crate::frame::{EXTENDED_FLAG, EXTENDED_MAX, STANDARD_MAX};

/// The id words that equal `value` where `mask` has ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Cube {
    pub(super) value: u32,
    pub(super) mask: u32,
}

impl Cube {
    pub(super) const EVERYTHING: Self = Self { value: 0, mask: 0 };

    /// Identifiers of one kind that equal `id` where `mask` has ones, data and remote frames alike.
    pub(super) fn identifiers(extended: bool, id: u32, mask: u32) -> Self {
        let flag = if extended { EXTENDED_FLAG } else { 0 };
        Self { value: (id & mask) | flag, mask: mask | EXTENDED_FLAG }
    }

    pub(super) fn of_condition(condition: &Condition) -> Self {
        Self { value: condition.id, mask: condition.mask }
    }

    pub(super) fn kernel_rule(self) -> KernelRule {
        KernelRule { id: self.value, mask: self.mask }
    }

    pub(super) fn inverted_kernel_rule(self) -> KernelRule {
        KernelRule { id: self.value | INVERT_FLAG, mask: self.mask }
    }

    /// Whether an extended frame can be in here.
    pub(super) fn reaches_extended(self) -> bool {
        self.mask & EXTENDED_FLAG == 0 || self.value & EXTENDED_FLAG != 0
    }

    /// The cube as a range of identifiers of one kind, if it is one: only the lower identifier bits are free, and
    /// data and remote frames are not told apart.
    pub(super) fn as_range(self) -> Option<(bool, Range)> {
        let extended = self.value & EXTENDED_FLAG != 0;
        let widest = if extended { EXTENDED_MAX } else { STANDARD_MAX };
        let free = widest & !self.mask;
        let one_kind = self.mask & !widest == EXTENDED_FLAG;
        let first = self.value & widest;
        (one_kind && free & (free + 1) == 0).then_some((extended, Range { first, last: first | free }))
    }

    /// What both cubes hold.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        if (self.value ^ other.value) & self.mask & other.mask != 0 {
            return None;
        }
        Self { value: self.value | other.value, mask: self.mask | other.mask }.meaningful()
    }

    /// Appends what this cube holds and `other` does not: disjoint cubes, one a bit that `other` fixes in addition.
    /// From the highest bit down, so ranges stay ranges.
    pub(super) fn without(self, other: Self, pieces: &mut Vec<Self>) {
        if self.and(other).is_none() {
            pieces.push(self);
            return;
        }
        let mut rest = self;
        for bit in
            (0..u32::BITS).rev().map(|shift| 1 << shift).filter(|bit| other.mask & !self.mask & bit != 0)
        {
            let outside = Self { value: rest.value | (bit & !other.value), mask: rest.mask | bit };
            pieces.extend(outside.meaningful());
            rest = Self { value: rest.value | (bit & other.value), mask: rest.mask | bit };
        }
    }

    /// The same set for frames as they are: a standard cube neither holds anything that has bits 11 to 28 set, nor
    /// needs to look at them.
    fn meaningful(self) -> Option<Self> {
        const NOT_STANDARD: u32 = EXTENDED_MAX & !STANDARD_MAX;
        if self.reaches_extended() {
            return Some(self);
        }
        (self.value & NOT_STANDARD == 0).then_some(Self { mask: self.mask & !NOT_STANDARD, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_one_identifier_eleven_cubes_and_the_other_kind_remain() {
        let mut pieces = Vec::new();
        Cube::EVERYTHING.without(Cube::identifiers(false, 0x123, 0x7FF), &mut pieces);
        assert_eq!(pieces.len(), 12);
        assert_eq!(pieces[0], Cube { value: 0x8000_0000, mask: 0x8000_0000 });
        assert_eq!(pieces[1], Cube { value: 0x400, mask: 0x8000_0400 });
        assert_eq!(pieces[11], Cube { value: 0x122, mask: 0x8000_07FF });
    }

    #[test]
    fn ranges_are_recognised() {
        let range = |cube: Cube| cube.as_range().map(|(extended, range)| (extended, range.first, range.last));
        assert_eq!(range(Cube::identifiers(false, 0x700, 0x7F0)), Some((false, 0x700, 0x70F)));
        assert_eq!(range(Cube::identifiers(true, 0x700, 0x1FFF_FFFF)), Some((true, 0x700, 0x700)));
        assert_eq!(range(Cube::identifiers(true, 0, 0)), Some((true, 0, 0x1FFF_FFFF)));
        assert_eq!(range(Cube::identifiers(false, 0x700, 0x70F)), None);
        assert_eq!(range(Cube { value: 0x123, mask: 0xC000_07FF }), None, "data frames only");
        assert_eq!(range(Cube { value: 0x123, mask: 0x7FF }), None, "both kinds");
    }

    #[test]
    fn standard_frames_have_no_upper_bits() {
        let standard = Cube::identifiers(false, 0, 0);
        assert_eq!(standard.and(Cube { value: 0x1000, mask: 0x1000 }), None);
        assert_eq!(standard.and(Cube { value: 0, mask: 0x1000 }), Some(standard));
    }
}
