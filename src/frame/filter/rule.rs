//! Rules as users mean them: identifiers and ranges of one kind, and conditions on the id word.

use crate::frame::{ERROR_FLAG, EXTENDED_FLAG, EXTENDED_MAX, Identifier, Image, REMOTE_FLAG, STANDARD_MAX};

/// A rule of a pass or block list: identifiers of one kind, whatever frame carries them (data, remote, FD).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    pub(super) extended: bool,
    pub(super) pattern: Pattern,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pattern {
    Range { first: u32, last: u32 },
    Mask { id: u32, mask: u32 },
}

impl Rule {
    /// The identifiers `first` to `last`, both included; `None` for two kinds or a reversed range.
    pub fn range(first: Identifier, last: Identifier) -> Option<Self> {
        let fits = first.is_extended() == last.is_extended() && first.raw() <= last.raw();
        let pattern = Pattern::Range { first: first.raw(), last: last.raw() };
        fits.then_some(Self { extended: first.is_extended(), pattern })
    }

    /// The identifiers that agree with `id` where `mask` has ones; `None` for a mask wider than the identifier.
    pub fn masked(id: Identifier, mask: u32) -> Option<Self> {
        let widest = if id.is_extended() { EXTENDED_MAX } else { STANDARD_MAX };
        let pattern = Pattern::Mask { id: id.raw() & mask, mask };
        (mask <= widest).then_some(Self { extended: id.is_extended(), pattern })
    }

    /// Whether the rule names this identifier.
    pub fn matches(&self, identifier: Identifier) -> bool {
        let raw = identifier.raw();
        self.extended == identifier.is_extended()
            && match self.pattern {
                Pattern::Range { first, last } => (first..=last).contains(&raw),
                Pattern::Mask { id, mask } => raw & mask == id,
            }
    }
}

/// One `id:mask` or `id~mask` of candump: a comparison with the whole id word, flags included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Condition {
    pub(super) id: u32,
    pub(super) mask: u32,
    pub(super) inverted: bool,
}

impl Condition {
    /// A condition as the kernel would keep it (`net/can/af_can.c`, `can_rcv_list_find`): the error flag leaves the
    /// mask, a mask that asks for standard frames loses the bits which they have not, and then the id is masked.
    pub fn new(id: u32, mask: u32, inverted: bool) -> Self {
        let mut mask = mask & !ERROR_FLAG;
        if mask & EXTENDED_FLAG != 0 && id & EXTENDED_FLAG == 0 {
            mask &= STANDARD_MAX | EXTENDED_FLAG | REMOTE_FLAG;
        }
        Self { id: id & mask, mask, inverted }
    }

    /// Whether a data, remote or FD frame with this id word meets the condition.
    pub fn matches(&self, id_word: u32) -> bool {
        (id_word & self.mask == self.id) != self.inverted
    }
}

/// One candump filter expression: conditions of which any suffices, or all are needed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expression {
    /// In the order written.
    pub conditions: Vec<Condition>,
    /// `j` was given: all conditions must be met.
    pub join: bool,
    /// The union of the `#` masks, if any was given.
    pub error_mask: Option<u32>,
}

impl Expression {
    /// Whether the conditions let a data, remote or FD frame with this id word through; without conditions, yes.
    pub fn matches(&self, id_word: u32) -> bool {
        let mut conditions = self.conditions.iter();
        if self.join || self.conditions.is_empty() {
            conditions.all(|condition| condition.matches(id_word))
        } else {
            conditions.any(|condition| condition.matches(id_word))
        }
    }
}

/// The id word of a data, remote or FD frame without bits that mean nothing: bits 11 to 28 of standard frames.
pub(super) fn meaningful_word(image: Image<'_>) -> u32 {
    let word = image.id_word();
    if word & EXTENDED_FLAG != 0 {
        word & (EXTENDED_FLAG | REMOTE_FLAG | EXTENDED_MAX)
    } else {
        word & (REMOTE_FLAG | STANDARD_MAX)
    }
}
