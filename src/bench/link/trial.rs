//! One load for one stretch of time, on a link.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use super::super::clock::{self, now_ns};
use super::super::error::BenchError;
use super::super::generator::Generator;
use super::super::path::BridgeAccount;
use super::super::priority;
use super::super::process::counters;
use super::super::receiver::DirectionReceiver;
use super::super::series::Series;
use super::super::subject::{Done, Way};
use super::super::trial::{
    DirectionOutcome, Directions, HEAD_START, Orders, Outcome, Plan, Shared, join, measured, whole_or_broken,
};
use super::super::watch::{Ending, Watch, process_ended};
use super::client::Client;
use super::echoes::{Echoes, Opening};
use super::{Link, account, probe};
use crate::bus;
use crate::load::StampKey;
use crate::moment::nanoseconds;
use crate::verification::Verification;

/// How long to wait for the frame behind the load. What was under way before has come by then, or will not.
const CLOSING: Duration = Duration::from_secs(1);

/// Between two looks whether it is back.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a trial: a client, the generator, the receiver of echoes, and the one that looks on.
///
/// # Errors
/// The server is not there or does not answer; a bus cannot be read or written.
pub fn run(link: &Link, plan: Plan, runtime: &Runtime, watch: &mut Watch) -> Result<Done, BenchError> {
    // What is loaded is the way there; each echo loads the way back.
    let plan = Plan { directions: Directions::Forward, ..plan };
    let mut client = runtime.block_on(Client::start(link, &plan.bridge_options))?;
    let failed = |operation| move |source| BenchError::bus(link.near.name(), operation, source);
    let mut receiver = bus::Receiver::new();
    link.near.drain(&mut receiver).map_err(failed("read from"))?;
    let probe_key = probe::key(plan.load.seed());
    let opening = probe::open(&link.near, probe_key, &mut receiver).map_err(failed("use"))?;
    let opening = opening.ok_or_else(|| BenchError::NothingComesBack(link.server.to_string()))?;

    let shared: [Shared; 2] = Default::default();
    let orders = Orders::default();
    let closed = AtomicBool::new(false);
    let started = clock::wall_time(HEAD_START);
    let start_ns = now_ns() + nanoseconds(HEAD_START);
    let job = Job { link, plan: &plan, shared: &shared, orders: &orders, closed: &closed, start_ns };
    let (ending, generated, received) = thread::scope(|scope| {
        let task = job.receiver(opening);
        let receiver = scope.spawn(move || task.run());
        let task = job.generator();
        let generator = scope.spawn(move || task.run());
        let ending = runtime.block_on(watch.until_over(
            link.names(),
            &plan,
            &shared,
            start_ns,
            || ScopedJoinHandle::is_finished(&generator),
            process_ended(&mut client.process),
        ));
        orders.stop_sending.store(true, Ordering::Relaxed);
        let generated = join(generator);
        let ending = ending.map(|ending| {
            let signalled = runtime.block_on(watch.drain(&shared, plan.directions));
            runtime.block_on(job.close());
            if signalled { Ending::Interrupted } else { ending }
        });
        orders.stop_receiving.store(true, Ordering::Relaxed);
        (ending, generated, join(receiver))
    });
    let (mut ending, mut broken) = whole_or_broken(ending)?;
    let (mut generated, mut received) = (generated, received);
    let mut note = |operation, error: Option<std::io::Error>| {
        let text = error.map(|error| failed(operation)(error).to_string());
        broken = broken.take().or(text);
    };
    note("read from", received.error.take());
    note("send to", generated.error.take());
    let echoes = received.echoes.take().expect("the receiver was given echoes");
    let one = DirectionOutcome { direction: 0, generated, sent: shared[0].sent(), received };
    let directions = vec![one];
    // One that has ended has been noticed.
    let usage = client.process.usage().unwrap_or_default();
    let total = runtime.block_on(client.process.stop()).unwrap_or_else(|error| {
        broken.get_or_insert_with(|| error.to_string());
        String::new()
    });
    if broken.is_some() {
        ending = Ending::Broken;
    }
    let measured = measured(&plan, &directions, ending);
    let bridge = BridgeAccount { role: "client", counters: counters(&total), usage };
    let engine = Some(client.engine).filter(|engine| !engine.is_empty());
    let outcome = Outcome {
        plan,
        ending,
        broken,
        started,
        measured,
        directions,
        bridges: None,
        engine,
        protocol: None,
    };
    let trial = account::trial(link, &outcome, &echoes, &bridge);
    let Outcome { directions, engine, broken, .. } = outcome;
    let there = directions.into_iter().map(|one| one.received.series);
    let ways = there.chain([echoes.back_series]).enumerate();
    let ways = ways.map(|(direction, series)| Way { direction, series }).collect();
    Ok(Done { ending, broken, started, trial, ways, engine, protocol: Some("5".to_owned()) })
}

/// What the threads of a trial are made of.
struct Job<'a> {
    link: &'a Link,
    plan: &'a Plan,
    shared: &'a [Shared; 2],
    orders: &'a Orders,
    closed: &'a AtomicBool,
    start_ns: u64,
}

impl<'a> Job<'a> {
    fn generator(&self) -> Generator<'a> {
        let Plan { load, frames_max, length, warm_up, .. } = self.plan;
        Generator {
            end: &self.link.near,
            schedule: load.schedule(0),
            is_real_time: priority::is_wanted(load),
            is_flood: load.is_flood(),
            log: &self.shared[0].log,
            sent: &self.shared[0].sent,
            stop: &self.orders.stop_sending,
            start_ns: self.start_ns,
            length_ns: nanoseconds(*length + *warm_up),
            frames_max: *frames_max,
            warm_up_ns: nanoseconds(*warm_up),
        }
    }

    fn receiver(&self, opening: Opening) -> DirectionReceiver<'a> {
        let key = |direction| StampKey::new(self.plan.load.seed(), direction);
        let warm_up_ns = nanoseconds(self.plan.warm_up);
        let series = || Series::new(warm_up_ns, nanoseconds(self.plan.length));
        let probe_key = probe::key(self.plan.load.seed());
        DirectionReceiver {
            end: &self.link.near,
            is_real_time: priority::is_wanted(&self.plan.load),
            log: &self.shared[0].log,
            verification: Verification::new(key(0)),
            other_key: key(1),
            other_sent: &self.shared[1].sent,
            progress: &self.shared[0].progress,
            stop: &self.orders.stop_receiving,
            start_ns: self.start_ns,
            warm_up_ns,
            is_measuring: false,
            next_number: 0,
            series: series(),
            echoes: Some(Echoes::new(opening, probe_key, self.start_ns, series(), self.closed)),
        }
    }

    /// Sends the frame behind the load, and waits until it is back. If it does not come, where the last frames were lost is not
    /// known, which the account says.
    async fn close(&self) {
        let frame = probe::frame(probe::key(self.plan.load.seed()), probe::CLOSING);
        if self.link.near.send(&[frame]).is_err() {
            return;
        }
        let deadline = Instant::now() + CLOSING;
        while !self.closed.load(Ordering::Relaxed) && Instant::now() < deadline {
            sleep(LOOK).await;
        }
    }
}
