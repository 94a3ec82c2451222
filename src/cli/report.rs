//! `canip_peer report`: shows, compares and merges the reports of load tests.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::screen::{self, is_coloured, page};
use crate::report::document::Report;
use crate::report::{self, IntervalHistograms, ReportError};

/// Show, compare and merge the reports of load tests
#[derive(Args, Clone, Debug)]
pub struct ReportArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Print a report's summary
    Show {
        /// The report.json that `bench --out` wrote
        #[arg(value_name = "FILE.json")]
        file: PathBuf,
    },
    /// Print how reports differ from the first one, and draw their curves over each other
    Compare {
        /// Two reports or more
        #[arg(value_name = "FILE.json", num_args = 2.., required = true)]
        files: Vec<PathBuf>,
        /// Write a page with their curves
        #[arg(long, value_name = "FILE.html")]
        out: Option<PathBuf>,
    },
    /// Add up reports of the same load
    Merge {
        /// Two reports or more
        #[arg(value_name = "FILE.json", num_args = 2.., required = true)]
        files: Vec<PathBuf>,
        /// Write the document alone, or a directory with the page and the distributions
        #[arg(long, value_name = "FILE.json|DIR")]
        out: PathBuf,
    },
}

/// Why there is nothing to see.
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// A file is no report, cannot be written, or does not fit to the others.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Standard output takes no more.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Does what the arguments say.
///
/// # Errors
/// A file cannot be read or written, or the reports do not fit together.
pub fn run(arguments: &ReportArguments) -> Result<(), Error> {
    match &arguments.action {
        Action::Show { file } => show(file),
        Action::Compare { files, out } => compare(files, out.as_deref()),
        Action::Merge { files, out } => merge(files, out),
    }
}

fn show(file: &Path) -> Result<(), Error> {
    let report = report::read(file)?;
    print(&report::summary(&report, page(), is_coloured()))
}

fn compare(files: &[PathBuf], out: Option<&Path>) -> Result<(), Error> {
    let reports = read_all(files)?;
    // The page first: who sees the table has the page, too.
    if let Some(path) = out {
        report::write_page(path, &report::comparison_page(&reports))?;
    }
    print(&report::comparison(&reports, page()))
}

fn merge(files: &[PathBuf], out: &Path) -> Result<(), Error> {
    let merged = report::merge(&read_all(files)?)?;
    if out.extension() == Some(OsStr::new("json")) {
        report::write_document(out, &merged)?;
    } else {
        report::write(out, &merged, &IntervalHistograms::new())?;
    }
    print(&report::summary(&merged, page(), is_coloured()))
}

fn read_all(files: &[PathBuf]) -> Result<Vec<(PathBuf, Report)>, Error> {
    files.iter().map(|file| Ok((file.clone(), report::read(file)?))).collect()
}

fn print(text: &str) -> Result<(), Error> {
    screen::print(text).map_err(Error::Output)
}
