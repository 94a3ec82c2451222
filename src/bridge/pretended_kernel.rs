//! A kernel for tests: its interface is as they say, and what it says of a controller waits as long as they want.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::bus_socket::BusSocket;
use super::clock::{self, Clock};
use super::link::LinkLimits;
use super::links::Links;
use super::outbound::Linger;
use super::platform::Platform;
use crate::bus::claim::Claim;
use crate::bus::controller::{Controller, ControllerState};
use crate::bus::interface::InterfaceState;
use crate::bus::{BusAddress, BusError, BusKind, BusOptions, OpenBus};
use crate::engine::Packing;
use crate::frame::filter::{FilterSet, KernelFilter};
use crate::moment::{Moment, WallTime};
use crate::session::{Identity, Protocol, Role, SessionConfig};
use crate::wire::greeting::Features;
use crate::wire::v5::BusName;

/// How long a locked kernel keeps whoever asks: far longer than any test, so that one which waits fails, and ends.
const LOCKED: Duration = Duration::from_secs(10);

/// What the kernel has.
#[derive(Debug)]
struct Interfaces {
    /// The one that has the name of the bus.
    named: InterfaceState,
    /// The index of another one.
    other: Option<u32>,
    controller: Controller,
    is_locked: bool,
}

/// The kernel. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub clock: Clock,
    interfaces: Arc<Mutex<Interfaces>>,
    unlocked: Arc<Condvar>,
}

impl Kernel {
    /// One whose interface is up and has this index.
    pub fn with_interface(index: u32) -> Self {
        let controller = Controller::default();
        let interfaces = Interfaces { named: up(index), other: None, controller, is_locked: false };
        Self { clock: Clock::start(), interfaces: Arc::new(Mutex::new(interfaces)), unlocked: Arc::default() }
    }

    /// Another interface has the name now.
    pub fn replace_interface(&self, index: u32) {
        self.interfaces.lock().unwrap().named = up(index);
    }

    /// No interface has the name any more; there is still one with this index.
    pub fn rename_interface(&self, index: u32) {
        let interfaces = &mut *self.interfaces.lock().unwrap();
        (interfaces.named, interfaces.other) = (InterfaceState::Missing, Some(index));
    }

    /// The interface has a controller.
    pub fn set_controller(&self, state: ControllerState) {
        self.interfaces.lock().unwrap().controller.state = Some(state);
    }

    /// Has whoever asks about a controller wait.
    pub fn lock(&self) {
        self.interfaces.lock().unwrap().is_locked = true;
    }

    /// Answers.
    pub fn unlock(&self) {
        self.interfaces.lock().unwrap().is_locked = false;
        self.unlocked.notify_all();
    }

    /// Links with one bus, on that interface, and peers of version 4.0.
    pub fn links(&self) -> Links<Self> {
        let address =
            BusAddress { kind: BusKind::SocketCan, name: "pretended0".to_owned(), paced_bit_rate: None };
        let options = BusOptions {
            receive_queue_bytes: 0,
            require_fd: false,
            kernel_filter: KernelFilter::everything(),
            error_mask: 0,
        };
        let filter = Rc::new(FilterSet::default().compile().unwrap());
        let (bus, _) = BusSocket::start(address, options, filter, self).unwrap();
        let identity =
            Identity { instance: 1, heartbeat: Duration::ZERO, buses: Rc::new([BusName::default()]) };
        let session = SessionConfig {
            role: Role::Client,
            protocol: Protocol::V40,
            offer: Features::default(),
            identity,
        };
        let limits = LinkLimits {
            max_age: None,
            linger: Linger { time: Duration::ZERO, frames: 64 },
            bus_count: 1,
            detects_loops: false,
        };
        Links::new(self.clone(), vec![bus], session, limits, None)
    }
}

/// A bus socket, and the wire behind it.
pub fn socket() -> (OpenBus, UnixDatagram) {
    let (ours, wire) = UnixDatagram::pair().unwrap();
    let open = OpenBus {
        descriptor: ours.into(),
        receive_queue_bytes: 0,
        packing: Packing::Single,
        paced_bit_rate: None,
    };
    (open, wire)
}

fn up(index: u32) -> InterfaceState {
    InterfaceState::Up { index, mtu: 16 }
}

impl Platform for Kernel {
    fn now(&self) -> Moment {
        self.clock.now()
    }

    fn wall_time(&self) -> WallTime {
        clock::wall_time()
    }

    fn open_bus(&self, _address: &BusAddress, _options: &BusOptions) -> Result<OpenBus, BusError> {
        Ok(socket().0)
    }

    fn interface(&self, _name: &str) -> io::Result<InterfaceState> {
        Ok(self.interfaces.lock().unwrap().named)
    }

    fn exists(&self, index: u32) -> bool {
        self.interfaces.lock().unwrap().other == Some(index)
    }

    fn controller(&self, _index: u32) -> io::Result<Controller> {
        let interfaces = self.interfaces.lock().unwrap();
        let is_locked = |interfaces: &mut Interfaces| interfaces.is_locked;
        let (interfaces, _) = self.unlocked.wait_timeout_while(interfaces, LOCKED, is_locked).unwrap();
        Ok(interfaces.controller)
    }

    fn drops(&self, _kind: BusKind, _socket: BorrowedFd<'_>) -> Option<u32> {
        None
    }

    fn claim(&self, _ours: u64, _peers: u64) -> io::Result<Option<Claim>> {
        unreachable!("buses of version 4 peers are not claimed")
    }
}
