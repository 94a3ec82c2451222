//! Faults under load, on real CAN where there is some: what may happen to interfaces, queues, networks and processes, and
//! what a bridge promises of it (docs/promises.md). Every test ends with the account of every frame, and prints a line
//!
//! ```text
//! promise: fault=NAME trials=N worst_recovery_ms=X unaccounted=0 ... too_old=0 worst_age_ms=X
//! ```
//!
//! CANIP_FAULT_TRIALS says how often each fault happens; a few times make a test of it, many an experiment.

#[path = "../common/books.rs"]
mod books;

#[path = "../common/can.rs"]
#[expect(dead_code, reason = "the loads here are of another kind")]
mod can;

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/noise.rs"]
mod common_noise;

#[path = "../common/program.rs"]
#[expect(dead_code, reason = "no test here reads standard output")]
mod program;

#[path = "../common/raw_peer.rs"]
#[expect(dead_code, reason = "noise answers nothing")]
mod raw_peer;

mod bus_off;
mod interface;
mod network;
mod noise;
mod process;
mod queues;
#[path = "../loopback/relay.rs"]
#[expect(dead_code, reason = "no server moves to another port here")]
mod relay;
mod scene;
mod soak;
mod traffic;

/// Prints, whether the test passes or not: the harness keeps to itself what tests print that pass.
fn say(text: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
}
