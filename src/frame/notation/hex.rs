//! Hexadecimal digits, upper case, as candump prints them.

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The two digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

pub(super) fn digit(nibble: u8) -> u8 {
    DIGITS[usize::from(nibble & 15)]
}

pub(super) fn pair(byte: u8) -> [u8; 2] {
    PAIRS[usize::from(byte)]
}

/// The value of one digit of either case.
pub(super) fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A number of one to eight digits.
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    digits.iter().try_fold(0, |number, &byte| Some(number << 4 | u32::from(value(byte)?)))
}
