//! What did not come out as it should, the first few of each kind.

use crate::frame::Frame;

/// Faults of a kind that are kept: as many as people look at.
pub const FAULTS_OF_A_KIND_MAX: usize = 20;

/// A way in which a frame did not come out as it should.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// It never came.
    Lost,
    /// It came again.
    Duplicated,
    /// It came after one that was sent later.
    Reordered,
    /// In its place came a frame that nobody sent: a damaged copy, or one of the same form.
    Corrupted,
    /// Nobody sent it.
    Foreign,
}

impl FaultKind {
    /// In a word: `lost`, `duplicated`, `reordered`, `corrupted`, `foreign`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Corrupted => "corrupted",
            Self::Foreign => "foreign",
        }
    }
}

/// A frame that did not come out as it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// In what way.
    pub what: FaultKind,
    /// Of the frame that was sent; none for a foreign one.
    pub number: Option<u64>,
    /// When it was due if it was lost, else when it came.
    pub at_ns: u64,
    /// The frame that was lost, else the one that came.
    pub frame: Frame,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    kept: Vec<Fault>,
    /// How many are kept of each kind.
    counts: [usize; 5],
}

impl Faults {
    pub fn has_room(&self, kind: FaultKind) -> bool {
        self.counts[kind as usize] < FAULTS_OF_A_KIND_MAX
    }

    pub fn push(&mut self, fault: Fault) {
        if self.has_room(fault.what) {
            self.counts[fault.what as usize] += 1;
            self.kept.push(fault);
        }
    }

    /// What was taken for a corrupted frame was none: the frame itself has come, or its damaged copy.
    pub fn turn_foreign(&mut self, number: u64) {
        let is_it = |fault: &Fault| fault.what == FaultKind::Corrupted && fault.number == Some(number);
        if let Some(at) = self.kept.iter().position(is_it) {
            let fault = self.kept.remove(at);
            self.counts[FaultKind::Corrupted as usize] -= 1;
            self.push(Fault { what: FaultKind::Foreign, number: None, ..fault });
        }
    }

    /// In the order of their times.
    pub fn sorted(&self) -> Vec<Fault> {
        let mut faults = self.kept.clone();
        faults.sort_by_key(|fault| (fault.at_ns, fault.number, fault.what));
        faults
    }
}
