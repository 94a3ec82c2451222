//! What a file is for, and how that is worded to the user.

use std::fmt;
use std::io;
use std::path::Path;

use crate::metrics::{counted, was};

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Frames, in candump's log format.
    Frames,
    /// Histograms, as HdrHistogram's interval log.
    Histograms,
}

impl Content {
    /// The option that names the file.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Frames => "--record",
            Self::Histograms => "--histogram-log",
        }
    }

    /// What is done to the file.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Frames => "record",
            Self::Histograms => "log histograms",
        }
    }

    /// Said once when the file begins to refuse.
    pub(super) fn failing(self, path: &Path, error: &io::Error) -> String {
        let path = path.display();
        match self {
            Self::Frames => format!(
                "cannot write recording {path}: {error}: the bridge goes on, and recording when the file can be written"
            ),
            Self::Histograms => format!(
                "cannot write histogram log {path}: {error}: the bridge goes on, and the log when the file can be written"
            ),
        }
    }

    /// Said when it takes text again.
    pub(super) fn working(self, path: &Path, lost: u64) -> String {
        let path = path.display();
        match self {
            Self::Frames => format!(
                "recording {path} again: {} {} not recorded meanwhile",
                counted(lost, "frame"),
                was(lost)
            ),
            Self::Histograms => format!(
                "histogram log {path} goes on: {} {} not written meanwhile",
                counted(lost, "histogram"),
                was(lost)
            ),
        }
    }
}

/// As it stands before the file's name.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frames => "recording",
            Self::Histograms => "histogram log",
        })
    }
}
