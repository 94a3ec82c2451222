//! What a bridge's histograms come to: of the interval that runs, and since the start.

use super::{HistogramSet, Histograms, Recorded};

/// The sums of everything that was added to it. Its work takes long: it is not the data path's.
#[derive(Debug)]
pub struct Account {
    interval: HistogramSet,
    total: HistogramSet,
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

impl Account {
    /// Allocates everything: two sets.
    pub fn new() -> Self {
        Self { interval: HistogramSet::new(), total: HistogramSet::new() }
    }

    /// Adds what was recorded to the interval that runs, and empties it.
    pub fn add(&mut self, recorded: &mut Recorded) {
        recorded.move_to(&mut self.interval);
    }

    /// Adds what these have recorded so far.
    pub fn add_from(&mut self, histograms: &mut Histograms) {
        let mut recorded = histograms.take();
        self.add(&mut recorded);
        histograms.give_back(recorded);
    }

    /// What was added since the last interval ended.
    pub fn interval(&self) -> &HistogramSet {
        &self.interval
    }

    /// Ends the interval: adds it to the total and begins an empty one. Allocates nothing.
    pub fn next_interval(&mut self) {
        self.total.add(&self.interval);
        self.interval.clear();
    }

    /// Everything since the start, with the interval that runs, which goes on.
    pub fn whole(&self) -> HistogramSet {
        let mut whole = self.total.clone();
        whole.add(&self.interval);
        whole
    }
}
