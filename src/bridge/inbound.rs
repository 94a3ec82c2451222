//! Peer to bus: frames wait, not for long, until the bus takes them.

use std::io;
use std::time::Duration;

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
}

/// The receiving half of a link.
#[derive(Debug)]
pub struct Inbound {
    /// Frames that wait for the bus.
    pub queue: TransmitQueue,
    waiting: Waiting,
    counters: InboundCounters,
}

impl Inbound {
    /// Nothing waits yet. Frames may wait for `max_age`.
    pub fn new(max_age: Option<Duration>) -> Self {
        Self {
            queue: TransmitQueue::new(max_age),
            waiting: Waiting::Reopened,
            counters: InboundCounters::default(),
        }
    }

    /// The counts so far.
    pub fn counters(&self) -> InboundCounters {
        self.counters
    }

    /// What became of all frames so far, for the peer.
    pub fn disposal(&self) -> Disposal {
        let InboundCounters { accepted, stale, refused, .. } = self.counters;
        Disposal { accepted, stale, refused }
    }

    /// Takes a frame of the peer that arrived at `now`. There is room for it.
    #[inline]
    pub fn push(&mut self, received: ReceivedFrame, now: Moment) {
        self.counters.arrived += 1;
        let arrival = Arrival { at: now, origin: now.before_nanos(received.age_ns) };
        if !self.queue.push(received.frame, arrival) {
            self.counters.stale += 1;
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
            _ => None,
        };
        Moment::earlier(self.queue.deadline(), retry_at)
    }

    /// Whether [`Inbound::flush`] has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.waiting == Waiting::Nothing
    }

    /// Writes what waits, in order, as far as the bus takes it; `accepted` sees what it took, and when. `now` is when the
    /// turn began, which says nothing of frames that are written long after: the process may have stood still. Whether
    /// they are fresh is told by `clock`, right before each system call. What grows too old even so, within the call or
    /// because the process was stopped just then, is counted as overdue.
    ///
    /// # Errors
    /// The engine cannot watch the socket.
    #[inline]
    pub fn flush<E: Engine>(
        &mut self,
        engine: &mut E,
        bus: Option<BusId>,
        mut now: Moment,
        clock: impl Fn() -> Moment,
        mut accepted: impl FnMut(&[Frame], &[Arrival], Moment),
    ) -> io::Result<()> {
        self.counters.stale += self.queue.discard_stale(now) as u64;
        if matches!(self.waiting, Waiting::Until(retry_at) if retry_at <= now)
            || self.lost_what_it_waited_for()
        {
            self.waiting = Waiting::Nothing;
        }
        while let (Some(bus), Waiting::Nothing, false) = (bus, self.waiting, self.queue.is_empty()) {
            let Piece { frames, arrivals, fresh_until } = self.queue.front(now, FRAMES_PER_WRITE);
            let is_fresh = |now| fresh_until.is_none_or(|until| now < until);
            let written = engine.write_bus(bus, frames, || is_fresh(clock()));
            now = clock();
            let (frames, arrivals) = (&frames[..written.accepted], &arrivals[..written.accepted]);
            accepted(frames, arrivals, now);
            self.counters.accepted += written.accepted as u64;
            if !is_fresh(now) {
                self.counters.overdue += self.queue.count_stale(arrivals, now) as u64;
            }
            self.queue.remove(written.accepted);
            if let Some(error) = written.stopped_by {
                self.stopped(engine, bus, now, &error)?;
            }
            self.counters.stale += self.queue.discard_stale(now) as u64;
        }
        self.make_room();
        Ok(())
    }

    /// A retry for frames that are gone by now is none.
    fn lost_what_it_waited_for(&self) -> bool {
        matches!(self.waiting, Waiting::Until(_)) && self.queue.is_empty()
    }

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
            Some(libc::ENETDOWN | libc::ENETUNREACH) => self.counters.refused += self.queue.clear() as u64,
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
    fn make_room(&mut self) {
        if !self.queue.has_room() {
            let older_half = self.queue.len() / 2;
            self.queue.remove(older_half);
            self.counters.stale += older_half as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::engine::epoll::EpollEngine;
    use crate::engine::{Packing, Token};
    use crate::frame::Identifier;

    const MAX_AGE: Duration = Duration::from_millis(250);

    fn inbound_with(count: u32, now: Moment) -> Inbound {
        let mut inbound = Inbound::new(Some(MAX_AGE));
        inbound.retry();
        for number in 0..count {
            let frame = Frame::data(Identifier::extended(number).unwrap(), &[]).unwrap();
            inbound.push(ReceivedFrame { frame, age_ns: 0, one_way: None }, now);
        }
        inbound
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
        inbound.flush(&mut engine, Some(bus), start, clock, |_, _, _| {}).unwrap();
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
            refused: 0,
            waits: 0,
        });
        assert_eq!(counters, expected);
    }

    #[test]
    fn what_was_being_written_when_the_process_was_stopped_is_overdue() {
        let InboundCounters { accepted, overdue, stale, .. } = stopped_after(3);
        assert_eq!((accepted, overdue, stale), (512, 256, 988));
    }
}
