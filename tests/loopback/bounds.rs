//! What a peer may put on a bus is bounded, enforced and counted: nothing, one way, some frames, so many a second, or a part of
//! the bus's time; and who sends much does not keep others from their share.

use std::collections::HashMap;
use std::time::Instant;

use crate::books::assert_balanced;
use crate::program::{Program, unique_name};
use crate::raw_peer::{RawPeer, encoded};
use crate::relay::Relay;
use crate::software_bus::Member;
use crate::{Pair, carry, numbered};

on_each_engine!(
    read_only,
    write_only,
    only_what_is_allowed,
    error_frames_are_put_on_no_bus,
    so_many_a_second,
    part_of_the_time,
    both_ends_bound_for_themselves,
    the_greedy_and_the_modest,
    who_goes_while_it_waits,
    who_connects_anew_while_it_waits,
);

/// Frames of the peer are put on no bus; the way to the peer is as ever.
fn read_only(engine: &'static str) {
    let pair = Pair::start(engine, "--read-only --stats-interval 0.1", "");
    pair.server.wait_error("read only: nothing of a peer is put on it");
    carry(&pair.near, &[&pair.far], &numbered(1, 100));
    pair.far.send(&numbered(2, 100));
    // A client that ends before has not sent them.
    pair.server.wait_error(" denied 100 ");
    let client = pair.client.interrupt().totals();
    let server = pair.server.interrupt().totals();
    assert_eq!(pair.near.count(), 0);
    assert_eq!((client["sent"], client["received"], client["missing"]), (100, 100, 0), "{client:?}");
    let expected = (100, 0, 100, 100);
    let found = (server["sent"], server["received"], server["arrived"], server["denied"]);
    assert_eq!(found, expected, "{server:?}");
    assert_balanced(&server);
}

/// Nothing of the bus goes to the peer, and none of it counts as lost there.
fn write_only(engine: &'static str) {
    let pair = Pair::start(engine, "--write-only", "");
    pair.near.send(&numbered(1, 100));
    // Behind them on the bus, and so behind them at the bridge.
    carry(&pair.far, &[&pair.near], &numbered(2, 100));
    let client = pair.client.interrupt().totals();
    let server = pair.server.interrupt().totals();
    assert_eq!(pair.far.count(), 0);
    assert_eq!((client["sent"], client["arrived"], client["missing"]), (100, 0, 0), "{client:?}");
    assert_eq!((server["sent"], server["received"]), (0, 100), "{server:?}");
    for name in ["outage", "slow_peer", "stale", "kernel_drops"] {
        assert_eq!(server[name], 0, "{name} in {server:?}");
    }
    assert_balanced(&server);
}

fn only_what_is_allowed(engine: &'static str) {
    let pair = Pair::start(engine, "--tx-allow 123:7FF,400:7F0 --tx-allow 18DAF110:1FFFFFFF", "");
    let (allowed, denied) = (["123#01", "40F#R", "18DAF110#02"], ["124#01", "410#", "18DAF111#", "7FF##1AA"]);
    pair.far.send(&denied);
    pair.far.send(&allowed);
    assert_eq!(pair.near.wait(3), allowed);
    // It says nothing of what goes to the peer.
    carry(&pair.near, &[&pair.far], &denied.map(str::to_owned));
    pair.server.wait_error(" of the peer kept off the bus (see --read-only, --tx-allow;");
    pair.client.interrupt().totals();
    let totals = pair.server.interrupt().totals();
    assert_eq!((totals["received"], totals["denied"], totals["refused"]), (3, 4, 0), "{totals:?}");
    assert_balanced(&totals);
}

/// Whatever is allowed.
fn error_frames_are_put_on_no_bus(engine: &'static str) {
    let pair = Pair::start(engine, "", "--tx-allow 000:000 --tx-rate 1000000");
    pair.near.send(&["20000001#0000000000000000", "200001FF#FFEEDDCCBBAA9988", "123#"]);
    assert_eq!(pair.far.wait(1), ["123#"]);
    let client = pair.client.interrupt().totals();
    assert_eq!((client["error_frames"], client["received"], client["denied"]), (2, 1, 0), "{client:?}");
    assert_eq!(pair.far.count(), 1);
}

/// A server whose bound is the last word on what reaches its bus, and how often it says how things are.
fn bounded(engine: &str, bus: &str, options: &str) -> Program {
    let common = "--can-interface software --bind 127.0.0.1 --port 0 --stats-interval 0.1";
    Program::bridge(&format!("server --engine {engine} --can {bus} {common} {options}"))
}

