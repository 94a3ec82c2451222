//! The software bus: a CAN bus in user space, shared by name between the processes of one host.
//!
//! ```text
//!  process A            process B (hosts)          process C
//!  member ---+          member ---+                member ---+
//!            |                    |                          |
//!            +------- SOCK_SEQPACKET, images in packets -----+
//!                                 |
//!                                hub (a thread of B)
//! ```
//!
//! A bus is an address in the abstract Unix namespace. Who binds it hosts the bus; when that process leaves, or is
//! killed, its members see the end of their streams and join anew, and one of them hosts. So nothing is to be set
//! up, and nothing is left behind. Any user of the host may join, as with a virtual CAN interface. Processes in
//! different network namespaces (most containers) do not see each other's buses.
//!
//! For a member it is like a CAN socket: a packet is an image of 16 or 72 bytes; every frame goes to all members but
//! its sender, in one order for all; a member that reads too slowly loses the newest frames, alone, and is told how
//! many ([`Notice`]). FD frames are always carried. Other than a CAN socket, a bus that is not paced carries several
//! images in one packet ([`Batch`](super::Batch)) when there are several at a time: a member must be ready to get them,
//! and may send them or not. Nothing waits to be joined by others.
//!
//! - A receive gives 0: the host has left. Join anew.
//! - A receive gives `ECONNRESET`: the same, and the host did not take all of what this member had sent. Receive on
//!   up to the 0.
//! - A send gives `EPIPE`: the host is about to leave. Receive up to the 0.
//! - A send gives `EAGAIN`: the hub is behind, or the bus is paced and its wire is busy. Wait until it is writable.
//!
//! A paced bus (`NAME@500000`) is as slow as a wire: one frame at a time occupies it for as long as its bits take,
//! the smallest identifier first, and then all others get it. The rate is kept on average whatever the host's timers
//! do; single frames are late by their wake-up latency, some 50 to 100 microseconds.

mod host;
mod hub;
mod inbox;
mod member;
mod membership;
mod notice;
mod outbox;
mod slot;
mod system;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

pub use host::Host;
pub use membership::{Membership, is_valid_name, join, leave, parse_name};
pub use notice::{NOTICE_BYTES, Notice};

use super::{BusAddress, BusError, OpenBus, Packing};
use crate::frame::FD_BYTES;

/// The buses that this process hosts for members opened by [`open`]. (A name may stand here
/// twice for a moment: its hub has ended for a fault, and this process hosts it anew.)
static HOSTED: Mutex<Vec<(String, Host)>> = Mutex::new(Vec::new());

/// Joins a bus as [`join`] does. If this process comes to host it, it does so until [`stop_hosting`]: closing one
/// member does not move the bus.
pub fn open(address: &BusAddress) -> Result<OpenBus, BusError> {
    let membership = join(&address.name, address.paced_bit_rate)?;
    let paced_bit_rate = membership.paced_bit_rate();
    let (descriptor, host) = membership.into_parts();
    if let Some(host) = host {
        HOSTED.lock().unwrap_or_else(PoisonError::into_inner).push((address.name.clone(), host));
    }
    let receive_queue_bytes = member::QUEUE_FRAMES * FD_BYTES;
    Ok(OpenBus { descriptor, receive_queue_bytes, packing: packing(paced_bit_rate), paced_bit_rate })
}

/// A paced bus has one frame at a time on its wire, and what waits for it blocks its sender frame by frame.
fn packing(paced_bit_rate: Option<u32>) -> Packing {
    if paced_bit_rate.is_some() { Packing::Single } else { Packing::Batches }
}

/// Whether this process hosts the bus for a member opened by [`open`]: when it was opened, nobody else was on it.
pub fn is_hosted_here(name: &str) -> bool {
    let hosted = HOSTED.lock().unwrap_or_else(PoisonError::into_inner);
    hosted.iter().any(|(hosted_name, _)| hosted_name == name)
}

/// Ends the hosting of buses by this process, once they have handed over what was sent (a second at most each). To
/// be called before the process ends; without it what is on its way is lost, as when it is killed.
pub fn stop_hosting() {
    let hosts = std::mem::take(&mut *HOSTED.lock().unwrap_or_else(PoisonError::into_inner));
    drop(hosts);
}

/// Ends the hosting of this one bus, as [`stop_hosting`] does for all.
pub fn stop_hosting_of(name: &str) {
    let mut hosted = HOSTED.lock().unwrap_or_else(PoisonError::into_inner);
    let hosts: Vec<_> = hosted.extract_if(.., |(hosted_name, _)| hosted_name == name).collect();
    // Others may open buses while these drain.
    drop(hosted);
    drop(hosts);
}
