//! A report's figures as tables: each as people read it, with the document's own number beside it for programs.

use super::curves::{Measure, pieces};
use super::markup::Markup;
use crate::report::compare::{Block, FIGURES, difference};
use crate::report::document::{Direction, Latency, Report, Trial};
use crate::report::summary::{processor_ns_per_frame, title};
use crate::report::units;

/// A figure of a direction.
type Figure = fn(&Direction) -> u64;

const COUNTS: [(&str, Figure); 7] = [
    ("sent", |direction| direction.counts.sent),
    ("received", |direction| direction.counts.received),
    ("lost", |direction| direction.counts.lost),
    ("duplicated", |direction| direction.counts.duplicated),
    ("reordered", |direction| direction.counts.reordered),
    ("corrupted", |direction| direction.counts.corrupted),
    ("foreign", |direction| direction.counts.foreign),
];

/// A direction's frames a second.
type Rate = fn(&Direction) -> f64;

/// One of a direction's two distributions.
type Distribution = fn(&Direction) -> &Latency;

/// A figure of a distribution.
type Time = fn(&Latency) -> u64;

const TIMES: [(&str, Time); 7] = [
    ("least", |latency| latency.min_ns),
    ("p50", |latency| latency.p50_ns),
    ("p90", |latency| latency.p90_ns),
    ("p99", |latency| latency.p99_ns),
    ("p99.9", |latency| latency.p99_9_ns),
    ("p99.99", |latency| latency.p99_99_ns),
    ("max", |latency| latency.max_ns),
];

/// A frame's figure.
pub fn count(markup: &mut Markup, count: u64) {
    markup.figure(&count.to_string(), &units::grouped(count));
}

/// A time.
pub fn time(markup: &mut Markup, nanoseconds: u64) {
    markup.figure(&nanoseconds.to_string(), &units::time(nanoseconds));
}

fn table(
    markup: &mut Markup,
    caption: &str,
    class: &'static str,
    columns: &[&str],
    rows: impl FnOnce(&mut Markup),
) {
    markup.within("table", &[("class", class)], |markup| {
        markup.element("caption", &[], caption);
        markup.within("thead", &[], |markup| {
            markup.within("tr", &[], |markup| {
                for column in columns {
                    match *column {
                        "" => markup.element("td", &[], ""),
                        column => markup.element("th", &[("scope", "col")], column),
                    }
                }
            });
        });
        rows(markup);
    });
    markup.line();
}

fn row(markup: &mut Markup, heading: &str, cells: impl FnOnce(&mut Markup)) {
    markup.within("tr", &[], |markup| {
        markup.element("th", &[("scope", "row")], heading);
        cells(markup);
    });
}

fn cell(markup: &mut Markup, content: impl FnOnce(&mut Markup)) {
    markup.within("td", &[], content);
}

/// Everything of a trial, a column a direction: two fit on a phone, too.
pub fn of_trial(markup: &mut Markup, trial: &Trial) {
    let titles: Vec<String> = trial.directions.iter().map(title).collect();
    let columns: Vec<&str> = [""].into_iter().chain(titles.iter().map(String::as_str)).collect();
    let each = |markup: &mut Markup, content: &dyn Fn(&mut Markup, &Direction)| {
        for direction in &trial.directions {
            cell(markup, |markup| content(markup, direction));
        }
    };
    table(markup, "Frames", "figures", &columns, |markup| {
        markup.within("tbody", &[], |markup| {
            for (name, of) in COUNTS {
                row(markup, name, |markup| {
                    each(markup, &|markup, direction| {
                        count(markup, of(direction));
                        if name == "lost" && direction.counts.lost > 0 {
                            markup.text(" ");
                            let share = units::share(direction.counts.lost, direction.counts.sent);
                            markup.element("small", &[], &share);
                        }
                    });
                });
            }
            let rates: [(&str, Rate); 2] = [
                ("offered a second", |direction| direction.offered_per_s),
                ("delivered a second", |direction| direction.delivered_per_s),
            ];
            for (name, of) in rates {
                row(markup, name, |markup| {
                    each(markup, &|markup, direction| {
                        markup.figure(&of(direction).to_string(), &units::rate(of(direction)));
                    });
                });
            }
        });
    });
    let latencies = "Latency: from when a frame was due to when it came out";
    let lateness = "Lateness of the generator: from when a frame was due to when it was sent";
    let both: [(&str, Distribution); 2] =
        [(latencies, |direction| &direction.latency), (lateness, |direction| &direction.lateness)];
    for (caption, of) in both {
        table(markup, caption, "figures", &columns, |markup| {
            markup.within("tbody", &[], |markup| {
                times(markup, &trial.directions.iter().map(of).collect::<Vec<_>>());
                let uncertain = trial.directions.iter().any(|direction| direction.uncertainty_ns.is_some());
                if uncertain && caption == latencies {
                    row(markup, "uncertainty", |markup| {
                        each(markup, &|markup, direction| match direction.uncertainty_ns {
                            Some(nanoseconds) => {
                                markup.text("± ");
                                time(markup, nanoseconds);
                            }
                            None => markup.text("unknown"),
                        });
                    });
                }
            });
        });
    }
    if let Some(round_trip) = &trial.round_trip {
        table(markup, "Round trip", "figures", &["", "there and back"], |markup| {
            markup.within("tbody", &[], |markup| times(markup, &[round_trip]));
        });
    }
    lost_where(markup, trial);
    faults(markup, trial);
    bridges(markup, trial);
}

