//! PyTorch's weight files (`torch.save`): a zip archive of a pickle that describes the tensors, and of their bytes. candle's
//! interpreter reads the pickle: it calls nothing, whatever the pickle names. It was not made for hostile files, though, so
//! before and after each of its steps we look at what it has, and take the tensors out of its objects ourselves.

use candle_core::pickle::{Object, Stack};
use safetensors::Dtype;
use std::io::Cursor;
use zip::{CompressionMethod, ZipArchive};

/// A tensor as a file describes it.
pub struct Tensor<'a> {
    /// Name in the state dict.
    pub name: String,
    /// Type of its numbers.
    pub dtype: Dtype,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Numbers from one place to the next along each axis.
    pub strides: Vec<usize>,
    /// From its first number to its last, every place inside.
    pub bytes: &'a [u8],
}

/// First bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";

/// First bytes of what PyTorch wrote before 1.6: a pickle of protocol 2 that begins with a number of ten bytes.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Largest pickle that is read: that of a network of a thousand layers has 300 kB. Each of its bytes may make an object.
const MOST_PICKLE: usize = 4 << 20;

/// A file holds a handful of entries, and one a tensor.
const MOST_ENTRIES: usize = 100_000;

/// What may be nested in each other: a tensor in a state dict in a checkpoint has 8 levels.
const MOST_DEPTH: usize = 64;

/// Objects that the memo may copy, those within others too: VGG-19 takes some ten thousand.
const MOST_COPIES: usize = 1_000_000;

/// Objects that we look at in all, some of them often.
const MOST_LOOKS: usize = 100_000_000;

/// Where a checkpoint may keep its state dict.
const STATE_DICTS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];

/// How to get a file that is read.
const CONVERT: &str = "hint: in Python, `torch.save(model.state_dict(), file)`, or save_file of safetensors.torch";

/// Whether this is a file of PyTorch's; an error if it is one of a kind that is not read.
pub fn is_pytorch(bytes: &[u8]) -> Result<bool, String> {
    if bytes.starts_with(LEGACY) {
        return Err(format!("PyTorch's format from before version 1.6 is not read ({CONVERT}, of a newer one)"));
    }
    Ok(bytes.starts_with(ZIP))
}

/// The tensors of a file's state dict: at least one.
pub fn tensors(bytes: &[u8]) -> Result<Vec<Tensor<'_>>, String> {
    let mut archive = Archive::open(bytes)?;
    let root = interpret(archive.pickle)?;
    let mut tensors = Vec::new();
    for (name, value) in state_dict(root)? {
        // what is no tensor (a version, an epoch) is nothing we need
        if let (Object::Unicode(name), Object::Reduce { callable, args }) = (name, value) {
            let wrong = |problem| format!("tensor `{name}`: {problem}");
            tensors.push(archive.tensor(name.clone(), &callable, &args).map_err(wrong)?);
        }
    }
    match tensors.is_empty() {
        true => Err(format!("no tensor in it ({CONVERT})")),
        false => Ok(tensors),
    }
}

