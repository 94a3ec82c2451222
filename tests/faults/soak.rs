//! Everything at once, for as long as one likes: saturated both ways, faults at random, and afterwards the account of every
//! frame, and whether memory and descriptors have stayed what they were. `tools/soak` runs it for an hour.
//!
//! CANIP_SOAK_S says for how many seconds, CANIP_SOAK_SEED which faults, CANIP_SOAK_BUSES=can on which buses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use canip_peer::bus::BusKind;

use crate::can::{Made, can_available, ip};
use crate::program::{Program, unique_name};
use crate::relay::Relay;
use crate::scene::{Options, Scene, software};
use crate::traffic::{Place, now_us};

/// Frames a second each way: a 500 kbit/s bus that is full. An emulated processor carries less.
const SOFTWARE_RATE: u32 = 4_000;
const CAN_RATE: u32 = 1_000;

/// How long it takes without being told: long enough for each fault to happen.
const DEFAULT_S: u64 = 10;

/// What a process may take later than in the first quarter, and keep: the buffers of a link and of its successor, when a
/// connection first breaks late. What leaks grows far beyond it in an hour of faults.
const GROWTH_KIB: u64 = 4_096;

/// How soon frames must cross again: a client whose new connection is cut before it is greeted waits longer each time,
/// up to 5 s, and a silent one is noticed within three heartbeats of 0.3 s.
const RECOVERY: Duration = Duration::from_secs(7);

/// Frames that the kernel may swallow each time that an interface goes down.
const SWALLOWED: u64 = CAN_RATE as u64 / 20;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    ServerStopped,
    ClientStopped,
    ConnectionReset,
    NetworkSilent,
    NetworkStalled,
    InterfaceDown,
    InterfaceAnew,
}

