//! The third engine: on no kernel but the simulated one. It honours what the trait asks for, and nothing beyond: what
//! happens to different descriptors it reports in any order, in portions of any size, and it takes what it is given in
//! pieces of any length.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use canip_peer::buffer::SendBuffer;
use canip_peer::engine::{
    BusId, Consumed, Engine, Handler, Key, PacketInfo, Packing, STREAM_RECEIVE_BYTES, Sending, StreamId,
    Token, Written,
};
use canip_peer::frame::Frame;
use canip_peer::moment::WallTime;

use super::can::{Packet, Queued};
use super::world::Shared;

/// Bytes that one receive takes at most.
const RECEIVE_BYTES: usize = 16 * 1024;

/// Packets of a bus that are reported in a row at most.
const PACKETS: usize = 32;

/// Frames that one system call writes at most.
const WRITE_BATCH: usize = 16;

struct BusSocket {
    descriptor: OwnedFd,
    token: Token,
    socket: usize,
    is_receiving: bool,
}

/// A stream of a process, and what the engine keeps of it.
pub struct Stream {
    _descriptor: OwnedFd,
    token: Token,
    pub connection: usize,
    pub end: usize,
    /// What the handler has not consumed.
    unconsumed: Vec<u8>,
    is_paused: bool,
    /// The rest is to be shown although nothing has come.
    shows_again: bool,
    has_ended: bool,
    in_flight: Option<SendBuffer>,
}

/// The engine of one process.
pub struct SimulatedEngine {
    world: Shared,
    process: usize,
    buses: Vec<Option<BusSocket>>,
    streams: Vec<Option<Stream>>,
    idle: OwnedFd,
}

#[derive(Clone, Copy)]
enum Ready {
    Packets(usize),
    BusError(usize),
    Writable(usize),
    Bytes(usize),
    Ended(usize),
    Sent(usize),
}

fn key(index: usize) -> Key {
    Key::from_word(index as u64)
}

fn index(key: Key) -> usize {
    key.to_word() as usize
}

fn error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

impl SimulatedEngine {
    /// The engine of a process that has just started.
    pub fn new(world: Shared, process: usize) -> Self {
        Self { world, process, buses: Vec::new(), streams: Vec::new(), idle: descriptor() }
    }

    /// Whether the next turn has something to report.
    pub fn is_ready(&self) -> bool {
        !self.ready().is_empty()
    }

