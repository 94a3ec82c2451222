//! The load test on real CAN, with can-utils and netem as judges; where there is none each says that it was skipped.

use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::can::{Made, can_available, command};
use crate::program::{PATIENCE, Program, unique_name};
use crate::report::{Folder, counts, run};

/// A network namespace with two virtual buses that nothing joins yet.
struct Place {
    name: String,
    _made: Made,
}

impl Place {
    fn new() -> Place {
        let name = unique_name("load");
        let made = Made::namespace(&name);
        for bus in ["vcan0", "vcan1"] {
            command(&format!("ip -n {name} link add dev {bus} type vcan")).unwrap();
            command(&format!("ip -n {name} link set {bus} up")).unwrap();
        }
        Place { name, _made: made }
    }

    /// Starts a program in it.
    fn start(&self, arguments: &str) -> Program {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(arguments.split_whitespace());
        Program::start(command)
    }

    fn bench(&self, options: &str) -> Value {
        let folder = Folder::new();
        let program = env!("CARGO_BIN_EXE_canip_peer");
        let out = folder.0.display();
        let bench = format!("{program} bench --can vcan0 --peer-can vcan1 {options} --out {out}");
        let finished = self.start(&bench).finish();
        assert!(folder.0.join("report.json").exists(), "{:#?}", finished.errors);
        folder.report()
    }

    /// Joins the two buses by the kernel's own gateway.
    fn join_by_gateway(&self) {
        // Where it is no module it is built in, or the next command says so.
        let _ = command("modprobe can-gw");
        command(&format!("ip netns exec {} cangw -A -s vcan0 -d vcan1 -e", self.name)).unwrap();
    }
}

#[test]
fn buses_of_its_own_are_nobody_elses() {
    let Some(_one_at_a_time) = can_available() else { return };
    let before = command("ip -br link").unwrap();
    let (_, report) = run("--can-interface socketcan --load 20% --duration 2s --warm-up 0");
    assert_eq!(before, command("ip -br link").unwrap());
    assert_eq!((&report["path"]["bus"], &report["path"]["near"]), (&"socketcan".into(), &"vcan0".into()));
    // A virtual bus has a queue for each processor: the kernel itself swaps a frame now and then (README.md).
    let [sent, received, lost, duplicated, reordered, corrupted, foreign] = counts(&report, 0);
    assert!(sent > 1_000 && reordered <= sent / 100, "{report}");
    assert_eq!((received + lost, [duplicated, corrupted, foreign]), (sent, [0; 3]), "{report}");
    // A machine that is too slow makes frames too old, and each of them is accounted for.
    assert_eq!(report["trials"][0]["directions"][0]["lost_where"].get("unexplained"), None, "{report}");
}

/// What canbusload counts on the wire, stuff bits included, is what the schedule took for it. At a fifth of a saturated bus, so
/// that canbusload, with a receive queue of 200 frames, keeps up on an emulated processor.
#[test]
fn a_bus_is_as_loaded_as_canbusload_says() {
    const FRAMES: u64 = 3_000;
    let Some(_one_at_a_time) = can_available() else { return };
    let place = Place::new();
    place.join_by_gateway();
    let judge = place.start("canbusload -e vcan0@500000");
    judge.wait_output(1);
    let report = place.bench(&format!("--load 20% --frames {FRAMES}"));
    // It prints a line and an empty one each second; the last frames may be in one that is still to come.
    let mut lines = judge.wait_output(1);
    let deadline = Instant::now() + PATIENCE;
    while counted(&lines).0 < FRAMES {
        assert!(Instant::now() < deadline, "canbusload did not see all of {FRAMES} frames: {lines:#?}");
        lines = judge.wait_output(lines.len() + 1);
    }
    judge.interrupt();
    let (frames, bits) = counted(&lines);
    assert_eq!(frames, FRAMES, "{lines:#?}");
    let scheduled_s = report["trials"][0]["duration_s"].as_f64().unwrap();
    let percent = bits as f64 / 500_000.0 / scheduled_s * 100.0;
    // To one percent of it.
    assert!((19.8..=20.2).contains(&percent), "{percent} % of {scheduled_s} s: {lines:#?}");
}

/// Frames and bits in all lines of canbusload: `vcan0@500000  4375  499980 280000  99%`.
fn counted(lines: &[String]) -> (u64, u64) {
    let numbers = lines.iter().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|name| name.starts_with("vcan0@"))?;
        Some((words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?))
    });
    numbers.fold((0, 0), |(frames, bits), (more, more_bits)| (frames + more, bits + more_bits))
}

/// Nothing of the test gets to the bus that is bridged, and netem's delay is found: 5 ms there and as much back.
#[test]
fn a_link_is_measured_beside_a_real_bus() {
    let Some(_one_at_a_time) = can_available() else { return };
    let place = Place::new();
    command(&format!("ip -n {} link set lo up", place.name)).unwrap();
    command(&format!("tc -n {} qdisc add dev lo root netem delay 5ms", place.name)).unwrap();
    let program = env!("CARGO_BIN_EXE_canip_peer");
    let options = "--bind 127.0.0.1 --port 0 --max-age 0 --allow-bench";
    let server = place.start(&format!("{program} server --can vcan0 {options}"));
    let folder = Folder::new();
    let target = format!("--connect 127.0.0.1:{} --out {}", server.port(), folder.0.display());
    let load = "--load 10% --duration 1s --warm-up 0 -- --max-age 0";
    let finished = place.start(&format!("{program} bench {target} {load}")).finish();
    assert!(folder.0.join("report.json").exists(), "{:#?}", finished.errors);
    let report = folder.report();
    let [sent, received, rest @ ..] = counts(&report, 1);
    assert!(sent > 0 && sent == received && rest == [0; 5], "{report}");
    let trial = &report["trials"][0];
    assert!(trial["round_trip"]["min_ns"].as_u64().unwrap() >= 9_900_000, "{report}");
    // Alike both ways, they are told apart rightly: the fastest took 5 ms, and what a slow machine adds.
    let [there, back] = [0, 1].map(|way| trial["directions"][way]["latency"]["min_ns"].as_u64().unwrap());
    assert!(there >= 4_900_000 && back >= 4_900_000, "{there} {back}");
    let on_the_bus = format!("ip netns exec {} cat /sys/class/net/vcan0/statistics/tx_packets", place.name);
    assert_eq!(command(&on_the_bus).unwrap().trim(), "0");
}
