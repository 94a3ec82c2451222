//! Answers load tests: a bus of this process's own, on which each frame comes back at once and says when it was here.
//!
//! Clients get it under a name that no other bus has ([`echo::BUS`]), so that nobody does who does not ask for it. The thread
//! sleeps until a frame comes. What it cannot send is dropped: it waits for nobody, so that its times are those of the link.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::SigSet;
use tracing::{debug, warn};

use super::bus_socket::BusSocket;
use super::clock::Clock;
use super::platform::Platform;
use super::{BridgeError, system};
use crate::bus::{self, Batch, BusAddress, BusError, BusKind, BusOptions, OpenBus, Packet, Receiver};
use crate::frame::filter::{FilterSet, KernelFilter};
use crate::frame::{Frame, Image};
use crate::metrics::{counted, was};
use crate::moment::Moment;
use crate::random;
use crate::wire::echo::{self, Echo};
use crate::wire::v5::{BusName, Name};

/// Between two lines about frames that were not answered, and between two tries to come back to a bus that broke.
const PAUSE: Duration = Duration::from_secs(1);

/// The bus, and the thread that answers on it, which ends with this process's hosting of the bus.
pub struct Reflector {
    address: BusAddress,
    stopping: Arc<AtomicBool>,
}

impl Reflector {
    /// Makes the bus, and answers from now on.
    ///
    /// # Errors
    /// The bus cannot be made, or no thread be had.
    pub fn start() -> Result<Self, BridgeError> {
        // By chance and not by process: containers may share the names of buses and not those of processes.
        let number = random::unique_number().map_err(system("draw a random number"))?;
        let name = format!("bench-{:08x}", number as u32);
        let address = BusAddress { kind: BusKind::Software, name, paced_bit_rate: None };
        let bus = bus::open(&address, &options())?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (thread_address, thread_stopping) = (address.clone(), Arc::clone(&stopping));
        std::thread::Builder::new()
            .name("reflector".to_owned())
            .spawn(move || serve(bus, &thread_address, &thread_stopping))
            .map_err(system("start a thread that answers load tests"))?;
        Ok(Self { address, stopping })
    }

    /// The bus as links use it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn bus(&self, platform: &impl Platform) -> Result<(BusSocket, String), BridgeError> {
        let filter = FilterSet::default().compile().expect("a filter without rules is one");
        let (bus, _) = BusSocket::start(self.address.clone(), options(), Rc::new(filter), platform)?;
        let line =
            "load tests are answered: canip_peer bench --connect with the name of this host".to_owned();
        Ok((bus.for_tests(), line))
    }

    /// The bus as peers are told of it.
    pub fn name(&self) -> BusName {
        BusName {
            matched_by: Name::new(echo::BUS),
            interface: Name::new(&self.address.name),
            identity: bus::identity::of(&self.address),
        }
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

fn options() -> BusOptions {
    BusOptions {
        receive_queue_bytes: 0,
        require_fd: true,
        kernel_filter: KernelFilter::everything(),
        error_mask: 0,
    }
}

/// Answers until the process is about to end; comes back to the bus if that breaks before.
fn serve(bus: OpenBus, address: &BusAddress, stopping: &AtomicBool) {
    // They are for the thread that waits for them.
    if let Err(errno) = SigSet::all().thread_block() {
        warn!("the thread that answers load tests may be woken by signals: {errno}");
    }
    let clock = Clock::start();
    let mut receiver = Receiver::new();
    let mut answers = Answers::default();
    let mut bus = Some(bus);
    loop {
        if let Some(open) = bus.take() {
            let end = answer(&open, &mut receiver, &mut answers, clock);
            if stopping.load(Ordering::Relaxed) {
                return;
            }
            debug!("{}: {end}; opening it anew", address.name);
        }
        bus = match bus::open(address, &options()) {
            Ok(open) => Some(open),
            Err(error) => {
                say_failure(&error);
                std::thread::sleep(PAUSE);
                None
            }
        };
    }
}

fn say_failure(error: &BusError) {
    warn!("load tests are not answered: {error}; retrying");
}

/// Answers until the bus ends; says why it did.
fn answer(bus: &OpenBus, receiver: &mut Receiver, answers: &mut Answers, clock: Clock) -> io::Error {
    let socket = bus.descriptor.as_fd();
    loop {
        let received = match bus::wait_readable(socket, Duration::MAX) {
            Ok(_) => receiver.receive(socket),
            Err(error) => Err(error),
        };
        match received {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            // After a reset, what had come before can still be read.
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset => {
                    continue;
                }
                _ => return error,
            },
        }
        // Not before it was received: the far end reckons with that.
        let now = clock.now();
        let send = |packet: &[u8]| bus::send(socket, packet);
        for packet in receiver.iter() {
            match bus::interpret(BusKind::Software, packet.packet) {
                Packet::Frames(images) => images.for_each(|image| answers.add(image, now, send)),
                Packet::Dropped { total } => answers.note_unread(total),
                Packet::Welcome { .. } | Packet::Malformed => {}
            }
        }
        answers.flush(send);
        answers.report(now);
    }
}

