//! A network namespace of this process's own, with two virtual CAN interfaces that nobody else sees.

use std::io;

use nix::sched::{CloneFlags, unshare};

use crate::bus::virtual_interface;

/// The interfaces; their names are free in a namespace that was just made.
pub const INTERFACES: [&str; 2] = ["vcan0", "vcan1"];

/// Why there is no namespace with CAN.
#[derive(thiserror::Error, Debug)]
pub enum NamespaceError {
    /// The process may not have one.
    #[error("no network namespace of its own ({0})")]
    Forbidden(io::Error),
    /// It has one, without CAN.
    #[error("no virtual CAN in this kernel ({0})")]
    NoCan(io::Error),
}

/// Moves this thread, and all that it starts, into a namespace of its own, with TCP on the loopback interface and two
/// virtual buses. Root is given one; anybody else gets one together with a user namespace, which takes a process of one thread.
///
/// # Errors
/// The kernel or its settings do not allow it, or there is no vcan. The thread may be in a namespace without it then, which
/// has a loopback interface that is up.
pub fn enter() -> Result<(), NamespaceError> {
    let made = unshare(CloneFlags::CLONE_NEWNET)
        .or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET));
    made.map_err(|errno| NamespaceError::Forbidden(errno.into()))?;
    virtual_interface::bring_up_loopback().map_err(NamespaceError::Forbidden)?;
    INTERFACES.iter().try_for_each(|name| virtual_interface::create(name)).map_err(NamespaceError::NoCan)
}
