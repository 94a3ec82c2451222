use super::*;

fn layout(sequence: bool, time: bool) -> Layout {
    Layout::new(Features { sequence, time })
}

fn encoded(layout: Layout, frame: &Frame, sequence: u32, time: WallTime) -> Vec<u8> {
    let mut bytes = vec![0xEE; layout.frame_bytes()];
    layout.encode(frame.image(), sequence, time, &mut bytes).unwrap();
    bytes
}

/// 123#11223344, sequence 0x01020304, time 0x0006_4D5E_6F70_8192 microseconds.
const STANDARD: [u8; 14] = [0x00, 0x04, 0x23, 0x01, 0, 0, 0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0];
const SEQUENCE: [u8; 4] = [0x01, 0x02, 0x03, 0x04];
const TIME: [u8; 8] = [0x00, 0x06, 0x4D, 0x5E, 0x6F, 0x70, 0x81, 0x92];

#[test]
fn the_four_layouts_to_the_byte() {
    let frame = Frame::data(Identifier::standard(0x123).unwrap(), &[0x11, 0x22, 0x33, 0x44]).unwrap();
    let time = WallTime::from_nanos(0x0006_4D5E_6F70_8192 * 1_000 + 999);
    let cases: [(bool, bool, Vec<u8>); 4] = [
        (false, false, STANDARD.to_vec()),
        (true, false, [&STANDARD[..], &SEQUENCE].concat()),
        (false, true, [&STANDARD[..], &TIME].concat()),
        (true, true, [&STANDARD[..], &SEQUENCE, &TIME].concat()),
    ];
    for (sequence, with_time, bytes) in cases {
        let layout = layout(sequence, with_time);
        assert_eq!(encoded(layout, &frame, 0x0102_0304, time), bytes);
        let view = layout.view(&bytes).unwrap();
        assert_eq!(view.to_frame(), frame);
        assert_eq!(view.sequence(), sequence.then_some(0x0102_0304));
        assert_eq!(view.time_us(), with_time.then_some(0x0006_4D5E_6F70_8192));
    }
}

#[test]
fn extended_identifiers_set_bit_0_and_are_little_endian() {
    let frame = Frame::data(Identifier::extended(0x18DA_F110).unwrap(), &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let bytes = encoded(Layout::default(), &frame, 0, WallTime::default());
    assert_eq!(bytes, [0x01, 0x08, 0x10, 0xF1, 0xDA, 0x18, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Layout::default().view(&bytes).unwrap().to_frame(), frame);
}

#[test]
fn bytes_behind_the_payload_never_leave_or_enter() {
    let mut image = [0u8; 16];
    image[..4].copy_from_slice(&0x7FFu32.to_ne_bytes());
    image[4] = 2;
    image[8..].copy_from_slice(&[0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8]);
    let mut bytes = [0; 14];
    Layout::default().encode(Image::parse(&image).unwrap(), 0, WallTime::default(), &mut bytes).unwrap();
    assert_eq!(bytes, [0, 2, 0xFF, 0x07, 0, 0, 0xA1, 0xA2, 0, 0, 0, 0, 0, 0]);

    bytes[8] = 0x55;
    let frame = Layout::default().view(&bytes).unwrap().to_frame();
    assert_eq!(frame.image().classic_payload(), [0xA1, 0xA2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn what_version_4_cannot_carry_is_refused_and_writes_nothing() {
    let id = Identifier::standard(1).unwrap();
    let frames = [
        (Frame::remote(id, 4).unwrap(), Kind::Remote),
        (Frame::error(0x40, [0; 8]), Kind::Error),
        (Frame::fd(id, &[1; 8], 0).unwrap(), Kind::Fd),
    ];
    for (frame, kind) in frames {
        let mut bytes = [0xEE; 26];
        let refused = layout(true, true).encode(frame.image(), 0, WallTime::default(), &mut bytes);
        assert_eq!(refused, Err(NotRepresentable(kind)));
        assert_eq!(bytes, [0xEE; 26]);
    }
}

#[test]
fn raw_length_codes_go_out_as_eight() {
    let frame = Frame::data(Identifier::standard(1).unwrap(), &[9; 8]).unwrap().with_raw_dlc(12).unwrap();
    let bytes = encoded(Layout::default(), &frame, 0, WallTime::default());
    assert_eq!(bytes, [0, 8, 1, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]);
}

#[test]
fn noise_is_told_from_frames() {
    let mut bytes = STANDARD;
    bytes[0] = 0x02;
    assert_eq!(Layout::default().view(&bytes).unwrap_err(), Malformed::Flags(0x02));
    bytes[0] = 0x00;
    bytes[1] = 9;
    assert_eq!(Layout::default().view(&bytes).unwrap_err(), Malformed::Length(9));
    bytes[1] = 8;
    bytes[2..6].copy_from_slice(&[0x00, 0x08, 0, 0]);
    assert_eq!(Layout::default().view(&bytes).unwrap_err(), Malformed::Identifier(0x800));
    bytes[0] = 0x01;
    assert!(Layout::default().view(&bytes).is_ok());
    bytes[2..6].copy_from_slice(&[0, 0, 0, 0x20]);
    assert_eq!(Layout::default().view(&bytes).unwrap_err(), Malformed::Identifier(0x2000_0000));
}
