//! Distributions of times: from an HdrHistogram into a document, and out of a document again, which may be anybody's.

use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use super::document::Latency;

/// Digits that are kept of every value, at most. A histogram of three digits has [`COUNTERS_MAX`] counters whatever its
/// range is; one of five would have six million, which a file of fifty bytes could ask for.
const SIGNIFICANT_DIGITS_MAX: u32 = 3;

/// 54 halves of buckets and one more, of 1,024 counters each: all of `u64` at three digits.
const COUNTERS_MAX: u64 = 55 * 1_024;

/// The finest step, at most: a second. Nothing that takes a time in nanoseconds needs a coarser one.
const LOWEST_MAX_NS: u64 = 1_000_000_000;

/// Bytes before the counters: cookie, length, offset, digits, lowest, highest, ratio.
const HEADER_BYTES: usize = 40;

/// The header and every counter at the greatest length of its number, 9 bytes.
const UNPACKED_BYTES_MAX: u64 = HEADER_BYTES as u64 + 9 * COUNTERS_MAX;

/// Characters of base64: more than the above is long where DEFLATE finds nothing to save.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// "V2, DEFLATE" and "V2", as the first four bytes of either say.
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;
const COOKIE: u32 = 0x1c84_9313;

/// Why a text is no histogram of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HistogramError {
    /// Longer than any that this program writes.
    #[error("the histogram is too large")]
    TooLarge,
    /// Not base64.
    #[error("the histogram is not base64")]
    NotBase64,
    /// Another encoding, or none.
    #[error("the histogram is not an HdrHistogram of version 2, compressed")]
    Foreign,
    /// More digits or coarser steps than this program reads, or features that it does not have.
    #[error("the histogram has bounds that this program does not read")]
    Bounds,
    /// Cut short, or changed.
    #[error("the histogram is damaged")]
    Damaged,
}

impl Latency {
    /// The figures of a distribution, and all of it.
    ///
    /// # Panics
    /// The histogram has more than three significant digits.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        assert!(u32::from(histogram.sigfig()) <= SIGNIFICANT_DIGITS_MAX, "three digits at most");
        let [p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns] =
            [0.5, 0.9, 0.99, 0.999, 0.9999].map(|quantile| histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            min_ns: histogram.min(),
            mean_ns: histogram.mean(),
            p50_ns,
            p90_ns,
            p99_ns,
            p99_9_ns,
            p99_99_ns,
            max_ns: histogram.max(),
            histogram: encode(histogram),
        }
    }

    /// The distribution.
    ///
    /// # Errors
    /// The text is none that this program writes. Whatever it says, this takes no more memory than a full histogram does.
    pub fn histogram(&self) -> Result<Histogram<u64>, HistogramError> {
        decode(&self.histogram)
    }
}

/// As V2 with DEFLATE, in base64: what an interval log has on its lines.
fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("memory takes every histogram, and no count reaches i64::MAX");
    BASE64_STANDARD.encode(bytes)
}

fn decode(text: &str) -> Result<Histogram<u64>, HistogramError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(HistogramError::TooLarge);
    }
    let packed = BASE64_STANDARD.decode(text).map_err(|_| HistogramError::NotBase64)?;
    let unpacked = unpack(&packed)?;
    check_header(&unpacked)?;
    check_counters(&unpacked[HEADER_BYTES..])?;
    Deserializer::new().deserialize(&mut unpacked.as_slice()).map_err(|_| HistogramError::Damaged)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, HistogramError> {
    if u32_at(packed, 0) != Some(COMPRESSED_COOKIE) {
        return Err(HistogramError::Foreign);
    }
    let stream = packed.get(8..).ok_or(HistogramError::Damaged)?;
    if u32_at(packed, 4).map(|length| length as usize) != Some(stream.len()) {
        return Err(HistogramError::Damaged);
    }
    let mut unpacked = Vec::new();
    ZlibDecoder::new(stream)
        .take(UNPACKED_BYTES_MAX + 1)
        .read_to_end(&mut unpacked)
        .map_err(|_| HistogramError::Damaged)?;
    if unpacked.len() as u64 > UNPACKED_BYTES_MAX {
        return Err(HistogramError::TooLarge);
    }
    Ok(unpacked)
}

