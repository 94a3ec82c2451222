//! What every engine must do, over local sockets. Each test runs on both.

mod tcp;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::epoll::EpollEngine;
use super::uring::UringEngine;
use super::*;
use crate::frame::Identifier;
use crate::skip::skip;

/// Longer than any test takes; a turn that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const TOKEN: Token = Token(7);

#[derive(Default)]
struct Events {
    packets: Vec<(Vec<u8>, PacketInfo)>,
    stopped: Vec<ErrorKind>,
    writable: usize,
    bytes: Vec<u8>,
    /// How often bytes were shown.
    shown: usize,
    /// How many bytes to take before asking for a pause.
    appetite: Option<usize>,
    /// Leave the rest over without asking for a pause.
    never_pause: bool,
    ended: Option<(usize, bool)>,
    /// Whether all was sent, and how many bytes were.
    sent: Vec<(bool, usize)>,
}

impl Handler for Events {
    fn bus_packet(&mut self, token: Token, packet: &[u8], info: PacketInfo) {
        assert_eq!(token, TOKEN);
        self.packets.push((packet.to_vec(), info));
    }

    fn bus_stopped(&mut self, _: Token, error: io::Error) {
        self.stopped.push(error.kind());
    }

    fn bus_writable(&mut self, _: Token) {
        self.writable += 1;
    }

    fn stream_bytes(&mut self, token: Token, bytes: &[u8]) -> Consumed {
        assert_eq!(token, TOKEN);
        self.shown += 1;
        let taken = self.appetite.unwrap_or(usize::MAX).min(bytes.len());
        self.bytes.extend(&bytes[..taken]);
        if let Some(appetite) = &mut self.appetite {
            *appetite -= taken;
        }
        Consumed { bytes: taken, pause: taken < bytes.len() && !self.never_pause }
    }

    fn stream_ended(&mut self, _: Token, unconsumed: usize, error: Option<io::Error>) {
        assert_eq!(self.ended, None, "told once");
        self.ended = Some((unconsumed, error.is_some()));
    }

    fn stream_sent(&mut self, _: Token, buffer: SendBuffer, result: io::Result<()>) {
        assert!(result.is_err() || buffer.is_sent());
        self.sent.push((result.is_ok(), buffer.sent_bytes()));
    }
}

impl Events {
    /// Turns the engine until `done`.
    fn until<E: Engine>(&mut self, engine: &mut E, done: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done(self) {
            engine.turn(Duration::from_secs(1), self).unwrap();
            assert!(Instant::now() < limit, "nothing came");
        }
    }
}

/// A pair of connected packet sockets that tell receive times.
fn packet_pair() -> (OwnedFd, OwnedFd) {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `pair` has room for the two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    let on: libc::c_int = 1;
    // SAFETY: the option value is an int that lives for the call.
    let result = unsafe {
        libc::setsockopt(pair[0], libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), 4)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    // SAFETY: a new descriptor that nobody else owns.
    let first = unsafe { OwnedFd::from_raw_fd(pair[0]) };
    // SAFETY: a new descriptor that nobody else owns.
    let second = unsafe { OwnedFd::from_raw_fd(pair[1]) };
    (first, second)
}

fn stream_pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    (ours.into(), theirs)
}

fn numbered(number: u32) -> Frame {
    Frame::data(Identifier::standard(0x123).unwrap(), &number.to_be_bytes()).unwrap()
}

fn numbers(events: &Events) -> Vec<u32> {
    let number = |packet: &[u8]| u32::from_be_bytes(packet[8..12].try_into().unwrap());
    events.packets.iter().map(|(packet, _)| number(packet)).collect()
}

