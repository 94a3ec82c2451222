//! The engine on a ring of its own (kernel 6.1 and later).
//!
//! Buses are received from with one multishot operation each, into a shared ring of buffers, so that a busy bus costs
//! one system call a wake-up and none a frame. Streams are received from one operation at a time into memory of
//! their own, so that their bytes lie in one piece; sends ride on the system call that waits for the next event.
//!
//! Drop order matters: the kernel owns the memory of submitted operations until their last completion. [`Drop`]
//! cancels and awaits all of them, then the ring is closed, then memory goes (fields drop in the order declared).

mod buffer_ring;
mod operation;
mod ring;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, RecvMsgOut};
use io_uring::{cqueue, opcode, squeue};

use self::buffer_ring::BufferRing;
use self::operation::Operation;
use self::ring::{Completion, Ring};
use super::slots::{Key, Slots};
use super::socket::shutdown_write;
use super::{
    BusId, Consumed, Engine, Handler, STREAM_RECEIVE_BYTES, Sending, StreamId, Token, Written, bus_write,
    closed,
};
use crate::buffer::SendBuffer;
use crate::bus::control::{self, CONTROL_BYTES};
use crate::frame::Frame;

/// How long the engine's end waits for the kernel to let go of its memory. Cancelled socket operations complete at
/// once; a kernel that does not let go within this time is given the memory for good.
const DRAIN_WAIT: Duration = Duration::from_millis(100);
const DRAIN_ROUNDS: usize = 50;

/// An engine on one io_uring instance.
pub struct UringEngine {
    ring: Ring,
    buffers: BufferRing,
    /// What every multishot receive asks for: no address, control messages. Boxed, because the kernel is given its
    /// address.
    packet_header: Box<libc::msghdr>,
    buses: Slots<Bus>,
    streams: Slots<Stream>,
    completions: Vec<Completion>,
    /// Streams whose rest is to be shown in the next turn.
    resumed: Vec<Key>,
    /// Buses whose receive has ended for want of buffers.
    starved: Vec<Key>,
    wake: OwnedFd,
}

struct Bus {
    descriptor: OwnedFd,
    token: Token,
    receiving: bool,
    awaiting_writable: bool,
    closing: bool,
}

struct Stream {
    descriptor: OwnedFd,
    token: Token,
    /// Invariant: while `receiving`, the kernel may write behind `filled`, and nobody else does.
    received: Box<[u8]>,
    filled: usize,
    receiving: bool,
    /// Invariant: while this is `Some`, the kernel may read its unsent bytes.
    sending: Option<SendBuffer>,
    closing: bool,
}

impl Bus {
    fn is_idle(&self) -> bool {
        !self.receiving && !self.awaiting_writable
    }
}

impl Stream {
    fn is_idle(&self) -> bool {
        !self.receiving && self.sending.is_none()
    }
}

impl UringEngine {
    fn receive_packets(&mut self, key: Key) -> io::Result<()> {
        let Some(bus) = self.buses.find_mut(key).filter(|bus| !bus.closing && !bus.receiving) else {
            return Ok(());
        };
        let descriptor = Fd(bus.descriptor.as_raw_fd());
        let entry = opcode::RecvMsgMulti::new(descriptor, &raw const *self.packet_header, buffer_ring::GROUP)
            .build()
            .user_data(Operation::ReceivePackets(key).to_word());
        bus.receiving = true;
        // SAFETY: the header is boxed and never changed, and outlives the ring; packets go to the buffer ring.
        unsafe { self.ring.push(&entry) }
    }

    fn receive_bytes(&mut self, key: Key) -> io::Result<()> {
        let Some(stream) = self.streams.find_mut(key) else { return Ok(()) };
        let room = &mut stream.received[stream.filled..];
        // A full buffer of which nothing is wanted cannot be read on.
        if stream.closing || stream.receiving || room.is_empty() {
            return Ok(());
        }
        let length = room.len() as u32;
        let entry = opcode::Recv::new(Fd(stream.descriptor.as_raw_fd()), room.as_mut_ptr(), length)
            .build()
            .user_data(Operation::ReceiveBytes(key).to_word());
        stream.receiving = true;
        // SAFETY: the room is boxed memory that is kept until the completion (a closing stream stays in its slot), and
        // is not touched while `receiving`.
        unsafe { self.ring.push(&entry) }
    }

