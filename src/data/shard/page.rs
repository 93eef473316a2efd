//! The values of a page, decoded without trust.
//!
//! The `parquet` crate's own value readers panic on pages that are cut off or lie (`read_num_bytes` asserts its length,
//! indices without a dictionary are an `expect`), and allocate a dictionary of the size it claims. What tables of pictures
//! need of them is little.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::Page;
use std::ops::Range;

/// How a column stores its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Physical {
    /// Of any length.
    Bytes,
    /// So many bytes, a whole number, little endian.
    Integer(usize),
}

/// The values that a dictionary page lists.
pub fn dictionary(page: &Page, physical: Physical) -> Result<Vec<Bytes>, String> {
    let Page::DictionaryPage { buf, num_values, encoding, .. } = page else { return Err(CUT.into()) };
    if !matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY) {
        return Err(unknown(*encoding));
    }
    let (mut plain, mut values) = (Plain { bytes: buf, at: 0, physical }, Vec::new());
    for _ in 0..*num_values {
        values.push(buf.slice(plain.next().ok_or(CUT)?));
    }
    Ok(values)
}

/// The values of the rows `wanted` (rising, from the page's first) of a data page; `None`: there is none.
pub fn values(
    page: &Page,
    physical: Physical,
    max_level: i16,
    dictionary: Option<&[Bytes]>,
    wanted: &[usize],
) -> Result<Vec<Option<Bytes>>, String> {
    let (encoding, levels, from) = layout(page, max_level)?;
    let buffer = page.buffer();
    // a level a row: whether there is a value
    let mut levels = buffer.get(levels).map(|bytes| Hybrid::new(bytes, width(max_level))).ok_or(CUT)?;
    let bytes = buffer.get(from..).ok_or(CUT)?;
    let mut source = match encoding {
        Encoding::PLAIN => Source::Plain(Plain { bytes, at: 0, physical }),
        Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => {
            let (width, bytes) = bytes.split_first().filter(|(width, _)| **width <= 32).ok_or(CUT)?;
            Source::Indices(Hybrid::new(bytes, u32::from(*width)), dictionary.ok_or("a page without its dictionary")?)
        }
        other => return Err(unknown(other)),
    };
    let (mut found, mut wanted) = (Vec::with_capacity(wanted.len()), wanted.iter().peekable());
    let mut row = 0;
    while let Some(next) = wanted.peek() {
        let is_there = max_level == 0 || levels.next().ok_or(CUT)? == max_level as u32;
        let value = if is_there { Some(source.next().ok_or(CUT)?) } else { None };
        if **next == row {
            found.push(value.map(|value| match value {
                // copied, so that the page can go
                Value::At(range) => Bytes::copy_from_slice(&bytes[range]),
                Value::Of(value) => value.clone(),
            }));
            wanted.next();
        }
        row += 1;
    }
    Ok(found)
}

const CUT: &str = "a page is cut off or damaged";

fn unknown(encoding: Encoding) -> String {
    format!("values are encoded as {encoding} (hint: write it with plain or dictionary encoding)")
}

/// Bits of a level.
fn width(max_level: i16) -> u32 {
    i16::BITS - max_level.leading_zeros()
}

/// Encoding of a page's values, where its definition levels lie, and where its values begin. There are no repeated
/// columns here, so there are no repetition levels.
fn layout(page: &Page, max_level: i16) -> Result<(Encoding, Range<usize>, usize), String> {
    match page {
        Page::DataPage { encoding, .. } if max_level == 0 => Ok((*encoding, 0..0, 0)),
        Page::DataPage { buf, encoding, def_level_encoding: Encoding::RLE, .. } => {
            let length = buf.first_chunk::<4>().ok_or(CUT)?;
            let end = 4 + u32::from_le_bytes(*length) as usize;
            Ok((*encoding, 4..end, end))
        }
        Page::DataPage { def_level_encoding, .. } => Err(unknown(*def_level_encoding)),
        Page::DataPageV2 { encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let begin = *rep_levels_byte_len as usize;
            let end = begin + *def_levels_byte_len as usize;
            Ok((*encoding, begin..end, end))
        }
        Page::DictionaryPage { .. } => Err(CUT.into()),
    }
}

enum Source<'a> {
    Plain(Plain<'a>),
    Indices(Hybrid<'a>, &'a [Bytes]),
}

enum Value<'a> {
    At(Range<usize>),
    Of(&'a Bytes),
}

