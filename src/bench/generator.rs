//! The thread that sends a load into one bus, each frame when it is due, whatever becomes of those before it (open loop).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::clock::{now_ns, wait_until};
use super::end::End;
use super::priority::{self, Watching};
use super::sent::{SentFrame, SentFrames};
use crate::frame::Frame;
use crate::load::{Due, Schedule};
use crate::metrics::histograms;

/// How long a wait for room may be at most before the order to stop is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Between two tries where the device's queue is full (`ENOBUFS`), which nobody tells the end of: half the time of a frame on
/// a 500 kbit/s bus.
const RETRY: Duration = Duration::from_micros(100);

/// A pause within the schedule that is longer than this is slept through in parts, so that an order to stop is obeyed.
const LONGEST_SLEEP_NS: u64 = 50_000_000;

/// How long after the end of its schedule a generator that is behind may go on: longer, and it would be another load.
const GRACE_NS: u64 = 500_000_000;

/// Sends one direction of a trial.
pub struct Generator<'a> {
    pub end: &'a End,
    pub schedule: Schedule,
    /// Real-time priority is asked for.
    pub is_real_time: bool,
    /// Frames are due when they can be sent.
    pub is_flood: bool,
    /// Where the far end learns what to look for.
    pub log: &'a SentFrames,
    /// How many were sent so far, for whoever looks on.
    pub sent: &'a AtomicU64,
    pub stop: &'a AtomicBool,
    /// When the trial begins, by the clock.
    pub start_ns: u64,
    /// Frames that are due later are not sent, from the beginning.
    pub length_ns: u64,
    pub frames_max: u64,
    /// Frames that are due earlier are sent, and their lateness is not counted.
    pub warm_up_ns: u64,
}

/// What a generator has done.
#[derive(Debug)]
pub struct Generated {
    /// From when a frame was due to when the bus had taken it.
    pub lateness: Histogram<u64>,
    /// Frames that the far end was told of and that found no room: they are lost, and not by the path.
    pub abandoned: u64,
    /// Frames that were due and not tried: it was too far behind.
    pub skipped: u64,
    /// How often a frame did not find room.
    pub waits: u64,
    /// When the last frame was due, from the beginning.
    pub last_due_ns: u64,
    /// What ended it early.
    pub error: Option<io::Error>,
}

impl Generator<'_> {
    /// Sends until the time is up, all is sent, or it is stopped.
    pub fn run(mut self) -> Generated {
        let mut done = Generated {
            lateness: histograms::times(),
            abandoned: 0,
            skipped: 0,
            waits: 0,
            last_due_ns: 0,
            error: None,
        };
        // A timer that may come 50 µs late to save power is of no use here; where it cannot be set, lateness tells.
        let _ = nix::sys::prctl::set_timerslack(1);
        let watching = if self.is_real_time { priority::raise() } else { Watching::ordinary() };
        let per_send = self.end.frames_per_send();
        let mut packet: Vec<SentFrame> = Vec::with_capacity(per_send);
        let mut frames = Vec::with_capacity(per_send);
        let mut number = 0;
        let mut next = self.next_due(number);
        while let Some(due) = next {
            if !self.wait_for(due.at_ns, watching) {
                break;
            }
            let now = now_ns().saturating_sub(self.start_ns);
            if now > self.length_ns + GRACE_NS {
                done.skipped = self.count_rest(number);
                break;
            }
            packet.clear();
            frames.clear();
            let mut candidate = Some(due);
            while let Some(due) = candidate.take_if(|due| due.at_ns <= now && packet.len() < per_send) {
                let at_ns = if self.is_flood { now } else { due.at_ns };
                packet.push(SentFrame { number, at_ns, frame: due.frame });
                frames.push(due.frame);
                number += 1;
                candidate = self.next_due(number);
            }
            next = candidate;
            let taken = self.send(&packet, &frames, &mut done);
            self.note_sent(&packet[..taken], number - (packet.len() - taken) as u64, &mut done);
            if taken < packet.len() {
                done.abandoned = (packet.len() - taken) as u64;
                break;
            }
        }
        done
    }

    fn next_due(&mut self, number: u64) -> Option<Due> {
        if number >= self.frames_max {
            return None;
        }
        self.schedule
            .next()
            .filter(|due| due.at_ns < self.length_ns)
            .filter(|_| !self.is_flood || now_ns().saturating_sub(self.start_ns) < self.length_ns)
    }

    /// Waits until a frame is due; false if the trial is to end.
    fn wait_for(&self, at_ns: u64, watching: Watching) -> bool {
        let due = self.start_ns + at_ns;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            let now = now_ns();
            if due <= now + LONGEST_SLEEP_NS {
                wait_until(due, watching);
                return true;
            }
            wait_until(now + LONGEST_SLEEP_NS, watching);
        }
    }

    /// Sends frames, as soon as there is room: how many were taken before the trial is to end, or the bus fails.
    fn send(&self, packet: &[SentFrame], frames: &[Frame], done: &mut Generated) -> usize {
        // The far end is to know of a frame before it can come out there.
        while !self.log.push(packet) {
            done.waits += 1;
            std::thread::sleep(RETRY);
            if self.is_to_end() {
                return 0;
            }
        }
        let mut taken = 0;
        while taken < frames.len() {
            match self.end.send(&frames[taken..]) {
                Ok(count) => {
                    taken += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    if let Err(error) = self.wait_for_room(error) {
                        done.error = Some(error);
                        break;
                    }
                }
            }
            done.waits += 1;
            if self.is_to_end() {
                break;
            }
        }
        taken
    }

    /// Waits for a while after the bus has answered so; the answer itself if waiting does not help.
    fn wait_for_room(&self, answer: io::Error) -> io::Result<()> {
        match answer.raw_os_error() {
            Some(libc::EAGAIN) => self.end.wait_writable(LOOK).map(|_| ()),
            Some(libc::ENOBUFS) => {
                std::thread::sleep(RETRY);
                Ok(())
            }
            _ => Err(answer),
        }
    }

    fn is_to_end(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || now_ns().saturating_sub(self.start_ns) > self.length_ns + GRACE_NS
    }

    fn note_sent(&self, packet: &[SentFrame], number: u64, done: &mut Generated) {
        let now = now_ns().saturating_sub(self.start_ns);
        for SentFrame { at_ns, .. } in packet {
            if *at_ns >= self.warm_up_ns {
                done.lateness.saturating_record(now.saturating_sub(*at_ns));
            }
            done.last_due_ns = *at_ns;
        }
        self.sent.store(number, Ordering::Relaxed);
    }

    /// Frames that are left of the schedule, the one that is due now included.
    fn count_rest(&mut self, number: u64) -> u64 {
        let mut rest = 1;
        while self.next_due(number + rest).is_some() {
            rest += 1;
        }
        rest
    }
}
