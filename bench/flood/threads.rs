//! Processor time of a process's threads, from the scheduler's own account.

use std::fs;
use std::io;

pub struct Thread {
    pub name: String,
    pub ran_ns: u64,
}

/// All threads of a process that live.
pub fn of_process(pid: u32) -> io::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = entry?.path();
        // One that has ended meanwhile has no account any more.
        let (Ok(name), Ok(account)) =
            (fs::read_to_string(folder.join("comm")), fs::read_to_string(folder.join("schedstat")))
        else {
            continue;
        };
        let ran_ns = account.split(' ').next().and_then(|text| text.parse().ok());
        let ran_ns = ran_ns.ok_or_else(|| io::Error::other(format!("schedstat says {account:?}")))?;
        threads.push(Thread { name: name.trim_end().to_owned(), ran_ns });
    }
    Ok(threads)
}
