//! Height and width of images and maps, `[height, width]`, in words. Where both are equal it is one number, as before images
//! that are no squares were known: so what was stored then reads, and is written, as it was.

/// `32`, or `224x192`.
pub fn text([height, width]: [usize; 2]) -> String {
    if height == width { height.to_string() } else { format!("{height}x{width}") }
}

/// As descriptions name it: `side=32`, or `size=224x192`.
pub fn named(size: [usize; 2]) -> String {
    let key = if size[0] == size[1] { "side" } else { "size" };
    format!("{key}={}", text(size))
}

/// For people: `side 32`, or `size 224×192`.
pub fn in_words([height, width]: [usize; 2]) -> String {
    if height == width { format!("side {height}") } else { format!("size {height}×{width}") }
}

/// From [`text`].
pub fn parse(text: &str) -> Option<[usize; 2]> {
    match text.split_once('x') {
        Some((height, width)) => Some([height.parse().ok()?, width.parse().ok()?]).filter(|[h, w]| h != w),
        None => text.parse().ok().map(|side| [side; 2]),
    }
}

/// In records: a number, or a list of two.
pub mod number_or_pair {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    /// One number where both are equal.
    pub fn serialize<S: Serializer>(size: &[usize; 2], serializer: S) -> Result<S::Ok, S::Error> {
        if size[0] == size[1] { size[0].serialize(serializer) } else { size.serialize(serializer) }
    }

    /// Reads either.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; 2], D::Error> {
        let value = Value::deserialize(deserializer)?;
        let side = value.as_u64().map(|side| [side as usize; 2]);
        let pair = || <[usize; 2]>::deserialize(value).ok().filter(|[h, w]| h != w);
        side.or_else(pair).ok_or_else(|| D::Error::custom("expected a number, or two that differ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_is_one_number_and_reads_back() {
        for (size, expected) in [([32, 32], "32"), ([224, 192], "224x192"), ([1, 2], "1x2")] {
            assert_eq!(text(size), expected);
            assert_eq!(parse(expected), Some(size));
        }
        assert_eq!((named([32; 2]), named([224, 192])), ("side=32".into(), "size=224x192".into()));
        for other in ["", "x", "32x32", "32x", "3x2x1", "-1"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
