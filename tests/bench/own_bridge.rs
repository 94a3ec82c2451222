//! The test with nothing set up: it makes buses, starts a bridge, and cleans up.

use crate::report::{counts, run};

#[test]
fn one_trial_both_ways() {
    let (finished, report) =
        run("--can-interface software --direction both --duration 2s --warm-up 200ms --seed 7");
    for direction in 0..2 {
        let [sent, received, lost, duplicated, reordered, corrupted, foreign] = counts(&report, direction);
        assert!(sent > 5_000 || report["trials"][0].get("invalid_because").is_some(), "{report}");
        // A machine that is too slow makes frames too old, and each of them is accounted for.
        let known = &report["trials"][0]["directions"][direction]["lost_where"];
        assert_eq!(received + lost, sent, "{report}");
        assert_eq!([duplicated, reordered, corrupted, foreign], [0; 4], "{report}");
        assert_eq!(known.get("unexplained"), None, "{report}");
    }
    assert_eq!(report["path"]["kind"], "own bridge");
    assert_eq!(report["path"]["protocol"], "5");
    assert_eq!(report["trials"][0]["load"]["seed"], 7);
    let bridges = report["trials"][0]["bridges"].as_array().unwrap();
    assert_eq!(
        bridges.iter().map(|bridge| bridge["role"].as_str().unwrap()).collect::<Vec<_>>(),
        ["server", "client"]
    );
    assert!(bridges.iter().all(|bridge| bridge["processor_s"].as_f64().unwrap() > 0.0), "{bridges:?}");
    // A debug build is no measure, and says so first.
    assert_eq!(report["verdict"]["result"], "invalid");
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.output[0].starts_with("INVALID"), "{:?}", finished.output);
    assert!(finished.output.iter().any(|line| line.contains("debug build")), "{:?}", finished.output);
    assert!(finished.output.len() <= 24, "{:#?}", finished.output);
}

#[test]
fn a_sweep_has_a_trial_for_each_load() {
    let (_, report) = run("--can-interface software --sweep --duration 200ms --warm-up 0");
    let trials = report["trials"].as_array().unwrap();
    let percent: Vec<f64> = trials.iter().map(|trial| trial["load"]["percent"].as_f64().unwrap()).collect();
    let expected: Vec<f64> = (1..=12).map(|tenths| f64::from(tenths) * 10.0).collect();
    assert_eq!(percent.iter().map(|percent| percent.round()).collect::<Vec<_>>(), expected);
    assert_eq!(report["method"], "sweep");
}

#[test]
fn a_search_for_bursts_names_the_longest() {
    let (_, report) = run("--can-interface software --burst --tolerance 50% --duration 300ms --warm-up 0");
    let finding = &report["findings"][0];
    assert_eq!(
        (finding["what"].as_str(), finding["unit"].as_str()),
        (Some("burst"), Some("frames")),
        "{report}"
    );
    assert!(finding["value"].as_f64().unwrap() >= 16.0, "{finding}");
}
