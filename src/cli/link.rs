//! The options of `server` and `client`.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Failure;
use super::bounds::BoundArgs;
use super::bus_argument::CanInterface;
use super::logging::LogLevel;
use super::values::{
    parse_address, parse_batch_frames, parse_bit_rate, parse_bytes, parse_clients, parse_heartbeat,
    parse_host_alone, parse_listening_port, parse_microseconds, parse_milliseconds, parse_port,
    parse_priority, parse_stats_interval,
};
use crate::bus::{BusAddress, BusKind};
use crate::config::{BitRate, BridgeConfig, EngineChoice, NamedBus, Side};
use crate::frame::filter::{Filter, FilterError, FilterSet, Rule, parse_candump, parse_tool_list};
use crate::session::Protocol;
use crate::wire::echo;
use crate::wire::greeting::Features;
use crate::wire::v5::{MAX_BUSES, NAME_BYTES};

/// The port that the Python tool uses.
pub const DEFAULT_PORT: u16 = 3333;

/// Asked of the kernel for each CAN socket. A queued frame takes about 800 bytes of it, so this holds 10,000 frames:
/// more than two seconds of a saturated 500 kbit/s bus.
const DEFAULT_RECEIVE_QUEUE_BYTES: usize = 8 << 20;

/// Several periods of the slowest cyclic messages that anything is steered by (100 ms); what waited longer says how
/// things were.
const DEFAULT_MAX_AGE_MS: u32 = 250;

/// More than anybody bridges to, and with one bus each well within the 1,024 descriptors that systems allow by default.
const DEFAULT_CLIENTS: usize = 128;

/// Of a filter file: a line for each of a hundred thousand identifiers, with comments. What has no end (/dev/zero) is none.
const FILTER_BYTES_MAX: u64 = 16 << 20;

/// The headings that options are printed under, in this order.
const BUS: &str = "CAN bus";
const FILTERS: &str = "Filters (which frames of the bus go to the peer)";
const LINK: &str = "Link";
const DIAGNOSTICS: &str = "Diagnostics";

/// Options of the listening side.
#[derive(Args, Debug)]
pub struct ServerArgs {
    // First, so that the headings come in their order; those below go to the top of theirs.
    #[command(flatten)]
    pub link: LinkArgs,
    /// Address to listen on [default: every address, IPv4 and IPv6]
    #[arg(long, value_name = "ADDR", help_heading = LINK, display_order = 0, value_parser = parse_address)]
    bind: Option<IpAddr>,
    /// TCP port to listen on; 0 takes a free one and says which
    #[arg(long, value_name = "PORT", help_heading = LINK, display_order = 1, default_value_t = DEFAULT_PORT, value_parser = parse_listening_port, allow_negative_numbers = true)]
    port: u16,
    /// Answer the load tests of clients (canip_peer bench --connect), on a bus of its own
    #[arg(long, help_heading = LINK, display_order = 2)]
    allow_bench: bool,
    /// Clients at the same time, 1 to 320; more are turned away, and try again
    #[arg(long, value_name = "CLIENTS", help_heading = LINK, display_order = 3, default_value_t = DEFAULT_CLIENTS, value_parser = parse_clients, allow_negative_numbers = true)]
    max_clients: usize,
}

impl ServerArgs {
    /// Where to listen, and what is answered there.
    pub fn side(&self) -> Result<Side, Failure> {
        let buses = &self.link.bus.can;
        if buses.iter().any(|text| text.split_once('=').is_some_and(|(name, _)| name == echo::BUS)) {
            let or_allow = if self.allow_bench { "" } else { ", or --allow-bench for load tests" };
            return Err(Failure::Usage(format!(
                "--can {0}=...: the name {0} is kept for load tests: give another one{or_allow}",
                echo::BUS
            )));
        }
        if self.allow_bench && buses.len() >= MAX_BUSES {
            return Err(Failure::Usage(format!(
                "--allow-bench takes one of the {MAX_BUSES} buses that there can be: leave out one --can"
            )));
        }
        Ok(Side::Server {
            bind: self.bind,
            port: self.port,
            allow_bench: self.allow_bench,
            max_clients: self.max_clients,
        })
    }
}

