//! A repository of the Hub that describes its network itself, as timm's do: `config.json`.

use super::families;
use crate::config::{BICUBIC, DefenceSpec, INTERPOLATIONS, ModelFile, Place, RepositorySpec, SAFETENSORS};
use crate::error::{Error, Result, hint};
use crate::hub::{Hub, Kind, RemoteFile};
use serde_json::Value;
use std::collections::BTreeMap;

/// What timm calls the description.
const CONFIG: &str = "config.json";

/// A description has 1 kB.
const MOST_CONFIG: u64 = 1 << 20;

/// Weight files that are looked for, the best first.
const WEIGHTS: [&str; 2] = [SAFETENSORS, "pytorch_model.bin"];

fn remote(repository: &str, revision: &str, path: &str) -> RemoteFile {
    let (repository, revision, path) = (repository.into(), revision.into(), path.into());
    RemoteFile { kind: Kind::Model, repository, revision, path, sha256: None }
}

/// The model file of a repository, at the commit that its description comes from.
pub fn describe(spec: &RepositorySpec, hub: &Hub) -> Result<ModelFile> {
    let repository = &spec.repository;
    let local = hub.get(&remote(repository, &spec.revision, CONFIG))?;
    let problem = |text: String| Error::usage(format!("model `hub:{repository}`: {CONFIG}: {text}"));
    if local.size > MOST_CONFIG {
        return Err(problem(format!("{} bytes, more than a description has", local.size)));
    }
    let text = std::fs::read_to_string(&local.path).map_err(Error::io("read", &local.path))?;
    let mut file = parse(&text).map_err(problem)?;
    let weights = match &spec.file {
        Some(file) => file.clone(),
        None => weights(hub, repository, &local.commit)?,
    };
    file.place = Place::Hub { repository: repository.clone(), revision: local.commit, file: weights };
    file.sha256 = spec.sha256.clone();
    file.published = spec.published.clone();
    file.defence = spec.defence.clone();
    file.state_dict = spec.state_dict.clone();
    file.class_names = spec.class_names.clone();
    Ok(file)
}

/// The weight file that the repository has. The best one needs no list if it lies here, and another no network.
fn weights(hub: &Hub, repository: &str, commit: &str) -> Result<String> {
    let is_here = |path: &str| hub.cached(&remote(repository, commit, path)).is_ok_and(|local| local.is_some());
    let [best, other] = WEIGHTS;
    if is_here(best) {
        return Ok(best.into());
    }
    let files = match hub.list(Kind::Model, repository, commit, "") {
        Err(_) if is_here(other) => return Ok(other.into()),
        files => files?,
    };
    let found = WEIGHTS.into_iter().find(|name| files.iter().any(|f| f.path == *name));
    found.map(String::from).ok_or_else(|| {
        Error::usage(format!(
            "model `hub:{repository}`: no {} (hint: a model file with `hub` and `file`)",
            WEIGHTS.join(" and no ")
        ))
    })
}

/// timm's description: the network at the top, its preparation in `pretrained_cfg` or at the top too.
fn parse(text: &str) -> Result<ModelFile, String> {
    let config: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let get = |key: &str| config["pretrained_cfg"].get(key).or_else(|| config.get(key));
    let missing =
        |key: &str| format!("no `{key}`, or another form of it than timm's (hint: describe the model in a model file)");
    let name = config["architecture"].as_str().ok_or_else(|| missing("architecture"))?;
    // a tag says where the weights are from: vgg16.tv_in1k
    let architecture = name.split('.').next().unwrap_or(name);
    families::find(architecture).map_err(|_| {
        let known = families::FAMILIES.iter().flat_map(|f| f.names.iter().copied());
        format!("architecture `{name}` is none that is built here{}", hint(architecture, known))
    })?;
    let interpolation = get("interpolation").and_then(Value::as_str).unwrap_or(INTERPOLATIONS[0]);
    if !INTERPOLATIONS.contains(&interpolation) {
        return Err(format!(
            "pictures are to be resized by `{interpolation}`, and are here by bilinear or bicubic interpolation (hint: a \
             model file that describes the network accepts that)"
        ));
    }
    let numbers = |key: &str| -> Option<Vec<f64>> { get(key)?.as_array()?.iter().map(Value::as_f64).collect() };
    let triple = |key: &str| -> Result<[f64; 3], String> {
        let found = numbers(key).and_then(|n| <[f64; 3]>::try_from(n).ok());
        found.filter(|n| n.iter().all(|v| v.is_finite())).ok_or_else(|| missing(key))
    };
    let [channels, height, width] = triple("input_size")?;
    let size = whole(height, MOST_SIDE).zip(whole(width, MOST_SIDE)).filter(|_| channels == 3.0);
    let size = size.ok_or_else(|| format!("input_size {channels}×{height}×{width}: expected 3×height×width"))?;
    let short = size.0.min(size.1);
    let classes = config.get("num_classes").or_else(|| get("num_classes")).and_then(Value::as_f64);
    let classes = classes.and_then(|n| whole(n, MOST_CLASSES)).ok_or_else(|| missing("num_classes"))?;
    let (mean, std) = (triple("mean")?, triple("std")?);
    if std.iter().any(|s| *s <= 0.0) {
        return Err(format!("std {std:?}: every channel must be above 0"));
    }
    // torchvision resizes to 256 before it cuts 224, which timm writes as the share 0.875
    let share = get("crop_pct").map_or(Some(0.875), Value::as_f64).ok_or_else(|| missing("crop_pct"))?;
    let resize = whole((short as f64 / share).floor(), MOST_SIDE).filter(|r| *r >= short);
    let resize = resize.ok_or_else(|| format!("crop_pct {share}: expected a share above 0 and up to 1"))?;
    let small = format!("{architecture}_cifar");
    let is_small = size.0.max(size.1) <= SMALL && families::find(&small).is_ok();
    Ok(ModelFile {
        family: if is_small { small } else { architecture.into() },
        own: BTreeMap::new(),
        classes,
        class_names: None,
        size: size.into(),
        resize: Some(resize),
        bicubic: interpolation == BICUBIC,
        mean,
        std,
        keys: None,
        state_dict: None,
        place: Place::File(String::new()),
        sha256: None,
        published: None,
        robust: None,
        defence: DefenceSpec::default(),
        training: Vec::new(),
    })
}

