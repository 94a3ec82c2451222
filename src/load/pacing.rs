//! The pace of a load, and its bounds.

use std::time::Duration;

use super::LoadError;

/// Shares of a bus that can be asked for. More than 100 percent is what no bus offers; it shows how much room there is.
pub const PERCENT_MIN: f64 = 1.0;
/// The most: ten buses on one.
pub const PERCENT_MAX: f64 = 1000.0;
/// Rates that can be asked for: a frame in ten seconds at least.
pub const FRAMES_PER_S_MIN: f64 = 0.1;
/// The most: a frame a microsecond, which is how finely stamps tell times apart.
pub const FRAMES_PER_S_MAX: f64 = 1_000_000.0;
/// Frames due at once: no more than a verification can have outstanding.
pub const BURST_FRAMES_MAX: u64 = 200_000;
/// How close bursts may be.
pub const BURST_PERIOD_MIN: Duration = Duration::from_millis(1);
/// How far apart bursts may be.
pub const BURST_PERIOD_MAX: Duration = Duration::from_secs(3600);

/// When frames are due.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pacing {
    /// A share of what a bus carries: at 100 percent each frame is due when the one before it has left the wire.
    Bus {
        /// [`PERCENT_MIN`] to [`PERCENT_MAX`].
        percent: f64,
    },
    /// Evenly.
    Rate {
        /// [`FRAMES_PER_S_MIN`] to [`FRAMES_PER_S_MAX`].
        frames_per_s: f64,
    },
    /// As fast as they are taken. There is no schedule to hold: all are due at 0 and stamped so, and whoever sends one
    /// states the moment as its time.
    Flood,
    /// Several at the same moment.
    Burst {
        /// How many: 1 to [`BURST_FRAMES_MAX`].
        frames: u64,
        /// From one burst to the next: [`BURST_PERIOD_MIN`] to [`BURST_PERIOD_MAX`].
        every: Duration,
    },
}

impl Pacing {
    pub(super) fn check(self) -> Result<(), LoadError> {
        match self {
            Self::Bus { percent } if !(PERCENT_MIN..=PERCENT_MAX).contains(&percent) => {
                Err(LoadError::Percent(percent))
            }
            Self::Rate { frames_per_s } if !(FRAMES_PER_S_MIN..=FRAMES_PER_S_MAX).contains(&frames_per_s) => {
                Err(LoadError::Rate(frames_per_s))
            }
            Self::Burst { frames, .. } if !(1..=BURST_FRAMES_MAX).contains(&frames) => {
                Err(LoadError::BurstFrames(frames))
            }
            Self::Burst { every, .. } if !(BURST_PERIOD_MIN..=BURST_PERIOD_MAX).contains(&every) => {
                Err(LoadError::BurstPeriod(every))
            }
            Self::Bus { .. } | Self::Rate { .. } | Self::Burst { .. } | Self::Flood => Ok(()),
        }
    }
}
