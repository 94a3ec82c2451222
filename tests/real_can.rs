//! The bridge on real SocketCAN: virtual interfaces, and two controllers on one bus.
//!
//! They run where CAN interfaces can be made (as root, natively or in `tools/lab run`); elsewhere each says that it
//! was skipped, and fails when `CANIP_REQUIRE_CAN=1`.

mod common;

#[path = "common/books.rs"]
mod books;

#[path = "common/can.rs"]
mod can;

#[path = "common/every_kind.rs"]
mod every_kind;

#[path = "common/peer.rs"]
mod peer;

#[path = "common/program.rs"]
mod program;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use books::assert_books;
use can::processors::processor;
use can::{
    Load, Made, Outcome, can_available, carry_in_turns, command, controllers_available, crosses, eventually,
    frame, ip, measure, receive_lists, receiver, send, sender,
};
use every_kind::every_kind;
use peer::python_peer;
use program::{Program, unique_name};
use socketcan::{CanFilter, EmbeddedFrame, Frame, Socket};

/// An mtu that has room for classic frames only, and one that has room for FD frames.
const CLASSIC: u32 = 16;
const FD: u32 = 72;

/// Frames are counted here, not timed: emulated processors may let them wait, in a queue that has room for them.
const UNHURRIED: &str = "--max-age 30000 --rcvbuf 33554432";

/// A server and a client of it on this machine.
struct Pair {
    server: Program,
    client: Program,
}

impl Pair {
    /// Bridges two interfaces over loopback, with more options for the server.
    fn start(server_can: &str, client_can: &str, options: &str) -> Pair {
        let server = pinned(0, &format!("server --can {server_can} --port 0 {UNHURRIED} {options}"));
        let port = server.port();
        let target = format!("--host 127.0.0.1 --port {port}");
        let client = pinned(1, &format!("client --can {client_can} {target} {UNHURRIED}"));
        let pair = Pair { server, client };
        pair.wait_connected();
        pair
    }

    fn wait_connected(&self) {
        self.server.wait_error("connected: version 5");
        self.client.wait_error("connected to ");
    }
}

/// Starts a bridge on a processor of its own ([`processor`]).
fn pinned(number: usize, arguments: &str) -> Program {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &processor(number).to_string(), env!("CARGO_BIN_EXE_canip_peer")]);
    command.args(arguments.split_whitespace());
    Program::start(command)
}

/// Starts candump and waits until the kernel has it in a receive list of the interface. `prefix` is empty, or
/// `ip netns exec NAME`; `filter` is empty, or a comma and a filter in candump's notation.
fn candump(prefix: &str, interface: &str, filter: &str) -> Program {
    let before = receive_lists(prefix, interface).len();
    let line = format!("{prefix} candump {interface}{filter}");
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    let candump = Program::start(command);
    eventually("candump to listen", || receive_lists(prefix, interface).len() > before);
    candump
}

/// Measures both directions between two interfaces at the same time: what became of the frames of each.
fn measure_both_ways(one: &str, other: &str, frames: u32, per_second: u32) -> [Outcome; 2] {
    std::thread::scope(|scope| {
        let there = Load { identifier: 0x100, frames, per_second };
        let there = scope.spawn(move || measure(one, other, there));
        let back = measure(other, one, Load { identifier: 0x200, frames, per_second });
        [there.join().unwrap(), back]
    })
}

/// None lost, none twice, none out of order, both ways.
const ALL_WELL: [Outcome; 2] = [Outcome::ALL_WELL; 2];

/// The meter finds nothing wrong with a bus that has no bridge in it, at the rate that the bridge is measured at.
#[test]
fn the_meter_itself() {
    let Some(_lab) = can_available() else { return };
    let bus = unique_name("v");
    let _vcan = Made::vcan(&bus, CLASSIC);
    assert_eq!(measure_both_ways(&bus, &bus, 16_000, 8_000), ALL_WELL);
}