    /// Submits what is unsent of a stream's buffer. The first attempt does not wait, so that it completes within the
    /// enter that submits it; what is left then waits for room in the kernel.
    fn submit_send(&mut self, key: Key, first: bool) -> io::Result<()> {
        let Some(stream) = self.streams.find_mut(key) else { return Ok(()) };
        let Some(buffer) = &stream.sending else { return Ok(()) };
        let unsent = buffer.unsent();
        let length = u32::try_from(unsent.len()).unwrap_or(u32::MAX);
        let flags = libc::MSG_NOSIGNAL | if first { libc::MSG_DONTWAIT } else { 0 };
        let entry = opcode::Send::new(Fd(stream.descriptor.as_raw_fd()), unsent.as_ptr(), length)
            .flags(flags)
            .build()
            .user_data(Operation::Send(key).to_word());
        if first {
            self.ring.expect_immediate();
        }
        // SAFETY: the buffer's bytes are boxed and stay in the slot, unchanged, until the completion.
        unsafe { self.ring.push(&entry) }
    }

    /// Asks the kernel to end an operation early. Its own completion still comes.
    fn cancel(&mut self, operation: Operation) {
        let entry: squeue::Entry =
            opcode::AsyncCancel::new(operation.to_word()).build().user_data(Operation::Cancel.to_word());
        // SAFETY: a cancellation refers to no memory.
        let pushed = unsafe { self.ring.push(&entry) };
        if let Err(error) = pushed {
            // The slot stays until the operation ends by itself; nothing is heard of it.
            tracing::warn!("io_uring: cannot cancel {operation:?}: {error}");
        }
    }

    fn complete(&mut self, completion: Completion, handler: &mut impl Handler) -> io::Result<()> {
        match Operation::from_word(completion.word) {
            Some(Operation::ReceivePackets(key)) => self.packet_received(key, completion, handler),
            Some(Operation::AwaitWritable(key)) => {
                let Some(bus) = self.buses.find_mut(key) else { return Ok(()) };
                bus.awaiting_writable = false;
                if !bus.closing {
                    handler.bus_writable(bus.token);
                }
                self.release_bus(key);
                Ok(())
            }
            Some(Operation::ReceiveBytes(key)) => self.bytes_received(key, completion, handler),
            Some(Operation::Send(key)) => self.send_completed(key, completion, handler),
            Some(Operation::Cancel) | None => Ok(()),
        }
    }

