//! Paths and wishes that lead nowhere are refused in one line, at once.

use std::time::{Duration, Instant};

use crate::faulty::{FaultyBridge, Treatment};
use crate::program::unique_name;
use crate::report::{Folder, start};

#[test]
fn a_path_without_a_bridge_is_noticed_at_once() {
    let (near, far) = (unique_name("near"), unique_name("far"));
    let began = Instant::now();
    let finished = start(&format!("--can-interface software --can {near} --peer-can {far}")).finish();
    // It takes 1.5 s; the rest is for a machine that has more to do.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(finished.status.code(), Some(1));
    let last = finished.errors.last().unwrap();
    assert!(
        last.starts_with("canip_peer: of ") && last.ends_with("is there a bridge between them?"),
        "{last}"
    );
}

#[test]
fn a_path_that_loops_is_noticed_at_once() {
    let bridge = FaultyBridge::start(|_| Treatment::Return);
    let (near, far) = (&bridge.near, &bridge.far);
    let finished = start(&format!("--can-interface software --can {near} --peer-can {far}")).finish();
    assert_eq!(finished.status.code(), Some(1));
    let last = finished.errors.last().unwrap();
    let expected =
        format!("canip_peer: frames that were sent into {near} come out of it again: the path loops");
    assert!(last.starts_with(&expected), "{last}");
}

#[test]
fn a_wish_that_cannot_be_is_refused_in_one_line() {
    for (options, text) in [
        ("--can vcan0", "--peer-can"),
        ("--can-interface software --can a --peer-can a", "a is joined to itself"),
        ("--load 0%", "give a percentage above 0"),
        ("--load 5000%", "give 1 to 1000 percent"),
        ("--fps -1", "give 0.1 to 1000000 frames a second"),
        ("--len 9", "a classic frame has 0 to 8"),
        ("--fd --len 9", "CAN FD frames of 9 bytes"),
        ("--fd --len 65", "give 0 to 8, 12, 16, 20, 24, 32, 48 or 64"),
        ("--seed x", "give a whole number, 0 to 18446744073709551615"),
        ("--fps fast", "give frames a second, for example 1000"),
        ("--bitrate 5", "give 10000 to 1000000 bit/s"),
        ("--duration 10", "give a number with its unit"),
        ("--duration 0s", "nothing would be measured"),
        ("--fail-on p99>2", "no time"),
        ("--fail-on speed>2", "no quantity \"speed\""),
        ("--sweep --flood", "--sweep needs"),
        ("--pattern cyclic --throughput", "--throughput needs"),
        ("-- --port 1", "the test itself gives this"),
        ("--frames 0", "give a number of frames, 1 or more"),
        ("--burst=0", "give a number of frames, 1 or more"),
        ("--throughput --fps 100", "'--throughput' cannot be used with '--fps <RATE>'"),
        ("--throughput --load 80%", "'--throughput' cannot be used with '--load <PERCENT>'"),
        ("--throughput --flood", "'--throughput' cannot be used with '--flood'"),
        ("--throughput --frames 9", "'--throughput' cannot be used with '--frames <COUNT>'"),
        ("--burst --fps 100", "'--burst[=<COUNT>]' cannot be used with '--fps <RATE>'"),
        ("--burst --load 80%", "'--burst[=<COUNT>]' cannot be used with '--load <PERCENT>'"),
        ("--burst --flood", "'--burst[=<COUNT>]' cannot be used with '--flood'"),
        ("--burst --frames 9", "'--burst[=<COUNT>]' cannot be used with '--frames <COUNT>'"),
        ("--burst=50 --fps 100", "'--burst[=<COUNT>]' cannot be used with '--fps <RATE>'"),
        ("--burst=50 --load 80%", "'--burst[=<COUNT>]' cannot be used with '--load <PERCENT>'"),
        ("--burst=50 --flood", "'--burst[=<COUNT>]' cannot be used with '--flood'"),
        ("--burst=50 --frames 9", "'--burst[=<COUNT>]' cannot be used with '--frames <COUNT>'"),
        ("--soak 1h --duration 1m", "'--soak <TIME>' cannot be used with '--duration <TIME>'"),
        ("--soak 0s", "nothing would be measured"),
        ("--tolerance 5%", "goes with --throughput"),
        ("--sweep --tolerance 5%", "goes with --throughput"),
        ("--burst=50 --tolerance 5%", "goes with --throughput"),
        ("--throughput --tolerance 0.05%", "give 0.1 to 50 percent"),
        ("--throughput --tolerance 51%", "give 0.1 to 50 percent"),
        ("--tune --rounds 8", "give a number of rounds, 9 to 1000"),
        ("--rounds 10", "--tune"),
    ] {
        let finished = start(options).finish();
        assert_eq!(finished.status.code(), Some(2), "{options}: {:?}", finished.errors);
        assert!(finished.errors.join(" ").contains(text), "{options}: {:?}", finished.errors);
    }
}

