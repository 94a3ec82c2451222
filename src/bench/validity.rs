//! Whether a trial is a result: it is none if the test itself was too slow, or was built to be.

use std::time::Duration;

use super::trial::{DirectionOutcome, Outcome};
use super::watch::Ending;
use crate::load::Pacing;
use crate::report::units::{grouped, time};

/// How late a frame may be sent: twice as late as one that finds a controller's queue of ten frames full at 500 kbit/s. It is what
/// `bench/compare` allows its meter.
pub const LATE: Duration = Duration::from_millis(5);

/// Frames that may be later than that: of the hundredth that the 99th percentile leaves out, all.
const ON_TIME: f64 = 0.99;

/// Why no trial of this build is a result, if so: it is a debug build, in which everything takes several times as long.
pub fn build_is_slow() -> Option<&'static str> {
    cfg!(debug_assertions).then_some("this is a debug build: build with --release")
}

/// Why this is no result; nothing if it is one.
pub fn invalid_because(outcome: &Outcome) -> Vec<String> {
    let mut reasons = Vec::new();
    // Of many that are due at once all but the first are late.
    let has_pace = !matches!(outcome.plan.load.pacing(), Some(Pacing::Burst { .. } | Pacing::Flood));
    for direction in &outcome.directions {
        if has_pace {
            reasons.extend(too_late(direction));
        }
        reasons.extend(left_over(direction));
        let dropped = direction.received.dropped;
        if dropped > 0 {
            reasons.push(format!(
                "the test did not read {} frames in time, which look like lost ones",
                grouped(dropped)
            ));
        }
    }
    let given_up: u64 = outcome.directions.iter().map(|one| one.received.progress.given_up).sum();
    if given_up > 0 {
        reasons.push(format!(
            "more frames were under way than are remembered: {} were given up",
            grouped(given_up)
        ));
    }
    if outcome.ending == Ending::Over
        && outcome.directions.iter().all(|one| one.received.progress.counts.sent == 0)
    {
        reasons.push("no frame was due in the time measured: take a longer one".to_owned());
    }
    reasons
}

fn too_late(direction: &DirectionOutcome) -> Option<String> {
    let lateness = &direction.generated.lateness;
    let late_ns = lateness.value_at_quantile(ON_TIME);
    (!lateness.is_empty() && late_ns > LATE.as_nanos() as u64).then(|| {
        format!(
            "the generator fell behind its schedule: a hundredth of the frames were sent {} late or more ({} allowed)",
            time(late_ns),
            time(LATE.as_nanos() as u64)
        )
    })
}

fn left_over(direction: &DirectionOutcome) -> Option<String> {
    let left = direction.generated.abandoned + direction.generated.skipped;
    (left > 0).then(|| {
        format!(
            "the generator could not send {} frames that were due: the bus did not take them",
            grouped(left)
        )
    })
}
