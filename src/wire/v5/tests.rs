use super::*;
use crate::buffer::SendBuffer;
use crate::frame::{FD_BIT_RATE_SWITCH, Frame, Identifier};
use crate::moment::WallTime;

fn frame(raw: u32) -> Frame {
    Frame::data(Identifier::standard(raw).unwrap(), &[raw as u8]).unwrap()
}

fn fd(raw: u32) -> Frame {
    Frame::fd(Identifier::standard(raw).unwrap(), &[7; 64], FD_BIT_RATE_SWITCH).unwrap()
}

fn time(nanoseconds: u64) -> WallTime {
    WallTime::from_nanos(nanoseconds)
}

/// Bus, number, identifier and time of every frame in a stream of records.
fn listed(mut bytes: &[u8]) -> Vec<(u8, u64, u32, u64)> {
    let mut frames = Vec::new();
    while let Some(header) = Header::parse(bytes).unwrap() {
        let (body, rest) = bytes[HEADER_BYTES..].split_at(header.body_bytes as usize);
        for (entry, number) in body.chunks(EntrySize::of(header.kind).bytes()).zip(header.number..) {
            let entry = Entry::parse(entry).unwrap();
            let raw = entry.to_frame().image().identifier().raw();
            frames.push((header.bus, number, raw, entry.time().as_nanos()));
        }
        bytes = rest;
    }
    assert!(bytes.is_empty());
    frames
}

/// Frames 0 to 5 of bus 0, of which 3 is FD, then two of bus 1, the second after a gap.
fn filled() -> SendBuffer {
    let (mut buffer, mut writer) = (SendBuffer::with_capacity(4096), RecordWriter::default());
    for number in 0..6 {
        let frame = if number == 3 { fd(number) } else { frame(number) };
        assert!(writer.write(&mut buffer, 0, 0, number.into(), time(100), frame.image()));
    }
    for number in [10, 12] {
        assert!(writer.write(&mut buffer, 0, 1, number, time(200), frame(number as u32).image()));
    }
    buffer
}

#[test]
fn frames_share_a_record_as_long_as_bus_size_and_number_go_on() {
    let buffer = filled();
    // Records: 3 classic, 1 FD, 2 classic, 1 and 1 of the other bus.
    assert_eq!(buffer.unsent().len(), 5 * 16 + 7 * 24 + 80);
    let expected = [
        (0, 0, 0, 100),
        (0, 1, 1, 100),
        (0, 2, 2, 100),
        (0, 3, 3, 100),
        (0, 4, 4, 100),
        (0, 5, 5, 100),
        (1, 10, 10, 200),
        (1, 12, 12, 200),
    ];
    assert_eq!(listed(buffer.unsent()), expected);
}

#[test]
fn any_number_of_frames_can_be_taken_from_the_front() {
    let all = listed(filled().unsent());
    for count in 0..=all.len() {
        let mut buffer = filled();
        let mut taken = [0; 2];
        discard_front(&mut buffer, count as u64, |bus, frames| taken[usize::from(bus)] += frames);
        assert_eq!(listed(buffer.unsent()), all[count..], "{count} taken");
        assert_eq!(taken, [count.min(6) as u64, count.saturating_sub(6) as u64]);
    }
}

#[test]
fn the_first_number_of_a_bus_is_found() {
    let buffer = filled();
    let first = |bus| first_number(buffer.unsent(), bus);
    assert_eq!([first(0), first(1), first(2)], [Some(0), Some(10), None]);
}

#[test]
fn any_piece_can_be_moved_from_the_front() {
    let all = listed(filled().unsent());
    let whole = filled().unsent().len();
    for limit in 0..=whole + 24 {
        let (mut buffer, mut piece) = (filled(), SendBuffer::with_capacity(4096));
        let moved = move_front(&mut buffer, &mut piece, limit) as usize;
        assert!(
            moved >= 1 && (piece.unsent().len() <= limit || moved == 1),
            "{moved} moved within {limit} bytes"
        );
        assert_eq!(listed(piece.unsent()), all[..moved], "within {limit} bytes");
        assert_eq!(listed(buffer.unsent()), all[moved..], "within {limit} bytes");
    }
    let mut none = SendBuffer::with_capacity(64);
    assert_eq!(move_front(&mut none, &mut SendBuffer::with_capacity(64), 100), 0);
}

