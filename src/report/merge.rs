//! Several reports of the same load as one: counts and histograms added up, trial by trial.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::{Bridge, Direction, Interval, Latency, Load, Outcome, Report, Trial, Verdict};
use super::error::ReportError;
use super::files::checked_histogram;
use super::units::grouped;

/// Frames that did not come out as they should, in each direction: as many as a single report lists.
const FAULTS_MAX: usize = 20;

/// Adds up reports that [`super::read()`] gave, by their files. Method, loads, path and host are to be the same; the seeds
/// may differ. Intervals follow each other as if the runs had.
///
/// # Errors
/// Two of them do not fit together, and in what; or are one and the same.
///
/// # Panics
/// There is no report.
pub fn merge(reports: &[(PathBuf, Report)]) -> Result<Report, ReportError> {
    let ((first_path, first), others) = reports.split_first().expect("one report at least");
    refuse_the_same_twice(reports)?;
    let mut merged = first.clone();
    for (path, other) in others {
        let fit = fits(first, other).and_then(|()| add_report(&mut merged, other));
        fit.map_err(|difference| ReportError::Different {
            first: first_path.clone(),
            path: path.clone(),
            difference,
        })?;
    }
    merged.verdict = verdict(&merged, reports);
    Ok(merged)
}

/// No two runs come out the same: their times and histograms differ in any case.
fn refuse_the_same_twice(reports: &[(PathBuf, Report)]) -> Result<(), ReportError> {
    for (index, (path, report)) in reports.iter().enumerate() {
        if let Some((first, _)) = reports[..index].iter().find(|(_, other)| other == report) {
            return Err(ReportError::Twice { first: first.clone(), path: path.clone() });
        }
    }
    Ok(())
}

fn fits(first: &Report, other: &Report) -> Result<(), String> {
    let same = |what: &str, one: &str, other: &str| {
        if one == other { Ok(()) } else { Err(format!("{what}: {one} and {other}")) }
    };
    same("another method", first.method.word(), other.method.word())?;
    same("another host", &first.host.name, &other.host.name)?;
    same("another kernel", &first.host.kernel, &other.host.kernel)?;
    same("another program", &program(first), &program(other))?;
    same("another path", &path(first), &path(other))?;
    if first.trials.len() != other.trials.len() {
        return Err(format!("{} trials and {}", first.trials.len(), other.trials.len()));
    }
    first.trials.iter().zip(&other.trials).try_for_each(|(one, other)| trials_fit(one, other))
}

fn program(report: &Report) -> String {
    let commit = report.program.commit.as_deref().unwrap_or("unknown");
    format!("{} of commit {commit}, {}", report.program.version, report.program.build)
}

/// Buses that were made for the test are named anew every time.
fn path(report: &Report) -> String {
    let path = &report.path;
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let mut words = format!("{}, {}", path.kind, path.bus);
    if path.kind != "own bridge" {
        words += &format!(", {} to {}", path.near, path.far);
    }
    words += &format!(", engine {}, protocol {}", known(&path.engine), known(&path.protocol));
    if !path.bridge_options.is_empty() {
        words += &format!(", {}", path.bridge_options.join(" "));
    }
    words
}

fn trials_fit(one: &Trial, other: &Trial) -> Result<(), String> {
    let without_seed = |load: &Load| Load { seed: 0, ..load.clone() };
    if without_seed(&one.load) != without_seed(&other.load) {
        return Err(format!("another load: {} and {}", one.load.description, other.load.description));
    }
    if one.label != other.label {
        return Err(format!("another trial: {} and {}", one.label, other.label));
    }
    if one.directions.len() != other.directions.len() {
        return Err(format!("{} directions and {}", one.directions.len(), other.directions.len()));
    }
    let roles = |trial: &Trial| trial.bridges.iter().map(|bridge| bridge.role.clone()).collect::<Vec<_>>();
    if roles(one) != roles(other) {
        return Err(format!("bridges: {} and {}", roles(one).join(", "), roles(other).join(", ")));
    }
    Ok(())
}

fn add_report(sum: &mut Report, other: &Report) -> Result<(), String> {
    // Times in UTC of one form are in order as texts.
    if other.started < sum.started {
        sum.started.clone_from(&other.started);
    }
    sum.findings.extend(other.findings.iter().cloned());
    sum.trials.iter_mut().zip(&other.trials).try_for_each(|(sum, other)| add_trial(sum, other))
}

