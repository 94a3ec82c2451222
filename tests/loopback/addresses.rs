//! IPv4, IPv6 and names.

use std::net::{TcpListener, TcpStream};

use crate::program::{Program, unique_name};
use crate::skip::skip;
use crate::software_bus::Member;
use crate::{carry, numbered};

on_each_engine!(every_address_by_default, ipv4_alone, ipv6_alone);

fn has_ipv6(test: &str) -> bool {
    if TcpListener::bind("[::1]:0").is_ok() {
        return true;
    }
    skip(&format!("{test}: this machine has no IPv6"), None);
    false
}

fn listen(engine: &str, bus: &str, options: &str) -> Program {
    let arguments = format!("--can-interface software --can {bus} --port 0 {options}");
    Program::bridge(&format!("server --engine {engine} {arguments}"))
}

/// Connects to a host, which the client is to name like this, and carries a few frames.
fn connects(engine: &str, near: &Member, port: u16, host: &str, named: &str) {
    let name = unique_name("far");
    let far = Member::join(&name);
    let arguments = format!("--can-interface software --can {name} --host {host} --port {port}");
    let client = Program::bridge(&format!("client --engine {engine} {arguments}"));
    client.wait_error(&format!(" INFO connected to {named}:{port}: version 5"));
    // The server is on the bus when it has greeted.
    carry(near, &[&far], &numbered(1, 10));
    client.interrupt().totals();
}

fn every_address_by_default(engine: &'static str) {
    let name = unique_name("any");
    let near = Member::join(&name);
    let server = listen(engine, &name, "");
    let port = server.port();
    connects(engine, &near, port, "127.0.0.1", "127.0.0.1");
    connects(engine, &near, port, "localhost", "localhost");
    // An IPv4 client of a socket that serves both has its own name.
    let line = server.wait_error(" connected: version 5");
    assert!(line.contains(" INFO client 127.0.0.1:"), "{line}");
    if has_ipv6("every_address_by_default, with ::1") {
        server.wait_error(&format!(" INFO listening on [::]:{port}"));
        connects(engine, &near, port, "::1", "[::1]");
        connects(engine, &near, port, "[::1]", "[::1]");
        server.wait_error(" INFO client [::1]:");
    }
    assert_eq!(server.interrupt().totals()["faults"], 0);
}

fn ipv4_alone(engine: &'static str) {
    let name = unique_name("four");
    let near = Member::join(&name);
    let server = listen(engine, &name, "--bind 127.0.0.1");
    let port = server.port();
    server.wait_error(&format!(" INFO listening on 127.0.0.1:{port}"));
    connects(engine, &near, port, "127.0.0.1", "127.0.0.1");
    // Names with several addresses are tried one after the other.
    connects(engine, &near, port, "localhost", "localhost");
    for other in ["127.0.0.2", "::1"] {
        assert!(TcpStream::connect((other, port)).is_err(), "{other} is served too");
    }
    server.interrupt().totals();
}

fn ipv6_alone(engine: &'static str) {
    if !has_ipv6("ipv6_alone") {
        return;
    }
    let name = unique_name("six");
    let near = Member::join(&name);
    let server = listen(engine, &name, "--bind [::1]");
    let port = server.port();
    server.wait_error(&format!(" INFO listening on [::1]:{port}"));
    connects(engine, &near, port, "::1", "[::1]");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "IPv4 is served too");
    server.interrupt().totals();
}
