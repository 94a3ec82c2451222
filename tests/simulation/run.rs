//! One run: the world of a scenario, its faults, a quiet end, and what must hold then.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use canip_peer::metrics::Counters;
use canip_peer::session::{Protocol, Role};

use super::can::{Bus, Interface, Link};
use super::checker::{Hop, Ledger};
use super::clocks::{Clocks, Stretch};
use super::frames::Mixture;
use super::network::{Connection, Path};
use super::process::Process;
use super::scenario::{FaultKind, FaultPlan, Scenario};
use super::world::{Application, Event, ProcessState, Shared, Task, World};

const MILLISECOND_NS: u64 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// What everything needs to be as before, once nothing disturbs it: a peer found dead (three heartbeats of 2 s), the
/// longest back-off (5 s), an orderly end (1 s), and its like at the other end of a chain.
const SETTLE_NS: u64 = 14 * SECOND_NS;

/// What comparing the clocks takes on a new connection: eight PINGs, 50 ms apart, and their answers.
const COMPARE_NS: u64 = 1_500 * MILLISECOND_NS;

/// Frames that each bus is sent at the end, to see that they reach every other.
const PROBES: usize = 4;

/// What came of a run.
pub struct Outcome {
    pub violations: Vec<String>,
    pub hash: u64,
    pub last_events: String,
    pub delivered: u64,
    pub is_exact: bool,
}

/// A run in progress.
pub struct Run {
    scenario: Scenario,
    world: Shared,
    processes: Vec<Option<Process>>,
    /// Connections that a server has not accepted.
    backlog: Vec<Vec<usize>>,
    /// Each client's way to its server is blocked until then.
    blocked_until_ns: Vec<u64>,
    /// The other end of each bus's stations.
    stations: Vec<usize>,
    /// The connection that each fault has left half open.
    half_open: Vec<Option<usize>>,
    /// Whether no connection or process has ended in a way that leaves frames uncounted.
    is_exact: bool,
    /// All counters of lives that have ended in order.
    ended: Counters,
}

/// Runs a seed.
pub fn run(seed: u64, prints: bool) -> Outcome {
    let mut run = Run::new(seed, prints);
    run.busy();
    run.quiet();
    run.close();
    let world = &mut *run.world.borrow_mut();
    Outcome {
        violations: std::mem::take(&mut world.checker.violations),
        hash: world.trace.hash(),
        last_events: world.trace.last_events(),
        delivered: world.checker.delivered,
        is_exact: run.is_exact,
    }
}

impl Run {
    fn new(seed: u64, prints: bool) -> Self {
        let mut world = World::new(seed, prints);
        let scenario = Scenario::draw(&mut world.random);
        world.preemption = scenario.preemption;
        if prints {
            println!("{scenario:#?}");
        }
        let stations = build(&mut world, &scenario);
        let count = scenario.processes.len();
        let world = Rc::new(RefCell::new(world));
        let processes = (0..count).map(|number| Some(Process::start(number, &scenario, &world))).collect();
        Self {
            world,
            processes,
            backlog: vec![Vec::new(); count],
            blocked_until_ns: vec![0; count],
            stations,
            half_open: vec![None; scenario.faults.len()],
            is_exact: true,
            ended: Counters::default(),
            scenario,
        }
    }

    fn now_ns(&self) -> u64 {
        self.world.borrow().now_ns
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        let world = &mut *self.world.borrow_mut();
        world.trace.line(world.now_ns, text);
    }

    /// Traffic and faults.
    fn busy(&mut self) {
        for (number, fault) in self.scenario.faults.clone().into_iter().enumerate() {
            self.world.borrow_mut().assign(fault.at_ns, Task::Fault(number));
        }
        let until_ns = self.scenario.busy_until_ns;
        self.run_until(until_ns);
    }

    /// All goes back to normal, and must be.
    fn quiet(&mut self) {
        self.world.borrow_mut().is_loud = false;
        let ends = self.scenario.faults.iter().map(|fault| fault.at_ns + fault.length_ns);
        let mended_ns = ends.max().unwrap_or(0).max(self.now_ns());
        self.run_until(mended_ns + SETTLE_NS);
        // What the world does to itself is over, too.
        self.world.borrow_mut().preemption = 0;
        let probes = self.send_probes();
        self.run_until(self.now_ns() + 2 * SECOND_NS);
        for (bus, mark) in probes {
            self.expect_everywhere(bus, mark);
        }
        self.hold_books(true);
    }

