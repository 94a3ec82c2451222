//! `canip_peer bench`: load tests.

use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Failure;
use super::bus_argument::CanInterface;
use super::link::DEFAULT_PORT;
use super::screen;
use super::values::{
    parse_bit_rate, parse_frames, parse_host_and_port, parse_length_of_time, parse_percent, parse_rate,
    parse_rounds, parse_seed, parse_tolerance,
};
use crate::bench::{self, Condition, Config, Directions, MethodChoice, PathChoice, Server, SubjectChoice};
use crate::bus::{BusAddress, BusKind};
use crate::frame::bit_time::BitRates;
use crate::load::{Format, Frames, Identifiers, Lengths, Load, Pacing, Replay};
use crate::report::document::Outcome;
use crate::report::{self, summary};

const PATH: &str = "What is measured (by default a bridge of its own between two buses of its own)";
const LOAD: &str = "Load (by default a saturated bus of 500 kbit/s)";
const METHOD: &str = "Method (by default one trial)";
const RESULT: &str = "Result";

/// Of each trial, where a method makes many.
const SHORT_TRIAL_LENGTH: Duration = Duration::from_secs(3);
/// Of the only one.
const TRIAL_LENGTH: Duration = Duration::from_secs(10);
/// Of one that ends with its frames, where nobody knows how fast they go.
const LENGTH_WITHOUT_RATE: Duration = Duration::from_secs(3_600);
/// Of one that ends with its frames, at most: what an option may say.
const LENGTH_MAX: Duration = Duration::from_secs(31 * 86_400);
/// What the last frame of such a trial has left: the measurement ends when it was sent.
const SLACK: Duration = Duration::from_secs(1);
/// A rate is an average over random frames.
const RATE_SLACK: f64 = 1.02;
/// The part of the load at which a sweep takes longest for a number of frames.
const SWEEP_LOWEST: f64 = 0.1;
const WARM_UP: Duration = Duration::from_secs(1);

/// How near a search comes to what it looks for.
const TOLERANCE_PERCENT: f64 = 1.0;

/// From one burst of a load of bursts to the next.
const BURST_EVERY: Duration = Duration::from_millis(100);

/// Why a load is not for a link.
const FRAMES_OF_A_LINK: &str = "classic frames of 8 bytes are sent, which is what a server answers";

/// Options that a bridge under test is given by the test.
const TAKEN: [&str; 9] = [
    "--can",
    "--can-interface",
    "--host",
    "--port",
    "--bind",
    "--log-level",
    "--stats-interval",
    "--record",
    "--with-parent",
];

/// Measure what a bridge carries, and how late: without options a bridge of its own, on a saturated 500 kbit/s bus
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status: 0 passed, 1 the test could not be made or is no result, 2 wrong usage, 3 failed (frames lost, \
                        or a condition of --fail-on holds), 130 interrupted (what was measured until then is reported)."
)]
pub struct BenchArguments {
    #[command(flatten)]
    path: PathArguments,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    method: MethodArguments,
    #[command(flatten)]
    result: ResultArguments,
    /// Options for both sides of the bridge under test: canip_peer bench -- --busy-poll
    #[arg(last = true, value_name = "BRIDGE OPTIONS")]
    bridge_options: Vec<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = PATH)]
