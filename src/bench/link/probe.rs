//! Frames before and behind a load: whether anything comes back, how fast it can be, and which answers were given.

use std::io;
use std::time::Duration;

use super::super::clock::now_ns;
use super::super::end::End;
use super::echoes::{Exchange, Opening};
use crate::bus::Receiver;
use crate::frame::{Frame, Identifier};
use crate::load::{Stamp, StampKey};
use crate::session::clock_offset::ClockOffset;
use crate::wire::echo::Echo;

/// The one behind the load. Those before it count from 0.
pub const CLOSING: u32 = u32::MAX;

/// Frames before the load, one after the other has come back: one of them meets no queue.
const OPENING_FRAMES: u32 = 20;

/// They take no longer than this, unless the first one does.
const OPENING_NS: u64 = 300_000_000;

/// How long to wait for one of them: longer than any link's round trip, and short enough to be told at once that there is none.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// What probes are stamped with, apart from both directions of the load.
pub fn key(seed: u64) -> StampKey {
    StampKey::new(seed, 2)
}

/// A probe of this number.
pub fn frame(key: StampKey, number: u32) -> Frame {
    let identifier = Identifier::standard(0x7FF).expect("the highest one");
    Frame::data(identifier, &key.write(Stamp { number, due_us: 0 })).expect("a stamp fits")
}

/// The number of the probe that was answered; `None` if it was no probe.
pub fn read(key: StampKey, echo: &Echo) -> Option<u32> {
    let stamp = key.read(echo.frame.image().classic_payload());
    let is_probe = stamp.due_us == 0 && (stamp.number == CLOSING || stamp.number < OPENING_FRAMES);
    is_probe.then_some(stamp.number)
}

/// Sends frames there and back before the load begins. None if none came back.
pub fn open(end: &End, key: StampKey, receiver: &mut Receiver) -> io::Result<Option<Opening>> {
    let mut fastest: Option<(u64, Exchange)> = None;
    let mut opened_ns = 0;
    let mut last_echo = 0;
    for number in 0..OPENING_FRAMES {
        let Some((exchange, echo)) = there_and_back(end, key, number, receiver)? else { break };
        let round_trip_ns = exchange.arrived_ns - exchange.sent_ns;
        if fastest.is_none_or(|(least_ns, _)| round_trip_ns < least_ns) {
            fastest = Some((round_trip_ns, exchange));
        }
        if number == 0 {
            opened_ns = exchange.arrived_ns;
        }
        last_echo = echo;
        if exchange.arrived_ns - opened_ns > OPENING_NS {
            break;
        }
    }
    Ok(fastest.map(|(_, exchange)| {
        let mut clock = ClockOffset::new();
        exchange.sample(&mut clock);
        Opening { clock, at_ns: opened_ns, echo: last_echo }
    }))
}

fn there_and_back(
    end: &End,
    key: StampKey,
    number: u32,
    receiver: &mut Receiver,
) -> io::Result<Option<(Exchange, u64)>> {
    let sent_ns = now_ns();
    let deadline_ns = sent_ns + PATIENCE.as_nanos() as u64;
    end.send(&[frame(key, number)])?;
    loop {
        let left = Duration::from_nanos(deadline_ns.saturating_sub(now_ns()));
        if left.is_zero() {
            return Ok(None);
        }
        if !end.wait_readable(left + Duration::from_millis(1))? {
            continue;
        }
        let mut answer = None;
        let read = end.read(receiver, |image| {
            let echo = Echo::read(image).filter(|echo| read(key, echo) == Some(number));
            answer = answer.or(echo);
        });
        let arrived_ns = now_ns();
        match read {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        if let Some(echo) = answer {
            return Ok(Some((Exchange { sent_ns, answered_ns: echo.received_ns, arrived_ns }, echo.number)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_told_from_frames_of_the_load() {
        let key = key(7);
        let echo = |frame| Echo { frame, received_ns: 1, number: 2 };
        for number in [0, OPENING_FRAMES - 1, CLOSING] {
            assert_eq!(read(key, &echo(frame(key, number))), Some(number));
        }
        let load = StampKey::new(7, 0);
        let taken = (0..100_000).filter(|number| read(key, &echo(frame(load, *number))).is_some());
        assert_eq!(taken.count(), 0);
    }
}
