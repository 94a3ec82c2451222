//! Cases one by one.

use super::window::State;
use super::*;
use crate::frame::bit_time::BitRates;
use crate::frame::notation::parse_compact;
use crate::frame::{FD_BIT_RATE_SWITCH, Identifier};
use crate::load::{Due, Format, Frames, Lengths, Load, Pacing, StampKey};

fn load(lengths: Lengths) -> Load {
    let rates = BitRates::classic(500_000.try_into().unwrap());
    let frames = Frames { lengths, ..Frames::default() };
    Load::paced(Pacing::Rate { frames_per_s: 10_000.0 }, frames, rates, 1).unwrap()
}

fn frames(load: &Load, count: usize) -> Vec<Due> {
    load.schedule(0).take(count).collect()
}

/// An account to which all of these were sent.
fn all_sent(load: &Load, frames: &[Due]) -> Verification {
    let mut verification = Verification::new(load.schedule(0).key());
    for (number, due) in (0..).zip(frames) {
        verification.sent(number, due.at_ns, &due.frame);
    }
    verification
}

/// The kinds and numbers of what is listed.
pub(super) fn listed(verification: &Verification) -> Vec<(FaultKind, Option<u64>)> {
    verification.first_faults().iter().map(|fault| (fault.what, fault.number)).collect()
}

/// Sends 10,001 frames through a path that does something to numbers 1000, 2000, ... 10,000.
fn with_each_thousandth(fault: impl Fn(&mut Verification, u64, &[Due])) -> Verification {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 10_002);
    let mut verification = Verification::new(load.schedule(0).key());
    for (number, due) in (0..).zip(&frames[..10_001]) {
        verification.sent(number, due.at_ns, &due.frame);
        if number > 0 && number.is_multiple_of(1000) {
            fault(&mut verification, number, &frames);
        } else if verification.window.entry(number).unwrap().state != State::Received {
            arrive(&mut verification, &frames, number);
        }
    }
    verification.finish();
    verification
}

fn arrive(verification: &mut Verification, frames: &[Due], number: u64) {
    let due = &frames[number as usize];
    let arrival = verification.arrived(due.frame.image(), due.at_ns + 7);
    assert!(arrival.is_none_or(|arrival| arrival == Arrival { number, latency_ns: 7 }));
}

const THOUSANDS: [u64; 10] = [1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10_000];

fn each(kind: FaultKind) -> Vec<(FaultKind, Option<u64>)> {
    THOUSANDS.iter().map(|&number| (kind, Some(number))).collect()
}

#[test]
fn frames_dropped_are_found() {
    let verification = with_each_thousandth(|_, _, _| {});
    let expected = Counts { sent: 10_001, received: 9991, lost: 10, ..Counts::default() };
    assert_eq!(verification.counts(), expected);
    assert_eq!(listed(&verification), each(FaultKind::Lost));
    assert_eq!(verification.first_faults()[0].at_ns, 100_000_000);
}

#[test]
fn frames_doubled_are_found() {
    let verification = with_each_thousandth(|verification, number, frames| {
        arrive(verification, frames, number);
        arrive(verification, frames, number);
    });
    let expected = Counts { sent: 10_001, received: 10_001, duplicated: 10, ..Counts::default() };
    assert_eq!(verification.counts(), expected);
    assert_eq!(listed(&verification), each(FaultKind::Duplicated));
}

#[test]
fn frames_swapped_with_the_next_are_found() {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 10_002);
    let mut verification = all_sent(&load, &frames);
    let mut order: Vec<u64> = (0..10_002).collect();
    for number in THOUSANDS {
        order.swap(number as usize, number as usize + 1);
    }
    for number in order {
        arrive(&mut verification, &frames, number);
    }
    let expected = Counts { sent: 10_002, received: 10_002, reordered: 10, ..Counts::default() };
    assert_eq!((verification.counts(), verification.outstanding()), (expected, 0));
    assert_eq!(listed(&verification), each(FaultKind::Reordered));
}

