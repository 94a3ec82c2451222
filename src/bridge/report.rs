//! What a running bridge says of itself: summaries, losses, and how late frames are.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{info, warn};

use super::data_path::DataPath;
use crate::engine::Engine;
use crate::metrics::histograms::HistogramSet;
use crate::metrics::{Counters, rate};
use crate::record::{HistogramLog, Summary};

/// How often losses are said, in one line a link at most, whatever their number; and how often controllers are asked how
/// they are, which announce little of it themselves.
const INCIDENT_INTERVAL: Duration = Duration::from_secs(1);

/// The histogram log, if there is one, and when its current interval began.
pub struct Intervals {
    started: Instant,
    since: RefCell<Instant>,
    log: RefCell<Option<HistogramLog>>,
}

impl Intervals {
    /// The first interval begins now.
    pub fn new(log: Option<HistogramLog>) -> Self {
        let now = Instant::now();
        Self { started: now, since: RefCell::new(now), log: RefCell::new(log) }
    }

    /// Ends an interval: its line for the log, and its text for the summary.
    fn next<E: Engine>(&self, data_path: &DataPath<E>) -> String {
        let now = Instant::now();
        let since = self.since.replace(now);
        let mut histograms = data_path.histograms();
        if let Some(log) = self.log.borrow_mut().as_mut() {
            log.write(histograms.interval(), since - self.started, now - since);
        }
        let text = in_summary(histograms.interval());
        histograms.next_interval();
        text
    }

    /// Ends the last interval, and the log.
    pub async fn finish<E: Engine>(&self, data_path: &DataPath<E>) {
        self.next(data_path);
        let log = self.log.borrow_mut().take();
        if let Some(log) = log {
            let unwritten = log.unwritten();
            let summary = log.finish().await;
            match summary.unrecorded + unwritten {
                0 => info!("histogram log: {} lines written", summary.recorded),
                lost => warn!("histogram log: {} lines written, {lost} not", summary.recorded),
            }
        }
    }
}

/// Says what a record has.
pub fn recorded(summary: Summary) {
    match summary.unrecorded {
        0 => info!("recorded {} frames", summary.recorded),
        lost => warn!("recorded {} frames; {lost} could not be written", summary.recorded),
    }
}

/// Prints the summary line every `period`; never, if that is zero.
pub async fn summaries<E: Engine>(period: Duration, intervals: &Intervals, data_path: &DataPath<E>) {
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
            "summary: links {} sent_per_s {} received_per_s {} {totals:#}{}",
            data_path.link_count(),
            rate(before.1.sent, totals.sent, elapsed),
            rate(before.1.received, totals.received, elapsed),
            intervals.next(data_path),
        );
        before = (now, totals);
    }
}

/// Says what went wrong, as long as the bridge runs.
pub async fn incidents<E: Engine>(data_path: &DataPath<E>) {
    let mut ticks = ticks(INCIDENT_INTERVAL);
    loop {
        ticks.tick().await;
        data_path.check_buses();
        data_path.report_incidents();
    }
}

/// Prints the whole histograms whenever SIGUSR1 comes.
pub async fn distributions_on_demand<E: Engine>(data_path: &DataPath<E>) {
    let listening: io::Result<_> = signal(SignalKind::user_defined1());
    match listening {
        Ok(mut demanded) => {
            while demanded.recv().await.is_some() {
                distributions(data_path);
            }
        }
        Err(error) => warn!("cannot listen for SIGUSR1: {error}"),
    }
    std::future::pending().await
}

/// Prints the whole histograms, a table each.
pub fn distributions<E: Engine>(data_path: &DataPath<E>) {
    let whole = data_path.histograms().whole();
    for table in whole.distributions() {
        info!("{table}");
    }
}

/// Prints the counters of everything at the end.
pub fn total<E: Engine>(data_path: &DataPath<E>) {
    data_path.report_incidents();
    let totals: Counters = data_path.totals();
    info!("total: {totals}{}", in_summary(&data_path.histograms().whole()));
}

/// The text behind the counters: nothing where nothing was recorded.
fn in_summary(set: &HistogramSet) -> String {
    match set.summary().to_string() {
        text if text.is_empty() => text,
        text => format!(" {text}"),
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
