//! The compiled filter against the plainest reading of the rules, and against the kernel's own way.

use proptest::prelude::*;

use super::*;
use crate::frame::{ERROR_FLAG, EXTENDED_FLAG, Frame, Identifier, Image, REMOTE_FLAG};

/// What [`FilterSet`] documents, by walking the lists.
fn passes_by_walking(set: &FilterSet, image: Image<'_>) -> bool {
    let word = image.id_word();
    if word & ERROR_FLAG != 0 {
        let masks: Vec<u32> = set.expressions.iter().filter_map(|expression| expression.error_mask).collect();
        let union =
            if masks.is_empty() { 0x1FFF_FFFF } else { masks.iter().fold(0, |union, mask| union | mask) };
        return word & 0x1FFF_FFFF & union != 0;
    }
    let identifier = image.identifier();
    let with_conditions = || set.expressions.iter().filter(|expression| !expression.conditions.is_empty());
    let nothing_named = set.pass.is_empty() && with_conditions().count() == 0;
    let allowed = nothing_named
        || set.pass.iter().any(|rule| rule.matches(identifier))
        || with_conditions().any(|expression| expression.matches(word));
    allowed && !set.block.iter().any(|rule| rule.matches(identifier))
}

/// What a raw socket receives (`can_rcv_list_find` and `can_rcv_filter` of `net/can/af_can.c`, `raw_rcv` of
/// `net/can/raw.c`).
fn kernel_delivers(filter: &Filter, word: u32) -> bool {
    let rules = &filter.kernel.rules;
    if word & ERROR_FLAG != 0 {
        return word & filter.error_mask & 0x1FFF_FFFF != 0 && !(filter.kernel.join && rules.len() > 1);
    }
    let matches = |rule: &KernelRule| {
        let inverted = rule.id & 0x2000_0000 != 0;
        let mut mask = rule.mask;
        assert_eq!(mask & 0x2000_0000, 0, "an error mask has no place here");
        if mask & 0x8000_0000 != 0 && rule.id & 0x8000_0000 == 0 {
            mask &= 0xC000_07FF;
        }
        (word & mask == rule.id & mask & !0x2000_0000) != inverted
    };
    if filter.kernel.join { rules.iter().all(matches) } else { rules.iter().any(matches) }
}

/// Identifiers crowd in a few places, so that rules overlap and words hit them.
fn raw_id(extended: bool) -> BoxedStrategy<u32> {
    if extended {
        prop_oneof![0u32..0x40, 0x18DA_0000u32..0x18DA_0040, 0x7F0u32..0x810, 0u32..=0x1FFF_FFFF].boxed()
    } else {
        prop_oneof![0u32..0x40, 0x120u32..0x130, 0u32..=0x7FF].boxed()
    }
}

fn identifier() -> impl Strategy<Value = Identifier> {
    prop_oneof![
        raw_id(false).prop_map(|raw| Identifier::standard(raw).unwrap()),
        raw_id(true).prop_map(|raw| Identifier::extended(raw).unwrap()),
    ]
}

fn mask() -> impl Strategy<Value = u32> {
    let prefix = (0u32..30).prop_map(|free| 0x1FFF_FFFF & !((1 << free) - 1));
    let sparse = (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(a, b, c)| a & b & c & 0x1FFF_FFFF);
    prop_oneof![Just(0x1FFF_FFFF), prefix, sparse, any::<u32>().prop_map(|mask| mask & 0x1FFF_FFFF)]
}

fn rule() -> impl Strategy<Value = Rule> {
    let range = (identifier(), 0u32..100).prop_map(|(first, more)| {
        let last = match first {
            Identifier::Standard(id) => Identifier::standard((id.raw() + more).min(0x7FF)),
            Identifier::Extended(id) => Identifier::extended((id.raw() + more).min(0x1FFF_FFFF)),
        };
        Rule::range(first, last.unwrap()).unwrap()
    });
    let masked = (identifier(), mask())
        .prop_map(|(id, mask)| Rule::masked(id, if id.is_extended() { mask } else { mask & 0x7FF }).unwrap());
    prop_oneof![2 => range, 1 => masked]
}

