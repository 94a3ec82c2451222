//! A port that stays nobody's for as long as it is held, on an address of this host.

use std::net::TcpListener;

/// Where nobody listens on the port of a [`held_port`].
pub const FREE_ADDRESS: &str = "127.0.0.2";

/// Held on 127.0.0.1: whoever asks for any port there or on all addresses, as other tests do all the time, is not given
/// this one, and so it is free on [`FREE_ADDRESS`]. One that was only free a moment ago may be somebody's by now.
pub fn held_port() -> (TcpListener, u16) {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    (holder, port)
}
