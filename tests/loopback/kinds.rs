//! Every kind of frame crosses a version 5 link bit for bit; error frames are recorded and counted at the far end, and put
//! on no bus; a version 4.1 peer beside it gets what its protocol can carry.

use crate::every_kind::every_kind;
use crate::raw_peer::{RawPeer, encoded};
use crate::recording::Recording;
use crate::{Pair, carry};

on_each_engine!(every_kind_both_ways, error_frames, beside_a_version_4_peer);

fn every_kind_both_ways(engine: &'static str) {
    let recordings = [Recording::new(), Recording::new()];
    let pair = Pair::start(engine, &recordings[0].option(), &recordings[1].option());
    let frames = every_kind();
    carry(&pair.near, &[&pair.far], &frames);
    carry(&pair.far, &[&pair.near], &frames);
    for program in [pair.client, pair.server] {
        let totals = program.interrupt().totals();
        let count = frames.len() as u64;
        assert_eq!((totals["sent"], totals["received"]), (count, count), "{totals:?}");
        for name in ["missing", "refused", "stale", "not_representable", "error_frames", "unrecorded"] {
            assert_eq!(totals[name], 0, "{name} in {totals:?}");
        }
    }
    // As candump's logs have them, which do not tell a raw DLC.
    let logged = frames.iter().map(|frame| frame.split('_').next().unwrap().to_owned());
    let twice: Vec<String> = logged.clone().chain(logged).collect();
    for (recording, bus) in recordings.iter().zip([&pair.near_name, &pair.far_name]) {
        assert_eq!(recording.frames(bus), twice);
    }
}

/// A time-out, lost arbitration at bit 5, a controller's passive state, and everything at once.
const ERRORS: [&str; 4] = [
    "20000001#0000000000000000",
    "20000002#0500000000000000",
    "20000004#0030000000008000",
    "200001FF#FFEEDDCCBBAA9988",
];

/// They pass the filter unless it says otherwise.
fn error_frames(engine: &'static str) {
    let recordings = [Recording::new(), Recording::new()];
    let pair =
        Pair::start(engine, &recordings[0].option(), &format!("{} --filter #0", recordings[1].option()));
    pair.near.send(&ERRORS);
    pair.near.send(&["123#"]);
    // It came behind them, and they did not come.
    assert_eq!(pair.far.wait(1), ["123#"]);
    // The client's filter lets none through.
    pair.far.send(&ERRORS);
    pair.far.send(&["456#"]);
    assert_eq!(pair.near.wait(1), ["456#"]);

    let at_client = pair.client.interrupt().totals();
    let at_server = pair.server.interrupt().totals();
    assert_eq!(
        (at_server["sent"], at_client["received"], at_client["error_frames"]),
        (5, 1, 4),
        "{at_client:?}"
    );
    assert_eq!(
        (at_client["sent"], at_client["filtered"], at_server["error_frames"]),
        (1, 4, 0),
        "{at_client:?}"
    );
    assert_eq!((at_client["refused"], at_client["missing"]), (0, 0), "{at_client:?}");
    let recorded: Vec<&str> = ERRORS.iter().copied().chain(["123#", "456#"]).collect();
    assert_eq!(recordings[1].frames(&pair.far_name), recorded);
    assert_eq!(recordings[0].frames(&pair.near_name), recorded);
}

fn beside_a_version_4_peer(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    let mut peer = RawPeer::greeted(pair.port);
    let other = ["111#R4", "111##1AABB", ERRORS[0], "111#1122334455667788_9"];
    pair.near.send(&["123#00000001"]);
    pair.near.send(&other);
    pair.near.send(&["124#00000002"]);
    // Its numbers have no gap. A raw DLC is one of the classic frame that carries it, whose payload is 8 bytes.
    peer.expect(&encoded(0x123, [0, 0, 0, 1], Some(0)));
    let mut eight = vec![0, 8, 0x11, 0x01, 0, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88];
    eight.extend(1u32.to_be_bytes());
    peer.expect(&eight);
    peer.expect(&encoded(0x124, [0, 0, 0, 2], Some(2)));
    let [one, rest @ .., two] = &pair.far.wait(5)[..] else { panic!("five frames") };
    assert_eq!((&one[..], &two[..]), ("123#00000001", "124#00000002"));
    assert_eq!(rest, [other[0], other[1], other[3]]);
    drop(peer);
    let totals = pair.server.interrupt().totals();
    assert_eq!((totals["sent"], totals["not_representable"]), (6 + 3, 3), "{totals:?}");
}
