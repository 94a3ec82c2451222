//! Which thread goes first. At real-time priority, what else the machine does waits for frames, not they for it; and a
//! thread whose work can wait gives way to everything.

use std::io;

use libc::c_int;

/// Who has a thread's priority beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Nobody.
    ThisThread,
    /// The threads and processes that it starts from now on.
    WhatItStarts,
}

/// Gives this thread this priority (`SCHED_FIFO`, 1 to 99).
///
/// # Errors
/// `PermissionDenied` without CAP_SYS_NICE, or a limit (`ulimit -r`) that allows it.
pub fn set_real_time(priority: u8, reach: Reach) -> io::Result<()> {
    let policy = libc::SCHED_FIFO
        | match reach {
            Reach::ThisThread => libc::SCHED_RESET_ON_FORK,
            Reach::WhatItStarts => 0,
        };
    set(policy, c_int::from(priority))
}

/// Has this thread run when no other one wants its processor (`SCHED_IDLE`), or nearly so: it is interrupted at once, and
/// has 3 parts of time where others have 1,024 each (`WEIGHT_IDLEPRIO`, Linux 6.1). Needs no rights.
///
/// # Errors
/// A sandbox that forbids it.
pub fn give_way() -> io::Result<()> {
    set(libc::SCHED_IDLE, 0)
}

fn set(policy: c_int, parameter: c_int) -> io::Result<()> {
    // By its number, since musl's own function refuses: POSIX means the process where Linux means the thread.
    // SAFETY: the kernel's sched_param is this one number, which is valid for the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameter) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
