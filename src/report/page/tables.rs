//! Tables that can be sorted, filtered and turned page by page.

use super::html::Html;

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
pub fn of_csv(
    html: &mut Html,
    path: &str,
    bytes: &[u8],
    room: usize,
    link: &dyn Fn(&mut Html, &str),
) -> (usize, usize) {
    let mut reader = csv::Reader::from_reader(bytes);
    let columns: Vec<String> = reader.headers().map(|h| h.iter().map(String::from).collect()).unwrap_or_default();
    // tables are written by this program: what does not read is not there
    let mut rows: Vec<csv::StringRecord> = reader.records().filter_map(Result::ok).collect();
    let all = rows.len();
    if let Some(verdict) = columns.iter().position(|c| c == "verdict") {
        rows.sort_by_key(|row| match row.get(verdict) {
            Some("violated") => 0,
            Some("suspicious") => 1,
            _ => 2,
        });
    }
    begin(html, path, &columns.iter().map(String::as_str).collect::<Vec<_>>());
    let (until, mut shown) = (html.len() + room, 0);
    for row in rows {
        if html.len() >= until {
            break;
        }
        html.raw("<tr>");
        for (column, field) in columns.iter().zip(&row) {
            if IDS.contains(&column.as_str()) && !field.is_empty() {
                html.raw("<td>");
                link(html, field);
                html.raw("</td>");
            } else if column == "verdict" {
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
    (shown, all)
}
