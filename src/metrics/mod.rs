//! What the bridge counts, named once: the summary line, the final line and every later report use these names.
//!
//! Every frame that the kernel gave to the bridge ends up under exactly one name of its direction. How late frames are
//! is in [`histograms`].

pub mod histograms;

use std::fmt;

/// The counters of one link, or of all links together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Bus to peer: frames handed to TCP.
    pub sent: u64,
    /// Peer to bus: frames that the bus accepted.
    pub received: u64,
    /// How often the peer's sequence numbers skipped.
    pub gaps: u64,
    /// Frames that the peer numbered and that never came.
    pub missing: u64,
    /// Frames that came twice; the second one is discarded.
    pub duplicates: u64,
    /// Frames that came after a later one.
    pub reordered: u64,
    /// How often the peer began to count anew.
    pub restarts: u64,
    /// Frames that the kernel dropped because our CAN receive queue was full.
    pub kernel_drops: u64,
    /// Frames kept off the link by a filter (those the kernel filters itself never get here).
    pub filtered: u64,
    /// Frames that the link's protocol cannot carry.
    pub not_representable: u64,
    /// Frames dropped because the peer takes them too slowly: the send buffer was full.
    pub slow_peer: u64,
    /// Frames, either way, that lay in a buffer when their link ended, or came when it was about to.
    pub unsent: u64,
    /// Frames, either way, that waited longer than they may, or were pushed out by newer ones.
    pub stale: u64,
    /// Frames from the peer that the bus refused: interface down or gone, or a frame that it cannot carry.
    pub refused: u64,
    /// How often frames had to wait because the bus's transmit queue was full.
    pub transmit_waits: u64,
    /// Lines that could not be recorded.
    pub unrecorded: u64,
    /// Links that ended because the peer did not speak the protocol.
    pub faults: u64,
}

impl Counters {
    /// Names and values, in the order in which they are printed.
    pub fn named(&self) -> [(&'static str, u64); 17] {
        [
            ("sent", self.sent),
            ("received", self.received),
            ("gaps", self.gaps),
            ("missing", self.missing),
            ("duplicates", self.duplicates),
            ("reordered", self.reordered),
            ("restarts", self.restarts),
            ("kernel_drops", self.kernel_drops),
            ("filtered", self.filtered),
            ("not_representable", self.not_representable),
            ("slow_peer", self.slow_peer),
            ("unsent", self.unsent),
            ("stale", self.stale),
            ("refused", self.refused),
            ("transmit_waits", self.transmit_waits),
            ("unrecorded", self.unrecorded),
            ("faults", self.faults),
        ]
    }

    /// Adds another link's counters.
    pub fn add(&mut self, other: &Counters) {
        self.sent += other.sent;
        self.received += other.received;
        self.gaps += other.gaps;
        self.missing += other.missing;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.restarts += other.restarts;
        self.kernel_drops += other.kernel_drops;
        self.filtered += other.filtered;
        self.not_representable += other.not_representable;
        self.slow_peer += other.slow_peer;
        self.unsent += other.unsent;
        self.stale += other.stale;
        self.refused += other.refused;
        self.transmit_waits += other.transmit_waits;
        self.unrecorded += other.unrecorded;
        self.faults += other.faults;
    }
}

/// `sent 12 received 3 …`: pairs of a name and a number, separated by single spaces.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.named().into_iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{name} {value}")?;
        }
        Ok(())
    }
}

/// Frames a second between two readings of a counter, rounded.
pub fn rate(before: u64, after: u64, elapsed: std::time::Duration) -> u64 {
    let frames = after.saturating_sub(before) as f64;
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { (frames / seconds).round() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn adding_and_printing_leave_no_counter_out() {
        // Seventeen counters of 8 bytes: one that is added to the structure must be added to the lists too.
        assert_eq!(size_of::<Counters>(), 17 * 8);
        let one = Counters {
            sent: 1,
            received: 2,
            gaps: 3,
            missing: 4,
            duplicates: 5,
            reordered: 6,
            restarts: 7,
            kernel_drops: 8,
            filtered: 9,
            not_representable: 10,
            slow_peer: 11,
            unsent: 12,
            stale: 13,
            refused: 14,
            transmit_waits: 15,
            unrecorded: 16,
            faults: 17,
        };
        let mut sum = one;
        sum.add(&one);
        assert_eq!(sum.named().map(|(_, value)| value), std::array::from_fn(|index| 2 * (index as u64 + 1)));
        assert_eq!(
            one.to_string(),
            "sent 1 received 2 gaps 3 missing 4 duplicates 5 reordered 6 restarts 7 kernel_drops 8 filtered 9 \
             not_representable 10 slow_peer 11 unsent 12 stale 13 refused 14 transmit_waits 15 unrecorded 16 faults 17"
        );
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!(rate(100, 1_100, Duration::from_secs(10)), 100);
        assert_eq!(rate(0, 5, Duration::ZERO), 0);
    }
}
