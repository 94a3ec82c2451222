//! The sans-I/O peer: greeting, framing, sequence numbers, liveness and orderly close of one connection.
//!
//! A [`Session`] takes bytes, frames and the time, and gives back frames, bytes and deadlines. It owns no
//! descriptor, reads no clock, logs nothing, and allocates nothing after it was made. Whoever drives it
//!
//! 1. sends what [`Session::take_greeting`] gives, once, before anything else,
//! 2. hands it what arrives through [`Session::receive`] and the frames of the bus through [`Session::send`],
//! 3. calls [`Session::tick`] when [`Session::deadline`] has come,
//! 4. closes the connection on any [`Fault`].
//!
//! ```text
//!  client ── greeting sent ──► AwaitGreeting ── line ──► Open(4.1) ─┐
//!         └─ protocol 4.0 ──────────────────────────────► Open(4.0) │
//!  server ── AwaitFirstByte ── 'C' ──► AwaitGreeting ──► Open(4.1)  ├─► frames both ways
//!                │  └─ other byte ─────────────────────► Open(4.0)  │
//!                └─ 2 s of silence ─────────────────────► Open(4.0) ┘
//! ```

mod fault;
mod liveness;
mod v4;

pub use fault::{Fault, Sample};
pub use liveness::Keepalive;
pub use v4::{FrameQueue, Outcome, ReceivedFrame, SessionCounters};

use std::time::Duration;

use crate::buffer::SendBuffer;
use crate::frame::Image;
use crate::moment::{Moment, WallTime};
use crate::wire::greeting::{self, Features, Scan};
use crate::wire::v4::Layout;

/// How long a side waits for the peer's greeting, and a server for the first byte (the existing tool's 2 s).
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// Which end of the connection a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Accepted the connection; speaks after the client has.
    Server,
    /// Made the connection; speaks first.
    Client,
}

/// Which versions of the protocol a side speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// A client greets as 4.1; a server tells 4.0 and 4.1 peers apart.
    #[default]
    Auto,
    /// No greeting, 14-byte frames.
    V40,
    /// A greeting is sent and required.
    V41,
}

/// What a session is made from.
#[derive(Clone, Copy, Debug)]
pub struct SessionConfig {
    /// Which end this is.
    pub role: Role,
    /// Which versions it speaks.
    pub protocol: Protocol,
    /// What it offers in its greeting.
    pub offer: Features,
}

/// What an open session speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// Legacy framing without a greeting.
    V40,
    /// A greeting was exchanged.
    V41,
}

/// What was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// The version spoken.
    pub version: Version,
    /// The features in use.
    pub features: Features,
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            Version::V40 => f.write_str("version 4.0"),
            Version::V41 => write!(f, "version 4.1 ({})", self.features),
        }
    }
}

/// How far [`Session::receive`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes that need not be shown again. What is left is an incomplete line or frame, or waits for room.
    pub consumed: usize,
    /// The queue had no room for a frame that is complete: show the rest again when it has.
    pub blocked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    AwaitFirstByte { until: Moment },
    AwaitGreeting { until: Moment },
    Open,
}

/// One end of one connection.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    stage: Stage,
    greeting_due: bool,
    agreement: Agreement,
    framing: v4::Framing,
}

impl Session {
    /// A session on a connection that came up at `now`.
    pub fn new(config: SessionConfig, now: Moment) -> Self {
        let until = now.after(GREETING_TIMEOUT);
        let stage = match (config.protocol, config.role) {
            (Protocol::V40, _) => Stage::Open,
            (_, Role::Server) => Stage::AwaitFirstByte { until },
            (_, Role::Client) => Stage::AwaitGreeting { until },
        };
        Self {
            config,
            stage,
            greeting_due: matches!(stage, Stage::AwaitGreeting { .. }),
            agreement: Agreement { version: Version::V40, features: Features::default() },
            framing: v4::Framing::new(Layout::default()),
        }
    }

