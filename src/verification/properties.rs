//! Any pattern of faults put into a stream is found exactly.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::frame::bit_time::BitRates;
use crate::frame::{Identifier, PAYLOAD_OFFSET};
use crate::load::{Format, Frames, Identifiers, Lengths, Load, Pacing, Schedule};

/// What a path does with a frame.
#[derive(Clone, Debug)]
enum Treatment {
    Pass,
    Drop,
    /// Again after so many others.
    Double(usize),
    /// Not before so many others.
    Delay(usize),
    /// Bits turned, by their place in the identifier and the payload.
    FlipBits(Vec<usize>),
    /// Another length.
    Cut(u8),
    /// A frame of somebody else in front of it.
    Precede(u32, u64),
}

fn treatment() -> impl Strategy<Value = Treatment> {
    prop_oneof![
        8 => Just(Treatment::Pass),
        2 => Just(Treatment::Drop),
        1 => (0usize..50).prop_map(Treatment::Double),
        1 => (1usize..30).prop_map(Treatment::Delay),
        1 => prop::collection::btree_set(0usize..75, 1..4).prop_map(|bits| Treatment::FlipBits(bits.into_iter().collect())),
        1 => (0u8..8).prop_map(Treatment::Cut),
        1 => (0u32..0x2000_0000, any::<u64>()).prop_map(|(id, data)| Treatment::Precede(id, data)),
    ]
}

/// What comes out of the path.
#[derive(Clone, Debug)]
enum Out {
    Intact(usize),
    Corrupted(usize, Frame),
    Foreign(Frame),
}

fn flip(frame: &Frame, bits: &[usize]) -> Frame {
    let mut bytes = frame.image().as_bytes().to_vec();
    let payload_bits = 8 * frame.image().len();
    for bit in bits {
        let bit = bit % (11 + payload_bits);
        if bit < 11 {
            let word = frame.image().id_word() ^ 1 << bit;
            bytes[..4].copy_from_slice(&word.to_ne_bytes());
        } else {
            bytes[PAYLOAD_OFFSET + (bit - 11) / 8] ^= 1 << ((bit - 11) % 8);
        }
    }
    Frame::copy_of(Image::parse(&bytes).unwrap())
}

fn cut(frame: &Frame, len: u8) -> Frame {
    let image = frame.image();
    Frame::data(image.identifier(), &image.payload()[..usize::from(len).min(image.len() - 1)]).unwrap()
}

/// What the path puts out, in order.
fn run(frames: &[Frame], treatments: &[Treatment]) -> Vec<Out> {
    // Each is put out at a place; what is held back goes behind those of its later place.
    let mut placed = Vec::new();
    for (number, (frame, treatment)) in frames.iter().zip(treatments).enumerate() {
        let intact = Out::Intact(number);
        match treatment {
            Treatment::Pass => placed.push((number, 0, intact)),
            Treatment::Drop => {}
            Treatment::Double(later) => {
                placed.push((number, 0, intact.clone()));
                placed.push((number + later, 1, intact));
            }
            Treatment::Delay(later) => placed.push((number + later, 1, intact)),
            Treatment::FlipBits(bits) => placed.push((number, 0, Out::Corrupted(number, flip(frame, bits)))),
            Treatment::Cut(len) => placed.push((number, 0, Out::Corrupted(number, cut(frame, *len)))),
            &Treatment::Precede(id, data) => {
                let foreign = Frame::data(Identifier::extended(id).unwrap(), &data.to_le_bytes()).unwrap();
                placed.push((number, 0, Out::Foreign(foreign)));
                placed.push((number, 0, intact));
            }
        }
    }
    placed.sort_by_key(|(place, order, _)| (*place, *order));
    placed.into_iter().map(|(.., out)| out).collect()
}

/// The plain meaning of the words.
#[derive(PartialEq, Eq, Debug, Default)]
struct Truth {
    received: BTreeSet<u64>,
    reordered: BTreeSet<u64>,
    duplicated: Vec<u64>,
    corrupted: BTreeSet<u64>,
    foreign: u64,
}

fn truth(outs: &[Out]) -> Truth {
    let mut truth = Truth::default();
    for out in outs {
        match *out {
            Out::Intact(number) => {
                let number = number as u64;
                let newest = truth.received.last().copied();
                if !truth.received.insert(number) {
                    truth.duplicated.push(number);
                } else if newest.is_some_and(|newest| newest > number) {
                    truth.reordered.insert(number);
                }
            }
            Out::Corrupted(number, _) => _ = truth.corrupted.insert(number as u64),
            Out::Foreign(_) => truth.foreign += 1,
        }
    }
    truth
}

