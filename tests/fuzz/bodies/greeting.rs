//! The greeting line.

use canip_peer::wire::greeting::{MAX_LINE_BYTES, Offer, Scan, scan};

/// A verdict does not change when more bytes come, comes with the line's last byte, and what was offered says the same when
/// it is written as this side writes it.
pub fn greeting(bytes: &[u8]) {
    let verdict = scan(bytes);
    match verdict {
        Scan::Incomplete => assert!(bytes.len() < MAX_LINE_BYTES, "a line that never ends is waited for"),
        Scan::Greeting(offer, length) => {
            assert!((1..=MAX_LINE_BYTES).contains(&length) && bytes[length - 1] == b'\n');
            assert_eq!(scan(&bytes[..length]), verdict);
            assert_eq!(scan(&bytes[..length - 1]), Scan::Incomplete);
            let Offer { features, version_5 } = offer;
            let written = offer.greeting();
            assert_eq!(scan(written), Scan::Greeting(Offer { features, version_5 }, written.len()));
        }
        Scan::Full => {
            let end = bytes.iter().position(|&byte| byte == b'\n').expect("a whole line");
            assert_eq!(scan(&bytes[..end]), Scan::Incomplete);
        }
        Scan::Foreign => {
            let more = [bytes, b"\nCANIP/4.1\n"].concat();
            assert_eq!(scan(&more), Scan::Foreign);
        }
    }
}
