//! What goes over TCP, byte for byte: the greeting and version 4's frames, as pure encoders and borrowed views.
//!
//! Knows frames; knows no socket, no clock and no session.

pub mod greeting;
pub mod sequence;
pub mod v4;
