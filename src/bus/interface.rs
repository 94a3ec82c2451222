//! The state of a network interface, and the drop count of a socket. Opens no bus.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::option::{check, read, set_bytes};

/// What a bridge needs to know about an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterfaceState {
    /// No interface has this name.
    Missing,
    /// An interface of another kind: Ethernet, loopback.
    NotCan,
    /// A CAN interface that is down.
    Down {
        /// Its index, which a deleted and newly made interface does not share.
        index: u32,
    },
    /// A CAN interface that is up (a controller that is bus-off counts as up).
    Up {
        /// Its index.
        index: u32,
        /// Bytes of its largest frame image: 16 classic, 72 with FD, more with CAN XL.
        mtu: u32,
    },
}

/// The state of the interface `name` now. It can change at any time: see [`super::watch::LinkWatch`].
///
/// # Errors
/// The kernel refuses a socket to ask with, or an answer about an interface that is there.
pub fn state(name: &str) -> io::Result<InterfaceState> {
    let Some(mut request) = request(name) else { return Ok(InterfaceState::Missing) };
    match ask_all(name, &mut request) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => {
            Ok(InterfaceState::Missing)
        }
        answer => answer,
    }
}

/// Whether there is an interface of this index, whatever its name: interfaces may be renamed, also while they are up (Linux 6.2).
pub fn exists(index: u32) -> bool {
    let mut name = [0; libc::IFNAMSIZ];
    // SAFETY: the name has the room that the call asks for.
    !unsafe { libc::if_indextoname(index, name.as_mut_ptr()) }.is_null()
}

/// Frames that the kernel dropped because this socket's receive queue was full, since it was opened.
///
/// From `SO_MEMINFO`, which tells of a drop at once, where `SO_RXQ_OVFL` waits for the next frame. Wraps at 2^32.
///
/// # Errors
/// The descriptor is no socket.
pub fn kernel_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let words: [u32; 9] = read(socket, libc::SOL_SOCKET, libc::SO_MEMINFO)?;
    Ok(words[libc::SK_MEMINFO_DROPS as usize])
}

/// Whether a name can be an interface's: 1 to 15 bytes, none of them `/`, NUL or white space (`dev_valid_name`).
pub(super) fn is_valid_name(name: &str) -> bool {
    let forbidden = |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace();
    (1..libc::IFNAMSIZ).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(forbidden)
}

fn request(name: &str) -> Option<libc::ifreq> {
    if !is_valid_name(name) {
        return None;
    }
    // SAFETY: an interface request is plain data; zero is a valid value of each of its parts.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Some(request)
}

fn ask_all(name: &str, request: &mut libc::ifreq) -> io::Result<InterfaceState> {
    let index = index(name)?;
    let socket = question_socket()?;
    let socket = socket.as_raw_fd();

    // SAFETY: the request outlives the call, and the kernel writes within it.
    check(unsafe { libc::ioctl(socket, libc::SIOCGIFHWADDR, &raw mut *request) })?;
    // SAFETY: SIOCGIFHWADDR succeeded, so the hardware address is filled in.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr }.sa_family;
    if hardware != libc::ARPHRD_CAN {
        return Ok(InterfaceState::NotCan);
    }

    // SAFETY: as above.
    check(unsafe { libc::ioctl(socket, libc::SIOCGIFFLAGS, &raw mut *request) })?;
    // SAFETY: SIOCGIFFLAGS succeeded, so the flags are filled in.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    if libc::c_int::from(flags) & libc::IFF_UP == 0 {
        return Ok(InterfaceState::Down { index });
    }

    // SAFETY: as above.
    check(unsafe { libc::ioctl(socket, libc::SIOCGIFMTU, &raw mut *request) })?;
    // SAFETY: SIOCGIFMTU succeeded, so the MTU is filled in.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    let mtu = u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(InterfaceState::Up { index, mtu })
}

/// The index of an interface that is there. Asked of a socket that is bound to it, not with SIOCGIFINDEX: for a name that is
/// missing the kernel first runs modprobe, twice, and waits for it (`dev_load`, Linux 6.1 and 6.12; 150 ms and more on emulated
/// processors), and that the interface is back would be noticed later by as much.
fn index(name: &str) -> io::Result<u32> {
    let socket = question_socket()?;
    set_bytes(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_bytes())?;
    let index: libc::c_int = read(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX)?;
    u32::try_from(index).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Any socket answers interface requests; local ones exist in every kernel, with CAN and IP or without.
fn question_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let descriptor = check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        for name in ["c", "can0", "123456789012345"] {
            assert!(is_valid_name(name), "{name}");
        }
        for name in ["", "1234567890123456", "a/b", "a b", ".", "..", "can0\n", "a\0", "eth0:1"] {
            assert!(!is_valid_name(name), "{name:?}");
        }
    }

    #[test]
    fn loopback_is_no_bus_and_nonsense_is_missing() {
        assert_eq!(state("lo").unwrap(), InterfaceState::NotCan);
        assert_eq!(state("nosuchif0").unwrap(), InterfaceState::Missing);
        assert_eq!(state("").unwrap(), InterfaceState::Missing);
    }

    #[test]
    fn a_fresh_socket_has_dropped_nothing() {
        let socket = question_socket().unwrap();
        assert_eq!(kernel_drops(socket.as_fd()).unwrap(), 0);
    }
}
