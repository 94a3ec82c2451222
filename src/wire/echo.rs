//! What a load test says to the server that it is run against, and what comes back: frames on a bus that the server keeps for
//! that (`docs/wire.md`, "The bus for load tests").
//!
//! ```text
//!  there: a classic data frame of 8 bytes; back: a CAN FD frame of the same identifier, 24 bytes
//!
//!  0            8                16              24
//! +------------+----------------+---------------+
//! | its 8 bytes| received_ns    | number        |   both little-endian
//! +------------+----------------+---------------+
//! ```

use crate::frame::{Frame, Image, Kind};

/// By which the bus is matched. No bus of a user's has this name.
pub const BUS: &str = "canip-bench";

/// Bytes of a frame that is answered, and of its answer.
const ASKED_BYTES: usize = 8;
const ECHO_BYTES: usize = 24;

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo {
    /// The frame that was answered.
    pub frame: Frame,
    /// When it was received there: nanoseconds of a clock that never goes back, and whose zero means nothing.
    pub received_ns: u64,
    /// Which answer this is, of all that were given. Each uses up a number, whatever becomes of it.
    pub number: u64,
}

impl Echo {
    /// Whether a frame is answered.
    pub fn answers(image: Image<'_>) -> bool {
        image.kind() == Kind::Data && image.len() == ASKED_BYTES
    }

    /// The answer as a frame.
    pub fn to_frame(&self) -> Frame {
        let image = self.frame.image();
        let mut payload = [0; ECHO_BYTES];
        payload[..8].copy_from_slice(&image.classic_payload());
        payload[8..16].copy_from_slice(&self.received_ns.to_le_bytes());
        payload[16..].copy_from_slice(&self.number.to_le_bytes());
        Frame::fd(image.identifier(), &payload, 0).expect("CAN FD has frames of 24 bytes")
    }

    /// Reads an answer; `None` for any other frame.
    pub fn read(image: Image<'_>) -> Option<Self> {
        let payload: &[u8; ECHO_BYTES] = image.payload().try_into().ok()?;
        let (words, _) = payload.as_chunks::<8>();
        Some(Self {
            frame: Frame::data(image.identifier(), &words[0])?,
            received_ns: u64::from_le_bytes(words[1]),
            number: u64::from_le_bytes(words[2]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Identifier;

    fn asked(payload: &[u8]) -> Frame {
        Frame::data(Identifier::standard(0x123).unwrap(), payload).unwrap()
    }

    #[test]
    fn an_echo_to_the_byte() {
        let frame = asked(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let echo = Echo { frame, received_ns: 0x1122_3344_5566_7788, number: 258 };
        let sent = echo.to_frame();
        let image = sent.image();
        assert_eq!((image.kind(), image.identifier()), (Kind::Fd, frame.image().identifier()));
        let expected =
            [1, 2, 3, 4, 5, 6, 7, 8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 2, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(image.payload(), expected);
        assert_eq!(Echo::read(image), Some(echo));
    }

    #[test]
    fn only_classic_data_frames_of_8_bytes_are_answered() {
        let id = Identifier::standard(0x123).unwrap();
        assert!(Echo::answers(asked(&[0; 8]).image()));
        for other in [
            asked(&[0; 7]),
            Frame::remote(id, 8).unwrap(),
            Frame::error(1, [0; 8]),
            Frame::fd(id, &[0; 8], 0).unwrap(),
            Frame::fd(id, &[0; 24], 0).unwrap(),
        ] {
            assert!(!Echo::answers(other.image()));
        }
        assert_eq!(Echo::read(asked(&[0; 8]).image()), None);
    }
}