/// Example 1 of the manual, as it stands there, and the way back.
#[test]
fn the_manuals_example() {
    let Some(_lab) = can_available() else { return };
    let _vcans = [Made::vcan("vcan0", CLASSIC), Made::vcan("vcan1", CLASSIC)];
    let server = Program::bridge("server --can vcan0 --port 3333");
    server.wait_error("listening on ");
    let client = Program::bridge("client --can vcan1 --host 127.0.0.1 --port 3333");
    let pair = Pair { server, client };
    pair.wait_connected();

    let there = candump("", "vcan1", "");
    command("cansend vcan0 123#11223344").unwrap();
    assert_eq!(there.wait_output(1), ["  vcan1  123   [4]  11 22 33 44"]);

    let back = candump("", "vcan0", "");
    command("cansend vcan1 12345678#DEADBEEF").unwrap();
    assert_eq!(back.wait_output(1), ["  vcan0  12345678   [4]  DE AD BE EF"]);

    let totals = pair.server.interrupt().totals();
    assert_eq!((totals["sent"], totals["received"]), (1, 1), "{totals:?}");
    pair.client.wait_error("127.0.0.1:3333");
}

/// Five seconds of 8,000 frames a second both ways at once: none lost, none twice, none out of order. A machine that has more to
/// do than it can loses some, each of them under its name, and is asked for half as many then, down to 2,000.
#[test]
fn every_frame_both_ways_at_8000_a_second() {
    let Some(_lab) = can_available() else { return };
    let rates = [8_000, 4_000, 2_000];
    let kept_up = rates.into_iter().find(|rate| every_frame_is_accounted_for(5 * rate, *rate) == ALL_WELL);
    assert!(kept_up.is_some(), "frames are lost at each of {rates:?} a second");
}

/// Carries frames both ways over a bridge of their own. Those that did not come out are under their names in the books.
fn every_frame_is_accounted_for(frames: u32, per_second: u32) -> [Outcome; 2] {
    let (one, other) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&one, CLASSIC), Made::vcan(&other, CLASSIC)];
    let pair = Pair::start(&one, &other, "");
    let outcomes = measure_both_ways(&one, &other, frames, per_second);
    let client = pair.client.interrupt().totals();
    let server = pair.server.interrupt().totals();
    for outcome in &outcomes {
        assert_eq!(
            (outcome.twice, outcome.out_of_order, outcome.mangled),
            (0, 0, 0),
            "{server:?} {client:?}"
        );
    }
    let came_out = outcomes.each_ref().map(|outcome| u64::from(frames - outcome.lost));
    assert_books(frames.into(), &server, &client, came_out[0]);
    assert_books(frames.into(), &client, &server, came_out[1]);
    println!("{per_second} frames a second: {outcomes:?}");
    outcomes
}

/// A device on a controller (can1), the bridge's controller (can0) on the same bus, and a virtual interface at the
/// far end. can0 and can1 share one bus, so that bridging them to each other would be a loop.
#[test]
fn controllers_over_loopback() {
    let Some(_lab) = controllers_available() else { return };
    let far = unique_name("v");
    let _interfaces = [Made::controller("can0"), Made::controller("can1"), Made::vcan(&far, CLASSIC)];
    assert!(ip("-details link show can0").contains("bitrate 500000"));
    let packets =
        || command("cat /sys/class/net/can0/statistics/rx_packets").unwrap().trim().parse::<u64>().unwrap();
    let before = packets();
    let pair = Pair::start("can0", &far, "");
    eventually("frames to cross", || crosses("can1", &far) && crosses(&far, "can1"));
    let all: Vec<u32> = (0..2_000).collect();
    std::thread::scope(|scope| {
        // What the device sends, as another socket on the bridge's controller sees it, and at the far end.
        scope.spawn(|| {
            let seen = carry_in_turns("can1", &["can0", &far], 0x100, 2_000);
            assert_eq!(seen[1], seen[0], "the far end, and the controller");
        });
        // What the far end sends, as the bridge's controller sends it, and at the device.
        let seen = carry_in_turns(&far, &["can0", "can1"], 0x200, 2_000);
        assert_eq!(seen[0], all, "what the bridge wrote");
    });
    // A frame that the controller delivers once more, and late, comes before the bridge has ended, or behind that.
    let received = packets() - before;
    let totals = pair.server.interrupt().totals();
    let received = received..=packets() - before;
    // Error frames are the driver's, not the controller's.
    let sent = totals["sent"] - totals["error_frames"];
    assert!(received.contains(&sent), "the controller received {received:?}: {totals:?}");
    assert!(totals["received"] >= 2_001, "{totals:?}");
}

