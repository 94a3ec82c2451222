//! The command line as a user types it: help, and every mistake that can be made without CAN. A mistake gives one line
//! that names the thing and says what to do, and exit status 2 when the command line is wrong, 1 for everything else.

#[path = "common/port.rs"]
mod port;

#[path = "common/program.rs"]
#[expect(dead_code, reason = "every program here is awaited to its end")]
mod program;

#[path = "common/text_file.rs"]
mod text_file;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use canip_peer::bus::software;
use port::{FREE_ADDRESS, held_port};
use program::{Finished, PATIENCE, Program, unique_name};
use text_file::TextFile;

/// Runs the program to its end, with arguments that are separated by white space.
fn run(arguments: &str) -> Finished {
    let finished = Program::bridge(arguments).finish();
    let text = finished.errors.join("\n");
    assert!(!text.contains("panicked"), "{arguments}: {text}");
    finished
}

/// Asserts that a command line is refused with this status and this line alone.
fn refused(arguments: &str, status: i32, line: &str) {
    let finished = run(arguments);
    assert_eq!(finished.errors, [format!("canip_peer: {line}")], "{arguments}");
    assert_eq!(finished.status.code(), Some(status), "{arguments}");
    assert_eq!(finished.output, [""; 0], "{arguments}");
}

/// Asserts that a server on a software bus of its own is refused as wrong usage.
fn wrong_usage(options: &str, line: &str) {
    let bus = unique_name("usage");
    let line = line.replace("BUS", &bus);
    refused(&format!("server --can-interface software --can {bus} --port 0 {options}"), 2, &line);
}

#[test]
fn help_is_printed_for_the_program_and_each_command() {
    let commands = ["server", "client", "send", "dump", "demo"];
    let finished = run("--help");
    assert_eq!(finished.status.code(), Some(0));
    assert_eq!(finished.errors, [""; 0]);
    let text = finished.output.join("\n");
    assert!(text.contains("Usage: canip_peer <COMMAND>"), "{text}");
    for command in commands {
        assert!(
            finished.output.iter().any(|line| line.trim_start().starts_with(command)),
            "{command}: {text}"
        );
        for form in [format!("{command} --help"), format!("{command} -h"), format!("help {command}")] {
            let finished = run(&form);
            assert_eq!(finished.status.code(), Some(0), "{form}");
            assert_eq!(finished.errors, [""; 0], "{form}");
            let text = finished.output.join("\n");
            assert!(text.contains(&format!("Usage: canip_peer {command}")), "{form}: {text}");
        }
    }
}

#[test]
fn options_of_the_tool_before_are_there_with_its_defaults() {
    let text = run("server -h").output.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    for option in [
        "--can <[NAME=]IFACE>",
        "--bind <ADDR>",
        "--port <PORT> TCP port to listen on; 0 takes a free one and says which [default: 3333]",
        "--heartbeat <SECONDS>",
        "--no-seq",
        "--timestamp",
        "--log-level <LEVEL> How much to say on standard error: DEBUG, INFO, WARNING or ERROR [default: INFO]",
        "--can-fd",
        "--can-bitrate <RATE>",
        "--data-bitrate <RATE>",
        "--can-interface <KIND> Kind of bus: socketcan, or software (in user space) [default: socketcan]",
    ] {
        assert!(text.contains(option), "{option} in {text}");
    }
    for command in ["server", "client"] {
        let text = run(&format!("{command} -h")).output.join("\n");
        for option in
            ["--read-only", "--write-only", "--tx-allow <EXPR>", "--tx-rate <FRAMES>", "--tx-load <PERCENT>"]
        {
            assert!(text.contains(option), "{option} in {text}");
        }
    }
    // Options are printed under the heading they belong to.
    let headings = [
        "Options:",
        "CAN bus:",
        "--can-fd",
        "Filters",
        "--filter",
        "Bounds (what peers may put on each bus):",
        "--tx-load",
        "Link:",
        "--heartbeat",
        "--engine",
        "Diagnostics:",
        "--log-level",
    ];
    let places: Vec<usize> = headings.iter().map(|heading| text.find(heading).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?} in {text}");
}