    /// The streams that are open.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().flatten()
    }

    /// The process was killed: the kernel closes what it had.
    pub fn kill(&mut self) {
        let (sockets, streams) = (std::mem::take(&mut self.buses), std::mem::take(&mut self.streams));
        let world = &mut *self.world.borrow_mut();
        for BusSocket { descriptor, socket, .. } in sockets.into_iter().flatten() {
            world.can.close(socket);
            world.descriptors.remove(&descriptor.as_raw_fd());
        }
        for Stream { connection, end, .. } in streams.into_iter().flatten() {
            world.close_end(connection, end);
        }
    }

    /// The kernel cancels what waits on a bus socket, as it does when a ring is short of memory.
    pub fn cancel(&mut self, number: usize) {
        let world = &mut *self.world.borrow_mut();
        let mut open = self.buses.iter().flatten();
        if let Some(BusSocket { socket, .. }) = open.nth(number) {
            world.can.sockets[*socket].error = Some(libc::ECANCELED);
        }
    }

    fn ready(&self) -> Vec<Ready> {
        let world = &*self.world.borrow();
        let mut ready = Vec::new();
        for (index, bus) in self.buses.iter().enumerate() {
            let Some(bus) = bus else { continue };
            let socket = &world.can.sockets[bus.socket];
            if bus.is_receiving && socket.error.is_some() {
                ready.push(Ready::BusError(index));
            } else if bus.is_receiving && !socket.queue.is_empty() {
                ready.push(Ready::Packets(index));
            }
            if socket.is_watched && (socket.unsent < socket.unsent_limit || socket.is_orphaned) {
                ready.push(Ready::Writable(index));
            }
        }
        for (index, stream) in self.streams.iter().enumerate() {
            let Some(stream) = stream else { continue };
            let connection = &world.connections[stream.connection];
            let (inward, error) = (&connection.pipes[1 - stream.end], connection.ends[stream.end].error);
            if !stream.is_paused && !stream.has_ended {
                if stream.shows_again || !inward.received.is_empty() {
                    ready.push(Ready::Bytes(index));
                } else if inward.fin_arrived || error.is_some() {
                    ready.push(Ready::Ended(index));
                }
            }
            if stream.in_flight.is_some() && (error.is_some() || connection.pipes[stream.end].room() > 0) {
                ready.push(Ready::Sent(index));
            }
        }
        ready
    }

    fn report(&mut self, ready: Ready, handler: &mut impl Handler) {
        match ready {
            Ready::Packets(index) => self.report_packets(index, handler),
            Ready::BusError(index) => {
                let Some(bus) = &mut self.buses[index] else { return };
                let taken = self.world.borrow_mut().can.sockets[bus.socket].error.take();
                if let Some(number) = taken {
                    bus.is_receiving = false;
                    let token = bus.token;
                    if number == libc::ENODEV {
                        self.report_rest(index, handler);
                    }
                    handler.bus_stopped(token, error(number));
                }
            }
            Ready::Writable(index) => {
                let Some(bus) = &self.buses[index] else { return };
                self.world.borrow_mut().can.sockets[bus.socket].is_watched = false;
                handler.bus_writable(bus.token);
            }
            Ready::Bytes(index) => self.report_bytes(index, handler),
            Ready::Ended(index) => {
                let Some(stream) = &mut self.streams[index] else { return };
                stream.has_ended = true;
                let broken = self.world.borrow().connections[stream.connection].ends[stream.end].error;
                handler.stream_ended(stream.token, stream.unconsumed.len(), broken.map(error));
            }
            Ready::Sent(index) => self.send_on(index, handler),
        }
    }

    fn report_packets(&mut self, index: usize, handler: &mut impl Handler) {
        let Some(bus) = &self.buses[index] else { return };
        let count = self.world.borrow_mut().random.usize(1..=PACKETS);
        for _ in 0..count {
            if !self.report_packet(bus, handler) {
                return;
            }
        }
    }

    /// What a socket holds whose interface is gone.
    fn report_rest(&self, index: usize, handler: &mut impl Handler) {
        let Some(bus) = &self.buses[index] else { return };
        while self.report_packet(bus, handler) {}
    }

    /// False if there was none.
    fn report_packet(&self, bus: &BusSocket, handler: &mut impl Handler) -> bool {
        let Packet { frame, received_at_ns, dropped_total, .. } = {
            let world = &mut *self.world.borrow_mut();
            let Some(packet) = world.can.sockets[bus.socket].queue.pop_front() else { return false };
            world.trace.number(world.now_ns, b'P', [bus.socket as u64, packet.mark.into()]);
            world.checker.given(self.process, packet.mark);
            packet
        };
        let received_at = Some(WallTime::from_nanos(received_at_ns));
        let dropped_total = (dropped_total > 0).then_some(dropped_total);
        handler.bus_packet(bus.token, frame.image().as_bytes(), PacketInfo { received_at, dropped_total });
        true
    }

    fn report_bytes(&mut self, index: usize, handler: &mut impl Handler) {
        let Some(stream) = &mut self.streams[index] else { return };
        {
            let world = &mut *self.world.borrow_mut();
            let received = &mut world.connections[stream.connection].pipes[1 - stream.end].received;
            let most = received.len().min(RECEIVE_BYTES).min(STREAM_RECEIVE_BYTES - stream.unconsumed.len());
            let count = match world.random.u8(0..4) {
                0 => world.random.usize(0..=most),
                _ => most,
            };
            stream.unconsumed.extend(received.drain(..count));
            world.trace.number(world.now_ns, b'R', [stream.connection as u64, count as u64]);
            if count == 0 && !stream.shows_again {
                return;
            }
            stream.shows_again = false;
            // There is room again at the other end.
            let sender = world.connections[stream.connection].ends[1 - stream.end].process;
            world.rouse(sender);
        }
        let Consumed { bytes, pause } = handler.stream_bytes(stream.token, &stream.unconsumed);
        stream.unconsumed.drain(..bytes);
        stream.is_paused = pause || stream.unconsumed.len() >= STREAM_RECEIVE_BYTES;
    }

    /// A buffer in flight goes on, and comes back when all of it is sent.
    fn send_on(&mut self, index: usize, handler: &mut impl Handler) {
        let Some(stream) = &mut self.streams[index] else { return };
        let Some(mut buffer) = stream.in_flight.take() else { return };
        let result = {
            let world = &mut *self.world.borrow_mut();
            match world.connections[stream.connection].ends[stream.end].error {
                Some(number) => Err(error(number)),
                None => {
                    push(world, stream.connection, stream.end, &mut buffer);
                    Ok(())
                }
            }
        };
        if result.is_err() || buffer.is_sent() {
            handler.stream_sent(stream.token, buffer, result);
        } else {
            stream.in_flight = Some(buffer);
        }
    }

    fn bus(&self, bus: BusId) -> Option<&BusSocket> {
        self.buses.get(index(bus.0))?.as_ref()
    }

    fn stream(&mut self, stream: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(index(stream.0))?.as_mut()
    }
}

