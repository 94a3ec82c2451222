//! What single steps of the data path cost, each over and over on warm memory: the least that they can cost, not what
//! they cost between system calls. `cargo bench` runs all of them, `cargo bench -- filter` those with that in their name.
//!
//! Each step is taken for [`FRAMES`] different frames, and the table's throughput is frames (or values) a second.

mod filter;
mod frames;
mod histograms;
mod v4;
mod v5;

/// Frames of one turn: their images fit the first-level cache, and a branch predictor does not learn them by heart.
const FRAMES: usize = 1_024;

fn main() {
    divan::main();
}
