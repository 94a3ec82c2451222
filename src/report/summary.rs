//! A report on a screen of 80 by 24: the verdict first, and nothing that would make it scroll.

use super::document::{Bridge, Counts, Direction, Finding, Method, Outcome, Report, Trial};
use super::text::{Page, Table, paragraph, shortened};
use super::units::{self, grouped, one_line, time};

/// What stands in front of the number in the name of a trial of bursts.
pub const BURST_LABEL: &str = "bursts of ";

/// Lines of a screen, less the two where the command stands and the prompt.
const LINES_MAX: usize = 22;

/// Columns below which tables would break: narrower terminals break them themselves.
const WIDTH_MIN: usize = 76;

/// Reasons of a verdict that leave room for the tables.
const REASONS_MAX: usize = 3;

/// Findings beside which a table of trials has room.
const FINDINGS_MAX: usize = 6;

/// The same where findings are all there is to see: four settings, three quantities.
const DIFFERENCES_MAX: usize = 12;

/// How much room there is.
struct Room {
    /// Lines of the path, and of the load.
    setting_lines: usize,
    has_blank_lines: bool,
    has_bridges: bool,
    reasons: usize,
}

/// What gives way, one thing after the other, until all the rest fits on a screen.
const ROOMS: [Room; 5] = [
    Room { setting_lines: 2, has_blank_lines: true, has_bridges: true, reasons: REASONS_MAX },
    Room { setting_lines: 1, has_blank_lines: true, has_bridges: true, reasons: REASONS_MAX },
    Room { setting_lines: 1, has_blank_lines: false, has_bridges: true, reasons: REASONS_MAX },
    Room { setting_lines: 1, has_blank_lines: false, has_bridges: false, reasons: REASONS_MAX },
    Room { setting_lines: 1, has_blank_lines: false, has_bridges: false, reasons: REASONS_MAX - 1 },
];