    /// The greeting, the first time that one is due; to be sent before anything else.
    pub fn take_greeting(&mut self) -> Option<&'static [u8]> {
        std::mem::take(&mut self.greeting_due).then(|| self.config.offer.greeting())
    }

    /// What was agreed on, once frames may cross.
    pub fn agreement(&self) -> Option<Agreement> {
        (self.stage == Stage::Open).then_some(self.agreement)
    }

    /// When [`Session::tick`] must be called next.
    pub fn deadline(&self) -> Option<Moment> {
        match self.stage {
            Stage::AwaitFirstByte { until } | Stage::AwaitGreeting { until } => Some(until),
            Stage::Open => None,
        }
    }

    /// What has been counted so far.
    pub fn counters(&self) -> SessionCounters {
        self.framing.counters()
    }

    /// Takes what the peer sent: all bytes that no earlier call consumed, oldest first. Complete frames go to
    /// `queue`.
    ///
    /// # Errors
    /// The peer does not speak the protocol: close the connection. Frames before the fault are in `queue`.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Moment,
        queue: &mut impl FrameQueue,
    ) -> Result<Progress, Fault> {
        let mut consumed = 0;
        if let (Stage::AwaitFirstByte { .. }, Some(&first)) = (self.stage, bytes.first()) {
            self.tell_apart(first, bytes, now)?;
        }
        if matches!(self.stage, Stage::AwaitGreeting { .. }) {
            match greeting::scan(bytes) {
                Scan::Incomplete => return Ok(Progress { consumed: 0, blocked: false }),
                Scan::Foreign => return Err(self.foreign(bytes)),
                Scan::Greeting(offered, length) => {
                    self.agree(offered);
                    consumed = length;
                }
            }
        }
        if self.stage != Stage::Open {
            return Ok(Progress { consumed, blocked: false });
        }
        let progress = self.framing.receive(&bytes[consumed..], queue)?;
        Ok(Progress { consumed: consumed + progress.consumed, ..progress })
    }

    /// Encodes a frame of the bus, received at `received_at`, into `out`.
    pub fn send(&mut self, image: Image<'_>, received_at: WallTime, out: &mut SendBuffer) -> Outcome {
        debug_assert_eq!(self.stage, Stage::Open, "frames cross only after the greeting");
        self.framing.send(image, received_at, out)
    }

    /// Notes that a frame of the bus is dropped before it could be sent: its sequence number is used up, so that the
    /// peer sees that it is missing.
    pub fn skip(&mut self) {
        self.framing.skip();
    }

    /// Lets time pass: call at or after [`Session::deadline`].
    ///
    /// # Errors
    /// The peer did not greet in time: close the connection.
    pub fn tick(&mut self, now: Moment) -> Result<(), Fault> {
        match self.stage {
            Stage::AwaitFirstByte { until } if now >= until => match self.config.protocol {
                Protocol::V41 => Err(Fault::NoGreeting),
                // A 4.0 client has nothing to say until its bus has.
                Protocol::Auto | Protocol::V40 => {
                    self.stage = Stage::Open;
                    Ok(())
                }
            },
            Stage::AwaitGreeting { until } if now >= until => Err(Fault::NoGreeting),
            _ => Ok(()),
        }
    }

    /// The peer has closed its direction with `unconsumed` bytes left over.
    ///
    /// # Errors
    /// The stream ended inside a greeting or a frame.
    pub fn finish(&self, unconsumed: usize) -> Result<(), Fault> {
        if unconsumed > 0 { Err(Fault::Truncated { bytes: unconsumed }) } else { Ok(()) }
    }

    /// A server's decision on the first byte.
    fn tell_apart(&mut self, first: u8, bytes: &[u8], now: Moment) -> Result<(), Fault> {
        if first == greeting::PREFIX[0] {
            self.stage = Stage::AwaitGreeting { until: now.after(GREETING_TIMEOUT) };
            Ok(())
        } else if self.config.protocol == Protocol::V41 {
            Err(self.foreign(bytes))
        } else {
            self.stage = Stage::Open;
            Ok(())
        }
    }

    fn agree(&mut self, offered: Features) {
        let features = self.config.offer.agreed_with(offered);
        self.agreement = Agreement { version: Version::V41, features };
        self.framing = v4::Framing::new(Layout::new(features));
        // A server answers; a client has spoken already.
        self.greeting_due = self.config.role == Role::Server;
        self.stage = Stage::Open;
    }

    fn foreign(&self, bytes: &[u8]) -> Fault {
        Fault::NoPeer { sample: Sample::of(bytes) }
    }
}

#[cfg(test)]
mod tests;
