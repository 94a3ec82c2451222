//! Whether what comes looks like what goes round, so that it is worth an experiment.

use std::time::Duration;

use fastrand::Rng;

use crate::moment::Moment;

/// How much a frame of a content that has come lately weighs against one of a content that has not: where less than a
/// quarter are repeated, nothing is suspected.
const WEIGHT_OF_REPEATED: u32 = 3;

/// More heat does not gather: traffic that changes is to be seen as what it is before long.
const HOTTEST: u32 = 2 * WEIGHT_OF_REPEATED * LATER_THRESHOLD_MAX;

/// Repeated frames that the first experiment waits for, at the least, and what chance adds: the links of a loop must not
/// begin at the same time.
const FIRST_THRESHOLD: u32 = 24;
const FIRST_THRESHOLD_SPREAD: u32 = 48;

/// How many more a link waits for that has been there for so long: the later one is to find the loop, and to stop.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
const SETTLED_EXTRA: u32 = FIRST_THRESHOLD_SPREAD;

/// What a later experiment waits for, which doubles, where one after the other shows nothing, up to the last.
const LATER_THRESHOLD: u32 = 16;
const LATER_THRESHOLD_MAX: u32 = 256;

/// Where repeated frames stay away for so many times as long as between them, and for so long, another link of a loop may hold
/// them for an experiment of its own. They are back when so many come within such a time, or after a while in any case; then who
/// begins next is a matter of chance: one of so many turns, each longer than most ways round, so that all others see that it
/// has begun.
const SILENT_TIMES: u64 = 3;
const SILENCE: Duration = Duration::from_millis(4);
const BACK_FRAMES: usize = 8;
const BACK_WITHIN: Duration = Duration::from_millis(8);
const LONGEST_YIELD: Duration = Duration::from_millis(100);
const TURNS: u32 = 16;
const TURN: Duration = Duration::from_millis(2);

/// After so many experiments that showed nothing, and after each later one, there is a rest.
const FAILURES_UNTIL_REST: u32 = 2;

/// How long traffic that no loop was found in is left alone at first, and at most, doubling so often.
const FIRST_REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(600);
const MOST_DOUBLINGS: u32 = 12;

/// Repeated frames are counted for so long, to see whether there are many more than there were.
const BIN: Duration = Duration::from_millis(50);

/// Those that make it worth another look at traffic that is left alone: twice as many as then, and these.
const MANY_MORE: u32 = 32;

/// Repeated frames whose pace is known.
const PACED: usize = 32;

/// What is suspected of a link's frames for one bus.
#[derive(Debug)]
pub struct Suspicion {
    since: Moment,
    spread: u32,
    /// Repeated frames, each with its weight, less what else came.
    heat: u32,
    /// Experiments that have shown nothing, one after the other.
    failures: u32,
    /// What the next experiment waits for; none before the first.
    threshold: Option<u32>,
    not_before: Moment,
    yields_until: Option<Moment>,
    bin_began: Moment,
    in_bin: u32,
    /// The most repeated frames in a time of [`BIN`] since the last experiment, and before those that have shown nothing.
    peak: u32,
    usual: u32,
    /// When the last repeated frames came; the next one goes to `next`.
    times: [Moment; PACED],
    /// How long before each of them the same was put on the bus.
    ages_us: [u32; PACED],
    next: usize,
}

impl Suspicion {
    /// A link that begins at `now`.
    pub fn new(now: Moment, random: &mut Rng) -> Self {
        Self {
            since: now,
            spread: random.u32(0..FIRST_THRESHOLD_SPREAD),
            heat: 0,
            failures: 0,
            threshold: None,
            not_before: now,
            yields_until: None,
            bin_began: now,
            in_bin: 0,
            peak: 0,
            usual: 0,
            times: [now; PACED],
            ages_us: [0; PACED],
            next: 0,
        }
    }

    /// A frame has come whose like was not put on the bus.
    #[inline]
    pub fn note_new(&mut self) {
        self.heat = self.heat.saturating_sub(1);
    }

