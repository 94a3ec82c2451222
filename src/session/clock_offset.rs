//! How far the peer's wall clock is ahead of ours, from the four times of PING and PONG, and how wrong that may be. Ours is the
//! one that nobody sets and that goes on while the machine sleeps: what happens to our wall clock changes nothing here.
//!
//! A PING that left at t1 by our clock arrived at t2 by the peer's: had it taken no time, the peer would be ahead by
//! t2 - t1; as it took some, by less. A PONG bounds it from the other side in the same way. So every exchange says of
//! the offset, surely,
//!
//! ```text
//!  t3 - t4  <=  ahead  <=  t2 - t1          the middle, and half of the round trip either way
//! ```
//!
//! and the shorter the round trip, the more it says. The best of the last samples is the one whose half round trip,
//! together with what the clocks may have drifted apart since, is the smallest (a minimum-delay filter). Two samples
//! far apart bound in the same way how fast the clocks drift apart, and the best one is carried forward at that rate.
//!
//! Stated uncertainties are bounds, not deviations: as long as the clocks keep to what the constants here allow them,
//! the truth is inside. When it is not (the peer's clock was set), a later sample contradicts the estimate:
//! then the past says nothing, and that sample is the first of a new beginning. A step too small for that is
//! forgotten with the samples before it.

use std::time::Duration;

use crate::moment::{Moment, WallTime};

/// Samples that are looked back on: a minute at the usual interval of 2 s. Long enough that one of them met empty
/// queues and that rates show; short enough that a step too small to be recognised does no harm for long.
const WINDOW_SAMPLES: usize = 32;

/// How much faster or slower than ours, in parts per thousand million, the peer's clock may run: two crystals of
/// 100 ppm each, and room for what a time daemon corrects in small steps. What changes faster counts as a step.
const HIGHEST_RATE_PPB: i64 = 500_000;

/// How far the rate may be from what it was when it was measured, as temperatures change and time daemons correct.
const RATE_CHANGE_PPB: i64 = 10_000;

/// Rounding in the reading of four clocks that count nanoseconds, and in halving.
const READING_NS: i64 = 3;

/// How far beyond its uncertainty a sample must be to be taken for a clock that was set: so far, and a part of the
/// uncertainty more.
const EDGE_NS: i128 = 100_000;
const EDGE_PART: i128 = 16;

const PPB: i128 = 1_000_000_000;

/// What is known of the peer's clock.
#[derive(Clone, Debug)]
pub struct ClockOffset {
    /// The last samples, the oldest of them at `next` once all places are filled.
    window: [Sample; WINDOW_SAMPLES],
    filled: usize,
    next: usize,
    /// The sample with the smallest uncertainty. It stays that between samples, as all of them age alike.
    best: Sample,
    rate: Rate,
}

/// Where the peer's clock is, seen from ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Estimate {
    /// Nanoseconds that the peer's clock is ahead of ours.
    pub ahead_ns: i64,
    /// How wrong that may be, either way.
    pub uncertainty_ns: u64,
}

/// What one exchange says.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Moment,
    ahead_ns: i64,
    uncertainty_ns: i64,
}

/// How much faster than ours the peer's clock runs.
#[derive(Clone, Copy, Debug)]
struct Rate {
    ppb: i64,
    uncertainty_ppb: i64,
}

impl Default for ClockOffset {
    fn default() -> Self {
        Self::new()
    }
}

