//! Whether what a link puts on a bus comes back to it by another way. How this is found out is told in `docs/loops.md`.

mod contents;
mod experiment;
#[cfg(test)]
mod model;
mod suspicion;
#[cfg(test)]
mod tests;

use std::time::Duration;

use fastrand::Rng;

use self::contents::{Contents, Fingerprint};
use self::experiment::{Experiment, Finding, MOST_AT_ONCE, Patience};
use self::suspicion::Suspicion;
use crate::frame::Frame;
use crate::moment::Moment;

/// The longest way round that is looked for, where no bus is overloaded.
const LONGEST_WAY: Duration = Duration::from_millis(50);

/// The ways round that an experiment looks for: the shorter, the shorter it holds frames up.
const WAYS: [Duration; 4] =
    [Duration::from_millis(8), Duration::from_millis(16), Duration::from_millis(30), LONGEST_WAY];

/// A bus is overloaded where frames have grown too old before it for so long, without a break of such a time. In a loop they wait
/// before each bus as long as they may then: what was put on the bus is remembered for longer, and an experiment waits until
/// all of that is too old, and a little longer. The bus loses frames anyway.
const OVERLOADED_FOR: Duration = Duration::from_secs(1);
const SIGN: Duration = Duration::from_millis(300);
const OVERLOADED_HORIZON: Duration = Duration::from_secs(1);
const LITTLE_LONGER: Duration = Duration::from_millis(50);

/// The part of what came before that may come by itself, at the most.
const PART_BY_ITSELF: u64 = 2;

/// What an experiment may take of the age that frames may have, which they wait meanwhile, as long as it does not look like a
/// loop: half. One without an end counts as the usual one.
const PART_OF_AGE: u32 = 2;
const USUAL_AGE: Duration = Duration::from_millis(250);

/// Where nothing came back, another link of the same loop may be at the same: one of them tries again, after such a time.
const LONGEST_WAIT: Duration = Duration::from_millis(16);
const MOST_TRIES: u32 = 3;

/// How long frames are kept off the bus where a loop was found, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After so many times the last pause without a loop, the next one is the first.
const FORGOTTEN_AFTER: u32 = 10;

/// Frames at the front of the queue that are looked at for such as have come before.
const LOOKED_AT: usize = 64;

/// What is to be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// A loop: frames are kept off the bus for so long.
    Found {
        /// How long.
        pause: Duration,
    },
    /// Frames cross again, until it is found anew.
    Resumed,
}

#[derive(Debug)]
enum Phase {
    /// Frames cross.
    Watching,
    /// Both ways are held, and what goes round comes into our queues.
    Emptying { until: Moment },
    /// What comes now comes by itself.
    Listening { until: Moment },
    /// Some are let through, and come back or do not.
    Trying(Experiment),
    /// Until the next try.
    Waiting { until: Moment },
    /// Frames are kept off the bus.
    Paused { until: Moment },
}

/// The watch over what a link puts on one bus.
#[derive(Debug)]
pub struct LoopWatch {
    contents: Contents,
    suspicion: Suspicion,
    random: Rng,
    phase: Phase,
    /// How long an experiment may hold frames that do not look like a loop.
    patience: Patience,
    tries: u32,
    /// The longest way round that this experiment looks for.
    way: Duration,
    /// What is at the front of the queue while is listened: its contents, and how many of those, and of all that have
    /// come before, came.
    front: [Fingerprint; MOST_AT_ONCE],
    front_count: usize,
    of_front: u32,
    of_repeated: u64,
    /// When the bus began to be overloaded, and when that last showed.
    overloaded: Option<(Moment, Moment)>,
    /// Whether this experiment takes frames that have not come before.
    takes_any: bool,
    pause: Duration,
    paused_last: Moment,
    /// The connection is about to end.
    is_over: bool,
    news: Option<News>,
}

impl LoopWatch {
    /// The watch of a link that begins at `now`, whose frames may have an age of `max_age`.
    pub fn new(max_age: Option<Duration>, seed: u64, now: Moment) -> Self {
        let mut random = Rng::with_seed(seed);
        Self {
            contents: Contents::new(),
            suspicion: Suspicion::new(now, &mut random),
            random,
            phase: Phase::Watching,
            patience: Patience { until: now, time: max_age.unwrap_or(USUAL_AGE) / PART_OF_AGE },
            tries: 0,
            way: LONGEST_WAY,
            front: [Fingerprint::default(); MOST_AT_ONCE],
            front_count: 0,
            of_front: 0,
            of_repeated: 0,
            overloaded: None,
            takes_any: false,
            pause: Duration::ZERO,
            paused_last: now,
            is_over: false,
            news: None,
        }
    }

    /// A frame has come from the peer: whether it may go on the bus.
    #[inline(always)]
    pub fn arrived(&mut self, frame: &Frame, now: Moment) -> bool {
        let content = Fingerprint::of(frame.image());
        let age_us = self.contents.note(content, self.horizon_us(now), now);
        if self.is_watching() && age_us.is_none() {
            // It goes round nowhere, and nothing waits for it.
            self.suspicion.note_new();
            return true;
        }
        self.repeated_or_awaited(content, age_us, now)
    }

