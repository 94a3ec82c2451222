//! Line charts as inline SVG, in two sizes of which the style sheet shows the one that fits: text in a picture shrinks with
//! it, so that one for a desk is not readable on a phone.

use std::fmt::Write;

use super::axis::Axis;
use super::markup::Markup;
use crate::report::text::shortened;

/// Series that a chart can tell apart: as many as there are colours.
pub const SERIES_MAX: usize = 12;

/// A chart.
pub struct Chart {
    /// Of its figure, unique on the page.
    pub id: String,
    /// In a few words.
    pub title: String,
    /// What is to be known beside it.
    pub caption: String,
    /// What is seen on it, for those who do not.
    pub description: String,
    /// From left to right.
    pub x: Axis,
    /// From below upwards.
    pub y: Axis,
    /// Their lines, [`SERIES_MAX`] at most.
    pub series: Vec<Series>,
    /// A value of `x` with a line of its own, and what it means.
    pub mark: Option<(f64, &'static str)>,
}

/// A line.
pub struct Series {
    /// At its end and in the legend.
    pub name: String,
    /// Colour and strokes.
    pub look: Look,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// Whether the points are seen as such: where they are few.
    pub has_dots: bool,
}

/// How a line looks: never the colour alone tells it from the others.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// One of the style sheet's colours.
    pub colour: Colour,
    /// Its strokes.
    pub strokes: Strokes,
}

/// A colour of the style sheet.
#[derive(Clone, Copy, Debug)]
pub enum Colour {
    /// Things beside each other: directions, runs.
    Beside(usize),
    /// Things in an order: loads, from the least to the greatest, as a part of 0 to 11.
    InOrder(usize),
}

/// Strokes of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strokes {
    /// Without a gap.
    Solid,
    /// Long ones.
    Dashed,
    /// Short ones.
    Dotted,
    /// Long and short in turns.
    DashDotted,
}

impl Strokes {
    /// One after the other.
    pub fn nth(index: usize) -> Self {
        [Self::Solid, Self::Dashed, Self::Dotted, Self::DashDotted][index % 4]
    }

    fn dasharray(self) -> &'static str {
        match self {
            Self::Solid => "none",
            Self::Dashed => "8 4",
            Self::Dotted => "2 3",
            Self::DashDotted => "9 3 2 3",
        }
    }
}

impl Look {
    /// The class of the style sheet.
    fn class(self) -> &'static str {
        const BESIDE: [&str; 6] = ["b0", "b1", "b2", "b3", "b4", "b5"];
        const IN_ORDER: [&str; 12] =
            ["o0", "o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8", "o9", "o10", "o11"];
        match self.colour {
            Colour::Beside(index) => BESIDE[index % BESIDE.len()],
            Colour::InOrder(index) => IN_ORDER[index.min(IN_ORDER.len() - 1)],
        }
    }
}

/// A size: the units are pixels where the page is as wide as it is made for.
struct Size {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    /// Without the names.
    right: f64,
    top: f64,
    bottom: f64,
    /// Pixels that the text of a tick takes.
    tick_room: f64,
    /// Pixels of a letter of a name.
    letter: f64,
    /// Characters of a series' name beside its line. Where one is longer, they are called by letters.
    name_chars: usize,
}

/// For a desk.
const WIDE: Size = Size {
    class: "wide",
    width: 880.0,
    height: 380.0,
    left: 62.0,
    right: 34.0,
    top: 30.0,
    bottom: 50.0,
    tick_room: 58.0,
    letter: 7.8,
    name_chars: 18,
};

/// For a phone.
const NARROW: Size = Size {
    class: "narrow",
    width: 340.0,
    height: 290.0,
    left: 50.0,
    right: 28.0,
    top: 28.0,
    bottom: 46.0,
    tick_room: 46.0,
    letter: 7.8,
    name_chars: 6,
};

/// Pixels between the names at the ends of lines.
const NAME_HEIGHT: f64 = 16.0;

