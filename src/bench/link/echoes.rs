//! What echoes say: how long frames took on each way, and on which one the missing ones were lost.
//!
//! The server's clock is not ours, and what it is ahead by is known only as well as an exchange was fast: half of its round
//! trip. So the fastest exchanges of the trial itself are given to the filter that bridges use for the same
//! ([`ClockOffset`]), which says what may be wrong. The two ways always add up to the round trip, which is our clock's alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::series::Series;
use super::books::Books;
use super::probe;
use crate::load::StampKey;
use crate::metrics::histograms;
use crate::moment::{Moment, WallTime};
use crate::session::clock_offset::{ClockOffset, Estimate};
use crate::verification::Arrival;
use crate::wire::echo::Echo;

/// The fastest exchange of so long is given to the filter: an eighth of the time since the first, within these limits. So what
/// clocks may have drifted apart since the last one stays a small part of what is not known anyway, and the filter's 32
/// places last for half a minute.
const SAMPLE_EVERY_MIN: Duration = Duration::from_millis(10);
const SAMPLE_EVERY_MAX: Duration = Duration::from_secs(1);
const SAMPLE_PART: u64 = 8;

/// A frame's way there and back. Ours are times of our monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// When it was sent, or a little before that.
    pub sent_ns: u64,
    /// When it was received, by the server's clock.
    pub answered_ns: u64,
    /// When it was back.
    pub arrived_ns: u64,
}

impl Exchange {
    fn round_trip_ns(self) -> u64 {
        self.arrived_ns.saturating_sub(self.sent_ns)
    }

    /// Gives it to the filter. What contradicts itself says nothing, which is the filter's to judge.
    pub fn sample(self, clock: &mut ClockOffset) {
        let [sent, arrived] = [self.sent_ns, self.arrived_ns].map(Moment::from_nanos);
        let answered = WallTime::from_nanos(self.answered_ns);
        clock.sample(sent, answered, answered, arrived);
    }

    /// How long the two ways took. What is known of the clocks may say less than nothing for one of them, which is within
    /// what it may be wrong by.
    fn ways_ns(self, clock: Estimate) -> (u64, u64) {
        let there = i128::from(self.answered_ns) - i128::from(self.sent_ns) - i128::from(clock.ahead_ns);
        let round_trip_ns = self.round_trip_ns();
        let there_ns = u64::try_from(there.max(0)).unwrap_or(u64::MAX).min(round_trip_ns);
        (there_ns, round_trip_ns - there_ns)
    }
}

/// What is known before the load begins.
#[derive(Clone, Debug)]
pub struct Opening {
    pub clock: ClockOffset,
    /// When the first exchange was over.
    pub at_ns: u64,
    /// The number of the last answer.
    pub echo: u64,
}

/// The echoes of a trial, as its receiver sees them.
pub struct Echoes<'a> {
    probe_key: StampKey,
    /// When the trial begins.
    start_ns: u64,
    opened_ns: u64,
    clock: ClockOffset,
    fastest: Option<Exchange>,
    sample_at_ns: u64,
    books: Books,
    /// Frames sent.
    sent: u64,
    /// Set when the last frame behind the load is back.
    closed: &'a AtomicBool,
    account: Account,
}

/// What they came to.
pub struct Account {
    /// From when a frame was due to when the server had it.
    pub there: Histogram<u64>,
    /// From there to when it was back.
    pub back: Histogram<u64>,
    pub back_series: Series,
    /// What either may be wrong by: the most of all times that count.
    pub uncertainty_ns: u64,
    pub books: Books,
}

impl<'a> Echoes<'a> {
    /// `start_ns` is when the trial begins, whose intervals on the way back are `back_series`.
    pub fn new(
        opening: Opening,
        probe_key: StampKey,
        start_ns: u64,
        back_series: Series,
        closed: &'a AtomicBool,
    ) -> Self {
        Self {
            probe_key,
            start_ns,
            opened_ns: opening.at_ns,
            clock: opening.clock,
            fastest: None,
            sample_at_ns: 0,
            books: Books::new(opening.echo),
            sent: 0,
            closed,
            account: Account {
                there: histograms::times(),
                back: histograms::times(),
                back_series,
                uncertainty_ns: 0,
                books: Books::default(),
            },
        }
    }

    /// A frame was sent.
    pub fn learn(&mut self, number: u64) {
        self.sent = number + 1;
    }

    /// Frames from this number on count.
    pub fn measure_from(&mut self, number: u64) {
        self.books.measure_from(number);
    }

    /// The time is `now_ns`, from the beginning of the trial.
    pub fn advance(&mut self, now_ns: u64) {
        self.account.back_series.advance(now_ns);
    }

