//! The document of a load test: everything that was measured, and everything needed to do it again.
//!
//! One versioned JSON document. Its schema is `docs/report.schema.json`. Counts are frames, times nanoseconds where a name
//! ends in `_ns` and seconds where it ends in `_s`; what does not apply is left out. A reader passes over fields that it
//! does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The name by which a document is known for one.
pub const FORMAT: &str = "canip_peer bench report";

/// The version of this form. A reader refuses others.
pub const VERSION: u32 = 1;

/// A load test.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// When it began: RFC 3339, UTC, to the second.
    pub started: String,
    /// What measured.
    pub program: Program,
    /// Where it ran.
    pub host: Host,
    /// What was measured.
    pub path: PathUnderTest,
    /// How it was measured.
    pub method: Method,
    /// What came of it.
    pub verdict: Verdict,
    /// In the order in which they were made.
    pub trials: Vec<Trial>,
    /// What the trials say together, where the method looks for something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Program {
    /// As `canip_peer --version` prints it.
    pub version: String,
    /// Of the source it was built from, if that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// `release` or `debug`.
    pub build: String,
}

/// Where it ran.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Its name in the network.
    pub name: String,
    /// Kernel name, release and machine, as `uname -srm` prints them.
    pub kernel: String,
    /// As many as the program may use.
    pub processors: u32,
    /// As `/proc/cpuinfo` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PathUnderTest {
    /// `own bridge` where server and client were started for the test, `existing` where two interfaces were given, `link`
    /// where a server of another machine was.
    pub kind: String,
    /// `socketcan` or `software`.
    pub bus: String,
    /// Why it is this kind of bus, where there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_reason: Option<String>,
    /// The bus at this end, by its name.
    pub near: String,
    /// The bus at the other end.
    pub far: String,
    /// The engine that the bridges said they use: `io_uring` or `epoll`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The protocol's version that they agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Options given to both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bridge_options: Vec<String>,
}

/// How it was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// One load.
    Trial,
    /// Latency and loss over load.
    Sweep,
    /// The highest rate without loss.
    Throughput,
    /// The longest burst without loss.
    Burst,
    /// One load, for long.
    Soak,
    /// Settings of the bridge against each other, in turns.
    Tune,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub result: Outcome,
    /// One sentence.
    pub text: String,
    /// Why it is no pass: conditions that failed, reasons why it is no result. One sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// The verdict in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing was lost, duplicated, reordered or corrupted, and every condition holds.
    Pass,
    /// The link did not hold what it should.
    Fail,
    /// The measurement itself cannot be trusted.
    Invalid,
    /// It was ended before its time; what was measured until then is in it.
    Interrupted,
}

/// One load for one stretch of time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// What tells it from the others: `40 %`, `2500/s`, `busy-poll, round 2`.
    pub label: String,
    /// What was offered.
    pub load: Load,
    /// Without the warm-up.
    pub duration_s: f64,
    /// Before it: frames that are sent and matched, and not counted.
    pub warm_up_s: f64,
    /// Why this trial is no result; empty if it is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid_because: Vec<String>,
    /// One or two.
    pub directions: Vec<Direction>,
    /// There and back, where two machines were measured against each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip: Option<Latency>,
    /// The bridges' own account, in the order server, client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bridges: Vec<Bridge>,
}

/// What was offered, in each loaded direction.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Load {
    /// In words: `saturated 500 kbit/s bus, 11-bit identifiers, 8 bytes, random payloads`.
    pub description: String,
    /// Of the bus that is modelled, bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_rate: Option<u32>,
    /// The same of an FD frame's data phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_bit_rate: Option<u32>,
    /// Of that bus's capacity, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Where a rate was asked for, or is sought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_per_s: Option<f64>,
    /// Frames due at the same moment, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_frames: Option<u64>,
    /// From which contents and times are drawn.
    pub seed: u64,
}

