//! Diagnostics on standard error: one line an event, with the time in UTC. While a bridge runs they go through a
//! [`LineWriter`], since the thread that says them is the one that moves the frames, and nobody need read them (a pager,
//! Ctrl-S, a journal that hangs).

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::line_writer::LineWriter;

/// How long the end of the process waits for somebody to read what was said.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// What diagnostics go through once [`start`] was called.
static DIAGNOSTICS: OnceLock<LineWriter> = OnceLock::new();

/// How much is said, by the names that the Python tool used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum LogLevel {
    /// Every attempt and decision
    Debug,
    /// What comes and goes, and the summary line
    #[default]
    Info,
    /// What was lost or refused
    #[value(alias = "WARN")]
    Warning,
    /// What does not work
    Error,
}

/// Starts to print diagnostics of a bridge.
///
/// # Errors
/// Standard error cannot be had a second time, or no thread be started.
pub fn start(level: LogLevel) -> io::Result<()> {
    let level = match level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warning => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A descriptor of its own: who writes through the standard library's holds a lock while it blocks.
    let output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let writer = LineWriter::start(output, dropped_line)?;
    assert!(DIAGNOSTICS.set(writer).is_ok(), "diagnostics are started once");
    flush_before_panics();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(ansi)
        .with_writer(|| Line)
        .init();
    Ok(())
}

/// Says what the user must know whatever the log level is, after everything that was logged before.
pub fn say(text: &str) {
    let line = format!("{text}\n");
    match DIAGNOSTICS.get() {
        Some(writer) => writer.push(line.as_bytes()),
        // A standard error that takes nothing leaves nobody to tell.
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Waits until all is written, a second at most.
pub fn finish() {
    if let Some(writer) = DIAGNOSTICS.get() {
        // Whoever did not read it until now does not wait for it.
        writer.flush(FLUSH_LIMIT);
    }
}

/// A panic ends the process at once, and says so past the [`LineWriter`].
fn flush_before_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        finish();
        report(panic);
    }));
}

/// The line that stands in the place of lines that nobody read in time, in the form of the others.
fn dropped_line(count: u64) -> String {
    let mut line = String::new();
    SystemTime.format_time(&mut Writer::new(&mut line)).expect("memory takes every write");
    line + &format!("  WARN {count} lines were left out here: standard error was not read in time\n")
}

/// Where `tracing` writes: each event comes in one piece, with its line feed.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(writer) = DIAGNOSTICS.get() {
            writer.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
