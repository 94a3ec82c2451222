//! Liveness both ways: a bus that is silent is no peer that is dead, and a peer that is dead is found out on a silent bus.

use std::time::{Duration, Instant};

use crate::program::unique_name;
use crate::relay::Relay;
use crate::software_bus::Member;
use crate::{client, server};

on_each_engine!(a_silent_bus_and_then_a_dead_peer);

const HEARTBEAT: Duration = Duration::from_millis(300);

/// What is left to a machine that has more to do than it can.
const ALLOWANCE: Duration = Duration::from_millis(900);

fn a_silent_bus_and_then_a_dead_peer(engine: &'static str) {
    let names = [unique_name("near"), unique_name("far")];
    let _members = names.each_ref().map(|name| Member::join(name));
    let server = server(engine, &names[0], "--heartbeat 0.3");
    let relay = Relay::to(server.port());
    let client = client(engine, &names[1], relay.port(), "--heartbeat 0.3");
    server.wait_error("connected: version 5");
    client.wait_error("connected to ");
    // Nothing but heartbeats crosses, for as long as ten of them take.
    std::thread::sleep(HEARTBEAT * 10);
    relay.swallow();
    let start = Instant::now();
    let dead = "the peer gave no sign of life for three heartbeat intervals";
    client.wait_error(&format!("ended: {dead}; trying again"));
    server.wait_error(&format!("disconnected, {dead}"));
    let taken = start.elapsed();
    // The last sign of life may have come an interval before. Had one been found dead on the silent bus, this would have
    // taken no time.
    assert!(taken >= HEARTBEAT * 2 && taken < HEARTBEAT * 3 + ALLOWANCE, "{taken:?}");
}
