//! How many frames a second go through bridge processes when more come than they can take; see `bench/README.md`.

mod bridge;
mod ends;
mod threads;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use canip_peer::bus::BATCH_FRAMES;
use clap::{Parser, ValueEnum};

use bridge::Bridge;
use ends::{Course, Load, Progress};

/// Before measuring: buffers grow, and clocks rise.
const WARM_UP: Duration = Duration::from_secs(1);
/// The flood is over when nothing has arrived for that long: twice the age at which a bridge discards a frame.
const SILENCE: Duration = Duration::from_millis(500);

#[derive(Parser)]
struct Arguments {
    /// Where frames go
    #[arg(value_enum, default_values = ["out", "in", "through"])]
    ways: Vec<Way>,
    /// Engines to measure, in turns
    #[arg(short, value_delimiter = ',', default_value = "uring,epoll")]
    engines: Vec<String>,
    /// Frames a second; 0 for as many as are taken
    #[arg(short, default_value_t = 0)]
    rate: u64,
    /// Frames that the writer puts into one packet of the bus
    #[arg(short = 'b', default_value_t = BATCH_FRAMES, value_parser = parse_packet_frames)]
    packet_frames: usize,
    /// Seconds to measure
    #[arg(short, default_value_t = 5)]
    seconds: u64,
    /// Rounds: figures are of the one with the median rate, counts of all
    #[arg(short = 'n', default_value_t = 3)]
    rounds: usize,
    /// The program to measure
    #[arg(short, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/release/canip_peer"))]
    program: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Way {
    /// Bus to server to a reader of the stream
    Out,
    /// A writer of the stream to server to bus
    In,
    /// Bus to server to client to bus
    Through,
}

fn parse_packet_frames(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| (1..=BATCH_FRAMES).contains(count)).ok_or(format!("1 to {BATCH_FRAMES}"))
}

