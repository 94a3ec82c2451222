//! Reports beside each other: what is the same in all, what differs, and by how much.

use std::path::Path;

use super::document::{Direction, Report, Trial};
use super::summary::title;
use super::text::{Page, Table, paragraph, shortened};
use super::units;

/// Reports that are compared, the first being what the others are held against.
pub struct Comparison<'a> {
    /// What tells the reports from each other.
    pub names: Vec<String>,
    /// One for each name.
    pub reports: Vec<&'a Report>,
    /// Why the comparison is to be read with care, and what the commands differ in. One sentence each.
    pub notes: Vec<String>,
    /// One for each direction of each trial.
    pub blocks: Vec<Block<'a>>,
}

/// One direction of the trials that belong together.
pub struct Block<'a> {
    /// Direction, and trial where there are several.
    pub heading: String,
    /// One for each report; none where it has no such trial.
    pub directions: Vec<Option<&'a Direction>>,
}

/// A figure of every direction.
pub struct Figure {
    /// In the first column.
    pub name: &'static str,
    /// What it counts.
    pub unit: Unit,
    of: fn(&Direction) -> f64,
}

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Frames, or frames a second.
    Frames,
    /// Nanoseconds.
    Time,
}

/// Those that are compared, in order.
pub const FIGURES: [Figure; 11] = [
    Figure { name: "delivered a second", unit: Unit::Frames, of: |each| each.delivered_per_s },
    Figure { name: "sent", unit: Unit::Frames, of: |each| each.counts.sent as f64 },
    Figure { name: "lost", unit: Unit::Frames, of: |each| each.counts.lost as f64 },
    Figure {
        name: "duplicated, reordered, corrupted",
        unit: Unit::Frames,
        of: |each| {
            let counts = each.counts;
            counts.duplicated as f64
                + counts.reordered as f64
                + counts.corrupted as f64
                + counts.foreign as f64
        },
    },
    Figure { name: "mean", unit: Unit::Time, of: |each| each.latency.mean_ns },
    Figure { name: "p50", unit: Unit::Time, of: |each| each.latency.p50_ns as f64 },
    Figure { name: "p90", unit: Unit::Time, of: |each| each.latency.p90_ns as f64 },
    Figure { name: "p99", unit: Unit::Time, of: |each| each.latency.p99_ns as f64 },
    Figure { name: "p99.9", unit: Unit::Time, of: |each| each.latency.p99_9_ns as f64 },
    Figure { name: "p99.99", unit: Unit::Time, of: |each| each.latency.p99_99_ns as f64 },
    Figure { name: "max", unit: Unit::Time, of: |each| each.latency.max_ns as f64 },
];

impl Figure {
    /// Of a direction. A direction in which nothing came out has no times.
    pub fn of(&self, direction: &Direction) -> Option<f64> {
        let has_none = self.unit == Unit::Time && direction.latency.count == 0;
        (!has_none).then(|| (self.of)(direction))
    }

    /// As people read it.
    pub fn text(&self, value: f64) -> String {
        match self.unit {
            Unit::Frames => units::rate_or_count(value),
            Unit::Time => units::time_of(value),
        }
    }
}

impl<'a> Comparison<'a> {
    /// Of two reports or more, each with a name of its own.
    pub fn of(reports: &'a [(String, Report)]) -> Self {
        let names: Vec<String> = reports.iter().map(|(name, _)| name.clone()).collect();
        let reports: Vec<&Report> = reports.iter().map(|(_, report)| report).collect();
        let notes = notes(&names, &reports);
        let blocks = blocks(&reports);
        Self { names, reports, notes, blocks }
    }

    /// As text: verdicts, what to mind, and a table for each direction.
    pub fn text(&self, page: Page) -> String {
        let mut lines = Vec::new();
        for (name, report) in self.names.iter().zip(&self.reports) {
            let verdict = format!("{}  {}", report.verdict.result.word(), report.verdict.text);
            lines.extend(paragraph(&format!("{}  ", shortened(name, 24)), &verdict, page.width, 2));
        }
        for note in &self.notes {
            lines.extend(paragraph("  * ", note, page.width, 3));
        }
        for block in &self.blocks {
            lines.push(String::new());
            lines.extend(self.table(block, page).lines(page));
        }
        lines.join("\n") + "\n"
    }

    fn table(&self, block: &Block<'_>, page: Page) -> Table {
        let mut table = Table::new([block.heading.as_str()]);
        for (index, name) in self.names.iter().enumerate() {
            table.heading(page.shortened(name, 20));
            if index > 0 {
                table.heading(String::new());
            }
        }
        for figure in &FIGURES {
            let values: Vec<Option<f64>> =
                block.directions.iter().map(|each| each.and_then(|each| figure.of(each))).collect();
            let mut cells = vec![figure.name.to_owned()];
            for (index, value) in values.iter().enumerate() {
                cells.push(value.map_or_else(|| "-".to_owned(), |value| figure.text(value)));
                if index > 0 {
                    cells.push(difference(values[0], *value));
                }
            }
            table.push(cells);
        }
        table
    }
}

/// From the first report's figure to another's.
pub fn difference(first: Option<f64>, other: Option<f64>) -> String {
    match (first, other) {
        (Some(first), Some(other)) => units::difference(first, other),
        _ => String::new(),
    }
}

/// Names for reports by their files: the file's, where all have one of their own; else with so much of the directories
/// before it as tells them apart.
pub fn names_of(paths: &[&Path]) -> Vec<String> {
    let depth_max = paths.iter().map(|path| path.components().count()).max().unwrap_or_default();
    for depth in 1..=depth_max {
        let names: Vec<String> = paths.iter().map(|path| last_components(path, depth)).collect();
        let is_own = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
        if names.iter().all(is_own) {
            return names;
        }
    }
    // The same file twice.
    let numbered = |(index, path): (usize, &&Path)| format!("{} ({})", last_components(path, 2), index + 1);
    paths.iter().enumerate().map(numbered).collect()
}

