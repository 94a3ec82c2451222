//! The bridge with a peer that is not of its making: the version 4.1 and 4.0 peer in Python, in both roles and with
//! every set of features, over software buses.
//!
//! ```text
//!   peer under test        bridge under test    software    bridge    observer
//!   canip41.py  ==TCP==    canip_peer      ---    bus    --- canip_peer ==TCP==  canip41.py
//! ```

#[path = "common/peer.rs"]
mod peer;

#[path = "common/program.rs"]
mod program;

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use peer::python_peer;
use program::{Program, unique_name};

/// Frames each way and case.
const FRAMES: usize = 2_000;
/// Frames under way at most: the buses between the peers may drop what nobody has taken yet, as real ones do.
const WINDOW: usize = 64;

/// Which side the bridge under test takes.
#[derive(Clone, Copy)]
enum Role {
    Server,
    Client,
}

/// What both sides are told to speak, and what must come of it.
struct Case {
    /// Options that the bridge and the Python peer have in common.
    options: &'static str,
    version: &'static str,
    features: &'static str,
}

const SEQUENCE: Case = Case { options: "", version: "4.1", features: "SEQ" };
const TIME: Case = Case { options: "--no-seq --timestamp", version: "4.1", features: "TS" };
const BOTH: Case = Case { options: "--timestamp", version: "4.1", features: "SEQ,TS" };
const NEITHER: Case = Case { options: "--no-seq", version: "4.0", features: "" };
const LEGACY: Case = Case { options: "--protocol 4.0", version: "4.0", features: "" };

/// A frame as cansend writes it, and as the Python peer prints it.
struct Frame {
    typed: String,
    wire: String,
}

/// The frames of one direction: standard and extended identifiers mixed, all lengths, payloads that differ.
fn frames(direction: u32) -> Vec<Frame> {
    (0..FRAMES as u32)
        .map(|index| {
            let mixed = (index + 1).wrapping_mul(2_654_435_761) ^ (direction << 7);
            let extended = index % 3 == 1;
            let identifier = match (index, extended) {
                (0, _) => 0,
                (3, _) => 0x7FF,
                (4, _) => 0x1FFF_FFFF,
                (_, true) => mixed & 0x1FFF_FFFF,
                (_, false) => mixed & 0x7FF,
            };
            let length = (index % 9) as usize;
            let payload = format!("{index:08X}{:08X}", mixed.rotate_left(9));
            let (payload, rest) = payload.split_at(length * 2);
            let typed = match extended {
                true => format!("{identifier:08X}#{payload}\n"),
                false => format!("{identifier:03X}#{payload}\n"),
            };
            let padding = "0".repeat(rest.len());
            let flags = u8::from(extended);
            Frame { typed, wire: format!("{flags:02X} {length} {identifier:08X} {payload}{padding}") }
        })
        .collect()
}

/// Types frames into one peer and waits for each to come out of the other, a window at a time.
fn carry(from: &mut Program, to: &mut Program, frames_out: &[Frame], frames_back: &[Frame]) {
    for start in (0..FRAMES).step_by(WINDOW) {
        let end = FRAMES.min(start + WINDOW);
        let typed =
            |frames: &[Frame]| frames[start..end].iter().map(|frame| &*frame.typed).collect::<String>();
        for (program, frames) in [(&mut *from, frames_out), (&mut *to, frames_back)] {
            program.input.as_mut().unwrap().write_all(typed(frames).as_bytes()).unwrap();
        }
        to.wait_output(end);
        from.wait_output(end);
    }
}

/// Asserts that a peer printed exactly these frames, in this order; with sequence numbers from 0 up and times of
/// now, or with "-" where the features do not have them.
fn assert_carried(printed: &[String], expected: &[Frame], features: &str, started_us: u64) {
    let now_us = microseconds_now();
    for (index, (line, frame)) in printed.iter().zip(expected).enumerate() {
        let mut words = line.rsplitn(3, ' ');
        let (time, sequence, wire) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        assert_eq!(wire, frame.wire, "frame {index}");
        if features.contains("SEQ") {
            assert_eq!(sequence, index.to_string(), "sequence number of frame {index}");
        } else {
            assert_eq!(sequence, "-");
        }
        if features.contains("TS") {
            let time_us: u64 = time.parse().unwrap();
            assert!((started_us..=now_us).contains(&time_us), "{started_us} <= {time_us} <= {now_us}");
        } else {
            assert_eq!(time, "-");
        }
    }
    assert_eq!(printed.len(), expected.len() + 1, "the frames, then the summary");
}

