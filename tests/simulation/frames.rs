//! Frames that can be told apart: each carries a number of its own, its mark, wherever it goes.

use canip_peer::frame::{FD_BIT_RATE_SWITCH, Frame, Identifier, Image, Kind, fd_len};
use fastrand::Rng;

/// Bits of the mark where it lies in a 29-bit identifier; the bits above it are the priority.
const MARK_BITS: u32 = 20;

/// Marks are below this.
pub const MARKS: u32 = 1 << MARK_BITS;

/// Bytes of the mark where it lies in the payload.
const MARK_BYTES: usize = 4;

/// Which kinds of frames an application sends, each with a weight.
#[derive(Clone, Copy, Debug)]
pub struct Mixture {
    pub standard: u32,
    pub extended: u32,
    pub remote: u32,
    pub fd: u32,
}

/// Makes a frame with this mark.
pub fn make(random: &mut Rng, mixture: Mixture, mark: u32) -> Frame {
    assert!(mark < MARKS, "there are marks for all frames of a run");
    let Mixture { standard, extended, remote, fd } = mixture;
    let drawn = random.u32(0..standard + extended + remote + fd);
    let in_identifier = |random: &mut Rng| {
        let raw = random.u32(0..1 << (29 - MARK_BITS)) << MARK_BITS | mark;
        Identifier::extended(raw).expect("29 bits")
    };
    let frame = if drawn < standard {
        let identifier = Identifier::standard(random.u32(0..0x800)).expect("11 bits");
        let length = random.usize(MARK_BYTES..=8);
        Frame::data(identifier, &payload(random, mark)[..length])
    } else if drawn < standard + extended {
        let length = random.usize(0..MARK_BYTES);
        Frame::data(in_identifier(random), &payload(random, mark)[..length])
    } else if drawn < standard + extended + remote {
        Frame::remote(in_identifier(random), random.u8(0..=8))
    } else {
        let identifier = Identifier::standard(random.u32(0..0x800)).expect("11 bits");
        let length = fd_len(random.u8(4..=15));
        Frame::fd(identifier, &payload(random, mark)[..length], random.u8(0..=FD_BIT_RATE_SWITCH))
    };
    frame.expect("lengths are those of frames")
}

/// An error message of a controller with this mark.
pub fn make_error(random: &mut Rng, mark: u32) -> Frame {
    let detail: [u8; 8] = payload(random, mark)[..8].try_into().expect("eight bytes");
    Frame::error(0x8C, detail)
}

/// The mark of a frame; of one that was made here.
pub fn mark_of(image: Image<'_>) -> u32 {
    match image.payload().first_chunk() {
        Some(bytes) if image.kind() != Kind::Remote => u32::from_le_bytes(*bytes),
        _ => image.identifier().raw() % MARKS,
    }
}

/// Which of two frames goes first where both want the bus: the order of their bits up to the data, dominant before
/// recessive (ISO 11898-1: base identifier, RTR or SRR, IDE, the rest of the identifier).
pub fn arbitration_key(image: Image<'_>) -> u64 {
    let identifier = image.identifier();
    let is_remote = u64::from(image.kind() == Kind::Remote);
    let raw = u64::from(identifier.raw());
    if identifier.is_extended() {
        (raw >> 18) << 22 | 1 << 21 | 1 << 20 | (raw & 0x3_FFFF) << 1 | is_remote
    } else {
        raw << 22 | is_remote << 21
    }
}

fn payload(random: &mut Rng, mark: u32) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..MARK_BYTES].copy_from_slice(&mark.to_le_bytes());
    random.fill(&mut bytes[MARK_BYTES..]);
    bytes
}

#[test]
fn every_kind_of_frame_keeps_its_mark() {
    let mut random = Rng::with_seed(1);
    let mixture = Mixture { standard: 1, extended: 1, remote: 1, fd: 1 };
    for mark in 0..1_000 {
        assert_eq!(mark_of(make(&mut random, mixture, mark).image()), mark);
        assert_eq!(mark_of(make_error(&mut random, mark).image()), mark);
    }
}

#[test]
fn lower_identifiers_and_shorter_ones_win() {
    let standard = |raw| Frame::data(Identifier::standard(raw).unwrap(), &[]).unwrap();
    let extended = |raw| Frame::data(Identifier::extended(raw).unwrap(), &[]).unwrap();
    let remote = |raw| Frame::remote(Identifier::standard(raw).unwrap(), 0).unwrap();
    let in_order =
        [standard(0x100), remote(0x100), extended(0x100 << 18), extended(0x100 << 18 | 1), standard(0x101)];
    assert!(in_order.map(|frame| arbitration_key(frame.image())).is_sorted());
}
