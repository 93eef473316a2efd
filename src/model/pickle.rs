//! PyTorch's weight files (`torch.save`): a pickle that describes the tensors, and their bytes, in a zip archive (`archive.rs`)
//! or one after the other (`legacy.rs`). The pickle is read by an interpreter that calls nothing (`unpickle.rs`), and the tensors
//! are taken out of its objects here. Every field of a tensor's description is looked at: what is not understood is refused by
//! its name.

use super::archive::Archive;
use super::format::CONVERT;
use super::legacy::Legacy;
use super::unpickle::{Id, Object, Objects};
use safetensors::Dtype;

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
    /// Whether its numbers are those stored with the other sign (PyTorch's negative bit).
    pub negated: bool,
    /// From its first number to its last, every place inside.
    pub bytes: &'a [u8],
}

/// Where a checkpoint may keep its state dict.
const STATE_DICTS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];

/// Names that an error lists.
const MOST_LISTED: usize = 6;

/// The tensors of a file's state dict, at least one; and what the user is to know of the choice, where there was one. `wanted`:
/// the key of the state dict in the file.
///
/// # Errors
/// A file that is damaged, that holds no such state dict, or whose tensors are described in a way that is not understood.
pub fn tensors<'a>(bytes: &'a [u8], wanted: Option<&str>) -> Result<(Vec<Tensor<'a>>, Option<String>), String> {
    let archive = Archive::open(bytes)?;
    let objects = Objects::read(archive.pickle).map_err(|problem| format!("no sound PyTorch file: {problem}"))?;
    of_state_dict(&objects, Storages::Archive(archive), wanted)
}

/// The same of a file that PyTorch wrote before 1.6.
///
/// # Errors
/// See [`tensors`].
pub fn legacy_tensors<'a>(bytes: &'a [u8], wanted: Option<&str>) -> Result<(Vec<Tensor<'a>>, Option<String>), String> {
    let (objects, legacy) = Legacy::open(bytes).map_err(|problem| format!("no sound PyTorch file: {problem}"))?;
    of_state_dict(&objects, Storages::Legacy(legacy), wanted)
}

/// Keys of the state dicts in a file, that first which is taken where none is asked for; `None`: the tensors beside them.
///
/// # Errors
/// A file that is damaged.
pub fn state_dicts(bytes: &[u8]) -> Result<Vec<Option<String>>, String> {
    Ok(keys_of(&Objects::read(Archive::open(bytes)?.pickle)?))
}

/// The same of a file that PyTorch wrote before 1.6.
///
/// # Errors
/// See [`state_dicts`].
pub fn legacy_state_dicts(bytes: &[u8]) -> Result<Vec<Option<String>>, String> {
    Ok(keys_of(&Legacy::open(bytes)?.0))
}

fn keys_of(objects: &Objects) -> Vec<Option<String>> {
    let Object::Dict(root) = objects.root() else { return Vec::new() };
    let mut keys: Vec<Option<String>> = dicts_with_tensors(objects, root).map(|(key, _)| Some(key.into())).collect();
    let usual = |key: &Option<String>| STATE_DICTS.iter().position(|usual| key.as_deref() == Some(usual));
    keys.sort_by_key(|key| usual(key).unwrap_or(STATE_DICTS.len()));
    if has_tensor(objects, root) && keys.first().and_then(usual).is_none() {
        keys.insert(0, None);
    }
    keys
}

/// Every entry that is a state dict.
fn dicts_with_tensors<'o>(objects: &'o Objects, root: &'o Entries) -> impl Iterator<Item = (&'o str, &'o Entries)> {
    root.iter().filter_map(|(key, value)| match objects.get(*value) {
        Object::Dict(entries) if has_tensor(objects, entries) => Some((objects.text(*key)?, entries.as_slice())),
        _ => None,
    })
}

