//! Whether a report can go where it is to go, before there is one.

use std::fs;
use std::path::Path;

use super::error::ReportError;
use super::files::failed;

/// A file that is there for a moment.
const PROBE: &str = ".canip_peer-bench";

/// Makes the directory if there is none, and tries to write into it.
///
/// # Errors
/// It cannot be made or written to.
pub fn prepare(directory: &Path) -> Result<(), ReportError> {
    let probe = directory.join(PROBE);
    let tried = fs::create_dir_all(directory)
        .and_then(|()| fs::write(&probe, "canip_peer\n"))
        .and_then(|()| fs::remove_file(&probe));
    tried.map_err(|source| failed(directory, source))
}
