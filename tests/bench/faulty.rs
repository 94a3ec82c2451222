//! A bridge between two buses that treats some frames as it should not.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use canip_peer::bus::software::{self, Host};
use canip_peer::bus::{BATCH_BYTES, BusKind, Packet, interpret};
use canip_peer::frame::Frame;

use crate::program::unique_name;

/// What becomes of a frame.
#[derive(Clone, Copy)]
pub enum Treatment {
    Pass,
    Drop,
    Double,
    /// It goes behind the next one.
    Swap,
    /// One bit of its payload is another.
    Corrupt,
    /// It goes back to where it came from as well.
    Return,
}

/// Carries frames from one bus to another, in this process.
pub struct FaultyBridge {
    pub near: String,
    pub far: String,
    socket: UnixDatagram,
    carrier: Option<JoinHandle<()>>,
    least_held_ns: Arc<AtomicU64>,
    /// Host both buses.
    _hosts: [Option<Host>; 2],
}

impl FaultyBridge {
    /// `treat` is asked for each frame, by its number.
    pub fn start(treat: impl Fn(u64) -> Treatment + Send + 'static) -> FaultyBridge {
        FaultyBridge::start_slow(Duration::ZERO, treat)
    }

    /// The same, and every frame is held back for so long.
    pub fn start_slow(delay: Duration, treat: impl Fn(u64) -> Treatment + Send + 'static) -> FaultyBridge {
        let (near, far) = (unique_name("near"), unique_name("far"));
        let [(from, from_host), (to, to_host)] = [&near, &far].map(|name| {
            let (descriptor, host) = software::join(name, None).unwrap().into_parts();
            let socket = UnixDatagram::from(descriptor);
            socket.set_nonblocking(false).unwrap();
            (socket, host)
        });
        let socket = from.try_clone().unwrap();
        let least_held_ns = Arc::new(AtomicU64::new(u64::MAX));
        let held = Arc::clone(&least_held_ns);
        let carrier = std::thread::spawn(move || carry(&from, &to, treat, delay, &held));
        FaultyBridge {
            near,
            far,
            socket,
            carrier: Some(carrier),
            least_held_ns,
            _hosts: [from_host, to_host],
        }
    }
}

impl FaultyBridge {
    /// The shortest time that a frame was held back.
    pub fn least_held(&self) -> Duration {
        Duration::from_nanos(self.least_held_ns.load(Ordering::Relaxed))
    }
}

impl Drop for FaultyBridge {
    fn drop(&mut self) {
        // The host may have closed it before.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(carrier) = self.carrier.take() {
            carrier.join().unwrap();
        }
    }
}

fn carry(
    from: &UnixDatagram,
    to: &UnixDatagram,
    treat: impl Fn(u64) -> Treatment,
    delay: Duration,
    least_held_ns: &AtomicU64,
) {
    let mut packet = [0; BATCH_BYTES];
    let mut number = 0;
    let mut held_back: Option<Frame> = None;
    let send = |to: &UnixDatagram, frame: &Frame| {
        to.send(frame.image().as_bytes()).unwrap();
    };
    loop {
        let length = from.recv(&mut packet).unwrap();
        if length == 0 {
            return;
        }
        if !delay.is_zero() {
            // What is measured: frames are so far apart that each is held back by the whole of it.
            let began = Instant::now();
            std::thread::sleep(delay);
            least_held_ns.fetch_min(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        match interpret(BusKind::Software, &packet[..length]) {
            Packet::Frames(images) => {
                for image in images {
                    let frame = Frame::copy_of(image);
                    let treatment = treat(number);
                    number += 1;
                    match treatment {
                        Treatment::Pass => send(to, &frame),
                        Treatment::Drop => {}
                        Treatment::Double => (0..2).for_each(|_| send(to, &frame)),
                        Treatment::Corrupt => send(to, &corrupted(frame)),
                        Treatment::Return => [to, from].into_iter().for_each(|bus| send(bus, &frame)),
                        Treatment::Swap => {
                            held_back = Some(frame);
                            continue;
                        }
                    }
                    if let Some(frame) = held_back.take() {
                        send(to, &frame);
                    }
                }
            }
            Packet::Welcome { .. } => {}
            Packet::Dropped { total } => panic!("the bridge itself did not read {total} frames in time"),
            Packet::Malformed => panic!("no frame: {:?}", &packet[..length]),
        }
    }
}

fn corrupted(frame: Frame) -> Frame {
    let image = frame.image();
    let mut payload = image.payload().to_vec();
    payload[2] ^= 0x10;
    Frame::data(image.identifier(), &payload).unwrap()
}
