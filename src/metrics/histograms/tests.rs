use std::time::Duration;

use base64::Engine as _;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;

const EVERY_KIND: [&str; 6] = ["can_to_tcp", "tcp_to_can", "round_trip", "one_way", "batch_out", "batch_in"];

/// Histograms with their account, which is told whenever somebody looks.
#[derive(Default)]
struct Accounted {
    histograms: Histograms,
    account: Account,
}

impl Accounted {
    fn new() -> Self {
        Self::default()
    }

    fn account(&mut self) -> &mut Account {
        self.account.add_from(&mut self.histograms);
        &mut self.account
    }

    fn interval(&mut self) -> &HistogramSet {
        self.account().interval()
    }

    fn next_interval(&mut self) {
        self.account().next_interval();
    }

    fn whole(&mut self) -> HistogramSet {
        self.account().whole()
    }
}

impl std::ops::Deref for Accounted {
    type Target = Histograms;

    fn deref(&self) -> &Histograms {
        &self.histograms
    }
}

impl std::ops::DerefMut for Accounted {
    fn deref_mut(&mut self) -> &mut Histograms {
        &mut self.histograms
    }
}

/// A thousand times, 1 to 1,000 µs.
fn thousand() -> Accounted {
    let mut histograms = Accounted::new();
    for microseconds in 1..=1_000 {
        histograms.record(Kind::CanToTcp, 1_000 * microseconds);
    }
    histograms
}

#[test]
fn every_kind_has_a_place_and_a_name_of_its_own() {
    let mut histograms = Accounted::new();
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        histograms.record_n(kind, 5, index as u32 + 1);
    }
    let set = histograms.interval();
    let counts: Vec<u64> = set.recorded().map(|(_, histogram)| histogram.len()).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6]);
    let names: Vec<&str> = set.recorded().map(|(kind, _)| kind.name()).collect();
    assert_eq!(names, EVERY_KIND);
}

#[test]
fn memory_is_what_is_said() {
    let set = HistogramSet::new();
    let counters = |kind| set.get(kind).distinct_values();
    assert_eq!(8 * counters(Kind::CanToTcp), 168 << 10);
    assert_eq!(8 * counters(Kind::BatchIn), 56 << 10);
    assert_eq!(Kind::ALL.iter().map(|&kind| 8 * counters(kind)).sum::<usize>(), 784 << 10);
}

#[test]
fn three_digits_are_kept_from_a_microsecond_to_a_minute() {
    // A prime number for each power of ten, and what may be read instead: 64 ns or a thousandth more.
    for (value, highest) in [
        (1_009, 1_073),
        (10_007, 10_071),
        (100_003, 100_067),
        (1_000_003, 1_001_003),
        (1_000_000_007, 1_001_000_007),
        (59_999_999_999, 60_060_000_000),
    ] {
        let mut histograms = Accounted::new();
        histograms.record(Kind::RoundTrip, value);
        let read = histograms.interval().get(Kind::RoundTrip).value_at_quantile(0.5);
        assert!((value..=highest).contains(&read), "{value} is read as {read}");
    }
}

#[test]
fn no_value_is_too_large_or_too_small() {
    let mut histograms = Accounted::new();
    for kind in Kind::ALL {
        histograms.record(kind, 0);
        histograms.record(kind, u64::MAX);
        histograms.record_n(kind, u64::MAX, u32::MAX);
        histograms.record_n(kind, 1, 0);
    }
    histograms.next_interval();
    histograms.record(Kind::BatchIn, 1);
    histograms.next_interval();
    let whole = histograms.whole();
    let max = |kind| whole.get(kind).max();
    assert!((60_000_000_000..60_060_000_000).contains(&max(Kind::TcpToCan)), "{}", max(Kind::TcpToCan));
    assert_eq!(max(Kind::BatchOut), 65_535);
    assert_eq!(whole.get(Kind::BatchIn).len(), 4_294_967_298);
    // Nor does any report stumble over it.
    assert!(whole.summary().to_string().starts_with("can_to_tcp_us "));
    for table in whole.distributions() {
        let lines = table.to_string().lines().count();
        assert!(lines <= 108 + 6, "{lines} lines");
    }
}

