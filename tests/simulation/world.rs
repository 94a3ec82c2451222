//! Everything outside of the processes: time, hosts, buses, the network. It goes on while a process runs, or stands still.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::os::fd::RawFd;
use std::rc::Rc;

use fastrand::Rng;

use super::can::{Can, Link, Queued};
use super::checker::Checker;
use super::clocks::{Clocks, Stretch, overlap_ns};
use super::frames::{self, Mixture};
use super::network::Connection;
use super::trace::Trace;

/// The world, as its parts share it. Nobody keeps it borrowed while production code runs.
pub type Shared = Rc<RefCell<World>>;

/// What happens by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    /// An application sends its next frame.
    Generate(usize),
    /// The frame on a bus is over.
    Over(usize),
    /// Bytes come out of a connection's pipe.
    Arrive(usize, usize),
}

/// What somebody has to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Task {
    /// A process runs.
    Step(usize),
    /// A client's connection is there, or refused.
    Connect(usize),
    /// A fault of the plan begins.
    Fault(usize),
    /// ... or is over.
    Mend(usize),
}

/// An application that sends frames.
pub struct Application {
    pub interface: usize,
    pub period_ns: u64,
    pub mixture: Mixture,
    /// One frame of so many is an error frame of the interface.
    pub errors: Option<u32>,
    /// Frames to be sent as fast as they fit, before the period counts again.
    pub burst: u32,
}

/// What the world knows of a process.
#[derive(Default)]
pub struct ProcessState {
    pub host: usize,
    pub is_running: bool,
    /// When it did not run although it was there: stopped, or its host suspended.
    pub stopped: Vec<Stretch>,
    wake_at_ns: Option<u64>,
}

impl ProcessState {
    /// One of this host that does not run yet.
    pub fn of(host: usize) -> Self {
        Self { host, ..Self::default() }
    }
}

/// All of it.
pub struct World {
    /// True time.
    pub now_ns: u64,
    pub random: Rng,
    pub trace: Trace,
    pub can: Can,
    pub connections: Vec<Connection>,
    pub clocks: Vec<Clocks>,
    pub applications: Vec<Application>,
    pub processes: Vec<ProcessState>,
    pub checker: Checker,
    /// Whether applications send.
    pub is_loud: bool,
    /// A chance in so many that a process loses the processor when it looks at the clock; 0 for never.
    pub preemption: u32,
    /// Stretches in which no process ran, because one was held up amid a step.
    pub held_up: Vec<Stretch>,
    /// Which socket a descriptor stands for. Its number decides nothing.
    pub descriptors: BTreeMap<RawFd, usize>,
    next_mark: u32,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    tasks: BinaryHeap<Reverse<(u64, u64, Task)>>,
}

impl World {
    /// An empty one.
    pub fn new(seed: u64, prints: bool) -> Self {
        Self {
            now_ns: 0,
            random: Rng::with_seed(seed),
            trace: Trace::new(prints),
            can: Can::default(),
            connections: Vec::new(),
            clocks: Vec::new(),
            applications: Vec::new(),
            processes: Vec::new(),
            checker: Checker::default(),
            is_loud: true,
            preemption: 0,
            held_up: Vec::new(),
            descriptors: BTreeMap::new(),
            next_mark: 0,
            order: 0,
            events: BinaryHeap::new(),
            tasks: BinaryHeap::new(),
        }
    }

