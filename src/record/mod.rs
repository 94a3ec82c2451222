//! Keeps the frames that cross in a file: candump's log format (`.log`).
//!
//! ```text
//! Recorder::record -> half that fills ... full, or a second old -> Writer -> end of the file
//! ```
//!
//! The data path only formats text into memory that is there already; a task of the same thread writes it. A file
//! that is slow or refuses never stops a frame: when both halves are full, lines are left out and counted. Knows no
//! bus, session or engine.
//!
//! An existing file is appended to, never overwritten: a bridge that is restarted by its supervisor keeps the
//! recording of the run before. Lines carry absolute times, so a file of several runs stays readable by all tools.

mod buffer;
mod file;
mod writer;

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use crate::frame::Image;
use crate::frame::notation::{LOG_LINE_BYTES_MAX, write_log_line};
use buffer::Halves;
use file::{BlockingFile, UringFile};
use writer::Writer;

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
    #[error("cannot open recording {}: {source}: give --record a file that can be written", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pipe or a socket.
    #[error("cannot record to {}: it is a pipe or a socket: give --record a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Another recorder has it open.
    #[error("another process records to {}: give --record another file", path.display())]
    InUse {
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

/// What became of a recording's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Frames that are in the file.
    pub recorded: u64,
    /// Frames that are not, because both halves were full or the file refused them to the end.
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
    pub fn start(path: &Path, backend: Backend) -> Result<Self, RecordError> {
        let (file, mid_line) = file::open(path)?;
        let recorder = Rc::new(RefCell::new(Recorder::new(mid_line)));
        let shared = Rc::clone(&recorder);
        let writer = match backend {
            Backend::Uring => {
                let sink = UringFile::new(file)
                    .map_err(|source| RecordError::Open { path: path.to_owned(), source })?;
                spawn_local(Writer::new(shared, sink, path.to_owned()).run())
            }
            Backend::Blocking => spawn_local(Writer::new(shared, BlockingFile(file), path.to_owned()).run()),
        };
        Ok(Self { recorder, writer })
    }

    /// What to give frames to.
    pub fn recorder(&self) -> Rc<RefCell<Recorder>> {
        Rc::clone(&self.recorder)
    }

    /// Writes what there is and closes the file. A recording that is dropped instead may lose its last second.
    pub async fn finish(self) -> Summary {
        self.recorder.borrow_mut().finish();
        if let Err(error) = self.writer.await {
            tracing::error!("the recording's writer ended early: {error}");
        }
        let recorder = self.recorder.borrow();
        Summary { recorded: recorder.recorded, unrecorded: recorder.unrecorded }
    }
}

/// Takes frames as lines of text. Owned by the one thread that moves frames.
#[derive(Debug)]
pub struct Recorder {
    halves: Halves,
    work: Rc<Notify>,
    finishing: bool,
    recorded: u64,
    unrecorded: u64,
}

impl Recorder {
    fn new(mid_line: bool) -> Self {
        let mut halves = Halves::new();
        if mid_line && let Some(text) = halves.room(1) {
            // The line that somebody did not finish stays alone.
            text.push(b'\n');
        }
        Self { halves, work: Rc::new(Notify::new()), finishing: false, recorded: 0, unrecorded: 0 }
    }

    /// Takes a frame received or sent at `at_ns` (nanoseconds since 1970, UTC) on `interface`. Allocates nothing
    /// and never waits; without room the frame is counted in [`Recorder::unrecorded`].
    pub fn record(&mut self, at_ns: u64, interface: &str, image: Image<'_>) {
        let was_full = self.halves.is_full();
        // The name counts twice, so that a software bus's longer one fits too.
        let line_bytes_max = LOG_LINE_BYTES_MAX + interface.len();
        let room = if self.finishing { None } else { self.halves.room(line_bytes_max) };
        let Some(text) = room else {
            self.unrecorded += 1;
            return;
        };
        write_log_line(text, at_ns, interface, image);
        self.recorded += 1;
        if self.halves.is_full() && !was_full {
            self.work.notify_one();
        }
    }

    /// Frames left out so far: the file was slow or refused, and both halves were full.
    pub fn unrecorded(&self) -> u64 {
        self.unrecorded
    }

    fn finish(&mut self) {
        self.finishing = true;
        self.work.notify_one();
    }

    fn is_finishing(&self) -> bool {
        self.finishing
    }

    fn work(&self) -> Rc<Notify> {
        Rc::clone(&self.work)
    }

    fn take(&mut self, aged: bool) -> Option<Vec<u8>> {
        self.halves.take(aged)
    }

    fn give_back(&mut self, half: Vec<u8>) {
        self.halves.give_back(half);
    }

    /// Text that will not reach the file after all.
    fn count_lost(&mut self, text: &[u8]) {
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.recorded = self.recorded.saturating_sub(lines);
        self.unrecorded += lines;
    }
}

#[cfg(test)]
mod tests;
