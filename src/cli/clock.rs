//! Receive times in front of a line, as candump prints them. Knows no frame.

use std::io::Write;

use clap::ValueEnum;

const SECOND_US: u64 = 1_000_000;
const DAY_SECONDS: u64 = 86_400;

/// How receive times are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TimeStyle {
    /// Seconds since the UNIX epoch
    #[value(name = "a")]
    Absolute,
    /// Seconds since the frame before
    #[value(name = "d")]
    Delta,
    /// Seconds since the first frame
    #[value(name = "z")]
    Zero,
    /// Date and time of day, UTC
    #[value(name = "A")]
    Date,
}

/// Writes times in one style; knows the time before, or the first.
pub(super) struct Clock {
    style: TimeStyle,
    reference_us: Option<u64>,
}

impl Clock {
    pub(super) fn new(style: TimeStyle) -> Self {
        Self { style, reference_us: None }
    }

    /// Appends one time, nanoseconds since the UNIX epoch. It is cut to microseconds first, so that differences are
    /// those of the times that candump would show.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, time_ns: u64) {
        let time_us = time_ns / 1_000;
        let reference_us = *self.reference_us.get_or_insert(time_us);
        let (seconds, micros) = (time_us / SECOND_US, time_us % SECOND_US);
        let written = match self.style {
            TimeStyle::Absolute => write!(out, " ({seconds:010}.{micros:06})"),
            TimeStyle::Date => {
                let (year, month, day) = civil_date(seconds / DAY_SECONDS);
                let of_day = seconds % DAY_SECONDS;
                let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
                write!(out, " ({year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06})")
            }
            TimeStyle::Delta | TimeStyle::Zero => {
                // A clock that was set back makes no negative time.
                let since_us = time_us.saturating_sub(reference_us);
                write!(out, " ({:03}.{:06})", since_us / SECOND_US, since_us % SECOND_US)
            }
        };
        written.expect("memory takes every write");
        if self.style == TimeStyle::Delta {
            self.reference_us = Some(time_us);
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years are taken to begin in March,
/// so that the leap day is a year's last, and months have 153 days in every five.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Day 0 is 0000-03-01, 719,468 days before the epoch; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(style: TimeStyle, times_ns: &[u64]) -> String {
        let mut clock = Clock::new(style);
        let mut out = Vec::new();
        times_ns.iter().for_each(|&time_ns| clock.write(&mut out, time_ns));
        String::from_utf8(out).unwrap()
    }

    // The styles as candump 2020.11 prints them.
    #[test]
    fn times_are_candumps() {
        let three = [1_795_504_052_980_479_123, 1_795_504_053_188_465_000, 1_795_504_053_224_828_999];
        assert_eq!(
            times(TimeStyle::Absolute, &three),
            " (1795504052.980479) (1795504053.188465) (1795504053.224828)"
        );
        assert_eq!(times(TimeStyle::Delta, &three), " (000.000000) (000.207986) (000.036363)");
        assert_eq!(times(TimeStyle::Zero, &three), " (000.000000) (000.207986) (000.244349)");
        assert_eq!(times(TimeStyle::Date, &three[..1]), " (2026-11-24 07:07:32.980479)");
    }

    #[test]
    fn dates_are_the_calendars() {
        // Days since the epoch as `date -d ... +%s` gives them, divided by 86,400.
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(11_016), (2000, 2, 29));
        assert_eq!(civil_date(11_017), (2000, 3, 1));
        assert_eq!(civil_date(19_722), (2023, 12, 31));
        assert_eq!(civil_date(19_723), (2024, 1, 1));
        assert_eq!(civil_date(47_541), (2100, 3, 1));
    }

    #[test]
    fn a_clock_set_back_makes_no_negative_time() {
        assert_eq!(times(TimeStyle::Delta, &[5_000_000_000, 4_000_000_000]), " (000.000000) (000.000000)");
    }
}
