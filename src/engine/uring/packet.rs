//! What a multishot receive asks for, and what it puts into a buffer.

use std::io;

use io_uring::types::RecvMsgOut;

use crate::bus::control::{self, CONTROL_BYTES};
use crate::engine::{Handler, Token};

/// Asks for no address, and for control messages.
pub fn header() -> Box<libc::msghdr> {
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
    let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
    header.msg_controllen = CONTROL_BYTES as _;
    header
}

/// Shows a packet that a completion put into a buffer: how many bytes it has.
pub fn deliver(
    token: Token,
    filled: &[u8],
    header: &libc::msghdr,
    handler: &mut impl Handler,
) -> io::Result<usize> {
    let message =
        RecvMsgOut::parse(filled, header).map_err(|()| io::Error::from(io::ErrorKind::InvalidData))?;
    if message.payload_data().is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    handler.bus_packet(token, message.payload_data(), control::parse(message.control_data()));
    Ok(message.payload_data().len())
}
