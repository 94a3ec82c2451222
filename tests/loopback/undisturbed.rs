//! What would keep the thread that moves frames from them, if the process did not see to it: other programs, its own reports, and
//! the kernel's copying of memory.

use canip_peer::engine::priority::{Reach, set_real_time};

use crate::crossing::cross;
use crate::program::Program;
use crate::skip::skip;
use crate::{Pair, carry, numbered};

on_each_engine!(at_real_time_priority, reports_give_way, memory_stays_where_it_is);

/// Scheduling policies, by sched.h.
const OTHER: u32 = 0;
const FIFO: u32 = 1;
const IDLE: u32 = 5;

/// Name, real-time priority and policy (see sched(7)) of each thread of a program, the one that began it first.
fn threads(program: &Program) -> Vec<(String, u32, u32)> {
    let process = std::path::PathBuf::from(format!("/proc/{}", program.child.id()));
    let read = |folder: std::path::PathBuf| {
        // One that has ended meanwhile has none.
        let status = std::fs::read_to_string(folder.join("stat")).ok()?;
        let (name, fields) = status.split_once(" (")?.1.rsplit_once(") ").unwrap();
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
        // Nor do the other threads have it, which go on as they would.
        assert!(
            threads.len() > 1 && threads[1..].iter().all(|thread| thread.1 == 0 && thread.2 != FIFO),
            "{threads:?}"
        );
    }
    cross(pair);
}

fn reports_give_way(engine: &'static str) {
    let pair = Pair::start(engine, "--stats-interval 0.1", "");
    carry(&pair.near, &[&pair.far], &numbered(1, 100));
    pair.server.wait_error(" INFO summary: links 1 ");
    for (name, _, policy) in threads(&pair.server) {
        assert_eq!(policy, if name == "reports" { IDLE } else { OTHER }, "{name}");
    }
    assert!(threads(&pair.server).iter().any(|(name, ..)| name == "reports"));
    assert_eq!(pair.server.interrupt().totals()["sent"], 100);
}

fn memory_stays_where_it_is(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pair.server.child.id())).unwrap();
    assert!(status.contains("\nTHP_enabled:\t0\n"), "{status}");
}
