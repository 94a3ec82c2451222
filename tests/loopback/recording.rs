//! `--record`: what crosses, both ways, once each, as lines of a candump log.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::full_device::full_device;
use crate::program::{Finished, PATIENCE, unique_name};
use crate::raw_peer::{RawPeer, encoded};
use crate::software_bus::Member;
use crate::{Pair, WINDOW, carry, numbered, server};

on_each_engine!(
    both_ways_on_both_sides,
    to_a_full_disk,
    several_clients,
    one_that_does_not_read,
    appends_to_what_is_there
);

/// A recording, removed with its test.
pub struct Recording {
    path: PathBuf,
    started: u64,
}

impl Recording {
    /// A new file.
    pub fn new() -> Recording {
        let path = std::env::temp_dir().join(unique_name("canip-record-")).with_extension("log");
        Recording { path, started: seconds_now() }
    }

    /// The option that makes a bridge write it.
    pub fn option(&self) -> String {
        format!("--record {}", self.path.display())
    }

    /// The frames in the file, in order. Every line must be `(SECONDS.MICROS) BUS FRAME` with a time of this test.
    pub fn frames(&self, bus: &str) -> Vec<String> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        assert!(text.ends_with('\n'), "{text:?}");
        text.lines().map(|line| self.frame(bus, line)).collect()
    }

    /// Waits until so many lines are written, as they are within a second.
    fn wait_lines(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let written = || std::fs::read(&self.path).unwrap().iter().filter(|byte| **byte == b'\n').count();
        while written() < count {
            assert!(Instant::now() < deadline, "{} of {count} lines", written());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn frame(&self, bus: &str, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let [time, name, frame] = words[..] else { panic!("{line:?}") };
        let time = time.strip_prefix('(').and_then(|time| time.strip_suffix(')')).unwrap();
        let (seconds, micros) = time.split_once('.').unwrap();
        assert_eq!((seconds.len(), micros.len()), (10, 6), "{line:?}");
        assert!(micros.bytes().all(|digit| digit.is_ascii_digit()), "{line:?}");
        assert!((self.started..=seconds_now()).contains(&seconds.parse().unwrap()), "{line:?}");
        assert_eq!(name, bus);
        frame.to_owned()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // A test that failed early has made none.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Those frames that [`numbered`] made for a direction.
fn of_direction(frames: &[String], direction: u8) -> Vec<String> {
    let mark = format!("#{direction:02X}");
    frames.iter().filter(|frame| frame.contains(&mark)).cloned().collect()
}

fn assert_says(finished: &Finished, end: &str) {
    assert!(finished.errors.iter().any(|line| line.ends_with(end)), "{:#?}", finished.errors);
}

fn both_ways_on_both_sides(engine: &'static str) {
    let recordings = [Recording::new(), Recording::new()];
    let pair = Pair::start(engine, &recordings[0].option(), &recordings[1].option());
    let (out, back) = (numbered(1, 3_000), numbered(2, 3_000));
    std::thread::scope(|scope| {
        scope.spawn(|| carry(&pair.near, &[&pair.far], &out));
        carry(&pair.far, &[&pair.near], &back);
    });
    for program in [pair.client, pair.server] {
        let finished = program.interrupt();
        assert_eq!(finished.totals()["unrecorded"], 0);
        assert_says(&finished, " INFO recorded 6000 frames");
    }
    for (recording, bus) in recordings.iter().zip([&pair.near_name, &pair.far_name]) {
        let frames = recording.frames(bus);
        assert_eq!(of_direction(&frames, 1), out);
        assert_eq!(of_direction(&frames, 2), back);
        assert_eq!(frames.len(), 6_000);
    }
}

/// The last line of a bridge counts what its disk did not take.
fn to_a_full_disk(engine: &'static str) {
    let _alone = full_device();
    let recording = Recording::new();
    std::os::unix::fs::symlink("/dev/full", &recording.path).unwrap();
    let pair = Pair::start(engine, &recording.option(), "");
    let frames = numbered(1, 300);
    carry(&pair.near, &[&pair.far], &frames);
    let finished = pair.server.interrupt();
    assert_eq!(finished.totals()["unrecorded"], 300);
    assert_says(&finished, " WARN recorded 0 frames; 300 could not be written");
}

fn several_clients(engine: &'static str) {
    let recording = Recording::new();
    let name = unique_name("rec");
    let bus = Member::join(&name);
    // What clients send is recorded whether it would pass the filter or not.
    let server = server(engine, &name, &format!("{} --filter 700~700", recording.option()));
    let port = server.port();
    // Each with its next sequence number.
    let mut peers: Vec<(RawPeer, u32)> = (0..3).map(|_| (RawPeer::greeted(port), 0)).collect();
    let mut expected: HashMap<String, u32> = HashMap::new();
    let mut on_bus = 0;
    let mut round = |peers: &mut [(RawPeer, u32)], round: u8| {
        for (sender, (peer, sequence)) in peers.iter_mut().enumerate() {
            for identifier in [0x111, 0x777] {
                peer.send(&encoded(identifier, [0xC0, round, 0, sender as u8], Some(*sequence)));
                expected.insert(format!("{identifier:03X}#C0{round:02X}00{sender:02X}"), 1);
                *sequence += 1;
                on_bus += 1;
            }
        }
        bus.wait_count(on_bus);
        bus.send(&[format!("222#D0{round:02X}"), format!("7FE#D0{round:02X}")]);
        expected.insert(format!("222#D0{round:02X}"), 1);
        // One frame of each other peer and one of the bus pass the filter.
        let passing = peers.len();
        peers.iter_mut().for_each(|(peer, _)| peer.skip(passing * 18));
    };
    round(&mut peers, 0);
    round(&mut peers, 1);
    // The one that records what comes from the bus leaves, and another takes over.
    let (first, _) = peers.remove(0);
    let leaving = first.name();
    drop(first);
    server.wait_error(&format!("{leaving} disconnected"));
    round(&mut peers, 2);
    round(&mut peers, 3);
    drop(peers);

    let finished = server.interrupt();
    assert_eq!(finished.totals()["unrecorded"], 0);
    let mut recorded: HashMap<String, u32> = HashMap::new();
    recording.frames(&name).into_iter().for_each(|frame| *recorded.entry(frame).or_default() += 1);
    // Two frames of each of three peers in two rounds, of two in two more; one of the bus in each.
    assert_eq!(expected.len(), 24);
    assert_eq!(recorded, expected);
}

/// The first client's connection is the one that records. What it does not take, the other gets.
fn one_that_does_not_read(engine: &'static str) {
    // 14 bytes each, and send buffers of 256 KiB.
    const FRAMES: u32 = 40_000;
    const LINES_AT_ONCE: usize = 10_000;
    let recording = Recording::new();
    let name = unique_name("rec");
    let bus = Member::join(&name);
    let server = server(engine, &name, &format!("{} --heartbeat 0", recording.option()));
    let port = server.port();
    let mut slow = RawPeer::connect_narrow(port);
    slow.send(&encoded(0x700, [0; 4], None));
    bus.wait_count(1);
    let mut other = RawPeer::greeted(port);
    let numbers: Vec<u32> = (0..FRAMES).collect();
    let mut expected = vec!["700#00000000".to_owned()];
    let mut written = 0;
    for window in numbers.chunks(WINDOW) {
        let frames: Vec<String> = window.iter().map(|number| format!("123#{number:08X}")).collect();
        bus.send(&frames);
        other.skip(window.len() * 18);
        expected.extend(frames);
        // All of it would be about as much as may wait for the disk, which may be slow.
        if expected.len() >= written + LINES_AT_ONCE {
            written = expected.len();
            recording.wait_lines(written);
        }
    }
    server.wait_error("frames dropped: the peer takes them too slowly");
    let finished = server.interrupt();
    assert_eq!(finished.totals()["unrecorded"], 0);
    assert!(recording.frames(&name) == expected, "{:?}", finished.errors.last());
}

fn appends_to_what_is_there(engine: &'static str) {
    let recording = Recording::new();
    for run in 1..=2 {
        let Pair { near, near_name, server, client, far, .. } = Pair::start(engine, &recording.option(), "");
        carry(&near, &[&far], &numbered(run, 5));
        server.interrupt().totals();
        client.interrupt().totals();
        let text = std::fs::read_to_string(&recording.path).unwrap();
        assert_eq!(text.lines().count(), usize::from(run) * 5);
        assert_eq!(text.lines().filter(|line| line.contains(&near_name)).count(), 5);
    }
}
