//! What goes over TCP, byte for byte: the greeting, version 4's frames and version 5's records, as pure encoders and borrowed views.
//!
//! Knows frames; knows no socket, no clock and no session.

pub mod echo;
pub mod greeting;
pub mod sequence;
pub mod v4;
pub mod v5;