struct PathArguments {
    /// Existing bus into which frames are sent; whatever joins it to --peer-can is measured
    #[arg(long, value_name = "IFACE", requires = "peer_can")]
    can: Option<String>,
    /// Existing bus out of which frames come
    #[arg(long, value_name = "IFACE", requires = "can")]
    peer_can: Option<String>,
    /// Server on another machine that was started with --allow-bench: measures the link to it, there and back [port: 3333]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_server)]
    connect: Option<Server>,
    /// Kind of bus: socketcan, or software [default: socketcan where virtual interfaces may be made, else software]
    #[arg(long, value_name = "KIND", value_enum, hide_possible_values = true)]
    can_interface: Option<CanInterface>,
    /// Which way frames go
    #[arg(long, value_enum, default_value = "forward")]
    direction: Direction,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Direction {
    /// From --can to --peer-can
    Forward,
    /// From --peer-can to --can
    Reverse,
    /// Both at the same time
    Both,
}

#[derive(Args, Debug)]
#[command(next_help_heading = LOAD)]
struct LoadArguments {
    /// Bit rate of the modelled bus, bit/s
    #[arg(long, value_name = "RATE", default_value_t = 500_000, value_parser = parse_bit_rate, allow_negative_numbers = true)]
    bitrate: u32,
    /// Bit rate of the data part of CAN FD frames, bit/s; implies --brs
    #[arg(long, value_name = "RATE", value_parser = parse_bit_rate, allow_negative_numbers = true)]
    data_bitrate: Option<u32>,
    /// Load, as a share of what the modelled bus carries
    #[arg(long, value_name = "PERCENT", default_value = "100%", value_parser = parse_percent, allow_negative_numbers = true, group = "pace")]
    load: f64,
    /// Frames a second, evenly, instead of a share of a bus
    #[arg(long, value_name = "RATE", value_parser = parse_rate, allow_negative_numbers = true, group = "pace")]
    fps: Option<f64>,
    /// Send as many frames as the bus takes
    #[arg(long, group = "pace")]
    flood: bool,
    /// Kind of identifiers: 11, 29 or mixed
    #[arg(long, value_name = "BITS", default_value = "11")]
    ids: Identifiers,
    /// Bytes of payload, or mixed
    #[arg(long, value_name = "BYTES", default_value = "8")]
    len: Lengths,
    /// Send CAN FD frames
    #[arg(long)]
    fd: bool,
    /// Send CAN FD frames whose data part goes at --data-bitrate (2000000 if that is not given)
    #[arg(long)]
    brs: bool,
    /// Send a mix as on a car's main bus: 150 cyclic messages, 63 % of 500 kbit/s
    #[arg(long, value_enum, conflicts_with_all = ["load", "fps", "flood", "ids", "len", "fd", "brs", "data_bitrate"])]
    pattern: Option<Pattern>,
    /// Send the frames of a candump log, at its own times; FILE:IFACE for those of one interface
    #[arg(long, value_name = "FILE[:IFACE]", conflicts_with_all = ["pattern", "load", "fps", "flood", "ids", "len", "fd", "brs"])]
    replay: Option<String>,
    /// End after so many frames of each direction
    #[arg(long, value_name = "COUNT", value_parser = parse_frames)]
    frames: Option<u64>,
    /// Number from which contents are drawn [default: another one each time; the report tells it]
    #[arg(long, value_name = "NUMBER", value_parser = parse_seed, allow_negative_numbers = true)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pattern {
    /// 150 messages with periods of 10 ms to 1 s
    Cyclic,
}

#[derive(Args, Debug)]
#[command(next_help_heading = METHOD)]
struct MethodArguments {
    /// Length of each trial, for example 10s or 2m [default: 10s, or 3s where there are many trials; as long as --replay or --frames takes]
    #[arg(long, value_name = "TIME", value_parser = parse_length_of_time)]
    duration: Option<Duration>,
    /// Length of the warm-up before each trial, at the same load, which is not counted [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_length_of_time)]
    warm_up: Option<Duration>,
    /// Measure latency and loss at 10 % to 120 % of the load
    #[arg(long, group = "method")]
    sweep: bool,
    /// Search for the highest rate without loss: one that fails is tried a second time
    #[arg(long, group = "method", conflicts_with_all = ["load", "fps", "flood", "frames"])]
    throughput: bool,
    /// Search for the longest burst without loss: one that fails is tried a second time; --burst=COUNT is a load: so many frames at once, ten times a second
    #[arg(long, group = "method", value_name = "COUNT", require_equals = true, value_parser = parse_frames, conflicts_with_all = ["pattern", "replay", "load", "fps", "flood", "frames"])]
    burst: Option<Option<u64>>,
    /// Make one trial of this length, for example 8h
    #[arg(long, group = "method", value_name = "TIME", value_parser = parse_length_of_time, conflicts_with = "duration")]
    soak: Option<Duration>,
    /// Compare settings of the bridge that matter for latency, taken in turns
    #[arg(long, group = "method", conflicts_with = "can")]
    tune: bool,
    /// Rounds of --tune, in each of which every setting has its turn, 9 to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 10, requires = "tune", value_parser = parse_rounds, allow_negative_numbers = true)]
    rounds: u32,
    /// How near --throughput and --burst come to the limit [default: 1%]
    #[arg(long, value_name = "PERCENT", value_parser = parse_tolerance)]
    tolerance: Option<f64>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = RESULT)]
struct ResultArguments {
    /// Write report.json, report.html, percentile distributions and interval logs into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Fail if one of these holds, for example 'loss>0,p99>2ms'
    #[arg(long, value_name = "CONDITIONS", value_parser = Condition::parse_all)]
    fail_on: Option<std::vec::Vec<Condition>>,
}

