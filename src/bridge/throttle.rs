//! The bound on what all links of a bridge together put on one bus: how much ([`Limiter`]), and whose turn it is ([`Turns`]).

use std::num::NonZeroU32;

use super::limiter::{Grant, Limiter, Share};
use super::turns::Turns;
use crate::config::{BitRate, Bounds};
use crate::frame::Frame;
use crate::frame::bit_time::BitRates;
use crate::moment::Moment;

/// One for each bus that is bounded.
#[derive(Debug)]
pub struct Throttle {
    limiter: Limiter,
    turns: Turns,
    /// The part of the bus's time that may be used, in millionths, if that is bounded.
    millionths: Option<u32>,
}

impl Throttle {
    /// What these bounds ask for on a bus of such a bit rate, if anything; so many links may come to wait.
    pub fn new(bounds: &Bounds, bit_rate: Option<BitRate>, links: usize) -> Option<Self> {
        if bounds.frames_per_s.is_none() && bounds.load.is_none() {
            return None;
        }
        let millionths = bounds.load.map(|load| load.millionths);
        let share = millionths.zip(bit_rate).and_then(|(millionths, rate)| share(millionths, rate));
        let limiter = Limiter::new(bounds.frames_per_s, share);
        Some(Self { limiter, turns: Turns::with_capacity(links), millionths })
    }

    /// The bus has another bit rate.
    pub fn set_bit_rate(&mut self, rate: BitRate) {
        if let Some(share) = self.millionths.and_then(|millionths| share(millionths, rate)) {
            self.limiter.set_share(share);
        }
    }

    /// A link that has come to be first in the line since the last call.
    #[inline(never)]
    pub fn take_next(&mut self) -> Option<usize> {
        self.turns.take_next()
    }

    /// A link is gone.
    pub fn leave(&mut self, link: usize) {
        self.turns.leave(link);
    }

    /// What waited for one link waits for another, in its place.
    pub fn rename(&mut self, link: usize, new: usize) {
        self.turns.leave(new);
        self.turns.rename(link, new);
    }
}

fn share(millionths: u32, rate: BitRate) -> Option<Share> {
    let nominal = NonZeroU32::new(rate.nominal)?;
    let data = rate.data.and_then(NonZeroU32::new).unwrap_or(nominal);
    Some(Share { millionths, rates: BitRates { nominal, data } })
}

/// The bound as one link meets it. As a rule there is none: what it does is out of line for the sake of links without one.
#[derive(Debug)]
pub struct Gate<'a> {
    /// The bus's.
    pub throttle: &'a mut Throttle,
    /// The link's number.
    pub link: usize,
}

impl Gate<'_> {
    /// How many of the link's frames are worth looking at: none if the first has to wait.
    #[inline(never)]
    pub fn room(&self, now: Moment) -> usize {
        let Throttle { limiter, turns, .. } = &*self.throttle;
        if !turns.is_next(self.link) {
            return 0;
        }
        let room = limiter.room(now);
        if turns.is_contended(self.link) { room.min(1) } else { room }
    }

    /// How many of the frames may go.
    #[inline(never)]
    pub fn grant(&self, frames: &[Frame], now: Moment) -> Grant {
        self.throttle.limiter.grant(frames, now)
    }

    /// So many of them have gone by `now`.
    #[inline(never)]
    pub fn pay(&mut self, frames: &[Frame], grant: Grant, accepted: usize, now: Moment) {
        self.throttle.limiter.pay(frames, grant, accepted, now);
        if accepted > 0 && self.throttle.turns.is_contended(self.link) {
            self.throttle.turns.rotate();
        }
    }

    /// When the link may go on, if it is its turn; else it is told.
    #[inline(never)]
    pub fn wait(&mut self, is_waiting: &mut bool) -> Option<Moment> {
        if !std::mem::replace(is_waiting, true) {
            self.throttle.turns.join(self.link);
        }
        self.throttle.turns.is_next(self.link).then(|| self.throttle.limiter.ready_at())
    }

    /// The link waits for nothing here any more, if it did.
    #[inline(never)]
    pub fn leave(&mut self, is_waiting: &mut bool) {
        if std::mem::take(is_waiting) {
            self.throttle.turns.leave(self.link);
        }
    }
}