fn packets_come_in_order_with_their_times<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    let before =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    let mut events = Events::default();
    // More than any engine has room for at once.
    let frames: Vec<Frame> = (0..5_000).map(numbered).collect();
    let mut written = 0;
    while written < frames.len() {
        written += bus_write::write(theirs.as_fd(), Packing::Single, &frames[written..], || true).accepted;
        engine.turn(Duration::ZERO, &mut events).unwrap();
    }
    events.until(&mut engine, |events| events.packets.len() >= 5_000);
    assert_eq!(numbers(&events), (0..5_000).collect::<Vec<_>>());
    assert!(events.packets.iter().all(|(packet, _)| packet.len() == 16));
    let times: Vec<u64> =
        events.packets.iter().map(|(_, info)| info.received_at.unwrap().as_nanos()).collect();
    assert!(times.is_sorted() && times[0] >= before);
}

fn long_packets_arrive_whole<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    let fd = Frame::fd(Identifier::extended(1).unwrap(), &[0x5A; 64], 1).unwrap();
    assert_eq!(bus_write::write(theirs.as_fd(), Packing::Single, &[fd], || true).accepted, 1);
    // SAFETY: a readable constant of the stated length.
    unsafe { libc::send(theirs.as_raw_fd(), [0xEEu8; 1_200].as_ptr().cast(), 1_200, 0) };
    let mut events = Events::default();
    events.until(&mut engine, |events| events.packets.len() == 2);
    assert_eq!(events.packets[0].0, fd.image().as_bytes());
    assert_eq!(events.packets[1].0[..1_017], [0xEE; 1_017], "cut, but not to the size of a batch");
}

fn the_end_of_a_bus_is_told_once<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    let bus = engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    assert_eq!(bus_write::write(theirs.as_fd(), Packing::Single, &[numbered(1)], || true).accepted, 1);
    drop(theirs);
    let mut events = Events::default();
    events.until(&mut engine, |events| !events.stopped.is_empty());
    assert_eq!(events.packets.len(), 1, "what came before the end is delivered");
    for _ in 0..3 {
        engine.turn(Duration::ZERO, &mut events).unwrap();
    }
    assert_eq!(events.stopped, [ErrorKind::UnexpectedEof]);
    engine.close_bus(bus);
    assert!(engine.bus_descriptor(bus).is_none());
}

fn a_full_bus_says_so_and_tells_when_it_has_room<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    let bus = engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    let frames: Vec<Frame> = (0..20_000).map(numbered).collect();
    let written = engine.write_bus(bus, &frames, || true);
    assert!(written.accepted > 0 && written.accepted < frames.len());
    assert_eq!(written.stopped_by.unwrap().kind(), ErrorKind::WouldBlock);
    engine.watch_bus_writable(bus).unwrap();
    let mut events = Events::default();
    engine.turn(Duration::ZERO, &mut events).unwrap();
    assert_eq!(events.writable, 0);
    let mut packet = [0u8; 16];
    for number in 0..written.accepted as u32 {
        // SAFETY: `packet` is writable memory of the stated length.
        let count = unsafe { libc::recv(theirs.as_raw_fd(), packet.as_mut_ptr().cast(), 16, 0) };
        assert_eq!((count, &packet[8..12]), (16, &number.to_be_bytes()[..]));
    }
    events.until(&mut engine, |events| events.writable == 1);
    assert_eq!(engine.write_bus(bus, &frames[..10], || true).accepted, 10);
}

fn frames_may_be_held_back_before_each_system_call<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    let bus = engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    let frames: Vec<Frame> = (0..200).map(numbered).collect();
    let mut allowed = 2;
    let mut asked = 0;
    let mut may_go = || {
        asked += 1;
        allowed -= 1;
        allowed >= 0
    };
    let written = engine.write_bus(bus, &frames, &mut may_go);
    assert!(written.stopped_by.is_none());
    assert_eq!(written.accepted, 128, "64 a call");
    assert_eq!(engine.write_bus(bus, &frames[..1], &mut may_go).accepted, 0);
    assert_eq!(asked, 4);
    let mut packet = [0u8; 16];
    for number in 0..128u32 {
        // SAFETY: `packet` is writable memory of the stated length.
        let count = unsafe { libc::recv(theirs.as_raw_fd(), packet.as_mut_ptr().cast(), 16, 0) };
        assert_eq!((count, &packet[8..12]), (16, &number.to_be_bytes()[..]));
    }
}

