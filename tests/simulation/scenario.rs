//! What a seed stands for: who is there, how they are connected, how bad things get.

use std::num::NonZeroU32;
use std::time::Duration;

use canip_peer::frame::bit_time::BitRates;
use canip_peer::session::{Protocol, Role};
use fastrand::Rng;

use super::frames::Mixture;
use super::network::Path;

/// A bridge to be started.
#[derive(Clone, Debug)]
pub struct ProcessPlan {
    pub role: Role,
    pub host: usize,
    /// Its buses, in order.
    pub buses: Vec<usize>,
    pub protocol: Protocol,
    /// The server of a client.
    pub server: usize,
    pub heartbeat: Duration,
    pub linger: Duration,
    pub receive_limit: usize,
    pub send_limit: usize,
}

/// A bus.
#[derive(Clone, Copy, Debug)]
pub struct BusPlan {
    pub rates: Option<BitRates>,
    pub takes_fd: bool,
    pub queue_limit: usize,
}

/// The kinds of faults; each is there in a part of all runs, so that many are undisturbed by the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    InterfaceDown,
    InterfaceDeleted,
    InterfaceStuck,
    Cancelled,
    Killed,
    Stopped,
    Suspended,
    ClockSet,
    Reset,
    ClientReset,
    Stalled,
    Burst,
}

/// All of them.
pub const FAULT_KINDS: [FaultKind; 12] = [
    FaultKind::InterfaceDown,
    FaultKind::InterfaceDeleted,
    FaultKind::InterfaceStuck,
    FaultKind::Cancelled,
    FaultKind::Killed,
    FaultKind::Stopped,
    FaultKind::Suspended,
    FaultKind::ClockSet,
    FaultKind::Reset,
    FaultKind::ClientReset,
    FaultKind::Stalled,
    FaultKind::Burst,
];

/// A fault: when, of what kind, how long, and whom it strikes (a number that is brought into range).
#[derive(Clone, Copy, Debug)]
pub struct FaultPlan {
    pub at_ns: u64,
    pub kind: FaultKind,
    pub length_ns: u64,
    pub whom: usize,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub hosts: usize,
    pub buses: Vec<BusPlan>,
    pub processes: Vec<ProcessPlan>,
    pub path: Path,
    pub max_age: Option<Duration>,
    pub mixture: Mixture,
    /// The time between two frames of an application.
    pub period_ns: u64,
    pub preemption: u32,
    pub faults: Vec<FaultPlan>,
    /// Faults and traffic end then.
    pub busy_until_ns: u64,
}

const MILLISECOND_NS: u64 = 1_000_000;

fn pick<T: Copy>(random: &mut Rng, choices: &[T]) -> T {
    choices[random.usize(0..choices.len())]
}

fn milliseconds(random: &mut Rng, choices: &[u64]) -> Duration {
    Duration::from_millis(pick(random, choices))
}

impl Scenario {
    /// Draws one.
    pub fn draw(random: &mut Rng) -> Self {
        let bus_count = pick(random, &[1, 1, 1, 2, 3]);
        let clients = pick(random, &[1, 1, 2, 3]);
        let is_chain = random.u8(0..4) == 0;
        let hosts = 1 + clients + usize::from(is_chain);
        let rate = |random: &mut Rng| pick(random, &[0, 125_000, 250_000, 500_000, 500_000, 1_000_000]);
        let buses = (0..hosts * bus_count).map(|_| {
            let takes_fd = random.bool();
            let nominal = NonZeroU32::new(rate(random));
            let data = NonZeroU32::new(2_000_000).filter(|_| takes_fd).or(nominal);
            let rates = nominal.zip(data).map(|(nominal, data)| BitRates { nominal, data });
            BusPlan { rates, takes_fd, queue_limit: pick(random, &[10, 10, 100, 1_000]) }
        });
        let buses: Vec<BusPlan> = buses.collect();
        let is_new = random.u8(0..3) > 0;
        let heartbeat = milliseconds(random, &[0, 100, 300, 300, 1_000, 2_000]);
        let process = |random: &mut Rng, role, host, server| ProcessPlan {
            role,
            host,
            buses: (0..bus_count).map(|bus| host * bus_count + bus).collect(),
            protocol: match (role, is_new, random.u8(0..4)) {
                (Role::Client, false, 0) => Protocol::V40,
                (Role::Client, false, 1 | 2) => Protocol::V41,
                _ => Protocol::Auto,
            },
            server,
            heartbeat,
            linger: milliseconds(random, &[0, 0, 0, 1, 10]),
            receive_limit: pick(random, &[8, 30, 300]),
            send_limit: pick(random, &[5, 30, usize::MAX]),
        };
        let mut processes = vec![process(random, Role::Server, 0, 0)];
        for host in 1..=clients {
            processes.push(process(random, Role::Client, host, 0));
        }
        if is_chain {
            let server = processes.len();
            processes.push(process(random, Role::Server, 1, 0));
            processes.push(process(random, Role::Client, hosts - 1, server));
        }
        let path = Path {
            delay_ns: pick(random, &[30_000, 200_000, 5 * MILLISECOND_NS, 60 * MILLISECOND_NS]),
            jitter_ns: pick(random, &[10_000, MILLISECOND_NS, 20 * MILLISECOND_NS]),
            byte_ns: pick(random, &[0, 8, 80, 4_000]),
            window_bytes: pick(random, &[4, 16, 64, 256]) * 1_024,
        };
        let mixture = Mixture {
            standard: 8,
            extended: 2,
            remote: u32::from(random.bool()),
            fd: 3 * u32::from(random.bool()),
        };
        let busy_until_ns = random.u64(1_500..5_000) * MILLISECOND_NS;
        let frames = random.u64(40..=400) / buses.len() as u64 + 10;
        Self {
            hosts,
            buses,
            processes,
            path,
            max_age: match random.u8(0..8) {
                0 => None,
                _ => Some(milliseconds(random, &[50, 250, 250, 1_000])),
            },
            mixture,
            period_ns: busy_until_ns / frames,
            preemption: pick(random, &[0, 3_000, 20_000]),
            faults: draw_faults(random, busy_until_ns),
            busy_until_ns,
        }
    }
}

fn draw_faults(random: &mut Rng, busy_until_ns: u64) -> Vec<FaultPlan> {
    let one_in = pick(random, &[2, 4, 4, 12]);
    let kinds: Vec<FaultKind> = FAULT_KINDS.into_iter().filter(|_| random.u8(0..one_in) == 0).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    let mut faults: Vec<FaultPlan> = (0..random.usize(1..=8))
        .map(|_| {
            let length_ms = match random.u8(0..4) {
                0 => random.u64(500..2_500),
                _ => random.u64(5..500),
            };
            FaultPlan {
                at_ns: random.u64(0..busy_until_ns),
                kind: pick(random, &kinds),
                length_ns: length_ms * MILLISECOND_NS,
                whom: random.usize(..),
            }
        })
        .collect();
    faults.sort_by_key(|fault| fault.at_ns);
    faults
}
