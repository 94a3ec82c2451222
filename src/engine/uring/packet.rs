//! What a multishot receive asks for, and what it puts into a buffer.
//!
//! ```text
//!  0         4              8              12      16         16 + CONTROL_BYTES
//! +---------+--------------+--------------+-------+-----------+-------- ─ ─
//! | address | control      | packet       | flags | control   | packet
//! | bytes: 0| bytes        | bytes        |       | messages  |
//! +---------+--------------+--------------+-------+-----------+-------- ─ ─
//!             struct io_uring_recvmsg_out
//! ```

use std::io;

use crate::bus::PACKET_BYTES;
use crate::bus::control::{self, CONTROL_BYTES};
use crate::engine::{Handler, Token};

/// Bytes before the control messages.
const HEADER_BYTES: usize = 16;

/// Bytes of a buffer that takes a packet.
pub const BUFFER_BYTES: usize = HEADER_BYTES + CONTROL_BYTES + PACKET_BYTES;

/// Asks for no address, and for control messages.
pub fn header() -> Box<libc::msghdr> {
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
    let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
    header.msg_controllen = CONTROL_BYTES as _;
    header
}

/// Shows a packet that a completion put into a buffer: how many bytes it has.
#[inline]
pub fn deliver(token: Token, filled: &[u8], handler: &mut impl Handler) -> io::Result<usize> {
    let (control, packet) = parse(filled).ok_or(io::ErrorKind::InvalidData)?;
    if packet.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    handler.bus_packet(token, packet, control::parse(control));
    Ok(packet.len())
}

/// Control messages and packet. One that was longer than its buffer is as long as that.
fn parse(filled: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = filled.split_first_chunk::<HEADER_BYTES>()?;
    let length = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (control, packet) = rest.split_at_checked(CONTROL_BYTES)?;
    Some((control.get(..length(4) as usize)?, packet.get(..length(8) as usize).unwrap_or(packet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer as the kernel fills it.
    fn filled(control_bytes: u32, packet_bytes: u32, packet: &[u8]) -> Vec<u8> {
        let words = [0, control_bytes, packet_bytes, 0].map(u32::to_ne_bytes).concat();
        [&words[..], &[7; CONTROL_BYTES], packet].concat()
    }

    #[test]
    fn parts_are_where_the_kernel_puts_them() {
        let buffer = filled(56, 3, b"abc");
        assert_eq!(parse(&buffer), Some((&[7; 56][..], &b"abc"[..])));
        assert_eq!(parse(&filled(0, 0, b"")), Some((&b""[..], &b""[..])));
    }

    #[test]
    fn a_packet_is_as_long_as_its_buffer_at_most() {
        assert_eq!(parse(&filled(0, 2_000, b"abc")), Some((&b""[..], &b"abc"[..])));
        assert_eq!(parse(&filled(97, 3, b"abc")), None, "more control messages than there is room");
        assert_eq!(parse(&filled(0, 0, b"")[..100]), None);
    }
}
