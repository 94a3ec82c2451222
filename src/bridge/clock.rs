//! The clocks of the data path: the only place of it that reads the system's. Tasks beside it (connecting, accepting, summaries)
//! use tokio's.

use std::time::Duration;

use crate::engine::clock::{monotonic_ns, wall_ns};
use crate::moment::{Moment, Now, WallTime};

/// What the clock shows when it is made: frames that are older than the process have a moment too.
const START: Duration = Duration::from_secs(86_400);

/// Reads the monotonic clock, counted from a day before the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What the kernel's clock shows when ours shows zero, below zero by wrapping.
    zero_ns: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let zero_ns = monotonic_ns().wrapping_sub(START.as_nanos() as u64);
        Self { zero_ns }
    }

    /// Now, on the monotonic clock.
    #[inline]
    pub fn now(self) -> Moment {
        Moment::from_nanos(monotonic_ns().wrapping_sub(self.zero_ns))
    }

    /// Now, on both clocks.
    pub fn read(self) -> Now {
        Now { monotonic: self.now(), wall: wall_time() }
    }

    /// How long a timer has to wait for a moment; a day for one that is further away, or never: timers are set anew.
    pub fn until(self, moment: Moment) -> Duration {
        moment.since(self.now()).min(Duration::from_secs(86_400))
    }
}

/// How long the wall clock is told from the monotonic one. While it is adjusted, at half a part in a thousand at the
/// most, the two part by 10 µs in this time.
const WALL_CLOCK_REFRESH_NS: u64 = 20_000_000;

/// The wall clock for each turn: read now and then, and told from the monotonic clock in between, because a reading of
/// a clock costs as much as encoding several frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct TurnClock {
    /// The last reading, on both clocks.
    read: Option<(Moment, WallTime)>,
}

impl TurnClock {
    /// The clock may have been set since the last reading: the next one is read.
    pub fn doubt(&mut self) {
        self.read = None;
    }

    /// The wall clock at `now`, which must be the present; `read` reads it.
    pub fn wall_time(&mut self, now: Moment, read: impl FnOnce() -> WallTime) -> WallTime {
        match self.read {
            Some((then, wall_then)) if now.nanos_since(then) < WALL_CLOCK_REFRESH_NS => {
                WallTime::from_nanos(wall_then.as_nanos().saturating_add(now.nanos_since(then)))
            }
            _ => {
                let wall_now = read();
                self.read = Some((now, wall_now));
                wall_now
            }
        }
    }
}

/// Now, on the wall clock.
#[inline]
pub fn wall_time() -> WallTime {
    WallTime::from_nanos(wall_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_told_from_the_last_reading_for_a_while() {
        let read = (Moment::from_nanos(1_000_000), WallTime::from_nanos(5_000_000_000));
        let mut clock = TurnClock { read: Some(read) };
        let told = clock.wall_time(Moment::from_nanos(1_000_300), wall_time);
        assert_eq!(told, WallTime::from_nanos(5_000_000_300));
        let before = wall_time();
        let told = clock.wall_time(Moment::from_nanos(21_000_000), wall_time);
        assert!(told >= before, "20 ms later it is read again");
        assert_eq!(
            clock.wall_time(Moment::from_nanos(21_000_001), wall_time).as_nanos(),
            told.as_nanos() + 1
        );
    }
}
