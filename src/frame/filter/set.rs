//! A whole filter: put together from what the user gave, and compiled.

use std::fmt;

use super::error::FilterError;
use super::kernel::KernelFilter;
use super::matcher::{Matcher, Terms};
use super::plan::plan;
use super::rule::{Expression, Pattern, Rule, meaningful_word};
use crate::frame::{EXTENDED_MAX, Image, Kind, STANDARD_MAX};

/// Everything the user said about what passes.
///
/// A data, remote or FD frame passes if it is allowed and not blocked. It is allowed if neither a pass rule nor an
/// expression with conditions exists, or any of them matches. Error frames pass by their class alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FilterSet {
    /// Identifiers that are allowed.
    pub pass: Vec<Rule>,
    /// Identifiers that are blocked, allowed or not.
    pub block: Vec<Rule>,
    /// What candump expressions allow.
    pub expressions: Vec<Expression>,
}

impl FilterSet {
    /// Makes the tables and the kernel's rules. Takes milliseconds for thousands of rules, and memory as the tables
    /// state: for each list of ranges of extended identifiers at most 64 KiB and 4 KiB a range, for masks 8 KiB per 64.
    ///
    /// # Errors
    /// [`FilterError::TooManyMasks`]: more masks and expressions than the tables hold.
    pub fn compile(&self) -> Result<Filter, FilterError> {
        let terms = Terms::new(&self.pass, &self.block, &self.expressions);
        let given = self.expressions.iter().filter_map(|expression| expression.error_mask);
        let error_mask = given.reduce(|union, mask| union | mask).unwrap_or(EXTENDED_MAX);
        let (kernel, kernel_is_exact) = plan(&terms, error_mask);
        Ok(Filter {
            passes_nothing: false,
            passes_every_identifier: terms.everything && terms.block.is_empty(),
            kernel,
            error_mask,
            kernel_is_exact,
            matcher: Matcher::new(&terms)?,
            pass_rules: self.pass.len(),
            block_rules: self.block.len(),
            expressions: self
                .expressions
                .iter()
                .filter(|expression| !expression.conditions.is_empty())
                .count(),
        })
    }
}

/// A compiled filter: what to install in the kernel, and the matcher for all or the rest of it.
///
/// Its tables can be large: sessions share one rather than each have a clone.
#[derive(Clone)]
pub struct Filter {
    /// For `CAN_RAW_FILTER`: lets through all that passes, and nothing else if [`Filter::kernel_is_exact`].
    pub kernel: KernelFilter,
    /// For `CAN_RAW_ERR_FILTER`: the error classes that pass.
    pub error_mask: u32,
    /// What comes through the kernel's filter need not be asked about.
    pub kernel_is_exact: bool,
    /// Nothing is asked of any frame but error frames, as is usual.
    passes_every_identifier: bool,
    /// Made by [`Filter::nothing`].
    passes_nothing: bool,
    matcher: Matcher,
    pass_rules: usize,
    block_rules: usize,
    expressions: usize,
}

impl Filter {
    /// Lets nothing through, error frames neither: the kernel is asked for nothing.
    ///
    /// # Errors
    /// None that two ranges can cause.
    pub fn nothing() -> Result<Self, FilterError> {
        let every = |extended, last| Rule { extended, pattern: Pattern::Range { first: 0, last } };
        let block = vec![every(false, STANDARD_MAX), every(true, EXTENDED_MAX)];
        let filter = FilterSet { block, ..FilterSet::default() }.compile()?;
        let kernel = KernelFilter { rules: Vec::new(), join: false };
        Ok(Self { kernel, kernel_is_exact: true, error_mask: 0, passes_nothing: true, ..filter })
    }

    /// Whether nothing can pass, so that nothing is missed either.
    pub fn passes_nothing(&self) -> bool {
        self.passes_nothing
    }