/// Hands bytes of a buffer to the network: some, all, or as many as it takes.
fn push(world: &mut super::world::World, connection: usize, end: usize, buffer: &mut SendBuffer) {
    let pipe = &mut world.connections[connection].pipes[end];
    let most = buffer.unsent().len().min(pipe.room());
    let count = match world.random.u8(0..8) {
        0 => world.random.usize(0..=most),
        _ => most,
    };
    pipe.send(&buffer.unsent()[..count], world.now_ns, &mut world.random);
    buffer.consume(count);
    world.trace.number(world.now_ns, b'S', [connection as u64, count as u64]);
    world.expect_arrival(connection, end);
}

/// A descriptor that stands for something simulated.
pub fn descriptor() -> OwnedFd {
    thread_local! {
        static NULL: std::fs::File = std::fs::File::open("/dev/null").expect("every Linux has /dev/null");
    }
    NULL.with(|null| null.as_fd().try_clone_to_owned()).expect("descriptors are not used up")
}

impl Engine for SimulatedEngine {
    fn open_bus(&mut self, token: Token, descriptor: OwnedFd, _packing: Packing) -> io::Result<BusId> {
        let socket = self.world.borrow().descriptors[&descriptor.as_raw_fd()];
        self.buses.push(Some(BusSocket { descriptor, token, socket, is_receiving: true }));
        Ok(BusId(key(self.buses.len() - 1)))
    }

    fn retarget_bus(&mut self, bus: BusId, token: Token) {
        if let Some(Some(bus)) = self.buses.get_mut(index(bus.0)) {
            bus.token = token;
        }
    }

