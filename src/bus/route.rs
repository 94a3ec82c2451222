//! Changes to links through route netlink: made, up, down, bit timing, control modes.
//!
//! The socketcan crate reads these well, but its writes lose the kernel's reason (4.0.0 answers every refusal with
//! "no netlink ack received"), so the messages that write are made here. Layouts: `linux/netlink.h`,
//! `linux/rtnetlink.h`, `linux/if_link.h`, `linux/can/netlink.h`.
//!
//! ```text
//! nlmsghdr   length u32 | type u16 | flags u16 | sequence u32 | port u32
//! ifinfomsg  family u8 | 0 | hardware u16 | index i32 | flags u32 | change u32
//! LINKINFO { KIND "can" | DATA { BITTIMING, CTRLMODE, DATA_BITTIMING } }     each: length u16 | type u16 | value
//! ```

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::option::check;

/// Bytes of an answer: header, error number and the echoed request, which has 160 bytes at most.
const ANSWER_BYTES: usize = 512;
/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// There is one request on each socket, so any number does.
const SEQUENCE: u32 = 1;

/// Bit timing to ask for; the kernel computes the segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timing {
    /// Bits per second.
    pub(super) bit_rate: u32,
    /// Tenths of a percent; 0 lets the kernel choose.
    pub(super) sample_point: u32,
}

/// One change to a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// Administratively up or down.
    Up(bool),
    /// New timing, and FD turned on or off if `fd` says so. Data timing needs `fd` true.
    Timing { nominal: Timing, data: Option<Timing>, fd: Option<bool> },
}

/// Makes the change to the link of this index; the kernel's errno as it gave it.
pub(super) fn change(index: u32, change: Change) -> io::Result<()> {
    ask(&request(index, change)?)
}

/// Makes a link that has no hardware, of a kind that needs only a name; it is down at first.
pub(super) fn create(kind: &str, name: &str) -> io::Result<()> {
    ask(&creation(kind, name))
}

