//! What must have happened to every frame, by a model of its own: it sees what the simulated kernel gave and took, and
//! never asks a bridge, but to hold the bridge's own books against it.

use std::collections::BTreeMap;

use canip_peer::frame::{Frame, Kind};
use canip_peer::metrics::Counters;

/// Violations that are kept: the first says it, the rest follow from it as a rule.
const VIOLATIONS: usize = 10;

/// From one bus to another, by way of two processes.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    pub from_process: usize,
    pub from_bus: usize,
    pub to_process: usize,
    pub to_bus: usize,
    /// Whether both ends keep books.
    pub is_version_5: bool,
    /// The oldest that a frame may be when it is written, once the clocks are compared; none for no limit.
    pub max_age_ns: Option<u64>,
}

/// What the kernel saw of a process, over all its lives.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ledger {
    /// Frames that it was given by its sockets.
    pub given: u64,
    /// Frames that its sockets dropped.
    pub dropped: u64,
    /// Frames that its interfaces took.
    pub accepted: u64,
}

#[derive(Clone, Copy)]
struct Made {
    frame: Frame,
    home: usize,
}

/// The model.
#[derive(Default)]
pub struct Checker {
    pub hops: Vec<Hop>,
    pub ledgers: Vec<Ledger>,
    /// Which life of a process this is.
    pub lives: Vec<u32>,
    /// When a process could last not tell how old a frame is: the clocks are being compared, or one was set.
    pub unsure_until_ns: Vec<u64>,
    /// Until when what a process sends may have the wrong time.
    misleading_until_ns: Vec<u64>,
    pub violations: Vec<String>,
    /// Frames that arrived at another bus than their own.
    pub delivered: u64,
    made: Vec<Option<Made>>,
    /// Frames that come back to who wrote them.
    echoed: Vec<bool>,
    /// For each bus, when each frame was over on it; 0 if it was not.
    appeared: Vec<Vec<u64>>,
    /// For each bus, whether a bridge has written each frame to it.
    written: Vec<Vec<bool>>,
    /// For each process, in which of its lives it was given each frame.
    given_in: Vec<Vec<u32>>,
    /// When the last frame was over at its source, by hop, lives of both processes, and socket where the protocol keeps no
    /// books.
    last: BTreeMap<(usize, u32, u32, usize), u64>,
}

fn at<T: Clone + Default>(table: &mut Vec<T>, index: u32) -> &mut T {
    let index = index as usize;
    if index >= table.len() {
        table.resize(index + 256, T::default());
    }
    &mut table[index]
}

impl Checker {
    /// As many processes and buses.
    pub fn prepare(&mut self, processes: usize, buses: usize) {
        self.ledgers.resize(processes, Ledger::default());
        self.lives.resize(processes, 0);
        self.unsure_until_ns.resize(processes, 0);
        self.misleading_until_ns.resize(processes, 0);
        self.given_in.resize(processes, Vec::new());
        self.appeared.resize(buses, Vec::new());
        self.written.resize(buses, Vec::new());
    }

    /// Something is not as it was promised.
    pub fn violation(&mut self, text: String) {
        if self.violations.len() < VIOLATIONS {
            self.violations.push(text);
        }
    }

    /// A process's wall clock is set: whom it sends frames to cannot tell how old they are until then.
    pub fn clock_is_set(&mut self, process: usize, until_ns: u64) {
        let doubt_ns = &mut self.misleading_until_ns[process];
        *doubt_ns = until_ns.max(*doubt_ns);
    }

    /// Nothing can be found out meanwhile: who does not know how old a frame is does not until then.
    pub fn prolong_doubt(&mut self, now_ns: u64, until_ns: u64) {
        let unsure = self.unsure_until_ns.iter_mut().filter(|doubt_ns| **doubt_ns > now_ns);
        unsure.for_each(|doubt_ns| *doubt_ns = until_ns.max(*doubt_ns));
    }