/// Sends `count` frames at once through a client of `server`, whose bus `near` hangs on, and waits until none waits any more.
/// Returns the server's counters and the seconds that this took.
fn flood(engine: &str, server: Program, near: &Member, frames: &[String]) -> (HashMap<String, u64>, f64) {
    let far_name = unique_name("far");
    let far = Member::join(&far_name);
    let client = crate::client(engine, &far_name, server.port(), "");
    client.wait_error("connected to 127.0.0.1:");
    let start = Instant::now();
    far.send(frames);
    let arrived = format!(" arrived {} waiting 0 ", frames.len());
    server.wait_error(&arrived);
    let seconds = start.elapsed().as_secs_f64();
    client.interrupt().totals();
    let totals = server.interrupt().totals();
    near.wait_count(usize::try_from(totals["received"]).unwrap());
    assert_eq!(near.count() as u64, totals["received"]);
    assert_balanced(&totals);
    (totals, seconds)
}

/// What is held for --max-age is limited, which is another thing than stale.
fn assert_held(totals: &HashMap<String, u64>, count: u64, at_least: u64, at_most: f64) {
    let received = totals["received"];
    assert!(received as f64 <= at_most, "{received} of {at_most} at most: {totals:?}");
    assert!(received >= at_least, "{received} of {at_least} at least: {totals:?}");
    assert_eq!(received + totals["limited"], count, "{totals:?}");
    // The next to go is nearly too old here, and on a busy machine is so before the bus has it.
    assert_eq!((totals["stale"], totals["refused"]), (0, 0), "{totals:?}");
    assert!(totals["overdue"] <= received / 4, "{totals:?}");
}

fn so_many_a_second(engine: &'static str) {
    let name = unique_name("bus");
    let near = Member::join(&name);
    let server = bounded(engine, &name, "--tx-rate 200 --max-age 1000");
    let (totals, seconds) = flood(engine, server, &near, &numbered(1, 1_000));
    // 200 in the second that frames may wait, and ten milliseconds' worth, and one.
    assert_held(&totals, 1_000, 150, 200.0 * (seconds + 0.01) + 1.0);
    // They came in order, the first at once.
    assert_eq!(near.wait(100)[..100], numbered(1, 100));
}

/// A frame of 111 bits takes 1.11 ms of a bus of 100 kbit/s; a tenth of it is for 90 such frames a second.
fn part_of_the_time(engine: &'static str) {
    let name = unique_name("bus");
    let near = Member::join(&name);
    let server = bounded(engine, &name, "--tx-load 10 --bitrate 100000 --max-age 1000");
    server.wait_error("10 % of its time at 100000 bit/s");
    let frames = vec!["555#AAAAAAAAAAAAAA11".to_owned(); 500];
    let (totals, seconds) = flood(engine, server, &near, &frames);
    assert_held(&totals, 500, 60, (seconds + 0.01) / 0.0111 + 1.0);
}

/// A bus that paces itself has a bit rate, and a client has the same options.
fn both_ends_bound_for_themselves(engine: &'static str) {
    let (near, far) = (unique_name("near"), unique_name("far"));
    let server = bounded(engine, &near, "--max-age 1000");
    let far_options = "--tx-load 10 --tx-rate 1000 --max-age 1000 --stats-interval 0.1";
    let client =
        format!("--can-interface software --can {far}@100000 --host 127.0.0.1 --port {}", server.port());
    let client = Program::bridge(&format!("client --engine {engine} {client} {far_options}"));
    client.wait_error("1000 frames/s, 10 % of its time at 100000 bit/s");
    client.wait_error("connected to 127.0.0.1:");
    server.wait_error("connected: version 5");
    let [near, far] = [&near, &far].map(|name| Member::join_guest(name));
    let frames = vec!["555#AAAAAAAAAAAAAA11".to_owned(); 500];
    let start = Instant::now();
    near.send(&frames);
    client.wait_error(" arrived 500 waiting 0 ");
    let seconds = start.elapsed().as_secs_f64();
    // The server's bus has no bound.
    carry(&far, &[&near], &numbered(2, 3));
    let totals = client.interrupt().totals();
    assert_held(&totals, 500, 60, (seconds + 0.01) / 0.0111 + 1.0);
    assert_balanced(&totals);
    let totals = server.interrupt().totals();
    assert_eq!((totals["sent"], totals["missing"], totals["limited"]), (500, 0, 0), "{totals:?}");
}

/// A server with a greedy client behind a relay, which has more to say than may go, and a modest one.
struct Contest {
    near: Member,
    server: Program,
    relay: Relay,
    greedy: (Program, Member),
    modest: (Program, Member),
}

const GREEDY: &str = "0A0#";
const MODEST: &str = "0B0#";

