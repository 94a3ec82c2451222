//! Socket options as values: the few system calls, each in its safe wrapper. Knows no bus.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_int;

/// Types that any bytes make a valid value of, and that have no padding: what socket options consist of.
///
/// # Safety
/// The implementer is plain data without padding, pointers or forbidden values.
pub(crate) unsafe trait Plain: Copy + Default {}

// SAFETY: an integer.
unsafe impl Plain for c_int {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: integers in a row.
unsafe impl Plain for [u32; 9] {}

/// Sets an integer option.
pub(crate) fn set(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    set_bytes(socket, level, option, &value.to_ne_bytes())
}

/// Sets an option whose value is these bytes.
pub(super) fn set_bytes(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: &[u8]) -> io::Result<()> {
    let bytes = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel only reads the `bytes` bytes of `value`, which outlives the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), bytes) };
    check(result).map(drop)
}

/// Reads an option whose value has exactly `T`'s size.
pub(crate) fn read<T: Plain>(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut bytes = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` bytes into `value`, which may hold any bytes (`Plain`).
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut bytes)
    };
    check(result)?;
    if bytes as usize != size_of::<T>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("option {option} has {bytes} bytes")));
    }
    Ok(value)
}

/// A system call's -1 as the error it stands for.
pub(super) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
