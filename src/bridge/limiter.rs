//! How much may be put on a bus: so many frames a second, and such a part of the time that the bus has.
//!
//! Each of the two is a token bucket, kept as the moment at which all that went is paid for (the generic cell rate
//! algorithm, ITU-T I.371): a frame may go if that moment is less than [`CATCH_UP_NS`] ahead, and moves it by what the
//! frame costs. So in any time t, whatever came before, frames go that cost t + [`CATCH_UP_NS`] at most, and one more.
//!
//! ```text
//!   now                paid until            now + CATCH_UP
//!   ├───── owed ───────────┤                       │        a frame may go: 1 / rate, or its time on the bus / share
//! ```
//!
//! It knows no clock and no link: who may go first is for [`super::turns`].

use crate::frame::bit_time::{BitRates, FrameBits};
use crate::frame::{Frame, Image};
use crate::moment::Moment;

/// What was not used within this time is not made up for. It lets pass at once what comes together (messages with the same
/// period, the shortest of which is 10 ms in most vehicles), and a timer that fires late does not lower the rate.
pub const CATCH_UP_NS: u64 = 10_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// A share of a bus's time is given in parts of this.
pub const WHOLE_BUS: u32 = 1_000_000;

/// Times of bits are kept in parts of a nanosecond, rounded up: at 10 Mbit/s that is wrong by a hundred-thousandth at most.
/// The slowest, a bit a second of which a thousandth may be used, and the longest frame, below 2^11 bits, fit into 64 bits.
const PARTS_PER_NS: u64 = 1 << 10;

/// Bits at the nominal rate that no frame is shorter than: of an FD frame with an 11-bit identifier, what does not go at its
/// data rate. It only tells how many frames are worth looking at.
const SHORTEST_BITS: u64 = 29;

/// The part of a bus's time that may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Millionths, one thousandth at least and the whole at most.
    pub millionths: u32,
    /// How long bits are.
    pub rates: BitRates,
}

/// What the bits of frames cost, in nanoseconds and [`PARTS_PER_NS`].
#[derive(Clone, Copy, Debug)]
struct BitCosts {
    nominal: u64,
    data: u64,
}

impl BitCosts {
    fn of(share: Share) -> Self {
        let cost = |rate: u32| {
            let whole = u128::from(NS_PER_S * PARTS_PER_NS) * u128::from(WHOLE_BUS);
            let parts = whole.div_ceil(u128::from(rate) * u128::from(share.millionths));
            u64::try_from(parts).unwrap_or(u64::MAX)
        };
        Self { nominal: cost(share.rates.nominal.get()), data: cost(share.rates.data.get()) }
    }

    fn of_frame_ns(self, image: Image<'_>) -> u64 {
        let FrameBits { nominal, data } = FrameBits::of(image);
        (u64::from(nominal) * self.nominal + u64::from(data) * self.data).div_ceil(PARTS_PER_NS)
    }
}

/// What frames cost, in nanoseconds of either bucket.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cost {
    frames_ns: u64,
    time_ns: u64,
}

/// Frames that may go now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// How many, from the first on.
    pub count: usize,
    cost: Cost,
}

/// Bounds what goes: by number, by time, or both.
#[derive(Clone, Debug)]
pub struct Limiter {
    frame_ns: Option<u64>,
    bits: Option<BitCosts>,
    /// Until when what went is paid for; of a bucket that there is not, the past.
    frames_until: Moment,
    time_until: Moment,
}

impl Limiter {
    /// So many frames a second at most, if that is bounded, which take such a share of the bus, if that is.
    pub fn new(frames_per_s: Option<u32>, share: Option<Share>) -> Self {
        Self {
            frame_ns: frames_per_s.map(|rate| NS_PER_S.div_ceil(rate.into())),
            bits: share.map(BitCosts::of),
            frames_until: Moment::default(),
            time_until: Moment::default(),
        }
    }

    /// From now on, the bus is as fast as this. What went before stays paid for as it was.
    pub fn set_share(&mut self, share: Share) {
        self.bits = Some(BitCosts::of(share));
    }

    /// When the next frame may go, whichever it is.
    pub fn ready_at(&self) -> Moment {
        self.frames_until.max(self.time_until).before_nanos(CATCH_UP_NS)
    }

    /// Frames of which the first may go, and more than this cannot: how many to look at.
    pub fn room(&self, now: Moment) -> usize {
        if self.ready_at() > now {
            return 0;
        }
        let horizon = now.after_nanos(CATCH_UP_NS);
        let fit = |until: Moment, cost_ns: u64| horizon.nanos_since(until.max(now)) / cost_ns.max(1) + 1;
        let by_number = self.frame_ns.map_or(u64::MAX, |frame_ns| fit(self.frames_until, frame_ns));
        let shortest_ns = |bits: BitCosts| bits.nominal * SHORTEST_BITS / PARTS_PER_NS;
        let by_time = self.bits.map_or(u64::MAX, |bits| fit(self.time_until, shortest_ns(bits)));
        usize::try_from(by_number.min(by_time)).unwrap_or(usize::MAX)
    }