/// The archive, with every entry as a slice of the file.
struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Folder that everything lies in, with its slash.
    folder: String,
    pickle: &'a [u8],
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(unsound)?;
        if zip.len() > MOST_ENTRIES {
            return Err(format!("{} entries in the archive, more than {MOST_ENTRIES}", zip.len()));
        }
        let named = |name: &str| name == "data.pkl" || name.ends_with("/data.pkl");
        let names: Vec<String> =
            zip.file_names().filter_map(|n| n.ok()).filter(|n| named(n)).map(|n| n.into_owned()).collect();
        let [name] = names.as_slice() else {
            return Err(format!("{} entries `data.pkl` in the archive, expected one ({CONVERT})", names.len()));
        };
        let folder = name.strip_suffix("data.pkl").expect("filtered").to_string();
        let mut archive = Archive { bytes, zip, folder, pickle: &[] };
        archive.pickle = archive.entry(name)?;
        if archive.pickle.len() > MOST_PICKLE {
            return Err(format!("a pickle of {} bytes, more than {MOST_PICKLE}", archive.pickle.len()));
        }
        let order = format!("{}byteorder", archive.folder);
        if archive.zip.index_for_name(&order).is_some() && archive.entry(&order)? != b"little" {
            return Err(format!("numbers of another byte order ({CONVERT}, on this machine)"));
        }
        Ok(archive)
    }

    /// An entry's bytes. PyTorch compresses nothing, so they are those of the file, and cannot be more.
    fn entry(&mut self, name: &str) -> Result<&'a [u8], String> {
        let entry = self.zip.by_name(name).map_err(|e| format!("`{name}` in the archive: {e}"))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("`{name}` in the archive is compressed, which PyTorch never does ({CONVERT})"));
        }
        let (start, size) = (entry.data_start(), entry.size());
        let range =
            start.and_then(|start| Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(size)?).ok()?));
        range.and_then(|range| self.bytes.get(range)).ok_or_else(|| format!("`{name}` in the archive is cut off"))
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, …)`, perhaps within what makes a parameter of it.
    fn tensor(&mut self, name: String, callable: &Object, args: &Object) -> Result<Tensor<'a>, String> {
        let Object::Tuple(args) = args else {
            return Err("a description of another form".into());
        };
        match (class(callable).as_str(), args.as_slice()) {
            ("torch._utils._rebuild_tensor_v2", args) => self.plain_tensor(name, args),
            ("torch._utils._rebuild_parameter", [Object::Reduce { callable, args }, ..]) => {
                self.tensor(name, callable, args)
            }
            (other, _) => Err(format!("stored by `{other}`, which is not read ({CONVERT})")),
        }
    }

    fn plain_tensor(&mut self, name: String, args: &[Object]) -> Result<Tensor<'a>, String> {
        let [Object::PersistentLoad(storage), offset, Object::Tuple(shape), Object::Tuple(strides), ..] = args else {
            return Err("a description of another form".into());
        };
        let Object::Tuple(storage) = storage.as_ref() else {
            return Err("a storage of another form".into());
        };
        let [Object::Unicode(kind), class_of_storage, Object::Unicode(key), ..] = storage.as_slice() else {
            return Err("a storage of another form".into());
        };
        let dtype = match (kind.as_str(), class(class_of_storage).as_str()) {
            ("storage", "torch.FloatStorage") => Dtype::F32,
            ("storage", "torch.HalfStorage") => Dtype::F16,
            ("storage", "torch.BFloat16Storage") => Dtype::BF16,
            ("storage", "torch.DoubleStorage") => Dtype::F64,
            ("storage", "torch.LongStorage") => Dtype::I64,
            (_, other) => return Err(format!("numbers in `{other}`, which is not read ({CONVERT}, in float32)")),
        };
        let whole = |objects: &[Object]| objects.iter().map(count).collect::<Option<Vec<usize>>>();
        let place = (count(offset), whole(shape), whole(strides));
        let (Some(offset), Some(shape), Some(strides)) = place else {
            return Err("sizes that are no whole numbers".into());
        };
        if shape.len() != strides.len() {
            return Err(format!("{} sizes and {} strides", shape.len(), strides.len()));
        }
        let size = dtype.bitsize() / 8;
        let bytes = self.entry(&format!("{}data/{key}", self.folder))?;
        let range = span(&shape, &strides)
            .and_then(|n| Some(offset.checked_mul(size)?..offset.checked_add(n)?.checked_mul(size)?));
        let bytes = range.and_then(|range| bytes.get(range)).ok_or_else(|| {
            format!(
                "shape {shape:?} with strides {strides:?} at {offset} reaches beyond the {} bytes stored",
                bytes.len()
            )
        })?;
        Ok(Tensor { name, dtype, shape, strides, bytes })
    }
}

/// Numbers from the first place of a tensor to its last; `None` where that is too large to say.
fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().zip(strides).try_fold(1usize, |span, (n, stride)| span.checked_add((n - 1).checked_mul(*stride)?))
}

fn count(object: &Object) -> Option<usize> {
    match object {
        Object::Int(n) => usize::try_from(*n).ok(),
        Object::Long(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

/// `module.name`, empty where it is no class.
fn class(object: &Object) -> String {
    match object {
        Object::Class { module_name, class_name } => format!("{module_name}.{class_name}"),
        _ => String::new(),
    }
}

/// Interprets a pickle step by step.
fn interpret(mut pickle: &[u8]) -> Result<Object, String> {
    let mut stack = Stack::empty();
    let (mut copies, mut looks) = (MOST_COPIES, MOST_LOOKS);
    loop {
        look_ahead(pickle)?;
        // to the memo, and from it
        let copied = matches!(pickle.first(), Some(b'q' | b'r' | b'h' | b'j'));
        let done = stack.read(&mut pickle).map_err(unsound)?;
        // a step makes, copies or changes the last object alone
        if let Some(last) = stack.stack().last() {
            let size = size(last, MOST_DEPTH, &mut looks)?;
            if copied {
                copies = copies.checked_sub(size).ok_or(TOO_MANY)?;
            }
        }
        if done {
            return stack.finalize().map_err(unsound);
        }
    }
}

/// Refuses a text longer than the file, which would be allocated, and a number beyond 64 bits.
fn look_ahead(pickle: &[u8]) -> Result<(), String> {
    const TEXT: u8 = b'X';
    const LONG: u8 = 0x8a;
    match pickle {
        [TEXT, a, b, c, d, rest @ ..] if u32::from_le_bytes([*a, *b, *c, *d]) as usize > rest.len() => {
            Err("a text in the pickle is cut off".into())
        }
        [LONG, bytes, ..] if *bytes > 8 => Err(format!("a number of {bytes} bytes in the pickle")),
        _ => Ok(()),
    }
}

/// Objects within one, itself too, a long text counting for several; not so deep that freeing them overflows the stack.
fn size(object: &Object, depth: usize, looks: &mut usize) -> Result<usize, String> {
    *looks = looks.checked_sub(1).ok_or(TOO_MANY)?;
    let depth = depth.checked_sub(1).ok_or("the pickle nests too deep")?;
    let mut sum = 1;
    let mut add = |object: &Object| -> Result<(), String> {
        sum += size(object, depth, looks)?;
        Ok(())
    };
    match object {
        Object::Tuple(all) | Object::List(all) => all.iter().try_for_each(add)?,
        Object::Dict(all) => all.iter().try_for_each(|(key, value)| add(key).and_then(|()| add(value)))?,
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            add(callable.as_ref())?;
            add(args.as_ref())?;
        }
        Object::PersistentLoad(id) => add(id.as_ref())?,
        Object::Unicode(text) => sum += text.len() / 64,
        Object::Class { module_name, class_name } => sum += (module_name.len() + class_name.len()) / 64,
        _ => {}
    }
    Ok(sum)
}

const TOO_MANY: &str = "the pickle makes too many objects";

/// The state dict: what was saved, or what a checkpoint keeps under one of the usual names.
fn state_dict(root: Object) -> Result<Vec<(Object, Object)>, String> {
    let Object::Dict(entries) = root else {
        return Err(format!("a whole pickled object, no state dict ({CONVERT})"));
    };
    if entries.iter().any(|(_, value)| is_tensor(value)) {
        return Ok(entries);
    }
    for wanted in STATE_DICTS {
        let found = entries.iter().find(|(key, _)| matches!(key, Object::Unicode(key) if key == wanted));
        match found {
            Some((_, Object::Dict(inner))) => return Ok(inner.clone()),
            Some(_) => return Err(format!("`{wanted}` in it is a whole pickled object, no state dict ({CONVERT})")),
            None => {}
        }
    }
    Ok(Vec::new())
}

fn is_tensor(object: &Object) -> bool {
    matches!(object, Object::Reduce { callable, .. } if class(callable).starts_with("torch._utils._rebuild_"))
}

/// What the archive's or the interpreter's reader says. Its objects may be long.
fn unsound(problem: impl std::fmt::Display) -> String {
    let text = problem.to_string();
    format!("no sound PyTorch file: {}", text.chars().take(200).collect::<String>())
}
