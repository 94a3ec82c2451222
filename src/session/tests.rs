use super::*;
use crate::frame::{Frame, Identifier};

/// A queue with room for `room` more frames.
struct Queue {
    frames: Vec<ReceivedFrame>,
    room: usize,
}

impl FrameQueue for Queue {
    fn has_room(&self, _: usize) -> bool {
        self.frames.len() < self.room
    }

    fn push(&mut self, _: usize, inbound: ReceivedFrame) {
        self.frames.push(inbound);
    }
}

const START: Moment = Moment::from_nanos(1_000_000_000);
const BOTH: Features = Features { sequence: true, time: true };
const SEQUENCE: Features = Features { sequence: true, time: false };

fn queue() -> Queue {
    Queue { frames: Vec::new(), room: usize::MAX }
}

fn session(role: Role, protocol: Protocol, offer: Features) -> Session {
    let identity = Identity { instance: 1, heartbeat: Duration::ZERO, buses: [BusName::default()].into() };
    Session::new(SessionConfig { role, protocol, offer, identity }, None, START)
}

fn now(monotonic: Moment) -> Now {
    Now { monotonic, wall: WallTime::default() }
}

/// What a session opens with now, if anything.
fn opening(session: &mut Session) -> Option<Vec<u8>> {
    let mut out = SendBuffer::with_capacity(1024);
    session.open(true, now(START), &mut out);
    (!out.is_sent()).then(|| out.unsent().to_vec())
}

fn seconds(seconds: u64) -> Moment {
    START.after(Duration::from_secs(seconds))
}

/// 123#AB as version 4.0 sends it.
const FRAME: [u8; 14] = [0, 1, 0x23, 0x01, 0, 0, 0xAB, 0, 0, 0, 0, 0, 0, 0];

fn frame() -> Frame {
    Frame::data(Identifier::standard(0x123).unwrap(), &[0xAB]).unwrap()
}

#[test]
fn a_client_speaks_first_and_agrees_on_what_both_offer() {
    let mut client = session(Role::Client, Protocol::Auto, BOTH);
    assert_eq!(opening(&mut client), Some(b"CANIP/4.1 FEAT=SEQ,TS V=5\n".to_vec()));
    assert_eq!(opening(&mut client), None, "only once");
    assert_eq!(client.agreement(), None);
    let progress = client.receive(b"CANIP/4.1 FEAT=SEQ\n", now(START), &mut queue()).unwrap();
    assert_eq!(progress, Progress { consumed: 19, blocked: false });
    assert_eq!(client.agreement(), Some(Agreement { version: Version::V41, features: SEQUENCE }));
    assert_eq!(opening(&mut client), None);
    assert_eq!(client.deadline(), None);
}

#[test]
fn a_server_answers_only_after_it_has_read_a_greeting() {
    let mut server = session(Role::Server, Protocol::Auto, BOTH);
    assert_eq!(opening(&mut server), None);
    server.receive(b"CANIP/4.1 FEAT=SEQ", now(START), &mut queue()).unwrap();
    assert_eq!(opening(&mut server), None);
    server.receive(b"CANIP/4.1 FEAT=SEQ\n", now(START), &mut queue()).unwrap();
    assert_eq!(opening(&mut server), Some(b"CANIP/4.1 FEAT=SEQ,TS V=5\n".to_vec()));
    assert_eq!(server.agreement().unwrap().features, SEQUENCE);
}

#[test]
fn a_4_0_client_is_recognised_by_its_first_byte_and_keeps_its_bytes() {
    let mut server = session(Role::Server, Protocol::Auto, BOTH);
    let mut queue = queue();
    let progress = server.receive(&FRAME, now(START), &mut queue).unwrap();
    assert_eq!(progress.consumed, 14);
    assert_eq!(queue.frames, [ReceivedFrame::of_unknown_age(frame())]);
    assert_eq!(server.agreement().unwrap().version, Version::V40);
    assert_eq!(opening(&mut server), None, "a greeting would corrupt its stream");
}

#[test]
fn a_silent_client_is_taken_for_4_0_after_two_seconds() {
    let mut server = session(Role::Server, Protocol::Auto, BOTH);
    assert_eq!(server.deadline(), Some(seconds(2)));
    server.tick(Moment::from_nanos(2_999_999_999)).unwrap();
    assert_eq!(server.agreement(), None);
    server.tick(seconds(2)).unwrap();
    assert_eq!(server.agreement().unwrap().version, Version::V40);
    assert_eq!(opening(&mut server), None);
}

#[test]
fn greetings_that_do_not_come_or_do_not_end_are_faults() {
    let mut client = session(Role::Client, Protocol::Auto, BOTH);
    assert_eq!(client.tick(seconds(2)), Err(Fault::NoGreeting));

    let mut strict = session(Role::Server, Protocol::V41, BOTH);
    assert_eq!(strict.tick(seconds(2)), Err(Fault::NoGreeting));

    let mut server = session(Role::Server, Protocol::Auto, BOTH);
    server.receive(b"CANIP", now(seconds(1)), &mut queue()).unwrap();
    assert_eq!(server.deadline(), Some(seconds(3)));
    assert_eq!(server.tick(seconds(3)), Err(Fault::NoGreeting));
}

