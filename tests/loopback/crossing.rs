//! Frames cross both ways at once: all, in order, and both sides count alike.

use std::time::{Duration, Instant};

use crate::program::{Program, counters};
use crate::{Pair, carry, numbered};

on_each_engine!(both_ways_at_once_in_order, summary_lines, busily_polled);

/// Frames each way.
const FRAMES: u32 = 20_000;

fn both_ways_at_once_in_order(engine: &'static str) {
    cross(Pair::start(engine, "", ""));
}

/// The same between these two.
pub fn cross(pair: Pair) {
    let Pair { near, server, client, far, .. } = pair;
    let (out, back) = (numbered(1, FRAMES), numbered(2, FRAMES));
    std::thread::scope(|scope| {
        scope.spawn(|| carry(&near, &[&far], &out));
        carry(&far, &[&near], &back);
    });
    for program in [client, server] {
        let totals = program.interrupt().totals();
        for (name, count) in &totals {
            match name.as_str() {
                "sent" | "received" | "taken" | "arrived" => {
                    assert_eq!(*count, 20_000, "{name} in {totals:?}")
                }
                // A busy bus makes frames wait, which is no loss.
                "transmit_waits" => {}
                _ => assert_eq!(*count, 0, "{name} in {totals:?}"),
            }
        }
        assert_eq!(totals.len(), 33, "{totals:?}");
    }
}

/// Processor time in hundredths of a second, of which `/proc` counts (`USER_HZ`).
fn processor_ticks(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", program.child.id())).unwrap();
    // After the name in parentheses: state, ten others, user time, system time.
    let fields: Vec<&str> = status.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn busily_polled(engine: &'static str) {
    let pair = Pair::start(engine, "--busy-poll", "--busy-poll");
    // With nothing to do, one that sleeps takes a hundredth in a minute.
    for program in [&pair.server, &pair.client] {
        let (started, before) = (Instant::now(), processor_ticks(program));
        while processor_ticks(program) < before + 20 {
            assert!(started.elapsed() < Duration::from_secs(30), "it sleeps");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    cross(pair);
    // Without a link there is nothing to poll for: it sleeps until one comes.
    let Pair { server, client, .. } = Pair::start(engine, "--busy-poll --stats-interval 1", "");
    client.interrupt();
    server.wait_error(" disconnected, ");
    server.wait_error("summary: links 0 ");
    let before = processor_ticks(&server);
    server.wait_errors("summary: links 0 ", 3);
    assert!(processor_ticks(&server) < before + 50, "two seconds without a link");
}

fn summary_lines(engine: &'static str) {
    let Pair { near, server, client, far, .. } =
        Pair::start(engine, "--stats-interval 1", "--stats-interval 0");
    carry(&near, &[&far], &numbered(1, 70));
    carry(&far, &[&near], &numbered(2, 30));
    // The first line after the frames counts them.
    let line = server.wait_error("sent 70 received 30 ");
    let (_, pairs) = line.split_once(" INFO summary: ").unwrap_or_else(|| panic!("{line}"));
    let names: Vec<&str> = pairs.split(' ').step_by(2).collect();
    let (counted, measured) = names.split_at(8);
    assert_eq!(counted.join(" "), "links sent_per_s received_per_s sent received taken arrived waiting");
    // What was not measured in an interval is left out: it need not have had a heartbeat.
    let all = [
        "can_to_tcp_us",
        "tcp_to_can_us",
        "round_trip_us",
        "one_way_us",
        "batch_out_frames",
        "batch_in_frames",
    ];
    let expected: Vec<&str> = all.into_iter().filter(|name| measured.contains(name)).collect();
    assert_eq!(measured, expected);
    assert!(measured.contains(&"can_to_tcp_us") || measured.contains(&"tcp_to_can_us"), "{line}");
    let counters = counters(pairs);
    assert_eq!(counters["links"], 1);
    // An earlier interval may have had some of them, but not all.
    let (sent_per_s, received_per_s) = (counters["sent_per_s"], counters["received_per_s"]);
    assert!(sent_per_s <= 70 && received_per_s <= 30 && sent_per_s + received_per_s > 0, "{line}");
    // It goes on when nothing crosses any more.
    server.wait_error(
        "summary: links 1 sent_per_s 0 received_per_s 0 sent 70 received 30 taken 70 arrived 30 waiting 0",
    );
    // The last line leaves nothing out.
    let finished = server.interrupt();
    let last = finished.errors.iter().rev().find_map(|line| line.split_once(" total: ")).unwrap().1;
    let names: Vec<&str> = last.split(' ').step_by(2).take(33).collect();
    assert_eq!(
        names.join(" "),
        "sent received taken arrived waiting overdue outage in_transit gaps missing peer_kernel_drops peer_stale peer_slow \
         peer_outage peer_in_transit error_frames duplicates reordered restarts kernel_drops filtered not_representable \
         slow_peer unsent stale refused denied limited looped transmit_waits unrecorded faults turned_away"
    );
    let finished = client.interrupt();
    assert!(!finished.errors.iter().any(|line| line.contains("summary")), "{:?}", finished.errors);
}
