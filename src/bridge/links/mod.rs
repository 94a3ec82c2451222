//! All connections of a bridge: what an engine reports goes to the link it concerns, and what a link then wants of the
//! engine is done once a turn, so that everything that came in one turn goes out together.

mod address;
mod admission;
mod buses;
mod claims;
mod handler;
mod service;
mod words;

pub use admission::MAX_CLIENTS;
pub use buses::{Answers, Questions};

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use smallvec::SmallVec;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::bus_socket::BusSocket;
use super::clock::TurnClock;
use super::incidents::{self, LineLimit};
use super::link::{Ended, Link, LinkLimits, Opening};
use super::platform::{Platform, System};
use super::tcp;
use super::throttle::Throttle;
use crate::engine::{Engine, tcp_info};
use crate::metrics::Counters;
use crate::metrics::histograms::Histograms;
use crate::moment::{Moment, Now, nanoseconds};
use crate::record::Recorder;
use crate::session::{Role, Session, SessionConfig};
use crate::wire::v5::Goodbye;

/// Links at the same time. Each has a stream, bus sockets, and buffers, whose memory is the process's as far as they have been
/// filled. In KiB, a link and its one bus at the most:
///
/// | | epoll | io_uring |
/// | --- | --- | --- |
/// | two send buffers of 256 | 512 | 512 |
/// | receive times of the frames in them, 8 bytes each: version 5, 24 bytes a frame | 171 | 171 |
/// | version 4.0, 14 bytes a frame, or where these rings have gone round | 293 | 293 |
/// | received bytes | 64 | 192 |
/// | each bus: 4,096 frames of 80 bytes, 16 bytes about each one's arrival, 64 of contents | 448 | 448 |
/// | together, version 5 | 1195 | 1323 |
/// | together, version 4.0 | 1317 | 1445 |
///
/// On SocketCAN with one bus the descriptors of 300 clients, three each, stay within a limit of 1,024; a hosted software bus takes
/// one more a link, and where they run out, new links wait for a bus.
pub const MAX_LINKS: usize = 480;

/// Lines about clients that come and go, before the rest is only counted: as many as there can be, twice.
const VISIT_LINES: u32 = 2 * MAX_CLIENTS as u32;

/// Links without a connection that a server keeps for peers that may return.
const MAX_PARKED: usize = 32;

/// What a link needs when it is serviced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attention {
    /// Frames have come, or a buffer is free again: frames are moved.
    Frames,
    /// Anything else may have happened.
    Whole,
}

/// Links that something happened to, each once; the last comes first.
#[derive(Default)]
struct Dirty {
    /// The last: as a rule there are no more.
    one: Option<usize>,
    more: Vec<usize>,
}