    /// Out of line, but not cold: what devices send over and over without a change comes by here.
    #[inline(never)]
    fn repeated_or_awaited(&mut self, content: Fingerprint, age_us: Option<u32>, now: Moment) -> bool {
        match &mut self.phase {
            Phase::Watching => {
                if self.suspicion.note(age_us, now, &mut self.random) && !self.is_over {
                    self.begin(now);
                }
            }
            Phase::Emptying { .. } | Phase::Waiting { .. } | Phase::Paused { .. } => {}
            Phase::Listening { .. } => {
                self.of_front += u32::from(self.front[..self.front_count].contains(&content));
                self.of_repeated += u64::from(age_us.is_some());
            }
            Phase::Trying(experiment) => experiment.arrived(content, now),
        }
        !self.has_found()
    }

    /// Whether nothing is held and nothing due: there need be no more than [`LoopWatch::arrived`] and [`LoopWatch::wrote`].
    #[inline]
    pub fn is_watching(&self) -> bool {
        matches!(self.phase, Phase::Watching)
    }

    /// Whether a loop was found, so that frames are kept off the bus.
    #[inline]
    pub fn has_found(&self) -> bool {
        matches!(self.phase, Phase::Paused { .. })
    }

    /// What was seen so far says nothing of what comes: the peer has stopped the loop, or lets it begin again.
    pub fn restart_after_loop(&mut self, now: Moment) {
        self.suspicion.restart_after_loop(now);
        self.let_go();
    }

    /// A connection has been made, in place of an earlier one.
    pub fn restart_for_connection(&mut self, now: Moment) {
        self.is_over = false;
        self.suspicion.restart_for_connection(now);
    }

