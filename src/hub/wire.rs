//! Requests: redirects that leave the token behind, tries that end, and what the Hub's refusals mean.

use super::file::{Kind, RemoteFile};
use super::names::{self, Etag};
use super::settings::Settings;
use super::url::Url;
use crate::error::{Error, Result};
use std::io::ErrorKind;
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body};

/// Redirects that one request may go through.
const MOST_REDIRECTS: usize = 10;

/// What a try of a request came to when it came to no good.
pub enum Fault {
    /// Worth another try, no sooner than the server asked.
    Passing(String, Option<Duration>),
    /// The same next time.
    Lasting(String),
    /// Ours, and said in full.
    Ours(Error),
}

/// What the Hub says of a file before it sends it.
pub struct Metadata {
    /// At which commit the revision is.
    pub commit: String,
    /// The name of its blob.
    pub etag: Etag,
    /// Bytes.
    pub size: u64,
}

/// What is asked for, for messages.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub kind: Kind,
    pub repository: &'a str,
    pub revision: &'a str,
    /// `None`: the tree.
    pub path: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// For this file.
    pub fn file(file: &'a RemoteFile) -> Asked<'a> {
        let RemoteFile { kind, repository, revision, path, .. } = file;
        Asked { kind: *kind, repository, revision, path: Some(path) }
    }

    /// `model.safetensors of owner/name at main`.
    pub fn text(&self) -> String {
        let Asked { repository, revision, .. } = self;
        format!("{} of {repository} at {revision}", self.path.unwrap_or("the tree"))
    }
}

/// A connection to the endpoint and to wherever it sends us.
#[derive(Debug)]
pub struct Wire {
    agent: Agent,
    settings: Settings,
}

