//! A process that stands still for three seconds under load, or is another one afterwards: nobody is wrongly taken for
//! dead, nothing that is too old comes out, and the books agree.

use std::collections::HashMap;

use crate::books::assert_balanced;
use crate::cut::{CUT, RATE, Scene};
use crate::program::Program;

on_each_engine!(the_client_stops, the_server_stops, a_client_whose_server_gives_up, another_server);

/// A side that stood still itself gives its peer the benefit of it; its peer without heartbeats waits.
fn the_client_stops(engine: &'static str) {
    let scene = Scene::start(engine, "--heartbeat 0", "--heartbeat 0.3", true);
    scene.wait_frames(RATE / 2);
    scene.client.signal("STOP");
    std::thread::sleep(CUT);
    scene.client.signal("CONT");
    scene.wait_frames(RATE / 2);
    let (server, client) = scene.end();
    assert_one_connection(&server.errors, &client.errors);
}

fn the_server_stops(engine: &'static str) {
    let scene = Scene::start(engine, "--heartbeat 0.3", "--heartbeat 0", true);
    scene.wait_frames(RATE / 2);
    scene.server.signal("STOP");
    std::thread::sleep(CUT);
    scene.server.signal("CONT");
    scene.wait_frames(RATE / 2);
    let (server, client) = scene.end();
    assert_one_connection(&server.errors, &client.errors);
}

fn assert_one_connection(server: &[String], client: &[String]) {
    for (lines, text) in [(server, "connected: version 5"), (client, "connected to ")] {
        let count = lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!(count, 1, "{text}: {lines:#?}");
    }
}

/// The client finds that its server stands still, and connects anew. When the server goes on, it finds two connections,
/// the first of which is of no use any more, with frames of both directions in its buffers.
fn a_client_whose_server_gives_up(engine: &'static str) {
    let scene = Scene::start(engine, "--heartbeat 30", "--heartbeat 0.3", true);
    scene.wait_frames(RATE / 2);
    scene.server.signal("STOP");
    scene.client.wait_error("three heartbeat intervals; trying again");
    scene.server.signal("CONT");
    scene.client.wait_errors("connected to ", 2);
    scene.wait_frames(RATE / 2);
    scene.end();
}

/// A server that is another process knows nothing of the client: both begin to count anew, and say so.
fn another_server(engine: &'static str) {
    let mut scene = Scene::start(engine, "", "", true);
    scene.wait_frames(RATE / 2);
    scene.relay.refuse();
    let arguments = format!(
        "server --engine {engine} --can-interface software --can {} --bind 127.0.0.1 --port 0",
        scene.server_bus
    );
    let successor = Program::bridge(&arguments);
    scene.relay.go_to(successor.port());
    let predecessor = std::mem::replace(&mut scene.server, successor);
    scene.relay.restore();
    scene.server.wait_error("connected: version 5");
    scene.client.wait_error(
        "one of us was started anew, or has forgotten the other: what was lost meanwhile is not known",
    );
    let predecessor = predecessor.interrupt().totals();
    scene.wait_frames(RATE / 2);
    let (server, client, [there, back]) = scene.finish();
    // Of what was lost when the two began anew, nothing is in their books; only what was dropped, if the machine has more to
    // do than it can: to the client, by either server.
    let (server, client) = (server.totals(), client.totals());
    let servers: HashMap<String, u64> =
        server.iter().map(|(name, count)| (name.clone(), count + predecessor[name])).collect();
    for (totals, peer) in [(&server, &client), (&client, &servers)] {
        let lost = ["in_transit", "peer_outage", "peer_in_transit", "duplicates"].map(|name| totals[name]);
        assert_eq!(lost, [0; 4], "{totals:?}");
        let dropped = ["peer_stale", "peer_slow", "peer_kernel_drops"].map(|name| totals[name]);
        assert_eq!(totals["missing"], dropped.iter().sum::<u64>(), "{totals:?}");
        let its_own = ["stale", "slow_peer", "kernel_drops"].map(|name| peer[name]);
        assert!(dropped.iter().zip(its_own).all(|(told, own)| *told <= own), "{totals:?} {peer:?}");
    }
    let [(_, there), (_, back)] = [there.unwrap(), back.unwrap()];
    assert_eq!(client["received"], there.count, "{client:?}");
    assert_eq!(servers["received"], back.count, "{servers:?}");
    assert!(servers["sent"] >= client["arrived"], "{servers:?} {client:?}");
    // Each of the two carried some.
    for name in ["sent", "received"] {
        assert!(server[name] > 0 && predecessor[name] > 0, "{name}: {server:?} {predecessor:?}");
    }
    for totals in [&server, &client, &predecessor] {
        assert_balanced(totals);
    }
}