impl ClockOffset {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self {
            window: [Sample::NONE; WINDOW_SAMPLES],
            filled: 0,
            next: 0,
            best: Sample::NONE,
            rate: Rate::UNKNOWN,
        }
    }

    /// Takes the four times of a PING and its PONG: sent, received by the peer, answered by the peer, answer received.
    ///
    /// What the peer's and our clock said when something was sent may have been read a while before, which makes the
    /// round trip seem longer, and nothing wrong. What they said when something was received must have been read when
    /// it was there, never before.
    ///
    /// Returns the round trip without the time that the peer took to answer; None if the times contradict each other,
    /// as a clock was set in between: the next sample shows what it was set to.
    pub fn sample(&mut self, t1: Moment, t2: WallTime, t3: WallTime, t4: Moment) -> Option<Duration> {
        let (sample, round_trip) = Sample::of(t1, t2, t3, t4)?;
        if self.estimate(t4).is_some_and(|estimate| sample.contradicts(estimate)) {
            self.start_over();
        }
        self.keep(sample);
        Some(round_trip)
    }

    /// Where the peer's clock is at `now`; None before the first sample.
    #[inline]
    pub fn estimate(&self, now: Moment) -> Option<Estimate> {
        if self.filled == 0 {
            return None;
        }
        self.estimate_in_words(now).or_else(|| Some(self.estimate_at_length(now)))
    }

    /// The estimate in numbers of 64 bits; `None` where they do not do. As a rule the best sample is not older than a
    /// minute, and then they do: this is asked for every few frames, where a division of 128 bits costs as much as all else.
    #[inline]
    fn estimate_in_words(&self, now: Moment) -> Option<Estimate> {
        let age_ns = i64::try_from(now.nanos_since(self.best.at)).ok()?;
        let ahead_ns = age_ns.checked_mul(self.rate.ppb)? / PPB as i64;
        let uncertainty_ns = match age_ns {
            0 => 0,
            _ => age_ns.checked_mul(self.rate.uncertainty_ppb)? / PPB as i64 + 2,
        };
        Some(Estimate {
            ahead_ns: self.best.ahead_ns.checked_add(ahead_ns)?,
            uncertainty_ns: u64::try_from(self.best.uncertainty_ns.checked_add(uncertainty_ns)?).ok()?,
        })
    }

    /// The same for any age.
    #[cold]
    #[inline(never)]
    fn estimate_at_length(&self, now: Moment) -> Estimate {
        let age_ns = age_ns(self.best.at, now);
        let ahead_ns = i128::from(self.best.ahead_ns) + self.rate.over(age_ns);
        let uncertainty_ns = i128::from(self.best.uncertainty_ns) + self.rate.uncertainty_over(age_ns);
        Estimate {
            ahead_ns: saturate(ahead_ns),
            uncertainty_ns: u64::try_from(uncertainty_ns).unwrap_or(u64::MAX),
        }
    }

    fn start_over(&mut self) {
        *self = Self::new();
    }

    fn keep(&mut self, sample: Sample) {
        self.window[self.next] = sample;
        self.next = (self.next + 1) % WINDOW_SAMPLES;
        self.filled = WINDOW_SAMPLES.min(self.filled + 1);
        let samples = &self.window[..self.filled];
        self.rate = Rate::between(samples);
        let uncertainty_now = |candidate: &Sample| {
            i128::from(candidate.uncertainty_ns) + self.rate.uncertainty_over(age_ns(candidate.at, sample.at))
        };
        self.best = samples.iter().copied().min_by_key(uncertainty_now).unwrap_or(sample);
    }
}

impl Sample {
    /// Fills places that are not looked at.
    const NONE: Self = Self { at: Moment::from_nanos(0), ahead_ns: 0, uncertainty_ns: 0 };

    /// What four times say of the offset when the last of them was read, and the round trip. None if they contradict
    /// each other, or if the clocks are further apart than 292 years, which a number of 64 bits cannot say.
    fn of(t1: Moment, t2: WallTime, t3: WallTime, t4: Moment) -> Option<(Self, Duration)> {
        let at = t4;
        let [t1, t4] = [t1, t4].map(Moment::as_nanos);
        let [t2, t3] = [t2, t3].map(WallTime::as_nanos);
        let (exchange_ns, answering_ns) = (difference(t4, t1), difference(t3, t2));
        if exchange_ns < 0 || answering_ns < 0 {
            return None;
        }
        let (highest_ns, lowest_ns) = (difference(t2, t1), difference(t3, t4));
        // Below zero where clocks drifted while the peer took long to answer; the drift is in the uncertainty.
        let round_trip_ns = exchange_ns - answering_ns;
        let uncertainty_ns = round_trip_ns / 2 + drift_ns(exchange_ns) + i128::from(READING_NS);
        if uncertainty_ns < 0 {
            return None;
        }
        let sample = Self {
            at,
            ahead_ns: i64::try_from((highest_ns + lowest_ns) / 2).ok()?,
            uncertainty_ns: i64::try_from(uncertainty_ns).ok()?,
        };
        Some((sample, Duration::from_nanos(u64::try_from(round_trip_ns.max(0)).ok()?)))
    }