#[test]
fn version_is_the_packages() {
    for form in ["--version", "-V"] {
        let finished = run(form);
        assert_eq!(finished.output, [concat!("canip_peer ", env!("CARGO_PKG_VERSION"))]);
        assert_eq!(finished.status.code(), Some(0));
    }
}

#[test]
fn what_is_missing_or_unknown_shows_the_usage() {
    for (arguments, named) in [
        ("", "Usage: canip_peer <COMMAND>"),
        ("serve", "unrecognized subcommand 'serve'"),
        ("server", "--can <[NAME=]IFACE>"),
        ("client --can can0", "--host <HOST>"),
        ("client --host pi", "--can <[NAME=]IFACE>"),
        ("server --can can0 --host pi", "unexpected argument '--host'"),
        ("server --can can0 --frobnicate", "unexpected argument '--frobnicate'"),
        ("send can0", "<FRAME>..."),
        ("dump", "<IFACE[,FILTER...]>"),
    ] {
        let finished = run(arguments);
        let text = finished.errors.join("\n");
        assert_eq!(finished.status.code(), Some(2), "{arguments}: {text}");
        assert!(text.contains(named) && text.contains("Usage: canip_peer"), "{arguments}: {text}");
        assert_eq!(finished.output, [""; 0]);
    }
}

#[test]
fn a_wrong_value_is_named_with_what_would_be_right() {
    let port = "give a number from 0 to 65535";
    let heartbeat = "give seconds, 0.001 to 32767, for example 2 or 0.5, or 0 for never";
    let interval = "give seconds, 0.1 to 86400, for example 10 or 0.5, or 0 for none";
    let rate = "give bits per second, for example 500000";
    let frames = "give frames a second, 1 to 1000000, for example 1000; --read-only is for none";
    let percent = "give 0.1 to 100 percent, for example 30; --read-only is for none";
    for (option, value, place, advice) in [
        ("--heartbeat", "often", "<SECONDS>", heartbeat),
        ("--heartbeat", "-1", "<SECONDS>", heartbeat),
        ("--stats-interval", "1e9", "<SECONDS>", interval),
        (
            "--bind",
            "localhost",
            "<ADDR>",
            "give an IPv4 or IPv6 address of this host, for example 127.0.0.1 or ::1",
        ),
        ("--rcvbuf", "8M", "<BYTES>", "give a number of bytes, for example 8388608"),
        ("--rcvbuf", "-1", "<BYTES>", "give a number of bytes, for example 8388608"),
        ("--can-bitrate", "500k", "<RATE>", rate),
        ("--can-bitrate", "0", "<RATE>", rate),
        ("--data-bitrate", "2M", "<RATE>", rate),
        ("--bitrate", "half", "<RATE>", rate),
        ("--tx-rate", "0", "<FRAMES>", frames),
        ("--tx-rate", "-1", "<FRAMES>", frames),
        ("--tx-load", "101%", "<PERCENT>", percent),
        ("--tx-load", "-5", "<PERCENT>", percent),
        ("--tx-load", "half", "<PERCENT>", percent),
    ] {
        wrong_usage(
            &format!("{option} {value}"),
            &format!("invalid value '{value}' for '{option} {place}': {advice}"),
        );
    }
    for value in ["0", "100", "high"] {
        wrong_usage(
            &format!("--realtime={value}"),
            &format!(
                "invalid value '{value}' for '--realtime[=<PRIORITY>]': give a real-time priority, 1 to 99"
            ),
        );
    }
    for value in ["65536", "-1", "http"] {
        refused(
            &format!("server --can can0 --port {value}"),
            2,
            &format!("invalid value '{value}' for '--port <PORT>': {port}"),
        );
    }
    refused(
        "client --can can0 --host pi --port 0",
        2,
        "invalid value '0' for '--port <PORT>': give a number from 1 to 65535",
    );
    refused(
        "client --can can0 --host 127.0.0.1:3333",
        2,
        "invalid value '127.0.0.1:3333' for '--host <HOST>': the port is an option of its own: --host 127.0.0.1 --port 3333",
    );
    for (option, value, place, values) in [
        ("--protocol", "6", "<VERSION>", "auto, 4.0, 4.1, 5"),
        ("--engine", "diesel", "<ENGINE>", "auto, uring, epoll"),
        ("--log-level", "loud", "<LEVEL>", "DEBUG, INFO, WARNING, ERROR"),
    ] {
        wrong_usage(
            &format!("{option} {value}"),
            &format!("invalid value '{value}' for '{option} {place}' [possible values: {values}]"),
        );
    }
    refused(
        "dump can0 --can-interface pcan",
        2,
        "invalid value 'pcan' for '--can-interface <KIND>' [possible values: socketcan, software]",
    );
    refused("server --can", 2, "a value is required for '--can <[NAME=]IFACE>' but none was supplied");
}

