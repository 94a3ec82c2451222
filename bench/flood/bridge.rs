//! The processes that are measured.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::threads;

/// Nothing that a bridge is waited for takes seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counters of the last line that stand for frames lost.
const LOSSES: [&str; 12] = [
    "kernel_drops",
    "filtered",
    "not_representable",
    "slow_peer",
    "unsent",
    "stale",
    "refused",
    "denied",
    "limited",
    "looped",
    "outage",
    "in_transit",
];

pub struct Bridge {
    pub side: &'static str,
    pub port: u16,
    child: Child,
    lines: Receiver<String>,
}

impl Bridge {
    pub fn server(program: &str, engine: &str, bus: &str) -> io::Result<Self> {
        let mut bridge =
            Self::start(program, "server", engine, bus, &["--bind", "127.0.0.1", "--port", "0"])?;
        let line = bridge.wait("listening on ")?;
        let port = line.rsplit(':').next().and_then(|text| text.trim().parse().ok());
        bridge.port = port.ok_or_else(|| io::Error::other(format!("no port in {line:?}")))?;
        Ok(bridge)
    }

    pub fn client(program: &str, engine: &str, bus: &str, port: u16) -> io::Result<Self> {
        let to = ["--host", "127.0.0.1", "--port", &port.to_string()];
        let bridge = Self::start(program, "client", engine, bus, &to)?;
        bridge.wait("connected to ")?;
        Ok(bridge)
    }

    fn start(
        program: &str,
        side: &'static str,
        engine: &str,
        bus: &str,
        arguments: &[&str],
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args([side, "--can-interface", "software", "--can", bus, "--engine", engine])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
        let errors = child.stderr.take().expect("was asked for");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(errors).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Self { side, port: 0, child, lines })
    }

    pub fn ran_ns(&self) -> io::Result<u64> {
        Ok(threads::of_process(self.child.id())?.iter().map(|thread| thread.ran_ns).sum())
    }

    pub fn resident_kib(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        kib.ok_or_else(|| io::Error::other("no VmRSS"))
    }

    /// Ends it as Ctrl-C would; what it lost, by cause.
    pub fn stop(self) -> io::Result<Vec<(String, u64)>> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT)?;
        let line = self.wait("total: ")?;
        let (_, counters) = line.split_once("total: ").unwrap_or_default();
        let words: Vec<&str> = counters.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let counted = |pair: &[&str]| Some((pair[0].to_owned(), pair[1].parse::<u64>().ok()?));
        let pairs = words.windows(2).filter_map(counted);
        Ok(pairs.filter(|(name, count)| *count > 0 && LOSSES.contains(&name.as_str())).collect())
    }

    fn wait(&self, awaited: &str) -> io::Result<String> {
        let mut said = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains(awaited) {
                return Ok(line);
            }
            said = line;
        }
        Err(io::Error::other(format!("{}: no {awaited:?}; it said {said:?}", self.side)))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // One that was stopped ends by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
