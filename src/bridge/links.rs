//! All connections of a bridge: what an engine reports goes to the link it concerns, and what a link then wants of the
//! engine is done once a turn, so that everything that came in one turn goes out together.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::bus_socket::{BusSocket, Presence};
use super::clock::{Clock, wall_time};
use super::link::{Ended, Ending, Link};
use crate::buffer::SendBuffer;
use crate::engine::{Consumed, Engine, Handler, PacketInfo, Token};
use crate::frame::Frame;
use crate::metrics::Counters;
use crate::moment::Moment;
use crate::record::Recorder;
use crate::session::{Role, Session, SessionConfig};

/// Links at the same time. Each has a stream, a CAN socket, and at most about 1 MiB of buffers once it is busy; the
/// descriptors stay within the kernel's soft limit of 1,024 for an ordinary process.
pub const MAX_LINKS: usize = 480;

/// The table of links.
pub struct Links {
    table: Vec<Option<Link>>,
    /// Links that something happened to.
    dirty: Vec<usize>,
    clock: Clock,
    /// When this turn began to report; read once, by the first report.
    turn_time: Option<Moment>,
    bus: BusSocket,
    session: SessionConfig,
    recorder: Option<Rc<RefCell<Recorder>>>,
    /// The one link that records what comes from the bus. Every link's socket sees the same frames of the bus,
    /// those of other links among them.
    recording: Option<usize>,
    /// A link could not be given a socket.
    lacks_bus: bool,
    /// Counters of links that have ended.
    past: Counters,
}