#[test]
fn an_interval_that_ends_is_part_of_the_total() {
    let mut histograms = thousand();
    histograms.record_one_way(5_000, 700);
    histograms.record_between(Kind::CanToTcp, WallTime::from_nanos(2), WallTime::from_nanos(1));
    let first = histograms.interval().summary().to_string();
    histograms.next_interval();
    assert_eq!(histograms.interval().summary().to_string(), "");
    assert_eq!(histograms.whole().summary().to_string(), first);

    histograms.record_n(Kind::CanToTcp, 2_000_000, 999);
    histograms.record_one_way(6_000, 600);
    histograms.record_between(Kind::CanToTcp, WallTime::from_nanos(2), WallTime::from_nanos(1));
    let whole = histograms.whole();
    assert_eq!(histograms.interval().get(Kind::CanToTcp).len(), 1_000, "whole() leaves the interval alone");
    assert_eq!(whole.get(Kind::CanToTcp).len(), 2_001);
    assert_eq!(whole.get(Kind::OneWay).len(), 2);
    assert_eq!(whole.one_way_uncertainty_ns(), 700);
    assert_eq!(whole.clock_went_back(), 2);
    histograms.next_interval();
    assert_eq!(histograms.whole().summary().to_string(), whole.summary().to_string());
}

#[test]
fn what_is_recorded_while_something_is_out_is_not_lost() {
    let mut histograms = Histograms::new();
    let mut account = Account::new();
    let mut out = Vec::new();
    // More often than there is a spare, as when one of those who took waits for the other.
    for count in 1..=3 {
        histograms.record_n(Kind::BatchOut, 1, count);
        histograms.record_n(Kind::RoundTrip, 1_000_000, count);
        out.push(histograms.take());
    }
    histograms.record_n(Kind::BatchOut, 1, 4);
    for mut recorded in out {
        account.add(&mut recorded);
        histograms.give_back(recorded);
    }
    account.add_from(&mut histograms);
    account.add_from(&mut histograms);
    assert_eq!(account.interval().get(Kind::BatchOut).len(), 1 + 2 + 3 + 4);
    assert_eq!(account.interval().get(Kind::RoundTrip).len(), 1 + 2 + 3);
}

#[test]
fn a_clock_that_was_set_back_counts_as_zero() {
    let mut histograms = Accounted::new();
    let at = WallTime::from_nanos;
    histograms.record_between(Kind::CanToTcp, at(10_000), at(10_000));
    assert_eq!(histograms.interval().clock_went_back(), 0);
    histograms.record_between(Kind::CanToTcp, at(10_000), at(9_999));
    histograms.record_between(Kind::CanToTcp, at(u64::MAX), at(0));
    let set = histograms.interval();
    assert_eq!((set.clock_went_back(), set.get(Kind::CanToTcp).count_at(0)), (2, 3));
    assert_eq!(set.summary().to_string(), "can_to_tcp_us 0.0/0.0/0.0/0.0 clock_went_back 2");
}

#[test]
fn one_way_times_below_zero_are_a_set_clock_only_beyond_their_uncertainty() {
    let mut histograms = Accounted::new();
    histograms.record_one_way(-500, 500);
    assert_eq!(histograms.interval().clock_went_back(), 0);
    histograms.record_one_way(-501, 500);
    histograms.record_one_way(i64::MIN, 35_000);
    histograms.record_one_way(312_000, 100);
    let set = histograms.interval();
    assert_eq!((set.clock_went_back(), set.get(Kind::OneWay).count_at(0)), (2, 3));
    assert_eq!(set.summary().to_string(), "one_way_us 0.0/312/312/312±35.0 clock_went_back 2");
}

#[test]
fn the_summary_names_what_was_recorded() {
    let mut histograms = thousand();
    assert_eq!(Accounted::new().interval().summary().to_string(), "");
    histograms.record_n(Kind::BatchOut, 1, 900);
    histograms.record_n(Kind::BatchOut, 4, 95);
    histograms.record_n(Kind::BatchOut, 9, 4);
    histograms.record(Kind::BatchOut, 1_700);
    for (nanoseconds, count) in [(12_100, 600), (30_500, 390), (41_000, 9), (99_200, 1)] {
        histograms.record_n(Kind::TcpToCan, nanoseconds, count);
    }
    assert_eq!(
        histograms.interval().summary().to_string(),
        "can_to_tcp_us 500/990/999/1000 tcp_to_can_us 12.1/30.5/41.0/99.2 batch_out_frames 1/4/9/1700"
    );
}

