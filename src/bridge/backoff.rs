//! How long a client waits before it tries to connect again.

use std::time::Duration;

/// The first wait, and the shortest.
pub const SHORTEST: Duration = Duration::from_millis(100);
/// The longest wait for a server that does not listen, which may be restarted at any moment: the connection is back within
/// a second of it, and an attempt is a packet each way.
pub const LONGEST_UNREACHABLE: Duration = Duration::from_millis(500);
/// The longest wait for a server that listens and turns us away: an attempt costs it a connection.
pub const LONGEST_TURNED_AWAY: Duration = Duration::from_secs(5);

/// Doubling waits with jitter, so that a fleet does not come back in step.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: SHORTEST }
    }
}

impl Backoff {
    /// The next wait: between half the ceiling and all of it, never below [`SHORTEST`]; the ceiling doubles up to
    /// `longest`. `chance` is a random number from 0 to 1.
    pub fn next(&mut self, longest: Duration, chance: f64) -> Duration {
        let half = self.ceiling.min(longest) / 2;
        let wait = half + half.mul_f64(chance.clamp(0.0, 1.0));
        self.ceiling = (self.ceiling * 2).min(longest);
        wait.max(SHORTEST)
    }

    /// Starts over after a connection that worked.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_100_ms_to_5_s() {
        let mut backoff = Backoff::default();
        let milliseconds: Vec<u128> =
            (0..8).map(|_| backoff.next(LONGEST_TURNED_AWAY, 1.0).as_millis()).collect();
        assert_eq!(milliseconds, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        backoff.reset();
        assert_eq!(backoff.next(LONGEST_TURNED_AWAY, 1.0).as_millis(), 100);
    }

    #[test]
    fn jitter_takes_away_half_at_most() {
        let mut backoff = Backoff::default();
        let milliseconds: Vec<u128> =
            (0..8).map(|_| backoff.next(LONGEST_TURNED_AWAY, 0.0).as_millis()).collect();
        assert_eq!(milliseconds, [100, 100, 200, 400, 800, 1_600, 2_500, 2_500]);
    }

    #[test]
    fn a_server_that_is_not_there_is_tried_twice_a_second() {
        let mut backoff = Backoff::default();
        let milliseconds: Vec<u128> =
            (0..5).map(|_| backoff.next(LONGEST_UNREACHABLE, 1.0).as_millis()).collect();
        assert_eq!(milliseconds, [100, 200, 400, 500, 500]);
        // Also when it has turned us away for long before.
        assert_eq!((0..8).map(|_| backoff.next(LONGEST_TURNED_AWAY, 1.0)).max(), Some(LONGEST_TURNED_AWAY));
        assert_eq!(backoff.next(LONGEST_UNREACHABLE, 1.0).as_millis(), 500);
    }
}
