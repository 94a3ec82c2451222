//! Which frames pass: rules as users write them, and what the kernel and a table make of them.
//!
//! Texts become rules ([`parse_tool_list`], [`parse_candump`]), rules become a [`FilterSet`], and
//! [`FilterSet::compile`] makes of it a [`Filter`]: rules for the kernel's socket, and a matcher for what the kernel
//! cannot decide. Knows no file and no socket: the caller reads the texts and installs the kernel's part.

mod candump;
mod cube;
mod error;
mod kernel;
mod lanes;
mod matcher;
mod pages;
mod plan;
#[cfg(test)]
mod properties;
mod ranges;
mod rule;
mod set;
mod tool;

pub use candump::parse_candump;
pub use error::{FilterError, FilterFault};
pub use kernel::*;
pub use rule::{Condition, Expression, Rule};
pub use set::{Filter, FilterSet};
pub use tool::parse_tool_list;
