//! Several images in one packet: how the software bus carries a flood. Pure; knows no socket.
//!
//! ```text
//!  0      1       2       3      4      5         8
//! +------+-------+-------+------+------+---------+---------------------+
//! | 4    | image | count | 0    | 0xFF | 0       | images, one another |
//! |      | bytes |       |      |      |         | behind              |
//! +------+-------+-------+------+------+---------+---------------------+
//!         16, 72  2 to 63, 2 to 14
//! ```
//!
//! A batch can be as long as an image (four classic ones are 72 bytes with the header). What tells it from one is byte 4,
//! where an image has its payload length: none has 255. From a notice it is told by its size.
//!
//! A packet costs the kernel about as much whatever its size, up to some kilobytes: what a batch saves is all but one of
//! its images' packets.

use crate::frame::{CLASSIC_BYTES, FD_BYTES, Image};

/// Bytes of the header.
const HEADER_BYTES: usize = 8;
/// First byte of the header; notices have smaller ones.
const KIND: u8 = 4;
/// Fifth byte of the header: no image's payload length.
const NO_IMAGE: u8 = 0xFF;

/// Classic images in a batch at most. Beyond it nothing is to be gained: a sixty-third of a packet's price is less than
/// what its frame costs elsewhere. It is the most that leaves a packet, with the kernel's own 320 bytes behind it, in an
/// allocation of 2 KiB, and 14 FD images fill the same 1,008 bytes.
pub const BATCH_FRAMES: usize = 63;

/// Bytes of the largest packet of a software bus.
pub const BATCH_BYTES: usize = HEADER_BYTES + BATCH_FRAMES * CLASSIC_BYTES;

const _: () = assert!(BATCH_BYTES >= FD_BYTES);
const _: () = assert!((BATCH_BYTES - HEADER_BYTES).is_multiple_of(FD_BYTES));

/// Whether the packets that a bus takes may hold several images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packing {
    /// One image a packet: SocketCAN, and a paced software bus.
    Single,
    /// As many as fit.
    Batches,
}

/// A packet to be sent, filled image by image. (The alignment lets images be copied word by word.)
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Batch {
    bytes: [u8; BATCH_BYTES],
    length: usize,
    count: usize,
}

impl Batch {
    /// No image yet.
    pub const EMPTY: Self = Self { bytes: [0; BATCH_BYTES], length: HEADER_BYTES, count: 0 };

    /// Takes all images out again.
    pub fn clear(&mut self) {
        self.length = HEADER_BYTES;
        self.count = 0;
    }

    /// Adds an image; false, and nothing was added, if it has another size than those before or no room is left.
    pub fn push(&mut self, image: Image<'_>) -> bool {
        let image = image.as_bytes();
        let end = self.length + image.len();
        let is_other_size = self.count > 0 && usize::from(self.bytes[1]) != image.len();
        if is_other_size || end > BATCH_BYTES {
            return false;
        }
        self.bytes[self.length..end].copy_from_slice(image);
        self.length = end;
        self.count += 1;
        self.bytes[..HEADER_BYTES].copy_from_slice(&header(image.len(), self.count));
        true
    }

    /// Images in it.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The packet: a batch, or of a single image that alone. Empty if there is none.
    pub fn packet(&self) -> &[u8] {
        let start = if self.count > 1 { 0 } else { HEADER_BYTES };
        &self.bytes[start..self.length]
    }
}

fn header(image_bytes: usize, count: usize) -> [u8; HEADER_BYTES] {
    // Both are far below 256.
    [KIND, image_bytes as u8, count as u8, 0, NO_IMAGE, 0, 0, 0]
}

/// The images of a packet, in order; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Images<'a> {
    /// Invariant: every `image_bytes` of it are an image, and nothing is left over.
    rest: &'a [u8],
    image_bytes: usize,
}

impl<'a> Images<'a> {
    /// A packet that is one image; `None` for any other.
    pub fn single(packet: &'a [u8]) -> Option<Self> {
        Image::parse(packet).map(|image| Self { rest: packet, image_bytes: image.as_bytes().len() })
    }

    /// A packet that is an image or a batch of images; `None` for any other.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        Self::single(packet).or_else(|| Self::parse_batch(packet))
    }

    fn parse_batch(packet: &'a [u8]) -> Option<Self> {
        let (start, rest) = packet.split_first_chunk::<HEADER_BYTES>()?;
        let (image_bytes, count) = (usize::from(start[1]), usize::from(start[2]));
        let is_batch = *start == header(image_bytes, count)
            && matches!(image_bytes, CLASSIC_BYTES | FD_BYTES)
            && count > 1
            && rest.len() == image_bytes * count
            && packet.len() <= BATCH_BYTES
            && rest.chunks_exact(image_bytes).all(|bytes| Image::parse(bytes).is_some());
        is_batch.then_some(Self { rest, image_bytes })
    }
}

