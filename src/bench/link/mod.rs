//! A link between two machines: a client here, and a server there that answers (`canip_peer server --allow-bench`).
//!
//! ```text
//!  generator ──► bus ──► client ──── TCP ────► server ──► its own bus ──► reflector
//!                 │         (a process of its own)                            │
//!  receiver ◄─────┴──────── echoes: the frame, and when it was there ◄────────┘
//! ```
//!
//! Each frame comes back with the time at which it was there, so that one program on one machine sees both ways apart.

mod account;
mod books;
mod client;
mod echoes;
mod probe;
mod trial;

use std::fmt;

pub use echoes::{Account, Echoes};
pub use trial::run;

use super::end::End;
use super::error::BenchError;
use super::host;
use super::path::PathError;
use super::priority;
use crate::bus::{BusAddress, BusKind};
use crate::load::Load;
use crate::random;

/// The server to be measured against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A link, and the bus at this end of it.
#[derive(Debug)]
pub struct Link {
    pub server: Server,
    pub near: End,
    /// This machine and the server, as they are shown.
    here: String,
    far: String,
}

impl Link {
    /// Makes a bus of our own. The server is not asked before a trial begins.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn open(server: &Server, load: &Load) -> Result<Self, BenchError> {
        let number = random::unique_number().map_err(|source| BenchError::Bus {
            bus: "a bus of its own".to_owned(),
            operation: "find a name for",
            source,
        })?;
        let name = format!("bench-{:08x}", number as u32);
        let address = BusAddress { kind: BusKind::Software, name, paced_bit_rate: None };
        let open = || End::open(&address, true).map_err(PathError::from);
        let near = priority::at_real_time(priority::is_wanted(load), open)?;
        Ok(Self { server: server.clone(), near, here: host::host().name, far: server.to_string() })
    }

    /// The ends as they are shown: this machine, and the server.
    pub fn names(&self) -> [&str; 2] {
        [&self.here, &self.far]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_are_put_in_brackets() {
        let shown = |host: &str| Server { host: host.to_owned(), port: 3333 }.to_string();
        assert_eq!(shown("pi.local"), "pi.local:3333");
        assert_eq!(shown("2001:db8::1"), "[2001:db8::1]:3333");
    }
}
