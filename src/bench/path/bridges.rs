//! The bridge that a test starts for itself: server and client, as they would be deployed on two hosts.

use std::collections::BTreeMap;

use super::super::process::{BridgeProcess, ProcessError, Usage, counters};
use super::Path;
use crate::bus::BusKind;

/// A server at the near bus and a client at the far one, joined.
#[derive(Debug)]
pub struct Bridges {
    pub server: BridgeProcess,
    pub client: BridgeProcess,
    /// The engine that the server says it uses.
    pub engine: String,
    /// The version of the protocol that they agreed on.
    pub protocol: String,
}

/// What one of them says in the end.
#[derive(Clone, PartialEq, Debug)]
pub struct BridgeAccount {
    pub role: &'static str,
    pub counters: BTreeMap<String, u64>,
    pub usage: Usage,
}

impl Bridges {
    /// Starts both, with these options, and waits until they are joined.
    ///
    /// # Errors
    /// One of them does not get that far; its last line is told.
    pub async fn start(path: &Path, options: &[String]) -> Result<Self, ProcessError> {
        let [near, far] = &path.ends;
        let kind = match near.kind() {
            BusKind::SocketCan => "socketcan",
            BusKind::Software => "software",
        };
        let common = ["--can-interface", kind, "--stats-interval", "0"];
        let arguments = |bus: &str, own: &[&str]| -> Vec<String> {
            let words = common.iter().copied().chain(["--can", bus]).chain(own.iter().copied());
            words.map(str::to_owned).chain(options.iter().cloned()).collect()
        };
        let listening = arguments(near.name(), &["--bind", "127.0.0.1", "--port", "0"]);
        let mut server = BridgeProcess::start("server", &listening)?;
        let engine = last_word(&server.wait("engine: ").await?);
        let listens = server.wait("listening on ").await?;
        let port = listens.rsplit(':').next().unwrap_or_default().to_owned();
        let connecting = arguments(far.name(), &["--host", "127.0.0.1", "--port", &port]);
        let mut client = BridgeProcess::start("client", &connecting)?;
        client.wait("connected to ").await?;
        let protocol = last_word(&server.wait(" connected: version ").await?);
        Ok(Self { server, client, engine, protocol })
    }

    /// What both have used so far.
    pub fn usage(&self) -> [Usage; 2] {
        // One that has ended has lost its connection: its counters will be missing, which is told.
        [&self.server, &self.client].map(|process| process.usage().unwrap_or_default())
    }

    /// Ends both, the client first, so that neither complains.
    ///
    /// # Errors
    /// One of them has ended before, or does not end.
    pub async fn stop(self) -> Result<[BridgeAccount; 2], ProcessError> {
        let usage = self.usage();
        let client = self.client.stop().await?;
        let server = self.server.stop().await?;
        let account = |role, line: &str, usage| BridgeAccount { role, counters: counters(line), usage };
        Ok([account("server", &server, usage[0]), account("client", &client, usage[1])])
    }
}

fn last_word(line: &str) -> String {
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}
