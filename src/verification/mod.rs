//! What came out of a path, held against what was sent into it: every frame is accounted for.
//!
//! Frames that carry a stamp are known by it, at whatever distance, and compared whole. Shorter ones, and those of a
//! replay, are known by content and order: among equal ones it cannot be told which was lost.
//!
//! | a frame is | if |
//! | --- | --- |
//! | lost | it never came |
//! | duplicated | it came a second time |
//! | reordered | it came after one that was sent later; it counts as received |
//! | corrupted | one came that differs from it in a few bits, or has its form and came in its place; it counts as lost itself |
//! | foreign | it came, and is none of these |
//!
//! Which frame a corrupted one was is known for sure when its stamp is intact, or most of its bits are. Else it is taken for
//! the next one of its form; should that come after all, it was a foreign one.
//!
//! The last 262,144 frames are remembered one by one. One that is older and has not come is lost; should a frame with a
//! stamp of that time come then, it is taken for one that was lost, as long as there are such.
//!
//! Knows no socket and no clock. Memory is bounded, and so is the work for a frame, whatever is lost.

#[cfg(test)]
mod bounds;
mod by_content;
mod content;
mod faults;
mod history;
mod identify;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod window;

pub use faults::{FAULTS_OF_A_KIND_MAX, Fault, FaultKind};

use crate::frame::{Frame, Image};
use crate::load::StampKey;
use by_content::ByContent;
use content::Content;
use faults::Faults;
use history::History;
use identify::Identity;
use window::{Entry, State, Window};

/// Frames since the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Given to the path.
    pub sent: u64,
    /// Of those, the ones that came out unchanged, once each.
    pub received: u64,
    /// The ones that never came: known for sure after [`Verification::finish`].
    pub lost: u64,
    /// What came again.
    pub duplicated: u64,
    /// What came after a frame that was sent later.
    pub reordered: u64,
    /// What came changed.
    pub corrupted: u64,
    /// What nobody sent.
    pub foreign: u64,
}

/// A frame that came out for the first time, as it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Its number.
    pub number: u64,
    /// From when it was due to when it came.
    pub latency_ns: u64,
}

/// The account of one direction.
#[derive(Debug)]
pub struct Verification {
    key: StampKey,
    window: Window,
    by_content: ByContent,
    history: History,
    /// Each number below has come, is missing, or is lost.
    reached: u64,
    outstanding: u64,
    missing: u64,
    /// Lost frames that are no longer remembered one by one.
    forgotten: u64,
    /// Of those, frames that were under way when more were than are remembered.
    given_up: u64,
    measured_from: u64,
    counts: Counts,
    faults: Faults,
    #[cfg(test)]
    compared: u64,
}

impl Verification {
    /// An account in which nothing was sent yet. `key` is [`crate::load::Schedule::key`].
    pub fn new(key: StampKey) -> Self {
        Self {
            key,
            window: Window::new(),
            by_content: ByContent::default(),
            history: History::new(),
            reached: 0,
            outstanding: 0,
            missing: 0,
            forgotten: 0,
            given_up: 0,
            measured_from: 0,
            counts: Counts::default(),
            faults: Faults::default(),
            #[cfg(test)]
            compared: 0,
        }
    }

    /// A frame is about to be sent, due at `at_ns`. To be called before the frame can arrive, with numbers that follow each
    /// other; the first may be any.
    ///
    /// If more are outstanding than are remembered, the oldest is lost.
    ///
    /// # Panics
    /// If a number is left out: a bug of the caller.
    pub fn sent(&mut self, number: u64, at_ns: u64, frame: &Frame) {
        if self.window.is_empty() {
            self.window.start_at(number);
            self.reached = number;
        }
        assert_eq!(number, self.window.next(), "frames are sent in the order of their numbers");
        while self.window.is_full() {
            let outstanding = self.outstanding;
            self.forget_oldest();
            self.given_up += outstanding - self.outstanding;
        }
        let content = Content::of(frame.image());
        let stamp = content.stamp(self.key).filter(|stamp| stamp.number == number as u32);
        self.window.push(at_ns, &content, stamp.is_some());
        if stamp.is_none() {
            self.by_content.push(content.fingerprint(), number, &mut self.window);
        }
        self.history.push(number, stamp);
        self.outstanding += 1;
        self.counts.sent += u64::from(self.is_measured(number));
    }

    /// A frame came out. Whether it is one that was sent, unchanged and for the first time, is the result; a frame that is
    /// too late to be remembered is counted, and its latency is not known.
    pub fn arrived(&mut self, image: Image<'_>, at_ns: u64) -> Option<Arrival> {
        let content = Content::of(image);
        let fault = |what, number| Fault { what, number, at_ns, frame: Frame::copy_of(image) };
        match self.identify(&content) {
            Identity::Sent(number) => return Some(self.receive(number, at_ns, fault)),
            Identity::Late(number) => self.receive_late(fault(FaultKind::Reordered, Some(number))),
            Identity::Again(number) => {
                if self.is_measured(number) {
                    self.counts.duplicated += 1;
                    self.faults.push(fault(FaultKind::Duplicated, Some(number)));
                }
            }
            Identity::Instead(number, state) => {
                self.claim(number, state, fault(FaultKind::Corrupted, Some(number)));
            }
            Identity::Foreign => {
                if self.window.next() >= self.measured_from {
                    self.counts.foreign += 1;
                    self.faults.push(fault(FaultKind::Foreign, None));
                }
            }
        }
        None
    }