#[test]
fn a_host_without_a_name_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_canip_peer"));
    command.args(["client", "--can", "can0", "--host", ""]);
    let finished = Program::start(command).finish();
    assert_eq!(
        finished.errors,
        ["canip_peer: invalid value '' for '--host <HOST>': give a name or an address"]
    );
    assert_eq!(finished.status.code(), Some(2));
}

#[test]
fn bit_rates_are_for_kernel_interfaces() {
    wrong_usage(
        "--can-bitrate 500000",
        "--can-bitrate sets the rate of a kernel interface; a software bus is paced by its name: --can BUS@500000",
    );
    let both = "--data-bitrate is set together with --can-bitrate: give both, for example --can-bitrate 500000 \
                --data-bitrate 2000000";
    wrong_usage("--data-bitrate 2000000", both);
    refused("server --can can0 --data-bitrate 2000000", 2, both);
}

#[test]
fn names_that_no_bus_can_have() {
    let software = "is not usable: give 1 to 64 letters, digits, '_', '-' or '.', for example bus0";
    for command in ["server --can a/b", "client --host pi --can a/b", "dump a/b", "send a/b 123#"] {
        let line = format!("software bus name \"a/b\" {software}");
        refused(&format!("{command} --can-interface software"), 2, &line);
    }
    for rate in ["5", "fast", "2000000"] {
        refused(
            &format!("server --port 0 --can-interface software --can bus0@{rate}"),
            2,
            &format!(
                "software bus bus0 cannot be paced at {rate} bit/s: give 1000 to 1000000, for example bus0@500000"
            ),
        );
    }
    refused(
        "server --port 0 --can-interface software --can bus0@",
        2,
        "software bus bus0 has no bit rate behind the @: give 1000 to 1000000, for example bus0@500000",
    );
    refused(
        "server --port 0 --can-interface software --can bus0 --can bus0",
        2,
        "--can bus0: the same bus a second time: leave it out once",
    );
    let kept = "--can canip-bench=...: the name canip-bench is kept for load tests: give another one";
    let named = "server --port 0 --can-interface software --can canip-bench=bus0";
    refused(named, 2, &format!("{kept}, or --allow-bench for load tests"));
    refused(&format!("{named} --allow-bench"), 2, kept);
    let interface = "\"interface-of-many-letters\" is no interface name (1 to 15 characters): see which CAN interfaces \
                     there are with: ip -br link show type can";
    refused("server --port 0 --can interface-of-many-letters", 2, interface);
    refused("server --port 0 --can interface-of-many-letters --can-bitrate 500000", 2, interface);
    refused("dump interface-of-many-letters", 2, interface);
    refused("send interface-of-many-letters 123#", 2, interface);
}

#[test]
fn an_interface_that_is_not_there() {
    // A kernel without CAN says so instead.
    let no_can = "this kernel has no CAN: as root type: modprobe can-raw, or use --can-interface software";
    let lines = |missing: &'static str| if Path::new("/proc/net/can").exists() { missing } else { no_can };
    let missing = "there is no interface nosuchcan0: see which CAN interfaces there are with: ip -br link show type can";
    refused("server --port 0 --can nosuchcan0", 1, lines(missing));
    refused("server --port 0 --can nosuchcan0 --can-bitrate 500000", 1, lines(missing));
    refused("client --host 127.0.0.1 --can nosuchcan0", 1, lines(missing));
    refused("dump nosuchcan0", 1, lines(missing));
    refused("send nosuchcan0 123#", 1, lines(missing));
    let no_bus = "lo is not a CAN interface: see which there are with: ip -br link show type can";
    refused("server --port 0 --can lo", 1, lines(no_bus));
}

