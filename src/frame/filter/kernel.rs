//! Filters in the form a raw CAN socket takes (`CAN_RAW_FILTER`).

/// One kernel filter rule: a frame matches if `id_word & mask == id & mask`.
///
/// With [`crate::frame::ERROR_FLAG`] set in `id` the kernel inverts the match (`CAN_INV_FILTER`).
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
    /// At most 512 rules (the kernel's `CAN_RAW_FILTER_MAX`).
    pub rules: Vec<KernelRule>,
    /// All rules must match (`CAN_RAW_JOIN_FILTERS`) instead of any.
    pub join: bool,
}
