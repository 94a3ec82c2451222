//! What a link wants after a turn, done with the engine.
//!
//! What is not done for every frame is cold: out of line, so that neither its code nor its stack lies among what each frame
//! goes through (`bench/footprint` counts the pages).

use std::collections::VecDeque;
use std::io;

use tracing::{debug, info, warn};

use super::{Attention, Links, address, buses, words};
use crate::bridge::bus_socket::BusSocket;
use crate::bridge::link::{Ending, Link};
use crate::bridge::link_bus::LinkBus;
use crate::bridge::platform::Platform;
use crate::bridge::tcp;
use crate::bridge::throttle::Gate;
use crate::bridge::transmit_queue::Arrival;
use crate::engine::Engine;
use crate::frame::Frame;
use crate::metrics::Counters;
use crate::metrics::histograms::{Histograms, Kind};
use crate::moment::{Moment, Now, WallTime, nanoseconds};
use crate::record::Recorder;
use crate::session::{Event, Role};

impl<P: Platform> Links<P> {
    /// Does what links want after a turn; of `all`, when a deadline has come. Returns whether [`Links::deadline`] may
    /// have changed.
    pub fn service<E: Engine>(&mut self, engine: &mut E, now: Now, all: bool) -> bool {
        self.turn_time = None;
        if all {
            (0..self.table.len()).for_each(|index| self.mark(index, Attention::Whole));
        }
        let mut deadlines_moved = false;
        while let Some(index) = self.dirty.pop() {
            self.service_one(engine, index, now);
            if let Some(link) = &mut self.table[index] {
                let deadline = link.deadline();
                deadlines_moved |= std::mem::replace(&mut link.known_deadline, deadline) != deadline;
            }
            self.pass_turns();
        }
        deadlines_moved
    }

    #[inline]
    fn service_one<E: Engine>(&mut self, engine: &mut E, index: usize, now: Now) {
        let Some(link) = &mut self.table[index] else { return };
        link.dirty = false;
        if !link.is_settled {
            self.settle(engine, index, now);
        }
        if self.table[index].as_ref().is_some_and(|link| link.session.has_news()) {
            self.take_news(index, now.monotonic);
        }
        if let Err(error) = self.move_frames(engine, index, now) {
            self.break_off(index, error);
        }
        if self.table[index].as_ref().is_some_and(|link| !link.is_settled) {
            self.see_to_end(engine, index, now.monotonic);
        }
    }

    #[cold]
    #[inline(never)]
    fn break_off(&mut self, index: usize, error: io::Error) {
        if let Some(link) = &mut self.table[index] {
            link.drain(Ending::Broken(error));
            // What was held goes now.
            self.mark(index, Attention::Whole);
        }
    }

    /// Ends a link that has nothing more to wait for.
    #[cold]
    #[inline(never)]
    fn see_to_end<E: Engine>(&mut self, engine: &mut E, index: usize, now: Moment) {
        let Some(link) = &mut self.table[index] else { return };
        link.limit_end(now);
        if link.is_over(now) {
            self.end(engine, index, now);
        }
    }

    /// Everything that is not done for every frame: time-outs, opening, bus sockets, log lines.
    #[cold]
    #[inline(never)]
    fn settle<E: Engine>(&mut self, engine: &mut E, index: usize, now: Now) {
        let Some(link) = &mut self.table[index] else { return };
        link.tick(now.monotonic);
        for bus in 0..link.buses.len() {
            if let Some(error) = link.buses[bus].stopped.take() {
                buses::settle_stopped(link, bus, &self.buses, &self.platform, engine, &error);
            }
            let disposal = link.buses[bus].inbound.disposal();
            link.session.note_disposal(bus, disposal);
        }
        self.admit(index, now.monotonic);
        self.claim(index, now.monotonic);
        self.seek_past(engine, index, now.monotonic);
        let Some(link) = &mut self.table[index] else { return };
        let tried = link.has_tried_buses();
        if link.may_send() && link.session.is_opening() && !link.is_turned_away {
            link.note_bus_states(&self.buses);
            link.outbound.open(&mut link.session, tried, now);
        }
        // One that was told that there is none waits its turn.
        self.bus_wanted |= (0..link.buses.len()).any(|bus| link.wants_bus(bus) && !link.buses[bus].failed);
        if words::announce(link, self.session.role, &self.buses, &mut self.visits) {
            leave_liveness_to_session(link, engine);
        }
        link.note_settled();
    }

    /// What the peer has said beside frames.
    #[cold]
    #[inline(never)]
    fn take_news(&mut self, index: usize, now: Moment) {
        let Some(link) = &mut self.table[index] else { return };
        while let Some(round_trip) = link.session.take_round_trip() {
            self.histograms.record(Kind::RoundTrip, nanoseconds(round_trip));
        }
        while let Some(event) = link.session.take_event() {
            if let Event::PeerBus { bus, name, state, .. } = event
                && link.buses[bus].inbound.note_peer_found_loop(state.has_loop, now)
                && state.has_loop
            {
                words::told_of_loop(link, &name, &self.buses[bus]);
            }
            words::tell(link, &event, &self.buses);
        }
    }

