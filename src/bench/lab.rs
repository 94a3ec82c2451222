//! Where trials are run, one after the other, and what came of them is kept.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::account;
use super::config::Config;
use super::error::BenchError;
use super::methods::Attempt;
use super::subject::{Done, Subject};
use super::trial::Plan;
use super::watch::{Ending, Watch};
use crate::load::Load;
use crate::metrics::{counted, was};
use crate::report::IntervalHistograms;
use crate::report::document::{Outcome, Trial, Verdict};
use crate::report::units::{grouped, time};

/// How often a trial is made that is no result: other processes may have been in its way.
const ATTEMPTS: u32 = 3;

/// What is measured, and the trials made on it.
pub struct Lab<'a> {
    config: &'a Config,
    subject: &'a Subject,
    runtime: &'a Runtime,
    watch: Watch,
    trials: Vec<Trial>,
    intervals: IntervalHistograms,
    /// Trials that were no result and were made again.
    repeated: u32,
    /// The trial that a search has found.
    judged: Option<usize>,
    /// Whether that trial was good only when it was made again.
    judged_again: bool,
    /// What ended the test, if it was not the one who started it.
    broken: Option<String>,
    /// Engine and protocol of the bridges, as of the last trial.
    pub bridge: (Option<String>, Option<String>),
}

impl<'a> Lab<'a> {
    /// Nothing was run yet.
    pub fn new(config: &'a Config, subject: &'a Subject, runtime: &'a Runtime, watch: Watch) -> Self {
        Self {
            config,
            subject,
            runtime,
            watch,
            trials: Vec::new(),
            intervals: IntervalHistograms::new(),
            repeated: 0,
            judged: None,
            judged_again: false,
            broken: None,
            bridge: (None, None),
        }
    }

