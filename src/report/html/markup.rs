//! HTML and SVG as text, well-formed as XML too. Tags and names of attributes are literals of this program; whatever else
//! there is gets escaped here, so that nobody's text becomes markup.

/// Markup under way.
#[derive(Default)]
pub struct Markup {
    text: String,
}

/// Attributes: a literal name, and a value that may be anything.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Markup {
    /// Everything so far.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Markup or style sheet of this program's own.
    pub fn literal(&mut self, text: &'static str) {
        self.text.push_str(text);
    }

    /// `<tag name="value">`.
    pub fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.start(tag, attributes);
        self.text.push('>');
    }

    /// `</tag>`.
    pub fn close(&mut self, tag: &'static str) {
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
    }

    /// `<tag name="value"/>`.
    pub fn empty(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.start(tag, attributes);
        self.text.push_str("/>");
    }

    /// An element with text in it.
    pub fn element(&mut self, tag: &'static str, attributes: Attributes<'_>, text: &str) {
        self.open(tag, attributes);
        self.text(text);
        self.close(tag);
    }

    /// An element around what `content` makes.
    pub fn within(&mut self, tag: &'static str, attributes: Attributes<'_>, content: impl FnOnce(&mut Self)) {
        self.open(tag, attributes);
        content(self);
        self.close(tag);
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\'' => self.text.push_str("&#39;"),
                '\n' | '\t' => self.text.push(letter),
                // XML has no place for them, nor has a page.
                letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                    self.text.push('\u{fffd}');
                }
                letter => self.text.push(letter),
            }
        }
    }

    /// A figure that a program can read beside the one that people do.
    pub fn figure(&mut self, value: &str, shown: &str) {
        self.element("data", &[("value", value)], shown);
    }

    /// A line feed, for whoever reads the source.
    pub fn line(&mut self) {
        self.text.push('\n');
    }

    fn start(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.text(value);
            self.text.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_is_markup() {
        let mut markup = Markup::default();
        markup.element(
            "td",
            &[("title", "a\" onload='x'")],
            "<script>alert(1)</script> & \0\u{1b}\u{ffff}é\n",
        );
        assert_eq!(
            markup.into_text(),
            "<td title=\"a&quot; onload=&#39;x&#39;\">&lt;script&gt;alert(1)&lt;/script&gt; &amp; \
             \u{fffd}\u{fffd}\u{fffd}é\n</td>"
        );
    }
}
