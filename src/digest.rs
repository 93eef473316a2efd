//! SHA-256, and the seal that lets a JSON file notice that one of its own bytes was changed.

use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&sha256_bytes(bytes))
}

/// SHA-256 of these parts, one after the other.
pub fn sha256_of(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hex(&hasher.finalize())
}

/// A stream that is hashed while it is read.
pub struct Hashed<R> {
    from: R,
    hasher: Sha256,
    length: u64,
}

impl<R: Read> Hashed<R> {
    /// Nothing is read yet.
    pub fn new(from: R) -> Hashed<R> {
        Hashed { from, hasher: Sha256::new(), length: 0 }
    }

    /// Number of bytes read, and their SHA-256.
    pub fn finish(self) -> (u64, String) {
        (self.length, hex(&self.hasher.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(into)?;
        self.hasher.update(&into[..n]);
        self.length += n as u64;
        Ok(n)
    }
}

/// SHA-256 of `bytes` as 32 bytes.
pub fn sha256_bytes(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Last member of a sealed JSON object, up to the digest.
const SEAL: &str = ",\n  \"seal\": \"";

/// Adds a last member `seal` to a pretty-printed JSON object: the SHA-256 of the text before it.
pub fn seal(object: &str) -> String {
    let body = object.trim_end().strip_suffix("\n}").expect("a pretty-printed JSON object");
    format!("{body}{SEAL}{}\"\n}}\n", sha256(body.as_bytes()))
}

/// Whether `text` is exactly what [`seal`] wrote: any changed byte, in the seal too, says no.
pub fn is_sealed(text: &str) -> bool {
    place_of_seal(text).is_some()
}

/// A sealed object without its seal; `None` where that does not fit. No second copy is made: the plan of a large run is long.
pub fn unsealed(mut text: String) -> Option<String> {
    let at = place_of_seal(&text)?;
    text.truncate(at);
    text.push_str("\n}");
    Some(text)
}

/// Where the seal begins, if it is the right one.
fn place_of_seal(text: &str) -> Option<usize> {
    let at = text.rfind(SEAL)?;
    (text[at + SEAL.len()..] == format!("{}\"\n}}\n", sha256(&text.as_bytes()[..at]))).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc_is_the_value_in_fips_180() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn parts_have_the_digest_of_the_whole() {
        assert_eq!(sha256_of(&[b"a", b"", b"bc"]), sha256(b"abc"));
    }

    #[test]
    fn a_stream_has_the_digest_of_its_bytes() {
        let mut stream = Hashed::new(&b"abc"[..]);
        io::copy(&mut stream, &mut io::sink()).unwrap();
        assert_eq!(stream.finish(), (3, sha256(b"abc")));
    }

    #[test]
    fn a_seal_notices_every_changed_byte() {
        let sealed = seal("{\n  \"a\": 1\n}");
        assert!(is_sealed(&sealed));
        assert_eq!(unsealed(sealed.clone()).as_deref(), Some("{\n  \"a\": 1\n}"));
        for i in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[i] ^= 1;
            assert!(!String::from_utf8(bytes).is_ok_and(|t| is_sealed(&t)), "byte {i}");
        }
    }
}