/// Sends one request, and takes the kernel's answer.
fn ask(request: &[u8]) -> io::Result<()> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    let descriptor = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: the kernel just made this descriptor, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: the kernel reads the request's bytes, which outlive the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut answer = [0u8; ANSWER_BYTES];
    // The kernel works the request off, and queues its answer, before send returns.
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes at most the buffer's bytes.
    let read = unsafe { libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), flags) };
    match usize::try_from(read) {
        Ok(length) => outcome(&answer[..length]),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

fn request(index: u32, change: Change) -> io::Result<Vec<u8>> {
    let index = i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (flags, mask) = match change {
        Change::Up(true) => (libc::IFF_UP as u32, libc::IFF_UP as u32),
        Change::Up(false) => (0, libc::IFF_UP as u32),
        Change::Timing { .. } => (0, 0),
    };
    let mut message = head(0, index, flags, mask);
    if let Change::Timing { nominal, data, fd } = change {
        attribute(&mut message, libc::IFLA_LINKINFO, |info| {
            attribute(info, libc::IFLA_INFO_KIND, |kind| kind.extend(b"can\0"));
            attribute(info, libc::IFLA_INFO_DATA, |can| timing_attributes(can, nominal, data, fd));
        });
    }
    Ok(with_length(message))
}

fn creation(kind: &str, name: &str) -> Vec<u8> {
    let mut message = head(libc::NLM_F_CREATE | libc::NLM_F_EXCL, 0, 0, 0);
    attribute(&mut message, libc::IFLA_IFNAME, |value| text(value, name));
    attribute(&mut message, libc::IFLA_LINKINFO, |info| {
        attribute(info, libc::IFLA_INFO_KIND, |value| text(value, kind));
    });
    with_length(message)
}

/// Both headers, the first of them without its length; `more` are flags beside those of every request.
fn head(more: libc::c_int, index: i32, flags: u32, mask: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(256);
    message.extend(0u32.to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK | more) as u16).to_ne_bytes());
    message.extend(SEQUENCE.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(index.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(mask.to_ne_bytes());
    message
}

fn with_length(mut message: Vec<u8>) -> Vec<u8> {
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// A text and its end, filled up with zeros: the kernel reads it as far as the first.
fn text(value: &mut Vec<u8>, text: &str) {
    value.extend(text.bytes());
    let padded = (text.len() + 1).next_multiple_of(4);
    value.extend(std::iter::repeat_n(0, padded - text.len()));
}

fn timing_attributes(can: &mut Vec<u8>, nominal: Timing, data: Option<Timing>, fd: Option<bool>) {
    attribute(can, libc::IFLA_CAN_BITTIMING as u16, |value| bit_timing(value, nominal));
    if let Some(on) = fd {
        let mask = libc::CAN_CTRLMODE_FD;
        attribute(can, libc::IFLA_CAN_CTRLMODE as u16, |value| {
            value.extend(mask.to_ne_bytes());
            value.extend(if on { mask } else { 0 }.to_ne_bytes());
        });
    }
    if let Some(data) = data {
        attribute(can, libc::IFLA_CAN_DATA_BITTIMING as u16, |value| bit_timing(value, data));
    }
}

/// `struct can_bittiming`: eight words, of which the last six are for the kernel to compute.
fn bit_timing(value: &mut Vec<u8>, timing: Timing) {
    value.extend(timing.bit_rate.to_ne_bytes());
    value.extend(timing.sample_point.to_ne_bytes());
    value.extend([0; 24]);
}

/// Appends an attribute whose value `fill` appends. All values here are multiples of four bytes: no padding.
fn attribute(message: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = message.len();
    message.extend([0; 2]);
    message.extend(kind.to_ne_bytes());
    fill(message);
    let length = (message.len() - start) as u16;
    message[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

/// An answer is an error message whose number is 0 for success, else a negated errno.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let number =
        answer.get(HEADER_BYTES..).and_then(|rest| rest.first_chunk()).copied().map(i32::from_ne_bytes);
    match (kind.map(i32::from), number) {
        (Some(libc::NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(libc::NLMSG_ERROR), Some(negated)) => Err(io::Error::from_raw_os_error(negated.wrapping_neg())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "netlink answered with another message")),
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// As `ip link set can0 up` (index 3) sends it, less the hardware and extension fields that it may leave 0.
    #[test]
    fn up_is_a_flag_and_its_mask() {
        let expected = [
            32, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0,
            0, // length, RTM_NEWLINK, REQUEST | ACK, sequence
            0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, // index 3, IFF_UP, change IFF_UP
        ];
        assert_eq!(request(3, Change::Up(true)).unwrap(), expected);
        let down = request(3, Change::Up(false)).unwrap();
        assert_eq!(down[24..], [0, 0, 0, 0, 1, 0, 0, 0]);
    }

    /// As `ip link add name bench0 type vcan` sends it, but for the padding of the texts.
    #[test]
    fn a_new_link_has_a_name_and_a_kind() {
        let message = creation("vcan", "bench0");
        assert_eq!(message[..8], [60, 0, 0, 0, 16, 0, 5, 6]); // REQUEST | ACK | CREATE | EXCL: 0x605
        assert_eq!(message[16..32], [0; 16]);
        let attributes = [
            &[12, 0, 3, 0][..], // IFLA_IFNAME
            b"bench0\0\0",
            &[16, 0, 18, 0, 12, 0, 1, 0], // IFLA_LINKINFO, in it IFLA_INFO_KIND
            b"vcan\0\0\0\0",
        ];
        assert_eq!(message[32..], attributes.concat());
    }

    #[test]
    fn fd_timing_is_one_nested_attribute() {
        let nominal = Timing { bit_rate: 500_000, sample_point: 0 };
        let data = Some(Timing { bit_rate: 2_000_000, sample_point: 750 });
        let message = request(3, Change::Timing { nominal, data, fd: Some(true) }).unwrap();
        assert_eq!(message.len(), 132);
        assert_eq!(message[..4], [132, 0, 0, 0]);
        assert_eq!(message[24..32], [0; 8]);
        let mut expected = vec![
            100, 0, 18, 0, // IFLA_LINKINFO
            8, 0, 1, 0, b'c', b'a', b'n', 0, // IFLA_INFO_KIND
            88, 0, 2, 0, // IFLA_INFO_DATA
            36, 0, 1, 0, 0x20, 0xA1, 0x07, 0, 0, 0, 0, 0, // IFLA_CAN_BITTIMING
        ];
        expected.extend([0; 24]);
        expected.extend([12, 0, 5, 0, 0x20, 0, 0, 0, 0x20, 0, 0, 0]); // IFLA_CAN_CTRLMODE: CAN_CTRLMODE_FD
        expected.extend([36, 0, 9, 0, 0x80, 0x84, 0x1E, 0, 0xEE, 0x02, 0, 0]); // IFLA_CAN_DATA_BITTIMING
        expected.extend([0; 24]);
        assert_eq!(message[32..], expected);
    }

    #[test]
    fn answers_carry_the_kernels_errno() {
        let answer = |number: i32| {
            let mut bytes = vec![36, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend(number.to_ne_bytes());
            outcome(&bytes)
        };
        assert!(answer(0).is_ok());
        assert_eq!(answer(-1).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(answer(-33).unwrap_err().raw_os_error(), Some(libc::EDOM));
        assert_eq!(outcome(&[36, 0, 0, 0]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
