//! A server and a client under load both ways, and the account of what became of every frame when it is over.
//!
//! ```text
//!   load, meter ── near bus ── server ==TCP== client ── far bus ── load, meter
//! ```

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use canip_peer::bus::BusKind;

use crate::books::{assert_balanced, assert_books, unaccounted};
use crate::can::processors::processor;
use crate::program::{Finished, Program, unique_name};
use crate::traffic::{Arrival, Load, Meter, Place, now_us};

/// Frames a second, each way. The lab's emulated processors carry 8,000 a second with nothing else to do.
pub const RATE: u32 = 1_000;

/// The age that frames may have when they are put on a bus.
pub const MAX_AGE: Duration = Duration::from_millis(250);

/// What a check leaves to the bus, and to the bridges' doubt about each other's clocks, which is half a round trip; on the
/// lab's processors anything takes long. What waited through a fault is older by far.
const ALLOWANCE: Duration = Duration::from_millis(350);

/// How soon frames must cross again.
const RECOVERY: Duration = Duration::from_secs(1);

const THERE: u16 = 0x100;
const BACK: u16 = 0x200;

/// How often a fault is repeated in one test: CANIP_FAULT_TRIALS, or once.
pub fn trials() -> u32 {
    std::env::var("CANIP_FAULT_TRIALS")
        .map_or(1, |text| text.parse().expect("CANIP_FAULT_TRIALS is a number"))
}

/// One direction.
pub struct Flow {
    pub load: Load,
    pub meter: Meter,
    /// For each time that nobody may have listened: the number before which it began, and when it was over.
    deaf: Vec<(u32, u32)>,
}

/// How a side is started, beside its bus and its peer.
#[derive(Clone, Default)]
pub struct Options {
    /// A command that the bridge is run under.
    pub under: String,
    pub arguments: String,
}

pub struct Scene {
    pub near: Place,
    pub far: Place,
    pub server: Program,
    pub client: Program,
    pub port: u16,
    client_port: u16,
    address: String,
    server_options: Options,
    client_options: Options,
    /// From the near bus to the far one, and back.
    pub flows: [Flow; 2],
    trials: u32,
    worst_recovery: Duration,
    /// The same less what the machine stood still meanwhile: what is limited.
    worst_own_recovery: Duration,
    recovery_limit: Duration,
}

impl Scene {
    /// On buses that are there.
    pub fn start(near: Place, far: Place, server_options: Options, client_options: Options) -> Scene {
        Scene::at("127.0.0.1", near, far, server_options, client_options, RATE)
    }

    /// The same with a server at another address, and another rate.
    pub fn at(
        address: &str,
        near: Place,
        far: Place,
        server_options: Options,
        client_options: Options,
        rate: u32,
    ) -> Scene {
        Scene::through(address, near, far, server_options, client_options, rate, |port| port)
    }

    /// The same where the client connects to another port than the server's, which is given: something between them.
    pub fn through(
        address: &str,
        near: Place,
        far: Place,
        server_options: Options,
        client_options: Options,
        rate: u32,
        between: impl FnOnce(u16) -> u16,
    ) -> Scene {
        now_us();
        // Before the bridges, which on software buses would host them otherwise.
        let meters = [Meter::start(&far, THERE), Meter::start(&near, BACK)];
        let server = start_server(&near, address, 0, &server_options);
        let port = server.port();
        let client_port = between(port);
        let client = start_client(&far, address, client_port, &client_options);
        client.wait_error(": version 5");
        server.wait_error("connected: version 5");
        let [there, back] = meters;
        let flows = [
            Flow { load: Load::start(&near, THERE, rate), meter: there, deaf: Vec::new() },
            Flow { load: Load::start(&far, BACK, rate), meter: back, deaf: Vec::new() },
        ];
        let (address, trials, worst_recovery) = (address.to_owned(), 0, Duration::ZERO);
        let scene = Scene {
            near,
            far,
            server,
            client,
            port,
            client_port,
            address,
            server_options,
            client_options,
            flows,
            trials,
            worst_recovery,
            worst_own_recovery: Duration::ZERO,
            recovery_limit: RECOVERY,
        };
        scene.run_a_while();
        scene
    }

