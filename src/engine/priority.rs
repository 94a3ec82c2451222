//! Real-time priority of the thread that moves frames: what else the machine does then waits for frames, not they for it.

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
    let parameter = c_int::from(priority);
    let policy = libc::SCHED_FIFO
        | match reach {
            Reach::ThisThread => libc::SCHED_RESET_ON_FORK,
            Reach::WhatItStarts => 0,
        };
    // By its number, since musl's own function refuses: POSIX means the process where Linux means the thread.
    // SAFETY: the kernel's sched_param is this one number, which is valid for the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameter) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