fn condition() -> impl Strategy<Value = Condition> {
    let flags =
        prop_oneof![Just(0), Just(EXTENDED_FLAG), Just(REMOTE_FLAG), Just(EXTENDED_FLAG | REMOTE_FLAG)];
    (word(), mask(), flags, any::<bool>())
        .prop_map(|(id, mask, flags, inverted)| Condition::new(id & !ERROR_FLAG, mask | flags, inverted))
}

fn expression() -> impl Strategy<Value = Expression> {
    let conditions = prop::collection::vec(condition(), 0..4);
    (conditions, any::<bool>(), prop::option::weighted(0.3, prop_oneof![Just(0), 0u32..0x200]))
        .prop_map(|(conditions, join, error_mask)| Expression { conditions, join, error_mask })
}

/// Id words as drivers write them, error frames among them.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => (identifier(), any::<bool>()).prop_map(|(id, remote)| {
            let flags = if remote { REMOTE_FLAG } else { 0 };
            crate::frame::id_word(id) | flags
        }),
        1 => (0u32..0x400).prop_map(|class| class | ERROR_FLAG),
    ]
}

fn set() -> impl Strategy<Value = FilterSet> {
    let rules = |most| prop_oneof![Just(vec![]).boxed(), prop::collection::vec(rule(), 0..most).boxed()];
    let expressions = prop_oneof![Just(vec![]).boxed(), prop::collection::vec(expression(), 0..3).boxed()];
    (rules(12), rules(6), expressions).prop_map(|(pass, block, expressions)| FilterSet {
        pass,
        block,
        expressions,
    })
}

fn check(set: &FilterSet, filter: &Filter, word: u32) -> Result<(), TestCaseError> {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&word.to_ne_bytes());
    let image = Image::parse(&bytes).unwrap();
    let expected = passes_by_walking(set, image);
    prop_assert_eq!(filter.passes(image), expected, "{:08X} {}", word, filter);
    let delivered = kernel_delivers(filter, word);
    if filter.kernel_is_exact {
        prop_assert_eq!(delivered, expected, "{:08X} by {:X?}", word, filter);
    } else {
        prop_assert!(delivered || !expected, "{:08X} by {:X?}", word, filter);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn tables_and_kernel_say_what_the_rules_say(set in set(), words in prop::collection::vec(word(), 100)) {
        let filter = set.compile().unwrap();
        prop_assert!(filter.kernel.rules.len() <= 512);
        for word in words {
            check(&set, &filter, word)?;
        }
    }

    #[test]
    fn every_standard_identifier_is_decided_right(set in set()) {
        let filter = set.compile().unwrap();
        for word in (0..0x800).chain((0..0x800).map(|id| id | REMOTE_FLAG)) {
            check(&set, &filter, word)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn long_lists_are_decided_right(
        pass in prop::collection::vec(rule(), 600..1500),
        block in prop::collection::vec(rule(), 0..300),
        words in prop::collection::vec(word(), 500),
    ) {
        let set = FilterSet { pass, block, expressions: vec![] };
        let filter = set.compile().unwrap();
        prop_assert!(filter.kernel.rules.len() <= 512);
        for word in words {
            check(&set, &filter, word)?;
        }
    }
}

#[test]
fn fd_frames_follow_their_identifier() {
    let set = FilterSet { pass: parse_tool_list("0x123", "pass").unwrap(), ..FilterSet::default() };
    let filter = set.compile().unwrap();
    let fd = |raw| Frame::fd(Identifier::standard(raw).unwrap(), &[0; 64], 0).unwrap();
    assert!(filter.passes(fd(0x123).image()));
    assert!(!filter.passes(fd(0x124).image()));
}
