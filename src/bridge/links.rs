//! All connections of a bridge: what an engine reports goes to the link it concerns, and what a link then wants of the
//! engine is done once a turn, so that everything that came in one turn goes out together.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::bus_socket::{BusSocket, Opening, Presence};
use super::clock::{Clock, wall_time};
use super::incidents::{self, LineLimit};
use super::link::{Ended, Ending, Link, PacketContext};
use crate::buffer::SendBuffer;
use crate::bus::BusError;
use crate::engine::{Consumed, Engine, Handler, PacketInfo, Token};
use crate::frame::Frame;
use crate::metrics::Counters;
use crate::moment::{Moment, WallTime};
use crate::record::Recorder;
use crate::session::{Role, Session, SessionConfig};

/// Links at the same time. Each has a stream, a bus socket, and at most about 1 MiB of buffers once it is busy. On
/// SocketCAN the descriptors stay within a limit of 1,024; a hosted software bus takes one more a link, and where they
/// run out, new links wait for a bus.
pub const MAX_LINKS: usize = 480;

/// The table of links.
pub struct Links {
    table: Vec<Option<Link>>,
    /// Links that something happened to.
    dirty: Vec<usize>,
    clock: Clock,
    /// When this turn began to report, on both clocks; read once, by the first report.
    turn_time: Option<(Moment, WallTime)>,
    /// How long a frame may wait here, either way.
    max_age: Option<Duration>,
    bus: BusSocket,
    session: SessionConfig,
    recorder: Option<Rc<RefCell<Recorder>>>,
    /// The one link that records what comes from the bus. Every link's socket sees the same frames of the bus,
    /// those of other links among them.
    recording: Option<usize>,
    /// A link came to want a socket.
    bus_wanted: bool,
    /// Lines about peers that do not speak the protocol.
    refusals: LineLimit,
    /// Counters of links that have ended.
    past: Counters,
}

impl Links {
    pub fn new(
        clock: Clock,
        bus: BusSocket,
        session: SessionConfig,
        max_age: Option<Duration>,
        recorder: Option<Rc<RefCell<Recorder>>>,
    ) -> Self {
        Self {
            table: Vec::new(),
            dirty: Vec::new(),
            clock,
            turn_time: None,
            max_age,
            bus,
            session,
            recorder,
            recording: None,
            bus_wanted: false,
            refusals: LineLimit::default(),
            past: Counters::default(),
        }
    }

    /// How many links there are.
    pub fn count(&self) -> usize {
        self.table.iter().flatten().count()
    }

    /// Counters of all links, past and present.
    pub fn totals<E: Engine>(&mut self, engine: &E) -> Counters {
        let mut totals = self.past;
        for link in self.table.iter_mut().flatten() {
            note_drops(link, &self.bus, engine);
            totals.add(&link.counters());
        }
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
        let index = self.table.iter().position(Option::is_none).unwrap_or(self.table.len());
        let stream = engine.open_stream(Token(index), stream)?;
        let session = Session::new(self.session, self.clock.now());
        let link = Some(Link::new(name, session, stream, self.max_age, ended));
        match self.table.get_mut(index) {
            Some(vacant) => *vacant = link,
            None => self.table.push(link),
        }
        self.mark(index);
        Ok(())
    }

    /// Begins the orderly end of all links.
    pub fn close_all(&mut self) {
        let now = self.clock.now();
        for index in 0..self.table.len() {
            if let Some(link) = &mut self.table[index] {
                link.close(now);
                self.mark(index);
            }
        }
    }

    /// Ends all links that are left, in whatever order they are in.
    pub fn abandon_all<E: Engine>(&mut self, engine: &mut E) {
        (0..self.table.len()).for_each(|index| self.remove(engine, index));
    }

