//! One connection: a session between a stream and bus sockets of its own.

mod ending;
mod phases;
mod queues;
mod succession;

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::oneshot;

pub use self::ending::{Ended, Ending};
use self::phases::Phase;
use self::queues::Queues;
pub use self::queues::Witness;
use super::bus_socket::BusSocket;
use super::incidents::LineLimit;
use super::link_bus::{LinkBus, LinkBuses};
use super::loops::LoopWatch;
use super::outbound::{Linger, Outbound};
use crate::bus::claim::Claim;
use crate::bus::{BusKind, Packet, interpret};
use crate::engine::{Consumed, PacketInfo, StreamId};
use crate::frame::Image;
use crate::frame::filter::Filter;
use crate::metrics::Counters;
use crate::moment::{Moment, Now, WallTime};
use crate::session::{Cause, Fault, Join, Outcome, Session};
use crate::wire::v5::{BusState, Goodbye};

/// What is known about a packet beside its bytes.
pub struct PacketContext<'a> {
    pub bus: usize,
    pub kind: BusKind,
    pub filter: &'a Filter,
    /// Whether nothing comes that the filter does not let through.
    pub is_filtered: bool,
    pub info: PacketInfo,
    /// When the kernel received it.
    pub received_at: WallTime,
    /// Whether that is too long ago.
    pub is_stale: bool,
    /// Now.
    pub now: Now,
}

/// What every link of a bridge is made with.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// The age that frames may have, either way.
    pub max_age: Option<Duration>,
    /// How long frames may wait for more.
    pub linger: Linger,
    /// How many buses there are.
    pub bus_count: usize,
    /// Whether loops are looked for.
    pub detects_loops: bool,
}

/// When a connection was made, and with whom.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// When.
    pub at: Moment,
    /// The peer's network address; none where the stream is no TCP connection, or has ended already.
    pub network: Option<IpAddr>,
    /// Chance.
    pub seed: u64,
}

/// A link's state beside its descriptors. It never calls the engine: [`super::links`] does, with what it finds here.
pub struct Link {
    /// Who is at the other end, for log lines.
    pub name: String,
    pub session: Session,
    /// The connection; none while the link is parked.
    pub stream: Option<StreamId>,
    pub buses: LinkBuses,
    pub outbound: Outbound,
    /// Whether the opening was logged.
    pub announced: bool,
    /// Whether books of an earlier connection with the same peer were looked for.
    pub sought_past: bool,
    /// Whether the link waits to be serviced.
    pub dirty: bool,
    /// Whether nothing is to be done but to move frames, until something else happens.
    pub is_settled: bool,
    /// Whether the stream waits for room in a queue.
    pub paused: bool,
    /// Whether something has come from the peer since acknowledgements were last seen to.
    pub has_heard: bool,
    /// [`Link::deadline`] when the link was last serviced.
    pub known_deadline: Option<Moment>,
    /// Lines about what the peer has told.
    pub said: LineLimit,
    /// Counters as last reported as incidents.
    pub reported: Counters,
    /// Whether the peer has said that it closes the connection.
    pub peer_left: bool,
    /// When the connection was made.
    pub opened_at: Moment,
    /// The peer's network address; none where the stream is no TCP connection, or has ended already.
    pub network: Option<IpAddr>,
    /// Whether the server had a place for it.
    pub has_place: bool,
    /// Whether there was none, or it had to give it up: nothing is heard of the peer, nor said to it.
    pub is_turned_away: bool,
    /// Whether the peer has made another connection, which has the buses and the books now.
    pub is_replaced: bool,
    /// That its buses are joined by this connection, until it begins to end.
    pub claims: Vec<(Join, Claim)>,
    phase: Phase,
    max_age: Option<Duration>,
    /// What earlier sessions of the link have counted.
    past: Counters,
    on_end: Option<oneshot::Sender<Ended>>,
}

