//! What is asked for, and what comes of it.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::frame::{FD_BIT_RATE_SWITCH, Image, Kind};

fn rates(nominal: u32, data: u32) -> BitRates {
    BitRates { nominal: nominal.try_into().unwrap(), data: data.try_into().unwrap() }
}

fn classic() -> BitRates {
    rates(500_000, 500_000)
}

fn bus(percent: f64, frames: Frames, rates: BitRates) -> Load {
    Load::paced(Pacing::Bus { percent }, frames, rates, 1).unwrap()
}

const FD: Frames = Frames {
    identifiers: Identifiers::Standard,
    lengths: Lengths::Fixed(64),
    format: Format::Fd { bit_rate_switch: true },
};

// At 500 kbit/s a bit takes 2000 ns: no rounding anywhere.
#[test]
fn a_saturated_bus_is_exact_to_the_bit() {
    let load = bus(100.0, Frames::default(), classic());
    let mut bits = 0;
    for due in load.schedule(0).take(10_000) {
        assert_eq!(due.at_ns, 2000 * bits);
        bits += u64::from(FrameBits::of(due.frame.image()).nominal);
    }
    // The mean of random frames, 114.3 bits, to within 0.4.
    assert!((1_139_000..=1_147_000).contains(&bits), "{bits}");
}

// Of a rate that divides no nanosecond: 2^20 frames at 333,333 bit/s, 29-bit identifiers and mixed lengths.
#[test]
fn rounding_does_not_add_up() {
    let frames = Frames { identifiers: Identifiers::Mixed, lengths: Lengths::Mixed, ..Frames::default() };
    for percent in [100.0, 33.3, 120.0] {
        let load = bus(percent, frames, rates(333_333, 333_333));
        let mut bits = 0u128;
        for due in load.schedule(1).take(10_000) {
            let exact = bits * 1_000_000_000 * 1000 / (333_333 * (percent * 10.0) as u128);
            assert_eq!(u128::from(due.at_ns), exact);
            bits += u128::from(FrameBits::of(due.frame.image()).nominal);
        }
    }
}

#[test]
fn fd_frames_take_their_time_at_two_rates() {
    let load = bus(100.0, FD, rates(500_000, 2_000_000));
    let (mut nominal, mut data) = (0, 0);
    for due in load.schedule(0).take(1000) {
        assert_eq!(due.at_ns, 2000 * nominal + 500 * data);
        let bits = FrameBits::of(due.frame.image());
        assert!(bits.data > 500);
        nominal += u64::from(bits.nominal);
        data += u64::from(bits.data);
    }
}

#[test]
fn a_share_scales_the_times() {
    let [full, half] = [100.0, 50.0].map(|percent| bus(percent, Frames::default(), classic()));
    for (full, half) in full.schedule(0).zip(half.schedule(0)).take(100) {
        // The stamps differ by their times, and with them the stuff bits: a frame has 111 to 135 bits.
        assert!(half.at_ns >= full.at_ns * 2 * 111 / 135 && half.at_ns <= full.at_ns * 2 * 135 / 111);
    }
    assert_eq!(full.bus_load_percent(), Some(100.0));
    assert_eq!(half.bus_load_percent(), Some(50.0));
    let frames_per_s = full.frames_per_s().unwrap();
    assert!((4360.0..4390.0).contains(&frames_per_s), "{frames_per_s}");
}

#[test]
fn an_even_rate_is_exact() {
    let paced =
        |frames_per_s| Load::paced(Pacing::Rate { frames_per_s }, Frames::default(), classic(), 1).unwrap();
    let due_ns = |load: &Load, number: usize| load.schedule(0).nth(number).unwrap().at_ns;
    assert_eq!(due_ns(&paced(3.0), 1), 333_333_333);
    assert_eq!(due_ns(&paced(3.0), 2), 666_666_666);
    assert_eq!(due_ns(&paced(3.0), 9999), 3_333_000_000_000);
    assert_eq!(due_ns(&paced(1_000_000.0), 1), 1000);
    assert_eq!(due_ns(&paced(0.1), 2), 20_000_000_000);
    assert_eq!(paced(2500.0).frames_per_s(), Some(2500.0));
    // 2,187 frames of 114.3 bits are half of 500 kbit/s.
    let percent = paced(2187.0).bus_load_percent().unwrap();
    assert!((percent - 50.0).abs() < 0.2, "{percent}");
}

