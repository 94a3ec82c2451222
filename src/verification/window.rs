//! The frames that were sent last, by number.

use std::collections::VecDeque;

use super::content::{Content, WORDS_MAX};
use crate::load::BURST_FRAMES_MAX;

/// Frames that are remembered, 40 bytes each beside their contents. A path holds no more than its buffers: a minute of a
/// saturated 500 kbit/s bus, more than fits into the largest socket buffers that Linux gives by itself (6 MiB of TCP).
pub(super) const WINDOW_FRAMES: usize = 1 << 18;

/// Words of their contents, 8 bytes each: enough for as many classic frames, and for 233,000 FD frames of 64 bytes.
const WINDOW_WORDS: usize = 1 << 21;

// All of a burst may be outstanding.
const _: () = {
    assert!(BURST_FRAMES_MAX < WINDOW_FRAMES as u64);
    assert!(BURST_FRAMES_MAX as usize * WORDS_MAX < WINDOW_WORDS);
};

/// What is known of a frame that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It has not come.
    Outstanding,
    /// It has not come, and in its place a frame of its form did.
    Supplanted,
    /// It has not come, and a frame did that is this one but for a few bits.
    Damaged,
    /// It has come.
    Received,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub at_ns: u64,
    /// Of the whole stream of words.
    first_word: u64,
    /// For the index by content: the next in a list.
    pub link: Option<u64>,
    pub state: State,
    pub is_stamped: bool,
}

#[derive(Debug)]
pub(super) struct Window {
    /// The number of the first entry.
    base: u64,
    entries: VecDeque<Entry>,
    /// Where the first of `words` stands in the whole stream.
    words_base: u64,
    words: VecDeque<u64>,
}

impl Window {
    pub fn new() -> Self {
        Self {
            base: 0,
            entries: VecDeque::with_capacity(WINDOW_FRAMES),
            words_base: 0,
            words: VecDeque::with_capacity(WINDOW_WORDS),
        }
    }

    /// The number of the oldest frame that is remembered.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The number of the next frame to be sent.
    pub fn next(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// Whether the oldest must go before one more fits.
    pub fn is_full(&self) -> bool {
        self.entries.len() == WINDOW_FRAMES || self.words.len() + WORDS_MAX > WINDOW_WORDS
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Numbers go on from `number`.
    pub fn start_at(&mut self, number: u64) {
        assert!(self.is_empty(), "numbers follow each other");
        self.base = number;
    }

    /// Remembers the frame with the next number.
    pub fn push(&mut self, at_ns: u64, content: &Content, is_stamped: bool) {
        let first_word = self.words_end();
        self.words.extend(content.words());
        self.entries.push_back(Entry {
            at_ns,
            first_word,
            link: None,
            state: State::Outstanding,
            is_stamped,
        });
    }

    /// Forgets the oldest.
    pub fn pop(&mut self) {
        if self.entries.pop_front().is_some() {
            let words =
                self.entries.front().map_or(self.words_end(), |next| next.first_word) - self.words_base;
            self.words.drain(..words as usize);
            self.words_base += words;
            self.base += 1;
        }
    }

    fn words_end(&self) -> u64 {
        self.words_base + self.words.len() as u64
    }

    /// What is known of a frame; none if it is forgotten, or not sent yet.
    pub fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.base)?).ok()?)
    }

    pub fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(number.checked_sub(self.base)?).ok()?)
    }

    pub fn content(&self, number: u64) -> Option<Content> {
        let first = self.entry(number)?.first_word;
        let end =
            self.entry(number + 1).map_or(self.words_base + self.words.len() as u64, |next| next.first_word);
        let [first, end] = [first, end].map(|word| (word - self.words_base) as usize);
        Some(Content::from_words(self.words.range(first..end).copied()))
    }

    /// Room for entries and for words.
    #[cfg(test)]
    pub fn capacity(&self) -> [usize; 2] {
        [self.entries.capacity(), self.words.capacity()]
    }
}
