//! Many masks compared at once: what ranges cannot express, 64 conditions a machine word.
//!
//! For each of the four bytes of an id word a table says which conditions that byte fits; the conditions that the word
//! meets are the intersection of four entries. So a look-up costs four loads a lane of 64 conditions, however the masks
//! are scattered, and n lanes take 8n KiB.

use super::cube::Cube;
use super::error::FilterError;
use super::rule::Condition;

/// Lanes that a filter may have: 4,096 conditions, tables of 512 KiB, 0.1 µs a frame. Eight times what the kernel
/// takes; longer lists are lists of identifiers, which need no lane.
const LANES_MAX: usize = 64;

#[derive(Clone, Default)]
pub(super) struct Lanes {
    roles: Vec<Roles>,
    /// `entries[byte position][byte value][lane]`, flattened.
    entries: Vec<u64>,
}

/// What the 64 conditions of a lane are for.
#[derive(Clone, Copy, Default)]
struct Roles {
    inverted: u64,
    allowing: u64,
    blocking: u64,
    joined: u64,
    /// The joined conditions of this lane are the last of their expression.
    ends_join: bool,
}

/// What the conditions say about a word.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    pub(super) blocked: bool,
}

/// Conditions by what they are for.
pub(super) struct Roster<'a> {
    pub(super) allowing: &'a [Cube],
    /// Whatever is outside of one of these is allowed.
    pub(super) allowing_outside: &'a [Cube],
    pub(super) blocking: &'a [Cube],
    /// Each of these is allowed if all of its conditions are met.
    pub(super) joined: &'a [Vec<Condition>],
}

impl Lanes {
    pub(super) fn new(roster: &Roster<'_>) -> Result<Self, FilterError> {
        let lanes_of = |conditions: usize| conditions.div_ceil(64);
        let needed = lanes_of(roster.allowing.len())
            + lanes_of(roster.allowing_outside.len())
            + lanes_of(roster.blocking.len())
            + roster.joined.iter().map(|expression| lanes_of(expression.len())).sum::<usize>();
        if needed > LANES_MAX {
            return Err(FilterError::TooManyMasks { lanes: needed, limit: LANES_MAX });
        }
        let mut lanes = Self { roles: Vec::with_capacity(needed), entries: vec![0; 4 * 256 * needed] };
        for cubes in roster.allowing.chunks(64) {
            lanes.add(cubes, |used| Roles { allowing: used, ..Roles::default() });
        }
        for cubes in roster.allowing_outside.chunks(64) {
            lanes.add(cubes, |used| Roles { allowing: used, inverted: used, ..Roles::default() });
        }
        for cubes in roster.blocking.chunks(64) {
            lanes.add(cubes, |used| Roles { blocking: used, ..Roles::default() });
        }
        for expression in roster.joined {
            lanes.add_joined(expression);
        }
        Ok(lanes)
    }

    fn add_joined(&mut self, expression: &[Condition]) {
        let lanes = expression.len().div_ceil(64);
        for (number, conditions) in expression.chunks(64).enumerate() {
            let cubes: Vec<_> = conditions.iter().map(Cube::of_condition).collect();
            let bits =
                conditions.iter().enumerate().map(|(bit, condition)| u64::from(condition.inverted) << bit);
            let inverted = bits.fold(0, |bits, bit| bits | bit);
            let ends_join = number + 1 == lanes;
            self.add(&cubes, |used| Roles { joined: used, inverted, ends_join, ..Roles::default() });
        }
    }

    fn add(&mut self, cubes: &[Cube], roles: impl Fn(u64) -> Roles) {
        let lane = self.roles.len();
        let lanes = self.entries.len() / (4 * 256);
        for (bit, cube) in cubes.iter().enumerate() {
            let bytes = cube.value.to_le_bytes().into_iter().zip(cube.mask.to_le_bytes());
            for (position, (value, mask)) in bytes.enumerate() {
                for byte in (0..=255u8).filter(|byte| byte & mask == value) {
                    self.entries[(position * 256 + usize::from(byte)) * lanes + lane] |= 1 << bit;
                }
            }
        }
        self.roles.push(roles(u64::MAX >> (64 - cubes.len())));
    }

    /// What the conditions say about a data, remote or FD frame with this id word.
    #[inline]
    pub(super) fn verdict(&self, id_word: u32) -> Verdict {
        let mut verdict = Verdict::default();
        let lanes = self.roles.len();
        let row = |position: usize| {
            let byte = usize::from(id_word.to_le_bytes()[position]);
            &self.entries[(position * 256 + byte) * lanes..][..lanes]
        };
        let rows = [row(0), row(1), row(2), row(3)];
        let mut all_met = true;
        for (lane, roles) in self.roles.iter().enumerate() {
            let met = (rows[0][lane] & rows[1][lane] & rows[2][lane] & rows[3][lane]) ^ roles.inverted;
            verdict.allowed |= met & roles.allowing != 0;
            verdict.blocked |= met & roles.blocking != 0;
            all_met &= met & roles.joined == roles.joined;
            if roles.ends_join {
                verdict.allowed |= all_met;
                all_met = true;
            }
        }
        verdict
    }
}
