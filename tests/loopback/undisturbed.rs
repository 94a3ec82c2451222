//! What would keep the thread that moves frames from them, if the process did not see to it: reports, and the kernel's copying of
//! memory.

use std::fs;

use crate::{Pair, carry, numbered};

on_each_engine!(reports_are_made_beside, memory_stays_where_it_is);

/// The scheduling policies of a process's threads of this name.
fn policies(process: u32, name: &str) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads
        .map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap())
        .filter_map(|stat| {
            // The name stands in brackets; the policy is the 41st field, the state behind the name the third (proc(5)).
            let (start, fields) = stat.rsplit_once(") ").unwrap();
            let policy = fields.split(' ').nth(41 - 3).unwrap();
            start.ends_with(&format!("({name}")).then(|| policy.parse().unwrap())
        })
        .collect()
}

fn reports_are_made_beside(engine: &'static str) {
    let pair = Pair::start(engine, "--stats-interval 0.1", "");
    carry(&pair.near, &[&pair.far], &numbered(1, 100));
    pair.server.wait_error(" INFO summary: links 1 ");
    assert_eq!(policies(pair.server.child.id(), "reports"), [libc::SCHED_IDLE as u32]);
    assert_eq!(pair.server.interrupt().totals()["sent"], 100);
}

fn memory_stays_where_it_is(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    let status = fs::read_to_string(format!("/proc/{}/status", pair.server.child.id())).unwrap();
    assert!(status.contains("\nTHP_enabled:\t0\n"), "{status}");
}
