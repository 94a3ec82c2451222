//! The engine for hosts and containers that forbid io_uring: epoll, `recvmmsg`, `recv`, `send`.
//!
//! Everything is non-blocking. Buses are level-triggered: what one turn leaves behind, the next one finds. Streams are
//! edge-triggered, since what was read stays in their queues for a while (`StreamSocket`): what one turn leaves behind is
//! noted for the next one.

mod poller;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use self::poller::{Event, Interest, Poller, Ready, Wait};
use super::slots::{Key, Slots};
use super::socket::{receive, send_some, shutdown_write};
use super::stream_socket::StreamSocket;
use super::{
    BusId, Consumed, Engine, Handler, Packing, STREAM_RECEIVE_BYTES, Sending, StreamId, TURN_PACKET_BYTES,
    TURN_STREAM_BYTES, Token, Written, bus_write, closed, orphan,
};
use crate::buffer::SendBuffer;
use crate::bus::{RECEIVE_BATCH, Receiver};
use crate::frame::Frame;

const NO_WAIT: Wait = Wait::AtMost(Duration::ZERO);

/// Batches of packets that a turn takes from a bus: a thousand of them, about as many frames as it hands on of a stream.
const TURN_BATCHES: usize = 16;

/// An engine on one epoll instance.
pub struct EpollEngine {
    poller: Poller,
    packets: Receiver,
    entries: Slots<Entry>,
    /// Streams whose rest is to be shown in the next turn.
    resumed: Vec<Key>,
    /// Streams that the next turn serves, of which the kernel does not tell again.
    waiting: Vec<Key>,
    /// Streams whose queues are to be emptied, when what they brought was dealt with.
    unemptied: Vec<Key>,
    /// The alarm was set and has not rung.
    alarm_is_set: bool,
    /// What this turn has handed on so far.
    packet_bytes: usize,
    stream_bytes: usize,
}

enum Entry {
    Bus(Bus),
    Stream(Stream),
}

struct Bus {
    descriptor: OwnedFd,
    token: Token,
    packing: Packing,
    interest: Interest,
}

struct Stream {
    socket: StreamSocket,
    token: Token,
    interest: Interest,
    received: Box<[u8]>,
    /// `received[..filled]` has not been consumed.
    filled: usize,
    /// The handler has asked for a pause, and [`Engine::resume_stream`] was not called since.
    paused: bool,
    /// It is among those that the next turn serves.
    waits: bool,
    /// It is to be read until nothing comes: its end is there, or may be.
    to_the_end: bool,
    sending: Option<SendBuffer>,
}

impl Entry {
    /// What is watched, and for what.
    fn watched(&mut self) -> (BorrowedFd<'_>, &mut Interest) {
        match self {
            Self::Bus(bus) => (bus.descriptor.as_fd(), &mut bus.interest),
            Self::Stream(stream) => (stream.socket.as_fd(), &mut stream.interest),
        }
    }
}

