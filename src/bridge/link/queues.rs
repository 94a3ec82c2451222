//! Where the frames of a peer go.

use crate::bridge::bus_socket::BusSocket;
use crate::bridge::link_bus::LinkBus;
use crate::frame::Frame;
use crate::moment::Moment;
use crate::session::{FrameQueue, OneWay, ReceivedFrame};

/// Who sees what comes from a peer beside the frames for a bus.
pub trait Witness {
    /// How long a frame took.
    fn one_way(&mut self, one_way: OneWay);
    /// An error frame of the peer's bus that belongs to this one of ours.
    fn error_frame(&mut self, bus: usize, frame: Frame);
}

/// The queues of a link's buses, as its session fills them.
pub struct Queues<'a, W> {
    pub buses: &'a mut [LinkBus],
    /// The same buses, which say what may be put on them.
    pub sockets: &'a [BusSocket],
    pub now: Moment,
    pub witness: W,
}

impl<W: Witness> FrameQueue for Queues<'_, W> {
    #[inline]
    fn has_room(&self, bus: usize) -> bool {
        self.buses[bus].inbound.queue.has_room()
    }

    #[inline(always)]
    fn push(&mut self, bus: usize, received: ReceivedFrame) {
        if let Some(one_way) = received.one_way {
            self.witness.one_way(one_way);
        }
        let is_allowed = self.sockets[bus].allows(received.frame.image());
        self.buses[bus].inbound.push(received, self.now, is_allowed);
    }

    fn see_error(&mut self, bus: usize, frame: Frame) {
        self.witness.error_frame(bus, frame);
    }
}
