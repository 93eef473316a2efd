//! Just enough of URLs to follow a redirect and to know whose host it leads to.

/// An absolute `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Scheme, host and port, in lower case, without a port that goes without saying.
    pub origin: String,
    /// Path and query.
    pub rest: String,
}

impl Url {
    /// `None` for any other scheme, names and passwords before the host, and characters that no URL holds.
    pub fn parse(text: &str) -> Option<Url> {
        let (scheme, after) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let usual_port = match scheme.as_str() {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let host = after[..end].to_ascii_lowercase();
        let host = host.strip_suffix(usual_port).unwrap_or(&host);
        let rest = after[end..].split('#').next().unwrap_or_default();
        let sound = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains('\\');
        if !sound || host.is_empty() || host.starts_with(':') || host.contains('@') {
            return None;
        }
        let slash = if rest.starts_with('/') { "" } else { "/" };
        Some(Url { origin: format!("{scheme}://{host}"), rest: format!("{slash}{rest}") })
    }

    /// Where `Location: {to}` leads from here. Never from `https` to `http`.
    pub fn join(&self, to: &str) -> Option<Url> {
        let scheme = self.origin.split(':').next()?;
        let path = self.rest.split('?').next()?;
        let folder = &path[..=path.rfind('/')?];
        let has_scheme = to.split(['/', '?', '#']).next().is_some_and(|head| head.contains(':'));
        let next = if has_scheme {
            Url::parse(to)?
        } else if to.starts_with("//") {
            Url::parse(&format!("{scheme}:{to}"))?
        } else if to.starts_with('/') {
            Url::parse(&format!("{}{to}", self.origin))?
        } else if to.starts_with('?') {
            Url::parse(&format!("{}{path}{to}", self.origin))?
        } else {
            Url::parse(&format!("{}{folder}{to}", self.origin))?
        };
        (scheme == "http" || next.origin.starts_with("https://")).then_some(next)
    }

    /// As it is sent.
    pub fn text(&self) -> String {
        format!("{}{}", self.origin, self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_rfc_3986_says() {
        let here = Url::parse("https://Hub.example:443/a/b?c=d#e").unwrap();
        assert_eq!(here.origin, "https://hub.example");
        for (to, url) in [
            ("/x/y", "https://hub.example/x/y"),
            ("x?y=/z", "https://hub.example/a/x?y=/z"),
            ("?y", "https://hub.example/a/b?y"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("https://cdn.example", "https://cdn.example/"),
            ("x?u=http://z", "https://hub.example/a/x?u=http://z"),
        ] {
            assert_eq!(here.join(to).unwrap().text(), url, "{to}");
        }
        for to in
            ["http://hub.example/x", "file:///etc/passwd", "https://u:p@x/", "https:///x", "/a b", "/ü", "https://"]
        {
            assert_eq!(here.join(to), None, "{to}");
        }
        let plain = Url::parse("http://127.0.0.1:8080/a").unwrap();
        assert_eq!(plain.join("http://127.0.0.1:8081/").unwrap().origin, "http://127.0.0.1:8081");
    }
}
