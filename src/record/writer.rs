//! Brings full and aged halves to the file. Knows no line; the clock it reads is the flush timer's.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Content;
use super::backlog::SharedBacklog;
use super::buffer::HALVES;
use super::file::Sink;

/// What is recorded is in the file within this time: a look at a growing file shows the present, and a crash costs
/// a second. A file that refuses is tried again at the same pace.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Writer<S> {
    backlog: SharedBacklog,
    sink: S,
    path: PathBuf,
    content: Content,
    /// A half that the file did not take whole, and how much of it is written: its rest goes first.
    unfinished: Option<(Vec<u8>, usize)>,
    /// Lines lost when the file began to refuse; `None` while it works.
    failing_since: Option<u64>,
}

impl<S: Sink> Writer<S> {
    pub(super) fn new(backlog: SharedBacklog, sink: S, path: PathBuf, content: Content) -> Self {
        Self { backlog, sink, path, content, unfinished: None, failing_since: None }
    }

    /// Writes until the backlog is finished.
    pub(super) async fn run(mut self) {
        let work = self.backlog.borrow().work();
        let mut due = Instant::now() + FLUSH_INTERVAL;
        loop {
            let woken = timeout_at(due, work.notified()).await.is_ok();
            let finishing = self.backlog.borrow().is_finishing();
            if woken && !finishing {
                // A file that refused a moment ago is left to the timer.
                if self.failing_since.is_none() {
                    self.flush(false).await;
                }
                continue;
            }
            self.flush(true).await;
            if finishing {
                return self.give_up_rest();
            }
            due = Instant::now() + FLUSH_INTERVAL;
        }
    }

    /// Writes what is full, with `aged` also what is not; stops at an error and keeps the rest.
    async fn flush(&mut self, aged: bool) {
        let mut aged_halves = if aged { HALVES } else { 0 };
        loop {
            let taken = self.unfinished.take().or_else(|| {
                let half = self.backlog.borrow_mut().take(aged_halves > 0);
                half.map(|half| (half, 0))
            });
            let Some((half, written)) = taken else { return };
            aged_halves = aged_halves.saturating_sub(1);
            match self.write_whole(half, written).await {
                Ok(half) => {
                    self.backlog.borrow_mut().give_back(half);
                    self.say_working();
                }
                Err(error) => return self.say_failing(&error),
            }
        }
    }

