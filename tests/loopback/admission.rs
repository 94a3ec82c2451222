//! Connections in front of a server's places, and links that wait for their peers: bounded, and whoever has the most of them
//! makes room first.

use std::fs;
use std::time::Duration;

use canip_peer::buffer::SendBuffer;
use canip_peer::wire::v5::{HEADER_BYTES, Hello, MAX_BUSES};

use crate::program::{Program, unique_name};
use crate::raw_peer::{ANSWER, GREETING_V5, RawPeer};
use crate::server;
use crate::software_bus::Member;

on_each_engine!(
    who_is_turned_away_leaves_nothing_behind,
    a_crowd_in_front_makes_room_itself,
    nobody_makes_room_for_nobody,
    made_up_peers_push_out_nobody_else,
);

/// Connections that may be in front of the places.
const HALF_OPEN_MAX: usize = 128;

/// Links that are kept for peers that may return.
const MAX_PARKED: usize = 32;

/// One client's address, and that of a crowd.
const ONE: [u8; 4] = [127, 0, 0, 2];
const CROWD: [u8; 4] = [127, 0, 0, 3];

/// What a client of version 5 begins with.
fn hello(instance: u64) -> Vec<u8> {
    let mut out = SendBuffer::with_capacity(1_024);
    let buses = [Default::default(); MAX_BUSES];
    let hello = Hello { instance, receipts_for: 0, heartbeat_ms: 0, bus_count: 1, buses };
    assert!(hello.write(&mut out));
    out.unsent().to_vec()
}

/// Reads a server's HELLO, with one bus.
fn answered(peer: &mut RawPeer) -> Hello {
    let record = peer.read(hello(0).len());
    assert_eq!(record[0], 1, "HELLO");
    Hello::read(&record[HEADER_BYTES..]).unwrap()
}

/// A client of version 5 of one bus, which has read the server's HELLO.
fn greeted_v5(source: [u8; 4], port: u16, hello: &[u8]) -> (RawPeer, Hello) {
    let mut peer = RawPeer::connect_from(source, port);
    peer.send(&[GREETING_V5, hello].concat());
    peer.expect(ANSWER);
    let answer = answered(&mut peer);
    (peer, answer)
}

fn who_is_turned_away_leaves_nothing_behind(engine: &'static str) {
    let name = unique_name("full");
    let _bus = Member::join(&name);
    let server = server(engine, &name, "--max-clients 1");
    let port = server.port();
    let _held = greeted_v5(ONE, port, &hello(1));
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

/// A connection that has offered version 5, and now has ten seconds for its HELLO.
fn half_open(source: [u8; 4], port: u16) -> RawPeer {
    let mut peer = RawPeer::connect_from(source, port);
    peer.send(GREETING_V5);
    peer
}

fn descriptors(server: &Program) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count()
}

fn a_crowd_in_front_makes_room_itself(engine: &'static str) {
    const CROWD_SIZE: usize = 4 * HALF_OPEN_MAX;
    let name = unique_name("crowd");
    let _bus = Member::join(&name);
    let server = server(engine, &name, "");
    let port = server.port();
    let mut one = half_open(ONE, port);
    one.expect(ANSWER);
    let before = descriptors(&server) - 1;
    let mut crowd: Vec<RawPeer> = (0..CROWD_SIZE).map(|_| half_open(CROWD, port)).collect();

    // The others wait in the kernel until the first have had half a second, and come in their turn.
    let mut most = 0;
    crowd[CROWD_SIZE - 1].expect_meanwhile(ANSWER, || most = most.max(descriptors(&server)));
    // What is dropped may keep its descriptor until the engine's next turn, so that there are twice as many for a moment.
    assert!(most <= before + 2 * HALF_OPEN_MAX + 1, "{most} descriptors, {before} before");
    // Of the crowd the oldest went; the one that had been there before all of it did not.
    let line = server.wait_error(" dropped: it has not greeted, and 128 others have not either");
    assert!(line.contains(&crowd[0].name()), "{line}");
    crowd[0].wait_closed();
    one.send(&hello(1));
    answered(&mut one);
    server.wait_error(&format!("{} connected: version 5", one.name()));
    let dropped = CROWD_SIZE + 1 - HALF_OPEN_MAX;
    let totals = server.interrupt().totals();
    assert_eq!(totals["turned_away"], dropped as u64, "{totals:?}");
}

fn nobody_makes_room_for_nobody(engine: &'static str) {
    let name = unique_name("front");
    let _bus = Member::join(&name);
    let server = server(engine, &name, "");
    let port = server.port();
    let mut crowd: Vec<RawPeer> = (0..HALF_OPEN_MAX).map(|_| half_open(CROWD, port)).collect();
    // Each is let be for its ten seconds, not for the half second that it would have to itself.
    crowd.iter_mut().for_each(|peer| peer.expect(ANSWER));
    std::thread::sleep(Duration::from_secs(1));
    crowd[0].send(&hello(1));
    answered(&mut crowd[0]);
    let totals = server.interrupt().totals();
    assert_eq!(totals["turned_away"], 0, "{totals:?}");
}

fn made_up_peers_push_out_nobody_else(engine: &'static str) {
    let name = unique_name("parked");
    let _bus = Member::join(&name);
    let server = server(engine, &name, "");
    let port = server.port();
    let leave = |source, instance| {
        let (peer, _) = greeted_v5(source, port, &hello(instance));
        let name = peer.name();
        server.wait_error(&format!("{name} connected: version 5"));
        peer.reset();
        server.wait_error(&format!("{name} disconnected, "));
        name
    };
    let one = leave(ONE, 1);
    let crowd: Vec<String> = (0..=MAX_PARKED as u64).map(|number| leave(CROWD, 100 + number)).collect();
    // Two too many of the crowd: its first two made room.
    for first in &crowd[..2] {
        server.wait_error(&format!("{first} has not returned: what it misses is no longer counted"));
    }
    // It is back, and goes on where it ended. Of links that wait until the server stops that would be said, too.
    let (_back, _) = greeted_v5(ONE, port, &hello(1));
    let errors = server.interrupt().errors;
    assert!(!errors.iter().any(|line| line.contains(&format!("{one} has not returned"))), "{errors:#?}");
}
