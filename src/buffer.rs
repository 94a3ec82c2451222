//! Memory that travels between protocol and engine: allocated once, filled in place, never grown.

/// Bytes on their way to a stream: the protocol appends, an engine sends from the front.
///
/// ```text
/// 0          sent          filled            capacity
/// |  on the wire |  to send   |    vacant        |
/// ```
///
/// Invariant: `sent <= filled <= bytes.len() <= capacity`.
#[derive(Debug)]
pub struct SendBuffer {
    /// Grows within its capacity as far as it was ever filled, so that memory that is never needed is never touched:
    /// not even zeroed, which an allocator does to memory that was used before.
    bytes: Vec<u8>,
    capacity: usize,
    filled: usize,
    sent: usize,
}

impl SendBuffer {
    /// An empty buffer of `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), capacity, filled: 0, sent: 0 }
    }

    /// Bytes that fit behind what is filled.
    pub fn room(&self) -> usize {
        self.capacity - self.filled
    }

    /// The first `count` bytes behind what is filled; write there, then [`SendBuffer::advance`]. `None` without the room.
    pub fn vacant(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.room() {
            return None;
        }
        let end = self.filled + count;
        let Self { bytes, filled, .. } = self;
        if end > bytes.len() {
            bytes.resize(end, 0);
        }
        Some(&mut bytes[*filled..end])
    }

    /// Declares `count` vacant bytes filled.
    ///
    /// # Panics
    /// If there were fewer in [`SendBuffer::vacant`]: a bug of the caller.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.filled, "advanced beyond what was vacant");
        self.filled += count;
    }

    /// Copies `bytes` behind what is filled; `false`, and nothing changed, if they do not fit.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.vacant(bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.advance(bytes.len());
        true
    }

    /// Bytes from the buffer's start to the end of what is filled.
    pub fn filled_bytes(&self) -> usize {
        self.filled
    }

    /// All that is filled, for corrections in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.filled]
    }

    /// What is filled and not yet sent, for corrections in place.
    pub fn unsent_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.sent..self.filled]
    }

    /// What is filled and not yet sent.
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..self.filled]
    }

    /// Declares `count` bytes at the front sent.
    ///
    /// # Panics
    /// If fewer bytes were unsent: a bug of the caller.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.filled - self.sent, "sent more than was filled");
        self.sent += count;
    }

    /// How many bytes from the front were sent since the buffer was last empty.
    pub fn sent_bytes(&self) -> usize {
        self.sent
    }

    /// Whether nothing is left to send.
    pub fn is_sent(&self) -> bool {
        self.sent == self.filled
    }

    /// Moves what is unsent to the front, which makes room behind it.
    pub fn compact(&mut self) {
        self.bytes.copy_within(self.sent..self.filled, 0);
        self.filled -= std::mem::take(&mut self.sent);
    }

    /// Forgets the content and starts at the front again.
    pub fn clear(&mut self) {
        self.filled = 0;
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_at_the_back_and_sends_from_the_front() {
        let mut buffer = SendBuffer::with_capacity(8);
        assert!(buffer.append(b"abcde"));
        buffer.consume(2);
        assert_eq!(buffer.sent_bytes(), 2);
        assert_eq!(buffer.unsent(), b"cde");
        buffer.vacant(3).unwrap().copy_from_slice(b"fgh");
        buffer.advance(3);
        assert_eq!(buffer.unsent(), b"cdefgh");
        assert!(!buffer.append(b"i"), "a full buffer takes nothing");
        buffer.consume(6);
        assert!(buffer.is_sent());
        assert_eq!(buffer.sent_bytes(), 8);
        buffer.clear();
        assert_eq!((buffer.room(), buffer.sent_bytes()), (8, 0));
    }

    #[test]
    fn the_room_of_what_was_sent_is_won_back() {
        let mut buffer = SendBuffer::with_capacity(8);
        assert!(buffer.append(b"abcdefgh"));
        buffer.consume(4);
        assert_eq!(buffer.room(), 0);
        buffer.compact();
        assert_eq!((buffer.room(), buffer.unsent(), buffer.sent_bytes()), (4, &b"efgh"[..], 0));
    }

    #[test]
    #[should_panic(expected = "sent more than was filled")]
    fn sending_what_is_not_there_is_a_bug() {
        SendBuffer::with_capacity(8).consume(1);
    }
}
