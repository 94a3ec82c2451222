//! A report as one page that opens without a network: pictures and style are in it, and nothing runs.
//!
//! ```text
//!  verdict ─ key figures ─ load ─ latency ─ time ─ all numbers ─ to run it again
//! ```

mod axis;
mod chart;
mod comparison;
mod curves;
mod markup;
mod tables;

use curves::{Curve, Measure, OverLoad};
use markup::Markup;

pub use comparison::page as comparison_page;

use super::document::{Direction, Finding, Method, Outcome, Report, Trial};
use super::summary::{bus_in_words, title};
use super::units;

/// Trials with pictures of their own. Others are in the tables, and in the document.
const PICTURED_MAX: usize = 200;

/// The page of one report that was checked.
pub fn page(report: &Report) -> String {
    let title = format!("{}: load test of {}", report.verdict.result.word(), report.path.near);
    document(&title, |markup| {
        header(markup, report);
        navigation(markup, report);
        markup.within("main", &[("id", "main")], |markup| {
            key_figures(markup, report);
            over_load(markup, report);
            latency(markup, report);
            numbers(markup, report);
            setup(markup, report);
        });
        footer(markup, report);
    })
}

/// The frame of a page.
fn document(title: &str, body: impl FnOnce(&mut Markup)) -> String {
    let mut markup = Markup::default();
    markup.literal("<!DOCTYPE html>\n");
    markup.within("html", &[("lang", "en")], |markup| {
        markup.within("head", &[], |markup| {
            // The policy in it: whatever a report says, the page loads nothing and runs nothing.
            markup.literal(include_str!("head.html"));
            markup.element("title", &[], title);
            markup.literal("\n<style>\n");
            markup.literal(include_str!("style.css"));
            markup.literal("</style>\n");
        });
        markup.within("body", &[], |markup| {
            markup.element("a", &[("class", "skip"), ("href", "#main")], "Skip to the figures");
            body(markup);
        });
    });
    markup.line();
    markup.into_text()
}

/// The verdict's word, with a sign, so that it is not the colour alone that tells.
fn badge(markup: &mut Markup, outcome: Outcome) {
    let (class, sign) = match outcome {
        Outcome::Pass => ("badge pass", "✓"),
        Outcome::Fail => ("badge fail", "✕"),
        Outcome::Invalid => ("badge invalid", "!"),
        Outcome::Interrupted => ("badge interrupted", "‖"),
    };
    markup.element("span", &[("class", class)], &format!("{sign} {}", outcome.word()));
    markup.text(" ");
}

fn method_in_words(method: Method) -> &'static str {
    match method {
        Method::Trial => "one load",
        Method::Sweep => "latency and loss over load",
        Method::Throughput => "search for the highest rate without loss",
        Method::Burst => "search for the longest burst without loss",
        Method::Soak => "one load, for long",
        Method::Tune => "settings against each other, in turns",
    }
}

fn header(markup: &mut Markup, report: &Report) {
    markup.within("header", &[], |markup| {
        let kind =
            format!("canip_peer {} · load test · {}", report.program.version, method_in_words(report.method));
        markup.element("p", &[("class", "kind")], &kind);
        markup.within("h1", &[], |markup| {
            badge(markup, report.verdict.result);
            markup.text(&report.verdict.text);
        });
        if !report.verdict.reasons.is_empty() {
            list(markup, "reasons", &report.verdict.reasons);
        }
        let path = &report.path;
        let buses = format!("{} and {}, {}", path.near, path.far, bus_in_words(&path.bus));
        let load = match report.trials.as_slice() {
            [] => "no trial".to_owned(),
            [trial] => trial.load.description.clone(),
            trials => format!("{} trials", trials.len()),
        };
        markup.within("p", &[("class", "facts")], |markup| {
            markup.text(&format!("{buses} · {load} · {} · ", report.host.name));
            let shown = report.started.replace('T', " ").replace('Z', " UTC");
            markup.element("time", &[("datetime", &report.started)], &shown);
        });
    });
    markup.line();
}

fn list(markup: &mut Markup, class: &'static str, items: &[String]) {
    markup.within("ul", &[("class", class)], |markup| {
        for item in items {
            markup.element("li", &[], item);
        }
    });
}

