//! What tests on real SocketCAN share: whether this machine has it, interfaces that go with their test, and a meter
//! that counts what crosses between two interfaces.

#[path = "processors.rs"]
pub mod processors;

use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use socketcan::{
    CanFilter, CanFrame, CanSocket, EmbeddedFrame, ExtendedId, Frame, Id, Socket, SocketOptions, StandardId,
};

use crate::common;
use crate::program::PATIENCE;
use processors::{processor, stay_on};

/// Held by every test that uses real CAN: they measure rates and share can0, can1 and port 3333.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Whether a test on real CAN can run here ([`common::can_available`]); it keeps what is returned to its end.
pub fn can_available() -> Option<MutexGuard<'static, ()>> {
    common::can_available().then(alone)
}

/// Whether it may use can0 and can1 ([`common::controllers_available`]).
pub fn controllers_available() -> Option<MutexGuard<'static, ()>> {
    common::controllers_available().then(alone)
}

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs a command given as words separated by white space; its standard output, or what went wrong.
pub fn command(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.map_err(|error| format!("{line}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Runs `ip` with these arguments, which must succeed.
pub fn ip(arguments: &str) -> String {
    command(&format!("ip {arguments}")).unwrap()
}

/// Something made with `ip`, and the `ip` command that takes it away when this is dropped.
pub struct Made {
    undo: String,
}

impl Made {
    /// A virtual CAN interface of this name, up, with room for FD frames when `mtu` is 72.
    pub fn vcan(name: &str, mtu: u32) -> Made {
        ip(&format!("link add dev {name} type vcan"));
        let made = Made { undo: format!("link delete {name}") };
        ip(&format!("link set {name} mtu {mtu} up"));
        made
    }

    /// A controller set up at 500 kbit/s, whatever it was before: the kernel changes no bit rate of one that is up.
    pub fn controller(name: &str) -> Made {
        ip(&format!("link set {name} down"));
        ip(&format!("link set {name} up type can bitrate 500000"));
        Made { undo: format!("link set {name} down") }
    }

    /// An interface that is moved into a network namespace, and comes back.
    pub fn moved(name: &str, namespace: &str) -> Made {
        ip(&format!("link set {name} netns {namespace}"));
        Made { undo: format!("-n {namespace} link set {name} netns 1") }
    }

    /// A network namespace with its loopback interface up.
    pub fn namespace(name: &str) -> Made {
        ip(&format!("netns add {name}"));
        let made = Made { undo: format!("netns delete {name}") };
        ip(&format!("-n {name} link set lo up"));
        made
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // The test may have taken it away itself.
        let _ = command(&format!("ip {}", self.undo));
    }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The kernel's receive lists that name an interface: (list, line), lists being all, fil, inv, sff, eff, err.
/// `prefix` is empty, or `ip netns exec NAME`.
pub fn receive_lists(prefix: &str, interface: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for list in ["all", "fil", "inv", "sff", "eff"] {
        let text = command(&format!("{prefix} cat /proc/net/can/rcvlist_{list}")).unwrap();
        for line in text.lines().filter(|line| line.split_whitespace().next() == Some(interface)) {
            found.push((list.to_owned(), line.to_owned()));
        }
    }
    found
}

/// A socket that only sends.
pub fn sender(interface: &str) -> CanSocket {
    let socket = CanSocket::open(interface).unwrap_or_else(|error| panic!("{interface}: {error}"));
    socket.set_filter_drop_all().unwrap();
    socket
}

/// A socket that receives what these filters let through, with a receive queue for a whole test, and gives up
/// after `patience`.
pub fn receiver(interface: &str, filters: &[CanFilter], patience: Duration) -> CanSocket {
    let socket = CanSocket::open(interface).unwrap_or_else(|error| panic!("{interface}: {error}"));
    socket.set_filters(filters).unwrap();
    // 32 MiB: more than 40,000 frames at less than 800 bytes each, as the kernel counts them.
    socket.set_socket_option_int(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 32 << 20).unwrap();
    socket.set_read_timeout(patience).unwrap();
    socket
}

/// A data frame with a standard identifier up to 0x7FF, an extended one above.
pub fn frame(identifier: u32, payload: &[u8]) -> CanFrame {
    let identifier: Id = match u16::try_from(identifier).ok().and_then(StandardId::new) {
        Some(standard) => standard.into(),
        None => ExtendedId::new(identifier).unwrap().into(),
    };
    CanFrame::new(identifier, payload).unwrap()
}

/// Sends a frame; waits while the interface's transmit queue is full, as real controllers' are at once.
pub fn send(socket: &CanSocket, frame: &CanFrame) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = socket.write_frame(frame) {
        assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS), "{error}");
        assert!(Instant::now() < deadline, "the transmit queue stays full");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends one frame into an interface, and says whether it came out of the other within half a second.
pub fn crosses(from: &str, to: &str) -> bool {
    let exact = CanFilter::new(0x7E5, 0x7FF);
    let receiver = receiver(to, &[exact], Duration::from_millis(500));
    // An interface that is just coming up may refuse it.
    sender(from).write_frame(&frame(0x7E5, &[0x5A])).is_ok() && receiver.read_frame().is_ok()
}

/// Frames of one direction, at a steady rate.
#[derive(Clone, Copy)]
pub struct Load {
    /// Their identifier, by which both directions are told apart.
    pub identifier: u16,
    /// How many.
    pub frames: u32,
    /// How many a second; the schedule does not wait for the answer.
    pub per_second: u32,
}

/// What became of a load.
#[derive(PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Frames that did not come out.
    pub lost: u32,
    /// Frames that came out once more.
    pub twice: u32,
    /// Frames that came out after a later one.
    pub out_of_order: u32,
    /// Frames whose identifier was right and whose payload was not.
    pub mangled: u32,
    /// The schedule was overrun: this was another load than was asked for.
    pub is_late: bool,
}

impl Outcome {
    /// Every frame came out, once and in order.
    pub const ALL_WELL: Outcome = Outcome { lost: 0, twice: 0, out_of_order: 0, mangled: 0, is_late: false };
}

/// Sends a load into one interface and counts what comes out of the other.
pub fn measure(from: &str, to: &str, load: Load) -> Outcome {
    let filter = CanFilter::new(load.identifier.into(), 0x7FF);
    let receiver = receiver(to, &[filter], Duration::from_secs(10));
    let sender = sender(from);
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || send_load(&sender, load));
        let counted = count_load(&receiver, load);
        Outcome { is_late: !sending.join().unwrap(), ..counted }
    })
}

