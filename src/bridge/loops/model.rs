//! Buses, links and traffic in made-up time, to see how soon a loop is found and what is taken for one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use fastrand::Rng;

use super::{LoopWatch, News};
use crate::frame::{Frame, Identifier};
use crate::moment::Moment;

pub const US: u64 = 1_000;
pub const MS: u64 = 1_000 * US;
pub const S: u64 = 1_000 * MS;

/// What a classic frame of eight bytes takes on a bus of 500 kbit/s.
const FRAME_NS: u64 = 250 * US;

/// The age that frames may have.
const MAX_AGE_NS: u64 = 250 * MS;

/// Frames that a bus's queue takes from one sender.
const TRANSMIT_QUEUE: u64 = 10;

/// One end of a link.
pub struct End {
    pub bus: usize,
    watch: LoopWatch,
    /// What waits for the bus, and since when.
    inbound: VecDeque<(u64, Frame)>,
    /// What waits for the peer, and since when.
    outbound: VecDeque<(u64, Frame)>,
    /// Frames put on the bus, and frames that waited for too long, either way.
    pub injected: u64,
    pub stale: u64,
    last_arrival_ns: u64,
    deadline: Option<Moment>,
}

/// Who makes frames.
pub enum Source {
    /// The same content over and over.
    Static { identifier: u32, period_ns: u64, jitter_ns: u64 },
    /// Another content each time.
    Counting { identifier: u32, period_ns: u64 },
    /// One frame, once.
    Once { identifier: u32, at_ns: u64 },
    /// Asks, and asks again when the answer has come, or after a time-out.
    Tester { identifier: u32, answer: u32, pause_ns: u64 },
    /// Answers each frame of an identifier.
    Answering { asked: u32, identifier: u32, after_ns: u64 },
    /// A recording of so many frames, again and again.
    Replay { frames: Vec<Frame>, period_ns: u64 },
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy, Debug)]
enum Event {
    Send {
        source: usize,
        number: u64,
    },
    /// A source sends, whatever its plan.
    Answer {
        source: usize,
    },
    OnBus {
        bus: usize,
        sender: usize,
        frame: u32,
    },
    Arrive {
        end: usize,
        frame: u32,
    },
    Pump {
        end: usize,
    },
}

pub struct Model {
    pub now_ns: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    /// Frames by number, so that events are small.
    frames: Vec<Frame>,
    pub ends: Vec<End>,
    /// One way of each link, and the part of it that changes by chance.
    ways_ns: Vec<(u64, f64)>,
    buses_free_at: Vec<u64>,
    sources: Vec<(usize, Source)>,
    random: Rng,
    /// What the ends had to say, and when.
    pub news: Vec<(u64, usize, News)>,
    /// Frames of sources.
    originals: u64,
}

/// The sender of a source's frames; those of ends are their numbers.
const SOURCES: usize = 1 << 20;

impl Model {
    pub fn new(seed: u64, buses: usize) -> Self {
        Self {
            now_ns: S,
            events: BinaryHeap::new(),
            sequence: 0,
            frames: Vec::new(),
            ends: Vec::new(),
            ways_ns: Vec::new(),
            buses_free_at: vec![0; buses],
            sources: Vec::new(),
            random: Rng::with_seed(seed),
            news: Vec::new(),
            originals: 0,
        }
    }

    /// A link between two buses.
    pub fn link(&mut self, one: usize, other: usize, way_ns: u64, jitter: f64) {
        for bus in [one, other] {
            let seed = self.random.u64(..);
            self.ends.push(End {
                bus,
                watch: LoopWatch::new(
                    Some(Duration::from_nanos(MAX_AGE_NS)),
                    seed,
                    Moment::from_nanos(self.now_ns),
                ),
                inbound: VecDeque::new(),
                outbound: VecDeque::new(),
                injected: 0,
                stale: 0,
                last_arrival_ns: 0,
                deadline: None,
            });
        }
        self.ways_ns.push((way_ns, jitter));
    }

    pub fn source(&mut self, bus: usize, source: Source) {
        let number = self.sources.len();
        let at = match &source {
            Source::Once { at_ns, .. } => self.now_ns + at_ns,
            Source::Answering { .. } => u64::MAX,
            Source::Static { period_ns, .. }
            | Source::Counting { period_ns, .. }
            | Source::Replay { period_ns, .. } => self.now_ns + self.random.u64(0..*period_ns),
            Source::Tester { .. } => self.now_ns,
        };
        self.sources.push((bus, source));
        if at < u64::MAX {
            self.at(at, Event::Send { source: number, number: 0 });
        }
    }

    /// Frames that waited for too long.
    pub fn stale(&self) -> u64 {
        self.ends.iter().map(|end| end.stale).sum()
    }

    pub fn has_found(&self) -> bool {
        self.news.iter().any(|(_, _, news)| matches!(news, News::Found { .. }))
    }

    pub fn run_for(&mut self, time_ns: u64) {
        let until = self.now_ns + time_ns;
        while let Some(Reverse((at, _, event))) =
            self.events.peek().copied().filter(|event| event.0.0 <= until)
        {
            self.events.pop();
            self.now_ns = at;
            self.happen(event);
        }
        self.now_ns = until;
    }

    /// Copies that a link's end has put on its bus so far, the one with the most: of what sources have sent, one is none.
    pub fn most_copies(&self) -> u64 {
        self.ends.iter().map(|end| end.injected).max().unwrap_or(0).saturating_sub(self.originals)
    }

    fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn number(&mut self, frame: Frame) -> u32 {
        self.frames.push(frame);
        self.frames.len() as u32 - 1
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Send { source, number } => self.send(source, number),
            Event::Answer { source } => {
                let identifier = match self.sources[source].1 {
                    Source::Answering { identifier, .. } | Source::Tester { identifier, .. } => identifier,
                    _ => unreachable!("only these answer"),
                };
                self.put(self.sources[source].0, SOURCES + source, frame(identifier, 0));
            }
            Event::OnBus { bus, sender, frame } => self.on_bus(bus, sender, frame),
            Event::Arrive { end, frame } => {
                let now = Moment::from_nanos(self.now_ns);
                let content = self.frames[frame as usize];
                if self.ends[end].watch.arrived(&content, now) {
                    self.ends[end].inbound.push_back((self.now_ns, content));
                }
                self.pump(end);
            }
            Event::Pump { end } => self.pump(end),
        }
    }

    fn send(&mut self, source: usize, number: u64) {
        let (bus, now) = (self.sources[source].0, self.now_ns);
        let (frame, next) = match &self.sources[source].1 {
            Source::Static { identifier, period_ns, jitter_ns } => {
                let jitter = self.random.u64(0..=*jitter_ns);
                (frame(*identifier, 0), Some(now + period_ns + jitter))
            }
            Source::Counting { identifier, period_ns } => (frame(*identifier, number), Some(now + period_ns)),
            Source::Once { identifier, .. } => (frame(*identifier, 7), None),
            Source::Tester { identifier, .. } => (frame(*identifier, 0), Some(now + 200 * MS)),
            Source::Replay { frames, period_ns } => {
                (frames[number as usize % frames.len()], Some(now + period_ns))
            }
            Source::Answering { .. } => return,
        };
        self.put(bus, SOURCES + source, frame);
        if let Some(next) = next {
            self.at(next, Event::Send { source, number: number + 1 });
        }
    }

    fn put(&mut self, bus: usize, sender: usize, frame: Frame) {
        self.originals += u64::from(sender >= SOURCES);
        let done = self.buses_free_at[bus].max(self.now_ns) + FRAME_NS;
        self.buses_free_at[bus] = done;
        let frame = self.number(frame);
        self.at(done, Event::OnBus { bus, sender, frame });
    }

    fn on_bus(&mut self, bus: usize, sender: usize, number: u32) {
        let content = self.frames[number as usize];
        let raw = content.image().id_word();
        for source in 0..self.sources.len() {
            let (at, what) = &self.sources[source];
            if *at != bus || sender == SOURCES + source {
                continue;
            }
            match *what {
                Source::Answering { asked, after_ns, .. } if raw == asked => {
                    self.at(self.now_ns + after_ns, Event::Answer { source });
                }
                Source::Tester { answer, pause_ns, .. } if raw == answer => {
                    self.at(self.now_ns + pause_ns, Event::Answer { source });
                }
                _ => {}
            }
        }
        for end in 0..self.ends.len() {
            if self.ends[end].bus == bus && end != sender {
                self.ends[end].outbound.push_back((self.now_ns, content));
                self.forward(end);
            }
        }
        if sender < SOURCES {
            self.pump(sender);
        }
    }

    /// Sends what waits for the peer.
    fn forward(&mut self, end: usize) {
        if self.ends[end].watch.holds_peer() {
            return;
        }
        let (way, jitter) = self.ways_ns[end / 2];
        while let Some((since, frame)) = self.ends[end].outbound.pop_front() {
            if since + MAX_AGE_NS < self.now_ns {
                self.ends[end].stale += 1;
                continue;
            }
            let way = way + (way as f64 * jitter * self.random.f64()) as u64;
            let other = end ^ 1;
            let at = (self.now_ns + way).max(self.ends[other].last_arrival_ns);
            self.ends[other].last_arrival_ns = at;
            let frame = self.number(frame);
            self.at(at, Event::Arrive { end: other, frame });
        }
    }

    fn pump(&mut self, number: usize) {
        let now = Moment::from_nanos(self.now_ns);
        let bus = self.ends[number].bus;
        loop {
            let end = &mut self.ends[number];
            while end.inbound.front().is_some_and(|(at, _)| at + MAX_AGE_NS < self.now_ns) {
                end.inbound.pop_front();
                end.watch.discarded(now);
                end.stale += 1;
            }
            end.watch.advance(end.inbound.iter().map(|(_, frame)| frame), now);
            let backlog = self.buses_free_at[bus].saturating_sub(self.now_ns) / FRAME_NS;
            let room = end
                .watch
                .room(end.inbound.iter().map(|(_, frame)| frame))
                .min((TRANSMIT_QUEUE.saturating_sub(backlog)) as usize);
            let Some((_, frame)) = end.inbound.front().copied().filter(|_| room > 0) else { break };
            end.inbound.pop_front();
            end.watch.wrote(&[frame], now);
            end.injected += 1;
            self.put(bus, number, frame);
        }
        let end = &mut self.ends[number];
        if let Some(news) = end.watch.take_news() {
            if matches!(news, News::Found { .. }) {
                end.inbound.clear();
            }
            self.news.push((self.now_ns, number, news));
        }
        let deadline = self.ends[number].watch.deadline();
        let was = std::mem::replace(&mut self.ends[number].deadline, deadline);
        if let Some(deadline) = deadline.filter(|_| was != deadline) {
            let at = deadline.as_nanos().max(self.now_ns + 1);
            self.at(at, Event::Pump { end: number });
        }
        self.forward(number);
    }
}

/// A frame with eight bytes of payload.
pub fn frame(identifier: u32, content: u64) -> Frame {
    Frame::data(Identifier::standard(identifier).unwrap(), &content.to_le_bytes()).unwrap()
}
