//! The search for a limit: upwards until something fails, then in between.

/// What one attempt showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    Good,
    Bad,
    /// The test itself was too slow: nothing is known of the path.
    NoResult,
    /// Nothing more is to be tried.
    Over,
}

/// What ended a search from above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The next attempt failed.
    Path,
    /// The test goes no higher.
    Test,
    /// There is nothing higher to be tried.
    Highest,
    /// It was ended early.
    Over,
}

/// What a search has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The highest value that was good, if any was.
    pub good: Option<u64>,
    pub bound: Bound,
}

/// Where a search begins and what limits it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Range {
    /// If not even this is good, nothing is.
    pub lowest: u64,
    /// The first that is tried.
    pub first: u64,
    pub highest: u64,
    /// How near the answer is to what fails: 0.01 is one percent.
    pub tolerance: f64,
}

/// Looks for the highest value that is good: doubles as long as all is well, or halves until something is, and then halves what
/// is in between.
pub fn highest<E>(range: Range, mut attempt: impl FnMut(u64) -> Result<Attempt, E>) -> Result<Found, E> {
    let mut good = None;
    let mut bad: Option<(u64, Bound)> = None;
    let mut next = range.first;
    loop {
        match attempt(next)? {
            Attempt::Good => good = Some(next),
            Attempt::Bad => bad = Some((next, Bound::Path)),
            Attempt::NoResult => bad = Some((next, Bound::Test)),
            Attempt::Over => return Ok(Found { good, bound: Bound::Over }),
        }
        next = match (good, bad) {
            (None, Some((bad, bound))) if bad <= range.lowest => return Ok(Found { good, bound }),
            (None, Some((bad, _))) => (bad / 2).max(range.lowest),
            (Some(highest), None) if highest >= range.highest => {
                return Ok(Found { good, bound: Bound::Highest });
            }
            (Some(good), None) => (good * 2).min(range.highest),
            (Some(lower), Some((upper, bound))) => {
                let step = (lower as f64 * range.tolerance).max(1.0) as u64;
                if upper - lower <= step {
                    return Ok(Found { good, bound });
                }
                lower + (upper - lower) / 2
            }
            (None, None) => unreachable!("an attempt is good or is none"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = Range { lowest: 10, first: 1_000, highest: 1_000_000, tolerance: 0.01 };

    fn search(limit: u64, range: Range) -> (Found, usize) {
        let mut attempts = 0;
        let found = highest::<()>(range, |value| {
            attempts += 1;
            Ok(if value <= limit { Attempt::Good } else { Attempt::Bad })
        });
        (found.unwrap(), attempts)
    }

    #[test]
    fn the_limit_is_found_within_the_tolerance() {
        for limit in [10, 99, 999, 1_000, 1_001, 4_375, 99_999, 524_288] {
            let Found { good, bound } = search(limit, RANGE).0;
            let good = good.unwrap();
            assert!(good <= limit && good as f64 + 1.0 >= limit as f64 / 1.011, "{good} for {limit}");
            assert_eq!(bound, Bound::Path);
        }
        assert_eq!(search(12_345, Range { tolerance: 0.0, ..RANGE }).0.good, Some(12_345));
    }

    #[test]
    fn a_search_ends_at_its_bounds() {
        assert_eq!(search(9, RANGE), (Found { good: None, bound: Bound::Path }, 8));
        assert_eq!(search(u64::MAX, RANGE).0, Found { good: Some(1_000_000), bound: Bound::Highest });
    }

    #[test]
    fn what_the_test_itself_cannot_do_is_no_limit_of_the_path() {
        let found =
            highest::<()>(RANGE, |value| Ok(if value <= 5_000 { Attempt::Good } else { Attempt::NoResult }));
        let Found { good, bound } = found.unwrap();
        assert!(good.is_some_and(|good| (4_950..=5_000).contains(&good)));
        assert_eq!(bound, Bound::Test);
    }
}
