//! Figures as people read them: three digits of a time, thousands apart, a loss that is not none is never `0 %`.

use std::borrow::Cow;

/// A time: `640 ns`, `12.3 µs`, `1.24 ms`, `2.05 s`.
pub fn time(nanoseconds: u64) -> String {
    time_of(nanoseconds as f64)
}

/// The same for a mean or a difference.
pub fn time_of(nanoseconds: f64) -> String {
    if nanoseconds == 0.0 {
        return "0 µs".to_owned();
    }
    // What would be rounded up to a thousand belongs to the next unit.
    let units = [(1.0, "ns"), (1e3, "µs"), (1e6, "ms")];
    let unit = units.into_iter().find(|(size, _)| nanoseconds.abs() < 999.5 * size);
    let (size, name) = unit.unwrap_or((1e9, "s"));
    if name == "ns" {
        return format!("{nanoseconds:.0} ns");
    }
    format!("{} {name}", digits(nanoseconds / size))
}

/// Three digits: `1.24`, `12.4`, `124`; above a thousand all of them.
pub fn digits(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude < 9.995 {
        format!("{value:.2}")
    } else if magnitude < 99.95 {
        format!("{value:.1}")
    } else if magnitude < 1e15 {
        let whole = grouped(magnitude.round() as u64);
        if value < 0.0 { format!("-{whole}") } else { whole }
    } else {
        format!("{value:.2e}")
    }
}

/// `59,530`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: `3,968`, `12.4`, whole above a hundred.
pub fn rate(per_second: f64) -> String {
    if per_second == 0.0 { "0".to_owned() } else { digits(per_second) }
}

/// A count or a rate: whole where it is.
pub fn rate_or_count(value: f64) -> String {
    if value.fract() == 0.0 { number(value) } else { digits(value) }
}

/// A part of a whole in percent: `0 %`, `0.0012 %`, `12.3 %`. Anything that is not none shows; nothing that is not all
/// shows as all.
pub fn share(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    let percent = 100.0 * part as f64 / whole as f64;
    if part >= whole {
        format!("{} %", number(percent))
    } else if percent < 0.01 {
        let decimals = (1.0 - percent.log10().floor()).min(12.0) as usize;
        format!("{percent:.decimals$} %")
    } else if percent > 99.95 {
        "> 99.9 %".to_owned()
    } else {
        format!("{} %", digits(percent))
    }
}

/// A number that somebody chose: without decimals that it does not have.
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        let whole = grouped(value.abs() as u64);
        return if value < 0.0 { format!("-{whole}") } else { whole };
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A stretch of time: `15 s`, `1.5 s`, `2 min 30 s`, `8 h 5 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{} s", number(seconds));
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    match (hours, minutes, seconds) {
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{} h", grouped(hours)),
        (hours, minutes, _) => format!("{} h {minutes} min", grouped(hours)),
    }
}

/// Memory: `8.4 MiB`.
pub fn bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    let units = [(1024.0, "KiB"), (1024.0 * 1024.0, "MiB")];
    let unit = units.into_iter().find(|(size, _)| bytes < 999.5 * size);
    let (size, name) = unit.unwrap_or((1024.0 * 1024.0 * 1024.0, "GiB"));
    format!("{} {name}", digits(bytes / size))
}

/// A difference relative to what was before: `+12.3 %`, `-4.1 %`, `same`; `new` where there was nothing before.
pub fn difference(before: f64, after: f64) -> String {
    if before == after {
        return "same".to_owned();
    }
    if before == 0.0 {
        return "new".to_owned();
    }
    let percent = 100.0 * (after - before) / before;
    if percent.abs() >= 999.5 {
        let times = digits(after / before);
        return format!("× {times}");
    }
    let decimals = if percent.abs() < 99.95 { 1 } else { 0 };
    format!("{percent:+.decimals$} %")
}

/// Text of other people on a terminal: without line ends and what else steers one.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (nanoseconds, text) in [
            (0, "0 µs"),
            (640, "640 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (12_349, "12.3 µs"),
            (99_960, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (1_240_000, "1.24 ms"),
            (60_000_000_000, "60.0 s"),
            (3_600_000_000_000, "3,600 s"),
        ] {
            assert_eq!(time(nanoseconds), text, "{nanoseconds}");
        }
        assert_eq!(time_of(-1_240_000.0), "-1.24 ms");
    }

    #[test]
    fn shares_never_hide_what_there_is() {
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 100, "0 %"),
            (1, 100, "1.00 %"),
            (1, 3, "33.3 %"),
            (1, 60_000, "0.0017 %"),
            (1, 1_000_000_000, "0.00000010 %"),
            (999_999, 1_000_000, "> 99.9 %"),
            (7, 7, "100 %"),
        ] {
            assert_eq!(share(part, whole), text, "{part} of {whole}");
        }
    }

    #[test]
    fn other_figures() {
        assert_eq!(
            [0, 999, 1_000, 59_530, 1_234_567].map(grouped),
            ["0", "999", "1,000", "59,530", "1,234,567"]
        );
        assert_eq!([0.0, 9.994, 3_968.25].map(rate), ["0", "9.99", "3,968"]);
        assert_eq!([80.0, 33.3, 0.125, -2.0, 1_500.0].map(number), ["80", "33.3", "0.125", "-2", "1,500"]);
        assert_eq!(
            [15.0, 1.5, 119.0, 150.0, 3_600.0, 29_100.0].map(duration),
            ["15 s", "1.5 s", "119 s", "2 min 30 s", "1 h", "8 h 5 min"]
        );
        assert_eq!([8_800_000, 512, 5_000_000_000].map(bytes), ["8.39 MiB", "0.50 KiB", "4.66 GiB"]);
        assert_eq!(difference(100.0, 112.34), "+12.3 %");
        assert_eq!(difference(100.0, 95.9), "-4.1 %");
        assert_eq!(difference(0.0, 3.0), "new");
        assert_eq!(difference(3.0, 3.0), "same");
        assert_eq!(difference(1.0, 25.0), "× 25.0");
    }

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(one_line("vcan0\x1b[2J\r\nno"), "vcan0\u{fffd}[2J\u{fffd}\u{fffd}no");
    }
}
