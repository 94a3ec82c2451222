//! Documents out of files, which may be anybody's: what is read is whole and agrees with itself.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::document::{Direction, FORMAT, Latency, Report, Trial, VERSION};
use super::error::ReportError;

/// Bytes of a document: a day's soak with an interval every second and both directions is some 40 MB.
pub(super) const BYTES_MAX: u64 = 256 << 20;

/// Trials of a document: a search takes some twenty, a comparison in turns some hundred.
const TRIALS_MAX: usize = 10_000;

/// Seconds, and frames a second: above them a figure is a mistake, and no chart has an axis for it.
const FIGURE_MAX: f64 = 1e12;

/// What a document says of itself.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: serde_json::Number,
}

/// Reads a document.
///
/// # Errors
/// The file is not there, is no report, one of another version, or one that contradicts itself.
pub fn read(path: &Path) -> Result<Report, ReportError> {
    let failed = |source| ReportError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(ReportError::TooLarge { path: path.to_owned() });
    }
    parse(path, &bytes)
}

/// Reads a document out of the bytes of a file; `path` is what errors call it.
///
/// # Errors
/// The bytes are no report, one of another version, or one that contradicts itself.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Report, ReportError> {
    let path = || path.to_owned();
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return Err(ReportError::NotJson { path: path(), fault: error.to_string() });
    }
    let head = serde_json::from_slice(bytes).ok().filter(|head: &Head| head.format == FORMAT);
    let head = head.ok_or_else(|| ReportError::Foreign { path: path() })?;
    if head.version.as_u64() != Some(u64::from(VERSION)) {
        return Err(ReportError::Version { path: path(), version: head.version.to_string() });
    }
    let report = serde_json::from_slice(bytes)
        .map_err(|error| ReportError::Malformed { path: path(), fault: printable(&error.to_string()) })?;
    check(&report).map_err(|fault| ReportError::Inconsistent { path: path(), fault: printable(&fault) })?;
    Ok(report)
}

/// What every reader may rely on.
fn check(report: &Report) -> Result<(), String> {
    if report.trials.len() > TRIALS_MAX {
        return Err(format!("{} trials are more than {TRIALS_MAX}", report.trials.len()));
    }
    for (index, trial) in report.trials.iter().enumerate() {
        check_trial(trial).map_err(|fault| format!("trial {}: {fault}", index + 1))?;
    }
    for finding in &report.findings {
        figure("a finding", finding.value.abs())?;
        figure("a finding's uncertainty", finding.uncertainty.unwrap_or_default())?;
    }
    Ok(())
}

fn check_trial(trial: &Trial) -> Result<(), String> {
    figure("duration_s", trial.duration_s)?;
    figure("warm_up_s", trial.warm_up_s)?;
    figure("percent", trial.load.percent.unwrap_or_default())?;
    figure("frames_per_s", trial.load.frames_per_s.unwrap_or_default())?;
    if let Some(round_trip) = &trial.round_trip {
        check_latency(round_trip).map_err(|fault| format!("round_trip: {fault}"))?;
    }
    for bridge in &trial.bridges {
        figure("processor_s", bridge.processor_s)?;
    }
    if !(1..=2).contains(&trial.directions.len()) {
        return Err(format!("{} directions are neither one nor two", trial.directions.len()));
    }
    let mut directions = trial.directions.iter();
    directions.try_for_each(|direction| {
        check_direction(direction).map_err(|fault| format!("{} to {}: {fault}", direction.from, direction.to))
    })
}

fn check_direction(direction: &Direction) -> Result<(), String> {
    figure("offered_per_s", direction.offered_per_s)?;
    figure("delivered_per_s", direction.delivered_per_s)?;
    let counts = direction.counts;
    if counts.received.checked_add(counts.lost) != Some(counts.sent) {
        let (sent, received, lost) = (counts.sent, counts.received, counts.lost);
        return Err(format!("{sent} frames sent are not {received} received and {lost} lost"));
    }
    check_latency(&direction.latency).map_err(|fault| format!("latency: {fault}"))?;
    check_latency(&direction.lateness).map_err(|fault| format!("lateness: {fault}"))?;
    // On the way to a server that answers, the times of frames whose answers were lost are not known.
    if direction.latency.count > counts.received {
        return Err(format!("{} latencies of {} frames", direction.latency.count, counts.received));
    }
    for interval in &direction.intervals {
        figure("start_s", interval.start_s)?;
        figure("length_s", interval.length_s)?;
    }
    direction.first_faults.iter().try_for_each(|fault| figure("at_s", fault.at_s.abs()))
}

/// The figures beside a histogram are the histogram's.
fn check_latency(latency: &Latency) -> Result<(), String> {
    let histogram = latency.histogram().map_err(|error| error.to_string())?;
    if histogram.len() != latency.count {
        return Err(format!("count is {}, the histogram has {}", latency.count, histogram.len()));
    }
    let of_histogram = Latency::of(&histogram);
    let pairs = [
        ("min_ns", latency.min_ns, of_histogram.min_ns),
        ("p50_ns", latency.p50_ns, of_histogram.p50_ns),
        ("p90_ns", latency.p90_ns, of_histogram.p90_ns),
        ("p99_ns", latency.p99_ns, of_histogram.p99_ns),
        ("p99.9_ns", latency.p99_9_ns, of_histogram.p99_9_ns),
        ("p99.99_ns", latency.p99_99_ns, of_histogram.p99_99_ns),
        ("max_ns", latency.max_ns, of_histogram.max_ns),
    ];
    for (name, said, kept) in pairs {
        if said != kept {
            return Err(format!("{name} is {said}, the histogram says {kept}"));
        }
    }
    // Numbers with a fraction may lose their last bit between writer and reader.
    if (latency.mean_ns - of_histogram.mean_ns).abs() > 1e-9 * of_histogram.mean_ns {
        return Err(format!("mean_ns is {}, the histogram says {}", latency.mean_ns, of_histogram.mean_ns));
    }
    Ok(())
}

/// A fault repeats words of the file, and a terminal is not to obey them.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

fn figure(name: &str, value: f64) -> Result<(), String> {
    if (0.0..=FIGURE_MAX).contains(&value) { Ok(()) } else { Err(format!("{name} is {value}")) }
}