impl Wire {
    /// Nothing is sent yet.
    pub fn new(settings: Settings) -> Wire {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // redirects are ours, so that the token is
            .timeout_resolve(Some(settings.metadata_timeout))
            .timeout_connect(Some(settings.metadata_timeout))
            .timeout_per_read(Some(settings.read_timeout))
            .timeout_per_write(Some(settings.read_timeout))
            .user_agent(concat!("foolproof/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity"); // sizes and ranges are those of the file
        Wire { agent: Agent::new_with_config(config.build()), settings }
    }

    /// A place on the endpoint.
    pub fn at(&self, path: &str) -> Result<Url> {
        let endpoint = &self.settings.endpoint;
        Url::parse(&format!("{endpoint}{path}"))
            .ok_or_else(|| Error::Hub("HF_ENDPOINT is no URL (hint: `https://host`, without name or password)".into()))
    }

    /// Asks for commit, etag and size of a file. They come from the endpoint only, not from where it redirects to.
    pub fn metadata(&self, file: &RemoteFile) -> Result<Metadata, Fault> {
        let url = self.at(&names::resolve_path(file, &file.revision)).map_err(Fault::Ours)?;
        let (mut commit, mut etag, mut size) = (None, None, None);
        let response = self.follow("HEAD", &url, None, |at, response| {
            if at.origin == url.origin {
                let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_string());
                let own = |name: &str| header(name).filter(|_| response.status().is_success());
                commit = commit.take().or_else(|| header("x-repo-commit"));
                etag = etag.take().or_else(|| header("x-linked-etag")).or_else(|| own("etag"));
                size = size.take().or_else(|| header("x-linked-size")).or_else(|| own("content-length"));
            }
            commit.is_some() && etag.is_some()
        })?;
        let status = response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(self.refusal(&response, Asked::file(file)));
        }
        let lacks = || {
            Fault::Lasting(
                "the answer lacks X-Repo-Commit, ETag or length, so it is not the Hub's (hint: is there a proxy or a \
                 login page in between? Is HF_ENDPOINT right?)"
                    .into(),
            )
        };
        let (Some(commit), Some(etag)) = (commit, etag) else { return Err(lacks()) };
        let hostile = |header: &str| Fault::Lasting(format!("the answer's {header} is malformed, and was refused"));
        if !names::is_commit(&commit) || (names::is_commit(&file.revision) && commit != file.revision) {
            return Err(hostile("X-Repo-Commit"));
        }
        let etag = Etag::parse(&etag).ok_or_else(|| hostile("ETag"))?;
        let size = match size {
            Some(size) => size,
            None => self.length(file, &url)?.ok_or_else(lacks)?,
        };
        Ok(Metadata { commit, etag, size: size.parse().map_err(|_| hostile("length"))? })
    }

    /// The length that a GET announces, for mirrors that leave it out of the answer to HEAD. The body is not read.
    fn length(&self, file: &RemoteFile, url: &Url) -> Result<Option<String>, Fault> {
        let response = self.follow("GET", url, None, |_, _| false)?;
        if !response.status().is_success() {
            return Err(self.refusal(&response, Asked::file(file)));
        }
        Ok(response.headers().get("content-length").and_then(|l| l.to_str().ok()).map(String::from))
    }

    /// Asks for what lies at `url`, from byte `start` on; follows redirects until `enough`. Whatever status comes is an
    /// answer.
    pub fn follow(
        &self,
        method: &str,
        url: &Url,
        start: Option<u64>,
        mut enough: impl FnMut(&Url, &Response<Body>) -> bool,
    ) -> Result<Response<Body>, Fault> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(method, &url, start)?;
            let redirects = [301, 302, 303, 307, 308].contains(&response.status().as_u16());
            if enough(&url, &response) || !redirects {
                return Ok(response);
            }
            let location = response.headers().get("location").and_then(|l| l.to_str().ok());
            url = location.and_then(|l| url.join(l)).ok_or_else(|| {
                Fault::Lasting("it redirects to nowhere, or from https to http, which was refused".into())
            })?;
        }
        Err(Fault::Lasting(format!("more than {MOST_REDIRECTS} redirects")))
    }

    fn send(&self, method: &str, url: &Url, start: Option<u64>) -> Result<Response<Body>, Fault> {
        let head = method == "HEAD";
        let mut request = if head { self.agent.head(url.text()) } else { self.agent.get(url.text()) };
        if let Some(start) = start {
            request = request.header("Range", format!("bytes={start}-"));
        }
        let ours = Url::parse(&self.settings.endpoint).is_some_and(|e| e.origin == url.origin);
        if let Some(token) = self.settings.token.as_ref().filter(|_| ours) {
            request = request.header("Authorization", token.bearer());
        }
        let patience = if head { self.settings.metadata_timeout } else { self.settings.read_timeout };
        let answer = request.config().timeout_recv_response(Some(patience)).build().call();
        answer.map_err(|e| match e {
            // a header that cannot be sent can only be the token; the error would show it
            ureq::Error::Http(_) if ours && self.settings.token.is_some() => {
                Fault::Lasting("the token has characters that no header holds (hint: HF_TOKEN)".into())
            }
            e => self.unanswered(&url.origin, e),
        })
    }

    /// What it means that no answer came.
    fn unanswered(&self, host: &str, error: ureq::Error) -> Fault {
        // a server may have put the token into the name of the host that it redirects to, and a certificate's error names it
        let said = |text: String| self.settings.token.as_ref().map_or(text.clone(), |t| t.hidden_in(&text));
        match error {
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => Fault::Lasting(said(format!("{host}: no URL to ask"))),
            ureq::Error::Io(e) if e.kind() == ErrorKind::InvalidData && e.to_string().contains("certificate") => {
                let hint = "the usual public authorities are trusted and no others; behind a proxy that signs with its \
                            own, fetch on another network, or take a mirror by HF_ENDPOINT";
                Fault::Lasting(said(format!("{host}: {e} (hint: {hint})")))
            }
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Fault::Lasting(said(format!("{host}: {error}"))),
            e => Fault::Passing(said(format!("{host}: {e}")), None),
        }
    }

    /// What a status that is no success means, and what to do. Nothing that the server wrote is shown.
    pub fn refusal(&self, response: &Response<Body>, asked: Asked) -> Fault {
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let Asked { kind, repository, revision, path } = asked;
        let page = format!("{}{}", self.settings.endpoint, names::repository_path(kind, repository));
        let token = self.settings.token.is_some();
        let status = response.status().as_u16();
        Fault::Lasting(match (status, header("x-error-code")) {
            (408 | 429 | 500..=599, _) => {
                let why = response.status().canonical_reason().unwrap_or("an error");
                let after = wait_asked(header("ratelimit"), header("retry-after"));
                return Fault::Passing(format!("{status} {why}"), after);
            }
            (_, "GatedRepo") if token => format!(
                "{repository} is gated, and the token has no access (hint: accept its terms at {page}; some owners then \
                 have to approve)"
            ),
            (_, "GatedRepo") => {
                format!("{repository} is gated (hint: accept its terms at {page}, then set HF_TOKEN to your token)")
            }
            (_, "RevisionNotFound") => {
                format!("{repository} has no revision `{revision}` (hint: {page}/commits lists them)")
            }
            (_, "EntryNotFound") => {
                format!("{repository} has no `{}` at `{revision}` (hint: see {page}/tree/main)", path.unwrap_or("/"))
            }
            (401, "") if token => "the token was refused (hint: check HF_TOKEN, or log in anew)".into(),
            (_, "RepoNotFound") | (401, _) if token => {
                format!(
                    "no repository {repository}, or a private one that the token may not read (hint: check the name)"
                )
            }
            (_, "RepoNotFound") | (401, _) => format!(
                "no repository {repository}, or a private one (hint: check the name; for a private one set HF_TOKEN)"
            ),
            (403, _) => format!("403 Forbidden (hint: what may HF_TOKEN read? See {page})"),
            (404, _) => "404 Not Found (hint: is HF_ENDPOINT right?)".into(),
            (status, _) => format!("unexpected status {status}"),
        })
    }

    /// Tries until it works, lasts, or has been tried often enough. `tell` hears why it is tried again, and when. A try after
    /// which `there` are so many more bytes as never before ([`PROGRESS`]) is none of those that count.
    pub fn retried<T>(
        &self,
        what: &str,
        tell: impl Fn(&str),
        there: impl Fn() -> u64,
        mut attempt: impl FnMut() -> Result<T, Fault>,
    ) -> Result<T> {
        let (tries, longest) = (self.settings.tries.max(1), self.settings.longest_wait);
        let (mut wait, mut failed, mut most) = (self.settings.first_wait, 0, there());
        loop {
            let (why, after) = match attempt() {
                Ok(value) => return Ok(value),
                Err(Fault::Ours(error)) => return Err(error),
                Err(Fault::Lasting(why)) => return Err(Error::Hub(format!("{what}: {why}"))),
                Err(Fault::Passing(why, after)) => (why, after),
            };
            failed += 1;
            if there() >= most + PROGRESS {
                (most, failed, wait) = (there(), 0, self.settings.first_wait);
            }
            if failed >= tries {
                return Err(Error::Hub(format!(
                    "{what}: {why}; given up after {tries} tries (hint: try again later; with HF_HUB_OFFLINE=1 only the \
                     cache is used)"
                )));
            }
            let pause = after.unwrap_or(wait).min(longest);
            tell(&format!("{what}: {why}; trying again in {:.1} s ({failed} of {tries})", pause.as_secs_f64()));
            std::thread::sleep(pause);
            wait = (wait * 2).min(longest);
        }
    }
}

