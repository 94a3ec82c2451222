//! Receiving: one multishot operation a descriptor, into shared rings of buffers.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::types::Fd;
use io_uring::{cqueue, opcode};

use super::descriptor::End;
use super::operation::Operation;
use super::ring::Completion;
use super::{UringEngine, is_passing, packet};
use crate::bus::Receiver;
use crate::engine::slots::Key;
use crate::engine::{Consumed, Handler, STREAM_RECEIVE_BYTES, orphan};

impl UringEngine {
    pub(super) fn receive_packets(&mut self, key: Key) -> io::Result<()> {
        let Some(bus) = self.buses.find_mut(key).filter(|bus| !bus.closing && !bus.receiving) else {
            return Ok(());
        };
        let descriptor = Fd(bus.descriptor.as_raw_fd());
        let entry =
            opcode::RecvMsgMulti::new(descriptor, &raw const *self.packet_header, self.packets.group())
                .build()
                .user_data(Operation::ReceivePackets(key).to_word());
        // SAFETY: the header is boxed and never changed, packets go to the buffer ring, and both are kept (or leaked)
        // until the last completion.
        unsafe { self.ring.push(&entry) }?;
        bus.receiving = true;
        Ok(())
    }

    pub(super) fn receive_bytes(&mut self, key: Key) -> io::Result<()> {
        let Some(stream) = self.streams.find_mut(key) else { return Ok(()) };
        if stream.closing || stream.receiving || !matches!(stream.end, End::Open) {
            return Ok(());
        }
        let entry = opcode::RecvMulti::new(Fd(stream.socket.as_fd().as_raw_fd()), self.bytes.group())
            .flags(stream.socket.flags())
            .build()
            .user_data(Operation::ReceiveBytes(key).to_word());
        // SAFETY: bytes go to the buffer ring, which is kept (or leaked) until the last completion.
        unsafe { self.ring.push(&entry) }?;
        stream.receiving = true;
        Ok(())
    }

    /// A packet has come, as is usual, or none will any more.
    #[inline(always)]
    pub(super) fn packet_received(&mut self, key: Key, completion: Completion, handler: &mut impl Handler) {
        let buffer = cqueue::buffer_select(completion.flags);
        let outcome = match (self.buses.find(key), completion.outcome(), buffer) {
            (Some(bus), Ok(length), Some(buffer)) if !bus.closing => {
                packet::deliver(bus.token, self.packets.filled(buffer, length), handler)
            }
            (_, Ok(_), Some(_)) => Ok(0),
            (_, Ok(_), None) => Err(io::ErrorKind::UnexpectedEof.into()),
            (_, Err(error), _) => Err(error),
        };
        if let Some(buffer) = buffer {
            self.packets.recycle(buffer);
        }
        match outcome {
            Ok(bytes) if cqueue::more(completion.flags) => self.packet_bytes += bytes,
            outcome => self.packets_ended(key, completion, outcome, handler),
        }
    }

    /// A receive from a bus has ended, or brought what is no packet.
    #[cold]
    #[inline(never)]
    fn packets_ended(
        &mut self,
        key: Key,
        completion: Completion,
        outcome: io::Result<usize>,
        handler: &mut impl Handler,
    ) {
        let Some(bus) = self.buses.find_mut(key) else { return };
        bus.receiving = cqueue::more(completion.flags);
        let is_out_of_buffers = |error: &io::Error| error.raw_os_error() == Some(libc::ENOBUFS);
        match outcome {
            _ if bus.closing => {}
            Err(mut error) if !is_out_of_buffers(&error) => {
                // Completions of the same receive come in order: those before this one were handed on.
                if orphan::is_orphaned(&error)
                    && let Err(failed) =
                        orphan::take_rest(&mut Receiver::new(), bus.descriptor.as_fd(), bus.token, handler)
                {
                    error = failed;
                }
                handler.bus_stopped(bus.token, error);
            }
            outcome => {
                self.packet_bytes += outcome.unwrap_or(0);
                // Out of buffers, or the kernel ended it for reasons of its own: armed again after recycling.
                if !bus.receiving {
                    self.starved.push(Operation::ReceivePackets(key));
                }
            }
        }
        self.release_bus(key);
    }

    /// Bytes have come, as is usual, or none will any more.
    #[inline(always)]
    pub(super) fn bytes_received(&mut self, key: Key, completion: Completion, handler: &mut impl Handler) {
        let more = cqueue::more(completion.flags);
        let buffer = cqueue::buffer_select(completion.flags);
        let (Some(stream), Some(buffer), Ok(length)) =
            (self.streams.find_mut(key), buffer, completion.outcome())
        else {
            return self.bytes_ended(key, completion, handler);
        };
        if !more || length == 0 || !stream.is_flowing() {
            return self.bytes_ended(key, completion, handler);
        }
        self.stream_bytes += length;
        if stream.socket.note_read(length) {
            self.unemptied.push(key);
        }
        let bytes = self.bytes.filled(buffer, length);
        let consumed = handler.stream_bytes(stream.token, bytes);
        if consumed.bytes < length {
            stream.keep(&bytes[consumed.bytes..]);
        }
        self.bytes.recycle(buffer);
        if consumed.pause || stream.filled >= STREAM_RECEIVE_BYTES {
            stream.paused = true;
            self.settle(key);
        }
    }

