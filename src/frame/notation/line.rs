//! A line on the stack, and the parts that all notations share.

use super::hex;
use crate::frame::{ERROR_FLAG, EXTENDED_MAX, Image, Kind, STANDARD_MAX};

/// The longest frame: 8 digits, `##`, a flags digit, 64 bytes.
pub(super) const COMPACT_BYTES_MAX: usize = 8 + 2 + 1 + 2 * 64;

/// Room for everything in a line that has a bound: built on the stack, handed on in one piece.
pub(super) struct Line {
    bytes: [u8; LINE_BYTES],
    len: usize,
}

/// A frame in the longest notation, candump's columns: 8 digits, `  [64] `, 64 times three characters.
const LINE_BYTES: usize = 256;
const _: () = assert!(LINE_BYTES >= 8 + 8 + 3 * 64 + 12 && LINE_BYTES >= COMPACT_BYTES_MAX + 2);

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; LINE_BYTES], len: 0 }
    }
}

impl Line {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    /// Three digits, or eight for extended identifiers and error classes; the latter with their flag.
    pub(super) fn push_identifier(&mut self, image: Image<'_>) {
        let word = image.id_word();
        if image.kind() == Kind::Error || image.identifier().is_extended() {
            let shown = if image.kind() == Kind::Error { word | ERROR_FLAG } else { word & !ERROR_FLAG };
            for byte in (shown & (EXTENDED_MAX | ERROR_FLAG)).to_be_bytes() {
                self.push(&hex::pair(byte));
            }
        } else {
            let [high, low] = ((word & STANDARD_MAX) as u16).to_be_bytes();
            self.push(&[hex::digit(high)]);
            self.push(&hex::pair(low));
        }
    }

    /// The frame without its raw DLC.
    pub(super) fn push_compact(&mut self, image: Image<'_>) {
        self.push_identifier(image);
        self.push(b"#");
        match image.kind() {
            Kind::Remote if image.is_empty() => self.push(b"R"),
            // A remote image may not say more than 8.
            Kind::Remote => self.push(&[b'R', hex::digit(image.len().min(8) as u8)]),
            Kind::Fd => self.push(&[b'#', hex::digit(image.fd_flags())]),
            Kind::Data | Kind::Error => {}
        }
        for &byte in image.payload() {
            self.push(&hex::pair(byte));
        }
    }
}
