//! What a parquet file claims of itself, checked before the `parquet` crate reads it.
//!
//! The crate allocates what a footer or page header asks for, and follows nested groups by recursion: a file of 30 kB can
//! ask for gigabytes or overflow the stack (no `catch_unwind` holds that). So the claims are walked through here first.
//! They are written in thrift's compact protocol; field numbers are those of `parquet.thrift`.
//!
//! The crate reads a field that it knows by its number alone, whatever type the file gives it, and of two it keeps the
//! last. So that both read the same bytes, each field that it knows must be of its type ([`Is`]) and come once.

/// Structures within structures: parquet's own go down to 6.
const MOST_DEPTH: usize = 16;
/// Groups within groups of a schema: an image is at the second.
const MOST_NESTED: usize = 32;
/// Columns and groups of a schema, and bytes of a name: the crate keeps with each column the names of all groups above.
const MOST_COLUMNS: u64 = 1000;
const MOST_NAME: i64 = 1 << 10;
/// Elements of any other list: row groups, keys.
const MOST_ELEMENTS: u64 = 100_000;
/// Bytes of a page that are allocated on trust, and how many more for each byte that is there. Pictures are compressed
/// already; labels compress well, but are few.
const MOST_ON_TRUST: i64 = 4 << 20;
const MOST_RATIO: i64 = 32;
/// Neither a page nor a picture is larger.
const MOST_PAGE: i64 = 512 << 20;

/// Types of fields and elements.
const STRUCT: u8 = 12;
const LIST: u8 = 9;
const SET: u8 = 10;

