//! The frames that the steps are taken for.

use canip_peer::frame::{Frame, Identifier};

use crate::FRAMES;

/// Classic data frames of 0 to 8 bytes, a quarter of them with 29-bit identifiers; the same ones in every run.
pub fn classic() -> Vec<Frame> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut frame = || {
        let identifier = match random.u8(0..4) {
            0 => Identifier::extended(random.u32(0..1 << 29)),
            _ => Identifier::standard(random.u32(0..1 << 11)),
        };
        let payload: [u8; 8] = std::array::from_fn(|_| random.u8(..));
        Frame::data(identifier.unwrap(), &payload[..random.usize(0..=8)]).unwrap()
    };
    (0..FRAMES).map(|_| frame()).collect()
}
