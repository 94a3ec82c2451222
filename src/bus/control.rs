//! Control messages beside a received packet: the kernel's receive time and the count of drops.

use std::mem::size_of;

use crate::moment::WallTime;

/// What the kernel says beside a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PacketInfo {
    /// When the kernel received it (`SO_TIMESTAMPNS`), where the socket tells.
    pub received_at: Option<WallTime>,
    /// How many packets the socket's receive queue has had to drop so far (`SO_RXQ_OVFL`; wraps at 2^32), where the
    /// socket tells.
    pub dropped_total: Option<u32>,
}

/// Room for the two messages that a bus socket may carry: a `timespec` (16 bytes) and a drop count (4 bytes), each
/// behind a 16-byte header and padded to 8; the rest is for messages that a kernel may add.
pub const CONTROL_BYTES: usize = 96;

const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();
const ALIGNMENT: usize = size_of::<usize>();

/// Reads the messages that are known and passes over the rest.
#[inline]
pub fn parse(mut control: &[u8]) -> PacketInfo {
    let mut info = PacketInfo::default();
    while let Some((level, kind, data, rest)) = next_message(control) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => info.received_at = timespec(data),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                info.dropped_total = data.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
            }
            _ => {}
        }
        control = rest;
    }
    info
}

/// Level, type and data of the first message, and what follows it. `struct cmsghdr` is a length (with the header),
/// a level and a type.
fn next_message(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let length = usize::from_ne_bytes(*control.first_chunk()?);
    let level = i32::from_ne_bytes(*control.get(size_of::<usize>()..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*control.get(size_of::<usize>() + 4..)?.first_chunk()?);
    let data = control.get(HEADER_BYTES..length)?;
    let rest = control.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    Some((level, kind, data, rest))
}

fn timespec(data: &[u8]) -> Option<WallTime> {
    const WORD: usize = size_of::<libc::time_t>();
    let seconds = libc::time_t::from_ne_bytes(*data.first_chunk()?);
    let nanoseconds = libc::c_long::from_ne_bytes(*data.get(WORD..)?.first_chunk()?);
    let (seconds, nanoseconds) = (u64::try_from(seconds).ok()?, u64::try_from(nanoseconds).ok()?);
    Some(WallTime::from_nanos(seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER_BYTES + data.len()).to_ne_bytes().to_vec();
        bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    #[test]
    fn times_and_drops_are_found_among_others() {
        let (seconds, nanoseconds): (libc::time_t, libc::c_long) = (1_700_000_000, 123_456_789);
        let time = [&seconds.to_ne_bytes()[..], &nanoseconds.to_ne_bytes()[..]].concat();
        let control = [
            message(libc::SCM_CREDENTIALS, &[0; 12]),
            message(libc::SCM_TIMESTAMPNS, &time),
            message(libc::SO_RXQ_OVFL, &7u32.to_ne_bytes()),
        ]
        .concat();
        let info = parse(&control);
        assert_eq!(info.received_at, Some(WallTime::from_nanos(1_700_000_000_123_456_789)));
        assert_eq!(info.dropped_total, Some(7));
    }

    #[test]
    fn cut_messages_are_no_messages() {
        let control = message(libc::SO_RXQ_OVFL, &7u32.to_ne_bytes());
        for length in 0..HEADER_BYTES + 4 {
            assert_eq!(parse(&control[..length]), PacketInfo::default(), "{length} bytes");
        }
        assert_eq!(parse(&[0; 64]), PacketInfo::default(), "a length of zero ends the list");
    }
}
