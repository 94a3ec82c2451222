//! How soon loops are found, and that nothing else is taken for one, on buses of 500 kbit/s in made-up time.

use super::News;
use super::model::{MS, Model, S, Source, US, frame};

/// How buses come to be joined twice.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// A link whose ends are both on one bus.
    OneBus,
    /// Two links between the same two buses.
    Parallel,
    /// Three links between three buses.
    Ring,
}

const SHAPES: [Shape; 3] = [Shape::OneBus, Shape::Parallel, Shape::Ring];

fn looped(seed: u64, shape: Shape, way_ns: u64) -> Model {
    let mut model = Model::new(seed, 3);
    match shape {
        Shape::OneBus => model.link(0, 0, way_ns, 0.3),
        Shape::Parallel => (0..2).for_each(|_| model.link(0, 1, way_ns, 0.3)),
        Shape::Ring => (0..3).for_each(|bus| model.link(bus, (bus + 1) % 3, way_ns, 0.3)),
    }
    model
}

/// Runs until a loop is found: how many copies a link had put on its bus by then, the link that put most.
fn copies_until_found(mut model: Model, within_ns: u64) -> Option<u64> {
    let until = model.now_ns + within_ns;
    while model.now_ns < until && !model.has_found() {
        model.run_for(MS);
    }
    model.has_found().then(|| model.most_copies())
}

#[test]
fn a_frame_that_goes_round_is_found_within_200_passes() {
    for shape in SHAPES {
        for way_us in [50, 1_000, 5_000] {
            for seed in 0..5 {
                let mut model = looped(seed, shape, way_us * US);
                model.source(0, Source::Once { identifier: 1, at_ns: MS });
                let copies = copies_until_found(model, 10 * S);
                assert!(
                    copies.is_some_and(|copies| copies <= 200),
                    "{shape:?} {way_us} us {seed}: {copies:?}"
                );
            }
        }
    }
}

/// Each frame differs from the one before, as with counters and checksums; each goes round.
#[test]
fn changing_contents_are_found_within_200_copies_each_way() {
    for shape in SHAPES {
        for seed in 0..5 {
            let mut model = looped(seed, shape, 300 * US);
            model.source(0, Source::Counting { identifier: 1, period_ns: 5 * MS });
            let copies = copies_until_found(model, 2 * S);
            assert!(copies.is_some_and(|copies| copies <= 200), "{shape:?} {seed}: {copies:?}");
        }
    }
}

/// A source that repeats itself makes what comes round harder to tell from what it sends, and a bus that is full of frames from
/// the first pass on makes them late.
#[test]
fn equal_contents_and_full_buses_are_found_later() {
    for shape in SHAPES {
        for seed in 0..3 {
            let mut model = looped(seed, shape, 300 * US);
            model.source(0, fixed(1, 10_000, 0));
            assert!(copies_until_found(model, 20 * S).is_some(), "{shape:?} {seed}");
            let mut model = looped(seed, shape, 300 * US);
            model.source(0, Source::Counting { identifier: 1, period_ns: 500 * US });
            assert!(copies_until_found(model, 20 * S).is_some(), "{shape:?} {seed}");
        }
    }
}

/// Pauses become longer while the loop is there, and when it has been cut frames cross again.
#[test]
fn pauses_double_and_end() {
    let mut model = looped(1, Shape::OneBus, 300 * US);
    model.source(0, Source::Counting { identifier: 1, period_ns: 5 * MS });
    model.run_for(8 * S);
    let found = model.news.iter().filter_map(|(_, end, news)| match news {
        News::Found { pause } => Some((*end, pause.as_secs())),
        News::Resumed => None,
    });
    let found: Vec<_> = found.collect();
    let of = |end: usize| found.iter().filter(|it| it.0 == end).map(|it| it.1).collect::<Vec<_>>();
    assert_eq!([of(0), of(1)], [[1, 2, 4, 8], [1, 2, 4, 8]], "{found:?}");
    model.ends[1].bus = 1;
    model.run_for(10 * S);
    assert_eq!(model.news.last().unwrap().2, News::Resumed, "{:?}", model.news);
    let injected = model.ends[1].injected;
    model.run_for(S);
    assert_eq!(model.ends[1].injected - injected, 200, "all cross");
}

fn fixed(identifier: u32, period_us: u64, jitter_us: u64) -> Source {
    Source::Static { identifier, period_ns: period_us * US, jitter_ns: jitter_us * US }
}

/// Buses in a row, without a loop, so many seconds with such traffic: frames that were kept off are a failure, and so are, on buses
/// that are not overloaded, frames that waited for too long.
fn assert_no_alarm(kind: &str, seconds: u64, traffic: impl Fn(&mut Model, usize, u64)) {
    for seed in 0..3 {
        let mut model = Model::new(seed, 3);
        model.link(0, 1, 500 * US, 0.5);
        let last = if seed == 0 { 2 } else { 1 };
        if seed == 0 {
            model.link(1, 2, 500 * US, 0.5);
        }
        traffic(&mut model, last, seed);
        model.run_for(seconds * S);
        assert!(model.news.is_empty(), "{kind}, seed {seed}: {:?}", model.news);
        assert!(kind == "too many" || model.stale() == 0, "{kind}, seed {seed}: {} frames", model.stale());
    }
}

#[test]
fn equal_periodic_frames_are_no_loop() {
    for period_us in [1_000, 5_000, 10_000, 25_000, 40_000] {
        assert_no_alarm("one", 20, |model, _, _| model.source(0, fixed(1, period_us, 100)));
    }
    assert_no_alarm("many, the same at both ends", 20, |model, last, _| {
        for (identifier, period) in [(1, 5), (2, 10), (3, 10), (4, 20), (5, 50)] {
            model.source(0, fixed(identifier, period * 1_000, 0));
            model.source(last, fixed(identifier, period * 1_000, 0));
        }
    });
    // Periods as long as the longest way that is looked for: an experiment agrees with some for a while.
    assert_no_alarm("slow ones at both ends", 20, |model, last, _| {
        for identifier in 0..4 {
            model.source(0, fixed(identifier, 45_000 + 500 * u64::from(identifier), 300));
            model.source(last, fixed(identifier, 45_000 + 500 * u64::from(identifier), 300));
        }
    });
    assert_no_alarm("too many", 20, |model, last, _| {
        for identifier in 0..20 {
            model.source(0, fixed(identifier, 9_000, 0));
            model.source(last, fixed(identifier + 100, 9_000, 0));
        }
    });
}

#[test]
fn requests_and_responses_are_no_loop() {
    for pause_us in [0, 100, 1_000, 5_000] {
        assert_no_alarm("request-response", 20, |model, last, seed| {
            model.source(0, Source::Tester { identifier: 0x700, answer: 0x708, pause_ns: pause_us * US });
            model.source(last, Source::Answering { asked: 0x700, identifier: 0x708, after_ns: 300 * US });
            if seed == 2 {
                model.source(0, fixed(1, 10_000, 100));
                model.source(last, fixed(2, 7_000, 100));
                model.source(last, Source::Counting { identifier: 3, period_ns: 3 * MS });
            }
        });
    }
}

#[test]
fn replayed_logs_are_no_loop() {
    let log: Vec<_> = (0..200).map(|number| frame(number % 7, u64::from(number % 40))).collect();
    for period_us in [700, 5_000] {
        assert_no_alarm("replay", 20, |model, last, _| {
            for bus in [0, last] {
                model.source(bus, Source::Replay { frames: log.clone(), period_ns: period_us * US });
            }
        });
    }
}
