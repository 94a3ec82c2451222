//! Frames at a steady rate that carry their number and when they were sent, into a bus that may go away and come back, and a
//! meter of what comes out of one.
//!
//! A frame counts as given to a bus when the load's own socket hears it: on SocketCAN it is then in every socket of the
//! interface, the bridge's included, if that is open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use canip_peer::bus::software::{self, Host};
use canip_peer::bus::{self, BusKind, Packet, Receiver, interpret};
use canip_peer::frame::{Frame, Identifier, Image};
use socketcan::{CanFilter, CanSocket, Socket, SocketOptions};

use crate::can::eventually;
use crate::can::processors::{processor, stay_on};
use crate::program::PATIENCE;

/// A bus by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub kind: BusKind,
    pub name: String,
}

/// How long a thread waits before it looks whether it is told something.
const LOOK: Duration = Duration::from_millis(20);

/// Between two looks at what is due.
const PAUSE: Duration = Duration::from_millis(1);

/// A thread that is woken later than this is kept from running by others. By themselves emulated processors wake one within a
/// millisecond or two.
const STANDSTILL: Duration = Duration::from_millis(10);

/// Between two frames that are sent only to see that those before have come out.
const TRICKLE: Duration = Duration::from_millis(20);

/// Microseconds from the first call in this process to now, by the clock with which the kernel stamps frames; an hour of
/// them fits.
pub fn now_us() -> u32 {
    microseconds(SystemTime::now())
}

fn microseconds(time: SystemTime) -> u32 {
    static START: std::sync::OnceLock<SystemTime> = std::sync::OnceLock::new();
    let elapsed = time.duration_since(*START.get_or_init(|| time));
    u32::try_from(elapsed.unwrap_or_default().as_micros()).unwrap()
}

/// A socket for the frames of one identifier, and what must be kept as long.
struct Open {
    socket: OwnedFd,
    _host: Option<Host>,
}

impl Open {
    /// Also while the interface is down: the first frame after that is heard. With `echo` the socket hears its own.
    fn new(place: &Place, identifier: u16, echo: bool) -> Open {
        if place.kind == BusKind::Software {
            let (descriptor, host) = software::join(&place.name, None).unwrap().into_parts();
            let socket = UnixDatagram::from(descriptor);
            socket.set_nonblocking(false).unwrap();
            return Open { socket: socket.into(), _host: host };
        }
        let socket = CanSocket::open(&place.name).unwrap_or_else(|error| panic!("{place:?}: {error}"));
        socket.set_filters(&[CanFilter::new(identifier.into(), 0x7FF)]).unwrap();
        socket.set_recv_own_msgs(echo).unwrap();
        socket.set_socket_option_int(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 32 << 20).unwrap();
        socket.set_socket_option_int(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).unwrap();
        Open { socket: socket.as_fd().try_clone_to_owned().unwrap(), _host: None }
    }
}

