//! Connections with the same peer that follow each other: buses and books go from one to the next.

use std::time::Duration;

use tokio::sync::oneshot;

use super::phases::Phase;
use super::{Ended, Ending, Link};
use crate::bridge::link_bus::{LinkBus, LinkBuses};
use crate::engine::StreamId;
use crate::moment::Moment;
use crate::session::{Books, Fault, Role, Session, SessionConfig};
use crate::wire::v5::Goodbye;

/// How long a server counts, for a peer whose connection broke, the frames that it misses. A client tries again within half a
/// second where nobody listens, and within five where it is turned away (`bridge/backoff.rs`), so that this is a dozen attempts
/// at the least; who stays away for longer begins anew.
const PARKED: Duration = Duration::from_secs(60);

impl Link {
    /// Whether another connection with the same peer may go on where this one ends. A client tries its one server again
    /// whatever came of this attempt; a server expects a client only if it knows it, and it behaved.
    pub fn may_return(&self, role: Role) -> bool {
        let broke = match &self.phase {
            Phase::Draining { ending, .. } => match ending {
                Ending::Broken(_)
                | Ending::ClosedByPeer
                | Ending::Fault(Fault::Dead | Fault::Truncated { .. }) => true,
                Ending::Fault(_) => role == Role::Client,
                Ending::Stopped | Ending::TurnedAway => false,
            },
            _ => false,
        };
        let is_known = match role {
            Role::Client => true,
            Role::Server => !self.peer_left && self.session.peer_instance().is_some(),
        };
        broke && is_known && !self.is_replaced && self.session.keeps_books()
    }

    /// The connection is gone. Frames are counted for the peer until it is back: for ever as a client, whose own bus it
    /// is about, and for a while as a server. Tells whoever waits for the end.
    pub fn park(&mut self, now: Moment, for_ever: bool) -> String {
        let until = (!for_ever).then(|| now.after(PARKED));
        let ending = match std::mem::replace(&mut self.phase, Phase::Parked { until }) {
            Phase::Draining { ending, .. } => ending,
            _ => Ending::Stopped,
        };
        self.past.faults += u64::from(ending.is_fault());
        self.stream = None;
        self.try_buses_anew();
        let lost = self.outbound.reset(&mut self.session);
        // Frames of every bus: they wait in one buffer, and nothing shows these counts but their sum over a link's buses. The
        // session's books, which the peer is told of, have each under its own bus.
        self.buses[0].counts.outage += lost;
        let reason = ending.to_string();
        self.tell_end(ending);
        reason
    }

    /// Goes on with another connection of the same peer.
    pub fn resume(
        &mut self,
        config: SessionConfig,
        stream: StreamId,
        on_end: oneshot::Sender<Ended>,
        now: Moment,
    ) {
        self.past.add(&self.session_counters());
        let fresh = Session::new(config.clone(), None, now);
        let books = std::mem::replace(&mut self.session, fresh).into_books();
        self.session = Session::new(config, books, now);
        self.stream = Some(stream);
        self.try_buses_anew();
        self.phase = Phase::Running;
        (self.announced, self.peer_left) = (false, false);
        self.buses.iter_mut().for_each(|bus| bus.inbound.begin_anew(now));
        self.on_end = Some(on_end);
    }

    /// Who opens buses looks no further once no link wants one, and a link that ends, or does not know its peer yet, wants
    /// none: one that could not be opened before would never be.
    fn try_buses_anew(&mut self) {
        self.buses.iter_mut().for_each(|bus| bus.failed = false);
    }

    /// The peer has made another connection, to which the buses go, and the books as they are then: what waits here for
    /// the peer is dropped before, and what it still sends here is not taken.
    pub fn replace(&mut self, now: Moment) -> LinkBuses {
        self.is_replaced = true;
        let lost = self.outbound.discard(&mut self.session);
        // Of every bus, as above.
        self.buses[0].counts.outage += lost;
        let max_age = self.max_age;
        let empty = self.buses.iter().map(|_| LinkBus::new(max_age, None)).collect();
        self.close(now, Goodbye::Replaced, None);
        let buses = std::mem::replace(&mut self.buses, empty);
        // What was counted on them goes along.
        self.reported = self.counters();
        buses
    }

    /// Takes over the buses of an earlier link with the same peer, and its books.
    pub fn succeed(&mut self, buses: LinkBuses, books: Books, now: Moment) {
        for (bus, disposal) in buses.iter().map(|bus| bus.inbound.disposal()).enumerate() {
            self.session.note_disposal(bus, disposal);
        }
        self.buses = buses;
        self.buses.iter_mut().for_each(|bus| bus.inbound.begin_anew(now));
        self.session.adopt(books);
        self.reported = self.counters();
    }
}