#[test]
fn a_distribution_is_the_table_that_tools_read() {
    let mut histograms = Accounted::new();
    histograms.record_n(Kind::BatchIn, 1, 6);
    histograms.record_n(Kind::BatchIn, 3, 2);
    let whole = histograms.whole();
    let tables: Vec<String> = whole.distributions().map(|table| table.to_string()).collect();
    // By hand, from the format of the Java implementation: ticks at 0, 25, 50, 62.5, 75, 81.25 %; 6 of 8 are 75 %.
    assert_eq!(
        tables,
        ["batch_in since the start, in frames:
       Value     Percentile TotalCount 1/(1-Percentile)

           1 0.000000000000          6           1.00
           1 0.250000000000          6           1.33
           1 0.500000000000          6           2.00
           1 0.625000000000          6           2.67
           1 0.750000000000          6           4.00
           3 0.812500000000          8           5.33
           3 1.000000000000          8
#[Mean    =            2, StdDeviation   =            1]
#[Max     =            3, Total count    =            8]
#[Buckets =            6, SubBuckets     =         2048]"]
    );
}

#[test]
fn a_distribution_of_times_is_in_microseconds() {
    let whole = thousand().whole();
    let table = whole.distributions().next().unwrap().to_string();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "can_to_tcp since the start, in microseconds:");
    // 500 µs is kept in steps of 256 ns, 1 µs in steps of 64.
    assert!(lines.contains(&"       1.023 0.000000000000          1           1.00"), "{table}");
    assert!(lines.contains(&"     500.223 0.500000000000        500           2.00"), "{table}");
    assert!(lines.contains(&"#[Max     =     1000.447, Total count    =         1000]"), "{table}");
    assert_eq!(*lines.last().unwrap(), "#[Buckets =           20, SubBuckets     =         2048]");
}

/// A log of two intervals of ten seconds; the second one has round trips only.
fn log() -> String {
    let mut log = IntervalLog::new();
    let mut text = Vec::new();
    log.write_head(WallTime::from_nanos(1_700_000_000_123_456_789), &mut text);
    let mut histograms = thousand();
    histograms.record_n(Kind::BatchOut, 7, 3);
    let mut start = Duration::ZERO;
    let length = Duration::from_millis(10_001);
    for _ in 0..2 {
        for (kind, histogram) in histograms.interval().recorded() {
            log.write_line(kind, histogram, start, length, &mut text);
        }
        histograms.next_interval();
        histograms.record(Kind::RoundTrip, 1_234_567);
        start += length;
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn the_interval_log_has_the_form_that_tools_read() {
    let log = log();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "#[canip_peer: times in nanoseconds, batches in frames; Interval_Max too]",
            "#[Histogram log format version 1.3]",
            "#[StartTime: 1700000000.123 (seconds since epoch)]",
            "#[BaseTime: 1700000000.123 (seconds since epoch)]",
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"",
        ]
    );
    // 1,000 µs are kept in steps of 512 ns, so that 1,000,447 is the last that counts as it. `HISTFAAA` is the cookie of
    // a compressed V2 histogram, 0x1c849314, in base64.
    assert!(lines[5].starts_with("Tag=can_to_tcp,0.000,10.001,1000447.000,HISTFAAA"), "{}", lines[5]);
    assert!(lines[6].starts_with("Tag=batch_out,0.000,10.001,7.000,HISTFAAA"), "{}", lines[6]);
    assert!(lines[7].starts_with("Tag=round_trip,10.001,10.001,1234943.000,HISTFAAA"), "{}", lines[7]);
    assert_eq!(lines.len(), 8);
    assert!(log.ends_with('\n'));
}

#[test]
fn the_interval_log_reads_back_as_it_was() {
    let log = log();
    let mut entries = IntervalLogIterator::new(log.as_bytes()).map(|entry| entry.unwrap());
    let started = Duration::from_millis(1_700_000_000_123);
    assert_eq!(entries.next(), Some(LogEntry::StartTime(started)));
    assert_eq!(entries.next(), Some(LogEntry::BaseTime(started)));
    let read: Vec<(String, Histogram<u64>)> = entries
        .map(|entry| {
            let LogEntry::Interval(interval) = entry else { panic!("{entry:?}") };
            let bytes = base64::prelude::BASE64_STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            (interval.tag().unwrap().to_string(), histogram)
        })
        .collect();

    let mut thousand = thousand();
    assert_eq!(read[0].0, "can_to_tcp");
    assert_eq!(&read[0].1, thousand.interval().get(Kind::CanToTcp));
    // The literals beside the comparison: 1 to 1,000 µs, each once.
    for (quantile, nanoseconds) in [(0.001, 1_000), (0.5, 500_000), (0.99, 990_000), (1.0, 1_000_000)] {
        let value = read[0].1.value_at_quantile(quantile);
        assert!((nanoseconds..=nanoseconds + 511).contains(&value), "{quantile}: {value}");
    }
    assert_eq!(read[1].0, "batch_out");
    assert_eq!((read[1].1.len(), read[1].1.min(), read[1].1.max()), (3, 7, 7));
    assert_eq!(read[2].0, "round_trip");
    assert_eq!(read[2].1.len(), 1);
    assert_eq!(read.len(), 3);
}
