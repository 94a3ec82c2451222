//! Charts of a report's figures.

use hdrhistogram::Histogram;

use super::axis::Axis;
use super::chart::{Chart, Colour, Look, SERIES_MAX, Series, Strokes};
use crate::report::document::{Direction, Interval, Latency, Trial};
use crate::report::files::checked_histogram;
use crate::report::summary::title;
use crate::report::units;

/// Points for each halving of the distance to 100 %.
const POINTS_PER_HALF_DISTANCE: u32 = 8;

/// Distributions over each other that the eye can follow.
const CURVES_MAX: usize = 6;

/// Points of a chart over time, and rows of a table: more than a screen has room for. Of a longer series several intervals
/// are taken together.
pub const PIECES_MAX: usize = 240;

/// A distribution by its name.
pub struct Curve {
    /// Of its line.
    pub name: String,
    /// Its values, nanoseconds.
    pub histogram: Histogram<u64>,
}

impl Curve {
    /// Of a direction's latencies.
    pub fn of(name: String, latency: &Latency) -> Self {
        Self { name, histogram: checked_histogram(latency) }
    }
}

/// Distributions over each other, on an axis that gives the tail its room.
pub fn percentiles(id: String, heading: String, curves: &[Curve], is_ordered: bool) -> Option<Chart> {
    // Whoever has no distribution keeps his colour for the next chart.
    let curves: Vec<(usize, &Curve)> =
        curves.iter().enumerate().filter(|(_, curve)| !curve.histogram.is_empty()).collect();
    let shown = evenly(&curves, CURVES_MAX);
    let count = shown.iter().map(|(_, curve)| curve.histogram.len()).max()?;
    let series: Vec<Series> = shown
        .iter()
        .enumerate()
        .map(|(place, (index, curve))| Series {
            name: curve.name.clone(),
            look: if is_ordered { look(place, shown.len(), true) } else { look(*index, shown.len(), false) },
            points: tail(&curve.histogram),
            has_dots: false,
        })
        .collect();
    let figures = shown.iter().map(|(_, curve)| {
        let [p50, p99] = [0.5, 0.99].map(|quantile| units::time(curve.histogram.value_at_quantile(quantile)));
        format!("{}: p50 {p50}, p99 {p99}, max {}", curve.name, units::time(curve.histogram.max()))
    });
    let description = format!("{}.", figures.collect::<Vec<_>>().join("; "));
    let caption = match shown.len() {
        1 | 2 => description.clone(),
        shown if shown < curves.len() => {
            format!("{shown} of {} distributions, from the first to the last.", curves.len())
        }
        shown => format!("{shown} distributions."),
    };
    let values = series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
    let y = Axis::of_times("latency", values);
    Some(Chart { id, title: heading, caption, description, x: Axis::of_tail(count), y, series, mark: None })
}

/// The colours of a scale where there is an order, and of their own where there is none.
fn look(index: usize, count: usize, is_ordered: bool) -> Look {
    if is_ordered {
        let colour = Colour::InOrder(if count > 1 { index * (SERIES_MAX - 1) / (count - 1) } else { 0 });
        Look { colour, strokes: Strokes::nth(index) }
    } else {
        Look { colour: Colour::Beside(index), strokes: Strokes::nth(index) }
    }
}

/// Some of them, the first and the last among them.
fn evenly<T: Copy>(all: &[T], count_max: usize) -> Vec<T> {
    if all.len() <= count_max {
        return all.to_vec();
    }
    (0..count_max).map(|index| all[index * (all.len() - 1) / (count_max - 1)]).collect()
}

/// The curve's points: how rare what is above is, as a power of ten, and the value. The greatest value stands where one of
/// all values is above.
fn tail(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let end = (histogram.len() as f64).log10();
    let mut points = vec![(0.0, histogram.min() as f64)];
    for step in histogram.iter_quantiles(POINTS_PER_HALF_DISTANCE) {
        let rareness = -(1.0 - step.quantile_iterated_to()).log10();
        if rareness > 0.0 && rareness < end {
            points.push((rareness, step.value_iterated_to() as f64));
        }
    }
    points.push((end, histogram.max() as f64));
    points
}

