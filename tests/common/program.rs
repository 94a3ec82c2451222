//! What the tests that start programs share: programs whose output is awaited line by line, names that no other
//! test uses, and the words that the bridge prints.
//!
//! Nothing here sleeps for luck: every wait is for a condition, and ends with the program's whole output when the
//! condition does not come true within [`PATIENCE`].

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a condition may take to come true. Generous, as the emulated processors of the virtual machine are
/// thirty times slower than real ones; a test that passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lines that a program printed so far.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

/// One output stream of a program, read by a thread of its own so that the program never waits for the test.
struct Output {
    shared: Arc<(Mutex<Lines>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn read(stream: impl Read + Send + 'static) -> Output {
        let shared = Arc::new((Mutex::new(Lines::default()), Condvar::new()));
        let filled = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let (lines, changed) = &*filled;
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                lines.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                changed.notify_all();
            }
            lines.lock().unwrap().ended = true;
            changed.notify_all();
        });
        Output { shared, reader: Some(reader) }
    }

    /// Waits until `find` makes something of the lines; None when the stream ended or time is up before.
    fn wait<T>(&self, find: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let (lines, changed) = &*self.shared;
        let deadline = Instant::now() + PATIENCE;
        let mut lines = lines.lock().unwrap();
        loop {
            if let Some(found) = find(&lines.lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            lines = changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    fn lines(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    fn finish(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.lines()
    }
}

/// A program that runs; it is killed when this is dropped.
pub struct Program {
    name: String,
    /// The process.
    pub child: Child,
    /// Its standard input, until it is taken away or the end is waited for.
    pub input: Option<ChildStdin>,
    output: Output,
    errors: Output,
}

/// What a program left behind.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Lines of standard output.
    pub output: Vec<String>,
    /// Lines of standard error.
    pub errors: Vec<String>,
}

impl Program {
    /// Starts a program, all three of its standard streams being the test's.
    pub fn start(mut command: Command) -> Program {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let name = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Program {
            input: child.stdin.take(),
            output: Output::read(child.stdout.take().unwrap()),
            errors: Output::read(child.stderr.take().unwrap()),
            name,
            child,
        }
    }

    /// Starts the bridge with arguments that are separated by white space.
    pub fn bridge(arguments: &str) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_canip_peer"));
        command.args(arguments.split_whitespace());
        Program::start(command)
    }

    /// Waits for a line on standard error that contains `text`, and returns it.
    pub fn wait_error(&self, text: &str) -> String {
        self.wait_errors(text, 1)
    }

    /// Waits until `count` lines on standard error contain `text`, and returns the last of them.
    pub fn wait_errors(&self, text: &str, count: usize) -> String {
        let found =
            self.errors.wait(|lines| lines.iter().filter(|line| line.contains(text)).nth(count - 1).cloned());
        found.unwrap_or_else(|| self.disappoint(&format!("{count} lines with {text:?} on standard error")))
    }

    /// Waits for `count` lines on standard output, and returns all there are.
    pub fn wait_output(&self, count: usize) -> Vec<String> {
        let found = self.output.wait(|lines| (lines.len() >= count).then(|| lines.to_vec()));
        found.unwrap_or_else(|| self.disappoint(&format!("{count} lines of standard output")))
    }

    /// The port of `listening on ADDRESS:PORT`, which a server that was given `--port 0` says.
    pub fn port(&self) -> u16 {
        let line = self.wait_error("listening on ");
        line.rsplit(':').next().unwrap().parse().unwrap_or_else(|_| panic!("no port in {line:?}"))
    }

    /// Sends SIGINT and waits for the end.
    pub fn interrupt(self) -> Finished {
        self.signal("INT");
        self.finish()
    }

    /// Sends a signal: INT, TERM, KILL.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(&id).status().unwrap().success());
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Finished {
        drop(self.input.take());
        // The streams of a program end with it; waiting for the child alone has no time limit.
        if self.errors.wait(|_| None::<()>).is_none() && !self.errors.shared.0.lock().unwrap().ended {
            self.disappoint::<()>("its end");
        }
        let status = self.child.wait().unwrap();
        Finished { status, output: self.output.finish(), errors: self.errors.finish() }
    }

    fn disappoint<T>(&self, wanted: &str) -> T {
        panic!(
            "{}: waited in vain for {wanted}\n--- standard error\n{}\n--- standard output\n{}",
            self.name,
            last(&self.errors.lines()),
            last(&self.output.lines())
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of {}\n{}", self.name, last(&self.errors.lines()));
        }
    }
}

fn last(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(30)..].join("\n")
}

impl Finished {
    /// The counters of the last line: `total: sent 12 received 3 ...`, as names and values. Asserts a clean end.
    pub fn totals(&self) -> HashMap<String, u64> {
        assert!(self.status.success(), "{}: {}", self.status, last(&self.errors));
        let line = self.errors.iter().rev().find_map(|line| line.split_once("total: "));
        let (_, pairs) = line.unwrap_or_else(|| panic!("no counters in {}", last(&self.errors)));
        counters(pairs)
    }
}

/// Names and values of `sent 12 received 3 ...`, without the percentiles that may follow: `can_to_tcp_us 1.2/3.4/5.6/7.8`.
pub fn counters(pairs: &str) -> HashMap<String, u64> {
    let words: Vec<&str> = pairs.split_whitespace().collect();
    let counters = words.chunks(2).take_while(|pair| !pair[1].contains('/'));
    counters.map(|pair| (pair[0].to_owned(), pair[1].parse().unwrap())).collect()
}

/// A name that no other test of this or of another test run uses, short enough for a network interface
/// (15 bytes).
pub fn unique_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{:x}x{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
