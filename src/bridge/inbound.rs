//! Peer to bus: frames wait, not for long, until the bus takes them.

use std::io;
use std::time::Duration;

use super::loops::{LoopWatch, News};
use super::throttle::Gate;
use super::transmit_queue::{Arrival, Piece, TransmitQueue};
use crate::engine::{BusId, Engine};
use crate::frame::Frame;
use crate::moment::Moment;
use crate::session::{Disposal, ReceivedFrame};

/// How long to wait before another attempt at a full transmit queue that others share (`ENOBUFS`; polling does not
/// help there): twice the time of a frame on a 500 kbit/s bus.
const RETRY: Duration = Duration::from_micros(500);

/// Frames that are handed to the engine at once: so many are counted as accepted at the same moment.
const FRAMES_PER_WRITE: usize = 256;

/// What the receiving half of a link counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InboundCounters {
    /// Frames that the peer gave us for the bus.
    pub arrived: u64,
    /// Frames that the bus accepted.
    pub accepted: u64,
    /// Of those, frames that were too old by then.
    pub overdue: u64,
    /// Frames that waited too long, or were pushed out by newer ones.
    pub stale: u64,
    /// Frames that the bus refused.
    pub refused: u64,
    /// Frames that peers may not put on the bus.
    pub denied: u64,
    /// Frames that waited too long, or were pushed out by newer ones, while the bound on what peers put on the bus held them.
    pub limited: u64,
    /// Frames that came while they were kept off the bus because of a loop, or waited when it was found.
    pub looped: u64,
    /// How often the transmit queue was full.
    pub waits: u64,
}

/// What the frames at the front wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiting {
    Nothing,
    /// The socket says when it has room.
    Writable,
    /// The device's queue is full, and nobody says when it is not.
    Until(Moment),
    /// The socket is useless until the bus was opened anew.
    Reopened,
    /// More than peers may put on the bus: until then, or until it is this link's turn.
    Allowance(Option<Moment>),
    /// The watch for loops holds them.
    Held,
}

/// The receiving half of a link.
#[derive(Debug)]
pub struct Inbound {
    /// Frames that wait for the bus.
    pub queue: TransmitQueue,
    waiting: Waiting,
    /// Whether this waits in the line before the bound on what peers put on the bus.
    is_in_line: bool,
    /// Whether what is put on the bus comes back; none where nobody wants to know.
    loops: Option<LoopWatch>,
    /// The peer has found a loop, and keeps our frames off its bus: we do the same.
    peer_has_found: bool,
    counters: InboundCounters,
}

impl Inbound {
    /// Nothing waits yet. Frames may wait for `max_age`.
    pub fn new(max_age: Option<Duration>) -> Self {
        Self {
            queue: TransmitQueue::new(max_age),
            waiting: Waiting::Reopened,
            is_in_line: false,
            loops: None,
            peer_has_found: false,
            counters: InboundCounters::default(),
        }
    }

    /// The same, and it is watched whether what is put on the bus comes back.
    pub fn watched(max_age: Option<Duration>, loops: LoopWatch) -> Self {
        Self { loops: Some(loops), ..Self::new(max_age) }
    }

    /// The counts so far.
    pub fn counters(&self) -> InboundCounters {
        self.counters
    }

    /// What became of all frames so far, for the peer.
    pub fn disposal(&self) -> Disposal {
        let InboundCounters { accepted, stale, refused, denied, limited, looped, .. } = self.counters;
        Disposal { accepted, stale, refused: refused + denied + limited + looped }
    }

    /// Takes a frame of the peer that arrived at `now`, if peers may put it on the bus. There is room for it.
    #[inline(always)]
    pub fn push(&mut self, received: ReceivedFrame, now: Moment, is_allowed: bool) {
        self.counters.arrived += 1;
        let arrival = self.queue.arrival(now, received.age_ns);
        let is_kept_off = self.peer_has_found
            || self.loops.as_mut().is_some_and(|loops| !loops.arrived(&received.frame, now));
        if is_kept_off {
            self.counters.looped += 1;
        } else if arrival.is_stale(now) {
            self.counters.stale += 1;
        } else if is_allowed {
            self.queue.push(received.frame, arrival);
        } else {
            self.counters.denied += 1;
        }
    }

