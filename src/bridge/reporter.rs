//! Sums up histograms and words what they say, on a thread of its own: the thread that moves frames only hands over what it
//! has counted. There, the summary of a busy interval would hold up frames for as long as a hundred of them take.

use std::cell::RefCell;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::data_path::DataPath;
use super::worker::Worker;
use crate::engine::{Engine, priority};
use crate::metrics::histograms::{Account, HistogramSet, IntervalLog};
use crate::record::HistogramLog;

/// The histograms since the start, and their log, if there is one.
pub struct Reporter {
    worker: Worker<Books>,
    started: Instant,
    /// When the interval began that runs.
    since: RefCell<Instant>,
    log: RefCell<Option<HistogramLog>>,
    /// Lines for the log that the thread has made.
    lines: mpsc::Receiver<Vec<u8>>,
}

/// What the thread has.
#[derive(Debug)]
struct Books {
    account: Account,
    log: IntervalLog,
    /// Where lines for the log go. Not with the answer to who asked: at the end of the process it is not waited for.
    lines: mpsc::Sender<Vec<u8>>,
}

/// An interval that has ended.
struct Interval {
    /// When it began, after the log did.
    start: Duration,
    length: Duration,
    /// Whether its lines are wanted.
    is_logged: bool,
}

impl Books {
    /// Ends an interval, and makes its lines for the log.
    fn end(&mut self, interval: &Interval) {
        if interval.is_logged {
            let mut lines = Vec::new();
            self.log.write_set(self.account.interval(), interval.start, interval.length, &mut lines);
            // The reporter waits for the thread before it ends itself.
            let _ = self.lines.send(lines);
        }
        self.account.next_interval();
    }
}

impl Reporter {
    /// The first interval begins now.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(log: Option<HistogramLog>) -> io::Result<Self> {
        let now = Instant::now();
        let (sender, lines) = mpsc::channel();
        let books = Books { account: Account::new(), log: IntervalLog::new(), lines: sender };
        let worker = Worker::start("reports", books, give_way)?;
        Ok(Self { worker, started: now, since: RefCell::new(now), log: RefCell::new(log), lines })
    }

    /// Ends an interval, and says `line` with the text of its histograms behind.
    pub async fn summary<E: Engine>(&self, data_path: &DataPath<E>, line: String) {
        let interval = self.next_interval();
        let say = move |books: &mut Books| {
            info!("summary: {line}{}", in_summary(books.account.interval()));
            books.end(&interval);
        };
        self.with_all_recorded(data_path, say).await;
        if let Some(log) = self.log.borrow_mut().as_mut() {
            self.lines.try_iter().for_each(|lines| log.write(&lines));
        }
    }

    /// Prints all histograms since the start, a table each.
    pub async fn distributions<E: Engine>(&self, data_path: &DataPath<E>) {
        self.with_all_recorded(data_path, |books| say_distributions(&books.account)).await;
    }

    /// Adds what the data path has recorded, and has the thread do the rest.
    async fn with_all_recorded<E: Engine>(
        &self,
        data_path: &DataPath<E>,
        job: impl FnOnce(&mut Books) + Send + 'static,
    ) {
        let mut recorded = data_path.histograms().take();
        let done = self.worker.ask(move |books| {
            books.account.add(&mut recorded);
            job(books);
            recorded
        });
        let emptied = done.await;
        data_path.histograms().give_back(emptied);
    }

    fn next_interval(&self) -> Interval {
        let now = Instant::now();
        let since = self.since.replace(now);
        let is_logged = self.log.borrow().is_some();
        Interval { start: since - self.started, length: now - since, is_logged }
    }

    /// Ends the thread, when no frames are moved any more.
    pub fn finish<E: Engine>(self, data_path: &DataPath<E>) -> LastWords {
        let interval = self.next_interval();
        let mut books = self.worker.finish();
        books.account.add_from(&mut data_path.histograms());
        books.end(&interval);
        LastWords { account: books.account, log: self.log.into_inner(), lines: self.lines }
    }
}

/// What is to be said at the end.
pub struct LastWords {
    account: Account,
    log: Option<HistogramLog>,
    /// For the log: of the last interval, and of one that the end has interrupted.
    lines: mpsc::Receiver<Vec<u8>>,
}

impl LastWords {
    /// Prints all histograms since the start, a table each.
    pub fn distributions(&self) {
        say_distributions(&self.account);
    }

    /// The histograms since the start, to stand behind counters.
    pub fn in_total(&self) -> String {
        in_summary(&self.account.whole())
    }

    /// Ends the log.
    pub async fn end_log(self) {
        let Some(mut log) = self.log else { return };
        self.lines.try_iter().for_each(|lines| log.write(&lines));
        let summary = log.finish().await;
        match summary.unrecorded {
            0 => info!("histogram log: {} lines written", summary.recorded),
            lost => warn!("histogram log: {} lines written, {lost} not", summary.recorded),
        }
    }
}

fn give_way() {
    if let Err(error) = priority::give_way() {
        debug!("reports are made at the priority of everything else: {error}");
    }
}

fn say_distributions(account: &Account) {
    for table in account.whole().distributions() {
        info!("{table}");
    }
}

/// The text behind counters: nothing where nothing was recorded.
fn in_summary(set: &HistogramSet) -> String {
    match set.summary().to_string() {
        text if text.is_empty() => text,
        text => format!(" {text}"),
    }
}
