//! Version 4's codec, in its shortest and its longest layout.

use canip_peer::moment::WallTime;
use canip_peer::wire::greeting::Features;
use canip_peer::wire::v4::{Layout, MAX_FRAME_BYTES};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use crate::{FRAMES, frames};

/// By their bytes: neither sequence numbers nor times, and both.
const LAYOUTS: [usize; 2] = [14, MAX_FRAME_BYTES];

const TIME: WallTime = WallTime::from_nanos(1_700_000_000_123_456_789);

fn layout(frame_bytes: usize) -> Layout {
    let complete = frame_bytes == MAX_FRAME_BYTES;
    Layout::new(Features { sequence: complete, time: complete })
}

#[divan::bench(args = LAYOUTS)]
fn encode(bencher: Bencher, frame_bytes: usize) {
    let layout = layout(frame_bytes);
    let frames = frames::classic();
    let mut bytes = vec![0; FRAMES * MAX_FRAME_BYTES];
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        for (sequence, (frame, out)) in
            frames.iter().zip(bytes.chunks_exact_mut(layout.frame_bytes())).enumerate()
        {
            layout.encode(black_box(frame).image(), sequence as u32, TIME, out).unwrap();
        }
        black_box(&bytes);
    });
}

#[divan::bench(args = LAYOUTS)]
fn decode(bencher: Bencher, frame_bytes: usize) {
    let layout = layout(frame_bytes);
    let mut bytes = vec![0; FRAMES * layout.frame_bytes()];
    for (frame, out) in frames::classic().iter().zip(bytes.chunks_exact_mut(layout.frame_bytes())) {
        layout.encode(frame.image(), 1, TIME, out).unwrap();
    }
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        for frame in black_box(&bytes).chunks_exact(layout.frame_bytes()) {
            let view = layout.view(frame).unwrap();
            black_box((view.to_frame(), view.sequence(), view.time_us()));
        }
    });
}