/// What the histogram's memory depends on. The rest of the header is the library's to judge.
fn check_header(unpacked: &[u8]) -> Result<(), HistogramError> {
    if u32_at(unpacked, 0) != Some(COOKIE) || unpacked.len() < HEADER_BYTES {
        return Err(HistogramError::Foreign);
    }
    if u32_at(unpacked, 4).map(|length| length as usize) != Some(unpacked.len() - HEADER_BYTES) {
        return Err(HistogramError::Damaged);
    }
    let digits = u32_at(unpacked, 12).unwrap_or_default();
    let lowest = u64_at(unpacked, 16).unwrap_or_default();
    if (1..=SIGNIFICANT_DIGITS_MAX).contains(&digits) && (1..=LOWEST_MAX_NS).contains(&lowest) {
        Ok(())
    } else {
        Err(HistogramError::Bounds)
    }
}

/// Counters are numbers in ZigZag LEB128, negative ones a run of counters that are zero. The library takes any of them: a
/// run of `i64::MIN` would overflow there, and counts could add up to more than fits.
fn check_counters(mut bytes: &[u8]) -> Result<(), HistogramError> {
    let (mut counters, mut total) = (0u64, 0u64);
    while !bytes.is_empty() {
        let (number, rest) = varint(bytes).ok_or(HistogramError::Damaged)?;
        bytes = rest;
        let magnitude = number >> 1;
        if number & 1 == 0 {
            counters += 1;
            total = total
                .checked_add(magnitude)
                .filter(|&total| total < 1 << 62)
                .ok_or(HistogramError::Damaged)?;
        } else {
            counters = counters.saturating_add(magnitude + 1);
        }
        if counters > COUNTERS_MAX {
            return Err(HistogramError::Damaged);
        }
    }
    Ok(())
}