impl BenchArguments {
    fn to_config(&self) -> Result<Config, Failure> {
        self.check_method()?;
        self.check_bridge_options()?;
        self.check_link()?;
        let load = self.load.load(self.method.burst.flatten())?;
        Ok(Config {
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            subject: self.path.choice()?,
            length: self.length(&load),
            load,
            directions: match self.path.direction {
                Direction::Forward => Directions::Forward,
                Direction::Reverse => Directions::Reverse,
                Direction::Both => Directions::Both,
            },
            frames_max: self.load.frames.unwrap_or(u64::MAX),
            warm_up: self.method.warm_up.unwrap_or(match (self.load.frames, &self.load.replay) {
                // All of these frames are to be counted.
                (Some(_), _) | (_, Some(_)) => Duration::ZERO,
                (None, None) => WARM_UP,
            }),
            method: self.method.choice(),
            bridge_options: self.bridge_options.clone(),
            conditions: self.result.fail_on.clone().unwrap_or_default(),
            out: self.result.out.clone(),
        })
    }

    /// What is measured of each trial, at most. What has an end by itself is not cut short, unless that was asked for.
    fn length(&self, load: &Load) -> Duration {
        let BenchArguments { method, load: LoadArguments { frames, .. }, .. } = self;
        if let Some(length) = method.soak.or(method.duration) {
            return length;
        }
        if load.is_finite() {
            let last = load.schedule(0).last();
            return last.map_or(Duration::ZERO, |last| Duration::from_nanos(last.at_ns)) + SLACK;
        }
        match (*frames, load.frames_per_s()) {
            (Some(frames), Some(frames_per_s)) => {
                let lowest = if method.sweep { frames_per_s * SWEEP_LOWEST } else { frames_per_s };
                let seconds = frames as f64 / lowest * RATE_SLACK;
                (Duration::from_secs_f64(seconds.min(LENGTH_MAX.as_secs_f64())) + SLACK).min(LENGTH_MAX)
            }
            (Some(_), None) => LENGTH_WITHOUT_RATE,
            (None, _) if method.has_many_trials() => SHORT_TRIAL_LENGTH,
            (None, _) => TRIAL_LENGTH,
        }
    }

    fn check_method(&self) -> Result<(), Failure> {
        let MethodArguments { duration, soak, tolerance, .. } = &self.method;
        let refused = [
            (*duration == Some(Duration::ZERO), "--duration 0: nothing would be measured"),
            (*soak == Some(Duration::ZERO), "--soak 0: nothing would be measured"),
            (
                tolerance.is_some() && !self.method.is_search(),
                "--tolerance is how near a search comes: it goes with --throughput, or --burst without a number",
            ),
        ];
        match refused.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, why)) => Err(Failure::Usage(why.to_owned())),
            None => Ok(()),
        }
    }

    /// What makes no sense where a link is measured.
    fn check_link(&self) -> Result<(), Failure> {
        if self.path.connect.is_none() {
            return Ok(());
        }
        let BenchArguments { path, load, method, .. } = self;
        let is_other_length = load.len != Frames::default().lengths;
        let protocol = self.bridge_options.iter().any(|option| option.starts_with("--protocol"));
        let refused = [
            (path.can.is_some(), "--can", "the bus at this end is one of its own"),
            (path.can_interface.is_some(), "--can-interface", "the bus at this end is one of its own"),
            (path.direction != Direction::Forward, "--direction", "every frame goes there and comes back"),
            (method.tune, "--tune", "the server's settings are the server's"),
            (load.pattern.is_some(), "--pattern", FRAMES_OF_A_LINK),
            (load.replay.is_some(), "--replay", FRAMES_OF_A_LINK),
            (is_other_length, "--len", FRAMES_OF_A_LINK),
            (load.format() != Format::Classic, "--fd, --brs and --data-bitrate", FRAMES_OF_A_LINK),
            (protocol, "-- --protocol", "only version 5 has a bus for it"),
        ];
        match refused.into_iter().find(|(is_given, ..)| *is_given) {
            Some((_, option, why)) => Err(Failure::Usage(format!("--connect goes without {option}: {why}"))),
            None => Ok(()),
        }
    }

    fn check_bridge_options(&self) -> Result<(), Failure> {
        if !self.bridge_options.is_empty() && self.path.can.is_some() {
            return Err(Failure::Usage(
                "options for the bridge behind --, but --can names a path with a bridge of its own"
                    .to_owned(),
            ));
        }
        let name = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
        let taken = self.bridge_options.iter().find(|option| TAKEN.contains(&name(option).as_str()));
        match taken {
            Some(option) => {
                Err(Failure::Usage(format!("{option}: the test itself gives this to the bridge")))
            }
            None => Ok(()),
        }
    }
}

