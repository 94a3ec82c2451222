//! Filters in candump's notation, `123:7FF,400~7F0,#FFFFFFFF,j`, without the interface in front.
//!
//! The semantics are candump's and the kernel's: the whole id word is compared, so `123:7FF` also matches an extended
//! frame whose lower 11 bits are 0x123, and remote frames; `123:C00007FF` matches standard data frames only. An id of
//! eight digits sets the extended flag in the id, never in the mask.

use super::error::{FilterError, FilterFault};
use super::rule::{Condition, Expression};
use crate::frame::{ERROR_FLAG, EXTENDED_FLAG, EXTENDED_MAX};

/// Reads one expression. Items are separated by commas; several `#` masks add up.
///
/// # Errors
/// [`FilterError::Candump`] for the first item that cannot be read.
pub fn parse_candump(expression: &str) -> Result<Expression, FilterError> {
    let mut parsed = Expression::default();
    for item in expression.split(',') {
        let token = item.trim();
        add_item(&mut parsed, token).map_err(|fault| FilterError::Candump {
            expression: expression.to_owned(),
            token: token.to_owned(),
            fault,
        })?;
    }
    Ok(parsed)
}

fn add_item(expression: &mut Expression, token: &str) -> Result<(), FilterFault> {
    if token == "j" || token == "J" {
        expression.join = true;
    } else if let Some(mask) = token.strip_prefix('#') {
        let mask = number(mask)? & EXTENDED_MAX;
        expression.error_mask = Some(expression.error_mask.unwrap_or(0) | mask);
    } else if let Some((id, mask)) = token.split_once(':') {
        expression.conditions.push(condition(id, mask, false)?);
    } else if let Some((id, mask)) = token.split_once('~') {
        expression.conditions.push(condition(id, mask, true)?);
    } else {
        return Err(FilterFault::Form);
    }
    Ok(())
}

fn condition(id: &str, mask: &str, inverted: bool) -> Result<Condition, FilterFault> {
    let implied = if id.len() == 8 { EXTENDED_FLAG } else { 0 };
    let (id, mask) = (number(id)?, number(mask)?);
    if id & ERROR_FLAG != 0 {
        return Err(FilterFault::ErrorFlag);
    }
    Ok(Condition::new(id | implied, mask, inverted))
}

fn number(digits: &str) -> Result<u32, FilterFault> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(FilterFault::Form);
    }
    if digits.len() > 8 {
        Err(FilterFault::TooLong)
    } else {
        u32::from_str_radix(digits, 16).map_err(|_| FilterFault::Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Expression {
        parse_candump(text).unwrap()
    }

    // The examples of candump's own usage text.
    #[test]
    fn candumps_examples_mean_what_its_manual_says() {
        let both_kinds = parse("123:7FF");
        for word in [0x123, 0x8000_0123, 0x4000_0123, 0x9FFF_F923] {
            assert!(both_kinds.matches(word), "{word:X}");
        }
        assert!(!both_kinds.matches(0x124));
        let standard_data = parse("123:C00007FF");
        assert!(standard_data.matches(0x123));
        for word in [0x8000_0123, 0x4000_0123, 0x124] {
            assert!(!standard_data.matches(word), "{word:X}");
        }
        let extended = parse("12345678:DFFFFFFF");
        assert!(extended.matches(0x9234_5678));
        assert!(!extended.matches(0x1234_5678));
        assert!(!extended.matches(0xD234_5678), "remote");
        assert!(!parse("0~0").matches(0x123), "0~0 lets no data frame through");
        assert!(parse("0:0").matches(0xFFFF_FFFF));
    }

    #[test]
    fn eight_digits_set_the_flag_in_the_id_only() {
        assert_eq!(parse("00000123:1FFFFFFF").conditions, [Condition::new(0x8000_0123, 0x1FFF_FFFF, false)]);
        assert!(parse("00000123:1FFFFFFF").matches(0x123), "the mask does not ask");
        assert!(!parse("00000123:9FFFFFFF").matches(0x123));
        assert!(parse("0000123:9FFFFFFF").matches(0x123), "seven digits");
    }

    // Seen on kernels 6.1 and 6.12: a filter 800:C0000FFF receives the standard frame 0x000.
    #[test]
    fn masks_for_standard_frames_lose_the_bits_above_eleven() {
        assert!(parse("800:C0000FFF").matches(0));
    }

    #[test]
    fn error_masks_add_up_and_join_is_kept() {
        let expression = parse("123:7FF, 400~7F0,#1,#FFFFFFFE,J");
        assert_eq!(expression.error_mask, Some(0x1FFF_FFFF));
        assert!(expression.join);
        assert_eq!(
            expression.conditions,
            [Condition::new(0x123, 0x7FF, false), Condition::new(0x400, 0x7F0, true)]
        );
        assert!(expression.matches(0x123));
        assert!(!parse("123:7FF,120~7F0,j").matches(0x123));
        assert_eq!(parse("#0").error_mask, Some(0));
    }

    #[test]
    fn wrong_items_are_named() {
        use FilterFault::*;
        let cases = [
            ("", Form),
            ("123", Form),
            ("123:", Form),
            (":7FF", Form),
            ("0x123:7FF", Form),
            ("+23:7FF", Form),
            ("#", Form),
            ("jj", Form),
            ("can0", Form),
            ("123456789:7FF", TooLong),
            ("123:123456789", TooLong),
            ("20000123:7FF", ErrorFlag),
        ];
        for (token, fault) in cases {
            let expression = format!("1:7FF,{token}");
            let error = parse_candump(&expression).unwrap_err();
            assert_eq!(error, FilterError::Candump { expression, token: token.into(), fault });
        }
        assert_eq!(
            parse_candump("123").unwrap_err().to_string(),
            "filter \"123\": \"123\" is no filter rule; write ID:MASK, ID~MASK, #ERRORMASK or j, numbers in hexadecimal \
             (123:7FF,400~7F0,j)"
        );
    }
}
