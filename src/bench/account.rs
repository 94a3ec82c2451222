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

/// Where frames were lost, as far as the bridge's own counters tell, which include the warm-up. The receiving side says what
/// became of frames at the sending one (`peer_...`), which its own counters mix with the other direction's.
fn lost_where(bridges: Option<&[BridgeAccount; 2]>, one: &DirectionOutcome) -> BTreeMap<String, u64> {
    let mut places = Places::new(one.received.progress.counts.lost);
    places.add("generator", one.generated.abandoned);
    places.add("test_receive_queue", one.received.dropped);
    if let Some(bridges) = bridges {
        let (sender, receiver) = (&bridges[one.direction].counters, &bridges[1 - one.direction].counters);
        let of = |counters: &BTreeMap<String, u64>, name: &str| counters.get(name).copied().unwrap_or(0);
        places.add("kernel_queue", of(receiver, "peer_kernel_drops"));
        places.add("sender_stale", of(receiver, "peer_stale"));
        places.add("sender_slow_peer", of(receiver, "peer_slow"));
        places.add("outage", of(receiver, "peer_outage") + of(receiver, "peer_in_transit"));
        // What it counts as stale on its way out the other side has been told of.
        let stale = of(receiver, "stale").saturating_sub(of(sender, "peer_stale"));
        places.add("receiver_stale", stale);
        places.add("receiver_refused", of(receiver, "refused"));
    }
    places.finish()
}

/// Whether nothing came out that should not have: twice, out of order, changed, or foreign.
pub fn is_otherwise_clean(trial: &document::Trial) -> bool {
    trial.directions.iter().all(|direction| {
        let Counts { duplicated, reordered, corrupted, foreign, .. } = direction.counts;
        [duplicated, reordered, corrupted, foreign] == [0; 4]
    })
}

/// Where so many frames were lost: what the places add up to is what was lost, and never more.
pub struct Places {
    left: u64,
    known: BTreeMap<String, u64>,
}

impl Places {
    /// So many are to be found.
    pub fn new(lost: u64) -> Self {
        Self { left: lost, known: BTreeMap::new() }
    }

    /// So many were lost there, of those that are left: how many that is.
    pub fn add(&mut self, place: &str, count: u64) -> u64 {
        let count = count.min(self.left);
        if count > 0 {
            self.left -= count;
            self.known.insert(place.to_owned(), count);
        }
        count
    }

    /// What is left is unexplained.
    pub fn finish(mut self) -> BTreeMap<String, u64> {
        self.add("unexplained", self.left);
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::generator::Generated;
    use crate::bench::receiver::{Progress, ReceivedDirection};
    use crate::bench::series::Series;
    use crate::metrics::histograms;

    #[test]
    fn no_place_has_lost_more_than_is_missing() {
        let mut places = Places::new(10);
        assert_eq!([places.add("a", 4), places.add("b", 0), places.add("c", 5)], [4, 0, 5]);
        assert_eq!(places.add("d", 7), 1);
        let expected = [("a", 4), ("c", 5), ("d", 1)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(places.finish(), expected.into());
        let unexplained = Places::new(3).finish();
        assert_eq!(unexplained, [("unexplained".to_owned(), 3)].into());
    }

    /// Of 100 frames sent, 90 came in time, and 8 when they had been given up.
    #[test]
    fn what_came_after_all_was_lost_nowhere() {
        let mut outcome = DirectionOutcome {
            direction: 0,
            generated: Generated {
                lateness: histograms::times(),
                abandoned: 0,
                skipped: 0,
                waits: 0,
                last_due_ns: 0,
                error: None,
            },
            sent: 100,
            received: ReceivedDirection {
                progress: Progress { arrived: 90, given_up: 10, ..Progress::default() },
                latency: histograms::times(),
                series: Series::new(0, 1),
                first_faults: Vec::new(),
                echoes: None,
                dropped: 1,
                error: None,
            },
        };
        outcome.received.progress.counts.lost = 2;
        let expected = [("test_receive_queue", 1), ("unexplained", 1)];
        assert_eq!(
            lost_where(None, &outcome),
            expected.map(|(place, count)| (place.to_owned(), count)).into()
        );
    }
}