    /// Some time without a fault.
    pub fn run_a_while(&self) {
        self.flows.iter().for_each(|flow| flow.meter.wait_more(RATE as usize / 4));
    }

    /// Starts another server in the place of one that has ended.
    pub fn restart_server(&mut self, under: &str) -> Program {
        let options = Options { under: under.to_owned(), ..self.server_options.clone() };
        let server = start_server(&self.near, &self.address, self.port, &options);
        std::mem::replace(&mut self.server, server)
    }

    /// Starts another client in the place of one that has ended.
    pub fn restart_client(&mut self) -> Program {
        let client = start_client(&self.far, &self.address, self.client_port, &self.client_options);
        std::mem::replace(&mut self.client, client)
    }

    /// From now on until frames cross again nobody may be listening on the bus that a direction comes from.
    pub fn begin_deaf(&mut self, flow: usize) {
        let from = self.flows[flow].load.next();
        self.flows[flow].deaf.push((from, u32::MAX));
    }

    /// Waits until frames cross both ways that were sent after `since_us`, and notes how long that took from when both buses
    /// took frames: how long it takes to set an interface up is the kernel's affair.
    pub fn recover(&mut self, since_us: u32) -> Duration {
        let stood_still = self.stood_still();
        let carried_us = self.flows.iter().map(|flow| flow.load.first_given_since(since_us)).max().unwrap();
        let mut worst = Duration::ZERO;
        for flow in &mut self.flows {
            let Arrival { number, received_at_us, .. } = flow.meter.first_since(since_us);
            if let Some((_, until)) = flow.deaf.last_mut().filter(|(_, until)| *until == u32::MAX) {
                *until = number;
            }
            worst = worst.max(Duration::from_micros(received_at_us.saturating_sub(carried_us).into()));
        }
        self.trials += 1;
        self.worst_recovery = self.worst_recovery.max(worst);
        let without_standing_still = worst.saturating_sub(self.stood_still() - stood_still);
        self.worst_own_recovery = self.worst_own_recovery.max(without_standing_still);
        worst
    }

    /// For how long the machine has kept the threads of the loads from running so far.
    fn stood_still(&self) -> Duration {
        self.flows.iter().map(|flow| flow.load.stood_still()).max().unwrap()
    }

    /// What must have recovered within a second, by default, has so long.
    pub fn allow_recovery(&mut self, limit: Duration) {
        self.recovery_limit = limit;
    }

    /// Ends loads and programs.
    pub fn finish(self) -> Account {
        let Scene {
            server, client, flows, trials, worst_recovery, worst_own_recovery, recovery_limit, ..
        } = self;
        let [there, back] = flows.map(|Flow { load, meter, deaf }| {
            let given = load.finish(&meter);
            (given, meter, deaf)
        });
        client.signal("TERM");
        let client = client.finish();
        server.wait_error("disconnected, closed by the peer");
        server.signal("TERM");
        let server = server.finish();
        let directions = [there, back].map(|(given, meter, deaf)| {
            let arrivals = meter.into_arrivals();
            Direction { given, arrivals, deaf }
        });
        Account { server, client, directions, trials, worst_recovery, worst_own_recovery, recovery_limit }
    }
}

/// What went into a direction, and what came out.
pub struct Direction {
    /// Numbers of the frames that the bus was given, in order.
    pub given: Vec<u32>,
    pub arrivals: Vec<Arrival>,
    deaf: Vec<(u32, u32)>,
}

impl Direction {
    /// Frames that went by while nobody may have listened, and did not come out: what the bridge cannot have seen at most.
    fn unheard_at_most(&self) -> u64 {
        let lost_in = |&(from, until): &(u32, u32)| {
            let given = self.given.iter().filter(|&&number| number >= from && number < until).count();
            let came = self.arrivals.iter().filter(|it| it.number >= from && it.number < until).count();
            (given - came) as u64
        };
        self.deaf.iter().map(lost_in).sum()
    }

    /// The greatest age of a frame that came out.
    fn worst_age(&self) -> Duration {
        let ages = self.arrivals.iter().map(|it| it.received_at_us.saturating_sub(it.sent_at_us));
        Duration::from_micros(ages.max().unwrap_or(0).into())
    }

