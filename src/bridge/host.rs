//! The runtime that hosts the process: tokio-uring, or plain tokio where io_uring is forbidden.
//!
//! Listening, connecting, timers and signals are tokio's in either, so that they are written once; tokio-uring adds
//! a ring through which recordings are written.

use std::future::Future;
use std::io;

use super::BridgeError;
use crate::config::EngineChoice;
use crate::engine::uring::UringEngine;

/// Which runtime runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// tokio-uring's.
    Uring,
    /// tokio's.
    Tokio,
}

/// What was chosen, and why in words.
pub struct Chosen {
    pub host: Host,
    pub reason: String,
}

impl Host {
    /// Chooses by what the kernel allows.
    ///
    /// # Errors
    /// io_uring was demanded and is not available.
    pub fn choose(choice: EngineChoice) -> Result<Chosen, BridgeError> {
        if choice == EngineChoice::Epoll {
            return Ok(Chosen { host: Self::Tokio, reason: "epoll, as asked for".to_owned() });
        }
        match UringEngine::new() {
            Ok(_) => Ok(Chosen { host: Self::Uring, reason: "io_uring".to_owned() }),
            Err(error) if choice == EngineChoice::Uring => Err(BridgeError::NoUring(error)),
            Err(error) => {
                let reason = format!("epoll, because io_uring is not available: {}", why(&error));
                Ok(Chosen { host: Self::Tokio, reason })
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
