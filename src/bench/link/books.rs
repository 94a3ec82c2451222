//! On which way frames were lost that did not come back, by the numbers of frames and of echoes.
//!
//! Each frame that the reflector has received uses up a number of its own, whatever becomes of the answer. Between two frames
//! that came back, the numbers that were left out say it to the frame:
//!
//! ```text
//!  frames  100  101  102  103      two of them did not come back; one answer was given: it was lost on its way back,
//!  echoes   40   .    .    42      and the other frame on its way there
//! ```
//!
//! A first frame before the load and a last one behind it make that true of all of the load.

/// Frames that were lost on either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ways {
    pub there: u64,
    pub back: u64,
}

/// The account of a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Books {
    next_frame: u64,
    next_echo: u64,
    /// Answers that are missing since the last frame that came back.
    missing_echoes: u64,
    measured_from: Option<u64>,
    /// Warm-up excluded.
    pub lost: Ways,
    /// Answers to frames that were not ours.
    pub strangers: u64,
}

impl Books {
    /// The answer before the first frame's had this number.
    pub fn new(echo: u64) -> Self {
        Self { next_echo: echo + 1, ..Self::default() }
    }

    /// Frames from this number on count as measured.
    pub fn measure_from(&mut self, frame: u64) {
        self.measured_from.get_or_insert(frame);
    }

    /// A frame has come back, for the first time.
    pub fn came(&mut self, frame: u64, echo: u64) {
        if frame < self.next_frame || echo < self.next_echo {
            return self.came_late(frame, echo);
        }
        self.settle(frame, echo);
        (self.next_frame, self.next_echo) = (frame + 1, echo + 1);
    }

    /// An answer has come that is about no frame, or about one that had come before.
    pub fn strayed(&mut self, echo: u64) {
        if echo >= self.next_echo {
            self.missing_echoes += echo - self.next_echo;
            self.next_echo = echo + 1;
        }
    }

    /// All frames were sent, so many, and the answer behind the last one's has this number.
    pub fn close(&mut self, frames: u64, echo: u64) {
        if frames >= self.next_frame && echo >= self.next_echo {
            self.settle(frames, echo);
            (self.next_frame, self.next_echo) = (frames, echo + 1);
        }
    }

    /// Frames and answers up to these have come, or are lost.
    fn settle(&mut self, frame: u64, echo: u64) {
        let frames = frame - self.next_frame;
        let echoes = std::mem::take(&mut self.missing_echoes) + echo - self.next_echo;
        let back = echoes.min(frames);
        self.strangers += echoes - back;
        let Some(measured_from) = self.measured_from else { return };
        let frames = frame.saturating_sub(self.next_frame.max(measured_from));
        let back = back.min(frames);
        self.lost.back += back;
        self.lost.there += frames - back;
    }

    /// One that was taken for lost.
    fn came_late(&mut self, frame: u64, echo: u64) {
        let was_back = echo < self.next_echo;
        if self.measured_from.is_some_and(|from| frame >= from) {
            let way = if was_back { &mut self.lost.back } else { &mut self.lost.there };
            *way = way.saturating_sub(1);
        }
        self.next_frame = self.next_frame.max(frame + 1);
        self.next_echo = self.next_echo.max(echo + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(came: &[(u64, u64)]) -> Books {
        let mut books = Books::new(39);
        books.measure_from(0);
        came.iter().for_each(|(frame, echo)| books.came(*frame, *echo));
        books
    }

    #[test]
    fn the_example_above() {
        let books = books(&[(0, 40), (3, 42)]);
        assert_eq!(books.lost, Ways { there: 1, back: 1 });
        assert_eq!(books.strangers, 0);
    }

    #[test]
    fn the_first_and_the_last_are_told_by_what_is_sent_before_and_behind() {
        let mut books = books(&[(2, 40), (3, 41)]);
        assert_eq!(books.lost, Ways { there: 2, back: 0 });
        // Six were sent; of the last two, one was answered.
        books.close(6, 43);
        assert_eq!(books.lost, Ways { there: 3, back: 1 });
    }

    #[test]
    fn warm_up_is_kept_apart() {
        let mut books = Books::new(9);
        books.came(0, 10);
        books.came(2, 11);
        books.measure_from(5);
        // 3 and 4 belong to the warm-up, 5 and 6 do not; two were answered.
        books.came(7, 14);
        assert_eq!(books.lost, Ways { there: 0, back: 2 });
    }

    #[test]
    fn what_comes_late_was_not_lost() {
        assert_eq!(books(&[(0, 40), (2, 42), (1, 41)]).lost, Ways::default());
        // The order was changed on the way there.
        assert_eq!(books(&[(0, 40), (2, 41), (1, 42)]).lost, Ways::default());
    }

    #[test]
    fn answers_to_others_are_no_loss() {
        let books = books(&[(0, 40), (1, 45)]);
        assert_eq!((books.lost, books.strangers), (Ways::default(), 4));
    }

    #[test]
    fn a_copy_uses_up_a_number_and_is_no_loss() {
        let mut books = books(&[(0, 40)]);
        books.strayed(41);
        books.came(1, 42);
        assert_eq!((books.lost, books.strangers), (Ways::default(), 0));
        // 43 is missing before a copy, and was the answer to 2.
        books.strayed(44);
        books.came(3, 45);
        assert_eq!((books.lost, books.strangers), (Ways { there: 0, back: 1 }, 0));
    }
}
