//! Version 5 to the byte: our encoders write the golden files, and our decoders read from them what they hold.
//!
//! The files are made by tests/interop/wire5.py, and what is in them stands in tests/golden/README.md.

use std::path::{Path, PathBuf};
use std::process::Command;

use canip_peer::buffer::SendBuffer;
use canip_peer::frame::Frame;
use canip_peer::frame::notation::{parse_compact, write_compact};
use canip_peer::moment::WallTime;
use canip_peer::wire::greeting::{Features, Offer, Scan, scan};
use canip_peer::wire::v5::{
    BusName, BusState, Controller, Entry, EntrySize, Goodbye, HEADER_BYTES, Header, Hello, Losses, MAX_BUSES,
    Name, Pong, Presence, Receipt, RecordKind, RecordWriter, read_ping, write_ping,
};

/// The first time in the files.
const START: u64 = 1_700_000_000_000_000_001;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v5")
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name).with_extension("bin")).unwrap()
}

/// The names of the files that begin so, without their extension.
fn names(beginning: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(name).filter(|name| name.starts_with(beginning)).collect()
}

/// What an encoder writes.
fn written(encode: impl FnOnce(&mut SendBuffer) -> bool) -> Vec<u8> {
    let mut out = SendBuffer::with_capacity(64 * 1024);
    assert!(encode(&mut out), "64 KiB are enough");
    out.unsent().to_vec()
}

/// A file's only record.
fn record(name: &str) -> (Header, Vec<u8>) {
    let mut bytes = golden(name);
    let header = Header::parse(&bytes).unwrap().unwrap();
    let body = bytes.split_off(HEADER_BYTES);
    assert_eq!(body.len(), header.body_bytes as usize, "{name}");
    (header, body)
}

/// Payload bytes 01, 02, 03, ...
fn counting(length: usize) -> String {
    (1..=length).map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn greeting() {
    let offer = Offer { features: Features { sequence: true, time: true }, version_5: true };
    assert_eq!(offer.greeting(), golden("greeting"));
    assert_eq!(scan(&golden("greeting")), Scan::Greeting(offer, 26));
}

fn hello(instance: u64, receipts_for: u64, heartbeat_ms: u32, names: [(&str, &str, u64); 3]) -> Hello {
    let mut buses = [BusName::default(); MAX_BUSES];
    for (bus, (name, interface, identity)) in buses.iter_mut().zip(names) {
        *bus = BusName { matched_by: Name::new(name), interface: Name::new(interface), identity };
    }
    Hello { instance, receipts_for, heartbeat_ms, bus_count: 3, buses }
}

#[test]
fn hello_of_both_sides() {
    let client =
        [("", "can0", 0x0102_0304_0506_0708), ("engine", "can1", 0x1112_1314_1516_1718), ("body", "can2", 0)];
    let server = [
        ("engine", "vcan7", 0x2122_2324_2526_2728),
        ("sixteen-letters-", "vcan8", 0),
        ("", "über-sechzehn-", 0xF1F2_F3F4_F5F6_F7F8),
    ];
    let (client_instance, server_instance) = (0x1122_3344_5566_7788, 0x99AA_BBCC_DDEE_FF01);
    for (name, hello) in [
        ("hello-client", hello(client_instance, 0, 2_000, client)),
        ("hello-server", hello(server_instance, client_instance, 500, server)),
    ] {
        assert_eq!(written(|out| hello.write(out)), golden(name), "{name}");
        let (header, body) = record(name);
        assert_eq!(header.kind, RecordKind::Hello);
        assert_eq!(Hello::read(&body), Ok(hello), "{name}");
    }
}

/// Asserts both ways that a file holds these frames, of that bus, numbered from there on, a microsecond apart.
fn frames(name: &str, bus: u8, first: u64, texts: &[String]) {
    let frames: Vec<Frame> = texts.iter().map(|text| parse_compact(text).unwrap()).collect();
    let mut writer = RecordWriter::default();
    let encoded = written(|out| {
        frames.iter().zip(0..).all(|(frame, index)| {
            let time = WallTime::from_nanos(START + 1_000 * index);
            writer.write(out, 0, bus, first + index, time, frame.image())
        })
    });
    assert_eq!(encoded, golden(name), "{name}");

    let (header, body) = record(name);
    assert_eq!((header.bus, header.number, usize::from(header.count)), (bus, first, texts.len()), "{name}");
    for ((entry, text), index) in body.chunks(EntrySize::of(header.kind).bytes()).zip(texts).zip(0..) {
        let entry = Entry::parse(entry).unwrap();
        let mut read = String::new();
        write_compact(&mut read, entry.to_frame().image()).unwrap();
        assert_eq!(&read, text, "{name}");
        assert_eq!(entry.time(), WallTime::from_nanos(START + 1_000 * index), "{name}");
        assert_eq!(entry.is_error(), name == "frames-error", "{name}");
    }
}

#[test]
fn classic_frames() {
    let mut texts: Vec<String> =
        (0..=8).map(|length| format!("{:03X}#{}", 0x7F7 + length, counting(length))).collect();
    texts.extend(["00000000#", "1FFFFFFF#FFFFFFFFFFFFFFFF", "18DAF110#0241"].map(str::to_owned));
    frames("frames-classic", 0, 0, &texts);
}

#[test]
fn raw_dlcs() {
    let texts: Vec<String> = (9..=15).map(|dlc| format!("123#0102030405060708_{dlc:X}")).collect();
    frames("frames-raw-dlc", 1, 0x0102_0304_0506_0708, &texts);
}

#[test]
fn remote_frames() {
    let mut texts = vec!["123#R".to_owned()];
    texts.extend((1..=8).map(|length| format!("123#R{length}")));
    texts.extend((9..=15).map(|dlc| format!("123#R8_{dlc:X}")));
    texts.push("1ABCDEF0#R4".to_owned());
    frames("frames-remote", 15, 7, &texts);
}

#[test]
fn error_frames() {
    let texts = ["20000040#0000000000000000", "20000004#0004000000006000", "200002FF#0102030405060708"];
    frames("frames-error", 0, u64::MAX - 3, &texts.map(str::to_owned));
}

#[test]
fn fd_frames() {
    let lengths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];
    let text = |(index, length): (usize, usize)| format!("1FF##{}{}", index % 4, counting(length));
    let mut texts: Vec<String> = lengths.into_iter().enumerate().map(text).collect();
    texts.push(format!("1FFFFFFF##3{}", "FF".repeat(64)));
    frames("fd-frames", 2, 5, &texts);
}

