//! One connection: a session between a stream and a bus socket of its own.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

use super::inbound::Inbound;
use super::outbound::Outbound;
use crate::bus::{BusKind, Packet, interpret};
use crate::engine::{BusId, Consumed, PacketInfo, StreamId};
use crate::frame::Image;
use crate::frame::filter::Filter;
use crate::metrics::Counters;
use crate::moment::{Moment, WallTime};
use crate::session::{Fault, Outcome, Session};

/// How long a link that ends in order waits for its peer to close too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a link ended.
#[derive(Debug)]
pub enum Ending {
    /// The peer closed the connection in order.
    ClosedByPeer,
    /// The connection broke.
    Broken(io::Error),
    /// The peer does not speak the protocol.
    Fault(Fault),
    /// We closed it.
    Stopped,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClosedByPeer => f.write_str("closed by the peer"),
            // The kernel's word for a peer that did not answer keepalive probes or acknowledge data in time.
            Self::Broken(error) if error.kind() == io::ErrorKind::TimedOut => {
                f.write_str("the peer gave no sign of life, or took no data, for three heartbeat intervals")
            }
            Self::Broken(error) => write!(f, "connection lost: {error}"),
            Self::Fault(fault) => write!(f, "it {fault}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// What is told of a link that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub ending: Ending,
    /// Whether frames could cross before.
    pub was_open: bool,
}

/// How far a link is from its end.
#[derive(Debug)]
enum Phase {
    Running,
    /// We send the rest, say that it was the last, and wait for the peer to do the same.
    Closing {
        until: Moment,
        finished: bool,
    },
    /// Nothing more comes from the peer; what it sent may still wait for the bus, until then at most.
    Draining {
        ending: Ending,
        until: Option<Moment>,
    },
}

/// What is known about a packet beside its bytes.
pub struct PacketContext<'a> {
    pub kind: BusKind,
    pub filter: &'a Filter,
    pub info: PacketInfo,
    /// When the kernel received it.
    pub received_at: WallTime,
    /// Whether that is too long ago.
    pub is_stale: bool,
    /// Now.
    pub now: Moment,
}

/// A bus socket's own counts of drops, as last seen.
#[derive(Clone, Copy, Default)]
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

/// A link's state beside its descriptors. It never calls the engine: [`super::links`] does, with what it finds here.
pub struct Link {
    /// Who is at the other end, for log lines.
    pub name: String,
    pub session: Session,
    pub stream: StreamId,
    /// The bus socket; none before the greeting, and while the bus is gone.
    pub bus: Option<BusId>,
    pub outbound: Outbound,
    pub inbound: Inbound,
    /// Whether the opening was logged.
    pub announced: bool,
    /// Whether the link waits to be serviced.
    pub dirty: bool,
    /// Whether the stream waits for room in the queue.
    pub paused: bool,
    /// Whether the bus could not be opened when it was last tried.
    pub bus_failed: bool,
    /// Why the bus socket receives no more, until that was dealt with.
    pub bus_stopped: Option<io::Error>,
    /// [`Link::deadline`] when the link was last serviced.
    pub known_deadline: Option<Moment>,
    /// Counters as last reported as incidents.
    pub reported: Counters,
    phase: Phase,
    kernel_drops: u64,
    /// The current bus socket's own counts, from which `kernel_drops` is advanced.
    socket_drops: SocketDrops,
    filtered: u64,
    slow_peer: u64,
    /// Frames of the bus that were too old when they were read.
    stale_packets: u64,
    /// Frames of the bus that came when the link was about to end.
    late_packets: u64,
    malformed_packets: u64,
    on_end: oneshot::Sender<Ended>,
}

