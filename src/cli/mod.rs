//! The command line: parses it into plain configuration, runs the command, and turns the result into an exit status
//! (0 done, 1 failed, 2 wrong usage).

mod bus_argument;
mod clock;
mod demo;
mod dump;
mod link;
mod logging;
mod send;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bridge;
use crate::config::Side;

/// A bridge between CAN buses over TCP/IP that loses no frame unnoticed.
#[derive(Parser, Debug)]
#[command(name = "canip_peer", version, arg_required_else_help = true, infer_long_args = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Listen for clients and bridge each of them to a CAN bus.
    Server(link::ServerArgs),
    /// Connect to a server, again and again, and bridge it to a CAN bus.
    Client(link::ClientArgs),
    Send(send::SendArguments),
    Dump(dump::DumpArguments),
    Demo(demo::DemoArguments),
}

/// Why a command failed.
enum Failure {
    /// The command line says something that cannot be meant.
    Usage(String),
    /// The command could not do its work.
    Runtime(String),
}

impl Failure {
    fn new(is_usage: bool, error: &impl ToString) -> Self {
        if is_usage { Self::Usage(error.to_string()) } else { Self::Runtime(error.to_string()) }
    }
}

/// Parses the command line and runs the command it names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Server(args) => run_bridge(&args.link, args.side()),
        Command::Client(args) => run_bridge(&args.link, args.side()),
        Command::Send(args) => send::run(&args).map_err(|error| Failure::new(error.is_usage(), &error)),
        Command::Demo(args) => demo::run(&args).map_err(|error| Failure::Runtime(error.to_string())),
        Command::Dump(args) => dump::run(&args).map_err(|error| Failure::new(error.is_usage(), &error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("canip_peer: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Runtime(message)) => {
            eprintln!("canip_peer: {message}");
            ExitCode::from(1)
        }
    }
}

fn run_bridge(link: &link::LinkArgs, side: Side) -> Result<(), Failure> {
    logging::start(link.log_level);
    let config = link.to_config()?;
    bridge::run(config, side).map_err(|error| Failure::Runtime(error.to_string()))
}
