//! A table whose keys do not outlive their entries: a late completion for a closed descriptor finds nothing.

use smallvec::SmallVec;

/// The key of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Generations are cut to 24 bits, so that a key fits beside an 8-bit kind into a 64-bit user word.
    const GENERATION_MASK: u32 = 0xFF_FFFF;

    /// The key in the lower 56 bits of a word.
    pub fn to_word(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key in the lower 56 bits of `word`.
    pub fn from_word(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 & Self::GENERATION_MASK }
    }
}

/// Entries by key. Grows when a descriptor is opened, never on the data path. Where there is but one
/// entry, it lies in the table itself.
#[derive(Debug)]
pub struct Slots<T> {
    entries: SmallVec<[(u32, Option<T>); 1]>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub fn new() -> Self {
        Self { entries: SmallVec::new(), free: Vec::new() }
    }

    pub fn insert(&mut self, value: T) -> Key {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.entries.push((0, None));
                u32::try_from(self.entries.len() - 1).expect("fewer descriptors than 2^32")
            }
        };
        let (generation, entry) = &mut self.entries[index as usize];
        *entry = Some(value);
        Key { index, generation: *generation }
    }

    pub fn find(&self, key: Key) -> Option<&T> {
        self.entries
            .get(key.index as usize)
            .filter(|(generation, _)| *generation == key.generation)?
            .1
            .as_ref()
    }

    pub fn find_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, entry) = self.entries.get_mut(key.index as usize)?;
        if *generation == key.generation { entry.as_mut() } else { None }
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|(_, entry)| entry.as_ref())
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().filter_map(|(_, entry)| entry.as_mut())
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, entry) = self.entries.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = entry.take()?;
        *generation = (*generation + 1) & Key::GENERATION_MASK;
        self.free.push(key.index);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_dies_with_its_entry() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(slots.find(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.find(second), Some(&'b'));
        assert_eq!(Key::from_word(0xAB00_0000_0000_0000 | second.to_word()), second);
    }
}
