//! How late frames were: tables on SIGUSR1, and a log of intervals.

use std::path::PathBuf;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use crate::program::{Program, unique_name};
use crate::{Pair, carry, numbered};

on_each_engine!(tables_on_demand, a_log_of_intervals, a_log_that_cannot_be_opened);

const FRAMES: u32 = 1_000;

fn tables_on_demand(engine: &'static str) {
    let pair = Pair::start(engine, "", "");
    carry(&pair.near, &[&pair.far], &numbered(1, FRAMES));
    pair.server.signal("USR1");
    pair.server.wait_error(" INFO can_to_tcp since the start, in microseconds:");
    pair.server.wait_error(" INFO batch_out since the start, in frames:");
    // Of the first of the two: every frame is in it.
    pair.server.wait_error(&format!("Total count    = {FRAMES:12}]"));
    // It goes on afterwards.
    carry(&pair.far, &[&pair.near], &numbered(2, FRAMES));
    assert_eq!(pair.server.interrupt().totals()["received"], u64::from(FRAMES));
}

struct Log(PathBuf);

impl Drop for Log {
    fn drop(&mut self) {
        // A test that failed early has made none.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn a_log_of_intervals(engine: &'static str) {
    let log = Log(std::env::temp_dir().join(unique_name("canip-intervals-")).with_extension("hlog"));
    let options = format!("--stats-interval 0.2 --histogram-log {}", log.0.display());
    let pair = Pair::start(engine, &options, "");
    for run in 1..=3 {
        carry(&pair.near, &[&pair.far], &numbered(1, FRAMES));
        pair.server.wait_error(&format!(" sent {} received 0 ", run * FRAMES));
    }
    pair.server.interrupt().totals();

    let text = std::fs::read_to_string(&log.0).unwrap();
    let (head, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with(['#', '"']));
    assert!(head.contains(&"#[Histogram log format version 1.3]"), "{head:?}");
    assert!(head.iter().any(|line| line.starts_with("#[StartTime: ")), "{head:?}");
    assert_eq!(
        head.last(),
        Some(&"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")
    );
    // Tag, start, length and maximum, in seconds and nanoseconds, and the histogram.
    let mut counted = 0;
    let mut ended = 0.0;
    for line in lines.iter().filter(|line| line.starts_with("Tag=can_to_tcp,")) {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, start, length, _, histogram] = fields[..] else { panic!("{line:?}") };
        let (start, length): (f64, f64) = (start.parse().unwrap(), length.parse().unwrap());
        // Each of the three numbers is rounded to a millisecond.
        assert!(start + 0.0016 >= ended && length > 0.0, "{line:?}, and the one before ended at {ended}");
        ended = start + length;
        let bytes = base64::engine::general_purpose::STANDARD.decode(histogram).unwrap();
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert!(!histogram.is_empty() && histogram.min() > 0, "{line:?}");
        counted += histogram.len();
    }
    assert_eq!(counted, 3 * u64::from(FRAMES));
}

fn a_log_that_cannot_be_opened(engine: &'static str) {
    let arguments = "--can-interface software --can nobody --bind 127.0.0.1 --port 0";
    let finished = Program::bridge(&format!(
        "server --engine {engine} {arguments} --stats-interval 1 --histogram-log /nosuchfolder/bus.hlog"
    ))
    .finish();
    assert_eq!(finished.status.code(), Some(1));
    let [line] = &finished.errors[..] else { panic!("{:?}", finished.errors) };
    assert!(line.starts_with("canip_peer: ") && line.contains("/nosuchfolder/bus.hlog"), "{line}");
    assert!(line.contains("No such file or directory"), "{line}");
}
