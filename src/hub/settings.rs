//! What the environment says of the Hub, by the rules of Python's `huggingface_hub` (`constants.py`, `utils/_auth.py`).

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the Hub is, where its files are kept, and how patient we are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://host`, without a slash at its end.
    pub endpoint: String,
    /// The folder that holds `models--owner--name` and its like.
    pub cache: PathBuf,
    /// Sent to the endpoint, and to nobody else.
    pub token: Option<Token>,
    /// Never go to the network.
    pub offline: bool,
    /// Snapshots hold symbolic links to blobs; otherwise copies.
    pub symlinks: bool,
    /// Time to connect, and for an answer that is headers only.
    pub metadata_timeout: Duration,
    /// Time without a single byte after which a transfer counts as broken.
    pub read_timeout: Duration,
    /// Tries of a request, at least 1.
    pub tries: u32,
    /// Wait before the second try; it doubles from try to try.
    pub first_wait: Duration,
    /// No wait is longer, whatever Retry-After asks.
    pub longest_wait: Duration,
}

/// An access token. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Without line ends and surrounding blanks; `None` where nothing is left.
    pub fn new(text: &str) -> Option<Token> {
        let text = text.replace(['\r', '\n'], "");
        let text = text.trim();
        (!text.is_empty()).then(|| Token(text.to_string()))
    }

    /// The value of the header `Authorization`.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The text without the token, in whatever case.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        let (lower, token) = (text.to_ascii_lowercase(), self.0.to_ascii_lowercase());
        let (mut hidden, mut from) = (String::new(), 0);
        for (at, _) in lower.match_indices(&token) {
            hidden.push_str(&text[from..at]);
            hidden.push_str("***");
            from = at + token.len();
        }
        hidden + &text[from..]
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Settings {
    /// From the environment of this process.
    pub fn from_env() -> Settings {
        let home = || std::env::home_dir().map(PathBuf::into_os_string);
        Settings::from_vars(
            |name| std::env::var_os(name).or_else(|| if name == "HOME" { home() } else { None }),
            |path| std::fs::read_to_string(path).ok(),
        )
    }

    /// From variables, and files (the token's).
    pub fn from_vars(variable: impl Fn(&str) -> Option<OsString>, file: impl Fn(&Path) -> Option<String>) -> Settings {
        let raw = |name: &str| variable(name).filter(|v| !v.is_empty());
        let given = |name: &str| raw(name).and_then(|v| v.into_string().ok());
        let is_true = |v: String| ["1", "on", "yes", "true"].contains(&v.to_ascii_lowercase().as_str());
        let yes = |name: &str| given(name).is_some_and(is_true);
        let home = raw("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        // only what is Unicode is expanded
        let path = |name: &str| {
            let Some(text) = given(name) else { return raw(name).map(PathBuf::from) };
            let text = with_variables(&text, |name| variable(name).and_then(|v| v.into_string().ok()));
            Some(match text.strip_prefix("~/") {
                Some(rest) => home.join(rest),
                None if text == "~" => home.clone(),
                None => PathBuf::from(text),
            })
        };
        let seconds = |name: &str| given(name).and_then(|v| v.trim().parse().ok()).filter(|s| *s > 0);

        let caches = path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hf_home = path("HF_HOME").unwrap_or_else(|| caches.join("huggingface"));
        let cache =
            path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| hf_home.join("hub"));
        let token = || {
            let text = given("HF_TOKEN").or_else(|| given("HUGGING_FACE_HUB_TOKEN"));
            let kept = || file(&path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token")));
            text.and_then(|t| Token::new(&t)).or_else(|| kept().and_then(|t| Token::new(&t)))
        };
        let endpoint = given("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Settings {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            token: if yes("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { token() },
            cache,
            offline: given("HF_HUB_OFFLINE").or_else(|| given("TRANSFORMERS_OFFLINE")).is_some_and(is_true),
            symlinks: !yes("HF_HUB_DISABLE_SYMLINKS"),
            metadata_timeout: Duration::from_secs(seconds("HF_HUB_ETAG_TIMEOUT").unwrap_or(10)),
            read_timeout: Duration::from_secs(seconds("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or(10)),
            tries: 6,
            first_wait: Duration::from_secs(1),
            // the Hub counts requests over five minutes
            longest_wait: Duration::from_secs(300),
        }
    }
}

/// `$NAME` and `${NAME}` replaced by what they stand for, if anything, as Python's `expandvars` does.
fn with_variables(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut parts = text.split('$');
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len());
        let braced = part.strip_prefix('{').and_then(|p| p.split_once('}'));
        let (name, rest) = braced.unwrap_or(part.split_at(end));
        match variable(name).filter(|_| !name.is_empty() && !name.contains(['=', '\0'])) {
            Some(value) => out.extend([value.as_str(), rest]),
            None => out.extend(["$", part]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        // paths, not texts: Windows joins by another separator
        let kept = [("/h/hf/token", "of-hf-home\n"), ("/elsewhere", "of-token-path")];
        let file = |path: &Path| kept.iter().find(|(at, _)| path == Path::new(at)).map(|(_, token)| token.to_string());
        Settings::from_vars(variable, file)
    }

    #[test]
    fn places_are_those_of_python() {
        let at = |v: &[(&str, &str)]| settings(v).cache;
        assert_eq!(at(&[("HOME", "/h")]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")]), Path::new("/h/hf/hub"));
        assert_eq!(at(&[("HF_HOME", "/y"), ("HUGGINGFACE_HUB_CACHE", "/z")]), Path::new("/z"));
        assert_eq!(at(&[("HUGGINGFACE_HUB_CACHE", "/z"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert_eq!(at(&[("HOME", "/h"), ("HF_HUB_CACHE", "")]), Path::new("/h/.cache/huggingface/hub"));
        let user = ("USER", "u");
        assert_eq!(at(&[user, ("HF_HOME", "/s/$USER/${USER}x")]), Path::new("/s/u/ux/hub"));
        assert_eq!(at(&[user, ("HF_HUB_CACHE", "/$USERX/${/$-$")]), Path::new("/$USERX/${/$-$"));
    }

    #[cfg(unix)]
    #[test]
    fn paths_need_not_be_unicode() {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let odd = |name: &str| (name == "HF_HUB_CACHE").then(|| OsString::from_vec(b"/c\xff".to_vec()));
        assert_eq!(Settings::from_vars(odd, |_| None).cache.as_os_str().as_bytes(), b"/c\xff");
    }

    #[test]
    fn tokens_are_those_of_python_and_never_shown() {
        let of = |v: &[(&str, &str)]| settings(v).token.map(|t| t.bearer());
        let home = ("HF_HOME", "/h/hf");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[home]).unwrap(), "Bearer of-hf-home");
        assert_eq!(of(&[home, ("HF_TOKEN_PATH", "/elsewhere")]).unwrap(), "Bearer of-token-path");
        assert_eq!(of(&[home, ("HUGGING_FACE_HUB_TOKEN", "old")]).unwrap(), "Bearer old");
        assert_eq!(of(&[("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN", " new\r\n")]).unwrap(), "Bearer new");
        assert_eq!(of(&[home, ("HF_TOKEN", "new"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        let shown = format!("{:?}", settings(&[("HF_TOKEN", "marker")]));
        assert!(shown.contains("token: Some(***)") && !shown.contains("marker"), "{shown}");
    }

    #[test]
    fn the_rest_is_that_of_python() {
        assert_eq!(settings(&[]).endpoint, "https://huggingface.co");
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror:80/")]).endpoint, "http://mirror:80");
        for (text, offline) in [("1", true), ("true", true), ("YES", true), ("On", true), ("0", false), ("", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", text)]).offline, offline, "{text}");
        }
        assert!(settings(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
        assert!(!settings(&[("TRANSFORMERS_OFFLINE", "1"), ("HF_HUB_OFFLINE", "0")]).offline);
        let patient = settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", "60"), ("HF_HUB_ETAG_TIMEOUT", "x")]);
        assert_eq!((patient.read_timeout.as_secs(), patient.metadata_timeout.as_secs()), (60, 10));
        assert!(settings(&[]).symlinks && !settings(&[("HF_HUB_DISABLE_SYMLINKS", "1")]).symlinks);
    }
}