/// The median, p99 and maximum of each interval.
pub fn over_time(id: String, direction: &Direction) -> Option<Chart> {
    let pieces = pieces(&direction.intervals);
    let middle = |piece: &Interval| piece.start_s + piece.length_s / 2.0;
    let series: Vec<Series> = [
        ("max", 2, Strokes::Dotted, (|piece: &Interval| piece.max_ns) as fn(&Interval) -> Option<u64>),
        ("p99", 1, Strokes::Dashed, |piece| piece.p99_ns),
        ("p50", 0, Strokes::Solid, |piece| piece.p50_ns),
    ]
    .into_iter()
    .map(|(name, colour, strokes, of)| Series {
        name: name.to_owned(),
        look: Look { colour: Colour::Beside(colour), strokes },
        points: pieces.iter().filter_map(|piece| Some((middle(piece), of(piece)? as f64))).collect(),
        has_dots: false,
    })
    .filter(|series| !series.points.is_empty())
    .collect();
    if series.is_empty() || pieces.len() < 2 {
        return None;
    }
    let end = pieces.iter().map(|piece| piece.start_s + piece.length_s).fold(0.0, f64::max);
    let each = direction.intervals.len().div_ceil(pieces.len());
    let mut description = format!(
        "{} intervals of {}; the greatest latency is {}.",
        units::grouped(direction.intervals.len() as u64),
        units::duration(rounded(direction.intervals[0].length_s)),
        units::time(direction.latency.max_ns),
    );
    if each > 1 {
        description += &format!(" A point stands for the highest figures of {each} intervals.");
    }
    let values = series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
    Some(Chart {
        id,
        title: format!("Over time, {}", title(direction)),
        caption: description.clone(),
        description,
        x: Axis::of_seconds("time from the beginning", pieces[0].start_s, end),
        y: Axis::of_times("latency of an interval", values),
        series,
        mark: None,
    })
}

/// Milliseconds are enough for the length of an interval in words.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Intervals, neighbours taken together so that there are [`PIECES_MAX`] at most: counts are added, of times the highest
/// stands for all.
pub fn pieces(intervals: &[Interval]) -> Vec<Interval> {
    let together = intervals.len().div_ceil(PIECES_MAX).max(1);
    intervals.chunks(together).map(joined).collect()
}

fn joined(intervals: &[Interval]) -> Interval {
    let last = intervals[intervals.len() - 1];
    let sum = |of: fn(&Interval) -> u64| intervals.iter().map(of).fold(0, u64::saturating_add);
    let highest = |of: fn(&Interval) -> Option<u64>| intervals.iter().filter_map(of).max();
    Interval {
        start_s: intervals[0].start_s,
        length_s: last.start_s + last.length_s - intervals[0].start_s,
        sent: sum(|interval| interval.sent),
        received: sum(|interval| interval.received),
        p50_ns: highest(|interval| interval.p50_ns),
        p99_ns: highest(|interval| interval.p99_ns),
        max_ns: highest(|interval| interval.max_ns),
    }
}

/// What a load is measured by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Of a bus's capacity.
    Percent,
    /// Frames a second.
    Rate,
    /// Frames at once.
    Burst,
}

impl Measure {
    /// The one that several trials differ in, if they do.
    pub fn of(trials: &[Trial]) -> Option<Self> {
        [Self::Percent, Self::Burst, Self::Rate].into_iter().find(|measure| {
            let values: Option<Vec<f64>> = trials.iter().map(|trial| measure.value(trial)).collect();
            values.is_some_and(|values| values.windows(2).any(|pair| pair[0] != pair[1]))
        })
    }

    /// A trial's load.
    pub fn value(self, trial: &Trial) -> Option<f64> {
        match self {
            Self::Percent => trial.load.percent,
            Self::Rate => trial.load.frames_per_s,
            Self::Burst => trial.load.burst_frames.map(|frames| frames as f64),
        }
    }

    fn axis(self, greatest: f64) -> Axis {
        match self {
            Self::Percent => {
                Axis::from_zero("load of the bus", greatest, |value| format!("{} %", units::number(value)))
            }
            Self::Rate => Axis::from_zero("frames due a second", greatest, units::number),
            Self::Burst => Axis::from_zero("frames at once", greatest, units::number),
        }
    }

    fn mark(self, axis_to: f64) -> Option<(f64, &'static str)> {
        (self == Self::Percent && axis_to >= 100.0).then_some((100.0, "saturated"))
    }
}

/// Points over load, by the name of their line: load, lost share in percent, median, p99, maximum.
pub type OverLoad = Vec<(String, Vec<LoadPoint>)>;

/// One direction of one trial.
pub struct LoadPoint {
    load: f64,
    lost_percent: f64,
    latency: Option<[u64; 3]>,
    /// Trials that it stands for.
    rounds: usize,
}

