//! What the kernel knows of a TCP connection beside its bytes.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Where `struct tcp_info` of `linux/tcp.h` (6.12) has what is asked for, and how long it is up to the end of that: the C
/// library's ends before.
const UNACKNOWLEDGED_AT: usize = 24;
const ROUND_TRIP_AT: usize = 68;
const ACKNOWLEDGED_AT: usize = 120;
const SHORTEST_ROUND_TRIP_AT: usize = 148;
const INFO_BYTES: usize = 152;

/// What TCP knows of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpInfo {
    /// Bytes that the peer has acknowledged since the connection was made.
    pub acknowledged_bytes: u64,
    /// Bytes that it has not, those that wait to be sent among them.
    pub bytes_under_way: usize,
    /// Segments that it has not.
    pub segments_under_way: u32,
    /// The round trip, smoothed.
    pub round_trip_ns: u64,
    /// The shortest one of the last minutes.
    pub shortest_round_trip_ns: u64,
}

/// What TCP knows of a connection; none on kernels before 4.6, which do not tell all of it.
///
/// # Errors
/// The kernel's: it is no TCP connection, or has ended.
pub fn ask(stream: BorrowedFd<'_>) -> io::Result<Option<TcpInfo>> {
    let (info, length) = read(stream)?;
    let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
    let two_words = info[ACKNOWLEDGED_AT..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
    let bytes_under_way = under_way(stream)?;
    Ok((length >= INFO_BYTES).then(|| TcpInfo {
        acknowledged_bytes: two_words,
        bytes_under_way,
        segments_under_way: word(UNACKNOWLEDGED_AT),
        round_trip_ns: u64::from(word(ROUND_TRIP_AT)) * 1_000,
        shortest_round_trip_ns: u64::from(word(SHORTEST_ROUND_TRIP_AT)) * 1_000,
    }))
}

/// The beginning of `struct tcp_info`, and how much of it the kernel has.
pub(super) fn read(stream: BorrowedFd<'_>) -> io::Result<([u8; INFO_BYTES], usize)> {
    let mut info = [0u8; INFO_BYTES];
    let mut length = INFO_BYTES as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, and how many they are to `length`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok((info, length as usize)) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that a connection's peer has not acknowledged (`SIOCOUTQ`).
///
/// # Errors
/// The kernel's.
pub fn under_way(stream: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one `int` to `bytes`.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(usize::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_was_sent_is_under_way_until_it_is_acknowledged() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        // More than the peer has room for.
        ours.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = ours.write(&[7; 65_536]) {
            sent += count;
        }
        assert!((1..=sent).contains(&under_way(ours.as_fd()).unwrap()));
        let mut received = vec![0; sent];
        theirs.read_exact(&mut received).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while under_way(ours.as_fd()).unwrap() > 0 {
            assert!(Instant::now() < deadline, "not acknowledged");
        }
        let info = ask(ours.as_fd()).unwrap().expect("kernel 4.6 or later");
        // The SYN counts as a byte.
        assert_eq!(info.acknowledged_bytes, sent as u64 + 1);
        assert_eq!((info.bytes_under_way, info.segments_under_way), (0, 0));
        assert!(info.shortest_round_trip_ns <= info.round_trip_ns && info.round_trip_ns > 0, "{info:?}");
    }
}
