//! Weight files: what is missing, extra, wrongly shaped or not finite is named; damaged files never panic.

mod support;

use foolproof::data::{self, Choice, Source};
use foolproof::error::Error;
use foolproof::kernel::graph::Graph;
use foolproof::model::{self, ModelSource};
use foolproof::store::Store;
use foolproof::sweep::{plan, run};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::stream;

const FILE: &str = include_str!("../configs/models/vgg11-half-cifar10.toml");
const BYTES: &[u8] = include_bytes!("../configs/models/vgg11-half-cifar10.safetensors");

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors() -> Tensors {
    let file = SafeTensors::deserialize(BYTES).unwrap();
    file.tensors().into_iter().map(|(n, v)| (n, (v.dtype(), v.shape().to_vec(), v.data().to_vec()))).collect()
}

fn write(tensors: &Tensors) -> Vec<u8> {
    let views: BTreeMap<&str, TensorView> =
        tensors.iter().map(|(n, (d, s, b))| (n.as_str(), TensorView::new(*d, s.clone(), b).unwrap())).collect();
    safetensors::serialize(views, None).unwrap()
}

/// The error of loading these bytes as the built-in model without its pinned digest.
fn load(bytes: Vec<u8>) -> Result<Graph<f32>, Error> {
    let mut file = model::parse(Path::new("m.toml"), FILE).unwrap();
    file.sha256 = None;
    ModelSource::new("m".into(), file, None, Cow::Owned(bytes)).unwrap().load()
}

fn problem(change: impl Fn(&mut Tensors)) -> String {
    let mut changed = tensors();
    change(&mut changed);
    load(write(&changed)).unwrap_err().to_string()
}

#[test]
fn the_error_names_the_tensor_what_was_expected_and_what_was_found() {
    let missing = problem(|t| drop(t.remove("features.8.weight")));
    assert_eq!(
        missing,
        "weights of `m`: tensor `features.8.weight` is missing (expected shape [128, 64, 3, 3]); the file has \
         `classifier.bias`, `classifier.weight`, `features.0.bias`, `features.0.weight`, … 49 in all"
    );

    let extra = problem(|t| drop(t.insert("features.99.weight".into(), (Dtype::F32, vec![1], vec![0; 4]))));
    assert_eq!(extra, "weights of `m`: tensor `features.99.weight` [1] has no place in vgg11_bn with head `linear`");

    let shape = problem(|t| t.get_mut("features.4.weight").unwrap().1 = vec![32, 64, 3, 3]);
    assert_eq!(
        shape,
        "weights of `m`: tensor `features.4.weight`: expected shape [64, 32, 3, 3], found [32, 64, 3, 3]"
    );

    let nan =
        problem(|t| t.get_mut("features.1.running_mean").unwrap().2[4..8].copy_from_slice(&f32::NAN.to_le_bytes()));
    assert_eq!(nan, "weights of `m`: tensor `features.1.running_mean`: expected finite numbers, found NaN at 1");

    let negative =
        problem(|t| t.get_mut("features.1.running_var").unwrap().2[0..4].copy_from_slice(&(-1f32).to_le_bytes()));
    assert_eq!(negative, "weights of `m`: tensor `features.1.running_var`: expected variances from 0, found -1 at 0");

    let dtype = problem(|t| t.get_mut("classifier.bias").unwrap().0 = Dtype::I32);
    assert_eq!(dtype, "weights of `m`: tensor `classifier.bias`: expected F32, F16 or BF16, found I32");

    let linear = problem(|t| t.get_mut("classifier.weight").unwrap().1 = vec![256, 10]);
    assert_eq!(linear, "weights of `m`: tensor `classifier.weight`: expected shape [10, 256], found [256, 10]");

    let wrong_digest = model::parse(Path::new("m.toml"), FILE).unwrap();
    let error = ModelSource::new("m".into(), wrong_digest, None, Cow::Borrowed(&BYTES[1..]))
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("the model file pins af837e7c"), "{error}");
}

#[test]
fn tensors_of_another_framework_are_refused_by_its_name() {
    let with = |key: &str, value: &str| {
        let all = tensors();
        let views: BTreeMap<&str, TensorView> =
            all.iter().map(|(n, (d, s, b))| (n.as_str(), TensorView::new(*d, s.clone(), b).unwrap())).collect();
        load(safetensors::serialize(views, Some([(key.to_string(), value.to_string())].into())).unwrap())
    };
    assert!(with("format", "pt").is_ok() && with("format", "np").is_ok() && with("licence", "mit").is_ok());
    let problem = with("format", "flax").unwrap_err().to_string();
    assert!(
        problem.contains("tensors of the format `flax`, which is not read (hint: save them from PyTorch)"),
        "{problem}"
    );
}

#[test]
fn f32_f16_and_bf16_hold_the_same_network() {
    // numbers that all three types hold exactly
    let as_type = |dtype: Dtype| {
        let mut all = tensors();
        for (name, (d, shape, bytes)) in all.iter_mut() {
            let n: usize = shape.iter().product();
            let values = (0..n).map(|i| ((i * 5 + name.len()) % 9) as f32 / 8.0);
            *bytes = match dtype {
                Dtype::F32 => values.flat_map(|v| v.to_le_bytes()).collect(),
                Dtype::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
                _ => values.flat_map(|v| bf16::from_f32(v).to_le_bytes()).collect(),
            };
            *d = dtype;
        }
        load(write(&all)).unwrap()
    };
    let f32s = as_type(Dtype::F32);
    assert!(as_type(Dtype::F16) == f32s && as_type(Dtype::BF16) == f32s);
}