    /// Whether a frame passes. The time does not depend on how many identifiers or ranges the filter names.
    #[inline]
    pub fn passes(&self, image: Image<'_>) -> bool {
        if image.kind() == Kind::Error {
            return image.id_word() & EXTENDED_MAX & self.error_mask != 0;
        }
        self.passes_every_identifier || self.matcher.passes(meaningful_word(image))
    }
}

/// One line for a log: `pass 12 rules, block 3; 15 kernel rules, exact`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passes_nothing {
            return f.write_str("pass nothing");
        }
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        if self.pass_rules > 0 || self.expressions == 0 {
            match self.pass_rules {
                0 => write!(f, "pass everything")?,
                count => write!(f, "pass {count} rule{}", plural(count))?,
            }
        }
        if self.expressions > 0 {
            let separator = if self.pass_rules > 0 { ", or " } else { "pass " };
            write!(f, "{separator}{} expression{}", self.expressions, plural(self.expressions))?;
        }
        if self.block_rules > 0 {
            write!(f, ", block {}", self.block_rules)?;
        }
        if self.error_mask != EXTENDED_MAX {
            write!(f, ", error classes {:X}", self.error_mask)?;
        }
        // Whoever has everything blocked that is to pass waits for frames in vain.
        if self.kernel.rules.is_empty() && self.kernel_is_exact {
            f.write_str(if self.error_mask == 0 {
                ": nothing passes"
            } else {
                ": nothing passes but error frames"
            })?;
        }
        let count = self.kernel.rules.len();
        let joined = if self.kernel.join { " joined" } else { "" };
        let exact = if self.kernel_is_exact { "exact" } else { "the rest by table" };
        write!(f, "; {count} kernel rule{}{joined}, {exact}", plural(count))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("kernel", &self.kernel)
            .field("error_mask", &self.error_mask)
            .field("kernel_is_exact", &self.kernel_is_exact)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::filter::{KernelRule, parse_candump, parse_tool_list};
    use crate::frame::{Frame, Identifier};

    fn set(pass: &str, block: &str, expressions: &[&str]) -> FilterSet {
        FilterSet {
            pass: parse_tool_list(pass, "pass").unwrap(),
            block: parse_tool_list(block, "block").unwrap(),
            expressions: expressions.iter().map(|text| parse_candump(text).unwrap()).collect(),
        }
    }

    fn compiled(pass: &str, block: &str, expressions: &[&str]) -> Filter {
        set(pass, block, expressions).compile().unwrap()
    }

    fn rules(pairs: &[(u32, u32)]) -> Vec<KernelRule> {
        pairs.iter().map(|&(id, mask)| KernelRule { id, mask }).collect()
    }

    #[test]
    fn no_rules_let_everything_through() {
        let filter = compiled("", "", &[]);
        assert_eq!(filter.kernel.rules, rules(&[(0, 0)]));
        assert_eq!(filter.error_mask, 0x1FFF_FFFF);
        assert!(filter.kernel_is_exact);
        assert_eq!(filter.to_string(), "pass everything; 1 kernel rule, exact");
    }

    #[test]
    fn nothing_is_nothing() {
        let filter = Filter::nothing().unwrap();
        assert_eq!((filter.kernel.rules.len(), filter.error_mask), (0, 0));
        assert!(filter.passes_nothing() && filter.kernel_is_exact);
        assert_eq!(filter.to_string(), "pass nothing");
        let data = |identifier: Identifier| Frame::data(identifier, &[]).unwrap();
        for frame in [
            data(Identifier::standard(0).unwrap()),
            data(Identifier::standard(0x7FF).unwrap()),
            data(Identifier::extended(0).unwrap()),
            data(Identifier::extended(0x1FFF_FFFF).unwrap()),
            Frame::remote(Identifier::standard(0x123).unwrap(), 8).unwrap(),
            Frame::error(0x1FFF_FFFF, [0; 8]),
        ] {
            assert!(!filter.passes(frame.image()), "{frame:?}");
        }
        assert!(!compiled("", "", &[]).passes_nothing());
    }

    #[test]
    fn rules_that_leave_nothing_say_so() {
        let text = |errors: &[&str]| compiled("0x123 0x456", "0x100-0x7FF", errors).to_string();
        assert_eq!(
            text(&[]),
            "pass 2 rules, block 1: nothing passes but error frames; 0 kernel rules, exact"
        );
        assert_eq!(
            text(&["#0"]),
            "pass 2 rules, block 1, error classes 0: nothing passes; 0 kernel rules, exact"
        );
    }

    #[test]
    fn ranges_become_masks_of_their_kind() {
        let filter = compiled("0x100-0x1FF 0x7FFx", "", &[]);
        assert_eq!(filter.kernel.rules, rules(&[(0x100, 0x8000_0700), (0x8000_07FF, 0x9FFF_FFFF)]));
        assert!(filter.kernel_is_exact);
    }

    #[test]
    fn a_block_list_joins_only_without_error_frames() {
        let joined = compiled("", "0x123 0x200-0x2FF", &["#0"]);
        assert_eq!(joined.kernel.rules, rules(&[(0x2000_0123, 0x8000_07FF), (0x2000_0200, 0x8000_0700)]));
        assert!(joined.kernel.join && joined.kernel_is_exact);
        let with_errors = compiled("", "0x123 0x200-0x2FF", &[]);
        assert!(!with_errors.kernel.join && with_errors.kernel_is_exact);
        assert_eq!(with_errors.to_string(), "pass everything, block 2; 12 kernel rules, exact");
        let single = compiled("", "0x123", &[]);
        assert_eq!(single.kernel.rules, rules(&[(0x2000_0123, 0x8000_07FF)]));
    }

    #[test]
    fn one_joined_expression_is_the_kernels() {
        let filter = compiled("", "", &["100:700,123~7FF,j,#0"]);
        assert_eq!(filter.kernel.rules, rules(&[(0x100, 0x700), (0x2000_0123, 0x7FF)]));
        assert!(filter.kernel.join && filter.kernel_is_exact);
        assert_eq!(filter.to_string(), "pass 1 expression, error classes 0; 2 kernel rules joined, exact");
        let with_errors = compiled("", "", &["100:700,123~7FF,j"]);
        assert!(!with_errors.kernel.join && with_errors.kernel_is_exact);
        assert_eq!(with_errors.kernel.rules.len(), 8);
    }

    #[test]
    fn what_is_too_much_for_the_kernel_is_widened() {
        let pass: String = (0..1000).map(|n| format!("0x{:X}x ", n * 0x1234)).collect();
        let filter = compiled(&pass, "", &[]);
        assert!(!filter.kernel_is_exact);
        assert!(filter.kernel.rules.len() <= 512);
        assert_ne!(filter.kernel.rules, rules(&[(0, 0)]));
        assert!(filter.to_string().starts_with("pass 1000 rules; "));
        assert!(filter.to_string().ends_with(", the rest by table"));
    }

    #[test]
    fn error_frames_pass_by_class() {
        let error = |class| Frame::error(class, [0; 8]);
        let all = compiled("0x1", "", &[]);
        assert!(all.passes(error(0x80).image()));
        let some = compiled("", "", &["#4", "#8,123:7FF"]);
        assert_eq!(some.error_mask, 0xC);
        assert!(some.passes(error(0x84).image()));
        assert!(!some.passes(error(0x80).image()));
        let data = Frame::data(Identifier::standard(0x124).unwrap(), &[]).unwrap();
        assert!(!some.passes(data.image()));
    }

    #[test]
    fn too_many_scattered_masks_are_an_error() {
        let pass: String = (0..5000).map(|n| format!("0x{n:X}/0x1000FFFFx ")).collect();
        let error = set(&pass, "", &[]).compile().unwrap_err();
        assert_eq!(error, FilterError::TooManyMasks { lanes: 79, limit: 64 });
    }
}
