//! Faults that are put into a path are found, each of them and no other.

use std::time::Duration;

use crate::faulty::{FaultyBridge, Treatment};
use crate::report::{counts, faulty_numbers, run};

const FRAMES: u64 = 5_500;

/// Frames 1000, 2000, ... 5000.
const NUMBERS: [u64; 5] = [1_000, 2_000, 3_000, 4_000, 5_000];

/// Runs the test over a bridge that treats these frames so.
fn with_faults(treatment: Treatment, options: &str) -> serde_json::Value {
    let bridge =
        FaultyBridge::start(
            move |number| {
                if number > 0 && number % 1_000 == 0 { treatment } else { Treatment::Pass }
            },
        );
    let (near, far) = (&bridge.near, &bridge.far);
    let (_, report) = run(&format!(
        "--can-interface software --can {near} --peer-can {far} --fps 5000 --frames {FRAMES} {options}"
    ));
    report
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let report = with_faults(Treatment::Pass, "");
    assert_eq!(counts(&report, 0), [FRAMES, FRAMES, 0, 0, 0, 0, 0]);
    assert_eq!(report["trials"][0]["directions"][0].get("first_faults"), None);
}

#[test]
fn lost_frames() {
    for options in ["", "--len 3", "--len mixed --ids mixed", "--fd --len 64"] {
        let report = with_faults(Treatment::Drop, options);
        assert_eq!(counts(&report, 0), [FRAMES, FRAMES - 5, 5, 0, 0, 0, 0], "{options}");
        assert_eq!(faulty_numbers(&report, "lost"), NUMBERS, "{options}");
    }
}

#[test]
fn doubled_frames() {
    let report = with_faults(Treatment::Double, "");
    assert_eq!(counts(&report, 0), [FRAMES, FRAMES, 0, 5, 0, 0, 0]);
    assert_eq!(faulty_numbers(&report, "duplicated"), NUMBERS);
}

#[test]
fn swapped_frames() {
    let report = with_faults(Treatment::Swap, "");
    assert_eq!(counts(&report, 0), [FRAMES, FRAMES, 0, 0, 5, 0, 0]);
    assert_eq!(faulty_numbers(&report, "reordered"), NUMBERS);
}

#[test]
fn corrupted_frames() {
    let report = with_faults(Treatment::Corrupt, "");
    assert_eq!(counts(&report, 0), [FRAMES, FRAMES - 5, 5, 0, 0, 5, 0]);
    assert_eq!(faulty_numbers(&report, "corrupted"), NUMBERS);
}

#[test]
fn conditions_that_hold_are_named() {
    let report = with_faults(Treatment::Drop, "--fail-on loss>0.01%,lost>4,corrupted>0");
    let reasons: Vec<&str> = report["verdict"]["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason.as_str().unwrap())
        .collect();
    let named = |text: &str| reasons.iter().any(|reason| reason.contains(text));
    assert!(named("loss>0.01% holds: 0.091 %") && named("loss>4 holds: 5 frames"), "{reasons:?}");
    assert!(!named("corrupted"), "{reasons:?}");
}

/// A delay in the path is in the latency, whole: what is added by it is what the bridge itself held frames back by, to 2 %. Of
/// all frames that one is looked at which nothing else held up.
#[test]
fn delayed_frames() {
    let least_ms = |delay| {
        let bridge = FaultyBridge::start_slow(delay, |_| Treatment::Pass);
        let (near, far) = (&bridge.near, &bridge.far);
        let (_, report) =
            run(&format!("--can-interface software --can {near} --peer-can {far} --fps 50 --frames 150"));
        let latency = &report["trials"][0]["directions"][0]["latency"];
        (latency["min_ns"].as_f64().unwrap() / 1e6, bridge.least_held().as_secs_f64() * 1e3)
    };
    let (at_once_ms, _) = least_ms(Duration::ZERO);
    let (delayed_ms, held_ms) = least_ms(Duration::from_millis(10));
    let added_ms = delayed_ms - at_once_ms;
    assert!(
        (added_ms - held_ms).abs() < 0.2,
        "{delayed_ms} ms, of which {at_once_ms} without a delay, {held_ms} held"
    );
}
