//! Histograms of times, as the test keeps them.

use hdrhistogram::Histogram;

/// Of every time three digits are kept.
const SIGNIFICANT_DIGITS: u8 = 3;
/// The finest step of times, rounded down to a power of two: 64 ns.
const LOWEST_NS: u64 = 100;
/// Times above a minute count as a minute.
const HIGHEST_NS: u64 = 60_000_000_000;

/// An empty histogram of nanoseconds, 192 KiB.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS).expect("these bounds are right")
}
