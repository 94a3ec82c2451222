//! Diagnostics on standard error: one line an event, with the time in UTC.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::Level;

/// How much is said, by the names that the Python tool used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum LogLevel {
    /// Every attempt and decision.
    Debug,
    /// What comes and goes, and the summary line.
    #[default]
    Info,
    /// What was lost or refused.
    #[value(alias = "WARN")]
    Warning,
    /// What does not work.
    Error,
}

/// Starts to print diagnostics.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warning => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .init();
}
