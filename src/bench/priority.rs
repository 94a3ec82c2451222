//! Real-time priority for the threads that send and receive, where it may be had: what else the machine does is then not
//! measured along.

use std::time::Duration;

use crate::engine::priority::{Reach, set_real_time};
use crate::load::Load;

/// The lowest real-time priority: above every ordinary process, below everything that is real-time on purpose.
const LOWEST: u8 = 1;

/// Loads of more frames a second are sent at ordinary priority: a thread that always has something to do would keep others
/// off its processor for good. It is the load of four saturated 500 kbit/s buses.
const FRAMES_PER_S_MAX: f64 = 20_000.0;

/// How long before a frame is due its sender stops to sleep and watches the clock instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watching(pub Duration);

/// Longer than the kernel takes to wake a thread on an idle processor.
const ORDINARY: Watching = Watching(Duration::from_micros(50));

/// A real-time thread is woken sooner, and nobody else can use the processor while it watches.
const REAL_TIME: Watching = Watching(Duration::from_micros(20));

/// Whether this load's threads are to be real-time ones.
pub fn is_wanted(load: &Load) -> bool {
    load.frames_per_s().is_some_and(|rate| rate <= FRAMES_PER_S_MAX)
}

/// Gives this thread real-time priority (`SCHED_FIFO`), which takes CAP_SYS_NICE or a limit (`ulimit -r`) that allows it. Returns
/// how long to watch the clock; where it is refused nothing has changed.
pub fn raise() -> Watching {
    if set_real_time(LOWEST, Reach::WhatItStarts).is_ok() { REAL_TIME } else { ORDINARY }
}

/// Does something in a thread of real-time priority where that may be had: threads that it starts keep it. A software bus is
/// then as unimpressed by what else the machine does as a wire. This thread, and the processes that it starts, stay as they are.
pub fn at_real_time<T: Send>(wanted: bool, work: impl FnOnce() -> T + Send) -> T {
    if !wanted {
        return work();
    }
    let raised = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            raise();
            work()
        });
        thread.join()
    });
    raised.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Watching {
    /// That of a thread of ordinary priority.
    pub fn ordinary() -> Self {
        ORDINARY
    }
}