#[test]
fn a_log_that_cannot_be_sent_is_refused_in_one_line() {
    let folder = Folder::new();
    let log = folder.0.join("drive.log");
    std::fs::write(&log, "(1.000000) can0 123#11\nthis is no frame\n").unwrap();
    for (place, text) in [
        (log.display().to_string(), "drive.log, line 2:"),
        (folder.0.join("none.log").display().to_string(), "No such file"),
    ] {
        let finished = start(&format!("--replay {place}")).finish();
        assert_eq!(finished.status.code(), Some(1), "{:?}", finished.errors);
        assert_eq!(finished.errors.len(), 1, "{:?}", finished.errors);
        assert!(finished.errors[0].contains(text), "{:?}", finished.errors);
    }
}

#[test]
fn a_folder_that_cannot_be_is_refused_before_the_test() {
    let folder = Folder::new();
    let file = folder.0.join("file");
    std::fs::write(&file, "").unwrap();
    let began = Instant::now();
    let finished = start(&format!("--can-interface software --out {}", file.display())).finish();
    assert_eq!(finished.status.code(), Some(1));
    assert_eq!(finished.errors.len(), 1, "{:?}", finished.errors);
    assert!(finished.errors[0].contains(&file.display().to_string()), "{:?}", finished.errors);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn options_that_a_bridge_does_not_take_are_the_users() {
    for (options, role, said) in [
        ("--no-such-option", "server", "unexpected argument '--no-such-option' found"),
        ("--allow-bench", "client", "unexpected argument '--allow-bench' found"),
        (
            "--protocol 6",
            "server",
            "invalid value '6' for '--protocol <VERSION>' [possible values: auto, 4.0, 4.1, 5]",
        ),
    ] {
        let finished = start(&format!("--can-interface software -- {options}")).finish();
        assert_eq!(finished.status.code(), Some(2), "{:?}", finished.errors);
        assert_eq!(
            *finished.errors.last().unwrap(),
            format!("canip_peer: options for the bridge behind --: its {role} refuses them: {said}")
        );
    }
}

#[test]
fn an_interrupted_test_still_reports() {
    let folder = Folder::new();
    let bridge = FaultyBridge::start(|_| Treatment::Pass);
    let (near, far) = (&bridge.near, &bridge.far);
    let program = start(&format!(
        "--can-interface software --can {near} --peer-can {far} --warm-up 0 --duration 30s --out {}",
        folder.0.display()
    ));
    program.wait_error("frames/s  lost 0");
    program.signal("INT");
    let finished = program.finish();
    assert_eq!(finished.status.code(), Some(130), "{:?}", finished.errors);
    let report = folder.report();
    assert_eq!(report["verdict"]["result"], "interrupted");
    let [sent, received, lost, ..] = crate::report::counts(&report, 0);
    assert!(sent > 0 && received == sent && lost == 0, "{report}");
}

/// Whoever stops reading has seen enough, and still wants the report.
#[test]
fn a_report_is_kept_though_nobody_reads_the_summary() {
    let folder = Folder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let bridge = FaultyBridge::start(|_| Treatment::Pass);
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_canip_peer"))
        .args(["bench", "--can-interface", "software", "--can", &bridge.near, "--peer-can", &bridge.far])
        .args(["--frames", "100", "--out"])
        .arg(&folder.0)
        .stdout(writer)
        .output()
        .unwrap();
    // That of the verdict: a debug build is no measure.
    assert_eq!(ran.status.code(), Some(1));
    let errors = String::from_utf8(ran.stderr).unwrap();
    assert!(!errors.contains("canip_peer: ") && !errors.contains("panicked"), "{errors}");
    assert_eq!(folder.report()["verdict"]["result"], "invalid");
    assert_eq!(crate::report::counts(&folder.report(), 0)[0], 100);
}

#[test]
fn a_pointless_test_leaves_no_report() {
    let folder = Folder::new();
    let (near, far) = (unique_name("near"), unique_name("far"));
    let options =
        format!("--can-interface software --can {near} --peer-can {far} --out {}", folder.0.display());
    start(&options).finish();
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}
