//! Time as an argument: points on the monotonic and on the wall clock, as plain numbers.
//!
//! Nothing here reads a clock. The bridge does, once a turn, and passes the result down, so that the protocol runs
//! on virtual time in a simulation.

use std::time::Duration;

/// A point on a monotonic clock, nanoseconds since an arbitrary start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Moment(u64);

impl Moment {
    /// The end of time, which does not come.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `nanoseconds` after the clock's start.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment `duration` later; the end of time where that does not fit.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }

    /// The moment so many nanoseconds later; the end of time where that does not fit.
    pub const fn after_nanos(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_add(nanoseconds))
    }

    /// The moment so many nanoseconds earlier; the clock's start where that lies before it.
    pub const fn before_nanos(self, nanoseconds: u64) -> Self {
        Self(self.0.saturating_sub(nanoseconds))
    }

    /// The earlier of two moments, as far as there are any.
    pub fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds, for what is done for every frame: making a [`Duration`] takes a division.
    pub const fn nanos_since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A point on the wall clock, nanoseconds since the UNIX epoch (`CLOCK_REALTIME`, as `SO_TIMESTAMPNS` gives it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct WallTime(u64);

impl WallTime {
    /// The time `nanoseconds` after the UNIX epoch.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the UNIX epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to this one; zero if `earlier` is later.
    pub const fn nanos_since(self, earlier: WallTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole microseconds since the UNIX epoch.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }
}

/// A length of time in nanoseconds: as many as 64 bits hold, which are 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Now, on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// On the monotonic clock.
    pub monotonic: Moment,
    /// On the wall clock.
    pub wall: WallTime,
}
