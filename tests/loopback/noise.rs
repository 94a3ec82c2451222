//! Connections that are no peers, by the hundred, and more clients than a server takes: those that have a place notice
//! nothing, and nothing is left of the others.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use canip_peer::wire::v5::{HEADER_BYTES, Hello, MAX_BUSES};

use crate::common_noise::{NOISE, noise};
use crate::program::{PATIENCE, Program, unique_name};
use crate::raw_peer::{ANSWER, GREETING, RawPeer, encoded};
use crate::software_bus::Member;
use crate::{Pair, UNHURRIED, client, server};

on_each_engine!(
    two_hundred_connections_of_noise_while_a_client_runs,
    noise_leaves_nothing_behind,
    more_clients_than_places,
    a_client_that_connects_anew_has_its_place,
    silence_gives_way_to_a_peer,
    without_descriptors_it_serves_on,
);

/// Descriptors and resident kilobytes of a process.
fn resources(server: &Program) -> (usize, u64) {
    let process = format!("/proc/{}", server.child.id());
    let descriptors = fs::read_dir(format!("{process}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (descriptors, line.split_whitespace().next().unwrap().parse().unwrap())
}

/// Waits until a server has as many descriptors as it had, and no more.
fn wait_descriptors(server: &Program, most: usize) {
    let deadline = Instant::now() + PATIENCE;
    while resources(server).0 > most {
        assert!(Instant::now() < deadline, "{} descriptors, {most} before", resources(server).0);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn two_hundred_connections_of_noise_while_a_client_runs(engine: &'static str) {
    const FRAMES: usize = 12_000;
    let pair = Pair::start(engine, "--heartbeat 0", "");
    let mut random = fastrand::Rng::with_seed(7);
    let mut sent = 0;
    for _ in 0..3 {
        let noise: Vec<TcpStream> = (0..NOISE).map(|kind| noise(kind, pair.port, &mut random)).collect();
        // 4,000 frames a second while it lasts; a byte of noise each hundred frames.
        let started = Instant::now();
        for number in 0..FRAMES / 3 {
            pair.near.send(&[format!("123#{sent:08X}")]);
            sent += 1;
            if number % 100 == 0 {
                // A peer that trickles, which the server may have closed.
                drop((&noise[2 + 8 * (number / 100 % 20)]).write_all(b"x"));
            }
            let due = started + Duration::from_micros(250) * (number as u32 + 1);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        pair.far.wait_count(sent);
        drop(noise);
        // What the client's link, the bus and the listener take.
        wait_descriptors(&pair.server, 64);
    }
    let expected: Vec<String> = (0..sent).map(|number| format!("123#{number:08X}")).collect();
    assert_eq!(pair.far.wait(sent), expected, "every frame, once, in order");
    let client = pair.client.interrupt().totals();
    assert_eq!((client["received"], client["missing"], client["gaps"]), (sent as u64, 0, 0), "{client:?}");
    let finished = pair.server.interrupt();
    let totals = finished.totals();
    assert_eq!((totals["slow_peer"], totals["stale"], totals["kernel_drops"]), (0, 0, 0), "{totals:?}");
    assert!(totals["faults"] > 100, "{totals:?}");
    // 600 connections, of which each kind may be said twenty times a second.
    assert!(finished.errors.len() < 1_000, "{} lines", finished.errors.len());
}

fn noise_leaves_nothing_behind(engine: &'static str) {
    let name = unique_name("noise");
    let _bus = Member::join(&name);
    let server = server(engine, &name, "");
    let port = server.port();
    let _held = RawPeer::greeted(port);
    let descriptors = resources(&server).0;
    let mut random = fastrand::Rng::with_seed(8);
    let mut round = || {
        let noise: Vec<TcpStream> = (0..NOISE).map(|kind| noise(kind, port, &mut random)).collect();
        drop(noise);
        wait_descriptors(&server, descriptors);
    };
    // The first rounds make room that is kept for the next ones.
    (0..5).for_each(|_| round());
    let before = resources(&server).1;
    (0..10).for_each(|_| round());
    let after = resources(&server).1;
    // 2,000 connections: one and a half kilobytes of each would be seen.
    assert!(after <= before + 3_000, "{after} kB resident, {before} kB before");
    let errors = server.interrupt().errors.len();
    assert!(errors < 3_000, "{errors} lines about 3,000 connections");
}

fn more_clients_than_places(engine: &'static str) {
    let names = [unique_name("bus"), unique_name("one"), unique_name("two")];
    let [bus, one, _two] = names.each_ref().map(|name| Member::join(name));
    let server = server(engine, &names[0], "--max-clients 2");
    let port = server.port();
    let first = client(engine, &names[1], port, "");
    first.wait_error("connected to 127.0.0.1:");
    let held = RawPeer::greeted(port);

    // One of version 5, of 4.1, and of 4.0: each is told as far as it has words for it.
    let second = client(engine, &names[2], port, "");
    let line = second.wait_error("turned away by ");
    assert!(
        line.ends_with(&format!(
            " WARN turned away by 127.0.0.1:{port}: it has as many clients as it takes: raise --max-clients there; \
             trying again"
        )),
        "{line}"
    );
    server.wait_errors(" turned away: all places are taken (--max-clients)", 3);
    let older = client(engine, &names[2], port, "--protocol 4.1");
    older.wait_error("it has as many clients as it takes: raise --max-clients there; trying again");
    older.interrupt();
    let mut greets = RawPeer::connect(port);
    greets.send(GREETING);
    greets.expect(b"CANIP/4.1 FULL\n");
    greets.wait_closed();
    let mut legacy = RawPeer::connect(port);
    legacy.send(&encoded(0x321, [1, 2, 3, 4], None));
    legacy.wait_closed();

    // Those with a place have noticed nothing, and of the others nothing got to the bus.
    bus.send(&["123#01"]);
    assert_eq!(one.wait(1), ["123#01"]);
    assert_eq!(bus.count(), 0);
    // A place is free: the one that waits gets it by itself. It has said one line, however often it tried.
    drop(held);
    second.wait_error("connected to 127.0.0.1:");
    let said = second.interrupt().errors;
    assert_eq!(said.iter().filter(|line| line.contains("turned away")).count(), 1, "{said:#?}");
    first.interrupt();
    let totals = server.interrupt().totals();
    assert!(totals["turned_away"] >= 6, "{totals:?}");
    assert_eq!(totals["faults"], 0, "{totals:?}");
}

fn a_client_that_connects_anew_has_its_place(engine: &'static str) {
    let names = [unique_name("bus"), unique_name("old")];
    let [_bus, _old] = names.each_ref().map(|name| Member::join(name));
    let server = server(engine, &names[0], "--max-clients 1");
    let port = server.port();
    // The same process, whose connection before is still there for all the server knows.
    let greet = || {
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut out = canip_peer::buffer::SendBuffer::with_capacity(1_024);
        let hello = Hello {
            instance: 77,
            receipts_for: 0,
            heartbeat_ms: 0,
            bus_count: 1,
            buses: [Default::default(); MAX_BUSES],
        };
        assert!(out.append(b"CANIP/4.1 V=5\n") && hello.write(&mut out));
        peer.write_all(out.unsent()).unwrap();
        // The server's line, and the kind of the record behind it.
        let mut answer = vec![0; ANSWER.len() + HEADER_BYTES];
        peer.read_exact(&mut answer).unwrap();
        (peer, answer[ANSWER.len()])
    };
    let (_dead, first) = greet();
    let (_alive, again) = greet();
    assert_eq!([first, again], [1, 1], "HELLO both times");
    server.wait_error("its client has connected anew");
    let totals = server.interrupt().totals();
    assert_eq!(totals["turned_away"], 0, "{totals:?}");
}

fn silence_gives_way_to_a_peer(engine: &'static str) {
    let name = unique_name("silence");
    let _bus = Member::join(&name);
    let server = server(engine, &name, "--max-clients 3");
    let port = server.port();
    let mut silent: Vec<RawPeer> = (0..3).map(|_| RawPeer::connect(port)).collect();
    server.wait_errors("connected: version 4.0", 3);
    // Half a frame is no more than silence.
    silent[0].send(&[0, 4, 0x23]);
    let mut peers: Vec<RawPeer> = (0..3).map(|_| RawPeer::greeted(port)).collect();
    silent.iter_mut().for_each(RawPeer::wait_closed);
    // They do not give way to silence, nor to each other.
    let mut late = RawPeer::connect(port);
    late.wait_closed();
    let mut fourth = RawPeer::connect(port);
    fourth.send(GREETING);
    fourth.expect(b"CANIP/4.1 FULL\n");
    for peer in &mut peers {
        peer.send(&encoded(0x124, [0, 0, 0, 2], Some(0)));
    }
    _bus.wait_count(3);
    let totals = server.interrupt().totals();
    assert_eq!(totals["turned_away"], 5, "{totals:?}");
}

fn without_descriptors_it_serves_on(engine: &'static str) {
    let (near_name, far_name) = (unique_name("near"), unique_name("far"));
    let (near, far) = (Member::join(&near_name), Member::join(&far_name));
    let mut command = std::process::Command::new("prlimit");
    let arguments = format!(
        "--nofile=48:48 {} server --engine {engine} {UNHURRIED} --can-interface software --can {near_name} --bind 127.0.0.1 \
         --port 0 --stats-interval 0",
        env!("CARGO_BIN_EXE_canip_peer")
    );
    command.args(arguments.split_whitespace());
    let server = Program::start(command);
    let port = server.port();
    let client = client(engine, &far_name, port, "");
    client.wait_error("connected to 127.0.0.1:");
    let crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    server.wait_error("cannot accept a client: ");
    let processor_before = processor_ticks(&server);
    let started = Instant::now();
    near.send(&["123#01"]);
    assert_eq!(far.wait(1), ["123#01"]);
    // Nothing is left to tell but time: half a second of it.
    std::thread::sleep(Duration::from_millis(500).saturating_sub(started.elapsed()));
    let ticks = processor_ticks(&server) - processor_before;
    assert!(ticks <= 25, "{ticks} hundredths of a second of work in half a second: it spins");
    drop(crowd);
    // There is room again.
    let mut peer = RawPeer::greeted(port);
    peer.send(&encoded(0x124, [0, 0, 0, 2], Some(0)));
    near.wait_count(1);
    let errors = server.interrupt().errors;
    assert_eq!(
        errors.iter().filter(|line| line.contains("cannot accept a client")).count(),
        1,
        "{errors:#?}"
    );
}

/// Hundredths of a second of processor time that a process has used.
fn processor_ticks(server: &Program) -> u64 {
    let line = fs::read_to_string(format!("/proc/{}/stat", server.child.id())).unwrap();
    let (_, behind) = line.rsplit_once(')').unwrap();
    let fields: Vec<&str> = behind.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