    /// A frame was in an interface's queue when the socket was closed that had written it: the kernel gives it to the
    /// bridge's next socket, too, as it does not know that it is the same bridge's.
    pub fn echoed(&mut self, mark: u32) {
        *at(&mut self.echoed, mark) = true;
    }

    /// A process was killed, or has given up a connection of version 4: to its peer, its next connection is somebody
    /// else's, who is sent what was sent on the first one, if it comes out on the peer's bus after that. Only version 5
    /// has a name for a client, by which its server knows it again.
    pub fn given_up(&mut self, process: usize) {
        for hop in self.hops.clone().iter().filter(|hop| hop.from_process == process) {
            for mark in 0..self.made.len() as u32 {
                if *at(&mut self.appeared[hop.from_bus], mark) != 0
                    && *at(&mut self.appeared[hop.to_bus], mark) == 0
                {
                    self.echoed(mark);
                }
            }
        }
    }

    /// A frame was made, for this bus.
    pub fn made(&mut self, mark: u32, frame: Frame, home: usize) {
        *at(&mut self.made, mark) = Some(Made { frame, home });
    }

    /// A frame is over on a bus, whose sockets have it now.
    pub fn appeared(&mut self, bus: usize, mark: u32, now_ns: u64) {
        let first = std::mem::replace(at(&mut self.appeared[bus], mark), now_ns);
        if first != 0 && !*at(&mut self.echoed, mark) {
            self.violation(format!("frame {mark} was on bus {bus} at {first} ns, and again at {now_ns} ns"));
        }
    }

    /// Whether a frame has been on a bus.
    pub fn has_appeared(&mut self, bus: usize, mark: u32) -> bool {
        *at(&mut self.appeared[bus], mark) != 0
    }

    /// A process reads a frame.
    pub fn given(&mut self, process: usize, mark: u32) {
        self.ledgers[process].given += 1;
        *at(&mut self.given_in[process], mark) = self.lives[process];
    }

    /// A socket is closed that has dropped so many frames.
    pub fn closed(&mut self, process: usize, drops: u32) {
        self.ledgers[process].dropped += u64::from(drops);
    }

    /// An interface took a frame from a bridge.
    pub fn accepted(
        &mut self,
        process: usize,
        socket: usize,
        bus: usize,
        mark: u32,
        frame: &Frame,
        now_ns: u64,
    ) {
        self.ledgers[process].accepted += 1;
        self.delivered += 1;
        let Some(Made { frame: original, home }) = *at(&mut self.made, mark) else {
            return self.violation(format!(
                "process {process} wrote a frame to bus {bus} that nobody made: {frame:?}"
            ));
        };
        if *frame != original {
            self.violation(format!(
                "frame {mark} was {original:?}, and process {process} wrote {frame:?} to bus {bus}"
            ));
        }
        if original.image().kind() == Kind::Error {
            self.violation(format!("process {process} wrote error frame {mark} to bus {bus}"));
        }
        if *at(&mut self.echoed, mark) {
            return;
        }
        if home == bus || std::mem::replace(at(&mut self.written[bus], mark), true) {
            self.violation(format!(
                "process {process} wrote frame {mark} to bus {bus}, which had it already"
            ));
        }
        self.check_hop(process, socket, bus, mark, now_ns);
    }