fn navigation(markup: &mut Markup, report: &Report) {
    let mut places = vec![("#figures", "Key figures")];
    if Measure::of(&report.trials).is_some() {
        places.push(("#load", "Over load"));
    }
    places.extend([("#latency", "Latency"), ("#numbers", "All numbers"), ("#setup", "To run it again")]);
    markup.within("nav", &[("aria-label", "On this page")], |markup| {
        markup.within("ul", &[], |markup| {
            for (place, name) in places {
                markup.within("li", &[], |markup| markup.element("a", &[("href", place)], name));
            }
        });
    });
    markup.line();
}

fn section(markup: &mut Markup, id: &'static str, heading: &str, content: impl FnOnce(&mut Markup)) {
    let heading_id = format!("{id}-heading");
    markup.within("section", &[("id", id), ("aria-labelledby", &heading_id)], |markup| {
        markup.element("h2", &[("id", &heading_id)], heading);
        content(markup);
    });
    markup.line();
}

fn key_figures(markup: &mut Markup, report: &Report) {
    section(markup, "figures", "Key figures", |markup| {
        if !report.findings.is_empty() {
            markup.within("ul", &[("class", "findings")], |markup| {
                for finding in &report.findings {
                    markup.within("li", &[], |markup| show_finding(markup, finding));
                }
            });
        }
        match report.trials.as_slice() {
            [] => markup.element("p", &[], "No trial was made."),
            [trial] => markup.within("div", &[("class", "cards")], |markup| {
                for direction in &trial.directions {
                    card(markup, direction);
                }
            }),
            _ => markup.within("div", &[("class", "plain")], |markup| tables::of_trials(markup, report)),
        }
    });
}

fn show_finding(markup: &mut Markup, finding: &Finding) {
    markup.text(&finding.text);
    let mut figures = format!("{}: {} {}", finding.subject, units::number(finding.value), finding.unit);
    if let Some(uncertainty) = finding.uncertainty {
        figures += &format!(" ± {}", units::number(uncertainty));
    }
    match finding.is_real {
        Some(true) => figures += "; more than chance",
        Some(false) => figures += "; may be chance",
        None => {}
    }
    markup.empty("br", &[]);
    markup.element("small", &[], &figures);
}

fn card(markup: &mut Markup, direction: &Direction) {
    let counts = direction.counts;
    markup.within("div", &[("class", "card")], |markup| {
        markup.element("h3", &[], &title(direction));
        markup.within("p", &[("class", "big")], |markup| {
            tables::count(markup, counts.lost);
            markup.within("small", &[], |markup| {
                markup.text(" lost of ");
                tables::count(markup, counts.sent);
                if counts.lost > 0 {
                    markup.text(&format!(" ({})", units::share(counts.lost, counts.sent)));
                }
                markup.text(&format!(", {} a second", units::rate(direction.delivered_per_s)));
            });
        });
        markup.within("dl", &[("class", "tiles")], |markup| {
            let latency = &direction.latency;
            let figures = [
                ("p50", latency.p50_ns),
                ("p99", latency.p99_ns),
                ("p99.9", latency.p99_9_ns),
                ("max", latency.max_ns),
            ];
            for (name, nanoseconds) in figures {
                markup.within("div", &[], |markup| {
                    markup.element("dt", &[], name);
                    markup.within("dd", &[], |markup| tables::time(markup, nanoseconds));
                });
            }
        });
    });
}

fn latency(markup: &mut Markup, report: &Report) {
    section(markup, "latency", "Latency", |markup| {
        let mut drawn = false;
        for (index, (heading, curves)) in distributions(report).into_iter().enumerate() {
            let is_ordered = report.trials.len() > 1 && Measure::of(&report.trials).is_some();
            if let Some(chart) =
                curves::percentiles(format!("percentiles-{index}"), heading, &curves, is_ordered)
            {
                chart.draw(markup);
                drawn = true;
            }
        }
        if let [trial] = report.trials.as_slice() {
            drawn |= over_time(markup, trial, 0);
        }
        if !drawn {
            plain(markup, "No frame came out, so that there is no latency.");
        }
    });
}

fn plain(markup: &mut Markup, text: &str) {
    markup.within("div", &[("class", "plain")], |markup| markup.element("p", &[], text));
}

