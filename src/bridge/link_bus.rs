//! A link's part in one bus: its socket, what waits for it, and what was counted there.

use std::io;
use std::time::Duration;

use smallvec::SmallVec;

use super::inbound::Inbound;
use super::loops::LoopWatch;
use crate::engine::BusId;
use crate::metrics::Counters;

/// The buses of a link: one lies in the link itself.
pub type LinkBuses = SmallVec<[LinkBus; 1]>;

/// One bus of a link. It stays when the link's connection is replaced by another with the same peer.
#[derive(Debug)]
pub struct LinkBus {
    /// The socket; none before it is wanted, and while the bus is gone.
    pub id: Option<BusId>,
    /// Whether the bus could not be opened when it was last tried.
    pub failed: bool,
    /// Why the socket receives no more, until that was dealt with.
    pub stopped: Option<io::Error>,
    pub inbound: Inbound,
    drops: SocketDrops,
    pub counts: BusCounts,
}

/// What became of the frames of the bus that did not go to the peer.
#[derive(Clone, Copy, Default, Debug)]
pub struct BusCounts {
    /// The bus gave them to us, whatever became of them.
    pub taken: u64,
    /// The kernel dropped them.
    pub kernel_drops: u64,
    pub filtered: u64,
    /// They were too old when they were read.
    pub stale: u64,
    pub slow_peer: u64,
    /// They came when the link was about to end.
    pub late: u64,
    /// They came while there was no connection.
    pub outage: u64,
    /// Packets that are no frames.
    pub malformed: u64,
}

impl LinkBus {
    /// A bus that is not open. The peer's frames may have an age of `max_age`, and it is watched whether they come back, if
    /// that is wanted.
    pub fn new(max_age: Option<Duration>, loops: Option<LoopWatch>) -> Self {
        Self {
            id: None,
            failed: false,
            stopped: None,
            inbound: match loops {
                Some(loops) => Inbound::watched(max_age, loops),
                None => Inbound::new(max_age),
            },
            drops: SocketDrops::default(),
            counts: BusCounts::default(),
        }
    }

    /// The bus was opened: its own drop count starts at zero.
    pub fn attach(&mut self, id: BusId) {
        self.id = Some(id);
        self.failed = false;
        self.drops = SocketDrops::default();
        self.inbound.retry();
    }

    /// The socket is no longer ours.
    pub fn detach(&mut self) -> Option<BusId> {
        self.failed = false;
        self.inbound.lose_bus();
        self.id.take()
    }

    /// Whether it has its socket, or there was none to be had.
    pub fn was_tried(&self) -> bool {
        self.id.is_some() || self.failed
    }

    /// The kernel's count of what the socket has dropped so far; returns how many are new.
    pub fn note_kernel_total(&mut self, total: u32) -> u64 {
        let new = self.drops.advance_kernel(total);
        self.counts.kernel_drops += new;
        new
    }

    /// The software bus's count of the same.
    pub fn note_hub_total(&mut self, total: u64) -> u64 {
        let new = self.drops.advance_hub(total);
        self.counts.kernel_drops += new;
        new
    }

    /// Adds what was counted here.
    pub fn count(&self, into: &mut Counters) {
        let (counts, inbound) = (&self.counts, self.inbound.counters());
        into.received += inbound.accepted;
        into.taken += counts.taken;
        into.arrived += inbound.arrived;
        into.waiting += self.inbound.queue.len() as u64;
        into.overdue += inbound.overdue;
        into.kernel_drops += counts.kernel_drops;
        into.filtered += counts.filtered;
        into.not_representable += counts.malformed;
        into.slow_peer += counts.slow_peer;
        into.unsent += counts.late;
        into.outage += counts.outage;
        into.stale += inbound.stale + counts.stale;
        into.refused += inbound.refused;
        into.denied += inbound.denied;
        into.limited += inbound.limited;
        into.looped += inbound.looped;
        into.transmit_waits += inbound.waits;
    }
}

/// A bus socket's own counts of drops, as last seen.
#[derive(Clone, Copy, Default, Debug)]
struct SocketDrops {
    kernel: u32,
    hub: u64,
}

impl SocketDrops {
    /// How many drops are new in the kernel's count, which wraps. `SO_RXQ_OVFL` tells the count as it was when its
    /// packet was queued, `SO_MEMINFO` as it is: what comes from the queue afterwards is older, and tells nothing new.
    fn advance_kernel(&mut self, total: u32) -> u64 {
        let new = total.wrapping_sub(self.kernel);
        if new >= 1 << 31 {
            return 0;
        }
        self.kernel = total;
        u64::from(new)
    }

    /// How many drops are new in the software bus's count.
    fn advance_hub(&mut self, total: u64) -> u64 {
        let new = total.saturating_sub(self.hub);
        self.hub = self.hub.max(total);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_once_in_whatever_order_they_are_told() {
        let mut drops = SocketDrops::default();
        let told = [1_000, 500, 1_001, 1_001].map(|total| drops.advance_kernel(total));
        assert_eq!(told, [1_000, 0, 1, 0]);
        let mut wrapping = SocketDrops { kernel: u32::MAX - 1, hub: 0 };
        assert_eq!(wrapping.advance_kernel(3), 5);
        assert_eq!([7, 7, 10].map(|total| drops.advance_hub(total)), [7, 0, 3]);
    }
}