/// The numbers of the frames in the packets that wait, and how many packets these are.
fn take_numbers(bus: &OwnedFd) -> (Vec<u32>, usize) {
    let mut receiver = crate::bus::Receiver::new();
    let (mut numbers, mut packets) = (Vec::new(), 0);
    while let Ok(count) = receiver.receive(bus.as_fd()) {
        packets += count;
        for received in receiver.iter() {
            let images = crate::bus::Images::parse(received.packet).unwrap();
            numbers.extend(images.map(|image| u32::from_be_bytes(image.payload()[..4].try_into().unwrap())));
        }
    }
    (numbers, packets)
}

fn a_bus_of_batches_takes_several_frames_a_packet<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    let bus = engine.open_bus(TOKEN, ours, Packing::Batches).unwrap();
    let fd = |number: u32| Frame::fd(Identifier::standard(1).unwrap(), &number.to_be_bytes(), 0).unwrap();
    // 2 full batches and 4 of classic frames, 1 and 1 of FD frames, and one alone.
    let frames: Vec<Frame> =
        (0..130).map(numbered).chain((130..145).map(fd)).chain([numbered(145)]).collect();
    let written = engine.write_bus(bus, &frames, || true);
    assert!(written.accepted == 146 && written.stopped_by.is_none(), "{written:?}");
    assert_eq!(take_numbers(&theirs), ((0..146).collect(), 3 + 2 + 1));
}

/// What was accepted is exact in frames however far the kernel came with the packets.
fn a_full_bus_of_batches_says_how_many_frames_it_took<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    let bus = engine.open_bus(TOKEN, ours, Packing::Batches).unwrap();
    let frames: Vec<Frame> = (0..50_000).map(numbered).collect();
    let (mut accepted, mut refusals) = (0, 0);
    let mut seen = Vec::new();
    while accepted < frames.len() {
        // The first packets are not full, so that the kernel stops somewhere else each time.
        let part = frames.len().min(accepted + 1 + refusals);
        let start = engine.write_bus(bus, &frames[accepted..part], || true).accepted;
        accepted += start;
        let written = engine.write_bus(bus, &frames[accepted..], || true);
        accepted += written.accepted;
        if let Some(error) = written.stopped_by {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            refusals += 1;
        }
        seen.extend(take_numbers(&theirs).0);
        assert_eq!(seen.len(), accepted);
    }
    assert!(refusals > 0, "the socket was never full");
    assert!(seen.into_iter().eq(0..50_000));
}

/// What a turn brings can be sent before more comes, however much waits.
fn a_turn_brings_a_share_of_a_flood_and_every_sent_buffer<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    let (stream_end, _peer) = stream_pair();
    engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    let stream = engine.open_stream(TOKEN, stream_end).unwrap();
    // As many full batches as the socket takes: 93,000 bytes with the kernel's default.
    let frames: Vec<Frame> = (0..50_000).map(numbered).collect();
    let accepted = bus_write::write(theirs.as_fd(), Packing::Batches, &frames, || true).accepted;
    let packets = accepted.div_ceil(63);
    assert!(packets > 70, "the socket holds {packets} packets");
    let mut events = Events::default();
    events.until(&mut engine, |events| !events.packets.is_empty());
    assert!(events.packets.len() <= 65, "{} packets in one turn", events.packets.len());
    let mut buffer = SendBuffer::with_capacity(16);
    assert!(buffer.append(b"frames"));
    let is_sent = matches!(engine.send(stream, buffer), Sending::Done(_));
    engine.turn(Duration::ZERO, &mut events).unwrap();
    assert!(is_sent || events.sent == [(true, 6)], "{:?}", events.sent);
    events.until(&mut engine, |events| events.packets.len() == packets);
    let images = events.packets.iter().flat_map(|(packet, _)| crate::bus::Images::parse(packet).unwrap());
    let images = images.map(|image| u32::from_be_bytes(image.payload()[..4].try_into().unwrap()));
    assert!(images.eq(0..accepted as u32));
}

