//! What bridges say of a loop, and the end of it.

use std::time::{Duration, Instant};

use crate::program::{Finished, PATIENCE};

/// What the end says that finds one.
pub const FOUND: &str = "comes back to it by another way: a loop. Its frames are kept off ";

/// What the other end says.
pub const TOLD: &str = "comes back to us by another way: a loop. Nothing crosses between ";

/// How many lines of all of these programs hold this.
pub fn lines_with(finished: &[Finished], text: &str) -> usize {
    finished.iter().flat_map(|program| &program.errors).filter(|line| line.contains(text)).count()
}

/// Waits until the count of frames has not changed for so long, which is what is tested.
pub fn wait_for_silence(silence: Duration, count: impl Fn() -> u64) {
    let patience = Instant::now() + PATIENCE;
    let mut last = (count(), Instant::now());
    while last.1.elapsed() < silence {
        assert!(Instant::now() < patience, "there is no end to it: {} frames", last.0);
        std::thread::sleep(Duration::from_millis(20));
        let now = count();
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
}