fn last_components(path: &Path, depth: usize) -> String {
    let components: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let from = components.len().saturating_sub(depth);
    let name = components[from..].join("/");
    // `report.json` tells nothing, its directory does.
    match name.strip_suffix("/report.json").or_else(|| name.strip_suffix(".json")) {
        Some(short) if !short.is_empty() && short != "report" => short.to_owned(),
        _ => name,
    }
}

/// What one report says.
type Fact = fn(&Report) -> String;

fn notes(names: &[String], reports: &[&Report]) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, options) in names.iter().zip(own_options(reports)) {
        if !options.is_empty() {
            notes.push(format!("{name} alone has {}", options.join(" ")));
        }
    }
    let first = reports[0];
    let load = |report: &Report| report.trials.first().map(|trial| trial.load.description.clone());
    let facts: [(&str, Fact); 6] = [
        ("host", |report| report.host.name.clone()),
        ("kernel", |report| report.host.kernel.clone()),
        ("build", |report| report.program.build.clone()),
        ("kind of path", |report| report.path.kind.clone()),
        ("kind of bus", |report| report.path.bus.clone()),
        ("engine", |report| report.path.engine.clone().unwrap_or_else(|| "unknown".to_owned())),
    ];
    for (name, other) in names.iter().zip(reports).skip(1) {
        for (what, of) in facts {
            if of(first) != of(other) {
                notes.push(format!("another {what}: {} in {}, {} in {name}", of(first), names[0], of(other)));
            }
        }
        if first.method != other.method {
            notes.push(format!("{} and {name} were measured by other methods", names[0]));
        }
        if load(first) != load(other) {
            notes.push(format!(
                "another load in {name}: {}",
                load(other).unwrap_or_else(|| "none".to_owned())
            ));
        }
    }
    notes
}

/// The options of each command that are not in all of them, with their values. Where a report was written makes no difference.
fn own_options(reports: &[&Report]) -> Vec<Vec<String>> {
    let commands: Vec<Vec<String>> = reports.iter().map(|report| options(&report.command)).collect();
    let in_all = |option: &String| commands.iter().all(|command| command.contains(option));
    let is_own = |option: &&String| !in_all(option) && !option.starts_with("--out");
    commands.iter().map(|command| command.iter().filter(is_own).cloned().collect()).collect()
}

/// A command's options, each with its value.
fn options(command: &[String]) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    for word in command.iter().skip(1) {
        match options.last_mut() {
            Some(option) if option.starts_with("--") && !word.starts_with("--") => {
                *option += &format!(" {word}");
            }
            _ => options.push(word.clone()),
        }
    }
    options
}

/// Single trials belong together whatever they are called; of several, those of one label, in their order.
fn blocks<'a>(reports: &[&'a Report]) -> Vec<Block<'a>> {
    if reports.iter().all(|report| report.trials.len() == 1) {
        let trials = reports.iter().map(|report| report.trials.first()).collect::<Vec<_>>();
        return block_of_trials(None, &trials);
    }
    let mut labels: Vec<&str> = Vec::new();
    for trial in reports.iter().flat_map(|report| &report.trials) {
        if !labels.contains(&trial.label.as_str()) {
            labels.push(&trial.label);
        }
    }
    let mut blocks = Vec::new();
    for label in labels {
        let of_label = |report: &&'a Report| {
            report.trials.iter().filter(|trial| trial.label == label).collect::<Vec<&'a Trial>>()
        };
        let rounds: Vec<Vec<&'a Trial>> = reports.iter().map(of_label).collect();
        let count = rounds.iter().map(Vec::len).max().unwrap_or_default();
        for round in 0..count {
            let trials: Vec<Option<&'a Trial>> =
                rounds.iter().map(|trials| trials.get(round).copied()).collect();
            let label = match count {
                1 => label.to_owned(),
                _ => format!("{label}, round {}", round + 1),
            };
            blocks.extend(block_of_trials(Some(&label), &trials));
        }
    }
    blocks
}

/// Directions belong together by their order: buses have other names on every host.
fn block_of_trials<'a>(label: Option<&str>, trials: &[Option<&'a Trial>]) -> Vec<Block<'a>> {
    let count = trials.iter().flatten().map(|trial| trial.directions.len()).max().unwrap_or_default();
    let block = |index: usize| {
        let directions: Vec<Option<&'a Direction>> =
            trials.iter().map(|trial| trial.and_then(|trial| trial.directions.get(index))).collect();
        let name = directions.iter().flatten().next().map(|each| title(each)).unwrap_or_default();
        let heading = label.map_or_else(|| name.clone(), |label| format!("{label}, {name}"));
        Block { heading, directions }
    };
    (0..count).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_keep_their_values() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            options(&words("canip_peer bench --flood --duration 2s --out rep1 -- --linger-us 200")),
            ["bench", "--flood", "--duration 2s", "--out rep1", "--", "--linger-us 200"]
        );
    }

    #[test]
    fn names_tell_reports_apart() {
        let names = |paths: &[&str]| names_of(&paths.iter().map(Path::new).collect::<Vec<_>>());
        assert_eq!(names(&["a.json", "b.json"]), ["a", "b"]);
        assert_eq!(names(&["before/report.json", "after/report.json"]), ["before", "after"]);
        assert_eq!(names(&["x/run/report.json", "y/run/report.json"]), ["x/run", "y/run"]);
        assert_eq!(names(&["a.json", "a.json"]), ["a (1)", "a (2)"]);
    }
}
