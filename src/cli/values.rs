//! Values of options, as people type them: what they are, or what would be right.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::bridge::links::MAX_CLIENTS;

/// A host as people type it: an IPv6 address may stand in brackets.
pub fn parse_host(text: &str) -> Result<String, String> {
    let bare = without_brackets(text);
    if bare.is_empty() { Err("give a name or an address".to_owned()) } else { Ok(bare.to_owned()) }
}

/// A host whose port is another option's.
pub fn parse_host_alone(text: &str) -> Result<String, String> {
    match parse_host_and_port(text) {
        Ok((host, Some(port))) => {
            Err(format!("the port is an option of its own: --host {host} --port {port}"))
        }
        _ => parse_host(text),
    }
}

/// A host, with a port or without one. An IPv6 address with a port stands in brackets.
pub fn parse_host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let is_bare_ipv6 = text.matches(':').count() > 1 && !text.starts_with('[');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !is_bare_ipv6 && !text.ends_with(']') => (host, Some(parse_port(port)?)),
        _ => (text, None),
    };
    Ok((parse_host(host)?, port))
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

/// What Linux has of real-time priorities.
pub fn parse_priority(text: &str) -> Result<u8, String> {
    let priority = text.parse().ok().filter(|priority| (1..=99).contains(priority));
    priority.ok_or_else(|| "give a real-time priority, 1 to 99".to_owned())
}

/// Clients of a server.
pub fn parse_clients(text: &str) -> Result<usize, String> {
    let clients = text.parse().ok().filter(|clients| (1..=MAX_CLIENTS).contains(clients));
    clients.ok_or_else(|| format!("give a number of clients, 1 to {MAX_CLIENTS}"))
}

/// Frames of a load: some, as none are no load.
pub fn parse_frames(text: &str) -> Result<u64, String> {
    let frames = text.parse().ok().filter(|&frames| frames > 0);
    frames.ok_or_else(|| "give a number of frames, 1 or more".to_owned())
}

/// A time without a frame after which to end.
pub fn parse_quiet_ms(text: &str) -> Result<u64, String> {
    let milliseconds = text.parse().ok().filter(|&milliseconds| milliseconds > 0);
    milliseconds.ok_or_else(|| "give milliseconds, 1 or more".to_owned())
}

/// Frames a second; what of them can be sent the load says.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "give frames a second, for example 1000".to_owned())
}

/// Rounds of a comparison: in fewer, no difference can be told from chance.
pub fn parse_rounds(text: &str) -> Result<u32, String> {
    let rounds = text.parse().ok().filter(|rounds| (9..=1_000).contains(rounds));
    rounds.ok_or_else(|| "give a number of rounds, 9 to 1000".to_owned())
}

/// What random contents begin with.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("give a whole number, 0 to {}", u64::MAX))
}

/// A length of time with its unit, `500ms`, `10s`, `1h 30m`; a month at most.
pub fn parse_length_of_time(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(31 * 86_400);
    let length = humantime::parse_duration(text).ok().filter(|length| *length <= LONGEST);
    length.or_else(|| (text == "0").then_some(Duration::ZERO)).ok_or_else(|| {
        "give a number with its unit, ms, s, m, h or d, for example 500ms, 10s or 8h".to_owned()
    })
}

/// A share in percent; the sign may be left out.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent = number.parse().ok().filter(|percent: &f64| percent.is_finite() && *percent > 0.0);
    percent.ok_or_else(|| "give a percentage above 0, for example 80%".to_owned())
}

/// Frames a second that may be put on a bus: none are what --read-only is for, and no bus carries more than the most.
pub fn parse_rate_bound(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| (1..=1_000_000).contains(rate));
    rate.ok_or_else(|| {
        "give frames a second, 1 to 1000000, for example 1000; --read-only is for none".to_owned()
    })
}

/// A part of a bus's time, in millionths: what is less than a thousandth is hardly a frame a second.
pub fn parse_load_bound(text: &str) -> Result<u32, String> {
    let percent = parse_percent(text).ok().filter(|percent| (0.1..=100.0).contains(percent));
    percent
        .map(|percent| (percent * 10_000.0).round() as u32)
        .ok_or_else(|| "give 0.1 to 100 percent, for example 30; --read-only is for none".to_owned())
}

