//! How a dead peer is found on a link whose protocol has no heartbeat of its own.

use std::time::Duration;

/// Heartbeat intervals of silence after which a peer counts as dead.
pub const DEAD_AFTER_INTERVALS: u32 = 3;

/// The longest interval that the kernel takes (`MAX_TCP_KEEPIDLE`).
const LONGEST_INTERVAL_S: u32 = 32_767;

/// TCP's own probing, set so that a dead peer is found within three heartbeat intervals, whether data is under way
/// (`TCP_USER_TIMEOUT`) or nothing is (keepalive: `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`).
///
/// A live peer's kernel answers the probes however silent its bus is. On version 4 that is all that can be had: the
/// protocol has no message that is not a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Seconds without traffic before the first probe, and between probes. The kernel knows whole seconds only, so
    /// intervals below one second are probed once a second.
    pub interval_s: u32,
    /// Probes without an answer before the connection ends.
    pub probes: u32,
    /// Milliseconds that sent data may stay unacknowledged.
    pub user_timeout_ms: u32,
}

impl Keepalive {
    /// The settings for a heartbeat interval; `None` for no heartbeat (zero).
    ///
    /// With a user time-out set, the kernel (6.1 to 6.18) looks at it whenever a probe is due, and at nothing else: so
    /// the probes' interval must divide the time-out, or the peer would be found dead by up to an interval later. A
    /// fraction of a second is cut off, and below one second a silent peer is found dead after two.
    pub fn for_heartbeat(interval: Duration) -> Option<Self> {
        if interval.is_zero() {
            return None;
        }
        let whole_seconds = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX).min(LONGEST_INTERVAL_S);
        let user_timeout = match whole_seconds {
            0 => interval * DEAD_AFTER_INTERVALS,
            seconds => Duration::from_secs(seconds.into()) * DEAD_AFTER_INTERVALS,
        };
        Some(Self {
            interval_s: whole_seconds.max(1),
            probes: DEAD_AFTER_INTERVALS - 1,
            user_timeout_ms: u32::try_from(user_timeout.as_millis()).unwrap_or(u32::MAX).max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_find_a_dead_peer_within_six() {
        let keepalive = Keepalive::for_heartbeat(Duration::from_secs(2)).unwrap();
        assert_eq!(keepalive, Keepalive { interval_s: 2, probes: 2, user_timeout_ms: 6_000 });
    }

    #[test]
    fn short_intervals_are_probed_once_a_second() {
        let keepalive = Keepalive::for_heartbeat(Duration::from_millis(300)).unwrap();
        assert_eq!(keepalive, Keepalive { interval_s: 1, probes: 2, user_timeout_ms: 900 });
    }

    #[test]
    fn fractions_are_cut_so_that_a_probe_meets_the_time_out() {
        let keepalive = Keepalive::for_heartbeat(Duration::from_millis(2_900)).unwrap();
        assert_eq!(keepalive, Keepalive { interval_s: 2, probes: 2, user_timeout_ms: 6_000 });
        let longest = Keepalive::for_heartbeat(Duration::from_secs(86_400)).unwrap();
        assert_eq!(longest, Keepalive { interval_s: 32_767, probes: 2, user_timeout_ms: 98_301_000 });
        assert_eq!(Keepalive::for_heartbeat(Duration::from_micros(1)).unwrap().user_timeout_ms, 1);
    }

    #[test]
    fn zero_turns_it_off() {
        assert_eq!(Keepalive::for_heartbeat(Duration::ZERO), None);
    }
}
