//! Settings of the bridge against each other, taken in turns, and which differences are more than chance.

use super::super::error::BenchError;
use super::super::lab::Lab;
use super::super::watch::Ending;
use super::{Answer, found};
use crate::report::document::{Finding, Latency, Trial};
use crate::report::units::grouped;

/// The first is what the others are compared with.
const SETTINGS: [Setting; 5] = [
    ("as it is", &[]),
    ("--busy-poll", &["--busy-poll"]),
    ("--linger-us 200", &["--linger-us", "200"]),
    ("--linger-us 1000", &["--linger-us", "1000"]),
    ("--engine epoll", &["--engine", "epoll"]),
];

/// A difference of less than this is of no use to anybody, even if it is real: 3 %.
const SMALLEST: f64 = 0.03;

/// What is compared, and how it is read from a trial.
type Quantity = (&'static str, fn(&Trial) -> Option<f64>);
const QUANTITIES: [Quantity; 3] = [("p50", p50), ("p99", p99), ("CPU a frame", cpu)];

/// How likely one of all differences may seem real by chance.
const CHANCE: f64 = 0.05;

/// A setting: what it is called, and the options that make it.
type Setting = (&'static str, &'static [&'static str]);

/// Compares all settings with the first, in so many rounds.
pub fn tune(lab: &mut Lab<'_>, rounds: u32) -> Result<Answer, BenchError> {
    let settings = settings_beside(&lab.config().bridge_options);
    let (by_setting, ending) = run_rounds(lab, &settings, rounds as usize)?;
    let comparisons = (settings.len() - 1) * QUANTITIES.len();
    let mut findings = Vec::new();
    for (setting, trials) in settings.iter().zip(&by_setting).skip(1) {
        let valid =
            || by_setting[0].iter().zip(trials).filter(|(base, other)| is_result(base) && is_result(other));
        for (name, quantity) in QUANTITIES {
            let pairs: Vec<(f64, f64)> =
                valid().filter_map(|(base, other)| Some((quantity(base)?, quantity(other)?))).collect();
            findings.extend(difference(setting.0, name, &pairs, comparisons));
        }
    }
    let real = findings.iter().filter(|finding| finding.is_real == Some(true)).count();
    let text = match ending {
        Ending::Over => {
            format!("{real} of {} differences are more than chance, in {rounds} rounds", findings.len())
        }
        _ => format!("ended early; {real} of {} differences are more than chance so far", findings.len()),
    };
    let mut verdict = found(ending, text);
    for (setting, trials) in settings.iter().zip(&by_setting) {
        verdict.reasons.extend(drawbacks(setting.0, trials));
    }
    Ok(Answer { verdict, findings })
}

/// All settings but those that both sides are given anyway.
fn settings_beside(given: &[String]) -> Vec<Setting> {
    let is_given =
        |options: &[&str]| options.iter().any(|option| given.iter().any(|word| word.starts_with(option)));
    SETTINGS.into_iter().filter(|(_, options)| !is_given(options)).collect()
}

/// The trials of each setting, one a round.
fn run_rounds(
    lab: &mut Lab<'_>,
    settings: &[Setting],
    rounds: usize,
) -> Result<(Vec<Vec<Trial>>, Ending), BenchError> {
    let mut by_setting: Vec<Vec<Trial>> = vec![Vec::new(); settings.len()];
    let mut order: Vec<usize> = (0..settings.len()).collect();
    let mut random = fastrand::Rng::with_seed(lab.config().load.seed());
    for round in 0..rounds {
        // In another order each time, so that what warms up or wears off, or follows the same one, favours none.
        random.shuffle(&mut order);
        for (turn, setting) in order.iter().copied().enumerate() {
            let (name, options) = settings[setting];
            lab.announce(round * settings.len() + turn + 1, Some(settings.len() * rounds));
            let mut plan = lab.plan(&format!("{name}, round {}", round + 1), lab.config().load.clone());
            plan.bridge_options.extend(options.iter().map(|word| (*word).to_owned()));
            let ending = lab.run_until_valid(plan)?;
            if ending != Ending::Over {
                return Ok((by_setting, ending));
            }
            by_setting[setting].push(lab.last().clone());
        }
    }
    Ok((by_setting, Ending::Over))
}

/// What is to be known of a setting beside its differences.
fn drawbacks(setting: &str, trials: &[Trial]) -> Vec<String> {
    let lost: u64 = trials.iter().flat_map(|trial| &trial.directions).map(|one| one.counts.lost).sum();
    let invalid = trials.iter().filter(|trial| !is_result(trial)).count();
    let mut sentences = Vec::new();
    if lost > 0 {
        sentences.push(format!(
            "{setting}: {} frames were lost, which no gain in latency is worth",
            grouped(lost)
        ));
    }
    if invalid > 0 {
        sentences.push(format!("{setting}: {invalid} trials are no results, and are left out"));
    }
    sentences
}

fn is_result(trial: &Trial) -> bool {
    trial.invalid_because.is_empty()
}

/// The difference between two settings, from pairs of measurements that were made in turns, one of so many comparisons. It counts
/// as real if so many pairs agree on its direction that chance would hardly do that in any of the comparisons (a sign test, two
/// sides, Bonferroni's correction), and if it is not too small to matter.
fn difference(setting: &str, quantity: &str, pairs: &[(f64, f64)], comparisons: usize) -> Option<Finding> {
    let mut changes: Vec<f64> =
        pairs.iter().filter(|(base, _)| *base > 0.0).map(|(base, other)| other / base - 1.0).collect();
    changes.sort_by(f64::total_cmp);
    let (least, most) = (*changes.first()?, *changes.last()?);
    let middle = changes.len() / 2;
    let median = if changes.len().is_multiple_of(2) {
        f64::midpoint(changes[middle - 1], changes[middle])
    } else {
        changes[middle]
    };
    let (up, down) = (count(&changes, |change| change > 0.0), count(&changes, |change| change < 0.0));
    let is_real = sign_test(up, down) <= CHANCE / comparisons as f64 && median.abs() >= SMALLEST;
    let percent = |change: f64| format!("{:+.1} %", change * 100.0);
    let judged = if is_real { "real" } else { "chance, or too small to matter" };
    Some(Finding {
        what: "difference".to_owned(),
        subject: format!("{setting}: {quantity}"),
        value: median * 100.0,
        unit: "%".to_owned(),
        uncertainty: Some((most - least) * 50.0),
        is_real: Some(is_real),
        text: format!(
            "{setting}: {quantity} {} ({} to {}): {judged}",
            percent(median),
            percent(least),
            percent(most)
        ),
    })
}

fn count(changes: &[f64], holds: impl Fn(f64) -> bool) -> u32 {
    changes.iter().filter(|change| holds(**change)).count() as u32
}

/// How likely it is that of so many fair coins as few or fewer fall on one side as here, on either side.
fn sign_test(up: u32, down: u32) -> f64 {
    let coins = f64::from(up + down);
    let (mut ways, mut all) = (1.0, 0.0);
    for fallen in 0..=up.min(down) {
        all += ways;
        ways *= (coins - f64::from(fallen)) / (f64::from(fallen) + 1.0);
    }
    (2.0 * all / 2f64.powf(coins)).min(1.0)
}

fn latencies(trial: &Trial) -> impl Iterator<Item = &Latency> {
    trial.directions.iter().map(|one| &one.latency).filter(|latency| latency.count > 0)
}

fn p50(trial: &Trial) -> Option<f64> {
    latencies(trial).map(|latency| latency.p50_ns as f64).reduce(f64::max)
}

fn p99(trial: &Trial) -> Option<f64> {
    latencies(trial).map(|latency| latency.p99_ns as f64).reduce(f64::max)
}

/// Of both sides, for a frame that arrived; the warm-up is in both.
fn cpu(trial: &Trial) -> Option<f64> {
    let seconds: f64 = trial.bridges.iter().map(|one| one.processor_s).sum();
    let frames: u64 = trial.directions.iter().map(|one| one.counts.received).sum();
    (frames > 0 && seconds > 0.0).then(|| seconds / frames as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_real_if_hardly_any_round_disagrees_and_it_matters() {
        let judged = |pairs: &[(f64, f64)]| difference("s", "q", pairs, 12).unwrap().is_real.unwrap();
        let faster = |rounds: usize| vec![(100.0, 80.0); rounds];
        assert!(judged(&faster(9)) && !judged(&faster(8)), "eight may agree by chance in one of twelve");
        let mut disagreeing = faster(20);
        disagreeing[3] = (100.0, 101.0);
        assert!(judged(&disagreeing));
        assert!(!judged(&disagreeing[..9]));
        assert!(!judged(&vec![(100.0, 101.0); 100]), "one percent is nothing");
        let found = difference("s", "q", &[(100.0, 80.0), (110.0, 88.0), (100.0, 70.0)], 12).unwrap();
        assert!((found.value + 20.0).abs() < 1e-9, "{}", found.value);
        assert!(difference("s", "q", &[], 12).is_none());
    }

    #[test]
    fn coins_fall_as_tables_say() {
        // Binomial, p = 0.5, two sides.
        for ((up, down), expected) in
            [((10, 0), 0.001_953), ((9, 1), 0.021_484), ((5, 5), 1.0), ((0, 6), 0.031_25)]
        {
            assert!((sign_test(up, down) - expected).abs() < 1e-5, "{up} {down}: {}", sign_test(up, down));
        }
    }

    #[test]
    fn what_both_sides_are_given_is_no_setting() {
        let names: Vec<&str> =
            settings_beside(&["--busy-poll".to_owned()]).iter().map(|setting| setting.0).collect();
        assert_eq!(names, ["as it is", "--linger-us 200", "--linger-us 1000", "--engine epoll"]);
    }
}
