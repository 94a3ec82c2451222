//! The client that a test of a link starts, as it would be deployed.

use tokio::time::{Instant, timeout_at};

use super::super::error::BenchError;
use super::super::process::{BridgeProcess, PATIENCE, note};
use super::Link;
use crate::wire::echo;

/// A client that is connected, and whose server answers.
#[derive(Debug)]
pub struct Client {
    pub process: BridgeProcess,
    /// The engine that it says it uses.
    pub engine: String,
}

/// What was waited for.
const CONNECTED: &str = "connected to ";

/// What a client says that will not be connected, or not as it should.
const FAILURES: [&str; 4] = ["cannot connect to ", " did not greet", " refused: ", " ended: "];

/// What it says of a server that has no bus for load tests.
const REFUSAL: &str = "answers no load tests";

impl Client {
    /// Starts it, with these options, and waits until it is connected.
    ///
    /// # Errors
    /// The server is not there, or does not answer load tests; or the client does not run.
    pub async fn start(link: &Link, options: &[String]) -> Result<Self, BenchError> {
        let bus = format!("{}={}", echo::BUS, link.near.name());
        let port = link.server.port.to_string();
        // No other version knows buses by name: what is sent must not get to a bus that somebody uses.
        let words =
            ["--protocol", "5", "--can-interface", "software", "--stats-interval", "0", "--can", &bus];
        let target = ["--host", &link.server.host, "--port", &port];
        let words = words.into_iter().chain(target).map(str::to_owned);
        let arguments: Vec<String> = words.chain(options.iter().cloned()).collect();
        let mut process = BridgeProcess::start("client", &arguments)?;
        let mut engine = String::new();
        let mut said = "nothing".to_owned();
        let deadline = Instant::now() + PATIENCE;
        while let Ok(Some(line)) = timeout_at(deadline, process.next_line()).await {
            if line.contains(REFUSAL) {
                return Err(BenchError::NotAllowed(link.server.to_string()));
            }
            if FAILURES.iter().any(|failure| line.contains(failure)) {
                return Err(BenchError::NoLink(complaint(&line)));
            }
            if line.contains(CONNECTED) {
                return Ok(Self { process, engine });
            }
            if let Some((_, name)) = line.split_once("engine: ") {
                engine = name.to_owned();
            }
            note(&mut said, line);
        }
        Err(process.silent(CONNECTED, said).into())
    }
}

/// What a log line says, without its time and level, and without what only concerns a client that tries on.
fn complaint(line: &str) -> String {
    let said = line.split_once(" WARN ").map_or(line, |(_, said)| said);
    said.strip_suffix("; trying again").unwrap_or(said).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_told_as_a_sentence() {
        let line = "2026-11-24T12:00:00.000000Z  WARN cannot connect to pi:3333: no; trying again";
        assert_eq!(complaint(line), "cannot connect to pi:3333: no");
    }
}
