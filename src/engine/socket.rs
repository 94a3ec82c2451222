//! The calls on a connected stream, non-blocking and without signals.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::null_mut;

use crate::buffer::SendBuffer;

/// Receives into `room`, with further `flags`; 0 where the peer has closed its direction.
pub fn receive(stream: BorrowedFd<'_>, room: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | flags;
    // SAFETY: `room` is writable memory of the given length for the whole call.
    let count = unsafe { libc::recv(stream.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Takes bytes out of the front of what TCP has received, unread; how many there were, `count` at the most.
pub fn discard(tcp: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: no memory is involved: where TCP is asked to truncate it writes nothing, as tcp(7) says.
    let count = unsafe { libc::recv(tcp.as_raw_fd(), null_mut(), count, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Sends until the buffer is sent. `WouldBlock` leaves it resumable at its offset.
pub fn send_some(stream: BorrowedFd<'_>, buffer: &mut SendBuffer) -> io::Result<()> {
    while !buffer.is_sent() {
        let bytes = buffer.unsent();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `bytes` is readable memory of the given length for the whole call.
        let count = unsafe { libc::send(stream.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
        match usize::try_from(count) {
            Ok(count) => buffer.consume(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Ends our direction of a stream.
pub fn shutdown_write(stream: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a call on a borrowed, open descriptor; no memory is involved.
    match unsafe { libc::shutdown(stream.as_raw_fd(), libc::SHUT_WR) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