#[test]
fn bursts_are_due_at_once() {
    let pacing = Pacing::Burst { frames: 3, every: Duration::from_millis(20) };
    let load = Load::paced(pacing, Frames::default(), classic(), 1).unwrap();
    let times: Vec<u64> = load.schedule(0).take(7).map(|due| due.at_ns).collect();
    assert_eq!(times, [0, 0, 0, 20_000_000, 20_000_000, 20_000_000, 40_000_000]);
    assert_eq!(load.frames_per_s(), Some(150.0));
}

#[test]
fn a_flood_has_no_times() {
    let load = Load::paced(Pacing::Flood, Frames::default(), classic(), 1).unwrap();
    let mut schedule = load.schedule(0);
    let key = schedule.key();
    let due = schedule.nth(5).unwrap();
    assert_eq!(due.at_ns, 0);
    assert_eq!(key.read(due.frame.image().classic_payload()), Stamp { number: 5, due_us: 0 });
    assert!(load.is_flood() && load.frames_per_s().is_none() && load.bus_load_percent().is_none());
}

#[test]
fn long_payloads_begin_with_their_stamp() {
    let fd = FD;
    for load in [bus(100.0, Frames::default(), classic()), bus(80.0, fd, rates(500_000, 2_000_000))] {
        let mut schedule = load.schedule(3);
        let key = schedule.key();
        for (number, due) in (0..).zip(schedule.by_ref().take(1000)) {
            let stamp = key.read(due.frame.image().payload()[..8].try_into().unwrap());
            assert_eq!(stamp, Stamp { number, due_us: (due.at_ns / 1000) as u32 });
        }
    }
}

#[test]
fn forms_are_what_was_asked_for() {
    let kinds = |frames: Frames, rates| -> Vec<Frame> {
        bus(100.0, frames, rates).schedule(0).take(2000).map(|due| due.frame).collect()
    };
    let lengths = |frames: &[Frame]| frames.iter().map(|frame| frame.image().len()).collect::<HashSet<_>>();
    let extended =
        |frames: &[Frame]| frames.iter().filter(|frame| frame.image().identifier().is_extended()).count();

    let all = kinds(Frames { lengths: Lengths::Fixed(3), ..Frames::default() }, classic());
    assert_eq!((lengths(&all), extended(&all)), (HashSet::from([3]), 0));
    assert!(all.iter().all(|frame| frame.image().kind() == Kind::Data));

    let mixed = Frames { lengths: Lengths::Mixed, identifiers: Identifiers::Mixed, format: Format::Classic };
    let all = kinds(mixed, classic());
    assert_eq!(lengths(&all), (0..=8).collect());
    assert!((900..1100).contains(&extended(&all)), "{}", extended(&all));

    let fd = Frames { lengths: Lengths::Mixed, identifiers: Identifiers::Extended, ..FD };
    let all = kinds(fd, rates(500_000, 2_000_000));
    assert_eq!(lengths(&all), HashSet::from([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64]));
    assert_eq!(extended(&all), 2000);
    assert!(all.iter().all(|frame| frame.image().kind() == Kind::Fd));
    assert!(all.iter().all(|frame| frame.image().fd_flags() == FD_BIT_RATE_SWITCH));

    let slow = Frames { format: Format::Fd { bit_rate_switch: false }, ..FD };
    assert!(kinds(slow, classic()).iter().all(|frame| frame.image().fd_flags() == 0));
}

#[test]
fn short_frames_differ_for_as_long_as_they_can() {
    let distinct = |len: u8, count: usize| {
        let frames = Frames { lengths: Lengths::Fixed(len), ..Frames::default() };
        let bytes = |image: Image<'_>| image.as_bytes().to_vec();
        let all = bus(100.0, frames, classic()).schedule(0).take(count);
        all.map(|due| bytes(due.frame.image())).collect::<HashSet<_>>().len()
    };
    assert_eq!(distinct(0, 2048), 2048);
    assert_eq!(distinct(0, 4096), 2048);
    assert_eq!(distinct(1, 20_000), 20_000);
    assert_eq!(distinct(7, 20_000), 20_000);
}

