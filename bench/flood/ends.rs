//! Where frames come from and where they go: numbered ones, in payloads on a bus and as sequence numbers on a stream.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use canip_peer::bus::{BATCH_BYTES, Batch, BusAddress, BusKind, Packet, interpret, software};
use canip_peer::frame::{Frame, Identifier};

/// How often an end looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// A version 4.1 frame with a sequence number.
const WIRE_BYTES: usize = 18;
const SEQUENCE: std::ops::Range<usize> = 14..18;
/// Frames that are written to a stream at once: as many as a bridge reads at once.
const STREAM_FRAMES: usize = 3_640;

/// What ends the threads: first the writer, then the reader.
#[derive(Default)]
pub struct Course {
    written: AtomicBool,
    over: AtomicBool,
}

impl Course {
    pub fn end(&self) {
        self.written.store(true, Ordering::Relaxed);
        self.over.store(true, Ordering::Relaxed);
    }

    /// Ends the writer, waits until nothing has arrived for `silence`, and ends the reader.
    pub fn finish(&self, progress: &Progress, silence: Duration) {
        self.written.store(true, Ordering::Relaxed);
        let mut before = None;
        while before != Some(progress.received()) {
            before = Some(progress.received());
            std::thread::sleep(silence);
        }
        self.end();
    }

    fn is_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// What has arrived.
#[derive(Default)]
pub struct Progress {
    received: AtomicU64,
    out_of_order: AtomicU64,
    /// What the bus dropped because the reader here was too slow for it.
    unread: AtomicU64,
}

impl Progress {
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub fn out_of_order(&self) -> u64 {
        self.out_of_order.load(Ordering::Relaxed)
    }

    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    /// Frames with these numbers have arrived; gives the number after the last.
    fn note(&self, next: u64, numbers: impl Iterator<Item = u64>) -> u64 {
        let (mut next, mut count, mut out_of_order) = (next, 0, 0);
        for number in numbers {
            out_of_order += u64::from(number < next);
            next = number + 1;
            count += 1;
        }
        self.received.fetch_add(count, Ordering::Relaxed);
        self.out_of_order.fetch_add(out_of_order, Ordering::Relaxed);
        next
    }
}

/// Joins a bus, and hosts it, as it is the first to join.
pub fn join(bus: &str) -> Result<UnixDatagram, Box<dyn Error>> {
    let address = BusAddress::parse(BusKind::Software, bus)?;
    // Receiving and sending are the same calls on any socket that keeps packets apart.
    let socket = UnixDatagram::from(software::open(&address)?.descriptor);
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(LOOK))?;
    socket.set_write_timeout(Some(LOOK))?;
    Ok(socket)
}

/// A connection to a server that has answered the greeting.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"CANIP/4.1 FEAT=SEQ\n")?;
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
    }
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    Ok(stream)
}

/// When the next frames are due, by a schedule that waits for nothing.
struct Schedule {
    start: Instant,
    rate: u64,
}

impl Schedule {
    fn new(rate: u64) -> Self {
        Self { start: Instant::now(), rate }
    }

    fn wait(&self, number: u64) {
        if self.rate > 0 {
            let due = Duration::from_secs_f64(number as f64 / self.rate as f64);
            std::thread::sleep(due.saturating_sub(self.start.elapsed()));
        }
    }
}

/// What a writer writes to a bus.
#[derive(Clone, Copy)]
pub struct Load {
    /// Frames a second; 0 for as many as are taken.
    pub rate: u64,
    /// Frames a packet.
    pub packet_frames: usize,
}

/// Writes packets of several frames.
pub fn write_bus(bus: &UnixDatagram, load: Load, course: &Course, sent: &AtomicU64) -> io::Result<()> {
    let identifier = Identifier::standard(0x123).expect("eleven bits");
    let schedule = Schedule::new(load.rate);
    let mut batch = Batch::EMPTY;
    for first in (0..).step_by(load.packet_frames) {
        schedule.wait(first);
        batch.clear();
        for number in first..first + load.packet_frames as u64 {
            let frame = Frame::data(identifier, &number.to_be_bytes()).expect("eight bytes");
            assert!(batch.push(frame.image()));
        }
        if !retry(course, || bus.send(batch.packet()))? {
            break;
        }
        sent.fetch_add(load.packet_frames as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Writes version 4.1 frames.
pub fn write_stream(mut stream: TcpStream, rate: u64, course: &Course, sent: &AtomicU64) -> io::Result<()> {
    let schedule = Schedule::new(rate);
    // Standard identifier 0x123, eight bytes: the frame's number.
    let mut frame = [0; WIRE_BYTES];
    frame[1..4].copy_from_slice(&[8, 0x23, 0x01]);
    let mut bytes = Vec::with_capacity(STREAM_FRAMES * WIRE_BYTES);
    for first in (0..).step_by(STREAM_FRAMES) {
        schedule.wait(first);
        bytes.clear();
        for number in first..first + STREAM_FRAMES as u64 {
            frame[6..14].copy_from_slice(&number.to_be_bytes());
            frame[SEQUENCE].copy_from_slice(&(number as u32).to_be_bytes());
            bytes.extend_from_slice(&frame);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // Told to stop within a buffer, it still writes the rest: frames count whole.
            match stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        sent.fetch_add(STREAM_FRAMES as u64, Ordering::Relaxed);
        if course.is_written() {
            break;
        }
    }
    Ok(())
}

/// Counts the frames that arrive on a bus until the course is over.
pub fn read_bus(bus: &UnixDatagram, course: &Course, progress: &Progress) -> io::Result<()> {
    let mut packet = [0; BATCH_BYTES];
    let mut next = 0;
    read_until_over(course, || {
        let length = bus.recv(&mut packet)?;
        match interpret(BusKind::Software, &packet[..length]) {
            Packet::Frames(images) => {
                next = progress.note(next, images.map(|image| u64::from_be_bytes(image.classic_payload())));
            }
            Packet::Dropped { total } => progress.unread.store(total, Ordering::Relaxed),
            other => return Err(io::Error::other(format!("{other:?} from a bus"))),
        }
        Ok(())
    })
}

/// Counts the frames that arrive on a stream until the course is over.
pub fn read_stream(mut stream: TcpStream, course: &Course, progress: &Progress) -> io::Result<()> {
    let mut bytes = vec![0; 256 * 1024];
    let (mut filled, mut next) = (0, 0);
    read_until_over(course, || {
        match stream.read(&mut bytes[filled..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        let frames = bytes[..filled].chunks_exact(WIRE_BYTES);
        let rest = frames.remainder().len();
        let number = |frame: &[u8]| u64::from_be_bytes(frame[6..14].try_into().expect("eight bytes"));
        next = progress.note(next, frames.map(number));
        bytes.copy_within(filled - rest..filled, 0);
        filled = rest;
        Ok(())
    })
}

/// Reads until nothing comes and the course is over.
fn read_until_over(course: &Course, mut read: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match read() {
            Ok(()) => {}
            // The bridge may have been ended since, too.
            Err(_) if course.is_over() => return Ok(()),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes once there is room; false if the course was over before.
fn retry(course: &Course, mut write: impl FnMut() -> io::Result<usize>) -> io::Result<bool> {
    while !course.is_written() {
        match write() {
            Ok(_) => return Ok(true),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
