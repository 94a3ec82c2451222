//! What a CAN frame is: identifiers and kernel images. Knows no wire, no socket and no clock.

pub mod filter;
mod identifier;
mod image;

pub use identifier::*;
pub use image::*;