impl Link {
    /// A link on a stream that has just been opened.
    pub fn new(
        name: String,
        session: Session,
        stream: StreamId,
        limits: LinkLimits,
        opening: Opening,
        on_end: oneshot::Sender<Ended>,
    ) -> Self {
        let Opening { at, network, seed } = opening;
        let loops =
            |bus: usize| limits.detects_loops.then(|| LoopWatch::new(limits.max_age, seed ^ bus as u64, at));
        Self {
            name,
            session,
            stream: Some(stream),
            buses: (0..limits.bus_count).map(|bus| LinkBus::new(limits.max_age, loops(bus))).collect(),
            outbound: Outbound::new(limits.max_age, limits.linger),
            announced: false,
            sought_past: false,
            dirty: false,
            is_settled: false,
            paused: false,
            has_heard: false,
            known_deadline: None,
            said: LineLimit::default(),
            reported: Counters::default(),
            peer_left: false,
            opened_at: at,
            network,
            has_place: false,
            is_turned_away: false,
            is_replaced: false,
            claims: Vec::new(),
            phase: Phase::Running,
            max_age: limits.max_age,
            past: Counters::default(),
            on_end: Some(on_end),
        }
    }

    /// A packet of a bus; `crossing` sees the frames that are for the peer. That includes what this peer is too slow for:
    /// the link that records must not keep out of the record what others got.
    pub fn bus_packet(
        &mut self,
        context: &PacketContext<'_>,
        packet: &[u8],
        mut crossing: impl FnMut(Image<'_>),
    ) {
        if let Some(total) = context.info.dropped_total {
            self.note_kernel_total(context.bus, total);
        }
        match interpret(context.kind, packet) {
            Packet::Frames(images) => {
                for image in images {
                    if let Some(image) = self.frame(context, image) {
                        crossing(image);
                    }
                }
            }
            // Of what no peer gets, none is missed.
            Packet::Dropped { .. } if context.filter.passes_nothing() => {}
            Packet::Dropped { total } => {
                let new = self.buses[context.bus].note_hub_total(total);
                self.session.skip(context.bus, Cause::Kernel, new);
            }
            Packet::Welcome { .. } => {}
            Packet::Malformed => {
                let counts = &mut self.buses[context.bus].counts;
                counts.taken += 1;
                counts.malformed += 1;
            }
        }
    }

    #[inline(always)]
    fn frame<'a>(&mut self, context: &PacketContext<'_>, image: Image<'a>) -> Option<Image<'a>> {
        let counts = &mut self.buses[context.bus].counts;
        counts.taken += 1;
        if !context.is_filtered && !context.filter.passes(image) {
            counts.filtered += 1;
            return None;
        }
        match self.phase {
            Phase::Running if self.session.is_open() => {}
            // After the last word nothing is promised any more.
            Phase::Closing { .. } => {
                counts.late += 1;
                return None;
            }
            Phase::Draining { .. } if !self.session.keeps_books() => {
                counts.late += 1;
                return None;
            }
            _ => {
                counts.outage += 1;
                self.session.skip(context.bus, Cause::Outage, 1);
                return None;
            }
        }
        if context.is_stale {
            counts.stale += 1;
            self.session.skip(context.bus, Cause::Stale, 1);
            return None;
        }
        let PacketContext { bus, received_at, now, .. } = *context;
        match self.outbound.add_frame(&mut self.session, bus, image, received_at, now) {
            Outcome::Queued => Some(image),
            Outcome::NotRepresentable => None,
            Outcome::NotOpen => {
                counts.outage += 1;
                None
            }
            Outcome::Full => {
                counts.slow_peer += 1;
                Some(image)
            }
        }
    }

    /// The kernel's count of what a bus socket has dropped so far.
    pub fn note_kernel_total(&mut self, bus: usize, total: u32) {
        let new = self.buses[bus].note_kernel_total(total);
        if new > 0 {
            self.session.skip(bus, Cause::Kernel, new);
        }
    }

    /// Bytes of the peer.
    #[inline(always)]
    pub fn stream_bytes(
        &mut self,
        bytes: &[u8],
        now: Now,
        sockets: &[BusSocket],
        witness: impl Witness,
    ) -> Consumed {
        if self.is_turned_away {
            return Consumed { bytes: bytes.len(), pause: false };
        }
        if self.is_replaced {
            // The new connection began with what had arrived then: both sides count this as lost under way.
            return Consumed { bytes: bytes.len(), pause: false };
        }
        self.has_heard = true;
        let mut queues = Queues { buses: &mut self.buses, sockets, now: now.monotonic, witness };
        match self.session.receive(bytes, now, &mut queues) {
            Ok(progress) => {
                if self.session.peer_said_goodbye() && !self.peer_left {
                    self.note_goodbye(now.monotonic);
                }
                self.paused = progress.blocked;
                Consumed { bytes: progress.consumed, pause: progress.blocked }
            }
            Err(fault) => self.misunderstood(bytes, now.monotonic, fault),
        }
    }

    #[cold]
    #[inline(never)]
    fn note_goodbye(&mut self, now: Moment) {
        self.peer_left = true;
        self.close(now, Goodbye::Stopping, Some(Ending::ClosedByPeer));
    }

    #[cold]
    #[inline(never)]
    fn misunderstood(&mut self, bytes: &[u8], now: Moment, fault: Fault) -> Consumed {
        self.paused = false;
        self.refuse(now, fault);
        Consumed { bytes: bytes.len(), pause: true }
    }

    /// Nothing but frames is to be expected, until something else happens.
    pub fn note_settled(&mut self) {
        let is_open = matches!(self.phase, Phase::Running) && self.announced && self.session.is_open();
        self.is_settled = is_open && (0..self.buses.len()).all(|bus| !self.wants_bus(bus));
    }

    /// Whether the link lacks a socket of a bus that it has a use for.
    pub fn wants_bus(&self, bus: usize) -> bool {
        let LinkBus { id, inbound, .. } = &self.buses[bus];
        let has_use = self.may_send() || self.is_parked() || !inbound.queue.is_empty();
        id.is_none() && self.session.carries(bus) && has_use && !self.is_replaced && !self.is_turned_away
    }

    /// Whether every bus that the link carries has its socket, or there was none to be had.
    pub fn has_tried_buses(&self) -> bool {
        (0..).zip(&self.buses).all(|(index, bus)| bus.was_tried() || !self.session.carries(index))
    }

    /// Tells the session how our buses are.
    pub fn note_bus_states(&mut self, sockets: &[BusSocket]) {
        for (number, (bus, socket)) in self.buses.iter().zip(sockets).enumerate() {
            let state = BusState { has_loop: bus.inbound.has_found_loop(), ..socket.state() };
            self.session.note_bus_state(number, state);
        }
    }

    /// What the link has counted so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.session_counters();
        counters.add(&self.past);
        counters.sent += self.outbound.sent_frames();
        counters.waiting += self.outbound.unsent_frames();
        counters.overdue += self.outbound.overdue_frames();
        counters.stale += self.outbound.stale_frames();
        self.buses.iter().for_each(|bus| bus.count(&mut counters));
        counters
    }

    fn session_counters(&self) -> Counters {
        let session = self.session.counters();
        Counters {
            gaps: session.sequence.gaps,
            missing: session.sequence.missing,
            duplicates: session.sequence.duplicates,
            reordered: session.sequence.reordered,
            restarts: session.sequence.restarts,
            not_representable: session.remote_frames + session.error_frames + session.fd_frames,
            in_transit: session.in_transit,
            peer_kernel_drops: session.peer_losses.kernel,
            peer_stale: session.peer_losses.stale,
            peer_slow: session.peer_losses.slow_peer,
            peer_outage: session.peer_losses.outage,
            peer_in_transit: session.peer_in_transit,
            error_frames: session.peer_error_frames,
            ..Counters::default()
        }
    }
}
