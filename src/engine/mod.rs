//! Moves buffers between descriptors and memory that was allocated when they were opened.
//!
//! Two kinds of descriptor: *buses*, packet sockets that give and take kernel images, one or several a packet, and
//! *streams*, connected byte streams. What the bytes mean is not known here: no protocol, no session, no frame but its size.
//!
//! There are two engines behind [`Engine`]: [`uring::UringEngine`] on a ring of its own, and [`epoll::EpollEngine`] where
//! io_uring is forbidden; the simulation of the tests has a third, on no kernel. Each belongs to one thread, which calls
//! [`Engine::turn`] again and again; everything that happened comes back through a [`Handler`] during the turn.

mod bus_write;
pub mod clock;
pub mod epoll;
pub mod memory;
mod orphan;
pub mod priority;
mod slots;
mod socket;
mod stream_socket;
pub mod tcp_info;
pub mod uring;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::buffer::SendBuffer;
use crate::frame::Frame;

pub use crate::bus::{PacketInfo, Packing};
pub use slots::Key;

/// Bytes of a stream that its handler may leave unconsumed without pausing it. Two thousand frames of the longest
/// version 4 layout, and well above the 1 KiB that an unfinished greeting may take.
pub const STREAM_RECEIVE_BYTES: usize = 64 * 1024;

/// Bytes of packets after which a turn hands on no more: what came is sent before more comes. It is a fraction of what a
/// link's send buffer holds, 4,096 classic frames.
const TURN_PACKET_BYTES: usize = 64 * 1024;

/// Bytes of streams that a turn hands on: 1,365 frames of version 5. Each of them becomes a write to a bus, and meanwhile what
/// the bus has for us fills its queue: that must get its turn as well.
const TURN_STREAM_BYTES: usize = 32 * 1024;

/// The caller's own number for a descriptor, given back with everything that concerns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(pub usize);

/// An open bus of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusId(pub Key);

/// An open stream of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamId(pub Key);

/// How far a handler came with a stream's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Consumed {
    /// Bytes that need not be shown again.
    pub bytes: usize,
    /// Receive no more until [`Engine::resume_stream`], which shows the rest again. A handler that leaves
    /// [`STREAM_RECEIVE_BYTES`] unconsumed has paused the stream, whatever it says.
    pub pause: bool,
}

/// What became of an attempt to write frames to a bus.
#[derive(Debug)]
pub struct Written {
    /// How many, from the front, the kernel took.
    pub accepted: usize,
    /// Why it took no more; none if it took all, or was not asked to.
    pub stopped_by: Option<io::Error>,
}