impl Links {
    pub fn new(
        clock: Clock,
        bus: BusSocket,
        session: SessionConfig,
        recorder: Option<Rc<RefCell<Recorder>>>,
    ) -> Self {
        Self {
            table: Vec::new(),
            dirty: Vec::new(),
            clock,
            turn_time: None,
            bus,
            session,
            recorder,
            recording: None,
            lacks_bus: false,
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
        let link = Some(Link::new(name, session, stream, ended));
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

    /// Does what links want after a turn; of `all`, when a deadline has come. Returns whether [`Links::deadline`] may
    /// have changed.
    ///
    /// # Errors
    /// The engine is broken.
    pub fn service<E: Engine>(&mut self, engine: &mut E, now: Moment, all: bool) -> io::Result<bool> {
        self.turn_time = None;
        if all {
            (0..self.table.len()).for_each(|index| self.mark(index));
        }
        let mut deadlines_moved = false;
        while let Some(index) = self.dirty.pop() {
            self.service_one(engine, index, now)?;
            if let Some(link) = &mut self.table[index] {
                let deadline = link.deadline();
                deadlines_moved |= std::mem::replace(&mut link.known_deadline, deadline) != deadline;
            }
        }
        Ok(deadlines_moved)
    }

    /// The earliest deadline of all links.
    pub fn deadline(&self) -> Option<Moment> {
        self.table.iter().flatten().filter_map(Link::deadline).min()
    }

    /// Looks at the interface, says what has changed, and opens sockets for the links that lack one.
    pub fn check_bus<E: Engine>(&mut self, engine: &mut E) {
        let presence = self.bus.look();
        for index in 0..self.table.len() {
            let Some(link) = &mut self.table[index] else { continue };
            if presence == Presence::Replaced {
                close_bus(link, &self.bus, engine);
            }
            if link.bus.is_none() && link.session.agreement().is_some() {
                self.mark(index);
            }
        }
    }

    /// Whether a link has been left without a bus since the last call.
    pub fn take_lacks_bus(&mut self) -> bool {
        std::mem::take(&mut self.lacks_bus)
    }

    /// Says which links lost frames since the last call: one line a link at most.
    pub fn report_incidents<E: Engine>(&mut self, engine: &E) {
        for link in self.table.iter_mut().flatten() {
            note_drops(link, &self.bus, engine);
            let counters = link.counters();
            let incidents = incidents(&link.reported, &counters);
            if !incidents.is_empty() {
                warn!("{}: {}", link.name, incidents.join(", "));
            }
            link.reported = counters;
        }
    }

    fn mark(&mut self, index: usize) {
        if let Some(Some(link)) = self.table.get_mut(index)
            && !std::mem::replace(&mut link.dirty, true)
        {
            self.dirty.push(index);
        }
    }

    fn now(&mut self) -> Moment {
        *self.turn_time.get_or_insert_with(|| self.clock.now())
    }

    /// The link of a token, marked as one that something happened to.
    fn touched(&mut self, token: Token) -> Option<&mut Link> {
        self.mark(token.0);
        self.table.get_mut(token.0)?.as_mut()
    }

    fn service_one<E: Engine>(&mut self, engine: &mut E, index: usize, now: Moment) -> io::Result<()> {
        let Some(link) = &mut self.table[index] else { return Ok(()) };
        link.dirty = false;
        link.tick(now);
        if let Some(greeting) = link.session.take_greeting() {
            link.outbound.add_greeting(greeting);
        }
        if let Some(error) = link.bus_stopped.take() {
            settle_stopped_bus(link, &self.bus, engine, &error);
        }
        self.attach_bus(engine, index)?;
        self.write_to_bus(engine, index, now)?;
        let Some(link) = &mut self.table[index] else { return Ok(()) };
        announce(link, self.session.role);
        if std::mem::take(&mut link.paused) {
            engine.resume_stream(link.stream);
        }
        if link.may_send()
            && let Err(error) = link.outbound.flush(engine, link.stream)
        {
            link.drain(Ending::Broken(error));
        }
        if link.wants_finish()
            && let Err(error) = engine.finish_stream(link.stream)
        {
            link.drain(Ending::Broken(error));
        }
        if link.is_over() {
            self.remove(engine, index);
        }
        Ok(())
    }

    /// Opens a socket for a link that has agreed with its peer and has none.
    fn attach_bus<E: Engine>(&mut self, engine: &mut E, index: usize) -> io::Result<()> {
        let Some(link) = &mut self.table[index] else { return Ok(()) };
        if link.bus.is_some() || link.session.agreement().is_none() || !link.may_send() {
            return Ok(());
        }
        match self.bus.open() {
            Some(descriptor) => {
                link.attach_bus(engine.open_bus(Token(index), descriptor)?);
                self.recording.get_or_insert(index);
            }
            None => self.lacks_bus = true,
        }
        Ok(())
    }

    fn write_to_bus<E: Engine>(&mut self, engine: &mut E, index: usize, now: Moment) -> io::Result<()> {
        let Some(link) = &mut self.table[index] else { return Ok(()) };
        let recorder = self.recorder.as_ref();
        let records = self.recording == Some(index);
        let bus = &self.bus;
        link.inbound.flush(engine, link.bus, now, |frames| {
            if let Some(recorder) = recorder {
                record_written(&mut recorder.borrow_mut(), bus, frames, records);
            }
        })
    }

    fn remove<E: Engine>(&mut self, engine: &mut E, index: usize) {
        let Some(mut link) = self.table[index].take() else { return };
        close_bus(&mut link, &self.bus, engine);
        engine.close_stream(link.stream);
        if self.recording == Some(index) {
            self.recording =
                self.table.iter().position(|link| link.as_ref().is_some_and(|link| link.bus.is_some()));
        }
        let (name, was_announced) = (std::mem::take(&mut link.name), link.announced);
        let (counters, reason) = link.end();
        self.past.add(&counters);
        match self.session.role {
            Role::Server if was_announced && counters.faults == 0 => {
                info!("{name} disconnected, {reason}: {counters}")
            }
            Role::Server if counters.faults > 0 => warn!("{name} refused: {reason}"),
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
    let Some(agreement) = link.session.agreement().filter(|_| !link.announced) else { return };
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
        link.note_socket_drops(total);
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

/// What went wrong between two readings, in words.
fn incidents(before: &Counters, after: &Counters) -> Vec<String> {
    let news = [
        (after.missing.saturating_sub(before.missing), "frames of the peer missing (sequence gap)"),
        (after.duplicates - before.duplicates, "duplicate frames discarded"),
        (after.reordered - before.reordered, "frames out of order"),
        (after.restarts - before.restarts, "restarts of the peer's sequence numbers"),
        (
            after.kernel_drops - before.kernel_drops,
            "frames dropped by the kernel: our receive queue was full (see --rcvbuf)",
        ),
        (after.slow_peer - before.slow_peer, "frames dropped: the peer takes them too slowly"),
        (after.stale - before.stale, "frames discarded: the bus did not take them within 250 ms"),
        (after.refused - before.refused, "frames refused by the bus"),
    ];
    news.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

impl Handler for Links {
    fn bus_packet(&mut self, token: Token, packet: &[u8], info: PacketInfo) {
        self.mark(token.0);
        let Some(Some(link)) = self.table.get_mut(token.0) else { return };
        let received_at = info.received_at.unwrap_or_else(wall_time);
        let kind = self.bus.kind();
        let crossing = link.bus_packet(kind, self.bus.filter(), packet, info, received_at);
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
        let now = self.now();
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
