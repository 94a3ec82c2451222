//! What passes between a session and whoever drives it.

use crate::frame::Frame;
use crate::wire::sequence::SequenceCounters;
use crate::wire::v5::{BusState, Goodbye, Losses, Name};

/// A frame from the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceivedFrame {
    /// The frame as the kernel takes it.
    pub frame: Frame,
    /// How many nanoseconds ago the peer's kernel received it, at the least; zero where the clocks do not allow to say.
    pub age_ns: u64,
    /// How long ago that probably was, where the clocks allow to say.
    pub one_way: Option<OneWay>,
}

/// The time from a peer's kernel to here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OneWay {
    /// Nanoseconds; by clocks that are wrong it may be below zero.
    pub elapsed_ns: i64,
    /// How wrong that may be.
    pub uncertainty_ns: u64,
}

impl ReceivedFrame {
    /// A frame of which it is not known when the peer's kernel received it.
    pub fn of_unknown_age(frame: Frame) -> Self {
        Self { frame, age_ns: 0, one_way: None }
    }
}

/// Where a session puts the frames that it received: one queue for each of this side's buses.
pub trait FrameQueue {
    /// Whether one more frame for a bus fits.
    fn has_room(&self, bus: usize) -> bool;
    /// Takes a frame for a bus; called only while there is room.
    fn push(&mut self, bus: usize, inbound: ReceivedFrame);
    /// Sees an error frame of the bus at the peer's end, which is for no bus. There need be nobody who looks.
    fn see_error(&mut self, _bus: usize, _frame: Frame) {}
}

/// What became of a frame for the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It lies encoded in the buffer.
    Queued,
    /// The protocol has no encoding for this kind; counted.
    NotRepresentable,
    /// The buffer has no room. The frame's sequence number is used up, so that the peer sees that it is missing.
    Full,
    /// Frames cannot cross yet. The same holds for its number.
    NotOpen,
}

/// Why frames of a bus are dropped that the peer should have got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The kernel's receive queue was full.
    Kernel,
    /// They had waited too long.
    Stale,
    /// The peer takes them too slowly.
    SlowPeer,
    /// There is no connection.
    Outage,
}

/// What a session counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionCounters {
    /// Frames encoded for the peer.
    pub encoded: u64,
    /// Remote frames kept off the link.
    pub remote_frames: u64,
    /// Error frames kept off the link.
    pub error_frames: u64,
    /// FD frames kept off the link.
    pub fd_frames: u64,
    /// What the peer's sequence numbers told.
    pub sequence: SequenceCounters,
    /// Frames that the peer says it has dropped, by cause.
    pub peer_losses: Losses,
    /// Frames of the peer that were under way when a connection broke.
    pub peer_in_transit: u64,
    /// Frames for the peer that were under way when a connection broke.
    pub in_transit: u64,
    /// Error frames of the peer's buses, which are not put on ours.
    pub peer_error_frames: u64,
}

/// What became of the frames that were put into a [`FrameQueue`], since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disposal {
    /// The bus took them.
    pub accepted: u64,
    /// They were too old, or pushed out by newer ones.
    pub stale: u64,
    /// They did not get onto the bus for any other reason: it refused them, or what peers may put on it is bounded.
    pub refused: u64,
}

/// Two buses that a connection would join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Join {
    /// Our number of ours.
    pub bus: usize,
    /// The identity of ours.
    pub ours: u64,
    /// The identity of the peer's.
    pub peers: u64,
}

/// What a session has to tell beside frames. The bus is one of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// How the peer's bus is that belongs to one of ours.
    PeerBus {
        /// Ours.
        bus: usize,
        /// The name of the peer's interface.
        name: Name,
        /// How it is.
        state: BusState,
        /// Whether nothing was known of it before on this connection.
        is_first: bool,
    },
    /// The connection goes on where an earlier one ended: what that cost of the peer's frames.
    Resumed {
        /// Our bus, for which they were.
        bus: usize,
        /// How many, in all.
        missing: u64,
        /// Those that the peer has dropped, by cause.
        losses: Losses,
        /// Those that were under way.
        in_transit: u64,
    },
    /// What the same outage cost of our frames, beside those that were counted when they were dropped.
    LostInTransit {
        /// Our bus, from which they were.
        bus: usize,
        /// How many were under way.
        frames: u64,
    },
    /// The peer is another process than before, or has forgotten us: what was lost in between is not known.
    Anew,
    /// The peer will close the connection.
    Goodbye(Goodbye),
}