/// How near a search comes: nearer than a thousandth no trial tells apart, and beyond a half there is nothing to search for.
pub fn parse_tolerance(text: &str) -> Result<f64, String> {
    let percent = parse_percent(text).ok().filter(|percent| (0.1..=50.0).contains(percent));
    percent.ok_or_else(|| "give 0.1 to 50 percent, for example 1%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_from_an_address() {
        let read = |text| parse_host_and_port(text).unwrap();
        for (text, host, port) in [
            ("pi.local", "pi.local", None),
            ("pi.local:4000", "pi.local", Some(4000)),
            ("192.0.2.1:4000", "192.0.2.1", Some(4000)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:4000", "2001:db8::1", Some(4000)),
        ] {
            assert_eq!(read(text), (host.to_owned(), port), "{text}");
        }
        for wrong in ["", ":4000", "pi:0", "pi:", "pi:port", "pi:65536", "[]"] {
            assert!(parse_host_and_port(wrong).is_err(), "{wrong}");
        }
    }

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
    fn a_port_behind_a_host_is_told_where_it_belongs() {
        for host in ["pi.local", "2001:db8::1", "[::1]"] {
            assert_eq!(parse_host_alone(host), parse_host(host));
        }
        for (text, options) in
            [("127.0.0.1:3333", "--host 127.0.0.1 --port 3333"), ("[::1]:3333", "--host ::1 --port 3333")]
        {
            assert_eq!(parse_host_alone(text), Err(format!("the port is an option of its own: {options}")));
        }
        assert!(parse_host_alone("").is_err());
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
    fn lengths_of_time_have_units() {
        assert_eq!(parse_length_of_time("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_length_of_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_length_of_time("0"), Ok(Duration::ZERO));
        for wrong in ["10", "-1s", "long", "", "32d"] {
            assert!(parse_length_of_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_above_nothing() {
        assert_eq!([parse_percent("80%"), parse_percent("0.5")], [Ok(80.0), Ok(0.5)]);
        for wrong in ["0", "-5%", "NaN", "inf", "half", ""] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tolerance_has_limits() {
        assert_eq!([parse_tolerance("0.1%"), parse_tolerance("50")], [Ok(0.1), Ok(50.0)]);
        for wrong in ["0", "0.09", "50.1%", "-1", "little", ""] {
            assert!(parse_tolerance(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_have_limits() {
        assert_eq!([parse_rate_bound("1"), parse_rate_bound("1000000")], [Ok(1), Ok(1_000_000)]);
        for wrong in ["0", "-1", "1000001", "0.5", "fast", ""] {
            assert!(parse_rate_bound(wrong).is_err(), "{wrong}");
        }
        let loads = ["0.1", "30%", "33.3", "100"].map(parse_load_bound);
        assert_eq!(loads, [Ok(1_000), Ok(300_000), Ok(333_000), Ok(1_000_000)]);
        for wrong in ["0", "0.09", "100.1", "-5", "NaN", "half", ""] {
            assert!(parse_load_bound(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn some_frames_are_not_none() {
        assert_eq!(parse_frames("1"), Ok(1));
        for wrong in ["0", "-1", "1.5", "many", ""] {
            assert!(parse_frames(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_load_test_is_told_has_limits() {
        assert_eq!([parse_rounds("9"), parse_rounds("1000")], [Ok(9), Ok(1_000)]);
        for wrong in ["8", "1001", "-1", "ten", ""] {
            assert!(parse_rounds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_seed("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_quiet_ms("1"), Ok(1));
        for wrong in ["-1", "0.5", "x", ""] {
            assert!(parse_seed(wrong).is_err() && parse_quiet_ms(wrong).is_err(), "{wrong}");
        }
        assert!(parse_quiet_ms("0").is_err() && parse_rate("fast").is_err());
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

    #[test]
    fn real_time_priorities_are_linuxs() {
        assert_eq!(parse_priority("1"), Ok(1));
        assert_eq!(parse_priority("99"), Ok(99));
        for wrong in ["0", "100", "257", "-1", ""] {
            assert!(parse_priority(wrong).is_err(), "{wrong}");
        }
    }
}