impl Fault {
    const EVERYWHERE: &[Fault] = &[
        Fault::ServerStopped,
        Fault::ClientStopped,
        Fault::ConnectionReset,
        Fault::NetworkSilent,
        Fault::NetworkStalled,
    ];
    const OF_INTERFACES: &[Fault] = &[Fault::InterfaceDown, Fault::InterfaceAnew];
}

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn soak() {
    let on_can = std::env::var("CANIP_SOAK_BUSES").as_deref() == Ok("can");
    let _lab = if on_can { Some(can_available().expect("CANIP_SOAK_BUSES=can takes CAN")) } else { None };
    let length = Duration::from_secs(number("CANIP_SOAK_S").unwrap_or(DEFAULT_S));
    let seed = number("CANIP_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    crate::say(&format!("soak: {} s, CANIP_SOAK_SEED={seed}\n", length.as_secs()));

    let names = [unique_name("near"), unique_name("far")];
    let _made = on_can.then(|| names.each_ref().map(|name| Made::vcan(name, 72)));
    let [near, far] = match on_can {
        true => names.map(|name| Place { kind: BusKind::SocketCan, name }),
        false => [software("near"), software("far")],
    };
    let rate = if on_can { CAN_RATE } else { SOFTWARE_RATE };
    let options = Options { arguments: "--heartbeat 0.3 --protocol 5".to_owned(), ..Options::default() };
    let mut relay = None;
    let mut scene = Scene::through("127.0.0.1", near, far, options.clone(), options, rate, |port| {
        relay.insert(Relay::to(port)).port()
    });
    let relay = relay.unwrap();
    scene.allow_recovery(RECOVERY);

    let mut faults = Fault::EVERYWHERE.to_vec();
    if on_can {
        faults.extend(Fault::OF_INTERFACES);
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let mut happened: BTreeMap<Fault, (u32, Duration)> = BTreeMap::new();
    let mut looks = Vec::new();
    let end = Instant::now() + length;
    while Instant::now() < end {
        let fault = *random.choice(&faults).unwrap();
        let lasts = Duration::from_millis(random.u64(50..1_500));
        let over = provoke(fault, lasts, random.usize(0..2), &mut scene, &relay);
        let recovery = scene.recover(over);
        let (count, worst) = happened.entry(fault).or_default();
        (*count, *worst) = (*count + 1, recovery.max(*worst));
        // Half a second without a fault.
        scene.flows.iter().for_each(|flow| flow.meter.wait_more(rate as usize / 2));
        looks.push([&scene.server, &scene.client].map(Resources::of));
    }

    let swallowed = happened.values().map(|(count, _)| u64::from(*count)).sum::<u64>() * SWALLOWED;
    let account = scene.finish();
    drop(relay);
    let mut table = String::from("fault              times  worst recovery\n");
    for (fault, (count, worst)) in &happened {
        table += &format!("{:<18} {count:>5}  {:>11} ms\n", format!("{fault:?}"), worst.as_millis());
    }
    let (first, last) = (&looks[looks.len() / 4], looks.last().unwrap());
    for (side, (first, last)) in ["server", "client"].iter().zip(first.iter().zip(last)) {
        table += &format!(
            "{side}: memory {} KiB, at the end {} KiB; descriptors {}, {}\n",
            first.resident_kib, last.resident_kib, first.descriptors, last.descriptors
        );
    }
    for (name, direction) in ["there", "back"].iter().zip(&account.directions) {
        let (given, out) = (direction.given.len(), direction.arrivals.len());
        table += &format!("{name}: {given} frames given, {out} came out, {} counted as lost\n", given - out);
    }
    crate::say(&table);
    account.balance_but("soak", if on_can { swallowed } else { 0 });
    assert_flat(&looks);
}

/// Makes a fault happen, and undoes it; when that began.
fn provoke(fault: Fault, lasts: Duration, side: usize, scene: &mut Scene, relay: &Relay) -> u32 {
    let name = [&scene.near, &scene.far][side].name.clone();
    match fault {
        Fault::ServerStopped => scene.server.signal("STOP"),
        Fault::ClientStopped => scene.client.signal("STOP"),
        Fault::ConnectionReset => relay.refuse(),
        Fault::NetworkSilent => relay.swallow(),
        Fault::NetworkStalled => relay.hold(),
        Fault::InterfaceDown => drop(ip(&format!("link set {name} down"))),
        Fault::InterfaceAnew => drop(ip(&format!("link delete {name}"))),
    }
    // How long a fault lasts is what is tested.
    std::thread::sleep(lasts);
    if fault == Fault::InterfaceAnew {
        scene.begin_deaf(side);
        ip(&format!("link add dev {name} mtu 72 type vcan"));
        scene.flows[side].load.reopen();
        scene.flows[1 - side].meter.reopen();
    }
    let over = now_us();
    match fault {
        Fault::ServerStopped => scene.server.signal("CONT"),
        Fault::ClientStopped => scene.client.signal("CONT"),
        Fault::ConnectionReset | Fault::NetworkSilent | Fault::NetworkStalled => relay.restore(),
        Fault::InterfaceDown | Fault::InterfaceAnew => drop(ip(&format!("link set {name} up"))),
    }
    over
}

/// What a process has of the host.
#[derive(Clone, Copy, Debug)]
struct Resources {
    resident_kib: u64,
    descriptors: usize,
}

impl Resources {
    fn of(program: &Program) -> Resources {
        let process = format!("/proc/{}", program.child.id());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident_kib = resident.split_whitespace().next().unwrap().parse().unwrap();
        let descriptors = std::fs::read_dir(format!("{process}/fd")).unwrap().count();
        Resources { resident_kib, descriptors }
    }
}

/// Asserts that the last quarter has no more memory than the first had at some time, nor keeps
/// more descriptors: at a look there may be one more, as a connection comes before the one that it replaces has gone.
fn assert_flat(looks: &[[Resources; 2]]) {
    let quarter = (looks.len() / 4).max(1);
    for side in 0..2 {
        let held = |looks: &[[Resources; 2]]| {
            let memory = looks.iter().map(|look| look[side].resident_kib).max().unwrap();
            (memory, looks.iter().map(|look| look[side].descriptors).min().unwrap())
        };
        let (first, last) = (held(&looks[..quarter]), held(&looks[looks.len() - quarter..]));
        assert!(
            last.0 <= first.0 + GROWTH_KIB && last.1 <= first.1,
            "{first:?} has become {last:?}: {looks:?}"
        );
    }
}
