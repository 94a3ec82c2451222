//! Values of options, as people type them: what they are, or what would be right.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A host as people type it: an IPv6 address may stand in brackets.
pub fn parse_host(text: &str) -> Result<String, String> {
    let bare = without_brackets(text);
    if bare.is_empty() { Err("give a name or an address".to_owned()) } else { Ok(bare.to_owned()) }
}

fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text)
}

/// An address of this host, an IPv6 one with or without brackets.
pub fn parse_address(text: &str) -> Result<IpAddr, String> {
    let advice = |_| "give an IPv4 or IPv6 address of this host, for example 127.0.0.1 or ::1".to_owned();
    without_brackets(text).parse().map_err(advice)
}

pub fn parse_listening_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "give a number from 0 to 65535".to_owned())
}

pub fn parse_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|&port| port > 0);
    port.ok_or_else(|| "give a number from 1 to 65535".to_owned())
}

pub fn parse_bit_rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|&rate| rate > 0);
    rate.ok_or_else(|| "give bits per second, for example 500000".to_owned())
}

pub fn parse_bytes(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "give a number of bytes, for example 8388608".to_owned())
}

/// Seconds between signs of life. The kernel counts milliseconds for some of what is done with it, and takes whole
/// seconds up to 32,767 for the rest (MAX_TCP_KEEPIDLE in its include/net/tcp.h).
pub fn parse_heartbeat(text: &str) -> Result<Duration, String> {
    parse_seconds(text, 0.001..=32_767.0)
        .ok_or_else(|| "give seconds, 0.001 to 32767, for example 2 or 0.5, or 0 for never".to_owned())
}

/// Seconds between summary lines: ten lines a second at most, a line a day at least.
pub fn parse_stats_interval(text: &str) -> Result<Duration, String> {
    parse_seconds(text, 0.1..=86_400.0)
        .ok_or_else(|| "give seconds, 0.1 to 86400, for example 10 or 0.5, or 0 for none".to_owned())
}

/// A time in seconds within limits, with a fraction if need be, or zero.
fn parse_seconds(text: &str, limits: RangeInclusive<f64>) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (seconds == 0.0 || limits.contains(&seconds)).then(|| Duration::from_secs_f64(seconds.abs()))
}

/// A time in whole milliseconds; a day at most.
pub fn parse_milliseconds(text: &str) -> Result<u32, String> {
    const LONGEST: u32 = 86_400_000;
    let milliseconds = text.parse().ok().filter(|&milliseconds| milliseconds <= LONGEST);
    milliseconds
        .ok_or_else(|| "give milliseconds, 1 to 86400000, for example 250, or 0 for no limit".to_owned())
}

/// A time in whole microseconds; a second at most.
pub fn parse_microseconds(text: &str) -> Result<u32, String> {
    let microseconds = text.parse().ok().filter(|&microseconds| microseconds <= 1_000_000);
    microseconds
        .ok_or_else(|| "give microseconds, 1 to 1000000, for example 500, or 0 for no wait".to_owned())
}

/// More frames than this do not fit into a send buffer.
pub fn parse_batch_frames(text: &str) -> Result<usize, String> {
    let frames = text.parse().ok().filter(|frames| (1..=10_000).contains(frames));
    frames.ok_or_else(|| "give a number of frames, 1 to 10000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_with_fractions() {
        assert_eq!(parse_heartbeat("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_heartbeat("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_stats_interval("10"), Ok(Duration::from_secs(10)));
        for wrong in ["-1", "NaN", "inf", "two", "", "1e9"] {
            assert!(parse_heartbeat(wrong).is_err(), "{wrong}");
            assert!(parse_stats_interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_have_limits() {
        for zero in ["0", "0.0", "-0"] {
            assert_eq!(parse_heartbeat(zero), Ok(Duration::ZERO));
            assert_eq!(parse_stats_interval(zero), Ok(Duration::ZERO));
        }
        assert_eq!(parse_heartbeat("0.001"), Ok(Duration::from_millis(1)));
        assert_eq!(parse_heartbeat("32767"), Ok(Duration::from_secs(32_767)));
        for wrong in ["0.0009", "1e-9", "32767.5", "32768"] {
            assert!(parse_heartbeat(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_stats_interval("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_stats_interval("86400"), Ok(Duration::from_secs(86_400)));
        for wrong in ["0.09", "1e-9", "86401"] {
            assert!(parse_stats_interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_may_stand_in_brackets() {
        assert_eq!(parse_host("[::1]"), Ok("::1".to_owned()));
        assert_eq!(parse_host("pi.local"), Ok("pi.local".to_owned()));
        assert!(parse_host("").is_err());
    }

    #[test]
    fn milliseconds_are_whole_and_have_a_limit() {
        assert_eq!(parse_milliseconds("0"), Ok(0));
        assert_eq!(parse_milliseconds("86400000"), Ok(86_400_000));
        for wrong in ["-1", "0.5", "86400001", "long"] {
            assert!(parse_milliseconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wait_for_more_frames_is_short() {
        assert_eq!(parse_microseconds("1000000"), Ok(1_000_000));
        assert_eq!(parse_batch_frames("1"), Ok(1));
        for wrong in ["-1", "1000001", "1.5", ""] {
            assert!(parse_microseconds(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0", "10001", "-1", ""] {
            assert!(parse_batch_frames(wrong).is_err(), "{wrong}");
        }
    }
}
