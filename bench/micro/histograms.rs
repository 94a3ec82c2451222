//! What it costs to know how late frames are: of each value, and of each interval.

use std::time::Duration;

use canip_peer::metrics::histograms::{Account, Histograms, IntervalLog, Kind};
use canip_peer::moment::WallTime;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

use crate::FRAMES;

/// Latencies of 10 to 200 µs, in random order, the same in every run.
fn latencies_ns() -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..FRAMES).map(|_| random.u64(10_000..200_000)).collect()
}

/// An interval of 100,000 frames each way, with a straggler of 200 ms.
fn record_busy_interval(histograms: &mut Histograms) {
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..100_000 {
        let nanoseconds = random.u64(10_000..200_000);
        histograms.record(Kind::CanToTcp, nanoseconds);
        histograms.record(Kind::TcpToCan, nanoseconds / 2);
        histograms.record_one_way(3 * nanoseconds as i64, 40_000);
        histograms.record(Kind::BatchOut, nanoseconds % 20);
        histograms.record(Kind::BatchIn, nanoseconds % 30);
    }
    histograms.record(Kind::CanToTcp, 200_000_000);
    histograms.record_n(Kind::RoundTrip, 400_000, 5);
}

/// The account of a busy interval.
fn busy() -> Account {
    let (mut histograms, mut account) = (Histograms::new(), Account::new());
    record_busy_interval(&mut histograms);
    account.add_from(&mut histograms);
    account
}

#[divan::bench]
fn record(bencher: Bencher) {
    let values = latencies_ns();
    let mut histograms = Histograms::new();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        for &value in black_box(&values) {
            histograms.record(Kind::CanToTcp, value);
        }
    });
    let mut account = Account::new();
    account.add_from(&mut histograms);
    assert!(!account.interval().get(Kind::CanToTcp).is_empty());
}

#[divan::bench]
fn record_between(bencher: Bencher) {
    let values = latencies_ns();
    let mut histograms = Histograms::new();
    let received = WallTime::from_nanos(1_700_000_000_000_000_000);
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        for &value in black_box(&values) {
            let now = WallTime::from_nanos(received.as_nanos() + value);
            histograms.record_between(Kind::CanToTcp, black_box(received), now);
        }
    });
    let mut account = Account::new();
    account.add_from(&mut histograms);
    assert!(!account.interval().get(Kind::CanToTcp).is_empty());
}

/// All that the end of an interval costs the data path.
#[divan::bench]
fn take_and_give_back(bencher: Bencher) {
    let mut histograms = Histograms::new();
    bencher.bench_local(|| {
        let recorded = black_box(histograms.take());
        histograms.give_back(recorded);
    });
}

/// The end of a busy interval, where there were others before: what another thread does.
#[divan::bench]
fn next_interval(bencher: Bencher) {
    bencher
        .with_inputs(|| {
            let mut account = busy();
            account.next_interval();
            let mut histograms = Histograms::new();
            record_busy_interval(&mut histograms);
            (histograms, account)
        })
        .bench_local_refs(|(histograms, account)| {
            account.add_from(histograms);
            account.next_interval();
        });
}

#[divan::bench]
fn summary_line(bencher: Bencher) {
    let account = busy();
    bencher.bench_local(|| account.interval().summary().to_string());
}

/// Six lines of the interval log.
#[divan::bench]
fn log_lines(bencher: Bencher) {
    let account = busy();
    let mut log = IntervalLog::new();
    let mut text = Vec::new();
    bencher.bench_local(|| {
        text.clear();
        log.write_set(account.interval(), Duration::ZERO, Duration::from_secs(10), &mut text);
        text.len()
    });
}

#[divan::bench]
fn distributions(bencher: Bencher) {
    let account = busy();
    bencher
        .bench_local(|| account.whole().distributions().map(|table| table.to_string().len()).sum::<usize>());
}
