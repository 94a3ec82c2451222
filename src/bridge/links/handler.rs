//! What the engine reports, handed to the link that it concerns.

use std::cell::RefCell;
use std::io;

use super::{Attention, Links, address};
use crate::bridge::bus_socket::BusSocket;
use crate::bridge::link::{Ending, Link, PacketContext, Witness};
use crate::bridge::platform::Platform;
use crate::buffer::SendBuffer;
use crate::engine::{Consumed, Handler, PacketInfo, Token};
use crate::frame::Frame;
use crate::metrics::histograms::Histograms;
use crate::moment::Now;
use crate::record::Recorder;
use crate::session::OneWay;

impl<P: Platform> Links<P> {
    /// The link of a token, marked as one that something happened to, and the bus.
    fn touched(&mut self, token: Token) -> Option<(&mut Link, usize)> {
        let (index, bus) = address::resolve(token);
        self.mark(index, Attention::Whole);
        Some((self.table.get_mut(index)?.as_mut()?, bus))
    }
}

/// What comes from a peer beside the frames for a bus, put where it belongs.
struct Incidentals<'a> {
    histograms: &'a mut Histograms,
    recorder: Option<&'a RefCell<Recorder>>,
    buses: &'a [BusSocket],
    now: Now,
}

impl Witness for Incidentals<'_> {
    fn one_way(&mut self, one_way: OneWay) {
        self.histograms.record_one_way(one_way.elapsed_ns, one_way.uncertainty_ns);
    }

    /// It goes on no bus, so that no other link sees it there: each link records its own.
    fn error_frame(&mut self, bus: usize, frame: Frame) {
        if let Some(recorder) = self.recorder {
            let now_ns = self.now.wall.as_nanos();
            recorder.borrow_mut().record(now_ns, self.buses[bus].name(), frame.image());
        }
    }
}

impl<P: Platform> Handler for Links<P> {
    #[inline(always)]
    fn bus_packet(&mut self, token: Token, packet: &[u8], info: PacketInfo) {
        let mut now = self.now();
        let received_at = info.received_at.unwrap_or(now.wall);
        let mut is_stale = now.wall.nanos_since(received_at) > self.max_age_ns;
        if is_stale {
            now = self.now_anew();
            is_stale = now.wall.nanos_since(received_at) > self.max_age_ns;
        }
        let (index, bus) = address::resolve(token);
        self.mark(index, Attention::Frames);
        let Some(Some(link)) = self.table.get_mut(index) else { return };
        let socket = &self.buses[bus];
        let (kind, filter) = (socket.kind(), socket.filter());
        let is_filtered = socket.is_filtered();
        let context = PacketContext { bus, kind, filter, is_filtered, info, received_at, is_stale, now };
        let records = self.recording == Some(index) && !socket.is_for_tests();
        let recorder = self.recorder.as_ref().filter(|_| records);
        link.bus_packet(&context, packet, |image| {
            if let Some(recorder) = recorder {
                recorder.borrow_mut().record(received_at.as_nanos(), socket.name(), image);
            }
        });
    }

    fn bus_stopped(&mut self, token: Token, error: io::Error) {
        let (_, bus) = address::resolve(token);
        self.buses[bus].stopped(&error);
        if let Some((link, bus)) = self.touched(token) {
            link.buses[bus].stopped = Some(error);
        }
    }

    fn bus_writable(&mut self, token: Token) {
        if let Some((link, bus)) = self.touched(token) {
            link.buses[bus].inbound.retry();
        }
    }

    #[inline(always)]
    fn stream_bytes(&mut self, token: Token, bytes: &[u8]) -> Consumed {
        // Not the turn's, if something was reported before: a heartbeat must not seem to have come before it did.
        let now = self.platform.read();
        self.turn_time.get_or_insert(now);
        let (index, _) = address::resolve(token);
        self.mark(index, Attention::Frames);
        match self.table.get_mut(index) {
            Some(Some(link)) => {
                let (histograms, buses) = (&mut self.histograms, &self.buses);
                let recorder = self.recorder.as_deref();
                link.stream_bytes(bytes, now, buses, Incidentals { histograms, recorder, buses, now })
            }
            _ => Consumed { bytes: bytes.len(), pause: true },
        }
    }

    fn stream_ended(&mut self, token: Token, unconsumed: usize, error: Option<io::Error>) {
        if let Some((link, _)) = self.touched(token) {
            link.stream_ended(unconsumed, error);
        }
    }

    #[inline(always)]
    fn stream_sent(&mut self, token: Token, buffer: SendBuffer, result: io::Result<()>) {
        let now = self.now();
        let (index, _) = address::resolve(token);
        self.mark(index, Attention::Frames);
        if let Some(Some(link)) = self.table.get_mut(index) {
            link.outbound.give_back(buffer, &link.session, result.is_ok().then_some(now));
            if let Err(error) = result {
                link.drain(Ending::Broken(error));
            }
        }
    }
}
