//! How far a link is from its end: it runs, closes in order, drains what came before the end, or waits for its peer to return.

use std::io;
use std::time::Duration;

use super::{Ended, Ending, Link};
use crate::metrics::Counters;
use crate::moment::Moment;
use crate::session::Fault;
use crate::wire::v5::Goodbye;

/// How long a link that ends in order waits for its peer to close too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How far a link is from its end.
#[derive(Debug)]
pub enum Phase {
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

impl Link {
    /// The peer has done what it may not. If its bridge cannot know why we close the connection, it is told.
    pub(super) fn refuse(&mut self, now: Moment, fault: Fault) {
        if self.outbound.refuse(&mut self.session) {
            self.close_with(now, Ending::Fault(fault));
        } else {
            self.drain(Ending::Fault(fault));
        }
    }

    /// Another connection joins one of our buses to what this one would join it to. The peer is told, and gets no place.
    pub fn refuse_to_join(&mut self, now: Moment, bus: usize) {
        if let Some(fault) = self.outbound.refuse_to_join(&mut self.session, bus) {
            self.has_place = false;
            self.close_with(now, Ending::Fault(fault));
        }
    }

    /// What is to be said is written: it is sent, and then the connection ends for this reason.
    pub fn close_with(&mut self, now: Moment, ending: Ending) {
        let until = now.after(CLOSE_TIMEOUT);
        self.begin_to_end();
        self.phase = Phase::Closing { until, finished: false, peer_finished: false, ending: Some(ending) };
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
    #[cold]
    #[inline(never)]
    pub fn drain(&mut self, ending: Ending) {
        self.begin_to_end();
        if !matches!(self.phase, Phase::Draining { .. } | Phase::Parked { .. }) {
            // However the connection of a peer without a place ends, it had none: nothing waits for its return.
            let ending = if self.is_turned_away { Ending::TurnedAway } else { ending };
            self.phase = Phase::Draining { ending, until: None };
        }
    }

    /// Begins an orderly end, which is our doing or that of the peer (`ending`).
    pub fn close(&mut self, now: Moment, reason: Goodbye, ending: Option<Ending>) {
        self.begin_to_end();
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

    /// Nothing that comes from the bus is sent any more, and nothing is held that was to be sent.
    fn begin_to_end(&mut self) {
        self.is_settled = false;
        self.claims.clear();
        self.buses.iter_mut().for_each(|bus| bus.inbound.let_go());
    }

    /// Whether nothing is to be sent to the peer for now, so that it cannot answer.
    #[inline]
    pub fn holds_peer(&self) -> bool {
        self.buses.iter().any(|bus| bus.inbound.holds_peer())
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
    #[inline(always)]
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
                self.is_turned_away
                    || self.buses.iter().all(|bus| bus.inbound.queue.is_empty())
                    || until.is_some_and(|until| until <= now)
            }
            Phase::Parked { until } => until.is_some_and(|until| until <= now),
            Phase::Running | Phase::Closing { .. } => false,
        }
    }

    /// Whether it has begun to end.
    pub fn is_ending(&self) -> bool {
        !matches!(self.phase, Phase::Running)
    }

    /// Whether the connection is gone.
    pub fn is_parked(&self) -> bool {
        matches!(self.phase, Phase::Parked { .. })
    }

    /// Whether frames may go to the peer.
    pub fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Closing { .. })
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
        let counters = Counters {
            waiting: 0,
            unsent: before.unsent + before.waiting,
            faults: before.faults + u64::from(ending.is_fault()),
            ..before
        };
        let reason = ending.to_string();
        self.tell_end(ending);
        (counters, reason)
    }

    pub(super) fn tell_end(&mut self, ending: Ending) {
        let was_open = self.session.is_open();
        if let Some(on_end) = self.on_end.take() {
            // Nobody need be waiting: a server does not, and a client that is being stopped has let go.
            let _ = on_end.send(Ended { ending, was_open });
        }
    }
}
