//! A descriptor that a task of the runtime can wait for.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::unix::AsyncFd;

/// Waits for a descriptor to become readable, on a duplicate of its own.
#[derive(Debug)]
pub struct Readiness {
    duplicate: AsyncFd<OwnedFd>,
}

impl Readiness {
    /// Registers the descriptor with the runtime that the caller runs in.
    ///
    /// # Errors
    /// The kernel's: too many descriptors.
    pub fn of(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let duplicate = descriptor.try_clone_to_owned()?;
        // SAFETY: an owned descriptor stays open, and the same, for as long as the registration holds it.
        let registered = unsafe { AsyncFd::register(duplicate) };
        Ok(Self { duplicate: registered.map_err(|error| error.into_parts().1)? })
    }

    /// Comes back once the descriptor has become readable since the last time.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.duplicate.readable().await?.clear_ready();
        Ok(())
    }
}