fn of_state_dict<'a>(
    objects: &Objects,
    mut storages: Storages<'a>,
    wanted: Option<&str>,
) -> Result<(Vec<Tensor<'a>>, Option<String>), String> {
    let (entries, note) = state_dict(objects, wanted)?;
    let mut tensors = Vec::new();
    for (key, value) in entries {
        let Object::Call { .. } = objects.get(*value) else {
            continue; // a version, an epoch: no tensor
        };
        let name = objects.text(*key).ok_or("a tensor in it has a name that is no text")?;
        let wrong = |problem| format!("tensor `{name}`: {problem}");
        tensors.push(storages.tensor(objects, name, *value).map_err(wrong)?);
    }
    Ok((tensors, note))
}

/// Where the bytes of tensors are.
enum Storages<'a> {
    Archive(Archive<'a>),
    Legacy(Legacy<'a>),
}

impl<'a> Storages<'a> {
    /// `_rebuild_tensor_v2(…)`, perhaps within the `_rebuild_parameter(tensor, requires_grad, hooks)` that makes a parameter of
    /// it. Whether a gradient is wanted of it decides no number.
    fn tensor(&mut self, objects: &Objects, name: &str, id: Id) -> Result<Tensor<'a>, String> {
        let (callable, args) = call(objects, id)?;
        match (objects.class(callable).as_str(), args) {
            ("torch._utils._rebuild_tensor_v2", args) => self.plain_tensor(objects, name, args),
            ("torch._utils._rebuild_parameter", [inner, requires_grad, hooks]) => {
                no_hooks(objects, *requires_grad, *hooks)?;
                match call(objects, *inner)? {
                    (callable, args) if objects.class(callable) == "torch._utils._rebuild_tensor_v2" => {
                        self.plain_tensor(objects, name, args)
                    }
                    (other, _) => Err(format!(
                        "a parameter made by `{}`, which is not read ({CONVERT})",
                        cut(&objects.class(other))
                    )),
                }
            }
            ("torch._utils._rebuild_parameter", _) => Err("a description of another form".into()),
            (other, _) => Err(format!("stored by `{}`, which is not read ({CONVERT})", cut(other))),
        }
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)` of `torch/_utils.py`.
    fn plain_tensor(&mut self, objects: &Objects, name: &str, args: &[Id]) -> Result<Tensor<'a>, String> {
        let ([storage, offset, size, stride, requires_grad, hooks], rest) =
            args.split_first_chunk::<6>().ok_or("a description of another form")?;
        no_hooks(objects, *requires_grad, *hooks)?;
        let negated = match rest {
            [] => false,
            [metadata] => is_negated(objects, *metadata)?,
            _ => return Err(format!("a description of {} fields, of which 7 are read ({CONVERT})", args.len())),
        };
        let (dtype, bytes) = self.storage(objects, *storage)?;
        let whole = |id: Id| match objects.get(id) {
            Object::Tuple(all) => all.iter().map(|n| count(objects, *n)).collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        let place = (count(objects, *offset), whole(*size), whole(*stride));
        let (Some(offset), Some(shape), Some(strides)) = place else {
            return Err("sizes that are no whole numbers".into());
        };
        if shape.len() != strides.len() {
            return Err(format!("{} sizes and {} strides", shape.len(), strides.len()));
        }
        let size = dtype.bitsize() / 8;
        let range = span(&shape, &strides)
            .and_then(|n| Some(offset.checked_mul(size)?..offset.checked_add(n)?.checked_mul(size)?));
        let bytes = range.and_then(|range| bytes.get(range)).ok_or_else(|| {
            format!(
                "shape {shape:?} with strides {strides:?} at {offset} reaches beyond the {} bytes stored",
                bytes.len()
            )
        })?;
        Ok(Tensor { name: name.into(), dtype, shape, strides, negated, bytes })
    }

    /// `("storage", class, key, device, numbers)`: the type of its numbers, and its bytes. On which device it was does not matter.
    fn storage(&mut self, objects: &Objects, id: Id) -> Result<(Dtype, &'a [u8]), String> {
        let form = || "a storage of another form".to_string();
        let Object::Persistent(id) = objects.get(id) else { return Err(form()) };
        let Object::Tuple(parts) = objects.get(*id) else { return Err(form()) };
        let [kind, class, key, device, numbers] = match parts.as_slice() {
            // before 1.6 a part of another storage, which has been none since 0.4
            [kind, class, key, device, numbers, view] if matches!(objects.get(*view), Object::None) => {
                [kind, class, key, device, numbers]
            }
            [kind, class, key, device, numbers] => [kind, class, key, device, numbers],
            _ => return Err(form()),
        };
        let (Some("storage"), Some(key), Some(_)) = (objects.text(*kind), objects.text(*key), objects.text(*device))
        else {
            return Err(form());
        };
        let class = objects.class(*class);
        let dtype = READ.iter().find(|(name, _)| *name == class).map(|(_, dtype)| *dtype);
        let dtype =
            dtype.ok_or_else(|| format!("numbers in `{}`, which is not read ({CONVERT}, in float32)", cut(&class)))?;
        let bytes = match self {
            Storages::Archive(archive) => archive.storage(&cut(key))?,
            Storages::Legacy(legacy) => legacy.storage(&cut(key))?,
        };
        let said = count(objects, *numbers).and_then(|n| n.checked_mul(dtype.bitsize() / 8));
        match said == Some(bytes.len()) {
            true => Ok((dtype, bytes)),
            false => Err(format!("{} bytes in storage `{}`, not as many as it says", bytes.len(), cut(key))),
        }
    }
}

/// What numbers are read, by the storage that they are in.
const READ: [(&str, Dtype); 5] = [
    ("torch.FloatStorage", Dtype::F32),
    ("torch.HalfStorage", Dtype::F16),
    ("torch.BFloat16Storage", Dtype::BF16),
    ("torch.DoubleStorage", Dtype::F64),
    ("torch.LongStorage", Dtype::I64),
];

/// What an object calls, and with what.
fn call<'o>(objects: &'o Objects, id: Id) -> Result<(Id, &'o [Id]), String> {
    match objects.get(id) {
        Object::Call { callable, args, changed: false } => match objects.get(*args) {
            Object::Tuple(args) => Ok((*callable, args)),
            _ => Err("a description of another form".into()),
        },
        Object::Call { callable, .. } => Err(format!(
            "stored by `{}` with a state of its own, which is not read ({CONVERT})",
            cut(&objects.class(*callable))
        )),
        _ => Err("a description of another form".into()),
    }
}

/// Refuses hooks, which would compute something.
fn no_hooks(objects: &Objects, requires_grad: Id, hooks: Id) -> Result<(), String> {
    match (objects.get(requires_grad), objects.get(hooks)) {
        (Object::Bool(_), Object::None) => Ok(()),
        (Object::Bool(_), Object::Dict(hooks)) if hooks.is_empty() => Ok(()),
        (Object::Bool(_), _) => Err(format!("it has backward hooks, which are not read ({CONVERT})")),
        _ => Err("a description of another form".into()),
    }
}

/// The bits of `torch/_utils.py`, `set_tensor_metadata`: of those only the negative one has a meaning for real numbers.
fn is_negated(objects: &Objects, metadata: Id) -> Result<bool, String> {
    let entries = match objects.get(metadata) {
        Object::None => return Ok(false),
        Object::Dict(entries) => entries,
        _ => return Err("a description of another form".into()),
    };
    let mut negated = false;
    for (key, value) in entries {
        match (objects.text(*key), objects.get(*value)) {
            (Some("neg"), Object::Bool(set)) => negated = *set,
            (Some("conj"), Object::Bool(false)) => {}
            (key, _) => return Err(format!("its `{}` is not read ({CONVERT})", cut(key.unwrap_or("metadata")))),
        }
    }
    Ok(negated)
}

/// Numbers from the first place of a tensor to its last; `None` where that is too large to say.
fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().zip(strides).try_fold(1usize, |span, (n, stride)| span.checked_add((n - 1).checked_mul(*stride)?))
}

fn count(objects: &Objects, id: Id) -> Option<usize> {
    match objects.get(id) {
        Object::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

/// A name of the file, which may be of any length.
fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Names, the first few of them.
fn listed(names: &[&str]) -> String {
    let mut list: Vec<String> = names.iter().take(MOST_LISTED).map(|name| format!("`{}`", cut(name))).collect();
    if names.len() > MOST_LISTED {
        list.push(format!("… {} in all", names.len()));
    }
    list.join(", ")
}

type Entries = [(Id, Id)];

/// The state dict: what `wanted` names; else what a checkpoint keeps under one of the usual names; else what was saved.
fn state_dict<'o>(objects: &'o Objects, wanted: Option<&str>) -> Result<(&'o Entries, Option<String>), String> {
    let Object::Dict(root) = objects.root() else {
        return Err(format!("a whole pickled object, no state dict ({CONVERT})"));
    };
    let named = |key: &str| root.iter().find(|(k, _)| objects.text(*k) == Some(key)).map(|(_, value)| *value);
    let dicts: Vec<(&str, &Entries)> = dicts_with_tensors(objects, root).collect();
    let keys: Vec<&str> = dicts.iter().map(|(key, _)| *key).collect();
    if let Some(wanted) = wanted {
        let found = dicts.iter().find(|(key, _)| *key == wanted);
        return found.map(|(_, entries)| (*entries, None)).ok_or_else(|| absent(objects, root, &keys, wanted));
    }
    if let Some((key, entries)) = STATE_DICTS.iter().find_map(|usual| dicts.iter().find(|(key, _)| key == usual)) {
        return Ok((entries, said_of_others(&format!("`{key}`"), key, &keys)));
    }
    if let Some(usual) = STATE_DICTS.iter().find(|key| named(key).is_some_and(|value| is_object(objects, value))) {
        return Err(format!("`{usual}` in it is a whole pickled object, no state dict ({CONVERT})"));
    }
    match has_tensor(objects, root) {
        true => Ok((root, said_of_others("the tensors beside them", "", &keys))),
        false => Err(no_tensor(objects, root, &keys)),
    }
}

/// Says which of several state dicts was taken.
fn said_of_others(taken: &str, key: &str, keys: &[&str]) -> Option<String> {
    let others: Vec<&str> = keys.iter().copied().filter(|other| *other != key).collect();
    let first = cut(others.first()?);
    Some(format!(
        "of several state dicts in the file {taken} is taken, and left {} (hint: `state_dict = \"{first}\"` in the model file \
         takes that)",
        listed(&others)
    ))
}

