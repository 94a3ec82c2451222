//! The matcher: the verdict of a whole filter on an id word, by table.
//!
//! Standard identifiers have their final verdict in a bitmap, data and remote frames apart. Extended identifiers are
//! looked up among the ranges ([`Pages`]) and the masks ([`Lanes`]).

use super::cube::Cube;
use super::error::FilterError;
use super::lanes::{Lanes, Roster};
use super::pages::Pages;
use super::ranges::{Range, Ranges};
use super::rule::{Condition, Expression, Pattern, Rule};
use crate::frame::{EXTENDED_FLAG, EXTENDED_MAX, REMOTE_FLAG, STANDARD_MAX};

/// A union of identifiers: ranges of either kind, and masks that are no ranges.
#[derive(Clone, Default)]
pub(super) struct Union {
    pub(super) standard: Ranges,
    pub(super) extended: Ranges,
    pub(super) cubes: Vec<Cube>,
}

/// A filter set sorted by what the matcher and the kernel can do with its parts.
#[derive(Clone)]
pub(super) struct Terms {
    /// Nothing names what is allowed, so everything is.
    pub(super) everything: bool,
    pub(super) allow: Union,
    /// Whatever is outside of one of these is allowed.
    pub(super) allow_outside: Vec<Cube>,
    /// What meets all conditions of one of these is allowed.
    pub(super) joined: Vec<Vec<Condition>>,
    pub(super) block: Union,
}

impl Union {
    fn new(rules: &[Rule], conditions: Vec<Cube>) -> Self {
        let (mut standard, mut extended, mut cubes) = (Vec::new(), Vec::new(), Vec::new());
        let mut add_range = |is_extended, range: Range| {
            if is_extended { extended.push(range) } else { standard.push(range) }
        };
        let masks = rules.iter().filter_map(|rule| match rule.pattern {
            Pattern::Range { first, last } => {
                add_range(rule.extended, Range { first, last });
                None
            }
            Pattern::Mask { id, mask } => Some(Cube::identifiers(rule.extended, id, mask)),
        });
        let masks: Vec<_> = masks.chain(conditions).collect();
        for cube in masks {
            match cube.as_range() {
                Some((is_extended, range)) => add_range(is_extended, range),
                None => cubes.push(cube),
            }
        }
        cubes.sort_unstable();
        cubes.dedup();
        Self { standard: Ranges::merged(standard), extended: Ranges::merged(extended), cubes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.standard.is_empty() && self.extended.is_empty() && self.cubes.is_empty()
    }

    /// The union as cubes.
    pub(super) fn to_cubes(&self) -> impl Iterator<Item = Cube> {
        let standard =
            self.standard.blocks(STANDARD_MAX).map(|(id, mask)| Cube::identifiers(false, id, mask));
        let extended = self.extended.blocks(EXTENDED_MAX).map(|(id, mask)| Cube::identifiers(true, id, mask));
        standard.chain(extended).chain(self.cubes.iter().copied())
    }
}

impl Terms {
    pub(super) fn new(pass: &[Rule], block: &[Rule], expressions: &[Expression]) -> Self {
        let (mut inside, mut outside, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        for expression in expressions {
            if expression.join && expression.conditions.len() > 1 {
                joined.push(expression.conditions.clone());
                continue;
            }
            for condition in &expression.conditions {
                let side = if condition.inverted { &mut outside } else { &mut inside };
                side.push(Cube::of_condition(condition));
            }
        }
        outside.sort_unstable();
        outside.dedup();
        let allow = Union::new(pass, inside);
        let everything = allow.is_empty() && outside.is_empty() && joined.is_empty();
        Self { everything, allow, allow_outside: outside, joined, block: Union::new(block, Vec::new()) }
    }
}

#[derive(Clone)]
pub(super) struct Matcher {
    everything: bool,
    /// Final verdicts on standard identifiers: data frames, then remote frames.
    standard: [[u64; 32]; 2],
    allow: Pages,
    block: Pages,
    lanes: Lanes,
}

impl Matcher {
    pub(super) fn new(terms: &Terms) -> Result<Self, FilterError> {
        let lanes = |allowing: &[Cube], blocking: &[Cube]| {
            let Terms { allow_outside: allowing_outside, joined, .. } = terms;
            Lanes::new(&Roster { allowing, allowing_outside, blocking, joined })
        };
        let standard = standard_verdicts(terms, &lanes(&terms.allow.cubes, &terms.block.cubes)?);
        let extended_only = |cubes: &[Cube]| -> Vec<_> {
            cubes.iter().copied().filter(|cube| cube.reaches_extended()).collect()
        };
        Ok(Self {
            everything: terms.everything,
            standard,
            allow: Pages::new(&terms.allow.extended),
            block: Pages::new(&terms.block.extended),
            lanes: lanes(&extended_only(&terms.allow.cubes), &extended_only(&terms.block.cubes))?,
        })
    }

    /// Whether a data, remote or FD frame with this id word passes; bits without meaning must be zero.
    #[inline]
    pub(super) fn passes(&self, id_word: u32) -> bool {
        if id_word & EXTENDED_FLAG == 0 {
            let id = (id_word & STANDARD_MAX) as usize;
            let verdicts = &self.standard[usize::from(id_word & REMOTE_FLAG != 0)];
            return verdicts[id / 64] >> (id % 64) & 1 != 0;
        }
        let id = id_word & EXTENDED_MAX;
        let masks = self.lanes.verdict(id_word);
        (self.everything || masks.allowed || self.allow.contains(id))
            && !masks.blocked
            && !self.block.contains(id)
    }
}

fn standard_verdicts(terms: &Terms, lanes: &Lanes) -> [[u64; 32]; 2] {
    [0, REMOTE_FLAG].map(|class| {
        let mut verdicts = [0; 32];
        for id in 0..=STANDARD_MAX {
            let masks = lanes.verdict(id | class);
            let allowed = terms.everything || masks.allowed || terms.allow.standard.contains(id);
            let passes = allowed && !masks.blocked && !terms.block.standard.contains(id);
            verdicts[id as usize / 64] |= u64::from(passes) << (id % 64);
        }
        verdicts
    })
}
