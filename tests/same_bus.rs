//! Buses that one connection joins to themselves, or to each other twice: what one end took from a bus would come back to it,
//! for ever. Each end finds that out from the other's HELLO, and refuses.

use std::time::Duration;

use canip_peer::buffer::SendBuffer;
use canip_peer::moment::{Moment, Now, WallTime};
use canip_peer::session::{
    Fault, FrameQueue, Identity, Protocol, ReceivedFrame, Role, Session, SessionConfig,
};
use canip_peer::wire::greeting::Features;
use canip_peer::wire::v5::{BusName, Name};

/// No frame comes before both have agreed.
struct NoFrames;

impl FrameQueue for NoFrames {
    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn push(&mut self, _: usize, _: ReceivedFrame) {
        panic!("a frame, although the link was refused");
    }
}

/// A bus by the name that it is matched by, its interface, and its identity.
type Bus = (&'static str, &'static str, u64);

fn session(role: Role, buses: &[Bus]) -> Session {
    let named = |&(name, interface, identity): &Bus| BusName {
        matched_by: Name::new(name),
        interface: Name::new(interface),
        identity,
    };
    let identity = Identity {
        instance: if role == Role::Client { 7 } else { 9 },
        heartbeat: Duration::ZERO,
        buses: buses.iter().map(named).collect(),
    };
    let config = SessionConfig { role, protocol: Protocol::V5, offer: Features::default(), identity };
    Session::new(config, None, Moment::default())
}

/// Hands over what a session opens with; what the other makes of it.
fn open(from: &mut Session, to: &mut Session) -> Result<(), Fault> {
    let now = Now { monotonic: Moment::default(), wall: WallTime::from_nanos(1) };
    let mut out = SendBuffer::with_capacity(4096);
    from.open(true, now, &mut out);
    to.receive(out.unsent(), now, &mut NoFrames).map(|_| ())
}

/// What server and client say to each other's buses: the server's fault, then the client's.
fn greet(server: &[Bus], client: &[Bus]) -> [Option<Fault>; 2] {
    let (mut server, mut client) = (session(Role::Server, server), session(Role::Client, client));
    // The lines, and the client's HELLO.
    open(&mut client, &mut server).unwrap();
    open(&mut server, &mut client).unwrap();
    let Err(fault) = open(&mut client, &mut server) else {
        open(&mut server, &mut client).unwrap();
        assert!(server.is_open());
        return [None, None];
    };
    // Before it closes the connection, the server says who it is, so that the client finds out why.
    let mut out = SendBuffer::with_capacity(4096);
    assert!(server.refuse(&mut out));
    // Nothing else comes of it.
    assert!(!server.carries(0) && server.peer_instance().is_none());
    let said = out.unsent().len();
    server.open(true, Now { monotonic: Moment::default(), wall: WallTime::from_nanos(1) }, &mut out);
    assert_eq!((out.unsent().len(), server.is_open()), (said, false));
    let now = Now { monotonic: Moment::default(), wall: WallTime::from_nanos(1) };
    let found = client.receive(out.unsent(), now, &mut NoFrames).unwrap_err();
    [Some(fault), Some(found)]
}

fn ring(interface: &str) -> Option<Fault> {
    Some(Fault::Ring { interface: Name::new(interface) })
}

fn same(interface: &str) -> Option<Fault> {
    Some(Fault::SameBus { interface: Name::new(interface) })
}

#[test]
fn one_bus_at_both_ends_is_refused_by_both() {
    assert_eq!(greet(&[("", "can0", 5)], &[("", "can0", 5)]), [same("can0"), same("can0")]);
}

#[test]
fn other_buses_and_unknown_ones_are_not() {
    assert_eq!(greet(&[("", "can0", 5)], &[("", "can0", 6)]), [None, None]);
    assert_eq!(greet(&[("", "can0", 0)], &[("", "can0", 0)]), [None, None]);
    assert_eq!(greet(&[("", "can0", 5)], &[("", "can0", 0)]), [None, None]);
}

#[test]
fn of_several_buses_the_matched_ones_count() {
    // can1 is matched with itself; the others are not, whatever their place in the list.
    let server = [("body", "can0", 5), ("engine", "can1", 6)];
    let client = [("engine", "can1", 6), ("door", "can0", 5)];
    assert_eq!(greet(&server, &client), [same("can1"), same("can1")]);
    assert_eq!(greet(&server, &[("engine", "can2", 7), ("door", "can1", 6)]), [None, None]);
}

#[test]
fn buses_that_one_connection_joins_twice_are_refused_too() {
    // can0 with can1 by one name, and with can1 by the other.
    let server = [("body", "can0", 5), ("engine", "can1", 6)];
    let crosswise = [("body", "can1", 6), ("engine", "can0", 5)];
    assert_eq!(greet(&server, &crosswise), [ring("can1"), ring("can0")]);
    // can0 with can1, can1 with can2, can2 with can0.
    let server = [("a", "can0", 5), ("b", "can1", 6), ("c", "can2", 7)];
    let round = [("a", "can1", 6), ("b", "can2", 7), ("c", "can0", 5)];
    assert_eq!(greet(&server, &round), [ring("can2"), ring("can0")]);
    // A chain is no ring, and neither are two links from one bus.
    let chain = [("a", "can1", 6), ("b", "can2", 7), ("c", "can3", 8)];
    assert_eq!(greet(&server, &chain), [None, None]);
    let star = [("a", "can0", 5), ("b", "can0", 5)];
    assert_eq!(greet(&star, &[("a", "can1", 6), ("b", "can2", 7)]), [None, None]);
    // Of one that is not known nothing can be said.
    let unknown = [("body", "can1", 0), ("engine", "can0", 5)];
    assert_eq!(greet(&[("body", "can0", 5), ("engine", "can1", 6)], &unknown), [None, None]);
}

#[test]
fn the_error_names_the_bus_and_says_what_to_do() {
    let fault = Fault::SameBus { interface: Name::new("vcan0") };
    assert_eq!(
        fault.to_string(),
        "has the bus vcan0 on the same host as this end, and frames would go round for ever: give one end another --can"
    );
}
