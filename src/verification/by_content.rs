//! Frames without a stamp, found by their content: equal ones in the order in which they were sent.
//!
//! For each content there is a queue of those that are still expected, and a stack of those that others have overtaken,
//! the last on top. What comes is taken for the first expected one; if there is none, for the overtaken one that was sent
//! last; if there is none either, for a copy of the last that came. The lists are linked through the window's entries, and
//! a frame changes from one to the other once: however many are lost, an arrival costs a few steps on average.

use std::collections::HashMap;

use super::window::{WINDOW_FRAMES, Window};

/// Numbers by which a frame without a stamp may be late and still be taken for itself rather than for a copy of one
/// that came: a quarter of a second of a saturated 500 kbit/s bus.
const LATE_FRAMES_MAX: u64 = 1024;

#[derive(Debug, Default)]
struct Equals {
    /// The first and the last that are expected.
    expected: Option<(u64, u64)>,
    overtaken: Option<u64>,
    received: Option<u64>,
    /// How many of the window's entries have this content.
    count: usize,
}

/// What a content was taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// A frame that had not come.
    Missing(u64),
    /// A frame that has come already.
    Again(u64),
}

#[derive(Debug, Default)]
pub(super) struct ByContent {
    equals: HashMap<u64, Equals>,
    #[cfg(test)]
    pub steps: u64,
}

impl ByContent {
    /// Notes a frame that is in the window.
    pub fn push(&mut self, fingerprint: u64, number: u64, window: &mut Window) {
        if self.equals.capacity() == 0 {
            // There is at most one for each entry. Memory that is not used is not taken either.
            self.equals.reserve(WINDOW_FRAMES);
        }
        let equals = self.equals.entry(fingerprint).or_default();
        equals.count += 1;
        equals.expected = match equals.expected {
            Some((first, last)) => {
                link(window, last, Some(number));
                Some((first, number))
            }
            None => Some((number, number)),
        };
    }

    /// Forgets a frame that has left the window, being its oldest.
    pub fn forget(&mut self, fingerprint: u64, number: u64, next: Option<u64>) {
        let Some(equals) = self.equals.get_mut(&fingerprint) else { return };
        equals.count -= 1;
        if equals.count == 0 {
            self.equals.remove(&fingerprint);
        } else if let Some((first, last)) = equals.expected
            && first == number
        {
            equals.expected = next.map(|next| (next, last));
        }
    }

    /// Takes what came for one of the frames in the window. Numbers below `reached` are overtaken.
    pub fn find(&mut self, fingerprint: u64, reached: u64, window: &mut Window) -> Option<Found> {
        let equals = self.equals.get_mut(&fingerprint)?;
        while let Some((first, last)) = equals.expected
            && first < reached
        {
            let next = link(window, first, equals.overtaken);
            equals.overtaken = Some(first);
            equals.expected = next.map(|next| (next, last));
            #[cfg(test)]
            (self.steps += 1);
        }
        let is_late = |number: &u64| *number >= window.base() && reached - *number <= LATE_FRAMES_MAX;
        let number = if let Some((first, last)) = equals.expected {
            let next = link(window, first, None);
            equals.expected = next.map(|next| (next, last));
            first
        } else if let Some(late) = equals.overtaken.filter(is_late) {
            equals.overtaken = link(window, late, None);
            late
        } else {
            return equals.received.filter(|&number| number >= window.base()).map(Found::Again);
        };
        equals.received = equals.received.max(Some(number));
        Some(Found::Missing(number))
    }

    /// How many contents are told apart.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.equals.len()
    }
}

/// Sets what follows an entry in its list, and returns what did.
fn link(window: &mut Window, number: u64, next: Option<u64>) -> Option<u64> {
    let entry = window.entry_mut(number).expect("what is listed is in the window");
    std::mem::replace(&mut entry.link, next)
}