impl EpollEngine {
    /// Sets up the engine.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            packets: Receiver::new(),
            entries: Slots::new(),
            resumed: Vec::new(),
            waiting: Vec::new(),
            packet_bytes: 0,
            stream_bytes: 0,
            unemptied: Vec::new(),
            alarm_is_set: false,
        })
    }

    fn bus(&mut self, bus: BusId) -> Option<&mut Bus> {
        match self.entries.find_mut(bus.0) {
            Some(Entry::Bus(bus)) => Some(bus),
            _ => None,
        }
    }

    fn stream(&mut self, stream: StreamId) -> Option<&mut Stream> {
        match self.entries.find_mut(stream.0) {
            Some(Entry::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    fn open(&mut self, mut entry: Entry) -> io::Result<Key> {
        let interest = *entry.watched().1;
        let key = self.entries.insert(entry);
        let Some(entry) = self.entries.find_mut(key) else { unreachable!("inserted above") };
        let watched = self.poller.watch(entry.watched().0, key, interest);
        if let Err(error) = watched {
            self.entries.remove(key);
            return Err(error);
        }
        Ok(key)
    }

    fn set_interest(&mut self, key: Key, change: impl FnOnce(&mut Interest)) -> io::Result<()> {
        let Some(entry) = self.entries.find_mut(key) else { return Err(closed()) };
        let (descriptor, interest) = entry.watched();
        let before = *interest;
        let mut after = before;
        change(&mut after);
        if after != before {
            self.poller.change(descriptor, key, before, after)?;
            *interest = after;
        }
        Ok(())
    }

    fn take_turn(&mut self, wait: Wait, handler: &mut impl Handler) -> io::Result<bool> {
        (self.packet_bytes, self.stream_bytes) = (0, 0);
        if !self.unemptied.is_empty() {
            self.empty_queues();
        }
        let mut happened = !self.resumed.is_empty() || !self.waiting.is_empty();
        if happened {
            self.serve_waiting(handler);
        }
        let wait = if happened { NO_WAIT } else { wait };
        let count = self.poller.wait(wait)?;
        for index in 0..count {
            match self.poller.event(index) {
                Event::Ready(ready) => {
                    happened = true;
                    self.serve(ready, handler);
                }
                Event::Alarm => self.alarm_is_set = false,
            }
        }
        Ok(happened)
    }

    /// Shows the rest of streams that were paused, and serves those of which the kernel does not tell again.
    #[cold]
    #[inline(never)]
    fn serve_waiting(&mut self, handler: &mut impl Handler) {
        while let Some(key) = self.resumed.pop() {
            self.show(key, handler);
            self.have_wait(key, true);
        }
        // Those that are to wait again do so behind these, and behind those that this turn has no bytes left for.
        let count = self.waiting.len();
        let mut served = 0;
        while served < count && self.stream_bytes < TURN_STREAM_BYTES {
            let key = self.waiting[served];
            served += 1;
            let Some(Entry::Stream(stream)) = self.entries.find_mut(key) else { continue };
            stream.waits = false;
            self.serve_stream(Ready { key, readable: true, writable: true, to_the_end: false }, handler);
        }
        self.waiting.drain(..served);
    }

    /// Has a stream served by the next turn.
    fn have_wait(&mut self, key: Key, to_the_end: bool) {
        let Some(Entry::Stream(stream)) = self.entries.find_mut(key) else { return };
        stream.to_the_end |= to_the_end;
        if !std::mem::replace(&mut stream.waits, true) {
            self.waiting.push(key);
        }
    }

    /// Empties queues of what was dealt with.
    #[cold]
    #[inline(never)]
    fn empty_queues(&mut self) {
        while let Some(key) = self.unemptied.pop() {
            if let Some(Entry::Stream(stream)) = self.entries.find_mut(key) {
                stream.socket.empty_queue();
            }
        }
    }

    /// Whether the next turn would find nothing. Buses that are ready stay so, streams are noted, an alarm rings here.
    fn is_quiet(&mut self) -> io::Result<bool> {
        let count = self.poller.wait(NO_WAIT)?;
        let mut quiet = true;
        for index in 0..count {
            match self.poller.event(index) {
                Event::Ready(ready) => {
                    quiet = false;
                    self.have_wait(ready.key, ready.to_the_end);
                }
                Event::Alarm => self.alarm_is_set = false,
            }
        }
        Ok(quiet)
    }

    fn serve(&mut self, ready: Ready, handler: &mut impl Handler) {
        match self.entries.find(ready.key) {
            Some(Entry::Bus(_)) => self.serve_bus(ready, handler),
            Some(Entry::Stream(_)) => self.serve_stream(ready, handler),
            None => {}
        }
    }

    fn serve_bus(&mut self, ready: Ready, handler: &mut impl Handler) {
        let Some(Entry::Bus(bus)) = self.entries.find_mut(ready.key) else { return };
        let (token, interest) = (bus.token, bus.interest);
        if ready.writable && interest.writable {
            match self.set_interest(ready.key, |interest| interest.writable = false) {
                Ok(()) => handler.bus_writable(token),
                Err(error) => handler.bus_stopped(token, error),
            }
        }
        if ready.readable && interest.readable {
            self.receive_packets(ready.key, handler);
        }
    }

    /// Takes what has come, in a few batches at the most: what is left is found in the next turn.
    fn receive_packets(&mut self, key: Key, handler: &mut impl Handler) {
        // A bus that is not served for it is ready in the next turn too, behind those that had theirs.
        if self.packet_bytes >= TURN_PACKET_BYTES {
            return;
        }
        for _ in 0..TURN_BATCHES {
            let (count, bytes) = self.receive_batch(key, handler);
            self.packet_bytes += bytes;
            // Another batch as long must fit, too.
            if count < RECEIVE_BATCH || self.packet_bytes + bytes > TURN_PACKET_BYTES {
                return;
            }
        }
    }

    /// Takes one batch; how many packets were in it, and bytes in those.
    fn receive_batch(&mut self, key: Key, handler: &mut impl Handler) -> (usize, usize) {
        let Some(Entry::Bus(bus)) = self.entries.find_mut(key) else { return (0, 0) };
        let token = bus.token;
        let result = match self.packets.receive(bus.descriptor.as_fd()) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            result => result,
        };
        let mut bytes = 0;
        for received in self.packets.iter() {
            bytes += received.packet.len();
            handler.bus_packet(token, received.packet, received.info);
        }
        match result {
            Ok(count) => return (count, bytes),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                let rest = if orphan::is_orphaned(&error) { self.take_rest(key, handler) } else { Ok(()) };
                let unwatched = self.set_interest(key, |interest| interest.readable = false);
                handler.bus_stopped(token, unwatched.and(rest).err().unwrap_or(error));
            }
        }
        (0, bytes)
    }

    fn take_rest(&mut self, key: Key, handler: &mut impl Handler) -> io::Result<()> {
        let Some(Entry::Bus(bus)) = self.entries.find(key) else { return Ok(()) };
        orphan::take_rest(&mut self.packets, bus.descriptor.as_fd(), bus.token, handler)
    }

    fn serve_stream(&mut self, ready: Ready, handler: &mut impl Handler) {
        let Some(Entry::Stream(stream)) = self.entries.find_mut(ready.key) else { return };
        let interest = stream.interest;
        if ready.writable && interest.writable {
            self.continue_sending(ready.key, handler);
        }
        if ready.readable && interest.readable {
            self.receive_bytes(ready, handler);
        }
    }

    fn receive_bytes(&mut self, ready: Ready, handler: &mut impl Handler) {
        let key = ready.key;
        let Some(Entry::Stream(stream)) = self.entries.find_mut(key) else { return };
        stream.to_the_end |= ready.to_the_end;
        if stream.paused || stream.waits {
            return;
        }
        if self.stream_bytes >= TURN_STREAM_BYTES {
            return self.have_wait(key, false);
        }
        let end = stream.received.len().min(stream.filled + TURN_STREAM_BYTES);
        let room = &mut stream.received[stream.filled..end];
        match receive(stream.socket.as_fd(), room, stream.socket.flags()) {
            Ok(0) => self.end_stream(key, None, handler),
            Ok(count) => {
                self.stream_bytes += count;
                stream.filled += count;
                if stream.socket.note_read(count) {
                    self.unemptied.push(key);
                }
                if stream.filled == end || stream.to_the_end {
                    self.have_wait(key, false);
                }
                self.show(key, handler);
            }
            Err(error) if is_passing(&error) => stream.to_the_end = false,
            Err(error) => self.end_stream(key, Some(error), handler),
        }
    }

    fn end_stream(&mut self, key: Key, error: Option<io::Error>, handler: &mut impl Handler) {
        let unwatched = self.set_interest(key, |interest| interest.readable = false);
        if let Some(Entry::Stream(stream)) = self.entries.find(key) {
            handler.stream_ended(stream.token, stream.filled, unwatched.err().or(error));
        }
    }

    /// Shows a stream's unconsumed bytes, and keeps what is left at the front of its buffer.
    fn show(&mut self, key: Key, handler: &mut impl Handler) {
        let Some(Entry::Stream(stream)) = self.entries.find_mut(key) else { return };
        let Consumed { bytes, pause } = handler.stream_bytes(stream.token, &stream.received[..stream.filled]);
        stream.received.copy_within(bytes..stream.filled, 0);
        stream.filled -= bytes;
        // A full buffer of which nothing is wanted cannot be read on.
        stream.paused = pause || stream.filled == stream.received.len();
    }

    fn continue_sending(&mut self, key: Key, handler: &mut impl Handler) {
        let Some(Entry::Stream(stream)) = self.entries.find_mut(key) else { return };
        let Some(mut buffer) = stream.sending.take() else { return };
        let result = match send_some(stream.socket.as_fd(), &mut buffer) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.sending = Some(buffer);
                return;
            }
            Err(error) => Err(error),
        };
        let token = stream.token;
        let unwatched = self.set_interest(key, |interest| interest.writable = false);
        handler.stream_sent(token, buffer, result.and(unwatched));
    }
}