fn microseconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

/// Bridges to the Python peer and carries every frame both ways.
fn interoperate(role: Role, case: &Case) {
    let started_us = microseconds_now();
    let bus = unique_name("interop");
    // Frames are counted here, not timed: where the machine has more to do than it can, they may wait.
    let on_bus = format!("--can-interface software --can {bus} --max-age 30000");

    let far = Program::bridge(&format!("server {on_bus} --bind 127.0.0.1 --port 0"));
    let mut observer = python_peer(&format!("client --stdio --port {}", far.port()));
    far.wait_error("connected: version 4.1");

    let options = case.options;
    let (bridge, mut peer) = match role {
        Role::Server => {
            let bridge = Program::bridge(&format!("server {on_bus} --bind 127.0.0.1 --port 0 {options}"));
            let port = bridge.port();
            (bridge, python_peer(&format!("client --stdio --port {port} {options}")))
        }
        Role::Client => {
            let peer = python_peer(&format!("server --stdio --port 0 {options}"));
            let (port, host) = (peer.port(), "127.0.0.1");
            let arguments = format!("client {on_bus} --host {host} --port {port} {options}");
            (Program::bridge(&arguments), peer)
        }
    };
    bridge.wait_error(&format!("version {}", if options.contains("4.0") { "4.0" } else { "4." }));
    peer.wait_error(&format!("connected: version {} ({})", case.version, case.features));

    let (out, back) = (frames(1), frames(2));
    carry(&mut peer, &mut observer, &out, &back);

    let totals = bridge.interrupt().totals();
    assert_eq!(totals["received"], FRAMES as u64, "{totals:?}");
    assert_eq!(totals["sent"], FRAMES as u64, "{totals:?}");
    for name in ["gaps", "missing", "duplicates", "reordered", "kernel_drops", "not_representable"] {
        assert_eq!(totals[name], 0, "{name} in {totals:?}");
    }
    let peer = peer.finish();
    assert_carried(&peer.output, &back, case.features, started_us);
    assert_summary(peer.output.last().unwrap(), case.version, case.features);
    let observer = observer.interrupt();
    assert_carried(&observer.output, &out, "SEQ", started_us);
    assert_summary(observer.output.last().unwrap(), "4.1", "SEQ");
}

/// Asserts the Python peer's own account: all sent, all received, nothing missed, nothing malformed.
fn assert_summary(line: &str, version: &str, features: &str) {
    let expected = format!(
        "{{\"version\": \"{version}\", \"features\": \"{features}\", \"sent\": 2000, \"received\": 2000, \
         \"gaps\": 0, \"missing\": 0, \"duplicates\": 0, \"reordered\": 0, \"malformed\": 0}}"
    );
    assert_eq!(line, expected);
}

#[test]
fn server_with_sequence_numbers() {
    interoperate(Role::Server, &SEQUENCE);
}

#[test]
fn server_with_time_stamps() {
    interoperate(Role::Server, &TIME);
}

#[test]
fn server_with_sequence_numbers_and_time_stamps() {
    interoperate(Role::Server, &BOTH);
}

#[test]
fn server_with_neither() {
    interoperate(Role::Server, &NEITHER);
}

#[test]
fn server_with_version_4_0() {
    interoperate(Role::Server, &LEGACY);
}

#[test]
fn client_with_sequence_numbers() {
    interoperate(Role::Client, &SEQUENCE);
}

#[test]
fn client_with_time_stamps() {
    interoperate(Role::Client, &TIME);
}

#[test]
fn client_with_sequence_numbers_and_time_stamps() {
    interoperate(Role::Client, &BOTH);
}

#[test]
fn client_with_neither() {
    interoperate(Role::Client, &NEITHER);
}

#[test]
fn client_with_version_4_0() {
    interoperate(Role::Client, &LEGACY);
}
