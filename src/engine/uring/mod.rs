//! The engine on a ring of its own (kernel 6.1 and later).
//!
//! Buses and streams are received from with one multishot operation each, into shared rings of buffers, so that a busy
//! bus costs one system call a wake-up and none a frame. What a stream's handler leaves over is copied, so that its
//! bytes lie in one piece. Sends ride on the system call that waits for the next event.
//!
//! Descriptors are not registered with the ring: a registered one that is taken out stays open until every operation has
//! ended that began before, of whatever descriptor (found on kernels 6.1 and 6.12, not on 6.18), and a receive goes on for
//! as long as its connection. The peer of one that ended would not be told.
//!
//! The kernel owns the memory of submitted operations until their last completion. [`Drop`] cancels and awaits all of
//! them before memory goes, and leaves the memory to a kernel that does not let go of it.

mod alarm;
mod buffer_ring;
mod descriptor;
mod doorbell;
mod operation;
mod packet;
mod receiving;
mod ring;
mod sending;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};

use self::alarm::Alarm;
use self::buffer_ring::{BufferRing, Shape};
use self::descriptor::{Bus, End, Stream};
use self::doorbell::Doorbell;
use self::operation::Operation;
use self::ring::{Completion, Ring, Wait};
use super::slots::{Key, Slots};
use super::socket::shutdown_write;
use super::stream_socket::StreamSocket;
use super::{
    BusId, Engine, Handler, Packing, STREAM_RECEIVE_BYTES, Sending, StreamId, TURN_PACKET_BYTES,
    TURN_STREAM_BYTES, Token, Written, bus_write, closed,
};
use crate::buffer::SendBuffer;
use crate::frame::Frame;

/// How long the engine's end waits for the kernel to let go of its memory: in each of so many rounds, so long for a completion,
/// and so for five seconds at the most. Cancelled socket operations complete at once, in the first round; what completes
/// may be only a part of what is outstanding. A kernel that does not let go in all that time is given the memory for good.
const DRAIN_WAIT: Duration = Duration::from_millis(100);
const DRAIN_ROUNDS: usize = 50;

/// Packets that can lie between two turns, less those that are kept back: a quarter of a second of a saturated 1 Mbit/s bus. When buffers run out the
/// kernel ends the multishot receive with `ENOBUFS`, what comes waits in the socket, and the receive is armed anew.
const PACKET_BUFFERS: Shape =
    Shape { group: 0, buffers: 2048, buffer_bytes: PACKET_BUFFER_BYTES, kept_back: 32 };

/// A packet and what comes with it, in whole cache lines. All buffers have 2.25 MiB. They are used in turn, so all of that
/// is resident after a while, but of each only the lines that its packets fill are read: three where a packet is one
/// frame.
const PACKET_BUFFER_BYTES: usize = packet::BUFFER_BYTES.next_multiple_of(64);

/// Bytes of all streams that can lie between two turns: enough that 56 clients who speak at once need no second one.
/// A buffer takes 60 frames of the longest version 4 layout. When they run out, the same happens.
const STREAM_BUFFERS: Shape = Shape { group: 1, buffers: 64, buffer_bytes: 2048, kept_back: 8 };

/// Bytes of a stream that are kept: what its handler may leave over, and what may come after it paused. Its receive is
/// cancelled at the beginning of the next system call, and before that the kernel has all buffers to fill at the most.
const KEPT_BYTES: usize = STREAM_RECEIVE_BYTES + STREAM_BUFFERS.total_bytes();

/// An engine on one io_uring instance.
pub struct UringEngine {
    ring: Ring,
    packets: BufferRing,
    bytes: BufferRing,
    /// What every multishot receive asks for. Boxed, because the kernel is given its address.
    packet_header: Box<libc::msghdr>,
    buses: Slots<Bus>,
    streams: Slots<Stream>,
    /// Completions of this turn, or those that the next one begins with.
    completions: Vec<Completion>,
    /// Bytes of packets that this turn has handed on.
    packet_bytes: usize,
    /// The same of streams.
    stream_bytes: usize,
    /// Streams whose rest is to be shown in the next turn.
    resumed: Vec<Key>,
    /// Streams whose queues are to be emptied, when what they brought was dealt with.
    unemptied: Vec<Key>,
    /// Receives that have ended for want of buffers, or for reasons of the kernel's own.
    starved: Vec<Operation>,
    doorbell: Doorbell,
    /// Descriptors that have rung, and are not watched for their next event, by their receive operation's word.
    unwatched: Vec<u64>,
    alarm: Alarm,
}

