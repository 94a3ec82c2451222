//! Takes one step of version 5's codec over and over, for a counter of instructions outside: `bench/instructions/count`.

#[path = "../micro/frames.rs"]
mod frames;

use std::hint::black_box;

use canip_peer::buffer::SendBuffer;
use canip_peer::moment::WallTime;
use canip_peer::wire::v5::{Entry, EntrySize, HEADER_BYTES, RecordWriter};

/// Frames of one turn.
const FRAMES: usize = 1_024;

const TIME: WallTime = WallTime::from_nanos(1_700_000_000_123_456_789);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [step, turns] = arguments.as_slice() else { panic!("give encode or decode, and a number of turns") };
    let turns: usize = turns.parse().expect("a number of turns");
    let frames = frames::classic();
    let mut out = SendBuffer::with_capacity(64 * 1024);
    encode(&frames, &mut out);
    for _ in 0..turns {
        match step.as_str() {
            "encode" => encode(black_box(&frames), &mut out),
            "decode" => decode(black_box(out.unsent())),
            _ => panic!("no step {step}"),
        }
    }
}

/// From kernel images to the record that is sent.
fn encode(frames: &[canip_peer::frame::Frame], out: &mut SendBuffer) {
    let mut writer = RecordWriter::default();
    out.clear();
    for (frame, number) in frames.iter().zip(0..) {
        assert!(writer.write(out, 0, 0, number, TIME, frame.image()));
    }
    black_box(out.unsent());
}

/// From the record to frames as the kernel takes them.
fn decode(record: &[u8]) {
    for bytes in record[HEADER_BYTES..].chunks_exact(EntrySize::Classic.bytes()) {
        let entry = Entry::parse(bytes).expect("what was encoded is an entry");
        black_box((entry.to_frame(), entry.time()));
    }
}
