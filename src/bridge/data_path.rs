//! Where sessions meet an engine: one task that turns the engine and services the links.
//!
//! While frames come, the task blocks in the engine itself, in slices, and lets the rest of the process run in
//! between: a wake-up through the runtime takes more system calls. When nothing has come for a slice, it waits
//! like any other task, on the engine's wake descriptor. Told to poll busily, it asks the engine again and again
//! instead of blocking, as long as there are links.

use std::cell::{RefCell, RefMut};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use super::clock::Clock;
use super::host::Host;
use super::link::Ended;
use super::links::Links;
use super::network_queue::SAMPLE_INTERVAL;
use crate::bus::{self, BusError, OpenBus};
use crate::engine::Engine;
use crate::metrics::Counters;
use crate::metrics::histograms::Histograms;
use crate::moment::{Moment, Now};

/// How long the engine may keep the thread while frames come. Connecting clients and timers wait as long at most; a
/// signal ends it. To let other tasks run costs as much as a frame or two, so that at a thousand frames a second it
/// is done once in a hundred.
const SLICE: Duration = Duration::from_millis(100);

/// The same for a while after a link was opened: where one client comes, more do, and each takes several slices.
const SETTLING_SLICE: Duration = Duration::from_millis(20);
const SETTLING: Duration = Duration::from_secs(1);

/// The same while a bus socket is being opened, which other tasks of the thread have a part in.
const OPENING_SLICE: Duration = Duration::from_millis(1);

/// How often a bus that is gone is looked for, where no notice of it comes (a software bus), or none that was read.
const BUS_RETRY: Duration = Duration::from_millis(100);

/// The engine and all links. Shared by the tasks of one thread; none holds it across an await.
pub struct DataPath<E: Engine> {
    inner: RefCell<Inner<E>>,
    host: Host,
    clock: Clock,
    /// Wakes the task for what other tasks have changed.
    changed: Notify,
    /// Tells that there are fewer links than before.
    link_ended: Notify,
    /// Tells that a link wants a bus socket.
    bus_wanted: Notify,
    /// Tells that the interface may be there again.
    bus_changed: Notify,
}

struct Inner<E: Engine> {
    engine: E,
    links: Links,
    /// When links must be serviced although nothing happened.
    deadline: Option<Moment>,
    /// A bus socket is being opened.
    opening: bool,
    /// When the engine last had something to report.
    last_event: Moment,
    /// When the engine's alarm rings.
    alarm_at: Moment,
    /// Until when the last link that was opened is new.
    settled_at: Moment,
    /// When connections are to be seen to again: at most three system calls for each.
    tend_at: Moment,
    /// Asks the engine again and again instead of waiting.
    busy_poll: bool,
}

impl<E: Engine> DataPath<E> {
    /// No links yet. With `busy_poll` the engine is never waited for while there are some.
    pub fn new(engine: E, links: Links, host: Host, clock: Clock, busy_poll: bool) -> Self {
        let inner = Inner {
            engine,
            links,
            deadline: None,
            opening: false,
            last_event: Moment::default(),
            alarm_at: Moment::default(),
            settled_at: Moment::default(),
            tend_at: Moment::default(),
            busy_poll,
        };
        Self {
            inner: RefCell::new(inner),
            host,
            clock,
            changed: Notify::new(),
            link_ended: Notify::new(),
            bus_wanted: Notify::new(),
            bus_changed: Notify::new(),
        }
    }

    /// How many links there are.
    pub fn link_count(&self) -> usize {
        self.inner.borrow().links.count()
    }

    /// Counters of all links, past and present.
    pub fn totals(&self) -> Counters {
        let Inner { engine, links, .. } = &mut *self.inner.borrow_mut();
        links.totals(engine)
    }

