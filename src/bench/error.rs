//! Why a load test did not come to a result.

use std::io;

use super::path::PathError;
use super::process::ProcessError;
use crate::load::LoadError;

/// Why a load test did not come to a result.
#[derive(thiserror::Error, Debug)]
pub enum BenchError {
    /// There is no path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Our own bridge does not run.
    #[error(transparent)]
    Bridge(#[from] ProcessError),
    /// A bus that was open cannot be used any more.
    #[error("cannot {operation} {bus}: {source}")]
    Bus {
        /// Its name.
        bus: String,
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The path is broken.
    #[error(
        "of {sent} frames that were sent into {from}, none came out of {to}: is there a bridge between them?"
    )]
    NothingArrives {
        /// Frames sent.
        sent: u64,
        /// Where to.
        from: String,
        /// Where they were looked for.
        to: String,
    },
    /// The path leads back.
    #[error(
        "frames that were sent into {0} come out of it again: the path loops (a second bridge, or both ends on one bus)"
    )]
    Loops(String),
    /// The server has no bus for load tests.
    #[error("{0} answers no load tests: start it there with: canip_peer server --can can0 --allow-bench")]
    NotAllowed(String),
    /// The server cannot be reached, or is none.
    #[error("{0}")]
    NoLink(String),
    /// The server has the bus, and nobody answers on it.
    #[error("{0} answers no load tests just now, although it is told to: its log says why")]
    NothingComesBack(String),
    /// A method that cannot be had with this load.
    #[error("{0} needs {1}")]
    NotForThisLoad(&'static str, &'static str),
    /// A step of a sweep that cannot be.
    #[error(
        "--sweep goes from a tenth to twelve tenths of the load, and its step of {label} cannot be: {source}"
    )]
    Step {
        /// The step.
        label: String,
        /// Why not.
        source: LoadError,
    },
    /// A load that cannot be.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Our own bridge has ended.
    #[error("the {role} has ended before the test was over; it said: {said}")]
    BridgeEnded {
        /// Which of the two.
        role: &'static str,
        /// Its last line.
        said: String,
    },
    /// The system refused a step.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl BenchError {
    /// A bus failed.
    pub fn bus(name: &str, operation: &'static str, source: io::Error) -> Self {
        Self::Bus { bus: name.to_owned(), operation, source }
    }

    /// The system failed.
    pub fn system(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { operation, source }
    }

    /// Whether the command line is at fault.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Path(error) => error.is_usage(),
            Self::Bridge(error) => error.is_usage(),
            Self::NotForThisLoad(..) | Self::Step { .. } | Self::Load(_) => true,
            _ => false,
        }
    }
}