/// Headings, and the curves under each: the directions of a single trial beside each other, of several trials a chart for
/// each direction.
fn distributions(report: &Report) -> Vec<(String, Vec<Curve>)> {
    if let [trial] = report.trials.as_slice() {
        let mut curves: Vec<Curve> =
            trial.directions.iter().map(|each| Curve::of(title(each), &each.latency)).collect();
        curves.extend(trial.round_trip.as_ref().map(|each| Curve::of("round trip".to_owned(), each)));
        return vec![("Distribution".to_owned(), curves)];
    }
    let mut charts: Vec<(String, Vec<Curve>)> = Vec::new();
    for trial in trials_by_load(report) {
        for direction in &trial.directions {
            let heading = format!("Distribution, {}", title(direction));
            let at = charts.iter().position(|(other, _)| *other == heading).unwrap_or_else(|| {
                charts.push((heading, Vec::new()));
                charts.len() - 1
            });
            add_to_curves(&mut charts[at].1, without_round(&trial.label), direction);
        }
    }
    charts
}

/// The rounds of one setting are one distribution.
fn add_to_curves(curves: &mut Vec<Curve>, name: &str, direction: &Direction) {
    let curve = Curve::of(name.to_owned(), &direction.latency);
    let before = curves.iter_mut().find(|before| before.name == name);
    // Histograms of other ranges cannot be added, and are drawn beside each other.
    if before.is_none_or(|before| before.histogram.add(&curve.histogram).is_err()) {
        curves.push(curve);
    }
}

/// `busy-poll, round 2` is of the setting `busy-poll`.
fn without_round(label: &str) -> &str {
    label.split_once(", round ").map_or(label, |(setting, _)| setting)
}

/// The trials that are results, the smallest load first.
fn trials_by_load(report: &Report) -> Vec<&Trial> {
    let mut trials: Vec<&Trial> =
        report.trials.iter().filter(|trial| trial.invalid_because.is_empty()).collect();
    if let Some(measure) = Measure::of(&report.trials) {
        trials.sort_by(|one, other| {
            let [one, other] = [one, other].map(|trial| measure.value(trial).unwrap_or_default());
            one.total_cmp(&other)
        });
    }
    trials
}

fn over_load(markup: &mut Markup, report: &Report) {
    let Some(measure) = Measure::of(&report.trials) else { return };
    let mut points = OverLoad::new();
    curves::collect(&mut points, &report.trials, measure, title);
    let heading = format!("Over the {}", tables::measure_in_words(measure));
    section(markup, "load", &heading, |markup| {
        match curves::latency_over_load("latency-over-load".to_owned(), &points, measure) {
            Some(chart) => chart.draw(markup),
            None => plain(markup, "No trial is a result."),
        }
        match curves::loss_over_load("loss-over-load".to_owned(), &points, measure) {
            Some(chart) => chart.draw(markup),
            None => plain(markup, "No frame was lost at any load."),
        }
        let left_out = report.trials.iter().filter(|trial| !trial.invalid_because.is_empty()).count();
        if left_out > 0 {
            plain(markup, &format!("{left_out} trials are no results, and are left out here."));
        }
    });
}

/// Whether there was anything to draw.
fn over_time(markup: &mut Markup, trial: &Trial, index: usize) -> bool {
    let mut drawn = false;
    for (number, direction) in trial.directions.iter().enumerate() {
        if let Some(chart) = curves::over_time(format!("time-{index}-{number}"), direction) {
            chart.draw(markup);
            drawn = true;
        }
    }
    drawn
}

fn numbers(markup: &mut Markup, report: &Report) {
    section(markup, "numbers", "All numbers", |markup| match report.trials.as_slice() {
        [trial] => {
            markup.within("div", &[("class", "plain")], |markup| one_trial(markup, trial));
            markup.line();
            intervals(markup, trial);
        }
        trials => {
            for (index, trial) in trials.iter().enumerate().take(PICTURED_MAX) {
                trial_unfolding(markup, trial, index);
            }
            if trials.len() > PICTURED_MAX {
                let more = trials.len() - PICTURED_MAX;
                plain(markup, &format!("{more} more trials are in the document report.json."));
            }
        }
    });
}

fn one_trial(markup: &mut Markup, trial: &Trial) {
    if !trial.invalid_because.is_empty() {
        markup.element("p", &[], "This trial is no result:");
        list(markup, "reasons", &trial.invalid_because);
    }
    tables::of_trial(markup, trial);
}

