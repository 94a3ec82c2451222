//! The links' bus sockets: opened when a link wants one, closed when the interface is another one, told about to peers.

use std::io;

use super::{Attention, Links, address};
use crate::bridge::bus_socket::{BusSocket, Opening, Presence};
use crate::bridge::link::{Ending, Link};
use crate::bridge::platform::Platform;
use crate::bus::{BusError, OpenBus};
use crate::engine::Engine;

impl<P: Platform> Links<P> {
    /// How many buses the bridge has.
    pub fn bus_count(&self) -> usize {
        self.buses.len()
    }

    /// Looks at the interfaces and says what has changed. Sockets of an interface that another has replaced are closed.
    pub fn check_buses<E: Engine>(&mut self, engine: &mut E) {
        for bus in 0..self.buses.len() {
            let look = self.buses[bus].look(&self.platform);
            if look.presence == Presence::Replaced {
                for index in 0..self.table.len() {
                    if let Some(link) = &mut self.table[index] {
                        close(link, bus, &self.buses, &self.platform, engine);
                        self.mark(index, Attention::Whole);
                    }
                }
            }
            if look.changed {
                let rate = self.buses[bus].bit_rate();
                if let (Some(Some(throttle)), Some(rate)) = (self.throttles.get_mut(bus), rate) {
                    throttle.set_bit_rate(rate);
                }
                (0..self.table.len()).for_each(|index| self.tell_bus_states(index));
            }
        }
    }

    /// Tells a link's session how our buses are.
    pub(super) fn tell_bus_states(&mut self, index: usize) {
        if let Some(Some(link)) = self.table.get_mut(index) {
            link.note_bus_states(&self.buses);
            self.mark(index, Attention::Whole);
        }
    }

    /// Whether a link has come to want a socket since the last call.
    pub fn take_bus_wanted(&mut self) -> bool {
        std::mem::take(&mut self.bus_wanted)
    }

    /// Whether [`Links::take_bus_wanted`] would say so.
    pub fn is_bus_wanted(&self) -> bool {
        self.bus_wanted
    }

    /// Says, once, why there is no socket.
    pub fn note_opened(&mut self, bus: usize, opened: Option<Result<OpenBus, BusError>>) -> Option<OpenBus> {
        match opened? {
            Ok(socket) => {
                self.buses[bus].worked();
                Some(socket)
            }
            Err(error) => {
                self.buses[bus].failed(&error);
                None
            }
        }
    }

    /// How to open a socket of a bus, if a link wants one. `Some(None)`: one does, and the bus is not there.
    pub fn wanted_bus(&self, bus: usize) -> Option<Option<Opening>> {
        let is_wanted = self.table.iter().flatten().any(|link| link.wants_bus(bus));
        is_wanted.then(|| self.buses[bus].opening())
    }

    /// Gives a new socket to a link that wants one, or tells those that do that there is none.
    pub fn give_bus<E: Engine>(&mut self, engine: &mut E, bus: usize, opened: Option<OpenBus>) {
        let wants = |link: &Option<Link>| link.as_ref().is_some_and(|link| link.wants_bus(bus));
        let Some(OpenBus { descriptor, packing, .. }) = opened else {
            for index in 0..self.table.len() {
                if let Some(link) = self.table[index].as_mut().filter(|link| link.wants_bus(bus)) {
                    link.buses[bus].failed = true;
                    self.mark(index, Attention::Whole);
                }
            }
            return;
        };
        // Nobody: the link that wanted it has ended since, and the socket is closed again.
        let Some(index) = self.table.iter().position(wants) else { return };
        let opened = engine.open_bus(address::bus(index, bus), descriptor, packing);
        let Some(link) = &mut self.table[index] else { return };
        match opened {
            Ok(id) => {
                link.buses[bus].attach(id);
                if !self.buses[bus].is_for_tests() {
                    self.recording.get_or_insert(index);
                }
            }
            Err(error) => link.drain(Ending::Broken(error)),
        }
        self.mark(index, Attention::Whole);
    }
}

/// Asks the kernel what the sockets of a link have dropped.
pub fn note_drops<E: Engine>(link: &mut Link, buses: &[BusSocket], platform: &impl Platform, engine: &E) {
    for (bus, socket) in buses.iter().enumerate() {
        let descriptor = link.buses[bus].id.and_then(|id| engine.bus_descriptor(id));
        if let Some(total) = descriptor.and_then(|descriptor| platform.drops(socket.kind(), descriptor)) {
            link.note_kernel_total(bus, total);
        }
    }
}

/// Closes a link's socket of a bus, once its drops are counted.
pub fn close<E: Engine>(
    link: &mut Link,
    bus: usize,
    buses: &[BusSocket],
    platform: &impl Platform,
    engine: &mut E,
) {
    note_drops(link, buses, platform, engine);
    if let Some(id) = link.buses[bus].detach() {
        engine.close_bus(id);
    }
}

/// Goes on after a bus socket has stopped to receive: on the same socket if it will work again, else without it.
pub fn settle_stopped<E: Engine>(
    link: &mut Link,
    bus: usize,
    buses: &[BusSocket],
    platform: &impl Platform,
    engine: &mut E,
    error: &io::Error,
) {
    // An interface that is down gives its sockets back when it is up. A software bus's host that leaves in a hurry
    // resets the connection, and what it had sent before can still be read.
    let works_again = matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ECONNRESET));
    let resumed = match link.buses[bus].id {
        Some(id) if works_again => engine.resume_bus(id).is_ok(),
        _ => false,
    };
    if !resumed {
        close(link, bus, buses, platform, engine);
    }
}
