//! Simulated CAN: buses with bit times and arbitration, interfaces with transmit queues, sockets with receive queues.

use std::collections::VecDeque;

use canip_peer::frame::bit_time::{BitRates, FrameBits};
use canip_peer::frame::{Frame, Kind};

use super::frames;
use super::trace::Trace;

/// What a frame takes on a virtual bus, which has no bits.
const VIRTUAL_FRAME_NS: u64 = 2_000;

/// A frame that waits for its bus.
#[derive(Clone, Debug)]
pub struct Queued {
    pub frame: Frame,
    pub mark: u32,
    /// The socket that wrote it, which does not get it back; none for an application's.
    pub from: Option<usize>,
}

/// A bus: what its interfaces have in common.
pub struct Bus {
    /// None for a virtual one.
    pub rates: Option<BitRates>,
    pub interfaces: Vec<usize>,
    /// The frame that is on it, and whose.
    pub current: Option<(usize, Queued)>,
}

/// How an interface is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    Up,
    Down,
    Missing,
}

/// A network interface of a host. Those of other stations on the bus, which no bridge uses, are interfaces too.
pub struct Interface {
    pub host: usize,
    pub bus: usize,
    pub name: String,
    /// The kernel's number; another one when it is made anew.
    pub index: u32,
    pub link: Link,
    pub takes_fd: bool,
    /// Nobody acknowledges: frames stay in the queue until then.
    pub stuck_until_ns: u64,
    pub queue: VecDeque<Queued>,
    /// Frames that the queue holds (`txqueuelen`).
    pub queue_limit: usize,
    pub sockets: Vec<usize>,
}

/// A packet in a socket's receive queue.
pub struct Packet {
    pub frame: Frame,
    pub mark: u32,
    /// The host's wall clock when it came.
    pub received_at_ns: u64,
    /// The socket's drops when it was queued.
    pub dropped_total: u32,
}

/// A raw CAN socket of a bridge.
pub struct Socket {
    pub process: usize,
    pub interface: usize,
    pub is_open: bool,
    pub queue: VecDeque<Packet>,
    /// Packets that the queue holds (`SO_RCVBUF`).
    pub queue_limit: usize,
    pub drops: u32,
    /// An error that the next receive tells.
    pub error: Option<i32>,
    /// Its interface was deleted.
    pub is_orphaned: bool,
    /// Frames of its own in the interface's queue, and how many there may be (`SO_SNDBUF`).
    /// Somebody waits for room.
    pub is_watched: bool,
    pub unsent: usize,
    pub unsent_limit: usize,
}

/// All of it.
#[derive(Default)]
pub struct Can {
    pub buses: Vec<Bus>,
    pub interfaces: Vec<Interface>,
    pub sockets: Vec<Socket>,
}

impl Bus {
    fn duration_ns(&self, frame: &Frame) -> u64 {
        self.rates.map_or(VIRTUAL_FRAME_NS, |rates| FrameBits::of(frame.image()).duration_ns(rates).max(1))
    }
}

impl Can {
    /// A bridge opens a socket.
    ///
    /// # Errors
    /// The kernel's, as a number.
    pub fn open(
        &mut self,
        process: usize,
        interface: usize,
        queue_limit: usize,
        unsent_limit: usize,
    ) -> Result<usize, i32> {
        match self.interfaces[interface].link {
            Link::Missing => return Err(libc::ENODEV),
            // A socket can be bound to an interface that is down; the bridge does not want that.
            Link::Down => return Err(libc::ENETDOWN),
            Link::Up => {}
        }
        let number = self.sockets.len();
        self.interfaces[interface].sockets.push(number);
        self.sockets.push(Socket {
            process,
            interface,
            is_open: true,
            queue: VecDeque::new(),
            queue_limit,
            drops: 0,
            error: None,
            is_orphaned: false,
            is_watched: false,
            unsent: 0,
            unsent_limit,
        });
        Ok(number)
    }