/// Bytes by which a broken transfer must have come on for its try not to count.
const PROGRESS: u64 = 1 << 20;

/// The wait that a server asks for: that of the Hub's own `RateLimit: "api";r=0;t=55` (no requests left for 55 s), else
/// Retry-After in seconds. Its form with a date is not used, as Python does not.
fn wait_asked(rate_limit: &str, retry_after: &str) -> Option<Duration> {
    let value = |name: &str| {
        let mut values = rate_limit.split([';', ',']).filter_map(|part| part.split_once('='));
        values.find(|(n, _)| n.trim() == name)?.1.trim().parse::<u64>().ok()
    };
    let none_left = value("t").filter(|_| value("r") == Some(0));
    none_left.or_else(|| retry_after.trim().parse().ok()).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::settings::Token;

    #[test]
    fn the_wait_asked_for_is_the_hubs_own_else_retry_after() {
        for (rate_limit, retry_after, wait) in [
            ("", "12", Some(12)),
            ("\"api\";r=0;t=55", "", Some(55)),
            ("\"api\"; r = 0; t = 55", "12", Some(55)),
            ("\"api\";r=3;t=55", "12", Some(12)),
            ("\"api\";r=3;t=55", "", None),
            ("\"api\";r=0;t=-1", "", None),
            ("r=0", "", None),
            ("", "-1", None),
            ("", "Sun, 06 Nov 1994 08:49:37 GMT", None),
            ("", "99999999999999999999", None),
        ] {
            assert_eq!(
                wait_asked(rate_limit, retry_after),
                wait.map(Duration::from_secs),
                "{rate_limit} {retry_after}"
            );
        }
    }

    #[test]
    fn a_bad_certificate_lasts_and_shows_no_token() {
        let token = Token::new("hf_Marker");
        let wire = Wire::new(Settings { token, ..Settings::from_vars(|_| None, |_| None) });
        let io = |kind, text: &str| ureq::Error::Io(std::io::Error::new(kind, text));
        let text = "invalid peer certificate: certificate not valid for name \"HF_marker.example\"";
        match wire.unanswered("https://hf_marker.example", io(ErrorKind::InvalidData, text)) {
            Fault::Lasting(why) => {
                assert!(why.contains("HF_ENDPOINT") && why.contains("https://***.example: invalid peer"), "{why}");
                assert!(!why.to_lowercase().contains("hf_marker"), "{why}");
            }
            _ => panic!("not lasting"),
        }
        let cut = wire.unanswered("https://x", io(ErrorKind::UnexpectedEof, "the certificate was cut off"));
        assert!(matches!(cut, Fault::Passing(..)));
    }
}
