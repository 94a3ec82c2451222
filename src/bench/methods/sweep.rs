//! Latency and loss over load.

use super::super::error::BenchError;
use super::super::lab::Lab;
use super::super::watch::Ending;
use super::{Answer, found};
use crate::load::{Load, Pacing};
use crate::report::document::{Finding, Outcome, Trial};
use crate::report::units::time;

/// The steps: tenths of the load that was asked for, up to a fifth more than all of it.
const TENTHS: std::ops::RangeInclusive<u32> = 1..=12;

/// The latency has a knee where its 99th percentile has grown to so many times that of the lowest load.
const KNEE: u64 = 10;

/// Trials at 10 % to 120 % of the load.
pub fn sweep(lab: &mut Lab<'_>) -> Result<Answer, BenchError> {
    let load = lab.config().load.clone();
    let steps: Vec<(String, Load)> = TENTHS.map(|tenths| step(&load, tenths)).collect::<Result<_, _>>()?;
    let mut ending = Ending::Over;
    let mut highest_clean = None;
    let mut is_unbroken = true;
    let mut any_result = false;
    for (index, (label, load)) in steps.into_iter().enumerate() {
        lab.announce(index + 1, Some(TENTHS.count()));
        let plan = lab.plan(&label, load);
        ending = lab.run_until_valid(plan)?;
        if ending != Ending::Over {
            break;
        }
        if lab.last().invalid_because.is_empty() {
            any_result = true;
            is_unbroken &= lab.last_was_clean();
            if is_unbroken {
                highest_clean = Some(label);
            }
        }
    }
    let text = match &highest_clean {
        Some(label) => format!("without loss up to {label}"),
        None if any_result => "frames were lost at every load".to_owned(),
        None if ending == Ending::Over => "no step of it is a result".to_owned(),
        None => "ended before a step was a result".to_owned(),
    };
    let findings = knee(lab.trials()).into_iter().collect();
    let mut verdict = found(ending, text);
    verdict.reasons = lab.trials().iter().flat_map(reasons).collect();
    if highest_clean.is_none() && ending == Ending::Over {
        verdict.result = if any_result { Outcome::Fail } else { Outcome::Invalid };
    }
    Ok(Answer { verdict, findings })
}

/// The load of a step, and its name. All are made before the first is tried.
fn step(load: &Load, tenths: u32) -> Result<(String, Load), BenchError> {
    let part = f64::from(tenths) / 10.0;
    let (pacing, label) = match load.pacing() {
        Some(Pacing::Rate { frames_per_s }) => {
            let frames_per_s = frames_per_s * part;
            let digits = if frames_per_s < 100.0 { 1 } else { 0 };
            (Pacing::Rate { frames_per_s }, format!("{frames_per_s:.digits$}/s"))
        }
        Some(Pacing::Bus { percent }) => {
            let percent = percent * part;
            (Pacing::Bus { percent }, format!("{percent:.0} %"))
        }
        _ => {
            let what = "a share of a bus (--load) or a rate (--fps)";
            return Err(BenchError::NotForThisLoad("--sweep", what));
        }
    };
    let load =
        load.with_pacing(pacing).map_err(|source| BenchError::Step { label: label.clone(), source })?;
    Ok((label, load))
}

/// Why a step is no result.
fn reasons(trial: &Trial) -> impl Iterator<Item = String> {
    trial.invalid_because.iter().map(|reason| format!("{}: {reason}", trial.label))
}

/// The first load at which frames are lost or late.
fn knee(trials: &[Trial]) -> Option<Finding> {
    let p99 = |trial: &Trial| trial.directions.iter().map(|one| one.latency.p99_ns).max().unwrap_or(0);
    let lost = |trial: &Trial| trial.directions.iter().any(|one| one.counts.lost > 0);
    let has_latency = |trial: &Trial| trial.directions.iter().all(|one| one.latency.count > 0);
    let valid = || trials.iter().filter(|trial| trial.invalid_because.is_empty() && has_latency(trial));
    let at_rest_ns = p99(valid().next()?);
    let knee = valid().find(|trial| lost(trial) || p99(trial) > KNEE * at_rest_ns)?;
    let (value, unit) = match (knee.load.percent, knee.load.frames_per_s) {
        (Some(percent), _) => (percent, "%"),
        (None, rate) => (rate?, "frames/s"),
    };
    let why = if lost(knee) {
        "frames are lost"
    } else {
        "the 99th percentile is ten times that of the lowest load"
    };
    Some(Finding {
        what: "knee".to_owned(),
        subject: String::new(),
        value,
        unit: unit.to_owned(),
        uncertainty: None,
        is_real: None,
        text: format!("the knee is at {}: {why} (p99 {})", knee.label, time(p99(knee))),
    })
}
