//! Simulated TCP: two pipes a connection, which delay, split, coalesce, stall and break.

use std::collections::VecDeque;

use fastrand::Rng;

use super::clocks::Stretch;

/// The longest piece that travels as one: a segment on Ethernet.
const SEGMENT_BYTES: usize = 1_448;

/// Silences that are remembered: the shortest after which any peer may be taken for dead is three times 100 ms.
const LONG_SILENCE_NS: u64 = 250_000_000;

/// How a network behaves.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub delay_ns: u64,
    pub jitter_ns: u64,
    /// What a byte takes.
    pub byte_ns: u64,
    /// Bytes under way, and in the receiver's buffer, at most.
    pub window_bytes: usize,
}

/// What travels.
enum Cargo {
    Bytes(Vec<u8>),
    Fin,
}

/// One direction.
pub struct Pipe {
    path: Path,
    under_way: VecDeque<(u64, Cargo)>,
    under_way_bytes: usize,
    last_at_ns: u64,
    /// When the world will look at what arrives.
    pub looked_at_ns: Option<u64>,
    /// Nothing arrives until then.
    pub stalled_until_ns: u64,
    /// What has arrived and was not read.
    pub received: VecDeque<u8>,
    pub fin_sent: bool,
    pub fin_arrived: bool,
}

/// One end.
pub struct End {
    pub process: usize,
    /// Whether the process has its descriptor; before it accepts, the kernel does.
    pub is_open: bool,
    /// The connection is broken here.
    pub error: Option<i32>,
    /// When bytes last arrived, in true time.
    pub heard_at_ns: u64,
    /// Long stretches in which none did.
    pub silences: Vec<Stretch>,
}

/// Both.
pub struct Connection {
    pub opened_at_ns: u64,
    /// When nothing got through.
    pub blocked: Vec<Stretch>,
    pub ends: [End; 2],
    /// `pipes[end]` carries what that end sends.
    pub pipes: [Pipe; 2],
}

impl Pipe {
    fn new(path: Path) -> Self {
        Self {
            path,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            last_at_ns: 0,
            looked_at_ns: None,
            stalled_until_ns: 0,
            received: VecDeque::new(),
            fin_sent: false,
            fin_arrived: false,
        }
    }

    /// Bytes that it takes now.
    pub fn room(&self) -> usize {
        self.path.window_bytes.saturating_sub(self.under_way_bytes + self.received.len())
    }

    /// Takes bytes, for which there is room, in pieces of random lengths.
    pub fn send(&mut self, mut bytes: &[u8], now_ns: u64, random: &mut Rng) {
        while !bytes.is_empty() {
            let length = match random.u8(0..4) {
                0 => random.usize(1..=bytes.len().min(SEGMENT_BYTES)),
                _ => bytes.len().min(SEGMENT_BYTES),
            };
            let (piece, rest) = bytes.split_at(length);
            self.under_way_bytes += length;
            self.dispatch(Cargo::Bytes(piece.to_vec()), length, now_ns, random);
            bytes = rest;
        }
    }

    /// Nothing more will be sent.
    pub fn finish(&mut self, now_ns: u64, random: &mut Rng) {
        if !std::mem::replace(&mut self.fin_sent, true) {
            self.dispatch(Cargo::Fin, 0, now_ns, random);
        }
    }

    fn dispatch(&mut self, cargo: Cargo, length: usize, now_ns: u64, random: &mut Rng) {
        let Path { delay_ns, jitter_ns, byte_ns, .. } = self.path;
        let travel_ns = delay_ns + random.u64(0..=jitter_ns);
        let at_ns = (now_ns + travel_ns).max(self.last_at_ns) + byte_ns * length as u64;
        self.last_at_ns = at_ns;
        self.under_way.push_back((at_ns, cargo));
    }

    /// When the next piece arrives.
    pub fn next_arrival_ns(&self) -> Option<u64> {
        Some(self.under_way.front()?.0.max(self.stalled_until_ns))
    }

    /// Lets arrive what is there by now; whether anything did.
    pub fn arrive(&mut self, now_ns: u64) -> bool {
        let mut arrived = false;
        while self.next_arrival_ns().is_some_and(|at_ns| at_ns <= now_ns) {
            match self.under_way.pop_front() {
                Some((_, Cargo::Bytes(bytes))) => {
                    self.under_way_bytes -= bytes.len();
                    self.received.extend(bytes);
                }
                _ => self.fin_arrived = true,
            }
            arrived = true;
        }
        arrived
    }

    /// What is under way is lost.
    pub fn cut(&mut self) {
        self.under_way.clear();
        self.under_way_bytes = 0;
    }

    /// Whether something is under way.
    pub fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }
}

impl End {
    /// Bytes arrive.
    pub fn hear(&mut self, now_ns: u64) {
        let silence = Stretch { from_ns: self.heard_at_ns, to_ns: now_ns };
        if silence.to_ns - silence.from_ns >= LONG_SILENCE_NS {
            self.silences.push(silence);
        }
        self.heard_at_ns = now_ns;
    }
}

impl Connection {
    /// A connection between two processes, the client's first.
    pub fn new(client: usize, server: usize, path: Path, now_ns: u64) -> Self {
        let end = |process, is_open| End {
            process,
            is_open,
            error: None,
            heard_at_ns: now_ns,
            silences: Vec::new(),
        };
        Self {
            opened_at_ns: now_ns,
            blocked: Vec::new(),
            ends: [end(client, true), end(server, true)],
            pipes: [Pipe::new(path), Pipe::new(path)],
        }
    }

    /// Breaks it for one end.
    pub fn fail(&mut self, end: usize, error: i32) {
        self.ends[end].error.get_or_insert(error);
        self.pipes[end].cut();
    }

    /// Breaks it for both.
    pub fn reset(&mut self) {
        (0..2).for_each(|end| self.fail(end, libc::ECONNRESET));
    }

    /// A process closes its descriptor, or the kernel does for one that is no more. Unread bytes make that a reset.
    pub fn close(&mut self, end: usize, now_ns: u64, random: &mut Rng) {
        self.ends[end].is_open = false;
        if self.ends[end].error.is_some() {
            return;
        }
        if self.pipes[1 - end].received.is_empty() {
            self.pipes[end].finish(now_ns, random);
        } else {
            self.pipes[end].cut();
            self.fail(1 - end, libc::ECONNRESET);
        }
    }
}