    /// Closes a socket. What it has written stays in the interface's queue.
    pub fn close(&mut self, socket: usize) {
        let Socket { interface, is_open, queue, .. } = &mut self.sockets[socket];
        *is_open = false;
        queue.clear();
        self.interfaces[*interface].sockets.retain(|&other| other != socket);
    }

    /// Puts a frame into an interface's queue.
    ///
    /// # Errors
    /// The kernel's, as a number.
    pub fn transmit(&mut self, interface: usize, queued: Queued) -> Result<(), i32> {
        if let Some(socket) = queued.from.map(|socket| &self.sockets[socket]) {
            if socket.is_orphaned {
                return Err(libc::ENODEV);
            }
            if socket.unsent >= socket.unsent_limit {
                return Err(libc::EAGAIN);
            }
        }
        let Interface { link, takes_fd, queue, queue_limit, .. } = &mut self.interfaces[interface];
        match link {
            Link::Missing => return Err(libc::ENODEV),
            Link::Down => return Err(libc::ENETDOWN),
            Link::Up => {}
        }
        if queued.frame.image().kind() == Kind::Fd && !*takes_fd {
            return Err(libc::EINVAL);
        }
        if queue.len() >= *queue_limit {
            return Err(libc::ENOBUFS);
        }
        if let Some(socket) = queued.from {
            self.sockets[socket].unsent += 1;
        }
        queue.push_back(queued);
        Ok(())
    }

    /// Begins the next frame of a bus that is free: of all first frames the one that wins. Returns when it will be over.
    pub fn begin(&mut self, bus: usize, now_ns: u64) -> Option<u64> {
        if self.buses[bus].current.is_some() {
            return None;
        }
        let contender = |&interface: &usize| {
            let Interface { queue, stuck_until_ns, link, .. } = &self.interfaces[interface];
            let first = queue.front().filter(|_| *stuck_until_ns <= now_ns && *link == Link::Up)?;
            Some((frames::arbitration_key(first.frame.image()), interface))
        };
        let (_, winner) = self.buses[bus].interfaces.iter().filter_map(contender).min()?;
        let queued = self.interfaces[winner].queue.pop_front()?;
        if let Some(socket) = queued.from {
            self.sockets[socket].unsent -= 1;
        }
        let over_at_ns = now_ns + self.buses[bus].duration_ns(&queued.frame);
        self.buses[bus].current = Some((winner, queued));
        Some(over_at_ns)
    }

    /// A socket gets a frame, or its queue is full and drops it.
    pub fn receive(
        &mut self,
        socket: usize,
        frame: &Frame,
        mark: u32,
        received_at_ns: u64,
        trace: &mut Trace,
        now_ns: u64,
    ) {
        let Socket { queue, queue_limit, drops, .. } = &mut self.sockets[socket];
        if queue.len() >= *queue_limit {
            *drops += 1;
            trace.number(now_ns, b'D', [socket as u64, mark.into()]);
            return;
        }
        queue.push_back(Packet { frame: *frame, mark, received_at_ns, dropped_total: *drops });
    }

    /// An interface goes down, or away: what waits in its queue is gone, and its sockets are told.
    pub fn set_link(&mut self, interface: usize, link: Link) {
        let was = std::mem::replace(&mut self.interfaces[interface].link, link);
        if link == Link::Up {
            return;
        }
        let dropped: Vec<Queued> = self.interfaces[interface].queue.drain(..).collect();
        for socket in dropped.iter().filter_map(|queued| queued.from) {
            self.sockets[socket].unsent -= 1;
        }
        let sockets = self.interfaces[interface].sockets.clone();
        for socket in sockets {
            let Socket { error, is_orphaned, .. } = &mut self.sockets[socket];
            match link {
                Link::Missing => (*error, *is_orphaned) = (Some(libc::ENODEV), true),
                _ if was == Link::Up => *error = Some(libc::ENETDOWN),
                _ => {}
            }
        }
        if link == Link::Missing {
            self.interfaces[interface].sockets.clear();
            // The kernel counts on.
            self.interfaces[interface].index += 100;
        }
    }
}
