//! Virtual CAN interfaces, made in the network namespace of this thread.

use std::io;

use super::interface::{self, InterfaceState};
use super::route::{self, Change};

/// The loopback interface is the first of every namespace.
const LOOPBACK_INDEX: u32 = 1;

/// Makes a vcan interface for classic and FD frames and brings it up.
///
/// # Errors
/// `EPERM` without the right to, `EOPNOTSUPP` where the kernel has no vcan, `EEXIST` if there is one of this name.
pub fn create(name: &str) -> io::Result<()> {
    route::create("vcan", name)?;
    match interface::state(name)? {
        InterfaceState::Down { index } => route::change(index, Change::Up(true)),
        InterfaceState::Up { .. } => Ok(()),
        InterfaceState::Missing | InterfaceState::NotCan => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Brings the loopback interface up, without which TCP reaches nobody in a new namespace.
///
/// # Errors
/// `EPERM` without the right to.
pub fn bring_up_loopback() -> io::Result<()> {
    route::change(LOOPBACK_INDEX, Change::Up(true))
}
