//! Tables to be read by people, as Markdown and as LaTeX with booktabs.

/// Several tables with the same columns.
pub struct Pages {
    /// From left to right.
    pub columns: &'static [Column],
    /// In order.
    pub groups: Vec<Group>,
    /// What stands below.
    pub note: &'static str,
}

/// What stands above a column, and how its fields stand.
pub type Column = (&'static str, Stands);

/// How the fields of a column stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// To the left. In LaTeX, where it may be the first alone, in a line of its own above the rows that share it: the names of
    /// attacks are long, and lines are short.
    Above,
    /// To the left; what does not fit goes on in another line.
    Wrapped,
    /// To the left.
    Left,
    /// To the right.
    Right,
}
use Stands::{Above, Left, Right, Wrapped};

/// One table.
pub struct Group {
    /// Stands above.
    pub title: String,
    /// None: the title says it all.
    pub rows: Vec<Row>,
}

/// One line of a table.
pub struct Row {
    /// One a column.
    pub fields: Vec<String>,
    /// The field that is bold.
    pub bold: Option<usize>,
}

/// What stands where there is no number.
pub const NONE: &str = "–";

/// Width of a letter of a table in em: digits have half of one, bold ones a little more.
const LETTER_EM: f64 = 0.55;

impl Pages {
    /// As Markdown; `source` says where the numbers are from.
    pub fn markdown(&self, source: &str) -> String {
        let line = |fields: Vec<String>| format!("| {} |\n", fields.join(" | "));
        let mut text = String::new();
        for Group { title, rows } in &self.groups {
            text += &format!("### {}\n\n", markdown_text(title));
            if rows.is_empty() {
                continue;
            }
            text += &line(self.columns.iter().map(|(name, _)| markdown_text(name)).collect());
            let rule = |stands: Stands| if stands == Right { "---:" } else { ":---" };
            text += &line(self.columns.iter().map(|(_, stands)| rule(*stands).to_string()).collect());
            for row in rows {
                text += &line(row.set(markdown_text, |field| format!("**{field}**")));
            }
            text += "\n";
        }
        text + &format!("{}\n\n<!-- {} -->\n", markdown_text(self.note), source.replace("--", "- -"))
    }

    /// As LaTeX, with `source` likewise, to be `\input` into a document that uses `booktabs`.
    pub fn latex(&self, source: &str) -> String {
        let mut text = format!(
            "% {}\n% needs \\usepackage{{booktabs}}\n\\begingroup\\footnotesize\\raggedright\\parskip0pt\\relax\\setlength{{\\tabcolsep}}{{3.5pt}}\n",
            source.replace(['\n', '\r'], " ")
        );
        for Group { title, rows } in &self.groups {
            for (k, part) in self.parts(rows).into_iter().enumerate() {
                let more = if k > 0 { " (continued)" } else { "" };
                text += &format!(
                    "\\par{{\\interlinepenalty10000\\noindent\\textbf{{{}{more}}}\\par}}\\nobreak\\vskip3pt\\relax\n",
                    latex_text(title)
                );
                if !part.is_empty() {
                    text += &self.latex_table(part);
                }
            }
        }
        text + &format!("\\noindent {}\\par\\endgroup\n", latex_text(self.note))
    }