fn times(markup: &mut Markup, latencies: &[&Latency]) {
    row(markup, "values", |markup| {
        for latency in latencies {
            cell(markup, |markup| count(markup, latency.count));
        }
    });
    row(markup, "mean", |markup| {
        for latency in latencies {
            cell(markup, |markup| {
                markup.figure(&latency.mean_ns.to_string(), &units::time_of(latency.mean_ns));
            });
        }
    });
    for (name, of) in TIMES {
        row(markup, name, |markup| {
            for latency in latencies {
                cell(markup, |markup| time(markup, of(latency)));
            }
        });
    }
}

fn lost_where(markup: &mut Markup, trial: &Trial) {
    for direction in trial.directions.iter().filter(|direction| !direction.lost_where.is_empty()) {
        let caption = format!("Where frames were lost, {}", title(direction));
        table(markup, &caption, "figures", &["place", "frames"], |markup| {
            markup.within("tbody", &[], |markup| {
                for (place, &frames) in &direction.lost_where {
                    row(markup, &place.replace('_', " "), |markup| {
                        cell(markup, |markup| count(markup, frames))
                    });
                }
            });
        });
    }
}

fn faults(markup: &mut Markup, trial: &Trial) {
    for direction in trial.directions.iter().filter(|direction| !direction.first_faults.is_empty()) {
        let caption = format!("The first that did not come out as they should, {}", title(direction));
        table(markup, &caption, "faults", &["what", "number", "at", "frame"], |markup| {
            markup.within("tbody", &[], |markup| {
                for fault in &direction.first_faults {
                    row(markup, &fault.what, |markup| {
                        cell(markup, |markup| match fault.number {
                            Some(number) => count(markup, number),
                            None => markup.text("none"),
                        });
                        cell(markup, |markup| {
                            markup.figure(&fault.at_s.to_string(), &format!("{:.6} s", fault.at_s));
                        });
                        cell(markup, |markup| markup.element("code", &[], &fault.frame));
                    });
                }
            });
        });
    }
}

fn bridges(markup: &mut Markup, trial: &Trial) {
    if trial.bridges.is_empty() {
        return;
    }
    let roles: Vec<&str> = trial.bridges.iter().map(|bridge| bridge.role.as_str()).collect();
    let columns: Vec<&str> = [""].into_iter().chain(roles).collect();
    table(markup, "The bridges' own account, warm-up included", "figures", &columns, |markup| {
        markup.within("tbody", &[], |markup| {
            row(markup, "processor", |markup| {
                for bridge in &trial.bridges {
                    let text = format!("{} s", units::digits(bridge.processor_s));
                    cell(markup, |markup| markup.figure(&bridge.processor_s.to_string(), &text));
                }
            });
            row(markup, "processor a frame", |markup| {
                for bridge in &trial.bridges {
                    let text = processor_ns_per_frame(bridge);
                    let text = text.map_or_else(|| "unknown".to_owned(), units::time_of);
                    markup.element("td", &[], &text);
                }
            });
            row(markup, "memory", |markup| {
                for bridge in &trial.bridges {
                    let text = units::bytes(bridge.resident_bytes);
                    cell(markup, |markup| markup.figure(&bridge.resident_bytes.to_string(), &text));
                }
            });
            let mut names: Vec<&str> =
                trial.bridges.iter().flat_map(|bridge| bridge.counters.keys()).map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                row(markup, &name.replace('_', " "), |markup| {
                    for bridge in &trial.bridges {
                        cell(markup, |markup| match bridge.counters.get(name) {
                            Some(&value) => count(markup, value),
                            None => markup.text("none"),
                        });
                    }
                });
            }
        });
    });
}

