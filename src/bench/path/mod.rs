//! What is measured: two buses, and what joins them.

mod bridges;
mod namespace;

pub use bridges::{BridgeAccount, Bridges};

use super::end::End;
use super::priority;
use crate::bus::{BusAddress, BusError, BusKind, socketcan};
use crate::load::Load;

/// What the user wants measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathChoice {
    /// A bridge of our own between two buses of our own; of this kind, or of the best that can be had.
    Own(Option<BusKind>),
    /// Whatever joins these two.
    Existing {
        /// Where forward frames are sent into.
        near: BusAddress,
        /// Where they come out.
        far: BusAddress,
    },
}

/// Two buses, and whether a bridge is to be started between them for each trial.
pub struct Path {
    /// Near, then far.
    pub ends: [End; 2],
    /// Why the buses are of this kind, where there was a choice.
    pub reason: Option<String>,
    pub is_own: bool,
}

/// Why there is no path.
#[derive(thiserror::Error, Debug)]
pub enum PathError {
    /// The same interface twice.
    #[error("{0} is joined to itself: --can and --peer-can name the two ends of what is measured")]
    SameTwice(String),
    /// One of its buses.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Real buses are asked for, and cannot be had.
    #[error(
        "cannot make virtual CAN buses: {0}; use --can-interface software, or make two and name them with --can and \
         --peer-can"
    )]
    NoVirtualCan(String),
}

impl PathError {
    /// Whether the command line is at fault.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::SameTwice(_) => true,
            Self::Bus(error) => error.is_usage(),
            Self::NoVirtualCan(_) => false,
        }
    }
}

impl Path {
    /// Opens both buses; makes them where they are to be our own. Has to come before this process starts any thread: it may
    /// move to a network namespace of its own.
    ///
    /// # Errors
    /// A bus cannot be opened or made.
    pub fn open(choice: &PathChoice, load: &Load) -> Result<Self, PathError> {
        let (addresses, reason, is_own) = match choice {
            PathChoice::Existing { near, far } if (near.kind, &near.name) == (far.kind, &far.name) => {
                return Err(PathError::SameTwice(near.name.clone()));
            }
            PathChoice::Existing { near, far } => ([near.clone(), far.clone()], None, false),
            PathChoice::Own(kind) => {
                let (addresses, reason) = own_buses(*kind)?;
                (addresses, reason, true)
            }
        };
        let [near, far] = addresses;
        let open = || Ok([End::open(&near, load.has_fd())?, End::open(&far, load.has_fd())?]);
        let ends: Result<_, PathError> = priority::at_real_time(priority::is_wanted(load), open);
        Ok(Self { ends: ends?, reason, is_own })
    }

    /// Its ends by name: where forward frames are sent into, and where they come out. Software buses of our own have names that
    /// say nothing.
    pub fn names(&self) -> [&str; 2] {
        match (self.is_own, self.ends[0].kind()) {
            (true, BusKind::Software) => ["near", "far"],
            _ => [self.ends[0].name(), self.ends[1].name()],
        }
    }

    /// `socketcan` or `software`.
    pub fn kind_name(&self) -> &'static str {
        match self.ends[0].kind() {
            BusKind::SocketCan => "socketcan",
            BusKind::Software => "software",
        }
    }
}

fn own_buses(kind: Option<BusKind>) -> Result<([BusAddress; 2], Option<String>), PathError> {
    let refused = match kind {
        Some(BusKind::Software) => return Ok((software_buses(), None)),
        _ if !socketcan::is_supported() => "this kernel has no CAN".to_owned(),
        _ => match namespace::enter() {
            Ok(()) => {
                let reason = "virtual CAN, in a network namespace of its own";
                return Ok((namespace::INTERFACES.map(socketcan_bus), Some(reason.to_owned())));
            }
            Err(error) => error.to_string(),
        },
    };
    match kind {
        Some(_) => Err(PathError::NoVirtualCan(refused)),
        None => Ok((software_buses(), Some(refused))),
    }
}

fn socketcan_bus(name: &str) -> BusAddress {
    BusAddress { kind: BusKind::SocketCan, name: name.to_owned(), paced_bit_rate: None }
}

/// Two names that no other process uses.
fn software_buses() -> [BusAddress; 2] {
    ["near", "far"].map(|name| BusAddress {
        kind: BusKind::Software,
        name: format!("{name}-{}", std::process::id()),
        paced_bit_rate: None,
    })
}