    /// Whether this is the answer to one of the frames before and behind the load; it is dealt with then.
    pub fn take_probe(&mut self, echo: &Echo) -> bool {
        match probe::read(self.probe_key, echo) {
            Some(probe::CLOSING) => {
                self.books.close(self.sent, echo.number);
                self.closed.store(true, Ordering::Relaxed);
            }
            Some(_) => self.books.strayed(echo.number),
            None => return false,
        }
        true
    }

    /// An echo of no frame of the load, or of one whose echo had come.
    pub fn strayed(&mut self, echo: &Echo) {
        self.books.strayed(echo.number);
    }

    /// A frame is back, at `at_ns` from the beginning of the trial: how long it took to get there.
    pub fn came(&mut self, echo: &Echo, arrival: Arrival, at_ns: u64, counts: bool) -> u64 {
        self.books.came(arrival.number, echo.number);
        let arrived_ns = self.start_ns + at_ns;
        let exchange = Exchange {
            sent_ns: arrived_ns.saturating_sub(arrival.latency_ns),
            answered_ns: echo.received_ns,
            arrived_ns,
        };
        self.consider(exchange);
        // There is one: the opening has sampled an exchange.
        let clock = self.clock.estimate(Moment::from_nanos(arrived_ns));
        let clock = clock.unwrap_or(Estimate { ahead_ns: 0, uncertainty_ns: u64::MAX });
        let (there_ns, back_ns) = exchange.ways_ns(clock);
        if counts {
            let account = &mut self.account;
            account.there.saturating_record(there_ns);
            account.back.saturating_record(back_ns);
            account.back_series.count_sent(at_ns.saturating_sub(back_ns));
            account.back_series.record(back_ns);
            account.uncertainty_ns = account.uncertainty_ns.max(clock.uncertainty_ns);
        }
        there_ns
    }

    fn consider(&mut self, exchange: Exchange) {
        if self.fastest.is_none_or(|fastest| exchange.round_trip_ns() < fastest.round_trip_ns()) {
            self.fastest = Some(exchange);
        }
        if exchange.arrived_ns < self.sample_at_ns {
            return;
        }
        let (least, most) = (SAMPLE_EVERY_MIN.as_nanos() as u64, SAMPLE_EVERY_MAX.as_nanos() as u64);
        let pause = (exchange.arrived_ns.saturating_sub(self.opened_ns) / SAMPLE_PART).clamp(least, most);
        self.sample_at_ns = exchange.arrived_ns + pause;
        if let Some(fastest) = self.fastest.take() {
            fastest.sample(&mut self.clock);
        }
    }

    /// Nothing comes after `now_ns`.
    pub fn finish(self, now_ns: u64) -> Account {
        let mut account = Account { books: self.books, ..self.account };
        account.back_series.finish(now_ns);
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn exchange(sent_ms: u64, there_ms: u64, back_ms: u64, ahead_ms: u64) -> Exchange {
        let ns = |ms: u64| ms * MILLISECOND;
        Exchange {
            sent_ns: ns(sent_ms),
            answered_ns: ns(sent_ms + there_ms + ahead_ms),
            arrived_ns: ns(sent_ms + there_ms + back_ms),
        }
    }

    #[test]
    fn a_way_that_takes_longer_shows_once_the_clocks_are_known() {
        let mut clock = ClockOffset::new();
        exchange(1_000, 1, 1, 5_000).sample(&mut clock);
        let late = exchange(1_010, 21, 1, 5_000);
        let estimate = clock.estimate(Moment::from_nanos(late.arrived_ns)).unwrap();
        assert_eq!(estimate.ahead_ns, 5_000 * MILLISECOND as i64);
        assert_eq!(late.ways_ns(estimate), (21 * MILLISECOND, MILLISECOND));
        // Half of the fastest round trip, and what 30 ms of two clocks may add to it.
        let uncertainty_ns = estimate.uncertainty_ns;
        assert!((MILLISECOND..MILLISECOND + 20_000).contains(&uncertainty_ns), "{uncertainty_ns}");
    }

    #[test]
    fn the_two_ways_add_up_whatever_the_clocks_say() {
        let one = exchange(1_000, 3, 4, 0);
        for ahead_ns in [-(1 << 40), -5_000_000, 0, 2_000_000, 5_000_000, 1 << 40] {
            let (there, back) = one.ways_ns(Estimate { ahead_ns, uncertainty_ns: 0 });
            assert_eq!(there + back, 7 * MILLISECOND, "{ahead_ns}");
        }
    }
}