/// The trials of a report, a row each, grouped by direction.
pub fn of_trials(markup: &mut Markup, report: &Report) {
    let columns = ["trial", "offered/s", "delivered/s", "lost", "p50", "p99", "max"];
    let mut directions: Vec<String> = Vec::new();
    for name in report.trials.iter().flat_map(|trial| &trial.directions).map(title) {
        if !directions.contains(&name) {
            directions.push(name);
        }
    }
    table(markup, "All trials", "trials", &columns, |markup| {
        for name in &directions {
            markup.within("tbody", &[], |markup| {
                markup.within("tr", &[], |markup| {
                    markup.element("th", &[("scope", "rowgroup"), ("colspan", "7")], name);
                });
                for trial in &report.trials {
                    for direction in trial.directions.iter().filter(|direction| title(direction) == *name) {
                        trial_row(markup, trial, direction);
                    }
                }
            });
        }
    });
}

fn trial_row(markup: &mut Markup, trial: &Trial, direction: &Direction) {
    let mark = if trial.invalid_because.is_empty() { "" } else { " (no result)" };
    row(markup, &format!("{}{mark}", trial.label), |markup| {
        for rate in [direction.offered_per_s, direction.delivered_per_s] {
            cell(markup, |markup| markup.figure(&rate.to_string(), &units::rate(rate)));
        }
        let counts = direction.counts;
        cell(markup, |markup| {
            count(markup, counts.lost);
            if counts.lost > 0 {
                markup.text(" ");
                markup.element("small", &[], &units::share(counts.lost, counts.sent));
            }
        });
        let latency = &direction.latency;
        for nanoseconds in [latency.p50_ns, latency.p99_ns, latency.max_ns] {
            cell(markup, |markup| time(markup, nanoseconds));
        }
    });
}

/// The intervals of a direction, as the chart over time takes them together.
pub fn of_intervals(markup: &mut Markup, direction: &Direction) {
    let caption = format!("Intervals, {}", title(direction));
    let columns = ["from", "sent", "received", "p50", "p99", "max"];
    table(markup, &caption, "intervals", &columns, |markup| {
        markup.within("tbody", &[], |markup| {
            for piece in pieces(&direction.intervals) {
                let start = (piece.start_s * 1e3).round() / 1e3;
                row(markup, &units::duration(start), |markup| {
                    for frames in [piece.sent, piece.received] {
                        cell(markup, |markup| count(markup, frames));
                    }
                    for nanoseconds in [piece.p50_ns, piece.p99_ns, piece.max_ns] {
                        cell(markup, |markup| match nanoseconds {
                            Some(nanoseconds) => time(markup, nanoseconds),
                            None => markup.text("none"),
                        });
                    }
                });
            }
        });
    });
}

/// Figures of several reports beside each other, with their differences from the first one's.
pub fn of_comparison(markup: &mut Markup, names: &[String], block: &Block<'_>) {
    let columns: Vec<&str> = [""].into_iter().chain(names.iter().map(String::as_str)).collect();
    table(markup, &block.heading, "figures", &columns, |markup| {
        markup.within("tbody", &[], |markup| {
            for figure in &FIGURES {
                let values: Vec<Option<f64>> =
                    block.directions.iter().map(|each| each.and_then(|each| figure.of(each))).collect();
                row(markup, figure.name, |markup| {
                    for (index, value) in values.iter().enumerate() {
                        cell(markup, |markup| match value {
                            None => markup.text("none"),
                            Some(value) => {
                                markup.figure(&value.to_string(), &figure.text(*value));
                                if index > 0 {
                                    markup.text(" ");
                                    markup.element("small", &[], &difference(values[0], Some(*value)));
                                }
                            }
                        });
                    }
                });
            }
        });
    });
}

/// What a load of several trials is measured by, in words.
pub fn measure_in_words(measure: Measure) -> &'static str {
    match measure {
        Measure::Percent => "load of the bus",
        Measure::Rate => "rate",
        Measure::Burst => "burst",
    }
}
