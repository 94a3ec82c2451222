//! SIGINT, SIGTERM and SIGHUP end a bridge in order and soon, whatever the other end does.

use std::time::{Duration, Instant};

use crate::program::{Program, unique_name};
use crate::raw_peer::RawPeer;
use crate::skip::skip;
use crate::software_bus::Member;
use crate::{Pair, carry, client, numbered, server};

on_each_engine!(interrupted, terminated, hung_up, client_first, while_nobody_answers);

fn interrupted(engine: &'static str) {
    connected(engine, "INT");
}

fn terminated(engine: &'static str) {
    connected(engine, "TERM");
}

fn hung_up(engine: &'static str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    if u64::from_str_radix(ignored, 16).unwrap() & 1 != 0 {
        return skip("SIGHUP, which is ignored here (nohup)", None);
    }
    connected(engine, "HUP");
}

/// Ends a program, which must take less than 3 s; returns what it counted.
fn end(program: Program, signal: &str) -> std::collections::HashMap<String, u64> {
    let started = Instant::now();
    program.signal(signal);
    let finished = program.finish();
    let taken = started.elapsed();
    assert!(taken < Duration::from_secs(3), "SIG{signal} took {taken:?}: {:#?}", finished.errors);
    assert_eq!(finished.status.code(), Some(0));
    assert!(
        finished.errors.iter().any(|line| line.ends_with(&format!(" INFO SIG{signal}: closing connections"))),
        "{:#?}",
        finished.errors
    );
    assert!(!finished.errors.iter().any(|line| line.contains(" ERROR ")), "{:#?}", finished.errors);
    finished.totals()
}

/// Waits until the bridge has nothing to do, which is when it waits in another way.
fn wait_idle(program: &Program, sent_and_received: &str) {
    program.wait_error(&format!(" sent_per_s 0 received_per_s 0 {sent_and_received} "));
}

fn client_first(engine: &'static str) {
    let Pair { near, server, client, far, .. } = Pair::start(engine, "", "--stats-interval 1");
    carry(&near, &[&far], &numbered(1, 100));
    wait_idle(&client, "sent 0 received 100");
    let totals = end(client, "TERM");
    assert_eq!((totals["sent"], totals["received"]), (0, 100), "{totals:?}");
    server.wait_error(" disconnected, closed by the peer: sent 100 received 0 ");
    assert_eq!(end(server, "INT")["sent"], 100);
}

fn connected(engine: &'static str, signal: &str) {
    let Pair { near, server, port, client, far, .. } = Pair::start(engine, "--stats-interval 1", "");
    // A peer that never closes its end, and one that never said anything.
    let stubborn = RawPeer::greeted(port);
    let silent = RawPeer::connect(port);
    carry(&near, &[&far], &numbered(1, 100));
    wait_idle(&server, "sent 200 received 0");
    let totals = end(server, signal);
    assert_eq!((totals["sent"], totals["received"]), (200, 0), "{totals:?}");
    client
        .wait_error(&format!("WARN connection to 127.0.0.1:{port} ended: closed by the peer; trying again"));
    let totals = end(client, signal);
    assert_eq!((totals["sent"], totals["received"]), (0, 100), "{totals:?}");
    drop((stubborn, silent));
}

fn while_nobody_answers(engine: &'static str) {
    let name = unique_name("lonely");
    let _bus = Member::join(&name);
    let idle = server(engine, &name, "");
    idle.port();
    assert_eq!(end(idle, "TERM")["sent"], 0);
    // A listener that accepts nobody: the connection is there, and no greeting comes.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let waiting = client(engine, &name, port, "");
    let said = waiting.wait_error(" WARN ");
    assert!(
        said.ends_with(&format!(
            " WARN 127.0.0.1:{port} did not greet: it sent no greeting within 2 s: not a canip_peer, or one of version \
             4.0 (for which a client needs --protocol 4.0, a server --protocol auto, the default); trying again"
        )),
        "{said}"
    );
    assert_eq!(end(waiting, "INT")["sent"], 0);
}
