//! What engines must do with TCP, whose bytes they may leave in the kernel's queue after reading them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::thread;

use super::*;
use crate::engine::stream_socket::StreamSocket;
use crate::engine::tcp_info::{self, under_way};

/// Where `struct tcp_info` counts the segments that were sent.
const SEGMENTS_SENT_AT: usize = 136;

fn tcp_pair() -> (OwnedFd, TcpStream) {
    pair_of(&TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
}

fn pair_of(listener: &TcpListener) -> (OwnedFd, TcpStream) {
    let port = listener.local_addr().unwrap().port();
    let theirs = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    theirs.set_nodelay(true).unwrap();
    theirs.set_read_timeout(Some(PATIENCE)).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours.into(), theirs)
}

fn segments_sent(tcp: &TcpStream) -> u32 {
    let (info, length) = tcp_info::read(tcp.as_fd()).unwrap();
    assert!(length > SEGMENTS_SENT_AT + 4, "the kernel tells {length} bytes");
    u32::from_ne_bytes(*info[SEGMENTS_SENT_AT..].first_chunk().unwrap())
}

fn numbered_bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index % 251) as u8).collect()
}

fn frames_are_acknowledged_together<E: Engine>(mut engine: E) {
    // Version 4's shortest frame and version 5's usual one, by a listener's address: the second one's connections are IPv6's.
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()];
    for (address, length) in addresses.into_iter().flat_map(|address| [(address, 14), (address, 40)]) {
        let listener = match TcpListener::bind((address, 0)) {
            Ok(listener) => listener,
            Err(error) if address.is_ipv6() => {
                skip(&format!("no IPv6 here ({error})"), None);
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let (ours, mut theirs) = pair_of(&listener);
        let keeps = StreamSocket::new(ours.try_clone().unwrap()).flags() != 0;
        let answering = TcpStream::from(ours.try_clone().unwrap());
        let stream = engine.open_stream(TOKEN, ours).unwrap();
        let mut events = Events::default();
        for count in 1..=500 {
            theirs.write_all(&vec![count as u8; length]).unwrap();
            events.until(&mut engine, |events| events.bytes.len() == count * length);
            if count % 10 == 0 && keeps {
                // As many segments as a sender may begin with: if it had to wait now, it would for 40 ms.
                engine.turn(Duration::ZERO, &mut events).unwrap();
                assert_eq!(
                    under_way(theirs.as_fd()).unwrap(),
                    0,
                    "{count} frames of {length} bytes, {address}"
                );
            }
        }
        let frames = events.bytes.chunks(length).zip(1usize..);
        assert!(frames.into_iter().all(|(frame, count)| frame == vec![count as u8; length]));
        engine.close_stream(stream);
        if keeps {
            let acknowledgements = segments_sent(&answering);
            assert!(acknowledgements < 130, "{acknowledgements} of 500, {length} bytes, {address}");
        } else {
            skip(&format!("this kernel cannot leave in the queue what was read, {address}"), None);
        }
    }
}

fn all_bytes_come_once_and_the_end_after_them<E: Engine>(mut engine: E) {
    const BYTES: usize = 5_000_000;
    let (ours, mut theirs) = tcp_pair();
    engine.open_stream(TOKEN, ours).unwrap();
    let writer = thread::spawn(move || {
        let content = numbered_bytes(BYTES);
        let mut rest = &content[..];
        // Short and long ones in turn.
        for length in (0..).map(|number| 1 + number * 37 % 9_000) {
            let (piece, behind) = rest.split_at(rest.len().min(length));
            theirs.write_all(piece).unwrap();
            rest = behind;
            if rest.is_empty() {
                return;
            }
        }
    });
    let mut events = Events::default();
    events.until(&mut engine, |events| events.ended.is_some());
    writer.join().unwrap();
    assert!(events.bytes == numbered_bytes(BYTES));
    assert_eq!(events.ended, Some((0, false)));
}

/// Nothing else has to happen for it: a turn that waits for long ends when there is room.
fn what_tcp_did_not_take_goes_when_there_is_room<E: Engine>(mut engine: E) {
    const BYTES: usize = 16 << 20;
    let (ours, mut theirs) = tcp_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    let mut buffer = SendBuffer::with_capacity(BYTES);
    assert!(buffer.append(&numbered_bytes(BYTES)));
    let started = Instant::now();
    assert!(matches!(engine.send(stream, buffer), Sending::InFlight));
    let reader = thread::spawn(move || {
        let mut content = vec![0; BYTES];
        theirs.read_exact(&mut content).unwrap();
        content
    });
    let mut events = Events::default();
    while events.sent.is_empty() {
        engine.turn(PATIENCE, &mut events).unwrap();
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    assert_eq!(events.sent, [(true, BYTES)]);
    assert!(reader.join().unwrap() == numbered_bytes(BYTES));
}

/// However many bring bytes, a turn hands on as much as of one, and all have their turn.
fn streams_share_a_turn<E: Engine>(mut engine: E) {
    const STREAMS: usize = 8;
    const BYTES: usize = 60_000;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peers: Vec<TcpStream> = (0..STREAMS)
        .map(|_| {
            let (ours, mut theirs) = pair_of(&listener);
            theirs.write_all(&[1; BYTES]).unwrap();
            engine.open_stream(TOKEN, ours).unwrap();
            theirs
        })
        .collect();
    let mut events = Events::default();
    let limit = Instant::now() + PATIENCE;
    while events.bytes.len() < STREAMS * BYTES {
        let before = events.bytes.len();
        engine.turn(Duration::from_secs(1), &mut events).unwrap();
        let handed_on = events.bytes.len() - before;
        // Below the limit one more may be read, as long as the limit itself.
        assert!(handed_on < 2 * TURN_STREAM_BYTES, "{handed_on} bytes in a turn");
        assert!(Instant::now() < limit, "{} bytes came", events.bytes.len());
    }
    drop(peers);
}

/// Each read stops there.
fn what_is_behind_an_urgent_mark_is_read<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = tcp_pair();
    engine.open_stream(TOKEN, ours).unwrap();
    let mut events = Events::default();
    for round in 1..=3 {
        let socket = socket2::SockRef::from(&theirs);
        socket.set_tcp_cork(true).unwrap();
        socket.send(&[1; 40]).unwrap();
        socket.send_out_of_band(&[2]).unwrap();
        socket.send(&[3; 60]).unwrap();
        socket.set_tcp_cork(false).unwrap();
        let behind = |events: &Events| events.bytes.iter().filter(|byte| **byte == 3).count();
        events.until(&mut engine, |events| behind(events) == round * 60);
    }
    theirs.write_all(b"on").unwrap();
    events.until(&mut engine, |events| events.bytes.ends_with(b"on"));
}

fn a_pause_keeps_what_comes_in_its_order<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = tcp_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    let mut events = Events { appetite: Some(0), ..Events::default() };
    let content = numbered_bytes(30_000);
    let mut wanted = 0;
    for piece in content.chunks(1_000) {
        theirs.write_all(piece).unwrap();
        wanted += 700;
        events.appetite = Some(700);
        engine.resume_stream(stream);
        events.until(&mut engine, |events| events.bytes.len() == wanted);
    }
    drop(theirs);
    for _ in 0..3 {
        engine.turn(Duration::from_millis(1), &mut events).unwrap();
    }
    assert_eq!(events.ended, None, "not before its bytes");
    events.appetite = None;
    engine.resume_stream(stream);
    events.until(&mut engine, |events| events.ended.is_some());
    assert!(events.bytes == content);
    assert_eq!(events.ended, Some((0, false)));
}

