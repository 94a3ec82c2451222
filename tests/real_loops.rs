//! Frames that come back by another way, on real SocketCAN: three hosts in a ring, and both ends of a connection on one wire,
//! of which no greeting tells. What can-utils send that looks much like it is none.
//!
//! They run where CAN interfaces can be made (as root, natively or in `tools/lab run`); elsewhere each says that it was
//! skipped, and fails when `CANIP_REQUIRE_CAN=1`.

mod common;

#[path = "common/can.rs"]
#[expect(dead_code, reason = "loads here are of another kind")]
mod can;

#[path = "common/loops.rs"]
mod loops;

#[path = "common/program.rs"]
#[expect(dead_code, reason = "what the bridges say is looked at when they have ended")]
mod program;

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use can::{Made, can_available, command, controllers_available, frame, ip, receiver, send, sender};
use loops::{FOUND, TOLD, lines_with, wait_for_silence};
use program::{Finished, PATIENCE, Program, unique_name};
use socketcan::{CanFilter, Socket};

const CLASSIC: u32 = 16;

/// Frames that may go round before the loop is found.
const PASSES: u64 = 200;

/// Emulated processors may take long for a pass, and a frame that is too old ends a loop, too.
const UNHURRIED: &str = "--max-age 2000";

/// Longer than the first pause, and shorter than the second.
const SILENCE: Duration = Duration::from_millis(1_500);

/// A program in a network namespace.
fn start_in(namespace: &str, line: &str) -> Program {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).args(line.split_whitespace());
    Program::start(command)
}

/// Frames that an interface has received and sent so far, by its own statistics.
fn frames_on(namespace: &str, interface: &str) -> u64 {
    let words = format!("ip netns exec {namespace} cat /sys/class/net/{interface}/statistics/");
    let read = |name: &str| command(&format!("{words}{name}")).unwrap().trim().parse::<u64>().unwrap();
    read("rx_packets") + read("tx_packets")
}

/// Asserts that somebody found the loop, and the other end was told.
fn assert_found(finished: &[Finished]) {
    assert!(lines_with(finished, FOUND) >= 1, "nobody found it");
    assert!(lines_with(finished, TOLD) >= 1, "nobody was told");
}

/// Asserts that no end had put the one frame on its bus too often by then.
fn assert_found_in_time(finished: &[Finished]) {
    assert_found(finished);
    for program in finished {
        let totals = program.totals();
        assert!(totals["received"] <= PASSES, "{totals:?}");
    }
}

/// Three hosts, each with an interface and the server that the next host's client connects to.
struct Ring {
    hosts: [String; 3],
    programs: Vec<Program>,
    _namespaces: [Made; 3],
}

impl Ring {
    const CAN: &str = "vcan0";

    fn start() -> Ring {
        let hosts = ["a", "b", "c"].map(unique_name);
        let namespaces = hosts.each_ref().map(|host| Made::namespace(host));
        for host in &hosts {
            ip(&format!("-n {host} link add dev {} type vcan", Ring::CAN));
            ip(&format!("-n {host} link set {} up", Ring::CAN));
        }
        let mut programs = Vec::new();
        for number in 0..3 {
            let (host, next) = (&hosts[number], &hosts[(number + 1) % 3]);
            // The ends of the cable have the names of the hosts that it leads to.
            ip(&format!("link add {next} netns {host} type veth peer name {host} netns {next}"));
            for (end, (at, to)) in [(host, next), (next, host)].into_iter().enumerate() {
                ip(&format!("-n {at} addr add 192.0.2.{}/30 dev {to}", number * 4 + end + 1));
                ip(&format!("-n {at} link set {to} up"));
            }
            let bridge = env!("CARGO_BIN_EXE_canip_peer");
            let server = start_in(host, &format!("{bridge} server --can {} --port 0 {UNHURRIED}", Ring::CAN));
            let target = format!("--host 192.0.2.{} --port {}", number * 4 + 1, server.port());
            let client = start_in(next, &format!("{bridge} client --can {} {target} {UNHURRIED}", Ring::CAN));
            client.wait_error("connected to ");
            programs.extend([client, server]);
        }
        Ring { hosts, programs, _namespaces: namespaces }
    }

    fn wait_for_silence(&self) {
        wait_for_silence(SILENCE, || frames_on(&self.hosts[0], Ring::CAN));
    }

    fn finish(self) -> Vec<Finished> {
        self.programs.into_iter().map(Program::interrupt).collect()
    }
}

#[test]
fn one_frame_in_a_ring_of_three_hosts() {
    let Some(_lab) = can_available() else { return };
    let ring = Ring::start();
    start_in(&ring.hosts[0], "cansend vcan0 123#11223344").finish();
    ring.wait_for_silence();
    assert_found_in_time(&ring.finish());
}