    fn bus_descriptor(&self, bus: BusId) -> Option<BorrowedFd<'_>> {
        Some(self.bus(bus)?.descriptor.as_fd())
    }

    fn resume_bus(&mut self, bus: BusId) -> io::Result<()> {
        if let Some(Some(bus)) = self.buses.get_mut(index(bus.0)) {
            bus.is_receiving = true;
        }
        Ok(())
    }

    fn write_bus(&mut self, bus: BusId, frames: &[Frame], mut may_go: impl FnMut() -> bool) -> Written {
        let Some(&BusSocket { socket, .. }) = self.bus(bus) else {
            return Written { accepted: 0, stopped_by: Some(error(libc::EBADF)) };
        };
        let mut accepted = 0;
        while accepted < frames.len() {
            let batch = self.world.borrow_mut().random.usize(1..=WRITE_BATCH).min(frames.len() - accepted);
            if !may_go() {
                break;
            }
            for frame in &frames[accepted..accepted + batch] {
                let world = &mut *self.world.borrow_mut();
                let mark = super::frames::mark_of(frame.image());
                let interface = world.can.sockets[socket].interface;
                let queued = Queued { frame: *frame, mark, from: Some(socket) };
                match world.can.transmit(interface, queued) {
                    Ok(()) => {
                        accepted += 1;
                        let bus = world.can.interfaces[interface].bus;
                        world.trace.number(world.now_ns, b'W', [socket as u64, mark.into()]);
                        world.checker.accepted(self.process, socket, bus, mark, frame, world.now_ns);
                        world.begin_frame(bus);
                    }
                    Err(number) => {
                        world.trace.number(world.now_ns, b'E', [socket as u64, number as u64]);
                        return Written { accepted, stopped_by: Some(error(number)) };
                    }
                }
            }
        }
        Written { accepted, stopped_by: None }
    }

    fn watch_bus_writable(&mut self, bus: BusId) -> io::Result<()> {
        if let Some(&BusSocket { socket, .. }) = self.bus(bus) {
            self.world.borrow_mut().can.sockets[socket].is_watched = true;
        }
        Ok(())
    }

    fn close_bus(&mut self, bus: BusId) {
        let Some(BusSocket { descriptor, socket, .. }) =
            self.buses.get_mut(index(bus.0)).and_then(Option::take)
        else {
            return;
        };
        let world = &mut *self.world.borrow_mut();
        world.checker.closed(self.process, world.can.sockets[socket].drops);
        world.can.close(socket);
        world.descriptors.remove(&descriptor.as_raw_fd());
    }

    fn open_stream(&mut self, token: Token, descriptor: OwnedFd) -> io::Result<StreamId> {
        let world = &mut *self.world.borrow_mut();
        let Some(number) = world.descriptors.remove(&descriptor.as_raw_fd()) else {
            return Err(error(libc::EBADF));
        };
        self.streams.push(Some(Stream {
            _descriptor: descriptor,
            token,
            connection: number / 2,
            end: number % 2,
            unconsumed: Vec::new(),
            is_paused: false,
            shows_again: false,
            has_ended: false,
            in_flight: None,
        }));
        Ok(StreamId(key(self.streams.len() - 1)))
    }

    /// None has options to set.
    fn stream_descriptor(&self, _stream: StreamId) -> Option<BorrowedFd<'_>> {
        None
    }

    fn resume_stream(&mut self, stream: StreamId) {
        if let Some(stream) = self.stream(stream) {
            stream.shows_again |= std::mem::take(&mut stream.is_paused);
        }
    }

    fn send(&mut self, stream: StreamId, mut buffer: SendBuffer) -> Sending {
        let world = std::rc::Rc::clone(&self.world);
        let world = &mut *world.borrow_mut();
        let Some(stream) = self.stream(stream) else {
            return Sending::Failed { buffer, error: error(libc::EBADF) };
        };
        assert!(stream.in_flight.is_none(), "one buffer of a stream is in flight at a time");
        if let Some(number) = world.connections[stream.connection].ends[stream.end].error {
            return Sending::Failed { buffer, error: error(number) };
        }
        push(world, stream.connection, stream.end, &mut buffer);
        // Even what the kernel has taken may come back later only.
        if buffer.is_sent() && world.random.u8(0..4) > 0 {
            return Sending::Done(buffer);
        }
        stream.in_flight = Some(buffer);
        let process = world.connections[stream.connection].ends[stream.end].process;
        world.rouse(process);
        Sending::InFlight
    }

    fn finish_stream(&mut self, stream: StreamId) -> io::Result<()> {
        let world = std::rc::Rc::clone(&self.world);
        let world = &mut *world.borrow_mut();
        let Some(&mut Stream { connection, end, .. }) = self.stream(stream) else {
            return Err(error(libc::EBADF));
        };
        if let Some(number) = world.connections[connection].ends[end].error {
            return Err(error(number));
        }
        world.connections[connection].pipes[end].finish(world.now_ns, &mut world.random);
        world.expect_arrival(connection, end);
        Ok(())
    }

    fn close_stream(&mut self, stream: StreamId) -> Option<usize> {
        let Stream { connection, end, in_flight, .. } =
            self.streams.get_mut(index(stream.0)).and_then(Option::take)?;
        self.world.borrow_mut().close_end(connection, end);
        in_flight.map(|buffer| buffer.sent_bytes())
    }

    /// Does not wait: virtual time passes between turns.
    fn turn(&mut self, _wait: Duration, handler: &mut impl Handler) -> io::Result<bool> {
        let mut ready = self.ready();
        let happened = !ready.is_empty();
        while !ready.is_empty() {
            let drawn = {
                let world = &mut *self.world.borrow_mut();
                // What is left is for the next turn.
                if world.random.u8(0..16) == 0 {
                    break;
                }
                world.random.usize(0..ready.len())
            };
            let drawn = ready.swap_remove(drawn);
            self.report(drawn, handler);
        }
        Ok(happened)
    }

    fn set_alarm(&mut self, _after: Duration) -> io::Result<()> {
        Ok(())
    }

    fn turn_to_alarm(&mut self, handler: &mut impl Handler) -> io::Result<bool> {
        self.turn(Duration::ZERO, handler)
    }

    fn wake_descriptor(&self) -> BorrowedFd<'_> {
        self.idle.as_fd()
    }

    fn arm_wake(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn disarm_wake(&mut self) -> io::Result<()> {
        Ok(())
    }
}
