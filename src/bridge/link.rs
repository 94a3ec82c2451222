//! One connection: a session between a stream and bus sockets of its own.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

use super::incidents::LineLimit;
use super::link_bus::LinkBus;
use super::outbound::{Linger, Outbound};
use crate::bus::{BusKind, Packet, interpret};
use crate::engine::{Consumed, PacketInfo, StreamId};
use crate::frame::filter::Filter;
use crate::frame::{Frame, Image};
use crate::metrics::Counters;
use crate::moment::{Moment, Now, WallTime};
use crate::session::{
    Books, Cause, Fault, FrameQueue, OneWay, Outcome, ReceivedFrame, Role, Session, SessionConfig,
};
use crate::wire::v5::Goodbye;

/// How long a link that ends in order waits for its peer to close too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a server counts, for a peer whose connection broke, the frames that it misses. A client tries again every
/// five seconds at the least; who stays away for longer begins anew.
const PARKED: Duration = Duration::from_secs(60);

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
            Self::Fault(Fault::Dead) => {
                f.write_str("the peer gave no sign of life for three heartbeat intervals")
            }
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
        /// The peer has said the same.
        peer_finished: bool,
        ending: Option<Ending>,
    },
    /// Nothing more comes from the peer; what it sent may still wait for the bus, until then at most.
    Draining {
        ending: Ending,
        until: Option<Moment>,
    },
    /// The connection is gone, and the peer is expected to make another, until then: frames are counted for it.
    Parked {
        until: Option<Moment>,
    },
}

/// What is known about a packet beside its bytes.
pub struct PacketContext<'a> {
    pub bus: usize,
    pub kind: BusKind,
    pub filter: &'a Filter,
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
    pub linger: Linger,
    /// How many buses there are.
    pub bus_count: usize,
}

/// A link's state beside its descriptors. It never calls the engine: [`super::links`] does, with what it finds here.
pub struct Link {
    /// Who is at the other end, for log lines.
    pub name: String,
    pub session: Session,
    /// The connection; none while the link is parked.
    pub stream: Option<StreamId>,
    pub buses: Vec<LinkBus>,
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
    /// Whether the peer has made another connection, which has the buses and the books now.
    pub is_replaced: bool,
    phase: Phase,
    max_age: Option<Duration>,
    /// What earlier sessions of the link have counted.
    past: Counters,
    on_end: Option<oneshot::Sender<Ended>>,
}

/// The queues of a link's buses, as its session fills them.
struct Queues<'a, W> {
    buses: &'a mut [LinkBus],
    now: Moment,
    witness: W,
}

/// Who sees what comes from a peer beside the frames for a bus.
pub trait Witness {
    /// How long a frame took.
    fn one_way(&mut self, one_way: OneWay);
    /// An error frame of the peer's bus that belongs to this one of ours.
    fn error_frame(&mut self, bus: usize, frame: Frame);
}

impl<W: Witness> FrameQueue for Queues<'_, W> {
    fn has_room(&self, bus: usize) -> bool {
        self.buses[bus].inbound.queue.has_room()
    }

    fn push(&mut self, bus: usize, received: ReceivedFrame) {
        if let Some(one_way) = received.one_way {
            self.witness.one_way(one_way);
        }
        self.buses[bus].inbound.push(received, self.now);
    }

    fn see_error(&mut self, bus: usize, frame: Frame) {
        self.witness.error_frame(bus, frame);
    }
}

