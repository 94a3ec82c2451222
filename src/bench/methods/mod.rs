//! Several trials that together answer a question.

mod burst;
mod search;
mod sweep;
mod throughput;
mod tune;

pub use burst::burst;
pub use search::Attempt;
pub use sweep::sweep;
pub use throughput::throughput;
pub use tune::tune;

use super::error::BenchError;
use super::lab::Lab;
use super::watch::Ending;
use crate::report::document::{Finding, Outcome, Verdict};

/// What a method came to.
pub struct Answer {
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
}

/// One load.
pub fn single(lab: &mut Lab<'_>) -> Result<Answer, BenchError> {
    let plan = lab.plan("", lab.config().load.clone());
    let ending = lab.run(plan)?;
    Ok(Answer { verdict: lab.verdict_on_last(ending), findings: Vec::new() })
}

/// The verdict of a search: it passes with what it found, unless it was ended early.
fn found(ending: Ending, text: String) -> Verdict {
    let result = match ending {
        Ending::Over => Outcome::Pass,
        Ending::Interrupted => Outcome::Interrupted,
        Ending::Broken => Outcome::Fail,
    };
    Verdict { result, text, reasons: Vec::new() }
}
