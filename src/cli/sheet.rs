//! Text for people, within 80 columns: what `attacks NAME`, `doctor` and their like print.

/// Columns of a terminal that nobody made larger.
const WIDTH: usize = 80;

/// Columns of a key, with its colon and the blank behind it.
const KEYS: usize = 12;

/// Lines that are being written.
#[derive(Default)]
pub struct Sheet(String);

impl Sheet {
    /// `key: value`, whose further lines stand below the value; without a key one more line below the last value.
    pub fn line(&mut self, key: &str, value: impl AsRef<str>) {
        let key = if key.is_empty() { String::new() } else { format!("{key}:") };
        let head = format!("{key:KEYS$}");
        let head = if head.ends_with(' ') { head } else { head + " " };
        self.hang(&head, &" ".repeat(KEYS), value.as_ref());
    }

    /// A line by itself, or several, this far from the left.
    pub fn text(&mut self, indent: usize, text: &str) {
        let margin = " ".repeat(indent);
        self.hang(&margin, &margin, text);
    }

    /// A comment of a TOML file, this far from the left.
    pub fn comment(&mut self, indent: usize, text: &str) {
        let margin = format!("{}# ", " ".repeat(indent));
        self.hang(&margin, &margin, text);
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.0.push('\n');
    }

    /// Lines as they stand, this far from the left: they are to be copied.
    pub fn verbatim(&mut self, indent: usize, lines: &str) {
        for line in lines.lines() {
            let line = format!("{}{line}", " ".repeat(indent));
            self.0 += line.trim_end();
            self.0.push('\n');
        }
    }

    /// All of it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// `head` and the words of `text`, broken before column [`WIDTH`], with `margin` before further lines. A longer word has a
    /// line of its own.
    fn hang(&mut self, head: &str, margin: &str, text: &str) {
        let mut line = head.to_string();
        let mut is_fresh = true;
        for word in text.split_whitespace() {
            if !is_fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.0 += line.trim_end();
                self.0.push('\n');
                line = margin.to_string();
                is_fresh = true;
            }
            if !is_fresh {
                line.push(' ');
            }
            line += word;
            is_fresh = false;
        }
        self.0 += line.trim_end();
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_go_on_below_the_value() {
        let mut sheet = Sheet::default();
        sheet.line("what", "word ".repeat(20));
        sheet.line("a long key indeed", "x".repeat(90));
        let lines: Vec<&str> = std::str::from_utf8(sheet.as_bytes()).unwrap().lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("what:       word word") && lines[0].chars().count() <= WIDTH);
        assert!(lines[1].starts_with("            word"));
        assert_eq!(lines[2], format!("a long key indeed: {}", "x".repeat(90)));
    }
}
