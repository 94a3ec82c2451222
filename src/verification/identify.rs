//! Which frame one that came is, or was.

use super::Verification;
use super::by_content::Found;
use super::content::Content;
use super::window::State;

/// How many frames, of those expected next, a frame that nobody sent is compared with: what a queue may drop in one go in
/// front of it. Fewer are under way, as a rule.
pub(super) const LOOK_AHEAD_FRAMES: u64 = 256;
/// How far back: what frames may be late by.
const LOOK_BACK_FRAMES: u64 = 64;

/// What a frame that came was taken for.
pub(super) enum Identity {
    /// A frame that had not come.
    Sent(u64),
    /// A frame that is no longer remembered and may not have come.
    Late(u64),
    /// A frame that has come before.
    Again(u64),
    /// A corrupted one, in place of this one.
    Instead(u64, State),
    Foreign,
}

impl Verification {
    /// By its stamp, or by its content, or by its likeness to what is missing.
    pub(super) fn identify(&mut self, content: &Content) -> Identity {
        if let Some(identity) = self.identify_by_stamp(content) {
            return identity;
        }
        match self.by_content.find(content.fingerprint(), self.reached, &mut self.window) {
            Some(Found::Missing(number)) => Identity::Sent(number),
            Some(Found::Again(number)) => Identity::Again(number),
            None => self.identify_by_place(content),
        }
    }

    fn identify_by_stamp(&self, content: &Content) -> Option<Identity> {
        let stamp = content.stamp(self.key)?;
        let number = self.history.number(stamp.number)?;
        let Some(entry) = self.window.entry(number) else {
            let known = number < self.window.base() && self.history.is_plausible(number, stamp.due_us);
            let late = self.forgotten > 0 && self.is_measured(number);
            return known.then_some(if late { Identity::Late(number) } else { Identity::Again(number) });
        };
        let sent = self.window.content(number).filter(|_| entry.is_stamped)?;
        if sent == *content {
            return Some(match entry.state {
                State::Received => Identity::Again(number),
                State::Outstanding | State::Supplanted | State::Damaged => Identity::Sent(number),
            });
        }
        let is_intact = sent.stamp(self.key) == Some(stamp);
        is_intact.then_some(match entry.state {
            State::Outstanding | State::Supplanted => Identity::Instead(number, State::Damaged),
            State::Damaged | State::Received => Identity::Foreign,
        })
    }

    /// Of the frames that might have come now, the one with the fewest bits to change; else the next of the same form.
    fn identify_by_place(&mut self, content: &Content) -> Identity {
        let ahead = self.reached..self.window.next().min(self.reached + LOOK_AHEAD_FRAMES);
        let back = self.window.base().max(self.reached.saturating_sub(LOOK_BACK_FRAMES))..self.reached;
        let (mut damaged, mut supplanted) = (None, None);
        for number in ahead.chain(back.rev()) {
            let Some(entry) = self.window.entry(number) else { continue };
            if !matches!(entry.state, State::Outstanding | State::Supplanted) {
                continue;
            }
            let Some(sent) = self.window.content(number) else { continue };
            #[cfg(test)]
            (self.compared += 1);
            if let Some(bits) = content.damage_from(&sent)
                && damaged.is_none_or(|(least, _)| bits < least)
            {
                damaged = Some((bits, number));
            }
            if supplanted.is_none()
                && number >= self.reached
                && entry.state == State::Outstanding
                && content.has_form_of(&sent)
            {
                supplanted = Some(number);
            }
        }
        match (damaged, supplanted) {
            (Some((_, number)), _) => Identity::Instead(number, State::Damaged),
            (None, Some(number)) => Identity::Instead(number, State::Supplanted),
            (None, None) => Identity::Foreign,
        }
    }
}