/// The summary, 22 lines at most of at most the page's width (76 at least; where nothing is cut, names may be longer), with a
/// line feed behind each. Only the verdict is coloured.
pub fn summary(report: &Report, page: Page, colour: bool) -> String {
    let page = Page { width: page.width.max(WIDTH_MIN), ..page };
    let (last, rooms) = ROOMS.split_last().expect("there are some");
    let mut tried = rooms.iter().map(|room| lines(report, room, page, colour));
    let fitting = tried.find(|lines| lines.len() <= LINES_MAX);
    let lines = fitting.unwrap_or_else(|| lines(report, last, page, colour));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn lines(report: &Report, room: &Room, page: Page, colour: bool) -> Vec<String> {
    let mut sections = vec![verdict(report, room, page, colour), setting(report, room, page)];
    match report.trials.as_slice() {
        _ if report.method == Method::Tune && !report.findings.is_empty() => {
            sections.push(differences(&report.findings, page));
        }
        [] => sections.push(vec!["No trial was made.".to_owned()]),
        [trial] => sections.extend(one_trial(trial, room, page)),
        trials => {
            sections.extend(findings(report, page));
            let blank_lines = if room.has_blank_lines { sections.len() } else { 0 };
            let taken = sections.iter().map(Vec::len).sum::<usize>() + blank_lines;
            sections.push(many_trials(report.method, trials, LINES_MAX.saturating_sub(taken), page));
        }
    }
    let mut lines = Vec::new();
    for section in sections {
        if room.has_blank_lines && !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(section);
    }
    lines
}

fn verdict(report: &Report, room: &Room, page: Page, colour: bool) -> Vec<String> {
    let word = report.verdict.result.word();
    let escape = match report.verdict.result {
        Outcome::Pass => "\x1b[1;32m",
        Outcome::Fail => "\x1b[1;31m",
        Outcome::Invalid | Outcome::Interrupted => "\x1b[1;33m",
    };
    let label = format!("{word}  ");
    let mut lines = paragraph(&label, &report.verdict.text, page.width, 2);
    if colour {
        lines[0] = format!("{escape}{word}\x1b[0m{}", &lines[0][word.len()..]);
    }
    let (shown, rest) = report.verdict.reasons.split_at(report.verdict.reasons.len().min(room.reasons));
    for reason in shown {
        lines.extend(paragraph("  * ", reason, page.width, 2));
    }
    match rest.len() {
        0 => {}
        1 => lines.push("    and one more reason".to_owned()),
        more => lines.push(format!("    and {more} more reasons")),
    }
    lines
}

/// Path and load.
fn setting(report: &Report, room: &Room, page: Page) -> Vec<String> {
    let path = &report.path;
    let mut words = format!("{}, {} and {}, {}", path.kind, path.near, path.far, bus_in_words(&path.bus));
    if let Some(reason) = &path.bus_reason {
        words += &format!(" ({reason})");
    }
    if let Some(engine) = &path.engine {
        words += &format!("; {engine}");
    }
    if let Some(protocol) = &path.protocol {
        words += &format!(", protocol {protocol}");
    }
    if !path.bridge_options.is_empty() {
        words += &format!("; {}", path.bridge_options.join(" "));
    }
    // A table of trials takes the room.
    let lines_max = if report.trials.len() > 1 { 1 } else { room.setting_lines };
    let mut lines = paragraph("path  ", &words, page.width, lines_max);
    if let Some(trial) = report.trials.first() {
        let mut load = match report.trials.len() {
            1 => format!("{}; ", trial.load.description),
            count => format!("{} trials of ", grouped(count as u64)),
        };
        load += &units::duration(trial.duration_s);
        if trial.warm_up_s > 0.0 {
            load += &format!(" after {} of warm-up", units::duration(trial.warm_up_s));
        }
        if report.trials.len() > 1 {
            load += &format!("; the first one {}", trial.load.description);
        }
        lines.extend(paragraph("load  ", &load, page.width, lines_max));
    }
    lines
}

pub(super) fn bus_in_words(bus: &str) -> &str {
    match bus {
        "socketcan" => "SocketCAN",
        "software" => "software buses",
        other => other,
    }
}

fn one_trial(trial: &Trial, room: &Room, page: Page) -> Vec<Vec<String>> {
    let mut times = times(trial, page);
    let losses = trial.directions.iter().filter(|direction| direction.counts.lost > 0);
    for direction in losses {
        let label = format!("lost, {}: ", shortened(&title(direction), 24));
        times.extend(paragraph(&label, &lost_where(direction), page.width, 1));
    }
    let mut sections = vec![counts(trial, page), times];
    if room.has_bridges && !trial.bridges.is_empty() {
        sections.push(bridges(trial, page));
    }
    sections
}

/// Both buses of a direction.
pub(super) fn title(direction: &Direction) -> String {
    format!("{} to {}", direction.from, direction.to)
}

/// What may happen to a frame, and how often it did.
type Fault = (&'static str, fn(&Counts) -> u64);

/// All but being lost.
const FAULTS: [Fault; 4] = [
    ("duplicated", |counts| counts.duplicated),
    ("reordered", |counts| counts.reordered),
    ("corrupted", |counts| counts.corrupted),
    ("foreign", |counts| counts.foreign),
];

/// Where millions of frames leave no room for what never happened, that stands in a line of its own.
fn counts(trial: &Trial, page: Page) -> Vec<String> {
    let lines = counts_beside(trial, &FAULTS, page);
    if lines.iter().all(|line| line.chars().count() <= page.width) {
        return lines;
    }
    let happened = |of: fn(&Counts) -> u64| trial.directions.iter().any(|each| of(&each.counts) > 0);
    let (some, none): (Vec<_>, Vec<_>) = FAULTS.into_iter().partition(|(_, of)| happened(*of));
    let mut lines = counts_beside(trial, &some, page);
    if !none.is_empty() {
        let names: Vec<&str> = none.into_iter().map(|(name, _)| name).collect();
        lines.push(format!("none {}", names.join(", ")));
    }
    lines
}

fn counts_beside(trial: &Trial, faults: &[Fault], page: Page) -> Vec<String> {
    let mut table = Table::new(["frames", "sent", "received", "lost"]);
    for (name, _) in faults {
        table.heading((*name).to_owned());
    }
    for direction in &trial.directions {
        let counts = &direction.counts;
        let mut cells = vec![title(direction)];
        cells.extend([counts.sent, counts.received, counts.lost].map(grouped));
        cells.extend(faults.iter().map(|(_, of)| grouped(of(counts))));
        table.push(cells);
    }
    table.lines(page)
}

fn times(trial: &Trial, page: Page) -> Vec<String> {
    let mut table = Table::new(["latency", "offered/s", "p50", "p99", "p99.9", "max", "late p99"]);
    for direction in &trial.directions {
        let latency = &direction.latency;
        let times = [latency.p50_ns, latency.p99_ns, latency.p99_9_ns, latency.max_ns];
        let [p50, p99, p99_9, max] = times.map(time);
        let offered = units::rate(direction.offered_per_s);
        // What comes back from a server has no schedule.
        let late = if direction.lateness.count > 0 { time(direction.lateness.p99_ns) } else { String::new() };
        table.row([title(direction), offered, p50, p99, p99_9, max, late]);
    }
    if let Some(latency) = &trial.round_trip {
        let times = [latency.p50_ns, latency.p99_ns, latency.p99_9_ns, latency.max_ns];
        let [p50, p99, p99_9, max] = times.map(time);
        table.row(["there and back".to_owned(), String::new(), p50, p99, p99_9, max, String::new()]);
    }
    let mut lines = table.lines(page);
    if let Some(uncertainty_ns) =
        trial.directions.iter().filter_map(|direction| direction.uncertainty_ns).max()
    {
        lines.push(format!(
            "one way ±{}: half of the fastest round trip, and what the clocks may have drifted",
            time(uncertainty_ns)
        ));
    }
    lines
}

/// `1,204 kernel queue, 3 unexplained`.
fn lost_where(direction: &Direction) -> String {
    let mut places: Vec<(&String, u64)> = direction
        .lost_where
        .iter()
        .map(|(place, &count)| (place, count))
        .filter(|place| place.1 > 0)
        .collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.1));
    let known: Vec<String> = places
        .into_iter()
        .map(|(place, count)| format!("{} {}", grouped(count), one_line(place).replace('_', " ")))
        .collect();
    if known.is_empty() { "nobody knows where".to_owned() } else { known.join(", ") }
}

