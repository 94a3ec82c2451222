//! Packets out of a bus socket: `recvmmsg` into memory laid out once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::null_mut;

use crate::engine::PacketInfo;
use crate::engine::control::{self, CONTROL_BYTES};
use crate::frame::FD_BYTES;

/// Packets a system call: from 64 on the call's fixed cost is below 2 % of its work.
const PACKETS: usize = 64;

/// One byte more than the largest image, so that a longer packet is seen to be longer instead of being cut to size.
const PACKET_BYTES: usize = FD_BYTES + 1;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL_BYTES],
    packet: [u8; PACKET_BYTES],
}

/// Room for one call's packets. The headers point into the slots and at the vectors, all of which are boxed and never
/// moved or resized.
pub struct PacketBatch {
    slots: Box<[Slot; PACKETS]>,
    vectors: Box<[libc::iovec; PACKETS]>,
    headers: Box<[libc::mmsghdr; PACKETS]>,
}

impl PacketBatch {
    pub fn new() -> Self {
        let slot = Slot { control: [0; CONTROL_BYTES], packet: [0; PACKET_BYTES] };
        // SAFETY: all-zero bytes are a valid `mmsghdr`: null pointers and zero lengths.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            slots: Box::new([slot; PACKETS]),
            vectors: Box::new([libc::iovec { iov_base: null_mut(), iov_len: 0 }; PACKETS]),
            headers: Box::new([header; PACKETS]),
        }
    }

    /// Receives what is there, at most one batch, and shows each packet with what the kernel says beside it.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there; `UnexpectedEof` where the far end of a local socket has closed; else the
    /// socket's error.
    pub fn receive(
        &mut self,
        bus: BorrowedFd<'_>,
        mut each: impl FnMut(&[u8], PacketInfo),
    ) -> io::Result<()> {
        self.lay_out();
        let flags = libc::MSG_DONTWAIT;
        let headers = self.headers.as_mut_ptr();
        // SAFETY: `lay_out` made every header point to live memory of the stated lengths, owned by `self`, which is
        // borrowed mutably for the whole call.
        let count =
            unsafe { libc::recvmmsg(bus.as_raw_fd(), headers, PACKETS as libc::c_uint, flags, null_mut()) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (header, slot) in self.headers.iter().zip(self.slots.iter()).take(count) {
            let length = header.msg_len as usize;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            each(&slot.packet[..length], control::parse(&slot.control[..header.msg_hdr.msg_controllen]));
        }
        Ok(())
    }

    /// Points the headers at their memory anew: the kernel overwrites lengths.
    fn lay_out(&mut self) {
        let targets = self.slots.iter_mut().zip(self.vectors.iter_mut());
        for (header, (slot, vector)) in self.headers.iter_mut().zip(targets) {
            *vector = libc::iovec { iov_base: slot.packet.as_mut_ptr().cast(), iov_len: PACKET_BYTES };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
    }
}