/// Takes what is there; `note` sees the payload of each frame of the identifier, and when the kernel received it.
fn take(
    receiver: &mut Receiver,
    kind: BusKind,
    socket: BorrowedFd<'_>,
    identifier: u16,
    mut note: impl FnMut([u32; 2], u32),
) {
    loop {
        match receiver.receive(socket) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            // Down or gone, which is reported once; what had come before is still there.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ENODEV)) => continue,
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => return,
            Err(error) => panic!("{error}"),
        }
        for received in receiver.iter() {
            let at = received.info.received_at.unwrap_or_default();
            let at_us = microseconds(SystemTime::UNIX_EPOCH + Duration::from_nanos(at.as_nanos()));
            let mut note = |image: Image<'_>| {
                if image.id_word() == u32::from(identifier) {
                    let words = image.payload().as_chunks::<4>().0;
                    note([u32::from_be_bytes(words[0]), u32::from_be_bytes(words[1])], at_us);
                }
            };
            match interpret(kind, received.packet) {
                Packet::Frames(images) => images.for_each(&mut note),
                Packet::Welcome { .. } => {}
                // The test itself was too slow, which would look like a loss of the bridge's.
                Packet::Dropped { total } => panic!("the test did not read {total} frames in time"),
                Packet::Malformed => panic!("no frame: {:?}", received.packet),
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Full,
    /// One frame after the other, to see that those before have come out.
    Trickle,
    /// None; what was sent is still heard.
    Quiet,
    Stop,
}

/// A frame that the bus was given.
#[derive(Clone, Copy)]
struct Given {
    number: u32,
    sent_at_us: u32,
}

struct LoadState {
    open: Mutex<Open>,
    pace: Mutex<Pace>,
    given: Mutex<Vec<Given>>,
    next: AtomicU32,
    /// For how long the thread was not let run, in all.
    stood_still_us: AtomicU64,
}

/// Sends frames at a steady rate from a thread of its own. What the bus does not take is not sent later, and has no number.
pub struct Load {
    place: Place,
    identifier: u16,
    shared: Arc<LoadState>,
    sender: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(place: &Place, identifier: u16, per_second: u32) -> Load {
        let shared = Arc::new(LoadState {
            open: Mutex::new(Open::new(place, identifier, true)),
            pace: Mutex::new(Pace::Full),
            given: Mutex::default(),
            next: AtomicU32::new(0),
            stood_still_us: AtomicU64::new(0),
        });
        let (state, kind) = (Arc::clone(&shared), place.kind);
        let sender = std::thread::spawn(move || send_load(&state, kind, identifier, per_second));
        Load { place: place.clone(), identifier, shared, sender: Some(sender) }
    }

    /// Goes on with an interface that was made anew under the same name.
    pub fn reopen(&self) {
        *self.shared.open.lock().unwrap() = Open::new(&self.place, self.identifier, true);
    }

    /// The number that the next frame will have.
    pub fn next(&self) -> u32 {
        self.shared.next.load(Ordering::SeqCst)
    }

    /// For how long the machine has not let the load's thread run so far, and so other threads neither.
    pub fn stood_still(&self) -> Duration {
        Duration::from_micros(self.shared.stood_still_us.load(Ordering::SeqCst))
    }

    /// Waits for a frame that was sent at `since_us` or later and that the bus was given; when the first of those was sent.
    pub fn first_given_since(&self, since_us: u32) -> u32 {
        let is_since = |given: &&Given| given.sent_at_us >= since_us;
        eventually("the bus to take a frame", || {
            self.shared.given.lock().unwrap().last().filter(is_since).is_some()
        });
        let given = self.shared.given.lock().unwrap();
        // They are in order, as those that came out are.
        given[given.partition_point(|given| given.sent_at_us < since_us)].sent_at_us
    }

    /// Sends no more than it takes until `meter` has seen what was sent before, then nothing; the numbers that the bus
    /// was given.
    pub fn finish(mut self, meter: &Meter) -> Vec<u32> {
        let last = self.next();
        self.set(Pace::Trickle);
        meter.wait("the last frames", |arrivals| {
            arrivals.last().is_some_and(|arrival| arrival.number >= last)
        });
        self.set(Pace::Quiet);
        // Under way at this moment is one frame at most; a controller lets its sender hear it when it has left.
        drop(self.shared.open.lock().unwrap());
        let last = self.next() - 1;
        meter.wait("the very last frame", |arrivals| arrivals.last().is_some_and(|it| it.number == last));
        let has_heard = || self.shared.given.lock().unwrap().last().is_some_and(|it| it.number == last);
        eventually("the load to hear its last frame", has_heard);
        self.set(Pace::Stop);
        self.sender.take().unwrap().join().unwrap();
        self.shared.given.lock().unwrap().iter().map(|given| given.number).collect()
    }

    fn set(&self, pace: Pace) {
        *self.shared.pace.lock().unwrap() = pace;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Of a test that fails.
        if let Ok(mut pace) = self.shared.pace.lock() {
            *pace = Pace::Stop;
        }
    }
}

fn send_load(state: &LoadState, kind: BusKind, identifier: u16, per_second: u32) {
    if kind == BusKind::SocketCan {
        // Each direction's on its own.
        stay_on(processor(usize::from(identifier >> 8)));
    }
    let identifier_of_frames = Identifier::standard(identifier.into()).unwrap();
    let mut receiver = Receiver::new();
    let mut start = Instant::now();
    let mut sent = 0u64;
    loop {
        let pace = *state.pace.lock().unwrap();
        let due = match pace {
            Pace::Full => start.elapsed().as_micros() as u64 * u64::from(per_second) / 1_000_000,
            Pace::Trickle => sent + 1,
            Pace::Quiet => sent,
            Pace::Stop => return,
        };
        let open = state.open.lock().unwrap();
        while sent < due {
            let number = state.next.load(Ordering::SeqCst);
            let sent_at_us = now_us();
            let mut payload = [0; 8];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            payload[4..].copy_from_slice(&sent_at_us.to_be_bytes());
            let frame = Frame::data(identifier_of_frames, &payload).unwrap();
            if bus::send(open.socket.as_fd(), frame.image().as_bytes()).is_err() {
                // Down, gone, or busy: what was due meanwhile is not made up for.
                (start, sent) = (Instant::now(), 0);
                break;
            }
            sent += 1;
            state.next.store(number + 1, Ordering::SeqCst);
            if kind == BusKind::Software {
                state.given.lock().unwrap().push(Given { number, sent_at_us });
            }
        }
        if kind == BusKind::SocketCan {
            let mut given = state.given.lock().unwrap();
            take(&mut receiver, kind, open.socket.as_fd(), identifier, |[number, sent_at_us], _| {
                given.push(Given { number, sent_at_us });
            });
        }
        drop(open);
        let (pause, paused_at) = (if pace == Pace::Full { PAUSE } else { TRICKLE }, Instant::now());
        std::thread::sleep(pause);
        let late = paused_at.elapsed().saturating_sub(pause);
        if late >= STANDSTILL {
            state.stood_still_us.fetch_add(late.as_micros() as u64, Ordering::SeqCst);
        }
    }
}

/// A frame that came out.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub number: u32,
    pub sent_at_us: u32,
    pub received_at_us: u32,
}

