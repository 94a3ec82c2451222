//! Version 4 as a peer sees it: recorded streams to the byte, and properties of everything that a stream can do.
//!
//! The expected values are those of the existing tool's wire, written out as literals.

use canip_peer::buffer::SendBuffer;
use canip_peer::frame::{Frame, Identifier};
use canip_peer::moment::{Moment, Now, WallTime};
use canip_peer::session::{
    FrameQueue, Identity, Outcome, Protocol, ReceivedFrame, Role, Session, SessionConfig, Version,
};
use canip_peer::wire::greeting::Features;
use canip_peer::wire::v5::BusName;
use proptest::prelude::*;
use std::time::Duration;

const NOW: Now = Now { monotonic: Moment::from_nanos(0), wall: WallTime::from_nanos(0) };

/// Everything that a client with SEQ and TS sends for three frames: greeting, then 26 bytes each.
const CLIENT_STREAM: &[u8] = include_bytes!("golden/v4.1-seq-ts.bin");
/// The same three frames from a 4.0 client: 14 bytes each.
const LEGACY_STREAM: &[u8] = include_bytes!("golden/v4.0.bin");

#[derive(Default)]
struct Queue(Vec<ReceivedFrame>);

impl FrameQueue for Queue {
    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn push(&mut self, _: usize, inbound: ReceivedFrame) {
        self.0.push(inbound);
    }
}

fn session(role: Role, sequence: bool, time: bool) -> Session {
    session_of(role, Protocol::V41, sequence, time)
}

fn session_of(role: Role, protocol: Protocol, sequence: bool, time: bool) -> Session {
    let offer = Features { sequence, time };
    let identity = Identity { instance: 1, heartbeat: Duration::ZERO, buses: [BusName::default()].into() };
    Session::new(SessionConfig { role, protocol, offer, identity }, None, NOW.monotonic)
}

/// Has a session write what it opens with, which is its greeting.
fn opened(session: &mut Session, out: &mut SendBuffer) -> Vec<u8> {
    session.open(true, NOW, out);
    out.unsent().to_vec()
}

/// The three frames of the recorded streams, and when they were received.
fn recorded_frames() -> [(Frame, WallTime); 3] {
    let standard = |raw| Identifier::standard(raw).unwrap();
    let at = |microseconds: u64| WallTime::from_nanos(microseconds * 1_000);
    [
        (Frame::data(standard(0x123), &[0x11, 0x22, 0x33, 0x44]).unwrap(), at(1_700_000_000_000_001)),
        (
            Frame::data(Identifier::extended(0x1FFF_FFFF).unwrap(), &[0xFF; 8]).unwrap(),
            at(1_700_000_000_000_002),
        ),
        (Frame::data(standard(0), &[]).unwrap(), at(1_700_000_000_999_999)),
    ]
}

/// Hands a stream to a session piece by piece, keeping what it does not consume, as an engine does.
fn receive_in_pieces(session: &mut Session, pieces: &[&[u8]]) -> Result<Vec<ReceivedFrame>, String> {
    let mut queue = Queue::default();
    let mut kept: Vec<u8> = Vec::new();
    for piece in pieces {
        kept.extend(*piece);
        let progress = session.receive(&kept, NOW, &mut queue).map_err(|fault| fault.to_string())?;
        kept.drain(..progress.consumed);
    }
    session.finish(kept.len()).map_err(|fault| fault.to_string())?;
    Ok(queue.0)
}

#[test]
fn a_client_sends_the_recorded_bytes() {
    let mut client = session(Role::Client, true, true);
    let mut out = SendBuffer::with_capacity(1024);
    opened(&mut client, &mut out);
    client.receive(b"CANIP/4.1 FEAT=SEQ,TS\n", NOW, &mut Queue::default()).unwrap();
    for (frame, time) in recorded_frames() {
        assert_eq!(client.send(0, frame.image(), time, &mut out), Outcome::Queued);
    }
    assert_eq!(out.unsent(), CLIENT_STREAM);
}

#[test]
fn a_server_reads_the_recorded_bytes() {
    let mut server = session(Role::Server, true, true);
    let received = receive_in_pieces(&mut server, &[CLIENT_STREAM]).unwrap();
    let expected = recorded_frames().map(|(frame, _)| ReceivedFrame::of_unknown_age(frame));
    assert_eq!(received, expected);
    assert_eq!(opened(&mut server, &mut SendBuffer::with_capacity(64)), b"CANIP/4.1 FEAT=SEQ,TS\n");
}