    /// The bus was opened, or has room again.
    pub fn retry(&mut self) {
        self.waiting = Waiting::Nothing;
    }

    /// The bus is closed.
    pub fn lose_bus(&mut self) {
        self.waiting = Waiting::Reopened;
    }

    /// When [`Inbound::flush`] must be called next, even if nothing happens.
    #[inline]
    pub fn deadline(&self) -> Option<Moment> {
        let retry_at = match self.waiting {
            Waiting::Until(retry_at) => Some(retry_at),
            Waiting::Allowance(ready_at) => ready_at,
            Waiting::Held | Waiting::Nothing | Waiting::Writable | Waiting::Reopened => None,
        };
        let of_loops = self.loops.as_ref().and_then(LoopWatch::deadline);
        Moment::earlier(Moment::earlier(self.queue.deadline(), retry_at), of_loops)
    }

    /// Whether [`Inbound::flush`] has nothing to do.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && matches!(self.waiting, Waiting::Nothing)
            && !self.is_in_line
            && self.loops.as_ref().is_none_or(LoopWatch::is_watching)
    }

    /// Writes what waits, in order, as far as the bus takes it and `gate` lets it through; `accepted` sees what it took, and
    /// when. `now` is when the turn began, which says nothing of frames that are written long after: the process may have
    /// stood still. Whether they are fresh is told by `clock`, right before each system call. What grows too old even so,
    /// within the call or because the process was stopped just then, is counted as overdue.
    ///
    /// # Errors
    /// The engine cannot watch the socket.
    #[inline(always)]
    pub fn flush<E: Engine>(
        &mut self,
        engine: &mut E,
        bus: Option<BusId>,
        mut now: Moment,
        mut gate: Option<Gate<'_>>,
        clock: impl Fn() -> Moment,
        mut accepted: impl FnMut(&[Frame], &[Arrival], Moment),
    ) -> io::Result<()> {
        let was_held = self.is_in_line;
        self.discard_stale(now, was_held, bus.is_some());
        self.mind_loops(now);
        if self.may_try_again(now) {
            self.waiting = Waiting::Nothing;
        }
        if let Some(gate) = gate.as_mut().filter(|_| was_held && bus.is_some()) {
            self.keep_place(now, gate);
        }
        while let (Some(bus), Waiting::Nothing, false) = (bus, self.waiting, self.queue.is_empty()) {
            let room = gate.as_ref().map_or(FRAMES_PER_WRITE, |gate| gate.room(now).min(FRAMES_PER_WRITE));
            if let Some(gate) = gate.as_mut().filter(|_| room == 0) {
                self.waiting = Waiting::Allowance(gate.wait(&mut self.is_in_line));
                break;
            }
            let room = match &self.loops {
                Some(loops) if !loops.is_watching() => loops.room(self.queue.frames()).min(room),
                _ => room,
            };
            if room == 0 {
                self.waiting = Waiting::Held;
                break;
            }
            let Piece { frames, arrivals, fresh_until } = self.queue.front(now, room);
            let grant = gate.as_ref().map(|gate| gate.grant(frames, now));
            let granted = grant.map_or(frames.len(), |grant| grant.count);
            let (frames, arrivals) = (&frames[..granted], &arrivals[..granted]);
            let is_fresh = |now| now < fresh_until;
            let written = engine.write_bus(bus, frames, || is_fresh(clock()));
            now = clock();
            if let Some((gate, grant)) = gate.as_mut().zip(grant) {
                gate.pay(frames, grant, written.accepted, now);
            }
            let (frames, arrivals) = (&frames[..written.accepted], &arrivals[..written.accepted]);
            accepted(frames, arrivals, now);
            if let Some(loops) = &mut self.loops {
                loops.wrote(frames, now);
            }
            self.counters.accepted += written.accepted as u64;
            if !is_fresh(now) {
                self.counters.overdue +=
                    arrivals.iter().filter(|arrival| arrival.is_stale(now)).count() as u64;
            }
            self.queue.remove(written.accepted);
            if let Some(error) = written.stopped_by {
                self.stopped(engine, bus, now, &error)?;
            }
            self.discard_stale(now, was_held, true);
        }
        if let Some(gate) = gate.as_mut().filter(|_| !matches!(self.waiting, Waiting::Allowance(_))) {
            gate.leave(&mut self.is_in_line);
        }
        if !self.queue.has_room() {
            self.make_room();
        }
        Ok(())
    }

    /// The bus takes no part in anything, and must not get later what waits now.
    pub fn refuse_all(&mut self) {
        self.counters.refused += self.queue.clear() as u64;
    }

    /// Whether nothing is to be sent to the peer, so that it cannot answer.
    #[inline]
    pub fn holds_peer(&self) -> bool {
        self.loops.as_ref().is_some_and(LoopWatch::holds_peer)
    }

    /// Whether the peer's frames are kept off the bus, because a loop was found here.
    #[inline]
    pub fn has_found_loop(&self) -> bool {
        self.loops.as_ref().is_some_and(LoopWatch::has_found)
    }

    /// The peer has found a loop, or puts frames on its bus again: what stops one direction is to stop the other. Whether that
    /// is news.
    pub fn note_peer_found_loop(&mut self, has_found: bool, now: Moment) -> bool {
        let is_news = std::mem::replace(&mut self.peer_has_found, has_found) != has_found;
        if let Some(loops) = self.loops.as_mut().filter(|_| is_news) {
            loops.restart_after_loop(now);
        }
        is_news
    }

    /// A connection has been made, in place of an earlier one with the same peer.
    pub fn begin_anew(&mut self, now: Moment) {
        self.peer_has_found = false;
        if let Some(loops) = &mut self.loops {
            loops.restart_for_connection(now);
        }
    }

    /// The connection is about to end: nothing is held any more.
    pub fn let_go(&mut self) {
        if let Some(loops) = &mut self.loops {
            loops.end();
        }
    }

    /// What there is to be said about loops since the last call.
    #[inline]
    pub fn take_loop_news(&mut self) -> Option<News> {
        self.loops.as_mut()?.take_news()
    }

    #[inline(always)]
    fn mind_loops(&mut self, now: Moment) {
        if self.loops.as_ref().is_some_and(|loops| !loops.is_watching()) {
            self.advance_loops(now);
        }
        if self.peer_has_found || self.has_found_loop() {
            self.counters.looped += self.queue.clear() as u64;
        }
    }

    #[cold]
    #[inline(never)]
    fn advance_loops(&mut self, now: Moment) {
        if let Some(loops) = &mut self.loops {
            loops.advance(self.queue.frames(), now);
        }
    }

    /// A link keeps its place even if all that it waited with has grown too old, and leaves the line when its turn finds it
    /// with nothing. Else, where turns are further apart than frames may be old, it would begin again at the end of the line
    /// each time, and those who always have something to say would have all the turns.
    fn keep_place(&mut self, now: Moment, gate: &mut Gate<'_>) {
        if self.queue.is_empty() && self.waiting == Waiting::Nothing && gate.room(now) == 0 {
            self.waiting = Waiting::Allowance(gate.wait(&mut self.is_in_line));
        }
    }

    /// Discards what is too old, which may be the bound's doing; else, where there is a bus, it has more to do than it can.
    #[inline(always)]
    fn discard_stale(&mut self, now: Moment, was_held: bool, has_bus: bool) {
        if self.queue.has_stale(now) {
            self.discard_all_stale(now, was_held, has_bus);
        }
    }

    #[cold]
    #[inline(never)]
    fn discard_all_stale(&mut self, now: Moment, was_held: bool, has_bus: bool) {
        let stale = self.queue.discard_stale(now);
        self.count_lost(stale, was_held);
        if let Some(loops) = self.loops.as_mut().filter(|_| !was_held && has_bus) {
            loops.discarded(now);
        }
    }

    #[inline]
    fn count_lost(&mut self, frames: usize, was_held: bool) {
        let counter = if was_held { &mut self.counters.limited } else { &mut self.counters.stale };
        *counter += frames as u64;
    }

    /// Whether what the frames at the front waited for may have come: a retry for frames that are gone by now is none.
    #[inline]
    fn may_try_again(&self, now: Moment) -> bool {
        match self.waiting {
            Waiting::Until(retry_at) => retry_at <= now || self.queue.is_empty(),
            Waiting::Allowance(_) | Waiting::Held => true,
            Waiting::Nothing | Waiting::Writable | Waiting::Reopened => false,
        }
    }

    #[inline(never)]
    fn stopped<E: Engine>(
        &mut self,
        engine: &mut E,
        bus: BusId,
        now: Moment,
        error: &io::Error,
    ) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => {
                self.counters.waits += 1;
                self.waiting = Waiting::Writable;
                engine.watch_bus_writable(bus)?;
            }
            Some(libc::ENOBUFS) => {
                self.counters.waits += 1;
                self.waiting = Waiting::Until(now.after(RETRY));
            }
            // A bus that is down takes nothing, and must not get it later.
            Some(libc::ENETDOWN | libc::ENETUNREACH) => self.refuse_all(),
            // This socket will take nothing any more. A new one may, if it is opened before the frames are stale.
            Some(
                libc::ENODEV | libc::ENXIO | libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN | libc::EBADF,
            ) => self.waiting = Waiting::Reopened,
            // This frame in particular: an FD frame for a classic interface, say.
            _ => {
                self.queue.remove(1);
                self.counters.refused += 1;
            }
        }
        Ok(())
    }

    /// When more has come than can wait, the older half goes: the newest command is the one that counts.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self) {
        let older_half = self.queue.len() / 2;
        self.queue.remove(older_half);
        self.count_lost(older_half, self.is_in_line);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::bridge::throttle::Throttle;
    use crate::config::Bounds;
    use crate::engine::epoll::EpollEngine;
    use crate::engine::{Packing, Token};
    use crate::frame::Identifier;

    const MAX_AGE: Duration = Duration::from_millis(250);

    fn inbound_with(count: u32, now: Moment) -> Inbound {
        let mut inbound = Inbound::new(Some(MAX_AGE));
        inbound.retry();
        (0..count).for_each(|number| push(&mut inbound, number, now));
        inbound
    }

    fn push(inbound: &mut Inbound, number: u32, now: Moment) {
        let frame = Frame::data(Identifier::extended(number).unwrap(), &[]).unwrap();
        inbound.push(ReceivedFrame { frame, age_ns: 0, one_way: None }, now, true);
    }

    /// What is left behind by a process that is stopped, for longer than frames may live, after so many looks at the clock.
    fn stopped_after(looks: u32) -> InboundCounters {
        let (ours, _theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut engine = EpollEngine::new().unwrap();
        let bus = engine.open_bus(Token(0), OwnedFd::from(ours), Packing::Batches).unwrap();
        let start = Moment::from_nanos(1_000_000_000);
        let mut inbound = inbound_with(1_500, start);
        let looked = Cell::new(0);
        let clock = || {
            looked.set(looked.get() + 1);
            if looked.get() <= looks { start } else { start.after(Duration::from_secs(3)) }
        };
        inbound.flush(&mut engine, Some(bus), start, None, clock, |_, _, _| {}).unwrap();
        assert!(inbound.queue.is_empty());
        inbound.counters()
    }

    #[test]
    fn what_grew_old_while_the_process_was_stopped_is_not_written() {
        // Before the first call; between two pieces of 256, where the clock is read before and after each.
        let counters = [0, 2, 4].map(stopped_after);
        let expected = [0, 256, 512].map(|accepted| InboundCounters {
            arrived: 1_500,
            accepted,
            overdue: 0,
            stale: 1_500 - accepted,
            ..InboundCounters::default()
        });
        assert_eq!(counters, expected);
    }

    #[test]
    fn what_was_being_written_when_the_process_was_stopped_is_overdue() {
        let InboundCounters { accepted, overdue, stale, .. } = stopped_after(3);
        assert_eq!((accepted, overdue, stale), (512, 256, 988));
    }

    /// What becomes of the frames of links that have one every so many milliseconds, in a minute on a bus that takes so many
    /// frames a second of all of them. Each link is serviced when a frame comes, when its deadline has come, and when it is
    /// its turn.
    fn a_minute_of(frames_per_s: u32, periods_ms: &[u64]) -> Vec<InboundCounters> {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        let mut engine = EpollEngine::new().unwrap();
        let bus = engine.open_bus(Token(0), OwnedFd::from(ours), Packing::Batches).unwrap();
        let bounds = Bounds { frames_per_s: Some(frames_per_s), ..Bounds::default() };
        let mut throttle = Throttle::new(&bounds, None, periods_ms.len()).unwrap();
        let start = Moment::from_nanos(1_000_000_000);
        let mut links: Vec<Inbound> = periods_ms.iter().map(|_| inbound_with(0, start)).collect();
        for elapsed_ms in 0..60_000 {
            let now = start.after(Duration::from_millis(elapsed_ms));
            let mut dirty = Vec::new();
            for (number, link) in links.iter_mut().enumerate() {
                let has_come = elapsed_ms % periods_ms[number] == 0;
                if has_come {
                    push(link, number as u32, now);
                }
                if has_come || !link.is_idle() && link.deadline().is_some_and(|deadline| deadline <= now) {
                    dirty.push(number);
                }
            }
            while let Some(link) = dirty.pop() {
                let gate = Gate { throttle: &mut throttle, link };
                links[link].flush(&mut engine, Some(bus), now, Some(gate), || now, |_, _, _| {}).unwrap();
                dirty.extend(throttle.take_next());
            }
            while theirs.recv(&mut [0; 128]).is_ok() {}
        }
        links.iter().map(Inbound::counters).collect()
    }

    #[test]
    fn who_has_little_to_say_has_its_share_however_far_apart_turns_are() {
        let accepted = |rate, periods_ms: &[u64]| -> Vec<u64> {
            a_minute_of(rate, periods_ms).iter().map(|counters| counters.accepted).collect()
        };
        // A turn every half a second or second, for what may be a quarter of one old.
        let [greedy, modest] = accepted(2, &[1, 400])[..] else { unreachable!() };
        assert!(greedy + modest >= 119 && modest >= 30, "{greedy} and {modest}");
        let [greedy, modest] = accepted(1, &[1, 300])[..] else { unreachable!() };
        assert!(greedy + modest >= 59 && modest >= 20, "{greedy} and {modest}");
        // Thirty that always have something: a round takes 300 ms.
        let mut periods_ms = vec![1; 30];
        periods_ms.push(100);
        let crowd = accepted(100, &periods_ms);
        assert!(crowd.iter().sum::<u64>() >= 5_999, "{crowd:?}");
        assert!(crowd.iter().all(|accepted| (150..=210).contains(accepted)), "{crowd:?}");
        // Who has nothing left holds up nobody.
        let [greedy, silent] = accepted(2, &[1, 60_000])[..] else { unreachable!() };
        assert!(greedy >= 118 && silent <= 1, "{greedy} and {silent}");
    }
}