/// Seven bits a byte, the lowest first; the ninth byte has eight.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(9) {
        let is_last = index == 8 || byte & 0x80 == 0;
        let bits = if index == 8 { byte } else { byte & 0x7f };
        value |= u64::from(bits) << (7 * index);
        if is_last {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn thousand() -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(100, 60_000_000_000, 3).unwrap();
        for microseconds in 1..=1_000 {
            histogram.record(microseconds * 1_000).unwrap();
        }
        histogram
    }

    /// A header, counters, packed and in base64.
    fn text(digits: u32, lowest: u64, highest: u64, counters: &[u8]) -> String {
        let mut bytes = COOKIE.to_be_bytes().to_vec();
        bytes.extend((counters.len() as u32).to_be_bytes());
        bytes.extend(0u32.to_be_bytes());
        bytes.extend(digits.to_be_bytes());
        bytes.extend(lowest.to_be_bytes());
        bytes.extend(highest.to_be_bytes());
        bytes.extend(1f64.to_be_bytes());
        bytes.extend(counters);
        packed(&bytes)
    }

    fn packed(bytes: &[u8]) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        let stream = encoder.finish().unwrap();
        let mut packed = COMPRESSED_COOKIE.to_be_bytes().to_vec();
        packed.extend((stream.len() as u32).to_be_bytes());
        packed.extend(stream);
        BASE64_STANDARD.encode(packed)
    }

    #[test]
    fn a_distribution_goes_there_and_back() {
        let latency = Latency::of(&thousand());
        // 1 to 1,000 µs, each once; three digits are steps of 64 to 512 ns, of which the highest value stands for all.
        assert_eq!((latency.count, latency.min_ns, latency.max_ns), (1_000, 960, 1_000_447));
        assert_eq!((latency.p50_ns, latency.p99_ns, latency.p99_9_ns), (500_223, 990_207, 999_423));
        assert!((500_400.0..500_600.0).contains(&latency.mean_ns), "{}", latency.mean_ns);
        // Not assert_eq, which would print both.
        assert!(latency.histogram().unwrap() == thousand());
    }

    #[test]
    fn nothing_is_a_distribution_too() {
        let latency = Latency::of(&Histogram::new_with_bounds(100, 60_000_000_000, 3).unwrap());
        assert_eq!((latency.count, latency.max_ns, latency.mean_ns), (0, 0, 0.0));
        assert_eq!(latency.histogram().unwrap().len(), 0);
    }

    #[test]
    fn whatever_has_three_digits_is_read() {
        let widest = Histogram::<u64>::new_with_bounds(1, u64::MAX, 3).unwrap();
        assert_eq!(widest.distinct_values() as u64, COUNTERS_MAX);
        assert_eq!(Latency::of(&widest).histogram().unwrap().len(), 0);
        // Three hundred years, beyond which the library's own figures wrap.
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1 << 63, 3).unwrap();
        histogram.record(1 << 62).unwrap();
        histogram.record(1).unwrap();
        let latency = Latency::of(&histogram);
        let back = latency.histogram().unwrap();
        assert_eq!((back.len(), back.count_at(1), back.count_at(1 << 62)), (2, 1, 1));
        assert!(Latency::of(&back) == latency);
    }

    #[test]
    fn what_is_no_histogram_of_ours_is_an_error() {
        let refused = |text: &str| decode(text).unwrap_err();
        assert_eq!(refused("no base64!"), HistogramError::NotBase64);
        assert_eq!(refused(""), HistogramError::Foreign);
        assert_eq!(refused(&BASE64_STANDARD.encode("something else")), HistogramError::Foreign);
        assert_eq!(
            refused(&packed(b"neither header nor counters, but long enough")),
            HistogramError::Foreign
        );
        assert_eq!(refused(&"A".repeat(TEXT_BYTES_MAX + 1)), HistogramError::TooLarge);
        // Five digits of everything would be six million counters.
        assert_eq!(refused(&text(5, 1, u64::MAX, &[])), HistogramError::Bounds);
        assert_eq!(refused(&text(3, 0, 1_000, &[])), HistogramError::Bounds);
        assert_eq!(refused(&text(3, u64::MAX, u64::MAX, &[])), HistogramError::Bounds);
        assert_eq!(refused(&text(3, 1_000, 1_000, &[])), HistogramError::Damaged);
        // A hundred megabytes of zeros in a hundred kilobytes.
        assert_eq!(refused(&packed(&vec![0; 100 << 20])), HistogramError::TooLarge);
        // A run of 2⁶³ zeros, a count that stops in the middle, a counter behind the last one.
        assert_eq!(refused(&text(3, 1, 1_000_000, &[0xff; 9])), HistogramError::Damaged);
        assert_eq!(refused(&text(3, 1, 1_000_000, &[0x80])), HistogramError::Damaged);
        let beyond = [&[0xff, 0xff, 0x03][..], &[2]].concat();
        assert_eq!(refused(&text(3, 1, 1_000, &beyond)), HistogramError::Damaged);
        // Two counts of 2⁶¹.
        let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
        assert_eq!(refused(&text(3, 1, 1_000, &[huge, huge].concat())), HistogramError::Damaged);
    }

    proptest! {
        #[test]
        fn no_damage_is_a_panic(at in 0usize..400, with in any::<u8>(), inside in any::<bool>()) {
            let text = encode(&thousand());
            if inside {
                let mut bytes = unpack(&BASE64_STANDARD.decode(&text).unwrap()).unwrap();
                let length = bytes.len();
                bytes[at % length] = with;
                let _ = decode(&packed(&bytes));
            } else {
                let mut text = text.into_bytes();
                let length = text.len();
                text[at % length] = with & 0x7f;
                let _ = decode(std::str::from_utf8(&text).unwrap());
            }
        }
    }
}
