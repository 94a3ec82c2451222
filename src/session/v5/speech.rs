//! What is to be said beside frames, and saying it.

use super::{Conversation, LOSS_INTERVAL, Stage};
use crate::buffer::SendBuffer;
use crate::moment::{Moment, Now, WallTime};
use crate::session::Role;
use crate::wire::v5::{BusName, Goodbye, Hello, MAX_BUSES, Pong, first_number, write_ping};

/// What is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Due {
    pub hello: bool,
    /// A PING to answer: when it was sent, and when it came.
    pub pong: Option<(WallTime, WallTime)>,
    /// Buses whose state, and whose losses, are news: one bit each.
    pub states: u16,
    pub losses: u16,
    /// When losses may be told next, and whether that has come.
    pub next_loss: Moment,
    pub losses_ripe: bool,
    pub ping: bool,
    pub goodbye: bool,
}

const _: () = assert!(MAX_BUSES <= u16::BITS as usize);

impl Conversation {
    /// Writes what the connection opens with, as far as it is due: into a buffer that no frame is in yet.
    pub fn open(&mut self, buses_tried: bool, now: Now, out: &mut SendBuffer) {
        if self.role == Role::Client && std::mem::take(&mut self.due.hello) {
            self.write_hello(out);
        }
        if self.stage != Stage::AwaitBuses || !buses_tried || self.is_refused || self.awaits_join {
            return;
        }
        let Some(peer) = self.peer else { return };
        if self.role == Role::Server {
            self.begin_books(&peer);
            self.write_hello(out);
        }
        for bus in (0..MAX_BUSES).filter(|&bus| self.matching.peers(bus).is_some()) {
            let (next, losses) = (self.books.outgoing(bus).next, self.books.outgoing(bus).losses);
            let (expected, receipt) = self.books.incoming(bus).receipt(true, self.disposals[bus]);
            let number = bus as u8;
            must_fit(self.states[bus].write(out, number));
            must_fit(losses.write(out, number, next));
            must_fit(receipt.write(out, number, expected));
        }
        (self.due.states, self.due.losses) = (0, 0);
        self.stage = Stage::Started;
        self.heartbeat.heard(now.monotonic);
        self.writer.close();
    }

    /// A client whose buses match none of ours, or are ours, finds that out from our HELLO.
    pub fn refuse(&mut self, out: &mut SendBuffer) -> bool {
        let Some(peer) = self.peer.filter(|_| self.role == Role::Server && self.stage == Stage::AwaitBuses)
        else {
            return false;
        };
        let explains = self.matching.is_empty() || self.ring(&peer).is_some();
        if explains {
            self.write_hello(out);
            (self.is_silent, self.is_refused) = (true, true);
        }
        explains
    }

    /// A client that finds no place finds out from GOODBYE, which comes in place of our HELLO: its books stay as they are.
    pub fn turn_away(&mut self, out: &mut SendBuffer) -> bool {
        self.is_silent = true;
        Goodbye::Full.write(out)
    }

    /// Whether [`Conversation::speak`] has something to say now.
    #[inline]
    pub fn has_something_to_say(&self) -> bool {
        let Due { pong, states, losses_ripe, ping, goodbye, .. } = &self.due;
        self.is_open()
            && !self.is_silent
            && (pong.is_some() || *states != 0 || *losses_ripe || *ping || *goodbye)
    }

    /// Notes what has become due. That it is due does not come back, however long it takes to be said.
    pub(super) fn ripen(&mut self, now: Moment) {
        self.due.ping |= self.heartbeat.take_ping(now);
        self.due.losses_ripe |= self.due.losses != 0 && self.due.next_loss <= now;
    }

    /// Writes what is due behind the frames of a buffer that is about to be sent. The room for it was kept free.
    /// What is in `rest` follows it, and comes before GOODBYE.
    #[cold]
    #[inline(never)]
    pub fn speak(&mut self, now: Now, out: &mut SendBuffer, rest: &[u8]) {
        if !self.is_open() || self.is_silent {
            return;
        }
        let is_last = rest.is_empty() && std::mem::take(&mut self.due.goodbye);
        if let Some((ping_sent_at, ping_received_at)) = self.due.pong.take() {
            must_fit(Pong { ping_sent_at, ping_received_at, sent_at: now.wall }.write(out));
        }
        let is_heartbeat = std::mem::take(&mut self.due.ping);
        let states = std::mem::take(&mut self.due.states);
        let losses = if std::mem::take(&mut self.due.losses_ripe) {
            self.due.next_loss = now.monotonic.after(LOSS_INTERVAL);
            std::mem::take(&mut self.due.losses)
        } else {
            0
        };
        for bus in (0..MAX_BUSES).filter(|&bus| self.matching.peers(bus).is_some()) {
            let number = bus as u8;
            if states & 1 << bus != 0 {
                must_fit(self.states[bus].write(out, number));
            }
            if is_last || losses & 1 << bus != 0 {
                let outgoing = self.books.outgoing(bus);
                let next = first_number(rest, number).unwrap_or(outgoing.next);
                must_fit(outgoing.losses.write(out, number, next));
            }
            if is_last || is_heartbeat {
                let (expected, receipt) = self.books.incoming(bus).receipt(false, self.disposals[bus]);
                must_fit(receipt.write(out, number, expected));
            }
        }
        if is_heartbeat {
            self.asked.note(now);
            must_fit(write_ping(out, now.wall));
        }
        if let (true, Some(reason)) = (is_last, self.goodbye) {
            must_fit(reason.write(out));
            self.is_silent = true;
        }
    }

    fn write_hello(&self, out: &mut SendBuffer) {
        let mut buses = [BusName::default(); MAX_BUSES];
        for (room, bus) in buses.iter_mut().zip(self.identity.buses.iter()) {
            *room = *bus;
        }
        let receipts_for = match self.role {
            // Whoever answers sees whether it is meant.
            Role::Client => self.books.peer_instance(),
            Role::Server if self.remembered => self.books.peer_instance(),
            Role::Server => 0,
        };
        let hello = Hello {
            instance: self.identity.instance,
            receipts_for,
            heartbeat_ms: u32::try_from(self.identity.heartbeat.as_millis()).unwrap_or(u32::MAX),
            bus_count: self.identity.buses.len().min(MAX_BUSES),
            buses,
        };
        must_fit(hello.write(out));
    }
}

/// Records without frames always have room: an opening goes into an empty buffer, and frames leave room for the rest.
fn must_fit(written: bool) {
    assert!(written, "room is kept for records without frames");
}
