//! The command line: parses it into plain configuration, runs the command, and turns the result into an exit status
//! (0 done, 1 failed, 2 wrong usage; of a load test also 3, the path failed, and 130, interrupted).

mod bench;
mod bounds;
mod bus_argument;
mod clock;
mod demo;
mod dump;
mod line_writer;
mod link;
mod logging;
mod report;
mod screen;
mod send;
mod values;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use tracing::debug;

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
    Bench(bench::BenchArguments),
    Report(report::ReportArguments),
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
    let result = Cli::try_parse().map_err(refuse).and_then(|cli| run(cli.command));
    let (message, status) = match result {
        Ok(status) => (None, status),
        Err(Failure::Usage(message)) => (Some(message), 2),
        Err(Failure::Runtime(message)) => (Some(message), 1),
    };
    if let Some(message) = message {
        logging::say(&format!("canip_peer: {message}"));
    }
    logging::finish();
    ExitCode::from(status)
}

/// Prints help, or the usage where the form of the command line is wrong, and ends the process; what is wrong with one
/// value fits into a line.
fn refuse(error: clap::Error) -> Failure {
    match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => Failure::Usage(one_line(&error.to_string())),
        _ => error.exit(),
    }
}

/// The first paragraph of clap's message, without its heading.
fn one_line(message: &str) -> String {
    let paragraph = message.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let line = paragraph.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn run(command: Command) -> Result<u8, Failure> {
    let done = match command {
        Command::Bench(args) => return bench::run(&args),
        Command::Server(args) => run_bridge(&args.link, args.side()?),
        Command::Client(args) => run_bridge(&args.link, args.side()),
        Command::Send(args) => send::run(&args).map_err(|error| Failure::new(error.is_usage(), &error)),
        Command::Demo(args) => demo::run(&args).map_err(|error| Failure::Runtime(error.to_string())),
        Command::Report(args) => report::run(&args).map_err(|error| Failure::Runtime(error.to_string())),
        Command::Dump(args) => dump::run(&args).map_err(|error| Failure::new(error.is_usage(), &error)),
    };
    done.map(|()| 0)
}

fn run_bridge(link: &link::LinkArgs, side: Side) -> Result<(), Failure> {
    logging::start(link.log_level())
        .map_err(|error| Failure::Runtime(format!("cannot print diagnostics: {error}")))?;
    if let Some(parent) = link.parent() {
        end_with(parent)?;
    }
    let config = link.to_config()?;
    raise_open_files();
    bridge::run(config, side).map_err(|error| Failure::new(error.is_usage(), &error))
}

/// Ends this process when its parent ends, or has ended already.
fn end_with(parent: u32) -> Result<(), Failure> {
    set_pdeathsig(Signal::SIGTERM)
        .map_err(|errno| Failure::Runtime(format!("cannot be told of the end of its parent: {errno}")))?;
    match std::os::unix::process::parent_id() == parent {
        true => Ok(()),
        false => Err(Failure::Runtime(format!(
            "--with-parent {parent}: that process is not its parent, or not any more"
        ))),
    }
}

/// Every connection of a server takes a TCP and a CAN socket, and most systems allow a process 1,024 descriptors, the
/// limit of select(2), unless it asks for more.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok((soft, hard))
    });
    match raised {
        Ok((soft, hard)) => debug!("open files: {hard} allowed, {soft} before"),
        Err(error) => debug!("open files: the limit stays as it is: {error}"),
    }
}
