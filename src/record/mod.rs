//! Keeps the frames that cross in a file: candump's log format (`.log`); and in another the histograms of every
//! interval: HdrHistogram's interval log.
//!
//! ```text
//! Recorder::record ───┐
//!                     ├─► half that fills ... full, or a second old ─► Writer ─► end of the file
//! HistogramLog::write ┘
//! ```
//!
//! The data path only formats text into memory that is there already; a task of the same thread writes it. A file
//! that is slow or refuses never stops a frame: when both halves are full, lines are left out and counted. Knows no
//! bus, session or engine.
//!
//! An existing file is appended to, never overwritten: a bridge that is restarted by its supervisor keeps the
//! recording of the run before. Lines carry absolute times, so a file of several runs stays readable by all tools.

mod backlog;
mod buffer;
mod content;
mod file;
mod histogram_log;
mod writer;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::task::{JoinHandle, spawn_local};

use crate::frame::Image;
use crate::frame::notation::{LOG_LINE_BYTES_MAX, write_log_line};
use backlog::{Backlog, SharedBacklog};
use file::{BlockingFile, UringFile};
use writer::Writer;

pub use content::Content;
pub use histogram_log::HistogramLog;

/// Why a recording could not begin.
#[derive(thiserror::Error, Debug)]
pub enum RecordError {
    /// The suffix names no format.
    #[error("cannot record to {}: its suffix decides the format, and .log (candump's) is the one known", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened for appending.
    #[error(
        "cannot open {content} {}: {source}: give {} a file that can be written",
        path.display(),
        content.option()
    )]
    Open {
        /// What it is for.
        content: Content,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pipe or a socket.
    #[error(
        "cannot {} to {}: it is a pipe or a socket: give {} a regular file",
        content.verb(),
        path.display(),
        content.option()
    )]
    NotAFile {
        /// What it is for.
        content: Content,
        /// The file.
        path: PathBuf,
    },
    /// Another process writes to it, or this one does for another option.
    #[error("{} is being written to already: give {} another file", path.display(), content.option())]
    InUse {
        /// What it is for.
        content: Content,
        /// The file.
        path: PathBuf,
    },
}

/// How the file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Through tokio-uring's ring: the runtime must be tokio-uring's.
    Uring,
    /// In the calling thread, where io_uring is forbidden: a slow disk then delays the bridge.
    Blocking,
}

/// What became of a recording's frames, or of a log's lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Frames, or lines, that are in the file.
    pub recorded: u64,
    /// Those that are not, because both halves were full or the file refused them to the end.
    pub unrecorded: u64,
}

/// A recording under way: the recorder to give frames to, and the task that writes.
#[derive(Debug)]
pub struct Recording {
    recorder: Rc<RefCell<Recorder>>,
    writer: JoinHandle<()>,
}

impl Recording {
    /// Opens `path` and starts the writer as a local task. Must be called within tokio-uring's runtime
    /// ([`Backend::Uring`]) or a tokio `LocalSet` with time enabled ([`Backend::Blocking`]).
    ///
    /// # Errors
    /// The file's suffix names no format, it cannot be opened, it is a pipe or a socket, or something writes to it already.
    pub fn start(path: &Path, backend: Backend) -> Result<Self, RecordError> {
        let (backlog, writer) = start_writer(path, backend, Content::Frames)?;
        Ok(Self { recorder: Rc::new(RefCell::new(Recorder::new(backlog))), writer })
    }

    /// What to give frames to.
    pub fn recorder(&self) -> Rc<RefCell<Recorder>> {
        Rc::clone(&self.recorder)
    }

    /// Writes what there is and closes the file. A recording that is dropped instead may lose its last second.
    pub async fn finish(self) -> Summary {
        let backlog = Rc::clone(&self.recorder.borrow().backlog);
        finish(&backlog, self.writer, Content::Frames).await
    }
}

/// Takes frames as lines of text. Owned by the one thread that moves frames.
#[derive(Debug)]
pub struct Recorder {
    backlog: SharedBacklog,
}

impl Recorder {
    fn new(backlog: SharedBacklog) -> Self {
        Self { backlog }
    }

    /// Takes a frame received or sent at `at_ns` (nanoseconds since 1970, UTC) on `interface`. Allocates nothing
    /// and never waits; without room the frame is counted in [`Recorder::unrecorded`].
    pub fn record(&mut self, at_ns: u64, interface: &str, image: Image<'_>) {
        // The name counts twice, so that a software bus's longer one fits too.
        let line_bytes_max = LOG_LINE_BYTES_MAX + interface.len();
        let write = |text: &mut Vec<u8>| write_log_line(text, at_ns, interface, image);
        self.backlog.borrow_mut().push(line_bytes_max, write);
    }

    /// Frames left out so far: the file was slow or refused, and both halves were full.
    pub fn unrecorded(&self) -> u64 {
        self.backlog.borrow().lost()
    }
}

/// Opens the file and starts the task that writes to it.
fn start_writer(
    path: &Path,
    backend: Backend,
    content: Content,
) -> Result<(SharedBacklog, JoinHandle<()>), RecordError> {
    let (file, mid_line) = file::open(path, content)?;
    let backlog = Rc::new(RefCell::new(Backlog::new(mid_line)));
    let shared = Rc::clone(&backlog);
    let path = path.to_owned();
    let writer = match backend {
        Backend::Uring => match UringFile::new(file) {
            Ok(sink) => spawn_local(Writer::new(shared, sink, path, content).run()),
            Err(source) => return Err(RecordError::Open { content, path, source }),
        },
        Backend::Blocking => spawn_local(Writer::new(shared, BlockingFile(file), path, content).run()),
    };
    Ok((backlog, writer))
}

/// Has everything written, and the file closed.
async fn finish(backlog: &SharedBacklog, writer: JoinHandle<()>, content: Content) -> Summary {
    backlog.borrow_mut().finish();
    if let Err(error) = writer.await {
        tracing::error!("the {content}'s writer ended early: {error}");
    }
    backlog.borrow().summary()
}

#[cfg(test)]
mod tests;