fn trial_unfolding(markup: &mut Markup, trial: &Trial, index: usize) {
    markup.within("details", &[], |markup| {
        markup.element("summary", &[], &trial.label);
        markup.within("div", &[], |markup| {
            let load = format!("{}; {}", trial.load.description, units::duration(trial.duration_s));
            markup.element("p", &[], &load);
            one_trial(markup, trial);
            over_time(markup, trial, index);
            intervals(markup, trial);
        });
    });
    markup.line();
}

fn intervals(markup: &mut Markup, trial: &Trial) {
    for direction in trial.directions.iter().filter(|direction| !direction.intervals.is_empty()) {
        markup.within("details", &[("class", "more")], |markup| {
            markup.element("summary", &[], &format!("Intervals, {}", title(direction)));
            markup.within("div", &[], |markup| tables::of_intervals(markup, direction));
        });
        markup.line();
    }
}

fn setup(markup: &mut Markup, report: &Report) {
    section(markup, "setup", "To run it again", |markup| {
        markup.within("div", &[("class", "plain")], |markup| {
            markup.within("dl", &[("class", "setup")], |markup| {
                for (name, text) in facts(report) {
                    markup.element("dt", &[], name);
                    markup.within("dd", &[], |markup| match name {
                        "command" => {
                            markup.within("pre", &[], |markup| markup.element("code", &[], &text));
                        }
                        _ => markup.text(&text),
                    });
                }
            });
        });
    });
}

/// Everything that another run needs.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let Report { program, host, path, .. } = report;
    let mut facts = vec![("command", command(&report.command)), ("started", report.started.clone())];
    let commit = program.commit.as_ref().map_or_else(String::new, |commit| format!(", commit {commit}"));
    facts.push(("program", format!("canip_peer {}{commit}, {} build", program.version, program.build)));
    facts.push(("host", host.name.clone()));
    facts.push(("kernel", host.kernel.clone()));
    let processor = host.processor.as_ref().map_or_else(String::new, |name| format!(", {name}"));
    facts.push(("processors", format!("{}{processor}", host.processors)));
    facts.push(("path", format!("{}: {} to {}", path.kind, path.near, path.far)));
    let reason = path.bus_reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    facts.push(("buses", format!("{}{reason}", bus_in_words(&path.bus))));
    if let Some(engine) = &path.engine {
        facts.push(("engine", engine.clone()));
    }
    if let Some(protocol) = &path.protocol {
        facts.push(("protocol", protocol.clone()));
    }
    if !path.bridge_options.is_empty() {
        facts.push(("bridge options", command(&path.bridge_options)));
    }
    if let Some(trial) = report.trials.first() {
        let load = &trial.load;
        facts.push(("load", load.description.clone()));
        if let Some(rate) = load.bit_rate {
            facts.push(("bit rate", format!("{} bit/s", units::grouped(u64::from(rate)))));
        }
        if let Some(rate) = load.data_bit_rate {
            facts.push(("data bit rate", format!("{} bit/s", units::grouped(u64::from(rate)))));
        }
        facts.push(("seed", load.seed.to_string()));
        let warm_up = units::duration(trial.warm_up_s);
        let duration = units::duration(trial.duration_s);
        facts.push(("duration", format!("{duration}, after {warm_up} of warm-up")));
    }
    if report.trials.len() > 1 {
        facts.push(("trials", format!("{}; load and duration are the first one's", report.trials.len())));
    }
    facts
}

/// The words as a shell takes them.
fn command(words: &[String]) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_./:=,+@%^".contains(letter);
    let quoted = |word: &String| match word.chars().all(plain) && !word.is_empty() {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn footer(markup: &mut Markup, report: &Report) {
    markup.within("footer", &[], |markup| {
        markup.element(
            "p",
            &[],
            "Latency counts from when a frame was due, not from when it was sent: what waits before the path counts too. \
             p99 is the time that all but one frame of a hundred kept. Times are kept to three digits.",
        );
        let made = format!("canip_peer {}, report version {}", report.program.version, report.version);
        markup.element("p", &[], &made);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let words = ["canip_peer", "bench", "--fail-on", "loss>0,p99>2ms", "it's"].map(str::to_owned);
        assert_eq!(command(&words), r"canip_peer bench --fail-on 'loss>0,p99>2ms' 'it'\''s'");
    }
}
