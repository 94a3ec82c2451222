//! How late frames are, and how many go at once: a fixed set of HdrHistograms, three significant digits each.
//!
//! ```text
//!  Histograms::record ──► Recorded ── Account::add ──► interval ── next_interval ──► total
//!  (data path)            (taken, given back)             │                            │
//!                                                         ▼                            ▼
//!                                             summary line, interval log      distribution at the end
//! ```
//!
//! The data path only counts: what it has counted is taken from it whole, in exchange for memory that is empty, and an
//! [`Account`] on another thread does the rest, which takes as long as a hundred frames. A value is counted once, in
//! the interval that runs; when that ends it is added to the total, so that keeping both costs a frame nothing. Most values
//! are small, and those are only counted by their step until somebody looks. All memory is there from the start: recording
//! neither allocates nor fails, whatever the value. `bench/micro` measures what that costs.
//!
//! Knows no clock: times are arguments.

mod account;
mod distribution;
mod interval_log;
mod near;
mod summary;

use hdrhistogram::Histogram;

use self::near::Near;
use crate::moment::WallTime;

pub use account::Account;
pub use distribution::Distribution;
pub use interval_log::IntervalLog;
pub use summary::Summary;

/// Of every value three digits are kept: it is told apart from one that differs by a thousandth.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The finest step of times: the last digit that the summary shows. The histogram rounds it down to a power of two, 64 ns,
/// and keeps all times up to 131 µs in that step.
const LOWEST_NS: u64 = 100;

/// Times above a minute count as a minute: by then a peer is dead and `--max-age` has discarded everything.
const HIGHEST_NS: u64 = 60_000_000_000;

/// Larger batches count as this many frames: more than a send buffer holds of the shortest.
const HIGHEST_FRAMES: u64 = 65_535;

/// What is measured; the order is that of every report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// From the kernel's receive time of a frame to its hand-over to TCP, nanoseconds.
    CanToTcp,
    /// From TCP to the bus: until the write into CAN was accepted, nanoseconds.
    TcpToCan,
    /// Heartbeat and answer, nanoseconds.
    RoundTrip,
    /// From the far kernel's receive time to arrival here, corrected by the clocks' offset, nanoseconds.
    OneWay,
    /// Frames handed to TCP at once.
    BatchOut,
    /// Frames handed to CAN in one call.
    BatchIn,
}

/// What a histogram's values are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Kept in nanoseconds, shown in microseconds.
    Nanoseconds,
    /// A number of frames.
    Frames,
}

impl Kind {
    /// All of them, in the order of every report.
    pub const ALL: [Self; 6] =
        [Self::CanToTcp, Self::TcpToCan, Self::RoundTrip, Self::OneWay, Self::BatchOut, Self::BatchIn];

    /// The name without a unit, as the interval log tags it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CanToTcp => "can_to_tcp",
            Self::TcpToCan => "tcp_to_can",
            Self::RoundTrip => "round_trip",
            Self::OneWay => "one_way",
            Self::BatchOut => "batch_out",
            Self::BatchIn => "batch_in",
        }
    }

    /// The name with the unit in which values are shown, as the summary line has it.
    pub const fn name_with_unit(self) -> &'static str {
        match self {
            Self::CanToTcp => "can_to_tcp_us",
            Self::TcpToCan => "tcp_to_can_us",
            Self::RoundTrip => "round_trip_us",
            Self::OneWay => "one_way_us",
            Self::BatchOut => "batch_out_frames",
            Self::BatchIn => "batch_in_frames",
        }
    }

    /// What the values are.
    pub const fn unit(self) -> Unit {
        match self {
            Self::CanToTcp | Self::TcpToCan | Self::RoundTrip | Self::OneWay => Unit::Nanoseconds,
            Self::BatchOut | Self::BatchIn => Unit::Frames,
        }
    }

    /// The lowest value that is told apart from zero.
    const fn lowest(self) -> u64 {
        match self.unit() {
            Unit::Nanoseconds => LOWEST_NS,
            Unit::Frames => 1,
        }
    }

    fn histogram(self) -> Histogram<u64> {
        match self.unit() {
            Unit::Nanoseconds => times(),
            Unit::Frames => with_bounds(self.lowest(), HIGHEST_FRAMES),
        }
    }
}

/// An empty histogram of times in nanoseconds, 168 KiB.
pub fn times() -> Histogram<u64> {
    with_bounds(LOWEST_NS, HIGHEST_NS)
}

fn with_bounds(lowest: u64, highest: u64) -> Histogram<u64> {
    Histogram::new_with_bounds(lowest, highest, SIGNIFICANT_DIGITS).expect("the bounds are constants")
}

/// One histogram of each [`Kind`].
///
/// 168 KiB for each of the four of times and 56 KiB for each of the two of batches, 784 KiB together.
#[derive(Clone, Debug)]
pub struct HistogramSet {
    histograms: [Histogram<u64>; Kind::ALL.len()],
    one_way_uncertainty_ns: u64,
    clock_went_back: u64,
}

impl HistogramSet {
    fn new() -> Self {
        Self { histograms: Kind::ALL.map(Kind::histogram), one_way_uncertainty_ns: 0, clock_went_back: 0 }
    }

    /// The histogram of one kind.
    pub fn get(&self, kind: Kind) -> &Histogram<u64> {
        &self.histograms[kind as usize]
    }

