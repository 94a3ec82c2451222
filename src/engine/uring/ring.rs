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

/// `IORING_ENTER_GETEVENTS` of `linux/io_uring.h`.
const ENTER_GETEVENTS: u32 = 1;

/// How long [`Ring::enter`] waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    AtMost(Duration),
    /// Until something completes: an operation that bounds the wait is in flight.
    ForCompletion,
}

impl Wait {
    pub const NONE: Self = Self::AtMost(Duration::ZERO);
}

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
            opcode::Timeout::CODE,
        ];
        if !ring.params().is_feature_ext_arg() || !needed.into_iter().all(|code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { ring, immediate: 0, outstanding: 0 })
    }

    /// The ring itself, to register and cancel things.
    pub fn ring(&self) -> &IoUring {
        &self.ring
    }

    /// Queues an operation for the next enter. On an error nothing was queued.
    ///
    /// # Safety
    /// Memory that the operation refers to must stay valid and untouched until its last completion was seen.
    #[inline(always)]
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.ring.submission().push(entry) };
        if pushed.is_err() {
            forgive(self.ring.submit())?;
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

    /// Submits what is queued, waits for something beyond it, and copies all completions to `out`. A signal ends the
    /// wait early.
    #[inline(always)]
    pub fn enter(&mut self, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        match wait {
            Wait::AtMost(Duration::ZERO) => self.work()?,
            Wait::AtMost(wait) => {
                let timeout = Timespec::from(wait);
                let arguments = SubmitArgs::new().timespec(&timeout);
                let want = 1 + std::mem::take(&mut self.immediate);
                forgive(self.ring.submitter().submit_with_args(want, &arguments))?;
            }
            Wait::ForCompletion => {
                let want = 1 + std::mem::take(&mut self.immediate);
                self.ask(want)?;
            }
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

    /// Submits what is queued, if anything is.
    pub fn submit(&mut self) -> io::Result<()> {
        if self.ring.submission().is_empty() { Ok(()) } else { self.work() }
    }

    /// Whether completions can be had without waiting. Submits what is queued, and has the kernel work.
    pub fn has_completions(&mut self) -> io::Result<bool> {
        self.work()?;
        Ok(!self.ring.completion().is_empty())
    }

    /// Submits what is queued, and has the kernel finish what it can without waiting.
    fn work(&mut self) -> io::Result<()> {
        // What was submitted completes now, and so is not to be waited for later.
        self.immediate = 0;
        self.ask(0)
    }

    /// Submits what is queued, and waits for so many completions.
    #[inline]
    fn ask(&mut self, want: usize) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
        let submitter = self.ring.submitter();
        // SAFETY: no argument is passed, and what the queued operations refer to was promised to `push`. The crate's
        // safe calls ask for events only where a flag says that there is work, which need not be visible yet when the
        // kernel has read that nobody wants to be signalled.
        let entered =
            unsafe { submitter.enter::<libc::sigset_t>(queued, want as u32, ENTER_GETEVENTS, None) };
        forgive(entered)
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

/// What ends a wait, and what the next enter does better. The completion queue may have overflowed (`EBUSY`): what is
/// in it is taken first, the rest comes then. Or memory was short (`EAGAIN`): what is queued stays queued.
fn forgive(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::engine::tests::permitted;

    fn push_nothing(ring: &mut Ring, word: u64) {
        // SAFETY: the operation refers to no memory.
        unsafe { ring.push(&opcode::Nop::new().build().user_data(word)) }.unwrap();
    }

    #[test]
    fn more_operations_than_the_queue_holds_all_complete() {
        let Some(mut ring) = permitted(Ring::new()) else { return };
        (0..1_000).for_each(|word| push_nothing(&mut ring, word));
        assert_eq!(ring.outstanding(), 1_000);
        let mut completions = Vec::new();
        ring.enter(Wait::NONE, &mut completions).unwrap();
        assert!(completions.iter().map(|completion| completion.word).eq(0..1_000));
        assert_eq!(ring.outstanding(), 0);
    }

    #[test]
    fn what_was_seen_to_complete_is_not_waited_for() {
        let Some(mut ring) = permitted(Ring::new()) else { return };
        push_nothing(&mut ring, 1);
        ring.expect_immediate();
        assert!(ring.has_completions().unwrap());
        let start = Instant::now();
        let mut completions = Vec::new();
        ring.enter(Wait::AtMost(Duration::from_secs(30)), &mut completions).unwrap();
        assert_eq!(completions.len(), 1);
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
