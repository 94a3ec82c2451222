//! Two connections that would join the same two buses: the later one is refused, and gets in when the first one has ended.

use std::time::{Duration, Instant};

use canip_peer::bus::claim::claim;
use canip_peer::bus::{BusAddress, BusKind, identity};

use crate::program::{Finished, Program, unique_name};
use crate::relay::Relay;
use crate::software_bus::Member;
use crate::{Pair, UNHURRIED, carry, client, numbered, server};

on_each_engine!(
    two_clients_of_one_server,
    two_servers_and_two_clients,
    a_server_and_a_client_at_each_end,
    found_by_the_client_alone,
    a_killed_client_gets_in_again,
    a_killed_server_is_joined_again,
    a_client_that_comes_back_is_let_in,
    each_of_several_buses_counts,
);

/// What an end says whose bus is `ours`.
fn reason(ours: &str, peers: &str) -> String {
    format!(
        "it would join our {ours} to its {peers}, as another connection does already, and frames would go round for ever"
    )
}

/// How many lines hold this.
fn count(finished: &Finished, text: &str) -> usize {
    finished.errors.iter().filter(|line| line.contains(text)).count()
}

fn two_clients_of_one_server(engine: &'static str) {
    let Pair { near, near_name, server, port, client: first, far, far_name } = Pair::start(engine, "", "");
    let second = client(engine, &far_name, port, "");
    let said = second.wait_error("turned away");
    let expected = format!(
        " WARN turned away by 127.0.0.1:{port}: {}: end one of the two; trying again",
        reason(&far_name, &near_name)
    );
    assert!(said.ends_with(&expected), "{said}");
    let said = server.wait_error(" refused: ");
    assert!(
        said.ends_with(&format!(" refused: {}: end one of the two", reason(&near_name, &far_name))),
        "{said}"
    );
    // The first one goes on: each frame crosses once, while the second one tries again.
    carry(&near, &[&far], &numbered(1, 2_000));
    carry(&far, &[&near], &numbered(2, 2_000));
    server.wait_errors(" refused: ", 3);
    let finished = first.interrupt();
    let totals = finished.totals();
    assert_eq!((totals["sent"], totals["received"], totals["missing"]), (2_000, 2_000, 0), "{totals:?}");
    // Now there is one connection again.
    second.wait_error("connected to 127.0.0.1:");
    server.wait_errors("connected: version 5", 2);
    carry(&near, &[&far], &numbered(3, 100));
    carry(&far, &[&near], &numbered(4, 100));
    let second = second.interrupt();
    assert_eq!(count(&second, "turned away"), 1, "{:?}", second.errors);
    assert_eq!(second.totals()["received"], 100);
    let totals = server.interrupt().totals();
    assert_eq!((totals["sent"], totals["received"]), (2_100, 2_100), "{totals:?}");
    assert_eq!([near.count(), far.count()], [2_100, 2_100]);
}

/// Starts a second connection between the buses of a pair, which is refused by both ends, until the pair's client ends.
fn assert_refused_meanwhile(engine: &str, pair: Pair, server_bus: &str, client_bus: &str) {
    let another = server(engine, server_bus, "");
    let second = client(engine, client_bus, another.port(), "");
    second.wait_error(&reason(client_bus, server_bus));
    another.wait_error(&reason(server_bus, client_bus));
    carry(&pair.near, &[&pair.far], &numbered(1, 100));
    carry(&pair.far, &[&pair.near], &numbered(2, 100));
    pair.client.interrupt().totals();
    second.wait_error("connected to 127.0.0.1:");
    carry(&pair.near, &[&pair.far], &numbered(3, 100));
    assert_eq!(second.interrupt().totals()["missing"], 0);
    another.interrupt().totals();
    pair.server.interrupt().totals();
}

fn two_servers_and_two_clients(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    let (near, far) = (pair.near_name.clone(), pair.far_name.clone());
    assert_refused_meanwhile(engine, pair, &near, &far);
}

/// The second connection is made the other way round.
fn a_server_and_a_client_at_each_end(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    let (near, far) = (pair.near_name.clone(), pair.far_name.clone());
    assert_refused_meanwhile(engine, pair, &far, &near);
}