    /// Does what links want after a turn; of `all`, when a deadline has come. Returns whether [`Links::deadline`] may
    /// have changed.
    pub fn service<E: Engine>(&mut self, engine: &mut E, now: Moment, all: bool) -> bool {
        self.turn_time = None;
        if all {
            (0..self.table.len()).for_each(|index| self.mark(index));
        }
        let mut deadlines_moved = false;
        while let Some(index) = self.dirty.pop() {
            self.service_one(engine, index, now);
            if let Some(link) = &mut self.table[index] {
                let deadline = link.deadline();
                deadlines_moved |= std::mem::replace(&mut link.known_deadline, deadline) != deadline;
            }
        }
        deadlines_moved
    }

    /// The earliest deadline of all links.
    pub fn deadline(&self) -> Option<Moment> {
        self.table.iter().flatten().filter_map(Link::deadline).min()
    }

    /// Looks at the interface and says what has changed. Sockets of an interface that another has replaced are closed.
    pub fn check_bus<E: Engine>(&mut self, engine: &mut E) {
        if self.bus.look() == Presence::Same {
            return;
        }
        for index in 0..self.table.len() {
            if let Some(link) = &mut self.table[index] {
                close_bus(link, &self.bus, engine);
                self.mark(index);
            }
        }
    }

    /// Whether a link has come to want a socket since the last call.
    pub fn take_bus_wanted(&mut self) -> bool {
        std::mem::take(&mut self.bus_wanted)
    }

    /// Whether [`Links::take_bus_wanted`] would say so.
    pub fn is_bus_wanted(&self) -> bool {
        self.bus_wanted
    }

    /// Says, once, why there is no socket.
    pub fn note_opened(&mut self, opened: Option<Result<OwnedFd, BusError>>) -> Option<OwnedFd> {
        match opened? {
            Ok(socket) => {
                self.bus.worked();
                Some(socket)
            }
            Err(error) => {
                self.bus.failed(&error);
                None
            }
        }
    }

    /// How to open a socket, if a link wants one. `Some(None)`: one does, and the bus is not there.
    pub fn wanted_bus(&self) -> Option<Option<Opening>> {
        self.table.iter().flatten().any(Link::wants_bus).then(|| self.bus.opening())
    }

    /// Gives a new socket to a link that wants one, or tells those that do that there is none.
    pub fn give_bus<E: Engine>(&mut self, engine: &mut E, opened: Option<OwnedFd>) {
        let mut wanting =
            (0..self.table.len()).filter(|&index| self.table[index].as_ref().is_some_and(Link::wants_bus));
        let Some(descriptor) = opened else {
            let wanting: Vec<usize> = wanting.collect();
            for index in wanting {
                if let Some(link) = &mut self.table[index] {
                    link.bus_failed = true;
                }
                self.mark(index);
            }
            return;
        };
        // Nobody: the link that wanted it has ended since, and the socket is closed again.
        let Some(index) = wanting.next() else { return };
        let opened = engine.open_bus(Token(index), descriptor);
        let Some(link) = &mut self.table[index] else { return };
        match opened {
            Ok(bus) => {
                link.attach_bus(bus);
                self.recording.get_or_insert(index);
            }
            Err(error) => link.drain(Ending::Broken(error)),
        }
        self.mark(index);
    }

    /// Says which links lost frames since the last call.
    pub fn report_incidents<E: Engine>(&mut self, engine: &E) {
        for link in self.table.iter_mut().flatten() {
            note_drops(link, &self.bus, engine);
            let counters = link.counters();
            let incidents = incidents::describe(&link.reported, &counters);
            if !incidents.is_empty() {
                warn!("{}: {incidents}", link.name);
            }
            link.reported = counters;
        }
        let unsaid = self.refusals.tick();
        if unsaid > 0 {
            warn!("{unsaid} more connections refused or left before a greeting");
        }
    }

    fn mark(&mut self, index: usize) {
        if let Some(Some(link)) = self.table.get_mut(index)
            && !std::mem::replace(&mut link.dirty, true)
        {
            self.dirty.push(index);
        }
    }

