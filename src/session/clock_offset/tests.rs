use super::*;
use proptest::prelude::*;

const MICROSECOND: i128 = 1_000;
const MILLISECOND: i128 = 1_000_000;
const SECOND: i128 = 1_000_000_000;
const HOUR: i128 = 3_600 * SECOND;

/// Where the peer's clock stands when a simulation begins, before its steps, and where ours.
const PEER_START_NS: i128 = 1_700_000_000 * SECOND;
const OWN_START_NS: i128 = SECOND;

/// Two hosts' clocks. Rates are in parts per thousand million, the step what was set by hand so far.
#[derive(Default)]
struct Clocks {
    elapsed_ns: i128,
    own_rate_ppb: i128,
    peer_rate_ppb: i128,
    peer_step_ns: i128,
}

impl Clocks {
    /// A peer that is ahead by so much, and whose clock runs faster than ours by so much.
    fn ahead(peer_step_ns: i128, peer_rate_ppb: i128) -> Clocks {
        Clocks { peer_step_ns, peer_rate_ppb, ..Clocks::default() }
    }

    fn advance(&mut self, by_ns: i128) {
        self.elapsed_ns += by_ns;
    }

    fn own_ns(&self) -> i128 {
        OWN_START_NS + self.elapsed_ns + self.elapsed_ns * self.own_rate_ppb / PPB
    }

    fn peer_ns(&self) -> i128 {
        PEER_START_NS + self.elapsed_ns + self.elapsed_ns * self.peer_rate_ppb / PPB + self.peer_step_ns
    }

    fn own(&self) -> Moment {
        Moment::from_nanos(u64::try_from(self.own_ns()).unwrap())
    }

    fn peer(&self) -> WallTime {
        WallTime::from_nanos(u64::try_from(self.peer_ns()).unwrap())
    }

    /// One PING and its PONG, with the time that each of them takes and the peer takes to answer.
    fn exchange(
        &mut self,
        offset: &mut ClockOffset,
        out: i128,
        answering: i128,
        back: i128,
    ) -> Option<Duration> {
        let t1 = self.own();
        self.advance(out);
        let t2 = self.peer();
        self.advance(answering);
        let t3 = self.peer();
        self.advance(back);
        offset.sample(t1, t2, t3, self.own())
    }

    /// How far the estimate is from the truth, and how far it says that it may be.
    fn error(&self, offset: &ClockOffset) -> (i128, i128) {
        let estimate = offset.estimate(self.own()).unwrap();
        let truth = self.peer_ns() - self.own_ns();
        ((i128::from(estimate.ahead_ns) - truth).abs(), i128::from(estimate.uncertainty_ns))
    }
}

/// A sample of literal times.
fn sample(offset: &mut ClockOffset, times: [u64; 4]) -> Option<Duration> {
    let [t1, t4] = [times[0], times[3]].map(Moment::from_nanos);
    let [t2, t3] = [times[1], times[2]].map(WallTime::from_nanos);
    offset.sample(t1, t2, t3, t4)
}

#[test]
fn nothing_is_known_before_the_first_sample() {
    assert_eq!(ClockOffset::new().estimate(Moment::from_nanos(5)), None);
}

#[test]
fn one_exchange_by_hand() {
    let mut offset = ClockOffset::new();
    // 100 us out, 300 us back, answered after 50 us, by a clock that is 1 s ahead.
    let times = [10_000_000_000, 11_000_100_000, 11_000_150_000, 10_000_450_000];
    assert_eq!(sample(&mut offset, times), Some(Duration::from_micros(400)));
    let estimate = offset.estimate(Moment::from_nanos(10_000_450_000)).unwrap();
    assert_eq!(estimate.ahead_ns, 999_900_000);
    // Half of 400 us, 450 us at 500 ppm rounded up, and 3 ns.
    assert_eq!(estimate.uncertainty_ns, 200_000 + 226 + 3);
    // A second later, 500 ppm more.
    let later = offset.estimate(Moment::from_nanos(11_000_450_000)).unwrap();
    assert_eq!((later.ahead_ns, later.uncertainty_ns), (999_900_000, 200_229 + 500_002));
}

