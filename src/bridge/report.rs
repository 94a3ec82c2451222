//! What a running bridge says of itself without being asked.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::info;

use super::data_path::DataPath;
use crate::engine::Engine;
use crate::metrics::rate;

/// How often losses are said, in one line a link at most, whatever their number.
const INCIDENT_INTERVAL: Duration = Duration::from_secs(1);

/// Prints the summary line every `period`; never, if that is zero.
pub async fn summaries<E: Engine>(period: Duration, data_path: &DataPath<E>) {
    if period.is_zero() {
        return std::future::pending().await;
    }
    let mut ticks = ticks(period);
    let mut before = (Instant::now(), data_path.totals());
    loop {
        let now = ticks.tick().await;
        let totals = data_path.totals();
        let elapsed = now - before.0;
        info!(
            "summary: links {} sent_per_s {} received_per_s {} {totals}",
            data_path.link_count(),
            rate(before.1.sent, totals.sent, elapsed),
            rate(before.1.received, totals.received, elapsed),
        );
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

/// Prints the counters of everything at the end.
pub fn total<E: Engine>(data_path: &DataPath<E>) {
    data_path.report_incidents();
    info!("total: {}", data_path.totals());
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
