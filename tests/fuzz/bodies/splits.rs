//! A stream means the same however TCP cuts it.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use canip_peer::buffer::SendBuffer;
use canip_peer::frame::Frame;
use canip_peer::moment::{Moment, Now, WallTime};
use canip_peer::session::{
    Fault, FrameQueue, Identity, Protocol, ReceivedFrame, Role, Session, SessionConfig, SessionCounters,
};
use canip_peer::wire::greeting::Features;
use canip_peer::wire::v5::{BusName, MAX_CONTROL_BYTES};

use super::script::Script;
use super::sessions::well_formed;

/// What comes of a stream.
#[derive(PartialEq, Debug, Default)]
struct Outcome {
    frames: Vec<(usize, ReceivedFrame)>,
    errors: Vec<(usize, Frame)>,
    /// Which fault: how much of what caused it had come says the splitting.
    fault: Option<Discriminant<Fault>>,
    counters: SessionCounters,
    left: usize,
}

impl FrameQueue for Outcome {
    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn push(&mut self, bus: usize, received: ReceivedFrame) {
        self.frames.push((bus, received));
    }

    fn see_error(&mut self, bus: usize, frame: Frame) {
        self.errors.push((bus, frame));
    }
}

/// The same stream in one piece, byte by byte, and in pieces of the input's.
pub fn splits(bytes: &[u8]) {
    let mut script = Script(bytes);
    let (choices, piece, builds) = (script.byte(), usize::from(script.byte()).max(1), script.byte() % 16);
    let mut stream = Vec::new();
    for _ in 0..builds {
        stream.extend(well_formed(&mut script, Role::Client));
    }
    stream.extend_from_slice(script.0);
    let whole = receive(choices, &stream, stream.len().max(1));
    assert_eq!(receive(choices, &stream, piece), whole);
    assert_eq!(receive(choices, &stream, 1), whole);
}

/// A client's session, as a server may say everything at once.
fn receive(choices: u8, stream: &[u8], piece: usize) -> Outcome {
    let protocol = [Protocol::Auto, Protocol::V40, Protocol::V41, Protocol::V5][usize::from(choices & 3)];
    let identity =
        Identity { instance: 7, heartbeat: Duration::ZERO, buses: vec![BusName::default(); 3].into() };
    let offer = Features { sequence: choices & 4 != 0, time: choices & 8 != 0 };
    let config = SessionConfig { role: Role::Client, protocol, offer, identity };
    let now = Now { monotonic: Moment::from_nanos(1), wall: WallTime::from_nanos(1_700_000_000_000_000_000) };
    let mut session = Session::new(config, None, now.monotonic);
    let mut out = SendBuffer::with_capacity(MAX_CONTROL_BYTES + 4096);
    session.open(true, now, &mut out);
    let mut outcome = Outcome::default();
    let mut waiting: Vec<u8> = Vec::new();
    for piece in stream.chunks(piece) {
        waiting.extend_from_slice(piece);
        match session.receive(&waiting, now, &mut outcome) {
            Ok(progress) => waiting.drain(..progress.consumed),
            Err(fault) => {
                outcome.fault = Some(discriminant(&fault));
                break;
            }
        };
        if session.is_opening() {
            session.open(true, now, &mut out);
        }
        out.clear();
    }
    outcome.left = if outcome.fault.is_some() { 0 } else { waiting.len() };
    outcome.counters = session.counters();
    outcome
}
