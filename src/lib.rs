//! canip_peer: a bridge between CAN buses over TCP/IP.
pub mod bus;
pub mod cli;
pub mod frame;
pub mod record;
