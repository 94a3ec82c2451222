//! An epoll instance that knows slots by key, and has a timer of its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
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
    /// Told of what comes, not of what is there.
    pub edges: bool,
}

impl Interest {
    pub const READABLE: Self = Self { readable: true, writable: false, edges: false };
    pub const NEWLY_READABLE: Self = Self { edges: true, ..Self::READABLE };

    fn mask(self) -> u32 {
        let readable = if self.readable { libc::EPOLLIN | libc::EPOLLRDHUP } else { 0 };
        let writable = if self.writable { libc::EPOLLOUT } else { 0 };
        // A read stops at TCP's urgent mark, and of what is behind it the kernel does not tell again.
        let edges = if self.edges { libc::EPOLLET | libc::EPOLLPRI } else { 0 };
        (readable | writable | edges) as u32
    }

    fn is_nothing(self) -> bool {
        !self.readable && !self.writable
    }
}

/// A descriptor that is ready. Errors and hang-ups count as both, so that the next call reports them.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub key: Key,
    pub readable: bool,
    pub writable: bool,
    /// It is to be read until nothing is left: nothing more comes, or a read may stop before all is read.
    pub to_the_end: bool,
}

/// What a wait has found.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Ready(Ready),
    /// The timer has expired.
    Alarm,
}

/// How long [`Poller::wait`] waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    AtMost(Duration),
    /// Until something is ready or the timer expires.
    ForAlarm,
}

/// The timer's word. No slot has this key: its generation has more than 24 bits.
const ALARM_WORD: u64 = u64::MAX;

pub struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
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
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: a plain system call without memory arguments.
        let descriptor = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above returned a new descriptor that nobody else owns.
        let timer = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT].into_boxed_slice();
        let poller = Self { epoll, timer, events };
        // Edge-triggered: an expired timer is reported once, and need not be read.
        let interest = (libc::EPOLLIN | libc::EPOLLET) as u32;
        poller.control(libc::EPOLL_CTL_ADD, poller.timer.as_fd(), interest, ALARM_WORD)?;
        Ok(poller)
    }

    /// Sets the timer anew.
    pub fn set_alarm(&self, after: Duration) -> io::Result<()> {
        // All zero would turn it off.
        let after = after.max(Duration::from_nanos(1));
        let value = libc::timespec {
            tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: after.subsec_nanos() as libc::c_long,
        };
        let once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = libc::itimerspec { it_interval: once, it_value: value };
        // SAFETY: `setting` is valid for the call, which copies it; the old setting is not asked for.
        let result =
            unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &raw const setting, null_mut()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub fn watch(&self, descriptor: BorrowedFd<'_>, key: Key, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, interest.mask(), key.to_word())
    }

    pub fn change(
        &self,
        descriptor: BorrowedFd<'_>,
        key: Key,
        before: Interest,
        after: Interest,
    ) -> io::Result<()> {
        let operation = match (before.is_nothing(), after.is_nothing()) {
            (true, _) => libc::EPOLL_CTL_ADD,
            (_, true) => libc::EPOLL_CTL_DEL,
            _ => libc::EPOLL_CTL_MOD,
        };
        self.control(operation, descriptor, after.mask(), key.to_word())
    }

    fn control(
        &self,
        operation: libc::c_int,
        descriptor: BorrowedFd<'_>,
        interest: u32,
        word: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: word };
        // SAFETY: `event` is valid for the call, which copies it; both descriptors are borrowed and open.
        let result = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor.as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until something is ready; returns how many. A signal ends the wait with 0. A stated time is waited for in
    /// whole milliseconds, rounded up, because `epoll_pwait2` is missing from older containers' seccomp profiles.
    pub fn wait(&mut self, wait: Wait) -> io::Result<usize> {
        let milliseconds = match wait {
            Wait::AtMost(wait) => i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
            Wait::ForAlarm => -1,
        };
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

    /// What the last wait found, the `index`th.
    pub fn event(&self, index: usize) -> Event {
        let event = self.events[index];
        if event.u64 == ALARM_WORD {
            return Event::Alarm;
        }
        let has = |bits: libc::c_int| event.events & bits as u32 != 0;
        let failed = has(libc::EPOLLERR | libc::EPOLLHUP);
        Event::Ready(Ready {
            key: Key::from_word(event.u64),
            readable: failed || has(libc::EPOLLIN | libc::EPOLLRDHUP),
            writable: failed || has(libc::EPOLLOUT),
            to_the_end: failed || has(libc::EPOLLRDHUP | libc::EPOLLPRI),
        })
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
