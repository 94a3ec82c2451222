//! Axes: where a value stands on them, and which values are written there.

use crate::report::units;

/// From which ratio of the largest value to the smallest an axis of times is logarithmic: on a linear one the smaller ones
/// would lie on the ground.
const LOGARITHMIC_FROM: f64 = 8.0;

/// The least time on a logarithmic axis: no path of frames is faster, and zero has no place on it.
const LEAST_NS: f64 = 100.0;

/// Values from one end to the other.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What is on it, in words.
    pub title: String,
    /// The value at the left or lower end.
    from: f64,
    /// The value at the right or upper end.
    to: f64,
    is_logarithmic: bool,
    /// Values that are written, with their text, in order.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Where a value stands, 0 to 1; what is beyond an end stands there.
    pub fn place(&self, value: f64) -> f64 {
        let place = if self.is_logarithmic {
            (value.max(LEAST_NS) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }

    /// Times in nanoseconds, from zero or, where they differ by much, logarithmic.
    pub fn of_times(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut greatest) = (f64::INFINITY, LEAST_NS);
        for value in values {
            least = least.min(value.max(LEAST_NS));
            greatest = greatest.max(value);
        }
        if greatest / least < LOGARITHMIC_FROM || least > greatest {
            let mut axis = Self::from_zero(title, greatest, |_| String::new());
            for (value, text) in &mut axis.ticks {
                *text = tick_time(*value);
            }
            return axis;
        }
        let (from, to) = (round_down(least), round_up(greatest));
        let mut ticks = Vec::new();
        let decades = (to / from).log10();
        let steps: &[f64] = if decades > 3.2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let mut decade = 10f64.powf(from.log10().floor());
        while decade <= to {
            for step in steps {
                let value = step * decade;
                if value >= from * 0.999 && value <= to * 1.001 {
                    ticks.push((value, tick_time(value)));
                }
            }
            decade *= 10.0;
        }
        Self { title: format!("{title} (logarithmic)"), from, to, is_logarithmic: true, ticks }
    }

    /// Parts of all values, by how many nines they have: 0 %, 90 %, 99 %, and so on as far as `count` values go. A place is
    /// the logarithm of how rare what is above it is.
    pub fn of_tail(count: u64) -> Self {
        let to = (count.max(10) as f64).log10();
        let mut ticks = vec![(0.0, "0 %".to_owned())];
        for nines in 1..=to.floor() as usize {
            let text = match nines {
                1 => "90 %".to_owned(),
                2 => "99 %".to_owned(),
                more => format!("99.{} %", "9".repeat(more - 2)),
            };
            ticks.push((nines as f64, text));
        }
        let title = "part of all frames that took no longer".to_owned();
        Self { title, from: 0.0, to, is_logarithmic: false, ticks }
    }

    /// Seconds.
    pub fn of_seconds(title: &str, from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let steps = [60.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0, 86_400.0];
        let step = if to - from < 240.0 {
            nice_step(to - from)
        } else {
            let coarse = steps.into_iter().find(|step| (to - from) / step <= 7.0);
            coarse.unwrap_or_else(|| 86_400.0 * nice_step((to - from) / 86_400.0).max(1.0))
        };
        let ticks = ticks(from, to, step).map(|value| (value, units::duration(value))).collect();
        Self { title: title.to_owned(), from, to, is_logarithmic: false, ticks }
    }

    /// From zero to a round value at or above `greatest`.
    pub fn from_zero(title: &str, greatest: f64, text: impl Fn(f64) -> String) -> Self {
        let greatest = if greatest > 0.0 { greatest } else { 1.0 };
        let step = nice_step(greatest);
        let to = (greatest / step - 1e-9).ceil() * step;
        let ticks = ticks(0.0, to, step).map(|value| (value, text(value))).collect();
        Self { title: title.to_owned(), from: 0.0, to, is_logarithmic: false, ticks }
    }
}

/// Some four to eight steps.
fn nice_step(range: f64) -> f64 {
    let rough = range / 7.0;
    let decade = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * decade >= rough * 0.999);
    step.unwrap_or(10.0) * decade
}

fn ticks(from: f64, to: f64, step: f64) -> impl Iterator<Item = f64> {
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(move |index| index as f64 * step)
}

/// The next of 1, 2, 5, 10 at or below.
fn round_down(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let step = [5.0, 2.0, 1.0].into_iter().find(|step| step * decade <= value * 1.001);
    step.unwrap_or(1.0) * decade
}

fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * decade >= value * 0.999);
    step.unwrap_or(10.0) * decade
}

/// `0`, `500 ns`, `20 µs`, `1.5 ms`.
fn tick_time(nanoseconds: f64) -> String {
    let (size, name) = match nanoseconds {
        0.0 => return "0".to_owned(),
        value if value < 999.5 => (1.0, "ns"),
        value if value < 999.5e3 => (1e3, "µs"),
        value if value < 999.5e6 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{} {name}", units::number(nanoseconds / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn the_tail_goes_as_far_as_there_are_values() {
        let axis = Axis::of_tail(60_000);
        assert_eq!(texts(&axis), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert_eq!(axis.place(0.0), 0.0);
        assert!((axis.place(4.0) - 0.837).abs() < 0.001, "{}", axis.place(4.0));
        assert_eq!(texts(&Axis::of_tail(0)), ["0 %", "90 %"]);
    }

    #[test]
    fn times_are_logarithmic_where_they_differ_by_much() {
        let near = Axis::of_times("latency", [120_000.0, 480_000.0].into_iter());
        assert_eq!(texts(&near), ["0", "100 µs", "200 µs", "300 µs", "400 µs", "500 µs"]);
        assert_eq!((near.place(0.0), near.place(250_000.0), near.place(9e9)), (0.0, 0.5, 1.0));
        let far = Axis::of_times("latency", [42_000.0, 1_800_000.0].into_iter());
        assert_eq!(texts(&far), ["20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms", "2 ms"]);
        assert_eq!((far.place(20_000.0), far.place(2_000_000.0), far.place(0.0)), (0.0, 1.0, 0.0));
        assert!((far.place(200_000.0) - 0.5).abs() < 1e-9);
        // Nothing at all, and everything zero.
        assert_eq!(texts(&Axis::of_times("latency", std::iter::empty())).len(), 6);
        assert_eq!(texts(&Axis::of_times("latency", [0.0].into_iter())).len(), 6);
    }

    #[test]
    fn other_axes() {
        assert_eq!(texts(&Axis::of_seconds("", 0.0, 15.0)), ["0 s", "5 s", "10 s", "15 s"]);
        assert_eq!(texts(&Axis::of_seconds("", 0.0, 8.0 * 3_600.0)).last(), Some(&"8 h"));
        assert_eq!(Axis::of_seconds("", 0.0, 1e12).ticks.len(), 6);
        let percent = Axis::from_zero("", 120.0, |value| format!("{} %", units::number(value)));
        assert_eq!(texts(&percent), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %", "120 %"]);
    }
}