    /// How many of the frames that wait may be written now.
    #[inline]
    pub fn room<'a>(&self, waiting: impl Iterator<Item = &'a Frame>) -> usize {
        match &self.phase {
            Phase::Watching => usize::MAX,
            Phase::Trying(experiment) => self.reach(experiment.allowance(), waiting),
            Phase::Emptying { .. }
            | Phase::Listening { .. }
            | Phase::Waiting { .. }
            | Phase::Paused { .. } => 0,
        }
    }

    /// The bus has taken frames.
    #[inline(always)]
    pub fn wrote(&mut self, frames: &[Frame], now: Moment) {
        for content in frames.iter().map(|frame| Fingerprint::of(frame.image())) {
            self.contents.wrote(content, now);
            if !self.is_watching() {
                self.wrote_for_experiment(content);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn wrote_for_experiment(&mut self, content: Fingerprint) {
        if let Phase::Trying(experiment) = &mut self.phase
            && (self.takes_any || self.contents.was_repeated(content))
        {
            experiment.wrote();
        }
    }

    /// Whether nothing is to be sent to the peer: what goes round the other way stops, too, and nobody answers what is let through
    /// with what would look like it.
    #[inline]
    pub fn holds_peer(&self) -> bool {
        !matches!(self.phase, Phase::Watching | Phase::Paused { .. })
    }

    /// Frames were discarded because they had waited for the bus for too long.
    pub fn discarded(&mut self, now: Moment) {
        if self.is_watching() {
            let (since, last) = self.overloaded.get_or_insert((now, now));
            if now.since(*last) > SIGN {
                *since = now;
            }
            *last = now;
        }
    }

    /// When [`LoopWatch::advance`] has something to do.
    #[inline]
    pub fn deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Watching => None,
            Phase::Trying(experiment) => Some(experiment.deadline()),
            Phase::Emptying { until }
            | Phase::Listening { until }
            | Phase::Waiting { until }
            | Phase::Paused { until } => Some(*until),
        }
    }

    /// Does what is due, given the frames that wait, oldest first.
    pub fn advance<'a>(&mut self, waiting: impl Iterator<Item = &'a Frame> + Clone, now: Moment) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let by_itself = self.repeated_by_itself();
        match &mut self.phase {
            Phase::Watching => {}
            Phase::Emptying { .. } => self.listen(waiting, now),
            Phase::Listening { .. } if self.of_repeated > by_itself => self.give_up(now),
            Phase::Listening { .. } | Phase::Waiting { .. } => self.try_once(waiting, now),
            Phase::Trying(experiment) => {
                let front = may_go_round(&self.contents, self.takes_any, waiting);
                match experiment.advance(front, self.patience, &mut self.random, now) {
                    None => {}
                    Some(Finding::Loop) => self.pause(now),
                    Some(Finding::Nothing) => self.try_later(now),
                }
            }
            Phase::Paused { .. } => {
                self.suspicion.restart_after_loop(now);
                self.phase = Phase::Watching;
                self.news = Some(News::Resumed);
            }
        }
    }

    /// The connection is about to end: nothing is held any more.
    pub fn end(&mut self) {
        self.is_over = true;
        self.let_go();
    }

    fn let_go(&mut self) {
        if !self.has_found() {
            self.phase = Phase::Watching;
        }
    }

    /// What there is to be said since the last call.
    #[inline]
    pub fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Holds both ways, so that what goes round comes into our queues.
    fn begin(&mut self, now: Moment) {
        self.takes_any = self.is_overloaded(now);
        // As it looks; longer, where that has shown nothing.
        let usual = if self.takes_any { LONGEST_WAY } else { self.suspicion.usual_age() * 5 / 4 };
        let shortest = WAYS.iter().position(|way| *way >= usual).unwrap_or(WAYS.len() - 1);
        let longest = (shortest + self.suspicion.failures() as usize).min(WAYS.len() - 1);
        // Emptying, listening for half as long, and the first try.
        self.way = WAYS[self.random.usize(shortest..=longest)].min(self.patience.time * 2 / 5);
        let emptying =
            if self.takes_any { self.patience.time * PART_OF_AGE + LITTLE_LONGER } else { self.way };
        self.patience.until = now.after(emptying.saturating_sub(self.way) + self.patience.time);
        self.tries = 0;
        self.phase = Phase::Emptying { until: now.after(emptying) };
    }

    fn listen<'a>(&mut self, waiting: impl Iterator<Item = &'a Frame>, now: Moment) {
        let front = may_go_round(&self.contents, self.takes_any, waiting);
        self.front_count = 0;
        for (place, content) in self.front.iter_mut().zip(front) {
            *place = content;
            self.front_count += 1;
        }
        (self.of_front, self.of_repeated) = (0, 0);
        self.phase = Phase::Listening { until: now.after(self.way / 2) };
    }

    /// Repeated frames that may come by themselves while is listened.
    fn repeated_by_itself(&self) -> u64 {
        self.suspicion.expected_within(self.way / 2) / PART_BY_ITSELF + 1
    }

    fn try_once<'a>(&mut self, waiting: impl Iterator<Item = &'a Frame> + Clone, now: Moment) {
        let mut front = may_go_round(&self.contents, self.takes_any, waiting).peekable();
        if front.peek().is_none() {
            drop(front);
            return self.give_up(now);
        }
        self.tries += 1;
        let experiment = Experiment::new(self.way, self.of_front, self.way / 2, front, now);
        self.phase = Phase::Trying(experiment);
    }

    /// Nothing came back. Another link of the same loop may have held what we let through, to see whether its own comes back.
    fn try_later(&mut self, now: Moment) {
        let is_late = now.after(self.way) > self.patience.until;
        if is_late || self.tries >= MOST_TRIES || self.random.bool() {
            return self.give_up(now);
        }
        let wait_ns = self.random.u64(0..LONGEST_WAIT.as_nanos() as u64);
        self.phase = Phase::Waiting { until: now.after_nanos(wait_ns) };
    }

    fn give_up(&mut self, now: Moment) {
        self.suspicion.fail(now);
        self.phase = Phase::Watching;
    }

    fn pause(&mut self, now: Moment) {
        let is_forgotten = now.since(self.paused_last) > self.pause * FORGOTTEN_AFTER;
        self.pause =
            if is_forgotten { FIRST_PAUSE } else { (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE) };
        self.paused_last = now.after(self.pause);
        self.phase = Phase::Paused { until: self.paused_last };
        self.news = Some(News::Found { pause: self.pause });
    }

    /// How many frames there are up to the last that may be let through of those that may go round.
    fn reach<'a>(&self, allowance: usize, waiting: impl Iterator<Item = &'a Frame>) -> usize {
        let mut left = allowance;
        let mut reach = 0;
        for (number, frame) in waiting.take(LOOKED_AT).enumerate() {
            if left == 0 {
                break;
            }
            if self.takes_any || self.contents.was_repeated(Fingerprint::of(frame.image())) {
                (left, reach) = (left - 1, number + 1);
            }
        }
        reach
    }

    /// How long ago what comes again may have been put on the bus.
    #[inline]
    fn horizon_us(&self, now: Moment) -> u32 {
        const OVERLOADED_US: u32 = OVERLOADED_HORIZON.as_micros() as u32;
        const USUAL_US: u32 = LONGEST_WAY.as_micros() as u32;
        if self.is_overloaded(now) { OVERLOADED_US } else { USUAL_US }
    }

    #[inline]
    fn is_overloaded(&self, now: Moment) -> bool {
        self.overloaded
            .is_some_and(|(since, last)| now.since(last) <= SIGN && last.since(since) >= OVERLOADED_FOR)
    }
}

/// The contents at the front of a queue that have come before, or all.
fn may_go_round<'a>(
    contents: &Contents,
    takes_any: bool,
    waiting: impl Iterator<Item = &'a Frame>,
) -> impl Iterator<Item = Fingerprint> {
    let looked_at = waiting.take(LOOKED_AT).map(|frame| Fingerprint::of(frame.image()));
    looked_at.filter(move |content| takes_any || contents.was_repeated(*content))
}