#[test]
fn frames_corrupted_are_found() {
    let verification = with_each_thousandth(|verification, number, frames| {
        let image = frames[number as usize].frame.image();
        let mut payload = image.classic_payload();
        payload[number as usize / 1000 % 8] ^= 0x10;
        let corrupted = Frame::data(image.identifier(), &payload).unwrap();
        assert_eq!(verification.arrived(corrupted.image(), number), None);
    });
    let expected = Counts { sent: 10_001, received: 9991, lost: 10, corrupted: 10, ..Counts::default() };
    assert_eq!(verification.counts(), expected);
    assert_eq!(listed(&verification), each(FaultKind::Corrupted));
}

#[test]
fn a_payload_that_nothing_is_left_of_is_known_by_its_place() {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 3);
    let mut verification = all_sent(&load, &frames);
    arrive(&mut verification, &frames, 0);
    let image = frames[1].frame.image();
    let corrupted = Frame::data(image.identifier(), &image.classic_payload().map(|byte| !byte)).unwrap();
    verification.arrived(corrupted.image(), 5);
    arrive(&mut verification, &frames, 2);
    verification.finish();
    assert_eq!(listed(&verification), [(FaultKind::Corrupted, Some(1))]);
    assert_eq!(verification.first_faults()[0].frame, corrupted);
    assert_eq!(
        verification.counts(),
        Counts { sent: 3, received: 2, lost: 1, corrupted: 1, ..Counts::default() }
    );
}

#[test]
fn what_came_in_place_of_a_frame_that_comes_after_all_is_foreign() {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 2);
    let mut verification = all_sent(&load, &frames);
    let stranger = Frame::data(frames[0].frame.image().identifier(), b"stranger").unwrap();
    verification.arrived(stranger.image(), 5);
    assert_eq!(listed(&verification), [(FaultKind::Corrupted, Some(0))]);
    arrive(&mut verification, &frames, 0);
    assert_eq!(listed(&verification), [(FaultKind::Foreign, None)]);
    assert_eq!(verification.counts(), Counts { sent: 2, received: 1, foreign: 1, ..Counts::default() });
}

#[test]
fn a_damaged_copy_claims_its_place_from_a_stranger() {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 1);
    let mut verification = all_sent(&load, &frames);
    let image = frames[0].frame.image();
    let stranger = Frame::data(image.identifier(), b"stranger").unwrap();
    verification.arrived(stranger.image(), 5);
    let mut payload = image.classic_payload();
    payload[7] ^= 1;
    let damaged = Frame::data(image.identifier(), &payload).unwrap();
    verification.arrived(damaged.image(), 6);
    verification.finish();
    assert_eq!(listed(&verification), [(FaultKind::Foreign, None), (FaultKind::Corrupted, Some(0))]);
    assert_eq!(verification.first_faults()[1].frame, damaged);
}

#[test]
fn a_frame_whose_stamp_is_intact_is_known_whatever_else_changed() {
    let rates = BitRates { nominal: 500_000.try_into().unwrap(), data: 2_000_000.try_into().unwrap() };
    let content = Frames {
        lengths: Lengths::Fixed(64),
        format: Format::Fd { bit_rate_switch: true },
        ..Frames::default()
    };
    let load = Load::paced(Pacing::Bus { percent: 100.0 }, content, rates, 3).unwrap();
    let frames = frames(&load, 5);
    let mut verification = all_sent(&load, &frames);
    let image = |number: usize| frames[number].frame.image();
    let other = Identifier::standard(image(0).identifier().raw() ^ 0x7FF).unwrap();
    let payload = |number: usize| image(number).payload();
    let mut tail = payload(3).to_vec();
    tail[8..].fill(0xFF);
    for changed in [
        Frame::fd(other, &[&payload(0)[..8], &[0xFF; 56]].concat(), FD_BIT_RATE_SWITCH).unwrap(),
        Frame::fd(image(1).identifier(), payload(1), 0).unwrap(),
        Frame::data(image(2).identifier(), &payload(2)[..8]).unwrap(),
        Frame::fd(image(3).identifier(), &tail, FD_BIT_RATE_SWITCH).unwrap(),
    ] {
        assert_eq!(verification.arrived(changed.image(), 1), None);
    }
    assert!(verification.arrived(image(4), 1).is_some());
    verification.finish();
    let numbers: Vec<Option<u64>> = verification.first_faults().iter().map(|fault| fault.number).collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(verification.counts().corrupted, 4);
}