impl Link {
    /// A link on a stream that has just been opened.
    pub fn new(
        name: String,
        session: Session,
        stream: StreamId,
        limits: LinkLimits,
        on_end: oneshot::Sender<Ended>,
    ) -> Self {
        Self {
            name,
            session,
            stream: Some(stream),
            buses: (0..limits.bus_count).map(|_| LinkBus::new(limits.max_age)).collect(),
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
            is_replaced: false,
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
        crossing: impl FnMut(Image<'_>),
    ) {
        if let Some(total) = context.info.dropped_total {
            self.note_kernel_total(context.bus, total);
        }
        match interpret(context.kind, packet) {
            Packet::Frames(images) => {
                images.filter_map(|image| self.frame(context, image)).for_each(crossing);
            }
            Packet::Dropped { total } => {
                let new = self.buses[context.bus].note_hub_total(total);
                self.session.skip(context.bus, Cause::Kernel, new);
            }
            Packet::Welcome { .. } => {}
            Packet::Malformed => self.buses[context.bus].counts.malformed += 1,
        }
    }

    #[inline]
    fn frame<'a>(&mut self, context: &PacketContext<'_>, image: Image<'a>) -> Option<Image<'a>> {
        let counts = &mut self.buses[context.bus].counts;
        let kernel_has_filtered = context.kind == BusKind::SocketCan && context.filter.kernel_is_exact;
        if !kernel_has_filtered && !context.filter.passes(image) {
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
    pub fn stream_bytes(&mut self, bytes: &[u8], now: Now, witness: impl Witness) -> Consumed {
        if self.is_replaced {
            // The new connection began with what had arrived then: both sides count this as lost under way.
            return Consumed { bytes: bytes.len(), pause: false };
        }
        self.has_heard = true;
        let mut queues = Queues { buses: &mut self.buses, now: now.monotonic, witness };
        match self.session.receive(bytes, now, &mut queues) {
            Ok(progress) => {
                if self.session.peer_said_goodbye() && !self.peer_left {
                    self.peer_left = true;
                    self.close(now.monotonic, Goodbye::Stopping, Some(Ending::ClosedByPeer));
                }
                self.paused = progress.blocked;
                Consumed { bytes: progress.consumed, pause: progress.blocked }
            }
            Err(fault) => {
                self.paused = false;
                self.refuse(now.monotonic, fault);
                Consumed { bytes: bytes.len(), pause: true }
            }
        }
    }

    /// The peer has done what it may not. If its bridge cannot know why we close the connection, it is told.
    fn refuse(&mut self, now: Moment, fault: Fault) {
        if self.outbound.refuse(&mut self.session) {
            let until = now.after(CLOSE_TIMEOUT);
            let ending = Some(Ending::Fault(fault));
            self.is_settled = false;
            self.phase = Phase::Closing { until, finished: false, peer_finished: false, ending };
        } else {
            self.drain(Ending::Fault(fault));
        }
    }

    /// The peer's stream has ended.
    pub fn stream_ended(&mut self, unconsumed: usize, error: Option<io::Error>) {
        let finished = self.session.finish(unconsumed);
        let ending = match (error, &mut self.phase, finished) {
            // Our last words are still to be sent: the peer may be waiting for them.
            (None, Phase::Closing { finished: false, peer_finished, .. }, _) => {
                *peer_finished = true;
                self.is_settled = false;
                return;
            }
            (None, Phase::Closing { ending, .. }, _) => ending.take().unwrap_or(Ending::Stopped),
            (Some(error), ..) => Ending::Broken(error),
            (None, _, Err(fault)) => Ending::Fault(fault),
            (None, _, Ok(())) => Ending::ClosedByPeer,
        };
        self.drain(ending);
    }

    /// Ends the link once the bus has what came before `ending`.
    pub fn drain(&mut self, ending: Ending) {
        self.is_settled = false;
        if !matches!(self.phase, Phase::Draining { .. } | Phase::Parked { .. }) {
            self.phase = Phase::Draining { ending, until: None };
        }
    }

    /// Begins an orderly end, which is our doing or that of the peer (`ending`).
    pub fn close(&mut self, now: Moment, reason: Goodbye, ending: Option<Ending>) {
        self.is_settled = false;
        match self.phase {
            Phase::Running => {
                self.session.say_goodbye(reason);
                let until = now.after(CLOSE_TIMEOUT);
                self.phase = Phase::Closing { until, finished: false, peer_finished: false, ending };
            }
            // That it ended was said when it was parked.
            Phase::Parked { .. } => self.phase = Phase::Parked { until: Some(now) },
            Phase::Closing { .. } | Phase::Draining { .. } => {}
        }
    }

    /// Nothing but frames is to be expected, until something else happens.
    pub fn note_settled(&mut self) {
        let is_open = matches!(self.phase, Phase::Running) && self.announced && self.session.is_open();
        self.is_settled = is_open && (0..self.buses.len()).all(|bus| !self.wants_bus(bus));
    }

    /// Whether the peer must be told now that nothing more comes.
    pub fn wants_finish(&mut self) -> bool {
        let Phase::Closing { finished, .. } = &mut self.phase else { return false };
        let said = self.outbound.is_idle() && !self.session.has_something_to_say();
        said && !std::mem::replace(finished, true)
    }

    /// The peer was told that nothing more comes.
    pub fn note_finished(&mut self) {
        if let Phase::Closing { peer_finished: true, ending, .. } = &mut self.phase {
            let ending = ending.take().unwrap_or(Ending::Stopped);
            self.drain(ending);
        }
    }

    /// A link that has begun to end has so long to do it.
    pub fn limit_end(&mut self, now: Moment) {
        if let Phase::Draining { until, .. } = &mut self.phase {
            until.get_or_insert(now.after(CLOSE_TIMEOUT));
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
            Phase::Closing { until, ending, .. } if *until <= now => {
                let ending = ending.take().unwrap_or(Ending::Stopped);
                self.drain(ending);
            }
            Phase::Closing { .. } | Phase::Draining { .. } | Phase::Parked { .. } => {}
        }
    }

    /// When the link must be serviced next, even if nothing happens.
    #[inline]
    pub fn deadline(&self) -> Option<Moment> {
        let of_phase = match self.phase {
            Phase::Running => self.session.deadline(),
            Phase::Closing { until, .. } => Some(until),
            Phase::Draining { until, .. } | Phase::Parked { until } => until,
        };
        let of_buses = self.buses.iter().filter(|bus| !bus.inbound.is_idle());
        let earliest =
            of_buses.fold(of_phase, |earliest, bus| Moment::earlier(earliest, bus.inbound.deadline()));
        if self.may_send() { Moment::earlier(earliest, self.outbound.deadline()) } else { earliest }
    }

    /// Whether there is nothing more to wait for.
    pub fn is_over(&self, now: Moment) -> bool {
        match self.phase {
            Phase::Draining { until, .. } => {
                self.buses.iter().all(|bus| bus.inbound.queue.is_empty())
                    || until.is_some_and(|until| until <= now)
            }
            Phase::Parked { until } => until.is_some_and(|until| until <= now),
            Phase::Running | Phase::Closing { .. } => false,
        }
    }

    /// Whether another connection with the same peer may go on where this one ends. A client tries its one server again
    /// whatever came of this attempt; a server expects a client only if it knows it, and it behaved.
    pub fn may_return(&self, role: Role) -> bool {
        let broke = match &self.phase {
            Phase::Draining { ending, .. } => match ending {
                Ending::Broken(_)
                | Ending::ClosedByPeer
                | Ending::Fault(Fault::Dead | Fault::Truncated { .. }) => true,
                Ending::Fault(_) => role == Role::Client,
                Ending::Stopped => false,
            },
            _ => false,
        };
        let is_known = match role {
            Role::Client => true,
            Role::Server => !self.peer_left && self.session.peer_instance().is_some(),
        };
        broke && is_known && !self.is_replaced && self.session.keeps_books()
    }

    /// The connection is gone. Frames are counted for the peer until it is back: for ever as a client, whose own bus it
    /// is about, and for a while as a server. Tells whoever waits for the end.
    pub fn park(&mut self, now: Moment, for_ever: bool) -> String {
        let until = (!for_ever).then(|| now.after(PARKED));
        let ending = match std::mem::replace(&mut self.phase, Phase::Parked { until }) {
            Phase::Draining { ending, .. } => ending,
            _ => Ending::Stopped,
        };
        self.past.faults += u64::from(is_fault(&ending));
        self.stream = None;
        let lost = self.outbound.reset(&mut self.session);
        self.buses[0].counts.outage += lost;
        let reason = ending.to_string();
        self.tell_end(ending);
        reason
    }

    /// Goes on with another connection of the same peer.
    pub fn resume(
        &mut self,
        config: SessionConfig,
        stream: StreamId,
        on_end: oneshot::Sender<Ended>,
        now: Moment,
    ) {
        self.past.add(&self.session_counters());
        let fresh = Session::new(config.clone(), None, now);
        let books = std::mem::replace(&mut self.session, fresh).into_books();
        self.session = Session::new(config, books, now);
        self.stream = Some(stream);
        self.phase = Phase::Running;
        (self.announced, self.peer_left) = (false, false);
        self.on_end = Some(on_end);
    }

    /// The peer has made another connection, to which the buses go, and the books as they are then: what waits here for
    /// the peer is dropped before, and what it still sends here is not taken.
    pub fn replace(&mut self, now: Moment) -> Vec<LinkBus> {
        self.is_replaced = true;
        let lost = self.outbound.discard(&mut self.session);
        self.buses[0].counts.outage += lost;
        let max_age = self.max_age;
        let empty = self.buses.iter().map(|_| LinkBus::new(max_age)).collect();
        self.close(now, Goodbye::Replaced, None);
        let buses = std::mem::replace(&mut self.buses, empty);
        // What was counted on them goes along.
        self.reported = self.counters();
        buses
    }

    /// Takes over the buses of an earlier link with the same peer, and its books.
    pub fn succeed(&mut self, buses: Vec<LinkBus>, books: Books) {
        for (bus, disposal) in buses.iter().map(|bus| bus.inbound.disposal()).enumerate() {
            self.session.note_disposal(bus, disposal);
        }
        self.buses = buses;
        self.session.adopt(books);
        self.reported = self.counters();
    }

    /// Whether the connection is gone.
    pub fn is_parked(&self) -> bool {
        matches!(self.phase, Phase::Parked { .. })
    }

    /// Whether frames may go to the peer.
    pub fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing { .. })
    }

    /// Whether the link lacks a socket of a bus that it has a use for.
    pub fn wants_bus(&self, bus: usize) -> bool {
        let LinkBus { id, inbound, .. } = &self.buses[bus];
        let has_use = self.may_send() || self.is_parked() || !inbound.queue.is_empty();
        id.is_none() && self.session.carries(bus) && has_use && !self.is_replaced
    }

    /// Whether every bus that the link carries has its socket, or there was none to be had.
    pub fn has_tried_buses(&self) -> bool {
        (0..).zip(&self.buses).all(|(index, bus)| bus.was_tried() || !self.session.carries(index))
    }

    /// Whether the peer was found not to speak the protocol.
    pub fn is_faulty(&self) -> bool {
        matches!(self.phase, Phase::Draining { ending: Ending::Fault(_), .. })
    }

    /// Ends the link, telling whoever waits for it; gives the last counters and the reason for the log.
    pub fn end(mut self) -> (Counters, String) {
        let ending = match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Draining { ending, .. } => ending,
            Phase::Running | Phase::Closing { .. } | Phase::Parked { .. } => Ending::Stopped,
        };
        let before = self.counters();
        let waiting: usize = self.buses.iter().map(|bus| bus.inbound.queue.len()).sum();
        let counters = Counters {
            unsent: before.unsent + self.outbound.unsent_frames() + waiting as u64,
            faults: before.faults + u64::from(is_fault(&ending)),
            ..before
        };
        let reason = ending.to_string();
        self.tell_end(ending);
        (counters, reason)
    }

    /// What the link has counted so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.session_counters();
        counters.add(&self.past);
        counters.sent += self.outbound.sent_frames();
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

    fn tell_end(&mut self, ending: Ending) {
        let was_open = self.session.is_open();
        if let Some(on_end) = self.on_end.take() {
            // Nobody need be waiting: a server does not, and a client that is being stopped has let go.
            let _ = on_end.send(Ended { ending, was_open });
        }
    }
}

/// Whether the peer did not speak the protocol.
fn is_fault(ending: &Ending) -> bool {
    matches!(ending, Ending::Fault(fault) if *fault != Fault::Dead)
}