#[test]
fn what_is_no_frame_stays_in_front() {
    let (mut buffer, mut writer) = (SendBuffer::with_capacity(4096), RecordWriter::default());
    assert!(write_ping(&mut buffer, time(5)) && write_ping(&mut buffer, time(6)));
    for number in 0..4 {
        assert!(writer.write(&mut buffer, 0, 0, number, time(7), frame(9).image()));
    }
    discard_front(&mut buffer, 3, |_, _| {});
    let (pings, frames) = buffer.unsent().split_at(48);
    assert_eq!((read_ping(&pings[16..24]), read_ping(&pings[40..48])), (time(5), time(6)));
    assert_eq!(listed(frames), [(0, 3, 9, 7)]);
    discard_front(&mut buffer, 9, |_, _| {});
    assert_eq!(buffer.unsent().len(), 48);
}

#[test]
fn a_full_buffer_takes_nothing_and_keeps_its_reserve() {
    let mut buffer = SendBuffer::with_capacity(16 + 24 + 24 + 7);
    let mut writer = RecordWriter::default();
    assert!(writer.write(&mut buffer, 8, 0, 0, time(1), frame(1).image()));
    assert!(
        !writer.write(&mut buffer, 8, 0, 1, time(1), frame(2).image()),
        "8 bytes are reserved, 31 vacant"
    );
    assert!(writer.write(&mut buffer, 7, 0, 1, time(1), frame(2).image()));
    assert_eq!(listed(buffer.unsent()).len(), 2);
}

