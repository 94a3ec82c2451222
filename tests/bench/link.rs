//! A link to a server that answers load tests, measured there and back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::port::{FREE_ADDRESS, held_port};
use crate::program::{Program, unique_name};
use crate::report::{counts, faulty_numbers, run, start};

/// Frames are counted, not their age: on a machine with more to do than it can, one may wait.
const UNHURRIED: &str = "--max-age 0";

fn server(options: &str) -> Program {
    let bus = unique_name("bus");
    let place = "--bind 127.0.0.1 --port 0";
    Program::bridge(&format!("server --can-interface software --can {bus} {place} {UNHURRIED} {options}"))
}

/// A time of a direction, or of the round trip, in nanoseconds.
fn time(latency: &Value, name: &str) -> f64 {
    latency[name].as_f64().unwrap_or_else(|| panic!("no {name} in {latency}"))
}

/// The one-way times and the round trip of the first trial.
fn latencies(report: &Value) -> [&Value; 3] {
    let trial = &report["trials"][0];
    [&trial["directions"][0]["latency"], &trial["directions"][1]["latency"], &trial["round_trip"]]
}

/// Both ways of each frame add up to its round trip, so that their means do, to what a histogram rounds.
fn assert_they_add_up(report: &Value) {
    let [there, back, round_trip] = latencies(report).map(|latency| time(latency, "mean_ns"));
    assert!((there + back - round_trip).abs() < 0.01 * round_trip + 500.0, "{there} {back} {round_trip}");
}

#[test]
fn every_frame_comes_back_and_both_ways_are_timed() {
    let server = server("--allow-bench");
    let port = server.port();
    let (_, report) = run(&format!(
        "--connect 127.0.0.1:{port} --load 20% --duration 1s --warm-up 300ms --seed 3 -- {UNHURRIED}"
    ));
    let [there, back] = [0, 1].map(|direction| counts(&report, direction));
    assert!(there[0] > 0 && there[0] == there[1], "{report}");
    assert_eq!(there, [there[0], there[0], 0, 0, 0, 0, 0]);
    assert_eq!(back, there);
    let trial = &report["trials"][0];
    let [there, back, round_trip] = latencies(&report);
    for latency in [there, back, round_trip] {
        assert_eq!(latency["count"], counts(&report, 0)[0]);
    }
    assert_they_add_up(&report);
    let [to, from] = [0, 1].map(|direction| &trial["directions"][direction]);
    let uncertainty_ns = time(to, "uncertainty_ns");
    assert_eq!(to["uncertainty_ns"], from["uncertainty_ns"]);
    // Both bridges are on one machine: what is not known is far less than a tenth of a second, and not nothing.
    assert!(uncertainty_ns > 1_000.0 && uncertainty_ns < 1e8, "{uncertainty_ns}");
    for latency in [there, back] {
        assert!(time(round_trip, "max_ns") >= time(latency, "p50_ns") - uncertainty_ns, "{report}");
        assert!(time(round_trip, "min_ns") >= time(latency, "min_ns") - uncertainty_ns, "{report}");
    }
    let path = &report["path"];
    assert_eq!((path["kind"].as_str(), path["protocol"].as_str()), (Some("link"), Some("5")));
    assert_eq!(path["far"], format!("127.0.0.1:{port}"));
    assert_eq!((&to["to"], &from["from"]), (&path["far"], &path["far"]));
    assert_eq!((&to["from"], &from["to"]), (&path["near"], &path["near"]));
    assert_eq!(trial["bridges"][0]["role"], "client");
    let totals = server.interrupt().totals();
    assert_eq!((totals["faults"], totals["missing"], totals["refused"]), (0, 0, 0), "{totals:?}");
}

/// What the client's filter keeps off never gets there, and that is known of it. 11-bit identifiers come once each before any
/// comes again, so that of 4,096 frames two have any one.
#[test]
fn frames_that_are_lost_on_the_way_there_are_told_from_the_others() {
    let server = server("--allow-bench");
    let (_, report) = run(&format!(
        "--connect 127.0.0.1:{} --fps 2000 --frames 4096 -- {UNHURRIED} --filter 100~7FF",
        server.port()
    ));
    assert_eq!(counts(&report, 0), [4_096, 4_094, 2, 0, 0, 0, 0], "{report}");
    assert_eq!(counts(&report, 1), [4_094, 4_094, 0, 0, 0, 0, 0], "{report}");
    let lost_where = &report["trials"][0]["directions"][0]["lost_where"];
    assert_eq!(lost_where, &serde_json::json!({ "filtered": 2 }));
    assert_eq!(faulty_numbers(&report, "lost").len(), 2);
}

