//! A small table for people: columns that are aligned, on a terminal no wider than 80 letters.

use super::registries::print;
use crate::error::Result;
use std::io::IsTerminal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Width of a terminal that everything fits on.
const WIDE: usize = 80;

/// No column is cut to less.
const LEAST: usize = 8;

/// What stands in one place: a text that may be cut, and what stays behind it.
#[derive(Clone)]
pub struct Field {
    text: String,
    tail: String,
}

impl Field {
    /// A text.
    pub fn text(text: impl ToString) -> Field {
        Field { text: text.to_string(), tail: String::new() }
    }

    /// A name and its probability.
    pub fn with_probability(name: &str, probability: Option<f32>) -> Field {
        let tail = probability.map_or_else(String::new, |p| format!(" {:.1} %", 100.0 * p));
        Field { text: name.to_string(), tail }
    }

    fn width(&self) -> usize {
        self.text.width() + self.tail.width()
    }

    /// Cut to a width, with an ellipsis where something is left out.
    fn cut(&self, width: usize) -> String {
        if self.width() <= width {
            return format!("{}{}", self.text, self.tail);
        }
        let mut room = width.saturating_sub(self.tail.width() + 1);
        let mut fits = |letter: &char| {
            let wide = letter.width().unwrap_or(0);
            let fits = wide <= room;
            room -= if fits { wide } else { 0 };
            fits
        };
        let kept: String = self.text.chars().take_while(|letter| fits(letter)).collect();
        format!("{}…{}", kept.trim_end(), self.tail)
    }
}

/// Prints rows of equal length; a pipe gets them uncut.
pub fn print_rows(rows: &[Vec<Field>]) -> Result<()> {
    let most = if std::io::stdout().is_terminal() { WIDE } else { usize::MAX };
    print(text(rows, most).as_bytes())
}

fn text(rows: &[Vec<Field>], most: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let mut widths: Vec<usize> =
        (0..columns).map(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0)).collect();
    let gaps = 2 * columns.saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > most {
        let widest = widths.iter_mut().max().expect("a table has a column");
        if *widest <= LEAST {
            break;
        }
        *widest -= 1;
    }
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(field, width)| {
                let cut = field.cut(*width);
                let missing = width.saturating_sub(cut.width());
                cut + &" ".repeat(missing)
            })
            .collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_column_is_cut_and_probabilities_stay() {
        let row = |a: &str, b: &str| vec![Field::text(a), Field::with_probability(b, Some(0.5)), Field::text("yes")];
        let rows = [row("p.png", "sulphur-crested cockatoo"), row("a-long-name-of-a-picture.jpeg", "cat")];
        let whole = text(&rows, usize::MAX);
        assert!(whole.starts_with("p.png                          sulphur-crested cockatoo 50.0 %  yes\n"), "{whole}");
        let cut = text(&rows, 40);
        assert!(cut.lines().all(|line| line.chars().count() <= 40 && line.ends_with("yes")), "{cut}");
        assert!(cut.contains("… 50.0 %") && cut.contains("cat 50.0 %"), "{cut}");
    }

    #[test]
    fn wide_letters_take_two_columns() {
        let rows =
            [vec![Field::text("\u{72ac}.png"), Field::text("yes")], vec![Field::text("cat.png"), Field::text("no")]];
        assert_eq!(text(&rows, usize::MAX), "\u{72ac}.png   yes\ncat.png  no\n");
        assert_eq!(Field::text("\u{72ac}".repeat(6)).cut(8), format!("{}…", "\u{72ac}".repeat(3)));
    }
}