/// One round's figures.
struct Figures {
    /// Frames a second that arrived.
    received: f64,
    /// Processors that each bridge process used, and its resident memory in KiB.
    bridges: Vec<(&'static str, f64, u64)>,
    /// Processors that this process used: the hubs, and everything else.
    hubs: f64,
    ends: f64,
    counts: Counts,
}

/// Frames from the first to the last.
#[derive(Default)]
struct Counts {
    sent: u64,
    arrived: u64,
    out_of_order: u64,
    /// What the bridges say that they lost, and the far hub for the reader here.
    losses: BTreeMap<String, u64>,
}

impl Counts {
    fn sum<'a>(rounds: impl Iterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for round in rounds {
            all.sent += round.sent;
            all.arrived += round.arrived;
            all.out_of_order += round.out_of_order;
            for (cause, count) in &round.losses {
                *all.losses.entry(cause.clone()).or_default() += count;
            }
        }
        all
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if cfg!(debug_assertions) {
        return Err("a debug build measures nothing: cargo run --release --example flood".into());
    }
    let arguments = Arguments::parse();
    println!(
        "| way | engine | frames/s | CPU of bridge processes | memory KiB | CPU of hubs | of ends | sent | lost | unaccounted | out of order | lost, by cause |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for way in &arguments.ways {
        let mut results: Vec<(&str, Vec<Figures>)> =
            arguments.engines.iter().map(|engine| (engine.as_str(), Vec::new())).collect();
        for _ in 0..arguments.rounds {
            for (engine, rounds) in &mut results {
                rounds.push(measure(&arguments, *way, engine)?);
            }
        }
        for (engine, mut rounds) in results {
            rounds.sort_by(|one, other| one.received.total_cmp(&other.received));
            let all = Counts::sum(rounds.iter().map(|figures| &figures.counts));
            print(*way, engine, &rounds[rounds.len() / 2], &all);
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, way: Way, engine: &str) -> Result<Figures, Box<dyn Error>> {
    let (near, far) =
        (format!("flood-near-{}", std::process::id()), format!("flood-far-{}", std::process::id()));
    let (sent, progress) = (AtomicU64::new(0), Progress::default());
    let course = Course::default();
    // Joined first: this process hosts both.
    let near_member = ends::join(&near)?;
    let far_member = ends::join(&far)?;
    let server_bus = if way == Way::In { &far } else { &near };
    let server = Bridge::server(&arguments.program, engine, server_bus)?;
    let (near_member, far_member) = (&near_member, &far_member);
    let mut bridges = vec![];
    std::thread::scope(|scope| -> Result<Figures, Box<dyn Error>> {
        // Whatever goes wrong, the threads are to end.
        let _ending = Ending(&course);
        let (course, sent, progress) = (&course, &sent, &progress);
        let load = Load { rate: arguments.rate, packet_frames: arguments.packet_frames };
        let (reader, writer) = match way {
            Way::Out => {
                let stream = ends::connect(server.port)?;
                (
                    scope.spawn(move || ends::read_stream(stream, course, progress)),
                    scope.spawn(move || ends::write_bus(near_member, load, course, sent)),
                )
            }
            Way::In => {
                let stream = ends::connect(server.port)?;
                (
                    scope.spawn(move || ends::read_bus(far_member, course, progress)),
                    scope.spawn(move || ends::write_stream(stream, load.rate, course, sent)),
                )
            }
            Way::Through => {
                bridges.push(Bridge::client(&arguments.program, engine, &far, server.port)?);
                (
                    scope.spawn(move || ends::read_bus(far_member, course, progress)),
                    scope.spawn(move || ends::write_bus(near_member, load, course, sent)),
                )
            }
        };
        bridges.insert(0, server);
        std::thread::sleep(WARM_UP);
        let (start, before) = (Instant::now(), snapshot(&bridges, progress)?);
        std::thread::sleep(Duration::from_secs(arguments.seconds));
        let (elapsed, after) = (start.elapsed().as_secs_f64(), snapshot(&bridges, progress)?);
        let processors = |before: u64, after: u64| (after - before) as f64 / 1e9 / elapsed;
        let memory = bridges.iter().map(Bridge::resident_kib).collect::<Result<Vec<_>, _>>()?;
        course.finish(progress, SILENCE);
        for end in [reader, writer] {
            end.join().expect("it does not panic")?;
        }
        let mut losses = BTreeMap::from([("reader unread".to_owned(), progress.unread())]);
        losses.retain(|_, count| *count > 0);
        let mut used = Vec::new();
        for (index, bridge) in bridges.into_iter().enumerate() {
            let name = bridge.side;
            used.push((name, processors(before.bridges[index], after.bridges[index]), memory[index]));
            losses
                .extend(bridge.stop()?.into_iter().map(|(cause, count)| (format!("{name} {cause}"), count)));
        }
        Ok(Figures {
            received: (after.received - before.received) as f64 / elapsed,
            bridges: used,
            hubs: processors(before.hubs, after.hubs),
            ends: processors(before.ends, after.ends),
            counts: Counts {
                sent: sent.load(Ordering::Relaxed),
                arrived: progress.received(),
                out_of_order: progress.out_of_order(),
                losses,
            },
        })
    })
}

/// What has been used and counted so far; processor time in nanoseconds.
struct Snapshot {
    received: u64,
    bridges: Vec<u64>,
    hubs: u64,
    ends: u64,
}

fn snapshot(bridges: &[Bridge], progress: &Progress) -> std::io::Result<Snapshot> {
    let own = threads::of_process(std::process::id())?;
    let hubs = own.iter().filter(|thread| thread.name.starts_with("bus ")).map(|thread| thread.ran_ns).sum();
    let all: u64 = own.iter().map(|thread| thread.ran_ns).sum();
    let bridges = bridges.iter().map(Bridge::ran_ns).collect::<Result<_, _>>()?;
    Ok(Snapshot { received: progress.received(), bridges, hubs, ends: all - hubs })
}

struct Ending<'a>(&'a Course);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn print(way: Way, engine: &str, figures: &Figures, all: &Counts) {
    let join = |texts: Vec<String>| texts.join(", ");
    let processors =
        join(figures.bridges.iter().map(|(side, used, _)| format!("{side} {used:.2}")).collect());
    let memory = join(figures.bridges.iter().map(|(_, _, kib)| kib.to_string()).collect());
    let lost = all.sent.saturating_sub(all.arrived);
    let told: u64 = all.losses.values().sum();
    let causes = join(all.losses.iter().map(|(cause, count)| format!("{cause} {count}")).collect());
    println!(
        "| {} | {engine} | {:.0} | {processors} | {memory} | {:.2} | {:.2} | {} | {lost} | {} | {} | {causes} |",
        format!("{way:?}").to_lowercase(),
        figures.received,
        figures.hubs,
        figures.ends,
        all.sent,
        i128::from(lost) - i128::from(told),
        all.out_of_order,
    );
}