    /// How late frames are.
    pub fn histograms(&self) -> RefMut<'_, Histograms> {
        RefMut::map(self.inner.borrow_mut(), |inner| &mut inner.links.histograms)
    }

    /// Says what went wrong on which link since the last call.
    pub fn report_incidents(&self) {
        let Inner { engine, links, .. } = &mut *self.inner.borrow_mut();
        links.report_incidents(engine);
    }

    /// Whether there is room for another connection of a server; makes some, if need be and possible.
    pub fn make_room(&self) -> bool {
        let Inner { engine, links, .. } = &mut *self.inner.borrow_mut();
        links.make_room(engine)
    }

    /// Begins a link on a connected stream; the result comes when it is over.
    ///
    /// # Errors
    /// The engine cannot take the stream.
    pub fn open(&self, name: String, stream: OwnedFd) -> io::Result<oneshot::Receiver<Ended>> {
        let (sender, receiver) = oneshot::channel();
        let Inner { engine, links, settled_at, .. } = &mut *self.inner.borrow_mut();
        links.open(engine, name, stream, sender)?;
        *settled_at = self.clock.now().after(SETTLING);
        self.changed.notify_one();
        Ok(receiver)
    }

    /// Comes back when a link has ended.
    pub async fn link_closed(&self) {
        self.link_ended.notified().await;
    }

    /// Begins the orderly end of all links.
    pub fn close_all(&self) {
        self.inner.borrow_mut().links.close_all();
        self.changed.notify_one();
    }

    /// An interface has changed: looks at them all, and whoever waits for a bus tries again at once.
    pub fn note_interface_change(&self) {
        self.check_buses();
        self.bus_changed.notify_one();
    }

    /// Looks at the interfaces, and tells links and log what has changed.
    pub fn check_buses(&self) {
        let Inner { engine, links, .. } = &mut *self.inner.borrow_mut();
        links.check_buses(engine);
        self.changed.notify_one();
    }

    /// Opens bus sockets for the links that want one, for ever.
    pub async fn provide_buses(&self) {
        self.inner.borrow_mut().opening = false;
        let count = self.inner.borrow().links.bus_count();
        loop {
            self.check_buses();
            let (mut is_wanted, mut is_missing) = (false, false);
            for bus in 0..count {
                let Some(opening) = self.inner.borrow().links.wanted_bus(bus) else { continue };
                is_wanted = true;
                let opened = match opening {
                    None => None,
                    Some(opening) => {
                        self.inner.borrow_mut().opening = true;
                        Some(opening.open().await)
                    }
                };
                is_missing |= !self.give_bus(bus, opened);
            }
            if !is_wanted {
                self.bus_wanted.notified().await;
            } else if is_missing {
                tokio::select! {
                    () = self.bus_changed.notified() => {}
                    () = tokio::time::sleep(BUS_RETRY) => {}
                }
            }
        }
    }

    /// Hands a bus socket over, or the reason why there is none.
    fn give_bus(&self, bus: usize, opened: Option<Result<OpenBus, BusError>>) -> bool {
        let Inner { engine, links, opening, .. } = &mut *self.inner.borrow_mut();
        *opening = false;
        let socket = links.note_opened(bus, opened);
        let there_is_one = socket.is_some();
        links.give_bus(engine, bus, socket);
        self.changed.notify_one();
        there_is_one
    }

    /// Ends all links that are left, so that their counters are whole.
    pub fn abandon_all(&self) {
        let Inner { engine, links, .. } = &mut *self.inner.borrow_mut();
        links.abandon_all(engine);
    }

    /// Moves frames for ever. May be dropped, and called anew.
    ///
    /// # Errors
    /// The engine is broken.
    pub async fn run(&self) -> io::Result<()> {
        let wake =
            bus::watched_for_reading(self.inner.borrow().engine.wake_descriptor().try_clone_to_owned()?)?;
        loop {
            let count = self.link_count();
            let busy = self.inner.borrow_mut().slice(self.clock)?;
            if self.link_count() < count {
                self.link_ended.notify_one();
            }
            if self.inner.borrow_mut().links.take_bus_wanted() {
                self.bus_wanted.notify_one();
            }
            if busy {
                // What came from where nothing did before is not watched for any longer than this.
                self.inner.borrow_mut().engine.disarm_wake()?;
                self.host.breathe().await?;
            } else {
                self.idle(&wake).await?;
            }
        }
    }

    /// Waits as a task among others until there is something to do.
    async fn idle(&self, wake: &AsyncFd<OwnedFd>) -> io::Result<()> {
        let (armed, deadline) = {
            let inner = &mut *self.inner.borrow_mut();
            (inner.engine.arm_wake()?, inner.deadline)
        };
        if armed {
            let expired = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep(self.clock.until(deadline)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = wake.readable() => ready?.clear_ready(),
                () = expired => {}
                () = self.changed.notified() => {}
            }
        } else {
            self.host.breathe().await?;
        }
        self.inner.borrow_mut().engine.disarm_wake()
    }
}