/// Answers that go out in one packet, and what became of those before.
struct Answers {
    batch: Batch,
    /// The number of the next one.
    next: u64,
    /// Frames that the bus did not hand over because they were not read in time, by its own count.
    unread: u64,
    /// What was not answered, and how much of it was said.
    lost: u64,
    said: u64,
    said_at: Moment,
}

impl Default for Answers {
    fn default() -> Self {
        Self { batch: Batch::EMPTY, next: 0, unread: 0, lost: 0, said: 0, said_at: Moment::default() }
    }
}

impl Answers {
    /// Answers a frame, with the next packet at the latest.
    fn add(&mut self, image: Image<'_>, now: Moment, send: impl Fn(&[u8]) -> io::Result<()>) {
        if !Echo::answers(image) {
            return;
        }
        let frame = Frame::copy_of(image);
        let echo = Echo { frame, received_ns: now.as_nanos(), number: self.next }.to_frame();
        self.next += 1;
        if !self.batch.push(echo.image()) {
            self.flush(send);
            assert!(self.batch.push(echo.image()), "an empty batch has room");
        }
    }

    fn flush(&mut self, send: impl Fn(&[u8]) -> io::Result<()>) {
        if self.batch.count() > 0 && send(self.batch.packet()).is_err() {
            // The bus is behind, or about to end, which the next read tells.
            self.lost += self.batch.count() as u64;
        }
        self.batch.clear();
    }

    /// The bus's own count, which begins anew with a bus that was opened anew.
    fn note_unread(&mut self, total: u64) {
        self.lost += total.saturating_sub(self.unread);
        self.unread = total;
    }

    /// Says what was lost, not more often than there is something to say to a person.
    fn report(&mut self, now: Moment) {
        let new = self.lost - self.said;
        if new > 0 && (self.said == 0 || now.since(self.said_at) >= PAUSE) {
            warn!(
                "load test: {} {} not answered, because this host did not get to it in time",
                counted(new, "frame"),
                was(new)
            );
            (self.said, self.said_at) = (self.lost, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Identifier;

    #[test]
    fn what_cannot_be_sent_uses_up_its_number_and_is_counted() {
        let mut answers = Answers::default();
        let frame = Frame::data(Identifier::standard(0x123).unwrap(), &[7; 8]).unwrap();
        let full = |_: &[u8]| Err(io::ErrorKind::WouldBlock.into());
        (0..20).for_each(|_| answers.add(frame.image(), Moment::from_nanos(5), full));
        answers.flush(full);
        assert_eq!((answers.lost, answers.next), (20, 20));
        let sent = std::cell::RefCell::new(Vec::new());
        let takes = |packet: &[u8]| {
            let Packet::Frames(images) = bus::interpret(BusKind::Software, packet) else {
                panic!("no frames")
            };
            sent.borrow_mut().extend(images.filter_map(Echo::read));
            Ok(())
        };
        (0..30).for_each(|_| answers.add(frame.image(), Moment::from_nanos(6), takes));
        answers.flush(takes);
        let numbers: Vec<u64> = sent.borrow().iter().map(|echo| echo.number).collect();
        assert_eq!(numbers, (20..50).collect::<Vec<_>>());
        assert!(sent.borrow().iter().all(|echo| echo.frame == frame && echo.received_ns == 6));
        assert_eq!(answers.lost, 20);
    }

    #[test]
    fn frames_that_are_not_asked_about_are_left_alone() {
        let mut answers = Answers::default();
        let short = Frame::data(Identifier::standard(0x123).unwrap(), &[7; 4]).unwrap();
        answers.add(short.image(), Moment::default(), |_| panic!("nothing is to be sent"));
        answers.flush(|_| panic!("nothing is to be sent"));
        assert_eq!((answers.next, answers.lost), (0, 0));
    }

    #[test]
    fn the_bus_counts_in_totals() {
        let mut answers = Answers::default();
        [3, 3, 10].into_iter().for_each(|total| answers.note_unread(total));
        assert_eq!(answers.lost, 10);
    }
}
