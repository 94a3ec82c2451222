//! What the bridge counts, named once: the summary line, the final line and every later report use these names.
//!
//! Every frame that a bus or a peer gave to the bridge ends up under exactly one name, or still waits: the books balance
//! ([`Counters::unaccounted`]). How late frames are is in [`histograms`].

pub mod histograms;
mod words;

pub use words::{counted, was};

use std::fmt;

/// The counters of one link, or of all links together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Bus to peer: frames handed to TCP.
    pub sent: u64,
    /// Peer to bus: frames that the bus accepted.
    pub received: u64,
    /// Frames that the bus gave us.
    pub taken: u64,
    /// Frames that the peer gave us for the bus.
    pub arrived: u64,
    /// Of both, frames that wait in this process now.
    pub waiting: u64,
    /// Of what was sent and received, frames that had become too old when TCP or the bus had taken them: this process stood still between its
    /// last look at the clock and the end of the system call, or TCP took long.
    pub overdue: u64,
    /// Frames of the bus that came while there was no connection.
    pub outage: u64,
    /// Frames handed to TCP that a broken connection did not deliver, as the next one showed.
    pub in_transit: u64,
    /// How often the peer's sequence numbers skipped.
    pub gaps: u64,
    /// Frames that the peer numbered and that never came.
    pub missing: u64,
    /// Of those, the ones that the peer says its kernel has dropped.
    pub peer_kernel_drops: u64,
    /// ... that had waited too long at the peer.
    pub peer_stale: u64,
    /// ... that the peer dropped because we took them too slowly.
    pub peer_slow: u64,
    /// ... that came while there was no connection.
    pub peer_outage: u64,
    /// ... that were under way when a connection broke.
    pub peer_in_transit: u64,
    /// Error frames of the peer's bus, which are not put on ours.
    pub error_frames: u64,
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
    /// Frames from the peer that may not go on the bus: `--read-only`, `--tx-allow`.
    pub denied: u64,
    /// Frames from the peer that `--tx-rate` or `--tx-load` kept waiting until they were too old.
    pub limited: u64,
    /// Frames from the peer that were kept off the bus because what is put there comes back by another way.
    pub looped: u64,
    /// How often frames had to wait because the bus's transmit queue was full.
    pub transmit_waits: u64,
    /// Lines that could not be recorded.
    pub unrecorded: u64,
    /// Links that ended because the peer did not speak the protocol.
    pub faults: u64,
    /// Connections that were refused because there were as many as may be.
    pub turned_away: u64,
}

