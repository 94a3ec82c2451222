//! The thread that takes what comes out of one bus, and holds it against what was sent into the other.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::clock::now_ns;
use super::end::End;
use super::link::{self, Echoes};
use super::priority;
use super::sent::{SentFrame, SentFrames};
use super::series::Series;
use crate::bus;
use crate::frame::Image;
use crate::load::StampKey;
use crate::metrics::histograms;
use crate::verification::{Counts, Fault, Verification};
use crate::wire::echo::Echo;

/// How long to wait for a frame before other things are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A frame that comes back where it was sent has been sent within this time, and is one of so many.
const LOOP_AGE_US: u32 = 10_000_000;
const LOOP_FRAMES: u32 = 1 << 20;

/// Between two accounts of how it goes.
const PROGRESS_NS: u64 = 100_000_000;

/// Receives one direction of a trial.
pub struct DirectionReceiver<'a> {
    pub end: &'a End,
    /// Real-time priority is asked for.
    pub is_real_time: bool,
    /// What was sent into the other bus.
    pub log: &'a SentFrames,
    pub verification: Verification,
    /// Of the other direction, whose frames must not come out here: the path would loop.
    pub other_key: StampKey,
    /// How many of those were sent so far.
    pub other_sent: &'a AtomicU64,
    pub progress: &'a Mutex<Progress>,
    /// Set when nothing more is to be waited for.
    pub stop: &'a AtomicBool,
    pub start_ns: u64,
    /// Frames that are due earlier are not counted.
    pub warm_up_ns: u64,
    /// Whether one that counts was sent.
    pub is_measuring: bool,
    /// Of the next frame that will be sent.
    pub next_number: u64,
    pub series: Series,
    /// Where frames come back as echoes: what those say beside.
    pub echoes: Option<Echoes<'a>>,
}

/// How a direction goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    pub counts: Counts,
    /// Frames of the load that came out, warm-up included.
    pub arrived: u64,
    /// Frames that were given up because too many were under way.
    pub given_up: u64,
    /// Frames that later ones have overtaken: as good as lost.
    pub overtaken: u64,
    /// Frames of the other direction that came out where they were sent in.
    pub looped: u64,
    /// When the last frame came out, from the beginning; none before.
    pub last_arrival_ns: Option<u64>,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

/// What a direction came to.
pub struct ReceivedDirection {
    pub progress: Progress,
    pub latency: Histogram<u64>,
    pub series: Series,
    pub first_faults: Vec<Fault>,
    /// Of frames that came back as echoes.
    pub echoes: Option<link::Account>,
    /// Frames that this test did not read in time.
    pub dropped: u64,
    /// What ended it early.
    pub error: Option<io::Error>,
}

