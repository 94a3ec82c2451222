//! Results of load tests as documents: JSON, text, HTML; compared and merged.
//!
//! ```text
//!  measured ──► Report ──► summary   a screen of text
//!                 │  ▲
//!                 ▼  │ read
//!     write: report.json, report.html, trial-01-can0-to-can1.hgrm, trial-01.hlog
//! ```
//!
//! A document that [`read()`] gives back is whole, bounded, and agrees with itself; [`write()`] refuses one that does not.

mod compare;
pub mod document;
mod error;
mod files;
mod html;
mod intervals;
mod latency;
mod merge;
mod names;
mod place;
mod read;
mod summary;
mod text;
pub mod units;

pub use error::ReportError;
pub use files::{write, write_document, write_page};
pub use intervals::IntervalHistograms;
pub use latency::HistogramError;
pub use merge::merge;
pub use place::prepare;
pub use read::{parse, read};
pub use summary::{BURST_LABEL, summary};
pub use text::Page;

use std::path::{Path, PathBuf};

/// Reports beside each other, as text for a terminal of `width` columns. Names are made from the files'.
pub fn comparison(reports: &[(PathBuf, document::Report)], page: Page) -> String {
    let reports = named(reports);
    compare::Comparison::of(&reports).text(page)
}

/// Reports beside each other on one page, their curves over each other.
pub fn comparison_page(reports: &[(PathBuf, document::Report)]) -> String {
    let reports = named(reports);
    html::comparison_page(&compare::Comparison::of(&reports))
}

fn named(reports: &[(PathBuf, document::Report)]) -> Vec<(String, document::Report)> {
    let paths: Vec<&Path> = reports.iter().map(|(path, _)| path.as_path()).collect();
    let names = compare::names_of(&paths);
    names.into_iter().zip(reports).map(|(name, (_, report))| (name, report.clone())).collect()
}