/// Two network namespaces with Ethernet between them: two hosts, as far as a bridge can see.
struct Hosts {
    near: String,
    far: String,
    _namespaces: [Made; 2],
}

impl Hosts {
    /// The far host's address.
    const FAR_ADDRESS: &str = "192.0.2.2";

    fn new() -> Hosts {
        let (near, far) = (unique_name("n"), unique_name("f"));
        let namespaces = [Made::namespace(&near), Made::namespace(&far)];
        ip(&format!("link add {near} type veth peer name {far}"));
        for (host, address) in [(&near, "192.0.2.1"), (&far, Hosts::FAR_ADDRESS)] {
            ip(&format!("link set {host} netns {host}"));
            ip(&format!("-n {host} addr add {address}/24 dev {host}"));
            ip(&format!("-n {host} link set {host} up"));
        }
        Hosts { near, far, _namespaces: namespaces }
    }

    /// Makes a virtual CAN interface on a host.
    fn add_vcan(host: &str, name: &str) {
        ip(&format!("-n {host} link add dev {name} type vcan"));
        ip(&format!("-n {host} link set {name} up"));
    }

    /// Starts a bridge on a host.
    fn bridge(host: &str, arguments: &str) -> Program {
        let line = format!("netns exec {host} {} {arguments}", env!("CARGO_BIN_EXE_canip_peer"));
        let mut command = Command::new("ip");
        command.args(line.split_whitespace());
        Program::start(command)
    }

    /// Bridges an interface of the far host (server) to one of the near host.
    fn pair(&self, far_can: &str, near_can: &str, options: &str) -> Pair {
        let server = Hosts::bridge(&self.far, &format!("server --can {far_can} --port 0 {options}"));
        let port = server.port();
        let target = format!("--host {} --port {port}", Hosts::FAR_ADDRESS);
        let client = Hosts::bridge(&self.near, &format!("client --can {near_can} {target} {options}"));
        let pair = Pair { server, client };
        pair.wait_connected();
        pair
    }

    /// Loses every packet between the hosts, in both directions, without a word to either.
    fn cut(&self) {
        for host in [&self.near, &self.far] {
            command(&format!("ip netns exec {host} tc qdisc add dev {host} root netem loss 100%")).unwrap();
        }
    }

    /// Undoes [`Hosts::cut`].
    fn mend(&self) {
        for host in [&self.near, &self.far] {
            command(&format!("ip netns exec {host} tc qdisc delete dev {host} root")).unwrap();
        }
    }

    /// Frames that were sent on an interface of a host.
    fn sent_on(host: &str, interface: &str) -> u64 {
        let file = format!("/sys/class/net/{interface}/statistics/tx_packets");
        command(&format!("ip netns exec {host} cat {file}")).unwrap().trim().parse().unwrap()
    }
}

/// Server and controller (can0) on one host, client and virtual interface on another; the device (can1) is looked at
/// from the client's side.
#[test]
fn controllers_between_network_namespaces() {
    let Some(_lab) = controllers_available() else { return };
    let hosts = Hosts::new();
    let _moved = [Made::moved("can0", &hosts.far), Made::moved("can1", &hosts.near)];
    for (controller, host) in [("can0", &hosts.far), ("can1", &hosts.near)] {
        ip(&format!("-n {host} link set {controller} up type can bitrate 500000"));
    }
    Hosts::add_vcan(&hosts.near, "vcan0");
    let pair = hosts.pair("can0", "vcan0", "");

    // A few at a time, and held to what the controller saw, as `carry_in_turns` says.
    let (in_near, in_far) = (format!("ip netns exec {}", hosts.near), format!("ip netns exec {}", hosts.far));
    for (from, to) in [("can1", "vcan0"), ("vcan0", "can1")] {
        let controller = candump(&in_far, "can0", ",300:7F0");
        let dump = candump(&in_near, to, ",300:7F0");
        let mut count = 0;
        for identifier in 0x300..0x308 {
            command(&format!("{in_near} cangen {from} -n 4 -g 1 -I {identifier:X} -L 4 -D i")).unwrap();
            count += 4;
            let seen = controller.wait_output(count);
            if to == "vcan0" {
                let expected: Vec<String> =
                    seen.iter().map(|line| line.replace("  can0  ", "  vcan0  ")).collect();
                assert_eq!(dump.wait_output(seen.len())[..seen.len()], expected);
            } else {
                let payloads =
                    (0..4).map(|index| format!("  can0  {identifier:03X}   [4]  {index:02X} 00 00 00"));
                assert_eq!(seen[count - 4..count], payloads.collect::<Vec<_>>());
                dump.wait_output(count);
            }
        }
    }
    let totals = pair.server.interrupt().totals();
    assert!(totals["sent"] >= 32 && totals["received"] >= 32, "{totals:?}");
}

