//! What can go wrong with a bus, as the user reads it.

use std::fmt;
use std::io;

/// Why a bus could not be opened.
#[derive(thiserror::Error, Debug)]
pub enum BusError {
    /// A software bus cannot have this name.
    #[error(
        "software bus name {name:?} is not usable: give 1 to 64 letters, digits, '_', '-' or '.', \
         for example bus0"
    )]
    SoftwareName {
        /// As it was given.
        name: String,
    },
    /// A software bus cannot be paced at this bit rate.
    #[error(
        "software bus {name} cannot be paced at {bit_rate} bit/s: give 1000 to 1000000, for example {name}@500000"
    )]
    SoftwareBitRate {
        /// The bus.
        name: String,
        /// Bits per second, as asked for.
        bit_rate: u32,
    },
    /// The bus is paced otherwise than this joiner asks for.
    #[error(
        "software bus {name} is {actual}, not {asked}: name it without a bit rate to join it as it is, \
         or choose another name"
    )]
    SoftwarePace {
        /// The bus.
        name: String,
        /// What was asked for.
        asked: Pace,
        /// What the bus has.
        actual: Pace,
    },
    /// The bus has as many members as it takes.
    #[error("software bus {name} has its {members} members: end one of them, or choose another name")]
    SoftwareFull {
        /// The bus.
        name: String,
        /// The limit.
        members: u32,
    },
    /// Somebody holds the name of the bus and does not answer.
    #[error(
        "software bus {name} does not answer{}: end that process if it hangs, or choose another name",
        Host(*pid)
    )]
    SoftwareSilent {
        /// The bus.
        name: String,
        /// The process that hosts it, 0 if not known.
        pid: i32,
    },
    /// Somebody holds the name of the bus and answers otherwise than a bus does.
    #[error("software bus {name}: what answers is no bus of this version{}: choose another name", Host(*pid))]
    SoftwareForeign {
        /// The bus.
        name: String,
        /// The process that answered, 0 if not known.
        pid: i32,
    },
    /// The kernel refused a step of joining a software bus.
    #[error("software bus {name}: cannot {operation}: {source}")]
    SoftwareSystem {
        /// The bus.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Whether a software bus is paced, in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace(pub Option<u32>);

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bit_rate) => write!(f, "paced at {bit_rate} bit/s"),
            None => f.write_str("not paced"),
        }
    }
}

struct Host(i32);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 { write!(f, " (process {} hosts it)", self.0) } else { Ok(()) }
    }
}
