//! Frames at a steady rate that carry their number and when they were sent, and a meter of what comes out.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use canip_peer::bus::software::{self, Host};
use canip_peer::bus::{BusKind, Packet, Receiver, interpret};
use canip_peer::frame::Image;
use canip_peer::moment::WallTime;
use socket2::SockRef;

use crate::program::PATIENCE;
use crate::software_bus::Member;

/// Microseconds from the first call in this process to a time of the wall clock, by which the kernel says when it has
/// received something; an hour of them fits.
fn microseconds(time: SystemTime) -> u32 {
    static START: OnceLock<SystemTime> = OnceLock::new();
    let elapsed = time.duration_since(*START.get_or_init(SystemTime::now));
    // The call that starts it brings a time from right before.
    u32::try_from(elapsed.unwrap_or_default().as_micros()).unwrap()
}

/// A frame that is sent now.
pub fn frame(identifier: u16, number: u32) -> String {
    format!("{identifier:03X}#{number:08X}{:08X}", microseconds(SystemTime::now()))
}

/// Sends frames at a steady rate from a thread of its own, until it is told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    sender: Option<JoinHandle<Member>>,
}

impl Load {
    /// Sends with an identifier by which the meter knows the frames. The schedule does not wait for the answer.
    pub fn start(member: Member, identifier: u16, per_second: u32) -> Load {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let sender = std::thread::spawn(move || {
            let start = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let elapsed_us = start.elapsed().as_micros() as u64;
                let due = (elapsed_us * u64::from(per_second) / 1_000_000) as u32;
                for number in count.load(Ordering::Relaxed)..due {
                    member.send(&[frame(identifier, number)]);
                    count.store(number + 1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            member
        });
        Load { stop, sent, sender: Some(sender) }
    }

    /// Stops, and returns how many frames were sent, and who has sent them.
    pub fn stop(mut self) -> (u32, Member) {
        self.stop.store(true, Ordering::Relaxed);
        let member = self.sender.take().unwrap().join().unwrap();
        (self.sent.load(Ordering::Relaxed), member)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Of a test that fails.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Frames of a load that came out.
#[derive(Default)]
struct Arrivals {
    /// Their numbers, in the order in which they came.
    numbers: Vec<u32>,
    /// When each was sent.
    sent_at_us: Vec<u32>,
    /// The age of each, from then until it was on the bus. That it waited for this process to look at it does not count.
    ages_us: Vec<u32>,
}

/// A member of a bus that only looks at the frames of one identifier.
pub struct Meter {
    identifier: u16,
    socket: UnixDatagram,
    shared: Arc<(Mutex<Arrivals>, Condvar)>,
    reader: Option<JoinHandle<()>>,
    _host: Option<Host>,
}

/// What came out.
pub struct Reading {
    /// How many frames.
    pub count: u64,
    sent_at_us: Vec<u32>,
    ages_us: Vec<u32>,
}

/// Frames that came out too late.
#[derive(Debug)]
pub struct TooOld {
    /// How many.
    pub count: u64,
    /// How long it took until the last of them was sent after the first.
    pub sent_within: Duration,
}

impl Reading {
    /// Frames that were older than this, from when they were sent, if there are any.
    pub fn older_than(&self, age: Duration) -> Option<TooOld> {
        let frames = self.ages_us.iter().zip(&self.sent_at_us);
        let too_old = frames.filter(|(age_us, _)| Duration::from_micros(u64::from(**age_us)) > age);
        let first = too_old.clone().map(|(_, sent_at_us)| *sent_at_us).min()?;
        let last = too_old.clone().map(|(_, sent_at_us)| *sent_at_us).max()?;
        Some(TooOld {
            count: too_old.count() as u64,
            sent_within: Duration::from_micros(u64::from(last - first)),
        })
    }

    /// The age that half of the frames did not exceed.
    pub fn median_age(&self) -> Duration {
        let mut ages_us = self.ages_us.clone();
        ages_us.sort_unstable();
        Duration::from_micros(u64::from(ages_us[ages_us.len() / 2]))
    }
}

impl Meter {
    /// Joins a bus.
    pub fn join(bus: &str, identifier: u16) -> Meter {
        let (descriptor, host) = software::join(bus, None).unwrap().into_parts();
        let socket = UnixDatagram::from(descriptor);
        socket.set_nonblocking(false).unwrap();
        let shared = Arc::new((Mutex::new(Arrivals::default()), Condvar::new()));
        let (reading, filled) = (socket.try_clone().unwrap(), Arc::clone(&shared));
        let reader = std::thread::spawn(move || listen(&reading, identifier, &filled));
        Meter { identifier, socket, shared, reader: Some(reader), _host: host }
    }

    /// The identifier of the frames that it looks at.
    pub fn identifier(&self) -> u16 {
        self.identifier
    }

    /// Waits for a frame with this number or a later one.
    pub fn wait_for(&self, number: u32) {
        let (arrivals, changed) = &*self.shared;
        let has_come = |arrivals: &Arrivals| arrivals.numbers.last().is_some_and(|last| *last >= number);
        let waited = changed.wait_timeout_while(arrivals.lock().unwrap(), PATIENCE, |found| !has_come(found));
        let (arrivals, waited) = waited.unwrap();
        assert!(
            !waited.timed_out(),
            "frame {number} does not come; the last is {:?}",
            arrivals.numbers.last()
        );
    }

    /// The number of the last frame, and when it came.
    pub fn last(&self) -> Option<u32> {
        self.shared.0.lock().unwrap().numbers.last().copied()
    }

    /// Asserts that frames came once each and in order, and returns how many and how old.
    pub fn read(&self) -> Reading {
        let arrivals = self.shared.0.lock().unwrap();
        if let Some(pair) = arrivals.numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
            panic!("frame {} came after {}", pair[1], pair[0]);
        }
        Reading {
            count: arrivals.numbers.len() as u64,
            sent_at_us: arrivals.sent_at_us.clone(),
            ages_us: arrivals.ages_us.clone(),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // The host may have closed it before.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

fn listen(socket: &UnixDatagram, identifier: u16, shared: &(Mutex<Arrivals>, Condvar)) {
    let note = |image: Image<'_>, received_at: WallTime| {
        if image.id_word() != u32::from(identifier) {
            return;
        }
        let received_at = SystemTime::UNIX_EPOCH + Duration::from_nanos(received_at.as_nanos());
        let (number, sent_at_us) = image.payload().split_at(4);
        let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        let mut arrivals = shared.0.lock().unwrap();
        arrivals.numbers.push(word(number));
        arrivals.sent_at_us.push(word(sent_at_us));
        arrivals.ages_us.push(microseconds(received_at) - word(sent_at_us));
        shared.1.notify_all();
    };
    let mut receiver = Receiver::new();
    loop {
        // Waits; the receiver does not.
        SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]).unwrap();
        if receiver.receive(socket.as_fd()).unwrap() == 0 {
            return;
        }
        for received in receiver.iter() {
            match interpret(BusKind::Software, received.packet) {
                Packet::Frames(images) => {
                    let received_at = received.info.received_at.unwrap();
                    images.for_each(|image| note(image, received_at));
                }
                Packet::Welcome { .. } => {}
                // The test itself was too slow, which would look like a loss of the bridge's.
                Packet::Dropped { total } => panic!("the test did not read {total} frames in time"),
                Packet::Malformed => panic!("no frame: {:?}", received.packet),
            }
        }
    }
}
