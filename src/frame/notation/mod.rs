//! Text notations of can-utils: what `cansend` takes, what `candump -l` keeps, and what `candump` prints.
//!
//! ```text
//! 123#DEADBEEF                 data frame, 3 digits: standard
//! 1F334455#11.22.33            8 digits: extended; dots between bytes
//! 123#R  123#R4                remote frame, with its length
//! 123#1122334455667788_9       8 bytes with the raw DLC 9 (also 123#R8_C)
//! 123##311223344               FD frame, flags digit (1 BRS, 2 ESI), payload
//! 20000004#0001000000000000    error frame
//! ```
//!
//! Knows no file and no clock: times are arguments, lines go into the caller's buffer.

mod compact;
mod dump;
mod hex;
mod line;
mod log;

use thiserror::Error;

pub use compact::{parse_compact, write_compact};
pub use dump::{IdColumn, write_dump_line};
pub use log::{LOG_LINE_BYTES_MAX, LogLine, parse_log_line, write_log_line};

/// Characters of a wrong token that an error repeats: the longest frame has 139.
const TOKEN_CHARS_MAX: usize = 160;

/// A text that is no frame in can-utils' notation.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{token:?}: {fault}")]
pub struct NotationError {
    /// The text that does not parse, shortened if it is long.
    pub token: String,
    /// What is wrong with it.
    pub fault: NotationFault,
}

impl NotationError {
    fn new(token: &str, fault: NotationFault) -> Self {
        let token = match token.char_indices().nth(TOKEN_CHARS_MAX) {
            Some((end, _)) => format!("{}...", &token[..end]),
            None => token.to_owned(),
        };
        Self { token, fault }
    }
}

/// What is wrong with a frame or a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NotationFault {
    /// No `#` between identifier and content.
    #[error("no frame: write IDENTIFIER#DATA, as in 123#DEADBEEF, 123#R4 or 123##1DEADBEEF")]
    NoSeparator,
    /// Neither 3 nor 8 digits.
    #[error("the identifier has neither 3 digits (standard) nor 8 (extended)")]
    IdentifierDigits,
    /// Three digits above 7FF.
    #[error("a standard identifier is at most 7FF (write 8 digits for an extended one)")]
    AboveStandard,
    /// Eight digits with bits other than 0x3FFFFFFF.
    #[error("an extended identifier is at most 1FFFFFFF (or 3FFFFFFF for an error frame)")]
    AboveExtended,
    /// A character that is no hexadecimal digit.
    #[error("the data has a character that is no hexadecimal digit, or a dot that is not between bytes")]
    DataDigit,
    /// Half a byte.
    #[error("the data has an odd number of hexadecimal digits")]
    HalfByte,
    /// More than 8 bytes, or more than 64.
    #[error("the data is longer than 8 bytes (64 after ##)")]
    TooLong,
    /// An FD payload of, say, 9 bytes.
    #[error("a CAN FD payload has 0 to 8, 12, 16, 20, 24, 32, 48 or 64 bytes")]
    FdLength,
    /// `##` without a digit behind it.
    #[error("one hexadecimal digit of flags must follow ## (1: bit rate switch, 2: error state)")]
    FdFlags,
    /// Something other than one digit 0 to 8 after `R`.
    #[error("after R comes nothing, or one digit 0 to 8")]
    RemoteLength,
    /// A raw DLC that is out of range or has no place.
    #[error("a raw DLC is _9 to _F, behind 8 bytes of classic data or behind R8")]
    RawDlc,
    /// An error frame that is remote, FD or has a raw DLC.
    #[error("an error frame carries classic data only")]
    ErrorKind,
    /// Not `(SECONDS.FRACTION) INTERFACE FRAME`.
    #[error("no log line: expected (SECONDS.MICROSECONDS) INTERFACE FRAME")]
    LogForm,
    /// A time that does not parse or fit.
    #[error("the time is not (SECONDS.MICROSECONDS)")]
    LogTime,
}
