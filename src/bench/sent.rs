//! What was sent, on its way from the thread that sends to the one that looks for it at the far end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::frame::Frame;

/// Frames that wait to be looked for, at most: a quarter of a second of a flood. A sender that is further ahead waits, and is
/// late.
pub const WAITING_FRAMES: usize = 1 << 18;

/// A frame that was sent, or is about to be.
#[derive(Clone, Copy, Debug)]
pub struct SentFrame {
    /// Counted from 0.
    pub number: u64,
    /// When it was due, nanoseconds from the beginning of the trial.
    pub at_ns: u64,
    pub frame: Frame,
}

/// A queue between two threads.
#[derive(Debug, Default)]
pub struct SentFrames(Mutex<Vec<SentFrame>>);

impl SentFrames {
    /// Adds frames, before they are sent; false if there are too many already, and they were not added.
    pub fn push(&self, frames: &[SentFrame]) -> bool {
        let mut waiting = self.lock();
        let fits = waiting.len() + frames.len() <= WAITING_FRAMES;
        if fits {
            waiting.extend_from_slice(frames);
        }
        fits
    }

    /// Exchanges what waits for `taken`, which is emptied first and keeps its memory.
    pub fn take(&self, taken: &mut Vec<SentFrame>) {
        taken.clear();
        std::mem::swap(&mut *self.lock(), taken);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SentFrame>> {
        // What a thread that has panicked left is whole: frames are added in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
