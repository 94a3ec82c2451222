//! When to send PING, and when a peer is dead.

use std::time::Duration;

use crate::moment::{Moment, Now, WallTime, nanoseconds};
use crate::session::liveness::DEAD_AFTER_INTERVALS;

/// Looks in a row, with a turn of the engine between two, that must find the silence too long. What came while this side
/// did not run is read by those turns. One turn is not enough: it hands on 32 KiB of all streams, of 128 KiB that may have
/// been received before, and what comes after them.
const LOOKS: u32 = 8;

/// The first PINGs of a connection come faster, so that the clocks are compared within half a second.
const EARLY_PINGS: u32 = 8;
const EARLY_INTERVAL: Duration = Duration::from_millis(50);

/// PINGs whose answers are looked for: on a long way the first ones follow each other faster than answers come.
const ASKED: usize = 16;

/// When the last PINGs were sent, on both clocks. An answer to what was not asked, or was answered, says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    sent_at: [Option<Now>; ASKED],
    next: usize,
}

impl Asked {
    /// A PING is sent.
    pub fn note(&mut self, sent_at: Now) {
        self.sent_at[self.next] = Some(sent_at);
        self.next = (self.next + 1) % ASKED;
    }

    /// When the PING was sent that an answer names by the wall clock, if one was. It is found once.
    pub fn take(&mut self, sent_at: WallTime) -> Option<Moment> {
        let found = self.sent_at.iter_mut().find(|asked| asked.is_some_and(|asked| asked.wall == sent_at));
        found.and_then(Option::take).map(|asked| asked.monotonic)
    }
}

/// A side without heartbeats never asks, and takes nobody for dead.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    interval: Duration,
    /// So long a silence is death.
    silence_ns: u64,
    last_heard: Moment,
    /// When this side last did anything.
    last_awake: Moment,
    /// Looks in a row that found the silence too long.
    suspicions: u32,
    next_ping: Moment,
    pings: u32,
    /// When one may come before its time.
    next_hurry: Moment,
}

impl Heartbeat {
    /// The first PING is due at once; an interval of zero is none.
    pub fn new(interval: Duration, now: Moment) -> Self {
        let silence = interval.saturating_mul(DEAD_AFTER_INTERVALS);
        let silence_ns = nanoseconds(silence);
        Self {
            interval,
            silence_ns,
            last_heard: now,
            last_awake: now,
            suspicions: 0,
            next_ping: now,
            pings: 0,
            next_hurry: now,
        }
    }

    /// Something has come from the peer.
    pub fn heard(&mut self, now: Moment) {
        self.last_heard = now;
        self.last_awake = now;
        self.suspicions = 0;
    }

    /// Whether the peer is dead. Time in which this side did not run itself (it was stopped, the host was asleep) says
    /// nothing about the peer. It is found dead by the last of several looks: before the first, this side may have been
    /// stopped for a little, and what has come meanwhile is read between them.
    pub fn is_dead(&mut self, now: Moment) -> bool {
        let idle = now.since(self.last_awake);
        self.last_awake = now;
        if self.interval.is_zero() {
            return false;
        }
        // A side that runs is woken for every PING.
        if idle > self.interval + self.interval / 2 {
            self.last_heard = self.last_heard.after(idle);
        }
        let is_silent = self.last_heard.after_nanos(self.silence_ns) <= now;
        self.suspicions = if is_silent { self.suspicions + 1 } else { 0 };
        self.suspicions >= LOOKS
    }

    /// Whether a PING is to be sent now. The next one is due an interval after it.
    pub fn take_ping(&mut self, now: Moment) -> bool {
        if self.interval.is_zero() || now < self.next_ping {
            return false;
        }
        self.pings += u32::from(self.pings < EARLY_PINGS);
        let is_early = self.pings < EARLY_PINGS;
        let wait = if is_early { self.interval.min(EARLY_INTERVAL) } else { self.interval };
        self.next_ping = now.after(wait);
        true
    }

    /// What is known of the peer's clock is in doubt: it is asked for now, once in an interval.
    #[cold]
    pub fn hurry(&mut self, now: Moment) {
        if !self.interval.is_zero() && self.next_hurry <= now {
            self.next_ping = self.next_ping.min(now);
            self.next_hurry = now.after(self.interval);
        }
    }

