//! Lines of a candump log (`candump -l`): `(1436509052.249713) vcan0 044#2A366C2BBA`.
//!
//! Written as every reader takes it: six digits of time, one space, nothing behind the frame. A raw DLC (`_9`) is left
//! out, since Wireshark and python-can refuse lines with it. Read generously.

use super::compact::parse_compact;
use super::line::{COMPACT_BYTES_MAX, Line};
use super::{NotationError, NotationFault};
use crate::frame::{Frame, Image};

/// The longest line [`write_log_line`] writes: the time, a name of 15 bytes (`IFNAMSIZ` less its end), the longest
/// frame, two separators.
pub const LOG_LINE_BYTES_MAX: usize = TIME_BYTES_MAX + 15 + 1 + COMPACT_BYTES_MAX + 1;

/// `(18446744073.709551) `, 2^64 nanoseconds.
const TIME_BYTES_MAX: usize = 21;

/// One line of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLine<'a> {
    /// Nanoseconds since the UNIX epoch.
    pub at_ns: u64,
    /// The interface's name.
    pub interface: &'a str,
    /// The frame.
    pub frame: Frame,
}

/// Appends one line with its newline; `at_ns` counts nanoseconds since the UNIX epoch and loses what is below a
/// microsecond. Allocates only if `out` has less room left than [`LOG_LINE_BYTES_MAX`].
pub fn write_log_line(out: &mut Vec<u8>, at_ns: u64, interface: &str, image: Image<'_>) {
    let mut head = Line::default();
    push_time(&mut head, at_ns);
    let mut tail = Line::default();
    tail.push(b" ");
    tail.push_compact(image);
    tail.push(b"\n");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(interface.as_bytes());
    out.extend_from_slice(tail.as_bytes());
}

fn push_time(line: &mut Line, at_ns: u64) {
    let (seconds, micros) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000 / 1000);
    // "(", ten digits of seconds (years 2001 to 2286; fewer are filled with zeros, as candump does), ".", six.
    // 2^64 nanoseconds are eleven digits of seconds.
    let mut digits = *b"(00000000000.000000) ";
    fill_decimal(&mut digits[1..12], seconds);
    fill_decimal(&mut digits[13..19], micros);
    if digits[1] == b'0' {
        digits[1] = b'(';
        line.push(&digits[1..]);
    } else {
        line.push(&digits);
    }
}

fn fill_decimal(field: &mut [u8], mut number: u64) {
    for place in field.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Reads one line, with or without its newline. Takes one to nine digits of fraction, any white space, lower case, a
/// raw DLC, FD flags beyond the known ones, and the direction (`R`, `T`, `Rx`, `Tx`) that some writers add.
///
/// # Errors
/// The line has not the fields of a log line, or its time or its frame cannot be read.
pub fn parse_log_line(line: &str) -> Result<LogLine<'_>, NotationError> {
    let wrong = |fault| NotationError::new(line.trim_end(), fault);
    let mut fields = line.split_ascii_whitespace();
    let (Some(time), Some(interface), Some(frame)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(wrong(NotationFault::LogForm));
    };
    let direction_only = match fields.next() {
        None => true,
        Some(word) => ["r", "t", "rx", "tx"].iter().any(|known| word.eq_ignore_ascii_case(known)),
    };
    if !direction_only || fields.next().is_some() {
        return Err(wrong(NotationFault::LogForm));
    }
    let at_ns = parse_time(time).ok_or_else(|| wrong(NotationFault::LogTime))?;
    Ok(LogLine { at_ns, interface, frame: parse_compact(frame)? })
}

