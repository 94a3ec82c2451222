//! Keeps the histograms of every interval in a file (`--histogram-log`).

use std::path::Path;
use std::time::Duration;

use super::backlog::SharedBacklog;
use super::{Backend, Content, RecordError, Summary, start_writer};
use crate::metrics::histograms::{HistogramSet, IntervalLog};
use crate::moment::WallTime;

/// A log under way. The text of a line is made by the caller's thread, its file is written by a task.
///
/// The six lines of a busy interval have some 9 kB together (`bench/micro`), so that a half of the backlog holds more than
/// a hundred intervals; when both are full, lines are left out and counted, as frames are in a recording.
#[derive(Debug)]
pub struct HistogramLog {
    backlog: SharedBacklog,
    writer: tokio::task::JoinHandle<()>,
    log: IntervalLog,
    /// Where a line is made, since its length is known only then.
    line: Vec<u8>,
}

impl HistogramLog {
    /// Opens `path`, to append, and starts the writer as a local task, like [`super::Recording::start`]. `started` is
    /// what the times of all intervals count from.
    ///
    /// # Errors
    /// The file cannot be opened for appending, is a pipe or a socket, or another process writes to it.
    pub fn start(path: &Path, backend: Backend, started: WallTime) -> Result<Self, RecordError> {
        let (backlog, writer) = start_writer(path, backend, Content::Histograms)?;
        let mut log = IntervalLog::new();
        let mut line = Vec::new();
        log.write_head(started, &mut line);
        for head in line.split_inclusive(|&byte| byte == b'\n') {
            backlog.borrow_mut().push(head.len(), |text| text.extend_from_slice(head));
        }
        Ok(Self { backlog, writer, log, line })
    }

    /// Takes every histogram of `set` that holds a value, one line each. The interval began `start` after the log and
    /// ran for `length`: both by a clock that nobody sets, so that the log's intervals never overlap. Never waits;
    /// without room a line is counted in [`HistogramLog::unwritten`].
    pub fn write(&mut self, set: &HistogramSet, start: Duration, length: Duration) {
        for (kind, histogram) in set.recorded() {
            self.line.clear();
            self.log.write_line(kind, histogram, start, length, &mut self.line);
            let line = &self.line;
            self.backlog.borrow_mut().push(line.len(), |text| text.extend_from_slice(line));
        }
    }

    /// Lines left out so far: the file was slow or refused, and both halves were full.
    pub fn unwritten(&self) -> u64 {
        self.backlog.borrow().lost()
    }

    /// Writes what there is and closes the file; the summary counts lines, with those of the log's head. A log that is
    /// dropped instead may lose its last second.
    pub async fn finish(self) -> Summary {
        super::finish(&self.backlog, self.writer, Content::Histograms).await
    }
}
