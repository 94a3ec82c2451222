//! What of a filter the kernel does.
//!
//! The kernel takes 512 rules, of which any or all must match. What fits is given to it exactly; of anything else it
//! gets a superset, so that fewer frames come up for the matcher to turn away.

use super::cube::Cube;
use super::kernel::{KERNEL_RULES_MAX, KernelFilter, KernelRule};
use super::matcher::{Terms, Union};
use crate::frame::{EXTENDED_MAX, STANDARD_MAX};

/// Cubes that a rewriting may have on its way: four times what the kernel takes, as later steps can also remove some.
const WORKING_CUBES_MAX: usize = 4 * KERNEL_RULES_MAX;

/// The kernel's filter, and whether it is exact for frames other than error frames.
pub(super) fn plan(terms: &Terms, error_mask: u32) -> (KernelFilter, bool) {
    let exact = as_written(terms).or_else(|| joined(terms, error_mask)).or_else(|| rewritten(terms));
    match exact {
        Some(filter) => (filter, true),
        None => (superset(terms), false),
    }
}

/// No blocks and no joins: any of the rules.
fn as_written(terms: &Terms) -> Option<KernelFilter> {
    if !terms.block.is_empty() || !terms.joined.is_empty() {
        return None;
    }
    if terms.everything {
        return Some(KernelFilter::everything());
    }
    let inside = terms.allow.to_cubes().map(Cube::kernel_rule);
    let outside = terms.allow_outside.iter().map(|cube| cube.inverted_kernel_rule());
    any_of(inside.chain(outside))
}

/// Only blocks, or only one joined expression: all of the rules. With two rules or more this keeps error frames away
/// (see [`KernelFilter::join`]), so it serves only where none are wanted.
fn joined(terms: &Terms, error_mask: u32) -> Option<KernelFilter> {
    let nothing_else = terms.allow.is_empty() && terms.allow_outside.is_empty();
    let filter = match &terms.joined[..] {
        [] if terms.everything => any_of(terms.block.to_cubes().map(Cube::inverted_kernel_rule))?,
        [conditions] if nothing_else && terms.block.is_empty() => {
            any_of(conditions.iter().map(|condition| {
                let cube = Cube::of_condition(condition);
                if condition.inverted { cube.inverted_kernel_rule() } else { cube.kernel_rule() }
            }))?
        }
        _ => return None,
    };
    let join = filter.rules.len() > 1;
    (!join || error_mask == 0).then_some(KernelFilter { join, ..filter })
}

/// Everything as a union of cubes: what is allowed, less what is blocked.
fn rewritten(terms: &Terms) -> Option<KernelFilter> {
    let mut allowed: Vec<Cube> = if terms.everything { vec![Cube::EVERYTHING] } else { Vec::new() };
    for cube in terms.allow.to_cubes() {
        allowed.push(cube);
        within_limit(&allowed)?;
    }
    for cube in &terms.allow_outside {
        Cube::EVERYTHING.without(*cube, &mut allowed);
        within_limit(&allowed)?;
    }
    for conditions in &terms.joined {
        let mut met = vec![Cube::EVERYTHING];
        for condition in conditions {
            let cube = Cube::of_condition(condition);
            met = if condition.inverted {
                difference(&met, cube)?
            } else {
                met.iter().filter_map(|part| part.and(cube)).collect()
            };
        }
        allowed.extend(met);
        within_limit(&allowed)?;
    }
    for cube in terms.block.to_cubes() {
        allowed = difference(&allowed, cube)?;
    }
    allowed.sort_unstable();
    allowed.dedup();
    any_of(allowed.into_iter().map(Cube::kernel_rule))
}

fn difference(cubes: &[Cube], removed: Cube) -> Option<Vec<Cube>> {
    let mut pieces = Vec::with_capacity(cubes.len());
    for cube in cubes {
        cube.without(removed, &mut pieces);
        within_limit(&pieces)?;
    }
    Some(pieces)
}

fn within_limit(cubes: &[Cube]) -> Option<()> {
    (cubes.len() <= WORKING_CUBES_MAX).then_some(())
}

/// What is allowed, blocked or not, with one condition of each joined expression, and ranges made coarser until they
/// fit. Everything, if the masks alone are too many.
fn superset(terms: &Terms) -> KernelFilter {
    if terms.everything {
        return KernelFilter::everything();
    }
    for bits in 0..=EXTENDED_MAX.count_ones() {
        let coarse = Union {
            standard: terms.allow.standard.widened(bits.min(STANDARD_MAX.count_ones()), STANDARD_MAX),
            extended: terms.allow.extended.widened(bits, EXTENDED_MAX),
            cubes: terms.allow.cubes.clone(),
        };
        let inside = coarse.to_cubes().map(Cube::kernel_rule);
        let outside = terms.allow_outside.iter().map(|cube| cube.inverted_kernel_rule());
        let one_each = terms.joined.iter().filter_map(|conditions| conditions.first()).map(|condition| {
            let cube = Cube::of_condition(condition);
            if condition.inverted { cube.inverted_kernel_rule() } else { cube.kernel_rule() }
        });
        if let Some(filter) = any_of(inside.chain(outside).chain(one_each)) {
            return filter;
        }
    }
    KernelFilter::everything()
}

fn any_of(rules: impl Iterator<Item = KernelRule>) -> Option<KernelFilter> {
    let rules: Vec<_> = rules.take(KERNEL_RULES_MAX + 1).collect();
    (rules.len() <= KERNEL_RULES_MAX).then_some(KernelFilter { rules, join: false })
}
