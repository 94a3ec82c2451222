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

/// What a server says in place of its greeting when it has as many clients as it takes: a greeting to those that do not
/// know better, who see the connection end behind it.
pub const FULL: &[u8] = b"CANIP/4.1 FULL\n";

/// What a greeting offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// For version 4.
    pub features: Features,
    /// Version 5 (`V=5`).
    pub version_5: bool,
}

impl Offer {
    /// The greeting line, newline included.
    pub fn greeting(self) -> &'static [u8] {
        match (self.features.sequence, self.features.time, self.version_5) {
            (false, false, false) => b"CANIP/4.1\n",
            (true, false, false) => b"CANIP/4.1 FEAT=SEQ\n",
            (false, true, false) => b"CANIP/4.1 FEAT=TS\n",
            (true, true, false) => b"CANIP/4.1 FEAT=SEQ,TS\n",
            (false, false, true) => b"CANIP/4.1 V=5\n",
            (true, false, true) => b"CANIP/4.1 FEAT=SEQ V=5\n",
            (false, true, true) => b"CANIP/4.1 FEAT=TS V=5\n",
            (true, true, true) => b"CANIP/4.1 FEAT=SEQ,TS V=5\n",
        }
    }
}

/// What both sides have agreed on for version 4.
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
    Greeting(Offer, usize),
    /// A server's refusal, as [`FULL`] says it.
    Full,
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
        Some(end) if is_full(&bytes[PREFIX.len()..end]) => Scan::Full,
        Some(end) => Scan::Greeting(offered(&bytes[PREFIX.len()..end]), end + 1),
        None if bytes.len() >= MAX_LINE_BYTES => Scan::Foreign,
        None => Scan::Incomplete,
    }
}

/// Whether one of the tokens of a greeting says that the sender takes no more clients.
fn is_full(tokens: &[u8]) -> bool {
    tokens.split(u8::is_ascii_whitespace).any(|token| token == b"FULL")
}

/// What the tokens of a greeting offer: the tags of the first `FEAT=`, and 5 among the versions of the first `V=`.
fn offered(tokens: &[u8]) -> Offer {
    let list = |name: &'static [u8]| {
        let tokens = tokens.split(u8::is_ascii_whitespace);
        let found = tokens.filter_map(move |token| token.strip_prefix(name)).next();
        found.unwrap_or_default().split(|&byte| byte == b',')
    };
    let mut features = Features::default();
    for tag in list(b"FEAT=") {
        features.sequence |= tag.eq_ignore_ascii_case(b"SEQ");
        features.time |= tag.eq_ignore_ascii_case(b"TS");
    }
    Offer { features, version_5: list(b"V=").any(|version| version == b"5") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Features = Features { sequence: true, time: true };
    const NONE: Features = Features { sequence: false, time: false };
    const SEQUENCE: Features = Features { sequence: true, time: false };
    const TIME: Features = Features { sequence: false, time: true };

    fn version_4(features: Features) -> Offer {
        Offer { features, version_5: false }
    }

    #[test]
    fn lines_of_the_existing_tool() {
        assert_eq!(scan(b"CANIP/4.1 FEAT=SEQ,TS\n"), Scan::Greeting(version_4(BOTH), 22));
        assert_eq!(scan(b"CANIP/4.1 FEAT=SEQ\r\n\x01"), Scan::Greeting(version_4(SEQUENCE), 20));
        assert_eq!(scan(b"CANIP/4.1\n"), Scan::Greeting(version_4(NONE), 10));
        assert_eq!(scan(b"CANIP/4.1\r\n"), Scan::Greeting(version_4(NONE), 11));
    }

    #[test]
    fn unknown_tokens_and_tags_are_ignored_and_case_does_not_matter() {
        assert_eq!(scan(b"CANIP/4.1 V=6 FEAT=zip,ts,Seq X\n"), Scan::Greeting(version_4(BOTH), 32));
        assert_eq!(scan(b"CANIP/4.1 FEAT=\n"), Scan::Greeting(version_4(NONE), 16));
        assert_eq!(scan(b"CANIP/4.1\tFEAT=TS\n"), Scan::Greeting(version_4(TIME), 18));
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
        assert_eq!(scan(&line), Scan::Greeting(version_4(NONE), 1024));
        line[1023] = b'x';
        line.push(b'\n');
        assert_eq!(scan(&line), Scan::Foreign);
    }

    #[test]
    fn a_server_that_is_full_says_so_in_a_token() {
        assert_eq!(scan(FULL), Scan::Full);
        assert_eq!(scan(b"CANIP/4.1 FEAT=SEQ FULL V=5\r\n"), Scan::Full);
        assert_eq!(scan(b"CANIP/4.1 FULLER FEAT=FULL\n"), Scan::Greeting(version_4(NONE), 27));
        assert_eq!(scan(&FULL[..14]), Scan::Incomplete);
    }

    #[test]
    fn version_5_is_one_of_a_list() {
        let both = Offer { features: BOTH, version_5: true };
        assert_eq!(scan(b"CANIP/4.1 FEAT=SEQ,TS V=5\n"), Scan::Greeting(both, 26));
        assert_eq!(scan(b"CANIP/4.1 V=6,5 FEAT=SEQ,TS\n"), Scan::Greeting(both, 28));
        for line in [&b"CANIP/4.1 V=\n"[..], b"CANIP/4.1 V=51\n", b"CANIP/4.1 V=6 V=5\n", b"CANIP/4.1 v=5\n"]
        {
            assert_eq!(scan(line), Scan::Greeting(version_4(NONE), line.len()));
        }
    }

    #[test]
    fn what_is_sent_is_what_was_offered() {
        let line = |features, version_5| Offer { features, version_5 }.greeting();
        assert_eq!(line(BOTH, false), b"CANIP/4.1 FEAT=SEQ,TS\n");
        assert_eq!(line(SEQUENCE, false), b"CANIP/4.1 FEAT=SEQ\n");
        assert_eq!(line(TIME, false), b"CANIP/4.1 FEAT=TS\n");
        assert_eq!(line(NONE, false), b"CANIP/4.1\n");
        for features in [BOTH, SEQUENCE, TIME, NONE] {
            for version_5 in [false, true] {
                let line = line(features, version_5);
                assert_eq!(scan(line), Scan::Greeting(Offer { features, version_5 }, line.len()));
            }
        }
        assert_eq!(BOTH.agreed_with(SEQUENCE), SEQUENCE);
        assert_eq!(TIME.agreed_with(SEQUENCE), NONE);
    }
}