#[test]
fn a_port_that_is_taken() {
    let advice =
        "Address already in use (os error 98): is a canip_peer running already? Choose another --port";
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let bus = unique_name("port");
    let server = format!("server --can-interface software --can {bus} --port {port}");
    refused(
        &format!("{server} --bind 127.0.0.1"),
        1,
        &format!("cannot listen on 127.0.0.1:{port}: {advice}"),
    );
    refused(&server, 1, &format!("cannot listen on port {port}: {advice}"));
    // Even where the bus is not there either: two servers are the likelier mistake.
    refused(
        &format!("server --can nosuchcan0 --port {port}"),
        1,
        &format!("cannot listen on port {port}: {advice}"),
    );
}

#[test]
fn an_address_of_another_host() {
    let bus = unique_name("bind");
    // 192.0.2.0/24 is for documentation (RFC 5737) and nobody's.
    refused(
        &format!("server --can-interface software --can {bus} --port 0 --bind 192.0.2.1"),
        1,
        "cannot listen on 192.0.2.1:0: Cannot assign requested address (os error 99): see the addresses of this host \
         with: ip address",
    );
}

#[test]
fn filters_that_cannot_be_meant() {
    for option in ["--pass-filter", "--block-filter"] {
        wrong_usage(
            &format!("{option} /nosuchfolder/filter.txt"),
            &format!(
                "cannot read filter file /nosuchfolder/filter.txt: No such file or directory (os error 2): see that the \
                 name is right, or leave {option} out"
            ),
        );
        wrong_usage(
            &format!("{option} /"),
            &format!(
                "cannot read filter file /: Is a directory (os error 21): give {option} a text file of identifiers"
            ),
        );
        wrong_usage(
            &format!("{option} /dev/zero"),
            &format!(
                "cannot read filter file /dev/zero: larger than 16 MiB: give {option} a text file of identifiers"
            ),
        );
        let wrong = TextFile::new("0x100\n0x200-0x2FF, 0x7000 # too large\n");
        wrong_usage(
            &format!("{option} {wrong}"),
            &format!(
                "{wrong}, line 2: \"0x7000\" has a number above 0x7FF, but no x at the end; write 0x123, 0x100-0x1FF or \
                 0x700/0x7F0, with an x at the end for 29-bit identifiers (0x18DAF110x)"
            ),
        );
        let decimal = TextFile::new("291\n");
        wrong_usage(
            &format!("{option} {decimal}"),
            &format!(
                "{decimal}, line 1: \"291\" does not say its base: identifiers begin with 0x; write 0x123, 0x100-0x1FF \
                 or 0x700/0x7F0, with an x at the end for 29-bit identifiers (0x18DAF110x)"
            ),
        );
    }
    let empty = TextFile::new("# 0x123\n\n");
    wrong_usage(
        &format!("--pass-filter {empty}"),
        &format!("filter file {empty} names no identifier: add one, or leave --pass-filter out"),
    );
    let forms = "write ID:MASK, ID~MASK, #ERRORMASK or j, numbers in hexadecimal (123:7FF,400~7F0,j)";
    wrong_usage("--filter 123:7FF,x", &format!("filter \"123:7FF,x\": \"x\" is no filter rule; {forms}"));
    refused(
        "dump --can-interface software bus0,x",
        2,
        &format!("filter \"x\": \"x\" is no filter rule; {forms}"),
    );
}