/// A peer that is cut off is dead within three heartbeats, also on a silent bus; one that is only silent is not.
#[test]
fn a_peer_that_is_cut_off_is_found_dead() {
    let Some(_lab) = can_available() else { return };
    let hosts = Hosts::new();
    Hosts::add_vcan(&hosts.near, "vcan0");
    Hosts::add_vcan(&hosts.far, "vcan0");
    let heartbeat = Duration::from_secs(1);
    let pair = hosts.pair("vcan0", "vcan0", "--heartbeat 1 --stats-interval 1");
    // Silence for more than three heartbeats on a link that works.
    pair.server.wait_errors("summary: links 1", 5);
    pair.client.wait_errors("summary: links 1", 5);
    hosts.cut();
    let start = Instant::now();
    pair.client
        .wait_error("ended: the peer gave no sign of life for three heartbeat intervals; trying again");
    pair.server.wait_error("disconnected, the peer gave no sign of life for three heartbeat intervals");
    // TCP's timers run from the last answer to a probe, and the emulated machine is slow to print.
    let elapsed = start.elapsed();
    assert!(elapsed < heartbeat * 3 + Duration::from_millis(1_500), "{elapsed:?}");
    assert!(elapsed > heartbeat, "{elapsed:?}");
}

/// A version 5 link that is cut for three seconds under 4,000 frames a second both ways.
#[test]
fn both_ends_agree_on_what_a_cut_cost() {
    const FRAMES: u64 = 24_000;
    let Some(_lab) = can_available() else { return };
    let hosts = Hosts::new();
    Hosts::add_vcan(&hosts.near, "vcan0");
    Hosts::add_vcan(&hosts.far, "vcan0");
    let pair = hosts.pair("vcan0", "vcan0", &format!("--heartbeat 0.5 {UNHURRIED}"));
    let generators = [&hosts.near, &hosts.far].map(|host| {
        let line = format!("netns exec {host} cangen vcan0 -g 0.25 -n {FRAMES} -I 100 -L 8 -D i -p 1000");
        let mut command = Command::new("ip");
        command.args(line.split_whitespace());
        Program::start(command)
    });
    eventually("a second of frames", || Hosts::sent_on(&hosts.near, "vcan0") > 8_000);
    hosts.cut();
    // How long it lasts, which is what is tested.
    std::thread::sleep(Duration::from_secs(3));
    hosts.mend();
    pair.client.wait_errors("connected to ", 2);
    for generator in generators {
        assert!(generator.finish().status.success());
    }
    // What comes out behind the last frame says that all have.
    for (from, to) in [(&hosts.near, &hosts.far), (&hosts.far, &hosts.near)] {
        let dump = candump(&format!("ip netns exec {to}"), "vcan0", ",7FF:7FF");
        command(&format!("ip netns exec {from} cansend vcan0 7FF#")).unwrap();
        dump.wait_output(1);
    }
    let came_out = [&hosts.near, &hosts.far].map(|host| Hosts::sent_on(host, "vcan0") - FRAMES - 1);
    let at_near = pair.client.interrupt().totals();
    let at_far = pair.server.interrupt().totals();
    assert_books(FRAMES + 1, &at_far, &at_near, came_out[0]);
    assert_books(FRAMES + 1, &at_near, &at_far, came_out[1]);
    for totals in [&at_near, &at_far] {
        assert!(totals["outage"] > 0 && totals["in_transit"] > 0, "{totals:?}");
    }
}