#[test]
fn other_protocols_are_told_from_ours() {
    let mut server = session(Role::Server, Protocol::Auto, BOTH);
    assert!(matches!(
        server.receive(b"GET / HTTP/1.1\r\n", now(START), &mut queue()),
        Err(Fault::Malformed { .. })
    ));
    let mut server = session(Role::Server, Protocol::Auto, BOTH);
    assert!(matches!(server.receive(b"CONNECT x", now(START), &mut queue()), Err(Fault::NoPeer { .. })));
    let mut client = session(Role::Client, Protocol::Auto, BOTH);
    assert!(matches!(client.receive(&FRAME, now(START), &mut queue()), Err(Fault::NoPeer { .. })));
    let mut strict = session(Role::Server, Protocol::V41, BOTH);
    assert!(matches!(strict.receive(&FRAME, now(START), &mut queue()), Err(Fault::NoPeer { .. })));
}

#[test]
fn protocol_4_0_sends_no_greeting_in_either_role() {
    for role in [Role::Client, Role::Server] {
        let mut legacy = session(role, Protocol::V40, BOTH);
        assert_eq!(opening(&mut legacy), None);
        assert_eq!(
            legacy.agreement(),
            Some(Agreement { version: Version::V40, features: Features::default() })
        );
        let mut out = SendBuffer::with_capacity(64);
        assert_eq!(legacy.send(0, frame().image(), WallTime::default(), &mut out), Outcome::Queued);
        assert_eq!(out.unsent(), FRAME);
    }
}

#[test]
fn frames_are_numbered_from_zero_and_a_refused_one_takes_no_number() {
    let mut client = session(Role::Client, Protocol::Auto, SEQUENCE);
    client.receive(b"CANIP/4.1 FEAT=SEQ\n", now(START), &mut queue()).unwrap();
    let remote = Frame::remote(Identifier::standard(1).unwrap(), 0).unwrap();
    let mut out = SendBuffer::with_capacity(40);
    let outcomes = [frame(), remote, frame(), frame()]
        .map(|frame| client.send(0, frame.image(), WallTime::default(), &mut out));
    assert_eq!(outcomes, [Outcome::Queued, Outcome::NotRepresentable, Outcome::Queued, Outcome::Full]);
    assert_eq!(out.unsent()[14..18], [0, 0, 0, 0]);
    assert_eq!(out.unsent()[32..36], [0, 0, 0, 1]);
    let counters = client.counters();
    assert_eq!((counters.encoded, counters.remote_frames), (2, 1));

    // The frame that found no room is missing in the numbers, and the peer sees it.
    out.clear();
    client.skip(0, Cause::Stale, 1);
    assert_eq!(client.send(0, frame().image(), WallTime::default(), &mut out), Outcome::Queued);
    assert_eq!(out.unsent()[14..18], [0, 0, 0, 4]);
}

#[test]
fn a_full_queue_blocks_and_nothing_is_lost() {
    let mut server = session(Role::Server, Protocol::V40, BOTH);
    let bytes = [FRAME, FRAME, FRAME].concat();
    let mut small = Queue { frames: Vec::new(), room: 2 };
    let progress = server.receive(&bytes, now(START), &mut small).unwrap();
    assert_eq!(progress, Progress { consumed: 28, blocked: true });
    let mut rest = queue();
    server.receive(&bytes[28..], now(START), &mut rest).unwrap();
    assert_eq!(rest.frames.len(), 1);
}

#[test]
fn duplicates_are_counted_and_not_passed_on() {
    let mut server = session(Role::Server, Protocol::Auto, SEQUENCE);
    let mut bytes = b"CANIP/4.1 FEAT=SEQ\n".to_vec();
    for number in [0u8, 1, 1, 4] {
        bytes.extend(FRAME);
        bytes.extend([0, 0, 0, number]);
    }
    let mut queue = queue();
    server.receive(&bytes, now(START), &mut queue).unwrap();
    assert_eq!(queue.frames.len(), 3);
    let sequence = server.counters().sequence;
    assert_eq!((sequence.duplicates, sequence.gaps, sequence.missing), (1, 1, 2));
}

#[test]
fn a_4_1_server_answers_when_it_has_its_bus() {
    let mut server = session(Role::Server, Protocol::Auto, BOTH);
    server.receive(b"CANIP/4.1 FEAT=SEQ\n", now(START), &mut queue()).unwrap();
    let mut out = SendBuffer::with_capacity(64);
    server.open(false, now(START), &mut out);
    assert!(out.is_sent());
    server.open(true, now(START), &mut out);
    assert_eq!(out.unsent(), b"CANIP/4.1 FEAT=SEQ,TS V=5\n");
}

#[test]
fn version_5_is_spoken_where_both_offer_it() {
    let greeted = |protocol, line: &[u8]| {
        let mut server = session(Role::Server, protocol, BOTH);
        server.receive(line, now(START), &mut queue()).map(|_| server.agreement().unwrap().version)
    };
    assert_eq!(greeted(Protocol::Auto, b"CANIP/4.1 V=5\n"), Ok(Version::V5));
    assert_eq!(greeted(Protocol::V5, b"CANIP/4.1 FEAT=TS V=5\n"), Ok(Version::V5));
    assert_eq!(greeted(Protocol::V41, b"CANIP/4.1 V=5\n"), Ok(Version::V41));
    assert_eq!(greeted(Protocol::Auto, b"CANIP/4.1 V=6\n"), Ok(Version::V41));
    assert_eq!(greeted(Protocol::V5, b"CANIP/4.1 FEAT=SEQ\n"), Err(Fault::NotVersion5));
}

#[test]
fn an_end_inside_a_frame_is_told() {
    let server = session(Role::Server, Protocol::V40, BOTH);
    assert_eq!(server.finish(0), Ok(()));
    assert_eq!(server.finish(5), Err(Fault::Truncated { bytes: 5 }));
}