impl Dirty {
    #[inline]
    fn push(&mut self, index: usize) {
        if let Some(before) = self.one.replace(index) {
            self.more.push(before);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<usize> {
        self.one.take().or_else(|| self.more.pop())
    }
}

/// The table of links.
pub struct Links<P = System> {
    table: Vec<Option<Link>>,
    /// Links that something happened to.
    dirty: Dirty,
    platform: P,
    wall_clock: TurnClock,
    /// When this turn began to report, on both clocks; read once, by the first report.
    turn_time: Option<Now>,
    limits: LinkLimits,
    /// The age, in nanoseconds, that frames may have.
    max_age_ns: u64,
    buses: SmallVec<[BusSocket; 1]>,
    /// Of each bus, the bound on how much is put on it, if there is one; empty where no bus has one.
    throttles: Vec<Option<Throttle>>,
    session: SessionConfig,
    recorder: Option<Rc<RefCell<Recorder>>>,
    /// The one link that records what comes from the buses. Every link's sockets see the same frames of a bus, those of
    /// other links among them.
    recording: Option<usize>,
    /// A link came to want a socket.
    bus_wanted: bool,
    /// The number of the last questions about the interfaces.
    questions: u64,
    /// The number of the latest ones whose answers are noted, of each bus.
    answered: Vec<u64>,
    /// Clients that a server has at the same time.
    places: usize,
    /// Lines about peers that do not speak the protocol.
    refusals: LineLimit,
    /// Lines about clients that come and go.
    visits: LineLimit,
    /// Counters of links that have ended.
    past: Counters,
    /// How late frames are, of all links together.
    pub histograms: Histograms,
}

impl<P: Platform> Links<P> {
    /// No links yet. Each will have a socket of every one of `buses`.
    pub fn new(
        platform: P,
        buses: Vec<BusSocket>,
        session: SessionConfig,
        limits: LinkLimits,
        recorder: Option<Rc<RefCell<Recorder>>>,
    ) -> Self {
        let throttle = |bus: &BusSocket| Throttle::new(bus.bounds(), bus.bit_rate(), MAX_LINKS + MAX_PARKED);
        let mut throttles: Vec<_> = buses.iter().map(throttle).collect();
        if throttles.iter().all(Option::is_none) {
            throttles.clear();
        }
        Self {
            throttles,
            table: Vec::new(),
            dirty: Dirty::default(),
            platform,
            wall_clock: TurnClock::default(),
            turn_time: None,
            limits,
            max_age_ns: limits.max_age.map_or(u64::MAX, nanoseconds),
            answered: vec![0; buses.len()],
            buses: buses.into_iter().collect(),
            session,
            recorder,
            recording: None,
            bus_wanted: false,
            questions: 0,
            places: MAX_CLIENTS,
            refusals: LineLimit::default(),
            visits: LineLimit::of(VISIT_LINES),
            past: Counters::default(),
            histograms: Histograms::new(),
        }
    }

    /// Whether there is no link at all.
    pub fn is_empty(&self) -> bool {
        self.table.iter().all(Option::is_none)
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.table.iter().flatten().filter(|link| !link.is_parked()).count()
    }

    /// Counters of all links, past and present.
    pub fn totals<E: Engine>(&mut self, engine: &E) -> Counters {
        let mut totals = self.past;
        for link in self.table.iter_mut().flatten() {
            buses::note_drops(link, &self.buses, &self.platform, engine);
            totals.add(&link.counters());
        }
        debug_assert_eq!(totals.unaccounted(), 0, "the books balance: {totals}");
        totals.unrecorded = self.recorder.as_ref().map_or(0, |recorder| recorder.borrow().unrecorded());
        totals
    }

    /// Begins a link on a connected stream. `ended` is told when it is over.
    ///
    /// # Errors
    /// The engine cannot take the stream.
    pub fn open<E: Engine>(
        &mut self,
        engine: &mut E,
        name: String,
        stream: OwnedFd,
        ended: oneshot::Sender<Ended>,
    ) -> io::Result<()> {
        let now = self.platform.now();
        let parked = |link: &Option<Link>| link.as_ref().is_some_and(Link::is_parked);
        // A client has one peer: what waits is for it. Who a server's peer is shows later.
        let waiting = match self.session.role {
            Role::Client => self.table.iter().position(parked),
            Role::Server => None,
        };
        let vacant = || self.table.iter().position(Option::is_none).unwrap_or(self.table.len());
        let index = waiting.unwrap_or_else(vacant);
        let network = admission::network_of(&stream);
        let stream = engine.open_stream(address::stream(index), stream)?;
        match (waiting, self.table.get_mut(index)) {
            (Some(_), Some(Some(link))) => link.resume(self.session.clone(), stream, ended, now),
            (_, slot) => {
                let session = Session::new(self.session.clone(), None, now);
                let seed = self.session.identity.instance ^ now.as_nanos() ^ (index as u64) << 32;
                let opening = Opening { at: now, network, seed };
                let link = Some(Link::new(name, session, stream, self.limits, opening, ended));
                match slot {
                    Some(vacant) => *vacant = link,
                    None => self.table.push(link),
                }
            }
        }
        self.mark(index, Attention::Whole);
        Ok(())
    }

    /// Begins the orderly end of all links.
    pub fn close_all(&mut self) {
        let now = self.platform.now();
        for index in 0..self.table.len() {
            if let Some(link) = &mut self.table[index] {
                link.close(now, Goodbye::Stopping, None);
                self.mark(index, Attention::Whole);
            }
        }
    }

    /// Ends all links that are left, in whatever order they are in.
    pub fn abandon_all<E: Engine>(&mut self, engine: &mut E) {
        (0..self.table.len()).for_each(|index| self.remove(engine, index));
    }

    /// The earliest deadline of all links.
    pub fn deadline(&self) -> Option<Moment> {
        self.table.iter().flatten().filter_map(Link::deadline).min()
    }

    /// Says which links lost frames since the last call.
    pub fn report_incidents<E: Engine>(&mut self, engine: &E) {
        for link in self.table.iter_mut().flatten() {
            buses::note_drops(link, &self.buses, &self.platform, engine);
            let counters = link.counters();
            let incidents = incidents::describe(&link.reported, &counters);
            if !incidents.is_empty() {
                warn!("{}: {incidents}", link.name);
            }
            link.reported = counters;
            let unsaid = link.said.tick();
            if unsaid > 0 {
                warn!("{}: {unsaid} more messages about its buses", link.name);
            }
        }
        let unsaid = self.refusals.tick();
        if unsaid > 0 {
            warn!("{unsaid} more connections refused or left before a greeting");
        }
        let unsaid = self.visits.tick();
        if unsaid > 0 {
            warn!("{unsaid} more lines about clients that came and went");
        }
    }

    /// Does what TCP connections want now and then. Has the kernel go on to delay acknowledgements, where something has come
    /// since the last call, and asks it what it knows of the network, where something was sent.
    pub fn tend_connections<E: Engine>(&mut self, engine: &E, now: Moment) {
        for link in self.table.iter_mut().flatten() {
            let Some(stream) = link.stream.and_then(|stream| engine.stream_descriptor(stream)) else {
                continue;
            };
            if std::mem::take(&mut link.has_heard)
                && let Err(error) = tcp::delay_acknowledgements(stream)
            {
                debug!("{}: each segment is acknowledged: {error}", link.name);
            }
            if link.outbound.take_has_sent() {
                match tcp_info::ask(stream) {
                    Ok(Some(info)) => link.outbound.note_network(info, now),
                    Ok(None) => {}
                    Err(error) => debug!("{}: nothing is known of its network: {error}", link.name),
                }
            }
        }
    }

    /// Has the links serviced whose turn it has come to be.
    #[inline]
    fn pass_turns(&mut self) {
        for bus in 0..self.throttles.len() {
            if let Some(next) = self.throttles[bus].as_mut().and_then(Throttle::take_next) {
                self.mark(next, Attention::Frames);
            }
        }
    }

    fn mark(&mut self, index: usize, attention: Attention) {
        if let Some(Some(link)) = self.table.get_mut(index) {
            link.is_settled &= attention == Attention::Frames;
            if !std::mem::replace(&mut link.dirty, true) {
                self.dirty.push(index);
            }
        }
    }

    /// When this turn began to report; the present, if it had nothing to report.
    pub fn now(&mut self) -> Now {
        *self.turn_time.get_or_insert_with(|| {
            let monotonic = self.platform.now();
            Now { monotonic, wall: self.wall_clock.wall_time(monotonic, || self.platform.wall_time()) }
        })
    }

    /// The present, by both clocks themselves: where a frame seems to be old, the wall clock may have been set back.
    #[cold]
    fn now_anew(&mut self) -> Now {
        self.wall_clock.doubt();
        self.turn_time = None;
        self.now()
    }
}