#[test]
fn a_server_reads_a_legacy_stream() {
    let mut server = session_of(Role::Server, Protocol::Auto, true, true);
    let received = receive_in_pieces(&mut server, &[LEGACY_STREAM]).unwrap();
    assert_eq!(received, recorded_frames().map(|(frame, _)| ReceivedFrame::of_unknown_age(frame)));
    assert_eq!(server.agreement().unwrap().version, Version::V40);
    assert_eq!(opened(&mut server, &mut SendBuffer::with_capacity(64)), b"");
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let identifier = prop_oneof![
        (0..=0x7FFu32).prop_map(|raw| Identifier::standard(raw).unwrap()),
        (0..=0x1FFF_FFFFu32).prop_map(|raw| Identifier::extended(raw).unwrap()),
    ];
    (identifier, proptest::collection::vec(any::<u8>(), 0..=8))
        .prop_map(|(identifier, payload)| Frame::data(identifier, &payload).unwrap())
}

/// What a client that agreed on these features sends for some frames, greeting included.
fn stream_of(frames: &[Frame], sequence: bool, time: bool) -> Vec<u8> {
    let mut client = session(Role::Client, sequence, time);
    let mut out = SendBuffer::with_capacity(64 * 1024);
    opened(&mut client, &mut out);
    client.receive(b"CANIP/4.1 FEAT=SEQ,TS\n", NOW, &mut Queue::default()).unwrap();
    for frame in frames {
        assert_eq!(client.send(0, frame.image(), WallTime::from_nanos(1_000), &mut out), Outcome::Queued);
    }
    out.unsent().to_vec()
}

proptest! {
    #[test]
    fn any_split_of_a_stream_reads_alike(
        frames in proptest::collection::vec(any_frame(), 0..40),
        sequence: bool,
        time: bool,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let stream = stream_of(&frames, sequence, time);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
        let mut server = session(Role::Server, true, true);
        let received = receive_in_pieces(&mut server, &pieces).unwrap();
        let received: Vec<Frame> = received.into_iter().map(|inbound| inbound.frame).collect();
        prop_assert_eq!(received, frames);
        prop_assert_eq!(server.counters().sequence.missing, 0);
    }

    #[test]
    fn byte_by_byte_reads_alike(frames in proptest::collection::vec(any_frame(), 0..20)) {
        let stream = stream_of(&frames, true, false);
        let pieces: Vec<&[u8]> = stream.chunks(1).collect();
        let received = receive_in_pieces(&mut session(Role::Server, true, false), &pieces).unwrap();
        prop_assert_eq!(received.len(), frames.len());
    }

    #[test]
    fn flipped_bits_never_panic_and_never_invent_frames(
        frames in proptest::collection::vec(any_frame(), 1..20),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..8),
    ) {
        let mut stream = stream_of(&frames, true, true);
        for (place, bit) in flips {
            let place = place.index(stream.len());
            stream[place] ^= 1 << bit;
        }
        let mut server = session(Role::Server, true, true);
        // Any outcome but a panic: a fault, or at most as many frames as the shortest layout finds in the bytes.
        if let Ok(received) = receive_in_pieces(&mut server, &[&stream]) {
            prop_assert!(received.len() <= stream.len() / 14);
        }
        let counters = server.counters().sequence;
        prop_assert!(counters.missing <= u64::from(u32::MAX) * 20);
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..4000), role_is_server: bool) {
        let role = if role_is_server { Role::Server } else { Role::Client };
        let _ = receive_in_pieces(&mut session(role, true, true), &[&noise]);
    }

    #[test]
    fn what_is_missing_is_counted_to_the_frame(lost in proptest::collection::vec(any::<bool>(), 1..200)) {
        let frame = Frame::data(Identifier::standard(1).unwrap(), &[]).unwrap();
        let stream = stream_of(&vec![frame; lost.len() + 1], true, false);
        let (greeting, frames) = stream.split_at(b"CANIP/4.1 FEAT=SEQ\n".len());
        let mut kept = greeting.to_vec();
        // The last frame always arrives: what is lost behind it cannot be known yet.
        for (index, encoded) in frames.chunks(18).enumerate() {
            if !lost.get(index).copied().unwrap_or(false) {
                kept.extend(encoded);
            }
        }
        let mut server = session(Role::Server, true, false);
        receive_in_pieces(&mut server, &[&kept]).unwrap();
        let expected = lost.iter().filter(|&&lost| lost).count() as u64;
        prop_assert_eq!(server.counters().sequence.missing, expected);
    }
}