/// Adds the trials that are results. `name` makes the name of a direction's line.
pub fn collect(
    points: &mut OverLoad,
    trials: &[Trial],
    measure: Measure,
    name: impl Fn(&Direction) -> String,
) {
    for trial in trials.iter().filter(|trial| trial.invalid_because.is_empty()) {
        let Some(load) = measure.value(trial) else { continue };
        for direction in &trial.directions {
            let (counts, latency) = (direction.counts, &direction.latency);
            let lost_percent = 100.0 * counts.lost as f64 / counts.sent.max(1) as f64;
            let latency = (latency.count > 0).then_some([latency.p50_ns, latency.p99_ns, latency.max_ns]);
            let name = name(direction);
            let at = points.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
                points.push((name, Vec::new()));
                points.len() - 1
            });
            points[at].1.push(LoadPoint { load, lost_percent, latency, rounds: 1 });
        }
    }
    for (_, line) in points {
        line.sort_by(|one, other| one.load.total_cmp(&other.load));
        *line = line.chunk_by(|one, other| one.load == other.load).map(middle_of).collect();
    }
}

/// Several rounds of one load are a point: their mean loss, and the median of each latency.
fn middle_of(rounds: &[LoadPoint]) -> LoadPoint {
    let lost_percent = rounds.iter().map(|round| round.lost_percent).sum::<f64>() / rounds.len() as f64;
    let median = |figure: usize| {
        let mut values: Vec<u64> = rounds.iter().filter_map(|round| Some(round.latency?[figure])).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    };
    let latency = match [0, 1, 2].map(median) {
        [Some(p50), Some(p99), Some(max)] => Some([p50, p99, max]),
        _ => None,
    };
    LoadPoint {
        load: rounds[0].load,
        lost_percent,
        latency,
        rounds: rounds.iter().map(|round| round.rounds).sum(),
    }
}

/// Latency over load: a chart for each of median, p99 and maximum would hide how they part, so all of them in one; of
/// several lines the p99 alone.
pub fn latency_over_load(id: String, points: &OverLoad, measure: Measure) -> Option<Chart> {
    let figures: &[(&str, usize)] =
        if points.len() > 2 { &[("p99", 1)] } else { &[("max", 2), ("p99", 1), ("p50", 0)] };
    let mut series = Vec::new();
    for (line, (name, line_points)) in points.iter().enumerate().take(SERIES_MAX / figures.len()) {
        for &(figure, index) in figures {
            let strokes = match (figures.len(), index) {
                (1, _) => Strokes::nth(line),
                (_, 0) => Strokes::Solid,
                (_, 1) => Strokes::Dashed,
                _ => Strokes::Dotted,
            };
            let point = |point: &LoadPoint| Some((point.load, point.latency?[index] as f64));
            series.push(Series {
                name: if points.len() > 1 { format!("{figure} {name}") } else { figure.to_owned() },
                look: Look { colour: Colour::Beside(line), strokes },
                points: line_points.iter().filter_map(point).collect(),
                has_dots: true,
            });
        }
    }
    let values = series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
    let y = Axis::of_times("latency", values);
    over_load(id, "Latency over load", "", points, measure, y, series)
}

/// Loss over load; none if there was none.
pub fn loss_over_load(id: String, points: &OverLoad, measure: Measure) -> Option<Chart> {
    let worst = points.iter().flat_map(|line| &line.1).map(|point| point.lost_percent).fold(0.0, f64::max);
    if worst == 0.0 {
        return None;
    }
    let series = points.iter().take(SERIES_MAX).enumerate().map(|(index, (name, points))| Series {
        name: name.clone(),
        look: Look { colour: Colour::Beside(index), strokes: Strokes::nth(index) },
        points: points.iter().map(|point| (point.load, point.lost_percent)).collect(),
        has_dots: true,
    });
    let series = series.collect();
    let y = Axis::from_zero("frames lost", worst, |value| format!("{} %", units::number(value)));
    let worst = format!(" At most {} % of the frames were lost.", units::digits(worst));
    over_load(id, "Loss over load", &worst, points, measure, y, series)
}

fn over_load(
    id: String,
    title: &str,
    more: &str,
    points: &OverLoad,
    measure: Measure,
    y: Axis,
    series: Vec<Series>,
) -> Option<Chart> {
    let loads = || points.iter().flat_map(|line| &line.1).map(|point| point.load);
    let greatest = loads().reduce(f64::max)?;
    let rounds = |line: &[LoadPoint]| line.iter().map(|point| point.rounds).sum::<usize>();
    let count = points.iter().map(|line| rounds(&line.1)).max().unwrap_or_default();
    let has_rounds = points.iter().any(|line| rounds(&line.1) > line.1.len());
    let more =
        if has_rounds { format!("{more} A point is the middle of several rounds.") } else { more.to_owned() };
    let x = measure.axis(greatest);
    let description = format!(
        "{count} trials up to {} {}.{more}",
        units::number(greatest),
        match measure {
            Measure::Percent => "% of what the bus can carry",
            Measure::Rate => "frames a second",
            Measure::Burst => "frames at once",
        }
    );
    let mark = measure.mark(greatest);
    Some(Chart { id, title: title.to_owned(), caption: description.clone(), description, x, y, series, mark })
}
