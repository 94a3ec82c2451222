//! Packets of buses, and the frames of load tests.

use canip_peer::bus::software::Notice;
use canip_peer::bus::{BATCH_BYTES, Batch, BusAddress, BusKind, Packet, interpret};
use canip_peer::frame::Image;
use canip_peer::wire::echo::Echo;

use super::assert_one_line;

/// What is read as frames is made of images, and packed again it is the same; a notice is written as it was read. A name is
/// taken or refused in one line.
pub fn packets(bytes: &[u8]) {
    for kind in [BusKind::SocketCan, BusKind::Software] {
        match interpret(kind, bytes) {
            Packet::Frames(images) => {
                assert!(images.len() > 0 && (kind == BusKind::Software || images.len() == 1));
                let mut batch = Batch::EMPTY;
                assert!(
                    images.clone().all(|image| batch.push(image)),
                    "what came in one packet fits into one"
                );
                let Packet::Frames(again) = interpret(BusKind::Software, batch.packet()) else {
                    panic!("a batch of {} images is none", batch.count());
                };
                assert!(again.eq(images));
                assert!(bytes.len() <= BATCH_BYTES);
            }
            Packet::Dropped { .. } | Packet::Welcome { .. } => {
                let notice = Notice::parse(bytes).expect("what is a notice");
                assert_eq!(Notice::parse(&notice.encode()), Some(notice));
            }
            Packet::Malformed => {}
        }
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Err(error) = BusAddress::parse(kind, text)
        {
            assert_one_line(&error.to_string());
        }
    }
}

/// An answer that is read is written as the same.
pub fn echoes(bytes: &[u8]) {
    let Some(image) = Image::parse(bytes) else { return };
    let asked = Echo::answers(image);
    let Some(echo) = Echo::read(image) else { return };
    assert!(!asked, "an answer is not answered");
    assert!(Echo::answers(echo.frame.image()));
    assert_eq!(Echo::read(echo.to_frame().image()), Some(echo));
}