struct MeterState {
    /// The socket of an interface that was made anew, for the reader to take.
    anew: Mutex<Option<Open>>,
    stop: AtomicBool,
    arrivals: Mutex<Vec<Arrival>>,
    changed: Condvar,
}

/// Sees what comes out of a bus.
pub struct Meter {
    place: Place,
    identifier: u16,
    shared: Arc<MeterState>,
    reader: Option<JoinHandle<()>>,
}

impl Meter {
    pub fn start(place: &Place, identifier: u16) -> Meter {
        let shared = Arc::new(MeterState {
            anew: Mutex::default(),
            stop: AtomicBool::new(false),
            arrivals: Mutex::default(),
            changed: Condvar::new(),
        });
        let (state, kind) = (Arc::clone(&shared), place.kind);
        let mut open = Open::new(place, identifier, false);
        let reader = std::thread::spawn(move || {
            let mut receiver = Receiver::new();
            while !state.stop.load(Ordering::SeqCst) {
                let is_ready = bus::wait_readable(open.socket.as_fd(), LOOK).unwrap();
                if is_ready {
                    let mut arrivals = state.arrivals.lock().unwrap();
                    let note = |[number, sent_at_us]: [u32; 2], received_at_us| {
                        arrivals.push(Arrival { number, sent_at_us, received_at_us });
                    };
                    take(&mut receiver, kind, open.socket.as_fd(), identifier, note);
                    state.changed.notify_all();
                } else if let Some(anew) = state.anew.lock().unwrap().take() {
                    // What had come out of the one before was taken.
                    open = anew;
                }
            }
        });
        Meter { place: place.clone(), identifier, shared, reader: Some(reader) }
    }

    /// Goes on with an interface that was made anew under the same name.
    pub fn reopen(&self) {
        *self.shared.anew.lock().unwrap() = Some(Open::new(&self.place, self.identifier, false));
    }

    /// Waits until `condition` holds of what has come out.
    pub fn wait(&self, what: &str, condition: impl Fn(&[Arrival]) -> bool) {
        let arrivals = self.shared.arrivals.lock().unwrap();
        let waited =
            self.shared.changed.wait_timeout_while(arrivals, PATIENCE, |arrivals| !condition(arrivals));
        let (arrivals, waited) = waited.unwrap();
        assert!(!waited.timed_out(), "waited in vain for {what} on {:?}: {:?}", self.place, arrivals.last());
    }

    /// Waits for a frame that was sent at `since_us` or later; the first of those.
    pub fn first_since(&self, since_us: u32) -> Arrival {
        self.wait("a frame", |arrivals| arrivals.last().is_some_and(|last| last.sent_at_us >= since_us));
        let arrivals = self.shared.arrivals.lock().unwrap();
        // An hour of them is much to look through; they are in order.
        arrivals[arrivals.partition_point(|arrival| arrival.sent_at_us < since_us)]
    }

    /// How many frames have come out.
    pub fn count(&self) -> usize {
        self.shared.arrivals.lock().unwrap().len()
    }

    /// Waits for so many more frames.
    pub fn wait_more(&self, count: usize) {
        let wanted = self.count() + count;
        self.wait("more frames", |arrivals| arrivals.len() >= wanted);
    }

    /// What came out; asserts that it came once each, and in order.
    pub fn into_arrivals(self) -> Vec<Arrival> {
        let arrivals = std::mem::take(&mut *self.shared.arrivals.lock().unwrap());
        if let Some(pair) = arrivals.windows(2).find(|pair| pair[0].number >= pair[1].number) {
            panic!("frame {} came after {}", pair[1].number, pair[0].number);
        }
        arrivals
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            let _of_a_test_that_fails = reader.join();
        }
    }
}
