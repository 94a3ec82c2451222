//! Notice of interfaces that come, go, or change state. Says that something changed, never what.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::option::check;

/// Messages read in one call of [`LinkWatch::drain`]. A link event makes a handful; a host that makes interfaces
/// without end must not keep the bridge's thread, and what is left keeps the socket readable.
const DRAIN_MESSAGES: usize = 1024;

/// A non-blocking route netlink socket that becomes readable when any interface changes.
#[derive(Debug)]
pub struct LinkWatch {
    socket: OwnedFd,
}

impl LinkWatch {
    /// Subscribes to link events of this network namespace. Needs no rights.
    ///
    /// # Errors
    /// The kernel refuses a netlink socket.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointers.
        let descriptor = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
        // SAFETY: the kernel just made this descriptor, and nothing else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };

        // SAFETY: an address is plain data; zero is a valid value of each of its parts.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = libc::RTMGRP_LINK as u32;
        let bytes = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the address outlives the call and has the size that is given.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), bytes) })?;
        Ok(Self { socket })
    }

    /// What to wait on: readable after a change.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Throws away what has been announced; true if anything was. The caller then looks at the
    /// [`super::interface::state`] of its interfaces: a subscriber that missed events (`ENOBUFS`) learns as much.
    ///
    /// # Errors
    /// The kernel refuses to read, for another reason than that there is nothing, that events were missed, or that a signal came.
    pub fn drain(&self) -> io::Result<bool> {
        let mut anything = false;
        for _ in 0..DRAIN_MESSAGES {
            // A datagram is gone once any of it is read.
            let mut byte = 0u8;
            // SAFETY: the kernel writes at most the one byte.
            let read = unsafe { libc::recv(self.socket.as_raw_fd(), (&raw mut byte).cast(), 1, 0) };
            if read < 0 {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(anything),
                    Some(libc::ENOBUFS | libc::EINTR) => {}
                    _ => return Err(error),
                }
            }
            anything = true;
        }
        Ok(anything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_without_rights_and_never_blocks() {
        let watch = LinkWatch::open().unwrap();
        // Other programs may change links meanwhile, so only that this returns is sure.
        watch.drain().unwrap();
    }
}