/// What is sent and received by can-utils, both ways: every kind of frame, of which error frames go on no bus.
#[test]
fn every_kind_of_frame_crosses() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, FD), Made::vcan(&far, FD)];
    let pair = Pair::start(&near, &far, "");
    // can-utils have raw DLCs since 2021.06 only.
    let frames: Vec<String> = every_kind().into_iter().filter(|frame| !frame.contains('_')).collect();
    let errors = ["20000080#0000000000000000", "200001FF#FFEEDDCCBBAA9988"];
    for (from, to) in [(&near, &far), (&far, &near)] {
        let before = receive_lists("", to).len();
        let mut dump = Command::new("candump");
        dump.args(["-L", &format!("{to},0:0,#FFFFFFFF")]);
        let dump = Program::start(dump);
        eventually("candump to listen", || receive_lists("", to).len() > before);
        let mut player = Command::new("canplayer");
        player.args(["-t", &format!("{from}=bus")]);
        let mut player = Program::start(player);
        let mut input = player.input.take().unwrap();
        for frame in errors.iter().copied().chain(frames.iter().map(String::as_str)) {
            writeln!(input, "(0000000000.000000) bus {frame}").unwrap();
        }
        drop(input);
        assert!(player.finish().status.success());
        let lines = dump.wait_output(frames.len());
        let seen: Vec<String> =
            lines.iter().map(|line| without_fdf(line.split(' ').nth(2).unwrap())).collect();
        assert_eq!(seen, frames);
    }
    let count = frames.len() as u64;
    for program in [pair.client, pair.server] {
        let totals = program.interrupt().totals();
        assert_eq!((totals["sent"], totals["received"]), (count + 2, count), "{totals:?}");
        assert_eq!((totals["error_frames"], totals["missing"], totals["refused"]), (2, 0, 0), "{totals:?}");
    }
}

/// A frame in candump's notation without the FD flag FDF (4), which newer kernels set in every FD frame.
fn without_fdf(frame: &str) -> String {
    let Some((identifier, rest)) = frame.split_once("##") else { return frame.to_owned() };
    let flags = u8::from_str_radix(&rest[..1], 16).unwrap();
    format!("{identifier}##{:X}{}", flags & 3, &rest[1..])
}

/// The DLCs 9 to 15 that the kernel keeps beside a length of 8, in data and remote frames: as raw images, byte for byte.
#[test]
fn raw_dlcs_cross() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
    let pair = Pair::start(&near, &far, "");
    for (from, to) in [(&near, &far), (&far, &near)] {
        let socket = receiver(to, &[CanFilter::new(0, 0)], Duration::from_secs(30));
        let mut receiver = File::from(socket.as_fd().try_clone_to_owned().unwrap());
        let mut sender = File::from(sender(from).as_fd().try_clone_to_owned().unwrap());
        for (remote, dlc) in
            [0x0000_0000u32, 0x4000_0000].into_iter().flat_map(|flag| (9..=15).map(move |dlc| (flag, dlc)))
        {
            let mut image = [0; 16];
            image[..4].copy_from_slice(&(0x321 | remote).to_ne_bytes());
            (image[4], image[7]) = (8, dlc);
            if remote == 0 {
                image[8..].copy_from_slice(&[dlc; 8]);
            }
            assert_eq!(sender.write(&image).unwrap(), 16);
            let mut received = [0; 16];
            assert_eq!(receiver.read(&mut received).unwrap(), 16);
            assert_eq!(received, image);
        }
    }
    assert_eq!(pair.server.interrupt().totals()["sent"], 14);
}

/// Two pairs of interfaces over one connection, both ways at once.
#[test]
fn two_buses_over_one_connection() {
    let Some(_lab) = can_available() else { return };
    let names = [(); 4].map(|()| unique_name("v"));
    let _vcans = names.each_ref().map(|name| Made::vcan(name, CLASSIC));
    let [near_one, near_two, far_one, far_two] = &names;
    let pair = Pair::start(
        &format!("one={near_one} --can two={near_two}"),
        &format!("two={far_two} --can one={far_one}"),
        "",
    );
    let outcomes = std::thread::scope(|scope| {
        let one = scope.spawn(|| measure_both_ways(near_one, far_one, 8_000, 2_000));
        let two = measure_both_ways(near_two, far_two, 8_000, 2_000);
        [one.join().unwrap(), two]
    });
    // Those of the test, and those of the bridge.
    let written = names.each_ref().map(|name| {
        let file = format!("/sys/class/net/{name}/statistics/tx_packets");
        command(&format!("cat {file}")).unwrap().trim().parse::<u64>().unwrap()
    });
    assert_eq!(written, [16_000; 4], "{outcomes:?}");
    for program in [pair.client, pair.server] {
        let totals = program.interrupt().totals();
        assert_eq!(outcomes, [ALL_WELL; 2], "{totals:?}");
        assert_eq!(
            (totals["sent"], totals["received"], totals["missing"]),
            (16_000, 16_000, 0),
            "{totals:?}"
        );
    }
}

