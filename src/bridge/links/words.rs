//! What is said of links.

use tracing::{debug, info, warn};

use crate::bridge::bus_socket::BusSocket;
use crate::bridge::incidents::LineLimit;
use crate::bridge::link::Link;
use crate::bridge::loops::News;
use crate::metrics::{Counters, counted, was};
use crate::session::{Event, Role};
use crate::wire::v5::{Controller, Losses, Name, Presence};

/// Says once that a link is open, and returns whether it did. Its bus sockets are by then: who reads the line can send
/// a frame.
pub fn announce(link: &mut Link, role: Role, buses: &[BusSocket], visits: &mut LineLimit) -> bool {
    // A peer whose first bytes are nonsense was never connected.
    if link.announced
        || link.is_faulty()
        || link.is_parked()
        || link.is_turned_away
        || !link.has_tried_buses()
    {
        return false;
    }
    let Some(agreement) = link.session.agreement().filter(|_| link.session.is_open()) else { return false };
    link.announced = true;
    // A client has one server, which it says everything about.
    if role == Role::Server && !visits.allows() {
        return true;
    }
    match role {
        Role::Server => info!("{} connected: {agreement}", link.name),
        Role::Client => info!("connected to {}: {agreement}", link.name),
    }
    let carries = |number: usize| link.session.carries(number);
    // A load test asks for none of the user's buses, and nobody but a load test for the one that is there for it.
    let is_test = buses.iter().enumerate().any(|(number, bus)| bus.is_for_tests() && carries(number));
    let is_missed =
        |(number, bus): &(usize, &BusSocket)| !carries(*number) && !bus.is_for_tests() && !is_test;
    for (_, bus) in buses.iter().enumerate().filter(is_missed) {
        warn!("{}: nothing crosses from or to {}, which belongs to none of its buses", link.name, bus.name());
    }
    true
}

/// Says what a session has told.
pub fn tell(link: &mut Link, event: &Event, buses: &[BusSocket]) {
    // What a peer makes us say has a limit, too.
    if !link.said.allows() {
        return;
    }
    let peer = &link.name;
    match *event {
        Event::PeerBus { bus, name, state, is_first: true } => {
            let ours = &buses[bus];
            info!("{peer}: our {} is joined to its {name}, which is {state}", ours.name());
            if ours.state().carries_fd() && state.presence == Presence::Up && !state.carries_fd() {
                warn!(
                    "{peer}: CAN FD frames of our {} are refused there: its {name} carries classic ones only",
                    ours.name()
                );
            }
        }
        Event::PeerBus { name, state, .. }
            if state.presence == Presence::Up && state.controller != Controller::BusOff =>
        {
            info!("{peer}: its {name} is {state}");
        }
        Event::PeerBus { name, state, .. } => warn!("{peer}: its {name} is {state}"),
        Event::Resumed { bus, missing: 0, .. } => {
            info!("{peer}: no frame for {} was lost before the connection was back", buses[bus].name());
        }
        Event::Resumed { bus, missing, losses, in_transit } => warn!(
            "{peer}: {} for {} {} lost before the connection was back: {}",
            counted(missing, "frame"),
            buses[bus].name(),
            was(missing),
            by_cause(&losses, in_transit)
        ),
        Event::LostInTransit { bus, frames } => warn!(
            "{peer}: {} from {} {} under way when the connection broke, and lost",
            counted(frames, "frame"),
            buses[bus].name(),
            was(frames)
        ),
        Event::Anew => warn!(
            "{peer}: one of us was started anew, or has forgotten the other: what was lost meanwhile is not known"
        ),
        Event::Goodbye(_) => debug!("{peer}: it says goodbye"),
    }
}

/// Says that a peer has found that what we have it put on its bus comes back.
pub fn told_of_loop(link: &mut Link, name: &Name, ours: &BusSocket) {
    if link.said.allows() {
        warn!(
            "{}: what we send for its {name} comes back to us by another way: a loop. Nothing crosses between {name} and our {} for now",
            link.name,
            ours.name()
        );
    }
}

/// Says that what a peer has us put on a bus comes back to it, or that this is over.
pub fn looped(peer: &str, bus: &BusSocket, news: News) {
    let bus = bus.name();
    match news {
        News::Found { pause } => warn!(
            "{peer}: what it sends for {bus} comes back to it by another way: a loop. Its frames are kept off {bus} for {} s; \
             the other way must be cut, or made to let other frames pass",
            pause.as_secs()
        ),
        News::Resumed => {
            info!("{peer}: its frames go on {bus} again; if the loop is there still, it is found again")
        }
    }
}

/// Says that a connection has ended whose peer may return.
pub fn parted(link: &Link, role: Role, reason: &str, counters: &Counters, visits: &mut LineLimit) {
    match role {
        Role::Server if !visits.allows() => {}
        Role::Server => info!("{} disconnected, {reason}: {counters:#}", link.name),
        // The client's own loop says what comes next.
        Role::Client => debug!("link to {} ended, {reason}: {counters:#}", link.name),
    }
}

fn by_cause(losses: &Losses, in_transit: u64) -> String {
    let causes = [
        (losses.outage, "while there was none"),
        (in_transit, "under way when it broke"),
        (losses.kernel, "in its kernel's receive queue"),
        (losses.stale, "waited too long"),
        (losses.slow_peer, "taken too slowly by us"),
    ];
    let named = causes.into_iter().filter(|(count, _)| *count > 0);
    named.map(|(count, cause)| format!("{count} {cause}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named_as_far_as_there_are_any() {
        let losses = Losses { kernel: 0, stale: 3, slow_peer: 0, outage: 40 };
        assert_eq!(
            by_cause(&losses, 7),
            "40 while there was none, 7 under way when it broke, 3 waited too long"
        );
    }
}
