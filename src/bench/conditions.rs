//! Conditions under which a test has failed: `loss>0,p99>2ms`.

use std::fmt;

use crate::report::document::{Direction, Latency, Trial};
use crate::report::units;

/// Failed if this holds for any direction of any trial.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Condition {
    quantity: Quantity,
    comparison: Comparison,
    limit: Limit,
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Quantity {
    Loss,
    Duplicated,
    Reordered,
    Corrupted,
    Foreign,
    Min,
    Mean,
    P50,
    P90,
    P99,
    P99_9,
    P99_99,
    Max,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Limit {
    Frames(f64),
    /// Of the frames sent.
    Percent(f64),
    Nanoseconds(f64),
}

const NAMES: [(&str, Quantity); 14] = [
    ("loss", Quantity::Loss),
    ("lost", Quantity::Loss),
    ("duplicated", Quantity::Duplicated),
    ("reordered", Quantity::Reordered),
    ("corrupted", Quantity::Corrupted),
    ("foreign", Quantity::Foreign),
    ("min", Quantity::Min),
    ("mean", Quantity::Mean),
    ("p50", Quantity::P50),
    ("p90", Quantity::P90),
    ("p99", Quantity::P99),
    ("p99.9", Quantity::P99_9),
    ("p99.99", Quantity::P99_99),
    ("max", Quantity::Max),
];

/// The longer ones first, so that `>=` is not read as `>`.
const COMPARISONS: [(&str, Comparison); 4] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

const TIME_UNITS: [(&str, f64); 5] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];

impl Condition {
    /// Reads one condition: a quantity, a comparison and a limit with its unit.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            let (name, limit) = text.split_once(sign)?;
            Some((name.trim(), *comparison, limit.trim()))
        });
        let (name, comparison, limit) = found.ok_or_else(|| {
            format!("{text:?} compares nothing: give for example loss>0, loss>0.1% or p99>2ms")
        })?;
        let quantity = NAMES.iter().find(|(known, _)| *known == name).map(|(_, quantity)| *quantity);
        let quantity = quantity.ok_or_else(|| {
            let names = NAMES.map(|(name, _)| name);
            format!("there is no quantity {name:?}: there are {}", names.join(", "))
        })?;
        let limit = parse_limit(quantity, limit)?;
        Ok(Self { quantity, comparison, limit })
    }

    /// Reads several, with commas between them.
    ///
    /// # Errors
    /// As [`Condition::parse`].
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        text.split(',').map(Self::parse).collect()
    }

    /// Whether it is about lost frames.
    pub fn is_on_loss(&self) -> bool {
        self.quantity == Quantity::Loss
    }

    /// Where it holds: one sentence each.
    pub fn violations(&self, trials: &[&Trial]) -> Vec<String> {
        let pairs = trials.iter().flat_map(|trial| trial.directions.iter().map(move |one| (*trial, one)));
        pairs.filter_map(|(trial, direction)| self.violation(trial, direction)).collect()
    }

    fn violation(&self, trial: &Trial, direction: &Direction) -> Option<String> {
        let value = self.value(direction)?;
        let (Limit::Frames(limit) | Limit::Percent(limit) | Limit::Nanoseconds(limit)) = self.limit;
        let holds = match self.comparison {
            Comparison::Above => value > limit,
            Comparison::AtLeast => value >= limit,
            Comparison::Below => value < limit,
            Comparison::AtMost => value <= limit,
        };
        let place = format!("{} to {}", direction.from, direction.to);
        let place = if trial.label.is_empty() { place } else { format!("{place}, {}", trial.label) };
        holds.then(|| format!("{self} holds: {} ({place})", self.shown(value)))
    }

    /// None where there is nothing to be compared.
    fn value(&self, direction: &Direction) -> Option<f64> {
        let latency = &direction.latency;
        let count = self.count(direction);
        match (count, self.limit) {
            (Some(count), Limit::Percent(_)) => {
                let sent = direction.counts.sent;
                (sent > 0).then(|| count as f64 * 100.0 / sent as f64)
            }
            (Some(count), _) => Some(count as f64),
            (None, _) => (latency.count > 0).then(|| self.time(latency)),
        }
    }

    fn count(&self, direction: &Direction) -> Option<u64> {
        let counts = &direction.counts;
        match self.quantity {
            Quantity::Loss => Some(counts.lost),
            Quantity::Duplicated => Some(counts.duplicated),
            Quantity::Reordered => Some(counts.reordered),
            Quantity::Corrupted => Some(counts.corrupted),
            Quantity::Foreign => Some(counts.foreign),
            _ => None,
        }
    }

    fn time(&self, latency: &Latency) -> f64 {
        match self.quantity {
            Quantity::Min => latency.min_ns as f64,
            Quantity::Mean => latency.mean_ns,
            Quantity::P50 => latency.p50_ns as f64,
            Quantity::P90 => latency.p90_ns as f64,
            Quantity::P99 => latency.p99_ns as f64,
            Quantity::P99_9 => latency.p99_9_ns as f64,
            Quantity::P99_99 => latency.p99_99_ns as f64,
            Quantity::Max => latency.max_ns as f64,
            Quantity::Loss
            | Quantity::Duplicated
            | Quantity::Reordered
            | Quantity::Corrupted
            | Quantity::Foreign => {
                unreachable!("a count is no time")
            }
        }
    }

    fn shown(&self, value: f64) -> String {
        match self.limit {
            Limit::Frames(_) => format!("{} frames", units::grouped(value as u64)),
            Limit::Percent(_) => format!("{value:.3} %"),
            Limit::Nanoseconds(_) => units::time(value as u64),
        }
    }
}

