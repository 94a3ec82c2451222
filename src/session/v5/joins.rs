//! Pairs of buses that a connection would join, and that no other one may join too: what one carried across, the other
//! would carry back, for ever. Only the host knows which pairs are joined already; it is asked when the peer's HELLO has come,
//! and nothing of the peer is read before it has answered.

use super::{Conversation, Stage};
use crate::buffer::SendBuffer;
use crate::session::{Fault, Join, Role};
use crate::wire::echo;
use crate::wire::v5::{Goodbye, MAX_BUSES, Name};

impl Conversation {
    /// Whether it is to be said whether the pairs may be joined.
    pub fn awaits_join(&self) -> bool {
        self.awaits_join
    }

    /// The pairs whose buses are known. All load tests share one bus of a server, on which nothing goes round.
    pub fn joins(&self) -> impl Iterator<Item = Join> {
        (0..MAX_BUSES).filter_map(|bus| {
            let ours = self.identity.buses.get(bus)?;
            let peers = self.peer.as_ref()?.buses().get(usize::from(self.matching.peers(bus)?))?;
            let is_known = ours.identity != 0 && peers.identity != 0;
            let is_for_tests = ours.matched_by == Name::new(echo::BUS);
            (is_known && !is_for_tests).then_some(Join { bus, ours: ours.identity, peers: peers.identity })
        })
    }

    /// No other connection joins any of the pairs.
    pub fn join(&mut self) {
        self.awaits_join = false;
        // A server may have books of this client elsewhere, and begins with those.
        if let Some(peer) = self.peer.filter(|_| self.role == Role::Client) {
            self.begin_books(&peer);
            // The server has begun with its HELLO.
            self.books.share();
        }
    }

    /// Another connection joins a pair. The peer may not be able to see that, and is told by GOODBYE; the books stay as they
    /// are.
    pub fn refuse_to_join(&mut self, bus: usize, out: &mut SendBuffer) -> (Fault, bool) {
        debug_assert!(self.awaits_join && self.stage == Stage::AwaitBuses, "it is asked once");
        self.awaits_join = false;
        (self.is_silent, self.is_refused) = (true, true);
        let interface = self.identity.buses[bus].interface;
        let peers_number = self.matching.peers(bus).unwrap_or(u8::MAX);
        let peers = self.peer.as_ref().and_then(|peer| peer.buses().get(usize::from(peers_number)));
        let peers = peers.map(|bus| bus.interface).unwrap_or_default();
        let written = Goodbye::AlreadyJoined { bus: peers_number, interface }.write(out);
        (Fault::AlreadyJoined { interface, peers }, written)
    }

    /// The peer has found that another connection joins a bus of ours to one of its.
    pub(super) fn joined_already(&self, bus: u8, peers: Name) -> Fault {
        match self.identity.buses.get(usize::from(bus)) {
            Some(ours) => Fault::AlreadyJoined { interface: ours.interface, peers },
            None => Fault::UnknownBus { bus },
        }
    }
}