impl Counters {
    /// Names and values, in the order in which they are printed.
    pub fn named(&self) -> [(&'static str, u64); 33] {
        [
            ("sent", self.sent),
            ("received", self.received),
            ("taken", self.taken),
            ("arrived", self.arrived),
            ("waiting", self.waiting),
            ("overdue", self.overdue),
            ("outage", self.outage),
            ("in_transit", self.in_transit),
            ("gaps", self.gaps),
            ("missing", self.missing),
            ("peer_kernel_drops", self.peer_kernel_drops),
            ("peer_stale", self.peer_stale),
            ("peer_slow", self.peer_slow),
            ("peer_outage", self.peer_outage),
            ("peer_in_transit", self.peer_in_transit),
            ("error_frames", self.error_frames),
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
            ("denied", self.denied),
            ("limited", self.limited),
            ("looped", self.looped),
            ("transmit_waits", self.transmit_waits),
            ("unrecorded", self.unrecorded),
            ("faults", self.faults),
            ("turned_away", self.turned_away),
        ]
    }

    /// Frames that were given to the bridge and are under no name, nor wait: zero, always. Below zero where a frame has
    /// two names.
    pub fn unaccounted(&self) -> i128 {
        let given = [self.taken, self.arrived];
        let fates = [
            self.sent,
            self.received,
            self.waiting,
            self.outage,
            self.filtered,
            self.not_representable,
            self.slow_peer,
            self.unsent,
            self.stale,
            self.refused,
            self.denied,
            self.limited,
            self.looped,
        ];
        let sum = |counts: &[u64]| counts.iter().copied().map(i128::from).sum::<i128>();
        sum(&given) - sum(&fates)
    }

    /// Adds another link's counters. What a peer can make huge stays at the highest number.
    pub fn add(&mut self, other: &Counters) {
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.taken = self.taken.saturating_add(other.taken);
        self.arrived = self.arrived.saturating_add(other.arrived);
        self.waiting = self.waiting.saturating_add(other.waiting);
        self.overdue = self.overdue.saturating_add(other.overdue);
        self.outage = self.outage.saturating_add(other.outage);
        self.in_transit = self.in_transit.saturating_add(other.in_transit);
        self.gaps = self.gaps.saturating_add(other.gaps);
        self.missing = self.missing.saturating_add(other.missing);
        self.peer_kernel_drops = self.peer_kernel_drops.saturating_add(other.peer_kernel_drops);
        self.peer_stale = self.peer_stale.saturating_add(other.peer_stale);
        self.peer_slow = self.peer_slow.saturating_add(other.peer_slow);
        self.peer_outage = self.peer_outage.saturating_add(other.peer_outage);
        self.peer_in_transit = self.peer_in_transit.saturating_add(other.peer_in_transit);
        self.error_frames = self.error_frames.saturating_add(other.error_frames);
        self.duplicates = self.duplicates.saturating_add(other.duplicates);
        self.reordered = self.reordered.saturating_add(other.reordered);
        self.restarts = self.restarts.saturating_add(other.restarts);
        self.kernel_drops = self.kernel_drops.saturating_add(other.kernel_drops);
        self.filtered = self.filtered.saturating_add(other.filtered);
        self.not_representable = self.not_representable.saturating_add(other.not_representable);
        self.slow_peer = self.slow_peer.saturating_add(other.slow_peer);
        self.unsent = self.unsent.saturating_add(other.unsent);
        self.stale = self.stale.saturating_add(other.stale);
        self.refused = self.refused.saturating_add(other.refused);
        self.denied = self.denied.saturating_add(other.denied);
        self.limited = self.limited.saturating_add(other.limited);
        self.looped = self.looped.saturating_add(other.looped);
        self.transmit_waits = self.transmit_waits.saturating_add(other.transmit_waits);
        self.unrecorded = self.unrecorded.saturating_add(other.unrecorded);
        self.faults = self.faults.saturating_add(other.faults);
        self.turned_away = self.turned_away.saturating_add(other.turned_away);
    }
}

/// `sent 12 received 3 …`: pairs of a name and a number, separated by single spaces.
/// Names and values in a line; `{:#}` leaves out those that are zero, but for `sent`, `received` and `waiting`.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.named().into_iter().enumerate() {
            if f.alternate() && value == 0 && !matches!(name, "sent" | "received" | "waiting") {
                continue;
            }
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
        // Thirty-three counters of 8 bytes: one that is added to the structure must be added to the lists too.
        assert_eq!(size_of::<Counters>(), 33 * 8);
        let one = Counters {
            sent: 1,
            received: 2,
            taken: 3,
            arrived: 4,
            waiting: 5,
            overdue: 6,
            outage: 7,
            in_transit: 8,
            gaps: 9,
            missing: 10,
            peer_kernel_drops: 11,
            peer_stale: 12,
            peer_slow: 13,
            peer_outage: 14,
            peer_in_transit: 15,
            error_frames: 16,
            duplicates: 17,
            reordered: 18,
            restarts: 19,
            kernel_drops: 20,
            filtered: 21,
            not_representable: 22,
            slow_peer: 23,
            unsent: 24,
            stale: 25,
            refused: 26,
            denied: 27,
            limited: 28,
            looped: 29,
            transmit_waits: 30,
            unrecorded: 31,
            faults: 32,
            turned_away: 33,
        };
        let mut sum = one;
        sum.add(&one);
        assert_eq!(sum.named().map(|(_, value)| value), std::array::from_fn(|index| 2 * (index as u64 + 1)));
        assert_eq!(
            one.to_string(),
            "sent 1 received 2 taken 3 arrived 4 waiting 5 overdue 6 outage 7 in_transit 8 gaps 9 \
             missing 10 peer_kernel_drops 11 peer_stale 12 peer_slow 13 peer_outage 14 \
             peer_in_transit 15 error_frames 16 duplicates 17 reordered 18 restarts 19 \
             kernel_drops 20 filtered 21 not_representable 22 slow_peer 23 unsent 24 stale 25 \
             refused 26 denied 27 limited 28 looped 29 transmit_waits 30 unrecorded 31 \
             faults 32 turned_away 33"
        );
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!(rate(100, 1_100, Duration::from_secs(10)), 100);
        assert_eq!(rate(0, 5, Duration::ZERO), 0);
    }
}