#[test]
fn bounds_that_cannot_be_meant() {
    wrong_usage(
        "--read-only --write-only",
        "--read-only and --write-only together let nothing cross: leave one of them out",
    );
    for (option, value) in [("--tx-allow", "123:7FF"), ("--tx-rate", "5"), ("--tx-load", "5%")] {
        wrong_usage(
            &format!("--read-only {option} {value}"),
            &format!(
                "--read-only puts nothing of the peer on the bus, so that there is nothing to bound: leave {option} out"
            ),
        );
    }
    let file = TextFile::new("0x123\n");
    for (option, value) in [
        ("--filter", "123:7FF".to_owned()),
        ("--pass-filter", file.to_string()),
        ("--block-filter", file.to_string()),
    ] {
        wrong_usage(
            &format!("--write-only {option} {value}"),
            &format!(
                "--write-only sends nothing to the peer, so that there is nothing to filter: leave {option} out"
            ),
        );
    }
    for expression in ["#FF", "123:7FF,#0", "j"] {
        wrong_usage(
            &format!("--tx-allow {expression}"),
            &format!(
                "--tx-allow {expression}: give identifiers alone, for example 123:C00007FF; error frames are never put on a bus"
            ),
        );
    }
    wrong_usage(
        "--tx-allow 123",
        "--tx-allow: filter \"123\": \"123\" is no filter rule; write ID:MASK, ID~MASK, #ERRORMASK or j, numbers in \
         hexadecimal (123:7FF,400~7F0,j)",
    );
    let pair = "--bitrate is what --tx-load is reckoned with: give both, for example --tx-load 30 --bitrate 500000 \
                (--can-bitrate sets an interface's)";
    wrong_usage("--bitrate 500000", pair);
    wrong_usage("--bitrate 500000 --tx-rate 1000", pair);
}

/// A bus without a bit rate has no part of its time.
#[test]
fn a_part_of_the_time_of_a_bus_without_a_bit_rate() {
    wrong_usage(
        "--tx-load 30",
        "--tx-load: BUS has no bit rate of its own: give that of the bus it stands for, for example --bitrate 500000",
    );
}

#[test]
fn a_bit_rate_that_the_bus_has_not() {
    let bus = unique_name("rate");
    let server = format!("server --can-interface software --can {bus}@500000 --port 0 --tx-load 30");
    refused(
        &format!("{server} --bitrate 250000"),
        2,
        &format!("--bitrate 250000: {bus} has a bit rate of its own, 500000 bit/s: leave --bitrate out"),
    );
    let agreeing = Program::bridge(&format!("{server} --bitrate 500000"));
    agreeing.port();
    agreeing.interrupt().totals();
    // Of several buses, some may have none of their own.
    let several = Program::bridge(&format!("{server} --can {bus}-2 --bitrate 250000"));
    several.port();
    several.interrupt().totals();
}

#[test]
fn recordings_that_cannot_be_made() {
    let folder = std::env::temp_dir().join(unique_name("canip-nosuch-"));
    let folder = folder.display();
    for suffix in [".asc", ".txt", ""] {
        wrong_usage(
            &format!("--record {folder}{suffix}"),
            &format!(
                "cannot record to {folder}{suffix}: its suffix decides the format, and .log (candump's) is the one known"
            ),
        );
    }
    let bus = unique_name("record");
    refused(
        &format!("server --can-interface software --can {bus} --port 0 --record {folder}/bus.log"),
        1,
        &format!(
            "cannot open recording {folder}/bus.log: No such file or directory (os error 2): give --record a file that \
             can be written"
        ),
    );
}

#[test]
fn offers_that_a_version_does_not_know() {
    for (options, why) in [
        ("--no-seq --protocol 5", "--no-seq: version 5 always numbers frames"),
        ("--no-seq --protocol 4.0", "--no-seq: version 4.0 has no sequence numbers anyway"),
        ("--timestamp --protocol 4.0", "--timestamp: version 4.0 has no times"),
    ] {
        wrong_usage(options, &format!("{why}: leave it out, or choose another --protocol"));
    }
}

#[test]
fn a_histogram_log_without_intervals() {
    wrong_usage(
        "--histogram-log /nosuchfolder/bus.hlog --stats-interval 0",
        "--histogram-log has a line for every --stats-interval: give one above 0",
    );
}

#[test]
fn a_bus_of_another_pace() {
    let bus = unique_name("pace");
    let _member = software::join(&bus, Some(500_000)).unwrap();
    for command in ["server --port 0 --can", "client --host 127.0.0.1 --can"] {
        refused(
            &format!("{command} {bus}@250000 --can-interface software"),
            1,
            &format!(
                "software bus {bus} is paced at 500000 bit/s, not paced at 250000 bit/s: name it without a bit rate to \
                 join it as it is, or choose another name"
            ),
        );
    }
}

