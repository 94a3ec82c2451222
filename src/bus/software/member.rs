//! The hub's side of one member: what waits for it, and what it was not given.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use super::notice::Notice;
use super::outbox::{Outbox, Sent};
use super::slot::Slot;
use super::system;

/// Frames that wait for one member after its socket is full. At a full 1 Mbit/s bus (about 20,000 short frames a
/// second) this is 0.4 s of not reading, more than a scheduler takes away; the memory (640 KiB) is touched only as
/// far as it is used. When it is full the newest frame is dropped for this member alone, counted, and told.
pub(super) const QUEUE_FRAMES: usize = 8192;

/// Bytes of send queue to ask for towards a member: about 5,000 packets of one frame with the kernel's bookkeeping.
/// What is granted is up to `net.core.wmem_max`; the hub's own queue makes up for the rest.
const SEND_QUEUE_BYTES: libc::c_int = 2 << 20;

pub(super) struct Member {
    socket: OwnedFd,
    /// Unique in the life of the hub, from 1.
    pub(super) serial: u32,
    queue: VecDeque<Slot>,
    dropped_total: u64,
    /// Frames were dropped and the member has not been told.
    gap: bool,
    /// It has not ended its stream.
    pub(super) sending: bool,
    /// It takes packets.
    pub(super) listening: bool,
    /// What epoll was last asked for.
    pub(super) interest: u32,
    /// Paced bus: a read may find something.
    pub(super) readable: bool,
    /// Paced bus: the frame that it competes with for the wire.
    pub(super) head: Option<Slot>,
    /// Paced bus: when that frame came, in order.
    pub(super) head_order: u64,
}

impl Member {
    pub(super) fn new(socket: OwnedFd, serial: u32) -> io::Result<Self> {
        system::set_socket_option(&socket, libc::SO_SNDBUF, SEND_QUEUE_BYTES)?;
        Ok(Self {
            socket,
            serial,
            queue: VecDeque::with_capacity(QUEUE_FRAMES),
            dropped_total: 0,
            gap: false,
            sending: true,
            listening: true,
            interest: 0,
            readable: false,
            head: None,
            head_order: 0,
        })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Packets that wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Frames that it was not given, ever.
    pub(super) fn dropped_total(&self) -> u64 {
        self.dropped_total
    }

    /// Gives it those of `frames` that are not its own: to its socket while that takes them, else to its queue.
    pub(super) fn deliver(&mut self, frames: &[Slot], outbox: &mut Outbox) {
        if !self.listening {
            return;
        }
        let serial = self.serial;
        let mut others = frames.iter().filter(|slot| slot.from != serial);
        while self.queue.is_empty() {
            match outbox.send(&self.socket, others.clone()) {
                Ok(Sent { offered: 0, .. }) => return,
                Ok(Sent { taken, offered }) => {
                    if taken > 0 {
                        others.nth(taken - 1);
                    }
                    if taken < offered {
                        break;
                    }
                }
                Err(error) => return self.stop_listening(&error),
            }
        }
        for slot in others {
            self.enqueue(slot);
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self, outbox: &mut Outbox) {
        while !self.queue.is_empty() {
            match outbox.send(&self.socket, self.queue.iter()) {
                Ok(Sent { taken, offered }) => {
                    self.queue.drain(..taken);
                    if taken > 0 && self.gap {
                        let notice = Notice::Dropped { total: self.dropped_total };
                        self.queue.push_back(Slot::notice(&notice.encode()));
                        self.gap = false;
                    }
                    if taken < offered {
                        return;
                    }
                }
                Err(error) => return self.stop_listening(&error),
            }
        }
    }

    /// Frames never grow the queue beyond its capacity; a notice goes in only after a frame went out. So whenever
    /// there is room, no gap is left to tell.
    fn enqueue(&mut self, slot: &Slot) {
        if self.queue.len() < QUEUE_FRAMES {
            debug_assert!(!self.gap);
            self.queue.push_back(*slot);
        } else {
            self.dropped_total += 1;
            self.gap = true;
        }
    }

    /// It closed its end, or takes nothing more for another reason: its own frames are still read to their end.
    fn stop_listening(&mut self, error: &io::Error) {
        tracing::debug!(member = self.serial, %error, "software bus member takes no more frames");
        self.listening = false;
        self.queue.clear();
        self.gap = false;
    }
}
