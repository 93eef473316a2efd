//! Python's pickles, protocols 2 to 5 as Python writes them (PEP 307, 3154, 574; `pickletools` of CPython): what one describes,
//! without doing any of it. A call is an object that says what would be called. Objects lie in one list and name each other by
//! their place in it, so what the memo repeats costs nothing, however often, and freeing them goes into no depth.

use std::collections::BTreeMap;

/// Place of an object.
pub type Id = u32;

/// Objects of one pickle: VGG-19 takes some thousand.
const MOST_OBJECTS: usize = 1_000_000;

/// Something that a pickle describes.
#[derive(Debug)]
pub enum Object<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// A text.
    Text(&'a str),
    /// What no tensor is described by: a float, a whole number of more than 64 bits, bytes.
    Other,
    /// A module and a name in it.
    Class(&'a str, &'a str),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    /// A dictionary, ordered or not. Keys that were set twice are there twice.
    Dict(Vec<(Id, Id)>),
    /// What calling `callable` with `args` would give, and whether the pickle does more to it than that.
    Call {
        /// What is called.
        callable: Id,
        /// Its arguments.
        args: Id,
        /// Whether it was given a state, items or named arguments.
        changed: bool,
    },
    /// What the file that the pickle is from knows by this name.
    Persistent(Id),
}

/// All objects of a pickle.
#[derive(Debug)]
pub struct Objects<'a> {
    all: Vec<Object<'a>>,
    root: Id,
}

impl<'a> Objects<'a> {
    /// Reads a pickle.
    ///
    /// # Errors
    /// One that is cut off, that no Python writes, or that makes more than a million objects.
    pub fn read(pickle: &'a [u8]) -> Result<Objects<'a>, String> {
        Ok(Objects::read_first(pickle, pickle.len())?.0)
    }

    /// Reads a pickle of at most so many bytes; gives also what is behind it.
    ///
    /// # Errors
    /// See [`Objects::read`].
    pub fn read_first(bytes: &'a [u8], most: usize) -> Result<(Objects<'a>, &'a [u8]), String> {
        let mut reader = Reader { rest: &bytes[..bytes.len().min(most)], ..Reader::default() };
        let length = reader.rest.len();
        loop {
            match reader.byte()? {
                b'.' => break,
                op => reader.step(op)?,
            }
            if reader.all.len() > MOST_OBJECTS {
                return Err("the pickle makes too many objects".into());
            }
        }
        let root = reader.pop()?;
        let behind = &bytes[length - reader.rest.len()..];
        Ok((Objects { all: reader.all, root }, behind))
    }

    /// Every object, in the order in which they were made.
    pub fn all(&self) -> &[Object<'a>] {
        &self.all
    }

    /// What the pickle is of.
    pub fn root(&self) -> &Object<'a> {
        self.get(self.root)
    }

    /// The object at a place that another names.
    pub fn get(&self, id: Id) -> &Object<'a> {
        &self.all[id as usize]
    }

    /// The text at a place, if it is one.
    pub fn text(&self, id: Id) -> Option<&'a str> {
        match self.get(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    /// `module.name` at a place, empty where it is no class.
    pub fn class(&self, id: Id) -> String {
        match self.get(id) {
            Object::Class(module, name) => format!("{module}.{name}"),
            _ => String::new(),
        }
    }
}

