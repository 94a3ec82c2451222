//! Where sessions meet an engine: one task that turns the engine and services the links.
//!
//! While frames come, the task blocks in the engine itself, in slices, and lets the rest of the process run in
//! between: a wake-up through the runtime takes more system calls. When nothing has come for a slice, it waits
//! like any other task, on the engine's wake descriptor. Told to poll busily, it asks the engine again and again
//! instead of blocking, as long as there are links.

use std::cell::{RefCell, RefMut};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use super::clock::Clock;
use super::host::Host;
use super::link::Ended;
use super::links::{Links, Questions};
use super::network_queue::SAMPLE_INTERVAL;
use super::platform::{Platform, System};
use super::worker::Worker;
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

/// The same while a bus is looked for or opened that a link waits for, which other tasks of the thread have a part in.
const OPENING_SLICE: Duration = Duration::from_millis(1);

/// How often a bus that is gone is looked for, where no notice of it comes (a software bus), or none that was read.
const BUS_RETRY: Duration = Duration::from_millis(100);

/// The engine and all links. Shared by the tasks of one thread; none holds it across an await.
pub struct DataPath<E: Engine, P: Platform = System> {
    inner: RefCell<Inner<E, P>>,
    /// Asks the kernel about the interfaces, in the order in which that is wanted; there is none without interfaces. Every task
    /// that has something asked waits for the answer, so that its queue holds one job for each of them.
    interfaces: Option<Worker<P>>,
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

struct Inner<E: Engine, P: Platform> {
    engine: E,
    links: Links<P>,
    /// When links must be serviced although nothing happened.
    deadline: Option<Moment>,
    /// Whoever looks for a bus that a link waits for, or opens it, has a share of this meanwhile.
    opening: Rc<()>,
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

impl<E: Engine, P: Platform + Send + 'static> DataPath<E, P> {
    /// No links yet. `interfaces` is asked about those of the buses, if they have any. With `busy_poll` the engine is never
    /// waited for while there are links.
    pub fn new(
        engine: E,
        links: Links<P>,
        interfaces: Option<Worker<P>>,
        host: Host,
        clock: Clock,
        busy_poll: bool,
    ) -> Self {
        let inner = Inner {
            engine,
            links,
            deadline: None,
            opening: Rc::default(),
            last_event: Moment::default(),
            alarm_at: Moment::default(),
            settled_at: Moment::default(),
            tend_at: Moment::default(),
            busy_poll,
        };
        Self {
            inner: RefCell::new(inner),
            interfaces,
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
    pub async fn note_interface_change(&self) {
        // It may have come back, and be waited for.
        let _opening = self.begin_opening();
        self.check_buses().await;
        self.bus_changed.notify_one();
        // Whoever waits comes before the next slice, or the next slice is short.
        tokio::task::yield_now().await;
    }

    /// Looks at the interfaces, and tells links and log what has changed. Frames go on crossing meanwhile.
    pub async fn check_buses(&self) {
        let questions = self.inner.borrow_mut().links.questions();
        self.ask(questions).await;
    }

    /// The same for those that have a controller.
    pub async fn check_controllers(&self) {
        let questions = self.inner.borrow_mut().links.questions_about_controllers();
        self.ask(questions).await;
    }

    async fn ask(&self, questions: Questions) {
        let Some(interfaces) = self.interfaces.as_ref().filter(|_| !questions.is_empty()) else { return };
        let answers = interfaces.ask(move |platform| questions.ask(platform)).await;
        let Inner { engine, links, .. } = &mut *self.inner.borrow_mut();
        links.note_answers(engine, answers);
        self.changed.notify_one();
    }

    /// Opens bus sockets for the links that want one, for ever.
    pub async fn provide_buses(&self) {
        loop {
            let (is_wanted, is_missing) = self.open_wanted_buses().await;
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

    /// Opens a bus socket for each bus that a link wants one of, as the interfaces are now: whether one was wanted, and
    /// whether one was not to be had.
    async fn open_wanted_buses(&self) -> (bool, bool) {
        let _opening = self.begin_opening();
        self.check_buses().await;
        let count = self.inner.borrow().links.bus_count();
        let (mut is_wanted, mut is_missing) = (false, false);
        for bus in 0..count {
            let Some(opening) = self.inner.borrow().links.wanted_bus(bus) else { continue };
            is_wanted = true;
            let opened = match opening {
                None => None,
                Some(opening) => Some(opening.open().await),
            };
            is_missing |= !self.give_bus(bus, opened);
        }
        (is_wanted, is_missing)
    }

    /// Slices are short until what comes back is dropped.
    fn begin_opening(&self) -> Rc<()> {
        Rc::clone(&self.inner.borrow().opening)
    }

    /// Hands a bus socket over, or the reason why there is none.
    fn give_bus(&self, bus: usize, opened: Option<Result<OpenBus, BusError>>) -> bool {
        let Inner { engine, links, .. } = &mut *self.inner.borrow_mut();
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

impl<E: Engine, P: Platform> Inner<E, P> {
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
        if Rc::strong_count(&self.opening) > 1 {
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::pin::pin;

    use super::super::pretended_kernel::{self, Kernel};
    use super::*;
    use crate::engine::epoll::EpollEngine;

    fn data_path(kernel: &Kernel) -> DataPath<EpollEngine, Kernel> {
        let interfaces = Worker::start("interfaces", kernel.clone(), || ()).unwrap();
        let engine = EpollEngine::new().unwrap();
        DataPath::new(engine, kernel.links(), Some(interfaces), Host::Tokio, kernel.clock, false)
    }

    /// Begins what the kernel keeps waiting.
    async fn begin<T>(check: impl Future<Output = T>) {
        tokio::select! {
            biased;
            _ = check => panic!("nobody has answered yet"),
            () = std::future::ready(()) => {}
        }
    }

    /// A frame of the bus arrives at the peer.
    async fn cross(wire: &UnixDatagram, peer: &tokio::net::UnixStream) {
        let mut image = [0; 16];
        image[..5].copy_from_slice(&[0x23, 0x01, 0, 0, 1]);
        wire.send(&image).unwrap();
        let mut frame = [0; 32];
        loop {
            peer.readable().await.unwrap();
            match peer.try_read(&mut frame) {
                Ok(length) => return assert_eq!((length, frame[2]), (14, 0x23)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[test]
    fn frames_cross_while_the_kernel_does_not_say_how_an_interface_is() {
        let kernel = Kernel::with_interface(1);
        let data_path = data_path(&kernel);
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let frames_and_look = async {
            let peer = tokio::net::UnixStream::from_std(theirs).unwrap();
            let _ended = data_path.open("peer".to_owned(), ours.into()).unwrap();
            data_path.bus_wanted.notified().await;
            let (socket, wire) = pretended_kernel::socket();
            assert!(data_path.give_bus(0, Some(Ok(socket))));

            kernel.replace_interface(2);
            kernel.lock();
            let mut check = pin!(data_path.check_buses());
            begin(&mut check).await;
            cross(&wire, &peer).await;
            cross(&wire, &peer).await;
            kernel.unlock();
            check.await;
            assert!(data_path.inner.borrow().links.wanted_bus(0).is_some(), "the answer was noted");
        };
        let run = async {
            tokio::select! {
                result = data_path.run() => result.unwrap(),
                () = frames_and_look => {}
            }
        };
        Host::Tokio.run(run).unwrap();
    }

    #[test]
    fn slices_are_short_while_a_bus_is_looked_for_that_may_be_waited_for() {
        let kernel = Kernel::with_interface(1);
        let data_path = data_path(&kernel);
        let slice = || data_path.inner.borrow().slice_length(kernel.clock.now());
        let looks = async {
            kernel.lock();
            let mut check = pin!(data_path.check_buses());
            begin(&mut check).await;
            assert_eq!(slice(), SLICE, "nobody waits for what is only looked at");
            {
                let mut notice = pin!(data_path.note_interface_change());
                begin(&mut notice).await;
                assert_eq!(slice(), OPENING_SLICE);
            }
            assert_eq!(slice(), SLICE, "given up");
            let mut wanted = pin!(data_path.open_wanted_buses());
            begin(&mut wanted).await;
            assert_eq!(slice(), OPENING_SLICE);
            kernel.unlock();
            check.await;
            assert_eq!(wanted.await, (false, false));
            assert_eq!(slice(), SLICE);
        };
        Host::Tokio.run(looks).unwrap();
    }
}