impl Link {
    /// A link on a stream that has just been opened. Frames may wait for `max_age`, either way.
    pub fn new(
        name: String,
        session: Session,
        stream: StreamId,
        max_age: Option<Duration>,
        on_end: oneshot::Sender<Ended>,
    ) -> Self {
        Self {
            name,
            session,
            stream,
            bus: None,
            outbound: Outbound::new(max_age),
            inbound: Inbound::new(max_age),
            announced: false,
            dirty: false,
            paused: false,
            bus_failed: false,
            bus_stopped: None,
            known_deadline: None,
            reported: Counters::default(),
            phase: Phase::Running,
            kernel_drops: 0,
            socket_drops: SocketDrops::default(),
            filtered: 0,
            slow_peer: 0,
            stale_packets: 0,
            late_packets: 0,
            malformed_packets: 0,
            on_end,
        }
    }

    /// The bus was opened: its own drop count starts at zero.
    pub fn attach_bus(&mut self, bus: BusId) {
        self.bus = Some(bus);
        self.bus_failed = false;
        self.socket_drops = SocketDrops::default();
        self.inbound.retry();
    }

    /// The bus socket is no longer ours.
    pub fn detach_bus(&mut self) -> Option<BusId> {
        self.bus_failed = false;
        self.inbound.lose_bus();
        self.bus.take()
    }

    /// A packet of the bus; returns the frame if it is one for the peer. That includes what this peer is too slow for:
    /// the link that records must not keep out of the record what others got.
    pub fn bus_packet<'a>(&mut self, context: &PacketContext<'_>, packet: &'a [u8]) -> Option<Image<'a>> {
        if let Some(total) = context.info.dropped_total {
            self.note_kernel_total(total);
        }
        let image = match interpret(context.kind, packet) {
            Packet::Frame(image) => image,
            Packet::Dropped { total } => {
                self.kernel_drops += self.socket_drops.advance_hub(total);
                return None;
            }
            Packet::Welcome { .. } => return None,
            Packet::Malformed => {
                self.malformed_packets += 1;
                return None;
            }
        };
        if !matches!(self.phase, Phase::Running) {
            self.late_packets += 1;
            return None;
        }
        let kernel_has_filtered = context.kind == BusKind::SocketCan && context.filter.kernel_is_exact;
        if !kernel_has_filtered && !context.filter.passes(image) {
            self.filtered += 1;
            return None;
        }
        if context.is_stale {
            self.stale_packets += 1;
            self.session.skip();
            return None;
        }
        match self.outbound.add_frame(&mut self.session, image, context.received_at, context.now) {
            Outcome::Queued => Some(image),
            Outcome::NotRepresentable => None,
            Outcome::Full => {
                self.slow_peer += 1;
                Some(image)
            }
        }
    }

    /// The kernel's count of what the bus socket has dropped so far.
    pub fn note_kernel_total(&mut self, total: u32) {
        self.kernel_drops += self.socket_drops.advance_kernel(total);
    }

    /// Bytes of the peer.
    pub fn stream_bytes(&mut self, bytes: &[u8], now: Moment) -> Consumed {
        self.inbound.queue.set_now(now);
        match self.session.receive(bytes, now, &mut self.inbound.queue) {
            Ok(progress) => {
                self.paused = progress.blocked;
                Consumed { bytes: progress.consumed, pause: progress.blocked }
            }
            Err(fault) => {
                self.drain(Ending::Fault(fault));
                Consumed { bytes: bytes.len(), pause: true }
            }
        }
    }

    /// The peer's stream has ended.
    pub fn stream_ended(&mut self, unconsumed: usize, error: Option<io::Error>) {
        let ending = match (error, &self.phase, self.session.finish(unconsumed)) {
            (Some(error), ..) => Ending::Broken(error),
            (None, Phase::Closing { .. }, _) => Ending::Stopped,
            (None, _, Err(fault)) => Ending::Fault(fault),
            (None, _, Ok(())) => Ending::ClosedByPeer,
        };
        self.drain(ending);
    }

    /// Ends the link once the bus has what came before `ending`.
    pub fn drain(&mut self, ending: Ending) {
        if !matches!(self.phase, Phase::Draining { .. }) {
            self.phase = Phase::Draining { ending, until: None };
        }
    }

