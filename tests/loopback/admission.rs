//! Connections in front of a server's places, and links that wait for their peers: bounded, and whoever has the most of them
//! makes room first.

use std::fs;
use std::time::{Duration, Instant};

use canip_peer::buffer::SendBuffer;
use canip_peer::wire::v5::{HEADER_BYTES, Hello, MAX_BUSES};

use crate::program::{PATIENCE, Program, unique_name};
use crate::raw_peer::{ANSWER, GREETING, GREETING_V5, RawPeer};
use crate::server;
use crate::software_bus::Member;

on_each_engine!(who_is_turned_away_leaves_nothing_behind,);

/// One client's address.
const ONE: [u8; 4] = [127, 0, 0, 2];

/// What a client of version 5 begins with.
fn hello(instance: u64) -> Vec<u8> {
    let mut out = SendBuffer::with_capacity(1_024);
    let buses = [Default::default(); MAX_BUSES];
    let hello = Hello { instance, receipts_for: 0, heartbeat_ms: 0, bus_count: 1, buses };
    assert!(hello.write(&mut out));
    out.unsent().to_vec()
}

/// Reads a server's HELLO, with one bus: whom its receipts are about, which is whom it remembers.
fn remembered(peer: &mut RawPeer) -> u64 {
    let record = peer.read(hello(0).len());
    assert_eq!(record[0], 1, "HELLO");
    Hello::read(&record[HEADER_BYTES..]).unwrap().receipts_for
}

/// A client of version 5 of one bus, which has read the server's HELLO; whom that remembers.
fn greeted_v5(source: [u8; 4], port: u16, instance: u64) -> (RawPeer, u64) {
    let mut peer = RawPeer::connect_from(source, port);
    peer.send(&[GREETING_V5, &hello(instance)].concat());
    peer.expect(ANSWER);
    let remembered = remembered(&mut peer);
    (peer, remembered)
}

fn who_is_turned_away_leaves_nothing_behind(engine: &'static str) {
    let name = unique_name("full");
    let _bus = Member::join(&name);
    let server = server(engine, &name, "--max-clients 1");
    let port = server.port();
    let _held = greeted_v5(ONE, port, 1);
    let mut late = RawPeer::connect_from(ONE, port);
    late.send(&[GREETING_V5, &hello(2)].concat());
    late.expect(ANSWER);
    late.skip(HEADER_BYTES);
    let late_name = late.name();
    // Not in order, as a process does that is killed.
    late.reset();
    server.wait_error(&format!("{late_name} turned away: all places are taken (--max-clients)"));
    let errors = server.interrupt().errors;
    assert!(!errors.iter().any(|line| line.contains("has not returned")), "{errors:#?}");
}
