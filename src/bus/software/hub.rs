//! The hub: it hands every frame of a member to all the others, in one order for all.
//!
//! It stands in for the kernel's CAN layer, in a thread of its own in the hosting process, so that neither that
//! process's own loop nor a slow member holds up the bus. Knows no bridge and no session.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::{INBOX_FRAMES, Inbox, Received};
use super::member::Member;
use super::notice::Notice;
use super::outbox::Outbox;
use super::slot::Slot;
use super::system::{self, Epoll};
use super::wire::{self, Schedule};
use crate::bus::BATCH_FRAMES;

/// Members of one bus. A server has one for each client and bus, so this is five hundred clients; a frame is copied
/// by the kernel once for each.
pub(super) const MEMBERS_MAX: usize = 512;
/// How long a hub that ends goes on handing over what members have already sent. A member that does not read, or
/// a slow paced bus, must not keep the hosting process from ending.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// Events taken in one turn; further ones are taken in the next.
const EVENTS: usize = 128;

/// Frames that a paced bus which is late delivers at once, to catch up; the others follow in the next turn.
const CATCH_UP_FRAMES: usize = 128;

// Between them, heads are loaded from the sockets.
const _: () = assert!(CATCH_UP_FRAMES + BATCH_FRAMES <= INBOX_FRAMES);

const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;
const TIMER: u64 = u64::MAX - 2;

/// What only a paced bus has.
struct Wire {
    bit_rate: NonZeroU32,
    timer: OwnedFd,
    schedule: Schedule,
    /// The frame on the wire, and when it ends.
    in_flight: Option<(Slot, u64)>,
    heads_loaded: u64,
}

pub(super) struct Hub {
    name: String,
    epoll: Epoll,
    stop: Arc<OwnedFd>,
    wire: Option<Wire>,
    /// Closed before the members' sockets, so that those who see the end of the stream find no listener.
    listener: OwnedFd,
    accepting: bool,
    draining: bool,
    members: Vec<Option<Member>>,
    members_max: usize,
    last_serial: u32,
}

/// The buffers of the hub's thread.
struct Buffers {
    inbox: Inbox,
    outbox: Outbox,
}