fn a_stream_can_be_paused_and_loses_nothing<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = stream_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    theirs.write_all(b"0123456789").unwrap();
    let mut events = Events { appetite: Some(4), ..Events::default() };
    events.until(&mut engine, |events| events.bytes.len() == 4);
    theirs.write_all(b"abc").unwrap();
    engine.turn(Duration::ZERO, &mut events).unwrap();
    assert_eq!(events.bytes, b"0123");
    events.appetite = None;
    engine.resume_stream(stream);
    engine.resume_stream(stream);
    events.until(&mut engine, |events| events.bytes.len() == 13);
    assert_eq!(events.shown, 3, "shown again once, however often that was asked for");
    assert_eq!(events.bytes, b"0123456789abc");
    drop(theirs);
    events.until(&mut engine, |events| events.ended.is_some());
    assert_eq!(events.ended, Some((0, false)));
}

/// More than there are buffers for, some of which are kept back from what came before.
fn many_streams_may_speak_at_once<E: Engine>(mut engine: E) {
    let mut far_ends = Vec::new();
    for _ in 0..150 {
        let (ours, theirs) = stream_pair();
        engine.open_stream(TOKEN, ours).unwrap();
        far_ends.push(theirs);
    }
    let mut events = Events::default();
    for speakers in [7, 150, 1, 5, 150] {
        let before = events.bytes.len();
        far_ends.iter_mut().take(speakers).for_each(|far| far.write_all(b"abc").unwrap());
        events.until(&mut engine, |events| events.bytes.len() >= before + 3 * speakers);
        assert_eq!(events.bytes[before..], b"abc".repeat(speakers));
    }
    assert_eq!(events.ended, None);
}

fn resuming_what_is_not_paused_does_nothing<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = stream_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    theirs.write_all(b"0123456789").unwrap();
    let mut events = Events { appetite: Some(4), never_pause: true, ..Events::default() };
    events.until(&mut engine, |events| events.shown == 1);
    events.appetite = None;
    engine.resume_stream(stream);
    engine.turn(Duration::ZERO, &mut events).unwrap();
    assert_eq!((events.shown, &events.bytes[..]), (1, &b"0123"[..]));
    theirs.write_all(b"abc").unwrap();
    events.until(&mut engine, |events| events.shown == 2);
    assert_eq!(events.bytes, b"0123456789abc");
}

/// Puts a directory in a socket's place: nothing that an engine wants of a socket can be done with it.
fn spoil(descriptor: i32) {
    let directory = std::fs::File::open("/").unwrap();
    // SAFETY: replaces an open descriptor, whose owner goes on owning the number.
    assert_eq!(unsafe { libc::dup2(directory.as_raw_fd(), descriptor) }, descriptor);
}

fn what_one_stream_suffers_ends_it_alone<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = stream_pair();
    let descriptor = ours.as_raw_fd();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    theirs.write_all(b"0123456789").unwrap();
    let mut events = Events { appetite: Some(4), ..Events::default() };
    events.until(&mut engine, |events| events.shown == 1);
    spoil(descriptor);
    events.appetite = Some(3);
    events.never_pause = true;
    engine.resume_stream(stream);
    events.until(&mut engine, |events| events.ended.is_some());
    assert_eq!((&events.bytes[..], events.ended), (&b"0123456"[..], Some((3, true))));
    let (bus_end, their_bus) = packet_pair();
    engine.open_bus(TOKEN, bus_end, Packing::Single).unwrap();
    assert_eq!(bus_write::write(their_bus.as_fd(), Packing::Single, &[numbered(1)], || true).accepted, 1);
    events.until(&mut engine, |events| events.packets.len() == 1);
    assert_eq!(engine.close_stream(stream), None);
}

