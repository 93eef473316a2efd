//! What a weight file is, by its first bytes; what is none is named for what it is, with a way out.

/// A format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Of the Hub: <https://github.com/huggingface/safetensors#format>.
    Safetensors,
    /// What `torch.save` writes since PyTorch 1.6: a zip archive.
    PyTorch,
    /// What it wrote before: pickles one after the other.
    Legacy,
}

/// How to get a file that is read.
pub const CONVERT: &str = "hint: in Python, `torch.save(model.state_dict(), file)`, or save_file of safetensors.torch";

/// First bytes of what PyTorch wrote before 1.6: a pickle of protocol 2 that begins with a number of ten bytes.
pub const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// First bytes of files that people have in place of weights, what those are, and what to do.
const OTHERS: [(&[u8], &str, &str); 11] = [
    (b"version https://git-lfs.github.com/", "a pointer of git-lfs, in place of the file", "run `git lfs pull`"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it with gunzip"),
    (b"BZh", "compressed by bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it with unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip", "unpack it"),
    (b"PK\x05\x06", "a zip archive of nothing", "download it again"),
    (b"\x89HDF\r\n", "HDF5, as Keras writes it", "save the weights from PyTorch"),
    (b"GGUF", "GGUF, as llama.cpp reads it", "save the weights from PyTorch"),
    (b"\x93NUMPY", "an array of NumPy", "save a whole state dict, as safetensors"),
    (b"\x89PNG", "a picture", "name the weights"),
];

/// The format of a weight file.
///
/// # Errors
/// What the file is where it is of no format that is read, and what to do.
pub fn format_of(bytes: &[u8]) -> Result<Format, String> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Ok(Format::PyTorch);
    }
    if bytes.starts_with(LEGACY) {
        return Ok(Format::Legacy);
    }
    match mistaken(bytes) {
        Some(problem) => Err(problem),
        None => Ok(Format::Safetensors),
    }
}

/// What a file is that holds no weights, and what to do.
pub fn mistaken(bytes: &[u8]) -> Option<String> {
    if let Some(problem) = foreign(bytes) {
        return Some(problem);
    }
    if is_onnx(bytes) {
        return Some(
            "the file is ONNX, a whole network (hint: name it *.onnx, and leave `family` out of the model file)".into(),
        );
    }
    // the length of a safetensors header comes first, which begins with a brace
    match bytes.get(8) {
        Some(b'{') => None,
        _ => Some(format!("the file is neither safetensors nor what torch.save writes ({CONVERT})")),
    }
}

/// What a file is that is known, and has nothing to do with networks; and what to do.
pub fn foreign(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("the file is empty (hint: download it again)".into());
    }
    if let Some((_, what, hint)) = OTHERS.iter().find(|(first, ..)| bytes.starts_with(first)) {
        return Some(format!("the file is {what} (hint: {hint})"));
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some("the file is a tar archive (hint: unpack it, and name the weights in it)".into());
    }
    if let [0x80, 0..=5, ..] = bytes {
        return Some(format!("the file is a pickle that torch.save did not write ({CONVERT})"));
    }
    match text(bytes)? {
        text if text.starts_with('<') => Some(
            "the file is a page of the web, in place of the weights (hint: open its address in a browser, log in or agree to \
             its terms, and download the file itself)"
                .into(),
        ),
        text => {
            let begin: String = text.chars().take(40).collect();
            Some(format!("the file is a text, which begins with {begin:?} (hint: download the weights themselves)"))
        }
    }
}

/// Whether a file begins as ONNX does: with the version of the format, and then another field of a model.
pub fn is_onnx(bytes: &[u8]) -> bool {
    let begins = matches!(bytes, [0x08, 1..=0x20, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..]);
    // a safetensors file whose header has such a length
    begins && bytes.get(8) != Some(&b'{')
}

/// The beginning of a file of readable text, without what is blank before it.
fn text(bytes: &[u8]) -> Option<&str> {
    let begin = &bytes[..bytes.len().min(256)];
    let begin = begin.utf8_chunks().next().map(|chunk| chunk.valid()).filter(|valid| valid.len() + 4 > begin.len())?;
    let text = begin.trim_start_matches('\u{feff}').trim();
    (!text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_whitespace())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_for_what_it_is() {
        let mut tar = vec![0u8; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, expected) in [
            (&b""[..], "the file is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
            (b"<!DOCTYPE html>\n<html lang=\"de\">", "a page of the web"),
            (b"\n  <html>", "a page of the web"),
            ("\u{feff}<html>".as_bytes(), "a page of the web"),
            (b"Entry not found", "begins with \"Entry not found\""),
            (b"{\"error\": \"Repository not found\"}", "the file is a text"),
            (b"\x1f\x8b\x08\x00", "gunzip"),
            (&tar, "a tar archive"),
            (b"\x80\x04\x95\x00", "a pickle that torch.save did not write"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"\x08\x08\x12\x07pytorch", "the file is ONNX"),
            (b"\x00\x01\x02", "neither safetensors nor what torch.save writes"),
        ] {
            let problem = format_of(bytes).unwrap_err();
            assert!(problem.contains(expected) && problem.contains("hint: "), "{expected}\nin {problem}");
        }
        assert_eq!(format_of(b"PK\x03\x04"), Ok(Format::PyTorch));
        assert_eq!(format_of(b"\x08\0\0\0\0\0\0\0{}      "), Ok(Format::Safetensors));
    }
}
