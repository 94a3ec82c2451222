//! What a CAN frame is: identifiers and kernel images. Knows no wire, no socket and no clock.

pub mod bit_time;
pub mod filter;
mod identifier;
mod image;
pub mod notation;

pub use identifier::*;
pub use image::*;