/// What has come of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turned {
    Happened,
    /// The time was up, or a signal came.
    Nothing,
    /// Only what concerns nobody else: an alarm, a cancellation.
    OwnAffairs,
}

impl UringEngine {
    /// Sets up the engine; fails where the kernel does not offer what it needs.
    ///
    /// # Errors
    /// `EPERM` and `ENOSYS` where io_uring is forbidden or missing.
    pub fn new() -> io::Result<Self> {
        let ring = Ring::new()?;
        let packets = BufferRing::register(ring.ring(), PACKET_BUFFERS)?;
        let bytes = BufferRing::register(ring.ring(), STREAM_BUFFERS)?;
        Ok(Self {
            ring,
            packets,
            bytes,
            packet_header: packet::header(),
            buses: Slots::new(),
            streams: Slots::new(),
            completions: Vec::with_capacity(Ring::completion_limit()),
            packet_bytes: 0,
            stream_bytes: 0,
            resumed: Vec::new(),
            unemptied: Vec::new(),
            starved: Vec::new(),
            doorbell: Doorbell::new()?,
            unwatched: Vec::new(),
            alarm: Alarm::default(),
        })
    }

    fn bus(&mut self, key: Key) -> Option<&mut Bus> {
        self.buses.find_mut(key).filter(|bus| !bus.closing)
    }

    fn stream(&mut self, key: Key) -> Option<&mut Stream> {
        self.streams.find_mut(key).filter(|stream| !stream.closing)
    }

