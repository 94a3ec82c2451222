//! Which frames a load test sends, and when each is due.
//!
//! A [`Load`] says what is asked for, and is checked; its [`Schedule`] is the sequence of frames with their times, made
//! from a seed and the same each time. By default a saturated bus: each frame is due at the moment when the one before it
//! would have left a real wire, stuff bits counted exactly, so that over hours no rounding adds up.
//!
//! Frames of 8 bytes and more begin with a [`Stamp`]. What is shorter, and what is replayed, is recognised by its content.
//! Knows no socket and no clock.

mod cyclic;
mod error;
mod frames;
mod mixing;
mod pace;
mod pacing;
mod replay;
mod schedule;
mod stamp;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use error::LoadError;
pub use frames::{Format, Frames, Identifiers, Lengths};
pub use pacing::{
    BURST_FRAMES_MAX, BURST_PERIOD_MAX, BURST_PERIOD_MIN, FRAMES_PER_S_MAX, FRAMES_PER_S_MIN, PERCENT_MAX,
    PERCENT_MIN, Pacing,
};
pub use replay::{REPLAY_FRAMES_MAX, Replay, ReplayError};
pub use schedule::Schedule;
pub use stamp::{Stamp, StampKey};

use crate::frame::Frame;
use crate::frame::bit_time::{BitRates, FrameBits};

/// The lowest bit rate in use on CAN buses, bit/s.
pub const BIT_RATE_MIN: u32 = 10_000;
/// The highest bit rate of CAN (ISO 11898-2), bit/s.
pub const BIT_RATE_MAX: u32 = 1_000_000;
/// The highest data bit rate of CAN FD transceivers (ISO 11898-2, signal improvement), bit/s.
pub const DATA_BIT_RATE_MAX: u32 = 8_000_000;

/// Frames that averages are taken over where no formula gives them: more than two seconds of a saturated bus.
const SAMPLE_FRAMES: usize = 10_000;

/// A frame, and when it is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Nanoseconds from the schedule's start; never less than the one before it had.
    pub at_ns: u64,
    /// What is to be sent.
    pub frame: Frame,
}

/// What is sent, and when. Whoever has one has a load that can be.
#[derive(Clone, PartialEq, Debug)]
pub struct Load {
    pattern: Pattern,
    rates: BitRates,
    seed: u64,
}

#[derive(Clone, PartialEq, Debug)]
enum Pattern {
    Paced { pacing: Pacing, frames: Frames },
    Cyclic,
    Replay(Arc<Replay>),
}

impl Load {
    /// Random frames at a pace. `rates` are those of the bus that is modelled.
    ///
    /// # Errors
    /// The pace, the frames or the rates are out of bounds, or a data bit rate is given and no frame uses it.
    pub fn paced(pacing: Pacing, frames: Frames, rates: BitRates, seed: u64) -> Result<Self, LoadError> {
        pacing.check()?;
        frames.check()?;
        check_rates(rates, frames.format == Format::Fd { bit_rate_switch: true })?;
        Ok(Self { pattern: Pattern::Paced { pacing, frames }, rates, seed })
    }

    /// 150 cyclic messages of a passenger car's main bus: 2,750 frames a second, about 63 % of a 500 kbit/s bus.
    ///
    /// # Errors
    /// The rates are out of bounds, a data bit rate is given, or the bus is too slow for the messages.
    pub fn cyclic(rates: BitRates, seed: u64) -> Result<Self, LoadError> {
        check_rates(rates, false)?;
        if rates.nominal.get() < cyclic::BIT_RATE_MIN {
            return Err(LoadError::CyclicBitRate(rates.nominal.get()));
        }
        Ok(Self { pattern: Pattern::Cyclic, rates, seed })
    }

    /// The frames of a log, once, at its own times. `rates` serve to tell how much of a bus that is.
    ///
    /// # Errors
    /// The rates are out of bounds.
    pub fn replay(replay: Arc<Replay>, rates: BitRates, seed: u64) -> Result<Self, LoadError> {
        check_rates(rates, true)?;
        Ok(Self { pattern: Pattern::Replay(replay), rates, seed })
    }

    /// The same frames at another pace.
    ///
    /// # Errors
    /// The pace is out of bounds, or the load has its own times: a cyclic one, or a replay.
    pub fn with_pacing(&self, pacing: Pacing) -> Result<Self, LoadError> {
        match self.pattern {
            Pattern::Paced { frames, .. } => Self::paced(pacing, frames, self.rates, self.seed),
            Pattern::Cyclic => Err(LoadError::OwnTimes("a cyclic load")),
            Pattern::Replay(_) => Err(LoadError::OwnTimes("a replay")),
        }
    }

    /// The pace; none where the load has its own times.
    pub fn pacing(&self) -> Option<Pacing> {
        match self.pattern {
            Pattern::Paced { pacing, .. } => Some(pacing),
            Pattern::Cyclic | Pattern::Replay(_) => None,
        }
    }

    /// Of the bus that is modelled.
    pub fn rates(&self) -> BitRates {
        self.rates
    }

    /// From which contents and times are drawn.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether frames go as fast as they are taken.
    pub fn is_flood(&self) -> bool {
        self.pacing() == Some(Pacing::Flood)
    }