/// Runs the stream through the account, frames sent up to `ahead` before they come out.
fn account(schedule: Schedule, frames: &[Frame], outs: &[Out], ahead: usize) -> Verification {
    let mut verification = Verification::new(schedule.key());
    let mut sent = 0;
    for (at, out) in outs.iter().enumerate() {
        let needed = outs[..=at].iter().map(|out| match out {
            Out::Intact(number) | Out::Corrupted(number, _) => number + 1,
            Out::Foreign(_) => 0,
        });
        let until = (needed.max().unwrap() + ahead).min(frames.len());
        while sent < until {
            verification.sent(sent as u64, 1000 * sent as u64, &frames[sent]);
            sent += 1;
        }
        let frame = match out {
            Out::Intact(number) => &frames[*number],
            Out::Corrupted(_, frame) | Out::Foreign(frame) => frame,
        };
        verification.arrived(frame.image(), 1_000_000 + at as u64);
    }
    while sent < frames.len() {
        verification.sent(sent as u64, 1000 * sent as u64, &frames[sent]);
        sent += 1;
    }
    verification.finish();
    verification
}

fn check(lengths: Lengths, seed: u64, treatments: &[Treatment], ahead: usize) -> Result<(), TestCaseError> {
    let content = Frames { identifiers: Identifiers::Standard, lengths, format: Format::Classic };
    let rates = BitRates::classic(500_000.try_into().unwrap());
    let load = Load::paced(Pacing::Rate { frames_per_s: 1_000_000.0 }, content, rates, seed).unwrap();
    let frames: Vec<Frame> = load.schedule(0).take(treatments.len()).map(|due| due.frame).collect();
    let outs = run(&frames, treatments);
    let truth = truth(&outs);
    let verification = account(load.schedule(0), &frames, &outs, ahead);
    let expected = Counts {
        sent: frames.len() as u64,
        received: truth.received.len() as u64,
        lost: (frames.len() - truth.received.len()) as u64,
        duplicated: truth.duplicated.len() as u64,
        reordered: truth.reordered.len() as u64,
        corrupted: truth.corrupted.len() as u64,
        foreign: truth.foreign,
    };
    prop_assert_eq!(verification.counts(), expected);
    prop_assert_eq!((verification.outstanding(), verification.missing()), (0, 0));

    let faults = verification.first_faults();
    let listed = |kind| faults.iter().filter(move |fault| fault.what == kind).map(|fault| fault.number);
    let is_known = |numbers: &BTreeSet<u64>, kind| {
        listed(kind).count() == numbers.len().min(FAULTS_OF_A_KIND_MAX)
            && listed(kind).all(|number| numbers.contains(&number.unwrap()))
    };
    let lost = (0..frames.len() as u64)
        .filter(|number| !truth.received.contains(number) && !truth.corrupted.contains(number));
    prop_assert!(is_known(&lost.collect(), FaultKind::Lost), "{:?}", faults);
    prop_assert!(is_known(&truth.reordered, FaultKind::Reordered), "{:?}", faults);
    prop_assert!(is_known(&truth.corrupted, FaultKind::Corrupted), "{:?}", faults);
    prop_assert!(listed(FaultKind::Duplicated).all(|number| truth.duplicated.contains(&number.unwrap())));
    prop_assert!(listed(FaultKind::Foreign).all(|number| number.is_none()));
    Ok(())
}

/// The same without faults that leave too little of a short frame to tell which it was.
fn on_short_frames(treatment: Treatment) -> Treatment {
    match treatment {
        Treatment::FlipBits(bits) => Treatment::FlipBits(bits[..1].to_vec()),
        Treatment::Cut(len) => Treatment::Cut(len.max(4)),
        other => other,
    }
}

/// The same without any harm to a frame.
fn unharmed(treatment: Treatment) -> Treatment {
    match treatment {
        Treatment::FlipBits(_) | Treatment::Cut(_) => Treatment::Drop,
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_faults_in_stamped_frames_are_found(
        seed: u64,
        treatments in prop::collection::vec(treatment(), 1..300),
        ahead in 0usize..60,
    ) {
        check(Lengths::Fixed(8), seed, &treatments, ahead)?;
    }

    #[test]
    fn any_faults_in_short_frames_are_found_where_contents_differ(
        seed: u64,
        treatments in prop::collection::vec(treatment().prop_map(on_short_frames), 1..300),
        ahead in 0usize..60,
        len in 6u8..8,
    ) {
        check(Lengths::Fixed(len), seed, &treatments, ahead)?;
    }

    #[test]
    fn losses_copies_and_delays_of_frames_of_any_length_are_found(
        seed: u64,
        treatments in prop::collection::vec(treatment().prop_map(unharmed), 1..300),
        ahead in 0usize..60,
        lengths in prop_oneof![(0u8..9).prop_map(Lengths::Fixed), Just(Lengths::Mixed)],
    ) {
        check(lengths, seed, &treatments, ahead)?;
    }
}
