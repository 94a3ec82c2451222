//! What the program says, where it says it, and what it does when nobody listens: help, limits of options, standard
//! streams that are full or closed, and the ends of processes.

#[path = "common/program.rs"]
#[expect(dead_code, reason = "not every wait is needed here")]
mod program;

#[path = "common/software_bus.rs"]
#[expect(dead_code, reason = "buses are hosted here")]
mod software_bus;

#[path = "common/text_file.rs"]
mod text_file;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use program::{Finished, PATIENCE, Program, unique_name};
use software_bus::Member;
use text_file::TextFile;

/// Runs the program to its end, with arguments that are separated by white space.
fn run(arguments: &str) -> Finished {
    Program::bridge(arguments).finish()
}

/// The program itself, with arguments that are separated by white space and nothing on its streams.
fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_canip_peer"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A process that is killed when its test fails.
struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end, as long as the tests wait for anything.
    fn finish(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A stream for a program's standard error that takes nothing more, and its other end.
fn full_stream() -> (Stdio, UnixStream) {
    let (reader, mut writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    // Ever smaller pieces, until not a byte more fits.
    let mut piece = [b'.'; 4096].as_slice();
    while !piece.is_empty() {
        match writer.write(piece) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => piece = &piece[..piece.len() / 2],
            Err(error) => panic!("{error}"),
        }
    }
    writer.set_nonblocking(false).unwrap();
    (Stdio::from(OwnedFd::from(writer)), reader)
}

/// Frames may wait on a machine that has more to do than it can.
const UNHURRIED: &str = "--max-age 30000";

/// A client whose standard error is full, connected to a server on another bus.
struct Unheard {
    server: Program,
    client: Running,
    errors: UnixStream,
    vehicle: String,
    desk: String,
}

impl Unheard {
    fn start(engine: &str) -> Self {
        let (vehicle, desk) = (unique_name("vehicle"), unique_name("desk"));
        let server =
            Program::bridge(&format!("server --can-interface software --can {vehicle} --port 0 {UNHURRIED}"));
        let port = server.port();
        let (stream, errors) = full_stream();
        let client = command(&format!(
            "client --can-interface software --can {desk} {UNHURRIED} --host 127.0.0.1 --port {port} --log-level DEBUG \
             --stats-interval 0.1 --engine {engine}"
        ))
        .stderr(stream)
        .spawn()
        .unwrap();
        server.wait_error(" connected: ");
        Self { server, client: Running(client), errors, vehicle, desk }
    }
}

fn frames_cross_while_nobody_reads(engine: &str) {
    let Unheard { server, client, mut errors, vehicle, desk } = Unheard::start(engine);
    let (near, far) = (Member::join(&vehicle), Member::join(&desk));
    for number in 1..=20 {
        near.send(&[format!("123#{number:02X}")]);
        far.wait_count(number);
        far.send(&[format!("321#{number:02X}")]);
        near.wait_count(number);
    }
    assert_eq!(far.wait(20).last().unwrap(), "123#14");
    assert_eq!(near.wait(20).last().unwrap(), "321#14");

    // Whoever reads after all gets every line that found room, the counters last.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });
    client.signal("INT");
    assert_eq!(client.finish().code(), Some(0));
    let text = reader.join().unwrap();
    let lines: Vec<&str> = text.trim_start_matches('.').lines().collect();
    assert!(lines[0].contains(" DEBUG open files: "), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains(" connected to ")), "{lines:#?}");
    // The bus that the client hosts may have a word on who left it afterwards.
    let last = lines.iter().rev().find(|line| !line.contains("software bus member left")).unwrap();
    assert!(last.contains(" INFO total: sent 20 received 20 "), "{lines:#?}");
    server.interrupt().totals();
}

#[test]
fn frames_cross_while_nobody_reads_standard_error() {
    frames_cross_while_nobody_reads("auto");
}

#[test]
fn frames_cross_while_nobody_reads_standard_error_with_epoll() {
    frames_cross_while_nobody_reads("epoll");
}

#[test]
fn it_ends_though_nobody_reads_standard_error() {
    let Unheard { server, client, errors, .. } = Unheard::start("auto");
    client.signal("TERM");
    assert_eq!(client.finish().code(), Some(0));
    drop(errors);
    server.interrupt().totals();
}