    fn older_than(&self, age: Duration) -> u64 {
        let is_older = |it: &&Arrival| {
            Duration::from_micros(it.received_at_us.saturating_sub(it.sent_at_us).into()) > age
        };
        self.arrivals.iter().filter(is_older).count() as u64
    }
}

/// What is left when a scene is over.
pub struct Account {
    pub server: Finished,
    pub client: Finished,
    /// From the near bus to the far one, and back.
    pub directions: [Direction; 2],
    trials: u32,
    worst_recovery: Duration,
    /// The same less what the machine stood still meanwhile: what is limited.
    worst_own_recovery: Duration,
    recovery_limit: Duration,
}

impl Account {
    /// Asserts that both ends' books agree with each other and with the buses to the frame, and prints the line of this
    /// fault for docs/promises.md.
    pub fn balance(self, fault: &str) {
        self.balance_but(fault, 0);
    }

    /// The same where interfaces went down under load. The kernel takes frames for a moment more then, and drops them
    /// without a word: `swallowed_at_most` of them each way.
    pub fn balance_but(self, fault: &str, swallowed_at_most: u64) {
        let (server, client) = (self.server.totals(), self.client.totals());
        let mut sums = [0; 2];
        for (direction, from, to) in
            [(&self.directions[0], &server, &client), (&self.directions[1], &client, &server)]
        {
            let (unheard, swallowed) = balance_direction(direction, from, to);
            assert!(swallowed <= swallowed_at_most, "{swallowed} frames did not come out: {from:?} {to:?}");
            sums = [sums[0] + unheard, sums[1] + swallowed];
        }
        let [unheard, swallowed] = sums;
        let found = format!("unheard={unheard} swallowed={swallowed}");
        self.report(fault, &[&server, &client], &found);
    }

    /// Asserts what can be said after a process was killed, whose books are gone: every frame of the survivor is under one
    /// name, it took each that its bus was given, and what it put on its bus came out. `own` is the direction that comes
    /// from its bus. The process that took the place of the killed one has whole books of its own, too.
    pub fn balance_survivor(self, fault: &str, survivor: fn(&Account) -> &Finished, own: usize) {
        let totals = survivor(&self).totals();
        let (server, client) = (self.server.totals(), self.client.totals());
        assert_balanced(&server);
        assert_balanced(&client);
        let (given, out) = (self.directions[own].given.len(), self.directions[1 - own].arrivals.len());
        let (heard, given) = (totals["taken"] + totals["kernel_drops"], given as u64);
        if own == 0 {
            // A server goes on counting for each client that was killed, which may return: it is given its frames too,
            // and those that the others write.
            let written = self.directions[1 - own].arrivals.len() as u64;
            let at_most = given + (given + written) * u64::from(self.trials);
            assert!((given..=at_most).contains(&heard), "what its bus was given: {given}, {totals:?}");
        } else {
            assert_eq!(heard, given, "what its bus was given: {totals:?}");
        }
        assert_eq!(totals["received"], out as u64, "what it put on its bus: {totals:?}");
        let [lost_there, lost_back] =
            [0, 1].map(|way| self.directions[way].given.len() - self.directions[way].arrivals.len());
        let found = format!("not_delivered={}", lost_there + lost_back);
        self.report(fault, &[&server, &client], &found);
    }

    /// Where the server has had other clients, too, asserts the books of the one, and that it lost nothing but what was
    /// said.
    pub fn balance_client(self, fault: &str) {
        let (server, client) = (self.server.totals(), self.client.totals());
        assert_balanced(&server);
        assert_balanced(&client);
        let [there, back] = &self.directions;
        let (given, out) = (there.given.len() as u64, there.arrivals.len() as u64);
        assert_eq!(given, client["arrived"] + client["missing"], "to the client: {client:?}");
        assert_eq!(client["received"], out, "to the client: {client:?}");
        let (given, out) = (back.given.len() as u64, back.arrivals.len() as u64);
        assert_eq!(client["taken"] + client["kernel_drops"], given, "from the client: {client:?}");
        assert_eq!(server["received"], out, "from the client: {server:?}");
        assert!(server["slow_peer"] + server["stale"] + server["unsent"] > 0, "nobody was slow: {server:?}");
        let found = format!("lost={}", client["missing"]);
        self.report(fault, &[&server, &client], &found);
    }

