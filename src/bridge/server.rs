//! The listening side: every client gets a link of its own.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{debug, warn};

use super::data_path::DataPath;
use super::links::MAX_LINKS;
use super::tcp;
use crate::engine::Engine;
use crate::session::Keepalive;

/// How long to leave a listening socket alone that cannot accept for want of descriptors or memory: a link that ends
/// in the meantime makes room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Accepts clients for ever.
pub async fn accept<E: Engine>(
    listener: &TcpListener,
    keepalive: Option<Keepalive>,
    data_path: &DataPath<E>,
) {
    let mut was_failing = false;
    loop {
        match accept_one(listener, keepalive, data_path).await {
            Ok(()) => was_failing = false,
            // The client was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut was_failing, true) {
                    warn!("cannot accept a client: {error}; those connected are served on");
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
    if data_path.link_count() >= MAX_LINKS {
        warn!("{name} refused: {MAX_LINKS} clients are connected, which is the limit");
        return Ok(());
    }
    debug!("{name} accepted");
    // A server does not wait for its links.
    let _ended = data_path.open(name, tcp::into_descriptor(stream, keepalive)?)?;
    Ok(())
}
