//! The `canip_peer` program: parse the command line, run the command, turn its result into an exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    canip_peer::cli::main()
}