    /// A frame has come, and so long ago the same was put on the bus, if it was: whether an experiment should begin.
    pub fn note(&mut self, age_us: Option<u32>, now: Moment, random: &mut Rng) -> bool {
        let Some(age_us) = age_us else {
            self.note_new();
            return false;
        };
        self.heat = (self.heat + WEIGHT_OF_REPEATED).min(HOTTEST);
        if self.was_silent(now) {
            self.yields_until = Some(now.after(LONGEST_YIELD));
        } else if self.yields_until.is_some_and(|until| now >= until || self.is_dense(now)) {
            self.yields_until = None;
            let later = if self.is_settled(now) { TURNS } else { 0 };
            self.not_before = self.not_before.max(now.after(TURN * (later + random.u32(0..TURNS))));
        }
        (self.times[self.next], self.ages_us[self.next]) = (now, age_us);
        self.next = (self.next + 1) % PACED;
        self.look_at_bin(now);
        self.in_bin += 1;
        self.heat / WEIGHT_OF_REPEATED >= self.threshold(now)
            && now >= self.not_before
            && self.yields_until.is_none()
    }

    /// Experiments that have shown nothing since the last that showed something.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether no repeated frame has come for a while, where many did before.
    fn was_silent(&self, now: Moment) -> bool {
        let (oldest, newest) = self.paced();
        let silent_ns = now.nanos_since(newest);
        silent_ns >= SILENCE.as_nanos() as u64
            && silent_ns / SILENT_TIMES > newest.nanos_since(oldest) / (PACED as u64 - 1)
    }

    /// How long before it comes again a frame was usually put on the bus: the median of the last ones.
    pub fn usual_age(&self) -> Duration {
        let mut ages_us = self.ages_us;
        ages_us.sort_unstable();
        Duration::from_micros(ages_us[PACED / 2].into())
    }

    /// Whether repeated frames come one after the other.
    fn is_dense(&self, now: Moment) -> bool {
        now.since(self.times[(self.next + PACED - BACK_FRAMES) % PACED]) <= BACK_WITHIN
    }

    /// When the first and the last of the latest repeated frames came.
    fn paced(&self) -> (Moment, Moment) {
        (self.times[self.next], self.times[(self.next + PACED - 1) % PACED])
    }

    /// How many repeated frames come within a time, by the pace of the last ones.
    pub fn expected_within(&self, time: Duration) -> u64 {
        let (oldest, newest) = self.paced();
        let span_ns = u128::from(newest.nanos_since(oldest).max(1));
        u64::try_from(time.as_nanos() * (PACED as u128 - 1) / span_ns).unwrap_or(u64::MAX)
    }

    /// An experiment has shown nothing: from the second of them on, the traffic is left alone for a while.
    pub fn fail(&mut self, now: Moment) {
        self.threshold =
            Some((LATER_THRESHOLD << self.failures.min(MOST_DOUBLINGS)).min(LATER_THRESHOLD_MAX));
        self.failures = self.failures.saturating_add(1);
        self.heat = 0;
        if let Some(rests) =
            self.failures.min(MOST_DOUBLINGS + FAILURES_UNTIL_REST).checked_sub(FAILURES_UNTIL_REST)
        {
            self.not_before = now.after((FIRST_REST * (1 << rests)).min(LONGEST_REST));
        }
        self.usual = self.usual.max(self.peak).max(self.in_bin);
        self.peak = 0;
        (self.bin_began, self.in_bin) = (now, 0);
    }

    /// A loop was found, and may be there still when frames cross again.
    pub fn restart_after_loop(&mut self, now: Moment) {
        self.threshold = Some(LATER_THRESHOLD);
        (self.heat, self.failures, self.not_before) = (0, 0, now);
        (self.peak, self.usual) = (0, 0);
        (self.bin_began, self.in_bin) = (now, 0);
    }

    /// A connection has been made, in place of an earlier one, which may be what closes a loop.
    pub fn restart_for_connection(&mut self, now: Moment) {
        self.since = now;
        self.restart_after_loop(now);
        self.threshold = None;
    }

    fn threshold(&self, now: Moment) -> u32 {
        self.threshold.unwrap_or_else(|| {
            FIRST_THRESHOLD + self.spread + if self.is_settled(now) { SETTLED_EXTRA } else { 0 }
        })
    }

    fn is_settled(&self, now: Moment) -> bool {
        now.since(self.since) > SETTLED_AFTER
    }

    /// Where there are many more repeated frames than there were of those that come by themselves, something is new.
    fn look_at_bin(&mut self, now: Moment) {
        if now.since(self.bin_began) < BIN {
            if self.failures > 0 && self.in_bin >= self.usual.saturating_mul(2).saturating_add(MANY_MORE) {
                self.usual = self.in_bin;
                self.failures = 0;
                self.threshold = None;
                self.not_before = now;
            }
            return;
        }
        self.peak = self.peak.max(self.in_bin);
        (self.bin_began, self.in_bin) = (now, 0);
    }
}
