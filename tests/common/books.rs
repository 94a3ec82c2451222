//! What both ends of a version 5 link must have counted alike.

use std::collections::HashMap;

/// Asserts that both ends of a direction agree to the frame, after `sent` frames came on the one bus and `came_out` on the
/// other.
pub fn assert_books(sent: u64, from: &HashMap<String, u64>, to: &HashMap<String, u64>, came_out: u64) {
    let both = format!("\nsent {sent}, came out {came_out}\nfrom {from:?}\nto {to:?}");
    for (ours, peers) in [
        ("outage", "peer_outage"),
        ("slow_peer", "peer_slow"),
        ("kernel_drops", "peer_kernel_drops"),
        ("in_transit", "peer_in_transit"),
    ] {
        assert_eq!(from[ours], to[peers], "{ours} and {peers}{both}");
    }
    let causes = ["peer_outage", "peer_slow", "peer_kernel_drops", "peer_stale", "peer_in_transit"];
    assert_eq!(to["missing"], causes.iter().map(|cause| to[*cause]).sum::<u64>(), "missing{both}");
    // Stale is what either end dropped, either way: what its peer calls stale, it dropped before the link.
    let dropped_before = from["outage"] + from["slow_peer"] + from["kernel_drops"] + to["peer_stale"];
    assert_eq!(sent, from["sent"] + dropped_before, "every frame of the bus{both}");
    let dropped_behind = to["stale"] - from["peer_stale"] + to["refused"];
    assert_eq!(from["sent"] - from["in_transit"], to["received"] + dropped_behind, "every frame sent{both}");
    assert_eq!(to["received"], came_out, "every frame received{both}");
    for counters in [from, to] {
        assert_balanced(counters);
    }
    for name in ["duplicates", "reordered", "unsent", "filtered", "not_representable"] {
        assert_eq!((from[name], to[name]), (0, 0), "{name}{both}");
    }
}

/// Frames that one end was given, less those that are under a name or wait.
pub fn unaccounted(counters: &HashMap<String, u64>) -> i128 {
    let sum = |names: &[&str]| names.iter().map(|name| i128::from(counters[*name])).sum::<i128>();
    let fates = [
        "sent",
        "received",
        "waiting",
        "outage",
        "filtered",
        "not_representable",
        "slow_peer",
        "unsent",
        "stale",
        "refused",
        "denied",
        "limited",
        "looped",
    ];
    sum(&["taken", "arrived"]) - sum(&fates)
}

/// Asserts that every frame that one end was given is under one name or waits.
pub fn assert_balanced(counters: &HashMap<String, u64>) {
    assert_eq!(unaccounted(counters), 0, "{counters:?}");
}
