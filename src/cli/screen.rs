//! Standard output as a screen: how wide it is, whether it has colours, and what is shown on it.

use std::io::{self, IsTerminal, Write};

use crate::report::Page;

/// Columns of what does not say how many it has.
const WIDTH: usize = 80;

/// What is shown there is laid out for this.
pub fn page() -> Page {
    Page { width: width(), cuts: io::stdout().is_terminal() }
}

/// Columns: the terminal's, else those that `COLUMNS` promises.
fn width() -> usize {
    let terminal = terminal_size::terminal_size_of(io::stdout());
    let columns = terminal.map(|(columns, _)| usize::from(columns.0));
    columns.or_else(|| promised(&std::env::var("COLUMNS").ok()?)).unwrap_or(WIDTH)
}

fn promised(columns: &str) -> Option<usize> {
    columns.parse().ok().filter(|&columns| columns > 0)
}

/// Whether a terminal is looked at, by somebody who has nothing against colours.
pub fn is_coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Shows text. Whoever stops reading has seen enough.
///
/// # Errors
/// Standard output takes no more, for another reason.
pub fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_columns_are_no_promise() {
        assert_eq!(promised("132"), Some(132));
        for nothing in ["", "0", "-80", "wide"] {
            assert_eq!(promised(nothing), None, "{nothing}");
        }
    }
}