/// Options of the connecting side.
#[derive(Args, Debug)]
pub struct ClientArgs {
    // First, so that the headings come in their order; those below go to the top of theirs.
    #[command(flatten)]
    pub link: LinkArgs,
    /// Name or address of the server
    #[arg(long, value_name = "HOST", help_heading = LINK, display_order = 0, value_parser = parse_host_alone)]
    host: String,
    /// TCP port of the server
    #[arg(long, value_name = "PORT", help_heading = LINK, display_order = 1, default_value_t = DEFAULT_PORT, value_parser = parse_port, allow_negative_numbers = true)]
    port: u16,
}

impl ClientArgs {
    /// Where to connect.
    pub fn side(&self) -> Side {
        Side::Client { host: self.host.clone(), port: self.port }
    }
}

/// What both sides have in common.
#[derive(Args, Debug)]
pub struct LinkArgs {
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    diagnostics: DiagnosticsArgs,
}

/// The bus of this side.
#[derive(Args, Debug)]
#[command(next_help_heading = BUS)]
struct BusArgs {
    /// Interface (can0), or name of a software bus (bus0, bus0@500000); again for a further one
    #[arg(long, value_name = "[NAME=]IFACE", required = true)]
    can: Vec<String>,
    /// Kind of bus: socketcan, or software (in user space)
    #[arg(long, value_name = "KIND", value_enum, default_value = "socketcan", hide_possible_values = true)]
    can_interface: CanInterface,
    /// Refuse an interface that cannot carry CAN FD frames
    #[arg(long)]
    can_fd: bool,
    /// Set the interface to this bit rate first, bit/s (as root)
    #[arg(long, value_name = "RATE", value_parser = parse_bit_rate, allow_negative_numbers = true)]
    can_bitrate: Option<u32>,
    /// Bit rate of the data part of CAN FD frames, bit/s
    #[arg(long, value_name = "RATE", value_parser = parse_bit_rate, allow_negative_numbers = true)]
    data_bitrate: Option<u32>,
    /// Bytes of receive queue to ask the kernel for
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_RECEIVE_QUEUE_BYTES, value_parser = parse_bytes, allow_negative_numbers = true)]
    rcvbuf: usize,
}

/// Which frames of the bus go to the peer.
#[derive(Args, Debug)]
#[command(next_help_heading = FILTERS)]
struct FilterArgs {
    /// File of identifiers that pass: 0x123, 0x100-0x1FF, 0x700/0x7F0, 0x18DAF110x; # comments
    #[arg(long, value_name = "FILE")]
    pass_filter: Vec<PathBuf>,
    /// File of identifiers that do not pass, in the same form
    #[arg(long, value_name = "FILE")]
    block_filter: Vec<PathBuf>,
    /// What passes, as for candump: 123:7FF, 400~7F0, #FFFFFFFF, j
    #[arg(long, value_name = "EXPR")]
    filter: Vec<String>,
}

/// How the two sides speak.
#[derive(Args, Debug)]
#[command(next_help_heading = LINK)]
struct ConnectionArgs {
    /// Protocol: 4.0, 4.1, 5, or auto (5 with a peer that speaks it, else 4.1; as a server 4.0 too)
    #[arg(long, value_name = "VERSION", value_enum, default_value_t, hide_possible_values = true)]
    protocol: ProtocolArg,
    /// Do not offer sequence numbers
    #[arg(long)]
    no_seq: bool,
    /// Offer to send the time of every frame
    #[arg(long)]
    timestamp: bool,
    /// Seconds between signs of life; a peer that gives none for three of them is dead; 0 for never
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_heartbeat, allow_negative_numbers = true)]
    heartbeat: Duration,
    /// Milliseconds after which a frame is too old to be sent or put on the bus; 0 for no limit
    #[arg(long, value_name = "MILLISECONDS", default_value_t = DEFAULT_MAX_AGE_MS, value_parser = parse_milliseconds, allow_negative_numbers = true)]
    max_age: u32,
    /// Look for loops, frames that come back by another way, and stop them: on or off
    #[arg(long, value_name = "WHETHER", value_enum, default_value_t, hide_possible_values = true)]
    loop_detection: Switch,
    /// Microseconds that frames wait for more, to be sent together: fewer system calls, later frames
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, value_parser = parse_microseconds, allow_negative_numbers = true)]
    linger_us: u32,
    /// Frames that are sent without waiting for more
    #[arg(long, value_name = "FRAMES", default_value_t = 64, value_parser = parse_batch_frames, allow_negative_numbers = true)]
    batch_frames: usize,
    /// Engine: uring, epoll, or auto (io_uring where it is allowed)
    #[arg(long, value_name = "ENGINE", value_enum, default_value_t, hide_possible_values = true)]
    engine: EngineArg,
    /// Never sleep while connected: the least delay, for a whole processor
    #[arg(long)]
    busy_poll: bool,
    /// Run before all ordinary programs, at real-time priority 1 or this (SCHED_FIFO): a busy machine then delays frames less (root, or ulimit -r)
    #[arg(long, value_name = "PRIORITY", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_priority)]
    realtime: Option<u8>,
}

