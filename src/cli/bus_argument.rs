//! The option that says which kind of bus is meant.

use clap::ValueEnum;

use crate::bus::BusKind;

/// `--can-interface`, under python-can's name for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum CanInterface {
    /// A SocketCAN network interface (can0, vcan0)
    Socketcan,
    /// A bus in user space, shared by name on this host; NAME@500000 paces it as a wire of that bit rate
    Software,
}

impl From<CanInterface> for BusKind {
    fn from(interface: CanInterface) -> Self {
        match interface {
            CanInterface::Socketcan => Self::SocketCan,
            CanInterface::Software => Self::Software,
        }
    }
}