/// As when two connections are made at the same time, one each way: the server of this one has seen nothing.
fn found_by_the_client_alone(engine: &'static str) {
    let (near_name, far_name) = (unique_name("near"), unique_name("far"));
    let (near, far) = (Member::join(&near_name), Member::join(&far_name));
    let identity = |name: &str| {
        identity::of(&BusAddress { kind: BusKind::Software, name: name.to_owned(), paced_bit_rate: None })
    };
    let held = claim(identity(&far_name), identity(&near_name)).unwrap().unwrap();
    let server = server(engine, &near_name, "");
    let client = client(engine, &far_name, server.port(), "");
    client.wait_error(&format!(
        "turned away by 127.0.0.1:{}: {}",
        server.port(),
        reason(&far_name, &near_name)
    ));
    let said = server.wait_error(" disconnected, ");
    assert!(said.contains(" WARN ") && said.contains(&reason(&near_name, &far_name)), "{said}");
    drop(held);
    client.wait_error("connected to 127.0.0.1:");
    carry(&near, &[&far], &numbered(1, 100));
    carry(&far, &[&near], &numbered(2, 100));
    // Nothing was lost, and nothing had to begin anew.
    for finished in [client.interrupt(), server.interrupt()] {
        assert_eq!((finished.totals()["received"], count(&finished, "is not known")), (100, 0));
    }
}

/// Its kernel has ended the connection when it starts again, or does so before it tries for the second time.
fn a_killed_client_gets_in_again(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    pair.client.signal("KILL");
    pair.client.finish();
    let started_at = Instant::now();
    let again = client(engine, &pair.far_name, pair.port, "");
    again.wait_error("connected to 127.0.0.1:");
    let elapsed = started_at.elapsed();
    pair.server.wait_errors("connected: version 5", 2);
    carry(&pair.near, &[&pair.far], &numbered(1, 100));
    again.interrupt().totals();
    let refused = count(&pair.server.interrupt(), " refused: ");
    assert!(refused <= 1 && elapsed < Duration::from_secs(1), "{elapsed:?}, refused {refused} times");
}

fn a_killed_server_is_joined_again(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    pair.server.signal("KILL");
    pair.server.finish();
    let options = format!("--engine {engine} {UNHURRIED} --can-interface software --can {}", pair.near_name);
    let again = Program::bridge(&format!("server {options} --bind 127.0.0.1 --port {}", pair.port));
    again.wait_error("connected: version 5");
    pair.client.wait_errors("connected to 127.0.0.1:", 2);
    carry(&pair.near, &[&pair.far], &numbered(1, 100));
    for finished in [pair.client.interrupt(), again.interrupt()] {
        assert_eq!(count(&finished, "as another connection does"), 0, "{:?}", finished.errors);
    }
}

/// Whether its server has noticed that the connection is gone, or has not.
fn a_client_that_comes_back_is_let_in(engine: &'static str) {
    let (near_name, far_name) = (unique_name("near"), unique_name("far"));
    let (near, far) = (Member::join(&near_name), Member::join(&far_name));
    // A server that takes nobody for dead.
    let server = server(engine, &near_name, "--heartbeat 0");
    let relay = Relay::to(server.port());
    let client = client(engine, &far_name, relay.port(), "--heartbeat 0.3");
    client.wait_error("connected to 127.0.0.1:");
    carry(&near, &[&far], &numbered(1, 100));
    relay.swallow();
    client.wait_error("the peer gave no sign of life");
    relay.restore();
    server.wait_error("its client has connected anew");
    client.wait_errors("connected to 127.0.0.1:", 2);
    carry(&near, &[&far], &numbered(2, 100));
    relay.refuse();
    server.wait_error(" disconnected, ");
    relay.restore();
    client.wait_errors("connected to 127.0.0.1:", 3);
    carry(&far, &[&near], &numbered(3, 100));
    for finished in [client.interrupt(), server.interrupt()] {
        assert_eq!(count(&finished, "as another connection does"), 0, "{:?}", finished.errors);
    }
}

fn each_of_several_buses_counts(engine: &'static str) {
    let names: Vec<String> = ["a", "b", "c", "d"].iter().map(|name| unique_name(name)).collect();
    let members: Vec<Member> = names.iter().map(|name| Member::join(name)).collect();
    let [body, engine_bus, far_body, far_engine] = &names[..] else { panic!("four names") };
    let server = server(engine, &format!("body={body} --can engine={engine_bus}"), "");
    let port = server.port();
    let first = client(engine, &format!("body={far_body}"), port, "");
    first.wait_error("connected to 127.0.0.1:");
    // One pair of two is joined already: the other one is not joined either.
    let both = client(engine, &format!("engine={far_engine} --can body={far_body}"), port, "");
    both.wait_error(&reason(far_body, body));
    server.wait_error(&reason(body, far_body));
    let other = client(engine, &format!("engine={far_engine}"), port, "");
    other.wait_error("connected to 127.0.0.1:");
    carry(&members[0], &[&members[2]], &numbered(1, 100));
    carry(&members[1], &[&members[3]], &numbered(2, 100));
    // Both must have ended before it gets in.
    first.interrupt().totals();
    both.wait_error(&reason(far_engine, engine_bus));
    other.interrupt().totals();
    both.wait_error("connected to 127.0.0.1:");
    carry(&members[2], &[&members[0]], &numbered(3, 100));
    carry(&members[3], &[&members[1]], &numbered(4, 100));
    both.interrupt().totals();
    server.interrupt().totals();
}
