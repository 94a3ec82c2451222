//! Two buses are joined by one connection at a time. A second one, of whichever bridges of this host, would carry back what
//! the first one carries across. Each end claims its pairs on its own host when it has the peer's HELLO, and lets go of them when
//! the connection begins to end: the later one is refused.

use tracing::warn;

use super::Links;
use crate::bridge::platform::Platform;
use crate::bus::claim::Claim;
use crate::moment::Moment;
use crate::session::Join;

impl<P: Platform> Links<P> {
    /// Claims what a connection would join, or refuses it.
    pub(super) fn claim(&mut self, index: usize, now: Moment) {
        let awaits = self.table[index].as_ref().filter(|link| link.session.awaits_join());
        if awaits.is_none_or(|link| link.is_ending() || link.is_turned_away) {
            return;
        }
        let mut claims = self.take_claims_of_same_peer(index);
        let Some(link) = &mut self.table[index] else { return };
        let mut joined_already = None;
        for join in link.session.joins() {
            if claims.iter().any(|(held, _)| *held == join) {
                continue;
            }
            match self.platform.claim(join.ours, join.peers) {
                Ok(Some(claim)) => claims.push((join, claim)),
                Ok(None) => joined_already = joined_already.or(Some(join.bus)),
                // Whoever is connected without it is no worse off than with a peer whose buses are not known.
                Err(error) if link.said.allows() => {
                    let (peer, bus) = (&link.name, self.buses[join.bus].name());
                    warn!(
                        "{peer}: cannot see whether {bus} is joined to its bus by another connection: {error}"
                    );
                }
                Err(_) => {}
            }
        }
        match joined_already {
            Some(bus) => link.refuse_to_join(now, bus),
            None => {
                link.claims = claims;
                link.session.join();
            }
        }
    }

    /// A process that connects anew takes the place of its earlier connection, which may not have been found dead yet.
    fn take_claims_of_same_peer(&mut self, index: usize) -> Vec<(Join, Claim)> {
        let instance = self.table[index].as_ref().and_then(|link| link.session.peer_instance());
        let others = self.table.iter_mut().enumerate().filter(|(other, _)| *other != index);
        let same = others
            .filter_map(|(_, link)| link.as_mut())
            .filter(|link| instance.is_some() && link.session.peer_instance() == instance);
        same.flat_map(|link| std::mem::take(&mut link.claims)).collect()
    }
}