fn a_stopped_bus_stays_stopped_while_it_is_watched<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    let bus = engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    drop(theirs);
    let mut events = Events::default();
    events.until(&mut engine, |events| !events.stopped.is_empty());
    engine.watch_bus_writable(bus).unwrap();
    events.until(&mut engine, |events| events.writable == 1);
    assert_eq!(events.stopped, [ErrorKind::UnexpectedEof]);
    engine.resume_bus(bus).unwrap();
    events.until(&mut engine, |events| events.stopped.len() == 2);
}

fn a_large_buffer_crosses_a_slow_stream_whole<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = stream_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    let content: Vec<u8> = (0..3_000_000u32).map(|index| (index % 251) as u8).collect();
    let mut buffer = SendBuffer::with_capacity(content.len());
    assert!(buffer.append(&content));
    assert!(matches!(engine.send(stream, buffer), Sending::InFlight));
    let mut events = Events::default();
    let mut received: Vec<u8> = Vec::new();
    let mut piece = vec![0; 100_000];
    while received.len() < content.len() {
        engine.turn(Duration::ZERO, &mut events).unwrap();
        let count = theirs.read(&mut piece).unwrap();
        received.extend(&piece[..count]);
    }
    events.until(&mut engine, |events| !events.sent.is_empty());
    assert_eq!(events.sent, [(true, 3_000_000)]);
    assert!(received == content);
    engine.finish_stream(stream).unwrap();
    assert_eq!(theirs.read(&mut piece).unwrap(), 0);
}

fn a_full_buffer() -> SendBuffer {
    let mut buffer = SendBuffer::with_capacity(3_000_000);
    buffer.vacant(3_000_000).unwrap().fill(0);
    buffer.advance(3_000_000);
    buffer
}

fn a_closed_stream_tells_what_was_sent<E: Engine>(mut engine: E) {
    let mut events = Events::default();
    // Turns before the stream is closed while it sends, and bytes that its other end reads before that.
    for (turns, read_first) in [(0, 0), (1, 0), (1, 100_000), (3, 1)] {
        let (ours, mut theirs) = stream_pair();
        let stream = engine.open_stream(TOKEN, ours).unwrap();
        assert!(matches!(engine.send(stream, a_full_buffer()), Sending::InFlight));
        for _ in 0..turns {
            engine.turn(Duration::ZERO, &mut events).unwrap();
        }
        theirs.read_exact(&mut vec![0; read_first]).unwrap();
        let sent = engine.close_stream(stream).unwrap();
        assert!(sent > 0 && sent < 3_000_000);
        assert_eq!(engine.close_stream(stream), None, "closed once");
        engine.turn(Duration::ZERO, &mut events).unwrap();
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).unwrap();
        assert_eq!(read_first + rest.len(), sent, "{turns} turns, {read_first} read");
    }
    assert!(events.sent.is_empty());
    let (ours, _theirs) = stream_pair();
    let idle = engine.open_stream(TOKEN, ours).unwrap();
    assert_eq!(engine.close_stream(idle), None);
}

fn a_broken_stream_tells_what_was_sent<E: Engine>(mut engine: E) {
    let (ours, theirs) = stream_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    assert!(matches!(engine.send(stream, a_full_buffer()), Sending::InFlight));
    let mut events = Events::default();
    engine.turn(Duration::ZERO, &mut events).unwrap();
    drop(theirs);
    events.until(&mut engine, |events| !events.sent.is_empty());
    let (all, sent) = events.sent[0];
    assert!(!all && sent > 0 && sent < 3_000_000);
    match engine.send(stream, a_full_buffer()) {
        Sending::Failed { buffer, .. } => assert_eq!(buffer.sent_bytes(), 0),
        Sending::InFlight => {
            events.until(&mut engine, |events| events.sent.len() == 2);
            assert_eq!(events.sent[1], (false, 0));
        }
        Sending::Done(_) => panic!("nobody is there to take it"),
    }
}