impl<'a> Iterator for Images<'a> {
    type Item = Image<'a>;

    #[inline]
    fn next(&mut self) -> Option<Image<'a>> {
        let (bytes, rest) = self.rest.split_at_checked(self.image_bytes)?;
        self.rest = rest;
        Some(Image::parse(bytes).expect("every image was looked at when the packet was"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.rest.len() / self.image_bytes;
        (count, Some(count))
    }
}

impl ExactSizeIterator for Images<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Identifier};

    fn classic(number: u8) -> Frame {
        Frame::data(Identifier::standard(0x123).unwrap(), &[number]).unwrap()
    }

    fn fd(number: u8) -> Frame {
        Frame::fd(Identifier::standard(0x123).unwrap(), &[number; 64], 1).unwrap()
    }

    fn batch_of(frames: &[Frame]) -> Batch {
        let mut batch = Batch::EMPTY;
        assert!(frames.iter().all(|frame| batch.push(frame.image())));
        batch
    }

    #[test]
    fn a_batch_is_these_bytes() {
        let batch = batch_of(&[classic(0xAA), classic(0xBB)]);
        let mut expected = [0; 40];
        expected[..8].copy_from_slice(&[4, 16, 2, 0, 0xFF, 0, 0, 0]);
        for (start, payload) in [(8, 0xAA), (24, 0xBB)] {
            expected[start..start + 4].copy_from_slice(&0x123u32.to_ne_bytes());
            expected[start + 4] = 1;
            expected[start + 8] = payload;
        }
        assert_eq!(batch.packet(), expected);
    }

    #[test]
    fn a_single_image_is_sent_alone() {
        assert_eq!(batch_of(&[classic(7)]).packet(), classic(7).image().as_bytes());
        assert_eq!(batch_of(&[fd(7)]).packet(), fd(7).image().as_bytes());
        assert_eq!(Batch::EMPTY.packet(), [0u8; 0]);
    }

    #[test]
    fn images_come_out_as_they_went_in() {
        for (make, most) in [(classic as fn(u8) -> Frame, 63), (fd, 14)] {
            for count in 1..=most {
                let frames: Vec<Frame> = (0..count).map(make).collect();
                let batch = batch_of(&frames);
                let images = Images::parse(batch.packet()).unwrap();
                assert_eq!(images.len(), usize::from(count));
                assert!(images.eq(frames.iter().map(Frame::image)), "{count} images");
            }
            let mut full = batch_of(&(0..most).map(make).collect::<Vec<_>>());
            assert!(!full.push(make(0).image()));
            assert_eq!((full.count(), full.packet().len()), (usize::from(most), 1_016));
        }
    }

    #[test]
    fn a_batch_has_images_of_one_size() {
        let mut batch = batch_of(&[classic(1)]);
        assert!(!batch.push(fd(2).image()));
        assert_eq!(batch.packet(), classic(1).image().as_bytes());
        batch.clear();
        assert!(batch.push(fd(2).image()));
        assert!(!batch.push(classic(1).image()));
    }

    #[test]
    fn four_classic_images_are_no_fd_image() {
        let batch = batch_of(&[classic(1), classic(2), classic(3), classic(4)]);
        assert_eq!(batch.packet().len(), 72);
        assert_eq!(Images::single(batch.packet()), None);
        assert_eq!(Images::parse(batch.packet()).unwrap().len(), 4);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let good = batch_of(&[classic(1), classic(2)]);
        let good = good.packet();
        let changed = |at: usize, value: u8| {
            let mut packet = good.to_vec();
            packet[at] = value;
            packet
        };
        assert!(Images::parse(good).is_some());
        // The kind, the size of an image, the count, the padding, the mark; a payload length beyond its image.
        for (at, value) in
            [(0, 3), (1, 72), (1, 0), (2, 1), (2, 3), (3, 1), (4, 0), (5, 1), (7, 1), (12, 9), (28, 9)]
        {
            assert_eq!(Images::parse(&changed(at, value)), None, "byte {at}: {value}");
        }
        (0..good.len()).for_each(|length| assert_eq!(Images::parse(&good[..length]), None));
        assert_eq!(Images::parse(&[good, &[0]].concat()), None);
        // One more than a batch holds.
        let mut long = header(16, 64).to_vec();
        long.resize(8 + 64 * 16, 0);
        assert_eq!(Images::parse(&long), None);
        assert_eq!(Images::parse(&[4, 16, 1, 0, 0xFF, 0, 0, 0]), None);
        assert_eq!(Images::parse(&header(16, 0)), None);
    }
}
