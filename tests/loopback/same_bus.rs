//! Both ends on one bus of one host.

use crate::program::unique_name;
use crate::software_bus::Member;
use crate::{client, server};

on_each_engine!(refused_by_both_ends, other_buses_of_the_same_host_are_welcome);

/// Both say why, in one line, and nothing comes back to the bus.
fn refused_by_both_ends(engine: &'static str) {
    let name = unique_name("both");
    let bus = Member::join(&name);
    let server = server(engine, &name, "");
    let client = client(engine, &name, server.port(), "");
    let reason = format!("has the bus {name} on the same host as this end");
    server.wait_error(&reason);
    client.wait_error(&reason);
    bus.send(&["123#0102", "124#"]);
    let (client, server) = (client.interrupt(), server.interrupt());
    assert_eq!(bus.count(), 0);
    for finished in [&client, &server] {
        assert!(!finished.errors.iter().any(|line| line.contains("connected")), "{:?}", finished.errors);
        assert_eq!(finished.totals()["received"], 0);
    }
    // The client tries on, and says it once.
    let said = client.errors.iter().filter(|line| line.contains("WARN") && line.contains(&reason)).count();
    assert_eq!(said, 1, "{:?}", client.errors);
}

/// A bus with another name is another bus.
fn other_buses_of_the_same_host_are_welcome(engine: &'static str) {
    let pair = crate::Pair::start(engine, "", "");
    pair.near.send(&["123#0102"]);
    pair.far.wait_count(1);
    pair.client.interrupt();
    pair.server.interrupt();
}
