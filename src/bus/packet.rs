//! What a packet of a bus means. Pure; knows no socket.

use super::software::Notice;
use super::{BusKind, Images};

/// A packet as it came from a bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Frames, in order: one of SocketCAN, one or several of a software bus.
    Frames(Images<'a>),
    /// The software bus says how many frames this member has lost since it joined. (SocketCAN says it in control
    /// messages.)
    Dropped {
        /// All frames lost so far.
        total: u64,
    },
    /// The first packet of a software bus.
    Welcome {
        /// Bits per second by which the bus is paced, `None` if it is not.
        paced_bit_rate: Option<u32>,
    },
    /// Neither a kernel image nor, on a software bus, a batch of them or a notice that belongs here.
    Malformed,
}

/// Reads one packet of a bus of this kind.
#[inline]
pub fn interpret(kind: BusKind, packet: &[u8]) -> Packet<'_> {
    let images = match kind {
        BusKind::SocketCan => Images::single(packet),
        BusKind::Software => Images::parse(packet),
    };
    if let Some(images) = images {
        return Packet::Frames(images);
    }
    match (kind, Notice::parse(packet)) {
        (BusKind::Software, Some(Notice::Dropped { total })) => Packet::Dropped { total },
        (BusKind::Software, Some(Notice::Welcome { paced_bit_rate })) => Packet::Welcome { paced_bit_rate },
        _ => Packet::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_belong_to_the_software_bus() {
        let dropped = [2, 7, 0, 0, 0, 0, 0, 0];
        assert_eq!(interpret(BusKind::Software, &dropped), Packet::Dropped { total: 7 });
        assert_eq!(interpret(BusKind::SocketCan, &dropped), Packet::Malformed);
        // 1,016 bytes, the largest packet, are 0x3F8.
        let welcome = [1, 0x20, 0xA1, 0x07, 0, 0xF8, 0x03, 0];
        let paced = Packet::Welcome { paced_bit_rate: Some(500_000) };
        assert_eq!(interpret(BusKind::Software, &welcome), paced);
    }

    #[test]
    fn images_are_frames_on_either_bus() {
        for kind in [BusKind::Software, BusKind::SocketCan] {
            assert!(matches!(interpret(kind, &[0; 16]), Packet::Frames(images) if images.len() == 1));
            assert!(matches!(interpret(kind, &[0; 72]), Packet::Frames(images) if images.len() == 1));
            assert_eq!(interpret(kind, &[0; 17]), Packet::Malformed);
            assert_eq!(interpret(kind, &[]), Packet::Malformed);
        }
    }

    #[test]
    fn batches_belong_to_the_software_bus() {
        let mut batch = [0; 8 + 2 * 16];
        batch[..5].copy_from_slice(&[4, 16, 2, 0, 0xFF]);
        assert!(matches!(interpret(BusKind::Software, &batch), Packet::Frames(images) if images.len() == 2));
        assert_eq!(interpret(BusKind::SocketCan, &batch), Packet::Malformed);
    }
}
