//! What happened in a run: a hash over all of it, and the last events in words.

use std::collections::VecDeque;
use std::fmt::Arguments;

/// Events that are kept for a failure's report: the last tenth of a second of a busy run.
const LAST_EVENTS: usize = 60;

/// The record of a run.
pub struct Trace {
    /// FNV-1a over the text of all events, so that two runs are the same if their hashes are.
    hash: u64,
    events: u64,
    last: VecDeque<String>,
    prints: bool,
}

impl Trace {
    /// Nothing has happened. `prints` says whether every event goes to standard output at once.
    pub fn new(prints: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, events: 0, last: VecDeque::new(), prints }
    }

    /// An event that is worth a line.
    pub fn line(&mut self, now_ns: u64, event: Arguments<'_>) {
        let line = format!("{:>14.6} ms  {event}", now_ns as f64 / 1e6);
        self.fold(line.as_bytes());
        if self.prints {
            println!("{line}");
        }
        if self.last.len() == LAST_EVENTS {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// An event that happens for every frame: folded in as numbers.
    pub fn number(&mut self, now_ns: u64, kind: u8, numbers: [u64; 2]) {
        self.events += 1;
        for number in [now_ns, u64::from(kind), numbers[0], numbers[1]] {
            self.hash = (self.hash ^ number).wrapping_mul(0x100_0000_01B3).rotate_left(23);
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last events, one a line.
    pub fn last_events(&self) -> String {
        self.last.iter().map(|line| format!("  {line}\n")).collect()
    }

    fn fold(&mut self, bytes: &[u8]) {
        self.events += 1;
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        }
    }
}