    /// Both directions of a link, as far as they go now.
    #[inline]
    fn move_frames<E: Engine>(&mut self, engine: &mut E, index: usize, now: Now) -> io::Result<()> {
        let Some(link) = &mut self.table[index] else { return Ok(()) };
        let records = self.recording == Some(index);
        let recorder = self.recorder.as_ref();
        let is_parked = link.is_parked();
        let mut loops_changed = false;
        for (number, LinkBus { id, inbound, .. }) in link.buses.iter_mut().enumerate() {
            if inbound.is_idle() {
                continue;
            }
            let socket = &self.buses[number];
            if socket.is_bus_off() {
                inbound.refuse_all();
            }
            let (platform, histograms) = (&self.platform, &mut self.histograms);
            let throttle = self.throttles.get_mut(number).and_then(Option::as_mut);
            let gate = throttle.map(|throttle| Gate { throttle, link: index });
            inbound.flush(
                engine,
                *id,
                now.monotonic,
                gate,
                || platform.now(),
                |frames, arrivals, accepted_at| {
                    record_accepted(histograms, arrivals, accepted_at);
                    if let Some(recorder) = recorder.filter(|_| !socket.is_for_tests()) {
                        let now = platform.wall_time();
                        record_written(&mut recorder.borrow_mut(), now, socket, frames, records);
                    }
                },
            )?;
            if let Some(news) = inbound.take_loop_news() {
                if !is_parked {
                    words::looped(&link.name, socket, news);
                }
                loops_changed = true;
            }
        }
        if loops_changed {
            link.note_bus_states(&self.buses);
        }
        let speaks = link.session.has_something_to_say();
        if speaks {
            for (number, bus) in link.buses.iter().enumerate() {
                link.session.note_disposal(number, bus.inbound.disposal());
            }
        }
        let Some(stream) = link.stream else { return Ok(()) };
        if std::mem::take(&mut link.paused) {
            engine.resume_stream(stream);
        }
        if link.may_send() {
            let is_held = link.holds_peer();
            link.outbound.hold(is_held);
            if speaks || !link.outbound.is_empty() {
                // A heartbeat says when it was sent, not when the turn began.
                let now = if speaks { self.platform.read() } else { now };
                let (platform, histograms, session) =
                    (&self.platform, &mut self.histograms, &mut link.session);
                let clock = || platform.wall_time();
                link.outbound.flush(engine, stream, session, now, clock, |received, sent_at| {
                    record_sent(histograms, received, sent_at);
                })?;
            }
        }
        if link.wants_finish() {
            engine.finish_stream(stream)?;
            link.note_finished();
        }
        Ok(())
    }

    /// A server learns from HELLO who its peer is: if there is a link with it already, this one goes on where that ends.
    fn seek_past<E: Engine>(&mut self, engine: &mut E, index: usize, now: Moment) {
        let Some(link) = &mut self.table[index] else { return };
        let Some(instance) = link.session.peer_instance() else { return };
        if self.session.role == Role::Client || link.is_turned_away {
            return;
        }
        if std::mem::replace(&mut link.sought_past, true) {
            return;
        }
        let is_same = |link: &Link| {
            link.sought_past && !link.is_replaced && link.session.peer_instance() == Some(instance)
        };
        let mut others = (0..self.table.len()).filter(|&other| other != index);
        let found = others.find(|&other| self.table[other].as_ref().is_some_and(is_same));
        let Some(past) = found.and_then(|other| Some((other, self.table[other].as_mut()?))) else { return };
        let (other, past) = past;
        let was_parked = past.is_parked();
        let inherited = past.replace(now);
        let Some(books) = past.session.books().cloned() else { return };
        for (bus, id) in inherited.iter().enumerate().filter_map(|(bus, part)| Some((bus, part.id?))) {
            engine.retarget_bus(id, address::bus(index, bus));
        }
        self.throttles.iter_mut().flatten().for_each(|throttle| throttle.rename(other, index));
        if was_parked {
            self.remove_quietly(engine, other);
        } else {
            if self.visits.allows() {
                info!("{}: its client has connected anew; this connection is closed", past.name);
            }
            self.mark(other, Attention::Whole);
        }
        if self.recording == Some(other) {
            self.recording = Some(index);
        }
        if let Some(link) = &mut self.table[index] {
            link.succeed(inherited, books, now);
        }
    }

    /// A link has nothing more to wait for: it ends, or waits for its peer to return.
    fn end<E: Engine>(&mut self, engine: &mut E, index: usize, now: Moment) {
        let Some(link) = &mut self.table[index] else { return };
        if link.is_parked() {
            if self.visits.allows() {
                info!("{} has not returned: what it misses is no longer counted", link.name);
            }
            return self.remove_quietly(engine, index);
        }
        let is_client = self.session.role == Role::Client;
        if !link.may_return(self.session.role) {
            return self.remove(engine, index);
        }
        self.make_room_for_parked(engine);
        let Some(link) = &mut self.table[index] else { return };
        close_stream(link, engine);
        let counters = link.counters();
        let reason = link.park(now, is_client);
        words::parted(link, self.session.role, &reason, &counters, &mut self.visits);
        self.mark(index, Attention::Whole);
    }