fn what_was_read_wakes_nobody<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = tcp_pair();
    engine.open_stream(TOKEN, ours).unwrap();
    let mut events = Events::default();
    for round in 1..=3 {
        theirs.write_all(b"a frame").unwrap();
        events.until(&mut engine, |events| events.bytes.len() == round * 7);
        while engine.turn(Duration::ZERO, &mut events).unwrap() {}
        assert!(engine.arm_wake().unwrap(), "nothing to report");
        // It may still ring for what it was not looked at for while the engine was busy.
        engine.disarm_wake().unwrap();
        assert!(engine.arm_wake().unwrap(), "nothing to report");
        assert!(!is_readable(&engine, 0));
        theirs.write_all(b"another").unwrap();
        assert!(is_readable(&engine, 10_000));
        engine.disarm_wake().unwrap();
        events.until(&mut engine, |events| events.bytes.len() == round * 7 + 7);
        events.bytes.truncate(round * 7);
    }
}

fn a_broken_connection_is_told_after_its_bytes<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = tcp_pair();
    engine.open_stream(TOKEN, ours).unwrap();
    let mut events = Events { appetite: Some(4), never_pause: true, ..Events::default() };
    theirs.write_all(b"0123456").unwrap();
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option value lives for the call, and has the stated size.
    let result = unsafe {
        libc::setsockopt(
            theirs.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    // Reset, not closed.
    drop(theirs);
    events.until(&mut engine, |events| events.ended.is_some());
    assert_eq!((&events.bytes[..], events.ended), (&b"0123"[..], Some((3, true))));
}

/// What came after a pause, and the end behind it, wait for each other.
fn the_end_waits_for_what_a_pause_left<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = tcp_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    let content = numbered_bytes(9_000);
    theirs.write_all(&content).unwrap();
    drop(theirs);
    let mut events = Events { appetite: Some(10), ..Events::default() };
    events.until(&mut engine, |events| events.bytes.len() == 10);
    for wanted in [20, 30, 9_000] {
        assert_eq!(events.ended, None, "not before its bytes");
        events.appetite = Some(wanted - events.bytes.len());
        engine.resume_stream(stream);
        events.until(&mut engine, |events| events.bytes.len() == wanted);
    }
    events.appetite = None;
    engine.resume_stream(stream);
    events.until(&mut engine, |events| events.ended.is_some());
    assert!(events.bytes == content);
    assert_eq!(events.ended, Some((0, false)));
}

fn what_was_read_resets_no_connection<E: Engine>(mut engine: E) {
    let (ours, mut theirs) = tcp_pair();
    let stream = engine.open_stream(TOKEN, ours).unwrap();
    let mut events = Events::default();
    theirs.write_all(b"a frame").unwrap();
    events.until(&mut engine, |events| events.bytes.len() == 7);
    engine.close_stream(stream);
    engine.turn(Duration::ZERO, &mut events).unwrap();
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0, "closed, not reset");
}

on_both_engines!(
    frames_are_acknowledged_together,
    all_bytes_come_once_and_the_end_after_them,
    what_is_behind_an_urgent_mark_is_read,
    what_tcp_did_not_take_goes_when_there_is_room,
    streams_share_a_turn,
    a_pause_keeps_what_comes_in_its_order,
    what_was_read_wakes_nobody,
    a_broken_connection_is_told_after_its_bytes,
    the_end_waits_for_what_a_pause_left,
    what_was_read_resets_no_connection,
);
