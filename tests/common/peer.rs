//! The version 4.1 peer in Python, as a program that tests start.

use std::path::PathBuf;
use std::process::Command;

use crate::program::Program;

/// Starts the peer with arguments that are separated by white space.
pub fn python_peer(arguments: &str) -> Program {
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "interop", "canip41.py"].iter().collect();
    let mut command = Command::new("python3");
    command.arg(script).args(arguments.split_whitespace());
    Program::start(command)
}
