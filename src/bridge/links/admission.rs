//! Who gets a place at a server, and who waits in front of it.
//!
//! ```text
//!  accepted ──► half-open ── greeted, or a frame of version 4.0 ──► place ──► gone
//!               HALF_OPEN_MAX at most                │              --max-clients at most
//!               2 s for each step, 10 s for HELLO    └► none free: turned away, and told so where there is a word for it
//! ```
//!
//! Noise stays in front: it takes no place until it has spoken the protocol, and it cannot fill the front either, since who
//! waits there longest goes first, of the address that has the most.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::SockRef;
use tracing::warn;

use super::{Attention, Links, MAX_LINKS, MAX_PARKED};
use crate::bridge::link::{Ending, Link};
use crate::bridge::platform::Platform;
use crate::engine::Engine;
use crate::moment::Moment;
use crate::session::{Role, Version};

/// Connections without a place: those that have not greeted, and those that are being closed. As many as may come at once
/// when a server is started anew; more wait to be accepted, which the kernel does for 512 of them.
const HALF_OPEN_MAX: usize = 128;

/// So long a connection is let be before it makes room for others: the round trips of a greeting and HELLO, far away.
const HALF_OPEN_LEAST: Duration = Duration::from_millis(500);

/// The most places that there can be: the table also holds who waits in front.
pub const MAX_CLIENTS: usize = 320;

const _: () = assert!(MAX_CLIENTS + HALF_OPEN_MAX + MAX_PARKED <= MAX_LINKS);

impl<P: Platform> Links<P> {
    /// So many clients have a place at the same time, [`MAX_CLIENTS`] at most.
    pub fn limit_clients(&mut self, clients: usize) {
        self.places = clients.min(MAX_CLIENTS);
    }

    /// Whether there is room for another connection. If need be, one that has had its time makes some.
    pub fn make_room<E: Engine>(&mut self, engine: &mut E) -> bool {
        let waiting = self.table.iter().flatten().filter(|link| is_in_front(link));
        if waiting.count() < HALF_OPEN_MAX {
            return true;
        }
        let Some(index) = self.longest_in_front() else { return false };
        let Some(link) = &self.table[index] else { return false };
        let name = link.name.clone();
        // One that is being closed was counted when that began.
        let is_news = !link.is_ending();
        self.take_out(engine, index);
        if is_news {
            self.past.turned_away += 1;
            if self.refusals.allows() {
                warn!("{name} dropped: it has not greeted, and {HALF_OPEN_MAX} others have not either");
            }
        }
        true
    }

    /// Of the connections without a place, the oldest of the address that has the most, once it has had its time.
    fn longest_in_front(&self) -> Option<usize> {
        let latest = self.platform.now();
        self.first_to_go(is_in_front, |link| {
            (link.opened_at.after(HALF_OPEN_LEAST) <= latest).then_some(link.opened_at)
        })
    }

    /// Of the links that are kept for peers that may return, the oldest of the address that has the most, if there are as
    /// many as may be: who makes up peers, and leaves, pushes out nobody else's.
    pub(super) fn longest_parked(&self) -> Option<usize> {
        let count = self.table.iter().flatten().filter(|link| link.is_parked()).count();
        let parked = || self.first_to_go(Link::is_parked, |link| link.deadline());
        if count >= MAX_PARKED { parked() } else { None }
    }

    /// Of the links of a kind, the first by time that may go, of the address that has the most. None where those are to
    /// be let be yet: nobody else makes room for them.
    fn first_to_go(
        &self,
        is_of_kind: impl Fn(&Link) -> bool,
        may_go: impl Fn(&Link) -> Option<Moment>,
    ) -> Option<usize> {
        let links =
            || self.table.iter().enumerate().filter_map(|(index, link)| Some((index, link.as_ref()?)));
        let of_kind = || links().filter(|(_, link)| is_of_kind(link));
        let share = |link: &Link| of_kind().filter(|(_, other)| other.network == link.network).count();
        let most = of_kind().map(|(_, link)| share(link)).max()?;
        let candidates = of_kind().filter(|(_, link)| share(link) == most);
        candidates.filter_map(|(index, link)| Some((may_go(link)?, index))).min().map(|(_, index)| index)
    }