#[test]
fn a_thousand_damaged_files_load_or_say_why_not() {
    let header = 8 + u64::from_le_bytes(BYTES[..8].try_into().unwrap()) as usize;
    let mut s = stream("damaged weights");
    let (mut loaded, mut refused) = (0, 0);
    for i in 0..1000 {
        let mut bytes = BYTES.to_vec();
        match i % 4 {
            // half of the truncations and flips hit the header, where structure lives
            0 => bytes.truncate(s.below(header)),
            1 => bytes.truncate(s.below(bytes.len())),
            2 => bytes[s.below(header)] ^= 1 << s.below(8),
            _ => {
                let at = s.below(bytes.len());
                bytes[at] ^= 1 << s.below(8);
            }
        }
        match load(bytes) {
            Ok(_) => loaded += 1,
            Err(Error::Weights { problem, .. }) => {
                refused += 1;
                assert!(!problem.is_empty());
            }
            Err(other) => panic!("{i}: {other}"),
        }
    }
    println!("{loaded} loaded (a flipped bit of a weight is another weight), {refused} refused");
    assert!(refused >= 600, "{refused}");
    // with the pinned digest, as the built-in models are loaded, none would be
    assert!(model::built_in("vgg11-half-cifar10").unwrap().file.sha256.is_some());
}

#[test]
fn model_files_report_all_their_errors() {
    let error = model::parse(
        Path::new("m.toml"),
        "famly = \"vgg11\"\nmean = [1, 2]\nstd = [0.5, 0.5, 0.0]\nclasses = 0\nside = 32\n",
    );
    let text = error.unwrap_err().to_string();
    for part in [
        "m.toml:1: missing key `family`",
        "m.toml:1: unknown key `famly` (hint: did you mean `family`?)",
        "m.toml:1: missing key `weights`",
        "m.toml:2: `mean`: expected three numbers",
        "`std`: every channel must be above 0",
        "m.toml:4: `classes`: expected a whole number from 1",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    let of_255 = FILE.replace("mean    = [", "mean    = [123.7, 116.3, 103.5] # [");
    let text = model::parse(Path::new("m.toml"), &of_255).unwrap_err().to_string();
    assert!(text.contains("images are numbers from 0 to 1 (hint: of 0 to 255, [0.485, 0.456, 0.406]"), "{text}");
}

#[test]
fn a_published_count_beyond_any_test_set_is_refused() {
    let text = FILE.replace("= 500", "= 999999999999");
    let error = model::parse(Path::new("m.toml"), &text).unwrap_err().to_string();
    assert!(error.contains("correct ≤ of ≤ 10000000"), "{error}");
}

#[test]
fn images_picked_one_by_one_are_not_held_to_the_published_accuracy() {
    // every label is wrong
    let sample = data::find("cifar10-sample").unwrap();
    let sample = sample.subset(&Source::new("nowhere"), &Choice::new("test", 0, None)).unwrap();
    let record = |i: usize| [&[((sample.labels[i] + 1) % 10) as u8][..], sample.image(i)].concat();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cifar10")).unwrap();
    std::fs::write(folder.path().join("cifar10/test.bin"), (0..20).flat_map(record).collect::<Vec<u8>>()).unwrap();
    let run = |images: &str| {
        let text = format!(
            "name = \"x\"\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\ndata = {{ name = \"cifar10\", {images} }}\n\
             goals = [\"untargeted\"]\nthreats = [{{ norm = \"linf\", eps = [\"1/255\"] }}]\n\
             attacks = [{{ name = \"noise\" }}]\n"
        );
        let plan = plan::parse(Path::new("x.toml"), &text, &Source::new(folder.path())).unwrap();
        let store = Store::create(&folder.path().join("run")).unwrap();
        run::run(&plan, &store, &support::machine(None), &AtomicBool::new(false), &mut |_| {})
    };
    let refused = run("take = 20").unwrap_err().to_string();
    assert!(refused.contains("of 20 clean images") && refused.contains("is published"), "{refused}");
    let all: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    assert_eq!(run(&format!("indices = [{}]", all.join(", "))).unwrap().computed, 1);
}

#[test]
fn a_wrong_clean_accuracy_stops_the_run() {
    let source = model::built_in("vgg11-half-cifar10").unwrap();
    assert!(source.check_clean_accuracy(Some("cifar10-test"), 451, 500).is_ok());
    assert!(source.check_clean_accuracy(Some("cifar10-test"), 20, 20).is_ok());
    assert!(source.check_clean_accuracy(Some("cifar10-test"), 0, 2).is_ok(), "two hard images prove nothing");
    let error = source.check_clean_accuracy(Some("cifar10-test"), 50, 500).unwrap_err().to_string();
    assert!(error.contains("no attack was run"), "{error}");
    assert!(source.check_clean_accuracy(Some("cifar10-test"), 2, 20).is_err());
    assert!(source.check_clean_accuracy(None, 0, 500).is_ok(), "other data is not compared");
}