#[test]
fn a_record_has_64_kib_at_most() {
    let (mut buffer, mut writer) = (SendBuffer::with_capacity(200_000), RecordWriter::default());
    for number in 0..3_000 {
        assert!(writer.write(&mut buffer, 0, 0, number, time(1), frame(1).image()));
    }
    let first = Header::parse(buffer.unsent()).unwrap().unwrap();
    assert_eq!((first.count, first.body_bytes), (2_730, 65_520));
    assert_eq!(listed(buffer.unsent()).len(), 3_000);
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let header = |bytes: [u8; 16]| Header::parse(&bytes);
    let sized = |kind: u8, count: u8, body: u16| {
        let [low, high] = body.to_le_bytes();
        header([kind, 0, count, 0, low, high, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    };
    assert_eq!(sized(0, 0, 0), Err(Malformed::Kind(0)));
    assert_eq!(sized(10, 0, 0), Err(Malformed::Kind(10)));
    assert!(matches!(sized(2, 0, 0), Err(Malformed::Count { .. })));
    assert!(matches!(sized(2, 2, 24), Err(Malformed::Count { .. })));
    assert!(matches!(sized(3, 1, 24), Err(Malformed::Count { .. })));
    assert!(sized(2, 1, 24).is_ok() && sized(3, 1, 80).is_ok());
    for (kind, shortest) in [(1, 56), (4, 8), (5, 24), (6, 32), (7, 16), (8, 32), (9, 8)] {
        assert!(matches!(sized(kind, 0, shortest - 8), Err(Malformed::BodyLength { .. })), "kind {kind}");
        assert!(sized(kind, 0, shortest).is_ok() && sized(kind, 0, shortest + 8).is_ok(), "kind {kind}");
        assert!(matches!(sized(kind, 0, shortest + 4), Err(Malformed::BodyLength { .. })), "kind {kind}");
    }
    assert!(sized(128, 0, 65_520).is_ok() && sized(255, 0, 0).is_ok());
    assert!(matches!(sized(200, 0, 65_528), Err(Malformed::BodyLength { .. })));
    assert_eq!(Header::parse(&[2; 15]), Ok(None));
}

#[test]
fn impossible_frames_are_refused() {
    let entry = |id_word: u32, length: u8, size: usize| {
        let mut bytes = vec![0; size];
        bytes[8..12].copy_from_slice(&id_word.to_le_bytes());
        bytes[12] = length;
        Entry::parse(&bytes).is_ok()
    };
    assert!(entry(0x7FF, 8, 24) && entry(0x9FFF_FFFF, 8, 24) && entry(0x4000_07FF, 8, 24));
    assert!(entry(0x2000_1000, 8, 24), "the classes of an error frame are no identifier");
    assert!(!entry(0x800, 8, 24) && !entry(0x4000_0800, 0, 24), "an 11-bit identifier above 0x7FF");
    assert!(!entry(1, 9, 24) && !entry(1, 65, 80) && entry(1, 64, 80));
    assert!(!entry(0x4000_0001, 0, 80) && !entry(0x2000_0001, 0, 80), "remote and error frames are classic");
}

#[test]
fn what_a_peer_calls_itself_cannot_hurt_a_terminal() {
    assert_eq!(Name::new("can0").to_string(), "can0");
    assert_eq!(Name::new("sixteen bytes at most").to_string(), "sixteen bytes at");
    assert_eq!(Name::new("fünfzehnbytes_ü").to_string(), "fünfzehnbytes_", "cut between characters");
    assert_eq!(Name::new("\x1b[2J\n").to_string(), "?[2J?");
    assert!(Name::default().is_empty());
}

#[test]
fn control_records_are_read_as_they_were_written() {
    let mut buffer = SendBuffer::with_capacity(4096);
    let mut buses = [BusName::default(); MAX_BUSES];
    buses[0] = BusName {
        matched_by: Name::new("engine"),
        interface: Name::new("can0"),
        identity: 0x0102_0304_0506_0708,
    };
    buses[1].interface = Name::new("can1");
    let hello = Hello { instance: 7, receipts_for: 9, heartbeat_ms: 2_000, bus_count: 2, buses };
    let losses = Losses { kernel: 1, stale: 2, slow_peer: 3, outage: 4 };
    let receipt = Receipt { arrived: 10, accepted: 7, stale: 2, refused: 1 };
    let pong = Pong { ping_sent_at: time(1), ping_received_at: time(2), sent_at: time(3) };
    let state = BusState {
        presence: Presence::Up,
        controller: Controller::BusOff,
        mtu: 72,
        bit_rate: 500_000,
        data_bit_rate: 2_000_000,
        has_loop: true,
    };
    assert!(
        hello.write(&mut buffer) && losses.write(&mut buffer, 1, 99) && receipt.write(&mut buffer, 2, 98)
    );
    assert!(write_ping(&mut buffer, time(5)) && pong.write(&mut buffer) && state.write(&mut buffer, 3));
    assert!(Goodbye::Replaced.write(&mut buffer) && Goodbye::Stopping.write(&mut buffer));

    let mut bytes = buffer.unsent();
    let mut next = || {
        let header = Header::parse(bytes).unwrap().unwrap();
        let (body, rest) = bytes[HEADER_BYTES..].split_at(header.body_bytes as usize);
        bytes = rest;
        (header.bus, header.number, body)
    };
    assert_eq!(Hello::read(next().2), Ok(hello));
    let (bus, number, body) = next();
    assert_eq!((bus, number, Losses::read(body)), (1, 99, losses));
    let (bus, number, body) = next();
    assert_eq!((bus, number, Receipt::read(body)), (2, 98, receipt));
    assert_eq!(read_ping(next().2), time(5));
    assert_eq!(Pong::read(next().2), pong);
    let (bus, _, body) = next();
    assert_eq!((bus, BusState::read(body)), (3, state));
    assert_eq!(Goodbye::read(next().2), Goodbye::Replaced);
    assert_eq!(Goodbye::read(next().2), Goodbye::Stopping);
    assert!(bytes.is_empty());
}

#[test]
fn a_hello_needs_an_instance_and_buses_that_are_there() {
    let body = |instance: u8, buses: u8, length: usize| {
        let mut body = vec![0; length];
        body[0] = instance;
        body[20] = buses;
        Hello::read(&body)
    };
    assert!(body(1, 1, 56).is_ok() && body(1, 16, 24 + 16 * 32).is_ok());
    // Identities that are not all there are none.
    for (length, identity) in [(24 + 2 * 32 + 8, 0), (24 + 2 * 32 + 16, 7)] {
        let mut body = vec![7; length];
        body[20..22].copy_from_slice(&[2, 0]);
        let identities =
            Hello::read(&body).unwrap().buses().iter().map(|bus| bus.identity).collect::<Vec<_>>();
        assert_eq!(identities, [identity * 0x0101_0101_0101_0101; 2]);
    }
    for (instance, buses, length) in [(0, 1, 56), (1, 0, 56), (1, 2, 56), (1, 17, 24 + 17 * 32)] {
        assert!(matches!(body(instance, buses, length), Err(Malformed::Hello { .. })), "{buses} buses");
    }
}
