//! Requests: redirects that leave the token behind, tries that end, and what the Hub's refusals mean.

use super::names::{self, Etag};
use super::settings::Settings;
use super::url::Url;
use super::{Kind, RemoteFile};
use crate::error::{Error, Result};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
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
            commit.is_some() && etag.is_some() && size.is_some()
        })?;
        let status = response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(self.refusal(&response, Asked::file(file)));
        }
        let (Some(commit), Some(etag), Some(size)) = (commit, etag, size) else {
            return Err(Fault::Lasting(
                "the answer lacks X-Repo-Commit, ETag or length, so it is not the Hub's (hint: is there a proxy or a \
                 login page in between? Is HF_ENDPOINT right?)"
                    .into(),
            ));
        };
        let hostile = |header: &str| Fault::Lasting(format!("the answer's {header} is malformed, and was refused"));
        if !names::is_commit(&commit) || (names::is_commit(&file.revision) && commit != file.revision) {
            return Err(hostile("X-Repo-Commit"));
        }
        let etag = Etag::parse(&etag).ok_or_else(|| hostile("ETag"))?;
        Ok(Metadata { commit, etag, size: size.parse().map_err(|_| hostile("length"))? })
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
        // a server may have put the token into the name of the host that it redirects to
        let host = self.settings.token.as_ref().map_or(url.origin.clone(), |t| t.hidden_in(&url.origin));
        answer.map_err(|e| match e {
            // a header that cannot be sent can only be the token; the error would show it
            ureq::Error::Http(_) if ours && self.settings.token.is_some() => {
                Fault::Lasting("the token has characters that no header holds (hint: HF_TOKEN)".into())
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => Fault::Lasting(format!("{host}: no URL to ask")),
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Fault::Lasting(format!("{host}: {e}")),
            e => Fault::Passing(format!("{host}: {e}"), None),
        })
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
                let after = retry_after(header("retry-after"), SystemTime::now());
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

    /// Tries until it works, lasts, or has been tried often enough. `tell` hears why it is tried again, and when.
    pub fn retried<T>(
        &self,
        what: &str,
        tell: impl Fn(&str),
        mut attempt: impl FnMut() -> Result<T, Fault>,
    ) -> Result<T> {
        let (tries, longest) = (self.settings.tries.max(1), self.settings.longest_wait);
        let mut wait = self.settings.first_wait;
        for n in 1.. {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Fault::Ours(error)) => return Err(error),
                Err(Fault::Lasting(why)) => return Err(Error::Hub(format!("{what}: {why}"))),
                Err(Fault::Passing(why, _)) if n >= tries => {
                    return Err(Error::Hub(format!(
                        "{what}: {why}; given up after {tries} tries (hint: try again later; with HF_HUB_OFFLINE=1 only \
                         the cache is used)"
                    )));
                }
                Err(Fault::Passing(why, after)) => {
                    let pause = after.unwrap_or(wait).min(longest);
                    tell(&format!("{what}: {why}; trying again in {:.1} s ({n} of {tries})", pause.as_secs_f64()));
                    std::thread::sleep(pause);
                    wait = (wait * 2).min(longest);
                }
            }
        }
        unreachable!("the last try returns")
    }
}

/// The wait that Retry-After asks for: seconds, or a date of the form of RFC 9110.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = UNIX_EPOCH + Duration::from_secs(http_date(text)?);
    Some(until.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    let [_, day, month, year, time, "GMT"] = text.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let month = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).filter(|at| at % 3 == 0 && month.len() == 3)? / 3;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let [h, m, s] = time.split(':').map(|t| t.parse::<u64>().ok()).collect::<Vec<_>>()[..] else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || h? > 23 || m? > 59 || s? > 60 {
        return None;
    }
    let leap = |y: u64| u64::from(y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400)));
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = (1970..year).map(|y| 365 + leap(y)).sum::<u64>() + lengths[..month].iter().sum::<u64>() + day - 1;
    Some(days * 86_400 + h? * 3600 + m? * 60 + s?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let wait = |text: &str| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(wait("12"), Some(12));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        for text in
            ["", "-1", "soon", "Sun, 06 ovD 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT", "99999999999999999999"]
        {
            assert_eq!(wait(text), None, "{text}");
        }
    }
}