#[derive(Default)]
struct Reader<'a> {
    rest: &'a [u8],
    all: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack where a mark was set.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl<'a> Reader<'a> {
    /// One op-code. What is not here, Python writes in protocols 0 and 1 alone, or for buffers outside the pickle.
    fn step(&mut self, op: u8) -> Result<(), String> {
        match op {
            b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | b'G' | 0x8a | 0x8b => self.number(op),
            b'X' | b'T' | b'U' | 0x8c | 0x8d => self.text(op),
            b'B' | b'C' | 0x8e | 0x96 => self.length(op).and_then(|n| self.bytes(n)).map(|_| self.push(Object::Other)),
            b')' | 0x85..=0x87 | b't' | b']' | b'l' | 0x8f | 0x91 | b'}' | b'd' => self.container(op),
            b'a' | b'e' | 0x90 | b's' | b'u' | b'b' => self.extend(op),
            b'c' | 0x93 => self.class(op),
            b'R' | 0x81 | 0x92 => self.call(op),
            b'Q' => self.pop().map(|id| self.push(Object::Persistent(id))),
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(op),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.since_mark().map(|_| ()),
            b'2' => self.last().map(|id| self.stack.push(id)),
            // the version, and how long a frame is
            0x80 => self.bytes(1).map(|_| ()),
            0x95 => self.bytes(8).map(|_| ()),
            other => Err(format!("the pickle has op-code {other}, which is not read")),
        }
    }

    fn number(&mut self, op: u8) -> Result<(), String> {
        let object = match op {
            b'N' => Object::None,
            0x88 | 0x89 => Object::Bool(op == 0x88),
            b'J' => Object::Int(i64::from(i32::from_le_bytes(self.array()?))),
            b'K' => Object::Int(i64::from(self.byte()?)),
            b'M' => Object::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'G' => self.bytes(8).map(|_| Object::Other)?,
            _ => {
                let length = self.length(op)?;
                whole(self.bytes(length)?)
            }
        };
        self.push(object);
        Ok(())
    }

    fn text(&mut self, op: u8) -> Result<(), String> {
        let length = self.length(op)?;
        // Python writes half of a surrogate pair too, which no name has
        let text = std::str::from_utf8(self.bytes(length)?).map_or(Object::Other, Object::Text);
        self.push(text);
        Ok(())
    }

    fn container(&mut self, op: u8) -> Result<(), String> {
        let object = match op {
            b')' => Object::Tuple(Vec::new()),
            0x85..=0x87 => Object::Tuple(self.popped(usize::from(op - 0x84))?),
            b't' => Object::Tuple(self.since_mark()?),
            b']' | 0x8f => Object::List(Vec::new()),
            b'l' | 0x91 => Object::List(self.since_mark()?),
            b'}' => Object::Dict(Vec::new()),
            _ => Object::Dict(pairs(&self.since_mark()?)?),
        };
        self.push(object);
        Ok(())
    }

    /// Adds items, or a state, to the object below them.
    fn extend(&mut self, op: u8) -> Result<(), String> {
        let items = match op {
            b'a' | b'b' => self.popped(1)?,
            b's' => self.popped(2)?,
            _ => self.since_mark()?,
        };
        let last = self.last()?;
        match (&mut self.all[last as usize], op) {
            (Object::List(all), b'a' | b'e' | 0x90) => all.extend(items),
            (Object::Dict(all), b's' | b'u') => all.extend(pairs(&items)?),
            // attributes of a dictionary, as `_metadata` of a state dict, are none of its items
            (Object::Dict(_), b'b') => {}
            (Object::Call { changed, .. }, _) => *changed = true,
            _ => return Err("the pickle adds to what takes nothing".into()),
        }
        Ok(())
    }

    fn class(&mut self, op: u8) -> Result<(), String> {
        let [module, name] = match op {
            b'c' => [self.line()?, self.line()?],
            _ => {
                let names = self.popped(2)?;
                let text = |id: Id| match self.all[id as usize] {
                    Object::Text(text) => Ok(text),
                    _ => Err("the pickle names a class by what is no text"),
                };
                [text(names[0])?, text(names[1])?]
            }
        };
        self.push(Object::Class(module, name));
        Ok(())
    }

    fn call(&mut self, op: u8) -> Result<(), String> {
        let changed = op == 0x92;
        let parts = self.popped(if changed { 3 } else { 2 })?;
        let (callable, args) = (parts[0], parts[1]);
        let object = self.dictionary(callable, args).filter(|_| !changed);
        self.push(object.unwrap_or(Object::Call { callable, args, changed }));
        Ok(())
    }

    /// The dictionary that a call makes: `OrderedDict()`, `defaultdict(factory)`, `OrderedDict([(key, value), …])`.
    fn dictionary(&self, callable: Id, args: Id) -> Option<Object<'a>> {
        let Object::Tuple(args) = &self.all[args as usize] else { return None };
        let is_pair = |id: &Id| match &self.all[*id as usize] {
            Object::Tuple(pair) | Object::List(pair) => <[Id; 2]>::try_from(pair.as_slice()).ok(),
            _ => None,
        };
        let entries = match (&self.all[callable as usize], args.as_slice()) {
            (Object::Class("collections", "OrderedDict"), []) => Vec::new(),
            (Object::Class("collections", "defaultdict"), [] | [_]) => Vec::new(),
            (Object::Class("collections", "OrderedDict"), [list]) => match &self.all[*list as usize] {
                Object::List(items) => items.iter().map(|i| is_pair(i).map(|[k, v]| (k, v))).collect::<Option<_>>()?,
                _ => return None,
            },
            _ => return None,
        };
        Some(Object::Dict(entries))
    }

    fn memo(&mut self, op: u8) -> Result<(), String> {
        let at = match op {
            b'q' | b'h' => u32::from(self.byte()?),
            0x94 => self.memo.len() as u32,
            _ => u32::from_le_bytes(self.array()?),
        };
        match op {
            b'h' | b'j' => {
                let id = *self.memo.get(&at).ok_or("the pickle repeats what it never had")?;
                self.stack.push(id);
            }
            _ => drop(self.memo.insert(at, self.last()?)),
        }
        Ok(())
    }

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(self.all.len() as Id);
        self.all.push(object);
    }

    /// Height of the stack that the latest mark protects.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn last(&self) -> Result<Id, String> {
        self.stack[self.floor()..].last().copied().ok_or_else(|| EMPTY.into())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let last = self.last()?;
        self.stack.pop();
        Ok(last)
    }

    /// The last `n` objects.
    fn popped(&mut self, n: usize) -> Result<Vec<Id>, String> {
        let from = self.stack.len().checked_sub(n).filter(|from| *from >= self.floor()).ok_or(EMPTY)?;
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let from = self.marks.pop().ok_or(EMPTY)?;
        Ok(self.stack.split_off(from))
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(*array)
    }

    fn bytes(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// How many bytes follow, of what is that long.
    fn length(&mut self, op: u8) -> Result<usize, String> {
        let length = match op {
            b'U' | b'C' | 0x8a | 0x8c => u64::from(self.byte()?),
            0x8d | 0x8e | 0x96 => u64::from_le_bytes(self.array()?),
            _ => u64::from(u32::from_le_bytes(self.array()?)),
        };
        usize::try_from(length).map_err(|_| CUT_OFF.into())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.rest.iter().position(|b| *b == b'\n').ok_or(CUT_OFF)?;
        let line = self.bytes(end)?;
        self.bytes(1)?;
        std::str::from_utf8(line).map_err(|_| "the pickle names a class by what is no text".into())
    }
}

