//! What peers may put on a bus, on real SocketCAN, with can-utils as judges: `candump`, which prints when the kernel saw each
//! frame, and `canbusload`, which reckons the load by itself.
//!
//! They run where CAN interfaces can be made (as root, natively or in `tools/lab run`); elsewhere each says that it was
//! skipped, and fails when `CANIP_REQUIRE_CAN=1`.

mod common;

#[path = "common/can.rs"]
#[expect(dead_code, reason = "loads here are of another kind")]
mod can;

#[path = "common/program.rs"]
mod program;

use std::process::Command;
use std::time::{Duration, Instant};

use canip_peer::frame::bit_time::FrameBits;
use canip_peer::frame::notation::parse_compact;

use can::{
    Made, can_available, command, controllers_available, eventually, frame, ip, receive_lists, send, sender,
};
use program::{Program, unique_name};

const CLASSIC: u32 = 16;
const FD: u32 = 72;

/// Bits a second of the controllers, and of what the virtual interfaces stand for.
const BIT_RATE: f64 = 500_000.0;

/// What is saved up of a bound that was not used (see `bridge/limiter.rs`).
const CATCH_UP_S: f64 = 0.010;

/// The kernel stamps frames by a clock that may be steered, by half a thousandth at most, and a step below a microsecond is not
/// printed.
const CLOCKS: f64 = 1.0005;

/// A server on `near` with these options, and a client of it on `far`.
struct Pair {
    server: Program,
    client: Program,
}

impl Pair {
    fn start(near: &str, far: &str, options: &str) -> Pair {
        let server = Program::bridge(&format!("server --can {near} --port 0 {options}"));
        let client =
            Program::bridge(&format!("client --can {far} --host 127.0.0.1 --port {}", server.port()));
        server.wait_error("connected: version 5");
        client.wait_error("connected to ");
        Pair { server, client }
    }
}

fn start(line: &str) -> Program {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    Program::start(command)
}

/// Starts candump on an interface with log lines and the kernel's times, and waits until the kernel knows of it.
fn candump(interface: &str, filter: &str) -> Program {
    let before = receive_lists("", interface).len();
    let candump = start(&format!("candump -L {interface}{filter}"));
    eventually("candump to listen", || receive_lists("", interface).len() > before);
    candump
}

/// A frame as candump has logged it: when, in seconds, and its bits on the bus.
struct Seen {
    at: f64,
    bits: f64,
}

fn read(line: &str) -> Seen {
    let [time, _, frame] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let at = time.trim_matches(['(', ')']).parse().unwrap();
    let bits = FrameBits::of(parse_compact(frame).unwrap().image()).total();
    Seen { at, bits: bits.into() }
}

