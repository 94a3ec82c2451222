//! What a bus socket still holds when its interface is gone.
//!
//! The kernel tells a socket of an error before it gives what had come until then (`__skb_try_recv_datagram`, Linux 6.12), and
//! the socket of an interface that is gone is closed for it: what is in there would be lost, and counted nowhere.

use std::io;
use std::os::fd::BorrowedFd;

use super::{Handler, Token};
use crate::bus::Receiver;

/// Whether it is for good that a bus receives no more, because its interface is gone.
pub fn is_orphaned(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODEV)
}

/// Hands on all that such a socket holds, which is as much as fits its receive queue: nothing more can come.
#[cold]
#[inline(never)]
pub fn take_rest(
    receiver: &mut Receiver,
    bus: BorrowedFd<'_>,
    token: Token,
    handler: &mut impl Handler,
) -> io::Result<()> {
    loop {
        match receiver.receive(bus) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        for received in receiver.iter() {
            handler.bus_packet(token, received.packet, received.info);
        }
    }
}
