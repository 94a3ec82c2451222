//! Filters on frames that the kernel let through.

use canip_peer::frame::filter::{FilterSet, parse_candump, parse_tool_list};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use crate::{FRAMES, frames};

fn matching(bencher: Bencher, set: &FilterSet) {
    let filter = set.compile().unwrap();
    let frames = frames::classic();
    let passed = frames.iter().filter(|frame| filter.passes(frame.image())).count();
    assert!(passed > 0, "the filter has something to decide");
    bencher
        .counter(ItemsCount::new(FRAMES))
        .bench_local(|| black_box(&frames).iter().filter(|frame| filter.passes(frame.image())).count());
}

#[divan::bench]
fn everything(bencher: Bencher) {
    matching(bencher, &FilterSet::default());
}

/// 500 standard identifiers, 500 ranges of extended ones, and a mask.
#[divan::bench]
fn thousand_rules(bencher: Bencher) {
    let standard = (0..500).map(|number| format!("0x{:X}\n", 4 * number));
    let extended = (0..500).map(|number| format!("0x{0:X}000x-0x{0:X}7FFx\n", 0x1_0000 + 64 * number));
    let text: String = standard.chain(extended).chain(["0x18DA0000x/0x1FFF0000x\n".to_owned()]).collect();
    let pass = parse_tool_list(&text, "rules").unwrap();
    matching(bencher, &FilterSet { pass, ..FilterSet::default() });
}

#[divan::bench]
fn candump_expression(bencher: Bencher) {
    let expressions = vec![parse_candump("100:700,200:700,333~7FF").unwrap()];
    matching(bencher, &FilterSet { expressions, ..FilterSet::default() });
}