fn parse_time(text: &str) -> Option<u64> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (seconds, fraction) = inner.split_once('.')?;
    let only_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !only_digits(seconds) || !only_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let scale = 10u64.pow(9 - fraction.len() as u32);
    let fraction_ns = fraction.parse::<u64>().ok()? * scale;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Identifier;

    fn line(at_ns: u64, text: &str) -> String {
        let mut out = Vec::new();
        write_log_line(&mut out, at_ns, "vcan0", parse_compact(text).unwrap().image());
        String::from_utf8(out).unwrap()
    }

    // Captured from candump -L on vcan; the FD flags as the kernel's sender set them.
    #[test]
    fn lines_are_candumps() {
        assert_eq!(
            line(1_795_502_970_646_619_999, "123#11223344"),
            "(1795502970.646619) vcan0 123#11223344\n"
        );
        assert_eq!(line(1_795_502_970_000_085_000, "123#"), "(1795502970.000085) vcan0 123#\n");
        assert_eq!(line(1_795_502_970_919_270_000, "1F334455#R8"), "(1795502970.919270) vcan0 1F334455#R8\n");
        assert_eq!(line(0, "123#R"), "(0000000000.000000) vcan0 123#R\n");
        assert_eq!(
            line(1_795_502_971_134_562_000, "20000004#0001000000000000"),
            "(1795502971.134562) vcan0 20000004#0001000000000000\n"
        );
        assert_eq!(line(u64::MAX, "123#"), "(18446744073.709551) vcan0 123#\n");
    }

    #[test]
    fn raw_dlcs_stay_out() {
        assert_eq!(line(0, "123#1122334455667788_9"), "(0000000000.000000) vcan0 123#1122334455667788\n");
        assert_eq!(line(0, "123#R8_C"), "(0000000000.000000) vcan0 123#R8\n");
        assert_eq!(line(0, "123##3112233"), "(0000000000.000000) vcan0 123##3112233\n");
    }

    #[test]
    fn no_line_allocates_in_a_buffer_with_room() {
        let longest = Frame::fd(Identifier::extended(0x1FFF_FFFF).unwrap(), &[0xFF; 64], 3).unwrap();
        let mut out = Vec::with_capacity(LOG_LINE_BYTES_MAX);
        let before = out.as_ptr();
        write_log_line(&mut out, u64::MAX, "fifteenletters0", longest.image());
        assert_eq!(out.len(), LOG_LINE_BYTES_MAX);
        assert_eq!(out.as_ptr(), before);
    }

    #[test]
    fn lines_are_read_generously() {
        let frame = Frame::data(Identifier::standard(0x44).unwrap(), &[0x2A, 0x36]).unwrap();
        let expected = LogLine { at_ns: 1_436_509_052_249_713_000, interface: "vcan0", frame };
        for line in [
            "(1436509052.249713) vcan0 044#2A36",
            "(1436509052.249713)   vcan0  044#2a36\r\n",
            "(1436509052.249713000) vcan0 044#2A36 R",
            "(1436509052.249713) vcan0 044#2A36 Tx\n",
        ] {
            assert_eq!(parse_log_line(line), Ok(expected), "{line}");
        }
        assert_eq!(parse_log_line("(1.5) can0 123#R").unwrap().at_ns, 1_500_000_000);
        assert_eq!(parse_log_line("(1.000000001) can0 123##711").unwrap().at_ns, 1_000_000_001);
        assert_eq!(parse_log_line("(1.0) can0 123##711").unwrap().frame.image().fd_flags(), 3);
    }

    #[test]
    fn wrong_lines_are_named() {
        use NotationFault::*;
        let cases = [
            ("", LogForm),
            ("(1.0) can0", LogForm),
            ("(1.0) can0 123#11 X", LogForm),
            ("(1.0) can0 123#11 R R", LogForm),
            ("1.0 can0 123#11", LogTime),
            ("(1) can0 123#11", LogTime),
            ("(1.) can0 123#11", LogTime),
            ("(+1.0) can0 123#11", LogTime),
            ("(1.0000000000) can0 123#11", LogTime),
            ("(99999999999.0) can0 123#11", LogTime),
            ("(1.0) can0 123#1", HalfByte),
        ];
        for (line, fault) in cases {
            assert_eq!(parse_log_line(line).unwrap_err().fault, fault, "{line}");
        }
    }
}
