//! Which operation a completion belongs to, in the 64 bits that io_uring gives back.

use crate::engine::slots::Key;

/// An operation that the kernel was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Multishot receive from a bus.
    ReceivePackets(Key),
    /// One-shot poll for a bus that may be written to.
    AwaitWritable(Key),
    /// Receive from a stream.
    ReceiveBytes(Key),
    /// Send to a stream.
    Send(Key),
    /// The alarm that was set as this one, counted from the first.
    Alarm(u32),
    /// Cancellation of another operation.
    Cancel,
}

const KIND_SHIFT: u32 = 56;

impl Operation {
    /// The user word of the operation: the kind in the top byte, the key below.
    pub fn to_word(self) -> u64 {
        let (kind, key) = match self {
            Self::ReceivePackets(key) => (1, key.to_word()),
            Self::AwaitWritable(key) => (2, key.to_word()),
            Self::ReceiveBytes(key) => (3, key.to_word()),
            Self::Send(key) => (4, key.to_word()),
            Self::Cancel => (5, 0),
            Self::Alarm(number) => (6, u64::from(number)),
        };
        kind << KIND_SHIFT | key
    }

    /// The operation of a user word; `None` for a word that was never given out.
    pub fn from_word(word: u64) -> Option<Self> {
        let key = Key::from_word(word);
        Some(match word >> KIND_SHIFT {
            1 => Self::ReceivePackets(key),
            2 => Self::AwaitWritable(key),
            3 => Self::ReceiveBytes(key),
            4 => Self::Send(key),
            5 => Self::Cancel,
            6 => Self::Alarm(word as u32),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::slots::Slots;

    #[test]
    fn words_come_back_as_operations() {
        let mut slots = Slots::new();
        slots.insert(());
        let key = slots.insert(());
        for operation in [
            Operation::ReceivePackets(key),
            Operation::AwaitWritable(key),
            Operation::ReceiveBytes(key),
            Operation::Send(key),
            Operation::Cancel,
            Operation::Alarm(u32::MAX),
        ] {
            assert_eq!(Operation::from_word(operation.to_word()), Some(operation));
        }
        assert_eq!(Operation::from_word(0), None);
    }
}