#[test]
fn a_peer_that_is_behind() {
    let mut offset = ClockOffset::new();
    let times = [10_000_000_000, 9_000_100_000, 9_000_100_000, 10_000_200_000];
    assert_eq!(sample(&mut offset, times), Some(Duration::from_micros(200)));
    assert_eq!(offset.estimate(Moment::from_nanos(10_000_200_000)).unwrap().ahead_ns, -1_000_000_000);
}

#[test]
fn times_that_contradict_each_other_say_nothing() {
    let contradictions = [
        // The peer took longer to answer than the exchange took in all.
        [20_000_000_000, 20_000_000_000, 20_001_000_000, 20_000_900_000],
        // Our clock went back.
        [20_000_000_000, 20_000_000_000, 20_000_000_000, 19_999_999_999],
        // The peer's did.
        [20_000_000_000, 20_000_000_001, 20_000_000_000, 20_000_100_000],
        // Further apart than can be said.
        [0, u64::MAX, u64::MAX, 1],
    ];
    for times in contradictions {
        let mut offset = ClockOffset::new();
        sample(&mut offset, [10_000_000_000, 10_000_100_000, 10_000_100_000, 10_000_200_000]).unwrap();
        assert_eq!(sample(&mut offset, times), None, "{times:?}");
        let kept = offset.estimate(Moment::from_nanos(10_000_200_000)).unwrap();
        assert_eq!((kept.ahead_ns, kept.uncertainty_ns < 110_000), (0, true), "{times:?}");
    }
}

/// A PING or a PONG that was held up for three seconds, and clocks that were read some microseconds late: what was known
/// stays, or frames that were held up with it would seem fresh.
#[test]
fn one_that_was_held_up_does_not_outweigh_what_is_known() {
    for late_ns in [0, 10_000, 90_000] {
        for times in [
            [20_000_000_000, 23_000_100_000 + late_ns, 23_000_100_000 + late_ns, 23_000_200_000],
            [20_000_000_000, 20_000_100_000, 20_000_100_000 - late_ns, 23_000_200_000],
        ] {
            let mut offset = ClockOffset::new();
            sample(&mut offset, [10_000_000_000, 10_000_100_000, 10_000_100_000, 10_000_200_000]).unwrap();
            sample(&mut offset, times);
            let kept = offset.estimate(Moment::from_nanos(23_000_200_000)).unwrap();
            assert!(kept.uncertainty_ns < 10_000_000, "{kept:?} after {times:?}");
        }
    }
}

#[test]
fn drift_while_the_peer_takes_long_to_answer_is_no_contradiction() {
    // A round trip of 20 us, an answer after 1 s, by a clock that is 100 ppm fast: 80 us less than nothing.
    let mut clocks = Clocks::ahead(0, 100_000);
    let mut offset = ClockOffset::new();
    let round_trip = clocks.exchange(&mut offset, 10 * MICROSECOND, SECOND, 10 * MICROSECOND);
    assert_eq!(round_trip, Some(Duration::ZERO));
    let (error, uncertainty) = clocks.error(&offset);
    assert!(error <= uncertainty, "{error} {uncertainty}");
}

#[test]
fn a_symmetric_delay_costs_nothing() {
    let mut clocks = Clocks::ahead(-5 * SECOND, 0);
    let mut offset = ClockOffset::new();
    for _ in 0..40 {
        clocks.advance(2 * SECOND);
        clocks.exchange(&mut offset, 20 * MILLISECOND, 0, 20 * MILLISECOND).unwrap();
        let (error, uncertainty) = clocks.error(&offset);
        assert!(error <= 1, "{error}");
        assert!((20 * MILLISECOND..21 * MILLISECOND).contains(&uncertainty), "{uncertainty}");
    }
}

#[test]
fn an_asymmetric_delay_costs_half_the_round_trip_at_most() {
    for (out, back) in [(0, 30 * MILLISECOND), (30 * MILLISECOND, 0), (29 * MILLISECOND, MILLISECOND)] {
        let mut clocks = Clocks::ahead(HOUR, 0);
        let mut offset = ClockOffset::new();
        for _ in 0..40 {
            clocks.advance(2 * SECOND);
            assert_eq!(clocks.exchange(&mut offset, out, 0, back), Some(Duration::from_millis(30)));
            let (error, uncertainty) = clocks.error(&offset);
            assert!(error <= uncertainty, "{error} {uncertainty}");
            assert!(uncertainty < 16 * MILLISECOND, "{uncertainty}");
        }
    }
}