/// One direction of a trial.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Direction {
    /// The bus that was loaded.
    pub from: String,
    /// The bus where frames came out.
    pub to: String,
    /// Frames.
    pub counts: Counts,
    /// Frames a second that were due.
    pub offered_per_s: f64,
    /// Frames a second that came out.
    pub delivered_per_s: f64,
    /// Of the frames lost, where they went, as far as that is known: `generator`, `kernel_queue`, `bridge_stale`, ...,
    /// `unexplained`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost_where: BTreeMap<String, u64>,
    /// The first few that did not come out as they should.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_faults: Vec<Fault>,
    /// From when a frame was due to when it came out.
    pub latency: Latency,
    /// From when a frame was due to when it was sent.
    pub lateness: Latency,
    /// What [`Direction::latency`] may be wrong by, where two machines' clocks were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty_ns: Option<u64>,
    /// The trial piece by piece, in order.
    pub intervals: Vec<Interval>,
}

/// Frames, warm-up excluded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Everything else is held against these.
    pub sent: u64,
    /// Of those, the ones that came out unchanged, once each.
    pub received: u64,
    /// Never came out unchanged: `sent` less `received`.
    pub lost: u64,
    /// Copies beyond the first one.
    pub duplicated: u64,
    /// Came after one that was sent later. They are among the received ones.
    pub reordered: u64,
    /// Came out changed. The ones that were sent are among the lost ones.
    pub corrupted: u64,
    /// Nobody sent them.
    pub foreign: u64,
}

/// A frame that did not come out as it should.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// `lost`, `duplicated`, `reordered`, `corrupted`, `foreign`.
    pub what: String,
    /// Of the frame, counted from 0 in its direction; none for a foreign one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// When it was due, or came, from the beginning of the trial.
    pub at_s: f64,
    /// In candump's notation.
    pub frame: String,
}

/// A distribution of times, nanoseconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Values.
    pub count: u64,
    /// The least.
    pub min_ns: u64,
    /// Their sum by their number.
    pub mean_ns: f64,
    /// Half of them are no greater.
    pub p50_ns: u64,
    /// All but one of ten are no greater.
    pub p90_ns: u64,
    /// All but one of a hundred are no greater.
    pub p99_ns: u64,
    /// All but one of a thousand are no greater.
    #[serde(rename = "p99.9_ns")]
    pub p99_9_ns: u64,
    /// All but one of ten thousand are no greater.
    #[serde(rename = "p99.99_ns")]
    pub p99_99_ns: u64,
    /// The greatest.
    pub max_ns: u64,
    /// All of it: an HdrHistogram, V2, compressed, in base64.
    pub histogram: String,
}

/// A part of a trial.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// Where it begins, from the beginning of the trial.
    pub start_s: f64,
    /// How long it is.
    pub length_s: f64,
    /// Frames sent in it.
    pub sent: u64,
    /// Frames that came out in it.
    pub received: u64,
    /// Half of what came out in it took no longer; none if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ns: Option<u64>,
    /// All but one of a hundred took no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<u64>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ns: Option<u64>,
}

/// What a bridge says of a trial, warm-up included.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bridge {
    /// `server` or `client`.
    pub role: String,
    /// As its last line names them.
    pub counters: BTreeMap<String, u64>,
    /// Processor time, user and system.
    pub processor_s: f64,
    /// Greatest resident memory.
    pub resident_bytes: u64,
}

/// What trials say together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// `throughput`, `knee`, `burst`, `difference`.
    pub what: String,
    /// What it is about: a direction, a setting against another.
    pub subject: String,
    /// The figure.
    pub value: f64,
    /// `frames/s`, `%`, `frames`, `ns`.
    pub unit: String,
    /// How far it can be trusted: the tolerance, the spread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<f64>,
    /// For a difference, whether it is more than chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_real: Option<bool>,
    /// One sentence.
    pub text: String,
}

impl Outcome {
    /// As it stands before the verdict.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID",
            Self::Interrupted => "INTERRUPTED",
        }
    }
}

impl Method {
    /// As the document has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Sweep => "sweep",
            Self::Throughput => "throughput",
            Self::Burst => "burst",
            Self::Soak => "soak",
            Self::Tune => "tune",
        }
    }
}
