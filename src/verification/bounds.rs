//! Long streams: memory and work stay within their bounds, and nothing is mistaken.

use super::identify::LOOK_AHEAD_FRAMES;
use super::tests::listed;
use super::window::WINDOW_FRAMES;
use super::*;
use crate::frame::Identifier;
use crate::frame::notation::parse_compact;
use crate::load::{Stamp, StampKey};

/// A stamped frame, made without a schedule's cost.
fn stamped(key: StampKey, number: u64) -> Frame {
    let stamp = Stamp { number: number as u32, due_us: (number * 228) as u32 };
    Frame::data(Identifier::standard(0x123).unwrap(), &key.write(stamp)).unwrap()
}

#[test]
fn a_copy_is_known_at_any_distance() {
    let key = StampKey::new(1, 0);
    let mut verification = Verification::new(key);
    for number in 0..2 * WINDOW_FRAMES as u64 {
        let frame = stamped(key, number);
        verification.sent(number, number * 228_000, &frame);
        assert!(verification.arrived(frame.image(), 0).is_some());
    }
    assert!(verification.window.base() > 0);
    for number in [0, 1, 1000, 100_000, 250_000] {
        assert_eq!(verification.arrived(stamped(key, number).image(), 1), None);
    }
    let copies = listed(&verification);
    assert_eq!(
        copies.iter().map(|(_, number)| number.unwrap()).collect::<Vec<_>>(),
        [0, 1, 1000, 100_000, 250_000]
    );
    // A stamp of a time at which that frame was not due is no stamp.
    let wrong = Stamp { number: 1000, due_us: 1_000_000 };
    let wrong = Frame::data(Identifier::standard(0x124).unwrap(), &key.write(wrong)).unwrap();
    verification.arrived(wrong.image(), 1);
    assert_eq!((verification.counts().duplicated, verification.counts().foreign), (5, 1));
}

#[test]
fn a_frame_that_comes_when_it_was_given_up_is_no_longer_lost() {
    let key = StampKey::new(1, 0);
    let mut verification = Verification::new(key);
    for number in 0..WINDOW_FRAMES as u64 + 10 {
        verification.sent(number, number * 228_000, &stamped(key, number));
    }
    assert_eq!((verification.counts().lost, verification.outstanding()), (10, WINDOW_FRAMES as u64));
    assert_eq!(verification.arrived(stamped(key, 3).image(), 1), None);
    let counts = verification.counts();
    assert_eq!((counts.lost, counts.received, counts.reordered), (9, 1, 1));
    assert!(verification.arrived(stamped(key, 10).image(), 1).is_some());
    assert_eq!(verification.missing(), 0);
}

#[test]
fn nine_of_ten_lost_cost_no_more_than_none() {
    let key = StampKey::new(1, 0);
    let mut verification = Verification::new(key);
    let capacity = verification.window.capacity();
    for number in 0..1_000_000 {
        let frame = stamped(key, number);
        verification.sent(number, number * 228_000, &frame);
        if number % 10 == 9 {
            assert!(verification.arrived(frame.image(), number * 228_000).is_some());
        }
    }
    assert_eq!(verification.compared, 0);
    assert_eq!(verification.window.capacity(), capacity);
    verification.finish();
    assert_eq!(
        verification.counts(),
        Counts { sent: 1_000_000, received: 100_000, lost: 900_000, ..Counts::default() }
    );
    assert_eq!(verification.first_faults().len(), FAULTS_OF_A_KIND_MAX);
}

// All alike, and a backlog of thousands: the worst there is for recognising by content.
#[test]
fn frames_without_stamps_are_found_in_few_steps() {
    let frame = parse_compact("100#").unwrap();
    let other = parse_compact("200#").unwrap();
    let mut verification = Verification::new(StampKey::new(1, 0));
    let mut number = 0;
    for _ in 0..20 {
        for _ in 0..5000 {
            verification.sent(number, number, if number % 10 == 9 { &other } else { &frame });
            number += 1;
        }
        // All of one kind are lost, and half of the other; copies and late ones come behind.
        for _ in 0..250 {
            verification.arrived(other.image(), number);
        }
        for _ in 0..600 {
            verification.arrived(frame.image(), number);
        }
    }
    assert!(verification.by_content.steps <= number, "{}", verification.by_content.steps);
    assert_eq!(verification.compared, 0);
    assert_eq!(verification.by_content.len(), 2);
}

#[test]
fn strangers_are_compared_with_few() {
    let key = StampKey::new(1, 0);
    let mut verification = Verification::new(key);
    for number in 0..100_000 {
        verification.sent(number, number, &stamped(key, number));
    }
    let stranger = parse_compact("1F000000#00").unwrap();
    for _ in 0..100 {
        verification.arrived(stranger.image(), 1);
    }
    assert_eq!(verification.compared, 100 * LOOK_AHEAD_FRAMES);
    assert_eq!(verification.counts().foreign, 100);
}

#[test]
fn contents_that_leave_the_window_are_forgotten() {
    let mut verification = Verification::new(StampKey::new(1, 0));
    let identifier = Identifier::standard(0x123).unwrap();
    for number in 0..WINDOW_FRAMES as u64 + 1000 {
        let frame = Frame::data(identifier, &number.to_le_bytes()[..3]).unwrap();
        verification.sent(number, number, &frame);
    }
    assert_eq!(verification.by_content.len(), WINDOW_FRAMES);
    verification.finish();
    assert_eq!(verification.by_content.len(), 0);
    assert_eq!(verification.outstanding(), 0);
}

#[test]
fn numbers_go_on_beyond_32_bits() {
    let key = StampKey::new(1, 0);
    let first = u64::from(u32::MAX) - 1;
    let mut verification = Verification::new(key);
    for number in first..first + 4 {
        verification.sent(number, number, &stamped(key, number));
    }
    for number in first..first + 4 {
        let arrival = verification.arrived(stamped(key, number).image(), number + 5);
        assert_eq!(arrival, Some(Arrival { number, latency_ns: 5 }));
    }
}

#[test]
#[should_panic(expected = "in the order of their numbers")]
fn a_number_left_out_is_a_bug() {
    let key = StampKey::new(1, 0);
    let mut verification = Verification::new(key);
    verification.sent(0, 0, &stamped(key, 0));
    verification.sent(2, 0, &stamped(key, 2));
}