    /// Those that hold a value, with their kinds.
    pub fn recorded(&self) -> impl Iterator<Item = (Kind, &Histogram<u64>)> {
        Kind::ALL
            .into_iter()
            .map(|kind| (kind, self.get(kind)))
            .filter(|(_, histogram)| !histogram.is_empty())
    }

    /// The largest uncertainty of any one-way time that was recorded, nanoseconds.
    pub fn one_way_uncertainty_ns(&self) -> u64 {
        self.one_way_uncertainty_ns
    }

    /// Times that came out negative, because a wall clock was set back in between. They were recorded as zero.
    pub fn clock_went_back(&self) -> u64 {
        self.clock_went_back
    }

    /// The set as pairs for the summary line.
    pub fn summary(&self) -> Summary<'_> {
        Summary::new(self)
    }

    /// Each histogram that holds a value as a table of percentiles.
    pub fn distributions(&self) -> impl Iterator<Item = Distribution<'_>> {
        self.recorded().map(|(kind, histogram)| Distribution::since_the_start(kind, histogram))
    }

    fn add(&mut self, other: &Self) {
        for (sum, addend) in self.histograms.iter_mut().zip(&other.histograms) {
            sum.add(addend).expect("both have the same bounds");
        }
        self.one_way_uncertainty_ns = self.one_way_uncertainty_ns.max(other.one_way_uncertainty_ns);
        self.clock_went_back += other.clock_went_back;
    }

    fn clear(&mut self) {
        for histogram in self.histograms.iter_mut().filter(|histogram| !histogram.is_empty()) {
            histogram.reset();
        }
        self.one_way_uncertainty_ns = 0;
        self.clock_went_back = 0;
    }
}

/// What was recorded since it was empty. To be added to an [`Account`], which empties it.
#[derive(Debug)]
pub struct Recorded {
    /// Small values, which are not in the histograms.
    near: [Near; Kind::ALL.len()],
    far: HistogramSet,
}

impl Recorded {
    /// Allocates everything: a set, and 16 KiB of steps for each kind.
    fn new() -> Self {
        Self { near: Kind::ALL.map(|kind| Near::new(kind.lowest())), far: HistogramSet::new() }
    }

    /// Moves all to `set`, which is then as if it had been given the values.
    fn move_to(&mut self, set: &mut HistogramSet) {
        for (near, histogram) in self.near.iter_mut().zip(&mut set.histograms) {
            near.move_to(histogram);
        }
        set.add(&self.far);
        self.far.clear();
    }
}

/// Counts values for a bridge: of all its links together, since histograms for each would cost more than the link.
#[derive(Debug)]
pub struct Histograms {
    running: Recorded,
    /// Empty, to go on with when what is running is taken.
    spare: Option<Recorded>,
}

impl Default for Histograms {
    fn default() -> Self {
        Self::new()
    }
}

impl Histograms {
    /// Allocates everything, twice.
    pub fn new() -> Self {
        Self { running: Recorded::new(), spare: Some(Recorded::new()) }
    }

    /// Counts one value: nanoseconds, or frames. What is above the highest counts as the highest. For
    /// [`Kind::OneWay`] there is [`Histograms::record_one_way`].
    #[inline]
    pub fn record(&mut self, kind: Kind, value: u64) {
        self.record_n(kind, value, 1);
    }

    /// Counts the same value `count` times.
    #[inline]
    pub fn record_n(&mut self, kind: Kind, value: u64, count: u32) {
        if !self.running.near[kind as usize].record(value, count) {
            self.record_far(kind, value, count);
        }
    }

    #[inline(never)]
    fn record_far(&mut self, kind: Kind, value: u64, count: u32) {
        self.running.far.histograms[kind as usize].saturating_record_n(value, u64::from(count));
    }

    /// Counts the time from one reading of the wall clock to another. A clock that was set back in between makes it
    /// zero, and [`HistogramSet::clock_went_back`] one more.
    #[inline]
    pub fn record_between(&mut self, kind: Kind, from: WallTime, to: WallTime) {
        let (from_ns, to_ns) = (from.as_nanos(), to.as_nanos());
        self.running.far.clock_went_back += u64::from(to_ns < from_ns);
        self.record(kind, to_ns.saturating_sub(from_ns));
    }

    /// Counts a one-way time that the clocks' offset has corrected, with what the offset may be wrong by. A time below
    /// zero by no more than that is as good as zero; one further below is counted in
    /// [`HistogramSet::clock_went_back`] too.
    #[inline]
    pub fn record_one_way(&mut self, elapsed_ns: i64, uncertainty_ns: u64) {
        let below_zero_ns = if elapsed_ns < 0 { elapsed_ns.unsigned_abs() } else { 0 };
        let far = &mut self.running.far;
        far.clock_went_back += u64::from(below_zero_ns > uncertainty_ns);
        far.one_way_uncertainty_ns = far.one_way_uncertainty_ns.max(uncertainty_ns);
        self.record(Kind::OneWay, u64::try_from(elapsed_ns).unwrap_or(0));
    }

    /// Takes everything since the last time, and goes on with what was given back. Allocates only if that is still out.
    pub fn take(&mut self) -> Recorded {
        let empty = self.spare.take().unwrap_or_else(Recorded::new);
        std::mem::replace(&mut self.running, empty)
    }

    /// Gives back what was taken, emptied by [`Account::add`].
    pub fn give_back(&mut self, emptied: Recorded) {
        self.spare = Some(emptied);
    }
}

#[cfg(test)]
mod tests;
