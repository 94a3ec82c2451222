//! One frame without time and interface: `123#DEADBEEF`.
//!
//! Stricter than `cansend`, which cuts what is too long and masks what is too large: such a text is an error here.

use std::fmt;

use super::line::Line;
use super::{NotationError, NotationFault, hex};
use crate::frame::{CLASSIC_BYTES, ERROR_FLAG, EXTENDED_MAX, Frame, Identifier, Image, Kind, PAYLOAD_OFFSET};

/// Reads one frame. FD flags other than BRS and ESI are dropped, as newer versions of candump write a third.
///
/// # Errors
/// The text is not exactly one frame: the error has the text, and what is wrong with it.
pub fn parse_compact(text: &str) -> Result<Frame, NotationError> {
    parse(text.as_bytes()).map_err(|fault| NotationError::new(text, fault))
}

enum Target {
    Bus(Identifier),
    ErrorClass(u32),
}

fn parse(text: &[u8]) -> Result<Frame, NotationFault> {
    let hash = text.iter().position(|&byte| byte == b'#').ok_or(NotationFault::NoSeparator)?;
    let target = parse_target(&text[..hash])?;
    let content = &text[hash + 1..];
    match (target, content) {
        (Target::Bus(identifier), [b'#', fd @ ..]) => parse_fd(identifier, fd),
        (Target::Bus(identifier), [b'R' | b'r', remote @ ..]) => parse_remote(identifier, remote),
        (Target::Bus(identifier), data) => parse_data(identifier, data),
        (Target::ErrorClass(_), [b'#' | b'R' | b'r', ..]) => Err(NotationFault::ErrorKind),
        (Target::ErrorClass(class), data) => parse_error(class, data),
    }
}

fn parse_target(digits: &[u8]) -> Result<Target, NotationFault> {
    let number = hex::number(digits).ok_or(NotationFault::IdentifierDigits)?;
    match digits.len() {
        3 => Identifier::standard(number).map(Target::Bus).ok_or(NotationFault::AboveStandard),
        8 if number & !EXTENDED_MAX == ERROR_FLAG => Ok(Target::ErrorClass(number & EXTENDED_MAX)),
        8 => Identifier::extended(number).map(Target::Bus).ok_or(NotationFault::AboveExtended),
        _ => Err(NotationFault::IdentifierDigits),
    }
}

fn parse_data(identifier: Identifier, text: &[u8]) -> Result<Frame, NotationFault> {
    let (data, raw_dlc) = split_raw_dlc(text);
    let mut room = [0; 8];
    let payload = parse_payload(data, &mut room)?;
    let frame = Frame::data(identifier, payload).ok_or(NotationFault::TooLong)?;
    match raw_dlc {
        None => Ok(frame),
        Some(dlc) => frame.with_raw_dlc(parse_raw_dlc(dlc)?).ok_or(NotationFault::RawDlc),
    }
}

fn parse_remote(identifier: Identifier, text: &[u8]) -> Result<Frame, NotationFault> {
    let (len, raw_dlc) = split_raw_dlc(text);
    let dlc = match (len, raw_dlc) {
        ([], None) => 0,
        ([digit @ b'0'..=b'8'], None) => digit - b'0',
        ([b'8'], Some(dlc)) => parse_raw_dlc(dlc)?,
        (_, Some(_)) => return Err(NotationFault::RawDlc),
        (_, None) => return Err(NotationFault::RemoteLength),
    };
    Frame::remote(identifier, dlc).ok_or(NotationFault::RemoteLength)
}

fn parse_fd(identifier: Identifier, text: &[u8]) -> Result<Frame, NotationFault> {
    let (&flags, data) = text.split_first().ok_or(NotationFault::FdFlags)?;
    let flags = hex::value(flags).ok_or(NotationFault::FdFlags)?;
    if data.contains(&b'_') {
        return Err(NotationFault::RawDlc);
    }
    let mut room = [0; 64];
    let payload = parse_payload(data, &mut room)?;
    Frame::fd(identifier, payload, flags).ok_or(NotationFault::FdLength)
}