/// Twenty frames a second, each another, for two seconds. All six ends see them come back at the same time, and may be in each
/// other's way when they try whether they do: how many passes that takes is chance, and the machine's business.
#[test]
fn many_frames_in_a_ring_of_three_hosts() {
    let Some(_lab) = can_available() else { return };
    let ring = Ring::start();
    start_in(&ring.hosts[0], "cangen vcan0 -g 50 -n 40 -I 123 -D i -L 8").finish();
    ring.wait_for_silence();
    assert_found(&ring.finish());
}

/// can0 and can1 are on one wire: what either end puts there, the other takes for news.
#[test]
fn both_ends_on_one_wire() {
    let Some(_lab) = controllers_available() else { return };
    let _controllers = ["can0", "can1"].map(Made::controller);
    let server = Program::bridge(&format!("server --can can0 --port 0 {UNHURRIED}"));
    let client =
        Program::bridge(&format!("client --can can1 --host 127.0.0.1 --port {} {UNHURRIED}", server.port()));
    client.wait_error("connected to ");
    command("cansend can0 123#11223344").unwrap();
    let received =
        || command("cat /sys/class/net/can0/statistics/rx_packets").unwrap().trim().parse::<u64>().unwrap();
    wait_for_silence(SILENCE, received);
    assert_found_in_time(&[client.interrupt(), server.interrupt()]);
}

/// A server and a client of it, and the interfaces that they join.
struct Pair {
    near: String,
    far: String,
    programs: [Program; 2],
    _interfaces: [Made; 2],
}

impl Pair {
    fn start() -> Pair {
        let (near, far) = (unique_name("v"), unique_name("v"));
        let interfaces = [&near, &far].map(|name| Made::vcan(name, CLASSIC));
        let server = Program::bridge(&format!("server --can {near} --port 0 {UNHURRIED}"));
        let client = Program::bridge(&format!(
            "client --can {far} --host 127.0.0.1 --port {} {UNHURRIED}",
            server.port()
        ));
        client.wait_error("connected to ");
        Pair { near, far, programs: [client, server], _interfaces: interfaces }
    }

    fn assert_no_loop(self) {
        let finished = self.programs.map(Program::interrupt);
        assert_eq!(lines_with(&finished, "a loop"), 0);
        for program in &finished {
            let totals = program.totals();
            assert_eq!((totals["looped"], totals["missing"]), (0, 0), "{totals:?}");
        }
    }
}

#[test]
fn equal_frames_are_no_loop() {
    let Some(_lab) = can_available() else { return };
    let pair = Pair::start();
    let lines = [(&pair.near, 2), (&pair.near, 10), (&pair.far, 5)].map(|(interface, gap)| {
        format!("cangen {interface} -g {gap} -n {} -I 123 -D 11223344 -L 4", 3_000 / gap)
    });
    std::thread::scope(|scope| lines.each_ref().map(|line| scope.spawn(|| command(line).unwrap())).map(drop));
    pair.assert_no_loop();
}

/// A tester that asks as soon as it has its answer, and an answer that is always the same.
#[test]
fn answers_are_no_loop() {
    let Some(_lab) = can_available() else { return };
    let pair = Pair::start();
    let only = |identifier: u32| [CanFilter::new(identifier, 0x7FF)];
    let answers = receiver(&pair.near, &only(0x708), PATIENCE);
    let requests = receiver(&pair.far, &only(0x700), PATIENCE);
    let end = Instant::now() + Duration::from_secs(3);
    let mut asked = 0;
    let (tester, device) = (sender(&pair.near), sender(&pair.far));
    while Instant::now() < end {
        send(&tester, &frame(0x700, &[3, 0x22, 0xF1, 0x90]));
        requests.read_frame().unwrap();
        send(&device, &frame(0x708, &[4, 0x62, 0xF1, 0x90, 0xAA]));
        answers.read_frame().unwrap();
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    pair.assert_no_loop();
}

/// A log of what has crossed is replayed at the other end, again and again.
#[test]
fn a_replayed_log_is_no_loop() {
    let Some(_lab) = can_available() else { return };
    let pair = Pair::start();
    let log: String = (0..100)
        .map(|number| {
            format!(
                "({}.{:06}) {} {:03X}#{:02X}22\n",
                number / 200,
                number % 200 * 5_000,
                pair.near,
                number % 7,
                number % 20
            )
        })
        .collect();
    for interface in [&pair.near, &pair.far] {
        let mut player = Command::new("canplayer");
        player.args(["-l", "4", &format!("{interface}={}", pair.near)]);
        let mut player = Program::start(player);
        player.input.take().unwrap().write_all(log.as_bytes()).unwrap();
        assert!(player.finish().status.success());
    }
    pair.assert_no_loop();
}
