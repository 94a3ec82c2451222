//! Loads that cannot be.

use thiserror::Error;

use super::cyclic::BIT_RATE_MIN as CYCLIC_BIT_RATE_MIN;
use super::{
    BIT_RATE_MAX, BIT_RATE_MIN, BURST_FRAMES_MAX, BURST_PERIOD_MAX, BURST_PERIOD_MIN, DATA_BIT_RATE_MAX,
    FRAMES_PER_S_MAX, FRAMES_PER_S_MIN, PERCENT_MAX, PERCENT_MIN,
};

/// Why a load is none: what was asked for, and what would be right.
#[derive(Clone, PartialEq, Debug, Error)]
pub enum LoadError {
    /// A share of a bus that is no number, or out of bounds.
    #[error("a load of {0} % of the bus: give {PERCENT_MIN} to {PERCENT_MAX} percent")]
    Percent(f64),
    /// A rate that is no number, or out of bounds.
    #[error("a rate of {0} frames/s: give {FRAMES_PER_S_MIN} to {FRAMES_PER_S_MAX} frames a second")]
    Rate(f64),
    /// A burst without frames, or with too many.
    #[error("a burst of {0} frames: give 1 to {BURST_FRAMES_MAX} frames")]
    BurstFrames(u64),
    /// Bursts too close or too far apart.
    #[error("bursts {0:?} apart: give {BURST_PERIOD_MIN:?} to {BURST_PERIOD_MAX:?}")]
    BurstPeriod(std::time::Duration),
    /// A bit rate that no CAN bus has.
    #[error("a bit rate of {0} bit/s: give {BIT_RATE_MIN} to {BIT_RATE_MAX} bit/s")]
    BitRate(u32),
    /// A data bit rate that no CAN FD bus has.
    #[error(
        "a data bit rate of {data} bit/s on a bus of {nominal} bit/s: give {nominal} to {DATA_BIT_RATE_MAX} bit/s"
    )]
    DataBitRate {
        /// Of the bus.
        nominal: u32,
        /// Of the data.
        data: u32,
    },
    /// A data bit rate that nothing is sent at.
    #[error(
        "a data bit rate of {0} bit/s, but no CAN FD frames that switch to it: ask for such frames, or leave it out"
    )]
    DataBitRateUnused(u32),
    /// More than 8 bytes without FD, or a length that no frame has.
    #[error("frames of {0} bytes: a classic frame has 0 to 8 (a CAN FD frame up to 64)")]
    ClassicLength(u8),
    /// A length that no FD frame has.
    #[error("CAN FD frames of {0} bytes: give 0 to 8, 12, 16, 20, 24, 32, 48 or 64")]
    FdLength(u8),
    /// A text that names no length.
    #[error("{0:?} is no length: give a number of bytes, or \"mixed\"")]
    Lengths(String),
    /// A text that names no kind of identifier.
    #[error("{0:?} is no kind of identifier: give 11, 29 or \"mixed\"")]
    Identifiers(String),
    /// The matrix of cyclic messages does not fit on a bus.
    #[error("cyclic messages on a bus of {0} bit/s: they need {CYCLIC_BIT_RATE_MIN} bit/s or more")]
    CyclicBitRate(u32),
    /// A pace for something that has its own.
    #[error("{0} has its own times: a load, a rate, a flood or a burst cannot be asked for with it")]
    OwnTimes(&'static str),
}
