//! Frames as they are compared and kept: what crosses a bus, packed into as few words as it needs.

use crate::frame::{CLASSIC_BYTES, EXTENDED_FLAG, FD_BYTES, Frame, Image, Kind, PAYLOAD_OFFSET};
use crate::load::{Stamp, StampKey};

/// A word for the header and eight for the longest payload.
pub(super) const WORDS_MAX: usize = 1 + 8;

/// A frame without what a path may change: padding behind the payload, FD flags that kernels add.
///
/// ```text
/// word 0: id word (32 bits) | DLC code (8) | FD flags (8) | kind (8) | payload's length (8)
/// words 1..: payload, padded with zeros
/// ```
#[derive(Clone, Copy)]
pub(super) struct Content {
    words: [u64; WORDS_MAX],
    count: usize,
    len: usize,
}

impl Content {
    pub fn of(image: Image<'_>) -> Self {
        let payload = image.payload();
        let kind = image.kind() as u64;
        let mut words = [0; WORDS_MAX];
        words[0] = u64::from(image.id_word())
            | u64::from(image.dlc()) << 32
            | u64::from(image.fd_flags()) << 40
            | kind << 48
            | (payload.len() as u64) << 56;
        for (word, chunk) in words[1..].iter_mut().zip(payload.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_le_bytes(bytes);
        }
        Self { words, count: 1 + payload.len().div_ceil(8), len: payload.len() }
    }

    /// What [`Content::words`] gave.
    pub fn from_words(words: impl Iterator<Item = u64>) -> Self {
        let mut content = Self { words: [0; WORDS_MAX], count: 0, len: 0 };
        for word in words {
            content.words[content.count] = word;
            content.count += 1;
        }
        content.len = (content.words[0] >> 56) as usize;
        content
    }

    /// A number for what [`Content::words`] gives, for looking it up.
    pub fn fingerprint(&self) -> u64 {
        let step = |hash: u64, &word: &u64| (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.words().iter().fold(0, step)
    }

    pub fn words(&self) -> &[u64] {
        &self.words[..self.count]
    }

    /// The stamp, if the payload has room for one; whether it was written as such is for the caller to judge.
    pub fn stamp(&self, key: StampKey) -> Option<Stamp> {
        (self.len >= StampKey::BYTES).then(|| key.read(self.words[1].to_le_bytes()))
    }

    /// Whether the header is the same: identifier, kind, length, flags.
    pub fn has_form_of(&self, other: &Self) -> bool {
        self.words[0] == other.words[0]
    }

    /// Bits that differ between the identifiers, kinds and the bytes that both payloads have. None if these are more than
    /// an eighth of the bits compared: then it is another frame, not a damaged one.
    pub fn damage_from(&self, sent: &Self) -> Option<u32> {
        let differing_id = (self.id_word() ^ sent.id_word()).count_ones();
        let id_bits = if sent.id_word() & EXTENDED_FLAG != 0 { 29 } else { 11 };
        let len = self.len.min(sent.len);
        let mut differing = differing_id;
        for (at, (ours, theirs)) in self.words[1..].iter().zip(&sent.words[1..]).enumerate() {
            let bytes = len.saturating_sub(8 * at).min(8);
            let mask = if bytes == 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 };
            differing += ((ours ^ theirs) & mask).count_ones();
        }
        (8 * differing as usize <= id_bits + 8 * len).then_some(differing)
    }

    /// The frame, as it was.
    pub fn frame(&self) -> Frame {
        let is_fd = self.kind_code() == Kind::Fd as u64;
        let mut image = [0; FD_BYTES];
        image[..4].copy_from_slice(&self.id_word().to_ne_bytes());
        // A remote frame has a length and no payload.
        let asked = if self.kind_code() == Kind::Remote as u64 { self.dlc().min(8) } else { 0 };
        image[4] = asked.max(self.len as u8);
        image[5] = self.fd_flags();
        image[7] = if !is_fd && self.dlc() > 8 { self.dlc() } else { 0 };
        for (bytes, word) in image[PAYLOAD_OFFSET..].chunks_mut(8).zip(&self.words[1..]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let size = if is_fd { FD_BYTES } else { CLASSIC_BYTES };
        Frame::copy_of(Image::parse(&image[..size]).expect("the length is one that an image had"))
    }

    fn id_word(&self) -> u32 {
        self.words[0] as u32
    }

    fn dlc(&self) -> u8 {
        (self.words[0] >> 32) as u8
    }

    fn fd_flags(&self) -> u8 {
        (self.words[0] >> 40) as u8
    }

    fn kind_code(&self) -> u64 {
        self.words[0] >> 48 & 0xFF
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.words() == other.words()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::notation::parse_compact;

    fn content(text: &str) -> Content {
        Content::of(parse_compact(text).unwrap().image())
    }

    #[test]
    fn every_kind_of_frame_comes_back() {
        for text in [
            "123#",
            "123#11",
            "123#1122334455667788",
            "123#1122334455667788_9",
            "1F334455#1122334455",
            "123#R",
            "123#R8",
            "123#R8_F",
            "123##0",
            "123##3112233",
            "1F334455##1000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
            "20000004#0001020304050607",
        ] {
            let frame = parse_compact(text).unwrap();
            let packed = Content::of(frame.image());
            let again = Content::from_words(packed.words().iter().copied());
            assert_eq!(again.frame(), frame, "{text}");
            assert!(again == packed);
        }
    }

    #[test]
    fn what_kernels_add_is_no_difference() {
        let mut image = [0; 72];
        image[4] = 1;
        // CANFD_FDF, and bytes behind the payload.
        image[5] = 0x05;
        image[9] = 0xAA;
        let received = Content::of(Image::parse(&image).unwrap());
        assert!(received == content("000##100"));
        assert!(received != content("000##000"));
        assert!(content("123#00") != content("123#0000"));
        assert!(content("123#00") != content("00000123#00"));
        assert!(content("123#00") != content("123##000"));
    }

    #[test]
    fn damage_is_counted_in_bits() {
        let sent = content("123#1122334455667788");
        assert_eq!(content("123#1122334455667788").damage_from(&sent), Some(0));
        assert_eq!(content("122#1122334455667780").damage_from(&sent), Some(2));
        // Shorter or longer by the same bytes.
        assert_eq!(content("123#112233").damage_from(&sent), Some(0));
        assert_eq!(content("123##0112233445566778800000000").damage_from(&sent), Some(0));
        // 9 of 75 bits, and 10.
        assert_eq!(content("123#FF22334455667777").damage_from(&sent), None);
        assert_eq!(content("123#EE22334455667787").damage_from(&sent), None);
        assert_eq!(content("123#EE2233445566778B").damage_from(&sent), None);
        assert_eq!(content("123#1122334455668877").damage_from(&sent), None);
        assert_eq!(content("123#EE22334455667788").damage_from(&sent), Some(8));
        assert_eq!(content("123#EE22334455667789").damage_from(&sent), Some(9));
        assert_eq!(content("122#EE22334455667789").damage_from(&sent), None);
    }
}
