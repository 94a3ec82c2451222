//! canip_peer: a bridge between CAN buses over TCP/IP.
pub mod buffer;
pub mod bus;
pub mod cli;
pub mod engine;
pub mod frame;
pub mod moment;
pub mod session;
pub mod wire;
