//! HTML under construction. Markup comes as literals of this program alone (`&'static str`); whatever comes from a run goes
//! in as text or as the value of an attribute, and is escaped on the way.

use serde::Serialize;

/// A page, or a part of one.
#[derive(Default)]
pub struct Html(String);

/// Attributes of a tag.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Html {
    /// Our own markup, as it stands.
    pub fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(c),
                // no character of HTML
                c if c.is_control() => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
    }

    /// `<name attribute="value">`.
    pub fn open(&mut self, name: &'static str, attributes: Attributes) {
        self.raw("<");
        self.raw(name);
        for (attribute, value) in attributes {
            self.raw(" ");
            self.raw(attribute);
            self.raw("=\"");
            self.text(value);
            self.raw("\"");
        }
        self.raw(">");
    }

    /// `</name>`.
    pub fn close(&mut self, name: &'static str) {
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    /// An element that holds text alone.
    pub fn element(&mut self, name: &'static str, attributes: Attributes, text: &str) {
        self.open(name, attributes);
        self.text(text);
        self.close(name);
    }

    /// A figure of ours: it is escaped by the drawing library, and named for those who cannot see it.
    pub fn svg(&mut self, figure: &str, name: &str) {
        let from = figure.find("<svg").map_or(figure.len(), |at| at + "<svg".len());
        self.raw("<svg role=\"img\" aria-label=\"");
        self.text(name);
        self.raw("\"");
        self.0.push_str(figure[from..].trim_end());
    }

    /// Data for the script. `<` occurs inside strings only, where it may be written otherwise: so nothing in them can end the
    /// element.
    pub fn json(&mut self, id: &str, data: &impl Serialize) {
        self.open("script", &[("type", "application/json"), ("id", id)]);
        let text = serde_json::to_string(data).expect("plain data");
        self.0.push_str(&text.replace('<', "\\u003c"));
        self.close("script");
    }

    /// Another part.
    pub fn append(&mut self, part: Html) {
        self.0.push_str(&part.0);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The finished text.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</script><img src=x onerror=alert(1)>\"'&\u{0}<!--";

    #[test]
    fn nothing_of_a_run_becomes_markup() {
        let mut html = Html::default();
        html.element("td", &[("title", HOSTILE)], HOSTILE);
        let expected = "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;\u{fffd}&lt;!--";
        assert_eq!(html.0, format!("<td title=\"{expected}\">{expected}</td>"));
    }

    #[test]
    fn data_cannot_end_its_element_and_reads_back() {
        let mut html = Html::default();
        html.json("data", &vec![HOSTILE]);
        let inside = html.0.strip_prefix("<script type=\"application/json\" id=\"data\">").unwrap();
        let inside = inside.strip_suffix("</script>").unwrap();
        assert!(!inside.contains('<'));
        assert_eq!(serde_json::from_str::<Vec<String>>(inside).unwrap(), [HOSTILE]);
    }
}
