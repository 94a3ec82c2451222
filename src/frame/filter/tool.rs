//! Pass and block lists in the tool's own notation.
//!
//! ```text
//! 0x123                    one identifier          0x18DAF110x
//! 0x100-0x1FF              a range, ends included  0x18DA0000x-0x18DAFFFFx
//! 0x700/0x7F0              identifier and mask     0x18DA0000/0x1FFF0000x
//! ```
//!
//! Tokens are separated by commas or white space; `#` begins a comment that ends with the line.

use super::error::{FilterError, FilterFault};
use super::rule::Rule;
use crate::frame::{EXTENDED_MAX, Identifier};

/// Reads a list; `source` is what errors call the text, usually its path. No rule at all is a valid list.
///
/// # Errors
/// [`FilterError::Tool`] for the first token that cannot be read, with its line.
pub fn parse_tool_list(text: &str, source: &str) -> Result<Vec<Rule>, FilterError> {
    let mut rules = Vec::new();
    // Editors of one operating system put a byte order mark in front.
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let code = line.split('#').next().unwrap_or_default();
        for token in code.split(|c: char| c == ',' || c.is_whitespace()).filter(|token| !token.is_empty()) {
            rules.push(parse_token(token).map_err(|fault| FilterError::Tool {
                source_name: source.to_owned(),
                line: index + 1,
                token: token.to_owned(),
                fault,
            })?);
        }
    }
    Ok(rules)
}

fn parse_token(token: &str) -> Result<Rule, FilterFault> {
    let (body, extended) = match strip_suffix(token) {
        Some(body) => (body, true),
        None => (token, false),
    };
    if let Some((first, last)) = body.split_once('-') {
        // Either end may carry the suffix; the last one has already lost it.
        let first = if extended { strip_suffix(first).unwrap_or(first) } else { first };
        let (first, last) = (identifier(first, extended)?, identifier(last, extended)?);
        Rule::range(first, last).ok_or(FilterFault::Reversed)
    } else if let Some((id, mask)) = body.split_once('/') {
        let id = if extended { strip_suffix(id).unwrap_or(id) } else { id };
        let (id, mask) = (identifier(id, extended)?, identifier(mask, extended)?);
        Rule::masked(id, mask.raw()).ok_or(FilterFault::AboveStandard)
    } else {
        let id = identifier(body, extended)?;
        Rule::range(id, id).ok_or(FilterFault::Reversed)
    }
}

fn strip_suffix(text: &str) -> Option<&str> {
    // "0x" alone ends in x as well.
    text.strip_suffix(['x', 'X']).filter(|body| body.len() > 1)
}

fn identifier(text: &str, extended: bool) -> Result<Identifier, FilterFault> {
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        return Err(if numeric { FilterFault::NoPrefix } else { FilterFault::Form });
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(FilterFault::Form);
    }
    let raw = u32::from_str_radix(digits, 16).map_err(|_| FilterFault::AboveExtended)?;
    if raw > EXTENDED_MAX {
        Err(FilterFault::AboveExtended)
    } else if extended {
        Identifier::extended(raw).ok_or(FilterFault::AboveExtended)
    } else {
        Identifier::standard(raw).ok_or(FilterFault::AboveStandard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard(raw: u32) -> Identifier {
        Identifier::standard(raw).unwrap()
    }

    fn extended(raw: u32) -> Identifier {
        Identifier::extended(raw).unwrap()
    }

    #[test]
    fn every_documented_form_is_read() {
        let text = "\u{feff}0x123, 0x100-0x1FF\t0x700/0x7F0 # comment, 0x1\r\n\n# 0x2\n0x18DAF110x,,0X18da0000X-0x18DAFFFFx \
                    0x18DA0000/0x1FFF0000x 0x1-0x2x";
        let rules = parse_tool_list(text, "pass.txt").unwrap();
        let expected = [
            Rule::range(standard(0x123), standard(0x123)),
            Rule::range(standard(0x100), standard(0x1FF)),
            Rule::masked(standard(0x700), 0x7F0),
            Rule::range(extended(0x18DA_F110), extended(0x18DA_F110)),
            Rule::range(extended(0x18DA_0000), extended(0x18DA_FFFF)),
            Rule::masked(extended(0x18DA_0000), 0x1FFF_0000),
            Rule::range(extended(1), extended(2)),
        ];
        assert_eq!(rules, expected.map(Option::unwrap));
        assert_eq!(parse_tool_list("# nothing\n", "pass.txt"), Ok(vec![]));
    }

    #[test]
    fn wrong_tokens_are_named_with_file_and_line() {
        use FilterFault::*;
        let cases = [
            ("0x800", AboveStandard),
            ("0x700/0x800", AboveStandard),
            ("0x20000000x", AboveExtended),
            ("0xFFFFFFFFFx", AboveExtended),
            ("0x20000000", AboveExtended),
            ("0x200-0x100", Reversed),
            ("123", NoPrefix),
            ("0x100-200", NoPrefix),
            ("0x100x-0x200", Form),
            ("0x", Form),
            ("x", Form),
            ("0xx", Form),
            ("0x12G", Form),
            ("-", Form),
            ("0x1-", Form),
            ("0x1-0x2-0x3", Form),
            ("0x+1", Form),
            ("0x1/0x2/0x3", Form),
            ("engine", Form),
        ];
        for (token, fault) in cases {
            let text = format!("0x1\n0x2 {token} 0x3");
            let error = parse_tool_list(&text, "block.txt").unwrap_err();
            let expected =
                FilterError::Tool { source_name: "block.txt".into(), line: 2, token: token.into(), fault };
            assert_eq!(error, expected);
        }
        assert_eq!(
            parse_tool_list("0x800", "pass.txt").unwrap_err().to_string(),
            "pass.txt, line 1: \"0x800\" has a number above 0x7FF, but no x at the end; write 0x123, 0x100-0x1FF or \
             0x700/0x7F0, with an x at the end for 29-bit identifiers (0x18DAF110x)"
        );
    }

    #[test]
    fn a_rule_matches_its_kind_only() {
        let rule = Rule::masked(standard(0x705), 0x7F0).unwrap();
        assert!(rule.matches(standard(0x70F)));
        assert!(!rule.matches(standard(0x710)));
        assert!(!rule.matches(extended(0x705)));
    }
}
