//! Sending: one buffer a stream, which the kernel owns until its completion.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::opcode;
use io_uring::types::Fd;

use super::operation::Operation;
use super::ring::{Completion, Wait};
use super::{UringEngine, is_passing};
use crate::buffer::SendBuffer;
use crate::engine::slots::Key;
use crate::engine::{Handler, closed};

/// System calls that the end of a stream may take to learn how much of a send was taken. A cancelled send completes
/// within the second, when the kernel has queued the cancellation's work and then does it.
const CANCEL_ROUNDS: usize = 4;

/// Bytes that TCP takes at once, unless it is congested. Only a send that completes when it is submitted may be left out of what
/// is waited for: of one that does not, the rest would wait for something else to happen, up to the longest wait there is.
const AT_ONCE_BYTES: usize = 1024;

impl UringEngine {
    /// Puts a buffer into a stream's slot and submits what is unsent of it, or gives it back. The first attempt does not
    /// wait, so that it completes within the enter that submits it; what is left then waits for room in the kernel.
    #[inline(always)]
    pub(super) fn submit_send(
        &mut self,
        key: Key,
        buffer: SendBuffer,
        first: bool,
    ) -> Result<(), (SendBuffer, io::Error)> {
        let Some(stream) = self.streams.find_mut(key) else { return Err((buffer, closed())) };
        let buffer = stream.sending.insert(buffer);
        let unsent = buffer.unsent();
        let buffer_bytes = unsent.len();
        let length = u32::try_from(buffer_bytes).unwrap_or(u32::MAX);
        let flags = libc::MSG_NOSIGNAL | if first { libc::MSG_DONTWAIT } else { 0 };
        let entry = opcode::Send::new(Fd(stream.socket.as_fd().as_raw_fd()), unsent.as_ptr(), length)
            .flags(flags)
            .build()
            .user_data(Operation::Send(key).to_word());
        // SAFETY: the buffer's bytes lie on the heap, where they stay when the slot moves, and nobody changes them while the
        // buffer is in its slot: until the completion.
        let pushed = unsafe { self.ring.push(&entry) };
        if let Err(error) = pushed
            && let Some(buffer) = stream.sending.take()
        {
            return Err((buffer, error));
        }
        let was_congested = std::mem::replace(&mut stream.congested, !first);
        if first && !was_congested && buffer_bytes <= AT_ONCE_BYTES {
            self.ring.expect_immediate();
        }
        Ok(())
    }

    /// A send has ended: all was sent, as is usual, or not.
    #[inline(always)]
    pub(super) fn send_completed(&mut self, key: Key, completion: Completion, handler: &mut impl Handler) {
        let Some(stream) = self.streams.find_mut(key) else { return };
        let Some(mut buffer) = stream.sending.take() else { return };
        match completion.outcome() {
            Ok(count) if count == buffer.unsent().len() && !stream.closing => {
                buffer.consume(count);
                handler.stream_sent(stream.token, buffer, Ok(()));
            }
            _ => self.send_ended(key, completion, buffer, handler),
        }
    }

    /// A send has ended, and not all was sent, or nobody wants to know.
    #[cold]
    #[inline(never)]
    fn send_ended(
        &mut self,
        key: Key,
        completion: Completion,
        mut buffer: SendBuffer,
        handler: &mut impl Handler,
    ) {
        let Some(stream) = self.streams.find_mut(key) else { return };
        let mut result = match completion.outcome() {
            Ok(count) => {
                buffer.consume(count);
                Ok(())
            }
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        };
        if stream.closing {
            drop(buffer);
            self.release_stream(key);
            return;
        }
        let token = stream.token;
        if result.is_ok() && !buffer.is_sent() {
            match self.submit_send(key, buffer, false) {
                Ok(()) => return,
                Err((unsent, error)) => (buffer, result) = (unsent, Err(error)),
            }
        }
        handler.stream_sent(token, buffer, result);
    }

    /// How many bytes of a closing stream's buffer the kernel has taken. Its send, which was cancelled, may have been
    /// done meanwhile: completions are fetched to know, and kept for the next turn.
    pub(super) fn taken_of_send(&mut self, key: Key) -> Option<usize> {
        let before = self.streams.find(key)?.sending.as_ref()?.sent_bytes();
        let word = Operation::Send(key).to_word();
        for _ in 0..CANCEL_ROUNDS {
            let completion = self.completions.iter().find(|completion| completion.word == word);
            if let Some(completion) = completion {
                return Some(before + completion.outcome().unwrap_or(0));
            }
            if let Err(error) = self.ring.enter(Wait::NONE, &mut self.completions) {
                tracing::warn!("io_uring: cannot ask what was sent: {error}");
                break;
            }
        }
        Some(before)
    }
}
