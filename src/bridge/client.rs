//! The connecting side: one link at a time, again and again.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::backoff::{Backoff, LONGEST_TURNED_AWAY, LONGEST_UNREACHABLE};
use super::data_path::DataPath;
use super::detached;
use super::link::{Ended, Ending};
use super::tcp;
use crate::engine::Engine;
use crate::session::{Fault, Keepalive};

/// A connection that lasted this long worked: the next attempt comes at once, or after the shortest wait. One that did
/// not may be a server that turns us away, which must not be tried in a tight loop.
const WORKED: Duration = Duration::from_secs(1);

/// Whom a client connects to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Connects and reconnects for ever.
pub async fn connect<E: Engine>(target: &Target, keepalive: Option<Keepalive>, data_path: &DataPath<E>) {
    let mut backoff = Backoff::default();
    // The failure that was said last: the same one is not said with every attempt.
    let mut said = String::new();
    let mut worked = None;
    loop {
        let start = Instant::now();
        let (failure, longest, restarts) = match attempt(target, keepalive, data_path, &mut worked).await {
            Ok(Ended { ending: Ending::Fault(Fault::Full), .. }) => {
                (format!("turned away by {target}: it {}", Fault::Full), LONGEST_TURNED_AWAY, false)
            }
            Ok(Ended { ending: Ending::Fault(fault @ Fault::AlreadyJoined { .. }), .. }) => {
                (format!("turned away by {target}: it {fault}"), LONGEST_TURNED_AWAY, false)
            }
            Ok(Ended { ending, was_open: true }) => {
                said.clear();
                if start.elapsed() >= WORKED {
                    backoff.reset();
                }
                let restarts = matches!(ending, Ending::ClosedByPeer) && start.elapsed() >= WORKED;
                (format!("connection to {target} ended: {ending}"), LONGEST_TURNED_AWAY, restarts)
            }
            Ok(Ended { ending: Ending::ClosedByPeer, was_open: false }) => (
                format!("{target} did not greet, and closed the connection: its log says why"),
                LONGEST_TURNED_AWAY,
                false,
            ),
            Ok(Ended { ending, was_open: false }) => {
                let what = if has_greeted(&ending) { "refused" } else { "did not greet" };
                (format!("{target} {what}: {ending}"), LONGEST_TURNED_AWAY, false)
            }
            Err(error) => {
                (format!("cannot connect to {target}: {}", advice(&error)), LONGEST_UNREACHABLE, false)
            }
        };
        // A server that closes in order is being restarted.
        let wait = if restarts { Duration::ZERO } else { backoff.next(longest, fastrand::f64()) };
        if failure == said {
            debug!("{failure}; trying again in {} ms", wait.as_millis());
        } else {
            warn!("{failure}; trying again");
            said = failure;
        }
        tokio::time::sleep(wait).await;
    }
}

/// Whether the peer greeted before its link ended, as far as the ending tells: all other faults come behind a greeting.
fn has_greeted(ending: &Ending) -> bool {
    matches!(ending, Ending::Fault(fault)
        if !matches!(fault, Fault::NoGreeting | Fault::NoPeer { .. } | Fault::Truncated { .. }))
}

/// Connects, first to the address that worked last, and comes back when the link is over.
async fn attempt<E: Engine>(
    target: &Target,
    keepalive: Option<Keepalive>,
    data_path: &DataPath<E>,
    worked: &mut Option<SocketAddr>,
) -> io::Result<Ended> {
    let mut addresses = addresses_of(target).await?;
    // The address of a network that leads nowhere costs every attempt its time.
    addresses.sort_by_key(|address| Some(*address) != *worked);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        debug!("connecting to {address}");
        match tcp::connect(address).await {
            Ok(stream) => {
                *worked = Some(address);
                let link = data_path.open(target.to_string(), tcp::into_descriptor(stream, keepalive)?)?;
                return link.await.map_err(|_| io::Error::other("the bridge is stopping"));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a host, which may have to be looked up.
async fn addresses_of(target: &Target) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let name = (target.host.clone(), target.port);
    let found = detached::run(move || name.to_socket_addrs()).await??;
    Ok(found.collect())
}

/// What the user can do about a failed attempt.
fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{error}: see that the server runs there and listens on this port")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("{error}: see that the host is up and its firewall lets this port through")
        }
        _ if error.raw_os_error().is_none() => format!("{error}: see that the name is right"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_has_greeted() {
        assert!(has_greeted(&Ending::Fault(Fault::NoCommonBus)));
        assert!(has_greeted(&Ending::Fault(Fault::NotVersion5)));
        assert!(!has_greeted(&Ending::Fault(Fault::NoGreeting)));
        assert!(!has_greeted(&Ending::ClosedByPeer));
    }

    #[test]
    fn ipv6_addresses_are_put_in_brackets() {
        let target = |host: &str| Target { host: host.to_owned(), port: 3333 }.to_string();
        assert_eq!(target("pi.local"), "pi.local:3333");
        assert_eq!(target("2001:db8::1"), "[2001:db8::1]:3333");
    }
}