    /// How many of these frames may go now, in order. Nothing is paid before [`Limiter::pay`].
    #[inline]
    pub fn grant(&self, frames: &[Frame], now: Moment) -> Grant {
        let horizon = now.after_nanos(CATCH_UP_NS);
        let (frames_until, time_until) = (self.frames_until.max(now), self.time_until.max(now));
        let mut grant = Grant { count: 0, cost: Cost::default() };
        for frame in frames {
            let Cost { frames_ns, time_ns } = grant.cost;
            if frames_until.after_nanos(frames_ns).max(time_until.after_nanos(time_ns)) > horizon {
                break;
            }
            grant.cost = self.cost_of(grant.cost, frame);
            grant.count += 1;
        }
        grant
    }

    /// The first `accepted` of the frames that were granted have gone, the last of them at `now` at the latest: in the time
    /// that the call took, or that the process was stopped in it, nothing was saved up.
    #[inline]
    pub fn pay(&mut self, frames: &[Frame], grant: Grant, accepted: usize, now: Moment) {
        if accepted == 0 {
            return;
        }
        let Cost { frames_ns, time_ns } = if accepted == grant.count {
            grant.cost
        } else {
            frames[..accepted].iter().fold(Cost::default(), |cost, frame| self.cost_of(cost, frame))
        };
        if self.frame_ns.is_some() {
            self.frames_until = self.frames_until.max(now).after_nanos(frames_ns);
        }
        if self.bits.is_some() {
            self.time_until = self.time_until.max(now).after_nanos(time_ns);
        }
    }

