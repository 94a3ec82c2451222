//! The system calls of the software bus, each behind a safe function. Knows no frame and no bus.

use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::bus::option::{self, check as checked};

/// What every socket here is: packets in order, never blocking, not inherited by children.
const SOCKET_KIND: libc::c_int = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
/// Connections that may wait to be accepted: the kernel's own default limit (`net.core.somaxconn`) is 4,096 and
/// cuts this; the hub accepts within a turn of its loop, so that a burst of joiners is all that has to fit.
const BACKLOG: libc::c_int = 512;

/// An address in the abstract Unix namespace: it exists as long as a socket is bound to it, and in no file system.
pub(super) struct Address {
    raw: libc::sockaddr_un,
    length: libc::socklen_t,
}

impl Address {
    /// The abstract address `\0` + `name`; `None` if it is longer than the 107 bytes that an address holds.
    pub(super) fn abstract_name(name: &str) -> Option<Self> {
        // SAFETY: sockaddr_un is plain integers, for which zero is a value.
        let mut raw: libc::sockaddr_un = unsafe { mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let room = raw.sun_path.get_mut(1..=name.len())?;
        for (target, byte) in room.iter_mut().zip(name.bytes()) {
            *target = byte as libc::c_char;
        }
        let length = mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
        Some(Self { raw, length: length as libc::socklen_t })
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.raw).cast()
    }
}

/// A new socket, non-blocking and closed on exec.
pub(super) fn seqpacket_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    owned(unsafe { libc::socket(libc::AF_UNIX, SOCKET_KIND, 0) })
}

/// Binds and listens. `AddrInUse` if another socket has the address.
pub(super) fn listen(socket: &OwnedFd, address: &Address) -> io::Result<()> {
    // SAFETY: the address outlives the call and is `length` bytes long.
    checked(unsafe { libc::bind(socket.as_raw_fd(), address.pointer(), address.length) })?;
    // SAFETY: takes no pointer.
    checked(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) })?;
    Ok(())
}

/// Connects: at once or not at all. `ConnectionRefused` if nobody listens, `WouldBlock` if the backlog is full.
pub(super) fn connect(socket: &OwnedFd, address: &Address) -> io::Result<()> {
    // SAFETY: the address outlives the call and is `length` bytes long.
    checked(unsafe { libc::connect(socket.as_raw_fd(), address.pointer(), address.length) })?;
    Ok(())
}

/// Takes the next waiting connection.
pub(super) fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null asks for no address.
    owned(unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) })
}

/// Ends one direction: `SHUT_RD` or `SHUT_WR`.
pub(super) fn shutdown(socket: &OwnedFd, direction: libc::c_int) -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::shutdown(socket.as_raw_fd(), direction) })?;
    Ok(())
}

/// Sets a socket option of `SOL_SOCKET` that takes an integer.
pub(super) fn set_socket_option(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    option::set(socket.as_fd(), libc::SOL_SOCKET, option, value)
}

/// The process at the other end, as it was when it connected or listened; 0 if the kernel does not tell (it is in
/// another PID namespace).
pub(super) fn peer_pid(socket: &OwnedFd) -> i32 {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let pointer = (&raw mut credentials).cast();
    // SAFETY: `credentials` is writable and `length` bytes long.
    let status = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, pointer, &raw mut length)
    };
    if status == 0 { credentials.pid } else { 0 }
}

/// The header of a message of one vector, for `recvmmsg` and `sendmmsg`.
pub(super) fn message(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: mmsghdr is integers and pointers, for which zero is a value.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// Sends one small packet; whole or not at all.
pub(super) fn send(socket: &OwnedFd, packet: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the packet is readable for its length.
    checked_size(unsafe { libc::send(socket.as_raw_fd(), packet.as_ptr().cast(), packet.len(), flags) })?;
    Ok(())
}

/// Receives one packet: its bytes, 0 at the end of the stream.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    let pointer = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer is writable for its length.
    checked_size(unsafe { libc::recv(socket.as_raw_fd(), pointer, buffer.len(), libc::MSG_DONTWAIT) })
}