    fn packet_received(
        &mut self,
        key: Key,
        completion: Completion,
        handler: &mut impl Handler,
    ) -> io::Result<()> {
        let more = cqueue::more(completion.flags);
        let mut stopped = None;
        if let Some(bus) = self.buses.find_mut(key) {
            bus.receiving = more;
            match (completion.outcome(), cqueue::buffer_select(completion.flags)) {
                _ if bus.closing => {}
                (Ok(length), Some(buffer)) => {
                    let filled = self.buffers.filled(buffer, length);
                    stopped = deliver_packet(bus.token, filled, &self.packet_header, handler).err();
                }
                (Ok(_), None) => stopped = Some(io::ErrorKind::UnexpectedEof.into()),
                (Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                (Err(error), _) => stopped = Some(error),
            }
            if let (Some(error), false) = (stopped.take(), bus.closing) {
                handler.bus_stopped(bus.token, error);
            } else if !more {
                // Out of buffers, or the kernel ended it for reasons of its own: armed again after recycling.
                self.starved.push(key);
            }
        }
        if let Some(buffer) = cqueue::buffer_select(completion.flags) {
            self.buffers.recycle(buffer);
        }
        self.release_bus(key);
        Ok(())
    }

    fn bytes_received(
        &mut self,
        key: Key,
        completion: Completion,
        handler: &mut impl Handler,
    ) -> io::Result<()> {
        let Some(stream) = self.streams.find_mut(key) else { return Ok(()) };
        stream.receiving = false;
        if stream.closing {
            self.release_stream(key);
            return Ok(());
        }
        match completion.outcome() {
            Ok(0) => handler.stream_ended(stream.token, stream.filled, None),
            Ok(count) => {
                stream.filled += count;
                return self.show(key, handler);
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => {
                return self.receive_bytes(key);
            }
            Err(error) => handler.stream_ended(stream.token, stream.filled, Some(error)),
        }
        Ok(())
    }

    /// Shows a stream's unconsumed bytes, keeps what is left at the front of its buffer, and receives on.
    fn show(&mut self, key: Key, handler: &mut impl Handler) -> io::Result<()> {
        let Some(stream) = self.streams.find_mut(key).filter(|stream| !stream.closing) else { return Ok(()) };
        let Consumed { bytes, pause } = handler.stream_bytes(stream.token, &stream.received[..stream.filled]);
        stream.received.copy_within(bytes..stream.filled, 0);
        stream.filled -= bytes;
        if pause { Ok(()) } else { self.receive_bytes(key) }
    }

    fn send_completed(
        &mut self,
        key: Key,
        completion: Completion,
        handler: &mut impl Handler,
    ) -> io::Result<()> {
        let Some(stream) = self.streams.find_mut(key) else { return Ok(()) };
        let Some(mut buffer) = stream.sending.take() else { return Ok(()) };
        let result = match completion.outcome() {
            Ok(count) => {
                buffer.consume(count);
                Ok(())
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN)) => Ok(()),
            Err(error) => Err(error),
        };
        if stream.closing {
            drop(buffer);
            self.release_stream(key);
            return Ok(());
        }
        if result.is_ok() && !buffer.is_sent() {
            stream.sending = Some(buffer);
            return self.submit_send(key, false);
        }
        handler.stream_sent(stream.token, buffer, result);
        Ok(())
    }

    fn release_bus(&mut self, key: Key) {
        if self.buses.find(key).is_some_and(|bus| bus.closing && bus.is_idle()) {
            self.buses.remove(key);
        }
    }

    fn release_stream(&mut self, key: Key) {
        if self.streams.find(key).is_some_and(|stream| stream.closing && stream.is_idle()) {
            self.streams.remove(key);
        }
    }
}

/// Shows a packet that a completion put into a buffer.
fn deliver_packet(
    token: Token,
    filled: &[u8],
    header: &libc::msghdr,
    handler: &mut impl Handler,
) -> io::Result<()> {
    let message =
        RecvMsgOut::parse(filled, header).map_err(|()| io::Error::from(io::ErrorKind::InvalidData))?;
    if message.payload_data().is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    handler.bus_packet(token, message.payload_data(), control::parse(message.control_data()));
    Ok(())
}

impl Engine for UringEngine {
    const NAME: &'static str = "io_uring";

    fn new() -> io::Result<Self> {
        let ring = Ring::new()?;
        let buffers = BufferRing::register(ring.registrar())?;
        // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
        let mut packet_header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        packet_header.msg_controllen = CONTROL_BYTES as _;
        Ok(Self {
            ring,
            buffers,
            packet_header,
            buses: Slots::new(),
            streams: Slots::new(),
            completions: Vec::with_capacity(Ring::completion_limit()),
            resumed: Vec::new(),
            starved: Vec::new(),
            wake: eventfd()?,
        })
    }

    fn open_bus(&mut self, token: Token, descriptor: OwnedFd) -> io::Result<BusId> {
        let bus = Bus { descriptor, token, receiving: false, awaiting_writable: false, closing: false };
        let key = self.buses.insert(bus);
        self.receive_packets(key)?;
        Ok(BusId(key))
    }

    fn bus_descriptor(&self, bus: BusId) -> Option<BorrowedFd<'_>> {
        self.buses.find(bus.0).map(|bus| bus.descriptor.as_fd())
    }

    fn resume_bus(&mut self, bus: BusId) -> io::Result<()> {
        self.receive_packets(bus.0)
    }

    fn write_bus(&mut self, bus: BusId, frames: &[Frame]) -> Written {
        match self.buses.find(bus.0) {
            Some(bus) => bus_write::write(bus.descriptor.as_fd(), frames),
            None => Written { accepted: 0, stopped_by: Some(closed()) },
        }
    }

    fn watch_bus_writable(&mut self, bus: BusId) -> io::Result<()> {
        let key = bus.0;
        let bus = self.buses.find_mut(key).ok_or_else(closed)?;
        if std::mem::replace(&mut bus.awaiting_writable, true) {
            return Ok(());
        }
        let entry = opcode::PollAdd::new(Fd(bus.descriptor.as_raw_fd()), libc::POLLOUT as u32)
            .build()
            .user_data(Operation::AwaitWritable(key).to_word());
        // SAFETY: a poll refers to no memory.
        unsafe { self.ring.push(&entry) }
    }