impl<'a> Source<'a> {
    fn next(&mut self) -> Option<Value<'a>> {
        match self {
            Source::Plain(plain) => plain.next().map(Value::At),
            Source::Indices(indices, dictionary) => dictionary.get(indices.next()? as usize).map(Value::Of),
        }
    }
}

/// One value after the other.
struct Plain<'a> {
    bytes: &'a [u8],
    at: usize,
    physical: Physical,
}

impl Plain<'_> {
    /// Where the next value lies; `None`: there is no whole one.
    fn next(&mut self) -> Option<Range<usize>> {
        let rest = self.bytes.get(self.at..)?;
        let (begin, length) = match self.physical {
            Physical::Integer(length) => (self.at, length),
            Physical::Bytes => (self.at + 4, u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize),
        };
        self.at = begin.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        Some(begin..self.at)
    }
}

/// Parquet's hybrid of repeated and bit-packed numbers.
struct Hybrid<'a> {
    bytes: &'a [u8],
    width: u32,
    run: Run<'a>,
}

enum Run<'a> {
    Repeated { value: u32, left: u64 },
    Packed { bytes: &'a [u8], next: u64, left: u64 },
}

impl<'a> Hybrid<'a> {
    fn new(bytes: &'a [u8], width: u32) -> Hybrid<'a> {
        Hybrid { bytes, width, run: Run::Repeated { value: 0, left: 0 } }
    }

    fn next(&mut self) -> Option<u32> {
        loop {
            match &mut self.run {
                Run::Repeated { value, left } if *left > 0 => {
                    *left -= 1;
                    return Some(*value);
                }
                Run::Packed { bytes, next, left } if *left > 0 => {
                    let bit = *next * u64::from(self.width);
                    (*next, *left) = (*next + 1, *left - 1);
                    return packed(bytes, bit, self.width);
                }
                _ => self.run = self.next_run()?,
            }
        }
    }

    fn next_run(&mut self) -> Option<Run<'a>> {
        let mut header = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            header |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let count = header >> 1;
        if header & 1 == 1 {
            // groups of eight; writers may cut off the last
            let bytes = self.take(usize::try_from(count * u64::from(self.width)).ok()?.min(self.bytes.len()))?;
            return Some(Run::Packed { bytes, next: 0, left: 8 * count });
        }
        let bytes = self.take(self.width.div_ceil(8) as usize)?;
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        (count > 0).then_some(Run::Repeated { value, left: count })
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(taken)
    }
}

/// The number of `width` bits (32 at most) that begins at `bit`, lowest bit first.
fn packed(bytes: &[u8], bit: u64, width: u32) -> Option<u32> {
    let first = usize::try_from(bit / 8).ok()?;
    let end = usize::try_from((bit + u64::from(width)).div_ceil(8)).ok()?;
    let window = bytes.get(first..end)?.iter().rev().fold(0u64, |window, byte| window << 8 | u64::from(*byte));
    Some((window >> (bit % 8) & ((1u64 << width) - 1)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hybrid_is_that_of_the_format() {
        // the example of parquet's Encodings.md: 0 to 7 in three bits each
        let packed = [0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        let mut hybrid = Hybrid::new(&packed, 3);
        assert_eq!(std::iter::from_fn(|| hybrid.next()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
        // five times 300 in nine bits, then nothing
        let mut hybrid = Hybrid::new(&[10, 0x2c, 0x01], 9);
        assert_eq!(std::iter::from_fn(|| hybrid.next()).collect::<Vec<_>>(), [300; 5]);
        // no bits at all: a dictionary of one value
        let mut hybrid = Hybrid::new(&[8], 0);
        assert_eq!(std::iter::from_fn(|| hybrid.next()).collect::<Vec<_>>(), [0; 4]);
        for damaged in [&[0x00][..], &[0x80], &[0x04], &[0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert_eq!(Hybrid::new(damaged, 17).next(), None, "{damaged:?}");
        }
    }

    #[test]
    fn plain_values_end_where_the_page_does() {
        let mut bytes = Plain { bytes: b"\x02\0\0\0ab\x03\0\0\0cd", at: 0, physical: Physical::Bytes };
        assert_eq!((bytes.next(), bytes.next(), bytes.next()), (Some(4..6), None, None));
        let mut numbers = Plain { bytes: &[0; 11], at: 0, physical: Physical::Integer(8) };
        assert_eq!((numbers.next(), numbers.next()), (Some(0..8), None));
    }
}