impl<E: Engine> Inner<E> {
    /// Turns the engine until the slice is over. Returns whether anything happened within the length of a slice: if not
    /// it is cheaper to wait as a task.
    #[inline(never)]
    fn slice(&mut self, clock: Clock) -> io::Result<bool> {
        let mut now = clock.read();
        if self.links.is_empty() {
            // Nothing but what links that have ended leave behind, while the next client may be waiting.
            self.service(now);
            self.engine.turn(Duration::ZERO, &mut self.links)?;
            return Ok(false);
        }
        if self.tend_at <= now.monotonic {
            self.links.tend_connections(&self.engine, now.monotonic);
            self.tend_at = now.monotonic.after(SAMPLE_INTERVAL);
        }
        let polls = self.busy_poll && self.links.count() > 0;
        let end = if polls {
            now.monotonic.after(self.slice_length(now.monotonic))
        } else {
            self.begin_slice(now.monotonic)?
        };
        let mut is_interrupted = false;
        loop {
            self.service(now);
            if is_interrupted {
                // By a signal: the task that waits for it comes first.
                return Ok(true);
            }
            if now.monotonic >= end || self.links.is_bus_wanted() {
                break;
            }
            let until = self.deadline.map_or(end, |deadline| deadline.min(end));
            // A timer for each wait would cost more than a frame: there is one for the slice, and one for a deadline
            // within it.
            let happened = if polls {
                self.engine.turn(Duration::ZERO, &mut self.links)?
            } else if until < end {
                self.engine.turn(until.since(now.monotonic), &mut self.links)?
            } else {
                self.engine.turn_to_alarm(&mut self.links)?
            };
            now = self.links.now();
            if happened {
                self.last_event = now.monotonic;
            }
            is_interrupted = !happened && now.monotonic < until && !polls;
        }
        Ok(polls || self.links.is_bus_wanted() || now.monotonic < self.last_event.after(SLICE))
    }

    fn slice_length(&self, now: Moment) -> Duration {
        if self.opening {
            OPENING_SLICE
        } else if now < self.settled_at {
            SETTLING_SLICE
        } else {
            SLICE
        }
    }

    /// Sets the alarm that ends a slice, unless a signal has ended the one before it early: then the rest is gone on
    /// with. Returns when the slice is over.
    fn begin_slice(&mut self, now: Moment) -> io::Result<Moment> {
        let length = self.slice_length(now);
        let end = now.after(length);
        if self.alarm_at <= now.after(length / 2) || end < self.alarm_at {
            self.engine.set_alarm(length)?;
            self.alarm_at = end;
        }
        Ok(self.alarm_at)
    }

    #[inline(never)]
    fn service(&mut self, now: Now) {
        let all = self.deadline.is_some_and(|deadline| deadline <= now.monotonic);
        if self.links.service(&mut self.engine, now, all) || all {
            self.deadline = self.links.deadline();
        }
    }
}
