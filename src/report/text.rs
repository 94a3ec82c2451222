//! Text for terminals: columns, paragraphs and colours.

use std::fmt::Write;

use super::units::one_line;

/// What text is laid out for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Characters of a line, where text can be broken.
    pub width: usize,
    /// Whether names that would make a line longer are cut. A screen would break it; whoever reads a file or a pipe wants to find
    /// the name.
    pub cuts: bool,
}

impl Page {
    /// The beginning of a text on one line, where it must be cut.
    pub fn shortened(self, text: &str, chars_max: usize) -> String {
        if self.cuts { shortened(text, chars_max) } else { one_line(text).into_owned() }
    }
}

/// A table: the first column stands left, the others right.
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// Blanks between columns.
const GAP: usize = 2;

/// Characters of the first column, at most: names are anybody's.
const NAME_CHARS_MAX: usize = 32;

/// Characters of it that are left in any case.
const NAME_CHARS_MIN: usize = 8;

impl Table {
    /// With its headings.
    pub fn new<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// One more row, of as many cells.
    pub fn row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        self.push(cells.to_vec());
    }

    /// The same where their number is known only now.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// With another heading at the right.
    pub fn heading(&mut self, heading: String) {
        self.rows[0].push(heading);
    }

    /// The lines. Where they would be longer than the page is wide, the first column is cut.
    pub fn lines(&self, page: Page) -> Vec<String> {
        let columns = self.rows[0].len();
        let natural = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let mut widths: Vec<usize> = (0..columns).map(|column| natural(column).unwrap_or_default()).collect();
        let others: usize = widths[1..].iter().map(|width| GAP + width).sum();
        if page.cuts {
            let room = page.width.saturating_sub(others).max(NAME_CHARS_MIN);
            widths[0] = widths[0].min(NAME_CHARS_MAX).min(room);
        }
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                // Writing into a string does not fail.
                let _ = match column {
                    0 => write!(line, "{:<width$}", page.shortened(cell, width)),
                    _ => write!(line, "{:GAP$}{cell:>width$}", ""),
                };
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Words broken into lines of `width` characters, the first behind `label`, the others as far in. A word that is longer than
/// a line is broken anywhere. What is beyond `lines_max` lines is left out, which `...` says.
pub fn paragraph(label: &str, text: &str, width: usize, lines_max: usize) -> Vec<String> {
    let indent = label.chars().count();
    let room = width.saturating_sub(indent).max(8);
    let mut lines: Vec<String> = Vec::new();
    let mut current = String::new();
    let text = one_line(text);
    for word in text.split_whitespace().flat_map(|word| pieces(word, room)) {
        let length = current.chars().count();
        if length > 0 && length + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut current));
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(&word);
    }
    lines.push(current);
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        let last = lines.len() - 1;
        lines[last] = format!("{}...", lines[last].chars().take(room - 3).collect::<String>());
    }
    let behind = |(index, line): (usize, String)| match index {
        0 => format!("{label}{line}"),
        _ => format!("{:indent$}{line}", ""),
    };
    lines.into_iter().enumerate().map(behind).collect()
}

fn pieces(word: &str, room: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(room).map(|piece| piece.iter().collect()).collect()
}

/// The beginning of a text on one line, with an ellipsis where something is missing.
pub fn shortened(text: &str, chars_max: usize) -> String {
    let text = one_line(text);
    if text.chars().count() <= chars_max {
        return text.into_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Page = Page { width: 80, cuts: true };

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["", "sent", "lost"]);
        table.row(["a to b".to_owned(), "59,530".to_owned(), "0".to_owned()]);
        table.row(["µ".to_owned(), "1".to_owned(), "12,345".to_owned()]);
        assert_eq!(
            table.lines(SCREEN),
            ["          sent    lost", "a to b  59,530       0", "µ            1  12,345"]
        );
    }

    #[test]
    fn names_give_way_to_figures() {
        let mut table = Table::new(["", "sent"]);
        table.row(["a name that is too long".to_owned(), "1".to_owned()]);
        assert_eq!(
            table.lines(Page { width: 20, ..SCREEN }),
            ["                sent", "a name that i…     1"]
        );
        assert_eq!(table.lines(Page { width: 3, ..SCREEN })[1], "a name …     1");
    }

    #[test]
    fn a_file_has_names_in_full() {
        let mut table = Table::new(["", "sent"]);
        table.row(["a name that is longer than any column of a screen".to_owned(), "1".to_owned()]);
        assert_eq!(
            table.lines(Page { width: 20, cuts: false }),
            [
                "                                                   sent",
                "a name that is longer than any column of a screen     1"
            ]
        );
    }

    #[test]
    fn paragraphs_keep_their_width() {
        assert_eq!(paragraph("load  ", "a saturated bus", 80, 2), ["load  a saturated bus"]);
        assert_eq!(
            paragraph("load  ", "a saturated bus of abcdefghijklmnop", 18, 9),
            ["load  a saturated", "      bus of", "      abcdefghijkl", "      mnop"]
        );
        assert_eq!(paragraph("", "one two three four five", 9, 2), ["one two", "three..."]);
        assert_eq!(shortened("abcdef", 4), "abc…");
    }
}
