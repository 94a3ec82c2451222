//! Version 4's frames and version 5's records, each by itself.

use canip_peer::buffer::SendBuffer;
use canip_peer::frame::{Frame, Image, Kind};
use canip_peer::moment::WallTime;
use canip_peer::wire::greeting::Features;
use canip_peer::wire::sequence::SequenceTracker;
use canip_peer::wire::v4::Layout;
use canip_peer::wire::v5::{
    BusState, Entry, EntrySize, HEADER_BYTES, Header, Hello, Losses, MAX_BODY_BYTES, Pong, Receipt,
    RecordKind, RecordWriter, read_ping, write_ping,
};

use super::assert_one_line;

/// A frame that is read is written as the same frame, and the sequence tracker takes every order of numbers.
pub fn frames_v4(bytes: &[u8]) {
    let Some((&first, stream)) = bytes.split_first() else { return };
    let features = Features { sequence: first & 1 != 0, time: first & 2 != 0 };
    let layout = Layout::new(features);
    let mut tracker = SequenceTracker::default();
    for encoded in stream.chunks_exact(layout.frame_bytes()) {
        let Ok(view) = layout.view(encoded) else { continue };
        assert_eq!((view.sequence().is_some(), view.time_us().is_some()), (features.sequence, features.time));
        let frame = view.to_frame();
        assert_eq!(frame.image().payload(), view.payload());
        let (sequence, time_us) = (view.sequence().unwrap_or(0), view.time_us().unwrap_or(0));
        let time = WallTime::from_nanos(time_us.saturating_mul(1_000));
        let mut again = [0xA5; 26];
        layout.encode(frame.image(), sequence, time, &mut again).expect("version 4 has data frames");
        let view = layout.view(&again).expect("what was written is a frame");
        assert_eq!((view.to_frame(), view.sequence().unwrap_or(0)), (frame, sequence));
        if features.time && time_us < u64::MAX / 1_000 {
            assert_eq!(view.time_us(), Some(time_us));
        }
        let before = tracker.counters();
        tracker.receive(sequence);
        let after = tracker.counters();
        assert!(after.missing >= before.missing.saturating_sub(1), "a late frame makes good for one");
        assert!(after.gaps >= before.gaps && after.duplicates >= before.duplicates);
    }
}

/// A record that is read is written as the same record.
pub fn records_v5(bytes: &[u8]) {
    let Ok(Some(header)) = Header::parse(bytes) else { return };
    let mut written = [0; HEADER_BYTES];
    header.write(&mut written);
    assert_eq!(Header::parse(&written), Ok(Some(header)));
    assert!(header.body_bytes as usize <= MAX_BODY_BYTES);
    let Some(body) = bytes[HEADER_BYTES..].get(..header.body_bytes as usize) else { return };
    let mut out = SendBuffer::with_capacity(HEADER_BYTES + MAX_BODY_BYTES);
    let (bus, number) = (header.bus, header.number);
    let is_same = match header.kind {
        RecordKind::Hello => match Hello::read(body) {
            Ok(hello) => {
                for bus in hello.buses() {
                    let shown = format!("{}{}", bus.matched_by, bus.interface);
                    assert!(!shown.chars().any(char::is_control), "a terminal would obey {shown:?}");
                }
                hello.write(&mut out) && Hello::read(body_of(&out)) == Ok(hello)
            }
            Err(_) => return,
        },
        RecordKind::Ping => {
            let sent_at = read_ping(body);
            write_ping(&mut out, sent_at) && read_ping(body_of(&out)) == sent_at
        }
        RecordKind::Pong => {
            let pong = Pong::read(body);
            pong.write(&mut out) && Pong::read(body_of(&out)) == pong
        }
        RecordKind::Loss => {
            let losses = Losses::read(body);
            losses.write(&mut out, bus, number) && Losses::read(body_of(&out)) == losses
        }
        RecordKind::Receipt => {
            let receipt = Receipt::read(body);
            receipt.write(&mut out, bus, number) && Receipt::read(body_of(&out)) == receipt
        }
        RecordKind::BusState => {
            let state = BusState::read(body);
            assert_one_line(&state.to_string());
            state.write(&mut out, bus) && BusState::read(body_of(&out)) == state
        }
        RecordKind::Frames | RecordKind::FdFrames => return entries(header, body, &mut out),
        RecordKind::Goodbye | RecordKind::Optional => return,
    };
    assert!(is_same, "{header:?}");
}

/// The frames of a record, written into another one, are those that were read.
fn entries(header: Header, body: &[u8], out: &mut SendBuffer) {
    let size = EntrySize::of(header.kind);
    let mut writer = RecordWriter::default();
    let mut frames: Vec<(WallTime, Frame)> = Vec::new();
    for entry in body.chunks_exact(size.bytes()).map_while(|bytes| Entry::parse(bytes).ok()) {
        let (time, frame, number) = (entry.time(), entry.to_frame(), frames.len() as u64);
        assert_eq!(entry.is_error(), frame.image().kind() == Kind::Error);
        if !writer.write(out, 0, header.bus, number, time, frame.image()) {
            break;
        }
        frames.push((time, frame));
    }
    let mut read = frames.iter();
    let mut rest = out.unsent();
    while let Some(header) = Header::parse(rest).expect("a record of ours") {
        let (body, behind) = rest[HEADER_BYTES..].split_at(header.body_bytes as usize);
        for bytes in body.chunks_exact(EntrySize::of(header.kind).bytes()) {
            let (entry, (time, frame)) =
                (Entry::parse(bytes).expect("an entry of ours"), read.next().expect("one"));
            let again = entry.to_frame();
            assert_eq!(entry.time(), *time);
            assert!(is_same(again.image(), frame.image()), "{again:?} instead of {frame:?}");
        }
        rest = behind;
    }
    assert_eq!((read.len(), rest.len()), (0, 0));
}

fn is_same(one: Image<'_>, other: Image<'_>) -> bool {
    one.kind() == other.kind()
        && one.identifier() == other.identifier()
        && one.payload() == other.payload()
        && one.dlc() == other.dlc()
}

fn body_of(out: &SendBuffer) -> &[u8] {
    &out.unsent()[HEADER_BYTES..]
}
