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

/// Columns that hold ids of cells.
const IDS: [&str; 2] = ["cell", "against"];

/// A table of the run, as many rows as `room` bytes hold; `link` writes the id of a cell. Of a verdict those that are not ok
/// come first. Returns how many rows are shown, of how many.
pub fn of(html: &mut Html, path: &str, table: &Table, room: usize, link: &dyn Fn(&mut Html, &str)) -> (usize, usize) {
    let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
    let mut rows: Vec<usize> = (0..table.rows()).collect();
    if let Some(verdict) = columns.iter().position(|c| *c == "verdict") {
        rows.sort_by_key(|row| match table.text(*row, verdict).as_str() {
            "violated" => 0,
            "suspicious" => 1,
            _ => 2,
        });
    }
    begin(html, path, &columns);
    let (until, mut shown) = (html.len() + room, 0);
    for row in rows {
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
    (shown, table.rows())
}
