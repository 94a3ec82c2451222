//! Keeps the histograms of every interval in a file (`--histogram-log`).

use std::path::Path;

use super::backlog::SharedBacklog;
use super::{Backend, Content, RecordError, Summary, start_writer};
use crate::metrics::histograms::IntervalLog;
use crate::moment::WallTime;

/// A log under way. The text of its lines is made elsewhere ([`IntervalLog`]), its file is written by a task.
///
/// The six lines of a busy interval have some 9 kB together (`bench/micro`), so that a half of the backlog holds more than
/// a hundred intervals; when both are full, lines are left out and counted, as frames are in a recording.
#[derive(Debug)]
pub struct HistogramLog {
    backlog: SharedBacklog,
    writer: tokio::task::JoinHandle<()>,
}

impl HistogramLog {
    /// Opens `path`, to append, and starts the writer as a local task, like [`super::Recording::start`]. `started` is
    /// what the times of all intervals count from.
    ///
    /// # Errors
    /// The file cannot be opened for appending, is a pipe or a socket, or another process writes to it.
    pub fn start(path: &Path, backend: Backend, started: WallTime) -> Result<Self, RecordError> {
        let (backlog, writer) = start_writer(path, backend, Content::Histograms)?;
        let mut log = Self { backlog, writer };
        let mut head = Vec::new();
        IntervalLog::new().write_head(started, &mut head);
        log.write(&head);
        Ok(log)
    }

    /// Takes whole lines. Never waits; without room a line is left out, and counted in the summary.
    pub fn write(&mut self, lines: &[u8]) {
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            self.backlog.borrow_mut().push(line.len(), |text| text.extend_from_slice(line));
        }
    }

    /// Writes what there is and closes the file; the summary counts lines, with those of the log's head. A log that is
    /// dropped instead may lose its last second.
    pub async fn finish(self) -> Summary {
        super::finish(&self.backlog, self.writer, Content::Histograms).await
    }
}