    fn now(&mut self) -> (Moment, WallTime) {
        *self.turn_time.get_or_insert_with(|| (self.clock.now(), wall_time()))
    }

    /// The link of a token, marked as one that something happened to.
    fn touched(&mut self, token: Token) -> Option<&mut Link> {
        self.mark(token.0);
        self.table.get_mut(token.0)?.as_mut()
    }

    fn service_one<E: Engine>(&mut self, engine: &mut E, index: usize, now: Moment) {
        let Some(link) = &mut self.table[index] else { return };
        link.dirty = false;
        link.tick(now);
        // A server's answer waits for the bus: whoever has it gets every frame from then on.
        if (link.session.agreement().is_none() || link.has_tried_bus())
            && let Some(greeting) = link.session.take_greeting()
        {
            link.outbound.add_greeting(greeting);
        }
        if let Some(error) = link.bus_stopped.take() {
            settle_stopped_bus(link, &self.bus, engine, &error);
        }
        // One that was told that there is none waits its turn.
        self.bus_wanted |= link.wants_bus() && !link.bus_failed;
        announce(link, self.session.role);
        if let Err(error) = self.move_frames(engine, index, now)
            && let Some(link) = &mut self.table[index]
        {
            link.drain(Ending::Broken(error));
        }
        if self.table[index].as_ref().is_some_and(|link| link.is_over(now)) {
            self.remove(engine, index);
        }
    }

    /// Both directions of a link, as far as they go now.
    fn move_frames<E: Engine>(&mut self, engine: &mut E, index: usize, now: Moment) -> io::Result<()> {
        let Some(link) = &mut self.table[index] else { return Ok(()) };
        let (bus, records) = (&self.bus, self.recording == Some(index));
        let recorder = self.recorder.as_ref();
        link.inbound.flush(engine, link.bus, now, |frames| {
            if let Some(recorder) = recorder {
                record_written(&mut recorder.borrow_mut(), bus, frames, records);
            }
        })?;
        if std::mem::take(&mut link.paused) {
            engine.resume_stream(link.stream);
        }
        if link.may_send() {
            link.outbound.flush(engine, link.stream, now)?;
        }
        if link.wants_finish() {
            engine.finish_stream(link.stream)?;
        }
        Ok(())
    }

    fn remove<E: Engine>(&mut self, engine: &mut E, index: usize) {
        let Some(mut link) = self.table[index].take() else { return };
        close_bus(&mut link, &self.bus, engine);
        if let Some(bytes) = engine.close_stream(link.stream) {
            link.outbound.note_partly_sent(bytes);
        }
        if self.recording == Some(index) {
            self.recording =
                self.table.iter().position(|link| link.as_ref().is_some_and(|link| link.bus.is_some()));
        }
        let (name, was_announced) = (std::mem::take(&mut link.name), link.announced);
        let (counters, reason) = link.end();
        self.past.add(&counters);
        let is_fault = counters.faults > 0;
        match self.session.role {
            Role::Server if was_announced && is_fault => warn!("{name} disconnected, {reason}: {counters}"),
            Role::Server if was_announced => info!("{name} disconnected, {reason}: {counters}"),
            Role::Server if !self.refusals.allows() => {}
            Role::Server if is_fault => warn!("{name} refused: {reason}"),
            Role::Server => info!("{name} left before a greeting: {reason}"),
            // The client's own loop says what comes next.
            Role::Client => debug!("link to {name} ended, {reason}: {counters}"),
        }
    }
}

/// Records what a link wrote to the bus. A link that does not record what comes from the bus leaves its frames to the
/// one that does, which sees them there, unless a filter hides them from it.
fn record_written(recorder: &mut Recorder, bus: &BusSocket, frames: &[Frame], records: bool) {
    let now = wall_time().as_nanos();
    for frame in frames {
        if records || !bus.filter().passes(frame.image()) {
            recorder.record(now, bus.name(), frame.image());
        }
    }
}