/// Receives one packet, waiting until `deadline`; `TimedOut` if none came.
pub(super) fn receive_until(socket: &OwnedFd, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        match receive(socket, buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => return result,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut request = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, writable.
        let status = unsafe { libc::poll(&raw mut request, 1, milliseconds(left)) };
        match checked(status) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

/// Readiness of many descriptors, each known by a token.
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        Ok(Self(owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?))
    }

    pub(super) fn add(&self, descriptor: &OwnedFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, interest, token)
    }

    pub(super) fn modify(&self, descriptor: &OwnedFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, descriptor, interest, token)
    }

    /// Waits for events, without end if `limit` is `None`. Gives how many entries of `events` are filled.
    pub(super) fn wait(
        &self,
        events: &mut [libc::epoll_event],
        limit: Option<Duration>,
    ) -> io::Result<usize> {
        let room = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
        let timeout_ms = limit.map_or(-1, milliseconds);
        // SAFETY: `events` is writable for `room` entries.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms) };
        match checked(count) {
            Ok(count) => Ok(count.unsigned_abs() as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn control(
        &self,
        operation: libc::c_int,
        descriptor: &OwnedFd,
        events: u32,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: one event, readable.
        checked(unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), operation, descriptor.as_raw_fd(), &raw mut event)
        })?;
        Ok(())
    }
}

/// A descriptor that becomes readable once [`signal`] was called, and stays so.
pub(super) fn event() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Makes an [`event`] readable.
pub(super) fn signal(event: &OwnedFd) -> io::Result<()> {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight readable bytes.
    checked_size(unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) })?;
    Ok(())
}

/// A timer of the monotonic clock. It has the resolution of the kernel's high resolution timers, and is not
/// subject to the 50 microseconds of slack that a time-out of `epoll_wait` has.
pub(super) fn timer() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })
}

/// Makes a [`timer`] readable from `at_ns` of [`monotonic_ns`] on; setting it anew takes the readability back.
pub(super) fn arm(timer: &OwnedFd, at_ns: u64) -> io::Result<()> {
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // A time of zero would disarm the timer.
    let at_ns = at_ns.max(1);
    let at = libc::timespec {
        tv_sec: (at_ns / NANOSECONDS) as libc::time_t,
        tv_nsec: (at_ns % NANOSECONDS) as libc::c_long,
    };
    let setting = libc::itimerspec { it_interval: zero, it_value: at };
    let absolute = libc::TFD_TIMER_ABSTIME;
    // SAFETY: the setting is readable; null asks for no old one.
    checked(unsafe {
        libc::timerfd_settime(timer.as_raw_fd(), absolute, &raw const setting, std::ptr::null_mut())
    })?;
    Ok(())
}

/// Nanoseconds of the monotonic clock, the one that [`timer`] runs by.
pub(super) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable. The call cannot fail for this clock and a good pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    // 32 bits each on some machines: not for as long as one runs.
    now.tv_sec as u64 * NANOSECONDS + now.tv_nsec as u64
}

/// Keeps every signal from this thread, so that the program's own thread handles them.
pub(super) fn block_signals() -> io::Result<()> {
    // SAFETY: sigset_t is plain integers, for which zero is a value.
    let mut all: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: the set is writable.
    checked(unsafe { libc::sigfillset(&raw mut all) })?;
    // SAFETY: the set is readable; null asks for no old one.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

const NANOSECONDS: u64 = 1_000_000_000;

/// Whole milliseconds, rounded up, so that a wait does not end before its time.
fn milliseconds(duration: Duration) -> libc::c_int {
    libc::c_int::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}

fn checked_size(status: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(status).map_err(|_| io::Error::last_os_error())
}

fn owned(descriptor: libc::c_int) -> io::Result<OwnedFd> {
    let descriptor = checked(descriptor)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
