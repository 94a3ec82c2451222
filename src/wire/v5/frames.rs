//! Frame records: entries of a time and a kernel image, written one by one into a buffer, and read the same way.
//!
//! ```text
//!  0                  8        12    13      14   15    16
//! +------------------+--------+-----+-------+----+-----+---------------------+
//! | time, ns         | id word| len | flags | 0  | raw | payload, 8 or 64    |
//! +------------------+--------+-----+-------+----+-----+---------------------+
//! ```

use super::{HEADER_BYTES, Header, MAX_BODY_BYTES, Malformed, RecordKind, word};
use crate::buffer::SendBuffer;
use crate::frame::{
    CLASSIC_BYTES, ERROR_FLAG, EXTENDED_FLAG, FD_BYTES, Frame, Image, REMOTE_FLAG, STANDARD_MAX,
};
use crate::moment::WallTime;

const TIME_BYTES: usize = 8;
const LENGTH: usize = TIME_BYTES + 4;

/// The size of the entries of a frame record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntrySize {
    /// Classic, remote and error frames.
    Classic,
    /// CAN FD frames.
    Fd,
}

impl EntrySize {
    /// Of the records of a kind; classic for those that hold no frames.
    pub fn of(kind: RecordKind) -> Self {
        if kind == RecordKind::FdFrames { Self::Fd } else { Self::Classic }
    }

    /// Bytes of an entry.
    pub const fn bytes(self) -> usize {
        TIME_BYTES
            + match self {
                Self::Classic => CLASSIC_BYTES,
                Self::Fd => FD_BYTES,
            }
    }

    /// Entries that a record holds at most.
    const fn limit(self) -> u16 {
        // Below 2^16 by the assertion.
        (MAX_BODY_BYTES / self.bytes()) as u16
    }

    fn record_kind(self) -> RecordKind {
        match self {
            Self::Classic => RecordKind::Frames,
            Self::Fd => RecordKind::FdFrames,
        }
    }
}

const _: () = assert!(MAX_BODY_BYTES / EntrySize::Classic.bytes() <= u16::MAX as usize);

/// An entry of a frame record, checked.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads an entry, all of whose bytes are given.
    ///
    /// # Errors
    /// It is no image that a kernel would take.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let entry = Self { bytes };
        let (id_word, length) = (entry.id_word(), bytes[LENGTH]);
        let is_fd = bytes.len() == EntrySize::Fd.bytes();
        let room = if is_fd { 64 } else { 8 };
        let out_of_range =
            id_word & (EXTENDED_FLAG | ERROR_FLAG) == 0 && id_word & !REMOTE_FLAG > STANDARD_MAX;
        let not_fd = is_fd && id_word & (REMOTE_FLAG | ERROR_FLAG) != 0;
        if length > room || out_of_range || not_fd {
            return Err(Malformed::Image { id_word, length });
        }
        Ok(entry)
    }

    /// When the sender's kernel received the frame, by the sender's clock.
    pub fn time(self) -> WallTime {
        WallTime::from_nanos(word(self.bytes, 0))
    }

    /// The frame as this host's kernel takes it.
    pub fn to_frame(self) -> Frame {
        Frame::from_little_endian(&self.bytes[TIME_BYTES..])
    }

    /// Whether it is an error frame: what a controller saw, and no frame of a bus.
    pub fn is_error(self) -> bool {
        self.id_word() & ERROR_FLAG != 0
    }

    fn id_word(self) -> u32 {
        let at = &self.bytes[TIME_BYTES..TIME_BYTES + 4];
        u32::from_le_bytes(at.try_into().expect("four bytes"))
    }
}

/// A record that the next frame may still go into.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Where its header is, and where it ends, in the buffer.
    start: usize,
    end: usize,
    size: EntrySize,
    bus: u8,
    count: u16,
    /// Of the frame that it can go on with.
    next: u64,
}

impl Open {
    /// Whether the frame of this number belongs into the record, at the end of what a buffer holds.
    #[inline]
    fn goes_on(&self, filled_bytes: usize, size: EntrySize, bus: u8, number: u64) -> bool {
        (self.next, self.end, self.bus, self.size) == (number, filled_bytes, bus, size)
            && self.count < size.limit()
    }
}

/// Writes frames into a buffer: into the record that was written last, as long as bus, size and number go on.
#[derive(Clone, Debug, Default)]
pub struct RecordWriter {
    open: Option<Open>,
}

impl RecordWriter {
    /// Writes a frame behind what the buffer holds, and leaves `reserve` bytes free; false, and nothing changed, if it has
    /// no room.
    #[must_use]
    #[inline]
    pub fn write(
        &mut self,
        out: &mut SendBuffer,
        reserve: usize,
        bus: u8,
        number: u64,
        time: WallTime,
        image: Image<'_>,
    ) -> bool {
        // Each with the number of bytes as a constant: a copy is then two instructions, and not a call.
        match image.as_bytes().try_into() {
            Ok(image) => self.write_entry::<CLASSIC_BYTES>(out, reserve, bus, number, time, image),
            Err(_) => {
                let image = image.as_bytes().try_into().expect("an image has one of two sizes");
                self.write_entry::<FD_BYTES>(out, reserve, bus, number, time, image)
            }
        }
    }

