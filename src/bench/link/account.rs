//! What a trial on a link came to, as the report tells it.

use std::collections::BTreeMap;

use super::super::account::{Places, bridge, fault, interval, load};
use super::super::path::BridgeAccount;
use super::super::series::Series;
use super::super::trial::{DirectionOutcome, Outcome};
use super::super::validity::invalid_because;
use super::{Account, Link};
use crate::metrics::histograms;
use crate::report::document::{Counts, Direction, Latency, Trial};
use crate::verification::{self, FaultKind};

/// The trial's part of the report: the way there, and the way back. What is duplicated, reordered, corrupted or foreign was
/// seen when it was back, and is counted there.
pub fn trial(link: &Link, outcome: &Outcome, echoes: &Account, client: &BridgeAccount) -> Trial {
    let [one] = &outcome.directions[..] else { unreachable!("a link is loaded one way") };
    let seconds = outcome.measured.as_secs_f64();
    let a_second = |frames: u64| if seconds > 0.0 { frames as f64 / seconds } else { 0.0 };
    let counts = one.received.progress.counts;
    // Of frames that are lost and not known to be lost on the way back, none is known to have got there.
    let back_lost = echoes.books.lost.back.min(counts.lost);
    let there_lost = counts.lost - back_lost;
    let answered = counts.sent - there_lost;
    let [lost_there, lost_back] = lost_where(one, [there_lost, back_lost], &client.counters);
    // Which of several were lost on which way is not known.
    let is_there = |fault: &&verification::Fault| fault.what == FaultKind::Lost && back_lost == 0;
    let (faults_there, faults_back): (Vec<_>, Vec<_>) = one.received.first_faults.iter().partition(is_there);
    let [faults_there, faults_back] =
        [faults_there, faults_back].map(|faults| faults.into_iter().map(fault).collect());
    let [near, far] = link.names().map(str::to_owned);
    let direction = |from: &str, to: &str, latency, series: &Series| Direction {
        from: from.to_owned(),
        to: to.to_owned(),
        counts: Counts::default(),
        offered_per_s: 0.0,
        delivered_per_s: 0.0,
        lost_where: BTreeMap::new(),
        first_faults: Vec::new(),
        latency: Latency::of(latency),
        lateness: Latency::of(&histograms::times()),
        uncertainty_ns: Some(echoes.uncertainty_ns),
        intervals: series.intervals().iter().map(interval).collect(),
    };
    let there = Direction {
        counts: Counts { sent: counts.sent, received: answered, lost: there_lost, ..Counts::default() },
        offered_per_s: a_second(counts.sent + one.generated.skipped),
        delivered_per_s: a_second(answered),
        lost_where: lost_there,
        first_faults: faults_there,
        lateness: Latency::of(&one.generated.lateness),
        ..direction(&near, &far, &echoes.there, &one.received.series)
    };
    let back = Direction {
        counts: Counts {
            sent: answered,
            received: counts.received,
            lost: back_lost,
            duplicated: counts.duplicated,
            reordered: counts.reordered,
            corrupted: counts.corrupted,
            foreign: counts.foreign,
        },
        offered_per_s: a_second(answered),
        delivered_per_s: a_second(counts.received),
        lost_where: lost_back,
        first_faults: faults_back,
        ..direction(&far, &near, &echoes.back, &echoes.back_series)
    };
    let mut invalid_because = invalid_because(outcome);
    // Who else is on that bus is answered on it, too.
    if counts.foreign > 0 || echoes.books.strangers > 0 {
        invalid_because
            .push(format!("{far} answered another load test at the same time: run one after the other"));
    }
    Trial {
        label: outcome.plan.label.clone(),
        load: load(&outcome.plan.load),
        duration_s: seconds,
        warm_up_s: outcome.plan.warm_up.as_secs_f64(),
        invalid_because,
        directions: vec![there, back],
        round_trip: Some(Latency::of(&one.received.latency)),
        bridges: vec![bridge(client)],
    }
}

/// Where the frames lost on the way there and on the way back were lost, by the client's counters, which include the warm-up: its
/// own, and what the server has told it (`peer_...`). What the server does not tell is unexplained.
fn lost_where(
    one: &DirectionOutcome,
    [there_lost, back_lost]: [u64; 2],
    client: &BTreeMap<String, u64>,
) -> [BTreeMap<String, u64>; 2] {
    let of = |name: &str| client.get(name).copied().unwrap_or(0);
    let mut back = Places::new(back_lost);
    back.add("test_receive_queue", one.received.dropped);
    back.add("kernel_queue", of("peer_kernel_drops"));
    back.add("sender_stale", of("peer_stale"));
    back.add("sender_slow_peer", of("peer_slow"));
    back.add("outage", of("peer_outage") + of("peer_in_transit"));
    back.add("receiver_refused", of("refused"));
    // The client counts together what was too old to be sent and what was too old when it came.
    let stale_back = back.add("receiver_stale", of("stale"));
    let mut there = Places::new(there_lost);
    there.add("generator", one.generated.abandoned);
    there.add("kernel_queue", of("kernel_drops"));
    there.add("filtered", of("filtered"));
    there.add("sender_slow_peer", of("slow_peer"));
    there.add("outage", of("outage") + of("in_transit"));
    there.add("sender_stale", of("stale") - stale_back);
    [there.finish(), back.finish()]
}
