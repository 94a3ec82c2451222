//! Where what sends into a virtual interface runs, whose order depends on it.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// One of the processors that this test may use. What sends into a virtual interface must stay on one: its frames wait in a
/// queue of the processor that sends, and where that is busy a thread of the kernel delivers them later (`ksoftirqd`, Linux
/// 6.1). A sender that moves to another processor meanwhile overtakes itself.
pub fn processor(number: usize) -> usize {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let numbers: Vec<usize> =
        (0..CpuSet::count()).filter(|&number| allowed.is_set(number).unwrap()).collect();
    numbers[number % numbers.len()]
}

/// Keeps this thread on one of them.
pub fn stay_on(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only).unwrap();
}
