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
    /// Nothing more comes from the peer; what it sent may still wait for the bus.
    Draining(Ending),
    /// There is nothing more to wait for.
    Ended(Ending),
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
    /// Why the bus socket receives no more, until that was dealt with.
    pub bus_stopped: Option<io::Error>,
    /// [`Link::deadline`] when the link was last serviced.
    pub known_deadline: Option<Moment>,
    /// Counters as last reported as incidents.
    pub reported: Counters,
    phase: Phase,
    kernel_drops: u64,
    /// The current bus socket's own count, from which [`Link::kernel_drops`] is advanced.
    socket_drops: u64,
    filtered: u64,
    slow_peer: u64,
    malformed_packets: u64,
    on_end: oneshot::Sender<Ended>,
}

impl Link {
    pub fn new(name: String, session: Session, stream: StreamId, on_end: oneshot::Sender<Ended>) -> Self {
        Self {
            name,
            session,
            stream,
            bus: None,
            outbound: Outbound::new(),
            inbound: Inbound::new(),
            announced: false,
            dirty: false,
            paused: false,
            bus_stopped: None,
            known_deadline: None,
            reported: Counters::default(),
            phase: Phase::Running,
            kernel_drops: 0,
            socket_drops: 0,
            filtered: 0,
            slow_peer: 0,
            malformed_packets: 0,
            on_end,
        }
    }

    /// The bus was opened: its own drop count starts at zero.
    pub fn attach_bus(&mut self, bus: BusId) {
        self.bus = Some(bus);
        self.socket_drops = 0;
        self.inbound.retry();
    }

    /// The bus socket is no longer ours.
    pub fn detach_bus(&mut self) -> Option<BusId> {
        self.inbound.lose_bus();
        self.bus.take()
    }

    /// A packet of the bus; returns the frame if it is one for the peer. That includes what this peer is too slow for:
    /// the link that records must not keep out of the record what others got.
    pub fn bus_packet<'a>(
        &mut self,
        kind: BusKind,
        filter: &Filter,
        packet: &'a [u8],
        info: PacketInfo,
        received_at: WallTime,
    ) -> Option<Image<'a>> {
        if let Some(total) = info.dropped_total {
            self.note_socket_drops(u64::from(total));
        }
        let image = match interpret(kind, packet) {
            Packet::Frame(image) => image,
            Packet::Dropped { total } => {
                self.note_socket_drops(total);
                return None;
            }
            Packet::Welcome { .. } => return None,
            Packet::Malformed => {
                self.malformed_packets += 1;
                return None;
            }
        };
        if !matches!(self.phase, Phase::Running) {
            return None;
        }
        let kernel_has_filtered = kind == BusKind::SocketCan && filter.kernel_is_exact;
        if !kernel_has_filtered && !filter.passes(image) {
            self.filtered += 1;
            return None;
        }
        match self.outbound.add_frame(&mut self.session, image, received_at) {
            Outcome::Queued => Some(image),
            Outcome::NotRepresentable => None,
            Outcome::Full => {
                self.slow_peer += 1;
                Some(image)
            }
        }
    }

    /// The bus socket's count of drops so far. It wraps at 2^32 where the kernel counts.
    pub fn note_socket_drops(&mut self, total: u64) {
        let new = if total >= self.socket_drops { total - self.socket_drops } else { total };
        self.kernel_drops += new;
        self.socket_drops = total;
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
        if !matches!(self.phase, Phase::Draining(_) | Phase::Ended(_)) {
            self.phase = Phase::Draining(ending);
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
        match self.phase {
            Phase::Running => {
                if let Err(fault) = self.session.tick(now) {
                    self.drain(Ending::Fault(fault));
                }
            }
            Phase::Closing { until, .. } if until <= now => self.drain(Ending::Stopped),
            _ => {}
        }
    }

    /// When the link must be serviced next, even if nothing happens.
    pub fn deadline(&self) -> Option<Moment> {
        let phase = match self.phase {
            Phase::Running => self.session.deadline(),
            Phase::Closing { until, .. } => Some(until),
            Phase::Draining(_) | Phase::Ended(_) => None,
        };
        [phase, self.inbound.deadline()].into_iter().flatten().min()
    }

    /// Whether there is nothing more to wait for.
    pub fn is_over(&mut self) -> bool {
        if matches!(self.phase, Phase::Draining(_)) && self.inbound.queue.is_empty() {
            let Phase::Draining(ending) = std::mem::replace(&mut self.phase, Phase::Running) else {
                unreachable!("matched above");
            };
            self.phase = Phase::Ended(ending);
        }
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether frames may go to the peer.
    pub fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing { .. })
    }

    /// Whether the bus has a part in what remains to be done.
    pub fn needs_bus(&self) -> bool {
        self.may_send() || !self.inbound.queue.is_empty()
    }

    /// Whether the peer was found not to speak the protocol.
    pub fn is_faulty(&self) -> bool {
        matches!(self.phase, Phase::Draining(Ending::Fault(_)) | Phase::Ended(Ending::Fault(_)))
    }

    /// Ends the link, telling whoever waits for it; gives the last counters and the reason for the log.
    pub fn end(mut self) -> (Counters, String) {
        let ending = match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Draining(ending) | Phase::Ended(ending) => ending,
            Phase::Running | Phase::Closing { .. } => Ending::Stopped,
        };
        let counters = Counters {
            unsent: self.outbound.unsent_frames(),
            faults: u64::from(matches!(ending, Ending::Fault(_))),
            ..self.counters()
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
            unsent: 0,
            stale: inbound.stale,
            refused: inbound.refused,
            transmit_waits: inbound.waits,
            unrecorded: 0,
            faults: 0,
        }
    }
}