    async fn write_whole(&mut self, mut half: Vec<u8>, mut written: usize) -> io::Result<Vec<u8>> {
        while written < half.len() {
            let result;
            (result, half) = self.sink.write(half, written).await;
            match result {
                Ok(0) => {
                    self.unfinished = Some((half, written));
                    return Err(io::ErrorKind::WriteZero.into());
                }
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.unfinished = Some((half, written));
                    return Err(error);
                }
            }
        }
        Ok(half)
    }

    /// At the end, with a file that still refuses: counts what is lost and leaves no half of a line behind.
    fn give_up_rest(mut self) {
        if let Some((half, written)) = self.unfinished.take() {
            let torn = half[..written].iter().rev().take_while(|byte| **byte != b'\n').count();
            if torn > 0
                && let Err(error) = self.sink.cut(torn as u64)
            {
                tracing::error!("{}: cannot take half a line off its end: {error}", self.path.display());
            }
            let mut backlog = self.backlog.borrow_mut();
            backlog.count_lost(&half[written..]);
            backlog.give_back(half);
        }
        for _ in 0..HALVES {
            let mut backlog = self.backlog.borrow_mut();
            let Some(half) = backlog.take(true) else { return };
            backlog.count_lost(&half);
            backlog.give_back(half);
        }
    }

    fn say_failing(&mut self, error: &io::Error) {
        if self.failing_since.is_none() {
            self.failing_since = Some(self.backlog.borrow().lost());
            tracing::error!("{}", self.content.failing(&self.path, error));
        }
    }

    fn say_working(&mut self) {
        if let Some(before) = self.failing_since.take() {
            let lost = self.backlog.borrow().lost() - before;
            tracing::warn!("{}", self.content.working(&self.path, lost));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use tokio::sync::Notify;
    use tokio::task::{LocalSet, spawn_local};

    use super::super::backlog::Backlog;
    use super::super::{Recorder, Summary};
    use super::*;
    use crate::frame::{Frame, Identifier};

    /// What the file does with one write.
    enum Answer {
        Take(usize),
        Refuse(i32),
    }

    #[derive(Default)]
    struct Script {
        answers: RefCell<VecDeque<Answer>>,
        text: RefCell<Vec<u8>>,
        written: Notify,
    }

    /// A file that follows a script, and takes everything after its end.
    impl Sink for Rc<Script> {
        async fn write(&self, half: Vec<u8>, from: usize) -> (io::Result<usize>, Vec<u8>) {
            let answer = self.answers.borrow_mut().pop_front().unwrap_or(Answer::Take(usize::MAX));
            let result = match answer {
                Answer::Take(most) => Ok(most.min(half.len() - from)),
                Answer::Refuse(errno) => Err(io::Error::from_raw_os_error(errno)),
            };
            if let Ok(bytes) = result {
                self.text.borrow_mut().extend_from_slice(&half[from..from + bytes]);
                self.written.notify_one();
            }
            (result, half)
        }

        fn cut(&self, bytes: u64) -> io::Result<()> {
            let mut text = self.text.borrow_mut();
            let length = text.len() - bytes as usize;
            text.truncate(length);
            Ok(())
        }
    }

    fn writer(answers: impl IntoIterator<Item = Answer>) -> (Writer<Rc<Script>>, Rc<Script>) {
        let script =
            Rc::new(Script { answers: RefCell::new(answers.into_iter().collect()), ..Script::default() });
        let backlog = Rc::new(RefCell::new(Backlog::new(false)));
        let path = PathBuf::from("bus.log");
        (Writer::new(backlog, Rc::clone(&script), path, Content::Frames), script)
    }

    fn record(backlog: &SharedBacklog, raw: u32) {
        let frame = Frame::data(Identifier::standard(raw).unwrap(), &[0xAB]).unwrap();
        Recorder::new(Rc::clone(backlog)).record(1_700_000_000_000_001_000, "can0", frame.image());
    }

    fn block_on(future: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future);
    }

    const FIRST: &str = "(1700000000.000001) can0 001#AB\n";
    const SECOND: &str = "(1700000000.000001) can0 002#AB\n";

    #[test]
    fn short_writes_and_interruptions_lose_nothing() {
        block_on(async {
            let answers = [Answer::Take(1), Answer::Refuse(libc::EINTR), Answer::Take(40)];
            let (mut writer, script) = writer(answers);
            record(&writer.backlog, 1);
            record(&writer.backlog, 2);
            writer.flush(false).await;
            assert!(script.text.borrow().is_empty(), "nothing is full or aged");
            writer.flush(true).await;
            assert_eq!(*script.text.borrow(), [FIRST, SECOND].concat().as_bytes());
            assert!(writer.failing_since.is_none());
        });
    }

    #[test]
    fn the_rest_of_a_half_written_line_goes_first_when_space_returns() {
        block_on(async {
            let full = || Answer::Refuse(libc::ENOSPC);
            let (mut writer, script) = writer([Answer::Take(10), full(), full()]);
            record(&writer.backlog, 1);
            writer.flush(true).await;
            assert_eq!(*script.text.borrow(), b"(170000000");
            assert!(writer.failing_since.is_some());
            record(&writer.backlog, 2);
            writer.flush(true).await;
            assert_eq!(*script.text.borrow(), b"(170000000");
            writer.flush(true).await;
            assert_eq!(*script.text.borrow(), [FIRST, SECOND].concat().as_bytes());
            assert!(writer.failing_since.is_none());
            assert_eq!(writer.backlog.borrow().lost(), 0);
        });
    }

    #[test]
    fn what_a_full_disk_leaves_no_room_for_is_counted() {
        block_on(async {
            let (mut writer, script) = writer([Answer::Refuse(libc::ENOSPC)]);
            record(&writer.backlog, 1);
            writer.flush(true).await;
            // The other half has 1,048,576 bytes; a line of 32 is taken while 181 are free: 32,763 of them.
            for _ in 0..40_000 {
                record(&writer.backlog, 2);
            }
            assert_eq!(writer.backlog.borrow().lost(), 40_000 - 32_763);
            writer.flush(true).await;
            assert_eq!(script.text.borrow().len(), 32 * 32_764);
            assert!(script.text.borrow().starts_with([FIRST, SECOND].concat().as_bytes()));
        });
    }

    #[test]
    fn a_file_that_refuses_to_the_end_ends_with_a_whole_line() {
        block_on(async {
            let full = || Answer::Refuse(libc::ENOSPC);
            let (writer, script) = writer([Answer::Take(32 + 7), full(), full()]);
            let backlog = Rc::clone(&writer.backlog);
            for raw in [1, 2, 3] {
                record(&backlog, raw);
            }
            backlog.borrow_mut().finish();
            writer.run().await;
            assert_eq!(*script.text.borrow(), FIRST.as_bytes());
            assert_eq!(backlog.borrow().summary(), Summary { recorded: 1, unrecorded: 2 });
        });
    }

    #[test]
    fn a_full_half_wakes_the_writer() {
        block_on(async {
            let (mut writer, script) = writer([]);
            let work = writer.backlog.borrow().work();
            // One line more than a half takes.
            for _ in 0..32_764 {
                record(&writer.backlog, 2);
            }
            work.notified().await;
            writer.flush(false).await;
            assert_eq!(script.text.borrow().len(), 32 * 32_763);
        });
    }

    #[test]
    fn an_aged_half_is_written_after_a_second() {
        block_on(LocalSet::new().run_until(async {
            let (writer, script) = writer([]);
            let backlog = Rc::clone(&writer.backlog);
            let begin = Instant::now();
            let task = spawn_local(writer.run());
            record(&backlog, 1);
            script.written.notified().await;
            assert!(begin.elapsed() >= Duration::from_millis(999), "{:?}", begin.elapsed());
            assert_eq!(*script.text.borrow(), FIRST.as_bytes());
            backlog.borrow_mut().finish();
            task.await.unwrap();
        }));
    }
}
