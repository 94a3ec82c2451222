//! One load for one stretch of time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use super::clock::{self, now_ns};
use super::error::BenchError;
use super::generator::{Generated, Generator};
use super::path::{BridgeAccount, Bridges, Path};
use super::priority;
use super::receiver::{DirectionReceiver, Progress, ReceivedDirection};
use super::sent::SentFrames;
use super::series::Series;
use super::watch::{Ending, Watch, bridge_ended};
use crate::bus;
use crate::load::{Load, StampKey};
use crate::moment::{WallTime, nanoseconds};
use crate::verification::Verification;

/// Between the order to begin and the first frame: the threads are there by then.
pub const HEAD_START: Duration = Duration::from_millis(50);

/// Which directions are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Directions {
    /// From the near bus to the far one.
    #[default]
    Forward,
    /// From the far bus to the near one.
    Reverse,
    /// Both at the same time.
    Both,
}

impl Directions {
    /// Whether the direction of this number is loaded; 0 is forward.
    pub fn include(self, direction: usize) -> bool {
        match self {
            Self::Forward => direction == 0,
            Self::Reverse => direction == 1,
            Self::Both => true,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What tells this trial from the others.
    pub label: String,
    pub load: Load,
    pub directions: Directions,
    /// Frames of each direction, at most.
    pub frames_max: u64,
    /// What is measured.
    pub length: Duration,
    /// What comes before that, at the same load, and is not counted.
    pub warm_up: Duration,
    /// Given to both sides of our own bridge.
    pub bridge_options: Vec<String>,
}

/// What came of it.
pub struct Outcome {
    pub plan: Plan,
    pub ending: Ending,
    /// What ended it, if that was neither its time nor a signal.
    pub broken: Option<String>,
    /// When the first frame was due.
    pub started: WallTime,
    /// What was measured, without the warm-up.
    pub measured: Duration,
    /// Those that were loaded, forward first.
    pub directions: Vec<DirectionOutcome>,
    /// Of our own bridge: server, client.
    pub bridges: Option<[BridgeAccount; 2]>,
    pub engine: Option<String>,
    pub protocol: Option<String>,
}

/// What came of one direction.
pub struct DirectionOutcome {
    /// 0 is forward.
    pub direction: usize,
    pub generated: Generated,
    /// Frames sent, warm-up included.
    pub sent: u64,
    pub received: ReceivedDirection,
}

/// What the threads of one direction share with the one that looks on.
#[derive(Default)]
pub struct Shared {
    pub log: SentFrames,
    pub sent: AtomicU64,
    pub progress: Mutex<Progress>,
}

impl Shared {
    /// How it goes.
    pub fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames sent so far, warm-up included.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The threads' orders.
#[derive(Default)]
pub struct Orders {
    /// Send nothing more.
    pub stop_sending: AtomicBool,
    /// Wait for nothing more.
    pub stop_receiving: AtomicBool,
}

/// Runs a trial: bridges, where they are our own, generators and receivers, and the one that looks on.
///
/// # Errors
/// The path cannot be set up or does not work; a bus cannot be read or written.
pub fn run(
    path: &Path,
    plan: Plan,
    runtime: &tokio::runtime::Runtime,
    watch: &mut Watch,
) -> Result<Outcome, BenchError> {
    let mut bridges = match path.is_own {
        true => Some(runtime.block_on(Bridges::start(path, &plan.bridge_options))?),
        false => None,
    };
    let mut receiver = bus::Receiver::new();
    for end in &path.ends {
        end.drain(&mut receiver).map_err(|source| BenchError::bus(end.name(), "read from", source))?;
    }
    let shared: [Shared; 2] = Default::default();
    let orders = Orders::default();
    let started = clock::wall_time(HEAD_START);
    let start_ns = now_ns() + HEAD_START.as_nanos() as u64;
    let job = Job { path, plan: &plan, shared: &shared, orders: &orders, start_ns };
    let (ending, results) = thread::scope(|scope| {
        let receivers = [0, 1].map(|direction| {
            let task = job.receiver(direction);
            scope.spawn(move || task.run())
        });
        let generators = [0, 1].map(|direction| {
            let task = plan.directions.include(direction).then(|| job.generator(direction))?;
            Some(scope.spawn(move || task.run()))
        });
        let is_done = || generators.iter().flatten().all(ScopedJoinHandle::is_finished);
        let ending = runtime.block_on(watch.until_over(
            path.names(),
            &plan,
            &shared,
            start_ns,
            is_done,
            bridge_ended(bridges.as_mut()),
        ));
        orders.stop_sending.store(true, Ordering::Relaxed);
        let generated = generators.map(|thread| thread.map(join));
        let ending = ending.map(|ending| match runtime.block_on(watch.drain(&shared, plan.directions)) {
            true => Ending::Interrupted,
            false => ending,
        });
        orders.stop_receiving.store(true, Ordering::Relaxed);
        let received = receivers.map(join);
        (ending, generated.into_iter().zip(received))
    });
    let (mut ending, mut broken) = whole_or_broken(ending)?;
    let mut directions = Vec::new();
    for (direction, (generated, mut received)) in results.enumerate() {
        let (from, to) = (path.ends[direction].name(), path.ends[1 - direction].name());
        broken = broken.or_else(|| {
            received.error.take().map(|error| BenchError::bus(to, "read from", error).to_string())
        });
        let Some(mut generated) = generated else { continue };
        broken = broken.or_else(|| {
            generated.error.take().map(|error| BenchError::bus(from, "send to", error).to_string())
        });
        directions.push(DirectionOutcome { direction, generated, sent: shared[direction].sent(), received });
    }
    let (engine, protocol) = match &bridges {
        Some(bridges) => (Some(bridges.engine.clone()), Some(bridges.protocol.clone())),
        None => (None, None),
    };
    let bridges = bridges.and_then(|bridges| match runtime.block_on(bridges.stop()) {
        Ok(accounts) => Some(accounts),
        Err(error) => {
            broken.get_or_insert_with(|| error.to_string());
            None
        }
    });
    if broken.is_some() {
        ending = Ending::Broken;
    }
    let measured = measured(&plan, &directions, ending);
    Ok(Outcome { plan, ending, broken, started, measured, directions, bridges, engine, protocol })
}

/// What has ended a trial in the middle is no reason to forget what was measured until then.
pub fn whole_or_broken(ending: Result<Ending, BenchError>) -> Result<(Ending, Option<String>), BenchError> {
    match ending {
        Ok(ending) => Ok((ending, None)),
        Err(error @ BenchError::BridgeEnded { .. }) => Ok((Ending::Broken, Some(error.to_string()))),
        Err(error) => Err(error),
    }
}

/// A thread's result. A panic of it is one of this program.
pub fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How long was measured: all of it, or until it was ended, or until the frames were all sent, the last one's own slot included.
pub fn measured(plan: &Plan, directions: &[DirectionOutcome], ending: Ending) -> Duration {
    if ending == Ending::Over && plan.frames_max == u64::MAX && !plan.load.is_finite() {
        return plan.length;
    }
    let last_due_ns = directions.iter().map(|one| one.generated.last_due_ns).max().unwrap_or(0);
    let sent = directions.iter().map(|one| one.sent).max().unwrap_or(0);
    let slot_ns = last_due_ns.checked_div(sent.saturating_sub(1)).unwrap_or(0);
    Duration::from_nanos(last_due_ns + slot_ns).saturating_sub(plan.warm_up).min(plan.length)
}

/// What the threads of a trial are made of.
struct Job<'a> {
    path: &'a Path,
    plan: &'a Plan,
    shared: &'a [Shared; 2],
    orders: &'a Orders,
    start_ns: u64,
}

impl<'a> Job<'a> {
    fn key(&self, direction: usize) -> StampKey {
        StampKey::new(self.plan.load.seed(), direction as u8)
    }

    fn generator(&self, direction: usize) -> Generator<'a> {
        let Plan { load, frames_max, length, warm_up, .. } = self.plan;
        Generator {
            end: &self.path.ends[direction],
            schedule: load.schedule(direction as u8),
            is_real_time: priority::is_wanted(load),
            is_flood: load.is_flood(),
            log: &self.shared[direction].log,
            sent: &self.shared[direction].sent,
            stop: &self.orders.stop_sending,
            start_ns: self.start_ns,
            length_ns: nanoseconds(*length + *warm_up),
            frames_max: *frames_max,
            warm_up_ns: nanoseconds(*warm_up),
        }
    }

    /// Of the frames that are sent into the bus of this direction, at the other bus.
    fn receiver(&self, direction: usize) -> DirectionReceiver<'a> {
        let warm_up_ns = nanoseconds(self.plan.warm_up);
        DirectionReceiver {
            end: &self.path.ends[1 - direction],
            is_real_time: priority::is_wanted(&self.plan.load),
            log: &self.shared[direction].log,
            verification: Verification::new(self.key(direction)),
            other_key: self.key(1 - direction),
            other_sent: &self.shared[1 - direction].sent,
            progress: &self.shared[direction].progress,
            stop: &self.orders.stop_receiving,
            start_ns: self.start_ns,
            warm_up_ns,
            is_measuring: false,
            next_number: 0,
            series: Series::new(warm_up_ns, nanoseconds(self.plan.length)),
            echoes: None,
        }
    }
}
