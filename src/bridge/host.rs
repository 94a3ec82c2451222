//! The runtime that hosts the process: tokio-uring, or plain tokio where io_uring is forbidden.
//!
//! Listening, connecting, timers and signals are tokio's in either, so that they are written once; tokio-uring adds
//! a ring through which recordings are written.

use std::future::Future;
use std::io;

use tracing::info;

use super::BridgeError;
use crate::config::EngineChoice;
use crate::engine::Engine;
use crate::engine::uring::UringEngine;

/// Which runtime runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// tokio-uring's.
    Uring,
    /// tokio's.
    Tokio,
}

impl Host {
    /// Chooses by what the kernel allows, and says what it chose and why.
    ///
    /// # Errors
    /// io_uring was demanded and is not to be had.
    pub fn choose(choice: EngineChoice) -> Result<Self, BridgeError> {
        if choice == EngineChoice::Epoll {
            info!("engine: epoll, as asked for");
            return Ok(Self::Tokio);
        }
        match UringEngine::new() {
            Ok(_) => {
                info!("engine: io_uring");
                Ok(Self::Uring)
            }
            Err(error) if choice == EngineChoice::Uring => Err(BridgeError::NoUring(error)),
            Err(error) => {
                info!("engine: epoll, because io_uring is not to be had: {}", why(&error));
                Ok(Self::Tokio)
            }
        }
    }

    /// Runs a future, and the local tasks that it spawns, to its end.
    ///
    /// # Errors
    /// The runtime cannot be set up.
    pub fn run<T>(self, future: impl Future<Output = T>) -> io::Result<T> {
        match self {
            Self::Uring => Ok(tokio_uring::Runtime::new(&tokio_uring::builder())?.block_on(future)),
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let local = tokio::task::LocalSet::new();
                Ok(runtime.block_on(local.run_until(future)))
            }
        }
    }

    /// Lets the other tasks of this thread run. tokio-uring submits only when its thread parks, and a task that is
    /// always ready would keep it from that; waiting for an operation of its ring does not.
    ///
    /// # Errors
    /// The runtime's ring is broken.
    pub async fn breathe(self) -> io::Result<()> {
        match self {
            Self::Uring => tokio_uring::no_op().await,
            Self::Tokio => {
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }
}

/// The usual reasons for a kernel not to give a ring, in words.
pub fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            "forbidden by a seccomp profile or by kernel.io_uring_disabled (EPERM)".to_owned()
        }
        Some(libc::ENOSYS) => "forbidden by a seccomp profile, or a kernel without it (ENOSYS)".to_owned(),
        Some(libc::EINVAL) => "the kernel is older than 6.1 (EINVAL)".to_owned(),
        Some(libc::ENOMEM) => "no memory may be locked for it: see ulimit -l (ENOMEM)".to_owned(),
        _ => error.to_string(),
    }
}
