//! Wakes an idle engine: an epoll instance that watches the same descriptors, so that a runtime can wait for all of
//! them by waiting for one.
//!
//! A ring can signal an eventfd, but on kernel 6.12 (Debian's 6.12.117) the signal was measured to come an RCU grace
//! period late, some ten milliseconds, for every first frame after a pause. A descriptor's own readiness is told at once
//! on every kernel. Each is watched for one event at a time: then it is taken out of the set until the engine is idle again,
//! so that what comes while the engine is busy has the kernel call nobody else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Events fetched a call.
const EVENTS: usize = 64;

pub struct Doorbell {
    epoll: OwnedFd,
    rung: Box<[libc::epoll_event; EVENTS]>,
}

impl Doorbell {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a plain system call without memory arguments.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above returned a new descriptor that nobody else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { epoll, rung: Box::new([libc::epoll_event { events: 0, u64: 0 }; EVENTS]) })
    }

    /// Watches a descriptor for its next event, which is told under `word`. One that is readable now rings at once. Closing it
    /// ends that.
    pub fn watch(&self, descriptor: BorrowedFd<'_>, word: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, word)
    }

    /// Watches a descriptor no more, which has rung.
    pub fn leave(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, descriptor, 0)
    }

    /// Fetches the words of all that have rung since the last call.
    pub fn fetch(&mut self, mut rung: impl FnMut(u64)) -> io::Result<()> {
        loop {
            let (events, room) = (self.rung.as_mut_ptr(), EVENTS as libc::c_int);
            // SAFETY: `events` points to `room` events that live as long as the call.
            let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, room, 0) };
            let count = match usize::try_from(count) {
                Ok(count) => count,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => continue,
                    error => return Err(error),
                },
            };
            self.rung[..count].iter().for_each(|event| rung(event.u64));
            if count < EVENTS {
                return Ok(());
            }
        }
    }

    fn control(&self, operation: libc::c_int, descriptor: BorrowedFd<'_>, word: u64) -> io::Result<()> {
        // Fetched once: what has rung must not be found again by the next call within `fetch`.
        let events = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLONESHOT) as u32;
        let mut event = libc::epoll_event { events, u64: word };
        // SAFETY: `event` is valid for the call, which copies it; both descriptors are borrowed and open.
        let result = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor.as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