/// Sends 4,000 frames a second, as far as the machine gets to, for five seconds. Payloads have few stuff bits and many.
fn send_for_five_seconds(interface: &str) {
    let (socket, start, mut sent) = (sender(interface), Instant::now(), 0u32);
    while sent < 20_000 && start.elapsed() < Duration::from_secs(10) {
        let due = start.elapsed().as_micros() as u64 * 4 / 1_000 + 1;
        while u64::from(sent) < due {
            let [.., low] = sent.to_be_bytes();
            send(&socket, &frame(0x2A, &[low, 0, 0x55, 0xFF, 0xAA, 0, low, !low]));
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends more than may go for about five seconds, and returns what candump saw of it on `near`, the server's
/// interface.
fn overload(near: &str, far: &str, pair: Pair) -> Vec<Seen> {
    let judge = candump(near, "");
    send_for_five_seconds(far);
    // What waits is gone after --max-age; this one waits behind it.
    eventually("the last frame", || {
        command(&format!("cansend {far} 7E5#5A")).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        judge.wait_output(1).iter().any(|line| line.contains("7E5#5A"))
    });
    let log = judge.interrupt().output;
    pair.client.interrupt().totals();
    let totals = pair.server.interrupt().totals();
    assert_eq!(totals["received"], log.len() as u64, "{totals:?}");
    assert!(totals["limited"] > 1_000, "the load was no overload: {totals:?}");
    assert_eq!((totals["refused"], totals["denied"]), (0, 0), "{totals:?}");
    log.iter().map(|line| read(line)).collect()
}

/// Asserts that no window of what was seen costs more than `per_second` of its time and of what is saved up; the frame that
/// ends it goes once all before it is paid for.
fn assert_bounded(seen: &[Seen], per_second: f64, cost: impl Fn(&Seen) -> f64) {
    for (first, from) in seen.iter().enumerate() {
        let mut spent = 0.0;
        for to in &seen[first..] {
            let allowed = per_second * ((to.at - from.at) * CLOCKS + CATCH_UP_S);
            assert!(
                spent <= allowed + per_second * 2e-6,
                "{spent} of {allowed} from {} to {}",
                from.at,
                to.at
            );
            spent += cost(to);
        }
    }
}

/// How much went a second between the first frame and the last.
fn mean(seen: &[Seen], cost: impl Fn(&Seen) -> f64) -> f64 {
    let (first, last) = (seen.first().unwrap().at, seen.last().unwrap().at);
    seen.iter().map(cost).sum::<f64>() / (last - first)
}

/// How much went a second in the half second that had the most, of the half of the time in which that was less: how far a
/// bound lets the bus be used until the end, on a machine that may stand still in between.
fn busiest(seen: &[Seen], cost: impl Fn(&Seen) -> f64) -> f64 {
    const WINDOW_S: f64 = 0.5;
    let middle = f64::midpoint(seen.first().unwrap().at, seen.last().unwrap().at);
    let (early, late) = seen.split_at(seen.partition_point(|it| it.at < middle));
    let most = |half: &[Seen]| {
        let (mut from, mut spent, mut most) = (0, 0.0, 0.0f64);
        for to in half {
            spent += cost(to);
            while to.at - half[from].at > WINDOW_S {
                spent -= cost(&half[from]);
                from += 1;
            }
            most = most.max(spent);
        }
        most
    };
    most(early).min(most(late)) / WINDOW_S
}

/// Parts of a bus's time.
#[derive(Debug)]
struct Load {
    mean: f64,
    busiest: f64,
}

fn load(seen: &[Seen], bit_rate: f64) -> Load {
    let [mean, busiest] = [mean(seen, |it| it.bits), busiest(seen, |it| it.bits)].map(|bits| bits / bit_rate);
    println!("{} frames, {:.1} %, at most {:.1} %", seen.len(), mean * 100.0, busiest * 100.0);
    Load { mean, busiest }
}

/// A thousand a second: never more in any window, and no fewer than the emulated processors get done.
#[test]
fn frames_a_second() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
    let pair = Pair::start(&near, &far, "--tx-rate 1000");
    let seen = overload(&near, &far, pair);
    let busiest = busiest(&seen, |_| 1.0);
    println!("{} frames, {:.0}/s, at most {busiest:.0}/s", seen.len(), mean(&seen, |_| 1.0));
    assert_bounded(&seen, 1_000.0, |_| 1.0);
    assert!(busiest > 500.0, "{busiest} frames/s");
}

/// A bus of 500 kbit/s that a virtual interface stands for, of which 30 % may be used.
#[test]
fn part_of_the_time_of_a_bus_that_is_none() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
    let refused = Program::bridge(&format!("server --can {near} --port 0 --tx-load 30")).finish();
    assert_eq!(refused.status.code(), Some(2));
    let advice = format!(
        "canip_peer: --tx-load: {near} has no bit rate of its own: give that of the bus it stands for, for example \
         --bitrate 500000"
    );
    assert_eq!(refused.errors, [advice]);
    let pair = Pair::start(&near, &far, "--tx-load 30 --bitrate 500000");
    let seen = overload(&near, &far, pair);
    let load = load(&seen, BIT_RATE);
    assert_bounded(&seen, 0.3 * BIT_RATE, |frame| frame.bits);
    assert!(load.busiest > 0.15, "{load:?}");
}

/// A controller has a bit rate, which need not be given; another one is refused.
#[test]
fn part_of_a_controllers_time() {
    let Some(_lab) = controllers_available() else { return };
    let far = unique_name("v");
    let _interfaces = [Made::controller("can0"), Made::controller("can1"), Made::vcan(&far, CLASSIC)];
    let refused = Program::bridge("server --can can0 --port 0 --tx-load 30 --bitrate 1000000").finish();
    let advice =
        "canip_peer: --bitrate 1000000: can0 has a bit rate of its own, 500000 bit/s: leave --bitrate out";
    assert_eq!(refused.errors, [advice]);
    let pair = Pair::start("can0", &far, "--tx-load 30");
    pair.server.wait_error("30 % of its time at 500000 bit/s");
    let judge = start("canbusload -e can0@500000");
    let seen = overload("can0", &far, pair);
    let printed = judge.interrupt().output;
    // can0@500000   805   74491  36656  30%
    let loads: Vec<u32> = printed
        .iter()
        .filter(|line| line.contains("can0@500000"))
        .map(|line| line.split_whitespace().find_map(|word| word.strip_suffix('%')).unwrap().parse().unwrap())
        .collect();
    println!("canbusload: {loads:?}");
    // Of seconds as long as canbusload's timer has them.
    assert!(!loads.is_empty() && loads.iter().all(|load| *load <= 33), "{loads:?}");
    let load = load(&seen, BIT_RATE);
    assert!(load.mean <= 0.31 && load.busiest > 0.15, "{load:?}");
}

/// The kernel is asked for nothing; what comes from the peer is put on the bus.
#[test]
fn write_only_asks_the_kernel_for_nothing() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, FD), Made::vcan(&far, FD)];
    let pair = Pair::start(&near, &far, "--write-only");
    assert_eq!(receive_lists("", &near), []);
    let errors = command("cat /proc/net/can/rcvlist_err").unwrap();
    let listens = |line: &str| line.split_whitespace().next() == Some(&near);
    assert!(!errors.lines().any(listens), "{errors}");
    command(&format!("cansend {near} 123#01")).unwrap();
    let judge = candump(&near, "");
    command(&format!("cansend {far} 124##1AABB")).unwrap();
    // Behind ## are flags, of which newer kernels set one that says that it is an FD frame.
    let printed = judge.wait_output(1);
    assert!(printed[0].contains(" 124##") && printed[0].ends_with("AABB"), "{printed:?}");
    let client = pair.client.interrupt().totals();
    let server = pair.server.interrupt().totals();
    assert_eq!((client["arrived"], client["missing"], client["sent"]), (0, 0, 1), "{client:?}");
    assert_eq!((server["taken"], server["received"]), (0, 1), "{server:?}");
}