#[test]
fn wrong_frames_are_refused_before_any_is_sent() {
    let bus = unique_name("frames");
    let refuse = |frames: &str, line: &str| {
        refused(&format!("send --can-interface software {bus} {frames}"), 2, line);
    };
    refuse(
        "123#11 hello",
        "\"hello\": no frame: write IDENTIFIER#DATA, as in 123#DEADBEEF, 123#R4 or 123##1DEADBEEF",
    );
    refuse("12#", "\"12#\": the identifier has neither 3 digits (standard) nor 8 (extended)");
    refuse(
        "123#112233445566778899",
        "\"123#112233445566778899\": the data is longer than 8 bytes (64 after ##)",
    );
}

#[test]
fn a_server_that_is_not_there_is_said_once() {
    let (_holder, port) = held_port();
    let server = format!("{FREE_ADDRESS}:{port}");
    let bus = unique_name("refused");
    let client = Program::bridge(&format!(
        "client --can-interface software --can {bus} --host {FREE_ADDRESS} --port {port} --log-level DEBUG"
    ));
    client.wait_errors(&format!("DEBUG connecting to {server}"), 4);
    let finished = client.interrupt();
    let warnings: Vec<&String> = finished.errors.iter().filter(|line| line.contains(" WARN ")).collect();
    let [line] = warnings[..] else { panic!("{:#?}", finished.errors) };
    assert!(
        line.ends_with(&format!(
            " WARN cannot connect to {server}: Connection refused (os error 111): see that the server runs there \
             and listens on this port; trying again"
        )),
        "{line}"
    );
    assert_eq!(finished.totals()["sent"], 0);
}

#[test]
fn a_host_that_nobody_knows_is_said() {
    let bus = unique_name("unknown");
    let client =
        Program::bridge(&format!("client --can-interface software --can {bus} --host nosuchhost.invalid"));
    let line = client.wait_error(" WARN ");
    // In between stands the resolver's own answer, which differs with and without a network.
    let (_, said) = line.split_once(" WARN ").unwrap();
    assert!(
        said.starts_with("cannot connect to nosuchhost.invalid:3333: failed to lookup address "),
        "{line}"
    );
    assert!(said.ends_with(": see that the name is right; trying again"), "{line}");
    client.interrupt().totals();
}