fn add_trial(sum: &mut Trial, other: &Trial) -> Result<(), String> {
    let durations = (sum.duration_s, other.duration_s);
    sum.duration_s += other.duration_s;
    sum.warm_up_s += other.warm_up_s;
    for reason in &other.invalid_because {
        if !sum.invalid_because.contains(reason) {
            sum.invalid_because.push(reason.clone());
        }
    }
    for (sum, other) in sum.directions.iter_mut().zip(&other.directions) {
        add_direction(sum, other, durations)?;
    }
    sum.round_trip = match (sum.round_trip.take(), &other.round_trip) {
        (Some(sum), Some(other)) => Some(add_latency(&sum, other)?),
        (sum, other) => sum.or_else(|| other.clone()),
    };
    for (sum, other) in sum.bridges.iter_mut().zip(&other.bridges) {
        add_bridge(sum, other)?;
    }
    Ok(())
}

fn add_direction(sum: &mut Direction, other: &Direction, durations: (f64, f64)) -> Result<(), String> {
    let counts = [
        (&mut sum.counts.sent, other.counts.sent),
        (&mut sum.counts.received, other.counts.received),
        (&mut sum.counts.lost, other.counts.lost),
        (&mut sum.counts.duplicated, other.counts.duplicated),
        (&mut sum.counts.reordered, other.counts.reordered),
        (&mut sum.counts.corrupted, other.counts.corrupted),
        (&mut sum.counts.foreign, other.counts.foreign),
    ];
    for (sum, other) in counts {
        add_count(sum, other)?;
    }
    sum.offered_per_s = mean_rate((sum.offered_per_s, other.offered_per_s), durations);
    sum.delivered_per_s = mean_rate((sum.delivered_per_s, other.delivered_per_s), durations);
    add_counts(&mut sum.lost_where, &other.lost_where)?;
    let room = FAULTS_MAX.saturating_sub(sum.first_faults.len());
    sum.first_faults.extend(other.first_faults.iter().take(room).cloned());
    sum.latency = add_latency(&sum.latency, &other.latency)?;
    sum.lateness = add_latency(&sum.lateness, &other.lateness)?;
    sum.uncertainty_ns = sum.uncertainty_ns.max(other.uncertainty_ns);
    let shifted = |interval: &Interval| Interval { start_s: interval.start_s + durations.0, ..*interval };
    sum.intervals.extend(other.intervals.iter().map(shifted));
    Ok(())
}

/// Over both durations together.
fn mean_rate(rates: (f64, f64), durations: (f64, f64)) -> f64 {
    let together = durations.0 + durations.1;
    if together > 0.0 { (rates.0 * durations.0 + rates.1 * durations.1) / together } else { 0.0 }
}

fn add_latency(sum: &Latency, other: &Latency) -> Result<Latency, String> {
    let mut histogram = checked_histogram(sum);
    histogram.add(checked_histogram(other)).map_err(|_| "another range of the histograms".to_owned())?;
    if histogram.len() >= 1 << 62 {
        return Err(too_many());
    }
    Ok(Latency::of(&histogram))
}

fn add_bridge(sum: &mut Bridge, other: &Bridge) -> Result<(), String> {
    sum.processor_s += other.processor_s;
    sum.resident_bytes = sum.resident_bytes.max(other.resident_bytes);
    add_counts(&mut sum.counters, &other.counters)
}

fn add_counts(sum: &mut BTreeMap<String, u64>, other: &BTreeMap<String, u64>) -> Result<(), String> {
    for (name, &count) in other {
        add_count(sum.entry(name.clone()).or_default(), count)?;
    }
    Ok(())
}

fn add_count(sum: &mut u64, other: u64) -> Result<(), String> {
    *sum = sum.checked_add(other).ok_or_else(too_many)?;
    Ok(())
}

fn too_many() -> String {
    "together they have more frames than can be counted".to_owned()
}

/// The worst one, with what the others say against it.
fn verdict(merged: &Report, reports: &[(PathBuf, Report)]) -> Verdict {
    let rank = |outcome: Outcome| match outcome {
        Outcome::Pass => 0,
        Outcome::Fail => 1,
        Outcome::Interrupted => 2,
        Outcome::Invalid => 3,
    };
    let results = reports.iter().map(|(_, report)| report.verdict.result);
    let result = results.max_by_key(|&result| rank(result)).expect("one report at least");
    let directions = || merged.trials.iter().flat_map(|trial| &trial.directions);
    let sum = |of: fn(&Direction) -> u64| grouped(directions().map(of).fold(0, u64::saturating_add));
    let (lost, sent) = (sum(|each| each.counts.lost), sum(|each| each.counts.sent));
    let text = format!("{} reports together: {lost} of {sent} frames lost.", reports.len());
    let mut reasons: Vec<String> = Vec::new();
    for (path, report) in reports.iter().filter(|(_, report)| report.verdict.result != Outcome::Pass) {
        reasons.push(format!("{}: {}", path.display(), report.verdict.text));
        for reason in &report.verdict.reasons {
            reasons.push(format!("{}: {reason}", path.display()));
        }
    }
    Verdict { result, text, reasons }
}