fn parse_limit(quantity: Quantity, text: &str) -> Result<Limit, String> {
    let digits = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: Option<f64> = number.parse().ok();
    let is_count = matches!(
        quantity,
        Quantity::Loss | Quantity::Duplicated | Quantity::Reordered | Quantity::Corrupted | Quantity::Foreign
    );
    let unit = unit.trim();
    let limit = match (is_count, number, unit) {
        (true, Some(number), "") => Some(Limit::Frames(number)),
        (true, Some(number), "%") => Some(Limit::Percent(number)),
        (false, Some(number), _) => {
            let size = TIME_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| size);
            size.map(|size| Limit::Nanoseconds(number * size))
        }
        _ => None,
    };
    limit.ok_or_else(|| match is_count {
        true => format!("{text:?} is no number of frames: give for example 0, 100 or 0.1%"),
        false => format!("{text:?} is no time: give a number with ns, us, ms or s, for example 2ms"),
    })
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, quantity)| *quantity == self.quantity).map_or("", |(name, _)| name);
        let sign =
            COMPARISONS.iter().find(|(_, known)| *known == self.comparison).map_or("", |(sign, _)| sign);
        write!(f, "{name}{sign}")?;
        match self.limit {
            Limit::Frames(number) => write!(f, "{number}"),
            Limit::Percent(number) => write!(f, "{number}%"),
            Limit::Nanoseconds(number) => write!(f, "{}", units::time(number as u64).replace(' ', "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_with_their_units() {
        let read = Condition::parse_all("loss>0, p99>=2ms,p99.9<250us,loss>0.1%").unwrap();
        let expected = [
            (Quantity::Loss, Comparison::Above, Limit::Frames(0.0)),
            (Quantity::P99, Comparison::AtLeast, Limit::Nanoseconds(2e6)),
            (Quantity::P99_9, Comparison::Below, Limit::Nanoseconds(250e3)),
            (Quantity::Loss, Comparison::Above, Limit::Percent(0.1)),
        ];
        let told: Vec<_> = read.iter().map(|one| (one.quantity, one.comparison, one.limit)).collect();
        assert_eq!(told, expected);
        let text: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["loss>0", "p99>=2.00ms", "p99.9<250µs", "loss>0.1%"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let told = |text| Condition::parse(text).unwrap_err();
        assert!(told("loss").contains("compares nothing"));
        assert!(told("p98>2ms").contains("no quantity \"p98\""));
        assert!(told("p99>2").contains("no time"));
        assert!(told("p99>2%").contains("no time"));
        assert!(told("loss>2ms").contains("no number of frames"));
        assert!(told("").contains("compares nothing"));
    }
}