/// What is said and kept of it.
#[derive(Args, Debug)]
#[command(next_help_heading = DIAGNOSTICS)]
struct DiagnosticsArgs {
    /// How much to say on standard error: DEBUG, INFO, WARNING or ERROR
    #[arg(
        long,
        value_name = "LEVEL",
        value_enum,
        ignore_case = true,
        default_value_t,
        hide_possible_values = true
    )]
    log_level: LogLevel,
    /// Seconds between summary lines; 0 for none
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_stats_interval, allow_negative_numbers = true)]
    stats_interval: Duration,
    /// Keep every frame that crosses, both ways, in candump's log format
    #[arg(long, value_name = "FILE.log")]
    record: Option<PathBuf>,
    /// End when the process of this number ends, which started this one, however it ends
    #[arg(long, hide = true, value_name = "PID")]
    with_parent: Option<u32>,
    /// Keep the latency histograms of every --stats-interval, as HdrHistogram's interval log
    #[arg(long, value_name = "FILE")]
    histogram_log: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ProtocolArg {
    /// Version 5 where the peer offers it, else 4.1; as a server also 4.0
    #[default]
    Auto,
    /// No greeting, no sequence numbers
    #[value(name = "4.0")]
    V40,
    /// A greeting is required
    #[value(name = "4.1")]
    V41,
    /// Version 5 is required
    #[value(name = "5")]
    V5,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Switch {
    /// Wanted
    #[default]
    On,
    /// Not wanted
    Off,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum EngineArg {
    /// io_uring where it is allowed, else epoll
    #[default]
    Auto,
    /// io_uring, or an error
    Uring,
    /// epoll
    Epoll,
}

impl LinkArgs {
    /// How much is said.
    pub fn log_level(&self) -> LogLevel {
        self.diagnostics.log_level
    }

    /// The process that started this one, if this one is to end with it.
    pub fn parent(&self) -> Option<u32> {
        self.diagnostics.with_parent
    }

    /// The options as validated configuration. Reads the filter files.
    pub fn to_config(&self) -> Result<BridgeConfig, Failure> {
        let kind = self.bus.can_interface.into();
        let buses = self.bus.named(kind)?;
        let max_age_ms = u64::from(self.connection.max_age);
        self.connection.refuse_contradictions()?;
        if self.connection.busy_poll && self.connection.realtime.is_some() {
            return Err(Failure::Usage(
                "--realtime with --busy-poll: of threads that never sleep the kernel stops real-time ones for a part of \
                 every second: leave one of the two out"
                    .to_owned(),
            ));
        }
        Ok(BridgeConfig {
            bit_rate: self.bit_rate(kind)?,
            buses,
            require_fd: self.bus.can_fd,
            receive_queue_bytes: self.bus.rcvbuf,
            filter: Rc::new(self.passing()?),
            bounds: self.bounds.to_bounds(self.bus.can.len(), self.bus.data_bitrate)?,
            protocol: match self.connection.protocol {
                ProtocolArg::Auto => Protocol::Auto,
                ProtocolArg::V40 => Protocol::V40,
                ProtocolArg::V41 => Protocol::V41,
                ProtocolArg::V5 => Protocol::V5,
            },
            offer: Features { sequence: !self.connection.no_seq, time: self.connection.timestamp },
            heartbeat: self.connection.heartbeat,
            max_age: (max_age_ms > 0).then(|| Duration::from_millis(max_age_ms)),
            detects_loops: matches!(self.connection.loop_detection, Switch::On),
            linger: Duration::from_micros(self.connection.linger_us.into()),
            batch_frames: self.connection.batch_frames,
            stats_interval: self.diagnostics.stats_interval,
            record: self.diagnostics.record.clone(),
            histogram_log: self.diagnostics.histogram_log()?,
            engine: match self.connection.engine {
                EngineArg::Auto => EngineChoice::Auto,
                EngineArg::Uring => EngineChoice::Uring,
                EngineArg::Epoll => EngineChoice::Epoll,
            },
            busy_poll: self.connection.busy_poll,
            realtime: self.connection.realtime,
        })
    }

    /// What goes to the peer.
    fn passing(&self) -> Result<Filter, Failure> {
        if !self.bounds.write_only {
            return self.filter.compile();
        }
        if let Some(option) = self.filter.any() {
            return Err(Failure::Usage(format!(
                "--write-only sends nothing to the peer, so that there is nothing to filter: leave {option} out"
            )));
        }
        Filter::nothing().map_err(|error| Failure::Usage(error.to_string()))
    }

    fn bit_rate(&self, kind: BusKind) -> Result<Option<BitRate>, Failure> {
        let rate = self.bus.can_bitrate.map(|nominal| BitRate { nominal, data: self.bus.data_bitrate });
        match (kind, rate) {
            (_, None) if self.bus.data_bitrate.is_some() && self.bounds.bitrate.is_none() => Err(Failure::Usage(
                "--data-bitrate is set together with --can-bitrate: give both, for example --can-bitrate 500000 \
                 --data-bitrate 2000000"
                    .to_owned(),
            )),
            (BusKind::Software, Some(rate)) => Err(Failure::Usage(format!(
                "--can-bitrate sets the rate of a kernel interface; a software bus is paced by its name: --can {}@{}",
                self.bus.can[0], rate.nominal
            ))),
            _ => Ok(rate),
        }
    }
}

impl BusArgs {
    /// The buses, with the names by which they are matched.
    fn named(&self, kind: BusKind) -> Result<Vec<NamedBus>, Failure> {
        if self.can.len() > MAX_BUSES {
            return Err(Failure::Usage(format!(
                "--can is given {} times: {MAX_BUSES} at the most",
                self.can.len()
            )));
        }
        let mut buses: Vec<NamedBus> = Vec::new();
        for text in &self.can {
            let (matched_by, bus) = text.split_once('=').unwrap_or(("", text));
            let usage = |message: String| Failure::Usage(format!("--can {text}: {message}"));
            if text.contains('=') && matched_by.is_empty() || matched_by.len() > NAME_BYTES {
                return Err(usage(format!("give a name of 1 to {NAME_BYTES} bytes before the =")));
            }
            let address = BusAddress::parse(kind, bus).map_err(|error| Failure::Usage(error.to_string()))?;
            if buses.iter().any(|other| other.address.name == address.name) {
                return Err(usage("the same bus a second time: leave it out once".to_owned()));
            }
            if !matched_by.is_empty() && buses.iter().any(|other| other.matched_by == matched_by) {
                return Err(usage(format!(
                    "another bus has the name {matched_by}: give each one of its own"
                )));
            }
            buses.push(NamedBus { matched_by: matched_by.to_owned(), address });
        }
        Ok(buses)
    }
}

impl ConnectionArgs {
    /// What is offered in greetings has no place where there are none, and none where nothing is to be chosen from.
    fn refuse_contradictions(&self) -> Result<(), Failure> {
        let option = match (self.no_seq, self.timestamp) {
            (true, _) => "--no-seq",
            (_, true) => "--timestamp",
            (false, false) => return Ok(()),
        };
        let why = match (self.protocol, option) {
            (ProtocolArg::V40, "--no-seq") => "version 4.0 has no sequence numbers anyway",
            (ProtocolArg::V40, _) => "version 4.0 has no times",
            (ProtocolArg::V5, "--no-seq") => "version 5 always numbers frames",
            _ => return Ok(()),
        };
        Err(Failure::Usage(format!("{option}: {why}: leave it out, or choose another --protocol")))
    }
}

impl DiagnosticsArgs {
    /// The log's intervals are the summary's: somebody who wants one without the other lowers `--log-level`.
    fn histogram_log(&self) -> Result<Option<PathBuf>, Failure> {
        if self.histogram_log.is_some() && self.stats_interval.is_zero() {
            return Err(Failure::Usage(
                "--histogram-log has a line for every --stats-interval: give one above 0".to_owned(),
            ));
        }
        Ok(self.histogram_log.clone())
    }
}

impl FilterArgs {
    /// An option that was given.
    fn any(&self) -> Option<&'static str> {
        let options = [
            ("--pass-filter", !self.pass_filter.is_empty()),
            ("--block-filter", !self.block_filter.is_empty()),
            ("--filter", !self.filter.is_empty()),
        ];
        options.into_iter().find_map(|(option, is_given)| is_given.then_some(option))
    }

    fn compile(&self) -> Result<Filter, Failure> {
        let usage = |error: FilterError| Failure::Usage(error.to_string());
        let expressions: Result<_, _> = self.filter.iter().map(|text| parse_candump(text)).collect();
        let set = FilterSet {
            pass: read_pass_rules(&self.pass_filter)?,
            block: read_block_rules(&self.block_filter)?,
            expressions: expressions.map_err(usage)?,
        };
        set.compile().map_err(usage)
    }
}

fn read_pass_rules(files: &[PathBuf]) -> Result<Vec<Rule>, Failure> {
    let mut rules = Vec::new();
    for file in files {
        let read = read_rules("--pass-filter", file)?;
        // Nothing would pass, and nobody bridges for that.
        if read.is_empty() {
            return Err(Failure::Usage(format!(
                "filter file {} names no identifier: add one, or leave --pass-filter out",
                file.display()
            )));
        }
        rules.extend(read);
    }
    Ok(rules)
}

/// A file without identifiers is one that nothing was written into yet: nothing is blocked.
fn read_block_rules(files: &[PathBuf]) -> Result<Vec<Rule>, Failure> {
    let mut rules = Vec::new();
    for file in files {
        rules.extend(read_rules("--block-filter", file)?);
    }
    Ok(rules)
}

fn read_rules(option: &str, file: &Path) -> Result<Vec<Rule>, Failure> {
    let name = file.display();
    let text = read_text(file).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => format!("see that the name is right, or leave {option} out"),
            ErrorKind::PermissionDenied => format!("let this user read it: chmod a+r {name}"),
            _ => format!("give {option} a text file of identifiers"),
        };
        Failure::Usage(format!("cannot read filter file {name}: {error}: {advice}"))
    })?;
    parse_tool_list(&text, &name.to_string()).map_err(|error| Failure::Usage(error.to_string()))
}