/// What a field must be.
#[derive(Clone, Copy)]
enum Is {
    Truth,
    Byte,
    Short,
    Int,
    Long,
    Double,
    Bytes,
    One(Known),
    Many(&'static Is),
    /// The list of [`ELEMENT`]s.
    Schema,
}

/// Fields of a structure that the crate knows, by number.
type Known = &'static [(i16, Is)];

use Is::{Byte, Bytes, Double, Int, Long, Many, One, Schema, Short, Truth};

const NOTHING: Known = &[];

/// `FileMetaData`.
const FOOTER: Known = &[
    (1, Int),
    (2, Schema),
    (3, Long),
    (4, Many(&One(ROW_GROUP))),
    (5, Many(&One(&[(1, Bytes), (2, Bytes)]))), // keys and values
    (6, Bytes),
    (7, Many(&One(&[(1, One(NOTHING)), (2, One(NOTHING)), (3, One(NOTHING))]))), // orders of columns
];

/// `SchemaElement`.
const ELEMENT: Known = &[
    (1, Int),
    (2, Int),
    (3, Int),
    (NAME, Bytes),
    (CHILDREN, Int),
    (6, Int),
    (7, Int),
    (8, Int),
    (9, Int),
    (10, One(LOGICAL_TYPE)),
];
const NAME: i16 = 4;
const CHILDREN: i16 = 5;

const LOGICAL_TYPE: Known = &[
    (1, One(NOTHING)),
    (2, One(NOTHING)),
    (3, One(NOTHING)),
    (4, One(NOTHING)),
    (5, One(&[(1, Int), (2, Int)])), // decimal
    (6, One(NOTHING)),
    (7, One(TIME)),
    (8, One(TIME)),
    (10, One(&[(1, Byte), (2, Truth)])), // integer
    (11, One(NOTHING)),
    (12, One(NOTHING)),
    (13, One(NOTHING)),
    (14, One(NOTHING)),
    (15, One(NOTHING)),
    (16, One(&[(1, Byte)])),            // variant
    (17, One(&[(1, Bytes)])),           // geometry
    (18, One(&[(1, Bytes), (2, Int)])), // geography
    (19, One(NOTHING)),
];
const TIME: Known = &[(1, Truth), (2, One(&[(1, One(NOTHING)), (2, One(NOTHING)), (3, One(NOTHING))]))];

const ROW_GROUP: Known = &[
    (1, Many(&One(CHUNK))),
    (2, Long),
    (3, Long),
    (4, Many(&One(&[(1, Int), (2, Truth), (3, Truth)]))), // columns that it is sorted by
    (5, Long),
    (6, Long),
    (7, Short),
];

/// `ColumnChunk`.
const CHUNK: Known = &[(1, Bytes), (2, Long), (3, One(COLUMN)), (4, Long), (5, Int), (6, Long), (7, Int)];

/// `ColumnMetaData`.
const COLUMN: Known = &[
    (1, Int),
    (2, Many(&Int)),
    (3, Many(&Bytes)),
    (4, Int),
    (5, Long),
    (6, Long),
    (7, Long),
    (9, Long),
    (10, Long),
    (11, Long),
    (12, One(STATISTICS)),
    (13, Many(&One(&[(1, Int), (2, Int), (3, Int)]))), // encodings of its pages
    (14, Long),
    (15, Int),
    (16, One(&[(1, Long), (2, Many(&Long)), (3, Many(&Long))])), // sizes
    (17, One(&[(1, One(BOX)), (2, Many(&Int))])),                // places on earth
];
const BOX: Known =
    &[(1, Double), (2, Double), (3, Double), (4, Double), (5, Double), (6, Double), (7, Double), (8, Double)];
const STATISTICS: Known =
    &[(1, Bytes), (2, Bytes), (3, Long), (4, Long), (5, Bytes), (6, Bytes), (7, Truth), (8, Truth), (9, Long)];

/// `PageHeader`.
const PAGE: Known = &[
    (1, Int),
    (UNPACKED, Int),
    (PACKED, Int),
    (4, Int),
    (5, One(&[(1, Int), (2, Int), (3, Int), (4, Int), (5, One(STATISTICS))])), // of data
    (6, One(NOTHING)),
    (7, One(&[(1, Int), (2, Int), (3, Truth)])), // of a dictionary
    (8, One(&[(1, Int), (2, Int), (3, Int), (4, Int), (5, Int), (6, Int), (7, Truth), (8, One(STATISTICS))])), // of data, 2
];
const UNPACKED: i16 = 2;
const PACKED: i16 = 3;

impl Is {
    /// Whether that is this type of the compact protocol.
    fn is(self, kind: u8) -> bool {
        match self {
            Truth => kind == 1 || kind == 2,
            Byte => kind == 3,
            Short => kind == 4,
            Int => kind == 5,
            Long => kind == 6,
            Double => kind == 7,
            Bytes => kind == 8,
            One(_) => kind == STRUCT,
            Many(_) | Schema => kind == LIST,
        }
    }
}

/// What is wrong.
type Read<T> = Result<T, &'static str>;

const DAMAGED: &str = "is damaged: it ends early, or has fields or lists as none has";
const NESTED: &str = "has a schema that is nested more than 32 deep, or names columns that are not there";
const WIDE: &str = "has a schema of more than 1000 columns, or names in it longer than 1024 bytes";

/// Whether a footer (`FileMetaData`) is whole, and its lists and schema are of sizes that can be believed.
pub fn check_footer(bytes: &[u8]) -> Result<(), String> {
    Thrift { rest: bytes }.fields(FOOTER, 0, &mut |_, _| ()).map_err(|problem| format!("its footer {problem}"))
}

/// Whether a page header (`PageHeader`), which begins `bytes`, claims sizes that can be believed.
pub fn check_page(bytes: &[u8]) -> Result<(), String> {
    let (mut unpacked, mut packed) = (0, 0);
    let read = Thrift { rest: bytes }.fields(PAGE, 0, &mut |id, value| match id {
        UNPACKED => unpacked = value,
        PACKED => packed = value,
        _ => (),
    });
    read.map_err(|problem| format!("a page header {problem}"))?;
    if unpacked < 0 || packed < 0 {
        return Err("a page header is damaged: a size is negative".into());
    }
    match unpacked > MOST_PAGE.min(MOST_ON_TRUST + MOST_RATIO * packed) {
        true => Err(format!("a page of {packed} bytes claims to become {unpacked}: more than is believed")),
        false => Ok(()),
    }
}

/// Bytes that are still to be read.
struct Thrift<'a> {
    rest: &'a [u8],
}

