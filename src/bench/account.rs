//! What a trial came to, as the report tells it.

use std::collections::BTreeMap;

use super::path::{BridgeAccount, Path};
use super::series;
use super::trial::{DirectionOutcome, Outcome};
use super::validity::invalid_because;
use crate::frame::notation::write_compact;
use crate::load::Pacing;
use crate::report::document::{self, Bridge, Counts, Direction, Fault, Interval, Latency, Load, Trial};
use crate::verification;

/// The trial's part of the report.
pub fn trial(path: &Path, outcome: &Outcome) -> Trial {
    let measured_s = outcome.measured.as_secs_f64();
    let bridges = outcome.bridges.as_ref();
    Trial {
        label: outcome.plan.label.clone(),
        load: load(&outcome.plan.load),
        duration_s: measured_s,
        warm_up_s: outcome.plan.warm_up.as_secs_f64(),
        invalid_because: invalid_because(outcome),
        directions: outcome.directions.iter().map(|one| direction(path, outcome, one, measured_s)).collect(),
        round_trip: None,
        bridges: bridges.map(|both| both.iter().map(bridge).collect()).unwrap_or_default(),
    }
}

/// What was offered.
pub fn load(load: &crate::load::Load) -> Load {
    let (percent, frames_per_s, burst_frames) = match load.pacing() {
        Some(Pacing::Bus { percent }) => (Some(percent), None, None),
        Some(Pacing::Rate { frames_per_s }) => (None, Some(frames_per_s), None),
        Some(Pacing::Burst { frames, .. }) => (None, None, Some(frames)),
        Some(Pacing::Flood) | None => (None, None, None),
    };
    let on_a_bus = matches!(load.pacing(), Some(Pacing::Bus { .. }) | None);
    Load {
        description: load.description(),
        bit_rate: on_a_bus.then(|| load.rates().nominal.get()),
        data_bit_rate: (on_a_bus && load.has_fd()).then(|| load.rates().data.get()),
        percent,
        frames_per_s,
        burst_frames,
        seed: load.seed(),
    }
}

fn direction(path: &Path, outcome: &Outcome, one: &DirectionOutcome, measured_s: f64) -> Direction {
    let counts = one.received.progress.counts;
    let a_second = |frames: u64| if measured_s > 0.0 { frames as f64 / measured_s } else { 0.0 };
    Direction {
        from: path.names()[one.direction].to_owned(),
        to: path.names()[1 - one.direction].to_owned(),
        counts: Counts {
            sent: counts.sent,
            received: counts.received,
            lost: counts.lost,
            duplicated: counts.duplicated,
            reordered: counts.reordered,
            corrupted: counts.corrupted,
            foreign: counts.foreign,
        },
        offered_per_s: a_second(counts.sent + one.generated.skipped),
        delivered_per_s: a_second(counts.received),
        lost_where: lost_where(outcome.bridges.as_ref(), one),
        first_faults: one.received.first_faults.iter().map(fault).collect(),
        latency: Latency::of(&one.received.latency),
        lateness: Latency::of(&one.generated.lateness),
        uncertainty_ns: None,
        intervals: one.received.series.intervals().iter().map(interval).collect(),
    }
}

/// A part of a trial.
pub fn interval(interval: &series::Interval) -> Interval {
    let latency = &interval.latency;
    let at = |quantile| (!latency.is_empty()).then(|| latency.value_at_quantile(quantile));
    Interval {
        start_s: seconds(interval.start_ns),
        length_s: seconds(interval.length_ns),
        sent: interval.sent,
        received: latency.len(),
        p50_ns: at(0.5),
        p99_ns: at(0.99),
        max_ns: at(1.0),
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// A frame that did not come out as it should.
pub fn fault(fault: &verification::Fault) -> Fault {
    let mut frame = String::new();
    write_compact(&mut frame, fault.frame.image()).expect("a string takes everything");
    Fault { what: fault.what.word().to_owned(), number: fault.number, at_s: seconds(fault.at_ns), frame }
}

/// What a bridge says of itself.
pub fn bridge(account: &BridgeAccount) -> Bridge {
    Bridge {
        role: account.role.to_owned(),
        counters: account.counters.clone(),
        processor_s: account.usage.processor.as_secs_f64(),
        resident_bytes: account.usage.resident_bytes,
    }
}

/// Where frames were lost, as far as the bridge's own counters tell; warm-up included. The receiving side says what became of
/// frames at the sending one (`peer_...`), which its own counters mix with the other direction's.
fn lost_where(bridges: Option<&[BridgeAccount; 2]>, one: &DirectionOutcome) -> BTreeMap<String, u64> {
    let lost = one.sent.saturating_add(one.generated.abandoned).saturating_sub(one.received.progress.arrived);
    let mut found = Vec::new();
    found.push(("generator", one.generated.abandoned));
    found.push(("test_receive_queue", one.received.dropped));
    if let Some(bridges) = bridges {
        let (sender, receiver) = (&bridges[one.direction].counters, &bridges[1 - one.direction].counters);
        let of = |counters: &BTreeMap<String, u64>, name: &str| counters.get(name).copied().unwrap_or(0);
        found.push(("kernel_queue", of(receiver, "peer_kernel_drops")));
        found.push(("sender_stale", of(receiver, "peer_stale")));
        found.push(("sender_slow_peer", of(receiver, "peer_slow")));
        found.push(("outage", of(receiver, "peer_outage") + of(receiver, "peer_in_transit")));
        // What it counts as stale on its way out the other side has been told of.
        let stale = of(receiver, "stale").saturating_sub(of(sender, "peer_stale"));
        found.push(("receiver_stale", stale));
        found.push(("receiver_refused", of(receiver, "refused")));
    }
    let known: u64 = found.iter().map(|(_, count)| count).sum();
    found.push(("unexplained", lost.saturating_sub(known)));
    found.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Whether nothing came out that should not have: twice, out of order, changed, or foreign.
pub fn is_otherwise_clean(trial: &document::Trial) -> bool {
    trial.directions.iter().all(|direction| {
        let Counts { duplicated, reordered, corrupted, foreign, .. } = direction.counts;
        [duplicated, reordered, corrupted, foreign] == [0; 4]
    })
}