/// A whole file, or whatever comes through a pipe until its end.
fn read_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(FILTER_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILTER_BYTES_MAX {
        let larger = format!("larger than {} MiB", FILTER_BYTES_MAX >> 20);
        return Err(io::Error::new(ErrorKind::FileTooLarge, larger));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &[&str]) -> Result<BridgeConfig, Failure> {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            link: LinkArgs,
        }
        let words = ["server", "--can", "can0"].iter().chain(words);
        let program = <Program as clap::Parser>::try_parse_from(words).unwrap();
        program.link.to_config()
    }

    fn valid(words: &[&str]) -> BridgeConfig {
        config(words).unwrap_or_else(|_| panic!("a valid configuration"))
    }

    #[test]
    fn a_frame_waits_for_a_quarter_of_a_second_unless_told() {
        assert_eq!(valid(&[]).max_age, Some(Duration::from_millis(250)));
        assert_eq!(valid(&["--max-age", "20"]).max_age, Some(Duration::from_millis(20)));
        assert_eq!(valid(&["--max-age", "0"]).max_age, None);
    }

    #[test]
    fn histograms_are_logged_only_where_there_are_intervals() {
        assert_eq!(valid(&["--stats-interval", "0"]).histogram_log, None);
        let logged = valid(&["--stats-interval", "1", "--histogram-log", "bus.hlog"]);
        assert_eq!(logged.histogram_log, Some(PathBuf::from("bus.hlog")));
        let refused = config(&["--stats-interval", "0", "--histogram-log", "bus.hlog"]);
        assert!(matches!(refused, Err(Failure::Usage(_))));
    }
}
