//! What can be wrong with a filter: one line that names the place, the token, the fault and the remedy.

use thiserror::Error;

const TOOL_FORMS: &str =
    "write 0x123, 0x100-0x1FF or 0x700/0x7F0, with an x at the end for 29-bit identifiers (0x18DAF110x)";
const CANDUMP_FORMS: &str =
    "write ID:MASK, ID~MASK, #ERRORMASK or j, numbers in hexadecimal (123:7FF,400~7F0,j)";

/// A filter that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum FilterError {
    /// A token of a pass or block list does not parse.
    #[error("{source_name}, line {line}: {token:?} {fault}; {TOOL_FORMS}")]
    Tool {
        /// What the caller named the text, usually a path.
        source_name: String,
        /// Counted from 1.
        line: usize,
        /// The token as written.
        token: String,
        /// What is wrong with it.
        fault: FilterFault,
    },
    /// An item of a candump expression does not parse.
    #[error("filter {expression:?}: {token:?} {fault}; {CANDUMP_FORMS}")]
    Candump {
        /// The whole expression.
        expression: String,
        /// The item as written.
        token: String,
        /// What is wrong with it.
        fault: FilterFault,
    },
    /// More masks than the matcher's tables hold. Ranges and single identifiers do not count.
    #[error(
        "the filters have too many masks and expressions: they need {lanes} groups of 64, {limit} are possible; \
         write ranges (0x100-0x1FF) instead of masks, and put several ID:MASK into one expression"
    )]
    TooManyMasks {
        /// Groups of 64 conditions that the filters need.
        lanes: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// What is wrong with one token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FilterFault {
    /// The token has none of the forms.
    #[error("is no filter rule")]
    Form,
    /// Digits without `0x` could mean either base.
    #[error("does not say its base: identifiers begin with 0x")]
    NoPrefix,
    /// Above 0x7FF without the suffix `x`.
    #[error("has a number above 0x7FF, but no x at the end")]
    AboveStandard,
    /// Above 0x1FFFFFFF.
    #[error("has a number above 0x1FFFFFFF")]
    AboveExtended,
    /// The first of a range is above its last.
    #[error("is a range that ends before it begins")]
    Reversed,
    /// More than eight hexadecimal digits.
    #[error("has a number of more than eight digits")]
    TooLong,
    /// Bit 29 of a candump identifier, which would silently invert the rule.
    #[error("sets bit 20000000 in the identifier (error frames are chosen by #ERRORMASK, ~ inverts)")]
    ErrorFlag,
}
