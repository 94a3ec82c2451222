//! A load as a sequence of frames with their times.

use std::sync::Arc;

use super::cyclic::Cyclic;
use super::frames::Frames;
use super::pace::{WireClock, even_ns};
use super::{Due, Load, Pacing, Pattern, Replay, StampKey, due_us};

/// Which frames are due and when, for one direction: the same each time. A frame's number is its position, from 0.
/// Nothing is allocated for a frame.
#[derive(Clone, Debug)]
pub struct Schedule {
    key: StampKey,
    number: u64,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Wire { clock: WireClock, frames: Frames },
    Even { frames_per_s: f64, frames: Frames },
    Bursts { burst: u64, every_ns: u64, frames: Frames },
    Flood { frames: Frames },
    Cyclic(Box<Cyclic>),
    Replay(Arc<Replay>),
}

impl Schedule {
    pub(super) fn new(load: &Load, direction: u8) -> Self {
        let key = StampKey::new(load.seed(), direction);
        let source = match &load.pattern {
            &Pattern::Paced { pacing, frames } => match pacing {
                Pacing::Bus { percent } => {
                    Source::Wire { clock: WireClock::new(load.rates(), percent), frames }
                }
                Pacing::Rate { frames_per_s } => Source::Even { frames_per_s, frames },
                Pacing::Burst { frames: burst, every } => {
                    Source::Bursts { burst, every_ns: every.as_nanos() as u64, frames }
                }
                Pacing::Flood => Source::Flood { frames },
            },
            Pattern::Cyclic => Source::Cyclic(Box::new(Cyclic::new(key, load.rates().nominal))),
            Pattern::Replay(replay) => Source::Replay(Arc::clone(replay)),
        };
        Self { key, number: 0, source }
    }

    /// What this direction's stamps are mixed with.
    pub fn key(&self) -> StampKey {
        self.key
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let (key, number) = (self.key, self.number);
        let drawn = |frames: Frames, at_ns| Due { at_ns, frame: frames.draw(key, due_us(at_ns), number) };
        let due = match &mut self.source {
            Source::Wire { clock, frames } => {
                let due = drawn(*frames, clock.at_ns());
                clock.pass(due.frame.image());
                due
            }
            Source::Even { frames_per_s, frames } => drawn(*frames, even_ns(number, *frames_per_s)),
            Source::Bursts { burst, every_ns, frames } => {
                drawn(*frames, (number / *burst).saturating_mul(*every_ns))
            }
            Source::Flood { frames } => drawn(*frames, 0),
            Source::Cyclic(cyclic) => cyclic.next(),
            Source::Replay(replay) => *replay.frames().get(usize::try_from(number).ok()?)?,
        };
        self.number += 1;
        Some(due)
    }
}
