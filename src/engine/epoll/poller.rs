//! An epoll instance that knows slots by key.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::engine::slots::Key;

/// Descriptors reported a wait. More that are ready are reported by the next one.
const EVENTS_PER_WAIT: usize = 256;

/// What a descriptor is watched for. Watched for nothing, it is not in the epoll set at all: a socket whose far end
/// has closed would otherwise be reported for ever (`EPOLLHUP` cannot be masked).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interest {
    pub readable: bool,
    pub writable: bool,
}

impl Interest {
    pub const READABLE: Self = Self { readable: true, writable: false };
    const NOTHING: Self = Self { readable: false, writable: false };

    fn mask(self) -> u32 {
        let readable = if self.readable { libc::EPOLLIN | libc::EPOLLRDHUP } else { 0 };
        let writable = if self.writable { libc::EPOLLOUT } else { 0 };
        (readable | writable) as u32
    }
}

/// A descriptor that is ready. Errors and hang-ups count as both, so that the next call reports them.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub key: Key,
    pub readable: bool,
    pub writable: bool,
}

pub struct Poller {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a plain system call without memory arguments.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above returned a new descriptor that nobody else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT].into_boxed_slice(),
        })
    }

    pub fn watch(&self, descriptor: BorrowedFd<'_>, key: Key, interest: Interest) -> io::Result<()> {
        self.change(descriptor, key, Interest::NOTHING, interest)
    }

    pub fn change(
        &self,
        descriptor: BorrowedFd<'_>,
        key: Key,
        before: Interest,
        after: Interest,
    ) -> io::Result<()> {
        let operation = match (before, after) {
            (Interest::NOTHING, _) => libc::EPOLL_CTL_ADD,
            (_, Interest::NOTHING) => libc::EPOLL_CTL_DEL,
            _ => libc::EPOLL_CTL_MOD,
        };
        let mut event = libc::epoll_event { events: after.mask(), u64: key.to_word() };
        // SAFETY: `event` is valid for the call, which copies it; both descriptors are borrowed and open.
        let result = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor.as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until something is ready; returns how many. A signal ends the wait with 0. Waits in whole
    /// milliseconds, rounded up, because `epoll_pwait2` is missing from older containers' seccomp profiles.
    pub fn wait(&mut self, wait: Duration) -> io::Result<usize> {
        let milliseconds = i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        let events = self.events.as_mut_ptr();
        let room = self.events.len() as libc::c_int;
        // SAFETY: `events` points to `room` events that live as long as the call.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, room, milliseconds) };
        match usize::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The `index`th descriptor of the last wait.
    pub fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let has = |bits: libc::c_int| event.events & bits as u32 != 0;
        let failed = has(libc::EPOLLERR | libc::EPOLLHUP);
        Ready {
            key: Key::from_word(event.u64),
            readable: failed || has(libc::EPOLLIN | libc::EPOLLRDHUP),
            writable: failed || has(libc::EPOLLOUT),
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