impl Hub {
    pub(super) fn new(
        name: &str,
        listener: OwnedFd,
        paced_bit_rate: Option<NonZeroU32>,
        members_max: usize,
        stop: Arc<OwnedFd>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&listener, libc::EPOLLIN as u32, LISTENER)?;
        epoll.add(&stop, libc::EPOLLIN as u32, STOP)?;
        let wire = match paced_bit_rate {
            Some(bit_rate) => {
                let timer = system::timer()?;
                // By edges: an idle wire leaves the timer expired.
                epoll.add(&timer, (libc::EPOLLIN | libc::EPOLLET) as u32, TIMER)?;
                let schedule = Schedule::default();
                Some(Wire { bit_rate, timer, schedule, in_flight: None, heads_loaded: 0 })
            }
            None => None,
        };
        Ok(Self {
            name: name.to_owned(),
            epoll,
            stop,
            wire,
            listener,
            accepting: true,
            draining: false,
            members: Vec::with_capacity(members_max),
            members_max,
            last_serial: 0,
        })
    }

    /// Runs until it is told to stop and has handed over what was sent before.
    pub(super) fn run(mut self) -> io::Result<()> {
        let packing = super::packing(self.wire.as_ref().map(|wire| wire.bit_rate.get()));
        let mut buffers = Buffers { inbox: Inbox::new(packing), outbox: Outbox::new(packing) };
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let mut deadline = None;
        loop {
            let left = deadline.map(|end: Instant| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || (self.draining && self.drained()) {
                break;
            }
            let count = self.epoll.wait(&mut events, left)?;
            for event in &events[..count] {
                let (token, ready) = (event.u64, event.events);
                match token {
                    LISTENER if self.draining => {}
                    LISTENER => self.accept(),
                    STOP => {
                        deadline = Some(Instant::now() + DRAIN_LIMIT);
                        self.begin_draining()?;
                    }
                    TIMER => {}
                    index => self.serve(index as usize, ready, &mut buffers),
                }
            }
            self.fan_out(&mut buffers);
            if self.wire.is_some() {
                self.advance_wire(&mut buffers)?;
            }
        }
        self.report_end();
        Ok(())
    }

    fn accept(&mut self) {
        loop {
            match system::accept(&self.listener) {
                Ok(socket) => {
                    if let Err(error) = self.admit(socket) {
                        tracing::warn!(bus = self.name, %error, "software bus could not admit a member");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors: until one is given back, asking again would only spin.
                    tracing::warn!(bus = self.name, %error, "software bus admits nobody until a member leaves");
                    return self.listen_for_joiners(false);
                }
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd) -> io::Result<()> {
        let index = match self.members.iter().position(Option::is_none) {
            Some(index) => index,
            None if self.members.len() < self.members_max => {
                self.members.push(None);
                self.members.len() - 1
            }
            None => {
                let notice = Notice::Full { members: self.members_max as u32 };
                return system::send(&socket, &notice.encode());
            }
        };
        let paced_bit_rate = self.wire.as_ref().map(|wire| wire.bit_rate.get());
        system::send(&socket, &Notice::Welcome { paced_bit_rate }.encode())?;
        self.last_serial += 1;
        let mut member = Member::new(socket, self.last_serial)?;
        member.interest = wanted(&member, paced_bit_rate.is_some());
        self.epoll.add(member.socket(), member.interest, index as u64)?;
        let pid = system::peer_pid(member.socket());
        tracing::debug!(bus = self.name, member = member.serial, pid, "software bus member joined");
        self.members[index] = Some(member);
        Ok(())
    }

    /// A member's socket is ready for something.
    fn serve(&mut self, index: usize, ready: u32, buffers: &mut Buffers) {
        let paced = self.wire.is_some();
        let Some(member) = self.members.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let gone = ready & (libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0;
        if ready & libc::EPOLLOUT as u32 != 0 {
            member.flush(&mut buffers.outbox);
            update_interest(&self.epoll, member, index, paced);
        }
        if !member.sending {
            if gone {
                self.remove(index);
            }
        } else if paced {
            member.readable = true;
        } else if gone || ready & libc::EPOLLIN as u32 != 0 {
            if buffers.inbox.room() < INBOX_FRAMES / 2 {
                self.fan_out(buffers);
            }
            self.take(index, usize::MAX, &mut buffers.inbox);
        }
    }

    /// Moves at most `limit` packets from a member to the inbox; whether there may be more.
    fn take(&mut self, index: usize, limit: usize, inbox: &mut Inbox) -> bool {
        let Some(member) = self.members[index].as_ref() else {
            return false;
        };
        let received = loop {
            match inbox.receive(member.socket(), member.serial, limit) {
                Ok(received) => break received,
                // It closed its end without reading all that it was sent. The kernel says so once, and before it
                // hands out what the member has sent itself.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(bus = self.name, member = member.serial, %error, "software bus member lost");
                    break Received::Left;
                }
            }
        };
        match received {
            Received::Packets(count) => return count == limit,
            Received::Nothing => {}
            Received::Left => self.end_of_member(index),
            Received::Malformed(length) => {
                let pid = system::peer_pid(member.socket());
                tracing::warn!(
                    bus = self.name,
                    member = member.serial,
                    pid,
                    length,
                    "software bus member disconnected: its packet holds no CAN frame, or several on a paced bus"
                );
                self.remove(index);
            }
        }
        false
    }

    /// Hands the inbox to every member and empties it.
    fn fan_out(&mut self, buffers: &mut Buffers) {
        let Buffers { inbox, outbox } = buffers;
        if inbox.frames().is_empty() {
            return;
        }
        let paced = self.wire.is_some();
        for (index, member) in self.members.iter_mut().enumerate() {
            if let Some(member) = member {
                member.deliver(inbox.frames(), outbox);
                update_interest(&self.epoll, member, index, paced);
            }
        }
        inbox.clear();
    }

    /// A member ended its stream. While draining, that was the hub's own doing, and it still gets what waits.
    fn end_of_member(&mut self, index: usize) {
        match self.members[index].as_mut() {
            Some(member) if self.draining => {
                member.sending = false;
                update_interest(&self.epoll, member, index, self.wire.is_some());
            }
            _ => self.remove(index),
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(member) = self.members[index].take() {
            let (waiting, dropped) = (member.waiting(), member.dropped_total());
            let serial = member.serial;
            tracing::debug!(bus = self.name, member = serial, waiting, dropped, "software bus member left");
        }
        if !self.accepting && !self.draining {
            self.listen_for_joiners(true);
        }
    }

    fn listen_for_joiners(&mut self, accepting: bool) {
        let interest = if accepting { libc::EPOLLIN as u32 } else { 0 };
        match self.epoll.modify(&self.listener, interest, LISTENER) {
            Ok(()) => self.accepting = accepting,
            Err(error) => tracing::warn!(bus = self.name, %error, "software bus could not pause admission"),
        }
    }

    /// From now on members cannot send; what they have sent is read up to its end.
    fn begin_draining(&mut self) -> io::Result<()> {
        self.draining = true;
        self.epoll.modify(&self.stop, 0, STOP)?;
        // Who comes now waits, is turned away when the listener closes, and finds the next host.
        self.listen_for_joiners(false);
        for member in self.members.iter_mut().flatten() {
            member.readable = true;
            // Fails only for one that has left already, whose end of stream is as good.
            if let Err(error) = system::shutdown(member.socket(), libc::SHUT_RD) {
                tracing::debug!(bus = self.name, member = member.serial, %error, "software bus member is leaving");
            }
        }
        Ok(())
    }

    fn drained(&self) -> bool {
        let wire_empty = self.wire.as_ref().is_none_or(|wire| wire.in_flight.is_none());
        let done = |member: &Member| !member.sending && member.head.is_none() && member.waiting() == 0;
        wire_empty && self.members.iter().flatten().all(done)
    }

    fn report_end(&self) {
        let waiting: usize = self.members.iter().flatten().map(Member::waiting).sum();
        let unsent = self.members.iter().flatten().filter(|member| member.head.is_some()).count();
        if waiting + unsent > 0 {
            tracing::warn!(
                bus = self.name,
                waiting,
                unsent,
                "software bus ended before all frames were delivered"
            );
        }
    }

    /// Paced bus: delivers the frames whose time is over, and puts the next on the wire.
    fn advance_wire(&mut self, buffers: &mut Buffers) -> io::Result<()> {
        // Several only if the hub is late; then they go out together, so that it catches up. A wire further behind goes
        // on in the next turn.
        let mut next_ns = Some(0);
        for _ in 0..CATCH_UP_FRAMES {
            next_ns = self.step_wire(&mut buffers.inbox);
            if next_ns.is_none_or(|next_ns| next_ns > system::monotonic_ns()) {
                break;
            }
        }
        self.fan_out(buffers);
        match (next_ns, &self.wire) {
            (Some(next_ns), Some(wire)) => system::arm(&wire.timer, next_ns),
            _ => Ok(()),
        }
    }

    /// Moves the frame on the wire to the inbox if its time is over, and starts the winner of those that wait.
    /// Gives the time at which the wire becomes free, `None` if it is.
    fn step_wire(&mut self, inbox: &mut Inbox) -> Option<u64> {
        let now_ns = system::monotonic_ns();
        let wire = self.wire.as_mut()?;
        if let Some((slot, end_ns)) = wire.in_flight {
            if end_ns > now_ns {
                return Some(end_ns);
            }
            wire.in_flight = None;
            inbox.push(slot);
        }
        self.load_heads(inbox);
        let winner = self.arbitrate();
        let wire = self.wire.as_mut()?;
        let Some(slot) = winner else {
            wire.schedule.rest();
            return None;
        };
        let image = slot.image()?;
        let end_ns = wire.schedule.begin(now_ns, wire::duration_ns(image, wire.bit_rate));
        wire.in_flight = Some((slot, end_ns));
        Some(end_ns)
    }

    /// Takes one frame from each member that has none in the competition. The others stay in its socket, where they
    /// block it when it has sent too many.
    fn load_heads(&mut self, inbox: &mut Inbox) {
        for index in 0..self.members.len() {
            let competes = |member: &Member| member.readable && member.sending && member.head.is_none();
            if !self.members[index].as_ref().is_some_and(competes) {
                continue;
            }
            let before = inbox.frames().len();
            let readable = self.take(index, 1, inbox);
            let head = if inbox.frames().len() > before { inbox.pop() } else { None };
            if let (Some(member), Some(wire)) = (self.members[index].as_mut(), self.wire.as_mut()) {
                wire.heads_loaded += 1;
                member.readable = readable;
                member.head = head;
                member.head_order = wire.heads_loaded;
            }
        }
    }

    /// Takes the winner out of the competition. Of equal frames, which a real bus does not have, the one that came
    /// first wins.
    fn arbitrate(&mut self) -> Option<Slot> {
        let rank = |member: &Member| {
            let image = member.head.as_ref()?.image()?;
            Some((wire::arbitration(image), member.head_order))
        };
        let competing = self.members.iter_mut().flatten();
        let (_, winner) =
            competing.filter_map(|member| Some((rank(member)?, member))).min_by_key(|(rank, _)| *rank)?;
        winner.head.take()
    }
}

/// The events that matter to a member. A paced bus leaves frames in the sockets, so there reading goes by edges.
fn wanted(member: &Member, paced: bool) -> u32 {
    let read = if member.sending { libc::EPOLLIN } else { 0 };
    let edge = if paced { libc::EPOLLET } else { 0 };
    let write = if member.waiting() > 0 { libc::EPOLLOUT } else { 0 };
    (read | edge | write) as u32
}

fn update_interest(epoll: &Epoll, member: &mut Member, index: usize, paced: bool) {
    let wanted = wanted(member, paced);
    if wanted == member.interest {
        return;
    }
    match epoll.modify(member.socket(), wanted, index as u64) {
        Ok(()) => member.interest = wanted,
        Err(error) => tracing::warn!(member = member.serial, %error, "software bus cannot watch a member"),
    }
}