/// Whether the next turn may have better luck.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Engine for EpollEngine {
    fn open_bus(&mut self, token: Token, descriptor: OwnedFd, packing: Packing) -> io::Result<BusId> {
        self.open(Entry::Bus(Bus { descriptor, token, packing, interest: Interest::READABLE })).map(BusId)
    }

    fn retarget_bus(&mut self, bus: BusId, token: Token) {
        if let Some(bus) = self.bus(bus) {
            bus.token = token;
        }
    }

    fn bus_descriptor(&self, bus: BusId) -> Option<BorrowedFd<'_>> {
        match self.entries.find(bus.0) {
            Some(Entry::Bus(bus)) => Some(bus.descriptor.as_fd()),
            _ => None,
        }
    }

    fn resume_bus(&mut self, bus: BusId) -> io::Result<()> {
        self.set_interest(bus.0, |interest| interest.readable = true)
    }

    fn write_bus(&mut self, bus: BusId, frames: &[Frame], may_go: impl FnMut() -> bool) -> Written {
        match self.bus(bus) {
            Some(bus) => bus_write::write(bus.descriptor.as_fd(), bus.packing, frames, may_go),
            None => Written { accepted: 0, stopped_by: Some(closed()) },
        }
    }

    fn watch_bus_writable(&mut self, bus: BusId) -> io::Result<()> {
        self.set_interest(bus.0, |interest| interest.writable = true)
    }

    fn close_bus(&mut self, bus: BusId) {
        // Closing the only descriptor of a socket takes it out of the epoll set.
        self.entries.remove(bus.0);
    }

    fn open_stream(&mut self, token: Token, descriptor: OwnedFd) -> io::Result<StreamId> {
        let received = vec![0; STREAM_RECEIVE_BYTES].into_boxed_slice();
        let stream = Stream {
            socket: StreamSocket::new(descriptor),
            token,
            interest: Interest::NEWLY_READABLE,
            received,
            filled: 0,
            paused: false,
            waits: false,
            to_the_end: false,
            sending: None,
        };
        self.open(Entry::Stream(stream)).map(StreamId)
    }

    fn stream_descriptor(&self, stream: StreamId) -> Option<BorrowedFd<'_>> {
        match self.entries.find(stream.0) {
            Some(Entry::Stream(stream)) => Some(stream.socket.as_fd()),
            _ => None,
        }
    }

    fn resume_stream(&mut self, stream: StreamId) {
        let was_paused = self.stream(stream).is_some_and(|stream| std::mem::take(&mut stream.paused));
        if was_paused {
            self.resumed.push(stream.0);
        }
    }

    fn send(&mut self, stream: StreamId, mut buffer: SendBuffer) -> Sending {
        let Some(entry) = self.stream(stream) else { return Sending::Failed { buffer, error: closed() } };
        assert!(entry.sending.is_none(), "one buffer in flight at a time");
        match send_some(entry.socket.as_fd(), &mut buffer) {
            Ok(()) => Sending::Done(buffer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Err(error) = self.set_interest(stream.0, |interest| interest.writable = true) {
                    return Sending::Failed { buffer, error };
                }
                if let Some(entry) = self.stream(stream) {
                    entry.sending = Some(buffer);
                }
                Sending::InFlight
            }
            Err(error) => Sending::Failed { buffer, error },
        }
    }

    fn finish_stream(&mut self, stream: StreamId) -> io::Result<()> {
        shutdown_write(self.stream(stream).ok_or_else(closed)?.socket.as_fd())
    }

    fn close_stream(&mut self, stream: StreamId) -> Option<usize> {
        // No other kind of entry has the key.
        match self.entries.remove(stream.0) {
            Some(Entry::Stream(Stream { sending: Some(buffer), .. })) => Some(buffer.sent_bytes()),
            _ => None,
        }
    }

    fn turn(&mut self, wait: Duration, handler: &mut impl Handler) -> io::Result<bool> {
        self.take_turn(Wait::AtMost(wait), handler)
    }

    fn set_alarm(&mut self, after: Duration) -> io::Result<()> {
        self.alarm_is_set = false;
        self.poller.set_alarm(after)?;
        self.alarm_is_set = true;
        Ok(())
    }

    fn turn_to_alarm(&mut self, handler: &mut impl Handler) -> io::Result<bool> {
        let wait = if self.alarm_is_set { Wait::ForAlarm } else { NO_WAIT };
        self.take_turn(wait, handler)
    }

    fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }

    fn arm_wake(&mut self) -> io::Result<bool> {
        // Nothing may come for long: what was read must not lie in the queue until then.
        for entry in self.entries.values_mut() {
            if let Entry::Stream(stream) = entry {
                stream.socket.empty_queue();
            }
        }
        Ok(self.resumed.is_empty() && self.waiting.is_empty() && self.is_quiet()?)
    }

    fn disarm_wake(&mut self) -> io::Result<()> {
        Ok(())
    }
}