#[test]
fn full_queues_do_not_move_the_estimate() {
    let mut clocks = Clocks::ahead(HOUR, 0);
    let mut offset = ClockOffset::new();
    for index in 0..200 {
        clocks.advance(2 * SECOND);
        // Of ten answers, one comes at once and nine wait for up to 900 ms, on the way out only.
        let queued = index % 10 * 100 * MILLISECOND;
        clocks.exchange(&mut offset, 100 * MICROSECOND + queued, 0, 100 * MICROSECOND).unwrap();
        let (error, uncertainty) = clocks.error(&offset);
        assert!(error <= uncertainty, "{index}: {error} {uncertainty}");
        // Twenty samples at 2 s and more: the rate is known by then.
        if index >= 20 {
            assert!(error < 100 * MICROSECOND && uncertainty < 600 * MICROSECOND, "{error} {uncertainty}");
        }
    }
}

#[test]
fn a_drift_of_100_ppm_is_followed_for_an_hour() {
    for (own, peer) in [(0, 100_000), (0, -100_000), (-100_000, 100_000), (100_000, -100_000)] {
        let mut clocks =
            Clocks { own_rate_ppb: own, peer_rate_ppb: peer, ..Clocks::ahead(7 * MILLISECOND, 0) };
        let mut offset = ClockOffset::new();
        for index in 0..1_800 {
            // Before the next sample, when the last one is as old as it gets.
            clocks.advance(2 * SECOND);
            if index > 0 {
                let (error, uncertainty) = clocks.error(&offset);
                assert!(error <= uncertainty, "{index}: {error} {uncertainty}");
                if index > 32 {
                    // 2 s at 200 ppm are 400 us: what is left shows that the rate is known.
                    assert!(
                        error < 10 * MICROSECOND && uncertainty < 140 * MICROSECOND,
                        "{error} {uncertainty}"
                    );
                }
            }
            clocks.exchange(&mut offset, 100 * MICROSECOND, 10 * MICROSECOND, 100 * MICROSECOND).unwrap();
        }
        assert_eq!(offset.filled, WINDOW_SAMPLES, "never started over");
    }
}

#[test]
fn a_step_of_the_peers_clock_is_recognised_at_the_next_sample() {
    for step in [HOUR, -HOUR, 5 * MILLISECOND, -5 * MILLISECOND] {
        let mut clocks = Clocks::ahead(0, 50_000);
        let mut offset = ClockOffset::new();
        for index in 0..100 {
            clocks.advance(2 * SECOND);
            // After the step the network is slow: what was measured before it would seem to be the better.
            let delay = if index < 40 { 100 * MICROSECOND } else { MILLISECOND };
            if index == 40 {
                clocks.peer_step_ns += step;
            }
            clocks.exchange(&mut offset, delay, 0, delay / 2).unwrap();
            let (error, uncertainty) = clocks.error(&offset);
            assert!(error <= uncertainty, "{step} {index}: {error} {uncertainty}");
            assert!(uncertainty < delay, "{step} {index}: {uncertainty}");
            let remembered = if index < 40 { index + 1 } else { index - 39 };
            assert_eq!(offset.filled, remembered.min(WINDOW_SAMPLES), "{step} {index}");
        }
    }
}

#[test]
fn a_step_while_a_ping_is_under_way_is_over_with_the_next_sample() {
    for step in [HOUR, -HOUR, 5 * MILLISECOND, -5 * MILLISECOND] {
        let mut clocks = Clocks::ahead(0, 0);
        let mut offset = ClockOffset::new();
        clocks.exchange(&mut offset, 100 * MICROSECOND, 0, 100 * MICROSECOND).unwrap();
        clocks.advance(2 * SECOND);
        let (t1, t2) = (clocks.own(), clocks.peer());
        clocks.peer_step_ns += step;
        clocks.advance(200 * MICROSECOND);
        let _ = offset.sample(t1, t2, clocks.peer(), clocks.own());
        clocks.advance(2 * SECOND);
        clocks.exchange(&mut offset, 100 * MICROSECOND, 0, 100 * MICROSECOND).unwrap();
        let (error, uncertainty) = clocks.error(&offset);
        assert!(error <= uncertainty && uncertainty < 110 * MICROSECOND, "{step}: {error} {uncertainty}");
    }
}