#[test]
fn a_schedule_is_the_same_each_time_and_another_in_each_direction_and_for_each_seed() {
    let frames = |seed, direction| -> Vec<Due> {
        let load = Load::paced(Pacing::Bus { percent: 100.0 }, Frames::default(), classic(), seed).unwrap();
        load.schedule(direction).take(100).collect()
    };
    assert_eq!(frames(1, 0), frames(1, 0));
    assert_ne!(frames(1, 0), frames(1, 1));
    assert_ne!(frames(1, 0), frames(2, 0));
}

#[test]
fn descriptions_say_what_is_sent() {
    let of = |pacing, frames, rates| Load::paced(pacing, frames, rates, 1).unwrap().description();
    let frames = Frames::default();
    assert_eq!(
        of(Pacing::Bus { percent: 100.0 }, frames, classic()),
        "saturated 500 kbit/s bus, 11-bit identifiers, 8 bytes, random payloads"
    );
    let mixed = Frames { identifiers: Identifiers::Mixed, lengths: Lengths::Mixed, ..frames };
    assert_eq!(
        of(Pacing::Bus { percent: 62.5 }, mixed, rates(1_000_000, 1_000_000)),
        "62.5 % of a 1 Mbit/s bus, 11-bit and 29-bit identifiers, mixed lengths, random payloads"
    );
    assert_eq!(
        of(Pacing::Bus { percent: 100.0 }, FD, rates(500_000, 2_000_000)),
        "saturated 500 kbit/s bus (data 2 Mbit/s), CAN FD with bit rate switch, 11-bit identifiers, 64 bytes, random payloads"
    );
    let empty = Frames { lengths: Lengths::Fixed(0), identifiers: Identifiers::Extended, ..frames };
    assert_eq!(
        of(Pacing::Rate { frames_per_s: 2500.0 }, empty, classic()),
        "2500 frames/s, 29-bit identifiers, no payload"
    );
    let burst = Pacing::Burst { frames: 100, every: Duration::from_secs(1) };
    assert_eq!(
        of(burst, frames, classic()),
        "bursts of 100 frames every 1s, 11-bit identifiers, 8 bytes, random payloads"
    );
    assert_eq!(
        of(Pacing::Flood, frames, classic()),
        "as fast as they are taken, 11-bit identifiers, 8 bytes, random payloads"
    );
    assert_eq!(
        Load::cyclic(classic(), 1).unwrap().description(),
        "150 cyclic messages of a passenger car, 63 % of a 500 kbit/s bus"
    );
}

#[test]
fn another_pace_is_checked_too() {
    let load = bus(100.0, Frames::default(), classic());
    let half = load.with_pacing(Pacing::Bus { percent: 50.0 }).unwrap();
    assert_eq!(half.pacing(), Some(Pacing::Bus { percent: 50.0 }));
    assert_eq!(half.seed(), 1);
    assert!(load.with_pacing(Pacing::Bus { percent: 0.0 }).is_err());
    let cyclic = Load::cyclic(classic(), 1).unwrap();
    let error = cyclic.with_pacing(Pacing::Flood).unwrap_err().to_string();
    assert_eq!(
        error,
        "a cyclic load has its own times: a load, a rate, a flood or a burst cannot be asked for with it"
    );
}

fn refused(pacing: Pacing, frames: Frames, rates: BitRates) -> String {
    let error = Load::paced(pacing, frames, rates, 1).unwrap_err().to_string();
    assert!(!error.contains('\n'));
    error
}