    /// Asserts that each end's own books are whole, where they cannot be held against each other: both ends were killed, or
    /// a driver has made frames of its own.
    pub fn balance_each(self, fault: &str) {
        let (server, client) = (self.server.totals(), self.client.totals());
        assert_balanced(&server);
        assert_balanced(&client);
        self.report(fault, &[&server, &client], "");
    }

    /// Asserts that nothing too old came out and that frames crossed again in time, and prints the line.
    pub fn report(self, fault: &str, totals: &[&HashMap<String, u64>], found: &str) {
        let too_old: u64 = self.directions.iter().map(|it| it.older_than(MAX_AGE + ALLOWANCE)).sum();
        let worst_age = self.directions.iter().map(Direction::worst_age).max().unwrap();
        // What a process was just writing when it was stopped is noticed, and counted.
        let overdue: u64 = totals.iter().map(|totals| totals["overdue"]).sum();
        let unaccounted: i128 = totals.iter().map(|totals| unaccounted(totals)).sum();
        let found = if found.is_empty() { String::new() } else { format!(" {found}") };
        let line = format!(
            "promise: fault={fault} trials={} worst_recovery_ms={} unaccounted={unaccounted}{found} too_old={} \
             worst_age_ms={}\n",
            self.trials,
            self.worst_recovery.as_millis(),
            too_old.saturating_sub(overdue),
            worst_age.as_millis(),
        );
        crate::say(&line);
        assert!(too_old <= overdue, "{line}{totals:?}");
        let own = self.worst_own_recovery;
        assert!(own <= self.recovery_limit, "{own:?} of {line}{totals:?}");
    }
}

/// Asserts the books of a direction; how many frames went by before the bridge had a socket, and how many of those that
/// the bus took did not come out.
fn balance_direction(
    direction: &Direction,
    from: &HashMap<String, u64>,
    to: &HashMap<String, u64>,
) -> (u64, u64) {
    let given = direction.given.len() as u64;
    let heard = from["taken"] + from["kernel_drops"];
    let unheard = given.saturating_sub(heard);
    assert!(
        unheard <= direction.unheard_at_most(),
        "{unheard} of {given} frames went by, {} while nobody may have listened: {from:?} {to:?}",
        direction.unheard_at_most()
    );
    let came_out = direction.arrivals.len() as u64;
    let swallowed = to["received"].saturating_sub(came_out);
    assert_books(given - unheard, from, to, came_out + swallowed);
    (unheard, swallowed)
}

fn start_server(place: &Place, address: &str, port: u16, options: &Options) -> Program {
    let Options { under, arguments } = options;
    start(place, 0, under, &format!("server {} --bind {address} --port {port} {arguments}", bus(place)))
}

fn start_client(place: &Place, address: &str, port: u16, options: &Options) -> Program {
    let Options { under, arguments } = options;
    start(place, 1, under, &format!("client {} --host {address} --port {port} {arguments}", bus(place)))
}

/// Starts a side; on CAN on a processor of its own ([`processor`]).
fn start(place: &Place, number: usize, under: &str, arguments: &str) -> Program {
    let pinned = match place.kind {
        BusKind::SocketCan => format!("taskset --cpu-list {}", processor(number)),
        BusKind::Software => String::new(),
    };
    let (program, max_age_ms) = (env!("CARGO_BIN_EXE_canip_peer"), MAX_AGE.as_millis());
    let line = format!("{pinned} {under} {program} {arguments} --max-age {max_age_ms}");
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    Program::start(command)
}

fn bus(Place { kind, name }: &Place) -> String {
    match kind {
        // Frames are counted here: emulated processors may let them wait in a queue that has room for them.
        BusKind::SocketCan => format!("--can {name} --rcvbuf 33554432"),
        BusKind::Software => format!("--can-interface software --can {name}"),
    }
}

/// A software bus that no other test uses.
pub fn software(prefix: &str) -> Place {
    Place { kind: BusKind::Software, name: unique_name(prefix) }
}