impl DirectionReceiver<'_> {
    /// Receives until it is stopped.
    pub fn run(mut self) -> ReceivedDirection {
        if self.is_real_time {
            priority::raise();
        }
        let mut receiver = bus::Receiver::new();
        let mut sent = Vec::new();
        let mut latency = histograms::times();
        let mut progress = Progress::default();
        let mut dropped = 0;
        let mut error = None;
        let mut told_at_ns = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let came = match self.end.wait_readable(LOOK) {
                Ok(came) => came,
                Err(failure) if failure.kind() == io::ErrorKind::Interrupted => false,
                Err(failure) => {
                    error = Some(failure);
                    break;
                }
            };
            if came {
                let result = self.take(&mut receiver, &mut sent, &mut latency, &mut progress);
                match result {
                    Ok(new) => dropped += new,
                    Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => {}
                    Err(failure) => {
                        error = Some(failure);
                        break;
                    }
                }
            } else {
                self.learn(&mut sent);
            }
            let now = self.now_ns();
            self.advance(now);
            if now >= told_at_ns + PROGRESS_NS {
                told_at_ns = now;
                self.tell(&mut progress, &latency);
            }
        }
        self.learn(&mut sent);
        let now = self.now_ns();
        if !self.is_measuring {
            // It was ended before anything counted.
            self.verification.measure_from(self.next_number);
        }
        self.verification.finish();
        self.series.finish(now);
        self.tell(&mut progress, &latency);
        let first_faults = self.verification.first_faults();
        let echoes = self.echoes.map(|echoes| echoes.finish(now));
        ReceivedDirection { progress, latency, series: self.series, first_faults, echoes, dropped, error }
    }

    fn now_ns(&self) -> u64 {
        now_ns().saturating_sub(self.start_ns)
    }

    fn advance(&mut self, now_ns: u64) {
        self.series.advance(now_ns);
        self.echoes.iter_mut().for_each(|echoes| echoes.advance(now_ns));
    }

    /// Learns what was sent.
    fn learn(&mut self, sent: &mut Vec<SentFrame>) {
        self.log.take(sent);
        for SentFrame { number, at_ns, frame } in &*sent {
            self.next_number = *number + 1;
            if !self.is_measuring && *at_ns >= self.warm_up_ns {
                self.is_measuring = true;
                self.verification.measure_from(*number);
                self.echoes.iter_mut().for_each(|echoes| echoes.measure_from(*number));
            }
            self.echoes.iter_mut().for_each(|echoes| echoes.learn(*number));
            self.verification.sent(*number, *at_ns, frame);
            if *at_ns >= self.warm_up_ns {
                self.series.count_sent(*at_ns);
            }
        }
    }

    /// Takes what has come; returns how many frames the socket has dropped meanwhile.
    fn take(
        &mut self,
        receiver: &mut bus::Receiver,
        sent: &mut Vec<SentFrame>,
        latency: &mut Histogram<u64>,
        progress: &mut Progress,
    ) -> io::Result<u64> {
        let end = self.end;
        // What comes out has been announced before it was sent: what is read first is known then.
        let mut frames = Frames { this: self, sent, latency, progress, at_ns: None };
        Ok(end.read(receiver, |image| frames.take(image))?.dropped)
    }

    fn tell(&self, progress: &mut Progress, latency: &Histogram<u64>) {
        progress.counts = self.verification.counts();
        progress.overtaken = self.verification.missing();
        progress.given_up = self.verification.given_up();
        progress.p50_ns = latency.value_at_quantile(0.5);
        progress.p99_ns = latency.value_at_quantile(0.99);
        progress.max_ns = latency.max();
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = *progress;
    }
}

/// The frames of one read.
struct Frames<'a, 'b> {
    this: &'a mut DirectionReceiver<'b>,
    sent: &'a mut Vec<SentFrame>,
    latency: &'a mut Histogram<u64>,
    progress: &'a mut Progress,
    /// When they were read; none before the first.
    at_ns: Option<u64>,
}

impl Frames<'_, '_> {
    fn take(&mut self, image: Image<'_>) {
        let at_ns = match self.at_ns {
            Some(at_ns) => at_ns,
            None => {
                let now = self.this.now_ns();
                self.at_ns = Some(now);
                self.this.advance(now);
                self.this.learn(self.sent);
                now
            }
        };
        let mut echoes = self.this.echoes.as_mut();
        let echo = echoes.as_ref().and_then(|_| Echo::read(image));
        let mut echo = echoes.as_mut().zip(echo.as_ref());
        if let Some((echoes, echo)) = &mut echo
            && echoes.take_probe(echo)
        {
            return;
        }
        let image = echo.as_ref().map_or(image, |(_, echo)| echo.frame.image());
        let Some(arrival) = self.this.verification.arrived(image, at_ns) else {
            match echo {
                Some((echoes, echo)) => echoes.strayed(echo),
                None => self.progress.looped += u64::from(self.is_of_other_direction(image, at_ns)),
            }
            return;
        };
        self.progress.arrived += 1;
        self.progress.last_arrival_ns = Some(at_ns);
        let counts = at_ns.saturating_sub(arrival.latency_ns) >= self.this.warm_up_ns;
        let mut in_series_ns = arrival.latency_ns;
        if let Some((echoes, echo)) = echo {
            in_series_ns = echoes.came(echo, arrival, at_ns, counts);
        }
        if counts {
            self.latency.saturating_record(arrival.latency_ns);
            self.this.series.record(in_series_ns);
        }
    }

    /// Whether this is a frame that was sent into this very bus.
    fn is_of_other_direction(&self, image: Image<'_>, at_ns: u64) -> bool {
        let Some(bytes) = image.payload().first_chunk() else { return false };
        let stamp = self.this.other_key.read(*bytes);
        let age_us = (at_ns / 1_000).wrapping_sub(u64::from(stamp.due_us)) as u32;
        // Any other frame's bytes would have to decode to a number and a moment just past.
        let sent = self.this.other_sent.load(Ordering::Relaxed) as u32;
        age_us < LOOP_AGE_US && sent.wrapping_sub(stamp.number) < LOOP_FRAMES
    }
}
