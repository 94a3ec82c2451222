//! Several buses over one connection keep their order and their numbers apart.

use crate::program::{Program, unique_name};
use crate::raw_peer::{RawPeer, encoded};
use crate::recording::Recording;
use crate::software_bus::Member;
use crate::{UNHURRIED, carry, client, numbered, server};

on_each_engine!(
    matched_in_order,
    matched_by_name,
    a_version_4_peer_gets_the_first,
    load_tests_leave_others_alone,
);

/// Frames of each bus, each way.
const FRAMES: u32 = 3_000;

struct Scene {
    server: Program,
    client: Program,
    near: Vec<Member>,
    far: Vec<Member>,
    names: [Vec<String>; 2],
}

/// A server and a client, each with buses whose names in `--can` begin so.
fn start(engine: &str, server_buses: &[&str], client_buses: &[&str]) -> Scene {
    let names =
        [server_buses, client_buses].map(|buses| buses.iter().map(|_| unique_name("b")).collect::<Vec<_>>());
    let [near, far] = names.each_ref().map(|names| names.iter().map(|name| Member::join(name)).collect());
    let cans = |prefixes: &[&str], names: &[String]| -> String {
        prefixes.iter().zip(names).map(|(prefix, name)| format!(" --can {prefix}{name}")).collect()
    };
    let common = format!("--engine {engine} --can-interface software --max-age 30000");
    let buses = cans(server_buses, &names[0]);
    let server = Program::bridge(&format!("server {common}{buses} --bind 127.0.0.1 --port 0"));
    let buses = cans(client_buses, &names[1]);
    let target = format!("--host 127.0.0.1 --port {}", server.port());
    let client = Program::bridge(&format!("client {common}{buses} {target}"));
    server.wait_error("connected: version 5");
    client.wait_error("connected to ");
    Scene { server, client, near, far, names }
}

/// Carries frames over all pairs at once, both ways.
fn carry_over(pairs: &[(&Member, &Member)]) {
    std::thread::scope(|scope| {
        for (&(near, far), direction) in pairs.iter().zip((0u8..).step_by(2)) {
            scope.spawn(move || carry(near, &[far], &numbered(direction, FRAMES)));
            scope.spawn(move || carry(far, &[near], &numbered(direction + 1, FRAMES)));
        }
    });
}

/// Ends both programs: so many frames have crossed each way, and no number was missing or came twice.
fn end(scene: Scene, frames: u32) {
    for program in [scene.client, scene.server] {
        let totals = program.interrupt().totals();
        let frames = u64::from(frames);
        assert_eq!((totals["sent"], totals["received"]), (frames, frames), "{totals:?}");
        for name in ["gaps", "missing", "duplicates", "reordered", "outage", "stale", "unsent", "faults"] {
            assert_eq!(totals[name], 0, "{name} in {totals:?}");
        }
    }
}

fn matched_in_order(engine: &'static str) {
    let scene = start(engine, &["", ""], &["", ""]);
    carry_over(&[(&scene.near[0], &scene.far[0]), (&scene.near[1], &scene.far[1])]);
    end(scene, 2 * FRAMES);
}

/// One bus of each side belongs to none of the other's: it carries nothing, which is said.
fn matched_by_name(engine: &'static str) {
    let scene = start(engine, &["door=", "alone=", "engine="], &["engine=", "door=", "lonely="]);
    for (program, name) in [(&scene.server, &scene.names[0][1]), (&scene.client, &scene.names[1][2])] {
        program.wait_error(&format!("nothing crosses from or to {name}, which belongs to none of its buses"));
    }
    let [door, alone, engine] = &scene.near[..] else { panic!("three buses") };
    let [far_engine, far_door, lonely] = &scene.far[..] else { panic!("three buses") };
    alone.send(&["123#"]);
    lonely.send(&["123#"]);
    carry_over(&[(door, far_door), (engine, far_engine)]);
    assert_eq!((alone.count(), lonely.count()), (0, 0));
    end(scene, 2 * FRAMES);
}

fn a_version_4_peer_gets_the_first(engine: &'static str) {
    let scene = start(engine, &["", ""], &["", ""]);
    let mut peer = RawPeer::greeted(scene.server.port());
    scene.near[1].send(&["222#00000002"]);
    scene.far[1].wait_count(1);
    scene.near[0].send(&["111#00000001"]);
    peer.expect(&encoded(0x111, [0, 0, 0, 1], Some(0)));
    // What the peer sends goes to the first bus, and on from there.
    peer.send(&encoded(0x333, [0, 0, 0, 3], Some(0)));
    scene.near[0].wait_count(1);
    assert_eq!(scene.far[0].wait(2), ["111#00000001", "333#00000003"]);
    assert_eq!((scene.near[1].count(), scene.far[1].count()), (0, 1));
}

/// A server that answers load tests has a bus for that, which nobody gets who does not ask for it, and of which nothing is
/// recorded. The load test comes first, so that it is the first to have a bus.
fn load_tests_leave_others_alone(engine: &'static str) {
    let recording = Recording::new();
    let (near_name, far_name) = (unique_name("near"), unique_name("far"));
    let (near, far) = (Member::join(&near_name), Member::join(&far_name));
    let server = server(engine, &near_name, &format!("--allow-bench {}", recording.option()));
    let port = server.port();
    let options = format!("--fps 500 --duration 60s --warm-up 0 -- {UNHURRIED}");
    let test = Program::bridge(&format!("bench --connect 127.0.0.1:{port} {options}"));
    // It has that bus then.
    server.wait_error("connected: version 5");
    let client = client(engine, &far_name, port, "");
    client.wait_error("connected to ");
    // A version 4 peer gets the first bus, and not that one.
    let mut peer = RawPeer::greeted(port);
    near.send(&["111#00000001"]);
    peer.expect(&encoded(0x111, [0, 0, 0, 1], Some(0)));
    far.wait_count(1);
    drop(peer);
    carry(&near, &[&far], &numbered(0, FRAMES));
    carry(&far, &[&near], &numbered(1, FRAMES));
    let tested = test.interrupt();
    if tested.status.code() != Some(130) {
        panic!("{:#?}\nof the server: {:#?}", tested.errors, server.interrupt().errors);
    }
    assert!(
        tested.output[0].starts_with("INTERRUPTED") && tested.output[0].contains("; 0 lost"),
        "{:?}",
        tested.output
    );
    let client = client.interrupt();
    let totals = client.totals();
    assert_eq!(
        (totals["sent"], totals["received"]),
        (u64::from(FRAMES), u64::from(FRAMES) + 1),
        "{totals:?}"
    );
    assert_eq!((totals["missing"], totals["filtered"]), (0, 0), "{totals:?}");
    let server = server.interrupt();
    assert_eq!(server.totals()["faults"], 0);
    for line in client.errors.iter().chain(&server.errors) {
        assert!(!line.contains("nothing crosses"), "{line}");
    }
    let crossed = [vec!["111#00000001".to_owned()], numbered(0, FRAMES), numbered(1, FRAMES)].concat();
    assert!(recording.frames(&near_name) == crossed, "other frames, or another order");
}
