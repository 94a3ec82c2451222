//! Several reports on one page: their curves over each other, their figures beside each other.

use super::curves::{self, Curve, Measure, OverLoad};
use super::markup::Markup;
use super::{badge, document, plain, section, tables};
use crate::report::compare::Comparison;
use crate::report::summary::title;

/// Directions with a picture of their own. The others are in the tables.
const PICTURED_MAX: usize = 60;

/// The page.
pub fn page(comparison: &Comparison<'_>) -> String {
    let heading = comparison.names.join(", ");
    document(&format!("Load tests compared: {heading}"), |markup| {
        header(markup, comparison);
        markup.within("main", &[("id", "main")], |markup| {
            over_load(markup, comparison);
            latency(markup, comparison);
            section(markup, "numbers", "All numbers", |markup| {
                markup.within("div", &[("class", "plain")], |markup| {
                    for block in &comparison.blocks {
                        tables::of_comparison(markup, &comparison.names, block);
                    }
                });
            });
        });
        markup.within("footer", &[], |markup| {
            let text = "Differences are relative to the first report. Whether one is more than chance takes runs in turns.";
            markup.element("p", &[], text);
        });
    })
}

fn header(markup: &mut Markup, comparison: &Comparison<'_>) {
    markup.within("header", &[], |markup| {
        markup.element("p", &[("class", "kind")], "canip_peer · load tests compared");
        markup.element("h1", &[], &comparison.names.join(", "));
        markup.within("dl", &[("class", "setup verdicts")], |markup| {
            for (name, report) in comparison.names.iter().zip(&comparison.reports) {
                markup.element("dt", &[], name);
                markup.within("dd", &[], |markup| {
                    badge(markup, report.verdict.result);
                    markup.text(&report.verdict.text);
                });
            }
        });
        if !comparison.notes.is_empty() {
            super::list(markup, "reasons", &comparison.notes);
        }
    });
    markup.line();
}

fn over_load(markup: &mut Markup, comparison: &Comparison<'_>) {
    let measures: Vec<Option<Measure>> =
        comparison.reports.iter().map(|report| Measure::of(&report.trials)).collect();
    let Some(measure) = measures[0] else { return };
    if measures.iter().any(|other| *other != Some(measure)) {
        return;
    }
    let mut points = OverLoad::new();
    for (name, report) in comparison.names.iter().zip(&comparison.reports) {
        curves::collect(&mut points, &report.trials, measure, |direction| {
            format!("{name}, {}", title(direction))
        });
    }
    section(markup, "load", &format!("Over the {}", tables::measure_in_words(measure)), |markup| {
        if let Some(chart) = curves::latency_over_load("latency-over-load".to_owned(), &points, measure) {
            chart.draw(markup);
        }
        match curves::loss_over_load("loss-over-load".to_owned(), &points, measure) {
            Some(chart) => chart.draw(markup),
            None => plain(markup, "No frame was lost at any load."),
        }
    });
}

fn latency(markup: &mut Markup, comparison: &Comparison<'_>) {
    section(markup, "latency", "Latency", |markup| {
        for (index, block) in comparison.blocks.iter().enumerate().take(PICTURED_MAX) {
            let pairs = comparison.names.iter().zip(&block.directions);
            let curve = |(name, each): (&String, &Option<_>)| {
                each.map(|each: &crate::report::document::Direction| Curve::of(name.clone(), &each.latency))
            };
            let curves: Vec<Curve> = pairs.filter_map(curve).collect();
            let id = format!("percentiles-{index}");
            if let Some(chart) = curves::percentiles(id, block.heading.clone(), &curves, false) {
                chart.draw(markup);
            }
        }
    });
}