fn a_closed_descriptor_is_heard_of_no_more<E: Engine>(mut engine: E) {
    let (bus_end, their_bus) = packet_pair();
    let (stream_end, mut their_stream) = stream_pair();
    let bus = engine.open_bus(TOKEN, bus_end, Packing::Single).unwrap();
    let stream = engine.open_stream(TOKEN, stream_end).unwrap();
    let mut events = Events::default();
    engine.turn(Duration::ZERO, &mut events).unwrap();
    assert_eq!(bus_write::write(their_bus.as_fd(), Packing::Single, &[numbered(1)], || true).accepted, 1);
    their_stream.write_all(b"late").unwrap();
    engine.close_bus(bus);
    engine.close_stream(stream);
    for _ in 0..3 {
        engine.turn(Duration::from_millis(1), &mut events).unwrap();
    }
    assert!(events.packets.is_empty() && events.bytes.is_empty() && events.stopped.is_empty());
    assert_eq!(their_stream.read(&mut [0; 8]).map_err(|error| error.kind()).unwrap_or(0), 0);
    assert!(matches!(engine.send(stream, SendBuffer::with_capacity(1)), Sending::Failed { .. }));
}

fn the_wake_descriptor_tells_of_the_next_event<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    let mut events = Events::default();
    for number in 0..3 {
        while engine.turn(Duration::ZERO, &mut events).unwrap() {}
        for _ in 0..=number {
            assert!(engine.arm_wake().unwrap(), "nothing to report");
        }
        assert!(!is_readable(&engine, 0));
        assert_eq!(
            bus_write::write(theirs.as_fd(), Packing::Single, &[numbered(number)], || true).accepted,
            1
        );
        assert!(is_readable(&engine, 10_000));
        for _ in 0..=number {
            engine.disarm_wake().unwrap();
        }
        events.until(&mut engine, |events| events.packets.len() == number as usize + 1);
    }
    assert_eq!(bus_write::write(theirs.as_fd(), Packing::Single, &[numbered(9)], || true).accepted, 1);
    assert!(!engine.arm_wake().unwrap(), "something to report already");
}

fn what_arming_finds_is_reported_at_once<E: Engine>(mut engine: E) {
    let (ours, _theirs) = stream_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    let mut events = Events::default();
    let mut buffer = SendBuffer::with_capacity(8);
    assert!(buffer.append(b"greeting"));
    if let Sending::InFlight = engine.send(stream, buffer) {
        assert!(!engine.arm_wake().unwrap());
        engine.disarm_wake().unwrap();
        let start = Instant::now();
        assert!(engine.turn(PATIENCE, &mut events).unwrap());
        assert_eq!(events.sent, [(true, 8)]);
        assert!(start.elapsed() < PATIENCE / 2);
    }
}

fn an_alarm_ends_a_wait_once<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    let mut events = Events::default();
    assert!(!engine.turn_to_alarm(&mut events).unwrap(), "none was set: no wait");
    let start = Instant::now();
    engine.set_alarm(Duration::from_millis(50)).unwrap();
    while start.elapsed() < Duration::from_millis(50) {
        assert!(!engine.turn_to_alarm(&mut events).unwrap());
    }
    assert!(start.elapsed() < PATIENCE / 2);
    assert!(!engine.turn_to_alarm(&mut events).unwrap(), "it has rung: no wait");
    engine.set_alarm(PATIENCE).unwrap();
    assert_eq!(bus_write::write(theirs.as_fd(), Packing::Single, &[numbered(1)], || true).accepted, 1);
    events.until(&mut engine, |events| events.packets.len() == 1);
    assert!(start.elapsed() < PATIENCE / 2, "what happens ends the wait before it");
}