fn bridges(trial: &Trial, page: Page) -> Vec<String> {
    let mut table = Table::new(["bridge", "processor", "a frame", "memory"]);
    for bridge in &trial.bridges {
        let a_frame = processor_ns_per_frame(bridge).map_or_else(|| "-".to_owned(), units::time_of);
        let processor = format!("{} s", units::digits(bridge.processor_s));
        table.row([bridge.role.clone(), processor, a_frame, units::bytes(bridge.resident_bytes)]);
    }
    table.lines(page)
}

/// Processor time for each frame that passed through a bridge, either way; none where it does not say how many did.
pub(super) fn processor_ns_per_frame(bridge: &Bridge) -> Option<f64> {
    let count = |name: &str| bridge.counters.get(name).copied().unwrap_or_default();
    let frames = count("sent") as f64 + count("received") as f64;
    (frames > 0.0).then(|| bridge.processor_s * 1e9 / frames)
}

/// What the trials say together, and the verdict does not say already.
fn findings(report: &Report, page: Page) -> Option<Vec<String>> {
    let said = report.verdict.text.as_str();
    let findings: Vec<_> = report.findings.iter().filter(|finding| finding.text != said).collect();
    let mut lines = Vec::new();
    for finding in findings.iter().take(FINDINGS_MAX) {
        lines.extend(paragraph("  * ", &finding.text, page.width, 1));
    }
    lines.extend(more(findings.len(), FINDINGS_MAX));
    (!lines.is_empty()).then_some(lines)
}

