//! Which of this side's buses belongs to which of the peer's.

use crate::wire::v5::{BusName, MAX_BUSES};

/// The pairs, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Matching {
    peers: [Option<u8>; MAX_BUSES],
    ours: [Option<u8>; MAX_BUSES],
}

impl Matching {
    /// Buses with a name are matched by it, the others in order. Names that are given twice match their first bus only.
    pub fn of(ours: &[BusName], peers: &[BusName]) -> Self {
        let mut matching = Self::default();
        for (our, bus) in (0..).zip(ours).filter(|(_, bus)| !bus.matched_by.is_empty()) {
            let same_name = peers.iter().position(|peer| peer.matched_by == bus.matched_by);
            if let Some(peer) = same_name.filter(|&peer| matching.ours[peer].is_none()) {
                matching.pair(our, peer as u8);
            }
        }
        let unnamed = |buses: &[BusName]| {
            let indices = (0u8..).zip(buses).filter(|(_, bus)| bus.matched_by.is_empty());
            indices.map(|(index, _)| index).collect::<Indices>()
        };
        for (&our, &peer) in unnamed(ours).as_slice().iter().zip(unnamed(peers).as_slice()) {
            matching.pair(our, peer);
        }
        matching
    }

    /// The peer's number for one of our buses.
    pub fn peers(&self, our: usize) -> Option<u8> {
        self.peers.get(our).copied().flatten()
    }

    /// Our number for one of the peer's buses.
    pub fn ours(&self, peer: u8) -> Option<usize> {
        self.ours.get(usize::from(peer)).copied().flatten().map(usize::from)
    }

    /// Whether nothing is matched.
    pub fn is_empty(&self) -> bool {
        self.peers.iter().all(Option::is_none)
    }

    fn pair(&mut self, our: u8, peer: u8) {
        self.peers[usize::from(our)] = Some(peer);
        self.ours[usize::from(peer)] = Some(our);
    }
}

/// A few bus numbers, without an allocation.
#[derive(Default)]
struct Indices {
    indices: [u8; MAX_BUSES],
    count: usize,
}

impl Indices {
    fn as_slice(&self) -> &[u8] {
        &self.indices[..self.count]
    }
}

impl FromIterator<u8> for Indices {
    fn from_iter<I: IntoIterator<Item = u8>>(iterator: I) -> Self {
        let mut found = Self::default();
        for (room, index) in found.indices.iter_mut().zip(iterator) {
            *room = index;
            found.count += 1;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v5::Name;

    fn buses(names: &[&str]) -> Vec<BusName> {
        let named =
            |name: &&str| BusName { matched_by: Name::new(name), interface: Name::new("can0"), identity: 0 };
        names.iter().map(named).collect()
    }

    fn pairs(ours: &[&str], peers: &[&str]) -> Vec<(usize, u8)> {
        let (ours, peers) = (buses(ours), buses(peers));
        let matching = Matching::of(&ours, &peers);
        let pairs: Vec<_> = (0..ours.len()).filter_map(|our| Some((our, matching.peers(our)?))).collect();
        // Both sides come to the same result.
        let opposite = Matching::of(&peers, &ours);
        for &(our, peer) in &pairs {
            assert_eq!(matching.ours(peer), Some(our));
            assert_eq!(
                (opposite.peers(peer.into()), opposite.ours(our as u8)),
                (Some(our as u8), Some(peer.into()))
            );
        }
        pairs
    }

    #[test]
    fn unnamed_buses_are_matched_in_order() {
        assert_eq!(pairs(&["", ""], &["", ""]), [(0, 0), (1, 1)]);
        assert_eq!(pairs(&["", "", ""], &[""]), [(0, 0)]);
    }

    #[test]
    fn names_come_first_and_do_not_match_the_unnamed() {
        assert_eq!(pairs(&["body", "engine"], &["engine", "body"]), [(0, 1), (1, 0)]);
        assert_eq!(pairs(&["", "engine", ""], &["engine", "", ""]), [(0, 1), (1, 0), (2, 2)]);
        assert_eq!(pairs(&["engine"], &[""]), []);
        assert!(Matching::of(&buses(&["engine"]), &buses(&["body"])).is_empty());
    }

    #[test]
    fn a_name_given_twice_counts_once() {
        assert_eq!(pairs(&["a", "a"], &["a", "a"]), [(0, 0)]);
    }

    #[test]
    fn buses_that_do_not_exist_match_nothing() {
        let matching = Matching::of(&buses(&[""]), &buses(&[""]));
        assert_eq!(
            (matching.peers(1), matching.peers(99), matching.ours(1), matching.ours(255)),
            (None, None, None, None)
        );
    }
}
