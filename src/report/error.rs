//! What can go wrong with documents and their files. Each is one line that names the file.

use std::io;
use std::path::PathBuf;

/// Why a report cannot be read, written, or put together.
#[derive(thiserror::Error, Debug)]
pub enum ReportError {
    /// The file does not open, or stops being readable.
    #[error("{}: cannot read: {source}{}", .path.display(), reading_advice(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Larger than any report.
    #[error("{}: larger than {} MiB: no report of a load test", .path.display(), super::read::BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON.
    #[error("{}: not JSON ({fault}): give the report.json that `bench --out` wrote", .path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where it stops being so.
        fault: String,
    },
    /// JSON of something else.
    #[error("{}: no report of a load test: give the report.json that `bench --out` wrote", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A form of another time.
    #[error("{}: version {version} of the form; this program reads version {}", .path.display(), super::document::VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        version: String,
    },
    /// Fields are missing, or hold what they cannot.
    #[error("{}: damaged: {fault}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which, and where.
        fault: String,
    },
    /// Figures that contradict each other.
    #[error("{}: does not agree with itself: {fault}", .path.display())]
    Inconsistent {
        /// The file.
        path: PathBuf,
        /// Which.
        fault: String,
    },
    /// The file cannot be written. Nothing is left of it, and what stood there before is as it was.
    #[error("{}: cannot write: {source}: {advice}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// What is in a sum twice counts twice.
    #[error("{}: the same report as {}: give each run's once", .path.display(), .first.display())]
    Twice {
        /// Where it was before.
        first: PathBuf,
        /// Where it is again.
        path: PathBuf,
    },
    /// Reports of different things.
    #[error("{}: cannot be merged with {}: {difference}", .path.display(), .first.display())]
    Different {
        /// The first report.
        first: PathBuf,
        /// The one that does not fit to it.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
}

/// What the user can do about a file that cannot be read.
fn reading_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => {
            ": give the report.json that `bench --out` wrote into its folder"
        }
        io::ErrorKind::PermissionDenied => ": it takes the right to read it",
        _ => "",
    }
}