impl Thrift<'_> {
    fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.rest.split_first().ok_or(DAMAGED)?;
        self.rest = rest;
        Ok(*first)
    }

    fn pass(&mut self, bytes: u64) -> Read<()> {
        self.rest = usize::try_from(bytes).ok().and_then(|bytes| self.rest.get(bytes..)).ok_or(DAMAGED)?;
        Ok(())
    }

    /// Seven bits a byte, the lowest first.
    fn unsigned(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DAMAGED)
    }

    /// Zigzag: 0, -1, 1, -2, … The crate drops the bits that are too many for the type; here it is damage.
    fn integer<T: TryFrom<i64>>(&mut self) -> Read<T> {
        let value = self.unsigned()?;
        T::try_from((value >> 1) as i64 ^ -((value & 1) as i64)).map_err(|_| DAMAGED)
    }

    /// The fields of a structure, up to its end. `see` gets number and value ([`Thrift::value`]) of the known ones.
    fn fields(&mut self, known: Known, depth: usize, see: &mut dyn FnMut(i16, i64)) -> Read<()> {
        let (mut id, mut seen) = (0i16, 0u32);
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.integer()?,
                step => id.checked_add(i16::from(step)).ok_or(DAMAGED)?,
            };
            let Some((_, is)) = known.iter().find(|(known, _)| *known == id) else {
                self.skip(head & 0xf, depth)?;
                continue;
            };
            if !is.is(head & 0xf) || seen >> id & 1 == 1 {
                return Err(DAMAGED);
            }
            seen |= 1 << id;
            see(id, self.value(*is, depth)?);
        }
    }

    /// A known field or element: a number is its value, bytes are their count, all else is 0.
    fn value(&mut self, is: Is, depth: usize) -> Read<i64> {
        match is {
            Truth => {} // its own type
            Byte => self.pass(1)?,
            Short => return self.integer::<i16>().map(i64::from),
            Int => return self.integer::<i32>().map(i64::from),
            Long => return self.integer(),
            Double => self.pass(8)?,
            Bytes => {
                let length = self.unsigned()?;
                self.pass(length)?;
                return i64::try_from(length).map_err(|_| DAMAGED);
            }
            One(known) => self.fields(known, depth + 1, &mut |_, _| ())?,
            Many(of) => {
                let (count, kind) = self.list()?;
                if count > 0 && !of.is(kind) {
                    return Err(DAMAGED);
                }
                for _ in 0..count {
                    self.value(*of, depth + 1)?;
                }
            }
            Schema => self.schema()?,
        }
        Ok(0)
    }

    /// Number and type of a list's elements.
    fn list(&mut self) -> Read<(u64, u8)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.unsigned()? } else { u64::from(head >> 4) };
        if count > MOST_ELEMENTS { Err(DAMAGED) } else { Ok((count, head & 0xf)) }
    }

    /// A field or element that the crate does not know, and passes over by its type.
    fn skip(&mut self, kind: u8, depth: usize) -> Read<()> {
        if depth > MOST_DEPTH {
            return Err(DAMAGED);
        }
        match kind {
            1 | 2 => Ok(()), // a truth value is its own type
            3 => self.pass(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.pass(8),
            8 => self.unsigned().and_then(|length| self.pass(length)),
            LIST | SET => {
                // a truth value in a list takes a byte, but the crate passes over none
                let (count, of) = self.list()?;
                if count > 0 && of <= 2 {
                    return Err(DAMAGED);
                }
                (0..count).try_for_each(|_| self.skip(of, depth + 1))
            }
            STRUCT => self.fields(NOTHING, depth + 1, &mut |_, _| ()),
            _ => Err(DAMAGED), // maps do not occur in parquet
        }
    }

    /// Walks the schema, a tree as a list: each element says how many of the next are below it.
    fn schema(&mut self) -> Read<()> {
        let (count, kind) = self.list()?;
        if count > 0 && kind != STRUCT {
            return Err(DAMAGED);
        }
        let mut open: Vec<u64> = Vec::new();
        for left in (0..count).rev() {
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(siblings) = open.last_mut() {
                *siblings -= 1;
            }
            let (mut children, mut name) = (0, 0);
            self.fields(ELEMENT, 1, &mut |id, value| match id {
                CHILDREN => children = value,
                NAME => name = value,
                _ => (),
            })?;
            let children = u64::try_from(children).map_err(|_| DAMAGED)?;
            if children > left || open.len() > MOST_NESTED {
                return Err(NESTED);
            }
            if name > MOST_NAME {
                return Err(WIDE);
            }
            open.push(children);
        }
        if count > MOST_COLUMNS { Err(WIDE) } else { Ok(()) }
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

    /// Fields as (number, type, bytes), each with its number in full, and the end.
    fn fields(fields: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let each = fields.iter().flat_map(|(id, kind, value)| [&[*kind, 2 * id], *value].concat());
        each.chain([0]).collect()
    }

    #[test]
    fn a_known_field_is_of_its_type_and_comes_once() {
        let name: (u8, u8, &[u8]) = (4, 8, &[1, b'x']);
        let schema = |element: &[u8]| fields(&[(2, LIST, &[&[0x1c], element].concat())]);
        for sound in [&[name, (5, 5, &[0])][..], &[name, (60, 6, &[7]), (60, 6, &[7])], &[(10, 12, &[0x1c, 0, 0])]] {
            assert_eq!(check_footer(&schema(&fields(sound))), Ok(()), "{sound:?}");
        }
        let logical: &[u8] = &[0xac, 0x13, 8, 0x11, 0, 0]; // an integer of 8 bits
        assert_eq!(check_footer(&schema(&fields(&[(10, 12, logical)]))), Ok(()));
        for wrong in [
            &[name, (5, 6, &[0])][..],
            &[name, (5, 5, &[0]), (5, 5, &[2])],
            &[name, (5, 5, &[0x81, 0x80, 0x80, 0x80, 0x20])], // of which the crate would keep 32 bits
            &[(4, 5, &[1])],
            &[(10, 8, &[0])],
            &[(10, 12, &[0xac, 0x15, 8, 0x11, 0, 0])],
            &[(60, LIST, &[0x12, 1])], // a truth value in a list
        ] {
            assert!(check_footer(&schema(&fields(wrong))).unwrap_err().contains("damaged"), "{wrong:?}");
        }
        // the schema as a set, twice, of numbers; a row group's columns as a set; a key that is a number
        let element: &[u8] = &[0x1c, 0];
        for wrong in [
            &[(2, SET, element)][..],
            &[(2, LIST, element), (2, LIST, element)],
            &[(2, LIST, &[0x15, 0])],
            &[(4, LIST, &[0x1c, 0x1a, 0x0c, 0])],
            &[(5, LIST, &[0x1c, 0x15, 2, 0])],
        ] {
            assert!(check_footer(&fields(wrong)).unwrap_err().contains("damaged"), "{wrong:?}");
        }
        let size: &[u8] = &[8];
        assert_eq!(check_page(&fields(&[(1, 5, &[0]), (2, 5, size), (3, 5, size)])), Ok(()));
        for wrong in [
            &[(2, 6, size), (3, 5, size)][..],
            &[(2, 5, size), (3, 6, size)],
            &[(2, 5, size), (3, 5, size), (3, 5, size)],
            &[(2, 5, size), (3, 5, &[0x82, 0x80, 0x80, 0x80, 0x20])],
            &[(2, 5, size), (3, 5, &[1])],
            &[(7, 12, &[0x16, 2, 0])],
            &[(8, 12, &[0x75, 2, 0])],
        ] {
            assert!(check_page(&fields(wrong)).unwrap_err().contains("damaged"), "{wrong:?}");
        }
    }

    #[test]
    fn a_schema_is_neither_wide_nor_wordy() {
        let of = |columns: u8| [&[columns][..], &vec![0; columns.into()]].concat();
        assert_eq!(check_footer(&footer(&of(63))), Ok(()));
        let groups: Vec<u8> = [&[16][..], &of(62).repeat(16)].concat();
        assert!(check_footer(&footer(&groups)).unwrap_err().contains("more than 1000 columns"));
        let named = |length: usize| {
            let head = [0x29, 0x1c, 0x48, length as u8 | 0x80, (length >> 7) as u8];
            [&head[..], &vec![b'x'; length], &[0, 0]].concat()
        };
        assert_eq!(check_footer(&named(1024)), Ok(()));
        assert!(check_footer(&named(1025)).unwrap_err().contains("longer than 1024 bytes"));
    }
}