impl PathArguments {
    fn choice(&self) -> Result<SubjectChoice, Failure> {
        if let Some(server) = &self.connect {
            return Ok(SubjectChoice::Link(server.clone()));
        }
        let kind = self.can_interface.map(BusKind::from);
        let (Some(near), Some(far)) = (&self.can, &self.peer_can) else {
            return Ok(SubjectChoice::Path(PathChoice::Own(kind)));
        };
        let parse = |name: &str| {
            BusAddress::parse(kind.unwrap_or(BusKind::SocketCan), name)
                .map_err(|error| Failure::new(error.is_usage(), &error))
        };
        Ok(SubjectChoice::Path(PathChoice::Existing { near: parse(near)?, far: parse(far)? }))
    }
}

impl LoadArguments {
    fn load(&self, burst: Option<u64>) -> Result<Load, Failure> {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let rates = self.rates()?;
        let load = if let Some(place) = &self.replay {
            Load::replay(Arc::new(read_log(place)?), rates, seed)
        } else if self.pattern.is_some() {
            Load::cyclic(rates, seed)
        } else {
            let frames = Frames { identifiers: self.ids, lengths: self.len, format: self.format() };
            Load::paced(self.pacing(burst), frames, rates, seed)
        };
        load.map_err(|error| Failure::Usage(error.to_string()))
    }

    fn pacing(&self, burst: Option<u64>) -> Pacing {
        match (burst, self.fps) {
            (Some(frames), _) => Pacing::Burst { frames, every: BURST_EVERY },
            (_, Some(frames_per_s)) => Pacing::Rate { frames_per_s },
            _ if self.flood => Pacing::Flood,
            _ => Pacing::Bus { percent: self.load },
        }
    }

    fn format(&self) -> Format {
        let bit_rate_switch = self.brs || self.data_bitrate.is_some();
        if self.fd || bit_rate_switch { Format::Fd { bit_rate_switch } } else { Format::Classic }
    }

    fn rates(&self) -> Result<BitRates, Failure> {
        let rate = |rate| NonZeroU32::new(rate).ok_or_else(|| Failure::Usage("a bit rate of 0".to_owned()));
        let nominal = rate(self.bitrate)?;
        let data = match (self.data_bitrate, self.brs || self.replay.is_some()) {
            (Some(data), _) => rate(data)?,
            (None, true) => rate(self.bitrate.max(2_000_000))?,
            (None, false) => nominal,
        };
        Ok(BitRates { nominal, data })
    }
}

/// `HOST` or `HOST:PORT`.
fn parse_server(text: &str) -> Result<Server, String> {
    let (host, port) = parse_host_and_port(text)?;
    Ok(Server { host, port: port.unwrap_or(DEFAULT_PORT) })
}

/// `FILE` or `FILE:IFACE`; a file whose name has a colon in it is taken as it is.
fn read_log(place: &str) -> Result<Replay, Failure> {
    let (name, interface) = match place.rsplit_once(':') {
        Some((name, interface)) if !std::path::Path::new(place).exists() => (name, Some(interface)),
        _ => (place, None),
    };
    let file = File::open(name).map_err(|error| {
        Failure::Runtime(format!(
            "--replay {name}: {error}: give a candump log, as candump -l and --record write it"
        ))
    })?;
    let replay = Replay::read(name, BufReader::new(file), interface);
    let replay = replay.map_err(|error| Failure::Runtime(error.to_string()))?;
    for (count, what) in [
        (replay.error_frames(), "error frames are left out: none can be sent"),
        (replay.steps_back(), "times that go backwards: those frames are sent with the ones before them"),
    ] {
        if count > 0 {
            super::logging::say(&format!("canip_peer: {name}: {count} {what}"));
        }
    }
    Ok(replay)
}

impl MethodArguments {
    fn choice(&self) -> MethodChoice {
        let tolerance = self.tolerance.unwrap_or(TOLERANCE_PERCENT) / 100.0;
        match self.burst {
            Some(None) => MethodChoice::Burst { tolerance },
            _ if self.soak.is_some() => MethodChoice::Soak,
            _ if self.sweep => MethodChoice::Sweep,
            _ if self.throughput => MethodChoice::Throughput { tolerance },
            _ if self.tune => MethodChoice::Tune { rounds: self.rounds },
            _ => MethodChoice::Trial,
        }
    }

