//! The experiment that tells a loop from traffic that comes by itself: coins decide when some frames are let through, and
//! when none are.

use std::time::Duration;

use fastrand::Rng;

use super::contents::Fingerprint;
use crate::moment::Moment;

/// Frames that are let through at once, at most.
pub const MOST_AT_ONCE: usize = 16;

/// The fewest, where there are as many: a frame that comes by itself now and then must not weigh as much.
const FEWEST_AT_ONCE: usize = 3;

/// What has to be reached. Each window in which what came agrees with the coin counts 1, each other one counts 3 against it, and
/// below zero the experiment ends. Where frames come by themselves, a coin agrees with them in half of all windows at best:
/// that 25 come to be in front then has a chance of 1.8393 to the power of -25, one in four millions.
const PROOF: i32 = 28;
const BEGINNING: i32 = 3;
const AGAINST: i32 = 3;

/// What must be in front when an experiment goes on for longer than it may hold frames that do not look like a loop, in
/// proportion to how much longer; and when frames could grow too old by it, at twice that time.
const LIKELY: i32 = 2;
const VERY_LIKELY: i32 = 6;

/// Windows of one experiment, at most.
const MOST_WINDOWS: u32 = 80;

/// What is added to half as much again as the first frames took to come back: the window for the others.
const ALLOWANCE: Duration = Duration::from_millis(1);

/// What an experiment has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// What is let through comes back, and nothing else does.
    Loop,
    /// Nothing.
    Nothing,
}

/// How long an experiment may go on.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until then, whatever it looks like.
    pub until: Moment,
    /// That was so long.
    pub time: Duration,
}

impl Patience {
    /// Whether one may go on until then that has so much in front.
    fn allows(self, in_front: i32, then: Moment) -> bool {
        let late = then.since(self.until);
        if late > self.time {
            return in_front >= VERY_LIKELY;
        }
        let needed = late.as_nanos() * LIKELY as u128;
        needed <= u128::from(in_front.max(0).unsigned_abs()) * self.time.as_nanos()
    }
}

/// A time in which the frames at the front were let through, or were not.
#[derive(Clone, Copy, Debug)]
struct Window {
    lets_through: bool,
    began_at: Moment,
    until: Moment,
    /// Frames with the contents of those at the front that have come meanwhile, and as many as show that they were let through.
    returned: u32,
    needed: u32,
}

/// An experiment in progress. Both ways are held, but for what it lets through.
#[derive(Debug)]
pub struct Experiment {
    /// How long frames may take to come back.
    longest: Duration,
    /// What came of the contents at the front within `listened`, while nothing was let through.
    base: u32,
    listened: Duration,
    /// The length of windows, once the first frames have come back.
    length: Option<Duration>,
    window: Window,
    /// Frames that may be let through now.
    allowance: usize,
    score: i32,
    windows: u32,
    /// Contents that are looked for: the same ones however the coin has fallen, which has no part in the choice.
    sought: [Fingerprint; MOST_AT_ONCE],
    sought_count: usize,
}

impl Experiment {
    /// One that begins now, with what is at the front of the queue, of which `base` frames came by themselves in a time of
    /// `listened`.
    pub fn new(
        longest: Duration,
        base: u32,
        listened: Duration,
        front: impl Iterator<Item = Fingerprint>,
        now: Moment,
    ) -> Self {
        let window = Window { lets_through: true, began_at: now, until: now, returned: 0, needed: 1 };
        let mut experiment = Self {
            longest,
            base,
            listened,
            length: None,
            window,
            allowance: 0,
            score: BEGINNING,
            windows: 0,
            sought: [Fingerprint::default(); MOST_AT_ONCE],
            sought_count: 0,
        };
        experiment.open(true, front, now);
        experiment
    }

    /// Frames that may be let through now of those that may go round.
    pub fn allowance(&self) -> usize {
        self.allowance
    }

    /// When [`Experiment::advance`] has something to do.
    pub fn deadline(&self) -> Moment {
        self.window.until
    }

    /// A frame was let through that may go round.
    pub fn wrote(&mut self) {
        self.allowance = self.allowance.saturating_sub(1);
    }

    /// A frame has come.
    pub fn arrived(&mut self, content: Fingerprint, now: Moment) {
        if !self.sought[..self.sought_count].contains(&content) {
            return;
        }
        self.window.returned += 1;
        // As many as are waited for: the rest of the time tells nothing more.
        if self.window.returned == self.window.needed && self.window.lets_through {
            self.window.until = now;
        }
    }

    /// Ends a window whose time has come, and begins the next with what is at the front of the queue: what was found, once
    /// there is something.
    pub fn advance(
        &mut self,
        front: impl Iterator<Item = Fingerprint>,
        patience: Patience,
        random: &mut Rng,
        now: Moment,
    ) -> Option<Finding> {
        if now < self.window.until {
            return None;
        }
        let Window { lets_through, began_at, returned, needed, .. } = self.window;
        self.windows += 1;
        let has_returned = returned >= needed;
        if self.length.is_none() {
            if !has_returned {
                return Some(Finding::Nothing);
            }
            let took = now.since(began_at);
            self.length = Some((took * 3 / 2 + ALLOWANCE).min(self.longest));
        } else {
            self.score += if has_returned == lets_through { 1 } else { -AGAINST };
        }
        if self.score >= PROOF {
            return Some(Finding::Loop);
        }
        let lets_through = self.length.is_none() || random.bool();
        let has_front = self.open(lets_through, front, now);
        let is_likely = patience.allows(self.score - BEGINNING, self.window.until);
        (!is_likely || self.score < 0 || self.windows >= MOST_WINDOWS || !has_front)
            .then_some(Finding::Nothing)
    }

    /// Begins a window; whether there is anything to let through.
    fn open(&mut self, lets_through: bool, front: impl Iterator<Item = Fingerprint>, now: Moment) -> bool {
        let length = self.length.unwrap_or(self.longest);
        // What comes by itself in such a time; more than twice that is let through, so that it shows.
        let by_itself = f64::from(self.base) * length.as_secs_f64() / self.listened.as_secs_f64();
        let amount = (2 * by_itself.ceil() as usize + 1).clamp(FEWEST_AT_ONCE, MOST_AT_ONCE);
        self.sought_count = 0;
        for (place, content) in self.sought[..amount].iter_mut().zip(front) {
            *place = content;
            self.sought_count += 1;
        }
        self.allowance = if lets_through { self.sought_count } else { 0 };
        self.window = Window {
            lets_through,
            began_at: now,
            until: now.after(length),
            returned: 0,
            needed: (by_itself + self.sought_count as f64 / 2.0) as u32 + 1,
        };
        self.sought_count > 0
    }
}