    /// Something will happen.
    pub fn schedule(&mut self, at_ns: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at_ns, self.order, event)));
    }

    /// Somebody will have to do something.
    pub fn assign(&mut self, at_ns: u64, task: Task) {
        self.order += 1;
        self.tasks.push(Reverse((at_ns, self.order, task)));
    }

    /// A process runs at a certain time, unless it does earlier.
    pub fn wake(&mut self, process: usize, at_ns: u64) {
        let wake_at_ns = &mut self.processes[process].wake_at_ns;
        if wake_at_ns.is_none_or(|earlier| at_ns < earlier) {
            *wake_at_ns = Some(at_ns);
            self.assign(at_ns, Task::Step(process));
        }
    }

    /// Something is there for a process: it runs when the scheduler lets it.
    pub fn rouse(&mut self, process: usize) {
        if self.processes[process].is_running {
            let latency_ns = match self.random.u8(0..16) {
                0 => self.random.u64(100_000..2_000_000),
                _ => self.random.u64(2_000..60_000),
            };
            self.wake(process, self.now_ns + latency_ns);
        }
    }

    /// Whether a process that was to run now does: not if it has run since, is no more, or stands still.
    pub fn begin_step(&mut self, process: usize, at_ns: u64) -> bool {
        let now_ns = self.now_ns;
        let state = &mut self.processes[process];
        if state.wake_at_ns != Some(at_ns) {
            return false;
        }
        state.wake_at_ns = None;
        let stopped_until =
            state.stopped.iter().filter(|stretch| stretch.from_ns <= now_ns && now_ns < stretch.to_ns);
        if let Some(until_ns) = stopped_until.map(|stretch| stretch.to_ns).max() {
            self.wake(process, until_ns);
            return false;
        }
        state.is_running
    }

    /// For how much of the time since then a process did not run.
    pub fn stood_still_ns(&self, process: usize, since_ns: u64) -> u64 {
        overlap_ns(&self.processes[process].stopped, since_ns, self.now_ns)
            + overlap_ns(&self.held_up, since_ns, self.now_ns)
    }

    /// For how much of the time since a connection was made both its processes ran and bytes got through.
    pub fn worked_ns(&self, number: usize) -> u64 {
        let Connection { opened_at_ns, blocked, ends, .. } = &self.connections[number];
        let stood_still_ns: u64 =
            ends.iter().map(|end| self.stood_still_ns(end.process, *opened_at_ns)).sum();
        let blocked_ns = overlap_ns(blocked, *opened_at_ns, self.now_ns);
        (self.now_ns - opened_at_ns).saturating_sub(stood_still_ns + blocked_ns)
    }

    /// The next task that is due by `end_ns`, once all that happens before has happened.
    pub fn next_task(&mut self, end_ns: u64) -> Option<(u64, Task)> {
        loop {
            let task_at_ns =
                self.tasks.peek().map(|Reverse((at_ns, ..))| *at_ns).filter(|&at_ns| at_ns <= end_ns);
            let until_ns = task_at_ns.unwrap_or(end_ns).max(self.now_ns);
            self.pass_until(until_ns);
            // What happened may have brought something that comes first.
            let bound_ns = task_at_ns.unwrap_or(end_ns + 1);
            if self.tasks.peek().is_some_and(|Reverse((first, ..))| *first < bound_ns) {
                continue;
            }
            task_at_ns?;
            let Reverse((at_ns, _, task)) = self.tasks.pop()?;
            return Some((at_ns, task));
        }
    }

    /// Lets time pass, with all that happens by itself. A process that is roused meanwhile runs before the rest of it
    /// passes, if the caller is not one.
    fn pass_until(&mut self, until_ns: u64) {
        while let Some(Reverse((at_ns, ..))) = self.events.peek() {
            if *at_ns > until_ns || self.tasks.peek().is_some_and(|Reverse((task, ..))| task < at_ns) {
                break;
            }
            self.happen();
        }
        if self.tasks.peek().is_none_or(|Reverse((task, ..))| *task >= until_ns) {
            self.now_ns = self.now_ns.max(until_ns);
        }
    }

    /// A process is held up amid a step: the world goes on, and no process does.
    pub fn hold_up(&mut self, length_ns: u64) {
        let until_ns = self.now_ns + length_ns;
        if length_ns >= 1_000_000 {
            self.held_up.push(Stretch { from_ns: self.now_ns, to_ns: until_ns });
        }
        while self.events.peek().is_some_and(|Reverse((at_ns, ..))| *at_ns <= until_ns) {
            self.happen();
        }
        self.now_ns = until_ns;
    }

    fn happen(&mut self) {
        let Some(Reverse((at_ns, _, event))) = self.events.pop() else { return };
        self.now_ns = self.now_ns.max(at_ns);
        match event {
            Event::Generate(application) => self.generate(application),
            Event::Over(bus) => self.end_frame(bus),
            Event::Arrive(connection, end) => self.arrive(connection, end, at_ns),
        }
    }

    fn generate(&mut self, number: usize) {
        let Application { interface, period_ns, mixture, errors, burst } = self.applications[number];
        let next_ns = if burst > 0 { 20_000 } else { self.random.u64(period_ns / 2..=period_ns * 3 / 2) };
        self.applications[number].burst = burst.saturating_sub(1);
        self.schedule(self.now_ns + next_ns, Event::Generate(number));
        if !self.is_loud && burst == 0 {
            return;
        }
        if errors.is_some_and(|one_in| self.random.u32(0..one_in) == 0) {
            self.report_error(interface);
        } else {
            self.send(interface, mixture);
        }
    }

    /// An application sends a frame; its mark, if the interface took it.
    pub fn send(&mut self, interface: usize, mut mixture: Mixture) -> Option<u32> {
        if !self.can.interfaces[interface].takes_fd {
            mixture.fd = 0;
        }
        let mark = self.next_mark;
        let frame = frames::make(&mut self.random, mixture, mark);
        self.can.transmit(interface, Queued { frame, mark, from: None }).ok()?;
        self.next_mark += 1;
        let bus = self.can.interfaces[interface].bus;
        self.checker.made(mark, frame, bus);
        self.begin_frame(bus);
        Some(mark)
    }

    /// A controller reports an error, to the sockets of its interface alone.
    fn report_error(&mut self, interface: usize) {
        if self.can.interfaces[interface].link != Link::Up {
            return;
        }
        let mark = self.next_mark;
        self.next_mark += 1;
        let frame = frames::make_error(&mut self.random, mark);
        self.checker.made(mark, frame, self.can.interfaces[interface].bus);
        self.hand_to_sockets(interface, &Queued { frame, mark, from: None });
    }

    /// Begins the next frame of a bus, if it is free.
    pub fn begin_frame(&mut self, bus: usize) {
        if let Some(over_at_ns) = self.can.begin(bus, self.now_ns) {
            self.schedule(over_at_ns, Event::Over(bus));
            let sender = self.can.buses[bus].current.as_ref().and_then(|(_, queued)| queued.from);
            if let Some(socket) = sender.filter(|&socket| self.can.sockets[socket].is_watched) {
                self.rouse(self.can.sockets[socket].process);
            }
        }
    }

    fn end_frame(&mut self, bus: usize) {
        let Some((_, queued)) = self.can.buses[bus].current.take() else { return };
        if queued.from.is_some_and(|socket| !self.can.sockets[socket].is_open) {
            self.checker.echoed(queued.mark);
        }
        self.checker.appeared(bus, queued.mark, self.now_ns);
        for index in 0..self.can.buses[bus].interfaces.len() {
            let interface = self.can.buses[bus].interfaces[index];
            if self.can.interfaces[interface].link == Link::Up {
                self.hand_to_sockets(interface, &queued);
            }
        }
        self.begin_frame(bus);
    }

    fn hand_to_sockets(&mut self, interface: usize, queued: &Queued) {
        let clocks = &self.clocks[self.can.interfaces[interface].host];
        // A host that is suspended hears nothing.
        if overlap_ns(&clocks.suspended, self.now_ns, self.now_ns + 1) > 0 {
            return;
        }
        let wall_ns = clocks.wall_ns(self.now_ns);
        for index in 0..self.can.interfaces[interface].sockets.len() {
            let socket = self.can.interfaces[interface].sockets[index];
            if Some(socket) != queued.from {
                self.can.receive(socket, &queued.frame, queued.mark, wall_ns, &mut self.trace, self.now_ns);
                self.rouse(self.can.sockets[socket].process);
            }
        }
    }

    /// A connection's pipe has something under way: it will arrive.
    pub fn expect_arrival(&mut self, connection: usize, end: usize) {
        let pipe = &mut self.connections[connection].pipes[end];
        let Some(at_ns) = pipe.next_arrival_ns().map(|at_ns| at_ns.max(self.now_ns)) else { return };
        if pipe.looked_at_ns.is_none_or(|earlier| at_ns < earlier) {
            pipe.looked_at_ns = Some(at_ns);
            self.schedule(at_ns, Event::Arrive(connection, end));
        }
    }

    fn arrive(&mut self, connection: usize, end: usize, at_ns: u64) {
        let now_ns = self.now_ns;
        let Connection { ends, pipes, .. } = &mut self.connections[connection];
        if pipes[end].looked_at_ns != Some(at_ns) {
            return;
        }
        pipes[end].looked_at_ns = None;
        let host = self.processes[ends[1 - end].process].host;
        // TCP at a host that is suspended takes nothing: what comes is sent again.
        let asleep =
            self.clocks[host].suspended.iter().find(|stretch| stretch.overlap_ns(now_ns, now_ns + 1) > 0);
        if let Some(stretch) = asleep {
            pipes[end].stalled_until_ns = pipes[end].stalled_until_ns.max(stretch.to_ns);
        }
        let has_arrived = pipes[end].arrive(now_ns);
        if has_arrived {
            ends[1 - end].hear(now_ns);
            self.trace.number(now_ns, b'A', [connection as u64, end as u64]);
            let (sender, receiver) = (ends[end].process, ends[1 - end].process);
            if ends[1 - end].is_open {
                self.rouse(receiver);
            } else if !pipes[end].received.is_empty() {
                // Nobody is there to take it, which the sender is told.
                pipes[end].received.clear();
                self.connections[connection].fail(end, libc::ECONNRESET);
                self.rouse(sender);
            }
        }
        if self.connections[connection].pipes[end].is_busy() {
            self.expect_arrival(connection, end);
        }
    }

    /// Breaks a connection at both ends.
    pub fn reset(&mut self, connection: usize) {
        self.connections[connection].reset();
        for end in 0..2 {
            self.rouse(self.connections[connection].ends[end].process);
        }
    }

    /// A process closes its end of a connection.
    pub fn close_end(&mut self, connection: usize, end: usize) {
        self.connections[connection].close(end, self.now_ns, &mut self.random);
        self.expect_arrival(connection, end);
        self.rouse(self.connections[connection].ends[1 - end].process);
    }
}
