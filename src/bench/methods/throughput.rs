//! The highest rate without loss (RFC 2544, clause 26.1).

use super::super::error::BenchError;
use super::super::lab::Lab;
use super::super::watch::Ending;
use super::search::{Attempt, Bound, Found, Range, highest};
use super::{Answer, found};
use crate::load::{FRAMES_PER_S_MAX, Pacing};
use crate::report::document::{Finding, Outcome};
use crate::report::units::grouped;

/// Where the search begins, frames a second: a quarter of a saturated 500 kbit/s bus.
const FIRST: u64 = 1_000;

/// What is of no use to anybody, frames a second.
const LOWEST: u64 = 10;

/// How many times longer the trial is that confirms what was found.
const CONFIRMATION: u32 = 3;

/// How often a rate that does not last is lowered.
const CONFIRMATIONS: u32 = 5;

/// Searches for the highest rate at which every frame arrives, and confirms it.
pub fn throughput(lab: &mut Lab<'_>, tolerance: f64) -> Result<Answer, BenchError> {
    if lab.config().load.pacing().is_none() {
        return Err(BenchError::NotForThisLoad(
            "--throughput",
            "frames at a rate (no --pattern, no --replay)",
        ));
    }
    let range = Range { lowest: LOWEST, first: FIRST, highest: FRAMES_PER_S_MAX as u64, tolerance };
    let mut stopped_by = None;
    let Found { good, bound } = highest(range, |rate| {
        let attempt = try_rate(lab, rate, 1)?;
        if attempt == Attempt::NoResult {
            stopped_by = lab.last().invalid_because.first().cloned();
        }
        Ok::<_, BenchError>(attempt)
    })?;
    let mut is_over = bound == Bound::Over;
    let Some(mut rate) = good else { return Ok(nothing(bound, stopped_by)) };
    let mut is_confirmed = false;
    for _ in 0..CONFIRMATIONS {
        if is_over || is_confirmed {
            break;
        }
        match try_rate(lab, rate, CONFIRMATION)? {
            Attempt::Good => is_confirmed = true,
            Attempt::Over => is_over = true,
            // What holds for a while need not hold for longer.
            Attempt::Bad | Attempt::NoResult => rate = lower(rate, tolerance),
        }
    }
    let ending = if is_over { Ending::Interrupted } else { Ending::Over };
    let at_least = if bound == Bound::Path { "" } else { "at least " };
    let length = lab.config().length;
    let text = format!(
        "{at_least}{} frames/s without loss{}, in trials of {length:?}",
        grouped(rate),
        lab.which_try()
    );
    let mut verdict = found(ending, text.clone());
    match bound {
        Bound::Test => {
            verdict.reasons.extend(stopped_by.map(|reason| format!("the test goes no higher: {reason}")))
        }
        Bound::Highest => verdict.reasons.push("the test goes no higher".to_owned()),
        Bound::Path | Bound::Over => {}
    }
    if ending == Ending::Over && !is_confirmed {
        verdict.result = Outcome::Invalid;
        verdict.reasons.push(format!(
            "no rate that was found held for {:?}: the path is not steady",
            length * CONFIRMATION
        ));
    }
    let finding = Finding {
        what: "throughput".to_owned(),
        subject: String::new(),
        value: rate as f64,
        unit: "frames/s".to_owned(),
        uncertainty: (bound == Bound::Path).then_some(rate as f64 * tolerance),
        is_real: None,
        text,
    };
    Ok(Answer { verdict, findings: vec![finding] })
}

fn lower(rate: u64, tolerance: f64) -> u64 {
    rate.saturating_sub((rate as f64 * tolerance) as u64).min(rate - 1).max(1)
}

/// No rate was good.
fn nothing(bound: Bound, stopped_by: Option<String>) -> Answer {
    let (result, text) = match bound {
        Bound::Over => (Outcome::Interrupted, "ended before a rate was found".to_owned()),
        Bound::Test => (Outcome::Invalid, "the test itself does not keep up".to_owned()),
        Bound::Path | Bound::Highest => {
            (Outcome::Fail, format!("frames are lost at {} frames/s already", grouped(LOWEST)))
        }
    };
    let mut verdict = found(Ending::Over, text);
    verdict.result = result;
    verdict.reasons.extend(stopped_by);
    Answer { verdict, findings: Vec::new() }
}

/// A trial at a rate; a bad one is made again before it counts (RFC 2544 asks for repetition), and what is good is judged.
fn try_rate(lab: &mut Lab<'_>, rate: u64, times: u32) -> Result<Attempt, BenchError> {
    let load = lab.config().load.with_pacing(Pacing::Rate { frames_per_s: rate as f64 })?;
    let mut plan = lab.plan(&format!("{rate}/s"), load);
    plan.length *= times;
    lab.attempt(plan)
}