/// Nothing of the peer gets onto the interface, of which another socket would hear; error frames get onto none.
#[test]
fn read_only_and_error_frames() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
    let pair = Pair::start(&near, &far, "--read-only");
    let (at_near, at_far) = (candump(&near, ",0:0,#FFFFFFFF"), candump(&far, ",0:0,#FFFFFFFF"));
    for frame in ["123#01", "18DAF110#02"] {
        command(&format!("cansend {far} {frame}")).unwrap();
    }
    pair.server.wait_error(" of the peer kept off the bus (see --read-only, --tx-allow;");
    // An error frame and one behind it: only the latter comes out at the far end.
    for frame in ["20000080#0000000000000000", "124#03"] {
        command(&format!("cansend {near} {frame}")).unwrap();
    }
    let frames = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(frames(&at_far.wait_output(3)), ["123#01", "18DAF110#02", "124#03"]);
    let [at_near, at_far] = [at_near, at_far].map(|judge| frames(&judge.interrupt().output));
    assert_eq!(at_near, ["20000080#0000000000000000", "124#03"]);
    assert_eq!(at_far, ["123#01", "18DAF110#02", "124#03"]);
    let client = pair.client.interrupt().totals();
    let server = pair.server.interrupt().totals();
    assert_eq!((client["received"], client["error_frames"]), (1, 1), "{client:?}");
    assert_eq!((server["denied"], server["received"]), (2, 0), "{server:?}");
}

/// A controller that comes up again at another bit rate: the part of its time counts by that from then on.
#[test]
fn a_controllers_new_bit_rate() {
    let Some(_lab) = controllers_available() else { return };
    let far = unique_name("v");
    let _interfaces = [Made::controller("can0"), Made::controller("can1"), Made::vcan(&far, CLASSIC)];
    let pair = Pair::start("can0", &far, "--tx-load 30");
    for controller in ["can0", "can1"] {
        ip(&format!("link set {controller} down"));
        ip(&format!("link set {controller} up type can bitrate 125000"));
    }
    pair.server.wait_error("interface can0 is up");
    let seen = overload("can0", &far, pair);
    let load = load(&seen, 125_000.0);
    assert!(load.mean <= 0.31 && load.busiest > 0.15, "{load:?}");
}
