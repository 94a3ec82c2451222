//! What the kernel is asked about the interface of a bus. It is apart from the bus, because the answer may wait for others:
//! about controllers the kernel answers under the lock that every program takes which configures an interface.

use std::io;

use super::platform::Platform;
use crate::bus::controller::Controller;
use crate::bus::interface::InterfaceState;

/// What must be known to ask.
#[derive(Clone, Debug)]
pub struct Question {
    name: String,
    /// The index of the interface that the open sockets belong to.
    bound_index: Option<u32>,
}

/// What the kernel has said.
#[derive(Debug)]
pub struct Findings {
    /// How the interface of this name is.
    pub state: io::Result<InterfaceState>,
    /// What its controller says of itself. Of one that is not up, or cannot be asked, nothing is known.
    pub controller: Controller,
    /// The index of the interface that the sockets belonged to when this was asked, if it has another name now.
    pub renamed: Option<u32>,
}

impl Question {
    /// How the interface `name` is, and what became of that with the index `bound_index`.
    pub fn new(name: &str, bound_index: Option<u32>) -> Self {
        Self { name: name.to_owned(), bound_index }
    }

    /// Asks, and waits for the answer.
    pub fn ask(&self, platform: &impl Platform) -> Findings {
        let state = platform.interface(&self.name);
        let (mut controller, mut renamed) = (Controller::default(), None);
        match state {
            // It may be gone since.
            Ok(InterfaceState::Up { index, .. }) => {
                controller = platform.controller(index).unwrap_or_default();
            }
            Ok(InterfaceState::Missing | InterfaceState::NotCan) => {
                renamed = self.bound_index.filter(|&index| platform.exists(index));
            }
            Ok(InterfaceState::Down { .. }) | Err(_) => {}
        }
        Findings { state, controller, renamed }
    }
}
