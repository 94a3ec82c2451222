//! The host that a simulated bridge sees: clocks and interfaces.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use canip_peer::bridge::platform::Platform;
use canip_peer::bus::claim::Claim;
use canip_peer::bus::controller::{Controller, ControllerState};
use canip_peer::bus::interface::InterfaceState;
use canip_peer::bus::{BusAddress, BusError, BusKind, BusOptions, OpenBus};
use canip_peer::engine::Packing;
use canip_peer::frame::{CLASSIC_BYTES, FD_BYTES};
use canip_peer::moment::{Moment, WallTime};

use super::can::Link;
use super::engine::descriptor;
use super::world::{Shared, World};

/// What one look at a clock, and the work before it, takes.
const LOOK_NS: u64 = 150;

/// The longest time for which the scheduler takes the processor away amid a step.
const LONGEST_PREEMPTION_NS: u64 = 400_000_000;

/// The platform of one process.
#[derive(Clone)]
pub struct SimulatedPlatform {
    pub world: Shared,
    pub process: usize,
    /// Packets that its sockets' receive queues hold, and frames that their send buffers do.
    pub receive_limit: usize,
    pub send_limit: usize,
}

impl SimulatedPlatform {
    fn host(&self, world: &World) -> usize {
        world.processes[self.process].host
    }

    fn interface_of(&self, world: &World, name: &str) -> Option<usize> {
        let host = self.host(world);
        world.can.interfaces.iter().position(|interface| interface.host == host && interface.name == name)
    }
}

impl Platform for SimulatedPlatform {
    fn now(&self) -> Moment {
        let world = &mut *self.world.borrow_mut();
        let is_preempted = world.preemption > 0 && world.random.u32(0..world.preemption) == 0;
        let length_ns =
            if is_preempted { 10u64.pow(world.random.u32(4..9)).min(LONGEST_PREEMPTION_NS) } else { LOOK_NS };
        world.hold_up(length_ns);
        Moment::from_nanos(world.clocks[self.host(world)].monotonic_ns(world.now_ns))
    }

    fn wall_time(&self) -> WallTime {
        let world = &*self.world.borrow();
        WallTime::from_nanos(world.clocks[self.host(world)].wall_ns(world.now_ns))
    }

    fn open_bus(&self, address: &BusAddress, _options: &BusOptions) -> Result<OpenBus, BusError> {
        let world = &mut *self.world.borrow_mut();
        let name = address.name.clone();
        let Some(interface) = self.interface_of(world, &name) else {
            return Err(BusError::InterfaceMissing { name });
        };
        let socket = match world.can.open(self.process, interface, self.receive_limit, self.send_limit) {
            Ok(socket) => socket,
            Err(libc::ENETDOWN) => return Err(BusError::InterfaceDown { name }),
            Err(_) => return Err(BusError::InterfaceMissing { name }),
        };
        let descriptor = descriptor();
        world.descriptors.insert(descriptor.as_raw_fd(), socket);
        world.trace.number(world.now_ns, b'O', [self.process as u64, socket as u64]);
        let receive_queue_bytes = self.receive_limit;
        Ok(OpenBus { descriptor, receive_queue_bytes, packing: Packing::Single, paced_bit_rate: None })
    }

    fn interface(&self, name: &str) -> io::Result<InterfaceState> {
        let world = &*self.world.borrow();
        let Some(interface) = self.interface_of(world, name) else {
            return Ok(InterfaceState::Missing);
        };
        let interface = &world.can.interfaces[interface];
        let mtu = if interface.takes_fd { FD_BYTES } else { CLASSIC_BYTES } as u32;
        Ok(match interface.link {
            Link::Missing => InterfaceState::Missing,
            Link::Down => InterfaceState::Down { index: interface.index },
            Link::Up => InterfaceState::Up { index: interface.index, mtu },
        })
    }

    fn exists(&self, index: u32) -> bool {
        let world = &*self.world.borrow();
        let host = self.host(world);
        let is_it = |interface: &super::can::Interface| interface.host == host && interface.index == index;
        world.can.interfaces.iter().any(|interface| is_it(interface) && interface.link != Link::Missing)
    }

    fn controller(&self, index: u32) -> io::Result<Controller> {
        let world = &*self.world.borrow();
        let host = self.host(world);
        let is_it = |interface: &&super::can::Interface| interface.host == host && interface.index == index;
        let Some(interface) = world.can.interfaces.iter().find(is_it) else {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        };
        let Some(rates) = world.can.buses[interface.bus].rates else { return Ok(Controller::default()) };
        let is_stuck = interface.stuck_until_ns > world.now_ns;
        let state = if is_stuck { ControllerState::ErrorPassive } else { ControllerState::ErrorActive };
        Ok(Controller { state: Some(state), bit_rate: Some(rates.nominal.get()), data_bit_rate: None })
    }

    fn drops(&self, _kind: BusKind, socket: BorrowedFd<'_>) -> Option<u32> {
        let world = &*self.world.borrow();
        Some(world.can.sockets[*world.descriptors.get(&socket.as_raw_fd())?].drops)
    }

    fn claim(&self, ours: u64, peers: u64) -> io::Result<Option<Claim>> {
        panic!("simulated buses have no identity to be claimed: {ours:x}, {peers:x}")
    }
}