#[test]
fn a_damaged_copy_that_comes_late_is_known_by_its_likeness() {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 3);
    let mut verification = all_sent(&load, &frames);
    arrive(&mut verification, &frames, 0);
    arrive(&mut verification, &frames, 2);
    let image = frames[1].frame.image();
    let mut payload = image.classic_payload();
    payload[0] ^= 0x81;
    let damaged = Frame::data(image.identifier(), &payload).unwrap();
    verification.arrived(damaged.image(), 5);
    assert_eq!(verification.counts().corrupted, 1);
    assert_eq!(listed(&verification), [(FaultKind::Corrupted, Some(1))]);
}

#[test]
fn frames_of_the_other_direction_are_foreign() {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 1000);
    let mut verification = all_sent(&load, &frames);
    for (number, other) in (0..1000).zip(load.schedule(1)) {
        arrive(&mut verification, &frames, number);
        verification.arrived(other.frame.image(), other.at_ns);
    }
    verification.finish();
    let expected = Counts { sent: 1000, received: 1000, foreign: 1000, ..Counts::default() };
    assert_eq!(verification.counts(), expected);
}

#[test]
fn latency_counts_from_the_time_due() {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 4);
    let mut verification = all_sent(&load, &frames);
    let arrival = verification.arrived(frames[3].frame.image(), 300_123);
    assert_eq!(arrival, Some(Arrival { number: 3, latency_ns: 123 }));
    assert_eq!((verification.outstanding(), verification.missing()), (3, 3));
    assert_eq!(verification.arrived(frames[3].frame.image(), 300_124), None);
}

#[test]
fn warm_up_is_matched_and_not_counted() {
    let load = load(Lengths::Fixed(8));
    let frames = frames(&load, 8);
    let mut verification = all_sent(&load, &frames[..4]);
    arrive(&mut verification, &frames, 1);
    arrive(&mut verification, &frames, 1);
    verification.arrived(parse_compact("123#00").unwrap().image(), 1);
    verification.measure_from(4);
    assert_eq!(verification.counts(), Counts::default());
    assert_eq!(verification.outstanding(), 3);
    for (number, due) in (4..).zip(&frames[4..]) {
        verification.sent(number, due.at_ns, &due.frame);
    }
    // 0 stays away, 2 comes twice and 3 late, 5 is lost.
    for number in [2, 2, 4, 3, 6, 7] {
        arrive(&mut verification, &frames, number);
    }
    assert_eq!(verification.missing(), 1);
    verification.finish();
    assert_eq!(verification.counts(), Counts { sent: 4, received: 3, lost: 1, ..Counts::default() });
    assert_eq!(listed(&verification), [(FaultKind::Lost, Some(5))]);
}

#[test]
fn equal_frames_are_told_apart_by_their_order() {
    let frame = |text: &str| parse_compact(text).unwrap();
    let [a, b] = [frame("100#"), frame("200#")];
    let mut verification = Verification::new(StampKey::new(1, 0));
    for number in 0..10 {
        verification.sent(2 * number, 2 * number, &a);
        verification.sent(2 * number + 1, 2 * number + 1, &b);
    }
    let mut number_of =
        |frame: &Frame| verification.arrived(frame.image(), 100).map(|arrival| arrival.number);
    // The b after the first a is lost, which the next b cannot know; an a comes late.
    assert_eq!(number_of(&a), Some(0));
    assert_eq!(number_of(&a), Some(2));
    assert_eq!(number_of(&b), Some(3));
    assert_eq!(number_of(&b), Some(5));
    assert_eq!(number_of(&a), Some(6));
    for number in [7, 9, 11, 13, 15, 17, 19] {
        assert_eq!(number_of(&b), Some(number));
    }
    // No b is expected any more: the last of those that were overtaken, then copies.
    assert_eq!(number_of(&b), Some(1));
    assert_eq!(number_of(&b), None);
    assert_eq!(verification.counts().duplicated, 1);
    assert_eq!(verification.counts().reordered, 1);
}

#[test]
fn a_path_that_repeats_itself_forever_is_all_copies() {
    let load = load(Lengths::Fixed(2));
    let frames = frames(&load, 10);
    let mut verification = all_sent(&load, &frames);
    for _ in 0..3 {
        for number in 0..10 {
            arrive(&mut verification, &frames, number);
        }
    }
    let expected = Counts { sent: 10, received: 10, duplicated: 20, ..Counts::default() };
    assert_eq!(verification.counts(), expected);
}