    /// In order, and not too old.
    fn check_hop(&mut self, process: usize, socket: usize, bus: usize, mark: u32, now_ns: u64) {
        let mut source = None;
        for (index, hop) in self.hops.iter().enumerate() {
            if hop.to_process == process && hop.to_bus == bus {
                let was_at_ns = *at(&mut self.appeared[hop.from_bus], mark);
                if was_at_ns != 0 {
                    source = source.max(Some((was_at_ns, index)));
                }
            }
        }
        let Some((was_at_ns, index)) = source else {
            return self.violation(format!(
                "frame {mark} was written to bus {bus} before it was on any bus beside it"
            ));
        };
        let Hop { from_process, is_version_5, max_age_ns, .. } = self.hops[index];
        let sent_in = *at(&mut self.given_in[from_process], mark);
        let of_socket = if is_version_5 { 0 } else { socket };
        let before_ns = self.last.insert((index, self.lives[process], sent_in, of_socket), was_at_ns);
        if before_ns.is_some_and(|before_ns| before_ns >= was_at_ns) {
            self.violation(format!(
                "process {process} wrote frame {mark} to bus {bus} after one that had come later"
            ));
        }
        let unsure = self.unsure_until_ns[process].max(self.unsure_until_ns[from_process]);
        let is_sure = unsure.max(self.misleading_until_ns[from_process]) < now_ns;
        let age_ns = now_ns - was_at_ns;
        if let Some(max_age_ns) =
            max_age_ns.filter(|&max_age_ns| is_sure && is_version_5 && age_ns > max_age_ns)
        {
            self.violation(format!(
                "frame {mark} was {:.3} ms old when process {process} wrote it to bus {bus}; {:.3} ms are allowed",
                age_ns as f64 / 1e6,
                max_age_ns as f64 / 1e6
            ));
        }
    }

    /// Holds what a process has counted against what was seen of it; `open_drops` are those of sockets that are open, and
    /// `is_exact` says that no peer had an end that left it no time to tell why frames are missing.
    pub fn hold_against(
        &mut self,
        process: usize,
        counted: &Counters,
        open_drops: u64,
        before: &Ledger,
        is_exact: bool,
    ) {
        let Ledger { given, dropped, accepted } = self.ledgers[process];
        let seen = [
            ("taken", counted.taken, given - before.given),
            ("received", counted.received, accepted - before.accepted),
            ("kernel_drops", counted.kernel_drops, dropped + open_drops - before.dropped),
        ];
        for (name, counted, seen) in seen {
            if counted != seen {
                self.violation(format!("process {process} counted {name} {counted}, and it was {seen}"));
            }
        }
        let unaccounted = counted.unaccounted();
        if unaccounted != 0 {
            self.violation(format!(
                "process {process} has lost {unaccounted} frames from its books: {counted}"
            ));
        }
        let told = counted.peer_kernel_drops
            + counted.peer_stale
            + counted.peer_slow
            + counted.peer_outage
            + counted.peer_in_transit;
        let is_told = if is_exact { counted.missing == told } else { counted.missing >= told };
        if self.keeps_books_only(process) && !is_told {
            self.violation(format!(
                "process {process} misses {} frames, and was told of {told}: {counted}",
                counted.missing
            ));
        }
        if counted.duplicates + counted.reordered + counted.restarts > 0 {
            self.violation(format!("process {process} saw what no peer did: {counted}"));
        }
    }

    /// Whether all that a process speaks is version 5.
    fn keeps_books_only(&self, process: usize) -> bool {
        let concerns = |hop: &&Hop| hop.from_process == process || hop.to_process == process;
        self.hops.iter().filter(concerns).all(|hop| hop.is_version_5)
    }

    /// All processes together: what was given and what was dropped, less what was accepted, is under one cause. `is_exact`
    /// says that none had a life that ended with frames under way that nobody can count.
    pub fn hold_all_against(&mut self, counted: &Counters, is_exact: bool) {
        let sum = |part: fn(&Ledger) -> u64| self.ledgers.iter().map(part).sum::<u64>();
        let lost = sum(|ledger| ledger.given + ledger.dropped) - sum(|ledger| ledger.accepted);
        let Counters { outage, in_transit, error_frames, kernel_drops, filtered, not_representable, .. } =
            *counted;
        let Counters { slow_peer, unsent, stale, refused, denied, limited, waiting, .. } = *counted;
        let caused = outage + in_transit + error_frames + kernel_drops + filtered + not_representable;
        let caused = caused + slow_peer + unsent + stale + refused + denied + limited + waiting;
        if caused > lost || (is_exact && caused != lost) {
            self.violation(format!("{lost} frames were lost, and {caused} counted: {counted}"));
        }
        if is_exact && counted.in_transit != counted.peer_in_transit {
            self.violation(format!("both ends do not agree on what was lost under way: {counted}"));
        }
    }
}
