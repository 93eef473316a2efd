//! What `torch.save` wrote before PyTorch 1.6 (`_legacy_save` of `torch/serialization.py`): pickles one after the other, of a
//! magic number, a version, the machine, the tensors' description and the keys of their storages, then each storage, its length
//! before it.

use super::archive::MOST_PICKLE;
use super::format::LEGACY;
use super::unpickle::{Object, Objects};
use std::collections::BTreeMap;

/// Version of the format, the only one since 2017.
const VERSION: i64 = 1001;

/// Bytes of a number, by the storage that it is in: to find the storage behind it.
const SIZES: [(&str, usize); 12] = [
    ("torch.FloatStorage", 4),
    ("torch.HalfStorage", 2),
    ("torch.BFloat16Storage", 2),
    ("torch.DoubleStorage", 8),
    ("torch.LongStorage", 8),
    ("torch.IntStorage", 4),
    ("torch.ShortStorage", 2),
    ("torch.CharStorage", 1),
    ("torch.ByteStorage", 1),
    ("torch.BoolStorage", 1),
    ("torch.ComplexFloatStorage", 8),
    ("torch.ComplexDoubleStorage", 16),
];

/// Storages by their keys.
pub struct Legacy<'a> {
    storages: BTreeMap<&'a str, &'a [u8]>,
}

impl<'a> Legacy<'a> {
    /// What the file describes, and where the bytes are.
    ///
    /// # Errors
    /// A file that is cut off or damaged, or of a machine of another kind.
    pub fn open(bytes: &'a [u8]) -> Result<(Objects<'a>, Legacy<'a>), String> {
        let mut rest = bytes.get(LEGACY.len() + 1..).ok_or(CUT_OFF)?;
        let mut pickle = || -> Result<Objects<'a>, String> {
            let (objects, behind) = Objects::read_first(rest, MOST_PICKLE)?;
            rest = behind;
            Ok(objects)
        };
        let (version, machine) = (pickle()?, pickle()?);
        if !matches!(version.root(), Object::Int(VERSION)) {
            return Err(format!("its format is not of version {VERSION}"));
        }
        let Object::Dict(machine_says) = machine.root() else { return Err("it names no machine".into()) };
        let little = machine_says.iter().find(|(key, _)| machine.text(*key) == Some("little_endian"));
        if !little.is_some_and(|(_, value)| matches!(machine.get(*value), Object::Bool(true))) {
            return Err("numbers of another byte order".into());
        }
        let (objects, keys) = (pickle()?, pickle()?);
        let storages = storages(&objects, &keys, rest)?;
        Ok((objects, Legacy { storages }))
    }

    /// The bytes of a storage.
    ///
    /// # Errors
    /// One that is not there.
    pub fn storage(&self, key: &str) -> Result<&'a [u8], String> {
        self.storages.get(key).copied().ok_or_else(|| format!("no storage `{key}` in the file"))
    }
}

const CUT_OFF: &str = "it is cut off";

/// Storages in the order of their keys, one after the other.
fn storages<'a>(
    objects: &Objects<'a>,
    keys: &Objects<'a>,
    mut rest: &'a [u8],
) -> Result<BTreeMap<&'a str, &'a [u8]>, String> {
    let Object::List(keys_listed) = keys.root() else { return Err("it lists no storages".into()) };
    let sizes = sizes(objects);
    let mut storages = BTreeMap::new();
    for key in keys_listed {
        let key = keys.text(*key).ok_or("a storage in it has a name that is no text")?;
        let size = *sizes.get(key).ok_or_else(|| format!("nothing says what storage `{}` holds", cut(key)))?;
        let (numbers, behind) = rest.split_first_chunk::<8>().ok_or(CUT_OFF)?;
        let length = usize::try_from(u64::from_le_bytes(*numbers)).ok().and_then(|n| n.checked_mul(size));
        let (bytes, behind) = length.and_then(|length| behind.split_at_checked(length)).ok_or(CUT_OFF)?;
        storages.insert(key, bytes);
        rest = behind;
    }
    Ok(storages)
}

/// Bytes of a number of each storage that an object names, where they are known.
fn sizes<'a>(objects: &Objects<'a>) -> BTreeMap<&'a str, usize> {
    let storage = |object: &Object| {
        let Object::Persistent(id) = object else { return None };
        let Object::Tuple(parts) = objects.get(*id) else { return None };
        let [_, class, key, ..] = parts.as_slice() else { return None };
        let class = objects.class(*class);
        let (_, size) = SIZES.iter().find(|(name, _)| *name == class)?;
        Some((objects.text(*key)?, *size))
    };
    objects.all().iter().filter_map(storage).collect()
}

/// A name of the file, which may be of any length.
fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}
