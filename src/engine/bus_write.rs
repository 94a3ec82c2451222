//! Frames into a bus socket: `sendmmsg`, as many a call as the kernel takes.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Written;
use crate::frame::Frame;

/// Frames a system call. The kernel's own limit is 1,024; a backlog is then written in few calls.
const FRAMES_PER_CALL: usize = 64;

/// Writes frames in order until all are taken or the kernel takes no more.
pub fn write(bus: BorrowedFd<'_>, frames: &[Frame]) -> Written {
    let mut accepted = 0;
    while accepted < frames.len() {
        let end = frames.len().min(accepted + FRAMES_PER_CALL);
        match write_some(bus, &frames[accepted..end]) {
            Ok(count) => accepted += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Written { accepted, stopped_by: Some(error) },
        }
    }
    Written { accepted, stopped_by: None }
}

/// One call for at most [`FRAMES_PER_CALL`] frames; an error only if not even the first was taken.
fn write_some(bus: BorrowedFd<'_>, frames: &[Frame]) -> io::Result<usize> {
    let mut vectors = [MaybeUninit::<libc::iovec>::uninit(); FRAMES_PER_CALL];
    let mut messages = [MaybeUninit::<libc::mmsghdr>::uninit(); FRAMES_PER_CALL];
    for ((frame, vector), message) in frames.iter().zip(&mut vectors).zip(&mut messages) {
        let bytes = frame.image().as_bytes();
        let vector =
            vector.write(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        message.write(libc::mmsghdr { msg_hdr: header_of(vector), msg_len: 0 });
    }
    let count = frames.len().min(FRAMES_PER_CALL) as libc::c_uint;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the first `count` headers were written above; each points to one vector, and each vector to the bytes
    // of a frame borrowed for the whole call. The kernel only reads the bytes, so the cast from const is sound.
    let sent = unsafe { libc::sendmmsg(bus.as_raw_fd(), messages.as_mut_ptr().cast(), count, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn header_of(vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths. (Its padding fields are private
    // on some C libraries, so it cannot be written out.)
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    header
}