/// Says once that a link is open. Its bus socket is by then: who reads the line can send a frame.
fn announce(link: &mut Link, role: Role) {
    // A peer whose first bytes are nonsense was never connected.
    if link.announced || link.is_faulty() || !link.has_tried_bus() {
        return;
    }
    let Some(agreement) = link.session.agreement() else { return };
    link.announced = true;
    match role {
        Role::Server => info!("{} connected: {agreement}", link.name),
        Role::Client => info!("connected to {}: {agreement}", link.name),
    }
}

fn note_drops<E: Engine>(link: &mut Link, bus: &BusSocket, engine: &E) {
    if let Some(total) =
        link.bus.and_then(|id| engine.bus_descriptor(id)).and_then(|socket| bus.drops(socket))
    {
        link.note_kernel_total(total);
    }
}

fn close_bus<E: Engine>(link: &mut Link, bus: &BusSocket, engine: &mut E) {
    note_drops(link, bus, engine);
    if let Some(id) = link.detach_bus() {
        engine.close_bus(id);
    }
}

/// Goes on after a bus socket has stopped to receive: on the same socket if it will work again, else without it.
fn settle_stopped_bus<E: Engine>(link: &mut Link, bus: &BusSocket, engine: &mut E, error: &io::Error) {
    // An interface that is down gives its sockets back when it is up. A software bus's host that leaves in a hurry
    // resets the connection, and what it had sent before can still be read.
    let works_again = matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ECONNRESET));
    let resumed = match link.bus {
        Some(id) if works_again => engine.resume_bus(id).is_ok(),
        _ => false,
    };
    if !resumed {
        close_bus(link, bus, engine);
    }
}

impl Handler for Links {
    fn bus_packet(&mut self, token: Token, packet: &[u8], info: PacketInfo) {
        let (now, wall_now) = self.now();
        self.mark(token.0);
        let Some(Some(link)) = self.table.get_mut(token.0) else { return };
        let received_at = info.received_at.unwrap_or(wall_now);
        let age = Duration::from_nanos(wall_now.as_nanos().saturating_sub(received_at.as_nanos()));
        let is_stale = self.max_age.is_some_and(|max_age| age > max_age);
        let (kind, filter) = (self.bus.kind(), self.bus.filter());
        let context = PacketContext { kind, filter, info, received_at, is_stale, now };
        let crossing = link.bus_packet(&context, packet);
        if let (Some(image), Some(recorder), true) =
            (crossing, &self.recorder, self.recording == Some(token.0))
        {
            recorder.borrow_mut().record(received_at.as_nanos(), self.bus.name(), image);
        }
    }

    fn bus_stopped(&mut self, token: Token, error: io::Error) {
        self.bus.stopped(&error);
        if let Some(link) = self.touched(token) {
            link.bus_stopped = Some(error);
        }
    }

    fn bus_writable(&mut self, token: Token) {
        if let Some(link) = self.touched(token) {
            link.inbound.retry();
        }
    }

    fn stream_bytes(&mut self, token: Token, bytes: &[u8]) -> Consumed {
        let (now, _) = self.now();
        match self.touched(token) {
            Some(link) => link.stream_bytes(bytes, now),
            None => Consumed { bytes: bytes.len(), pause: true },
        }
    }

    fn stream_ended(&mut self, token: Token, unconsumed: usize, error: Option<io::Error>) {
        if let Some(link) = self.touched(token) {
            link.stream_ended(unconsumed, error);
        }
    }

    fn stream_sent(&mut self, token: Token, buffer: SendBuffer, result: io::Result<()>) {
        if let Some(link) = self.touched(token) {
            link.outbound.give_back(buffer, result.is_ok());
            if let Err(error) = result {
                link.drain(Ending::Broken(error));
            }
        }
    }
}