#[test]
fn what_ends_a_bridge_is_said_after_what_was_logged() {
    let bus = unique_name("order");
    let finished = run(&format!(
        "server --can-interface software --can {bus} --port 0 --log-level DEBUG --record /nosuchfolder/a.log"
    ));
    assert_eq!(finished.status.code(), Some(1));
    let (last, logged) = finished.errors.split_last().unwrap();
    assert!(last.starts_with("canip_peer: cannot open recording /nosuchfolder/a.log: "), "{last}");
    assert!(logged[0].contains(" DEBUG open files: "), "{logged:#?}");
    assert!(logged.iter().all(|line| line.contains(" DEBUG ")), "{logged:#?}");
}

#[test]
fn standard_error_that_is_closed_ends_no_command_early() {
    for (arguments, status) in [
        ("send can0 123#1", 2),
        ("dump nosuchcan0", 1),
        ("server --can can0 --port http", 2),
        ("server --can nosuchcan0 --port 0", 1),
        ("frobnicate", 2),
        ("", 2),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let finished = command(arguments).stderr(writer).status().unwrap();
        assert_eq!(finished.code(), Some(status), "{arguments}");
    }
}

#[test]
fn standard_output_that_is_closed_ends_a_command_quietly() {
    for arguments in ["--help", "--version", "help server", "demo"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let finished = command(arguments).stdout(writer).output().unwrap();
        assert_eq!(String::from_utf8(finished.stderr).unwrap(), "", "{arguments}");
        assert_eq!(finished.status.code(), Some(0), "{arguments}");
    }
}

/// The command lines of processes that contain a word.
fn processes_with(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        // Processes come and go meanwhile.
        let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(word) {
            found.push(line);
        }
    }
    found
}

/// Starts the demonstration and reads up to the line that says how its client is started.
fn demonstration() -> (Running, BufReader<std::io::PipeReader>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let demo = Running(command("demo").stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    while !line.contains("canip_peer client ") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the demonstration ended");
    }
    (demo, reader)
}

/// The demonstration's end: its status and its standard error. Asserts that its bridge has ended, too.
fn end_of(mut demo: Running) -> (Option<i32>, String) {
    let id = demo.0.id();
    let mut errors = demo.0.stderr.take().unwrap();
    let status = demo.finish();
    for bus in [format!("vehicle-{id}"), format!("desk-{id}")] {
        assert_eq!(processes_with(&bus), [""; 0]);
    }
    let mut text = String::new();
    errors.read_to_string(&mut text).unwrap();
    (status.code(), text)
}

#[test]
fn a_demonstration_that_nobody_looks_at_ends_with_its_bridge() {
    let (demo, reader) = demonstration();
    drop(reader);
    assert_eq!(end_of(demo), (Some(0), String::new()));
}

#[test]
fn a_signal_ends_the_demonstration_with_its_bridge() {
    for name in ["INT", "TERM"] {
        let (demo, _reader) = demonstration();
        demo.signal(name);
        let said = format!("canip_peer: stopped by SIG{name} before the demonstration was over\n");
        assert_eq!(end_of(demo), (Some(1), said));
    }
}

#[test]
fn times_have_limits() {
    let bus = unique_name("limits");
    let heartbeat = "give seconds, 0.001 to 32767, for example 2 or 0.5, or 0 for never";
    let interval = "give seconds, 0.1 to 86400, for example 10 or 0.5, or 0 for none";
    let age = "give milliseconds, 1 to 86400000, for example 250, or 0 for no limit";
    for (option, place, advice, values) in [
        ("--heartbeat", "<SECONDS>", heartbeat, ["32768", "0.0005", "-1", "often"]),
        ("--stats-interval", "<SECONDS>", interval, ["86401", "1e-9", "-1", "often"]),
        ("--max-age", "<MILLISECONDS>", age, ["86400001", "0.5", "-1", "old"]),
    ] {
        for value in values {
            let finished =
                run(&format!("server --can-interface software --can {bus} --port 0 {option} {value}"));
            let line = format!("canip_peer: invalid value '{value}' for '{option} {place}': {advice}");
            assert_eq!(finished.errors, [line]);
            assert_eq!(finished.status.code(), Some(2));
        }
    }
    // The kernel takes the longest heartbeat that is taken here.
    let server = Program::bridge(&format!(
        "server --can-interface software --can {bus} --port 0 --heartbeat 32767 --max-age 0 --stats-interval 0"
    ));
    let (port, far) = (server.port(), unique_name("far"));
    let client = Program::bridge(&format!(
        "client --can-interface software --can {far} --host 127.0.0.1 --port {port} --heartbeat 0.001 --max-age 1 \
         --log-level DEBUG"
    ));
    client.wait_error(" connected to ");
    for finished in [client.interrupt(), server.interrupt()] {
        finished.totals();
        assert!(
            !finished.errors.iter().any(|line| line.contains("Invalid argument")),
            "{:#?}",
            finished.errors
        );
    }
}