#[test]
fn impossible_paces_are_refused() {
    let of = |pacing| refused(pacing, Frames::default(), classic());
    assert_eq!(of(Pacing::Bus { percent: 0.0 }), "a load of 0 % of the bus: give 1 to 1000 percent");
    assert_eq!(of(Pacing::Bus { percent: -5.0 }), "a load of -5 % of the bus: give 1 to 1000 percent");
    assert_eq!(of(Pacing::Bus { percent: f64::NAN }), "a load of NaN % of the bus: give 1 to 1000 percent");
    assert_eq!(of(Pacing::Bus { percent: 1000.5 }), "a load of 1000.5 % of the bus: give 1 to 1000 percent");
    for frames_per_s in [0.0, -1.0, 0.05, f64::INFINITY, f64::NAN, 1_000_001.0] {
        assert_eq!(
            of(Pacing::Rate { frames_per_s }),
            format!("a rate of {frames_per_s} frames/s: give 0.1 to 1000000 frames a second")
        );
    }
    let every = Duration::from_secs(1);
    assert_eq!(of(Pacing::Burst { frames: 0, every }), "a burst of 0 frames: give 1 to 200000 frames");
    assert_eq!(
        of(Pacing::Burst { frames: 200_001, every }),
        "a burst of 200001 frames: give 1 to 200000 frames"
    );
    for every in [Duration::ZERO, Duration::from_secs(3601)] {
        assert_eq!(
            of(Pacing::Burst { frames: 1, every }),
            format!("bursts {every:?} apart: give 1ms to 3600s")
        );
    }
}

#[test]
fn impossible_frames_and_rates_are_refused() {
    let pacing = Pacing::Bus { percent: 100.0 };
    let of = |frames, rates| refused(pacing, frames, rates);
    let fixed = |len, frames| Frames { lengths: Lengths::Fixed(len), ..frames };
    assert_eq!(
        of(fixed(12, Frames::default()), classic()),
        "frames of 12 bytes: a classic frame has 0 to 8 (a CAN FD frame up to 64)"
    );
    assert_eq!(
        of(fixed(9, FD), classic()),
        "CAN FD frames of 9 bytes: give 0 to 8, 12, 16, 20, 24, 32, 48 or 64"
    );
    assert_eq!(
        of(Frames::default(), rates(9_999, 9_999)),
        "a bit rate of 9999 bit/s: give 10000 to 1000000 bit/s"
    );
    assert_eq!(
        of(Frames::default(), rates(2_000_000, 2_000_000)),
        "a bit rate of 2000000 bit/s: give 10000 to 1000000 bit/s"
    );
    for data in [250_000, 8_000_001] {
        assert_eq!(
            of(FD, rates(500_000, data)),
            format!("a data bit rate of {data} bit/s on a bus of 500000 bit/s: give 500000 to 8000000 bit/s")
        );
    }
    let unused = "a data bit rate of 2000000 bit/s, but no CAN FD frames that switch to it: ask for such frames, \
                  or leave it out";
    assert_eq!(of(Frames::default(), rates(500_000, 2_000_000)), unused);
    let without_switch = Frames { format: Format::Fd { bit_rate_switch: false }, ..FD };
    assert_eq!(of(without_switch, rates(500_000, 2_000_000)), unused);
    assert_eq!(
        Load::cyclic(rates(250_000, 250_000), 1).unwrap_err().to_string(),
        "cyclic messages on a bus of 250000 bit/s: they need 371250 bit/s or more"
    );
}

#[test]
fn texts_are_read() {
    assert_eq!("11".parse(), Ok(Identifiers::Standard));
    assert_eq!("29".parse(), Ok(Identifiers::Extended));
    assert_eq!("mixed".parse(), Ok(Identifiers::Mixed));
    assert_eq!(
        "12".parse::<Identifiers>().unwrap_err().to_string(),
        "\"12\" is no kind of identifier: give 11, 29 or \"mixed\""
    );
    assert_eq!("8".parse(), Ok(Lengths::Fixed(8)));
    assert_eq!("mixed".parse(), Ok(Lengths::Mixed));
    for wrong in ["-1", "256", "", "8.5"] {
        assert_eq!(
            wrong.parse::<Lengths>().unwrap_err().to_string(),
            format!("{wrong:?} is no length: give a number of bytes, or \"mixed\"")
        );
    }
}
