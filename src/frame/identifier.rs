//! CAN identifiers: 11 bits (standard) or 29 bits (extended), ISO 11898-1.

/// The largest 11-bit identifier.
pub const STANDARD_MAX: u32 = 0x7FF;
/// The largest 29-bit identifier.
pub const EXTENDED_MAX: u32 = 0x1FFF_FFFF;

/// A CAN identifier whose range has been checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Identifier {
    /// 11 bits: 0 to 0x7FF.
    Standard(StandardId),
    /// 29 bits: 0 to 0x1FFF_FFFF.
    Extended(ExtendedId),
}

/// An 11-bit identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StandardId(u16);

/// A 29-bit identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ExtendedId(u32);

impl StandardId {
    /// `None` above 0x7FF.
    pub const fn new(raw: u32) -> Option<Self> {
        if raw <= STANDARD_MAX { Some(Self(raw as u16)) } else { None }
    }

    /// The identifier's number, 0 to 0x7FF.
    pub const fn raw(self) -> u32 {
        self.0 as u32
    }
}

impl ExtendedId {
    /// `None` above 0x1FFF_FFFF.
    pub const fn new(raw: u32) -> Option<Self> {
        if raw <= EXTENDED_MAX { Some(Self(raw)) } else { None }
    }

    /// The identifier's number, 0 to 0x1FFF_FFFF.
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl Identifier {
    /// A standard identifier, `None` above 0x7FF.
    pub const fn standard(raw: u32) -> Option<Self> {
        match StandardId::new(raw) {
            Some(id) => Some(Self::Standard(id)),
            None => None,
        }
    }

    /// An extended identifier, `None` above 0x1FFF_FFFF.
    pub const fn extended(raw: u32) -> Option<Self> {
        match ExtendedId::new(raw) {
            Some(id) => Some(Self::Extended(id)),
            None => None,
        }
    }

    /// The identifier's number without its kind.
    pub const fn raw(self) -> u32 {
        match self {
            Self::Standard(id) => id.raw(),
            Self::Extended(id) => id.raw(),
        }
    }

    /// Whether the identifier has 29 bits.
    pub const fn is_extended(self) -> bool {
        matches!(self, Self::Extended(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        assert_eq!(Identifier::standard(0x7FF).map(Identifier::raw), Some(0x7FF));
        assert_eq!(Identifier::standard(0x800), None);
        assert_eq!(Identifier::extended(0x1FFF_FFFF).map(Identifier::raw), Some(0x1FFF_FFFF));
        assert_eq!(Identifier::extended(0x2000_0000), None);
    }
}
