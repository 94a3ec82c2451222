//! The system's clocks as numbers, read where they are wanted: by way of the standard library or nix it is one more page of
//! code, or two, for each frame that wakes the process.

/// The monotonic clock, nanoseconds. The one that goes on while the machine is suspended: what waits here meanwhile becomes old
/// as anything else does (`CLOCK_MONOTONIC` stands still).
#[inline]
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// The wall clock, nanoseconds since the UNIX epoch; next to zero before that.
#[inline]
pub fn wall_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

#[inline]
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Both clocks are there on every kernel, and the call fails for nothing else.
    // SAFETY: `time` is valid for the call.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
