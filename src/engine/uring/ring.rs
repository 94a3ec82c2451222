//! The ring itself: submission that cannot overflow, and completions copied out a turn at a time.

use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};

/// Submission entries. A full queue is submitted at once and filled again, so this bounds only how many operations
/// share one system call.
const SUBMISSIONS: u32 = 256;

/// Completion entries: one for each buffer of the buffer ring, and four for each of 512 connections. Where that does
/// not do, the kernel (since 5.5) keeps what does not fit until there is room again.
const COMPLETIONS: u32 = 4096;

/// A completion, copied out of the ring.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub word: u64,
    pub result: i32,
    pub flags: u32,
}

impl Completion {
    /// The result, or the error that it stands for.
    pub fn outcome(self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }
}

pub struct Ring {
    ring: IoUring,
    /// Sends submitted by the next enter, which complete within it (they are asked not to wait).
    immediate: usize,
    /// Operations whose last completion has not come.
    outstanding: usize,
}

impl Ring {
    /// A ring for one thread whose completions are worked on only when it enters (kernel 6.1).
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(SUBMISSIONS)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::RecvMsgMulti::CODE,
            opcode::Recv::CODE,
            opcode::Send::CODE,
            opcode::PollAdd::CODE,
            opcode::AsyncCancel::CODE,
        ];
        if !ring.params().is_feature_ext_arg() || !needed.into_iter().all(|code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { ring, immediate: 0, outstanding: 0 })
    }

    /// The ring, to register things with.
    pub fn registrar(&self) -> &IoUring {
        &self.ring
    }

    /// Queues an operation for the next enter.
    ///
    /// # Safety
    /// Memory that the operation refers to must stay valid and untouched until its last completion was seen.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.ring.submission().push(entry) };
        if pushed.is_err() {
            self.ring.submit()?;
            // SAFETY: the caller's promise.
            let pushed = unsafe { self.ring.submission().push(entry) };
            pushed.map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        }
        self.outstanding += 1;
        Ok(())
    }

    /// Notes that one queued operation completes during the next enter, so that its completion ends no wait.
    pub fn expect_immediate(&mut self) {
        self.immediate += 1;
    }

    /// Submits what is queued, waits at most `wait` for something beyond it, and copies all completions to `out`.
    /// A signal ends the wait early.
    pub fn enter(&mut self, wait: Duration, out: &mut Vec<Completion>) -> io::Result<()> {
        let want = if wait.is_zero() { 0 } else { 1 + self.immediate };
        self.immediate = 0;
        let timeout = Timespec::from(wait);
        let arguments = SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(want, &arguments) {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => {}
                // The completion queue overflowed: what is in it is taken now, the rest comes with the next enter.
                Some(libc::EBUSY | libc::EAGAIN) => {}
                _ => return Err(error),
            },
        }
        for completion in self.ring.completion() {
            if !io_uring::cqueue::more(completion.flags()) {
                self.outstanding -= 1;
            }
            out.push(Completion {
                word: completion.user_data(),
                result: completion.result(),
                flags: completion.flags(),
            });
        }
        Ok(())
    }

    /// Whether completions can be had without waiting. Submits what is queued, and has the kernel work.
    pub fn has_completions(&mut self) -> io::Result<bool> {
        let arguments = SubmitArgs::new();
        match self.ring.submitter().submit_with_args(0, &arguments) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
        Ok(!self.ring.completion().is_empty())
    }

    /// Operations that the kernel still works on.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Completions that one turn can bring: room for them is allocated once.
    pub fn completion_limit() -> usize {
        COMPLETIONS as usize
    }
}