/// One exchange of a random simulation, all in nanoseconds.
#[derive(Clone, Debug)]
struct Exchange {
    pause: i128,
    out: i128,
    answering: i128,
    back: i128,
    /// A step of the peer's clock, while it answers, or before the exchange.
    step: Option<(i128, bool)>,
}

fn delay() -> impl Strategy<Value = i128> {
    prop_oneof![
        6 => 0..200 * MICROSECOND,
        3 => 0..30 * MILLISECOND,
        1 => 0..3 * SECOND,
    ]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let size =
        prop_oneof![-100 * MICROSECOND..100 * MICROSECOND, -10 * MILLISECOND..10 * MILLISECOND, -HOUR..HOUR,];
    let step = proptest::option::weighted(0.02, (size, any::<bool>()));
    let answering = prop_oneof![9 => 0..MILLISECOND, 1 => 0..3 * SECOND];
    (10 * MILLISECOND..5 * SECOND, delay(), answering, delay(), step)
        .prop_map(|(pause, out, answering, back, step)| Exchange { pause, out, answering, back, step })
}

proptest! {
    /// The truth is within the stated uncertainty whenever all samples that are remembered are later than the last
    /// step, be it because the step was recognised, or because they have been replaced.
    #[test]
    fn the_truth_is_within_the_uncertainty(
        own_rate_ppb in -100_000..=100_000i128,
        peer_rate_ppb in -100_000..=100_000i128,
        exchanges in proptest::collection::vec(exchange(), 1..150),
    ) {
        let mut clocks = Clocks { own_rate_ppb, peer_rate_ppb, peer_step_ns: 2 * SECOND, ..Clocks::default() };
        let mut offset = ClockOffset::new();
        let mut samples_since_step = usize::MAX;
        for Exchange { pause, out, answering, back, step } in exchanges {
            for part in [pause / 3, pause - pause / 3] {
                clocks.advance(part);
                if offset.filled > 0 && offset.filled <= samples_since_step {
                    let (error, uncertainty) = clocks.error(&offset);
                    prop_assert!(error <= uncertainty, "{} {}", error, uncertainty);
                }
            }
            if let Some((size, false)) = step {
                clocks.peer_step_ns += size;
                samples_since_step = 0;
            }
            let t1 = clocks.own();
            clocks.advance(out);
            let t2 = clocks.peer();
            if let Some((size, true)) = step {
                clocks.peer_step_ns += size;
            }
            clocks.advance(answering);
            let t3 = clocks.peer();
            clocks.advance(back);
            let round_trip = offset.sample(t1, t2, t3, clocks.own());
            if let Some((_, true)) = step {
                samples_since_step = 0;
            } else {
                samples_since_step = samples_since_step.saturating_add(1);
                prop_assert!(round_trip.is_some());
            }
            if offset.filled > 0 && offset.filled <= samples_since_step {
                let (error, uncertainty) = clocks.error(&offset);
                prop_assert!(error <= uncertainty, "{} {}", error, uncertainty);
            }
        }
    }

    #[test]
    fn no_times_panic(
        samples in proptest::collection::vec([any_nanos(), any_nanos(), any_nanos(), any_nanos()], 1..60),
        asked in any_nanos(),
    ) {
        let mut offset = ClockOffset::new();
        for times in samples {
            let round_trip = sample(&mut offset, times);
            let estimate = offset.estimate(Moment::from_nanos(asked));
            prop_assert!(round_trip.is_none() || estimate.is_some());
            // However it was worked out.
            prop_assert!(estimate.is_none_or(|estimate| estimate == offset.estimate_at_length(Moment::from_nanos(asked))));
        }
    }
}

/// Any number, and those at which arithmetic goes wrong more often than chance would have it.
fn any_nanos() -> impl Strategy<Value = u64> {
    let edges =
        vec![0, 1, 2, i64::MAX as u64 - 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX];
    prop_oneof![any::<u64>(), proptest::sample::select(edges), 0..10 * SECOND as u64]
}
