//! How a trial goes, while it runs: redrawn on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::receiver::Progress;
use super::trial::Plan;
use crate::report::units::{grouped, time};

/// Between two plain lines, at least.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// The same, at most.
const LINE_SELDOM: Duration = Duration::from_secs(60);

/// Plain lines of a trial that is not long.
const LINES: u32 = 10;

/// Between two drawings on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Characters of the bar that shows how far it is.
const BAR: usize = 20;

/// Columns of a terminal that does not say how many it has.
const WIDTH: usize = 80;

/// After this time without a frame, the times of earlier ones say nothing of how it goes: many times what a frame may be late.
const QUIET: Duration = Duration::from_secs(2);

/// How a direction goes.
pub struct Reading {
    /// 0 is forward.
    pub direction: usize,
    /// Frames sent, warm-up included.
    pub sent: u64,
    pub progress: Progress,
}

/// Writes to standard error, which need not be there.
pub struct Live {
    style: Style,
    /// Which trial of how many, where that is known.
    position: Option<(usize, usize)>,
    label: String,
    length: Duration,
    warm_up: Duration,
    shown: Option<Duration>,
    /// Lines of the drawing that is on the terminal.
    drawn: usize,
    /// Frames sent and arrived when it was last shown, by direction.
    before: [(u64, u64); 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Drawing,
    Lines,
}

impl Live {
    /// On standard error.
    pub fn new() -> Self {
        Self {
            style: if io::stderr().is_terminal() { Style::Drawing } else { Style::Lines },
            position: None,
            label: String::new(),
            length: Duration::ZERO,
            warm_up: Duration::ZERO,
            shown: None,
            drawn: 0,
            before: [(0, 0); 2],
        }
    }

    /// A sentence that stays.
    pub fn say(&mut self, sentence: &str) {
        let mut text = self.erase();
        let _ = writeln!(text, "{sentence}");
        put(&text);
    }

    /// Which trial comes next, of how many.
    pub fn set_position(&mut self, position: Option<(usize, usize)>) {
        self.position = position;
    }

    /// A trial begins.
    pub fn begin(&mut self, plan: &Plan) {
        self.label = plan.label.clone();
        self.length = plan.length;
        self.warm_up = plan.warm_up;
        self.shown = None;
        self.before = [(0, 0); 2];
    }

    /// The trial has come so far.
    pub fn show(&mut self, elapsed: Duration, readings: &[Reading]) {
        let every = match self.style {
            Style::Drawing => DRAW_EVERY,
            Style::Lines => ((self.length + self.warm_up) / LINES).clamp(LINE_EVERY, LINE_SELDOM),
        };
        let since = elapsed.saturating_sub(self.shown.unwrap_or_default());
        if since < every {
            return;
        }
        self.shown = Some(elapsed);
        let lines: Vec<String> =
            readings.iter().map(|reading| self.line(elapsed, since, reading, readings.len())).collect();
        for reading in readings {
            self.before[reading.direction] = (reading.sent, reading.progress.arrived);
        }
        let mut text = self.erase();
        for line in &lines {
            let _ = writeln!(text, "{line}");
        }
        if self.style == Style::Drawing {
            self.drawn = lines.len();
        }
        put(&text);
    }

    /// Nothing more is shown of this trial.
    pub fn end(&mut self) {
        let text = self.erase();
        put(&text);
    }

    fn line(&self, elapsed: Duration, since: Duration, reading: &Reading, count: usize) -> String {
        let position = self.position.map(|(index, of)| format!("[{index}/{of}] "));
        let direction = ["near to far  ", "far to near  "][reading.direction];
        let whole = self.length + self.warm_up;
        let left = whole.saturating_sub(elapsed).as_secs_f64().ceil();
        let line = Line {
            position: position.unwrap_or_default(),
            label: if self.label.is_empty() { String::new() } else { format!("{}  ", self.label) },
            direction: if count > 1 { direction } else { "" },
            figures: self.figures(elapsed, since, reading),
            bar: match self.style {
                Style::Drawing => bar(elapsed.as_secs_f64() / whole.as_secs_f64().max(f64::EPSILON)),
                Style::Lines => String::new(),
            },
            left: format!("  {left} s left"),
        };
        match self.style {
            Style::Drawing => line.within(terminal_width()),
            Style::Lines => line.within(usize::MAX),
        }
    }

