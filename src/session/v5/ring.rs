//! Whether the pairs of one connection let frames go round: a bus that is joined to itself, or two that are joined twice.

use crate::session::Fault;
use crate::wire::v5::{BusName, MAX_BUSES};

/// Looks at pairs of matched buses, ours first. Buses whose identity is not known join nothing.
pub fn find<'a>(pairs: impl Iterator<Item = (&'a BusName, &'a BusName)>) -> Option<Fault> {
    // Buses that frames can reach from each other, so far, share a group. Every pair adds two at most.
    let mut groups = [(0, 0); 2 * MAX_BUSES];
    let mut known = 0;
    for (ours, peers) in
        pairs.take(MAX_BUSES).filter(|(ours, peers)| ours.identity != 0 && peers.identity != 0)
    {
        if ours.identity == peers.identity {
            return Some(Fault::SameBus { interface: ours.interface });
        }
        let [our_group, peers_group] = [ours.identity, peers.identity].map(|identity| {
            let found = groups[..known].iter().find(|(member, _)| *member == identity);
            found.map(|(_, group)| *group).unwrap_or_else(|| {
                groups[known] = (identity, known);
                known += 1;
                known - 1
            })
        });
        if our_group == peers_group {
            return Some(Fault::Ring { interface: ours.interface });
        }
        for (_, group) in groups[..known].iter_mut().filter(|(_, group)| *group == peers_group) {
            *group = our_group;
        }
    }
    None
}