fn absent(objects: &Objects, root: &Entries, keys: &[&str], wanted: &str) -> String {
    match keys {
        [] if has_tensor(objects, root) => {
            format!("no `{wanted}` in it: it is one state dict (hint: leave `state_dict` out of the model file)")
        }
        [] => no_tensor(objects, root, keys),
        _ => format!("no state dict `{wanted}` in it (there is {})", listed(keys)),
    }
}

fn no_tensor(objects: &Objects, root: &Entries, keys: &[&str]) -> String {
    if let Some(first) = keys.first() {
        let hint = format!("hint: `state_dict = \"{}\"` in the model file", cut(first));
        return format!("state dicts in it have names that are not looked for, {} ({hint})", listed(keys));
    }
    let found: Vec<&str> = root.iter().filter_map(|(key, _)| objects.text(*key)).collect();
    let found = if found.is_empty() { String::new() } else { format!(", which has {}", listed(&found)) };
    format!("no tensor in it{found} ({CONVERT})")
}

fn has_tensor(objects: &Objects, entries: &Entries) -> bool {
    entries.iter().any(|(key, value)| objects.text(*key).is_some() && is_tensor(objects, *value))
}

/// Whether something makes a tensor, in a way that is read or in another.
fn is_tensor(objects: &Objects, id: Id) -> bool {
    let Object::Call { callable, .. } = objects.get(id) else { return false };
    let class = objects.class(*callable);
    class.starts_with("torch._utils._rebuild_") || class.starts_with("torch._tensor._rebuild_")
}

fn is_object(objects: &Objects, id: Id) -> bool {
    matches!(objects.get(id), Object::Call { .. }) && !is_tensor(objects, id)
}
