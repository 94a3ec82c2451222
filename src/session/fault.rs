//! What a peer can do wrong, said so that a user knows what to try.

use super::GREETING_TIMEOUT;
use super::v5::HELLO_TIMEOUT;
use crate::wire::greeting;
use crate::wire::v4::Malformed;
use crate::wire::v5::{self, Name, RecordKind};

/// Why a session must end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// No greeting within the time-out.
    #[error(
        "sent no greeting within {} s: not a canip_peer, or one of version 4.0 (for which a client needs --protocol 4.0, a server \
         --protocol auto, the default)",
        GREETING_TIMEOUT.as_secs()
    )]
    NoGreeting,
    /// Something other than a greeting, where one had to be.
    #[error(
        "sent {sample} instead of a greeting: not a canip_peer, or one of version 4.0 (for which a client needs --protocol \
         4.0, a server --protocol auto, the default)"
    )]
    NoPeer {
        /// What it sent.
        sample: Sample,
    },
    /// Bytes that are no frame of the layout agreed on.
    #[error("sent {sample}, {}", NoFrame { malformed, sample })]
    Malformed {
        /// Which field gave it away.
        malformed: Malformed,
        /// What it sent.
        sample: Sample,
    },
    /// Bytes that are no record.
    #[error("sent {0}, which version 5 does not allow: another version of canip_peer?")]
    Record(v5::Malformed),
    /// A record that does not belong there yet, or again.
    #[error("sent a {kind:?} record where none may be")]
    TooEarly {
        /// What it is.
        kind: RecordKind,
    },
    /// Numbers or totals that are lower than those before.
    #[error("sent a {kind:?} record that takes back what it said before")]
    Backwards {
        /// What it is.
        kind: RecordKind,
    },
    /// A record about a bus that is matched with none of ours.
    #[error("sent a record about its bus {bus}, which belongs to none of ours")]
    UnknownBus {
        /// The peer's number.
        bus: u8,
    },
    /// No HELLO within the time-out.
    #[error("sent no HELLO within {} s", HELLO_TIMEOUT.as_secs())]
    NoHello,
    /// No bus is matched.
    #[error(
        "has no bus that belongs to one of ours: give both the same NAME (--can NAME=IFACE), or neither one"
    )]
    NoCommonBus,
    /// The peer, a client, asks for the bus for load tests, which this side does not have.
    #[error(
        "asks for a load test (canip_peer bench --connect), and none is answered here: start this server with --allow-bench"
    )]
    TestNotAllowed,
    /// This side asks for the bus for load tests, which the peer does not have.
    #[error("answers no load tests: start it there with: canip_peer server --can can0 --allow-bench")]
    NoTests,
    /// The peer, a server, has as many clients as it takes.
    #[error("has as many clients as it takes: raise --max-clients there")]
    Full,
    /// A bus that both ends have.
    #[error(
        "has the bus {interface} on the same host as this end, and frames would go round for ever: give one end another --can"
    )]
    SameBus {
        /// The name of our interface.
        interface: Name,
    },
    /// Buses that are joined by more than one way.
    #[error(
        "joins {interface} to a bus that other buses of this connection join it to already, and frames would go round for \
         ever: leave one --can out"
    )]
    Ring {
        /// The name of our interface.
        interface: Name,
    },
    /// Buses that another connection joins.
    #[error(
        "would join our {interface} to its {peers}, as another connection does already, and frames would go round for ever: \
         end one of the two"
    )]
    AlreadyJoined {
        /// The name of our interface.
        interface: Name,
        /// The name of the peer's.
        peers: Name,
    },
    /// The peer is this process.
    #[error("is this very process: a bridge cannot be its own peer")]
    Ourselves,
    /// Only version 5 was allowed, and the peer does not offer it.
    #[error(
        "does not speak version 5, which --protocol 5 asks for: update the peer, or leave --protocol 5 out here"
    )]
    NotVersion5,
    /// Nothing has come from the peer for three heartbeat intervals.
    #[error("gave no sign of life for three heartbeat intervals")]
    Dead,
    /// The stream ended inside a greeting or frame.
    #[error("closed the connection inside a frame ({bytes} bytes of it had arrived)")]
    Truncated {
        /// Bytes that were left over.
        bytes: usize,
    },
}

/// What to make of bytes that are no frame.
struct NoFrame<'a> {
    malformed: &'a Malformed,
    sample: &'a Sample,
}

impl std::fmt::Display for NoFrame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Where greetings are agreed on, none comes in place of a frame: this side does not expect any.
        if self.sample.bytes.starts_with(greeting::PREFIX) {
            return f.write_str(
                "as a canip_peer of version 4.1 or 5 greets: leave --protocol 4.0 out here, or give it there",
            );
        }
        write!(f, "which is no frame: {}. Not a canip_peer, or one with another framing", self.malformed)
    }
}

/// The first bytes of what a peer sent, for an error message: text as text, the rest in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    bytes: [u8; Self::LENGTH],
    length: usize,
}

impl Sample {
    /// Enough to recognise `GET / HTTP/1.1`, and a whole frame of 14 bytes.
    const LENGTH: usize = 16;

    /// A copy of at most the first 16 bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let length = bytes.len().min(Self::LENGTH);
        let mut sample = Self { bytes: [0; Self::LENGTH], length };
        sample.bytes[..length].copy_from_slice(&bytes[..length]);
        sample
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = &self.bytes[..self.length];
        let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        if bytes.len() >= 4 && bytes.iter().all(printable) {
            return write!(f, "text, \"{}\"", bytes.escape_ascii());
        }
        f.write_str("the bytes")?;
        bytes.iter().try_for_each(|byte| write!(f, " {byte:02X}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_recognised_in_the_message() {
        let fault = Fault::Malformed {
            malformed: Malformed::Flags(0x47),
            sample: Sample::of(b"GET / HTTP/1.1\r\nHost"),
        };
        assert_eq!(
            fault.to_string(),
            "sent text, \"GET / HTTP/1.1\\r\\n\", which is no frame: flags 0x47 (only bit 0 is defined). \
             Not a canip_peer, or one with another framing"
        );
    }

    #[test]
    fn a_greeting_in_place_of_a_frame_names_the_option() {
        let fault =
            Fault::Malformed { malformed: Malformed::Flags(0x43), sample: Sample::of(b"CANIP/4.1 FEAT") };
        assert_eq!(
            fault.to_string(),
            "sent text, \"CANIP/4.1 FEAT\", as a canip_peer of version 4.1 or 5 greets: leave --protocol 4.0 out here, or \
             give it there"
        );
    }

    #[test]
    fn noise_is_shown_in_hexadecimal() {
        assert_eq!(Sample::of(&[0, 0x7F, 0xFF]).to_string(), "the bytes 00 7F FF");
    }
}
