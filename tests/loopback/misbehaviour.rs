//! Peers that say nothing, speak slowly, or are no peers at all. A server says one line about each, and serves on.

use std::time::{Duration, Instant};

use crate::program::{Finished, Program, unique_name};
use crate::raw_peer::{ANSWER, GREETING, RawPeer, encoded};
use crate::server;
use crate::software_bus::Member;

on_each_engine!(
    a_silent_peer_is_one_of_version_4_0,
    a_greeting_and_frames_byte_by_byte,
    one_frame_and_goodbye,
    whatever_comes_the_server_serves_on,
    only_greetings_where_4_1_is_asked_for,
);

fn start(engine: &str, options: &str) -> (Member, Program, u16) {
    let name = unique_name("peers");
    let bus = Member::join(&name);
    let server = server(engine, &name, options);
    let port = server.port();
    (bus, server, port)
}

fn a_silent_peer_is_one_of_version_4_0(engine: &'static str) {
    let (bus, server, port) = start(engine, "");
    let started = Instant::now();
    let mut silent = RawPeer::connect(port);
    server.wait_error(&format!("INFO {} connected: version 4.0", silent.name()));
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(1_900), "taken for 4.0 after {waited:?}");
    bus.send(&["123#11223344", "18DAF110#02", "123#R4"]);
    bus.send(&["7FF#"]);
    // No greeting before, no sequence number behind, and no remote frame, which version 4 cannot carry.
    silent.expect(&[0x00, 4, 0x23, 0x01, 0, 0, 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0]);
    silent.expect(&[0x01, 1, 0x10, 0xF1, 0xDA, 0x18, 0x02, 0, 0, 0, 0, 0, 0, 0]);
    silent.expect(&[0x00, 0, 0xFF, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    drop(silent);
    let totals = server.interrupt().totals();
    assert_eq!((totals["sent"], totals["not_representable"]), (3, 1), "{totals:?}");
}

fn a_greeting_and_frames_byte_by_byte(engine: &'static str) {
    let (bus, server, port) = start(engine, "--timestamp");
    let mut peer = RawPeer::connect(port);
    // Carriage return and unknown tokens and tags are allowed; time was not offered by this side.
    let line = b"CANIP/4.1 V=9 FEAT=seq,ZIP\r\n";
    line.iter().for_each(|byte| peer.send(&[*byte]));
    peer.expect(b"CANIP/4.1 FEAT=SEQ,TS V=5\n");
    for (sequence, identifier) in (0..).zip([0x123, 0x124, 0x125]) {
        let frame = encoded(identifier, [1, 2, 3, 4], Some(sequence));
        frame.iter().for_each(|byte| peer.send(&[*byte]));
    }
    assert_eq!(bus.wait(3), ["123#01020304", "124#01020304", "125#01020304"]);
    drop(peer);
    let totals = server.interrupt().totals();
    assert_eq!((totals["received"], totals["gaps"], totals["faults"]), (3, 0, 0), "{totals:?}");
}

fn one_frame_and_goodbye(engine: &'static str) {
    let (bus, server, port) = start(engine, "");
    // As from a script: all of it may be there before the server looks.
    for count in 1..=20 {
        let mut peer = RawPeer::connect(port);
        peer.send(&encoded(0x321, [0, 0, 0, count], None));
        peer.finish();
        peer.wait_closed();
        assert_eq!(bus.wait(count.into()).last().unwrap(), &format!("321#000000{count:02X}"));
    }
    let totals = server.interrupt().totals();
    assert_eq!((totals["received"], totals["stale"], totals["faults"]), (20, 0, 0), "{totals:?}");
}

fn whatever_comes_the_server_serves_on(engine: &'static str) {
    let (bus, server, port) = start(engine, "");
    let mut good = RawPeer::greeted(port);
    let mut about: Vec<(String, &str)> = Vec::new();
    let refused = |bytes: &[u8]| {
        let mut peer = RawPeer::connect(port);
        peer.send(bytes);
        peer.wait_closed();
        peer.name()
    };

    about.push((
        refused(b"GET / HTTP/1.1\r\nHost: pi\r\n\r\n"),
        "WARN NAME refused: it sent text, \"GET / HTTP/1.1\", which is no frame: flags 0x47 (only bit 0 is \
         defined). Not a canip_peer, or one with another framing",
    ));
    about.push((
        refused(&[0xFF, 0xFE, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        "WARN NAME refused: it sent the bytes FF FE 80 00 01 02 03 04 05 06 07 08 09 0A, which is no frame: flags \
         0xFF (only bit 0 is defined). Not a canip_peer, or one with another framing",
    ));
    about.push((
        refused(&[0, 9, 0x23, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        "WARN NAME refused: it sent the bytes 00 09 23 01 00 00 00 00 00 00 00 00 00 00, which is no frame: payload \
         length 9 (8 at most). Not a canip_peer, or one with another framing",
    ));
    let endless = [b"CANIP/4.1 ".as_slice(), &[b'A'; 1_014]].concat();
    about.push((
        refused(&endless),
        "WARN NAME refused: it sent text, \"CANIP/4.1 AAAAAA\" instead of a greeting: not a canip_peer, or one of \
         version 4.0 (for which a client needs --protocol 4.0, a server --protocol auto, the default)",
    ));
    about.push((
        refused(b"CONNECT pi:22\r\n"),
        "WARN NAME refused: it sent text, \"CONNECT pi:22\\r\\n\" instead of a greeting: not a canip_peer, or one of \
         version 4.0 (for which a client needs --protocol 4.0, a server --protocol auto, the default)",
    ));
    // This one may have been a peer of version 4.0 for all the server knew.
    let mut half = RawPeer::connect(port);
    half.send(&[0, 4, 0x23, 1, 0, 0, 0xAA]);
    server.wait_error(&format!("{} connected: version 4.0", half.name()));
    half.finish();
    half.wait_closed();
    about.push((
        half.name(),
        "WARN NAME disconnected, it closed the connection inside a frame (7 bytes of it had arrived): sent 0 received 0 \
         waiting 0 faults 1",
    ));
    about.push((
        {
            let mut peer = RawPeer::connect(port);
            peer.finish();
            peer.wait_closed();
            peer.name()
        },
        "INFO NAME left before a greeting: closed by the peer",
    ));
    let reset = RawPeer::connect(port);
    let name = reset.name();
    reset.reset();
    let line = "INFO NAME left before a greeting: connection lost: Connection reset by peer (os error 104)";
    server.wait_error(&format!("{name} left before a greeting: "));
    about.push((name, line));

    // None of it reached the bus, nor the peer that was there before.
    bus.send(&["123#00000001"]);
    good.expect(&encoded(0x123, [0, 0, 0, 1], Some(0)));
    good.send(&encoded(0x124, [0, 0, 0, 2], Some(0)));
    assert_eq!(bus.wait(1), ["124#00000002"]);
    let mut newcomer = RawPeer::connect(port);
    newcomer.send(GREETING);
    newcomer.expect(ANSWER);

    drop((good, newcomer));
    let finished = server.interrupt();
    assert_one_line_each(&finished, &about);
    assert_eq!(finished.totals()["faults"], 6);
}

fn only_greetings_where_4_1_is_asked_for(engine: &'static str) {
    let (bus, server, port) = start(engine, "--protocol 4.1");
    let mut legacy = RawPeer::connect(port);
    legacy.send(&encoded(0x321, [0; 4], None));
    legacy.wait_closed();
    let mut silent = RawPeer::connect(port);
    silent.wait_closed();
    let mut half = RawPeer::connect(port);
    half.send(b"CANIP/4.1 FEAT");
    half.wait_closed();
    let mut good = RawPeer::connect(port);
    good.send(GREETING);
    good.expect(GREETING);
    good.send(&encoded(0x124, [0, 0, 0, 2], Some(0)));
    assert_eq!(bus.wait(1), ["124#00000002"]);

    let none = "WARN NAME refused: it sent no greeting within 2 s: not a canip_peer, or one of version 4.0 (for which \
                a client needs --protocol 4.0, a server --protocol auto, the default)";
    let bytes = "WARN NAME refused: it sent the bytes 00 04 21 03 00 00 00 00 00 00 00 00 00 00 instead of a greeting: \
                 not a canip_peer, or one of version 4.0 (for which a client needs --protocol 4.0, a server --protocol auto, \
                 the default)";
    let about = [(legacy.name(), bytes), (silent.name(), none), (half.name(), none)];
    drop(good);
    let finished = server.interrupt();
    assert_one_line_each(&finished, &about);
    assert_eq!(finished.totals()["faults"], 3);
}

/// Asserts that the server said exactly this of each peer, behind the time; and before it, at most that it had come.
fn assert_one_line_each(finished: &Finished, about: &[(String, &str)]) {
    for (name, expected) in about {
        let mark = format!("{name} ");
        let about_it = |line: &&String| line.contains(&mark) && !line.contains(" connected: ");
        let lines: Vec<&String> = finished.errors.iter().filter(about_it).collect();
        let [line] = lines[..] else { panic!("of {name}: {lines:#?}") };
        let (_, said) = line.split_once("Z ").unwrap();
        assert_eq!(said.trim_start(), expected.replace("NAME", name));
    }
}
