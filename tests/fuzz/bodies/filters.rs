//! Filters as users write them, from files and from the command line.

use canip_peer::frame::filter::{FilterSet, parse_candump, parse_tool_list};
use canip_peer::frame::{EXTENDED_FLAG, Frame, Identifier};

use super::assert_one_line;
use super::script::Script;

/// Identifiers that a compiled filter is asked about.
const ASKED: usize = 8;

/// Pass and block lists: the tables say what the rules say, one by one.
pub fn lists(bytes: &[u8]) {
    let (script, text) = split(bytes);
    let rules = match parse_tool_list(text, "list.txt") {
        Ok(rules) => rules,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    let identifiers = identifiers(script);
    let pass = FilterSet { pass: rules.clone(), ..FilterSet::default() };
    let block = FilterSet { block: rules.clone(), ..FilterSet::default() };
    let [pass, block] = [pass, block].map(|set| set.compile());
    for filter in [&pass, &block].into_iter().flatten() {
        assert_one_line(&filter.to_string());
    }
    for (identifier, frame) in identifiers {
        let is_named = rules.iter().any(|rule| rule.matches(identifier));
        if let Ok(filter) = &pass {
            assert_eq!(
                filter.passes(frame.image()),
                is_named || rules.is_empty(),
                "{identifier:?} of {text:?}"
            );
        }
        if let Ok(filter) = &block {
            assert_eq!(filter.passes(frame.image()), !is_named, "{identifier:?} of {text:?}");
        }
    }
}

/// candump's expressions, the same.
pub fn expressions(bytes: &[u8]) {
    let (script, text) = split(bytes);
    let expression = match parse_candump(text) {
        Ok(expression) => expression,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    let set = FilterSet { expressions: vec![expression.clone()], ..FilterSet::default() };
    let filter = match set.compile() {
        Ok(filter) => filter,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    assert_one_line(&filter.to_string());
    for (identifier, frame) in identifiers(script) {
        let extended = if identifier.is_extended() { EXTENDED_FLAG } else { 0 };
        let is_named = expression.matches(identifier.raw() | extended);
        let allows = is_named || expression.conditions.is_empty();
        assert_eq!(filter.passes(frame.image()), allows, "{identifier:?} of {text:?}");
    }
}

/// Up to the first zero byte the text, behind it what is asked about it.
fn split(bytes: &[u8]) -> (Script<'_>, &str) {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = match std::str::from_utf8(&bytes[..end]) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("valid up to there"),
    };
    (Script(bytes.get(end + 1..).unwrap_or_default()), text)
}

fn identifiers(mut script: Script<'_>) -> Vec<(Identifier, Frame)> {
    let identifier = |_| {
        let number = script.number() as u32;
        let identifier = if number & EXTENDED_FLAG == 0 {
            Identifier::standard(number & 0x7FF)
        } else {
            Identifier::extended(number & 0x1FFF_FFFF)
        };
        let identifier = identifier.expect("within its bits");
        (identifier, Frame::data(identifier, &[]).expect("a short payload"))
    };
    (0..ASKED).map(identifier).collect()
}