impl Chart {
    /// A figure with its caption, legend and both sizes.
    pub fn draw(&self, markup: &mut Markup) {
        markup.within("figure", &[("id", &self.id)], |markup| {
            markup.within("figcaption", &[], |markup| {
                markup.element("h3", &[], &self.title);
                markup.element("p", &[], &self.caption);
            });
            self.draw_legend(markup);
            self.draw_size(WIDE, markup);
            self.draw_size(NARROW, markup);
        });
        markup.line();
    }

    fn draw_legend(&self, markup: &mut Markup) {
        markup.within("ul", &[("class", "legend")], |markup| {
            for (index, series) in self.series.iter().enumerate() {
                markup.within("li", &[("class", series.look.class())], |markup| {
                    let swatch = [
                        ("viewBox", "0 0 34 10"),
                        ("width", "34"),
                        ("height", "10"),
                        ("aria-hidden", "true"),
                        ("focusable", "false"),
                    ];
                    markup.within("svg", &swatch, |markup| {
                        let dash = series.look.strokes.dasharray();
                        let line = [
                            ("class", "line"),
                            ("d", "M1 5H33"),
                            ("stroke-dasharray", dash),
                            ("fill", "none"),
                        ];
                        markup.empty("path", &line);
                    });
                    if !self.names_fit(&NARROW) {
                        markup.element("b", &[("class", "narrow")], letter(index));
                    }
                    markup.element("span", &[], &shortened(&series.name, 48));
                });
            }
        });
    }

    fn draw_size(&self, size: Size, markup: &mut Markup) {
        let names = self.names(&size);
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        let size = &Size { right: size.right + size.letter * longest as f64, ..size };
        let view = format!("0 0 {} {}", size.width, size.height);
        let (title, description) =
            (format!("{}-t-{}", self.id, size.class), format!("{}-d-{}", self.id, size.class));
        let labelled = format!("{title} {description}");
        let attributes = [
            ("class", size.class),
            ("viewBox", view.as_str()),
            ("role", "img"),
            ("aria-labelledby", labelled.as_str()),
            ("focusable", "false"),
        ];
        markup.within("svg", &attributes, |markup| {
            markup.element("title", &[("id", &title)], &self.title);
            markup.element("desc", &[("id", &description)], &self.description);
            self.draw_axes(size, markup);
            for series in &self.series {
                self.draw_series(series, size, markup);
            }
            self.draw_names(&names, size, markup);
        });
    }

    fn draw_axes(&self, size: &Size, markup: &mut Markup) {
        let (right, bottom) = (size.width - size.right, size.height - size.bottom);
        for (value, text) in &self.y.ticks {
            let y = self.y_of(*value, size);
            line(markup, "grid", (size.left, y), (right, y));
            write(markup, "tick end", (size.left - 7.0, y + 4.0), text);
        }
        // Those that would run into the one before them are left out.
        let mut free_from = f64::NEG_INFINITY;
        for (value, text) in &self.x.ticks {
            let x = self.x_of(*value, size);
            if x >= free_from {
                line(markup, "grid", (x, size.top), (x, bottom));
                write(markup, "tick middle", (x, bottom + 18.0), text);
                free_from = x + size.tick_room.max(7.5 * text.chars().count() as f64);
            }
        }
        line(markup, "axis", (size.left, bottom), (right, bottom));
        write(markup, "tick", (2.0, 14.0), &self.y.title);
        write(markup, "tick middle", ((size.left + right) / 2.0, size.height - 8.0), &self.x.title);
        if let Some((value, text)) = self.mark {
            let x = self.x_of(value, size);
            line(markup, "mark", (x, size.top), (x, bottom));
            write(markup, "tick end", (x - 5.0, size.top + 12.0), text);
        }
    }