    /// Everybody ends in order.
    fn close(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            process.close_all();
        }
        self.run_until(self.now_ns() + 2_500 * MILLISECOND_NS);
        for index in 0..self.processes.len() {
            let Some(process) = &mut self.processes[index] else { continue };
            let left = process.link_count();
            process.abandon_all();
            if left > 0 {
                let text = format!("process {index} has {left} links that do not end");
                self.world.borrow_mut().checker.violation(text);
            }
        }
        self.hold_books(false);
    }

    fn run_until(&mut self, end_ns: u64) {
        loop {
            if !self.world.borrow().checker.violations.is_empty() {
                return;
            }
            let next = self.world.borrow_mut().next_task(end_ns);
            let Some((at_ns, task)) = next else { return };
            match task {
                Task::Step(number) => self.step(number, at_ns),
                Task::Connect(number) => self.connect(number),
                Task::Fault(number) => self.begin_fault(number),
                Task::Mend(number) => self.mend(number),
            }
        }
    }

    fn step(&mut self, number: usize, at_ns: u64) {
        if !self.world.borrow_mut().begin_step(number, at_ns) {
            return;
        }
        let Some(process) = &mut self.processes[number] else { return };
        for connection in std::mem::take(&mut self.backlog[number]) {
            process.open(connection, 1);
        }
        self.is_exact &= process.step();
    }

    /// A client's attempt to connect.
    fn connect(&mut self, number: usize) {
        let Some(process) = &mut self.processes[number] else { return };
        if process.is_connected() {
            return;
        }
        let server = process.plan.server;
        let blocked_until_ns = self.blocked_until_ns[number];
        {
            let world = &mut *self.world.borrow_mut();
            let asleep = world.clocks[self.scenario.processes[server].host].suspended.iter();
            let asleep = asleep.chain(&world.clocks[process.plan.host].suspended);
            let asleep = asleep.filter(|stretch| stretch.overlap_ns(world.now_ns, world.now_ns + 1) > 0);
            let until_ns = asleep.map(|stretch| stretch.to_ns).max().unwrap_or(0).max(blocked_until_ns);
            if until_ns > world.now_ns {
                // Its first packet is sent again.
                let again_ns = until_ns + world.random.u64(0..200 * MILLISECOND_NS);
                return world.assign(again_ns, Task::Connect(number));
            }
        }
        if self.processes[server].is_none() {
            self.say(format_args!("process {number}: connection refused"));
            let Some(process) = &mut self.processes[number] else { return };
            return process.connect_later();
        }
        let connection = {
            let world = &mut *self.world.borrow_mut();
            let connection = Connection::new(number, server, self.scenario.path, world.now_ns);
            world.connections.push(connection);
            let unsure_until_ns = match self.scenario.processes[number].heartbeat.is_zero() {
                true => u64::MAX,
                false => world.now_ns + COMPARE_NS + 16 * self.scenario.path.delay_ns,
            };
            for end in [number, server] {
                world.checker.unsure_until_ns[end] = unsure_until_ns;
            }
            world.rouse(server);
            world.connections.len() - 1
        };
        self.say(format_args!("process {number}: connection {connection} to process {server}"));
        self.backlog[server].push(connection);
        if let Some(process) = &mut self.processes[number] {
            process.open(connection, 0);
        }
    }

    fn begin_fault(&mut self, number: usize) {
        let FaultPlan { kind, length_ns, whom, .. } = self.scenario.faults[number];
        let now_ns = self.now_ns();
        self.say(format_args!(
            "fault {number}: {kind:?} for {:.3} ms, {}",
            length_ns as f64 / 1e6,
            whom % 1_000
        ));
        let stretch = Stretch { from_ns: now_ns, to_ns: now_ns + length_ns };
        self.world.borrow_mut().assign(stretch.to_ns, Task::Mend(number));
        let process = whom % self.processes.len();
        match kind {
            FaultKind::InterfaceDown => self.set_link(whom, Link::Down),
            FaultKind::InterfaceDeleted => self.set_link(whom, Link::Missing),
            FaultKind::InterfaceStuck => {
                let world = &mut *self.world.borrow_mut();
                let interface = whom % self.stations[0];
                world.can.interfaces[interface].stuck_until_ns = stretch.to_ns;
            }
            FaultKind::Cancelled => {
                if let Some(process) = &mut self.processes[process] {
                    process.engine.cancel(whom / 16 % 4);
                }
                self.world.borrow_mut().rouse(process);
            }
            FaultKind::Killed => self.kill(process),
            FaultKind::Stopped => self.stop(process, stretch),
            FaultKind::Suspended => self.suspend(whom % self.scenario.hosts, stretch),
            FaultKind::ClockSet => {
                let world = &mut *self.world.borrow_mut();
                let size = 10i64.pow(world.random.u32(5..13));
                let forward = if world.random.bool() { size } else { -size };
                let host = whom % self.scenario.hosts;
                world.clocks[host].wall_offset_ns += forward;
                let set = (0..world.processes.len()).filter(|&process| world.processes[process].host == host);
                set.for_each(|process| world.checker.clock_is_set(process, now_ns + 8 * SECOND_NS));
            }
            FaultKind::Reset => self.reset(whom),
            FaultKind::ClientReset => self.half_open[number] = self.half_open(whom, stretch),
            FaultKind::Stalled => self.block(process, stretch),
            FaultKind::Burst => {
                let world = &mut *self.world.borrow_mut();
                let count = world.applications.len();
                world.applications[whom % count].burst = (whom / 64 % 600) as u32;
            }
        }
    }

    fn mend(&mut self, number: usize) {
        let FaultPlan { kind, whom, .. } = self.scenario.faults[number];
        self.say(format_args!("fault {number}: {kind:?} is over"));
        match kind {
            FaultKind::InterfaceDown | FaultKind::InterfaceDeleted => self.set_link(whom, Link::Up),
            FaultKind::InterfaceStuck => {
                let world = &mut *self.world.borrow_mut();
                let bus = world.can.interfaces[whom % self.stations[0]].bus;
                world.begin_frame(bus);
            }
            FaultKind::Killed => self.restart(whom % self.processes.len()),
            FaultKind::ClientReset => self.probe(number),
            _ => {}
        }
    }

    fn set_link(&mut self, whom: usize, link: Link) {
        let interface = whom % self.stations[0];
        let host = {
            let world = &mut *self.world.borrow_mut();
            world.can.set_link(interface, link);
            let bus = world.can.interfaces[interface].bus;
            world.begin_frame(bus);
            world.can.interfaces[interface].host
        };
        for process in self.processes.iter_mut().flatten().filter(|process| process.plan.host == host) {
            process.must_look = true;
            self.world.borrow_mut().rouse(process.number);
        }
    }

    fn kill(&mut self, number: usize) {
        let Some(mut process) = self.processes[number].take() else { return };
        self.is_exact = false;
        process.engine.kill();
        let world = &mut *self.world.borrow_mut();
        world.processes[number].is_running = false;
        world.checker.given_up(number);
        for connection in std::mem::take(&mut self.backlog[number]) {
            world.close_end(connection, 1);
        }
    }

    fn restart(&mut self, number: usize) {
        if self.processes[number].is_some() {
            return;
        }
        let buses = self.scenario.processes[number].buses.clone();
        for bus in buses {
            self.set_link(bus, Link::Up);
        }
        self.processes[number] = Some(Process::start(number, &self.scenario, &self.world));
    }

    fn stop(&mut self, process: usize, stretch: Stretch) {
        let world = &mut *self.world.borrow_mut();
        world.processes[process].stopped.push(stretch);
        world.checker.prolong_doubt(stretch.from_ns, stretch.to_ns + COMPARE_NS);
    }

    fn suspend(&mut self, host: usize, stretch: Stretch) {
        let world = &mut *self.world.borrow_mut();
        let clocks = &mut world.clocks[host];
        if clocks.suspended.iter().any(|other| other.overlap_ns(stretch.from_ns, stretch.to_ns) > 0) {
            return;
        }
        clocks.suspended.push(stretch);
        for process in world.processes.iter_mut().filter(|process| process.host == host) {
            process.stopped.push(stretch);
        }
        world.checker.prolong_doubt(stretch.from_ns, stretch.to_ns + COMPARE_NS);
    }

    /// One of the connections that are whole.
    fn whole_connection(&self, whom: usize) -> Option<usize> {
        let world = &*self.world.borrow();
        let is_whole =
            |connection: &Connection| connection.ends.iter().all(|end| end.is_open && end.error.is_none());
        let whole: Vec<usize> =
            (0..world.connections.len()).filter(|&number| is_whole(&world.connections[number])).collect();
        whole.get(whom % whole.len().max(1)).copied()
    }

    fn reset(&mut self, whom: usize) {
        if let Some(connection) = self.whole_connection(whom) {
            self.world.borrow_mut().reset(connection);
        }
    }

    /// A client's host gives a connection up, and the server does not hear of it.
    fn half_open(&mut self, whom: usize, stretch: Stretch) -> Option<usize> {
        let connection = self.whole_connection(whom)?;
        let world = &mut *self.world.borrow_mut();
        world.connections[connection].fail(0, libc::ETIMEDOUT);
        world.connections[connection].pipes[1].stalled_until_ns = stretch.to_ns;
        world.rouse(world.connections[connection].ends[0].process);
        Some(connection)
    }

    /// TCP's own probe of a connection that is half open gets through, and the other host knows of none.
    fn probe(&mut self, number: usize) {
        let Some(connection) = self.half_open[number] else { return };
        let world = &mut *self.world.borrow_mut();
        let server = world.connections[connection].ends[1].process;
        if world.connections[connection].ends[1].is_open
            && !self.scenario.processes[server].heartbeat.is_zero()
        {
            world.connections[connection].fail(1, libc::ECONNRESET);
            world.rouse(server);
        }
    }

    /// Nothing gets through between a client and its server.
    fn block(&mut self, process: usize, stretch: Stretch) {
        self.blocked_until_ns[process] = self.blocked_until_ns[process].max(stretch.to_ns);
        let world = &mut *self.world.borrow_mut();
        for connection in &mut world.connections {
            if connection.ends[0].process == process {
                connection.blocked.push(stretch);
                for pipe in &mut connection.pipes {
                    pipe.stalled_until_ns = pipe.stalled_until_ns.max(stretch.to_ns);
                }
            }
        }
        world.checker.prolong_doubt(stretch.from_ns, stretch.to_ns + COMPARE_NS);
    }

    /// Frames for every bus; which, and where they were sent.
    fn send_probes(&mut self) -> Vec<(usize, u32)> {
        let mut probes = Vec::new();
        let mixture = Mixture { standard: 1, extended: 1, remote: 0, fd: 0 };
        for _ in 0..PROBES {
            for (bus, &station) in self.stations.clone().iter().enumerate() {
                let mark = self.world.borrow_mut().send(station, mixture);
                probes.extend(mark.map(|mark| (bus, mark)));
                self.run_until(self.now_ns() + 3 * MILLISECOND_NS);
            }
        }
        probes
    }

    fn expect_everywhere(&mut self, home: usize, mark: u32) {
        // Where the way takes as long as frames may be old, they come in time or not as the clocks leave it in doubt.
        let Path { delay_ns, jitter_ns, .. } = self.scenario.path;
        let way = Duration::from_nanos(delay_ns + jitter_ns);
        if self.scenario.max_age.is_some_and(|max_age| max_age <= way) {
            return;
        }
        let checker = &mut self.world.borrow_mut().checker;
        let mut reached = vec![home];
        let mut next = 0;
        while let Some(&bus) = reached.get(next) {
            next += 1;
            let onward: Vec<usize> =
                checker.hops.iter().filter(|hop| hop.from_bus == bus).map(|hop| hop.to_bus).collect();
            reached.extend(onward.into_iter().filter(|bus| !reached.contains(bus)).collect::<Vec<_>>());
        }
        for bus in reached {
            if !checker.has_appeared(bus, mark) {
                checker.violation(format!(
                    "frame {mark}, sent to bus {home} when all was quiet, did not reach bus {bus}"
                ));
            }
        }
    }

    fn hold_books(&mut self, is_quiet: bool) {
        if !self.world.borrow().checker.violations.is_empty() {
            return;
        }
        let mut all = self.ended;
        for index in 0..self.processes.len() {
            let Some(process) = &mut self.processes[index] else { continue };
            let counted = process.totals();
            let before: Ledger = process.before;
            let world = &mut *self.world.borrow_mut();
            let open = world.can.sockets.iter().filter(|socket| socket.is_open && socket.process == index);
            let open_drops = open.map(|socket| u64::from(socket.drops)).sum();
            world.trace.line(world.now_ns, format_args!("process {index}: {counted}"));
            world.checker.hold_against(index, &counted, open_drops, &before, self.is_exact);
            if is_quiet && counted.waiting > 0 {
                world
                    .checker
                    .violation(format!("frames wait in process {index} when all is quiet: {counted}"));
            }
            world.checker.ledgers[index].dropped += open_drops;
            all.add(&counted);
        }
        let world = &mut *self.world.borrow_mut();
        world.checker.hold_all_against(&all, self.is_exact);
        for index in 0..self.processes.len() {
            let open = world.can.sockets.iter().filter(|socket| socket.is_open && socket.process == index);
            let open_drops: u64 = open.map(|socket| u64::from(socket.drops)).sum();
            if self.processes[index].is_some() {
                world.checker.ledgers[index].dropped -= open_drops;
            }
        }
    }
}

