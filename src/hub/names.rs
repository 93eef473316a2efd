//! Names that come from outside, a sweep or a server, and become part of a path or of a URL: checked before they do.

use super::file::{Kind, RemoteFile};
use crate::error::{Error, Result};

/// What names a blob: the SHA-256 of an LFS file (64 digits), or the SHA-1 that git gives a plain one (40).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(String);

impl Etag {
    /// From a header, with or without quotes and `W/`; `None` if it is anything else than such a hash.
    pub fn parse(text: &str) -> Option<Etag> {
        let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        (is_hex(text) && [40, 64].contains(&text.len())).then(|| Etag(text.to_string()))
    }

    /// Its digits.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is a SHA-256.
    pub fn is_sha256(&self) -> bool {
        self.0.len() == 64
    }
}

/// Whether this is a commit: 40 lower-case hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Refuses a file whose names could lead out of the cache or out of its repository.
pub fn check(file: &RemoteFile) -> Result<()> {
    check_repository(&file.repository)?;
    check_revision(&file.revision)?;
    check_path(&file.path)?;
    match &file.sha256 {
        Some(pin) if pin.len() != 64 || !pin.bytes().all(|b| b.is_ascii_hexdigit()) => Err(Error::Hub(format!(
            "{pin:?}, the SHA-256 of {}, is not 64 hexadecimal digits (hint: `sha256sum FILE` prints them)",
            file.path
        ))),
        _ => Ok(()),
    }
}

/// `owner/name`, or a bare `name` as some old repositories have; the rule of the Hub's own `validate_repo_id`.
pub fn check_repository(name: &str) -> Result<()> {
    let part = |p: &str| {
        (1..=96).contains(&p.len())
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !p.starts_with(['-', '.'])
            && !p.ends_with(['-', '.'])
            && !p.contains("--")
            && !p.contains("..")
    };
    let sound = name.split('/').count() <= 2 && name.split('/').all(part);
    if sound { Ok(()) } else { Err(Error::Hub(format!("{name:?} is no name of a repository (hint: `owner/name`)"))) }
}

/// A commit, branch or tag.
pub fn check_revision(name: &str) -> Result<()> {
    if is_relative(name) {
        Ok(())
    } else {
        Err(Error::Hub(format!("{name:?} is no revision of a repository (hint: a commit, a branch or a tag)")))
    }
}

/// A path inside a repository.
pub fn check_path(path: &str) -> Result<()> {
    if is_relative(path) {
        Ok(())
    } else {
        Err(Error::Hub(format!("{path:?} is no path of a file in a repository (hint: as \"data/test.parquet\")")))
    }
}

/// Whether joining this to a folder stays below it, and names what it says, on every operating system: some drop dots and
/// blanks at an end.
fn is_relative(path: &str) -> bool {
    let part = |p: &str| (1..=255).contains(&p.len()) && !p.ends_with(['.', ' ']);
    path.len() <= 1024 && path.split('/').all(part) && !path.chars().any(|c| c.is_control() || c == '\\' || c == ':')
}

/// Path of the repository on the endpoint, as in `/datasets/owner/name`.
pub fn repository_path(kind: Kind, repository: &str) -> String {
    match kind {
        Kind::Model => format!("/{repository}"),
        Kind::Dataset => format!("/datasets/{repository}"),
    }
}

/// Path of the file on the endpoint, as in `/owner/name/resolve/main/model.safetensors`.
pub fn resolve_path(file: &RemoteFile, revision: &str) -> String {
    let repository = repository_path(file.kind, &file.repository);
    format!("{repository}/resolve/{}/{}", encode(revision, false), encode(&file.path, true))
}

/// Percent-encoded but for the unreserved characters of RFC 3986, and `/` if asked.
pub fn encode(text: &str, slashes: bool) -> String {
    let mut url = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || (slashes && b == b'/') {
            url.push(char::from(b));
        } else {
            url.push_str(&format!("%{b:02X}"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_hashes_or_refused() {
        let (sha1, sha256) = ("0123456789abcdef".repeat(3)[..40].to_string(), "0123456789abcdef".repeat(4));
        assert_eq!(Etag::parse(&format!("\"{sha256}\"")).unwrap().text(), sha256);
        assert_eq!(Etag::parse(&format!("W/\"{sha1}\"")).unwrap().text(), sha1);
        for bad in ["", "\"\"", "../../../../x", &sha1[1..], &sha256.to_uppercase(), &format!("{}/", &sha1[1..])] {
            assert_eq!(Etag::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_encoded_for_the_path_of_a_url() {
        assert_eq!(encode("a b/[c]+ü%.txt", true), "a%20b/%5Bc%5D%2B%C3%BC%25.txt");
        assert_eq!(encode("refs/convert/parquet", false), "refs%2Fconvert%2Fparquet");
    }

    #[test]
    fn real_names_pass() {
        for name in ["timm/vgg16.tv_in1k", "uoft-cs/cifar10", "gpt2", "edadaltocg/vgg16_bn_cifar10"] {
            check_repository(name).unwrap();
        }
        for name in ["main", "v1.0", "refs/convert/parquet", "0123456789abcdef0123456789abcdef01234567"] {
            check_revision(name).unwrap();
        }
        for path in ["model.safetensors", "plain_text/train-00000-of-00001.parquet", "a [b]/ü c.txt", "..a/..b", ".x"]
        {
            check_path(path).unwrap();
        }
        for path in [".", "..", "a.", "a /b", "a/b. ", "a/.../b", "a/ "] {
            assert!(check_path(path).is_err() && check_revision(path).is_err(), "{path}");
        }
    }
}