/// What became of a buffer handed to [`Engine::send`].
#[derive(Debug)]
pub enum Sending {
    /// All of it is in the kernel's hands already.
    Done(SendBuffer),
    /// The engine keeps it until [`Handler::stream_sent`].
    InFlight,
    /// The stream is broken, or the kernel cannot take the operation. Nothing was kept.
    Failed {
        /// What was to be sent; [`SendBuffer::sent_bytes`] of it were taken.
        buffer: SendBuffer,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// Takes what happened during a turn.
pub trait Handler {
    /// A packet arrived on a bus, in the order in which the kernel queued them.
    fn bus_packet(&mut self, token: Token, packet: &[u8], info: PacketInfo);

    /// A bus receives no more: `UnexpectedEof` where its far end closed, else the socket's error (`ENETDOWN`,
    /// `ENODEV`), or the kernel's for want of memory. Told once; [`Engine::resume_bus`] tries again. Of a bus that is gone for
    /// good (`ENODEV`) all that had come was handed on before.
    fn bus_stopped(&mut self, token: Token, error: io::Error);

    /// A bus watched with [`Engine::watch_bus_writable`] may take frames again.
    fn bus_writable(&mut self, token: Token);

    /// All bytes of a stream that were not consumed yet, oldest first.
    fn stream_bytes(&mut self, token: Token, bytes: &[u8]) -> Consumed;

    /// A stream receives no more: closed by the peer (`None`) or broken, with `unconsumed` bytes left over. Told once.
    /// It may still send.
    fn stream_ended(&mut self, token: Token, unconsumed: usize, error: Option<io::Error>);

    /// A buffer given to [`Engine::send`] comes back: all of it sent, or, with an error,
    /// [`SendBuffer::sent_bytes`] of it.
    fn stream_sent(&mut self, token: Token, buffer: SendBuffer, result: io::Result<()>);
}

/// One way of doing it. All descriptors handed over must be non-blocking.
///
/// What goes wrong with one descriptor is told of that descriptor, through the [`Handler`] or as the result of the
/// call, and leaves all others alone. Only what fails for the engine as a whole fails a turn.
///
/// Identifiers of closed descriptors are harmless: calls with them do nothing, or give `EBADF`.
pub trait Engine: Sized {
    /// Starts to receive from a packet socket. `packing` says whether the packets that are written to it may hold several
    /// images; received ones are handed on as they are.
    ///
    /// # Errors
    /// The kernel cannot watch the descriptor, or is out of memory. The descriptor was closed.
    fn open_bus(&mut self, token: Token, descriptor: OwnedFd, packing: Packing) -> io::Result<BusId>;

    /// Reports about a bus under another token from now on. Does nothing to a bus that is closed.
    fn retarget_bus(&mut self, bus: BusId, token: Token);

    /// The descriptor of a bus, to ask the kernel about it.
    fn bus_descriptor(&self, bus: BusId) -> Option<BorrowedFd<'_>>;

    /// Receives again after [`Handler::bus_stopped`]; does nothing to a bus that receives.
    ///
    /// # Errors
    /// The kernel cannot watch the descriptor, or is out of memory. The bus stays stopped.
    fn resume_bus(&mut self, bus: BusId) -> io::Result<()>;

    /// Writes frames, in order, as many as the kernel takes at once; never waits. `may_go` is asked right before each
    /// system call, when all is prepared: where it says no, nothing more is written.
    fn write_bus(&mut self, bus: BusId, frames: &[Frame], may_go: impl FnMut() -> bool) -> Written;

    /// Calls [`Handler::bus_writable`] once, when the socket has room (or is broken, which the next write tells).
    ///
    /// # Errors
    /// The kernel cannot watch the descriptor, or is out of memory. The call will not come.
    fn watch_bus_writable(&mut self, bus: BusId) -> io::Result<()>;

    /// Closes a bus. Nothing is heard of it again. The kernel may hold its socket until the next turn.
    fn close_bus(&mut self, bus: BusId);

    /// Starts to receive from a stream.
    ///
    /// # Errors
    /// As [`Engine::open_bus`].
    fn open_stream(&mut self, token: Token, descriptor: OwnedFd) -> io::Result<StreamId>;

    /// The descriptor of a stream, to set its options.
    fn stream_descriptor(&self, stream: StreamId) -> Option<BorrowedFd<'_>>;

    /// Shows the rest of a paused stream's bytes in the next turn, then receives on. Does nothing to a stream that is
    /// not paused.
    fn resume_stream(&mut self, stream: StreamId);

    /// Sends a buffer's unsent bytes. One buffer of a stream can be in flight at a time.
    ///
    /// # Panics
    /// If one is in flight: a bug of the caller.
    fn send(&mut self, stream: StreamId, buffer: SendBuffer) -> Sending;

    /// Tells the peer that nothing more will be sent. Call with nothing in flight.
    ///
    /// # Errors
    /// The stream is broken.
    fn finish_stream(&mut self, stream: StreamId) -> io::Result<()>;

    /// Closes a stream. Nothing is heard of it again; a buffer in flight is dropped when the kernel lets go of it.
    /// Returns how many bytes of that buffer, from its front, the kernel had taken; `None` if none was in flight. The
    /// kernel may hold the socket until the next turn.
    fn close_stream(&mut self, stream: StreamId) -> Option<usize>;

    /// Waits at most `wait` until something has happened, then reports what has, up to bounds in bytes: what is beyond them
    /// is reported by the next turns, which do not wait. A signal ends the wait early. Returns whether anything happened.
    ///
    /// # Errors
    /// The engine itself is broken: the kernel refuses to be asked for events. What a descriptor suffers is no error
    /// here.
    fn turn(&mut self, wait: Duration, handler: &mut impl Handler) -> io::Result<bool>;

    /// Sets the one alarm, in place of an earlier one: [`Engine::turn_to_alarm`] waits until it rings at the latest.
    ///
    /// # Errors
    /// The kernel cannot set the timer, or is out of memory. [`Engine::turn_to_alarm`] does not wait then.
    fn set_alarm(&mut self, after: Duration) -> io::Result<()>;

    /// As [`Engine::turn`], with a wait that the alarm ends; when it has rung, there is no wait until it is set anew. The
    /// kernel is given no timer for this turn: many short waits within one long limit need only one.
    ///
    /// # Errors
    /// As [`Engine::turn`].
    fn turn_to_alarm(&mut self, handler: &mut impl Handler) -> io::Result<bool>;

    /// Readable, once [`Engine::arm_wake`] has returned true, when the next turn may have something to report. Only
    /// ever to be polled for that: the engine reads it.
    fn wake_descriptor(&self) -> BorrowedFd<'_>;

    /// Prepares to wait on [`Engine::wake_descriptor`] instead of in a turn; false if that cannot be done: there is
    /// something to report already, which the next turn does without waiting, or something is waited for that only a
    /// turn can wait for. May be called when armed already.
    ///
    /// # Errors
    /// As [`Engine::turn`].
    fn arm_wake(&mut self) -> io::Result<bool>;

    /// Ends what [`Engine::arm_wake`] began, whether it returned true or false. Does nothing if nothing was armed. A
    /// turn that is taken while armed is as good as any other, only dearer.
    ///
    /// # Errors
    /// As [`Engine::turn`].
    fn disarm_wake(&mut self) -> io::Result<()>;
}

/// The answer for a call on a descriptor that was closed.
fn closed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

#[cfg(test)]
mod tests;
