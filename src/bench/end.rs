//! One of the two buses of a path, and what the test has on it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::bus::{self, Batch, BusAddress, BusError, BusKind, BusOptions, Packet, Packing, Receiver};
use crate::frame::filter::KernelFilter;
use crate::frame::{Frame, Image};

/// What is asked for, so that frames wait for a test that is not given a processor: some 40,000 of them, eight seconds of a
/// saturated 500 kbit/s bus.
const RECEIVE_QUEUE_BYTES: usize = 32 << 20;

/// A socket on a bus. It does not receive what it sends itself.
#[derive(Debug)]
pub struct End {
    pub address: BusAddress,
    descriptor: OwnedFd,
    packing: Packing,
    /// As the socket last told it.
    dropped_total: AtomicU64,
}

/// What came of reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Read {
    /// Packets; there may be more where it is as many as one call takes.
    pub packets: usize,
    /// Frames that the socket has dropped since the last read because its queue was full: this test was too slow.
    pub dropped: u64,
}

impl End {
    /// Joins a bus.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(address: &BusAddress, require_fd: bool) -> Result<Self, BusError> {
        let options = BusOptions {
            receive_queue_bytes: RECEIVE_QUEUE_BYTES,
            require_fd,
            kernel_filter: KernelFilter::everything(),
            error_mask: 0,
        };
        let opened = bus::open(address, &options)?;
        Ok(Self {
            address: address.clone(),
            descriptor: opened.descriptor,
            packing: opened.packing,
            dropped_total: AtomicU64::new(0),
        })
    }

    /// The bus's name.
    pub fn name(&self) -> &str {
        &self.address.name
    }

    /// Frames that one call sends at most.
    pub fn frames_per_send(&self) -> usize {
        match self.packing {
            Packing::Batches => bus::BATCH_FRAMES,
            Packing::Single => 1,
        }
    }

    /// Sends frames in one packet, as many from the front as one holds: how many. `WouldBlock` and `ENOBUFS` mean that there is
    /// no room.
    pub fn send(&self, frames: &[Frame]) -> io::Result<usize> {
        if let (Packing::Batches, [_, _, ..]) = (self.packing, frames) {
            let mut batch = Batch::EMPTY;
            let count = frames.iter().take_while(|frame| batch.push(frame.image())).count();
            bus::send(self.as_fd(), batch.packet()).map(|()| count)
        } else if let Some(frame) = frames.first() {
            bus::send(self.as_fd(), frame.image().as_bytes()).map(|()| 1)
        } else {
            Ok(0)
        }
    }

    /// Waits until there is something to read, `limit` at most.
    pub fn wait_readable(&self, limit: Duration) -> io::Result<bool> {
        bus::wait_readable(self.as_fd(), limit)
    }

    /// Waits until there is room to send, `limit` at most.
    pub fn wait_writable(&self, limit: Duration) -> io::Result<bool> {
        bus::wait_writable(self.as_fd(), limit)
    }

    /// Reads what has come, as much as one call takes, and shows each frame.
    pub fn read(&self, receiver: &mut Receiver, mut show: impl FnMut(Image<'_>)) -> io::Result<Read> {
        let mut read = Read { packets: receiver.receive(self.as_fd())?, dropped: 0 };
        if read.packets == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for received in receiver.iter() {
            if let Some(total) = received.info.dropped_total {
                read.dropped += self.new_drops(u64::from(total));
            }
            match bus::interpret(self.address.kind, received.packet) {
                Packet::Frames(images) => images.for_each(&mut show),
                Packet::Dropped { total } => read.dropped += self.new_drops(total),
                Packet::Welcome { .. } | Packet::Malformed => {}
            }
        }
        Ok(read)
    }

    /// How many drops are new in the socket's own count, which goes on from trial to trial. The kernel's wraps at 2^32.
    fn new_drops(&self, total: u64) -> u64 {
        let before = self.dropped_total.swap(total, Ordering::Relaxed);
        match self.address.kind {
            BusKind::SocketCan => u64::from((total as u32).wrapping_sub(before as u32)),
            BusKind::Software => total.saturating_sub(before),
        }
    }

    /// Reads and forgets everything that has come.
    pub fn drain(&self, receiver: &mut Receiver) -> io::Result<()> {
        loop {
            match self.read(receiver, |_| {}) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Which kind of bus.
    pub fn kind(&self) -> BusKind {
        self.address.kind
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