#[test]
fn a_delay_of_one_way_shows_in_the_round_trip_and_in_the_sum() {
    const DELAY: Duration = Duration::from_millis(20);
    let server = server("--allow-bench");
    let port = delaying_relay(server.port(), DELAY);
    let (_, report) =
        run(&format!("--connect 127.0.0.1:{port} --load 10% --duration 1s --warm-up 300ms -- {UNHURRIED}"));
    assert_eq!(counts(&report, 0)[2..], [0; 5], "{report}");
    let [_, _, round_trip] = latencies(&report);
    // A histogram of three digits rounds by less than a hundredth.
    assert!(time(round_trip, "min_ns") > 19.8e6, "{round_trip}");
    assert_they_add_up(&report);
    // Which way the delay is on, two clocks cannot tell, and say so.
    assert!(time(&report["trials"][0]["directions"][0], "uncertainty_ns") > 9.9e6, "{report}");
}

/// Both are on one bus there: each sees what the other sends, and is no result.
#[test]
fn two_tests_at_the_same_time_are_no_result() {
    let server = server("--allow-bench");
    let port = server.port();
    let other = start(&format!("--connect 127.0.0.1:{port} --fps 200 --duration 60s -- {UNHURRIED}"));
    server.wait_error("connected: version 5");
    let (_, report) = run(&format!("--connect 127.0.0.1:{port} --fps 200 --frames 400 -- {UNHURRIED}"));
    assert_eq!(counts(&report, 1)[..3], [400, 400, 0], "{report}");
    let reasons = report["trials"][0]["invalid_because"].as_array().unwrap();
    let expected =
        format!("127.0.0.1:{port} answered another load test at the same time: run one after the other");
    assert!(reasons.iter().any(|reason| *reason == expected), "{reasons:?}");
    assert_eq!(other.interrupt().status.code(), Some(130));
}

#[test]
fn a_server_that_does_not_allow_it_says_what_to_type() {
    let server = server("");
    let target = format!("127.0.0.1:{}", server.port());
    let began = Instant::now();
    let finished = start(&format!("--connect {target}")).finish();
    // It takes milliseconds; the rest is for a machine that has more to do.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(finished.status.code(), Some(1));
    let last = finished.errors.last().unwrap();
    let expected = format!(
        "canip_peer: {target} answers no load tests: start it there with: canip_peer server --can can0 --allow-bench"
    );
    assert_eq!(last, &expected);
    server.wait_error("asks for a load test");
    server.wait_error("start this server with --allow-bench");
}

#[test]
fn what_is_no_server_is_named_at_once() {
    let (_holder, port) = held_port();
    let closed = format!("{FREE_ADDRESS}:{port}");
    let finished = start(&format!("--connect {closed}")).finish();
    assert_eq!(finished.status.code(), Some(1));
    let last = finished.errors.last().unwrap();
    assert!(last.starts_with(&format!("canip_peer: cannot connect to {closed}: ")), "{last}");
    // Version 4 knows no buses by name: a load would get to one that somebody uses.
    let old = server("--allow-bench --protocol 4.1");
    let finished = start(&format!("--connect 127.0.0.1:{}", old.port())).finish();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.errors.last().unwrap().contains("does not speak version 5"), "{:?}", finished.errors);
    assert_eq!(old.interrupt().totals()["received"], 0);
}

#[test]
fn what_makes_no_sense_on_a_link_is_refused_in_one_line() {
    for (options, text) in [
        ("--can a --peer-can b", "goes without --can:"),
        ("--can-interface software", "goes without --can-interface:"),
        ("--direction both", "goes without --direction:"),
        ("--tune", "goes without --tune:"),
        ("--pattern cyclic", "goes without --pattern:"),
        ("--len 4", "goes without --len:"),
        ("--fd", "goes without --fd,"),
        ("-- --protocol 4.1", "goes without -- --protocol:"),
        ("-- --host pi", "the test itself gives this"),
    ] {
        let finished = start(&format!("--connect localhost {options}")).finish();
        assert_eq!(finished.status.code(), Some(2), "{options}: {:?}", finished.errors);
        assert_eq!(finished.errors.len(), 1, "{options}: {:?}", finished.errors);
        assert!(finished.errors[0].contains(text), "{options}: {:?}", finished.errors);
    }
    for (options, text) in [
        ("--can canip-bench=a", "kept for load tests"),
        (&(0..16).map(|bus| format!(" --can b{bus}")).collect::<String>(), "takes one of the 16 buses"),
    ] {
        let place = "--can-interface software --port 0 --allow-bench";
        let finished = Program::bridge(&format!("server {place} {options}")).finish();
        assert_eq!(finished.status.code(), Some(2), "{options}: {:?}", finished.errors);
        assert!(finished.errors.join(" ").contains(text), "{options}: {:?}", finished.errors);
    }
}

/// A relay to a port of 127.0.0.1 for one connection, on a port of its own: what the server sends is handed on so much later.
fn delaying_relay(target: u16, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
        [&client, &server].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || hand_on(from, to, Duration::ZERO));
        hand_on(server, client, delay);
    });
    port
}

/// Until one of them closes, which the other is told.
fn hand_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, delayed) = channel::<(Instant, Vec<u8>)>();
    let writer = std::thread::spawn(move || {
        for (due, bytes) in delayed {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        // The other side may have gone.
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if sender.send((Instant::now() + delay, bytes[..count].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    writer.join().unwrap();
}
