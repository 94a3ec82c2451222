//! The bridge with a version 5 peer that is not of its making: the one in Python, which is written from docs/wire.md and
//! keeps the same books, in both roles, over software buses. Any rule of the protocol that the bridge breaks ends the
//! Python peer with exit status 1 and a line that says which.
//!
//! ```text
//!   canip5.py  ==TCP==  canip_peer under test  ---  software bus  ---  member in the test's own process
//! ```

#[path = "common/every_kind.rs"]
mod every_kind;

#[path = "common/program.rs"]
#[expect(dead_code, reason = "what the peer prints is looked at while it runs")]
mod program;

#[path = "common/software_bus.rs"]
#[expect(dead_code, reason = "the test hosts its buses itself")]
mod software_bus;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use every_kind::every_kind;
use program::{Finished, Program, counters, unique_name};
use software_bus::Member;

/// Which side the bridge under test takes.
#[derive(Clone, Copy)]
enum Role {
    Server,
    Client,
}

/// Frames are counted here, not timed: where the machine has more to do than it can, they may wait.
const UNHURRIED: &str = "--max-age 30000";

/// The Python peer, and what a test says to it.
struct Peer(Program);

impl Peer {
    fn start(arguments: &str) -> Peer {
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "interop", "canip5.py"].iter().collect();
        let mut command = Command::new("python3");
        command.arg(script).args(arguments.split_whitespace());
        Peer(Program::start(command))
    }

    fn say(&mut self, lines: &str) {
        let input = self.0.input.as_mut().unwrap();
        input.write_all(lines.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
    }

    fn send<S: AsRef<str>>(&mut self, bus: usize, frames: &[S]) {
        let mut lines = String::new();
        frames.iter().for_each(|frame| writeln!(lines, "{bus} {}", frame.as_ref()).unwrap());
        self.0.input.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    /// Breaks the connection, and waits until that is so.
    fn break_connection(&mut self) {
        self.say("break");
        self.0.wait_error("connection ended: broken on demand");
    }
}

/// The line of a bus's counters that the Python peer ends with; asserts that no rule was broken.
fn books(finished: &Finished, bus: usize) -> HashMap<String, u64> {
    assert!(finished.status.success(), "{}", finished.errors.join("\n"));
    let beginning = format!("bus {bus}: sent ");
    let line = finished.errors.iter().find_map(|line| line.split_once(&beginning)).unwrap().1;
    counters(&format!("sent {line}"))
}

/// A frame that the Python peer printed.
struct Printed {
    bus: usize,
    number: u64,
    time_ns: u64,
    frame: String,
}

fn printed(lines: &[String]) -> Vec<Printed> {
    let parse = |line: &String| {
        let words: Vec<&str> = line.split(' ').collect();
        let &[bus, number, time, frame] = words.as_slice() else { panic!("no frame: {line:?}") };
        let (number, time_ns) = (number.parse().unwrap(), time.parse().unwrap());
        Printed { bus: bus.parse().unwrap(), number, time_ns, frame: frame.to_owned() }
    };
    lines.iter().map(parse).collect()
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// A bridge and the Python peer, connected, and a member of the bridge's bus.
struct Pair {
    bridge: Program,
    peer: Peer,
    member: Member,
    port: u16,
}

impl Pair {
    fn start(role: Role, bridge_options: &str, peer_options: &str) -> Pair {
        let bus = unique_name("five");
        let member = Member::join(&bus);
        let (bridge, peer, port) = connect(role, &format!("--can {bus} {bridge_options}"), peer_options);
        Pair { bridge, peer, member, port }
    }

    /// Ends the peer first, and asserts that neither minded anything.
    fn end(self) -> (Finished, Finished) {
        let peer = self.peer.0.interrupt();
        let bridge = self.bridge.interrupt();
        assert_eq!(bridge.totals()["faults"], 0, "{}", bridge.errors.join("\n"));
        (bridge, peer)
    }
}

fn connect(role: Role, bridge_options: &str, peer_options: &str) -> (Program, Peer, u16) {
    let common = format!("--can-interface software {UNHURRIED} {bridge_options}");
    let (bridge, peer, port) = match role {
        Role::Server => {
            let bridge = Program::bridge(&format!("server {common} --bind 127.0.0.1 --port 0"));
            let port = bridge.port();
            (bridge, Peer::start(&format!("client --port {port} {peer_options}")), port)
        }
        Role::Client => {
            let peer = Peer::start(&format!("server --port 0 {peer_options}"));
            let port = peer.0.port();
            (Program::bridge(&format!("client {common} --host 127.0.0.1 --port {port}")), peer, port)
        }
    };
    peer.0.wait_error("connected: version 5");
    bridge.wait_error(": version 5");
    (bridge, peer, port)
}

fn numbered(direction: u8, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{:03X}#{direction:02X}{index:08X}", index & 0x7FF)).collect()
}

fn every_kind_crosses(role: Role) {
    let started_ns = now_ns();
    let mut pair = Pair::start(role, "", "");
    let frames = every_kind();
    pair.peer.send(0, &frames);
    assert_eq!(pair.member.wait(frames.len()), frames);

    pair.member.send(&frames);
    let lines = printed(&pair.peer.0.wait_output(frames.len()));
    let ended_ns = now_ns();
    for (index, (line, frame)) in lines.iter().zip(&frames).enumerate() {
        assert_eq!((line.bus, line.number, &line.frame), (0, index as u64, frame), "frame {index}");
        assert!((started_ns..=ended_ns).contains(&line.time_ns), "frame {index}: {}", line.time_ns);
    }
    assert!(lines.is_sorted_by_key(|line| line.time_ns));

    let count = frames.len() as u64;
    let (bridge, peer) = pair.end();
    let books = books(&peer, 0);
    let expected = [
        ("sent", count),
        ("receipt_expected", count),
        ("receipt_arrived", count),
        ("receipt_taken", count),
        ("receipt_refused", 0),
        ("arrived", count),
        ("expected", count),
        ("skipped", 0),
        ("seen", 0),
        ("lost", 0),
        ("peer_lost", 0),
    ];
    expected.iter().for_each(|&(name, value)| assert_eq!(books[name], value, "{name} in {books:?}"));
    let totals = bridge.totals();
    assert_eq!((totals["sent"], totals["received"]), (count, count), "{totals:?}");
    for name in
        ["gaps", "missing", "duplicates", "reordered", "not_representable", "unsent", "stale", "refused"]
    {
        assert_eq!(totals[name], 0, "{name} in {totals:?}");
    }
}

#[test]
fn server_carries_every_kind_of_frame() {
    every_kind_crosses(Role::Server);
}

#[test]
fn client_carries_every_kind_of_frame() {
    every_kind_crosses(Role::Client);
}

#[test]
fn error_frames_cross_and_stay_off_the_other_bus() {
    const ERRORS: [&str; 2] = ["20000040#0000000000000000", "20000004#0004000000006000"];
    let mut pair = Pair::start(Role::Server, "--filter #1FFFFFFF", "");
    pair.member.send(&ERRORS);
    pair.member.send(&["123#"]);
    let lines = printed(&pair.peer.0.wait_output(3));
    assert_eq!(lines.iter().map(|line| &*line.frame).collect::<Vec<_>>(), [ERRORS[0], ERRORS[1], "123#"]);

    pair.peer.send(0, &[ERRORS[0], ERRORS[1], "456#"]);
    assert_eq!(pair.member.wait(1), ["456#"]);
    let (_, peer) = pair.end();
    let books = books(&peer, 0);
    assert_eq!(
        (books["receipt_arrived"], books["receipt_taken"], books["receipt_refused"]),
        (3, 1, 2),
        "{books:?}"
    );
}

fn signs_of_life(role: Role) {
    let pair = Pair::start(role, "--heartbeat 0.2", "--heartbeat 0.2");
    // A silent bus for more than three intervals of either side.
    std::thread::sleep(Duration::from_secs(1));
    let (_, peer) = pair.end();
    let totals = peer.totals();
    assert_eq!(totals["connections"], 1, "{totals:?}");
    // In a second, five intervals of 0.2 s: at least the three that neither side may be without.
    assert!(totals["pings_answered"] >= 3 && totals["pongs"] >= 3, "{totals:?}");
    // Both clocks are the same one: the error is half the round trip at most.
    let line = peer.errors.iter().find_map(|line| line.split_once("clock: round trip ")).unwrap().1;
    let number = |word: usize| line.split(' ').nth(word).unwrap().parse::<i64>().unwrap();
    let (round_trip_ns, ahead_ns) = (number(0), number(3));
    assert!(round_trip_ns >= 0 && 2 * ahead_ns.abs() <= round_trip_ns + 2, "{line}");
}

#[test]
fn server_gives_signs_of_life_on_a_silent_bus() {
    signs_of_life(Role::Server);
}

#[test]
fn client_gives_signs_of_life_on_a_silent_bus() {
    signs_of_life(Role::Client);
}

#[test]
fn a_peer_that_gives_no_sign_of_life_is_dead() {
    let mut pair = Pair::start(Role::Server, "--heartbeat 0.3", "");
    pair.peer.say("hold");
    pair.bridge.wait_error("three heartbeat intervals");
    // The books go on where they were.
    pair.peer.break_connection();
    pair.peer.say("connect");
    pair.peer.0.wait_error("outage cost of our frames: under_way 0");
    pair.peer.send(0, &["123#"]);
    pair.member.wait(1);
    assert_eq!(pair.peer.0.interrupt().totals()["connections"], 2);
}

#[test]
fn a_bridge_that_was_stopped_takes_nobody_for_dead() {
    // The peer has no heartbeat: it answers, and takes nobody for dead.
    let mut pair = Pair::start(Role::Server, "--heartbeat 0.3", "--heartbeat 0");
    pair.bridge.signal("STOP");
    // How long it stands still, which is what is tested: more than three intervals.
    std::thread::sleep(Duration::from_secs(2));
    pair.bridge.signal("CONT");
    let frames = numbered(1, 100);
    pair.peer.send(0, &frames);
    assert_eq!(pair.member.wait(100), frames);
    let (_, peer) = pair.end();
    assert_eq!(peer.totals()["connections"], 1);
}

fn outage(role: Role) {
    const BEFORE: usize = 100;
    const UNDER_WAY: usize = 300;
    const MEANWHILE: usize = 200;
    let Pair { bridge, mut peer, member, .. } = Pair::start(role, "", "");
    peer.send(0, &numbered(1, BEFORE));
    member.wait_count(BEFORE);
    member.send(&numbered(2, BEFORE));
    peer.0.wait_output(BEFORE);

    // These are on the way when the connection breaks: the peer has not read them.
    peer.say("hold");
    peer.0.wait_error("hold: done");
    peer.say(&format!("queued {}", 24 * (UNDER_WAY - 50)));
    member.send(&numbered(3, UNDER_WAY));
    peer.0.wait_error("bytes are there");
    peer.break_connection();
    peer.send(0, &numbered(4, MEANWHILE));
    member.send(&numbered(5, MEANWHILE));
    peer.say("connect");
    peer.0.wait_errors("connected: version 5", 2);
    let ours = peer.0.wait_error("outage cost of our frames: ");
    let theirs = peer.0.wait_error("outage cost of the peer's frames: ");
    assert!(ours.ends_with(" under_way 0"), "{ours}");
    assert!(theirs.contains(" kernel 0 stale 0 slow_peer 0 no_connection "), "{theirs}");
    assert!(!theirs.contains("under_way 0 "), "{theirs}");

    // What was lost stays lost, and what comes now crosses.
    let (out, back) = (numbered(6, BEFORE), numbered(7, BEFORE));
    peer.send(0, &out);
    assert_eq!(member.wait(2 * BEFORE)[BEFORE..], out);
    member.send(&back);
    let lines = wait_for_frame(&peer, back.last().unwrap());
    let last: Vec<&String> = lines[lines.len() - BEFORE..].iter().map(|line| &line.frame).collect();
    assert_eq!(last, back.iter().collect::<Vec<_>>());

    // Every frame that hung on either bus is accounted for, and both ends say the same of it, cause by cause.
    let peer = peer.0.interrupt();
    let books = books(&peer, 0);
    let bridge = bridge.interrupt();
    let totals = bridge.totals();
    let all = (BEFORE + MEANWHILE + BEFORE) as u64;
    assert_eq!((books["next"], books["receipt_expected"]), (all, all), "{books:?}");
    assert_eq!((books["receipt_taken"], books["lost"]), (2 * BEFORE as u64, MEANWHILE as u64), "{books:?}");
    assert_eq!((totals["peer_outage"], totals["peer_in_transit"]), (MEANWHILE as u64, 0), "{totals:?}");
    let all = (BEFORE + UNDER_WAY + MEANWHILE + BEFORE) as u64;
    assert_eq!(books["expected"], all, "{books:?}");
    assert_eq!(books["arrived"] + books["peer_lost"] + books["under_way_in"], all, "{books:?}");
    assert_eq!(
        (totals["outage"], totals["in_transit"]),
        (books["peer_lost"], books["under_way_in"]),
        "{totals:?}"
    );
    assert!(books["under_way_in"] > 0, "{books:?}");
    for name in ["kernel_drops", "stale", "slow_peer", "peer_kernel_drops", "peer_stale", "peer_slow"] {
        assert_eq!(totals[name], 0, "{name} in {totals:?}");
    }
}

/// Waits until the Python peer has printed this frame last. How many come before it depends on when the bridge looked at
/// its bus.
fn wait_for_frame(peer: &Peer, frame: &str) -> Vec<Printed> {
    let mut count = 1;
    loop {
        let lines = printed(&peer.0.wait_output(count));
        if lines.last().unwrap().frame == frame {
            return lines;
        }
        count = lines.len() + 1;
    }
}

#[test]
fn server_and_peer_agree_on_what_an_outage_cost() {
    outage(Role::Server);
}

#[test]
fn client_and_peer_agree_on_what_an_outage_cost() {
    outage(Role::Client);
}

#[test]
fn what_the_peer_drops_is_no_gap_unexplained() {
    let mut pair = Pair::start(Role::Server, "", "");
    pair.peer.send(0, &numbered(1, 10));
    pair.peer.say("lose 0 3 40 500");
    pair.peer.send(0, &numbered(2, 10));
    pair.member.wait_count(20);
    let (bridge, peer) = pair.end();
    let books = books(&peer, 0);
    assert_eq!((books["next"], books["receipt_expected"]), (563, 563), "{books:?}");
    assert_eq!((books["receipt_arrived"], books["receipt_taken"], books["lost"]), (20, 20, 543), "{books:?}");
    let totals = bridge.totals();
    assert_eq!(totals["missing"], 543);
    let causes = ["peer_kernel_drops", "peer_stale", "peer_slow", "peer_outage", "peer_in_transit"];
    assert_eq!(causes.map(|name| totals[name]), [3, 40, 500, 0, 0], "{totals:?}");
}

#[test]
fn buses_are_matched_by_name_and_in_order() {
    let names = [unique_name("door"), unique_name("engine"), unique_name("roof")];
    let members = [Member::join(&names[0]), Member::join(&names[1]), Member::join(&names[2])];
    let cans = format!("--can {} --can engine={} --can {}", names[0], names[1], names[2]);
    let (bridge, mut peer, _) = connect(Role::Server, &cans, "--bus engine=x --bus y --bus other=z --bus w");
    // Ours are door, engine, roof; theirs y and w in order, and engine by name. The one named other is alone.
    for (bus, at) in [(0, 1), (1, 0), (3, 2)] {
        let frames = numbered(bus as u8, 200);
        peer.send(bus, &frames);
        assert_eq!(members[at].wait(200), frames);
    }
    peer.send(2, &["7FF#"]);
    for (member, direction) in members.iter().zip(10..) {
        member.send(&numbered(direction, 200));
    }
    let lines = printed(&peer.0.wait_output(600));
    for (bus, direction) in [(0, 11), (1, 10), (3, 12)] {
        let of_bus: Vec<&Printed> = lines.iter().filter(|line| line.bus == bus).collect();
        let frames: Vec<&str> = of_bus.iter().map(|line| &*line.frame).collect();
        assert_eq!(frames, numbered(direction, 200));
        assert!(of_bus.iter().map(|line| line.number).eq(0..200), "numbers of bus {bus}");
    }
    let peer = peer.0.interrupt();
    for bus in [0, 1, 3] {
        assert_eq!(books(&peer, bus)["receipt_taken"], 200);
    }
    assert_eq!(books(&peer, 2)["sent"], 0);
    assert_eq!(members.map(|member| member.count()), [200; 3]);
    assert!(bridge.interrupt().status.success());
}

fn goodbye_of_the_bridge(role: Role) {
    let Pair { bridge, mut peer, member, .. } = Pair::start(role, "", "--heartbeat 0");
    peer.send(0, &numbered(1, 500));
    member.wait_count(500);
    member.send(&numbered(2, 300));
    peer.0.wait_output(300);
    let bridge = bridge.interrupt();
    peer.0.wait_error("the peer says goodbye: reason 0");
    peer.0.wait_error("connection ended: the peer has closed it");
    // Without a heartbeat, RECEIPT comes as the connection begins and ends: this is the one before GOODBYE.
    let books = books(&peer.0.interrupt(), 0);
    assert_eq!((books["receipt_arrived"], books["receipt_taken"]), (500, 500), "{books:?}");
    assert_eq!((books["arrived"], books["expected"], books["peer_lost"]), (300, 300, 0), "{books:?}");
    assert_eq!(bridge.totals()["faults"], 0);
}

#[test]
fn server_says_goodbye_with_its_books() {
    goodbye_of_the_bridge(Role::Server);
}

#[test]
fn client_says_goodbye_with_its_books() {
    goodbye_of_the_bridge(Role::Client);
}

#[test]
fn a_peer_that_connects_anew_replaces_its_old_connection() {
    let mut pair = Pair::start(Role::Server, "", "--instance ABCDEF");
    pair.peer.send(0, &numbered(1, 10));
    pair.member.wait_count(10);
    let mut second = Peer::start(&format!("client --port {} --instance ABCDEF", pair.port));
    second.0.wait_error("connected: version 5");
    pair.peer.0.wait_error("the peer says goodbye: reason 1");
    second.send(0, &["7FF#"]);
    pair.member.wait_count(11);
    assert_eq!(pair.peer.0.interrupt().totals()["connections"], 1);
    assert!(second.0.interrupt().status.success());
    assert!(pair.bridge.interrupt().status.success());
}

/// The names and the bytes of the golden files that begin so.
fn golden(beginning: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v5");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let names = std::fs::read_dir(&folder).unwrap().map(name).filter(|name| name.starts_with(beginning));
    let hexadecimal = |name: &String| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>()
    };
    names.map(|name| (name.clone(), hexadecimal(&name))).collect()
}

#[test]
fn what_a_later_version_says_is_read_past() {
    let mut pair = Pair::start(Role::Server, "", "");
    let records = golden("later-kind");
    assert_eq!(records.len(), 2);
    for (_, bytes) in records {
        pair.peer.say(&format!("raw {bytes}"));
    }
    pair.peer.send(0, &["123#"]);
    pair.member.wait_count(1);
    let (_, peer) = pair.end();
    assert_eq!(peer.totals()["connections"], 1);
}

#[test]
fn every_violation_ends_the_connection_and_nothing_else() {
    let Pair { bridge, mut peer, member, .. } = Pair::start(Role::Server, "", "");
    let records = golden("wrong-");
    assert_eq!(records.len(), 15);
    for (index, (name, bytes)) in records.iter().enumerate() {
        peer.say(&format!("raw {bytes}"));
        peer.0.wait_errors("connection ended: ", index + 1);
        peer.say("connect");
        peer.0.wait_errors("connected: version 5", index + 2);
        // It is the next one that crosses, whatever came of what was wrong.
        peer.send(0, &[format!("{index:03X}#")]);
        assert_eq!(member.wait(index + 1)[index], format!("{index:03X}#"), "{name}");
    }
    assert!(peer.0.interrupt().status.success());
    assert_eq!(bridge.interrupt().totals()["faults"], 15);
}