    #[inline]
    fn write_entry<const IMAGE_BYTES: usize>(
        &mut self,
        out: &mut SendBuffer,
        reserve: usize,
        bus: u8,
        number: u64,
        time: WallTime,
        image: &[u8; IMAGE_BYTES],
    ) -> bool {
        let size = if IMAGE_BYTES == FD_BYTES { EntrySize::Fd } else { EntrySize::Classic };
        let start = out.filled_bytes();
        let mut open = match self.open {
            Some(open) if open.goes_on(start, size, bus, number) => open,
            _ => Open { start, end: start + HEADER_BYTES, size, bus, count: 0, next: number },
        };
        let end = open.end + size.bytes();
        if out.room() < end - start + reserve {
            return false;
        }
        let Some(vacant) = out.vacant(end - start) else { return false };
        let entry = &mut vacant[open.end - start..];
        entry[..TIME_BYTES].copy_from_slice(&time.as_nanos().to_le_bytes());
        entry[TIME_BYTES..TIME_BYTES + IMAGE_BYTES].copy_from_slice(image);
        // The kernel's order is the wire's, except on big-endian hosts.
        let id_word = u32::from_ne_bytes([image[0], image[1], image[2], image[3]]);
        entry[TIME_BYTES..TIME_BYTES + 4].copy_from_slice(&id_word.to_le_bytes());
        out.advance(end - start);
        (open.end, open.count, open.next) = (end, open.count + 1, number + 1);
        let header = Header {
            kind: size.record_kind(),
            bus,
            count: open.count,
            body_bytes: u32::from(open.count) * size.bytes() as u32,
            number: open.next - u64::from(open.count),
        };
        header.write(&mut out.filled_mut()[open.start..]);
        self.open = Some(open);
        true
    }

    /// The buffer was taken away, or something else was written to it: the next frame begins a record.
    pub fn close(&mut self) {
        self.open = None;
    }
}

/// Takes the first `frames` frames out of a buffer of unsent records, and tells which bus loses how many. Records without
/// frames that stand in front stay. Where a record is cut, the rest of it gets a header of its own, in the place of the last
/// entry that is taken out.
pub fn discard_front(buffer: &mut SendBuffer, mut frames: u64, mut discarded: impl FnMut(u8, u64)) {
    let unsent = buffer.unsent_mut();
    let leading = leading_control(unsent);
    let mut end = leading;
    while frames > 0 {
        let Ok(Some(mut header)) = Header::parse(&unsent[end..]) else { break };
        let entry_bytes = EntrySize::of(header.kind).bytes();
        let cut = frames.min(u64::from(header.count));
        frames -= cut;
        discarded(header.bus, cut);
        if cut == u64::from(header.count) {
            end += HEADER_BYTES + header.body_bytes as usize;
            continue;
        }
        header.count -= cut as u16;
        header.number += cut;
        header.body_bytes -= cut as u32 * entry_bytes as u32;
        end += cut as usize * entry_bytes;
        header.write(&mut unsent[end..]);
    }
    unsent.copy_within(..leading, end - leading);
    buffer.consume(end - leading);
}

/// Bytes of the records without frames that a buffer begins with.
fn leading_control(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Ok(Some(header)) = Header::parse(&bytes[length..]) {
        if matches!(header.kind, RecordKind::Frames | RecordKind::FdFrames) {
            break;
        }
        length += HEADER_BYTES + header.body_bytes as usize;
    }
    length
}

/// Moves frames from the front of a buffer of unsent records to another one: as many as fit into `limit` bytes with the
/// records without frames before and between them, and one at the least. Returns how many. A record is cut as
/// [`discard_front`] does it.
pub fn move_front(buffer: &mut SendBuffer, into: &mut SendBuffer, limit: usize) -> u64 {
    let mut moved = 0;
    let mut left = limit;
    while let Ok(Some(mut header)) = Header::parse(buffer.unsent()) {
        let record_bytes = HEADER_BYTES + header.body_bytes as usize;
        if record_bytes <= left {
            if !into.append(&buffer.unsent()[..record_bytes]) {
                break;
            }
            buffer.consume(record_bytes);
            left -= record_bytes;
            moved += u64::from(header.count);
            continue;
        }
        let entry_bytes = EntrySize::of(header.kind).bytes();
        let fitting = left.saturating_sub(HEADER_BYTES) / entry_bytes;
        let cut = fitting.max(usize::from(moved == 0)).min(usize::from(header.count));
        let cut_bytes = cut * entry_bytes;
        if cut == 0 || into.room() < HEADER_BYTES + cut_bytes {
            break;
        }
        let rest = Header {
            count: header.count - cut as u16,
            number: header.number + cut as u64,
            body_bytes: header.body_bytes - cut_bytes as u32,
            ..header
        };
        (header.count, header.body_bytes) = (cut as u16, cut_bytes as u32);
        header.write(buffer.unsent_mut());
        let fits = into.append(&buffer.unsent()[..HEADER_BYTES + cut_bytes]);
        debug_assert!(fits, "there is room, as was seen above");
        moved += cut as u64;
        if rest.count == 0 {
            buffer.consume(HEADER_BYTES + cut_bytes);
        } else {
            buffer.consume(cut_bytes);
            rest.write(buffer.unsent_mut());
        }
        break;
    }
    moved
}

/// The number of the first frame of a bus in a stream of records.
pub fn first_number(mut bytes: &[u8], bus: u8) -> Option<u64> {
    while let Ok(Some(header)) = Header::parse(bytes) {
        if header.bus == bus && matches!(header.kind, RecordKind::Frames | RecordKind::FdFrames) {
            return Some(header.number);
        }
        bytes = &bytes[HEADER_BYTES + header.body_bytes as usize..];
    }
    None
}

const _: () = assert!(HEADER_BYTES <= EntrySize::Classic.bytes(), "a new header fits where an entry was");