    /// Whether there are CAN FD frames in it.
    pub fn has_fd(&self) -> bool {
        match &self.pattern {
            Pattern::Paced { frames, .. } => frames.format != Format::Classic,
            Pattern::Cyclic => false,
            Pattern::Replay(replay) => {
                replay.frames().iter().any(|due| due.frame.image().kind() == crate::frame::Kind::Fd)
            }
        }
    }

    /// How many frames there are; none where there is no end.
    pub fn frame_count(&self) -> Option<u64> {
        match &self.pattern {
            Pattern::Replay(replay) => Some(replay.frames().len() as u64),
            Pattern::Paced { .. } | Pattern::Cyclic => None,
        }
    }

    /// Whether the schedule ends by itself.
    pub fn is_finite(&self) -> bool {
        self.frame_count().is_some()
    }

    /// The frames of one direction, in order. Directions differ in contents; identifiers may be the same.
    pub fn schedule(&self, direction: u8) -> Schedule {
        Schedule::new(self, direction)
    }

    /// Frames a second, on average; none for a flood, and for a replay without duration.
    pub fn frames_per_s(&self) -> Option<f64> {
        match &self.pattern {
            Pattern::Paced { pacing, .. } => match *pacing {
                Pacing::Bus { percent } => Some(percent / 100.0 / self.mean_frame_s()),
                Pacing::Rate { frames_per_s } => Some(frames_per_s),
                Pacing::Burst { frames, every } => Some(frames as f64 / every.as_secs_f64()),
                Pacing::Flood => None,
            },
            Pattern::Cyclic => Some(cyclic::FRAMES_PER_S as f64),
            Pattern::Replay(replay) => {
                let frames = replay.frames();
                let gaps = frames.len() as u64 - 1;
                let last_ns = frames.last().map_or(0, |last| last.at_ns);
                (last_ns > 0).then(|| gaps as f64 * 1e9 / last_ns as f64)
            }
        }
    }

    /// The share of the modelled bus, percent; none where there is no rate.
    pub fn bus_load_percent(&self) -> Option<f64> {
        match self.pacing() {
            Some(Pacing::Bus { percent }) => Some(percent),
            _ => Some(self.frames_per_s()? * self.mean_frame_s() * 100.0),
        }
    }

    /// Of the first frames, on the modelled wire.
    fn mean_frame_s(&self) -> f64 {
        let (mut frames, mut total_ns) = (0, 0);
        for due in self.schedule(0).take(SAMPLE_FRAMES) {
            frames += 1;
            total_ns += FrameBits::of(due.frame.image()).duration_ns(self.rates);
        }
        total_ns as f64 / 1e9 / f64::from(frames)
    }

    /// In words: `saturated 500 kbit/s bus, 11-bit identifiers, 8 bytes, random payloads`.
    pub fn description(&self) -> String {
        let bus = self.bus();
        match &self.pattern {
            Pattern::Paced { pacing, frames } => match *pacing {
                Pacing::Bus { percent: 100.0 } => format!("saturated {bus}, {frames}"),
                Pacing::Bus { percent } => format!("{percent} % of a {bus}, {frames}"),
                Pacing::Rate { frames_per_s } => format!("{frames_per_s} frames/s, {frames}"),
                Pacing::Flood => format!("as fast as they are taken, {frames}"),
                Pacing::Burst { frames: burst, every } => {
                    format!("bursts of {burst} frames every {every:?}, {frames}")
                }
            },
            Pattern::Cyclic => {
                let share = self.bus_load_percent().expect("cyclic messages have a rate");
                format!("{} cyclic messages of a passenger car, {share:.0} % of a {bus}", cyclic::MESSAGES)
            }
            Pattern::Replay(replay) => replay.description(),
        }
    }

    fn bus(&self) -> String {
        let BitRates { nominal, data } = self.rates;
        match &self.pattern {
            Pattern::Paced {
                frames: Frames { format: Format::Fd { bit_rate_switch: true }, .. }, ..
            } => {
                format!("{} bus (data {})", bit_rate(nominal.get()), bit_rate(data.get()))
            }
            _ => format!("{} bus", bit_rate(nominal.get())),
        }
    }
}

fn bit_rate(bits_per_s: u32) -> String {
    match bits_per_s {
        1_000_000.. => format!("{} Mbit/s", f64::from(bits_per_s) / 1e6),
        _ => format!("{} kbit/s", f64::from(bits_per_s) / 1e3),
    }
}

fn check_rates(rates: BitRates, uses_data_rate: bool) -> Result<(), LoadError> {
    let (nominal, data) = (rates.nominal.get(), rates.data.get());
    if !(BIT_RATE_MIN..=BIT_RATE_MAX).contains(&nominal) {
        Err(LoadError::BitRate(nominal))
    } else if !uses_data_rate && data != nominal {
        Err(LoadError::DataBitRateUnused(data))
    } else if !(nominal..=DATA_BIT_RATE_MAX).contains(&data) {
        Err(LoadError::DataBitRate { nominal, data })
    } else {
        Ok(())
    }
}

/// A time as a stamp holds it.
fn due_us(at_ns: u64) -> u32 {
    (at_ns / 1000) as u32
}