    /// The rows in parts that fit a page: `tabular` does not break. What is above rows stays with them where that is possible.
    fn parts<'a>(&self, rows: &'a [Row]) -> Vec<&'a [Row]> {
        let names = self.columns[0].1 == Above;
        let begins = |k: usize| names && (k == 0 || rows[k].fields[0] != rows[k - 1].fields[0]);
        let (mut parts, mut from, mut lines) = (Vec::new(), 0, 0.0);
        for k in 0..rows.len() {
            let height = if begins(k) { 2.5 } else { 1.0 };
            let enough = if begins(k) { PART_LINES } else { PAGE_LINES };
            if k > from && lines + height > enough {
                parts.push(&rows[from..k]);
                (from, lines) = (k, 1.5);
            }
            lines += height;
        }
        parts.push(&rows[from..]);
        parts
    }

    fn latex_table(&self, rows: &[Row]) -> String {
        // the name above stands in no column
        let first = usize::from(self.columns[0].1 == Above);
        let columns = &self.columns[first..];
        // what begins ragged takes the usual end of a row for a new line
        let last_wraps = columns.last().is_some_and(|(_, stands)| *stands == Wrapped);
        let end = if last_wraps { "\\tabularnewline" } else { "\\\\" };
        let line = |fields: Vec<String>| format!("{} {end}\n", fields.join(" & "));
        let widths = latex_columns(columns, &|k| rows.iter().map(|row| row.fields[first + k].chars().count()).max());
        let mut text = format!("\\noindent\\begin{{tabular}}{{@{{}}{widths}@{{}}}}\n\\toprule\n");
        text += &line(columns.iter().map(|(name, _)| latex_text(name)).collect());
        text += "\\midrule\n";
        let mut above = None;
        for row in rows {
            let mut fields = row.set(latex_text, |field| format!("\\textbf{{{field}}}"));
            if let Some(name) = (first > 0).then(|| fields.remove(0)).filter(|name| above.as_ref() != Some(name)) {
                // of no width, so that no column grows by it
                let rest = columns.len();
                let space = if above.is_some() { "\\addlinespace\n" } else { "" };
                text += &format!(
                    "{space}\\multicolumn{{{rest}}}{{@{{}}l@{{}}}}{{\\rlap{{\\parbox[t]{{\\linewidth}}{{\\raggedright\\strut \
                     {name}\\strut}}}}}} \\\\*\n"
                );
                above = Some(name);
            }
            let ragged = |(field, (_, stands)): (String, &Column)| match stands {
                Wrapped => format!("\\raggedright {field}"),
                _ => field,
            };
            text += &line(fields.into_iter().zip(columns).map(ragged).collect());
        }
        text + "\\bottomrule\n\\end{tabular}\\par\\medskip\n"
    }
}

/// Lines of a table after which it ends with an attack, and after which it ends anyway: a page of the class `article` at 10 pt has
/// 54 lines of this size.
const PART_LINES: f64 = 36.0;
const PAGE_LINES: f64 = 46.0;

/// What the columns are to LaTeX: those that wrap share what the others leave of the line. `letters` says how many the longest
/// field of a column has.
fn latex_columns(columns: &[Column], letters: &dyn Fn(usize) -> Option<usize>) -> String {
    let (mut em, mut wrapped) = (0.0, 0);
    for (k, (name, stands)) in columns.iter().enumerate() {
        match stands {
            Wrapped => wrapped += 1,
            _ => em += LETTER_EM * letters(k).unwrap_or(0).max(name.chars().count()) as f64,
        }
    }
    let gaps = 2 * (columns.len() - 1);
    let column = |(_, stands): &Column| match stands {
        Wrapped => format!("p{{\\dimexpr(\\linewidth-{gaps}\\tabcolsep-{em:.1}em)/{wrapped}\\relax}}"),
        Above | Left => "l".into(),
        Right => "r".into(),
    };
    columns.iter().map(column).collect()
}

impl Row {
    /// Its fields as `escape` writes them, and what is bold as `embolden` does.
    fn set(&self, escape: impl Fn(&str) -> String, embolden: impl Fn(String) -> String) -> Vec<String> {
        let field = |(k, text): (usize, &String)| match self.bold == Some(k) {
            true => embolden(escape(text)),
            false => escape(text),
        };
        self.fields.iter().enumerate().map(field).collect()
    }
}

/// Text in a field of a Markdown table.
fn markdown_text(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => out.push(' '),
            '\\' | '|' | '*' | '_' | '`' | '<' | '#' | '~' => out.extend(['\\', letter]),
            _ => out.push(letter),
        }
    }
    out
}

/// Text that LaTeX sets as it stands, with nothing but its usual fonts; letters that those lack are given by number.
fn latex_text(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', letter]),
            '<' => out.push_str("$<$"),
            '>' => out.push_str("$>$"),
            '|' => out.push_str("$|$"),
            '"' => out.push_str("''"),
            '-' => out.push_str("-{}"), // two would become a dash
            '[' => out.push_str("{[}"), // after \\ it would be an option
            '–' => out.push_str("--"),
            '×' => out.push_str("$\\times$"),
            '→' => out.push_str("$\\to$"),
            '½' => out.push_str("$\\frac12$"),
            ' '..='~' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ' => out.push(letter),
            '\n' | '\r' | '\t' => out.push(' '),
            other => out.push_str(&format!("(U+{:04X})", other as u32)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_with_a_meaning_are_escaped() {
        assert_eq!(latex_text("a_b & 5 % {x}"), "a\\_b \\& 5 \\% \\{x\\}");
        assert_eq!(latex_text("\\~^ é 猫"), "\\textbackslash{}\\textasciitilde{}\\textasciicircum{} é (U+732B)");
        assert_eq!(markdown_text("a|b\n*c*"), "a\\|b \\*c\\*");
    }
}
