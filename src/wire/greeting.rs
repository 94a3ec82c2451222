//! The greeting: one ASCII line each way before the first frame.
//!
//! ```text
//! CANIP/4.1 FEAT=SEQ,TS\n
//! ```
//!
//! A receiver splits the line at white space, takes the tags of the `FEAT=` token without regard to case, and
//! ignores every token and tag that it does not know. What both sides offer is agreed on.

/// What every greeting of version 4.1 begins with.
pub const PREFIX: &[u8] = b"CANIP/4.1";

/// The longest line that is read, newline included. The longest ever sent has 22 bytes; the rest is room for
/// tokens of later versions.
pub const MAX_LINE_BYTES: usize = 1024;

/// What a side offers, or both have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Every frame carries a sequence number (`SEQ`).
    pub sequence: bool,
    /// Every frame carries the time at which its sender received it (`TS`).
    pub time: bool,
}

impl Features {
    /// What both `self` and `other` offer.
    pub fn agreed_with(self, other: Features) -> Features {
        Features { sequence: self.sequence && other.sequence, time: self.time && other.time }
    }

    /// The greeting line that offers these features, newline included.
    pub fn greeting(self) -> &'static [u8] {
        match (self.sequence, self.time) {
            (false, false) => b"CANIP/4.1\n",
            (true, false) => b"CANIP/4.1 FEAT=SEQ\n",
            (false, true) => b"CANIP/4.1 FEAT=TS\n",
            (true, true) => b"CANIP/4.1 FEAT=SEQ,TS\n",
        }
    }
}

impl std::fmt::Display for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.sequence, self.time) {
            (false, false) => "no features",
            (true, false) => "SEQ",
            (false, true) => "TS",
            (true, true) => "SEQ,TS",
        })
    }
}

/// What the first bytes of a stream that should begin with a greeting hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    /// No newline yet; everything so far may still become a greeting.
    Incomplete,
    /// A greeting of version 4.1: what it offers, and its length in bytes, newline included.
    Greeting(Features, usize),
    /// Something else: no greeting's prefix, or no newline within [`MAX_LINE_BYTES`].
    Foreign,
}

/// Looks for a greeting line at the start of `bytes`.
pub fn scan(bytes: &[u8]) -> Scan {
    let shared = bytes.len().min(PREFIX.len());
    if bytes[..shared] != PREFIX[..shared] {
        return Scan::Foreign;
    }
    let line_limit = bytes.len().min(MAX_LINE_BYTES);
    match bytes[..line_limit].iter().position(|&byte| byte == b'\n') {
        // The prefix has no newline in it, so a line that ends before the prefix does was foreign already.
        Some(end) => Scan::Greeting(offered(&bytes[PREFIX.len()..end]), end + 1),
        None if bytes.len() >= MAX_LINE_BYTES => Scan::Foreign,
        None => Scan::Incomplete,
    }
}

/// The features named by the first `FEAT=` token of a greeting's tokens.
fn offered(tokens: &[u8]) -> Features {
    let tags = tokens.split(u8::is_ascii_whitespace).find_map(|token| token.strip_prefix(b"FEAT="));
    let mut features = Features::default();
    for tag in tags.unwrap_or_default().split(|&byte| byte == b',') {
        features.sequence |= tag.eq_ignore_ascii_case(b"SEQ");
        features.time |= tag.eq_ignore_ascii_case(b"TS");
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Features = Features { sequence: true, time: true };
    const NONE: Features = Features { sequence: false, time: false };
    const SEQUENCE: Features = Features { sequence: true, time: false };
    const TIME: Features = Features { sequence: false, time: true };

    #[test]
    fn lines_of_the_existing_tool() {
        assert_eq!(scan(b"CANIP/4.1 FEAT=SEQ,TS\n"), Scan::Greeting(BOTH, 22));
        assert_eq!(scan(b"CANIP/4.1 FEAT=SEQ\r\n\x01"), Scan::Greeting(SEQUENCE, 20));
        assert_eq!(scan(b"CANIP/4.1\n"), Scan::Greeting(NONE, 10));
        assert_eq!(scan(b"CANIP/4.1\r\n"), Scan::Greeting(NONE, 11));
    }

    #[test]
    fn unknown_tokens_and_tags_are_ignored_and_case_does_not_matter() {
        assert_eq!(scan(b"CANIP/4.1 V=5 FEAT=zip,ts,Seq X\n"), Scan::Greeting(BOTH, 32));
        assert_eq!(scan(b"CANIP/4.1 FEAT=\n"), Scan::Greeting(NONE, 16));
        assert_eq!(scan(b"CANIP/4.1\tFEAT=TS\n"), Scan::Greeting(TIME, 18));
    }

    #[test]
    fn a_line_may_arrive_byte_by_byte() {
        let line = b"CANIP/4.1 FEAT=SEQ\n";
        for length in 0..line.len() {
            assert_eq!(scan(&line[..length]), Scan::Incomplete, "{length} bytes");
        }
    }

    #[test]
    fn other_lines_are_foreign_at_the_first_wrong_byte() {
        for bytes in [&b"CONNECT / HTTP/1.1\r\n"[..], b"CANNELLONIv1", b"CANIP/4.0\n", b"GET /", b"C\n"] {
            assert_eq!(scan(bytes), Scan::Foreign);
        }
    }

    #[test]
    fn a_line_that_does_not_end_is_foreign() {
        let mut line = b"CANIP/4.1 ".to_vec();
        line.resize(1023, b'x');
        assert_eq!(scan(&line), Scan::Incomplete);
        line.push(b'\n');
        assert_eq!(scan(&line), Scan::Greeting(NONE, 1024));
        line[1023] = b'x';
        line.push(b'\n');
        assert_eq!(scan(&line), Scan::Foreign);
    }

    #[test]
    fn what_is_sent_is_what_was_offered() {
        assert_eq!(BOTH.greeting(), b"CANIP/4.1 FEAT=SEQ,TS\n");
        assert_eq!(SEQUENCE.greeting(), b"CANIP/4.1 FEAT=SEQ\n");
        assert_eq!(TIME.greeting(), b"CANIP/4.1 FEAT=TS\n");
        assert_eq!(NONE.greeting(), b"CANIP/4.1\n");
        assert_eq!(BOTH.agreed_with(SEQUENCE), SEQUENCE);
        assert_eq!(TIME.agreed_with(SEQUENCE), NONE);
    }
}
