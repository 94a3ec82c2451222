//! Version 5: the codec alone, and a whole session with its books, from a kernel image to the wire and back.

use std::time::Duration;

use canip_peer::buffer::SendBuffer;
use canip_peer::moment::{Moment, Now, WallTime};
use canip_peer::session::{FrameQueue, Identity, Protocol, ReceivedFrame, Role, Session, SessionConfig};
use canip_peer::wire::greeting::Features;
use canip_peer::wire::v5::{BusName, Entry, EntrySize, HEADER_BYTES, RecordWriter};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use crate::{FRAMES, frames};

const NOW: Now = Now {
    monotonic: Moment::from_nanos(1_000_000_000),
    wall: WallTime::from_nanos(1_700_000_000_123_456_789),
};

/// Room for all frames in one record.
const BUFFER_BYTES: usize = 64 * 1024;

#[divan::bench]
fn encode(bencher: Bencher) {
    let frames = frames::classic();
    let mut out = SendBuffer::with_capacity(BUFFER_BYTES);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        out.clear();
        encode_all(&frames, &mut out);
        black_box(out.unsent());
    });
}

fn encode_all(frames: &[canip_peer::frame::Frame], out: &mut SendBuffer) {
    let mut writer = RecordWriter::default();
    for (frame, number) in frames.iter().zip(0..) {
        assert!(writer.write(out, 0, 0, number, NOW.wall, black_box(frame).image()));
    }
}

#[divan::bench]
fn decode(bencher: Bencher) {
    let mut out = SendBuffer::with_capacity(BUFFER_BYTES);
    encode_all(&frames::classic(), &mut out);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        let record = black_box(out.unsent());
        for bytes in record[HEADER_BYTES..].chunks_exact(EntrySize::Classic.bytes()) {
            let entry = Entry::parse(bytes).unwrap();
            black_box((entry.to_frame(), entry.time()));
        }
    });
}

#[divan::bench]
fn session_send(bencher: Bencher) {
    let frames = frames::classic();
    let (mut client, _) = connected();
    let mut out = SendBuffer::with_capacity(BUFFER_BYTES);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        out.clear();
        for frame in &frames {
            client.send(0, black_box(frame).image(), NOW.wall, &mut out);
        }
        client.speak(NOW, &mut out, &[]);
        black_box(out.unsent());
    });
}

/// The sender is in it too, because every record of it can be received once only.
#[divan::bench]
fn session_send_and_receive(bencher: Bencher) {
    let frames = frames::classic();
    let (mut client, mut server) = connected();
    let mut out = SendBuffer::with_capacity(BUFFER_BYTES);
    let mut queue = Last::default();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        out.clear();
        for frame in &frames {
            client.send(0, black_box(frame).image(), NOW.wall, &mut out);
        }
        client.speak(NOW, &mut out, &[]);
        server.receive(out.unsent(), NOW, &mut queue).unwrap();
        assert!(queue.0.is_some());
    });
}

/// Keeps the last frame.
#[derive(Default)]
struct Last(Option<ReceivedFrame>);

impl FrameQueue for Last {
    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn push(&mut self, _: usize, inbound: ReceivedFrame) {
        self.0 = Some(black_box(inbound));
    }
}

/// A client and a server that have greeted each other and know each other's clock.
fn connected() -> (Session, Session) {
    let session = |role, instance| {
        let heartbeat = Duration::from_secs(2);
        let identity = Identity { instance, heartbeat, buses: [BusName::default()].into() };
        let offer = Features::default();
        Session::new(SessionConfig { role, protocol: Protocol::V5, offer, identity }, None, NOW.monotonic)
    };
    let (mut client, mut server) = (session(Role::Client, 1), session(Role::Server, 2));
    for _ in 0..4 {
        pass(&mut client, &mut server);
        pass(&mut server, &mut client);
    }
    assert!(client.is_open() && server.is_open() && server.clock(NOW.monotonic).is_some());
    (client, server)
}

/// What one side has to say goes to the other.
fn pass(from: &mut Session, to: &mut Session) {
    let mut out = SendBuffer::with_capacity(BUFFER_BYTES);
    from.open(true, NOW, &mut out);
    from.tick(NOW.monotonic).unwrap();
    from.speak(NOW, &mut out, &[]);
    to.receive(out.unsent(), NOW, &mut Last::default()).unwrap();
}