fn payload(index: u32) -> [u8; 8] {
    let [a, b, c, d] = index.to_be_bytes();
    [a, b, c, d, !a, !b, !c, !d]
}

/// Whether all went out on schedule.
fn send_load(socket: &CanSocket, load: Load) -> bool {
    // Each direction's on its own.
    stay_on(processor(usize::from(load.identifier >> 8)));
    let start = Instant::now();
    let mut sent = 0;
    while sent < load.frames {
        let elapsed_us = start.elapsed().as_micros() as u64;
        let due = (elapsed_us * u64::from(load.per_second) / 1_000_000 + 1).min(load.frames.into());
        while u64::from(sent) < due {
            send(socket, &frame(load.identifier.into(), &payload(sent)));
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let elapsed = start.elapsed().as_secs_f64();
    let planned = f64::from(load.frames) / f64::from(load.per_second);
    println!("{} frames sent in {elapsed:.2} s (planned: {planned:.2} s)", load.frames);
    elapsed < planned * 1.1 + 0.5
}

fn count_load(socket: &CanSocket, load: Load) -> Outcome {
    let mut seen = vec![false; load.frames as usize];
    let mut outcome = Outcome { lost: load.frames, ..Outcome::ALL_WELL };
    let mut next = 0;
    // Until its filter was set, the socket took what came from others, too.
    let next_frame = || {
        std::iter::from_fn(|| socket.read_frame().ok())
            .find(|frame| frame.raw_id() == u32::from(load.identifier))
    };
    while outcome.lost > 0 {
        let Some(received) = next_frame() else { break };
        let index = received.data().first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes));
        if index >= load.frames || received.data() != payload(index) {
            outcome.mangled += 1;
        } else if std::mem::replace(&mut seen[index as usize], true) {
            println!("frame {index} came twice, when {next} was due");
            outcome.twice += 1;
        } else {
            outcome.lost -= 1;
            outcome.out_of_order += u32::from(index < next);
            next = next.max(index + 1);
        }
    }
    // A frame that comes twice may come last.
    socket.set_read_timeout(Duration::from_millis(500)).unwrap();
    while next_frame().is_some() {
        outcome.twice += 1;
    }
    outcome
}

/// Sends numbered frames into one interface a few at a time, each few when `watched` has seen those before, and returns the
/// numbers in the order in which each of `watched` saw them; the first of these sets the pace.
///
/// For controllers: an SJA1000's receive queue holds 64 bytes, five frames of 8 bytes, and emulated ones deliver without
/// the time that frames take on a wire. Emulated ones have also been seen to deliver a frame twice or late, with no
/// bridge near: what a bridge is held to is what another socket on its interface saw.
pub fn carry_in_turns(from: &str, watched: &[&str], identifier: u16, frames: u32) -> Vec<Vec<u32>> {
    const FRAMES_A_TURN: u32 = 4;
    let filter = CanFilter::new(identifier.into(), 0x7FF);
    let receivers: Vec<CanSocket> =
        watched.iter().map(|interface| receiver(interface, &[filter], PATIENCE)).collect();
    let sender = sender(from);
    let mut seen = vec![Vec::new(); watched.len()];
    for first in (0..frames).step_by(FRAMES_A_TURN as usize) {
        let end = frames.min(first + FRAMES_A_TURN);
        for index in first..end {
            send(&sender, &frame(identifier.into(), &payload(index)));
        }
        let mut wanted = 0;
        for ((receiver, numbers), interface) in receivers.iter().zip(&mut seen).zip(watched) {
            // One that came twice stands for no other: it would leave one more in the controller's queue.
            let mut missing = (first..end).filter(|index| !numbers.contains(index)).collect::<Vec<_>>();
            while !missing.is_empty() || numbers.len() < wanted {
                let received = receiver.read_frame().unwrap_or_else(|error| {
                    panic!("{interface} has not seen {missing:?}, or {wanted} frames: {error}; it saw {numbers:?}")
                });
                let index = u32::from_be_bytes(*received.data().first_chunk().unwrap());
                assert_eq!(received.data(), payload(index), "on {interface}");
                numbers.push(index);
                missing.retain(|it| *it != index);
            }
            // What the first has seen more of, the others must see too.
            wanted = wanted.max(numbers.len());
        }
    }
    seen
}