    /// What one more frame costs beside those before it.
    #[inline]
    fn cost_of(&self, before: Cost, frame: &Frame) -> Cost {
        Cost {
            frames_ns: before.frames_ns + self.frame_ns.unwrap_or(0),
            time_ns: before.time_ns + self.bits.map_or(0, |bits| bits.of_frame_ns(frame.image())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::Identifier;
    use crate::frame::notation::parse_compact;

    const MS: u64 = 1_000_000;

    fn share(percent: u32, nominal: u32, data: u32) -> Share {
        let [nominal, data] = [nominal, data].map(|rate| NonZeroU32::new(rate).unwrap());
        Share { millionths: percent * 10_000, rates: BitRates { nominal, data } }
    }

    fn frame() -> Frame {
        Frame::data(Identifier::standard(0).unwrap(), &[]).unwrap()
    }

    /// How many of many equal frames go at once.
    fn burst(limiter: &Limiter, frame: Frame, now: Moment) -> usize {
        limiter.grant(&vec![frame; 5_000], now).count
    }

    #[test]
    fn what_may_go_at_once_is_ten_milliseconds_worth_and_one() {
        let now = Moment::from_nanos(1_000 * MS);
        let at_once = |rate| burst(&Limiter::new(Some(rate), None), frame(), now);
        assert_eq!([1, 10, 99, 100, 1_000, 10_000].map(at_once), [1, 1, 1, 2, 11, 101]);
        // 53 bits of 2 us: 106 us, of which a tenth of the bus takes 1,060.
        let tenth = Limiter::new(None, Some(share(10, 500_000, 500_000)));
        assert_eq!(burst(&tenth, frame(), now), 10);
        // Whichever is less.
        assert_eq!(burst(&Limiter::new(Some(100), Some(share(10, 500_000, 500_000))), frame(), now), 2);
        assert_eq!(burst(&Limiter::new(Some(1_000), Some(share(1, 500_000, 500_000))), frame(), now), 1);
    }

    #[test]
    fn a_frame_costs_its_time_on_the_bus() {
        // As frame::bit_time has them: 53 bits; 30 nominal and 27 + 8 data bits or so, told apart by the rates alone.
        let cost_ns =
            |text: &str, share| BitCosts::of(share).of_frame_ns(parse_compact(text).unwrap().image());
        assert_eq!(cost_ns("000#", share(100, 500_000, 500_000)), 106_000);
        assert_eq!(cost_ns("000#", share(50, 500_000, 2_000_000)), 212_000);
        let switching = "123##100112233445566778899AABBCCDDEEFF";
        let bits = FrameBits::of(parse_compact(switching).unwrap().image());
        assert!(bits.data > 100 && bits.nominal < 60, "{bits:?}");
        let expected = u64::from(bits.nominal) * 2_000 + u64::from(bits.data) * 500;
        assert_eq!(cost_ns(switching, share(100, 500_000, 2_000_000)), expected);
        // The slowest and longest of all fits.
        let longest = format!("1FFFFFFF##0{}", "00".repeat(64));
        let slowest = Share { millionths: 1_000, ..share(1, 1, 1) };
        assert!(cost_ns(&longest, slowest) > 600 * 1_000 * NS_PER_S);
    }

    #[test]
    fn a_new_bit_rate_counts_from_then_on() {
        let mut limiter = Limiter::new(None, Some(share(10, 500_000, 500_000)));
        limiter.set_share(share(10, 125_000, 125_000));
        // A frame takes four times as long: 4.24 ms.
        assert_eq!(burst(&limiter, frame(), Moment::from_nanos(1_000 * MS)), 3);
    }

    #[test]
    fn what_was_stopped_while_it_went_saves_nothing_up() {
        let mut limiter = Limiter::new(Some(1_000), None);
        let frames = vec![frame(); 100];
        let now = Moment::from_nanos(1_000 * MS);
        let grant = limiter.grant(&frames, now);
        assert_eq!(grant.count, 11);
        // They went some time in the second that the call took: at its end as well.
        let after = now.after_nanos(1_000 * MS);
        limiter.pay(&frames, grant, 11, after);
        assert_eq!(limiter.grant(&frames, after).count, 0);
        assert_eq!(limiter.ready_at(), after.after_nanos(MS));
    }

    #[test]
    fn what_the_bus_did_not_take_costs_nothing() {
        let mut limiter = Limiter::new(Some(1_000), Some(share(50, 500_000, 500_000)));
        let frames = vec![frame(); 100];
        let now = Moment::from_nanos(1_000 * MS);
        let grant = limiter.grant(&frames, now);
        limiter.pay(&frames, grant, 0, now);
        assert_eq!(limiter.grant(&frames, now), grant);
        limiter.pay(&frames, grant, 1, now);
        assert_eq!(limiter.grant(&frames, now).count, 10);
    }

    /// A frame that went, and when.
    struct Gone {
        at: Moment,
        bus_ns: u64,
    }

    /// What goes when links come at these times with so many of the frames, of which the bus takes so many at most, and
    /// each call takes so long.
    fn gone(
        limiter: &mut Limiter,
        rates: BitRates,
        frames: &[Frame],
        calls: &[(u64, usize, u64)],
    ) -> Vec<Gone> {
        let (mut gone, mut now, mut at) = (Vec::new(), Moment::from_nanos(0), 0);
        for &(pause_ns, taken, call_ns) in calls {
            now = now.after_nanos(pause_ns);
            let offered: Vec<Frame> = frames.iter().cycle().skip(at).take(60).copied().collect();
            let room = limiter.room(now);
            let grant = limiter.grant(&offered, now);
            assert!(grant.count <= room, "{} of {room}", grant.count);
            assert_eq!(grant.count > 0, limiter.ready_at() <= now);
            let accepted = grant.count.min(taken);
            let after = now.after_nanos(call_ns);
            limiter.pay(&offered, grant, accepted, after);
            let time = |frame: &Frame| FrameBits::of(frame.image()).duration_ns(rates);
            // The first went as the call began, the others as it ended: nothing packs them closer at its end.
            for (number, frame) in offered[..accepted].iter().enumerate() {
                gone.push(Gone { at: if number == 0 { now } else { after }, bus_ns: time(frame) });
            }
            (now, at) = (after, at + accepted);
        }
        gone
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_its_rate_and_the_burst(
            rate in 1u32..20_000,
            percent in 1u32..=100,
            calls in prop::collection::vec((0u64..40 * MS, 0usize..60, 0u64..20 * MS), 1..40),
        ) {
            let texts = ["000#", "123#1122334455667788", "18DAF110##1AABBCCDDEEFF0011", "7FF#R"];
            let frames: Vec<Frame> = texts.iter().map(|text| parse_compact(text).unwrap()).collect();
            let share = share(percent, 500_000, 2_000_000);
            let mut limiter = Limiter::new(Some(rate), Some(share));
            let gone = gone(&mut limiter, share.rates, &frames, &calls);
            for (first, from) in gone.iter().enumerate() {
                let (mut count, mut bus_ns) = (0u128, 0u128);
                for to in &gone[first..] {
                    let window_ns = u128::from(to.at.nanos_since(from.at));
                    // One frame more is the one that goes when all but its own cost is paid.
                    prop_assert!(count * 1_000_000_000 <= u128::from(rate) * (window_ns + u128::from(CATCH_UP_NS)));
                    prop_assert!(bus_ns * 100 <= u128::from(percent) * (window_ns + u128::from(CATCH_UP_NS)));
                    (count, bus_ns) = (count + 1, bus_ns + u128::from(to.bus_ns));
                }
            }
        }

        #[test]
        fn what_waits_gets_all_of_the_rate_however_late_timers_are(
            rate in 1u32..20_000,
            delays in prop::collection::vec(0u64..CATCH_UP_NS, 200),
        ) {
            let mut limiter = Limiter::new(Some(rate), None);
            let frames = vec![frame(); 400];
            let start = Moment::from_nanos(1_000 * MS);
            let (mut now, mut gone) = (start, 0);
            for late_ns in delays {
                now = now.max(limiter.ready_at()).after_nanos(late_ns);
                let grant = limiter.grant(&frames, now);
                limiter.pay(&frames, grant, grant.count, now);
                gone += grant.count as u64;
            }
            // What a frame costs is rounded up to a nanosecond.
            let due = now.nanos_since(start) / NS_PER_S.div_ceil(rate.into());
            prop_assert!(gone + 1 >= due, "{gone} of {due}");
        }
    }
}
