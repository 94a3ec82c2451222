//! Lines for a stream that may block: they wait in a bounded backlog, and a thread of its own writes them, so that
//! nobody who says something ever waits for somebody to read it. Knows neither what the lines say nor the stream.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that wait to be written: some 2,000 lines, more than the most talkative level says in the second or two that
/// a slow reader takes. When it is full, the oldest lines are dropped and counted: of what was missed, the latest
/// says most, and the last line has the counters of everything.
const BACKLOG_BYTES: usize = 256 << 10;

/// Between two tries on a stream that somebody has set not to block: too short for a reader to notice.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Takes lines without blocking. Its thread ends with the process.
pub struct LineWriter {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines, [`BACKLOG_BYTES`] at most.
    backlog: VecDeque<u8>,
    /// Lines that were dropped and not told yet.
    dropped: u64,
    /// The thread has taken lines out of the backlog and is not done with them.
    writing: bool,
}

impl LineWriter {
    /// Starts to write to `output`. `dropped` words the line that stands where lines were dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        output: impl Write + Send + 'static,
        dropped: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.lock().backlog.reserve_exact(BACKLOG_BYTES);
        let source = Arc::clone(&shared);
        thread::Builder::new()
            .name("diagnostics".to_owned())
            .spawn(move || write_lines(&source, output, dropped))?;
        Ok(Self { shared })
    }

    /// Takes one line with its line feed; the oldest ones make room for it.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if line.len() > BACKLOG_BYTES {
            state.dropped += 1;
            return;
        }
        while state.backlog.len() + line.len() > BACKLOG_BYTES {
            let end = state.backlog.iter().position(|&byte| byte == b'\n');
            let oldest = end.map_or(state.backlog.len(), |end| end + 1);
            state.backlog.drain(..oldest);
            state.dropped += 1;
        }
        state.backlog.extend(line);
        self.shared.changed.notify_all();
    }

    /// Waits until everything is written, or for `limit` if nobody reads it; false in that case.
    pub fn flush(&self, limit: Duration) -> bool {
        let waiting = |state: &mut State| state.writing || !state.backlog.is_empty();
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, limit, waiting);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Shared {
    /// Nothing panics while it holds the lock, except where memory has ended.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and swaps them into `batch`, which is empty; tells how many before them were dropped.
    fn take(&self, batch: &mut VecDeque<u8>) -> u64 {
        let nothing = |state: &mut State| state.backlog.is_empty();
        let waited = self.changed.wait_while(self.lock(), nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.backlog, batch);
        state.writing = true;
        std::mem::take(&mut state.dropped)
    }

    fn done(&self, lost: u64) {
        let mut state = self.lock();
        state.dropped += lost;
        state.writing = false;
        self.changed.notify_all();
    }
}

fn write_lines(shared: &Shared, mut output: impl Write, dropped: impl Fn(u64) -> String) {
    let mut batch = VecDeque::with_capacity(BACKLOG_BYTES);
    loop {
        let before = shared.take(&mut batch);
        let lines = batch.make_contiguous();
        let told = before == 0 || write_whole(&mut output, dropped(before).as_bytes()).is_ok();
        let untold = if told { 0 } else { before };
        let lost = write_whole(&mut output, lines).err().unwrap_or(0);
        batch.clear();
        shared.done(untold + lost);
    }
}

/// Writes all of it, however long that takes.
///
/// # Errors
/// The stream is broken or its disk is full: how many lines were not written to their end.
fn write_whole(output: &mut impl Write, lines: &[u8]) -> Result<(), u64> {
    let mut rest = lines;
    while !rest.is_empty() {
        match output.write(rest) {
            Ok(length @ 1..) => rest = &rest[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Ok(0) | Err(_) => return Err(rest.iter().map(|&byte| u64::from(byte == b'\n')).sum()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// How long what must come true may take.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A stream that tells of each write, and blocks in it until it is told what comes of it.
    struct Gate {
        written: Sender<String>,
        results: Receiver<io::Result<usize>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            // When the test is over, nobody waits for anything any more.
            let result = self.results.recv().unwrap_or(Ok(usize::MAX));
            result.map(|length| length.min(bytes.len()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        writer: LineWriter,
        written: Receiver<String>,
        results: Sender<io::Result<usize>>,
    }

    impl Bench {
        fn new() -> Self {
            let (written, tells) = channel();
            let (results, gate) = channel();
            let gate = Gate { written, results: gate };
            let writer = LineWriter::start(gate, |count| format!("{count} dropped\n")).unwrap();
            Self { writer, written: tells, results }
        }

        /// What the next write is about.
        fn next(&self) -> String {
            self.written.recv_timeout(PATIENCE).unwrap()
        }

        fn answer(&self, result: Result<usize, ErrorKind>) {
            self.results.send(result.map_err(io::Error::from)).unwrap();
        }
    }

    #[test]
    fn lines_come_out_in_order_and_whole() {
        let bench = Bench::new();
        bench.writer.push(b"first\n");
        assert_eq!(bench.next(), "first\n");
        bench.writer.push(b"second\n");
        bench.writer.push(b"third\n");
        bench.answer(Ok(2));
        assert_eq!(bench.next(), "rst\n");
        bench.answer(Err(ErrorKind::Interrupted));
        assert_eq!(bench.next(), "rst\n");
        bench.answer(Err(ErrorKind::WouldBlock));
        assert_eq!(bench.next(), "rst\n");
        bench.answer(Ok(4));
        assert_eq!(bench.next(), "second\nthird\n");
        assert!(!bench.writer.flush(Duration::from_millis(1)), "the stream blocks");
        bench.answer(Ok(13));
        assert!(bench.writer.flush(PATIENCE));
    }

    #[test]
    fn the_oldest_are_dropped_and_told_in_their_place() {
        let bench = Bench::new();
        bench.writer.push(b"blocked\n");
        assert_eq!(bench.next(), "blocked\n");
        // 4,096 lines of 64 bytes fill 256 KiB; three more push out three.
        for number in 1..=4_099 {
            bench.writer.push(format!("{number:063}\n").as_bytes());
        }
        bench.writer.push(&[b'x'; 262_145]);
        bench.answer(Ok(8));
        assert_eq!(bench.next(), "4 dropped\n");
        bench.answer(Ok(10));
        let lines = bench.next();
        let numbers: Vec<u32> = lines.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (4..=4_099).collect::<Vec<u32>>());
        bench.answer(Ok(262_144));
        assert!(bench.writer.flush(PATIENCE));
    }

    #[test]
    fn lines_that_a_full_disk_ate_are_told_when_it_has_room() {
        let bench = Bench::new();
        bench.writer.push(b"one\n");
        assert_eq!(bench.next(), "one\n");
        bench.writer.push(b"two\n");
        bench.writer.push(b"three\n");
        bench.answer(Err(ErrorKind::StorageFull));
        // Neither the line that tells of it nor the lines after it find room.
        assert_eq!(bench.next(), "1 dropped\n");
        bench.answer(Ok(0));
        assert_eq!(bench.next(), "two\nthree\n");
        bench.answer(Ok(5));
        assert_eq!(bench.next(), "hree\n");
        bench.answer(Err(ErrorKind::StorageFull));
        assert!(bench.writer.flush(PATIENCE), "nothing waits any more");
        bench.writer.push(b"four\n");
        assert_eq!(bench.next(), "2 dropped\n");
        bench.answer(Ok(10));
        assert_eq!(bench.next(), "four\n");
        bench.answer(Ok(5));
        assert!(bench.writer.flush(PATIENCE));
    }
}
