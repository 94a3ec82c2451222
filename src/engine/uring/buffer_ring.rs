//! Memory that the kernel picks from when a packet arrives (`IORING_REGISTER_PBUF_RING`, kernel 5.19).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::bus::PACKET_BYTES;
use crate::bus::control::CONTROL_BYTES;

/// Buffers in the ring: a quarter of a second of a saturated 1 Mbit/s bus between two turns. When they run out the
/// kernel ends the multishot receive with `ENOBUFS`, packets wait in the socket, and the receive is armed anew.
/// A power of two, as the kernel demands.
const BUFFERS: u16 = 2048;

/// Bytes of a buffer: 16 of `io_uring_recvmsg_out`, the control messages, and the packet, in whole cache lines. All
/// buffers have 2.25 MiB. They are used in turn, so all of that is resident after a while, but of each only the lines
/// that its packets fill are read: three where a packet is one frame.
pub const BUFFER_BYTES: usize = (16 + CONTROL_BYTES + PACKET_BYTES).next_multiple_of(64);

/// The ring must start on a page; pages have 64 KiB at most (arm64).
const PAGE_BYTES: usize = 64 * 1024;

/// The one group of buffers that the engine registers.
pub const GROUP: u16 = 0;

/// Invariant: every buffer is either in the ring (the kernel's) or was reported by a completion and not yet given
/// back with [`BufferRing::recycle`] (ours).
pub struct BufferRing {
    entries: NonNull<BufRingEntry>,
    buffers: NonNull<u8>,
    tail: u16,
    /// The kernel may still write to the memory: it is never freed.
    leaked: bool,
}

const _: () = assert!(BUFFERS.is_power_of_two());
const _: () = assert!(size_of::<BufRingEntry>() * BUFFERS as usize <= PAGE_BYTES);

impl BufferRing {
    /// Allocates the memory and registers it with `ring`. Before the result is dropped, all operations that receive
    /// into it must have ended, or it must be [leaked](BufferRing::leak).
    pub fn register(ring: &IoUring) -> io::Result<Self> {
        let (entries, buffers) = (allocate(ENTRIES).cast(), allocate(MEMORY));
        let mut buffer_ring = Self { entries, buffers, tail: 0, leaked: false };
        let address = buffer_ring.entries.as_ptr() as u64;
        // SAFETY: the address is page-aligned memory for `BUFFERS` entries that lives until `buffer_ring` is dropped:
        // when no operation uses it any more.
        let registered = unsafe { ring.submitter().register_buf_ring_with_flags(address, BUFFERS, GROUP, 0) };
        registered?;
        for buffer in 0..BUFFERS {
            buffer_ring.recycle(buffer);
        }
        buffer_ring.publish();
        Ok(buffer_ring)
    }

    /// The first `length` bytes of a buffer that a completion reported.
    pub fn filled(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(buffer < BUFFERS && length <= BUFFER_BYTES, "a completion names one of the buffers");
        // SAFETY: the offset lies within the allocation by the assertion.
        let start = unsafe { self.buffers.add(usize::from(buffer) * BUFFER_BYTES) };
        // SAFETY: the bytes were zeroed when allocated, and the kernel does not write to a buffer between reporting it
        // and its recycling, for which `self` must be borrowed mutably.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// Gives a buffer back; the kernel sees it after [`BufferRing::publish`].
    pub fn recycle(&mut self, buffer: u16) {
        assert!(buffer < BUFFERS, "a completion names one of the buffers");
        // SAFETY: the offset lies within the allocation by the assertion.
        let address = unsafe { self.buffers.add(usize::from(buffer) * BUFFER_BYTES) };
        let slot = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: `slot` is below `BUFFERS`, and the memory holds as many entries.
        let mut entry = unsafe { self.entries.add(slot) };
        // SAFETY: the kernel reads entries between its head and the published tail only, and this one lies behind the
        // tail: nobody else refers to it.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address.as_ptr() as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Leaves the memory to the kernel for good.
    pub fn leak(&mut self) {
        self.leaked = true;
    }

    /// Shows the kernel all buffers recycled so far.
    pub fn publish(&mut self) {
        // SAFETY: the entries were registered and are alive.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is an aligned 16-bit word shared with the kernel, which only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: allocated with this layout; no operation uses it any more, says `register`.
        unsafe { dealloc(self.entries.as_ptr().cast(), ENTRIES) };
        // SAFETY: the same.
        unsafe { dealloc(self.buffers.as_ptr(), MEMORY) };
    }
}

const ENTRIES: Layout = layout(size_of::<BufRingEntry>() * BUFFERS as usize, PAGE_BYTES);
const MEMORY: Layout = layout(BUFFER_BYTES * BUFFERS as usize, 64);

const fn layout(bytes: usize, alignment: usize) -> Layout {
    match Layout::from_size_align(bytes, alignment) {
        Ok(layout) => layout,
        Err(_) => panic!("sizes are constant and far from the limits"),
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: both layouts above have a size other than zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
