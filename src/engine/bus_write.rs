//! Frames into a bus socket: `sendmmsg`, as many a call as the kernel takes, and several a packet where the bus has that.
//! A single packet goes with `send`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Packing, Written};
use crate::bus::Batch;
use crate::frame::Frame;

/// Packets a system call. The kernel's own limit is 1,024; a backlog is then written in few calls.
const PACKETS_PER_CALL: usize = 64;

/// The same where packets hold several images: a thousand frames, in 16 KiB of stack.
const BATCHES_PER_CALL: usize = 16;

const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

const _: () = assert!(BATCHES_PER_CALL <= PACKETS_PER_CALL);

/// What came of a system call.
enum Outcome {
    /// So many frames were taken, one or more.
    Taken(usize),
    /// It was not made.
    HeldBack,
}

/// Writes frames in order until all are taken, the kernel takes no more, or `may_go` holds them back.
#[inline]
pub fn write(
    bus: BorrowedFd<'_>,
    packing: Packing,
    frames: &[Frame],
    mut may_go: impl FnMut() -> bool,
) -> Written {
    let mut accepted = 0;
    while accepted < frames.len() {
        let rest = &frames[accepted..];
        let result = match packing {
            Packing::Batches if rest.len() > 1 => write_batches(bus, rest, &mut may_go),
            _ if rest.len() == 1 => write_one(bus, rest[0].image().as_bytes(), &mut may_go),
            _ => write_packets(bus, rest.iter().map(|frame| frame.image().as_bytes()), &mut may_go),
        };
        match result {
            Ok(Outcome::Taken(count)) => accepted += count,
            Ok(Outcome::HeldBack) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Written { accepted, stopped_by: Some(error) },
        }
    }
    Written { accepted, stopped_by: None }
}

/// One call for as many frames as its batches hold; an error only if not even the first was taken. Out of line, as
/// [`write_packets`], for the sake of a single frame, which has no use for their stack.
#[inline(never)]
fn write_batches(bus: BorrowedFd<'_>, frames: &[Frame], may_go: impl FnMut() -> bool) -> io::Result<Outcome> {
    let mut room = [const { MaybeUninit::<Batch>::uninit() }; BATCHES_PER_CALL];
    let mut packed: [&[u8]; BATCHES_PER_CALL] = [&[]; BATCHES_PER_CALL];
    let mut counts = [0; BATCHES_PER_CALL];
    let mut rest = frames.iter().peekable();
    let mut filled = 0;
    for room in &mut room {
        if rest.peek().is_none() {
            break;
        }
        let batch = room.write(Batch::EMPTY);
        while rest.next_if(|frame| batch.push(frame.image())).is_some() {}
        counts[filled] = batch.count();
        packed[filled] = batch.packet();
        filled += 1;
    }
    // A packet is taken whole or not at all, so this is exact.
    Ok(match write_packets(bus, packed[..filled].iter().copied(), may_go)? {
        Outcome::Taken(packets) => Outcome::Taken(counts[..packets].iter().sum()),
        Outcome::HeldBack => Outcome::HeldBack,
    })
}

/// One packet, without the headers that many need and the kernel must copy.
#[inline]
fn write_one(bus: BorrowedFd<'_>, packet: &[u8], mut may_go: impl FnMut() -> bool) -> io::Result<Outcome> {
    if !may_go() {
        return Ok(Outcome::HeldBack);
    }
    let no_address = std::ptr::null::<libc::sockaddr>();
    // The C library's `send` asks before and after whether the thread was cancelled: 60 instructions where this takes 22
    // (callgrind, glibc 2.36).
    // SAFETY: the packet is readable memory of the given length for the whole call, and no address is given.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendto,
            bus.as_raw_fd(),
            packet.as_ptr(),
            packet.len(),
            FLAGS,
            no_address,
            0 as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(Outcome::Taken(1)) }
}

/// One call for at most [`PACKETS_PER_CALL`] packets; an error only if not even the first was taken.
#[inline(never)]
fn write_packets<'a>(
    bus: BorrowedFd<'_>,
    packets: impl Iterator<Item = &'a [u8]>,
    mut may_go: impl FnMut() -> bool,
) -> io::Result<Outcome> {
    let mut vectors = [MaybeUninit::<libc::iovec>::uninit(); PACKETS_PER_CALL];
    let mut messages = [MaybeUninit::<libc::mmsghdr>::uninit(); PACKETS_PER_CALL];
    let mut count = 0;
    for ((vector, message), bytes) in vectors.iter_mut().zip(&mut messages).zip(packets) {
        let vector =
            vector.write(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        message.write(libc::mmsghdr { msg_hdr: header_of(vector), msg_len: 0 });
        count += 1;
    }
    if !may_go() {
        return Ok(Outcome::HeldBack);
    }
    // SAFETY: the first `count` headers were written above; each points to one vector, and each vector to bytes that are
    // borrowed for the whole call. The kernel only reads the bytes, so the cast from const is sound.
    let sent = unsafe { libc::sendmmsg(bus.as_raw_fd(), messages.as_mut_ptr().cast(), count, FLAGS) };
    usize::try_from(sent).map(Outcome::Taken).map_err(|_| io::Error::last_os_error())
}

fn header_of(vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths. (Its padding fields are private
    // on some C libraries, so it cannot be written out.)
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    header
}
