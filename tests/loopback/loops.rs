//! Frames that come back by another way: a ring of three connections, which no greeting shows. Equal frames that come by
//! themselves, and answers to what crosses, are no loop.

use std::time::{Duration, Instant};

use crate::common_loops::{FOUND, TOLD, lines_with, wait_for_silence};
use crate::program::{Finished, Program, unique_name};
use crate::software_bus::Member;
use crate::{Pair, client, server};

on_each_engine!(
    one_frame_in_a_ring_of_three,
    a_ring_is_cut_and_frames_cross_again,
    nobody_looks_where_nobody_wants_to_know,
    answers_are_no_loop,
    equal_frames_are_no_loop,
);

/// Three buses, each joined to the next.
struct Ring {
    members: [Member; 3],
    /// Server and client between each bus and the next.
    pairs: Vec<[Program; 2]>,
}

impl Ring {
    fn start(engine: &str, options: &str) -> Ring {
        let names = ["a", "b", "c"].map(unique_name);
        let members = names.each_ref().map(|name| Member::join(name));
        let pair = |number: usize| {
            let server = server(engine, &names[number], options);
            let client = client(engine, &names[(number + 1) % 3], server.port(), options);
            client.wait_error("connected to 127.0.0.1:");
            [server, client]
        };
        let pairs = (0..3).map(pair).collect();
        Ring { members, pairs }
    }

    fn wait_for_silence(&self) {
        wait_for_silence(Duration::from_secs(3), || self.members[0].count() as u64);
    }

    fn finish(self) -> Vec<Finished> {
        let programs = self.pairs.into_iter().flat_map(|[server, client]| [client, server]);
        programs.map(Program::interrupt).collect()
    }
}

fn one_frame_in_a_ring_of_three(engine: &'static str) {
    let ring = Ring::start(engine, "");
    ring.members[0].send(&["123#0102"]);
    ring.wait_for_silence();
    let finished = ring.finish();
    assert!(lines_with(&finished, FOUND) >= 1, "nobody found it");
    assert!(lines_with(&finished, TOLD) >= 1, "nobody was told");
    for program in &finished {
        let totals = program.totals();
        assert!(totals["received"] <= 200, "{totals:?}");
        assert_eq!(totals["stale"] + totals["refused"], 0, "{totals:?}");
    }
    let looped: u64 = finished.iter().map(|program| program.totals()["looped"]).sum();
    assert!(looped >= 1, "no frame was kept off");
}

fn a_ring_is_cut_and_frames_cross_again(engine: &'static str) {
    let mut ring = Ring::start(engine, "");
    ring.members[0].send(&["123#0102"]);
    ring.wait_for_silence();
    // Every pause is over: the first is one second long. Without the third connection the other two go on as if nothing had been.
    let [server, client] = ring.pairs.pop().unwrap();
    client.interrupt();
    server.interrupt();
    let before = ring.members[2].count();
    let frames = crate::numbered(1, 300);
    crate::carry(&ring.members[0], &[&ring.members[1], &ring.members[2]], &frames);
    assert_eq!(ring.members[2].count(), before + 300);
    ring.finish();
}

fn nobody_looks_where_nobody_wants_to_know(engine: &'static str) {
    let ring = Ring::start(engine, "--loop-detection off");
    ring.members[0].send(&["123#0102"]);
    ring.members[0].wait_count(2_000);
    let finished = ring.finish();
    assert_eq!(lines_with(&finished, "a loop"), 0);
    assert!(finished.iter().all(|program| program.totals()["looped"] == 0));
}

fn assert_no_loop(pair: Pair) {
    for finished in [pair.client.interrupt(), pair.server.interrupt()] {
        let totals = finished.totals();
        assert_eq!((totals["looped"], totals["missing"], totals["stale"]), (0, 0, 0), "{totals:?}");
        assert_eq!(lines_with(&[finished], "a loop"), 0);
    }
}

/// A tester that asks as soon as it has the answer, and both always say the same.
fn answers_are_no_loop(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    let end = Instant::now() + Duration::from_secs(4);
    let (mut asked, mut answered) = (0, 0);
    while Instant::now() < end {
        if pair.near.count() == asked {
            pair.near.send(&["700#0322F190"]);
            asked += 1;
        }
        if pair.far.count() > answered {
            pair.far.send(&["708#0462F190AA"]);
            answered += 1;
        }
        std::thread::yield_now();
    }
    pair.far.wait_count(asked);
    assert!(asked > 100, "{asked}");
    assert_no_loop(pair);
}

/// The same frame every five milliseconds, from both ends.
fn equal_frames_are_no_loop(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    let sent = std::thread::scope(|scope| {
        let load = |member: &Member| {
            let end = Instant::now() + Duration::from_secs(4);
            let mut sent = 0;
            while Instant::now() < end {
                member.send(&["123#55"]);
                sent += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            sent
        };
        [&pair.near, &pair.far].map(|member| scope.spawn(move || load(member))).map(|it| it.join().unwrap())
    });
    pair.far.wait_count(sent[0]);
    pair.near.wait_count(sent[1]);
    assert_no_loop(pair);
}
