//! Memory that the kernel picks from when something arrives (`IORING_REGISTER_PBUF_RING`, kernel 5.19).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The ring must start on a page; pages have 64 KiB at most (arm64).
const PAGE_BYTES: usize = 64 * 1024;

/// The most that a shape may keep back.
const MOST_KEPT_BACK: usize = 32;

/// How many buffers a ring has, of how many bytes, and by which number operations name it.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub group: u16,
    /// A power of two, as the kernel demands.
    pub buffers: u16,
    pub buffer_bytes: usize,
    /// Buffers that were given back are put into the ring when there are so many: it is memory that nothing else of a turn
    /// lies in. They are missed meanwhile.
    pub kept_back: usize,
}

impl Shape {
    /// Bytes of all buffers.
    pub const fn total_bytes(self) -> usize {
        self.buffers as usize * self.buffer_bytes
    }

    /// # Panics
    /// If the kernel cannot take a ring of this shape.
    fn layouts(self) -> (Layout, Layout) {
        let entries_bytes = size_of::<BufRingEntry>() * usize::from(self.buffers);
        assert!(self.buffers.is_power_of_two() && entries_bytes <= PAGE_BYTES, "{self:?}");
        assert!((1..=MOST_KEPT_BACK).contains(&self.kept_back), "{self:?}");
        let layout = |bytes, alignment| {
            Layout::from_size_align(bytes, alignment).expect("shapes are constant and far from the limits")
        };
        (layout(entries_bytes, PAGE_BYTES), layout(self.total_bytes(), 64))
    }
}

/// Invariant: every buffer is either in the ring (the kernel's), or was reported by a completion and not yet given
/// back with [`BufferRing::recycle`] (ours), or is in `recycled`.
pub struct BufferRing {
    shape: Shape,
    entries: NonNull<BufRingEntry>,
    buffers: NonNull<u8>,
    tail: u16,
    /// Buffers that were given back and are not in the ring yet: `recycled_count` of them, fewer than the shape keeps back.
    recycled: [u16; MOST_KEPT_BACK],
    recycled_count: usize,
    /// The kernel may still write to the memory: it is never freed.
    leaked: bool,
}

impl BufferRing {
    /// Allocates the memory and registers it with `ring`. Before the result is dropped, all operations that receive
    /// into it must have ended, or it must be [leaked](BufferRing::leak).
    pub fn register(ring: &IoUring, shape: Shape) -> io::Result<Self> {
        let (entries_layout, buffers_layout) = shape.layouts();
        let (entries, buffers) = (allocate(entries_layout).cast(), allocate(buffers_layout));
        let (recycled, recycled_count) = ([0; MOST_KEPT_BACK], 0);
        let mut buffer_ring =
            Self { shape, entries, buffers, tail: 0, recycled, recycled_count, leaked: false };
        let address = buffer_ring.entries.as_ptr() as u64;
        let submitter = ring.submitter();
        // SAFETY: the address is page-aligned memory for so many entries that lives until `buffer_ring` is dropped: when
        // no operation uses it any more.
        let registered =
            unsafe { submitter.register_buf_ring_with_flags(address, shape.buffers, shape.group, 0) };
        registered?;
        for buffer in 0..shape.buffers {
            buffer_ring.recycle(buffer);
        }
        buffer_ring.publish();
        Ok(buffer_ring)
    }

    /// The number that operations name the ring by.
    pub fn group(&self) -> u16 {
        self.shape.group
    }

    /// The first `length` bytes of a buffer that a completion reported.
    #[inline]
    pub fn filled(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(length <= self.shape.buffer_bytes, "a completion fills one buffer");
        let start = self.address(buffer);
        // SAFETY: the bytes were zeroed when allocated, and the kernel does not write to a buffer between reporting it
        // and its recycling, for which `self` must be borrowed mutably.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// Gives a buffer back; the kernel sees it after [`BufferRing::publish`] at the latest.
    #[inline]
    pub fn recycle(&mut self, buffer: u16) {
        self.recycled[self.recycled_count] = buffer;
        self.recycled_count += 1;
        if self.recycled_count >= self.shape.kept_back {
            self.publish();
        }
    }

    fn put(&mut self, buffer: u16) {
        let address = self.address(buffer);
        let slot = usize::from(self.tail & (self.shape.buffers - 1));
        // SAFETY: `slot` is below the number of buffers, and the memory holds as many entries.
        let mut entry = unsafe { self.entries.add(slot) };
        // SAFETY: the kernel reads entries between its head and the published tail only, and this one lies behind the
        // tail: nobody else refers to it.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address.as_ptr() as u64);
        entry.set_len(self.shape.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    fn address(&self, buffer: u16) -> NonNull<u8> {
        assert!(buffer < self.shape.buffers, "a completion names one of the buffers");
        // SAFETY: the offset lies within the allocation by the assertion.
        unsafe { self.buffers.add(usize::from(buffer) * self.shape.buffer_bytes) }
    }

    /// Leaves the memory to the kernel for good.
    pub fn leak(&mut self) {
        self.leaked = true;
    }

    /// Shows the kernel all buffers recycled so far.
    #[inline(never)]
    pub fn publish(&mut self) {
        for index in 0..std::mem::take(&mut self.recycled_count) {
            self.put(self.recycled[index]);
        }
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
        let (entries_layout, buffers_layout) = self.shape.layouts();
        // SAFETY: allocated with this layout; no operation uses it any more, says `register`.
        unsafe { dealloc(self.entries.as_ptr().cast(), entries_layout) };
        // SAFETY: the same.
        unsafe { dealloc(self.buffers.as_ptr(), buffers_layout) };
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: all layouts above have a size other than zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
