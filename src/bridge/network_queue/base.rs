//! How long a round trip takes by itself, where nothing of ours waits.
//!
//! TCP knows the shortest one of the last five minutes. Where the path has become longer since, every round trip looks
//! like one with a queue in it. So it is looked at ([`Look`]) while there seems to be a queue.

use std::time::Duration;

use super::look::{Look, Next};
use crate::engine::tcp_info::TcpInfo;
use crate::moment::Moment;

/// A look costs two round trips without a frame. Where it finds what was known, or nothing, the time to the next one doubles.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
const LONGEST_BETWEEN_LOOKS: Duration = Duration::from_secs(16);

/// How long what looks have found is remembered: TCP's own memory of the shortest round trip is as long (the default of
/// `net.ipv4.tcp_min_rtt_wlen`), so that after that it knows, too.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// The piece that a look sends: a few frames, which take next to no time by themselves.
const PIECE_BYTES: usize = 512;

/// So long after a look and a round trip, less is acknowledged than could be: as long as the rate is looked back at.
const DISTURBED_FOR: Duration = Duration::from_secs(1);

/// How long one connection's round trips take by themselves.
#[derive(Debug)]
pub(super) struct Base {
    /// How much longer it is another one, and not what one look may differ from the next.
    differs_ns: u64,
    /// The shortest that TCP remembers.
    shortest_ns: u64,
    /// What was found to be longer than the shortest, and when.
    found: Option<(u64, Moment)>,
    look: Option<Look>,
    /// When a look last ended, and how long the round trip took that it saw.
    looked_last: Option<Moment>,
    seen_ns: Option<u64>,
    between_looks: Duration,
    /// Bytes handed over to TCP, which a look counts in.
    handed_over: u64,
}

impl Base {
    pub(super) fn new(differs_ns: u64) -> Self {
        Self {
            differs_ns,
            shortest_ns: 0,
            found: None,
            look: None,
            looked_last: None,
            seen_ns: None,
            between_looks: BETWEEN_LOOKS,
            handed_over: 0,
        }
    }

    /// What TCP knows now. Returns how long a round trip takes by itself.
    pub(super) fn note(&mut self, sample: TcpInfo, now: Moment) -> u64 {
        self.shortest_ns = sample.shortest_round_trip_ns;
        self.found = self.found.filter(|(_, at)| now.since(*at) < REMEMBERED_FOR);
        if let Some((found_ns, _)) = &mut self.found {
            *found_ns = sample.round_trip_ns.min(*found_ns);
        }
        self.known_ns()
    }

    fn known_ns(&self) -> u64 {
        self.found.map_or(self.shortest_ns, |(found_ns, _)| found_ns.max(self.shortest_ns))
    }

    /// Begins to look, unless that was done lately; where it `is_urgent`, what looks found before counts for nothing. Returns
    /// whether it began.
    pub(super) fn look(&mut self, is_urgent: bool, now: Moment) -> bool {
        if is_urgent {
            self.between_looks = BETWEEN_LOOKS;
        }
        let is_due = self.looked_last.is_none_or(|at| now.since(at) >= self.between_looks);
        let begins = is_due && self.look.is_none();
        if begins {
            self.look = Some(Look::new(self.handed_over, now));
        }
        begins
    }

    #[inline]
    pub(super) fn is_looking(&self) -> bool {
        self.look.is_some()
    }

    /// There is nothing to look at any more.
    pub(super) fn look_away(&mut self) {
        self.look = None;
    }

    #[inline]
    pub(super) fn note_handed_over(&mut self, bytes: usize, now: Moment) {
        self.handed_over += bytes as u64;
        if let Some(look) = &mut self.look {
            look.sent(self.handed_over, now);
        }
    }

    /// How many bytes may be sent as far as a look goes, while so many are under way; or when to ask again.
    pub(super) fn room(&mut self, under_way: usize, now: Moment) -> Result<usize, Moment> {
        match self.look.as_mut().map(|look| look.next(self.handed_over, under_way, now)) {
            None => Ok(usize::MAX),
            Some(Next::AskAt(at)) => Err(at),
            Some(Next::Send) => Ok(PIECE_BYTES),
            Some(Next::Over(seen_ns)) => {
                self.note_look(seen_ns, now);
                Ok(usize::MAX)
            }
        }
    }

    /// Whether less was acknowledged lately, for the sake of a look, than the network takes.
    pub(super) fn disturbs(&self, round_trip_ns: u64, now: Moment) -> bool {
        let ended_lately =
            |at: Moment| now.since(at) < DISTURBED_FOR.saturating_add(Duration::from_nanos(round_trip_ns));
        self.look.is_some() || self.looked_last.is_some_and(ended_lately)
    }

    fn note_look(&mut self, seen_ns: Option<u64>, now: Moment) {
        (self.look, self.looked_last) = (None, Some(now));
        let is_known = seen_ns.is_none_or(|seen_ns| self.note_seen(seen_ns, now));
        self.between_looks =
            if is_known { (self.between_looks * 2).min(LONGEST_BETWEEN_LOOKS) } else { BETWEEN_LOOKS };
    }

