//! Reports as a load test makes them, from made-up times that are the same in every run.

use std::collections::BTreeMap;
use std::time::Duration;

use canip_peer::moment::WallTime;
use canip_peer::report::IntervalHistograms;
use canip_peer::report::document::{
    Bridge, Counts, Direction, FORMAT, Fault, Finding, Host, Interval, Latency, Load, Method, Outcome,
    PathUnderTest, Program, Report, Trial, VERSION, Verdict,
};
use hdrhistogram::Histogram;

/// Numbers that look random and are not (Knuth's MMIX generator).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 to 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A time like a bridge's: most near the middle, few far above.
    fn latency_ns(&mut self, middle_ns: f64) -> u64 {
        let spread = 0.25 * (self.next() + self.next() + self.next() - 1.5);
        let tail = match self.next() {
            rare if rare < 0.0004 => 12.0 * self.next(),
            rare if rare < 0.012 => 2.5 * self.next(),
            _ => 0.0,
        };
        (middle_ns * (1.0 + spread + tail)) as u64
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).unwrap()
}

/// How one direction fares.
pub struct Course {
    pub from: &'static str,
    pub to: &'static str,
    pub frames_per_interval: u64,
    pub intervals: u64,
    pub interval_s: f64,
    pub lost_per_interval: u64,
    pub middle_ns: f64,
}

pub fn course(from: &'static str, to: &'static str, middle_ns: f64) -> Course {
    Course {
        from,
        to,
        frames_per_interval: 3_968,
        intervals: 15,
        interval_s: 1.0,
        lost_per_interval: 0,
        middle_ns,
    }
}

/// A direction, and its intervals' histograms.
pub fn direction(course: &Course, numbers: &mut Numbers, intervals: &mut IntervalHistograms) -> Direction {
    let (mut whole, mut lateness) = (histogram(), histogram());
    let mut pieces = Vec::new();
    for index in 0..course.intervals {
        let mut piece = histogram();
        for _ in 0..course.frames_per_interval - course.lost_per_interval {
            piece.record(numbers.latency_ns(course.middle_ns)).unwrap();
        }
        for _ in 0..course.frames_per_interval {
            lateness.record(numbers.latency_ns(4_000.0)).unwrap();
        }
        let start_s = index as f64 * course.interval_s;
        intervals.add(
            course.from,
            course.to,
            Duration::from_secs_f64(start_s),
            Duration::from_secs_f64(course.interval_s),
            &piece,
        );
        pieces.push(Interval {
            start_s,
            length_s: course.interval_s,
            sent: course.frames_per_interval,
            received: piece.len(),
            p50_ns: Some(piece.value_at_quantile(0.5)),
            p99_ns: Some(piece.value_at_quantile(0.99)),
            max_ns: Some(piece.max()),
        });
        whole.add(&piece).unwrap();
    }
    let sent = course.frames_per_interval * course.intervals;
    let lost = course.lost_per_interval * course.intervals;
    let seconds = course.interval_s * course.intervals as f64;
    Direction {
        from: course.from.to_owned(),
        to: course.to.to_owned(),
        counts: Counts { sent, received: sent - lost, lost, ..Counts::default() },
        offered_per_s: sent as f64 / seconds,
        delivered_per_s: (sent - lost) as f64 / seconds,
        lost_where: match lost {
            0 => BTreeMap::new(),
            lost => [("bridge_stale".to_owned(), lost - 1), ("unexplained".to_owned(), 1)].into(),
        },
        first_faults: Vec::new(),
        latency: Latency::of(&whole),
        lateness: Latency::of(&lateness),
        uncertainty_ns: None,
        intervals: pieces,
    }
}

pub fn load(percent: f64) -> Load {
    Load {
        description: format!("{percent} % of a 500 kbit/s bus, 11-bit identifiers, 8 bytes, random payloads"),
        bit_rate: Some(500_000),
        data_bit_rate: None,
        percent: Some(percent),
        frames_per_s: None,
        burst_frames: None,
        seed: 1,
    }
}