/// The bit rate is set through netlink on the way.
#[test]
fn a_bit_rate_is_set() {
    let Some(_lab) = controllers_available() else { return };
    let _can0 = Made::controller("can0");
    let server = Program::bridge("server --can can0 --can-bitrate 250000 --port 0");
    server.wait_error("listening on ");
    let details = ip("-details link show can0");
    assert!(details.contains("bitrate 250000"), "{details}");
    assert!(details.contains("state UP") || details.contains(",UP,"), "{details}");
}

/// An interface that goes down is said, the TCP side is kept, and frames cross again when it is up.
#[test]
fn interface_down_and_up() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
    let pair = Pair::start(&near, &far, "");
    assert!(crosses(&near, &far));
    for interface in [&near, &far] {
        ip(&format!("link set {interface} down"));
        let program = if *interface == near { &pair.server } else { &pair.client };
        let said = program.wait_error(&format!("{interface} is down"));
        assert!(said.contains("WARN"), "{said}");
        ip(&format!("link set {interface} up"));
        eventually("frames to cross again", || crosses(&near, &far) && crosses(&far, &near));
    }
    assert_connected_once(pair);
}

/// An interface that is deleted and made anew under its name is opened anew.
#[test]
fn interface_deleted_and_made_anew() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
    let pair = Pair::start(&near, &far, "");
    assert!(crosses(&near, &far));
    for interface in [&near, &far] {
        ip(&format!("link delete {interface}"));
        let program = if *interface == near { &pair.server } else { &pair.client };
        program.wait_error(&format!("{interface} is gone"));
        ip(&format!("link add dev {interface} type vcan"));
        ip(&format!("link set {interface} up"));
        eventually("frames to cross again", || crosses(&near, &far) && crosses(&far, &near));
    }
    assert_connected_once(pair);
}

/// A bus that carries CAN FD, joined to one that does not: what is lost for it is said beforehand, and counted.
#[test]
fn fd_frames_for_a_classic_bus() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, 72), Made::vcan(&far, CLASSIC)];
    let pair = Pair::start(&near, &far, "");
    let refused =
        format!("CAN FD frames of our {near} are refused there: its {far} carries classic ones only");
    pair.server.wait_error(&refused);
    command(&format!("cansend {near} 123##1112233")).unwrap();
    assert!(crosses(&near, &far));
    let totals = pair.client.interrupt().totals();
    assert_eq!((totals["refused"], totals["received"]), (1, 1), "{totals:?}");
}

/// An interface that is given another name is not the one that was asked for any more, until it has its name again.
#[test]
fn interface_renamed() {
    let Some(_lab) = can_available() else { return };
    for engine in ["uring", "epoll"] {
        let [near, far, other] = [(); 3].map(|()| unique_name("v"));
        let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
        let pair = Pair::start(&near, &far, &format!("--engine {engine}"));
        assert!(crosses(&near, &far));
        // Older kernels rename no interface that is up.
        let rename = |from: &str, to: &str| {
            ip(&format!("link set {from} down"));
            ip(&format!("link set {from} name {to}"));
            ip(&format!("link set {to} up"));
        };
        rename(&near, &other);
        pair.server.wait_error(&format!("{near} is gone"));
        assert!(!crosses(&other, &far) && !crosses(&far, &other), "{engine}");
        rename(&other, &near);
        eventually("frames to cross again", || crosses(&near, &far) && crosses(&far, &near));
        assert_connected_once(pair);
    }
}

