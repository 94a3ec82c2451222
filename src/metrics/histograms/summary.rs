//! Histograms as pairs for the summary line.

use std::fmt;

use hdrhistogram::Histogram;

use super::{HistogramSet, Kind, Unit};

/// What stands before the maximum: half of all values, all but one of a hundred, all but one of a thousand.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// Prints as `can_to_tcp_us 12.1/30.5/41.0/99.2 … one_way_us 312/340/355/401±35.0 batch_out_frames 1/4/9/12`.
///
/// Pairs of a name and a value without spaces in it, like the counters'. The name ends with the unit. The value is p50,
/// p99, p99.9 and the maximum; that of one-way times ends with the largest uncertainty of them. Histograms without a
/// value are left out. `clock_went_back` with a number follows where a time came out negative. Nothing at all is
/// printed where there is nothing of it.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    set: &'a HistogramSet,
}

impl<'a> Summary<'a> {
    pub(super) fn new(set: &'a HistogramSet) -> Self {
        Self { set }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (kind, histogram) in self.set.recorded() {
            write!(f, "{separator}{} ", kind.name_with_unit())?;
            write_value(f, kind.unit(), histogram)?;
            if kind == Kind::OneWay {
                write!(f, "±{}", Microseconds::rounded_up(self.set.one_way_uncertainty_ns))?;
            }
            separator = " ";
        }
        if self.set.clock_went_back > 0 {
            write!(f, "{separator}clock_went_back {}", self.set.clock_went_back)?;
        }
        Ok(())
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, unit: Unit, histogram: &Histogram<u64>) -> fmt::Result {
    // In one pass over the counters, where each quantile by itself would take another.
    let quantiles = histogram.value_at_quantiles(QUANTILES);
    for (index, value) in quantiles.chain([histogram.max()]).enumerate() {
        let separator = if index == 0 { "" } else { "/" };
        match unit {
            Unit::Nanoseconds => write!(f, "{separator}{}", Microseconds(value))?,
            Unit::Frames => write!(f, "{separator}{value}")?,
        }
    }
    Ok(())
}

/// Nanoseconds, printed as microseconds: tenths below a hundred, whole ones above, since the histogram keeps no more. Cut
/// rather than rounded: the histogram answers with the highest of all values that it does not tell apart.
struct Microseconds(u64);

impl Microseconds {
    /// For what must not be shown as less than it is.
    fn rounded_up(nanoseconds: u64) -> Self {
        let step = if nanoseconds < 100_000 { 100 } else { 1_000 };
        Self(nanoseconds.div_ceil(step).saturating_mul(step))
    }
}

impl fmt::Display for Microseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(nanoseconds) = *self;
        write!(f, "{}", nanoseconds / 1_000)?;
        if nanoseconds < 100_000 {
            write!(f, ".{}", nanoseconds % 1_000 / 100)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_have_as_many_digits_as_say_something() {
        for (nanoseconds, cut, up) in [
            (0, "0.0", "0.0"),
            (63, "0.0", "0.1"),
            (100, "0.1", "0.1"),
            (12_159, "12.1", "12.2"),
            (99_999, "99.9", "100"),
            (100_000, "100", "100"),
            (100_999, "100", "101"),
            (60_000_000_000, "60000000", "60000000"),
        ] {
            assert_eq!(Microseconds(nanoseconds).to_string(), cut, "{nanoseconds} ns");
            assert_eq!(Microseconds::rounded_up(nanoseconds).to_string(), up, "{nanoseconds} ns");
        }
        assert_eq!(Microseconds::rounded_up(u64::MAX).to_string(), "18446744073709551");
    }
}