    /// What was asked for.
    pub fn config(&self) -> &'a Config {
        self.config
    }

    /// The trials so far.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// A trial as it was asked for, with this load.
    pub fn plan(&self, label: &str, load: Load) -> Plan {
        Plan {
            label: label.to_owned(),
            load,
            directions: self.config.directions,
            frames_max: self.config.frames_max,
            length: self.config.length,
            warm_up: self.config.warm_up,
            bridge_options: self.config.bridge_options.clone(),
        }
    }

    /// Says which of how many trials comes next.
    pub fn announce(&mut self, index: usize, of: Option<usize>) {
        self.watch.live().set_position(of.map(|of| (index, of)));
    }

    /// Runs a trial and keeps what came of it.
    ///
    /// # Errors
    /// It could not be run, or was pointless.
    pub fn run(&mut self, plan: Plan) -> Result<Ending, BenchError> {
        let done = self.make(plan)?;
        Ok(self.keep(done))
    }

    /// Runs a trial; as long as the test itself was too slow, again, a few times: that says nothing of the path.
    ///
    /// # Errors
    /// As [`Lab::run`].
    pub fn run_until_valid(&mut self, plan: Plan) -> Result<Ending, BenchError> {
        for _ in 1..ATTEMPTS {
            let done = self.make(plan.clone())?;
            if done.ending != Ending::Over || done.trial.invalid_because.is_empty() {
                return Ok(self.keep(done));
            }
            self.repeated += 1;
        }
        self.run(plan)
    }

    /// Runs a trial of a search. One that fails is made again before it counts, as RFC 2544 asks for.
    ///
    /// # Errors
    /// As [`Lab::run`].
    pub fn attempt(&mut self, plan: Plan) -> Result<Attempt, BenchError> {
        let again = Plan { label: format!("{}, again", plan.label), ..plan.clone() };
        for (is_again, plan) in [(false, plan), (true, again)] {
            if self.run_until_valid(plan)? != Ending::Over {
                return Ok(Attempt::Over);
            }
            if !self.last().invalid_because.is_empty() {
                return Ok(Attempt::NoResult);
            }
            if self.is_clean(self.last()) {
                self.judged = Some(self.trials.len() - 1);
                self.judged_again = is_again;
                return Ok(Attempt::Good);
            }
        }
        Ok(Attempt::Bad)
    }

    fn make(&mut self, plan: Plan) -> Result<Done, BenchError> {
        let done = self.subject.run(plan, self.runtime, &mut self.watch);
        self.watch.live().end();
        done
    }

    fn keep(&mut self, done: Done) -> Ending {
        let Done { ending, broken, started, trial, ways, engine, protocol } = done;
        self.bridge = (engine, protocol);
        self.intervals.begin_trial(started);
        let names = self.subject.names();
        for way in &ways {
            let (from, to) = (names[way.direction], names[1 - way.direction]);
            for interval in way.series.intervals() {
                let (start, length) = (interval.start_ns, interval.length_ns);
                let (start, length) = (Duration::from_nanos(start), Duration::from_nanos(length));
                self.intervals.add(from, to, start, length, &interval.latency);
            }
        }
        self.trials.push(trial);
        self.broken = self.broken.take().or(broken);
        ending
    }

    /// Whether every frame came out as it was sent. Conditions on the loss take the place of the rule that there be none.
    pub fn is_clean(&self, trial: &Trial) -> bool {
        let on_loss = || self.config.conditions.iter().filter(|condition| condition.is_on_loss());
        let loss_is_allowed = match on_loss().next() {
            Some(_) => on_loss().all(|condition| condition.violations(&[trial]).is_empty()),
            None => trial.directions.iter().all(|one| one.counts.lost == 0),
        };
        loss_is_allowed && account::is_otherwise_clean(trial)
    }

    /// The conditions that hold, for what the test as a whole says: a search's answer, or every trial that is a result.
    pub fn violations(&self, is_search: bool) -> Vec<String> {
        let mut judged: Vec<&Trial> = match is_search {
            true => self.judged.map(|index| &self.trials[index]).into_iter().collect(),
            false => self.trials.iter().filter(|trial| trial.invalid_because.is_empty()).collect(),
        };
        if judged.is_empty() {
            // What was lost was lost, however late it was sent.
            judged = self.trials.iter().collect();
        }
        self.config.conditions.iter().flat_map(|condition| condition.violations(&judged)).collect()
    }

    /// How late the last frame of the trial was that a search has found.
    pub fn judged_lateness_ns(&self) -> u64 {
        let judged = self.judged.map(|index| &self.trials[index].directions);
        judged.into_iter().flatten().map(|one| one.lateness.max_ns).max().unwrap_or(0)
    }

    /// What is to be said behind a search's answer if its trial had failed before.
    pub fn which_try(&self) -> &'static str {
        if self.judged_again { " in the second try" } else { "" }
    }

    /// What is to be said of the test as a whole.
    pub fn remarks(&self) -> Vec<String> {
        let repeated = (self.repeated > 0).then(|| {
            let repeated = self.repeated.into();
            format!(
                "{} {} made again, because the test itself had been too slow",
                counted(repeated, "trial"),
                was(repeated)
            )
        });
        self.broken.clone().into_iter().chain(repeated).collect()
    }

    /// Whether something other than the one who started it has ended the test.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// The last trial. There has been one.
    pub fn last(&self) -> &Trial {
        self.trials.last().expect("a trial was run")
    }

    /// Whether every frame of the last trial came out as it was sent, and it is a result.
    pub fn last_was_clean(&self) -> bool {
        self.is_clean(self.last()) && self.last().invalid_because.is_empty()
    }

    /// What the last trial says by itself.
    pub fn verdict_on_last(&self, ending: Ending) -> Verdict {
        let trial = self.last();
        let sent: u64 = trial.directions.iter().map(|one| one.counts.sent).sum();
        let lost: u64 = trial.directions.iter().map(|one| one.counts.lost).sum();
        let p99_ns = trial.directions.iter().map(|one| one.latency.p99_ns).max().unwrap_or(0);
        let (result, text) = if ending == Ending::Broken {
            let arrived = grouped(sent.saturating_sub(lost));
            (Outcome::Fail, format!("it broke off: {arrived} of {} frames arrived", grouped(sent)))
        } else if ending == Ending::Interrupted {
            (
                Outcome::Interrupted,
                format!("ended early, after {} frames; {} lost", grouped(sent), grouped(lost)),
            )
        } else if !trial.invalid_because.is_empty() {
            (Outcome::Invalid, "this is no result: the test itself was not up to it".to_owned())
        } else if self.is_clean(trial) {
            (Outcome::Pass, all_arrived(trial, p99_ns))
        } else {
            (Outcome::Fail, format!("{}; p99 {}", faults(trial), time(p99_ns)))
        };
        Verdict { result, text, reasons: trial.invalid_because.clone() }
    }

    /// Everything that was kept.
    pub fn into_results(self) -> (Vec<Trial>, IntervalHistograms) {
        (self.trials, self.intervals)
    }
}

/// Of a link, the frames are those that were sent there; that as many came back goes without saying.
fn all_arrived(trial: &Trial, p99_ns: u64) -> String {
    let sent = || trial.directions.iter().map(|one| one.counts.sent);
    match &trial.round_trip {
        Some(round_trip) => format!(
            "all {} frames came back, once and in order; p99 {} there and back",
            grouped(sent().next().unwrap_or(0)),
            time(round_trip.p99_ns)
        ),
        None => {
            format!("all {} frames arrived, once and in order; p99 {}", grouped(sent().sum()), time(p99_ns))
        }
    }
}

/// `12 of 43,210 frames lost, 1 duplicated`.
fn faults(trial: &Trial) -> String {
    let sum = |count: fn(&crate::report::document::Counts) -> u64| -> u64 {
        trial.directions.iter().map(|one| count(&one.counts)).sum()
    };
    let named = [
        ("duplicated", sum(|counts| counts.duplicated)),
        ("reordered", sum(|counts| counts.reordered)),
        ("corrupted", sum(|counts| counts.corrupted)),
        ("foreign", sum(|counts| counts.foreign)),
    ];
    let mut text = format!(
        "{} of {} frames lost",
        grouped(sum(|counts| counts.lost)),
        grouped(sum(|counts| counts.sent))
    );
    for (name, count) in named.into_iter().filter(|(_, count)| *count > 0) {
        text.push_str(&format!(", {} {name}", grouped(count)));
    }
    text
}