#[test]
fn log_levels_leave_out_what_is_less_important() {
    let bus = unique_name("level");
    let server = format!("server --can-interface software --can {bus} --port 0");
    let informed = Program::bridge(&server);
    informed.port();
    let lines = informed.interrupt().errors;
    let said: Vec<&str> = lines.iter().map(|line| line.split_once(" INFO ").unwrap().1).collect();
    assert_eq!(said.len(), 5, "{said:#?}");
    assert!(said[0].starts_with("engine: "), "{said:#?}");
    assert_eq!(
        said[1],
        format!("software bus {bus}, not paced; filter: pass everything; 1 kernel rule, exact")
    );
    assert!(said[2].starts_with("listening on "), "{said:#?}");
    assert_eq!(said[3], "SIGINT: closing connections");
    assert!(said[4].starts_with("total: sent 0 received 0 "), "{said:#?}");

    // The names of the tool before are taken in small letters, too. Such a server does not say its port.
    let (_holder, port) = held_port();
    let quiet = Program::bridge(&format!(
        "server --can-interface software --can {bus} --bind {FREE_ADDRESS} --port {port} --log-level warning"
    ));
    let deadline = Instant::now() + PATIENCE;
    let mut browser = loop {
        match TcpStream::connect((FREE_ADDRESS, port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    browser.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    quiet.wait_error("refused: it sent text");
    let finished = quiet.interrupt();
    assert_eq!((finished.status.code(), finished.errors.len()), (Some(0), 1), "{:#?}", finished.errors);
}

#[test]
fn where_io_uring_is_forbidden() {
    let bus = unique_name("forbidden");
    let forbidden = |engine: &str| {
        let script: std::path::PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "tools", "forbid-io-uring"].iter().collect();
        let mut command = Command::new(script);
        command.arg(env!("CARGO_BIN_EXE_canip_peer"));
        command.args([
            "server",
            "--can-interface",
            "software",
            "--can",
            &bus,
            "--port",
            "0",
            "--engine",
            engine,
        ]);
        Program::start(command)
    };
    let finished = forbidden("uring").finish();
    assert_eq!(finished.status.code(), Some(1));
    assert_eq!(
        finished.errors,
        [
            "canip_peer: --engine uring: forbidden by a seccomp profile or by kernel.io_uring_disabled (EPERM); leave the \
          option out to use epoll"
        ]
    );
    let server = forbidden("auto");
    let line = server.wait_error("engine: ");
    assert!(
        line.ends_with(
            " INFO engine: epoll, because io_uring is not available: forbidden by a seccomp profile or by \
             kernel.io_uring_disabled (EPERM)"
        ),
        "{line}"
    );
    server.port();
    server.interrupt().totals();
}

#[test]
fn real_time_priority_that_is_not_to_be_had() {
    wrong_usage(
        "--busy-poll --realtime",
        "--realtime with --busy-poll: of threads that never sleep the kernel stops real-time ones for a part of every second: \
         leave one of the two out",
    );
    let mut command = Command::new("prlimit");
    command.args(["--rtprio=0:0", env!("CARGO_BIN_EXE_canip_peer"), "server", "--can-interface", "software"]);
    command.args(["--can", &unique_name("ordinary"), "--port", "0", "--realtime=7"]);
    // It is refused before anything else is done, such as beginning a record.
    command.args(["--record", "/nowhere/record.log"]);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Root may do it, whatever the limit: as nobody.
        command.uid(65_534);
    }
    let finished = Program::start(command).finish();
    assert_eq!(finished.status.code(), Some(1));
    assert_eq!(
        finished.errors,
        [
            "canip_peer: --realtime: Operation not permitted (os error 1): it takes root's CAP_SYS_NICE, or LimitRTPRIO=7 in \
          the unit (ulimit -r 7 in a shell)"
        ]
    );
}

#[test]
fn the_demonstration_comes_to_its_end() {
    let finished = run("demo");
    let text = finished.output.join("\n");
    assert_eq!(finished.status.code(), Some(0), "{text}\n{:?}", finished.errors);
    assert_eq!(finished.errors, [""; 0]);
    assert!(text.contains("\nNo frame lost, none out of order."), "{text}");
    assert_eq!(text.matches(": all 10000 in order, ").count(), 2, "{text}");
}

#[test]
fn a_frame_that_is_sent_on_one_bus_is_dumped_on_the_other() {
    let (vehicle, desk) = (unique_name("vehicle"), unique_name("desk"));
    let dump = Program::bridge(&format!("dump --can-interface software {desk} -n 3"));
    // When somebody else hosts the bus, it is there.
    while software::join(&desk, None).unwrap().hosts() {
        std::thread::yield_now();
    }
    // Frames may wait on a machine that has more to do than it can.
    let common = "--can-interface software --max-age 30000";
    let server = Program::bridge(&format!("server {common} --can {vehicle} --port 0"));
    let port = server.port();
    let client = Program::bridge(&format!("client {common} --can {desk} --host 127.0.0.1 --port {port}"));
    client.wait_error("connected to ");
    server.wait_error("connected: ");
    let sent = run(&format!("send --can-interface software {vehicle} 123#DEADBEEF 18DAF110#02 000#"));
    assert_eq!((sent.status.code(), sent.errors, sent.output), (Some(0), Vec::new(), Vec::new()));
    let dumped = dump.finish();
    assert_eq!(dumped.status.code(), Some(0));
    // As candump prints them: identifiers of both kinds end in one column.
    assert_eq!(
        dumped.output,
        [
            format!("  {desk}  123   [4]  DE AD BE EF"),
            format!("  {desk}  18DAF110   [1]  02"),
            format!("  {desk}       000   [0] "),
        ]
    );
    client.interrupt().totals();
    server.interrupt().totals();
}