impl Contest {
    fn start(engine: &str, options: &str) -> Contest {
        let name = unique_name("bus");
        let near = Member::join(&name);
        let server = bounded(engine, &name, options);
        let relay = Relay::to(server.port());
        let [greedy, modest] = [("greedy", relay.port()), ("modest", server.port())].map(|(prefix, port)| {
            let name = unique_name(prefix);
            let member = Member::join(&name);
            let client = crate::client(engine, &name, port, "");
            client.wait_error("connected to 127.0.0.1:");
            (client, member)
        });
        server.wait_errors("connected: version 5", 2);
        greedy.1.send(&vec![GREEDY; 3_000]);
        near.wait_count(5);
        Contest { near, server, relay, greedy, modest }
    }

    /// Waits until so many of these have come out, and returns all that has.
    fn wait_for(&self, frame: &str, count: usize) -> Vec<String> {
        let mut seen = self.near.wait(0);
        while seen.iter().filter(|came| *came == frame).count() < count {
            seen = self.near.wait(seen.len() + 1);
        }
        seen
    }

    /// Ends it in order; the server's counters.
    fn end(self) -> HashMap<String, u64> {
        self.modest.0.interrupt().totals();
        self.greedy.0.interrupt().totals();
        let totals = self.server.interrupt().totals();
        assert_balanced(&totals);
        totals
    }
}

/// Each has its turn: what the modest one sends waits for as many frames of the greedy one, and not for its thousands.
fn the_greedy_and_the_modest(engine: &'static str) {
    const FRAMES: usize = 20;
    let contest = Contest::start(engine, "--tx-rate 100 --max-age 2000");
    contest.modest.1.send(&[MODEST; FRAMES]);
    let order = contest.wait_for(MODEST, FRAMES);
    let places = || (0..).zip(&order).filter(|(_, frame)| *frame == MODEST).map(|(place, _)| place);
    let (first, last): (usize, usize) = (places().next().unwrap(), places().last().unwrap());
    // A frame of each in turn; 20 more for what a busy machine brings late.
    assert!(last - first < 3 * FRAMES, "from {first} to {last}: {order:?}");
    contest.server.wait_error(" arrived 3020 waiting 0 ");
    let totals = contest.end();
    assert_eq!(totals["limited"] + totals["received"], 3_020, "{totals:?}");
    assert!(totals["limited"] > 1_000, "{totals:?}");
}

/// A peer that goes for good while it waits for its turn does not hold up the others: one of version 4, whose link ends
/// before its frames are too old.
fn who_goes_while_it_waits(engine: &'static str) {
    let contest = Contest::start(engine, "--tx-rate 100 --max-age 10000");
    let mut peer = RawPeer::greeted(contest.server.port());
    for number in 0..1_000 {
        peer.send(&encoded(0x0C0, [0; 4], Some(number)));
    }
    contest.wait_for("0C0#00000000", 3);
    let name = peer.name();
    peer.reset();
    contest.server.wait_error(&format!("{name} disconnected"));
    // What it left does not come any more, and the others go on.
    let before = contest.near.count();
    contest.modest.1.send(&[MODEST; 10]);
    let seen = contest.wait_for(MODEST, 10);
    let late = seen[before..].iter().filter(|frame| frame.starts_with("0C0")).count();
    // One could have been under way to the test.
    assert!(late <= 1, "{late} in {seen:?}");
    contest.wait_for(GREEDY, 200);
    let totals = contest.end();
    assert!(totals["unsent"] > 500, "{totals:?}");
}

/// A peer whose connection breaks while its frames wait keeps its turn on the next one.
fn who_connects_anew_while_it_waits(engine: &'static str) {
    let contest = Contest::start(engine, "--tx-rate 100 --max-age 5000");
    contest.modest.1.send(&vec![MODEST; 400]);
    contest.wait_for(MODEST, 3);
    contest.relay.refuse();
    contest.greedy.0.wait_error(" ended: ");
    contest.relay.restore();
    contest.server.wait_errors("connected: version 5", 3);
    let before = contest.near.count();
    let seen = contest.near.wait(before + 100);
    for frame in [GREEDY, MODEST] {
        let count = seen[before..].iter().filter(|came| *came == frame).count();
        assert!((30..=70).contains(&count), "{count} of {frame} in {:?}", &seen[before..]);
    }
    // Both still have a turn after the frames that waited then.
    contest.greedy.1.send(&["0AA#"]);
    contest.modest.1.send(&["0BB#"]);
    contest.wait_for("0AA#", 1);
    contest.wait_for("0BB#", 1);
    contest.end();
}
