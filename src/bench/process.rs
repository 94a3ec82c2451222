//! The processes of a bridge, started as a user would start them.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc::{Receiver as Lines, channel};
use tokio::time::{Instant as Deadline, timeout_at};

/// How long any one step of a bridge may take. On a working machine each takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Lines of a bridge that wait to be looked at. When there are more, the bridge does not wait for their reader.
const LINES_WAITING: usize = 64;

/// The exit status of a program whose command line is at fault.
const WRONG_USAGE: i32 = 2;

/// What went wrong with a process.
#[derive(thiserror::Error, Debug)]
pub enum ProcessError {
    /// It did not say what was waited for.
    #[error("the {role} did not get as far as \"{awaited}\"; it said: {said}")]
    Silent {
        /// Which one.
        role: &'static str,
        /// What was waited for.
        awaited: &'static str,
        /// Its last line.
        said: String,
    },
    /// It does not take the options that it was given.
    #[error("options for the bridge behind --: its {role} refuses them: {said}")]
    Options {
        /// Which one.
        role: &'static str,
        /// Why.
        said: String,
    },
    /// The system refused a step.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl ProcessError {
    /// Whether the command line is at fault.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Options { .. })
    }
}

fn system(operation: &'static str) -> impl FnOnce(io::Error) -> ProcessError {
    move |source| ProcessError::System { operation, source }
}

/// One side of a bridge. Killed when dropped.
#[derive(Debug)]
pub struct BridgeProcess {
    role: &'static str,
    child: Child,
    lines: Lines<String>,
}

/// What a process has used.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Usage {
    /// Processor time of all its threads, user and system.
    pub processor: Duration,
    /// The most memory that was resident.
    pub resident_bytes: u64,
}

impl BridgeProcess {
    /// Starts this program's `server` or `client` command with these arguments.
    ///
    /// # Errors
    /// The program cannot be found or started.
    pub fn start(role: &'static str, arguments: &[String]) -> Result<Self, ProcessError> {
        let program = std::env::current_exe().map_err(system("find this program"))?;
        let mut child = Command::new(program)
            .arg(role)
            .args(arguments)
            .arg(format!("--with-parent={}", std::process::id()))
            // Ctrl-C is for the one that looks after the test: what is under way is to arrive.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(system("start the bridge"))?;
        let errors = child.stderr.take().expect("was asked for");
        let (sender, lines) = channel(LINES_WAITING);
        std::thread::spawn(move || {
            // Nobody to send to: the process is of no interest any more.
            BufReader::new(errors)
                .split(b'\n')
                .map_while(Result::ok)
                .try_for_each(|line| sender.blocking_send(String::from_utf8_lossy(&line).into_owned()))
        });
        Ok(Self { role, child, lines })
    }

    /// `server` or `client`.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// Waits for a line that contains `awaited`.
    ///
    /// # Errors
    /// The process has ended, or the time is up.
    pub async fn wait(&mut self, awaited: &'static str) -> Result<String, ProcessError> {
        let deadline = Deadline::now() + PATIENCE;
        let mut said = "nothing".to_owned();
        while let Ok(Some(line)) = timeout_at(deadline, self.lines.recv()).await {
            if line.contains(awaited) {
                return Ok(line);
            }
            note(&mut said, line);
        }
        Err(self.silent(awaited, said))
    }

    /// Why it did not say what was waited for, but this last.
    pub fn silent(&mut self, awaited: &'static str, said: String) -> ProcessError {
        let role = self.role;
        // Standard error is closed by its end alone.
        let status = if self.lines.is_closed() { self.child.wait().ok() } else { None };
        if status.is_some_and(|status| status.code() == Some(WRONG_USAGE)) {
            let said = ["error: ", "canip_peer: "]
                .into_iter()
                .find_map(|head| said.strip_prefix(head))
                .unwrap_or(&said);
            return ProcessError::Options { role, said: said.to_owned() };
        }
        ProcessError::Silent { role, awaited, said }
    }

    /// The next line; none when the process has ended.
    pub async fn next_line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// It has ended, or there is no `/proc`.
    pub fn usage(&self) -> io::Result<Usage> {
        let folder = format!("/proc/{}", self.child.id());
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("{folder}/task"))? {
            // Its first number is the time on a processor (Documentation/scheduler/sched-stats.rst). A thread that has
            // just ended is left out.
            let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            nanoseconds += first_number(&text);
        }
        let status = std::fs::read_to_string(format!("{folder}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        Ok(Usage { processor: Duration::from_nanos(nanoseconds), resident_bytes: first_number(peak) * 1024 })
    }

    /// Ends the process as Ctrl-C would; returns the line that tells what it counted.
    ///
    /// # Errors
    /// It cannot be ended, or does not say what it counted.
    pub async fn stop(mut self) -> Result<String, ProcessError> {
        let id = Pid::from_raw(self.child.id() as i32);
        kill(id, Signal::SIGINT).map_err(|error| system("stop the bridge")(error.into()))?;
        let line = self.wait("total: ").await?;
        self.child.wait().map_err(system("wait for the bridge's end"))?;
        Ok(line)
    }
}

impl Drop for BridgeProcess {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the line that tells most: a complaint, which help may follow, else the last one that is not empty.
pub fn note(said: &mut String, line: String) {
    let complains = |line: &str| line.starts_with("error:") || line.starts_with("canip_peer:");
    if !line.trim().is_empty() && !complains(said) {
        *said = line;
    }
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// The counters of a bridge's last line, by name, without those that a version of its own may add in another form.
pub fn counters(total_line: &str) -> BTreeMap<String, u64> {
    let (_, pairs) = total_line.split_once("total: ").unwrap_or_default();
    let words: Vec<&str> = pairs.split(' ').collect();
    let number = |pair: &[&str]| Some((pair.first()?.to_string(), pair.get(1)?.parse().ok()?));
    words.chunks(2).filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_pairs_of_a_name_and_a_number() {
        let line = "2026-11-24T12:00:00.000000Z  INFO total: sent 12 received 3 stale 0 one_way_us 1/2/3/4±5";
        let expected = [("received", 3), ("sent", 12), ("stale", 0)];
        assert_eq!(counters(line), expected.map(|(name, count)| (name.to_owned(), count)).into());
        assert!(counters("nothing of the kind").is_empty());
    }

    #[test]
    fn the_first_number_of_a_file_is_the_one_that_counts() {
        assert_eq!(first_number("123 45 6\n"), 123);
        assert_eq!(first_number("\t  9876 kB"), 9_876);
        assert_eq!(first_number(""), 0);
    }
}
