//! A histogram as the table of percentiles that HdrHistogram's tools exchange (`.hgrm`).

use std::fmt;

use hdrhistogram::Histogram;

use super::{Kind, Unit};

/// Rows for each halving of the distance to 100 %: enough for a smooth curve, at 42 rows for a million values. There are
/// 53 halvings at most (of a double's mantissa), so 108 rows.
const TICKS_PER_HALF_DISTANCE: u32 = 2;

/// Prints a title, the table, and its three closing lines, without a line feed at the end.
///
/// ```text
/// can_to_tcp since the start, in microseconds:
///        Value     Percentile TotalCount 1/(1-Percentile)
///
///       12.159 0.000000000000          1           1.00
///          ...
///       99.199 1.000000000000       1000
/// #[Mean    =       13.370, StdDeviation   =        2.100]
/// #[Max     =       99.199, Total count    =         1000]
/// #[Buckets =           20, SubBuckets     =         2048]
/// ```
///
/// Times are in microseconds, batches in frames. From the line of headings on, the format is that of the Java
/// implementation's `outputPercentileDistribution`.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    title: Title<'a>,
    unit: Unit,
    histogram: &'a Histogram<u64>,
}

/// What stands before `, in microseconds:`.
#[derive(Clone, Copy, Debug)]
enum Title<'a> {
    SinceTheStart(&'a str),
    Other(&'a str),
}

impl<'a> Distribution<'a> {
    /// A table of one of a bridge's histograms.
    pub(super) fn since_the_start(kind: Kind, histogram: &'a Histogram<u64>) -> Self {
        Self { title: Title::SinceTheStart(kind.name()), unit: kind.unit(), histogram }
    }

    /// A table of any histogram. The title is one line.
    pub fn new(title: &'a str, unit: Unit, histogram: &'a Histogram<u64>) -> Self {
        Self { title: Title::Other(title), unit, histogram }
    }
}

impl fmt::Display for Distribution<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, unit, histogram } = *self;
        let (unit, divisor, decimals) = match unit {
            Unit::Nanoseconds => ("microseconds", 1_000.0, 3),
            Unit::Frames => ("frames", 1.0, 0),
        };
        match title {
            Title::SinceTheStart(name) => writeln!(f, "{name} since the start, in {unit}:")?,
            Title::Other(title) => writeln!(f, "{title}, in {unit}:")?,
        }
        writeln!(
            f,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut count = 0;
        for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            count += step.count_since_last_iteration();
            let value = step.value_iterated_to() as f64 / divisor;
            let quantile = step.quantile_iterated_to();
            write!(f, "{value:12.decimals$} {quantile:2.12} {count:10}")?;
            if quantile < 1.0 {
                write!(f, " {:14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(f)?;
        }
        let closing = |f: &mut fmt::Formatter<'_>, left: &str, value: f64, right: &str| {
            write!(f, "#[{left:<7} = {:12.decimals$}, {right:<14} = ", value / divisor)
        };
        closing(f, "Mean", histogram.mean(), "StdDeviation")?;
        writeln!(f, "{:12.decimals$}]", histogram.stdev() / divisor)?;
        closing(f, "Max", histogram.max() as f64, "Total count")?;
        writeln!(f, "{:12}]", histogram.len())?;
        // As Java names them: halves of sub-buckets are shared by all buckets but the first.
        let sub_buckets = 2 * histogram.distinct_values() / (usize::from(histogram.buckets()) + 1);
        write!(f, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets())
    }
}
