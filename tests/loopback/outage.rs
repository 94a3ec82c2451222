//! The server, or the process that hosts a bus, goes away and comes back: the client is connected again, and nothing
//! that was sent in between comes out afterwards.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::program::{PATIENCE, Program, unique_name};
use crate::software_bus::Member;
use crate::{Pair, carry, client, numbered, server};

on_each_engine!(server_killed, server_restarted, host_of_the_bus_killed);

/// How long a client may need: the pause of half a second that comes last, and time for a machine that is busy.
const RECONNECT: Duration = Duration::from_secs(20);

fn server_killed(engine: &'static str) {
    interrupted(engine, "KILL");
}

fn server_restarted(engine: &'static str) {
    interrupted(engine, "TERM");
}

fn interrupted(engine: &'static str, signal: &str) {
    let Pair { near, near_name, server, port, client, far, .. } = Pair::start(engine, "", "");
    carry(&near, &[&far], &numbered(1, 100));
    carry(&far, &[&near], &numbered(2, 100));

    server.signal(signal);
    let finished = server.finish();
    assert_eq!(finished.status.success(), signal == "TERM", "{}", finished.status);
    client.wait_error(&format!("WARN connection to 127.0.0.1:{port} ended: "));
    // Far more than either side would notice as a mere delay.
    near.send(&numbered(3, 2_000));
    far.send(&numbered(4, 2_000));

    let started = Instant::now();
    let arguments = format!("--can-interface software --can {near_name} --bind 127.0.0.1 --port {port}");
    let server = Program::bridge(&format!("server --engine {engine} {arguments}"));
    client.wait_errors(&format!("connected to 127.0.0.1:{port}: version 5"), 2);
    assert!(started.elapsed() < RECONNECT, "connected after {:?}", started.elapsed());
    server.wait_error("connected: version 5");
    carry(&near, &[&far], &numbered(5, 100));
    carry(&far, &[&near], &numbered(6, 100));

    let totals = client.interrupt().totals();
    assert_eq!((totals["sent"], totals["received"]), (200, 200), "{totals:?}");
    assert_eq!((totals["gaps"], totals["unsent"]), (0, 0), "{totals:?}");
    let totals = server.interrupt().totals();
    assert_eq!((totals["sent"], totals["received"]), (100, 100), "{totals:?}");
    assert_eq!([near.count(), far.count()], [200, 200]);
}

fn host_of_the_bus_killed(engine: &'static str) {
    let name = unique_name("hosted");
    let mut command = Command::new(env!("CARGO_BIN_EXE_canip_peer"));
    command.args(["dump", "--can-interface", "software", &name]);
    let host = Program::start(command);
    let near = Member::join_guest(&name);
    let far_name = unique_name("far");
    let far = Member::join(&far_name);
    let server = server(engine, &name, "");
    let client = client(engine, &far_name, server.port(), "");
    server.wait_error("connected: version 5");
    client.wait_error("connected to ");
    carry(&near, &[&far], &numbered(1, 100));

    host.signal("KILL");
    host.finish();
    let near = Member::join(&name);
    // The bridge joins when it finds out. Nobody tells, so one frame after the other is tried.
    let deadline = Instant::now() + PATIENCE;
    while near.count() == 0 {
        assert!(Instant::now() < deadline, "the bridge is not back on the bus");
        far.send(&["7FF#"]);
        std::thread::sleep(Duration::from_millis(20));
    }
    // Those that were under way.
    let arrived = far_to_near_is_quiet(&far, &near);
    carry(&near, &[&far], &numbered(2, 1_000));
    carry(&far, &[&near], &numbered(3, 1_000));
    assert_eq!([near.count(), far.count()], [arrived + 1_000, 1_100]);
    assert_eq!(server.interrupt().totals()["kernel_drops"], 0);
    client.interrupt().totals();
}

/// Waits until the frames that were sent before have come; how many came.
fn far_to_near_is_quiet(far: &Member, near: &Member) -> usize {
    far.send(&["000#FF"]);
    let mut count = 1;
    while near.wait(count).last().unwrap() != "000#FF" {
        count += 1;
    }
    near.count()
}