fn more(count: usize, shown_max: usize) -> Option<String> {
    (count > shown_max).then(|| format!("    and {} more findings", count - shown_max))
}

/// A row a finding: a sentence for each would not fit.
fn differences(findings: &[Finding], page: Page) -> Vec<String> {
    let mut table = Table::new(["setting", "difference", "±", "matters"]);
    for finding in findings.iter().take(DIFFERENCES_MAX) {
        let Finding { subject, value, unit, uncertainty, is_real, .. } = finding;
        let uncertainty = uncertainty.map_or_else(String::new, units::digits);
        // One that is too small to matter is none either.
        let is_real = match is_real {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        let sign = if *value > 0.0 { "+" } else { "" };
        let value = format!("{sign}{} {}", units::digits(*value), page.shortened(unit, 8));
        table.row([subject.clone(), value, uncertainty, is_real.to_owned()]);
    }
    let mut lines = table.lines(page);
    lines.extend(more(findings.len(), DIFFERENCES_MAX));
    lines
}

/// A row a trial: its directions' frames together, and of their times the longer ones.
fn many_trials(method: Method, trials: &[Trial], room: usize, page: Page) -> Vec<String> {
    let heading = match method {
        Method::Sweep | Method::Throughput => "load",
        Method::Burst => "burst",
        Method::Trial | Method::Soak | Method::Tune => "trial",
    };
    let mut table = Table::new([heading, "offered/s", "delivered/s", "lost", "", "p50", "p99", "max"]);
    // The heading, and the line that says what is missing.
    let rows = if trials.len() < room { trials.len() } else { room.saturating_sub(2).max(3) };
    let missing = trials.len().saturating_sub(rows);
    // A search ends with what it looked for, and with the confirmation.
    let (skipped, order) = match method {
        Method::Throughput | Method::Burst => (missing, "before these"),
        _ => (0, "behind these"),
    };
    for trial in trials.iter().skip(skipped).take(rows) {
        table.row(row(method, trial));
    }
    let mut lines = table.lines(page);
    match missing {
        0 => {}
        1 => lines.push(format!("and one trial {order}: the report in full has it")),
        _ => lines.push(format!("and {missing} trials {order}: the report in full has them")),
    }
    lines
}

fn row(method: Method, trial: &Trial) -> [String; 8] {
    let sum = |of: fn(&Direction) -> f64| trial.directions.iter().map(of).sum::<f64>();
    let count = |of: fn(&Direction) -> u64| trial.directions.iter().map(of).fold(0, u64::saturating_add);
    let longest = |of: fn(&Direction) -> u64| trial.directions.iter().map(of).max().unwrap_or_default();
    let (lost, sent) = (count(|each| each.counts.lost), count(|each| each.counts.sent));
    // The heading says it already, and the line is full.
    let label = match method {
        Method::Burst => trial.label.strip_prefix(BURST_LABEL).unwrap_or(&trial.label),
        _ => &trial.label,
    };
    // A trial that is no result says so, whatever it counted.
    let mark = if trial.invalid_because.is_empty() { "" } else { " (invalid)" };
    [
        format!("{label}{mark}"),
        units::rate(sum(|each| each.offered_per_s)),
        units::rate(sum(|each| each.delivered_per_s)),
        grouped(lost),
        if lost > 0 { units::share(lost, sent) } else { String::new() },
        time(longest(|each| each.latency.p50_ns)),
        time(longest(|each| each.latency.p99_ns)),
        time(longest(|each| each.latency.max_ns)),
    ]
}