/// Error frames of fewer than eight bytes exist where someone sent them by hand: they stay as they are.
fn parse_error(class: u32, text: &[u8]) -> Result<Frame, NotationFault> {
    if text.contains(&b'_') {
        return Err(NotationFault::ErrorKind);
    }
    let mut room = [0; 8];
    let len = parse_payload(text, &mut room)?.len();
    let mut bytes = [0; CLASSIC_BYTES];
    bytes[..4].copy_from_slice(&(class | ERROR_FLAG).to_ne_bytes());
    bytes[4] = len as u8;
    bytes[PAYLOAD_OFFSET..].copy_from_slice(&room);
    Image::parse(&bytes).map(Frame::copy_of).ok_or(NotationFault::TooLong)
}

fn split_raw_dlc(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == b'_') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn parse_raw_dlc(text: &[u8]) -> Result<u8, NotationFault> {
    match text {
        [digit] => hex::value(*digit).filter(|dlc| *dlc >= 9).ok_or(NotationFault::RawDlc),
        _ => Err(NotationFault::RawDlc),
    }
}

/// Reads pairs of digits into `room`; one dot may stand before and behind each pair, as `cansend` has it.
fn parse_payload<'a>(text: &[u8], room: &'a mut [u8]) -> Result<&'a [u8], NotationFault> {
    let mut rest = text;
    let mut len = 0;
    while let Some((&first, after)) = rest.split_first() {
        if first == b'.' {
            if after.first() == Some(&b'.') {
                return Err(NotationFault::DataDigit);
            }
            rest = after;
            continue;
        }
        let high = hex::value(first).ok_or(NotationFault::DataDigit)?;
        let (&second, after) = after.split_first().ok_or(NotationFault::HalfByte)?;
        let low = hex::value(second).ok_or(NotationFault::DataDigit)?;
        *room.get_mut(len).ok_or(NotationFault::TooLong)? = high << 4 | low;
        len += 1;
        rest = after;
    }
    Ok(&room[..len])
}

