//! Looks on while a trial runs: shows how it goes, and notices what makes it pointless to go on.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::clock::now_ns;
use super::error::BenchError;
use super::live::{Live, Reading};
use super::path::Bridges;
use super::process::{BridgeProcess, note};
use super::trial::{Directions, Plan, Shared};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// After so many looks at a load of which not a single frame has come out there is nothing to be measured: a second and a half.
/// Looks and not time, as time also passes while the machine has no processor for the generator or for the bridge.
const FRUITLESS_LOOKS: u32 = 15;

/// Frames that come back to where they were sent before a path counts as a loop: a stray one is none.
const LOOPED_FRAMES: u64 = 20;

/// How long to wait for frames that are under way when nothing comes any more.
const DRAIN: Duration = Duration::from_secs(1);

/// How long to wait for them at all.
const DRAIN_AT_MOST: Duration = Duration::from_secs(10);

/// Why a trial ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It is complete.
    Over,
    /// A signal came.
    Interrupted,
    /// Something that is needed for it is gone.
    Broken,
}

/// The one that looks on.
pub struct Watch {
    signals: [Signal; 3],
    live: Live,
}

impl Watch {
    /// Listens for signals. Needs a runtime.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn new(live: Live) -> Result<Self, BenchError> {
        let listen = |kind| signal(kind).map_err(BenchError::system("listen for signals"));
        Ok(Self {
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                // The terminal is gone: what was measured until then is not.
                listen(SignalKind::hangup())?,
            ],
            live,
        })
    }

    /// What is shown while trials run.
    pub fn live(&mut self) -> &mut Live {
        &mut self.live
    }

    /// Looks on until the generators are done, a signal comes, or the path from one of these to the other turns out to be
    /// broken: `bridge_ended` comes back when a process that is needed for it has ended.
    pub async fn until_over(
        &mut self,
        names: [&str; 2],
        plan: &Plan,
        shared: &[Shared; 2],
        start_ns: u64,
        is_done: impl Fn() -> bool,
        bridge_ended: impl Future<Output = BenchError>,
    ) -> Result<Ending, BenchError> {
        let mut bridge_ended = pin!(bridge_ended);
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.live.begin(plan);
        let mut fruitless = [0; 2];
        while !is_done() {
            tokio::select! {
                () = signalled(&mut self.signals) => return Ok(Ending::Interrupted),
                ended = &mut bridge_ended => return Err(ended),
                _ = ticks.tick() => {}
            }
            let elapsed = Duration::from_nanos(now_ns().saturating_sub(start_ns));
            for direction in (0..2).filter(|direction| plan.directions.include(*direction)) {
                check(names, shared, direction, &mut fruitless[direction])?;
            }
            self.live.show(elapsed, &readings(shared, plan.directions));
        }
        Ok(Ending::Over)
    }

    /// Waits for frames that are still under way, as long as some come, or until a signal comes: whether one did.
    pub async fn drain(&mut self, shared: &[Shared; 2], directions: Directions) -> bool {
        let begin = Instant::now();
        let mut last_change = begin;
        let mut arrived = None;
        let mut ticks = interval(LOOK / 4);
        loop {
            tokio::select! {
                () = signalled(&mut self.signals) => return true,
                _ = ticks.tick() => {}
            }
            let loaded = || (0..2).filter(|direction| directions.include(*direction)).map(|one| &shared[one]);
            let under_way: u64 = loaded().map(|one| one.sent().saturating_sub(one.progress().arrived)).sum();
            let now_arrived: u64 = loaded().map(|one| one.progress().arrived).sum();
            if arrived.replace(now_arrived) != Some(now_arrived) {
                last_change = Instant::now();
            }
            if under_way == 0 || last_change.elapsed() > DRAIN || begin.elapsed() > DRAIN_AT_MOST {
                return false;
            }
        }
    }
}

/// Comes back when a signal has come.
async fn signalled([interrupt, terminate, hangup]: &mut [Signal; 3]) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

fn readings(shared: &[Shared; 2], directions: Directions) -> Vec<Reading> {
    let loaded = (0..2).filter(|direction| directions.include(*direction));
    loaded
        .map(|direction| Reading {
            direction,
            sent: shared[direction].sent(),
            progress: shared[direction].progress(),
        })
        .collect()
}

/// Whether the path leads anywhere, and not back.
fn check(
    names: [&str; 2],
    shared: &[Shared; 2],
    direction: usize,
    fruitless: &mut u32,
) -> Result<(), BenchError> {
    let (from, to) = (names[direction], names[1 - direction]);
    let sent = shared[direction].sent();
    *fruitless += u32::from(sent > 0 && shared[direction].progress().last_arrival_ns.is_none());
    if *fruitless >= FRUITLESS_LOOKS {
        return Err(BenchError::NothingArrives { sent, from: from.to_owned(), to: to.to_owned() });
    }
    // The receiver at the bus that this direction is sent into is that of the other direction.
    if shared[1 - direction].progress().looped >= LOOPED_FRAMES {
        return Err(BenchError::Loops(from.to_owned()));
    }
    Ok(())
}

/// Comes back when one of the bridge's processes has ended.
pub async fn bridge_ended(bridges: Option<&mut Bridges>) -> BenchError {
    let Some(Bridges { server, client, .. }) = bridges else { return std::future::pending().await };
    tokio::select! {
        ended = process_ended(server) => ended,
        ended = process_ended(client) => ended,
    }
}

pub async fn process_ended(process: &mut BridgeProcess) -> BenchError {
    let mut said = "nothing".to_owned();
    while let Some(line) = process.next_line().await {
        note(&mut said, line);
    }
    BenchError::BridgeEnded { role: process.role(), said }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// At which of twenty looks a load is given up: each finds so many frames sent, and whether one has come out.
    fn given_up(looks: impl Fn(usize) -> (u64, bool)) -> Option<usize> {
        let shared: [Shared; 2] = Default::default();
        let mut fruitless = 0;
        (1..=20).find(|&look| {
            let (sent, has_arrived) = looks(look);
            shared[0].sent.store(sent, Ordering::Relaxed);
            shared[0].progress.lock().unwrap().last_arrival_ns = has_arrived.then_some(1);
            check(["near", "far"], &shared, 0, &mut fruitless).is_err()
        })
    }

    #[test]
    fn a_load_is_given_up_for_what_was_sent_and_not_for_the_time_that_passed() {
        assert_eq!(given_up(|_| (5, false)), Some(15));
        // Before the generator has a processor nothing can come out; then all that was due goes at once.
        assert_eq!(given_up(|look| (if look < 15 { 0 } else { 842 }, false)), None);
        assert_eq!(given_up(|look| (5, look >= 15)), None);
    }
}
