//! The longest burst without loss (RFC 2544, clause 26.4).

use std::time::Duration;

use super::super::error::BenchError;
use super::super::lab::Lab;
use super::super::watch::Ending;
use super::search::{Bound, Found, Range, highest};
use super::{Answer, found};
use crate::load::{BURST_FRAMES_MAX, Pacing};
use crate::report::BURST_LABEL;
use crate::report::document::{Finding, Outcome};
use crate::report::units::{grouped, time};

/// The first that is tried: a controller's transmit queue holds ten.
const FIRST: u64 = 16;

/// From one burst to the next: long enough that each begins with everything empty.
const EVERY: Duration = Duration::from_millis(500);

/// Searches for the longest burst of which every frame arrives.
pub fn burst(lab: &mut Lab<'_>, tolerance: f64) -> Result<Answer, BenchError> {
    if lab.config().load.pacing().is_none() {
        return Err(BenchError::NotForThisLoad("--burst", "frames of its own (no --pattern, no --replay)"));
    }
    let range = Range { lowest: 1, first: FIRST, highest: BURST_FRAMES_MAX, tolerance };
    let Found { good, bound } = highest(range, |frames| {
        let load = lab.config().load.with_pacing(Pacing::Burst { frames, every: EVERY })?;
        let plan = lab.plan(&format!("{BURST_LABEL}{frames}"), load);
        lab.attempt(plan)
    })?;
    let ending = if bound == Bound::Over { Ending::Interrupted } else { Ending::Over };
    let Some(longest) = good else {
        let mut verdict = found(ending, "single frames are lost already".to_owned());
        match bound {
            Bound::Over => {}
            Bound::Test => {
                verdict.result = Outcome::Invalid;
                "the test itself does not keep up".clone_into(&mut verdict.text);
                verdict.reasons.extend(lab.last().invalid_because.first().cloned());
            }
            Bound::Path | Bound::Highest => verdict.result = Outcome::Fail,
        }
        return Ok(Answer { verdict, findings: Vec::new() });
    };
    let at_least = if bound == Bound::Path { "" } else { "at least " };
    let taken_ns = lab.judged_lateness_ns();
    let text = format!(
        "bursts of {at_least}{} frames, {EVERY:?} apart, arrive without loss{}; the bus took each within {}",
        grouped(longest),
        lab.which_try(),
        time(taken_ns)
    );
    let finding = Finding {
        what: "burst".to_owned(),
        subject: String::new(),
        value: longest as f64,
        unit: "frames".to_owned(),
        uncertainty: (bound == Bound::Path).then_some((longest as f64 * tolerance).max(1.0)),
        is_real: None,
        text: text.clone(),
    };
    Ok(Answer { verdict: found(ending, text), findings: vec![finding] })
}