/// What came before an interface was deleted crosses, also if the bridge comes to look only afterwards: the kernel then tells
/// it first that the interface is gone.
#[test]
fn what_came_before_a_deletion_crosses() {
    const FRAMES: u32 = 100;
    let Some(_lab) = can_available() else { return };
    for engine in ["uring", "epoll"] {
        let (near, far) = (unique_name("v"), unique_name("v"));
        let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
        let pair = Pair::start(&near, &far, &format!("--engine {engine}"));
        let receiver = receiver(&far, &[CanFilter::new(0x100, 0x7FF)], Duration::from_secs(30));
        pair.server.signal("STOP");
        let sender = sender(&near);
        (0..FRAMES).for_each(|index| send(&sender, &frame(0x100, &index.to_be_bytes())));
        ip(&format!("link delete {near}"));
        pair.server.signal("CONT");
        for index in 0..FRAMES {
            let received = receiver.read_frame().unwrap_or_else(|error| panic!("{engine}, {index}: {error}"));
            assert_eq!(received.data(), &index.to_be_bytes(), "{engine}");
        }
        pair.server.wait_error(&format!("{near} is gone"));
        let totals = pair.server.interrupt().totals();
        assert_eq!((totals["taken"], totals["sent"]), (u64::from(FRAMES), u64::from(FRAMES)), "{totals:?}");
    }
}

/// Asserts that the connection was the same from beginning to end.
fn assert_connected_once(pair: Pair) {
    let client = pair.client.interrupt();
    let server = pair.server.interrupt();
    for (program, text) in [(&client, "connected to "), (&server, "connected: version")] {
        let count = program.errors.iter().filter(|line| line.contains(text)).count();
        assert_eq!(count, 1, "{text:?} in {:#?}", program.errors);
    }
}

/// Filters that the kernel can apply are given to the kernel.
#[test]
fn filters_are_the_kernels() {
    let Some(_lab) = can_available() else { return };
    let (near, far) = (unique_name("v"), unique_name("v"));
    let _vcans = [Made::vcan(&near, CLASSIC), Made::vcan(&far, CLASSIC)];
    let pair = Pair::start(&near, &far, "--filter 123:7FF --filter 400:7F0 --filter 12345678:1FFFFFFF");

    // The bridge is the only one to listen on the interface; not on everything, and for each of the three.
    let lists = receive_lists("", &near);
    assert!(lists.iter().all(|(list, _)| ["fil", "sff", "eff"].contains(&list.as_str())), "{lists:?}");
    assert_eq!(lists.len(), 3, "{lists:?}");

    let receiver = receiver(&far, &[CanFilter::new(0, 0)], Duration::from_secs(10));
    let sender = sender(&near);
    for identifier in [0x122, 0x123, 0x124, 0x3FF, 0x400, 0x40F, 0x410, 0x1234_5677, 0x1234_5678, 0x123] {
        send(&sender, &frame(identifier, &[]));
    }
    let received: Vec<u32> = (0..5).map(|_| receiver.read_frame().unwrap().raw_id()).collect();
    assert_eq!(received, [0x123, 0x400, 0x40F, 0x1234_5678, 0x123]);
    assert_eq!(pair.server.interrupt().totals()["sent"], 5);
}

/// Remote, error and FD frames stay off a version 4 link, and are counted.
#[test]
fn what_version_4_cannot_carry_stays_off_and_is_counted() {
    let Some(_lab) = can_available() else { return };
    let near = unique_name("v");
    let _vcan = Made::vcan(&near, FD);
    let server = Program::bridge(&format!("server --can {near} --port 0"));
    let peer = python_peer(&format!("client --stdio --port {}", server.port()));
    server.wait_error("connected: version 4.1 (SEQ)");

    for frame in ["101#01", "102#R4", "20000080#0000000000000000", "103##10102", "104#0102"] {
        command(&format!("cansend {near} {frame}")).unwrap();
    }
    let printed = peer.wait_output(2);
    assert_eq!(printed, ["00 1 00000101 0100000000000000 0 -", "00 2 00000104 0102000000000000 1 -"]);

    let totals = server.interrupt().totals();
    assert_eq!((totals["sent"], totals["not_representable"]), (2, 3), "{totals:?}");
    assert!(peer.finish().output.last().unwrap().contains("\"received\": 2, \"gaps\": 0, \"missing\": 0"));
}
