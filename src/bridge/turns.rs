//! Whose turn it is where links wait for the same: each lets one frame through and goes to the end of the line, so that one
//! that has much to say holds up nobody else by more than a frame.

use std::collections::VecDeque;

/// The line of links that wait, each of them once.
#[derive(Debug)]
pub struct Turns {
    line: VecDeque<usize>,
    /// Somebody else is first than before, and has not been told.
    is_moved: bool,
}

impl Turns {
    /// Nobody waits, and so many links can.
    pub fn with_capacity(links: usize) -> Self {
        Self { line: VecDeque::with_capacity(links), is_moved: false }
    }

    /// Whether it is this link's turn, or nobody waits.
    #[inline]
    pub fn is_next(&self, link: usize) -> bool {
        self.line.front().is_none_or(|&first| first == link)
    }

    /// Whether others wait beside the link, which is first if it waits.
    #[inline]
    pub fn is_contended(&self, link: usize) -> bool {
        self.line.len() > usize::from(self.line.front() == Some(&link))
    }

    /// A link that does not wait begins to.
    pub fn join(&mut self, link: usize) {
        debug_assert!(!self.line.contains(&link));
        self.line.push_back(link);
    }

    /// The link that is first has had its turn, and waits for the next.
    pub fn rotate(&mut self) {
        self.line.rotate_left(1.min(self.line.len()));
        self.is_moved |= self.line.len() > 1;
    }

    /// A link waits no more, if it did.
    pub fn leave(&mut self, link: usize) {
        if let Some(place) = self.line.iter().position(|&waiting| waiting == link) {
            self.line.remove(place);
            self.is_moved |= place == 0 && !self.line.is_empty();
        }
    }

    /// A link goes on under another number, in its place.
    pub fn rename(&mut self, link: usize, new: usize) {
        debug_assert!(!self.line.contains(&new));
        self.line.iter_mut().filter(|waiting| **waiting == link).for_each(|waiting| *waiting = new);
    }

    /// Who has come to be first since the last call, and must be told.
    #[inline]
    pub fn take_next(&mut self) -> Option<usize> {
        let is_moved = std::mem::take(&mut self.is_moved);
        self.line.front().copied().filter(|_| is_moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_take_turns() {
        let mut turns = Turns::with_capacity(8);
        assert!(turns.is_next(7) && !turns.is_contended(7));
        for link in [7, 3, 5] {
            turns.join(link);
        }
        assert_eq!(turns.take_next(), None);
        let mut order = Vec::new();
        let mut next = 7;
        for _ in 0..6 {
            assert!(turns.is_next(next) && turns.is_contended(next));
            order.push(next);
            turns.rotate();
            next = turns.take_next().unwrap();
        }
        assert_eq!(order, [7, 3, 5, 7, 3, 5]);
        assert!(!turns.is_next(3) && !turns.is_next(9));
    }

    #[test]
    fn who_leaves_passes_the_turn_on() {
        let mut turns = Turns::with_capacity(8);
        for link in [1, 2, 3] {
            turns.join(link);
        }
        turns.leave(2);
        assert_eq!(turns.take_next(), None);
        turns.leave(1);
        assert_eq!(turns.take_next(), Some(3));
        turns.leave(4);
        // It is alone: nobody is to be told.
        turns.rotate();
        assert_eq!(turns.take_next(), None);
        assert!(turns.is_next(3) && !turns.is_contended(3) && turns.is_contended(4));
        turns.leave(3);
        assert_eq!(turns.take_next(), None);
        assert!(turns.is_next(4));
    }

    #[test]
    fn a_link_keeps_its_place_under_another_number() {
        let mut turns = Turns::with_capacity(8);
        turns.join(1);
        turns.join(2);
        turns.rename(1, 9);
        assert!(turns.is_next(9));
        turns.leave(1);
        assert!(turns.is_next(9));
    }
}