/// Writes one frame as [`parse_compact`] reads it, upper case, raw DLC included.
pub fn write_compact(out: &mut impl fmt::Write, image: Image<'_>) -> fmt::Result {
    let mut text = Line::default();
    text.push_compact(image);
    let dlc = image.dlc();
    if matches!(image.kind(), Kind::Data | Kind::Remote) && dlc > 8 {
        text.push(&[b'_', hex::digit(dlc)]);
    }
    out.write_str(std::str::from_utf8(text.as_bytes()).map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn standard(raw: u32) -> Identifier {
        Identifier::standard(raw).unwrap()
    }

    fn extended(raw: u32) -> Identifier {
        Identifier::extended(raw).unwrap()
    }

    fn written(frame: &Frame) -> String {
        let mut text = String::new();
        write_compact(&mut text, frame.image()).unwrap();
        text
    }

    #[test]
    fn every_notation_is_read_and_written() {
        let eight = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
        let full = Frame::data(standard(0x123), &eight).unwrap();
        let twelve = [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB];
        let cases = [
            ("123#DEADBEEF", Frame::data(standard(0x123), &[0xDE, 0xAD, 0xBE, 0xEF])),
            ("123#", Frame::data(standard(0x123), &[])),
            ("7FF#11", Frame::data(standard(0x7FF), &[0x11])),
            ("000007FF#11", Frame::data(extended(0x7FF), &[0x11])),
            ("1F334455#1122334455667788", Frame::data(extended(0x1F33_4455), &eight)),
            ("123#R", Frame::remote(standard(0x123), 0)),
            ("123#R4", Frame::remote(standard(0x123), 4)),
            ("1FFFFFFF#R8", Frame::remote(extended(0x1FFF_FFFF), 8)),
            ("123#R8_C", Frame::remote(standard(0x123), 12)),
            ("123#1122334455667788_9", full.with_raw_dlc(9)),
            ("123#1122334455667788_F", full.with_raw_dlc(15)),
            ("123##1", Frame::fd(standard(0x123), &[], 1)),
            ("123##011", Frame::fd(standard(0x123), &[0x11], 0)),
            ("1F334455##300112233445566778899AABB", Frame::fd(extended(0x1F33_4455), &twelve, 3)),
            ("20000004#0001000000000000", Some(Frame::error(4, [0, 1, 0, 0, 0, 0, 0, 0]))),
        ];
        for (text, frame) in cases {
            let frame = frame.unwrap();
            assert_eq!(parse_compact(text).as_ref(), Ok(&frame), "{text}");
            assert_eq!(written(&frame), text);
        }
    }

    #[test]
    fn dots_and_lower_case_are_read() {
        for text in ["5A1#11.2233.44556677.88", "5a1#.11.22.33.44.55.66.77.88."] {
            assert_eq!(written(&parse_compact(text).unwrap()), "5A1#1122334455667788");
        }
        assert_eq!(written(&parse_compact("123#r8_f").unwrap()), "123#R8_F");
        assert_eq!(written(&parse_compact("123##7aa").unwrap()), "123##3AA", "the flag FDF is implied");
        assert_eq!(written(&parse_compact("20000080#0102").unwrap()), "20000080#0102");
    }

    #[test]
    fn everything_else_is_refused() {
        use NotationFault::*;
        let cases = [
            ("", NoSeparator),
            ("123", NoSeparator),
            ("#11", IdentifierDigits),
            ("12#11", IdentifierDigits),
            ("1234#11", IdentifierDigits),
            ("123456789#11", IdentifierDigits),
            ("12G#11", IdentifierDigits),
            ("+12#11", IdentifierDigits),
            ("800#11", AboveStandard),
            ("40000000#11", AboveExtended),
            ("FFFFFFFF#00", AboveExtended),
            ("123#1", HalfByte),
            ("123#11G0", DataDigit),
            ("123#1.1", DataDigit),
            ("123#11..22", DataDigit),
            ("123#1 1", DataDigit),
            ("123#11 ", DataDigit),
            ("123#é", DataDigit),
            ("123#112233445566778899", TooLong),
            ("123#R9", RemoteLength),
            ("123#R4x", RemoteLength),
            ("123#RR", RemoteLength),
            ("123#R4_9", RawDlc),
            ("123#R8_8", RawDlc),
            ("123#R8_G", RawDlc),
            ("123#1122334455667788_8", RawDlc),
            ("123#1122334455667788_", RawDlc),
            ("123#1122334455667788_9_9", RawDlc),
            ("123#1122_9", RawDlc),
            ("123##311_9", RawDlc),
            ("123##", FdFlags),
            ("123##G11", FdFlags),
            ("123##11", HalfByte),
            ("123##0112233445566778899", FdLength),
            ("20000004#R", ErrorKind),
            ("20000004##011", ErrorKind),
            ("20000004#1122334455667788_9", ErrorKind),
        ];
        for (text, fault) in cases {
            assert_eq!(parse_compact(text), Err(NotationError { token: text.into(), fault }), "{text}");
        }
        let long = format!("123##0{}", "11".repeat(65));
        assert_eq!(parse_compact(&long).unwrap_err().fault, TooLong);
        assert_eq!(
            parse_compact("123#1").unwrap_err().to_string(),
            "\"123#1\": the data has an odd number of hexadecimal digits"
        );
        assert!(parse_compact(&"1".repeat(100_000)).unwrap_err().token.len() < 200);
    }

    proptest! {
        #[test]
        fn any_image_that_parses_is_written_and_read_back(bytes in prop::collection::vec(any::<u8>(), 72), fd: bool) {
            let mut bytes = bytes;
            bytes.truncate(if fd { 72 } else { 16 });
            bytes[4] %= if fd { 65 } else { 9 };
            let image = Image::parse(&bytes).unwrap();
            let mut text = String::new();
            write_compact(&mut text, image).unwrap();
            // A kernel never makes FD frames of other lengths.
            if let Ok(frame) = parse_compact(&text) {
                prop_assert_eq!(frame.image().kind(), image.kind());
                prop_assert_eq!(frame.image().payload(), image.payload());
                prop_assert_eq!(frame.image().dlc(), if image.kind() == Kind::Error { image.len() as u8 } else { image.dlc() });
            } else {
                prop_assert!(fd && ![12, 16, 20, 24, 32, 48, 64].contains(&image.len()), "{}", text);
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9a-fA-F#R._ é]{0,40}") {
            if let Ok(frame) = parse_compact(&text) {
                prop_assert_eq!(parse_compact(&written(&frame)), Ok(frame));
            }
        }
    }
}