    fn is_search(&self) -> bool {
        matches!(self.choice(), MethodChoice::Throughput { .. } | MethodChoice::Burst { .. })
    }

    fn has_many_trials(&self) -> bool {
        !matches!(self.choice(), MethodChoice::Trial | MethodChoice::Soak)
    }
}

/// Runs a load test, writes its report and prints what came of it; returns the exit status.
pub fn run(arguments: &BenchArguments) -> Result<u8, Failure> {
    let config = arguments.to_config()?;
    if let Some(folder) = &config.out {
        // To find out after an hour would be too late.
        report::prepare(folder).map_err(|error| Failure::Runtime(error.to_string()))?;
    }
    let (document, intervals) =
        bench::run(&config).map_err(|error| Failure::new(error.is_usage(), &error))?;
    let mut text = summary(&document, screen::page(), screen::is_coloured());
    // The report first: it is kept though nobody looks on, and what was measured is shown though it could not be kept.
    let mut written = Ok(());
    if let Some(folder) = &config.out {
        written = report::write(folder, &document, &intervals);
        if written.is_ok() {
            text += &format!("{}\n", folder.join("report.html").display());
        }
    }
    let printed = screen::print(&text);
    written.map_err(|error| Failure::Runtime(error.to_string()))?;
    printed.map_err(|error| Failure::Runtime(format!("cannot write to standard output: {error}")))?;
    Ok(match document.verdict.result {
        Outcome::Pass => 0,
        Outcome::Fail => 3,
        Outcome::Invalid => 1,
        Outcome::Interrupted => 130,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        arguments: BenchArguments,
    }

    fn config(options: &[&str]) -> Config {
        let words = ["bench"].iter().chain(options);
        let arguments = Alone::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).arguments;
        match arguments.to_config() {
            Ok(config) => config,
            Err(Failure::Usage(message) | Failure::Runtime(message)) => panic!("{message}"),
        }
    }

    fn length_s(options: &[&str]) -> f64 {
        config(options).length.as_secs_f64()
    }

    #[test]
    fn trials_have_their_lengths() {
        for (options, seconds) in [
            (&[] as &[&str], 10.0),
            (&["--duration", "2m"], 120.0),
            (&["--sweep"], 3.0),
            (&["--throughput"], 3.0),
            (&["--burst"], 3.0),
            (&["--burst=50"], 10.0),
            (&["--tune"], 3.0),
            (&["--soak", "8h"], 28_800.0),
        ] {
            assert_eq!(length_s(options), seconds, "{options:?}");
        }
    }

    #[test]
    fn frames_that_are_counted_are_all_sent() {
        for (options, seconds) in [
            (&["--fps", "100", "--frames", "5000"] as &[&str], 52.0),
            (&["--fps", "100", "--frames", "5000", "--duration", "3s"], 3.0),
            (&["--fps", "100", "--frames", "5000", "--sweep"], 511.0),
            // 2,750 a second.
            (&["--pattern", "cyclic", "--frames", "275000"], 103.0),
            (&["--flood", "--frames", "1000000"], 3_600.0),
            (&["--fps", "0.1", "--frames", "18446744073709551615"], 31.0 * 86_400.0),
        ] {
            assert_eq!(length_s(options), seconds, "{options:?}");
        }
    }

    #[test]
    fn a_log_is_sent_to_its_end() {
        let log = std::env::temp_dir().join(format!("canip-length-{}.log", std::process::id()));
        std::fs::write(&log, "(1.000000) can0 123#11\n(13.500000) can0 123#22\n").unwrap();
        let place = log.to_str().unwrap();
        let lengths = [
            length_s(&["--replay", place]),
            length_s(&["--replay", place, "--tune"]),
            length_s(&["--replay", place, "--duration", "5s"]),
        ];
        std::fs::remove_file(&log).unwrap();
        assert_eq!(lengths, [13.5, 13.5, 5.0]);
    }

    #[test]
    fn a_bare_burst_is_a_search() {
        assert_eq!(config(&["--burst"]).method, MethodChoice::Burst { tolerance: 0.01 });
        let load = config(&["--burst=50"]);
        assert_eq!(load.method, MethodChoice::Trial);
        assert_eq!(load.load.pacing(), Some(Pacing::Burst { frames: 50, every: BURST_EVERY }));
        assert_eq!(
            config(&["--throughput", "--tolerance", "5%"]).method,
            MethodChoice::Throughput { tolerance: 0.05 }
        );
    }
}
