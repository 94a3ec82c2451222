//! The host that a bridge runs on, beside its engine: what time it is, and how its buses are. Behind a trait, so that the
//! same links run on the system and in a simulation, whose time is made up.

use std::io;
use std::os::fd::BorrowedFd;

use super::clock::{self, Clock};
use crate::bus::claim::{self, Claim};
use crate::bus::controller::{self, Controller};
use crate::bus::interface::{self, InterfaceState};
use crate::bus::{self, BusAddress, BusError, BusKind, BusOptions, OpenBus};
use crate::moment::{Moment, Now, WallTime};

/// What links ask of their host. Little of it waits: [`Platform::open_bus`] on a software bus, and what is said of interfaces,
/// [`Platform::controller`] above all, for other programs that configure some.
pub trait Platform {
    /// Now, on a clock that only goes forward.
    fn now(&self) -> Moment;

    /// Now, on the clock that the kernel stamps frames with. It may be set.
    fn wall_time(&self) -> WallTime;

    /// Now, on both.
    fn read(&self) -> Now {
        Now { monotonic: self.now(), wall: self.wall_time() }
    }

    /// Opens a socket of a bus.
    ///
    /// # Errors
    /// Why it cannot be opened, for the user.
    fn open_bus(&self, address: &BusAddress, options: &BusOptions) -> Result<OpenBus, BusError>;

    /// How the interface of this name is.
    ///
    /// # Errors
    /// The kernel does not say.
    fn interface(&self, name: &str) -> io::Result<InterfaceState>;

    /// Whether there is an interface of this index, whatever its name.
    fn exists(&self, index: u32) -> bool;

    /// What the CAN controller of an interface says of itself.
    ///
    /// # Errors
    /// The kernel does not say.
    fn controller(&self, index: u32) -> io::Result<Controller>;

    /// How many frames the queue of a bus socket has dropped so far, where that can be asked.
    fn drops(&self, kind: BusKind, socket: BorrowedFd<'_>) -> Option<u32>;

    /// Claims that a connection joins these two buses, by their identities, ours first; `None` if another one on this host
    /// does.
    ///
    /// # Errors
    /// The kernel does not say.
    fn claim(&self, ours: u64, peers: u64) -> io::Result<Option<Claim>>;
}

/// The system's clocks and interfaces.
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// Its monotonic clock.
    pub clock: Clock,
}

impl Platform for System {
    #[inline]
    fn now(&self) -> Moment {
        self.clock.now()
    }

    #[inline]
    fn wall_time(&self) -> WallTime {
        clock::wall_time()
    }

    fn open_bus(&self, address: &BusAddress, options: &BusOptions) -> Result<OpenBus, BusError> {
        bus::open(address, options)
    }

    fn interface(&self, name: &str) -> io::Result<InterfaceState> {
        interface::state(name)
    }

    fn exists(&self, index: u32) -> bool {
        interface::exists(index)
    }

    fn controller(&self, index: u32) -> io::Result<Controller> {
        controller::ask(index)
    }

    fn drops(&self, kind: BusKind, socket: BorrowedFd<'_>) -> Option<u32> {
        match kind {
            BusKind::SocketCan => interface::kernel_drops(socket).ok(),
            BusKind::Software => None,
        }
    }

    fn claim(&self, ours: u64, peers: u64) -> io::Result<Option<Claim>> {
        claim::claim(ours, peers)
    }
}
