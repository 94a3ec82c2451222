//! What is known about the frames that went, and should have come, over all connections with one peer.
//!
//! Both ends keep the same books, so that after an outage they agree to the frame on what it cost (`docs/wire.md`,
//! "Sequence numbers, and what is lost").

use crate::session::{Cause, Disposal};
use crate::wire::v5::{Losses, MAX_BUSES, Receipt};

/// The books of one connection's buses, and of the connections before it with the same peer. Outlives a session.
#[derive(Clone, Debug)]
pub struct Books {
    /// The peer's process; 0 for none yet.
    peer_instance: u64,
    /// Whether the peer is known to have begun these books too. A server begins before its HELLO has arrived, which it may
    /// never do.
    is_shared: bool,
    outgoing: [Outgoing; MAX_BUSES],
    incoming: [Incoming; MAX_BUSES],
}

/// Frames of one of our buses, for the peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing {
    /// The number of the next frame.
    pub next: u64,
    /// What was dropped, since our process began.
    pub losses: Losses,
    /// Where both sides began to count: the number, and the sum of the losses.
    base: (u64, u64),
    /// The same when this connection began.
    start: (u64, u64),
    /// What was found to have been lost under way.
    in_transit: u64,
}

/// Frames of the peer's bus that is matched with one of ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incoming {
    /// The number of the next frame, once LOSS has told it.
    pub expected: Option<u64>,
    /// Frames that have arrived since both sides began to count.
    arrived: u64,
    /// The same when this connection began, with the number that was expected then.
    start: (u64, u64),
    /// What the peer last said that it has dropped.
    losses: Losses,
    base: (u64, u64),
    in_transit: u64,
    /// Error frames among those that have arrived.
    pub error_frames: u64,
    /// What our side had done with frames when both sides began to count.
    disposal_base: Disposal,
}

/// What is new in a LOSS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// Numbers that will not come.
    pub missing: u64,
    /// Frames that the peer has dropped, by cause.
    pub losses: Losses,
    /// Frames that were lost under way.
    pub in_transit: u64,
}

impl Default for Books {
    fn default() -> Self {
        Self {
            peer_instance: 0,
            is_shared: false,
            outgoing: [Outgoing::default(); MAX_BUSES],
            incoming: [Incoming::default(); MAX_BUSES],
        }
    }
}

impl Books {
    /// The process of the peer that they are about; 0 for none yet.
    pub fn peer_instance(&self) -> u64 {
        self.peer_instance
    }

    /// Whether the peer is known to keep the same.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The peer has shown that it keeps the same.
    pub fn share(&mut self) {
        self.is_shared = true;
    }

    /// A connection begins. Where both sides `remember` each other, they go on; else they begin to count anew.
    pub fn begin(&mut self, peer_instance: u64, remember: bool, disposal: impl Fn(usize) -> Disposal) {
        self.peer_instance = peer_instance;
        self.is_shared &= remember;
        for outgoing in &mut self.outgoing {
            outgoing.start = (outgoing.next, outgoing.losses.total());
            if !remember {
                outgoing.base = outgoing.start;
                outgoing.in_transit = 0;
            }
        }
        for (bus, incoming) in self.incoming.iter_mut().enumerate() {
            if !remember {
                *incoming = Incoming { disposal_base: disposal(bus), ..Incoming::default() };
            }
            incoming.start = (incoming.arrived, incoming.expected.unwrap_or(0));
        }
    }

    /// Our bus's frames for the peer.
    pub fn outgoing(&self, bus: usize) -> &Outgoing {
        &self.outgoing[bus]
    }

    /// Our bus's frames for the peer, to count them.
    pub fn outgoing_mut(&mut self, bus: usize) -> &mut Outgoing {
        &mut self.outgoing[bus]
    }

    /// The peer's frames for our bus.
    pub fn incoming(&self, bus: usize) -> &Incoming {
        &self.incoming[bus]
    }

    /// The peer's frames for our bus, to count them.
    pub fn incoming_mut(&mut self, bus: usize) -> &mut Incoming {
        &mut self.incoming[bus]
    }
}

impl Outgoing {
    /// Frames are dropped: their numbers are used up.
    pub fn drop_frames(&mut self, cause: Cause, count: u64) {
        self.next += count;
        *match cause {
            Cause::Kernel => &mut self.losses.kernel,
            Cause::Stale => &mut self.losses.stale,
            Cause::SlowPeer => &mut self.losses.slow_peer,
            Cause::Outage => &mut self.losses.outage,
        } += count;
    }

    /// Frames that had been given numbers are dropped.
    pub fn drop_numbered(&mut self, cause: Cause, count: u64) {
        self.next -= count;
        self.drop_frames(cause, count);
    }

    /// The first RECEIPT of a connection says what had arrived before it: how many more frames are known now to have been
    /// lost under way.
    pub fn settle(&mut self, arrived: u64) -> u64 {
        let total = lost_in_transit(self.start, self.base, arrived);
        let new = total.saturating_sub(self.in_transit);
        self.in_transit = self.in_transit.max(total);
        new
    }
}

impl Incoming {
    /// The first LOSS of a connection, for a bus that we remember or not.
    pub fn begin(&mut self, next: u64, losses: Losses) -> News {
        let Some(expected) = self.expected else {
            self.base = (next, losses.total());
            self.losses = losses;
            self.expected = Some(next);
            return News::default();
        };
        let total = lost_in_transit((next, losses.total()), self.base, self.arrived);
        let in_transit = total.saturating_sub(self.in_transit);
        self.in_transit = self.in_transit.max(total);
        News { in_transit, ..self.advance(expected, next, losses) }
    }

