//! Reports as files. Every file is written beside its place and moved there, all of them together at the end: at a full disk
//! what stood there before is as it was.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::document::{Direction, Latency, Report, Trial};
use super::error::ReportError;
use super::intervals::IntervalHistograms;
use super::{html, names, read};
use crate::metrics::histograms::{Distribution, Unit};

/// The document's own name in its directory.
const DOCUMENT: &str = "report.json";

/// The page beside it.
const PAGE: &str = "report.html";

/// Writes a report into a directory, which is made if there is none: `report.json`, `report.html`, the distribution of each
/// direction of each trial (`trial-01-can0-to-can1.hgrm`) and the interval log of each trial (`trial-01.hlog`). Files by
/// these names are replaced, those of trials that this report does not have are removed, and others are left.
///
/// # Errors
/// A file cannot be written; none of them has changed then. Or the report contradicts itself, so that [`super::read()`] would
/// refuse it.
pub fn write(directory: &Path, report: &Report, intervals: &IntervalHistograms) -> Result<(), ReportError> {
    let existed = directory.exists();
    fs::create_dir_all(directory).map_err(|source| failed(directory, source))?;
    let written = write_all(directory, report, intervals);
    if written.is_err() && !existed {
        // Nothing of ours is left in it. If it has become somebody else's meanwhile, it stays.
        let _ = fs::remove_dir(directory);
    }
    written
}

/// Writes the document alone.
///
/// # Errors
/// As [`write()`].
pub fn write_document(path: &Path, report: &Report) -> Result<(), ReportError> {
    let mut files = Files::default();
    files.add(path.to_owned(), &json(path, report)?)?;
    files.into_place()
}

/// Writes a page alone.
///
/// # Errors
/// The file cannot be written.
pub fn write_page(path: &Path, page: &str) -> Result<(), ReportError> {
    let mut files = Files::default();
    files.add(path.to_owned(), page.as_bytes())?;
    files.into_place()
}

fn write_all(directory: &Path, report: &Report, intervals: &IntervalHistograms) -> Result<(), ReportError> {
    let mut files = Files::default();
    let mut names_of_trials = Vec::new();
    let document = json(&directory.join(DOCUMENT), report)?;
    for (index, trial) in report.trials.iter().enumerate() {
        for direction in &trial.directions {
            let name = names::of_distribution(index, &direction.from, &direction.to);
            files.add(directory.join(&name), distribution(trial, direction).as_bytes())?;
            names_of_trials.push(name);
        }
    }
    for (index, log) in intervals.logs().enumerate() {
        let name = names::of_log(index);
        files.add(directory.join(&name), log)?;
        names_of_trials.push(name);
    }
    files.add(directory.join(PAGE), html::page(report).as_bytes())?;
    // The last to be moved: where it is, the others are.
    files.add(directory.join(DOCUMENT), &document)?;
    files.into_place()?;
    remove_others(directory, &names_of_trials)
}

/// The document's text, which was read back: what cannot be read is not written.
fn json(path: &Path, report: &Report) -> Result<Vec<u8>, ReportError> {
    let mut text = serde_json::to_vec_pretty(report).expect("a report is strings, numbers and lists");
    text.push(b'\n');
    if text.len() as u64 > read::BYTES_MAX {
        return Err(ReportError::TooLarge { path: path.to_owned() });
    }
    read::parse(path, &text)?;
    Ok(text)
}

/// The table of percentiles, from the document's own histogram.
fn distribution(trial: &Trial, direction: &Direction) -> String {
    let title = format!("{} to {}, {}", direction.from, direction.to, trial.label);
    let title = super::units::one_line(&title);
    let histogram = checked_histogram(&direction.latency);
    format!("{}\n", Distribution::new(&title, Unit::Nanoseconds, &histogram))
}

/// The histogram of a document that was checked.
pub(super) fn checked_histogram(latency: &Latency) -> hdrhistogram::Histogram<u64> {
    latency.histogram().expect("the document was checked when it was read, or is about to be written")
}

/// Distributions and logs of an earlier report with more trials would pass for this one's.
fn remove_others(directory: &Path, names: &[String]) -> Result<(), ReportError> {
    let unread = |source| ReportError::Read { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if names::is_of_a_trial(name) && !names.iter().any(|ours| ours == name) {
            let path = directory.join(name);
            fs::remove_file(&path).map_err(|source| failed(&path, source))?;
        }
    }
    Ok(())
}

/// Files that are written, and not yet in their places. Those that never get there are removed.
#[derive(Default)]
struct Files {
    /// Where each one is, and where it belongs.
    waiting: Vec<(PathBuf, PathBuf)>,
}

impl Files {
    fn add(&mut self, place: PathBuf, content: &[u8]) -> Result<(), ReportError> {
        let beside = beside(&place);
        self.waiting.push((beside.clone(), place));
        let place = &self.waiting[self.waiting.len() - 1].1;
        write_whole(&beside, content).map_err(|source| failed(place, source))
    }

    fn into_place(mut self) -> Result<(), ReportError> {
        while !self.waiting.is_empty() {
            let (beside, place) = &self.waiting[0];
            fs::rename(beside, place).map_err(|source| failed(place, source))?;
            self.waiting.remove(0);
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for (beside, _) in &self.waiting {
            // The error that matters was the one before.
            let _ = fs::remove_file(beside);
        }
    }
}

/// `.report.json.1234` in the same directory, so that the move is one within a file system.
fn beside(place: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    place.with_file_name(name)
}

/// Some file systems find out that they are full only when they are made to write.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

pub(super) fn failed(path: &Path, source: io::Error) -> ReportError {
    use io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let advice = match source.kind() {
        StorageFull | QuotaExceeded => "free some space, or choose another place",
        PermissionDenied | ReadOnlyFilesystem => "choose a place that you may write to",
        NotFound => "make its directory first, or choose another place",
        _ => "choose another place",
    };
    ReportError::Write { path: path.to_owned(), source, advice }
}