    /// A receive from a stream has ended, or brought what belongs behind something else.
    #[inline(never)]
    fn bytes_ended(&mut self, key: Key, completion: Completion, handler: &mut impl Handler) {
        let more = cqueue::more(completion.flags);
        let buffer = cqueue::buffer_select(completion.flags);
        if let Some(stream) = self.streams.find_mut(key) {
            stream.receiving = more;
            let length = completion.outcome().unwrap_or(0);
            self.stream_bytes += length;
            if stream.socket.note_read(length) {
                self.unemptied.push(key);
            }
            match (completion.outcome(), buffer) {
                _ if stream.closing => {}
                (Ok(length), Some(buffer)) if length > 0 => {
                    stream.keep(self.bytes.filled(buffer, length));
                    if !stream.paused {
                        self.show(key, handler);
                    }
                }
                (Ok(_), _) => stream.end = End::Untold(None),
                (Err(error), _) if !is_to_be_armed_again(&error) => stream.end = End::Untold(Some(error)),
                (Err(_), _) => {}
            }
        }
        if let Some(buffer) = buffer {
            self.bytes.recycle(buffer);
        }
        if !more {
            self.starved.push(Operation::ReceiveBytes(key));
        }
        self.tell_end(key, handler);
        self.release_stream(key);
    }

    /// Empties queues of what was dealt with, after what came of it is on its way: it may take acknowledgements along.
    #[cold]
    #[inline(never)]
    pub(super) fn empty_queues(&mut self) -> io::Result<()> {
        self.ring.submit()?;
        while let Some(key) = self.unemptied.pop() {
            if let Some(stream) = self.streams.find_mut(key) {
                stream.socket.empty_queue();
            }
        }
        Ok(())
    }

    /// Shows what is left of the streams that are to be received from again.
    #[cold]
    #[inline(never)]
    pub(super) fn show_resumed(&mut self, handler: &mut impl Handler) {
        while let Some(key) = self.resumed.pop() {
            self.show(key, handler);
            self.tell_end(key, handler);
        }
    }

    /// Shows a stream's unconsumed bytes, keeps what is left at the front of its memory, and receives on.
    #[inline(never)]
    fn show(&mut self, key: Key, handler: &mut impl Handler) {
        let Some(stream) = self.stream(key) else { return };
        let Consumed { bytes, pause } = handler.stream_bytes(stream.token, &stream.received[..stream.filled]);
        stream.received.copy_within(bytes..stream.filled, 0);
        stream.filled -= bytes;
        stream.paused = pause;
        self.settle(key);
    }

    /// After bytes were shown: ends the receive of a stream that is paused, and has one that is not receive.
    fn settle(&mut self, key: Key) {
        let Some(stream) = self.stream(key) else { return };
        // Of a full buffer nothing is wanted.
        stream.paused |= stream.filled >= STREAM_RECEIVE_BYTES;
        match (stream.paused, stream.receiving) {
            (true, true) => self.cancel(Operation::ReceiveBytes(key)),
            (false, false) => self.starved.push(Operation::ReceiveBytes(key)),
            _ => {}
        }
    }

    /// Tells that nothing more comes, once, when all that came was shown.
    fn tell_end(&mut self, key: Key, handler: &mut impl Handler) {
        let Some(stream) = self.stream(key).filter(|stream| !stream.paused) else { return };
        if let End::Untold(error) = &mut stream.end {
            let error = error.take();
            stream.end = End::Told;
            handler.stream_ended(stream.token, stream.filled, error);
        }
    }

    /// Arms receives anew that have ended, and ends what cannot be received from.
    #[cold]
    #[inline(never)]
    pub(super) fn receive_again(&mut self, handler: &mut impl Handler) {
        self.packets.publish();
        self.bytes.publish();
        while let Some(operation) = self.starved.pop() {
            match operation {
                Operation::ReceivePackets(key) => {
                    if let Err(error) = self.receive_packets(key)
                        && let Some(bus) = self.bus(key)
                    {
                        handler.bus_stopped(bus.token, error);
                    }
                }
                Operation::ReceiveBytes(key) => {
                    if self.stream(key).is_none_or(|stream| stream.paused) {
                        continue;
                    }
                    if let Err(error) = self.receive_bytes(key)
                        && let Some(stream) = self.stream(key)
                    {
                        stream.end = End::Untold(Some(error));
                        self.tell_end(key, handler);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Whether a receive that ended so is to go on: it was cancelled for a pause, or ran out of buffers.
fn is_to_be_armed_again(error: &io::Error) -> bool {
    is_passing(error) || matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::ENOBUFS))
}
