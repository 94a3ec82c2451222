//! Several buses over one connection keep their order and their numbers apart.

use crate::carry;
use crate::numbered;
use crate::program::{Program, unique_name};
use crate::raw_peer::{RawPeer, encoded};
use crate::software_bus::Member;

on_each_engine!(matched_in_order, matched_by_name, a_version_4_peer_gets_the_first);

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
