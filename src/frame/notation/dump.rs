//! What `candump` prints by default: `  vcan0  123   [4]  11 22 33 44`.

use super::hex;
use super::line::Line;
use crate::frame::{EXTENDED_FLAG, Image, Kind};

/// How candump lays out the identifier column: it grows once an extended frame has been seen, and stays so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IdColumn {
    /// Identifiers as wide as they are.
    #[default]
    Narrow,
    /// Three digits are moved right to line up with eight.
    Wide,
}

impl IdColumn {
    /// The layout for `image` and what follows it, where `self` was the one before.
    #[must_use]
    pub fn including(self, image: Image<'_>) -> Self {
        if image.id_word() & EXTENDED_FLAG != 0 { Self::Wide } else { self }
    }
}

/// Appends one line with its newline, character for character as candump prints it.
pub fn write_dump_line(out: &mut Vec<u8>, interface: &str, image: Image<'_>, column: IdColumn) {
    let mut line = Line::default();
    let short = image.kind() != Kind::Error && !image.identifier().is_extended();
    if short && column == IdColumn::Wide {
        line.push(b"     ");
    }
    line.push_identifier(image);
    push_len(&mut line, image);
    if image.kind() == Kind::Remote {
        line.push(b" remote request");
    }
    for &byte in image.payload() {
        line.push(b" ");
        line.push(&hex::pair(byte));
    }
    if image.kind() == Kind::Error {
        // Behind the column of eight bytes.
        for _ in image.payload().len()..8 {
            line.push(b"   ");
        }
        line.push(b"   ERRORFRAME");
    }
    out.extend_from_slice(b"  ");
    out.extend_from_slice(interface.as_bytes());
    out.extend_from_slice(b"  ");
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

/// One digit for classic frames, two for FD.
fn push_len(line: &mut Line, image: Image<'_>) {
    let [tens, ones] = [image.len() / 10, image.len() % 10].map(|digit| b'0' + digit as u8);
    if image.kind() == Kind::Fd {
        line.push(&[b' ', b' ', b'[', tens, ones, b']', b' ']);
    } else {
        line.push(&[b' ', b' ', b' ', b'[', ones, b']', b' ']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::notation::parse_compact;

    fn dump(texts: &[&str]) -> Vec<String> {
        let mut column = IdColumn::default();
        let print = |text: &&str| {
            let frame = parse_compact(text).unwrap();
            column = column.including(frame.image());
            let mut out = Vec::new();
            write_dump_line(&mut out, "vcan0", frame.image(), column);
            String::from_utf8(out).unwrap()
        };
        texts.iter().map(print).collect()
    }

    // Captured from candump 2020.11 on vcan0.
    #[test]
    fn lines_are_candumps_before_an_extended_frame() {
        let cases = [
            ("123#11223344", "  vcan0  123   [4]  11 22 33 44\n"),
            ("123#", "  vcan0  123   [0] \n"),
            ("000#0011223344556677", "  vcan0  000   [8]  00 11 22 33 44 55 66 77\n"),
            ("123#R", "  vcan0  123   [0]  remote request\n"),
            ("123#R4", "  vcan0  123   [4]  remote request\n"),
            ("123#R8_C", "  vcan0  123   [8]  remote request\n"),
            ("123##1", "  vcan0  123  [00] \n"),
            ("123##011", "  vcan0  123  [01]  11\n"),
            ("123##300112233445566778899AABB", "  vcan0  123  [12]  00 11 22 33 44 55 66 77 88 99 AA BB\n"),
            ("123#1122334455667788_9", "  vcan0  123   [8]  11 22 33 44 55 66 77 88\n"),
            ("20000004#0001000000000000", "  vcan0  20000004   [8]  00 01 00 00 00 00 00 00   ERRORFRAME\n"),
            ("123#11", "  vcan0  123   [1]  11\n"),
            ("20000080#", "  vcan0  20000080   [0]                            ERRORFRAME\n"),
            ("20000080#0102", "  vcan0  20000080   [2]  01 02                     ERRORFRAME\n"),
        ];
        assert_eq!(dump(&cases.map(|(text, _)| text)), cases.map(|(_, line)| line));
    }

    #[test]
    fn lines_are_candumps_after_an_extended_frame() {
        let cases = [
            ("00000001#AA", "  vcan0  00000001   [1]  AA\n"),
            ("123#R4", "  vcan0       123   [4]  remote request\n"),
            ("1F334455#R8", "  vcan0  1F334455   [8]  remote request\n"),
            ("123##1", "  vcan0       123  [00] \n"),
            ("123##0112233", "  vcan0       123  [03]  11 22 33\n"),
            (
                "1F334455##300112233445566778899AABB",
                "  vcan0  1F334455  [12]  00 11 22 33 44 55 66 77 88 99 AA BB\n",
            ),
            ("7FF##0", "  vcan0       7FF  [00] \n"),
        ];
        assert_eq!(dump(&cases.map(|(text, _)| text)), cases.map(|(_, line)| line));
        let longest = format!("1FFFFFFF##0{}", "A5".repeat(64));
        assert_eq!(dump(&[&longest])[0], format!("  vcan0  1FFFFFFF  [64] {}\n", " A5".repeat(64)));
    }
}
