//! A log of frames (`candump -l`), to be sent again as they came.

use std::io::{BufRead, Read};

use thiserror::Error;

use crate::frame::notation::{NotationError, parse_log_line};
use crate::frame::{Frame, Kind};

use super::Due;

/// Frames of a log that are kept, about 90 bytes of memory each: four minutes of a saturated 500 kbit/s bus.
pub const REPLAY_FRAMES_MAX: usize = 1_000_000;

/// Bytes of a line. The longest frame with an interface's name and its time has less than 200.
const LINE_BYTES_MAX: usize = 1024;

/// Names of interfaces that an error lists.
const NAMES_LISTED_MAX: usize = 8;

/// The frames of a log with their times.
#[derive(Clone, PartialEq, Debug)]
pub struct Replay {
    name: String,
    interface: Option<String>,
    frames: Vec<Due>,
    error_frames: u64,
    steps_back: u64,
}

/// Why a log cannot be sent again. Names the file, and the line where there is one.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A line is no line of a log.
    #[error("{name}, line {line}: {fault}")]
    Notation {
        /// The file's.
        name: String,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        fault: NotationError,
    },
    /// A line is too long, or no text.
    #[error("{name}, line {line}: no text line of a candump log (candump -l writes such files)")]
    NoText {
        /// The file's.
        name: String,
        /// From 1.
        line: usize,
    },
    /// There are more frames than are kept.
    #[error("{name}, line {line}: more than {REPLAY_FRAMES_MAX} frames: cut the log into parts")]
    TooLong {
        /// The file's.
        name: String,
        /// Of the first frame too many.
        line: usize,
    },
    /// There is nothing in it to be sent.
    #[error("{name}: no frame to send{}", if *.error_frames > 0 { ", error frames only" } else { "" })]
    Empty {
        /// The file's.
        name: String,
        /// Error frames in it.
        error_frames: u64,
    },
    /// There is nothing of the interface that was named.
    #[error("{name}: no frame of interface {interface:?} (the log has {found})")]
    NoSuchInterface {
        /// The file's.
        name: String,
        /// The one that was named.
        interface: String,
        /// The ones that have frames.
        found: String,
    },
    /// The file cannot be read.
    #[error("{name}: {source}")]
    Read {
        /// The file's.
        name: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Replay {
    /// Reads a log: all of its frames, or those of one interface. `name` is what errors call it.
    ///
    /// Error frames are left out and counted: a socket reports them, and none can be sent. The first frame is due at
    /// once. Where times go backwards (a clock that was set, logs that were put together) the frame is due with the one
    /// before it, and the next keep their distance from it; that is counted too.
    ///
    /// # Errors
    /// The log cannot be read, a line of it is no line of a log, it has more frames than are kept, or none to be sent: of the
    /// interface that was named, or at all.
    pub fn read(name: &str, reader: impl BufRead, interface: Option<&str>) -> Result<Self, ReplayError> {
        let mut replay = Self {
            name: name.to_owned(),
            interface: interface.map(str::to_owned),
            frames: Vec::new(),
            error_frames: 0,
            steps_back: 0,
        };
        let mut others = Vec::new();
        replay.read_lines(reader, &mut others)?;
        match (interface, replay.frames.is_empty()) {
            (_, false) => Ok(replay),
            (Some(interface), true) if !others.is_empty() => Err(ReplayError::NoSuchInterface {
                name: replay.name,
                interface: interface.to_owned(),
                found: others.join(", "),
            }),
            (_, true) => Err(ReplayError::Empty { name: replay.name, error_frames: replay.error_frames }),
        }
    }

    fn read_lines(&mut self, mut reader: impl BufRead, others: &mut Vec<String>) -> Result<(), ReplayError> {
        let mut bytes = Vec::with_capacity(LINE_BYTES_MAX + 1);
        let mut last_ns = None;
        for line in 1.. {
            bytes.clear();
            let room = LINE_BYTES_MAX as u64 + 1;
            let read = reader.by_ref().take(room).read_until(b'\n', &mut bytes);
            if read.map_err(|source| ReplayError::Read { name: self.name.clone(), source })? == 0 {
                break;
            }
            let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= LINE_BYTES_MAX);
            let text = text.ok_or_else(|| ReplayError::NoText { name: self.name.clone(), line })?;
            if text.trim_ascii().is_empty() {
                continue;
            }
            let parsed = parse_log_line(text).map_err(|fault| ReplayError::Notation {
                name: self.name.clone(),
                line,
                fault,
            })?;
            if self.interface.as_ref().is_none_or(|interface| interface == parsed.interface) {
                self.push(line, parsed.at_ns, parsed.frame, &mut last_ns)?;
            } else if others.len() < NAMES_LISTED_MAX
                && !others.iter().any(|name| parsed.interface.escape_debug().eq(name.chars()))
            {
                // As an error may print it: whoever wrote the file chose the name.
                others.push(parsed.interface.escape_debug().to_string());
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        line: usize,
        at_ns: u64,
        frame: Frame,
        last_ns: &mut Option<u64>,
    ) -> Result<(), ReplayError> {
        if frame.image().kind() == Kind::Error {
            self.error_frames += 1;
            return Ok(());
        }
        if self.frames.len() == REPLAY_FRAMES_MAX {
            return Err(ReplayError::TooLong { name: self.name.clone(), line });
        }
        let before_ns = last_ns.replace(at_ns).unwrap_or(at_ns);
        self.steps_back += u64::from(at_ns < before_ns);
        let before_due_ns = self.frames.last().map_or(0, |last| last.at_ns);
        // Times that jump to and fro across centuries add up to more than there is.
        let due_ns = before_due_ns.saturating_add(at_ns.saturating_sub(before_ns));
        self.frames.push(Due { at_ns: due_ns, frame });
        Ok(())
    }

    /// The frames, in order; one at least.
    pub fn frames(&self) -> &[Due] {
        &self.frames
    }

    /// Error frames that were left out.
    pub fn error_frames(&self) -> u64 {
        self.error_frames
    }

    /// How often times went backwards.
    pub fn steps_back(&self) -> u64 {
        self.steps_back
    }

    /// `replay of drive.log, interface can0, 12345 frames`, and what was left out.
    pub(super) fn description(&self) -> String {
        let mut text = format!("replay of {}", self.name);
        if let Some(interface) = &self.interface {
            text += &format!(", interface {interface}");
        }
        text += &format!(", {} frames", self.frames.len());
        if self.error_frames > 0 {
            text += &format!(", {} error frames left out", self.error_frames);
        }
        if self.steps_back > 0 {
            text += &format!(", times go backwards {} times", self.steps_back);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::notation::parse_compact;

    fn read(text: &str, interface: Option<&str>) -> Result<Replay, String> {
        Replay::read("drive.log", text.as_bytes(), interface).map_err(|error| {
            let text = error.to_string();
            assert!(!text.contains('\n'));
            text
        })
    }

    fn frames(replay: &Replay) -> Vec<(u64, Frame)> {
        replay.frames().iter().map(|due| (due.at_ns, due.frame)).collect()
    }

    const LOG: &str = "\
        (1436509052.249713) can0 044#2A366C2BBA\n\
        (1436509052.249813) can1 123#R\n\
        (1436509052.250000) can0 20000004#0001000000000000\n\
        \n\
        (1436509052.449713) can0 1F334455##311\r\n";

    #[test]
    fn a_log_keeps_its_times() {
        let replay = read(LOG, None).unwrap();
        let frame = |text| parse_compact(text).unwrap();
        let expected =
            [(0, frame("044#2A366C2BBA")), (100_000, frame("123#R")), (200_000_000, frame("1F334455##311"))];
        assert_eq!(frames(&replay), expected);
        assert_eq!((replay.error_frames(), replay.steps_back()), (1, 0));
        assert_eq!(replay.description(), "replay of drive.log, 3 frames, 1 error frames left out");
    }

    #[test]
    fn one_interface_can_be_named() {
        let replay = read(LOG, Some("can1")).unwrap();
        assert_eq!(frames(&replay), [(0, parse_compact("123#R").unwrap())]);
        assert_eq!(replay.description(), "replay of drive.log, interface can1, 1 frames");
        assert_eq!(
            read(LOG, Some("can2")).unwrap_err(),
            "drive.log: no frame of interface \"can2\" (the log has can0, can1)"
        );
    }

    #[test]
    fn times_that_go_backwards_are_counted_and_keep_their_distances() {
        let log = "(10.0) a 001#\n(10.5) a 002#\n(3.0) a 003#\n(3.25) a 004#\n(3.2) a 005#\n";
        let replay = read(log, None).unwrap();
        let times: Vec<u64> = replay.frames().iter().map(|due| due.at_ns).collect();
        assert_eq!(times, [0, 500_000_000, 500_000_000, 750_000_000, 750_000_000]);
        assert_eq!(replay.steps_back(), 2);
        assert_eq!(replay.description(), "replay of drive.log, 5 frames, times go backwards 2 times");
    }

    #[test]
    fn times_that_jump_to_and_fro_across_centuries_stay_in_order() {
        let line = |seconds: u64, id: u32| format!("({seconds}.0) a {id:03X}#\n");
        let log = line(0, 1) + &line(18_000_000_000, 2) + &line(0, 3) + &line(18_000_000_000, 4);
        let times: Vec<u64> = read(&log, None).unwrap().frames().iter().map(|due| due.at_ns).collect();
        assert_eq!(times, [0, 18_000_000_000_000_000_000, 18_000_000_000_000_000_000, u64::MAX]);
    }

    #[test]
    fn names_in_a_log_do_nothing_to_a_terminal() {
        let log = "(1.0) can\u{1b}[2J 123#\n(1.0) can\u{1b}[2J 124#\n";
        assert_eq!(
            read(log, Some("can0")).unwrap_err(),
            "drive.log: no frame of interface \"can0\" (the log has can\\u{1b}[2J)"
        );
    }

    #[test]
    fn what_is_no_log_is_named() {
        assert_eq!(read("", None).unwrap_err(), "drive.log: no frame to send");
        assert_eq!(
            read("(1.0) can0 20000004#0001000000000000\n", None).unwrap_err(),
            "drive.log: no frame to send, error frames only"
        );
        assert_eq!(
            read("(1.0) can0 123#11\n(1.1) can0 123#1\n", None).unwrap_err(),
            "drive.log, line 2: \"123#1\": the data has an odd number of hexadecimal digits"
        );
        assert_eq!(
            read("can0 123 [1] 11\n", None).unwrap_err(),
            "drive.log, line 1: \"can0 123 [1] 11\": no log line: expected (SECONDS.MICROSECONDS) INTERFACE FRAME"
        );
        let no_text = "drive.log, line 2: no text line of a candump log (candump -l writes such files)";
        assert_eq!(read(&format!("(1.0) can0 123#11\n{}", "x".repeat(2000)), None).unwrap_err(), no_text);
        let binary = Replay::read("drive.log", &b"(1.0) can0 123#11\n\xFF\xFE\n"[..], None).unwrap_err();
        assert_eq!(binary.to_string(), no_text);
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::from_raw_os_error(libc::EIO))
            }
        }
        let error = Replay::read("drive.log", std::io::BufReader::new(Broken), None).unwrap_err();
        assert!(error.to_string().starts_with("drive.log: Input/output error"), "{error}");
    }

    #[test]
    fn the_number_of_frames_has_a_bound() {
        let mut replay = Replay {
            name: "drive.log".to_owned(),
            interface: None,
            frames: vec![Due { at_ns: 0, frame: Frame::EMPTY }; REPLAY_FRAMES_MAX],
            error_frames: 0,
            steps_back: 0,
        };
        let error = replay.push(7, 0, Frame::EMPTY, &mut None).unwrap_err();
        assert_eq!(error.to_string(), "drive.log, line 7: more than 1000000 frames: cut the log into parts");
    }

    #[test]
    fn a_replay_is_a_load_that_ends() {
        use crate::frame::bit_time::BitRates;
        use crate::load::{Load, Pacing};
        let replay = std::sync::Arc::new(read("(1.0) a 123#1122334455667788\n(3.0) a 123#\n", None).unwrap());
        let load = Load::replay(replay, BitRates::classic(500_000.try_into().unwrap()), 1).unwrap();
        assert_eq!((load.frame_count(), load.is_finite(), load.has_fd()), (Some(2), true, false));
        assert_eq!(load.schedule(0).count(), 2);
        assert_eq!(load.frames_per_s(), Some(0.5));
        assert_eq!(load.pacing(), None);
        assert!(
            load.with_pacing(Pacing::Flood)
                .unwrap_err()
                .to_string()
                .starts_with("a replay has its own times")
        );
    }
}