    /// A client has shown who it is: it gets a place, or is turned away. One that has a place already, by another connection,
    /// has this one's instead.
    pub(super) fn admit(&mut self, index: usize, now: Moment) {
        let Some(link) = &self.table[index] else { return };
        if self.session.role == Role::Client || link.has_place || !has_shown_itself(link) {
            return;
        }
        if self.taken_places() >= self.places
            && !self.has_place_elsewhere(index)
            && !self.free_silent(index, now)
        {
            self.turn_away(index, now);
            return;
        }
        if let Some(link) = &mut self.table[index] {
            link.has_place = true;
        }
    }

    fn taken_places(&self) -> usize {
        self.table.iter().flatten().filter(|link| holds_place(link)).count()
    }

    /// Whether the same process has a connection, which this one is about to replace.
    fn has_place_elsewhere(&self, index: usize) -> bool {
        let instance = self.table[index].as_ref().and_then(|link| link.session.peer_instance());
        let others = self.table.iter().enumerate().filter(|(other, _)| *other != index);
        instance.is_some()
            && others
                .filter_map(|(_, link)| link.as_ref())
                .any(|link| holds_place(link) && link.sought_past && link.session.peer_instance() == instance)
    }

    /// Who has never said anything, as clients of version 4.0 may whose bus is silent, gives its place to one that has.
    fn free_silent(&mut self, index: usize, now: Moment) -> bool {
        if self.table[index].as_ref().is_none_or(is_silent) {
            return false;
        }
        let links = self.table.iter().enumerate().filter_map(|(index, link)| Some((index, link.as_ref()?)));
        let silent = links.filter(|(_, link)| holds_place(link) && is_silent(link));
        let Some((oldest, _)) = silent.min_by_key(|(_, link)| link.opened_at) else { return false };
        self.turn_away(oldest, now);
        true
    }

    fn turn_away(&mut self, index: usize, now: Moment) {
        let Some(link) = &mut self.table[index] else { return };
        link.turn_away(now);
        self.past.turned_away += 1;
        self.mark(index, Attention::Whole);
    }
}

/// Whether a connection has no place, or none any more.
fn is_in_front(link: &Link) -> bool {
    !link.is_parked() && !holds_place(link)
}

fn holds_place(link: &Link) -> bool {
    link.has_place && !link.is_parked() && !link.is_replaced && !link.is_turned_away
}

/// Whether it is known what the peer speaks, and in version 5 who it is.
fn has_shown_itself(link: &Link) -> bool {
    let Some(agreement) = link.session.agreement().filter(|_| !link.is_ending()) else { return false };
    agreement.version != Version::V5 || link.session.peer_instance().is_some()
}

/// Whether nothing has come that only a peer would send.
fn is_silent(link: &Link) -> bool {
    let speaks_4_0 = link.session.agreement().is_some_and(|agreement| agreement.version == Version::V40);
    speaks_4_0 && link.counters().arrived == 0
}

/// Who the peer of a connection is, as far as its address says.
pub fn network_of(stream: &OwnedFd) -> Option<IpAddr> {
    let address = SockRef::from(stream).peer_addr().ok()?;
    address.as_socket().map(|address| network(address.ip()))
}

/// An address as its owner has it: of IPv6 the first half, whose other half a host chooses as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Link {
    /// There is no place for the peer: it is told so where there is a word for it, and heard no more.
    fn turn_away(&mut self, now: Moment) {
        self.is_turned_away = true;
        if self.outbound.turn_away(&mut self.session) {
            self.close_with(now, Ending::TurnedAway);
        } else {
            self.drain(Ending::TurnedAway);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_address_however_many_it_uses() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