#[test]
fn an_empty_file_blocks_nothing_and_passes_nothing() {
    let bus = unique_name("empty");
    let server = format!("server --can-interface software --can {bus} --port 0");
    for text in ["", "# nothing yet\n\n"] {
        let file = TextFile::new(text);
        let finished = run(&format!("{server} --pass-filter {file}"));
        assert_eq!(
            finished.errors,
            [format!(
                "canip_peer: filter file {file} names no identifier: add one, or leave --pass-filter out"
            )]
        );
        assert_eq!(finished.status.code(), Some(2));
        let blocking = Program::bridge(&format!("{server} --block-filter {file}"));
        blocking.wait_error("filter: pass everything;");
        blocking.port();
        blocking.interrupt().totals();
    }
}

#[test]
fn help_has_its_options_under_headings() {
    let headings = [
        "Options:",
        "CAN bus:",
        "Filters (which frames of the bus go to the peer):",
        "Bounds (what peers may put on each bus):",
        "Link:",
        "Diagnostics:",
    ];
    let first = [
        "-h, --help",
        "--can <[NAME=]IFACE>",
        "--pass-filter <FILE>",
        "--read-only",
        "@",
        "--log-level <LEVEL>",
    ];
    for (command, link) in [("server", "--bind <ADDR>"), ("client", "--host <HOST>")] {
        for form in [format!("{command} --help"), format!("help {command}"), format!("{command} -h")] {
            let lines = run(&form).output;
            let found: Vec<(&str, &str)> = lines
                .windows(2)
                .filter(|pair| pair[0].ends_with(':') && !pair[0].starts_with(' '))
                .map(|pair| (pair[0].as_str(), pair[1].trim_start()))
                .collect();
            assert_eq!(found.iter().map(|(heading, _)| *heading).collect::<Vec<_>>(), headings, "{form}");
            for ((_, line), option) in found.iter().zip(first) {
                assert!(line.starts_with(&option.replace('@', link)), "{form}: {line}");
            }
            let text = lines.join("\n");
            assert!(!text.to_lowercase().contains("possible values"), "{form}: {text}");
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for option in [
                "--max-age <MILLISECONDS> Milliseconds after which a frame is too old to be sent or put on the bus; 0 for no limit [default: 250]",
                "--log-level <LEVEL> How much to say on standard error: DEBUG, INFO, WARNING or ERROR [default: INFO]",
                "--can-interface <KIND> Kind of bus: socketcan, or software (in user space) [default: socketcan]",
            ] {
                assert!(words.contains(option), "{form}: {option} in {words}");
            }
        }
    }
}

#[test]
fn the_program_alone_prints_its_help() {
    let finished = run("");
    assert_eq!(finished.status.code(), Some(2));
    assert_eq!(finished.errors, run("help").output);
    assert_eq!(run("--version").output, ["canip_peer 5.0.0-dev"]);
}

#[test]
fn it_takes_as_many_open_files_as_it_may() {
    let bus = unique_name("files");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 64 && ulimit -Hn 300 && exec \"$@\"", "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_canip_peer"));
    shell.args("server --can-interface software --port 0 --log-level DEBUG --can".split(' ')).arg(&bus);
    let server = Program::start(shell);
    server.wait_error(" DEBUG open files: 300 allowed, 64 before");
    let port = server.port();
    // Each of them takes two files.
    let clients: Vec<_> =
        (0..60).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    for mut client in &clients {
        client.write_all(b"CANIP/4.1 FEAT=SEQ\n").unwrap();
    }
    server.wait_errors(" connected: ", 60);
    drop(clients);
    server.interrupt().totals();
}
