//! How long a round trip takes by itself, looked at.
//!
//! No frame is sent until all that was sent before has been acknowledged, so that no queue of ours is left but the few
//! bytes that were said meanwhile; then a piece, and the time until its acknowledgement is what was looked for.
//!
//! ```text
//!   under way  ▇▇▇▆▅▄▃▂▁                     ▇▇▇▇▇▇
//!                       ▂▂▂▂▂▂▂▂▂▂▂▂
//!              emptying | measuring  | as before
//! ```

use std::time::Duration;

use crate::moment::Moment;

/// When to ask again, and after how long without a question it cannot be said when something was acknowledged: this
/// process stood still, or there was nothing to send.
const ASK_AGAIN_NS: u64 = 2_000_000;
const LOOKED_AWAY_NS: u64 = 30_000_000;

/// A queue that takes longer to empty, or an acknowledgement that does, is not waited for: something else is the matter.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far a look has come.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// No frame is sent until all bytes up to this one are acknowledged.
    Emptying { mark: u64 },
    /// A piece may be sent.
    Sending,
    /// All bytes up to this one have been sent, the last of them then.
    Measuring { mark: u64, since: Moment },
}

/// What is to be done in the course of a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Send a piece.
    Send,
    /// Send nothing, and ask again then.
    AskAt(Moment),
    /// The look is over: how long the round trip took, in nanoseconds, if that could be seen.
    Over(Option<u64>),
}

/// A look at how long a round trip takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    step: Step,
    began: Moment,
    asked_last: Moment,
}

impl Look {
    /// Begins when `total` bytes have been sent.
    pub(super) fn new(total: u64, now: Moment) -> Self {
        Self { step: Step::Emptying { mark: total }, began: now, asked_last: now }
    }

    /// `total` bytes have been sent by now.
    #[inline]
    pub(super) fn sent(&mut self, total: u64, now: Moment) {
        if matches!(self.step, Step::Sending) {
            self.step = Step::Measuring { mark: total, since: now };
        }
    }

    /// There is something to send, while `under_way` of all `total` bytes that were sent are not acknowledged.
    pub(super) fn next(&mut self, total: u64, under_way: usize, now: Moment) -> Next {
        let looked_away = now.nanos_since(self.asked_last) > LOOKED_AWAY_NS;
        self.asked_last = now;
        if now.since(self.began) > PATIENCE {
            return Next::Over(None);
        }
        // What was sent before anything was counted may be under way, too.
        let is_acknowledged = |mark: u64| under_way as u64 <= total.saturating_sub(mark);
        match self.step {
            Step::Emptying { mark } if is_acknowledged(mark) => {
                self.step = Step::Sending;
                Next::Send
            }
            // What was allowed was not sent.
            Step::Sending => Next::Send,
            Step::Measuring { mark, since } if is_acknowledged(mark) => {
                Next::Over((!looked_away).then(|| now.nanos_since(since)))
            }
            Step::Measuring { .. } if looked_away => Next::Over(None),
            Step::Emptying { .. } | Step::Measuring { .. } => Next::AskAt(now.after_nanos(ASK_AGAIN_NS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Moment {
        Moment::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_round_trip_is_what_it_takes_from_an_empty_queue() {
        let mut look = Look::new(5_000, at(0));
        assert_eq!(look.next(5_000, 600, at(10)), Next::AskAt(at(12)));
        // A heartbeat goes out meanwhile, and is no piece.
        look.sent(5_050, at(12));
        assert_eq!(look.next(5_050, 51, at(19)), Next::AskAt(at(21)));
        assert_eq!(look.next(5_050, 50, at(20)), Next::Send);
        assert_eq!(look.next(5_050, 50, at(22)), Next::Send);
        look.sent(5_350, at(22));
        // Nor is what follows.
        look.sent(5_400, at(24));
        assert_eq!(look.next(5_400, 350, at(40)), Next::AskAt(at(42)));
        assert_eq!(look.next(5_400, 51, at(50)), Next::AskAt(at(52)));
        assert_eq!(look.next(5_400, 50, at(62)), Next::Over(Some(40_000_000)));
    }

    #[test]
    fn what_was_not_watched_was_not_measured() {
        for (under_way, after_ms) in [(0, 31), (300, 31), (300, 1_000)] {
            let mut look = Look::new(5_000, at(0));
            assert_eq!(look.next(5_000, 0, at(10)), Next::Send);
            look.sent(5_300, at(10));
            assert_eq!(look.next(5_300, under_way, at(10 + after_ms)), Next::Over(None));
        }
    }

    #[test]
    fn a_queue_that_does_not_empty_is_given_up() {
        let mut look = Look::new(5_000, at(0));
        for now in (0..=2_000).step_by(20) {
            assert_eq!(look.next(5_000, 1, at(now)), Next::AskAt(at(now + 2)));
        }
        assert_eq!(look.next(5_000, 0, at(2_001)), Next::Over(None));
    }

    #[test]
    fn what_was_sent_before_counts_as_under_way() {
        let mut look = Look::new(0, at(0));
        assert_eq!(look.next(0, 10_000, at(0)), Next::AskAt(at(2)));
        assert_eq!(look.next(0, 0, at(2)), Next::Send);
    }
}