/// ResNets for images up to this side have a first convolution of 3×3, whatever timm calls them.
const SMALL: usize = 64;

const MOST_SIDE: f64 = 4096.0;
const MOST_CLASSES: f64 = 100_000.0;

/// A whole number from 1 to `most`.
fn whole(value: f64, most: f64) -> Option<usize> {
    (value.fract() == 0.0 && (1.0..=most).contains(&value)).then_some(value as usize)
}

#[cfg(test)]
mod tests {
    use super::parse;

    const CONFIG: &str = r#"{
        "architecture": "vgg16", "num_classes": 1000, "num_features": 4096,
        "pretrained_cfg": {"tag": "tv_in1k", "input_size": [3, 224, 224], "interpolation": "bilinear",
            "crop_pct": 0.875, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "num_classes": 1000}}"#;

    #[test]
    fn a_nested_and_a_flat_description_say_the_same() {
        let flat = CONFIG.replace("\"pretrained_cfg\": {", "").replace("}}", "}");
        for text in [CONFIG, &flat] {
            let file = parse(text).unwrap();
            assert_eq!(
                (file.family.as_str(), file.classes, file.size, file.resize),
                ("vgg16", 1000, [224; 2], Some(256))
            );
            assert_eq!((file.mean, file.std), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]));
        }
        assert!(!parse(CONFIG).unwrap().bicubic && parse(&CONFIG.replace("bilinear", "bicubic")).unwrap().bicubic);
        // without a share timm's own default counts; a CIFAR net is not resized
        assert_eq!(parse(&CONFIG.replace("\"crop_pct\": 0.875,", "")).unwrap().resize, Some(256));
        let cifar = CONFIG.replace("224, 224", "32, 32").replace("0.875", "1.0");
        assert_eq!(parse(&cifar).unwrap().resize, Some(32));
        // as `detectors` describes its ResNets for CIFAR
        assert_eq!(parse(&cifar.replace("vgg16", "resnet18")).unwrap().family, "resnet18_cifar");
        assert_eq!(parse(&CONFIG.replace("vgg16", "resnet18")).unwrap().family, "resnet18");
    }

    #[test]
    fn what_is_not_built_here_is_refused_by_name() {
        for (from, to, expected) in [
            ("\"vgg16\"", "\"swin_tiny\"", "architecture `swin_tiny` is none that is built here (known: "),
            ("\"vgg16\"", "16", "no `architecture`"),
            ("bilinear", "lanczos", "resized by `lanczos`"),
            ("[3, 224, 224]", "[1, 224, 224]", "expected 3×height×width"),
            ("[3, 224, 224]", "[3, 1e99, 1e99]", "expected 3×height×width"),
            ("[3, 224, 224]", "[3, 224]", "no `input_size`"),
            ("0.225]", "0.0]", "every channel must be above 0"),
            ("0.875", "0", "crop_pct 0"),
            ("0.875", "1.5", "crop_pct 1.5"),
            ("1000, \"num_features", "-1, \"num_features", "no `num_classes`"),
            ("\"architecture\"", "architecture", "key must be a string"),
        ] {
            let problem = parse(&CONFIG.replace(from, to)).map(|_| ()).unwrap_err();
            assert!(problem.contains(expected), "{to}: {problem}");
        }
    }
}
