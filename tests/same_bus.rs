//! Buses that one connection joins to themselves, or to each other twice: what one end took from a bus would come back to it,
//! for ever. Each end finds that out from the other's HELLO, and refuses. What two connections join is for their hosts to say.

use std::time::Duration;

use canip_peer::buffer::SendBuffer;
use canip_peer::frame::{Frame, Identifier};
use canip_peer::moment::{Moment, Now, WallTime};
use canip_peer::session::{
    Fault, FrameQueue, Identity, Join, Outcome, Progress, Protocol, ReceivedFrame, Role, Session,
    SessionConfig,
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
        server.join();
        open(&mut server, &mut client).unwrap();
        client.join();
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

/// A bus that is matched in order, and one for load tests.
const SERVER: [Bus; 3] = [("", "can0", 5), ("body", "can1", 6), ("canip-bench", "bench", 7)];
const CLIENT: [Bus; 3] = [("body", "can3", 8), ("canip-bench", "soft", 9), ("", "can2", 10)];

fn already(interface: &str, peers: &str) -> Fault {
    Fault::AlreadyJoined { interface: Name::new(interface), peers: Name::new(peers) }
}

const NOW: Now = Now { monotonic: Moment::from_nanos(0), wall: WallTime::from_nanos(1) };

#[test]
fn a_server_waits_until_it_is_said_whether_the_buses_may_be_joined() {
    let (mut server, mut client) = (session(Role::Server, &SERVER), session(Role::Client, &CLIENT));
    open(&mut client, &mut server).unwrap();
    open(&mut server, &mut client).unwrap();
    assert!(!server.awaits_join() && server.joins().next().is_none());
    open(&mut client, &mut server).unwrap();
    // Load tests share their bus.
    let pairs: Vec<Join> = server.joins().collect();
    assert_eq!(pairs, [Join { bus: 0, ours: 5, peers: 10 }, Join { bus: 1, ours: 6, peers: 8 }]);
    let mut out = SendBuffer::with_capacity(4096);
    server.open(true, NOW, &mut out);
    assert!(server.awaits_join() && out.unsent().is_empty());
    // Refused, it says why, and hears nothing more.
    assert_eq!(server.refuse_to_join(1, &mut out), Some(already("can1", "can3")));
    assert!(!server.awaits_join() && !server.carries(0) && server.peer_instance().is_none());
    let said = out.unsent().len();
    server.open(true, NOW, &mut out);
    assert_eq!((out.unsent().len(), server.is_open()), (said, false));
    let progress = server.receive(&[0xFF; 100], NOW, &mut NoFrames);
    assert_eq!(progress, Ok(Progress { consumed: 100, blocked: false }));
    assert_eq!(client.receive(out.unsent(), NOW, &mut NoFrames), Err(already("can3", "can1")));
}

#[test]
fn a_client_reads_no_frame_before_it_is_said_whether_the_buses_may_be_joined() {
    let (mut server, mut client) = (session(Role::Server, &SERVER), session(Role::Client, &CLIENT));
    open(&mut client, &mut server).unwrap();
    open(&mut server, &mut client).unwrap();
    open(&mut client, &mut server).unwrap();
    server.join();
    let mut out = SendBuffer::with_capacity(4096);
    server.open(true, NOW, &mut out);
    let frame = Frame::data(Identifier::standard(0x123).unwrap(), &[1]).unwrap();
    assert_eq!(server.send(0, frame.image(), NOW.wall, &mut out), Outcome::Queued);
    // Its HELLO, and nothing behind it.
    let progress = client.receive(out.unsent(), NOW, &mut NoFrames).unwrap();
    assert_eq!(progress, Progress { consumed: 16 + 24 + 3 * 40, blocked: true });
    let again = client.receive(&out.unsent()[progress.consumed..], NOW, &mut NoFrames);
    assert_eq!(again, Ok(Progress { consumed: 0, blocked: true }));
    let pairs: Vec<Join> = client.joins().collect();
    assert_eq!(pairs, [Join { bus: 0, ours: 8, peers: 6 }, Join { bus: 2, ours: 10, peers: 5 }]);
    // Refused, it says why before any frame.
    let mut said = SendBuffer::with_capacity(4096);
    assert_eq!(client.refuse_to_join(2, &mut said), Some(already("can2", "can0")));
    let rest = out.unsent().len() - progress.consumed;
    let progress = client.receive(&out.unsent()[progress.consumed..], NOW, &mut NoFrames);
    assert_eq!(progress, Ok(Progress { consumed: rest, blocked: false }));
    assert_eq!(server.receive(said.unsent(), NOW, &mut NoFrames), Err(already("can0", "can2")));
}

#[test]
fn whoever_refuses_before_the_greeting_is_answered_greets_first() {
    let (mut server, mut client) = (session(Role::Server, &SERVER), session(Role::Client, &CLIENT));
    let mut both = SendBuffer::with_capacity(4096);
    client.open(true, NOW, &mut both);
    // One that does not wait for the server's line before it sends HELLO.
    client.receive(b"CANIP/4.1 V=5\n", NOW, &mut NoFrames).unwrap();
    client.open(true, NOW, &mut both);
    server.receive(both.unsent(), NOW, &mut NoFrames).unwrap();
    let mut out = SendBuffer::with_capacity(4096);
    assert!(server.refuse_to_join(0, &mut out).is_some());
    assert!(out.unsent().starts_with(b"CANIP/4.1 "), "{:?}", out.unsent());
}

#[test]
fn the_error_about_a_second_connection_names_both_buses_and_says_what_to_do() {
    assert_eq!(
        already("can0", "vcan1").to_string(),
        "would join our can0 to its vcan1, as another connection does already, and frames would go round for ever: end \
         one of the two"
    );
}

#[test]
fn the_error_names_the_bus_and_says_what_to_do() {
    let fault = Fault::SameBus { interface: Name::new("vcan0") };
    assert_eq!(
        fault.to_string(),
        "has the bus vcan0 on the same host as this end, and frames would go round for ever: give one end another --can"
    );
}