    /// A look saw how long a round trip took. Returns whether that was known.
    fn note_seen(&mut self, seen_ns: u64, now: Moment) -> bool {
        let seen_before = self.seen_ns.replace(seen_ns);
        let is_about = |base_ns: u64, seen_ns: u64| seen_ns <= base_ns.saturating_add(self.differs_ns);
        match seen_before {
            // The shorter of two in succession: anything may have held up one.
            Some(before_ns) if !is_about(self.shortest_ns, seen_ns.min(before_ns)) => {
                let found_ns = seen_ns.min(before_ns);
                let is_known = is_about(self.known_ns(), found_ns);
                self.found = Some((found_ns, now));
                is_known
            }
            None if !is_about(self.shortest_ns, seen_ns) => false,
            _ => {
                self.found = None;
                is_about(self.shortest_ns, seen_ns)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn sample(round_trip_ms: u64, shortest_ms: u64) -> TcpInfo {
        TcpInfo {
            acknowledged_bytes: 0,
            bytes_under_way: 0,
            segments_under_way: 0,
            round_trip_ns: round_trip_ms * MILLISECOND,
            shortest_round_trip_ns: shortest_ms * MILLISECOND,
        }
    }

    /// Takes a look that sees a round trip of so many milliseconds, if one is due.
    fn look(base: &mut Base, at_ms: u64, seen_ms: u64) -> bool {
        let moment = |after_ms: u64| Moment::from_nanos((at_ms + after_ms) * MILLISECOND);
        let is_due = base.look(false, moment(0));
        let _what_may_be_sent = base.room(0, moment(0)).unwrap();
        base.note_handed_over(100, moment(0));
        let mut after_ms = 0;
        while base.look.is_some() {
            let under_way = if after_ms < seen_ms { 100 } else { 0 };
            after_ms = base.room(under_way, moment(after_ms)).map_or_else(|_| after_ms + 2, |_| after_ms);
        }
        is_due
    }

    #[test]
    fn what_two_looks_see_is_known() {
        let mut base = Base::new(50 * MILLISECOND);
        assert_eq!(base.note(sample(400, 10), Moment::default()), 10 * MILLISECOND);
        assert!(look(&mut base, 0, 180));
        assert_eq!(base.known_ns(), 10 * MILLISECOND);
        assert!(!look(&mut base, 1_100, 180));
        assert!(look(&mut base, 1_200, 170));
        assert_eq!(base.known_ns(), 170 * MILLISECOND);
        // It was shorter, if one is.
        assert_eq!(base.note(sample(160, 10), Moment::from_nanos(2_000 * MILLISECOND)), 160 * MILLISECOND);
        // And is again what TCP says.
        assert!(look(&mut base, 3_000, 60));
        assert_eq!(base.known_ns(), 10 * MILLISECOND);
    }

    #[test]
    fn one_look_that_was_held_up_says_nothing() {
        let mut base = Base::new(50 * MILLISECOND);
        base.note(sample(400, 10), Moment::default());
        for (at_ms, seen_ms) in [(0, 500), (3_000, 12), (6_000, 500), (9_000, 12)] {
            assert!(look(&mut base, at_ms, seen_ms));
            assert_eq!(base.known_ns(), 10 * MILLISECOND);
        }
    }

    #[test]
    fn what_is_known_is_looked_at_less_and_less_often() {
        let mut base = Base::new(50 * MILLISECOND);
        base.note(sample(400, 10), Moment::default());
        let looks: Vec<_> = (0..60).filter(|second| look(&mut base, second * 1_000, 0)).collect();
        assert_eq!(looks, [0, 2, 6, 14, 30, 46]);
    }

    /// A queue that does not empty would hold up frames most of the time otherwise.
    #[test]
    fn looks_that_see_nothing_come_less_and_less_often_and_take_nothing_away() {
        let mut base = Base::new(50 * MILLISECOND);
        base.note(sample(400, 10), Moment::default());
        assert!(look(&mut base, 0, 180));
        let mut began = Vec::new();
        for second in 2..40 {
            let moment = Moment::from_nanos(second * 1_000 * MILLISECOND);
            if base.look(false, moment) {
                began.push(second);
            }
            let _held = base.room(1_000_000, moment);
        }
        assert_eq!(began, [2, 7, 14, 25]);
        assert!(look(&mut base, 60_000, 180));
        assert_eq!(base.known_ns(), 180 * MILLISECOND);
    }

    #[test]
    fn what_was_found_is_forgotten_when_tcp_knows_it() {
        let mut base = Base::new(50 * MILLISECOND);
        base.note(sample(400, 10), Moment::default());
        for at_ms in [0, 2_000] {
            look(&mut base, at_ms, 180);
        }
        for (second, base_ms) in [(301, 180), (303, 10)] {
            let now = Moment::from_nanos(second * 1_000 * MILLISECOND);
            assert_eq!(base.note(sample(400, 10), now), base_ms * MILLISECOND);
        }
    }
}