    fn figures(&self, elapsed: Duration, since: Duration, reading: &Reading) -> String {
        let Progress { counts, overtaken, arrived, last_arrival_ns, p50_ns, p99_ns, max_ns, .. } =
            reading.progress;
        let rate = (arrived - self.before[reading.direction].1) as f64 / since.as_secs_f64();
        let mut figures = format!("{} frames/s", grouped(rate.round() as u64));
        let is_warm = elapsed >= self.warm_up;
        if is_warm {
            let _ = write!(figures, "  lost {}", grouped(counts.lost + overtaken));
        } else {
            figures.push_str("  warming up");
        }
        let quiet = elapsed.saturating_sub(Duration::from_nanos(last_arrival_ns.unwrap_or_default()));
        if quiet > QUIET {
            let _ = write!(figures, "  nothing has come for {} s", grouped(quiet.as_secs()));
        } else if is_warm {
            let [p50, p99, max] = [p50_ns, p99_ns, max_ns].map(time);
            let _ = write!(figures, "  p50 {p50}  p99 {p99}  max {max}");
        }
        figures
    }

    /// Takes the last drawing away.
    fn erase(&mut self) -> String {
        let lines = std::mem::take(&mut self.drawn);
        // Up by so many lines, then clear to the end of the screen (ECMA-48: CUU, ED).
        if lines > 0 { format!("\x1b[{lines}A\x1b[J") } else { String::new() }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

/// The parts of a line.
struct Line {
    position: String,
    label: String,
    direction: &'static str,
    figures: String,
    bar: String,
    left: String,
}

impl Line {
    /// In so many columns: what has no room is left out, the bar first, then the label. A line that the terminal breaks would be
    /// two of them, and one would stay when they are taken away.
    fn within(&self, width: usize) -> String {
        let Self { position, label, direction, figures, bar, left } = self;
        let lines = [
            format!("{position}{label}{direction}{figures}{bar}{left}"),
            format!("{position}{label}{direction}{figures}{left}"),
        ];
        let fitting = lines.into_iter().find(|line| line.chars().count() <= width);
        fitting
            .unwrap_or_else(|| format!("{position}{direction}{figures}{left}").chars().take(width).collect())
    }
}

fn bar(done: f64) -> String {
    let filled = ((done * BAR as f64) as usize).min(BAR);
    format!("  {}{}", "█".repeat(filled), "░".repeat(BAR - filled))
}

/// Asked again for each drawing: people resize terminals.
fn terminal_width() -> usize {
    terminal_size::terminal_size_of(io::stderr()).map_or(WIDTH, |(columns, _)| usize::from(columns.0))
}

/// Whoever looked on may have gone.
fn put(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(style: Style) -> Live {
        Live {
            style,
            position: Some((2, 12)),
            label: "20 %".to_owned(),
            length: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            shown: None,
            drawn: 0,
            before: [(0, 0); 2],
        }
    }

    fn reading(last_arrival_ns: u64) -> Reading {
        let progress = Progress {
            arrived: 7_936,
            overtaken: 3,
            last_arrival_ns: Some(last_arrival_ns),
            p50_ns: 92_200,
            p99_ns: 141_000,
            max_ns: 1_180_000,
            ..Progress::default()
        };
        Reading { direction: 1, sent: 8_000, progress }
    }

    #[test]
    fn a_line_says_how_it_goes() {
        let line = |last_arrival_ns, elapsed| {
            let elapsed = Duration::from_millis(elapsed);
            live(Style::Lines).line(elapsed, Duration::from_secs(2), &reading(last_arrival_ns), 2)
        };
        assert_eq!(
            line(3_999_000_000, 4_000),
            "[2/12] 20 %  far to near  3,968 frames/s  lost 3  p50 92.2 µs  p99 141 µs  max 1.18 ms  7 s left"
        );
        assert_eq!(
            line(1_500_000_000, 4_000),
            "[2/12] 20 %  far to near  3,968 frames/s  lost 3  nothing has come for 2 s  7 s left"
        );
        // Just two seconds may be a pause.
        assert!(line(2_000_000_000, 4_000).contains("p50"));
        assert_eq!(line(0, 999), "[2/12] 20 %  far to near  3,968 frames/s  warming up  11 s left");
    }

    #[test]
    fn a_line_keeps_its_width() {
        let line = Line {
            position: "[2/12] ".to_owned(),
            label: "20 %  ".to_owned(),
            direction: "far to near  ",
            figures: "3,968 frames/s".to_owned(),
            bar: bar(0.5),
            left: "  7 s left".to_owned(),
        };
        let whole = "[2/12] 20 %  far to near  3,968 frames/s  ██████████░░░░░░░░░░  7 s left";
        assert_eq!(line.within(72), whole);
        assert_eq!(line.within(71), "[2/12] 20 %  far to near  3,968 frames/s  7 s left");
        assert_eq!(line.within(50), "[2/12] 20 %  far to near  3,968 frames/s  7 s left");
        assert_eq!(line.within(49), "[2/12] far to near  3,968 frames/s  7 s left");
        assert_eq!(line.within(20), "[2/12] far to near  ");
    }
}
