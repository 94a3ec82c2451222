//! The one alarm: a timer in the ring, so that many short waits within a long limit need no timer of their own.

use std::io;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::Timespec;

use super::UringEngine;
use super::operation::Operation;

/// A timer in the ring.
#[derive(Default)]
pub struct Alarm {
    /// Which of those that were set counts: the kernel may still tell of earlier ones.
    pub number: u32,
    /// It was set and has not rung.
    pub is_set: bool,
    /// Boxed, because the kernel is given its address. It reads it when the operation is submitted.
    after: Box<Timespec>,
}

impl UringEngine {
    /// Sets the alarm in place of an earlier one.
    pub(super) fn replace_alarm(&mut self, after: Duration) -> io::Result<()> {
        if std::mem::take(&mut self.alarm.is_set) {
            self.cancel(Operation::Alarm(self.alarm.number));
        }
        self.alarm.number = self.alarm.number.wrapping_add(1);
        *self.alarm.after = Timespec::from(after);
        let entry = opcode::Timeout::new(&raw const *self.alarm.after)
            .build()
            .user_data(Operation::Alarm(self.alarm.number).to_word());
        // SAFETY: the time is boxed. The kernel copies it when the operation is submitted; if it is overwritten before
        // that, by a later alarm, the earlier one no longer counts.
        unsafe { self.ring.push(&entry) }?;
        self.alarm.is_set = true;
        Ok(())
    }

    /// One that was set has rung; if it is the one that counts, none is set any more.
    #[cold]
    #[inline(never)]
    pub(super) fn alarm_rang(&mut self, number: u32) {
        self.alarm.is_set &= number != self.alarm.number;
    }
}
