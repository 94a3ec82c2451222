//! Filters in the form a raw CAN socket takes (`CAN_RAW_FILTER`).

use crate::frame::ERROR_FLAG;

/// Rules that the kernel takes for one socket (`CAN_RAW_FILTER_MAX` of `linux/can/raw.h`).
pub const KERNEL_RULES_MAX: usize = 512;

/// Set in the id of a rule to invert it (`CAN_INV_FILTER`).
pub const INVERT_FLAG: u32 = ERROR_FLAG;

/// One kernel filter rule: a frame matches if `id_word & mask == id & mask`.
///
/// With [`INVERT_FLAG`] set in `id` the kernel inverts the match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelRule {
    /// Identifier and flags to compare with.
    pub id: u32,
    /// Which bits are compared.
    pub mask: u32,
}

/// The filter list of a raw socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelFilter {
    /// At most [`KERNEL_RULES_MAX`] rules. None at all: no frame but error frames.
    pub rules: Vec<KernelRule>,
    /// All rules must match (`CAN_RAW_JOIN_FILTERS`) instead of any.
    ///
    /// With this and more than one rule the kernel delivers no error frame, whatever `CAN_RAW_ERR_FILTER` says: it
    /// waits for as many matches as there are rules, and an error frame has one (seen on 6.1 and 6.12).
    pub join: bool,
}

impl KernelFilter {
    /// Every frame.
    pub fn everything() -> Self {
        Self { rules: vec![KernelRule { id: 0, mask: 0 }], join: false }
    }
}
