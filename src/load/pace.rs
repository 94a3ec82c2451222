//! When frames are due: exact fractions of time, so that rounding does not add up.

use std::num::NonZeroU32;

use crate::frame::Image;
use crate::frame::bit_time::{BitRates, FrameBits};

const NS_PER_S: u128 = 1_000_000_000;
/// Shares and rates are kept in millionths of their unit, as whole numbers.
const MILLIONTHS: f64 = 1_000_000.0;

/// The end of the last frame on a modelled wire, in nanoseconds and an exact rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireClock {
    at_ns: u64,
    /// What is left of a nanosecond, in parts of `divisor`.
    rest: u128,
    divisor: u128,
    rates: [u128; 2],
}

impl WireClock {
    /// A wire on which frames follow each other at once at 100 percent, in half their rate at 50. Both are in bounds:
    /// `super::Load` has checked them.
    pub fn new(rates: BitRates, percent: f64) -> Self {
        let [nominal, data] = [rates.nominal, rates.data].map(|rate: NonZeroU32| u128::from(rate.get()));
        let millionths = (percent * MILLIONTHS).round() as u128;
        Self { at_ns: 0, rest: 0, divisor: nominal * data * millionths, rates: [nominal, data] }
    }

    /// When the wire is free, rounded down.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// Lets a frame pass.
    pub fn pass(&mut self, image: Image<'_>) {
        let bits = FrameBits::of(image);
        let [nominal_rate, data_rate] = self.rates;
        let scaled = u128::from(bits.nominal) * data_rate + u128::from(bits.data) * nominal_rate;
        // 2^11 bits, 2^24 bit/s, 2^30 ns and 100 times 2^20: below 2^92.
        let time = scaled * NS_PER_S * 100 * MILLIONTHS as u128 + self.rest;
        self.at_ns = self.at_ns.saturating_add((time / self.divisor) as u64);
        self.rest = time % self.divisor;
    }
}

/// When the frame of a number is due at an even rate, rounded down. The rate is in bounds.
pub(super) fn even_ns(number: u64, frames_per_s: f64) -> u64 {
    let millionths = (frames_per_s * MILLIONTHS).round() as u128;
    let ns = u128::from(number) * NS_PER_S * MILLIONTHS as u128 / millionths;
    u64::try_from(ns).unwrap_or(u64::MAX)
}
