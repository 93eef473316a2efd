//! Tables that can be sorted, filtered and turned page by page.

use super::html::Html;
use crate::table::Table;

/// Begins a table in a box of its own that scrolls sideways, so that the page does not.
pub fn begin(html: &mut Html, name: &str, columns: &[&str]) {
    html.open("div", &[("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-label", name)]);
    html.raw("<table class=\"sortable\"><thead><tr>");
    for column in columns {
        html.raw("<th scope=\"col\" aria-sort=\"none\"><button type=\"button\">");
        html.text(column);
        html.raw("</button></th>");
    }
    html.raw("</tr></thead><tbody>");
}

/// Ends it.
pub fn end(html: &mut Html) {
    html.raw("</tbody></table></div>");
}

/// What one table may take in bytes.
pub const ONE_TABLE: usize = 600_000;

/// Columns that hold ids of cells.
const IDS: [&str; 2] = ["cell", "against"];

/// What the page may show of a table: its first rows, of a verdict those that are not ok first.
pub struct Excerpt {
    table: Table,
    /// Rows of the whole table.
    all: usize,
}

impl Excerpt {
    /// Of the whole table.
    pub fn of(table: &Table) -> Excerpt {
        let mut rows: Vec<usize> = (0..table.rows()).collect();
        if let Some(verdict) = table.columns().iter().position(|column| column.name == "verdict") {
            rows.sort_by_cached_key(|row| match table.text(*row, verdict).as_str() {
                "violated" => 0,
                "suspicious" => 1,
                _ => 2,
            });
        }
        // a field takes so many bytes at least
        rows.truncate(ONE_TABLE / ("<td></td>".len() * table.columns().len()) + 1);
        Excerpt { table: table.picked(&rows), all: table.rows() }
    }
}

/// A table of the run, as many rows as `room` bytes hold; `link` writes the id of a cell. Returns how many rows are shown, of how
/// many.
pub fn of(html: &mut Html, path: &str, of: &Excerpt, room: usize, link: &dyn Fn(&mut Html, &str)) -> (usize, usize) {
    let Excerpt { table, all } = of;
    let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
    begin(html, path, &columns);
    let (until, mut shown) = (html.len() + room, 0);
    for row in 0..table.rows() {
        if html.len() >= until {
            break;
        }
        html.raw("<tr>");
        for (k, column) in columns.iter().enumerate() {
            let field = &table.text(row, k);
            if IDS.contains(column) && !field.is_empty() {
                html.raw("<td>");
                link(html, field);
                html.raw("</td>");
            } else if *column == "verdict" {
                html.element("td", &[("class", field)], field);
            } else if field.parse::<f64>().is_ok() {
                html.element("td", &[("class", "number")], field);
            } else {
                html.element("td", &[], field);
            }
        }
        html.raw("</tr>");
        shown += 1;
    }
    end(html);
    (shown, *all)
}