    /// Watches for the next event of all that have rung. What nothing is received from would ring on and on.
    fn watch_again(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        self.unwatched.retain(|&word| {
            let Some((descriptor, receiving)) = receiver(&self.buses, &self.streams, word) else {
                return false;
            };
            if !receiving || result.is_err() {
                return true;
            }
            result = self.doorbell.watch(descriptor, word);
            result.is_err()
        });
        result
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

    /// One enter, and what has come of it.
    fn take_turn(&mut self, wait: Wait, handler: &mut impl Handler) -> io::Result<Turned> {
        if !self.unemptied.is_empty() {
            self.empty_queues()?;
        }
        let mut happened = !self.resumed.is_empty();
        if happened {
            self.show_resumed(handler);
        }
        if !self.starved.is_empty() {
            self.receive_again(handler);
        }
        // What an earlier call has fetched is reported first.
        let wait = if happened || !self.completions.is_empty() { Wait::NONE } else { wait };
        self.ring.enter(wait, &mut self.completions)?;
        let is_interrupted = self.completions.is_empty();
        (self.packet_bytes, self.stream_bytes) = (0, 0);
        // What was received beyond the limits waits in its order. Nothing else does: a send that is done must give its buffer
        // back before more packets come. Those that wait hold their buffers, so that they are never more than the
        // ring has.
        let mut waiting = 0;
        for index in 0..self.completions.len() {
            let completion = self.completions[index];
            let Some(operation) = Operation::from_word(completion.word) else { continue };
            let is_too_much = match operation {
                Operation::ReceivePackets(_) => self.packet_bytes >= TURN_PACKET_BYTES,
                Operation::ReceiveBytes(_) => self.stream_bytes >= TURN_STREAM_BYTES,
                _ => false,
            };
            if is_too_much {
                self.completions[waiting] = completion;
                waiting += 1;
            } else {
                happened |= self.complete(operation, completion, handler);
            }
        }
        self.completions.truncate(waiting);
        if !self.starved.is_empty() {
            self.receive_again(handler);
        }
        Ok(match (happened, is_interrupted) {
            (true, _) => Turned::Happened,
            (false, true) => Turned::Nothing,
            (false, false) => Turned::OwnAffairs,
        })
    }

    /// Works on a completion; false if it is of no interest to anybody else.
    #[inline(always)]
    fn complete(&mut self, operation: Operation, completion: Completion, handler: &mut impl Handler) -> bool {
        match operation {
            Operation::ReceivePackets(key) => self.packet_received(key, completion, handler),
            Operation::ReceiveBytes(key) => self.bytes_received(key, completion, handler),
            Operation::Send(key) => self.send_completed(key, completion, handler),
            Operation::AwaitWritable(key) => return self.became_writable(key, handler),
            Operation::Alarm(number) => {
                self.alarm_rang(number);
                return false;
            }
            Operation::Cancel => return false,
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn became_writable(&mut self, key: Key, handler: &mut impl Handler) -> bool {
        let Some(bus) = self.buses.find_mut(key) else { return false };
        bus.awaiting_writable = false;
        if !bus.closing {
            handler.bus_writable(bus.token);
        }
        self.release_bus(key);
        true
    }

    #[inline]
    fn release_bus(&mut self, key: Key) {
        if self.buses.find(key).is_some_and(|bus| bus.closing && bus.is_idle()) {
            self.buses.remove(key);
        }
    }

    #[inline]
    fn release_stream(&mut self, key: Key) {
        if self.streams.find(key).is_some_and(|stream| stream.closing && stream.is_idle()) {
            self.streams.remove(key);
        }
    }
}

/// The descriptor that a receive operation's word is about, and whether it is received from; none where it is closed.
fn receiver<'a>(
    buses: &'a Slots<Bus>,
    streams: &'a Slots<Stream>,
    word: u64,
) -> Option<(BorrowedFd<'a>, bool)> {
    match Operation::from_word(word)? {
        Operation::ReceivePackets(key) => buses.find(key).map(|bus| (bus.descriptor.as_fd(), bus.receiving)),
        Operation::ReceiveBytes(key) => {
            streams.find(key).map(|stream| (stream.socket.as_fd(), stream.receiving))
        }
        _ => None,
    }
}

/// Whether the same operation may have better luck.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

impl Engine for UringEngine {
    fn open_bus(&mut self, token: Token, descriptor: OwnedFd, packing: Packing) -> io::Result<BusId> {
        let bus =
            Bus { descriptor, token, packing, receiving: false, awaiting_writable: false, closing: false };
        let key = self.buses.insert(bus);
        let word = Operation::ReceivePackets(key).to_word();
        let watched =
            self.buses.find(key).map_or(Ok(()), |bus| self.doorbell.watch(bus.descriptor.as_fd(), word));
        match watched.and_then(|()| self.receive_packets(key)) {
            Ok(()) => Ok(BusId(key)),
            Err(error) => {
                self.buses.remove(key);
                Err(error)
            }
        }
    }

    fn retarget_bus(&mut self, bus: BusId, token: Token) {
        if let Some(bus) = self.bus(bus.0) {
            bus.token = token;
        }
    }

    fn bus_descriptor(&self, bus: BusId) -> Option<BorrowedFd<'_>> {
        self.buses.find(bus.0).filter(|bus| !bus.closing).map(|bus| bus.descriptor.as_fd())
    }

    fn resume_bus(&mut self, bus: BusId) -> io::Result<()> {
        self.bus(bus.0).ok_or_else(closed)?;
        self.receive_packets(bus.0)
    }

    #[inline]
    fn write_bus(&mut self, bus: BusId, frames: &[Frame], may_go: impl FnMut() -> bool) -> Written {
        match self.bus(bus.0) {
            Some(bus) => bus_write::write(bus.descriptor.as_fd(), bus.packing, frames, may_go),
            None => Written { accepted: 0, stopped_by: Some(closed()) },
        }
    }

    fn watch_bus_writable(&mut self, bus: BusId) -> io::Result<()> {
        let key = bus.0;
        let bus = self.buses.find_mut(key).filter(|bus| !bus.closing).ok_or_else(closed)?;
        if bus.awaiting_writable {
            return Ok(());
        }
        let entry = opcode::PollAdd::new(Fd(bus.descriptor.as_raw_fd()), libc::POLLOUT as u32)
            .build()
            .user_data(Operation::AwaitWritable(key).to_word());
        // SAFETY: a poll refers to no memory.
        unsafe { self.ring.push(&entry) }?;
        bus.awaiting_writable = true;
        Ok(())
    }

    fn close_bus(&mut self, bus: BusId) {
        let key = bus.0;
        let Some(bus) = self.bus(key) else { return };
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
            socket: StreamSocket::new(descriptor),
            token,
            received: vec![0; KEPT_BYTES].into_boxed_slice(),
            filled: 0,
            receiving: false,
            end: End::Open,
            paused: false,
            sending: None,
            congested: false,
            closing: false,
        });
        let word = Operation::ReceiveBytes(key).to_word();
        let watched =
            self.streams.find(key).map_or(Ok(()), |stream| self.doorbell.watch(stream.socket.as_fd(), word));
        match watched.and_then(|()| self.receive_bytes(key)) {
            Ok(()) => Ok(StreamId(key)),
            Err(error) => {
                self.streams.remove(key);
                Err(error)
            }
        }
    }

    fn stream_descriptor(&self, stream: StreamId) -> Option<BorrowedFd<'_>> {
        self.streams.find(stream.0).filter(|stream| !stream.closing).map(|stream| stream.socket.as_fd())
    }

    fn resume_stream(&mut self, stream: StreamId) {
        let was_paused = self.stream(stream.0).is_some_and(|stream| std::mem::take(&mut stream.paused));
        if was_paused {
            self.resumed.push(stream.0);
        }
    }

    #[inline(always)]
    fn send(&mut self, stream: StreamId, buffer: SendBuffer) -> Sending {
        let key = stream.0;
        let Some(stream) = self.stream(key) else { return Sending::Failed { buffer, error: closed() } };
        assert!(stream.sending.is_none(), "one buffer in flight at a time");
        match self.submit_send(key, buffer, true) {
            Ok(()) => Sending::InFlight,
            Err((buffer, error)) => Sending::Failed { buffer, error },
        }
    }

    fn finish_stream(&mut self, stream: StreamId) -> io::Result<()> {
        let stream = self.stream(stream.0).ok_or_else(closed)?;
        shutdown_write(stream.socket.as_fd())
    }

    fn close_stream(&mut self, stream: StreamId) -> Option<usize> {
        let key = stream.0;
        let stream = self.stream(key)?;
        stream.closing = true;
        let (receiving, sending) = (stream.receiving, stream.sending.is_some());
        if receiving {
            self.cancel(Operation::ReceiveBytes(key));
        }
        if sending {
            self.cancel(Operation::Send(key));
        }
        let taken = self.taken_of_send(key);
        self.release_stream(key);
        taken
    }

    fn turn(&mut self, wait: Duration, handler: &mut impl Handler) -> io::Result<bool> {
        Ok(self.take_turn(Wait::AtMost(wait), handler)? == Turned::Happened)
    }

    fn set_alarm(&mut self, after: Duration) -> io::Result<()> {
        self.replace_alarm(after)
    }

    fn turn_to_alarm(&mut self, handler: &mut impl Handler) -> io::Result<bool> {
        loop {
            let wait = if self.alarm.is_set { Wait::ForCompletion } else { Wait::NONE };
            let turned = self.take_turn(wait, handler)?;
            // An alarm that was replaced, and the cancellation that did it, end no wait.
            if turned != Turned::OwnAffairs || !self.alarm.is_set {
                return Ok(turned == Turned::Happened);
            }
        }
    }

    fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }

    fn arm_wake(&mut self) -> io::Result<bool> {
        if !self.resumed.is_empty() || !self.completions.is_empty() || self.ring.has_completions()? {
            return Ok(false);
        }
        // Room to write is not watched for: a send that is stuck is waited for in the ring.
        let is_stuck = self.streams.values().any(|stream| stream.sending.is_some())
            || self.buses.values().any(|bus| bus.awaiting_writable);
        if is_stuck {
            return Ok(false);
        }
        // What was read and is still in a queue would ring as well.
        self.streams.values_mut().for_each(|stream| stream.socket.empty_queue());
        // What has come since the ring was asked rings at once.
        match self.watch_again() {
            Ok(()) => Ok(true),
            // As little memory as there is now, or as many descriptors as others watch, there may not be the next time.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOSPC)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn disarm_wake(&mut self) -> io::Result<()> {
        let before = self.unwatched.len();
        self.doorbell.fetch(|word| self.unwatched.push(word))?;
        for &word in &self.unwatched[before..] {
            if let Some((descriptor, _)) = receiver(&self.buses, &self.streams, word) {
                self.doorbell.leave(descriptor)?;
            }
        }
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
            let submitted = self.ring.enter(Wait::NONE, &mut drained);
            let submitter = self.ring.ring().submitter();
            // Failing to find something to cancel is no error here: the loop looks at what is outstanding.
            let _ = submitter.register_sync_cancel(None, CancelBuilder::any());
            if submitted.and_then(|()| self.ring.enter(Wait::AtMost(DRAIN_WAIT), &mut drained)).is_err() {
                break;
            }
        }
        if self.ring.outstanding() > 0 {
            tracing::error!("io_uring: {} operations did not end", self.ring.outstanding());
            // All memory that the kernel may still read or write is leaked rather than freed.
            std::mem::forget(std::mem::replace(&mut self.streams, Slots::new()));
            std::mem::forget(std::mem::replace(&mut self.packet_header, packet::header()));
            self.packets.leak();
            self.bytes.leak();
        }
    }
}
