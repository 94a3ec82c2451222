//! Membership of 29-bit identifiers in many ranges, in two look-ups: an index of 2^15 pages of 2^14 bits.
//!
//! Pages of equal content are kept once. A page is neither empty nor full only if a range begins or ends in it, so
//! with n ranges there are at most min(2n, 2^15) kept pages of 2 KiB next to the index of 64 KiB: 200 single
//! identifiers take at most 464 KiB, and the worst list that can be written 64 MiB.

use std::collections::HashMap;

use super::ranges::Ranges;

/// Identifiers in a page.
const PAGE_BITS: u32 = 1 << PAGE_SHIFT;
const PAGE_SHIFT: u32 = 14;
/// Pages of the 29-bit identifier space.
const PAGES: usize = 1 << (29 - PAGE_SHIFT);
const PAGE_WORDS: usize = PAGE_BITS as usize / 64;

type Page = [u64; PAGE_WORDS];

const EMPTY: u16 = 0;
const FULL: u16 = 1;
// Every page may be kept, besides the empty and the full one.
const _: () = assert!(PAGES + 2 <= u16::MAX as usize);

/// The table; without any range it holds no memory.
#[derive(Clone, Default)]
pub(super) struct Pages {
    index: Vec<u16>,
    kept: Vec<Page>,
}

impl Pages {
    pub(super) fn new(ranges: &Ranges) -> Self {
        if ranges.is_empty() {
            return Self::default();
        }
        let mut builder = Builder::new();
        for range in ranges.as_slice() {
            let mut first = range.first;
            loop {
                let page_last = first | (PAGE_BITS - 1);
                builder.fill(first, range.last.min(page_last));
                if range.last <= page_last {
                    break;
                }
                first = page_last + 1;
            }
        }
        builder.finish()
    }

    /// Whether a range holds `id`, which has at most 29 bits.
    #[inline]
    pub(super) fn contains(&self, id: u32) -> bool {
        match self.index.get((id >> PAGE_SHIFT) as usize) {
            None => false,
            Some(&page) => {
                let word = self.kept[usize::from(page)][(id as usize / 64) % PAGE_WORDS];
                word >> (id % 64) & 1 != 0
            }
        }
    }
}

/// Takes pieces of ascending ranges, each within one page.
struct Builder {
    pages: Pages,
    known: HashMap<Page, u16>,
    open_number: usize,
    open: Page,
}

impl Builder {
    fn new() -> Self {
        let pages = Pages { index: vec![EMPTY; PAGES], kept: vec![[0; PAGE_WORDS], [u64::MAX; PAGE_WORDS]] };
        Self { pages, known: HashMap::new(), open_number: 0, open: [0; PAGE_WORDS] }
    }

    fn fill(&mut self, first: u32, last: u32) {
        let number = (first >> PAGE_SHIFT) as usize;
        if number != self.open_number {
            self.close();
            self.open_number = number;
        }
        if last - first == PAGE_BITS - 1 {
            self.pages.index[number] = FULL;
            return;
        }
        let (first, last) = (first % PAGE_BITS, last % PAGE_BITS);
        for word in first / 64..=last / 64 {
            let low = if word == first / 64 { u64::MAX << (first % 64) } else { u64::MAX };
            let high = if word == last / 64 { u64::MAX >> (63 - last % 64) } else { u64::MAX };
            self.open[word as usize] |= low & high;
        }
    }

    fn close(&mut self) {
        if self.open == [0; PAGE_WORDS] {
            return;
        }
        let next = self.pages.kept.len() as u16;
        let page = *self.known.entry(self.open).or_insert(next);
        if page == next {
            self.pages.kept.push(self.open);
        }
        self.pages.index[self.open_number] = page;
        self.open = [0; PAGE_WORDS];
    }

    fn finish(mut self) -> Pages {
        self.close();
        self.pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::filter::ranges::Range;

    fn pages(pairs: &[(u32, u32)]) -> Pages {
        Pages::new(&Ranges::merged(pairs.iter().map(|&(first, last)| Range { first, last }).collect()))
    }

    #[test]
    fn ends_of_ranges_are_exact() {
        let pairs = [
            (0, 0),
            (63, 64),
            (0x3FFF, 0x4000),
            (0x1_0000, 0x3_FFFF),
            (0x10_0001, 0x20_0000),
            (0x1FFF_FFFF, 0x1FFF_FFFF),
        ];
        let table = pages(&pairs);
        for (first, last) in pairs {
            for edge in [first, last] {
                for id in edge.saturating_sub(2)..=(edge + 2).min(0x1FFF_FFFF) {
                    let expected = pairs.iter().any(|&(first, last)| first <= id && id <= last);
                    assert_eq!(table.contains(id), expected, "{id:X}");
                }
            }
        }
    }

    #[test]
    fn equal_pages_are_kept_once_and_no_range_takes_nothing() {
        let singles: Vec<_> = (0..2000).map(|page| (page << 14 | 0x123, page << 14 | 0x123)).collect();
        assert_eq!(pages(&singles).kept.len(), 3);
        assert_eq!(pages(&[(0, 0x1FFF_FFFF)]).kept.len(), 2);
        assert!(pages(&[]).index.is_empty());
        assert!(!pages(&[]).contains(0));
    }
}
