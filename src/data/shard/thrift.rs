//! What a parquet file claims of itself, checked before the `parquet` crate reads it.
//!
//! The crate allocates what a footer or page header asks for, and follows nested groups by recursion: a file of 30 kB can
//! ask for gigabytes or overflow the stack (no `catch_unwind` holds that). So the claims are walked through here first.
//! They are written in thrift's compact protocol; field numbers are those of `parquet.thrift`.

/// Structures within structures: parquet's own go down to 6.
const MOST_DEPTH: usize = 16;
/// Groups within groups of a schema: an image is at the second.
const MOST_NESTED: usize = 32;
/// Elements of a list: columns, row groups, keys.
const MOST_ELEMENTS: u64 = 100_000;
/// Bytes of a page that are allocated on trust, and how many more for each byte that is there. Pictures are compressed
/// already; labels compress well, but are few.
const MOST_ON_TRUST: u64 = 4 << 20;
const MOST_RATIO: u64 = 32;
/// Neither a page nor a picture is larger.
const MOST_PAGE: u64 = 512 << 20;

/// Types of fields and elements.
const STRUCT: u8 = 12;
const LIST: u8 = 9;
const SET: u8 = 10;

/// Whether a footer (`FileMetaData`) is whole, and its lists and schema are of sizes that can be believed.
pub fn check_footer(bytes: &[u8]) -> Result<(), String> {
    let mut sound = true;
    let read = Thrift { rest: bytes }.fields(0, &mut |id, kind, thrift| match (id, kind) {
        (2, LIST) => Some({
            sound &= thrift.schema()?;
            true
        }),
        _ => Some(false),
    });
    match read {
        Some(()) if sound => Ok(()),
        Some(()) => {
            Err(format!("its schema is nested more than {MOST_NESTED} deep, or names columns that are not there"))
        }
        None => Err("its footer is damaged, or has lists longer than can be".into()),
    }
}

/// Whether a page header (`PageHeader`), which begins `bytes`, claims sizes that can be believed.
pub fn check_page(bytes: &[u8]) -> Result<(), String> {
    let (mut unpacked, mut packed) = (0, 0);
    let read = Thrift { rest: bytes }.fields(0, &mut |id, kind, thrift| {
        let size = match (id, kind) {
            (2, 5) => &mut unpacked,
            (3, 5) => &mut packed,
            _ => return Some(false),
        };
        *size = u64::try_from(thrift.integer()?).ok()?.max(*size);
        Some(true)
    });
    match read {
        None => Err("a page header is damaged".into()),
        Some(()) if unpacked > MOST_PAGE.min(MOST_ON_TRUST + MOST_RATIO * packed) => {
            Err(format!("a page of {packed} bytes claims to become {unpacked}: more than is believed"))
        }
        Some(()) => Ok(()),
    }
}

/// Bytes that are still to be read. `None`: they end, or make no sense.
struct Thrift<'a> {
    rest: &'a [u8],
}

/// Reads a field, or says that it is to be passed over.
type Visit<'v, 'a> = &'v mut dyn FnMut(i16, u8, &mut Thrift<'a>) -> Option<bool>;

impl<'a> Thrift<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    /// Seven bits a byte, the lowest first.
    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Zigzag: 0, -1, 1, -2, …
    fn integer(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The fields of a structure, up to its end.
    fn fields(&mut self, depth: usize, visit: Visit<'_, 'a>) -> Option<()> {
        let mut id: i16 = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => self.integer()?.try_into().ok()?,
                step => id.checked_add(i16::from(step))?,
            };
            if !visit(id, head & 0xf, self)? {
                self.skip(head & 0xf, depth, false)?;
            }
        }
    }

    /// Number and type of a list's elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.unsigned()? } else { u64::from(head >> 4) };
        (count <= MOST_ELEMENTS).then_some((count, head & 0xf))
    }

    fn skip(&mut self, kind: u8, depth: usize, in_list: bool) -> Option<()> {
        if depth > MOST_DEPTH {
            return None;
        }
        match kind {
            1 | 2 if !in_list => Some(()), // a truth value is its own type
            1..=3 => self.pass(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.pass(8),
            8 => self.unsigned().and_then(|length| self.pass(length)),
            LIST | SET => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.skip(kind, depth + 1, true))
            }
            STRUCT => self.fields(depth + 1, &mut |_, _, _| Some(false)),
            _ => None, // maps do not occur in parquet
        }
    }

    /// Walks the schema, a tree as a list: each element says how many of the next are below it.
    fn schema(&mut self) -> Option<bool> {
        let (count, kind) = self.list()?;
        let mut open: Vec<u64> = Vec::new();
        for left in (0..count).rev() {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(siblings) = open.last_mut() {
                *siblings -= 1;
            }
            let mut children = 0;
            if kind != STRUCT {
                return Some(false);
            }
            self.fields(1, &mut |id, kind, thrift| match (id, kind) {
                (5, 5) => Some({
                    children = u64::try_from(thrift.integer()?).ok()?;
                    true
                }),
                _ => Some(false),
            })?;
            if children > left || open.len() > MOST_NESTED {
                return Some(false);
            }
            open.push(children);
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer whose schema is this chain: each element has so many children.
    fn footer(children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x15, 0x02]; // field 1, a number
        bytes.extend([0x19, 0xfc]); // field 2, a long list of structures
        let mut count = children.len();
        while count >= 0x80 {
            bytes.push(count as u8 | 0x80);
            count >>= 7;
        }
        bytes.push(count as u8);
        for n in children {
            bytes.extend([0x55, 2 * n, 0]); // field 5, a number; the end
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn a_schema_is_held_to_what_is_there() {
        assert_eq!(check_footer(&footer(&[2, 0, 1, 0])), Ok(()));
        assert!(check_footer(&footer(&[3, 0, 0])).unwrap_err().contains("not there"));
        assert_eq!(check_footer(&footer(&[[1; 31].as_slice(), &[0]].concat())), Ok(()));
        // 100,000 groups in one another
        assert!(check_footer(&footer(&[[1; 99_999].as_slice(), &[0]].concat())).unwrap_err().contains("deep"));
        let whole = footer(&[1, 0]);
        for cut in 0..whole.len() {
            assert!(check_footer(&whole[..cut]).unwrap_err().contains("damaged"), "{cut}");
        }
        // a list of 2^32 elements
        assert!(check_footer(&[0x49, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }

    #[test]
    fn a_page_is_held_to_what_it_is_made_of() {
        let header = |unpacked: u64, packed: u64| {
            let mut bytes = vec![0x15, 0x00];
            for size in [unpacked, packed] {
                bytes.push(0x15);
                let mut size = 2 * size;
                while size >= 0x80 {
                    bytes.push(size as u8 | 0x80);
                    size >>= 7;
                }
                bytes.push(size as u8);
            }
            bytes.push(0);
            bytes
        };
        assert_eq!(check_page(&header(1 << 20, 9)), Ok(()));
        assert_eq!(check_page(&header(400 << 20, 300 << 20)), Ok(()));
        assert!(check_page(&header((1 << 31) - 1, 100)).unwrap_err().contains("more than is believed"));
        assert!(check_page(&header(600 << 20, 600 << 20)).is_err());
        assert!(check_page(&[0x15]).is_err());
    }
}
