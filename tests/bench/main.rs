//! `canip_peer bench` as a user runs it, on buses in user space: on a bridge of its own, on one that is faulty on purpose, and on
//! what is no path at all. A debug build measures nothing that counts, which its verdict says; what it found is in the report.

#[expect(dead_code, reason = "the rest is for bridges")]
#[path = "../common/can.rs"]
mod can;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod faulty;
mod link;
mod own_bridge;
mod pointless;
#[path = "../common/port.rs"]
mod port;
#[path = "../common/program.rs"]
mod program;
mod real;
mod report;
