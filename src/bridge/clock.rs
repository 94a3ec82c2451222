//! The only place that reads clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::moment::{Moment, Now, WallTime};

/// What the clock shows when it is made: frames that are older than the process have a moment too.
const START: Duration = Duration::from_secs(86_400);

/// Reads the monotonic clock, counted from a day before the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Now, on the monotonic clock.
    pub fn now(self) -> Moment {
        Moment::default().after(START + self.start.elapsed())
    }

    /// Now, on both clocks.
    pub fn read(self) -> Now {
        Now { monotonic: self.now(), wall: wall_time() }
    }

    /// A moment as tokio's timers take it.
    pub fn to_instant(self, moment: Moment) -> tokio::time::Instant {
        let from_start = moment.since(Moment::default().after(START));
        // Beyond what the platform's clock can say lies only "never"; a day is as good for a timer that is set anew.
        let far = || self.start + Duration::from_secs(86_400);
        self.start.checked_add(from_start).unwrap_or_else(far).into()
    }
}

/// Now, on the wall clock.
pub fn wall_time() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}