    /// Whether a LOSS can follow what is known: neither its number nor any of its totals goes back.
    pub fn allows(&self, next: u64, losses: &Losses) -> bool {
        let known = &self.losses;
        let totals = [
            (losses.kernel, known.kernel),
            (losses.stale, known.stale),
            (losses.slow_peer, known.slow_peer),
            (losses.outage, known.outage),
        ];
        self.expected.is_none_or(|expected| next >= expected)
            && totals.into_iter().all(|(new, old)| new >= old)
    }

    /// Another LOSS of the same connection.
    pub fn note(&mut self, next: u64, losses: Losses) -> News {
        self.advance(self.expected.unwrap_or(next), next, losses)
    }

    /// Frames have arrived, the last of which had the number before `next`.
    pub fn arrive(&mut self, count: u64, next: u64) {
        self.arrived += count;
        self.expected = Some(next);
    }

    /// What to tell the peer: as of now, or of when this connection began.
    pub fn receipt(&self, at_start: bool, disposal: Disposal) -> (u64, Receipt) {
        let (arrived, expected) =
            if at_start { self.start } else { (self.arrived, self.expected.unwrap_or(0)) };
        let receipt = Receipt {
            arrived,
            accepted: disposal.accepted.saturating_sub(self.disposal_base.accepted),
            stale: disposal.stale.saturating_sub(self.disposal_base.stale),
            refused: disposal.refused.saturating_sub(self.disposal_base.refused) + self.error_frames,
        };
        (expected, receipt)
    }

    fn advance(&mut self, expected: u64, next: u64, losses: Losses) -> News {
        let news = News {
            missing: next.saturating_sub(expected),
            losses: losses.since(&self.losses),
            in_transit: 0,
        };
        self.losses = losses;
        self.expected = Some(expected.max(next));
        news
    }
}

/// Numbers used up since both sides began to count, less what was dropped, less what has arrived.
fn lost_in_transit(start: (u64, u64), base: (u64, u64), arrived: u64) -> u64 {
    let numbered = start.0.saturating_sub(base.0);
    let dropped = start.1.saturating_sub(base.1);
    numbered.saturating_sub(dropped).saturating_sub(arrived)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(outage: u64) -> Losses {
        Losses { outage, ..Losses::default() }
    }

    /// 100 frames are sent, of which 93 arrive before the connection breaks; 40 more come during the outage.
    #[test]
    fn both_ends_agree_on_what_an_outage_cost() {
        let nothing = |_| Disposal::default();
        let (mut sender, mut receiver) = (Books::default(), Books::default());
        sender.begin(2, false, nothing);
        receiver.begin(1, false, nothing);
        assert_eq!(receiver.incoming_mut(0).begin(0, losses(0)), News::default());
        sender.outgoing_mut(0).next += 100;
        receiver.incoming_mut(0).arrive(93, 93);
        sender.outgoing_mut(0).drop_frames(Cause::Outage, 40);

        sender.begin(2, true, nothing);
        receiver.begin(1, true, nothing);
        let (expected, receipt) = receiver.incoming(0).receipt(true, Disposal::default());
        assert_eq!((expected, receipt.arrived), (93, 93));
        assert_eq!(sender.outgoing_mut(0).settle(receipt.arrived), 7);
        let news = receiver.incoming_mut(0).begin(140, losses(40));
        assert_eq!(news, News { missing: 47, losses: losses(40), in_transit: 7 });

        // A second outage, without loss under way, brings nothing that was counted before.
        sender.outgoing_mut(0).next += 10;
        receiver.incoming_mut(0).arrive(10, 150);
        sender.outgoing_mut(0).drop_frames(Cause::Outage, 5);
        sender.begin(2, true, nothing);
        receiver.begin(1, true, nothing);
        assert_eq!(sender.outgoing_mut(0).settle(receiver.incoming(0).start.0), 0);
        let news = receiver.incoming_mut(0).begin(155, losses(45));
        assert_eq!(news, News { missing: 5, losses: losses(5), in_transit: 0 });
    }

    #[test]
    fn who_is_not_remembered_begins_anew() {
        let disposal = |_| Disposal { accepted: 50, stale: 2, refused: 1 };
        let mut receiver = Books::default();
        receiver.begin(1, false, disposal);
        receiver.incoming_mut(0).begin(0, losses(0));
        receiver.incoming_mut(0).arrive(50, 50);
        receiver.begin(3, false, disposal);
        assert_eq!(receiver.incoming_mut(0).begin(1_000, losses(900)), News::default());
        assert_eq!(receiver.incoming(0).expected, Some(1_000));
        let now = Disposal { accepted: 60, stale: 2, refused: 1 };
        let (_, receipt) = receiver.incoming(0).receipt(false, now);
        assert_eq!(receipt, Receipt { arrived: 0, accepted: 10, stale: 0, refused: 0 });
    }

    #[test]
    fn frames_that_were_numbered_can_still_be_dropped() {
        let mut outgoing = Outgoing { next: 10, ..Outgoing::default() };
        outgoing.drop_numbered(Cause::Stale, 4);
        assert_eq!((outgoing.next, outgoing.losses.stale), (10, 4));
    }

    #[test]
    fn nonsense_adds_up_to_nothing() {
        let mut incoming = Incoming::default();
        incoming.begin(u64::MAX, losses(u64::MAX));
        assert_eq!(incoming.begin(0, losses(0)), News::default());
        assert_eq!(incoming.note(u64::MAX, losses(3)).losses, losses(3));
    }
}