    /// Whether not both can be true. A sample whose PING or PONG was held up lies at the very edge of what is possible, and
    /// a little beyond it where a reading was a little late: it must not outweigh all that is known.
    fn contradicts(&self, estimate: Estimate) -> bool {
        let apart = (i128::from(self.ahead_ns) - i128::from(estimate.ahead_ns)).abs();
        let uncertainty_ns = i128::from(self.uncertainty_ns);
        let edge_ns = EDGE_NS + uncertainty_ns / EDGE_PART;
        apart > uncertainty_ns + i128::from(estimate.uncertainty_ns) + edge_ns
    }
}

impl Rate {
    /// Nothing but what clocks are allowed.
    const UNKNOWN: Self = Self { ppb: 0, uncertainty_ppb: HIGHEST_RATE_PPB };

    /// The rate that follows from the two samples that together say it most exactly: both of them good, and far apart.
    fn between(samples: &[Sample]) -> Self {
        let pairs = samples
            .iter()
            .enumerate()
            .flat_map(|(index, first)| samples[..index].iter().map(move |second| (first, second)));
        let rates = pairs.filter_map(|(first, second)| Self::of(first, second));
        rates.min_by_key(|rate| rate.uncertainty_ppb).unwrap_or(Self::UNKNOWN)
    }

    /// What two samples say of the rate, if anything that is not known without them.
    fn of(first: &Sample, second: &Sample) -> Option<Self> {
        let (earlier, later) = if first.at <= second.at { (first, second) } else { (second, first) };
        let apart_ns = age_ns(earlier.at, later.at);
        if apart_ns == 0 {
            return None;
        }
        let change_ns = i128::from(later.ahead_ns) - i128::from(earlier.ahead_ns);
        let uncertainty_ns = i128::from(earlier.uncertainty_ns) + i128::from(later.uncertainty_ns);
        // Rounded outwards, whatever the signs.
        let allowance_ppb = i128::from(RATE_CHANGE_PPB) + 1;
        let lowest = (change_ns - uncertainty_ns) * PPB / apart_ns - allowance_ppb;
        let highest = (change_ns + uncertainty_ns) * PPB / apart_ns + allowance_ppb;
        let limit = i128::from(HIGHEST_RATE_PPB);
        let (lowest, highest) = (lowest.max(-limit), highest.min(limit));
        let says_something = lowest <= highest && highest - lowest < 2 * limit;
        let narrow = |ppb: i128| i64::try_from(ppb).ok();
        let middle = (lowest + highest) / 2;
        let uncertainty = (highest - lowest) / 2 + 1;
        says_something.then_some(Self { ppb: narrow(middle)?, uncertainty_ppb: narrow(uncertainty)? })
    }

    fn over(&self, age_ns: i128) -> i128 {
        age_ns * i128::from(self.ppb) / PPB
    }

    /// Rounded up, the rounding of [`Rate::over`] included.
    fn uncertainty_over(&self, age_ns: i128) -> i128 {
        if age_ns == 0 { 0 } else { age_ns * i128::from(self.uncertainty_ppb) / PPB + 2 }
    }
}

/// The most that the clocks may drift apart in that time, rounded up.
fn drift_ns(elapsed_ns: i128) -> i128 {
    elapsed_ns.abs() * i128::from(HIGHEST_RATE_PPB) / PPB + 1
}

fn age_ns(then: Moment, now: Moment) -> i128 {
    difference(now.as_nanos(), then.as_nanos()).max(0)
}

fn difference(later: u64, earlier: u64) -> i128 {
    i128::from(later) - i128::from(earlier)
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests;
