//! The command line.

mod bus_argument;
mod clock;
pub mod dump;
pub mod send;

use std::process::ExitCode;

pub use bus_argument::CanInterface;

/// Parses the command line and runs the command it names.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
