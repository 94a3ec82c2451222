//! Which frames pass.

mod kernel;

pub use kernel::*;
