//! Lines that wait for their file, and what became of them. Knows no file, and not what the lines say.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::Summary;
use super::buffer::Halves;

/// A backlog as the one who says lines and the one who writes them share it.
pub(super) type SharedBacklog = Rc<RefCell<Backlog>>;

/// Two halves of text, a bell for the writer, and counts.
#[derive(Debug)]
pub(super) struct Backlog {
    halves: Halves,
    work: Rc<Notify>,
    finishing: bool,
    written: u64,
    lost: u64,
}

impl Backlog {
    /// Allocates both halves. `mid_line`: the file ends with a line that somebody did not finish.
    pub(super) fn new(mid_line: bool) -> Self {
        let mut halves = Halves::new();
        if mid_line && let Some(text) = halves.room(1) {
            // That line stays alone.
            text.push(b'\n');
        }
        Self { halves, work: Rc::new(Notify::new()), finishing: false, written: 0, lost: 0 }
    }

    /// Takes one line of `bytes_max` bytes at most, which `write` appends with its line feed. Allocates nothing and
    /// never waits; without room the line is counted as lost.
    pub(super) fn push(&mut self, bytes_max: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let was_full = self.halves.is_full();
        let room = if self.finishing { None } else { self.halves.room(bytes_max) };
        let Some(text) = room else {
            self.lost += 1;
            return;
        };
        write(text);
        self.written += 1;
        if self.halves.is_full() && !was_full {
            self.work.notify_one();
        }
    }

    /// Lines left out so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn summary(&self) -> Summary {
        Summary { recorded: self.written, unrecorded: self.lost }
    }

    pub(super) fn finish(&mut self) {
        self.finishing = true;
        self.work.notify_one();
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.finishing
    }

    /// Rings when there is a full half, and at the end.
    pub(super) fn work(&self) -> Rc<Notify> {
        Rc::clone(&self.work)
    }

    pub(super) fn take(&mut self, aged: bool) -> Option<Vec<u8>> {
        self.halves.take(aged)
    }

    pub(super) fn give_back(&mut self, half: Vec<u8>) {
        self.halves.give_back(half);
    }

    /// Text that will not reach the file after all.
    pub(super) fn count_lost(&mut self, text: &[u8]) {
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.written = self.written.saturating_sub(lines);
        self.lost += lines;
    }
}