fn bridge(role: &str, frames: u64, processor_s: f64) -> Bridge {
    Bridge {
        role: role.to_owned(),
        counters: [("sent", frames), ("received", frames), ("stale", 0), ("transmit_waits", 12)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
        processor_s,
        resident_bytes: 9_306_112,
    }
}

pub fn trial(label: &str, load: Load, directions: Vec<Direction>) -> Trial {
    let duration_s = directions[0].intervals.iter().map(|interval| interval.length_s).sum();
    let frames = directions.iter().map(|direction| direction.counts.sent).max().unwrap();
    Trial {
        label: label.to_owned(),
        load,
        duration_s,
        warm_up_s: 1.0,
        invalid_because: Vec::new(),
        directions,
        round_trip: None,
        bridges: vec![
            bridge("server", frames, frames as f64 * 21e-6),
            bridge("client", frames, frames as f64 * 19e-6),
        ],
    }
}

pub fn report(command: &str, method: Method, trials: Vec<Trial>) -> Report {
    Report {
        format: FORMAT.to_owned(),
        version: VERSION,
        command: command.split(' ').map(str::to_owned).collect(),
        started: "2026-11-24T13:05:09Z".to_owned(),
        program: Program {
            version: "5.0.0".to_owned(),
            commit: Some("bb9fb67a0594".to_owned()),
            build: "release".to_owned(),
        },
        host: Host {
            name: "workbench".to_owned(),
            kernel: "Linux 6.12.57 x86_64".to_owned(),
            processors: 2,
            processor: Some("AMD EPYC 9B14".to_owned()),
        },
        path: PathUnderTest {
            kind: "own bridge".to_owned(),
            bus: "software".to_owned(),
            bus_reason: Some("no vcan interface can be made here".to_owned()),
            near: "near".to_owned(),
            far: "far".to_owned(),
            engine: Some("io_uring".to_owned()),
            protocol: Some("5".to_owned()),
            bridge_options: vec!["--max-age".to_owned(), "100".to_owned()],
        },
        method,
        verdict: Verdict {
            result: Outcome::Pass,
            text: "The link holds a saturated 500 kbit/s bus in both directions: none of 119,040 frames was lost.".to_owned(),
            reasons: Vec::new(),
        },
        trials,
        findings: Vec::new(),
    }
}

/// A saturated bus both ways for 15 seconds, nothing lost.
pub fn passed() -> (Report, IntervalHistograms) {
    let mut intervals = IntervalHistograms::new();
    intervals.begin_trial(WallTime::from_nanos(1_795_525_509_000_000_000));
    let mut numbers = Numbers::new(1);
    let there = direction(&course("near", "far", 92_000.0), &mut numbers, &mut intervals);
    let back = direction(&course("far", "near", 128_000.0), &mut numbers, &mut intervals);
    let trial = trial("100 %", load(100.0), vec![there, back]);
    (report("canip_peer bench --out report", Method::Trial, vec![trial]), intervals)
}

/// 10 % to 120 % of a bus, lost above 100 %.
pub fn sweep() -> (Report, IntervalHistograms) {
    let mut intervals = IntervalHistograms::new();
    let mut trials = Vec::new();
    let mut numbers = Numbers::new(2);
    for step in 1..=12u64 {
        intervals.begin_trial(WallTime::from_nanos(1_795_525_509_000_000_000 + step * 6_000_000_000));
        let percent = 10.0 * step as f64;
        let strain = 1.0 + 0.04 * step as f64 + if step > 9 { 3.0 * (step - 9) as f64 } else { 0.0 };
        let mut directions = Vec::new();
        for (from, to, middle_ns) in [("near", "far", 82_000.0), ("far", "near", 98_000.0)] {
            let course = Course {
                frames_per_interval: 397 * step / 4,
                intervals: 20,
                interval_s: 0.25,
                lost_per_interval: if step > 10 { (step - 10) * 50 } else { 0 },
                ..course(from, to, middle_ns * strain)
            };
            directions.push(direction(&course, &mut numbers, &mut intervals));
        }
        trials.push(trial(&format!("{percent} %"), load(percent), directions));
    }
    let mut report = report("canip_peer bench --sweep --out report", Method::Sweep, trials);
    report.verdict.text =
        "The link holds 100 % of a 500 kbit/s bus without loss; above it loses frames.".to_owned();
    report.findings = vec![Finding {
        what: "knee".to_owned(),
        subject: "both directions".to_owned(),
        value: 100.0,
        unit: "%".to_owned(),
        uncertainty: Some(10.0),
        is_real: None,
        text: "Latency begins to rise steeply at 100 % of the bus.".to_owned(),
    }];
    (report, intervals)
}

/// Three settings in three rounds.
pub fn tune() -> (Report, IntervalHistograms) {
    let mut intervals = IntervalHistograms::new();
    let mut trials = Vec::new();
    let mut numbers = Numbers::new(3);
    for round in 1..=3 {
        for (setting, middle_ns) in [("default", 92_000.0), ("busy-poll 50", 61_000.0), ("batch 1", 93_500.0)]
        {
            intervals.begin_trial(WallTime::from_nanos(1_795_525_509_000_000_000));
            let course = Course { intervals: 3, ..course("near", "far", middle_ns) };
            let there = direction(&course, &mut numbers, &mut intervals);
            trials.push(trial(&format!("{setting}, round {round}"), load(100.0), vec![there]));
        }
    }
    let mut report = report("canip_peer bench --tune", Method::Tune, trials);
    report.verdict.text = "busy-poll 50 is faster than the default; batch 1 makes no difference.".to_owned();
    let finding = |subject: &str, value, is_real, text: &str| Finding {
        what: "difference".to_owned(),
        subject: subject.to_owned(),
        value,
        unit: "%".to_owned(),
        uncertainty: Some(2.5),
        is_real: Some(is_real),
        text: text.to_owned(),
    };
    report.findings = vec![
        finding(
            "busy-poll 50 against default, p99",
            -33.7,
            true,
            "busy-poll 50: p99 is 33.7 % lower than with the default.",
        ),
        finding(
            "batch 1 against default, p99",
            1.6,
            false,
            "batch 1: p99 differs from the default's by no more than chance.",
        ),
    ];
    (report, intervals)
}

/// Frames lost, one changed, names and texts that would like to be markup.
pub fn hostile() -> (Report, IntervalHistograms) {
    let mut intervals = IntervalHistograms::new();
    intervals.begin_trial(WallTime::from_nanos(1_795_525_509_000_000_000));
    let course = Course {
        lost_per_interval: 7,
        ..course("a\"><script>alert(1)</script>", "../../b,c d\n</svg>\u{1b}[2J", 1_900_000.0)
    };
    let mut there = direction(&course, &mut Numbers::new(4), &mut intervals);
    there.counts.corrupted = 1;
    there.counts.foreign = 2;
    there.lost_where.insert("</td><img src=x onerror=alert(1)>".to_owned(), 1);
    there.first_faults = vec![
        Fault {
            what: "lost".to_owned(),
            number: Some(1_000),
            at_s: 0.252016,
            frame: "123#1122334455667788".to_owned(),
        },
        Fault { what: "<b>foreign</b>".to_owned(), number: None, at_s: 0.5, frame: "'\"&<>".to_owned() },
    ];
    let mut trial = trial("</title><script>", load(100.0), vec![there]);
    trial.load.description = "<i onclick='x'>load</i> & more".to_owned();
    trial.invalid_because = vec!["the generator fell behind its schedule by <1 s>".to_owned()];
    trial.bridges[0].role = "<server>".to_owned();
    trial.bridges[0].counters.insert("</table>".to_owned(), 3);
    let mut report = report("canip_peer bench --can <x> --fail-on loss>0", Method::Trial, vec![trial]);
    report.verdict = Verdict {
        result: Outcome::Fail,
        text: "105 of 59,520 frames were lost </h1>\u{0}\u{7}.".to_owned(),
        reasons: vec!["loss>0".to_owned(), "p99>2ms & \"more\"".to_owned()],
    };
    report.host.name = "</style><script>alert(2)</script>".to_owned();
    report.path.near = "</title>".to_owned();
    (report, intervals)
}

/// Another machine, bursts, a frame that was changed: whatever a document may have.
pub fn link() -> (Report, IntervalHistograms) {
    let mut intervals = IntervalHistograms::new();
    let mut trials = Vec::new();
    let mut numbers = Numbers::new(6);
    for burst in [100u64, 1_000] {
        intervals.begin_trial(WallTime::from_nanos(1_795_525_509_000_000_000));
        let course = Course {
            frames_per_interval: burst,
            intervals: 3,
            lost_per_interval: u64::from(burst > 100),
            ..course("can0", "can1", 412_000.0)
        };
        let mut there = direction(&course, &mut numbers, &mut intervals);
        there.uncertainty_ns = Some(35_000);
        there.counts.corrupted = 1;
        there.first_faults = vec![Fault {
            what: "corrupted".to_owned(),
            number: Some(7),
            at_s: 0.252016,
            frame: "123#1122334455667788".to_owned(),
        }];
        let round_trip = there.latency.clone();
        let load = Load {
            data_bit_rate: Some(2_000_000),
            percent: None,
            frames_per_s: Some(4_000.0),
            burst_frames: Some(burst),
            ..load(100.0)
        };
        trials.push(Trial { round_trip: Some(round_trip), ..trial(&burst.to_string(), load, vec![there]) });
    }
    trials[1].invalid_because = vec!["the generator fell behind its schedule".to_owned()];
    let mut report = report("canip_peer bench --connect far --burst", Method::Burst, trials);
    report.path.kind = "link".to_owned();
    report.verdict.result = Outcome::Invalid;
    report.verdict.reasons = vec!["trial 1000: the generator fell behind its schedule".to_owned()];
    (report, intervals)
}

/// Eight hours, an interval every ten seconds.
pub fn soak() -> (Report, IntervalHistograms) {
    let mut intervals = IntervalHistograms::new();
    intervals.begin_trial(WallTime::from_nanos(1_795_525_509_000_000_000));
    let course = Course {
        frames_per_interval: 40,
        intervals: 2_880,
        interval_s: 10.0,
        ..course("near", "far", 92_000.0)
    };
    let there = direction(&course, &mut Numbers::new(5), &mut intervals);
    let mut report =
        report("canip_peer bench --soak 8h", Method::Soak, vec![trial("soak", load(1.0), vec![there])]);
    report.verdict.result = Outcome::Interrupted;
    report.verdict.text = "Interrupted after 8 h: none of 115,200 frames was lost until then.".to_owned();
    (report, intervals)
}