/// Hosts, buses, interfaces, applications, and which bus leads to which. Gives the interface of each bus's other station.
/// The interface of a bus's bridge has the bus's number.
fn build(world: &mut World, scenario: &Scenario) -> Vec<usize> {
    let bus_count = scenario.buses.len();
    let per_host = bus_count / scenario.hosts;
    for _ in 0..=scenario.hosts {
        let rate_ppb = world.random.i64(-100_000..=100_000);
        let wall_offset_ns = world.random.i64(-3_600 * SECOND_NS as i64..3_600 * SECOND_NS as i64);
        world.clocks.push(Clocks { rate_ppb, wall_offset_ns, ..Clocks::default() });
    }
    for bus in &scenario.buses {
        world.can.buses.push(Bus { rates: bus.rates, interfaces: Vec::new(), current: None });
    }
    // Those of bridges come first, then those of other stations, whose host is one that nothing happens to.
    for number in 0..2 * bus_count {
        let bus = number % bus_count;
        let is_station = number >= bus_count;
        let plan = scenario.buses[bus];
        world.can.buses[bus].interfaces.push(number);
        world.can.interfaces.push(Interface {
            host: if is_station { scenario.hosts } else { bus / per_host },
            bus,
            name: format!("can{}", bus % per_host),
            index: 3 + bus as u32,
            link: Link::Up,
            takes_fd: plan.takes_fd,
            stuck_until_ns: 0,
            queue: Default::default(),
            queue_limit: if is_station { 200 } else { plan.queue_limit },
            sockets: Vec::new(),
        });
        // Half of the bridges' hosts have applications of their own.
        if is_station || world.random.bool() {
            let errors = (!is_station && world.random.bool()).then_some(4);
            let (period_ns, mixture) = (scenario.period_ns, scenario.mixture);
            world.applications.push(Application { interface: number, period_ns, mixture, errors, burst: 0 });
            let first_ns = world.random.u64(0..period_ns);
            world.schedule(first_ns, Event::Generate(world.applications.len() - 1));
        }
    }
    for plan in &scenario.processes {
        world.processes.push(ProcessState::of(plan.host));
    }
    world.checker.prepare(scenario.processes.len(), bus_count);
    add_hops(world, scenario);
    (bus_count..2 * bus_count).collect()
}

fn add_hops(world: &mut World, scenario: &Scenario) {
    let path = scenario.path;
    // Half of a round trip at the worst, as the clocks cannot be compared better, and scheduling.
    let doubt_ns =
        2 * (path.delay_ns + path.jitter_ns) + path.byte_ns * path.window_bytes as u64 + 20 * MILLISECOND_NS;
    let max_age_ns = scenario.max_age.map(|age| age.as_nanos() as u64 + doubt_ns);
    for (number, client) in
        scenario.processes.iter().enumerate().filter(|(_, plan)| plan.role == Role::Client)
    {
        let is_version_5 = client.protocol == Protocol::Auto;
        let carried = if is_version_5 { client.buses.len() } else { 1 };
        let server = client.server;
        for (&ours, &theirs) in client.buses.iter().zip(&scenario.processes[server].buses).take(carried) {
            let to_server = Hop {
                from_process: number,
                from_bus: ours,
                to_process: server,
                to_bus: theirs,
                is_version_5,
                max_age_ns,
            };
            let to_client =
                Hop { from_process: server, from_bus: theirs, to_process: number, to_bus: ours, ..to_server };
            world.checker.hops.extend([to_server, to_client]);
        }
    }
}
