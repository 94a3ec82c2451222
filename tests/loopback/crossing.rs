//! Frames cross both ways at once: all, in order, and both sides count alike.

use std::time::{Duration, Instant};

use canip_peer::engine::priority::{Reach, set_real_time};

use crate::program::{Program, counters};
use crate::skip::skip;
use crate::{Pair, carry, numbered};

on_each_engine!(both_ways_at_once_in_order, summary_lines, busily_polled, at_real_time_priority);

/// Scheduling policies, by sched.h.
const OTHER: u32 = 0;
const FIFO: u32 = 1;

/// Frames each way.
const FRAMES: u32 = 20_000;

fn both_ways_at_once_in_order(engine: &'static str) {
    cross(Pair::start(engine, "", ""));
}

fn cross(pair: Pair) {
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

/// Name, real-time priority and policy (see sched(7)) of each thread of a program, the one that began it first.
fn threads(program: &Program) -> Vec<(String, u32, u32)> {
    let process = std::path::PathBuf::from(format!("/proc/{}", program.child.id()));
    let read = |folder: std::path::PathBuf| {
        // One that has ended meanwhile has none.
        let status = std::fs::read_to_string(folder.join("stat")).ok()?;
        let (name, fields) = status.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        Some((name.to_owned(), fields[37].parse().unwrap(), fields[38].parse().unwrap()))
    };
    let main = process.join("task").join(program.child.id().to_string());
    let mut threads: Vec<_> =
        process.join("task").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    threads.sort_by_key(|folder| *folder != main);
    threads.into_iter().filter_map(read).collect()
}

fn at_real_time_priority(engine: &'static str) {
    let allowed = std::thread::spawn(|| set_real_time(3, Reach::ThisThread)).join().unwrap();
    if let Err(error) = allowed {
        // Where it is forbidden to the test, it is to the program.
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
        skip(&format!("real-time priority: {error}"), Some("CANIP_REQUIRE_CAN"));
        let arguments =
            format!("server --engine {engine} --can-interface software --can any --port 0 --realtime");
        let refused = Program::bridge(&arguments).finish();
        assert_eq!(refused.status.code(), Some(1), "{:?}", refused.errors);
        assert!(refused.errors[0].starts_with("canip_peer: --realtime: "), "{:?}", refused.errors);
        return;
    }
    let pair = Pair::start(engine, "--realtime", "--realtime=3");
    for (program, priority) in [(&pair.server, 1), (&pair.client, 3)] {
        program.wait_error(&format!("real-time priority: SCHED_FIFO {priority}"));
        let threads = threads(program);
        assert_eq!((threads[0].1, threads[0].2), (priority, FIFO), "{threads:?}");
        // The diagnostics have a thread of their own: it and all others stay as they are.
        assert!(
            threads.len() > 1 && threads[1..].iter().all(|thread| (thread.1, thread.2) == (0, OTHER)),
            "{threads:?}"
        );
    }
    cross(pair);
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