    fn close_bus(&mut self, bus: BusId) {
        let key = bus.0;
        let Some(bus) = self.buses.find_mut(key) else { return };
        bus.closing = true;
        let (receiving, awaiting_writable) = (bus.receiving, bus.awaiting_writable);
        if receiving {
            self.cancel(Operation::ReceivePackets(key));
        }
        if awaiting_writable {
            self.cancel(Operation::AwaitWritable(key));
        }
        self.release_bus(key);
    }

    fn open_stream(&mut self, token: Token, descriptor: OwnedFd) -> io::Result<StreamId> {
        let key = self.streams.insert(Stream {
            descriptor,
            token,
            received: vec![0; STREAM_RECEIVE_BYTES].into_boxed_slice(),
            filled: 0,
            receiving: false,
            sending: None,
            closing: false,
        });
        self.receive_bytes(key)?;
        Ok(StreamId(key))
    }

    fn resume_stream(&mut self, stream: StreamId) {
        self.resumed.push(stream.0);
    }

    fn send(&mut self, stream: StreamId, buffer: SendBuffer) -> Sending {
        let key = stream.0;
        let Some(stream) = self.streams.find_mut(key) else { return Sending::Failed(closed()) };
        assert!(stream.sending.is_none(), "one buffer in flight at a time");
        stream.sending = Some(buffer);
        match self.submit_send(key, true) {
            Ok(()) => Sending::InFlight,
            Err(error) => Sending::Failed(error),
        }
    }

    fn finish_stream(&mut self, stream: StreamId) -> io::Result<()> {
        let stream = self.streams.find(stream.0).ok_or_else(closed)?;
        shutdown_write(stream.descriptor.as_fd())
    }

    fn close_stream(&mut self, stream: StreamId) {
        let key = stream.0;
        let Some(stream) = self.streams.find_mut(key) else { return };
        stream.closing = true;
        let (receiving, sending) = (stream.receiving, stream.sending.is_some());
        if receiving {
            self.cancel(Operation::ReceiveBytes(key));
        }
        if sending {
            self.cancel(Operation::Send(key));
        }
        self.release_stream(key);
    }

    fn turn(&mut self, wait: Duration, handler: &mut impl Handler) -> io::Result<bool> {
        let mut happened = false;
        while let Some(key) = self.resumed.pop() {
            happened = true;
            self.show(key, handler)?;
        }
        let wait = if happened { Duration::ZERO } else { wait };
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.enter(wait, &mut completions)?;
        happened |= !completions.is_empty();
        for &completion in &completions {
            self.complete(completion, handler)?;
        }
        completions.clear();
        self.completions = completions;
        self.buffers.publish();
        while let Some(key) = self.starved.pop() {
            self.receive_packets(key)?;
        }
        Ok(happened)
    }

    fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn arm_wake(&mut self) -> io::Result<bool> {
        self.ring.registrar().submitter().register_eventfd(self.wake.as_raw_fd())?;
        Ok(self.resumed.is_empty() && !self.ring.has_completions()?)
    }

    fn disarm_wake(&mut self) -> io::Result<()> {
        self.ring.registrar().submitter().unregister_eventfd()?;
        let mut count = [0u8; 8];
        // SAFETY: `count` is writable memory of the 8 bytes that an eventfd gives. The descriptor does not block, and
        // finding nothing in it is no error.
        unsafe { libc::read(self.wake.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        Ok(())
    }
}

impl Drop for UringEngine {
    fn drop(&mut self) {
        // Operations still queued in user space must reach the kernel before they can be cancelled.
        let mut drained = Vec::with_capacity(Ring::completion_limit());
        for _ in 0..DRAIN_ROUNDS {
            if self.ring.outstanding() == 0 {
                return;
            }
            drained.clear();
            let submitted = self.ring.enter(Duration::ZERO, &mut drained);
            let submitter = self.ring.registrar().submitter();
            // Failing to find something to cancel is no error here: the loop looks at what is outstanding.
            let _ = submitter.register_sync_cancel(None, CancelBuilder::any());
            if submitted.and_then(|()| self.ring.enter(DRAIN_WAIT, &mut drained)).is_err() {
                break;
            }
        }
        if self.ring.outstanding() > 0 {
            tracing::error!("io_uring: {} operations did not end", self.ring.outstanding());
            // Memory that the kernel may still write to is leaked rather than freed.
            std::mem::forget(std::mem::replace(&mut self.streams, Slots::new()));
        }
    }
}

fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: a plain system call without memory arguments.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
