//! The listening side: every client gets a link of its own.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::data_path::DataPath;
use super::tcp;
use crate::engine::Engine;
use crate::session::Keepalive;

/// How long to leave a listening socket alone that cannot accept for want of descriptors or memory: a link that ends
/// in the meantime makes room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A server may run out, get a descriptor back and run out again many times a second: it is said once in so long.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// How long a connection waits, and others behind it in the kernel, while there is no room for one more that has not
/// greeted.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// Accepts clients for ever.
pub async fn accept<E: Engine>(
    listener: &TcpListener,
    keepalive: Option<Keepalive>,
    data_path: &DataPath<E>,
) {
    let mut said_at: Option<Instant> = None;
    loop {
        match accept_one(listener, keepalive, data_path).await {
            Ok(()) => {}
            // The client was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if said_at.is_none_or(|said_at| said_at.elapsed() >= SAID_AGAIN) {
                    said_at = Some(Instant::now());
                    warn!("cannot accept a client: {error}; connected clients are still served");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept_one<E: Engine>(
    listener: &TcpListener,
    keepalive: Option<Keepalive>,
    data_path: &DataPath<E>,
) -> io::Result<()> {
    let (stream, address) = listener.accept().await?;
    let name = format!("client {}", tcp::plain(address));
    debug!("{name} accepted");
    // Not before: nobody is dropped for whom nobody waits.
    while !data_path.make_room() {
        // A link that ends makes room; one that gets a place, or has had its time, is found at the next look.
        let _ended_or_not = tokio::time::timeout(ROOM_PAUSE, data_path.link_closed()).await;
    }
    // A server does not wait for its links.
    let _ended = data_path.open(name, tcp::into_descriptor(stream, keepalive)?)?;
    Ok(())
}