fn a_later_alarm_replaces_an_earlier_one<E: Engine>(mut engine: E) {
    let (ours, theirs) = packet_pair();
    engine.open_bus(TOKEN, ours, Packing::Single).unwrap();
    let mut events = Events::default();
    engine.turn(Duration::ZERO, &mut events).unwrap();
    let start = Instant::now();
    for after in [PATIENCE, Duration::from_millis(1), Duration::from_millis(80)] {
        engine.set_alarm(after).unwrap();
        engine.turn(Duration::ZERO, &mut events).unwrap();
    }
    assert!(!engine.turn_to_alarm(&mut events).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
    assert!(start.elapsed() < PATIENCE / 2);
    engine.set_alarm(PATIENCE).unwrap();
    assert_eq!(bus_write::write(theirs.as_fd(), Packing::Single, &[numbered(1)], || true).accepted, 1);
    assert!(engine.turn_to_alarm(&mut events).unwrap());
    assert_eq!(numbers(&events), [1]);
}

/// What closing a stream in mid-send has fetched must not be left lying.
fn what_closing_finds_is_reported_at_once<E: Engine>(mut engine: E) {
    let (busy_end, _their_busy) = stream_pair();
    let busy = engine.open_stream(TOKEN, busy_end).unwrap();
    let (bus_end, their_bus) = packet_pair();
    engine.open_bus(TOKEN, bus_end, Packing::Single).unwrap();
    let mut events = Events::default();
    engine.turn(Duration::ZERO, &mut events).unwrap();
    assert!(matches!(engine.send(busy, a_full_buffer()), Sending::InFlight));
    assert_eq!(bus_write::write(their_bus.as_fd(), Packing::Single, &[numbered(1)], || true).accepted, 1);
    assert!(engine.close_stream(busy).is_some());
    assert!(!engine.arm_wake().unwrap());
    engine.disarm_wake().unwrap();
    let start = Instant::now();
    assert!(engine.turn(PATIENCE, &mut events).unwrap());
    assert_eq!(numbers(&events), [1]);
    assert!(start.elapsed() < PATIENCE / 2);
    assert!(!engine.turn(Duration::ZERO, &mut events).unwrap(), "reported once");
}

fn is_readable<E: Engine>(engine: &E, milliseconds: i32) -> bool {
    let mut poll =
        libc::pollfd { fd: engine.wake_descriptor().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry that lives for the call.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) == 1 }
}

fn epoll() -> EpollEngine {
    EpollEngine::new().unwrap()
}

fn uring() -> Option<UringEngine> {
    permitted(UringEngine::new())
}

/// What needs a ring, or `None`, said aloud, where this process may not use io_uring.
pub fn permitted<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            skip(&format!("io_uring is forbidden here ({error})"), None);
            None
        }
        Err(error) => panic!("io_uring: {error}"),
    }
}

macro_rules! on_both_engines {
    ($($test:ident),* $(,)?) => {
        mod on_epoll {
            $(#[test] fn $test() { super::$test(crate::engine::tests::epoll()); })*
        }
        mod on_uring {
            $(#[test] fn $test() {
                if let Some(engine) = crate::engine::tests::uring() { super::$test(engine); }
            })*
        }
    };
}
use on_both_engines;

on_both_engines!(
    packets_come_in_order_with_their_times,
    long_packets_arrive_whole,
    the_end_of_a_bus_is_told_once,
    a_full_bus_says_so_and_tells_when_it_has_room,
    frames_may_be_held_back_before_each_system_call,
    a_bus_of_batches_takes_several_frames_a_packet,
    a_full_bus_of_batches_says_how_many_frames_it_took,
    a_turn_brings_a_share_of_a_flood_and_every_sent_buffer,
    a_stream_can_be_paused_and_loses_nothing,
    many_streams_may_speak_at_once,
    resuming_what_is_not_paused_does_nothing,
    what_one_stream_suffers_ends_it_alone,
    a_stopped_bus_stays_stopped_while_it_is_watched,
    a_closed_stream_tells_what_was_sent,
    a_broken_stream_tells_what_was_sent,
    what_arming_finds_is_reported_at_once,
    an_alarm_ends_a_wait_once,
    a_later_alarm_replaces_an_earlier_one,
    what_closing_finds_is_reported_at_once,
    a_large_buffer_crosses_a_slow_stream_whole,
    a_closed_descriptor_is_heard_of_no_more,
    the_wake_descriptor_tells_of_the_next_event,
);