    /// When to look again.
    pub fn deadline(&self) -> Option<Moment> {
        (!self.interval.is_zero()).then(|| self.next_ping.min(self.last_heard.after_nanos(self.silence_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(milliseconds: u64) -> Moment {
        Moment::from_nanos(milliseconds * 1_000_000)
    }

    /// Lives through a stretch of time as a side that is woken at its deadlines; when the peer was found dead.
    fn live(heartbeat: &mut Heartbeat, until: Moment) -> Option<Moment> {
        loop {
            let now = heartbeat.deadline()?;
            if now > until {
                return None;
            }
            if heartbeat.is_dead(now) {
                return Some(now);
            }
            heartbeat.take_ping(now);
        }
    }

    #[test]
    fn a_silent_peer_is_dead_after_three_intervals() {
        let mut heartbeat = Heartbeat::new(SECOND, at(0));
        heartbeat.heard(at(500));
        assert_eq!(live(&mut heartbeat, at(10_000)), Some(at(3_500)));
    }

    #[test]
    fn a_sign_of_life_is_enough() {
        let mut heartbeat = Heartbeat::new(SECOND, at(0));
        for second in 1..100 {
            assert_eq!(live(&mut heartbeat, at(second * 2_500)), None);
            heartbeat.heard(at(second * 2_500));
        }
    }

    #[test]
    fn a_side_that_was_stopped_itself_gives_the_peer_its_time() {
        let mut heartbeat = Heartbeat::new(SECOND, at(0));
        assert_eq!(live(&mut heartbeat, at(2_000)), None);
        // Last awake at 1,350 ms, then stopped for an hour: of the three seconds, 1,650 ms are left.
        assert!(!heartbeat.is_dead(at(3_600_000)));
        assert_eq!(live(&mut heartbeat, at(4_000_000)), Some(at(3_601_650)));
    }

    #[test]
    fn what_came_while_a_side_was_stopped_is_read_before_the_peer_is_judged() {
        let mut heartbeat = Heartbeat::new(SECOND, at(0));
        assert_eq!(live(&mut heartbeat, at(2_900)), None);
        // Stopped for less than counts as that, and until the peer's time is over.
        for _ in 1..LOOKS {
            assert!(!heartbeat.is_dead(at(3_200)), "its bytes may be in the kernel");
        }
        heartbeat.heard(at(3_200));
        assert_eq!(live(&mut heartbeat, at(10_000)), Some(at(6_200)));
    }

    #[test]
    fn pings_come_fast_at_first() {
        let mut heartbeat = Heartbeat::new(SECOND, at(0));
        let times: Vec<Moment> = (0..10)
            .map(|_| {
                let now = heartbeat.deadline().unwrap();
                heartbeat.heard(now);
                assert!(heartbeat.take_ping(now) && !heartbeat.take_ping(now));
                now
            })
            .collect();
        assert_eq!(times, [0, 50, 100, 150, 200, 250, 300, 350, 1_350, 2_350].map(at));
    }

    #[test]
    fn answers_count_once_however_many_pings_are_under_way() {
        let mut asked = Asked::default();
        let now =
            |nanos| Now { monotonic: Moment::from_nanos(nanos + 100), wall: WallTime::from_nanos(nanos) };
        (1..=20).for_each(|at| asked.note(now(at)));
        let mut take = |at| asked.take(WallTime::from_nanos(at)).map(Moment::as_nanos);
        assert_eq!(take(4), None, "sixteen are looked for");
        assert_eq!([5, 20, 12].map(&mut take), [105, 120, 112].map(Some));
        assert_eq!([12, 21, 0].map(&mut take), [None; 3]);
    }

    #[test]
    fn without_an_interval_nobody_asks_and_nobody_dies() {
        let mut heartbeat = Heartbeat::new(Duration::ZERO, at(0));
        assert_eq!(heartbeat.deadline(), None);
        assert!(!heartbeat.is_dead(at(1_000_000)) && !heartbeat.take_ping(at(1_000_000)));
    }
}
