//! The file behind a recording or a log: how it is opened, and its two ways to write. Knows no line and no buffer policy.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use tokio_uring::buf::BoundedBuf;

use super::{Content, RecordError};

/// An opened file, and whether what it ends with is a line that somebody did not finish.
pub(super) type Opened = (File, bool);

/// Opens for appending, makes the file if there is none, and keeps others off it while it is open. A recording's
/// suffix decides its format, and there is one; a log of histograms may have any.
pub(super) fn open(path: &Path, content: Content) -> Result<Opened, RecordError> {
    if content == Content::Frames && path.extension().is_none_or(|suffix| suffix != "log") {
        return Err(RecordError::UnknownFormat { path: path.to_owned() });
    }
    let failed = |source| RecordError::Open { content, path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let kind = metadata.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Err(RecordError::NotAFile { content, path: path.to_owned() });
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(RecordError::InUse { content, path: path.to_owned() }),
        // Some network file systems have no locks; recording is worth more than the check.
        Err(TryLockError::Error(error)) => {
            tracing::warn!("{}: cannot keep others off this file: {error}", path.display());
        }
    }
    let mut last = [b'\n'];
    if let Some(end) = metadata.len().checked_sub(1) {
        file.read_exact_at(&mut last, end).map_err(failed)?;
    }
    Ok((file, last != [b'\n']))
}

/// Where a writer puts bytes: at the end of the file, always (`O_APPEND`).
pub(super) trait Sink {
    /// Writes from `half[from..]` what the file takes at once; gives the half back.
    async fn write(&self, half: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>);

    /// Takes the last `bytes` bytes off the file.
    fn cut(&self, bytes: u64) -> io::Result<()>;
}

/// Writes in the calling thread: for hosts without io_uring.
#[derive(Debug)]
pub(super) struct BlockingFile(pub(super) File);

/// A process that is being started elsewhere in this one has a copy of the descriptor for a moment, and with it the lock.
impl Drop for BlockingFile {
    fn drop(&mut self) {
        unlock(&self.0);
    }
}

impl Sink for BlockingFile {
    async fn write(&self, half: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
        ((&self.0).write(&half[from..]), half)
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        cut(&self.0, bytes)
    }
}

/// Writes through tokio-uring's ring, so that a slow disk stops nobody. Needs its runtime, which submits a write
/// when the thread parks.
pub(super) struct UringFile {
    ring: tokio_uring::fs::File,
    file: File,
}

impl UringFile {
    pub(super) fn new(file: File) -> io::Result<Self> {
        Ok(Self { ring: tokio_uring::fs::File::from_std(file.try_clone()?), file })
    }
}

/// The ring closes its descriptor when it comes to it. Until then nobody else could write to the file.
impl Drop for UringFile {
    fn drop(&mut self) {
        unlock(&self.file);
    }
}

impl Sink for UringFile {
    async fn write(&self, half: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
        // The offset is the kernel's to choose: the file appends.
        let (result, rest) = self.ring.write_at(half.slice(from..), 0).submit().await;
        (result, rest.into_inner())
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        cut(&self.file, bytes)
    }
}

/// Lets others write to the file, whoever has a copy of its descriptor.
fn unlock(file: &File) {
    if let Err(error) = file.unlock() {
        tracing::debug!("a file that was written to stays locked for a moment: {error}");
    }
}

fn cut(file: &File, bytes: u64) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    file.set_len(metadata.len().saturating_sub(bytes))
}
