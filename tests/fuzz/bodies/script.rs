//! Bytes read as numbers: what a target decides by its input.

/// The input, from its front. Where it is over, numbers are 0.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes, or what is left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number of any size, the small ones more often.
    pub fn number(&mut self) -> u64 {
        let bytes = match self.byte() {
            width @ 0..=8 => width,
            low => return u64::from(low),
        };
        self.take(bytes.into()).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
