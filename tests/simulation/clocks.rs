//! Clocks of a host: wrong, drifting, and set.

/// What the clocks show at the start: a day, and some time in 2023.
const MONOTONIC_START_NS: u64 = 86_400_000_000_000;
const WALL_START_NS: u64 = 1_700_000_000_000_000_000;

/// A stretch of true time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    pub from_ns: u64,
    pub to_ns: u64,
}

impl Stretch {
    /// How much of it lies between two points.
    pub fn overlap_ns(self, from_ns: u64, to_ns: u64) -> u64 {
        self.to_ns.min(to_ns).saturating_sub(self.from_ns.max(from_ns))
    }
}

/// How much of these stretches lies between two points.
pub fn overlap_ns(stretches: &[Stretch], from_ns: u64, to_ns: u64) -> u64 {
    stretches.iter().map(|stretch| stretch.overlap_ns(from_ns, to_ns)).sum()
}

/// Both clocks of a host, which one crystal drives.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    /// Parts per thousand million that the crystal is fast.
    pub rate_ppb: i64,
    /// What the wall clock was set forward, in all.
    pub wall_offset_ns: i64,
    /// When the host was suspended; the stretches do not overlap.
    pub suspended: Vec<Stretch>,
}

impl Clocks {
    fn by_crystal(&self, true_ns: u64) -> u64 {
        let drift = i128::from(true_ns) * i128::from(self.rate_ppb) / 1_000_000_000;
        true_ns.saturating_add_signed(i64::try_from(drift).expect("runs are short"))
    }

    /// The monotonic clock, which goes on while the host is suspended (`CLOCK_BOOTTIME`).
    pub fn monotonic_ns(&self, true_ns: u64) -> u64 {
        MONOTONIC_START_NS + self.by_crystal(true_ns)
    }

    /// The wall clock.
    pub fn wall_ns(&self, true_ns: u64) -> u64 {
        (WALL_START_NS + self.by_crystal(true_ns)).saturating_add_signed(self.wall_offset_ns)
    }

    /// When the monotonic clock will have come to `monotonic_ns`.
    pub fn true_ns(&self, monotonic_ns: u64, now_ns: u64) -> u64 {
        let ahead = monotonic_ns.saturating_sub(self.monotonic_ns(now_ns));
        let correction = i128::from(ahead) * -i128::from(self.rate_ppb) / 1_000_000_000;
        // What the drift of the correction itself would make, and rounding.
        now_ns
            + ahead.saturating_add_signed(i64::try_from(correction).expect("runs are short"))
            + 2
            + ahead / 100_000_000
    }
}

#[test]
fn a_clock_that_is_set_shows_on_the_wall_only() {
    let clocks = Clocks { rate_ppb: 100_000, wall_offset_ns: -7, ..Clocks::default() };
    assert_eq!(clocks.monotonic_ns(4_000_000_000), MONOTONIC_START_NS + 4_000_400_000);
    assert_eq!(clocks.wall_ns(4_000_000_000), WALL_START_NS + 4_000_399_993);
    let deadline = clocks.monotonic_ns(4_000_000_000) + 500_000_000;
    let reached = clocks.true_ns(deadline, 4_000_000_000);
    assert!(clocks.monotonic_ns(reached) >= deadline && clocks.monotonic_ns(reached - 20) < deadline);
}