    /// Begins an orderly end.
    pub fn close(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Running) {
            self.phase = Phase::Closing { until: now.after(CLOSE_TIMEOUT), finished: false };
        }
    }

    /// Whether the peer must be told now that nothing more comes.
    pub fn wants_finish(&mut self) -> bool {
        match &mut self.phase {
            Phase::Closing { finished, .. } if self.outbound.is_idle() => !std::mem::replace(finished, true),
            _ => false,
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Moment) {
        match &mut self.phase {
            Phase::Running => {
                if let Err(fault) = self.session.tick(now) {
                    self.drain(Ending::Fault(fault));
                }
            }
            Phase::Closing { until, .. } if *until <= now => self.drain(Ending::Stopped),
            Phase::Closing { .. } => {}
            Phase::Draining { until, .. } => {
                until.get_or_insert(now.after(CLOSE_TIMEOUT));
            }
        }
    }

    /// When the link must be serviced next, even if nothing happens.
    pub fn deadline(&self) -> Option<Moment> {
        let phase = match self.phase {
            Phase::Running => self.session.deadline(),
            Phase::Closing { until, .. } => Some(until),
            Phase::Draining { until, .. } => until,
        };
        [phase, self.inbound.deadline()].into_iter().flatten().min()
    }

    /// Whether there is nothing more to wait for.
    pub fn is_over(&self, now: Moment) -> bool {
        match self.phase {
            Phase::Draining { until, .. } => {
                self.inbound.queue.is_empty() || until.is_some_and(|until| until <= now)
            }
            Phase::Running | Phase::Closing { .. } => false,
        }
    }

    /// Whether frames may go to the peer.
    pub fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing { .. })
    }

    /// Whether the link lacks a bus socket that it has a use for.
    pub fn wants_bus(&self) -> bool {
        let has_use = self.may_send() || !self.inbound.queue.is_empty();
        self.bus.is_none() && self.session.agreement().is_some() && has_use
    }

    /// Whether the link has its bus socket, or there was none to be had.
    pub fn has_tried_bus(&self) -> bool {
        self.bus.is_some() || self.bus_failed
    }

    /// Whether the peer was found not to speak the protocol.
    pub fn is_faulty(&self) -> bool {
        matches!(self.phase, Phase::Draining { ending: Ending::Fault(_), .. })
    }

    /// Ends the link, telling whoever waits for it; gives the last counters and the reason for the log.
    pub fn end(mut self) -> (Counters, String) {
        let ending = match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Draining { ending, .. } => ending,
            Phase::Running | Phase::Closing { .. } => Ending::Stopped,
        };
        let before = self.counters();
        let counters = Counters {
            unsent: before.unsent + self.outbound.unsent_frames() + self.inbound.queue.len() as u64,
            faults: u64::from(matches!(ending, Ending::Fault(_))),
            ..before
        };
        let reason = ending.to_string();
        let was_open = self.session.agreement().is_some();
        // Nobody need be waiting: a server does not, and a client that is being stopped has let go.
        let _ = self.on_end.send(Ended { ending, was_open });
        (counters, reason)
    }

    /// What the link has counted so far.
    pub fn counters(&self) -> Counters {
        let session = self.session.counters();
        let inbound = self.inbound.counters();
        Counters {
            sent: self.outbound.sent_frames(),
            received: inbound.accepted,
            gaps: session.sequence.gaps,
            missing: session.sequence.missing,
            duplicates: session.sequence.duplicates,
            reordered: session.sequence.reordered,
            restarts: session.sequence.restarts,
            kernel_drops: self.kernel_drops,
            filtered: self.filtered,
            not_representable: session.remote_frames
                + session.error_frames
                + session.fd_frames
                + self.malformed_packets,
            slow_peer: self.slow_peer,
            unsent: self.late_packets,
            stale: inbound.stale + self.outbound.stale_frames() + self.stale_packets,
            refused: inbound.refused,
            transmit_waits: inbound.waits,
            unrecorded: 0,
            faults: 0,
        }
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
