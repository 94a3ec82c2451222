//! What a running bridge says of itself: summaries, losses, and how late frames are.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{info, warn};

use super::data_path::DataPath;
use super::reporter::{LastWords, Reporter};
use crate::engine::Engine;
use crate::metrics::{Counters, rate};
use crate::record::Summary;

/// How often losses are said, in one line a link at most, whatever their number.
const INCIDENT_INTERVAL: Duration = Duration::from_secs(1);

/// Says what a record has.
pub fn recorded(summary: Summary) {
    match summary.unrecorded {
        0 => info!("recorded {} frames", summary.recorded),
        lost => warn!("recorded {} frames; {lost} could not be written", summary.recorded),
    }
}

/// Prints the summary line every `period`; never, if that is zero.
pub async fn summaries<E: Engine>(period: Duration, reporter: &Reporter, data_path: &DataPath<E>) {
    if period.is_zero() {
        return std::future::pending().await;
    }
    let mut ticks = ticks(period);
    let mut before = (Instant::now(), data_path.totals());
    loop {
        let now = ticks.tick().await;
        let totals = data_path.totals();
        let elapsed = now - before.0;
        let line = format!(
            "links {} sent_per_s {} received_per_s {} {totals:#}",
            data_path.link_count(),
            rate(before.1.sent, totals.sent, elapsed),
            rate(before.1.received, totals.received, elapsed),
        );
        reporter.summary(data_path, line).await;
        before = (now, totals);
    }
}

/// Says what went wrong, as long as the bridge runs.
pub async fn incidents<E: Engine>(data_path: &DataPath<E>) {
    let mut ticks = ticks(INCIDENT_INTERVAL);
    loop {
        ticks.tick().await;
        data_path.report_incidents();
    }
}

/// Prints the whole histograms whenever SIGUSR1 comes.
pub async fn distributions_on_demand<E: Engine>(reporter: &Reporter, data_path: &DataPath<E>) {
    let listening: io::Result<_> = signal(SignalKind::user_defined1());
    match listening {
        Ok(mut demanded) => {
            while demanded.recv().await.is_some() {
                reporter.distributions(data_path).await;
            }
        }
        Err(error) => warn!("cannot listen for SIGUSR1: {error}"),
    }
    std::future::pending().await
}

/// Prints the counters of everything at the end.
pub fn total<E: Engine>(data_path: &DataPath<E>, last_words: &LastWords) {
    data_path.report_incidents();
    let totals: Counters = data_path.totals();
    info!("total: {totals}{}", last_words.in_total());
}

/// A tick every `period`, the first one after it.
pub fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