    fn draw_series(&self, series: &Series, size: &Size, markup: &mut Markup) {
        let mut path = String::new();
        let mut dots = String::new();
        let mut before = None;
        for &(x, y) in &series.points {
            let place = (self.x_of(x, size), self.y_of(y, size));
            // A picture has no more to show than its pixels.
            let place = ((place.0 * 10.0).round() / 10.0, (place.1 * 10.0).round() / 10.0);
            if before == Some(place) {
                continue;
            }
            let command = if before.is_none() { 'M' } else { 'L' };
            // Writing into a string does not fail.
            let _ = write!(path, "{command}{} {}", place.0, place.1);
            let _ = write!(dots, "M{} {}h0", place.0, place.1);
            before = Some(place);
        }
        markup.within("g", &[("class", series.look.class())], |markup| {
            let dash = series.look.strokes.dasharray();
            let line = [("class", "line"), ("d", &*path), ("stroke-dasharray", dash), ("fill", "none")];
            markup.empty("path", &line);
            if series.has_dots {
                markup.empty("path", &[("class", "dot"), ("d", &dots), ("fill", "none")]);
            } else if let Some((x, y)) = before {
                markup.empty("path", &[("class", "dot"), ("d", &format!("M{x} {y}h0")), ("fill", "none")]);
            }
        });
    }

    /// What the lines are called beside them. On a phone long names would leave no room for the lines.
    fn names(&self, size: &Size) -> Vec<String> {
        let by_name = self.names_fit(size) || size.class == WIDE.class;
        let name = |(index, series): (usize, &Series)| match by_name {
            true => shortened(&series.name, size.name_chars),
            false => letter(index).to_owned(),
        };
        self.series.iter().enumerate().map(name).collect()
    }

    fn names_fit(&self, size: &Size) -> bool {
        self.series.iter().all(|series| series.name.chars().count() <= size.name_chars)
    }

    /// In a column at the right, each as near to its line's end as the others leave room, and led there.
    fn draw_names(&self, names: &[String], size: &Size, markup: &mut Markup) {
        let end = |(index, series): (usize, &Series)| {
            let &(x, y) = series.points.last()?;
            Some((index, self.x_of(x, size), self.y_of(y, size)))
        };
        let mut ends: Vec<(usize, f64, f64)> = self.series.iter().enumerate().filter_map(end).collect();
        ends.sort_by(|one, other| one.2.total_cmp(&other.2));
        let (top, bottom) = (size.top + 4.0, size.height - size.bottom);
        let mut free_from = top;
        let mut places: Vec<f64> = Vec::new();
        for (_, _, y) in &ends {
            let place = y.max(free_from);
            places.push(place);
            free_from = place + NAME_HEIGHT;
        }
        // What was pushed out below goes up again.
        let mut free_to = bottom;
        for place in places.iter_mut().rev() {
            *place = place.min(free_to);
            free_to = *place - NAME_HEIGHT;
        }
        let column = size.width - size.right + 20.0;
        for ((index, x, y), place) in ends.into_iter().zip(places) {
            markup.within("g", &[("class", self.series[index].look.class())], |markup| {
                line(markup, "lead", (x + 5.0, y), (column - 4.0, place));
                write(markup, "name", (column, place + 4.5), &names[index]);
            });
        }
    }

    fn x_of(&self, value: f64, size: &Size) -> f64 {
        size.left + self.x.place(value) * (size.width - size.left - size.right)
    }

    fn y_of(&self, value: f64, size: &Size) -> f64 {
        size.height - size.bottom - self.y.place(value) * (size.height - size.top - size.bottom)
    }
}

/// What a series is called where there is no room for its name.
fn letter(index: usize) -> &'static str {
    const LETTERS: [&str; SERIES_MAX] = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L"];
    LETTERS[index % SERIES_MAX]
}

fn line(markup: &mut Markup, class: &str, from: (f64, f64), to: (f64, f64)) {
    let path = format!("M{:.1} {:.1}L{:.1} {:.1}", from.0, from.1, to.0, to.1);
    markup.empty("path", &[("class", class), ("d", &path)]);
}

fn write(markup: &mut Markup, class: &str, at: (f64, f64), text: &str) {
    let (x, y) = (format!("{:.1}", at.0), format!("{:.1}", at.1));
    markup.element("text", &[("class", class), ("x", &x), ("y", &y)], text);
}
