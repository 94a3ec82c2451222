//! The clock by which frames are sent and received: the monotonic one, as the kernel counts it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

use super::priority::Watching;
use crate::moment::{WallTime, nanoseconds};

/// Nanoseconds of the monotonic clock.
pub fn now_ns() -> u64 {
    // Every kernel has this clock, and it does not go below zero.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(TimeSpec::new(0, 0));
    time.num_nanoseconds() as u64
}

/// What the wall clock will show in a while.
pub fn wall_time(after: Duration) -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + after;
    WallTime::from_nanos(nanoseconds(since))
}

/// Waits until the clock shows `until_ns`, the last bit of it awake.
pub fn wait_until(until_ns: u64, Watching(watching): Watching) {
    let watch_ns = watching.as_nanos() as u64;
    let mut now = now_ns();
    if now + watch_ns < until_ns {
        sleep_until(until_ns - watch_ns);
        now = now_ns();
    }
    while now < until_ns {
        std::hint::spin_loop();
        now = now_ns();
    }
}

/// Sleeps until the clock shows `until_ns`; a signal may end it early.
fn sleep_until(until_ns: u64) {
    let time = TimeSpec::from_duration(Duration::from_nanos(until_ns));
    // Woken early, the rest is watched for.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &time);
}