    /// Where as many links are parked as may be, one of them goes.
    fn make_room_for_parked<E: Engine>(&mut self, engine: &mut E) {
        if let Some(oldest) = self.longest_parked() {
            if let Some(link) = self.table[oldest].as_ref().filter(|_| self.visits.allows()) {
                info!("{} has not returned: what it misses is no longer counted", link.name);
            }
            self.remove_quietly(engine, oldest);
        }
    }

    /// Ends a link, and says so.
    pub(super) fn remove<E: Engine>(&mut self, engine: &mut E, index: usize) {
        let Some(link) = &self.table[index] else { return };
        if link.is_parked() {
            return self.remove_quietly(engine, index);
        }
        let (name, was_announced, is_turned_away) = (link.name.clone(), link.announced, link.is_turned_away);
        let Some((counters, reason)) = self.take_out(engine, index) else { return };
        let is_fault = counters.faults > 0;
        match self.session.role {
            Role::Server if was_announced && !self.visits.allows() => {}
            Role::Server if was_announced && is_fault => warn!("{name} disconnected, {reason}: {counters:#}"),
            Role::Server if was_announced => info!("{name} disconnected, {reason}: {counters:#}"),
            Role::Server if !self.refusals.allows() => {}
            Role::Server if is_turned_away => warn!("{name} turned away: {reason}"),
            Role::Server if is_fault => warn!("{name} refused: {reason}"),
            Role::Server => info!("{name} left before a greeting: {reason}"),
            // The client's own loop says what comes next.
            Role::Client => debug!("link to {name} ended, {reason}: {counters:#}"),
        }
    }

    /// Ends a link whose connection ended before, which was said then.
    fn remove_quietly<E: Engine>(&mut self, engine: &mut E, index: usize) {
        self.take_out(engine, index);
    }

    pub(super) fn take_out<E: Engine>(&mut self, engine: &mut E, index: usize) -> Option<(Counters, String)> {
        let mut link = self.table[index].take()?;
        self.throttles.iter_mut().flatten().for_each(|throttle| throttle.leave(index));
        for bus in 0..link.buses.len() {
            buses::close(&mut link, bus, &self.buses, &self.platform, engine);
        }
        close_stream(&mut link, engine);
        if self.recording == Some(index) {
            let recorded = |(bus, socket): (&LinkBus, &BusSocket)| bus.id.is_some() && !socket.is_for_tests();
            let has_bus = |link: &Link| link.buses.iter().zip(&self.buses).any(recorded);
            self.recording = self.table.iter().position(|link| link.as_ref().is_some_and(has_bus));
        }
        let (counters, reason) = link.end();
        self.past.add(&counters);
        Some((counters, reason))
    }
}

/// Frames that were handed to TCP, by when the kernel received them.
#[inline(always)]
fn record_sent(histograms: &mut Histograms, received: &VecDeque<WallTime>, now: WallTime) {
    if received.is_empty() {
        return;
    }
    for received in received {
        histograms.record_between(Kind::CanToTcp, *received, now);
    }
    histograms.record(Kind::BatchOut, received.len() as u64);
}

/// Frames that a bus took, by when they arrived.
#[inline(always)]
fn record_accepted(histograms: &mut Histograms, arrivals: &[Arrival], now: Moment) {
    if arrivals.is_empty() {
        return;
    }
    for arrival in arrivals {
        histograms.record(Kind::TcpToCan, now.nanos_since(arrival.at));
    }
    histograms.record(Kind::BatchIn, arrivals.len() as u64);
}

/// A session with heartbeats needs no others.
fn leave_liveness_to_session<E: Engine>(link: &Link, engine: &E) {
    let descriptor = link.stream.and_then(|stream| engine.stream_descriptor(stream));
    if let Some(Err(error)) =
        descriptor.filter(|_| link.session.keeps_books()).map(tcp::leave_liveness_to_session)
    {
        debug!("{}: TCP's time-out for a peer that takes no data stays: {error}", link.name);
    }
}

fn close_stream<E: Engine>(link: &mut Link, engine: &mut E) {
    if let Some(bytes) = link.stream.take().and_then(|stream| engine.close_stream(stream)) {
        link.outbound.note_partly_sent(bytes, &link.session);
    }
}

/// Records what a link wrote to a bus. A link that does not record what comes from the bus leaves its frames to the
/// one that does, which sees them there, unless a filter hides them from it.
#[inline(never)]
fn record_written(recorder: &mut Recorder, now: WallTime, bus: &BusSocket, frames: &[Frame], records: bool) {
    for frame in frames {
        if records || !bus.filter().passes(frame.image()) {
            recorder.record(now.as_nanos(), bus.name(), frame.image());
        }
    }
}
