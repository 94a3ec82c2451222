//! Reports of load tests, which may be anybody's files.

use std::path::{Path, PathBuf};

use canip_peer::report;

use super::assert_one_line;

/// Bytes of input: a document with a histogram has less than ten thousand.
const INPUT_BYTES: usize = 64 * 1024;

/// A document that is taken can be shown, compared, put together with another run's, and written and read again as the same.
pub fn documents(bytes: &[u8]) {
    if bytes.len() > INPUT_BYTES {
        return;
    }
    let path = Path::new("report.json");
    let read = match report::parse(path, bytes) {
        Ok(read) => read,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    let written = serde_json::to_vec(&read).expect("a report is a document");
    assert_eq!(report::parse(path, &written).expect("what was written is read"), read);
    let page = report::Page { width: 80, cuts: true };
    assert!(!report::summary(&read, page, true).is_empty());
    let mut other = read.clone();
    other.started.push('0');
    let pair = [(PathBuf::from("one.json"), read), (PathBuf::from("two.json"), other)];
    assert!(!report::comparison(&pair, page).is_empty());
    assert!(report::comparison_page(&pair).contains("</html>"));
    if let Err(error) = report::merge(&pair) {
        assert_one_line(&error.to_string());
    }
}
