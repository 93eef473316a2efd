//! The registry of families. A new one is one file and one line in [`FAMILIES`].

use super::family::Family;
use super::{convnext, densenet, mobilenet, preact_resnet, resnet, squeezenet, vgg, vit, wide_resnet};
use crate::config::{self, FamilyKey, ModelFile, ModelText};
use crate::error::{Result, hint};
use crate::size;
use std::path::Path;

/// Every family.
pub const FAMILIES: &[&Family] = &[
    &vgg::FAMILY,
    &squeezenet::FAMILY,
    &resnet::FAMILY,
    &resnet::CIFAR,
    &preact_resnet::FAMILY,
    &wide_resnet::FAMILY,
    &wide_resnet::DEEPMIND,
    &densenet::FAMILY,
    &mobilenet::FAMILY,
    &mobilenet::TIMM,
    &convnext::FAMILY,
    &vit::FAMILY,
];

/// Networks that their file describes: nothing of them is known before it is read.
pub const ONNX: Family = Family {
    title: "ONNX",
    names: &[config::ONNX],
    namings: &[],
    keys: &[],
    check: |file| match (&file.keys, &file.state_dict) {
        (None, None) => Ok(()),
        _ => Err("an ONNX file has neither `keys` nor a `state_dict` (hint: remove them)".into()),
    },
    recognise: |_| Vec::new(),
    unseen: "",
    build: |_, _| Err("an ONNX file is read as a whole".into()),
};

/// The family of this name.
pub fn find(name: &str) -> Result<&'static Family, String> {
    FAMILIES.iter().copied().chain([&ONNX]).find(|f| f.names.contains(&name)).ok_or_else(|| {
        let known = FAMILIES.iter().chain([&&ONNX]).flat_map(|f| f.names.iter().copied());
        format!("unknown family `{name}`{}", hint(name, known))
    })
}

/// The family of a description that makes sense, before any weight is read.
pub fn checked(file: &ModelFile) -> Result<&'static Family, String> {
    let family = find(&file.family)?;
    for other in FAMILIES {
        let foreign =
            |key: &&FamilyKey| file.own.contains_key(key.name) && family.keys.iter().all(|k| k.name != key.name);
        if let Some(key) = other.keys.iter().find(foreign) {
            return Err(format!(
                "`{}` is a key of the {} families, `{}` has none (hint: remove it)",
                key.name, other.title, file.family
            ));
        }
    }
    if file.family == config::ONNX {
        return (family.check)(file).map(|()| family);
    }
    family.check_choices(file)?;
    family.check_naming(file)?;
    (family.check)(file)?;
    let named = |problem: String| format!("images of {}: {problem}", size::in_words(file.size));
    family.network(file, None).map(|_| family).map_err(named)
}

/// Keys of all families: a file is read before it is known which family it is of. Several may have the same.
pub fn keys() -> Vec<FamilyKey> {
    FAMILIES.iter().flat_map(|f| f.keys).copied().collect()
}

/// Reads a model file that describes the network; all its problems at once.
pub fn parse(path: &Path, text: &str) -> Result<ModelFile> {
    ModelFile::parse(path, text, &keys())
}

/// Reads a model file of either form; all its problems at once.
pub fn parse_either(path: &Path, text: &str) -> Result<ModelText> {
    ModelText::parse(path, text, &keys())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::discriminant;

    /// Every key that is not a family's.
    const PLAIN: &str = "family = \"f\"\nclasses = 2\nclass_names = [\"a\", \"b\"]\nside = 32\nsize = [32, 32]\nresize = 32\ninterpolation = \"bicubic\"\nmean = [0, 0, 0]\nstd = [1, 1, 1]\nkeys = \"timm\"\n\
                         hub = \"a/b\"\nrevision = \"main\"\nfile = \"f\"\nsha256 = \"unpinned\"\nclean_accuracy = {}\n\
                         robust_accuracy = {}\ntraining = {}\ndefence = [\"jpeg\"]\nvotes = 1\ndraws = 0\n";

    #[test]
    fn keys_of_one_name_are_of_one_kind_and_none_is_a_key_of_every_model() {
        let keys = keys();
        for key in &keys {
            assert!(!PLAIN.lines().any(|line| line.split(' ').next() == Some(key.name)), "{}", key.name);
            assert!(!key.summary.is_empty(), "{}", key.name);
            let same = keys.iter().filter(|k| k.name == key.name);
            assert!(same.into_iter().all(|k| discriminant(&k.kind) == discriminant(&key.kind)), "{}", key.name);
        }
        // nobody's key: all the others are known
        let unknown = ModelFile::parse(Path::new("m.toml"), PLAIN, &[]).unwrap_err().to_string();
        assert!(!unknown.contains("unknown key"), "{unknown}");
        let known = ModelFile::parse(Path::new("m.toml"), &(PLAIN.to_string() + "zzzzzzzzz = 1\n"), &[]).unwrap_err();
        let known = known.to_string();
        let listed =
            known.lines().find_map(|l| l.split_once("(known: ")).map_or("", |(_, rest)| rest.trim_end_matches(')'));
        assert!(!listed.is_empty(), "{known}");
        // of many a part is listed, and how many there are
        let listed = listed.split(", ").filter(|name| !name.starts_with('…'));
        for name in listed.filter(|name| !["weights", "state_dict"].contains(name)) {
            assert!(PLAIN.lines().any(|line| line.split(' ').next() == Some(name)), "{name}");
        }
    }
}