const CUT_OFF: &str = "the pickle is cut off";

const EMPTY: &str = "the pickle takes what it never had";

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    match items.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
        _ => Err("the pickle has a key without a value".into()),
    }
}

/// A whole number, little endian in two's complement, of any length.
fn whole<'a>(bytes: &[u8]) -> Object<'a> {
    let negative = bytes.last().is_some_and(|b| *b >= 0x80);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    match all.get_mut(..bytes.len()) {
        None => return Object::Other,
        Some(low) => low.copy_from_slice(bytes),
    }
    Object::Int(i64::from_le_bytes(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pickle: &[u8]) -> Result<String, String> {
        Objects::read(pickle).map(|objects| format!("{:?}", objects.root()))
    }

    #[test]
    fn numbers_of_any_length_are_read_or_skipped() {
        for (pickle, expected) in [
            (&b"\x8a\x00."[..], "Int(0)"),
            (b"\x8a\x01\xff.", "Int(-1)"),
            (b"\x8a\x02\xff\x00.", "Int(255)"),
            (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", "Int(-9223372036854775808)"),
            (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", "Other"),
            (b"\x8b\x02\x00\x00\x00\x01\x01.", "Int(257)"),
            (b"J\xff\xff\xff\xff.", "Int(-1)"),
            (b"G@\x00\x00\x00\x00\x00\x00\x00.", "Other"),
        ] {
            assert_eq!(read(pickle).unwrap(), expected);
        }
    }

    #[test]
    fn what_the_memo_repeats_is_the_same_object() {
        // d = {}; [d, d] with an item set afterwards: both are the dictionary with it
        let objects = Objects::read(b"\x80\x02](}q\x00K\x01K\x02sh\x00e.").unwrap();
        let Object::List(items) = objects.root() else { panic!() };
        assert_eq!(items[0], items[1]);
        assert!(matches!(objects.get(items[1]), Object::Dict(entries) if entries.len() == 1));
    }

    #[test]
    fn an_ordered_dictionary_may_be_made_of_its_pairs() {
        // Python 2: OrderedDict([['a', 1]])
        let pairs = b"\x80\x02ccollections\nOrderedDict\n]]U\x01aaK\x01aa\x85R.";
        let objects = Objects::read(pairs).unwrap();
        assert!(matches!(objects.root(), Object::Dict(entries) if objects.text(entries[0].0) == Some("a")));
    }

    #[test]
    fn nothing_is_taken_from_below_a_mark_or_from_an_empty_stack() {
        for pickle in
            [&b"."[..], b"N(.", b"N(0N.", b"a.", b"Na.", b"t.", b"R.", b"h\x00.", b"(Nd.", b"N\x93.", b"q\x00."]
        {
            assert!(read(pickle).is_err(), "{pickle:?}");
        }
    }
}