/// Asserts that a file holds a record without frames, with this header.
fn control(name: &str, kind: RecordKind, bus: u8, number: u64, encoded: &[u8]) -> Vec<u8> {
    assert_eq!(encoded, golden(name), "{name}");
    let (header, body) = record(name);
    assert_eq!((header.kind, header.bus, header.count, header.number), (kind, bus, 0, number), "{name}");
    body
}

#[test]
fn ping_and_pong() {
    let time = WallTime::from_nanos;
    let body = control("ping", RecordKind::Ping, 0, 0, &written(|out| write_ping(out, time(START))));
    assert_eq!(read_ping(&body), time(START));
    let pong = Pong {
        ping_sent_at: time(1_700_000_000_000_000_001),
        ping_received_at: time(1_700_000_003_000_000_001),
        sent_at: time(1_700_000_003_000_000_778),
    };
    let body = control("pong", RecordKind::Pong, 0, 0, &written(|out| pong.write(out)));
    assert_eq!(Pong::read(&body), pong);
}

#[test]
fn loss_and_receipt() {
    let losses = Losses { kernel: 1, stale: 20, slow_peer: 300, outage: 1_099_511_627_776 };
    let body = control("loss", RecordKind::Loss, 1, 1_000, &written(|out| losses.write(out, 1, 1_000)));
    assert_eq!(Losses::read(&body), losses);
    let receipt = Receipt { arrived: 4_000, accepted: 3_900, stale: 60, refused: 7 };
    let encoded = written(|out| receipt.write(out, 1, 4_294_967_296));
    assert_eq!(Receipt::read(&control("receipt", RecordKind::Receipt, 1, 4_294_967_296, &encoded)), receipt);
}

#[test]
fn bus_state() {
    let state = BusState {
        presence: Presence::Up,
        controller: Controller::ErrorPassive,
        mtu: 72,
        bit_rate: 500_000,
        data_bit_rate: 2_000_000,
        has_loop: false,
    };
    let body = control("bus-state", RecordKind::BusState, 2, 0, &written(|out| state.write(out, 2)));
    assert_eq!(BusState::read(&body), state);
}

#[test]
fn goodbye() {
    for (name, reason) in [
        ("goodbye-stops", Goodbye::Stopping),
        ("goodbye-replaced", Goodbye::Replaced),
        ("goodbye-full", Goodbye::Full),
        ("goodbye-joined", Goodbye::AlreadyJoined { bus: 2, interface: Name::new("vcan0") }),
    ] {
        let body = control(name, RecordKind::Goodbye, 0, 0, &written(|out| reason.write(out)));
        assert_eq!(Goodbye::read(&body), reason, "{name}");
    }
}

#[test]
fn what_a_later_version_adds_is_read_past() {
    let (header, body) = record("later-receipt");
    assert_eq!((header.kind, header.bus, header.number), (RecordKind::Receipt, 1, 9));
    assert_eq!(Receipt::read(&body), Receipt { arrived: 4, accepted: 3, stale: 2, refused: 1 });
    let hello = Hello::read(&record("later-hello").1).unwrap();
    let interfaces: Vec<String> = hello.buses().iter().map(|bus| bus.interface.to_string()).collect();
    assert_eq!((hello.instance, interfaces), (0x99AA_BBCC_DDEE_FF01, vec!["can0".to_owned()]));
    assert_eq!(hello.buses()[0].identity, u64::MAX, "the first eight bytes behind it");
    for name in ["later-kind-128", "later-kind-255"] {
        assert_eq!(record(name).0.kind, RecordKind::Optional, "{name}");
    }
    assert_eq!(names("later-").len(), 4);
}

/// Whether a record's header, or what is in its body, is refused.
fn is_refused(bytes: &[u8]) -> bool {
    let Ok(header) = Header::parse(bytes) else { return true };
    let (kind, body) = (header.unwrap().kind, &bytes[HEADER_BYTES..]);
    match kind {
        RecordKind::Hello => Hello::read(body).is_err(),
        RecordKind::Frames | RecordKind::FdFrames => {
            body.chunks(EntrySize::of(kind).bytes()).any(|entry| Entry::parse(entry).is_err())
        }
        _ => false,
    }
}

#[test]
fn violations_are_refused() {
    let wrong = names("wrong-");
    assert_eq!(wrong.len(), 15);
    for name in wrong {
        assert!(is_refused(&golden(&name)), "{name}");
    }
    for name in names("frames-").iter().chain(&names("hello-")) {
        assert!(!is_refused(&golden(name)), "{name}");
    }
}

#[test]
fn the_files_are_what_the_other_encoder_makes() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/wire5.py");
    let run = Command::new("python3").arg(script).arg("verify").arg(folder()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
