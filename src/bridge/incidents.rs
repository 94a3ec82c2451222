//! What went wrong, in words: one line a link and second at most, whatever the number of frames.

use crate::metrics::{Counters, counted};

/// What went wrong between two readings of a link's counters; empty if nothing did.
pub fn describe(before: &Counters, after: &Counters) -> String {
    let news = [
        (after.missing.saturating_sub(before.missing), "frame", "of the peer missing (sequence gap)"),
        (after.duplicates.saturating_sub(before.duplicates), "duplicate frame", "discarded"),
        (after.reordered.saturating_sub(before.reordered), "frame", "out of order"),
        (after.restarts.saturating_sub(before.restarts), "restart", "of the peer's sequence numbers"),
        (
            after.kernel_drops.saturating_sub(before.kernel_drops),
            "frame",
            "dropped by the kernel: our receive queue was full (see --rcvbuf)",
        ),
        (
            after.slow_peer.saturating_sub(before.slow_peer),
            "frame",
            "dropped: the peer takes them too slowly",
        ),
        (after.stale.saturating_sub(before.stale), "frame", "discarded: older than --max-age"),
        (after.refused.saturating_sub(before.refused), "frame", "refused by the bus"),
        (
            // As the user wants it, whatever the peer's bus carries: worth saying once.
            if before.denied == 0 { after.denied } else { 0 },
            "frame",
            "of the peer kept off the bus (see --read-only, --tx-allow; further ones are only counted)",
        ),
        (
            after.limited.saturating_sub(before.limited),
            "frame",
            "of the peer discarded: more than may go on the bus (see --tx-rate, --tx-load)",
        ),
        (
            after.looped.saturating_sub(before.looped),
            "frame",
            "of the peer kept off the bus because of a loop",
        ),
    ];
    let news = news.into_iter().filter(|(count, ..)| *count > 0);
    let lines = news.map(|(count, one, what)| format!("{} {what}", counted(count, one)));
    lines.collect::<Vec<_>>().join(", ")
}

/// Lines of the same kind in a row, before the rest is only counted; and those that may be said anew with every tick.
const LINES: u32 = 20;

/// Keeps what any stranger can cause from filling a log: a few lines between two ticks, then a count.
#[derive(Debug)]
pub struct LineLimit {
    most: u32,
    left: u32,
    unsaid: u64,
}

impl Default for LineLimit {
    fn default() -> Self {
        Self::of(LINES)
    }
}

impl LineLimit {
    /// One that allows more at a time, where many are usual, and with every tick as many again as any other.
    pub fn of(most: u32) -> Self {
        Self { most, left: most, unsaid: 0 }
    }

    /// Whether another line may be printed; if not it is counted.
    pub fn allows(&mut self) -> bool {
        let allowed = self.left > 0;
        if allowed {
            self.left -= 1;
        } else {
            self.unsaid += 1;
        }
        allowed
    }

    /// Starts over; returns how many lines were left out.
    pub fn tick(&mut self) -> u64 {
        self.left = (self.left + LINES).min(self.most);
        std::mem::take(&mut self.unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_said() {
        let before = Counters { missing: 5, stale: 1, ..Counters::default() };
        let after = Counters { missing: 7, stale: 1, refused: 1, ..Counters::default() };
        assert_eq!(
            describe(&before, &after),
            "2 frames of the peer missing (sequence gap), 1 frame refused by the bus"
        );
        assert_eq!(describe(&after, &after), "");
        let bounded = Counters { denied: 4, limited: 5, ..after };
        assert_eq!(
            describe(&after, &bounded),
            "4 frames of the peer kept off the bus (see --read-only, --tx-allow; further ones are only counted), 5 frames of \
             the peer discarded: more than may go on the bus (see --tx-rate, --tx-load)"
        );
        assert_eq!(describe(&bounded, &Counters { denied: 400, ..bounded }), "");
    }

    #[test]
    fn late_frames_take_back_what_was_missing_and_are_no_news() {
        let before = Counters { missing: 5, ..Counters::default() };
        let after = Counters { missing: 3, ..Counters::default() };
        assert_eq!(describe(&before, &after), "");
    }

    #[test]
    fn a_flood_of_lines_becomes_a_count() {
        let mut limit = LineLimit::default();
        assert_eq!((0..100).filter(|_| limit.allows()).count(), 20);
        assert_eq!(limit.tick(), 80);
        assert_eq!(limit.tick(), 0);
        assert!(limit.allows());
    }
}