    /// Counts the frames from `number` on, and forgets what was counted before: those are warm-up. They are still
    /// recognised.
    ///
    /// # Panics
    /// If that frame was sent already: a bug of the caller.
    pub fn measure_from(&mut self, number: u64) {
        assert!(number >= self.window.next(), "what is measured begins with a frame that is not sent yet");
        self.measured_from = number;
        self.missing = 0;
        self.forgotten = 0;
        self.counts = Counts::default();
        self.faults = Faults::default();
    }

    /// The test is over: what is outstanding is lost.
    pub fn finish(&mut self) {
        while !self.window.is_empty() {
            self.forget_oldest();
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Frames that have neither come nor are given up, warm-up included.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Frames that were given up because more were under way than are remembered: should they come after all, how late they were
    /// is not known.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Of those, the ones that later frames have overtaken, warm-up excluded: on a path that keeps the order they are
    /// lost.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// What did not come out as it should, by time: the first [`FAULTS_OF_A_KIND_MAX`] of each kind. Of a frame that was
    /// corrupted only that is listed, not that it was lost.
    pub fn first_faults(&self) -> Vec<Fault> {
        self.faults.sorted()
    }

    fn is_measured(&self, number: u64) -> bool {
        number >= self.measured_from
    }
}

impl Verification {
    /// A frame has come that had not. Its entry is in the window.
    fn receive(
        &mut self,
        number: u64,
        at_ns: u64,
        fault: impl Fn(FaultKind, Option<u64>) -> Fault,
    ) -> Arrival {
        let entry = self.window.entry_mut(number).expect("what is recognised is in the window");
        let before = std::mem::replace(&mut entry.state, State::Received);
        let latency_ns = at_ns.saturating_sub(entry.at_ns);
        if matches!(before, State::Supplanted | State::Damaged) {
            self.take_back_claim(number);
        }
        self.outstanding -= 1;
        let measured = self.is_measured(number);
        self.counts.received += u64::from(measured);
        if number >= self.reached {
            self.missing += number - self.reached.max(self.measured_from).min(number);
            self.reached = number + 1;
        } else if measured {
            self.missing -= 1;
            self.counts.reordered += 1;
            self.faults.push(fault(FaultKind::Reordered, Some(number)));
        }
        Arrival { number, latency_ns }
    }

    /// A frame has come that was given up.
    fn receive_late(&mut self, fault: Fault) {
        self.forgotten -= 1;
        self.counts.lost -= 1;
        self.counts.received += 1;
        self.counts.reordered += 1;
        self.faults.push(fault);
    }

    /// A frame has come in place of another.
    fn claim(&mut self, number: u64, state: State, fault: Fault) {
        let entry = self.window.entry_mut(number).expect("what is supplanted is in the window");
        if std::mem::replace(&mut entry.state, state) == State::Supplanted {
            self.take_back_claim(number);
        }
        if self.is_measured(number) {
            self.counts.corrupted += 1;
            self.faults.push(fault);
        }
    }

    /// What came in place of a frame did not.
    fn take_back_claim(&mut self, number: u64) {
        if self.is_measured(number) {
            self.counts.corrupted -= 1;
            self.counts.foreign += 1;
            self.faults.turn_foreign(number);
        }
    }

    /// The oldest frame leaves the window. If it has not come, it is lost.
    fn forget_oldest(&mut self) {
        let number = self.window.base();
        let Some(&entry) = self.window.entry(number) else { return };
        if !entry.is_stamped
            && let Some(content) = self.window.content(number)
        {
            self.by_content.forget(content.fingerprint(), number, entry.link);
        }
        if entry.state != State::Received {
            self.lose(number, entry);
        }
        self.window.pop();
    }

    fn lose(&mut self, number: u64, entry: Entry) {
        self.outstanding -= 1;
        let measured = self.is_measured(number);
        if number >= self.reached {
            self.reached = number + 1;
        } else if measured {
            self.missing -= 1;
        }
        if !measured {
            return;
        }
        self.counts.lost += 1;
        self.forgotten += 1;
        if entry.state == State::Outstanding
            && self.faults.has_room(FaultKind::Lost)
            && let Some(content) = self.window.content(number)
        {
            let (what, number) = (FaultKind::Lost, Some(number));
            self.faults.push(Fault { what, number, at_ns: entry.at_ns, frame: content.frame() });
        }
    }
}
