//! `init`: a table of checkpoints as people save them, what is refused, and the files that it writes.

mod support;
#[path = "support/vgg.rs"]
mod vgg;

#[path = "support/onnx.rs"]
mod onnx;

use foolproof::config::{FILL_IN, ModelFile};
use foolproof::digest::sha256;
use foolproof::hub::{Hub, Kind};
use foolproof::init::Answers;
use foolproof::kernel::Precision;
use foolproof::model::{self, FAMILIES, ModelSource, families, recognise_file};
use foolproof::sweep::class_names;
use onnx::{OPEN, Onnx};
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::borrow::Cow;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Output;
use support::hub_server::HubServer;
use vgg::{Head, Stored};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Lines that describe a network, and its naming. Widths are small where they can be, so that the table is quick.
const VGG: &str = "width = 0.125\nhead = \"linear\"\nside = 32";
const MLP: &str = "width = 0.125\nhead = \"mlp\"\nside = 224";
const NARROW: &str = "width = 0.25\nside = 224";
const CIFAR: &str = "width = 0.25\nside = 32";
const PICTURES: &str = "side = 224";
const SMALL: &str = "side = 32";

/// Family, naming, lines of the model file, classes.
#[rustfmt::skip] // a checkpoint a row
const CHECKPOINTS: [(&str, &str, &str, usize); 45] = [
    ("vgg11", "torchvision", VGG, 10), ("vgg13", "torchvision", VGG, 10), ("vgg16", "torchvision", VGG, 10), ("vgg19", "torchvision", VGG, 10),
    ("vgg11_bn", "torchvision", VGG, 10), ("vgg13_bn", "torchvision", VGG, 2), ("vgg16_bn", "torchvision", VGG, 100), ("vgg19_bn", "torchvision", VGG, 43),
    ("vgg11", "timm", VGG, 10), ("vgg13", "timm", VGG, 10), ("vgg16", "timm", VGG, 10), ("vgg19", "timm", VGG, 10),
    ("vgg11_bn", "timm", VGG, 10), ("vgg13_bn", "timm", VGG, 10), ("vgg16_bn", "timm", VGG, 10), ("vgg19_bn", "timm", VGG, 10),
    ("vgg11", "torchvision", MLP, 1000),
    ("squeezenet1_0", "torchvision", PICTURES, 1000),
    ("resnet18", "torchvision", NARROW, 1000), ("resnet34", "torchvision", NARROW, 5), ("resnet50", "torchvision", NARROW, 1000),
    ("resnet101", "torchvision", NARROW, 1000), ("resnet152", "torchvision", NARROW, 3), ("wide_resnet50_2", "torchvision", NARROW, 1000),
    ("wide_resnet101_2", "torchvision", NARROW, 9), ("resnext50_32x4d", "torchvision", NARROW, 1000), ("resnext101_32x8d", "torchvision", NARROW, 1000),
    ("resnet18", "timm", PICTURES, 2),
    ("resnet18_cifar", "torchvision", CIFAR, 10), ("resnet34_cifar", "torchvision", CIFAR, 10), ("resnet50_cifar", "torchvision", CIFAR, 100),
    ("resnet101_cifar", "timm", CIFAR, 10), ("resnet152_cifar", "timm", CIFAR, 10),
    ("resnet18_cifar", "pytorch-cifar", CIFAR, 10), ("resnet34_cifar", "pytorch-cifar", CIFAR, 10), ("resnet50_cifar", "pytorch-cifar", CIFAR, 10),
    ("resnet101_cifar", "pytorch-cifar", CIFAR, 100), ("resnet152_cifar", "pytorch-cifar", CIFAR, 10),
    ("preact_resnet18", "pytorch-cifar", CIFAR, 10),
    ("densenet121", "torchvision", PICTURES, 1000),
    ("mobilenet_v2", "torchvision", PICTURES, 1000), ("mobilenetv2_100", "timm", PICTURES, 8),
    ("convnext_tiny", "timm", PICTURES, 10),
    ("vit_tiny_patch16_224", "timm", PICTURES, 1000), ("vit_tiny_patch16_224", "timm", "side = 384", 10),
];

/// The same of networks of 50 to 200 MB, whose names and shapes alone are looked at.
#[rustfmt::skip]
const BY_NAMES: [(&str, &str, &str, usize); 12] = [
    ("vgg19_bn", "timm", MLP, 7),
    ("resnet50", "timm", PICTURES, 1000),
    ("resnet18_cifar", "pytorch-cifar", SMALL, 10),
    ("preact_resnet18", "pytorch-cifar", SMALL, 200),
    ("wide_resnet28_10", "trades", SMALL, 10),
    ("dm_wide_resnet28_10", "deepmind", SMALL, 10),
    ("densenet161", "timm", PICTURES, 10),
    ("densenet169", "torchvision", PICTURES, 4),
    ("densenet201", "timm", PICTURES, 1000),
    ("convnext_tiny", "torchvision", PICTURES, 1000),
    ("vit_small_patch16_224", "timm", PICTURES, 3),
    ("deit_tiny_patch16_224", "timm", PICTURES, 1000),
];

/// Networks of 0.2 to 1 GB, whose tables of blocks are those of smaller ones above.
const LARGE: [&str; 11] = [
    "wide_resnet34_10",
    "dm_wide_resnet34_10",
    "convnext_small",
    "wide_resnet34_20",
    "wide_resnet70_16",
    "dm_wide_resnet34_20",
    "dm_wide_resnet70_16",
    "convnext_base",
    "vit_base_patch16_224",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
];

/// What wrappers put before every name.
const WRAPPERS: [&str; 5] = ["", "module.", "_orig_mod.", "model.", "_orig_mod.module."];

fn described((family, keys, lines, classes): (&str, &str, &str, usize)) -> ModelFile {
    let text = format!(
        "family = \"{family}\"\nkeys = \"{keys}\"\n{lines}\nclasses = {classes}\nmean = [0, 0, 0]\nstd = [1, 1, 1]\nweights = \"w\"\n"
    );
    model::parse(Path::new("m.toml"), &text).unwrap()
}

/// The tensors of a description, with small numbers that differ.
fn tensors(file: &ModelFile) -> Vec<Stored> {
    let named = families::checked(file).unwrap().network(file, None).unwrap().tensors;
    let stored = |(name, shape): (String, Vec<usize>)| {
        let is_variance = name.ends_with("running_var");
        let seed = name.bytes().fold(0usize, |h, b| h.wrapping_mul(31).wrapping_add(usize::from(b)));
        let number = |i: usize| ((i * 7 + seed) % 61) as f32 / 610.0 - 0.05 + if is_variance { 1.0 } else { 0.0 };
        // the same 61 numbers again and again
        let block: Vec<u8> = (0..61).flat_map(|i| number(i).to_le_bytes()).collect();
        let mut bytes = block.repeat(shape.iter().product::<usize>().div_ceil(61));
        bytes.truncate(4 * shape.iter().product::<usize>());
        (name, shape, bytes)
    };
    named.into_par_iter().map(stored).collect()
}

fn wrapped(tensors: Vec<Stored>, before: &str) -> Vec<Stored> {
    tensors.into_iter().map(|(name, shape, bytes)| (format!("{before}{name}"), shape, bytes)).collect()
}

/// What decides a logit, but the name that two networks of one form share.
fn text(file: &ModelFile) -> String {
    families::find(&file.family).unwrap().text(file).replace("deit_", "vit_")
}

fn logits(file: &ModelFile, bytes: &[u8]) -> Vec<Vec<f32>> {
    let source = ModelSource::new("m".into(), file.clone(), None, Cow::Borrowed(bytes.to_vec().leak())).unwrap();
    let image: Vec<f32> = vgg::image(file.size[0]);
    let device = candle_core::Device::Cpu;
    let images = candle_core::Tensor::from_vec(image, (1, 3, file.size[0], file.size[1]), &device).unwrap();
    source.engine(&device, Precision::F32).unwrap().logits(&images).unwrap().to_vec2().unwrap()
}

#[test]
fn every_family_is_recognised_in_all_namings() {
    for name in FAMILIES.iter().flat_map(|family| family.names) {
        let is_there = CHECKPOINTS.iter().chain(&BY_NAMES).any(|(family, ..)| family == name);
        assert!(is_there != LARGE.contains(name), "{name}: in the table, or too large for it");
    }
    let (mut right, mut computed) = (0, 0);
    for (i, checkpoint) in CHECKPOINTS.into_iter().enumerate() {
        let (family, keys, ..) = checkpoint;
        let (truth, wrapper) = (described(checkpoint), WRAPPERS[i % WRAPPERS.len()]);
        let bytes = vgg::safetensors(&wrapped(tensors(&truth), wrapper));
        let found = recognise_file(&bytes, None).unwrap_or_else(|problem| panic!("{family} by {keys}: {problem}"));
        assert_eq!(found.len(), 1, "{family} by {keys} is one network");
        assert_eq!(text(&found[0].file), text(&truth), "{family} by {keys} behind `{wrapper}`");
        let said = found[0].notes.iter().any(|note| note.contains(&format!("`{wrapper}` before all names")));
        assert_eq!(said, !wrapper.is_empty(), "{:?}", found[0].notes);
        let open: Vec<&str> = found[0].guess.open.iter().map(|key| key.name).collect();
        let expected: &[&str] = match family {
            "preact_resnet18" => &["shortcut"],
            f if f.starts_with("dm_") => &["activation"],
            _ => &[],
        };
        assert_eq!(open, expected, "{family}: what no tensor shows");
        if bytes.len() < 4 << 20 && truth.size == [32; 2] {
            assert_eq!(logits(&found[0].file, &bytes), logits(&truth, &bytes), "{family} by {keys}");
            computed += 1;
        }
        right += 1;
    }
    assert!(computed >= 10, "{computed}");
    for checkpoint in BY_NAMES {
        let truth = described(checkpoint);
        let named = families::checked(&truth).unwrap().network(&truth, None).unwrap().tensors;
        let weights = model::Weights::from_tensors(named.into_iter().map(|(name, shape)| (name, shape, Vec::new())));
        let guesses: Vec<_> = FAMILIES.iter().flat_map(|family| (family.recognise)(&weights)).collect();
        let is_it = |guess: &model::Guess| {
            let own: Vec<(&str, String)> = guess.own.iter().map(|(key, value)| (key.name, value.to_string())).collect();
            let given = truth.own.iter().all(|(key, value)| own.contains(&(key, value.to_string())));
            guess.family.replace("deit_", "vit_") == truth.family.replace("deit_", "vit_")
                && given
                && guess.classes == truth.classes
        };
        assert!(guesses.iter().any(is_it), "{checkpoint:?}");
    }
    println!("{right} of {} right, 0 wrong; logits compared of {computed}", CHECKPOINTS.len());
}

#[test]
fn no_key_is_left_without_a_word() {
    for family in FAMILIES {
        assert!(!family.unseen.is_empty(), "{}", family.title);
        let mut rows = CHECKPOINTS.into_iter().chain(BY_NAMES).filter(|(name, ..)| family.names.contains(name));
        let truth = described(rows.next().expect("a row of it"));
        let named = tensors(&truth).into_iter().map(|(name, shape, _)| (name, shape, Vec::new()));
        let guesses = (family.recognise)(&model::Weights::from_tensors(named));
        let names = |key: &foolproof::config::FamilyKey| {
            guesses.iter().all(|g| g.own.iter().any(|(k, _)| k == key) || g.open.contains(key))
        };
        assert!(!guesses.is_empty() && family.keys.iter().all(names), "{}", family.title);
    }
}

#[test]
fn what_does_not_fit_to_the_last_tensor_is_refused_with_what_was_found() {
    for checkpoint in CHECKPOINTS.into_iter().filter(|(_, _, lines, _)| [VGG, CIFAR].contains(lines)) {
        let (family, keys, ..) = checkpoint;
        let whole = tensors(&described(checkpoint));
        let refused = |tensors: &[Stored], expected: &str| {
            let problem = recognise_file(&vgg::safetensors(tensors), None).unwrap_err();
            assert!(problem.contains(expected), "{family} by {keys}: {expected}\nin {problem}");
            assert!(problem.contains("the nearest is `") && problem.contains("torch.onnx.export"), "{problem}");
        };
        let mut more = whole.clone();
        more.push(("teacher.weight".into(), vec![1], vec![0; 4]));
        refused(&more, "tensor `teacher.weight` [1] has no place");
        let mut grey = whole.clone();
        let first = grey.iter_mut().find(|(name, ..)| ["conv1.weight", "features.0.weight"].contains(&name.as_str()));
        let (_, shape, bytes) = first.unwrap();
        shape[1] = 1;
        bytes.truncate(bytes.len() / 3);
        refused(&grey, "1, 3, 3]");
        let body: Vec<Stored> = whole.into_iter().filter(|(name, ..)| !is_head(name)).collect();
        refused(&body, "is missing");
    }
    let text = |names: &[(&str, &[usize])]| {
        let stored = |(name, shape): &(&str, &[usize])| {
            (name.to_string(), shape.to_vec(), vec![0; 4 * shape.iter().product::<usize>()])
        };
        recognise_file(&vgg::safetensors(&names.iter().map(stored).collect::<Vec<_>>()), None).unwrap_err()
    };
    let language = text(&[("model.embed_tokens.weight", &[100, 8]), ("model.layers.0.mlp.up_proj.weight", &[16, 8])]);
    assert!(
        language.starts_with("no network of a known family; the file has the tensors `embed_tokens.weight` [100, 8]")
    );
    assert!(!language.contains("the nearest is"), "{language}");
    for (bytes, expected) in [
        (&b""[..], "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs"),
        (b"<html>", "a page of the web"),
        (b"\x80\x04\x95", "a pickle that torch.save did not write"),
    ] {
        assert!(recognise_file(bytes, None).unwrap_err().contains(expected), "{expected}");
    }
    let module = recognise_file(&fs::read("tests/data/weights/module.pth").unwrap(), None).unwrap_err();
    assert!(module.contains("a whole pickled object, no state dict (hint:"), "{module}");
}

fn is_head(name: &str) -> bool {
    ["classifier.", "head.fc.", "fc.", "linear."].iter().any(|head| name.starts_with(head))
}

/// What `torch.save` writes of a dictionary of state dicts, or of one whose key is empty.
fn saved(dicts: &[(&str, &[Stored])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let (mut pickle, mut number) = (b"\x80\x02}(".to_vec(), 0);
    let push_text = |pickle: &mut Vec<u8>, text: &str| {
        pickle.push(b'X');
        pickle.extend((text.len() as u32).to_le_bytes());
        pickle.extend(text.as_bytes());
    };
    let push_numbers = |pickle: &mut Vec<u8>, numbers: &[usize]| {
        pickle.push(b'(');
        numbers.iter().for_each(|n| pickle.extend([&b"J"[..], &(*n as i32).to_le_bytes()].concat()));
        pickle.push(b't');
    };
    for (key, tensors) in dicts {
        push_text(&mut pickle, key);
        pickle.extend(b"}(");
        for (name, shape, bytes) in *tensors {
            push_text(&mut pickle, name);
            pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
            push_text(&mut pickle, "storage");
            pickle.extend(b"ctorch\nFloatStorage\n");
            push_text(&mut pickle, &number.to_string());
            push_text(&mut pickle, "cpu");
            pickle.extend([&b"J"[..], &(bytes.len() as i32 / 4).to_le_bytes(), b"tQJ", &0i32.to_le_bytes()].concat());
            push_numbers(&mut pickle, shape);
            let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
            push_numbers(&mut pickle, &strides);
            pickle.extend(b"\x89NtR");
            zip.start_file(format!("archive/data/{number}"), plain).unwrap();
            zip.write_all(bytes).unwrap();
            number += 1;
        }
        pickle.push(b'u');
    }
    pickle.extend(b"u.");
    zip.start_file("archive/data.pkl", plain).unwrap();
    zip.write_all(&pickle).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn the_state_dict_is_chosen_among_those_of_a_checkpoint() {
    let net = tensors(&described(("vgg11", "torchvision", VGG, 10)));
    let mut half = net.clone();
    half.truncate(3);
    let keys = |dicts: &[(&str, &[Stored])]| {
        let found = recognise_file(&saved(dicts), None).unwrap();
        found.into_iter().map(|one| one.file.state_dict).collect::<Vec<_>>()
    };
    let some = |key: &str| Some(key.to_string());
    assert_eq!(keys(&[("state_dict", &net)]), [None], "as it is looked for");
    assert_eq!(keys(&[("weights", &net)]), [some("weights")], "a name that is not looked for");
    assert_eq!(keys(&[("ema", &net), ("model", &net)]), [some("model"), some("ema")], "the usual one first");
    assert_eq!(keys(&[("model", &half), ("student", &net)]), [some("student")], "the one that is a network");
    for name in ["flat", "state_dict", "parallel", "half", "legacy", "views", "channels_last"] {
        let bytes = fs::read(format!("tests/data/weights/{name}.pth")).unwrap();
        let found = recognise_file(&bytes, None).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!((found[0].file.family.as_str(), found[0].file.state_dict.as_deref()), ("vgg11", None), "{name}");
    }
}

/// Runs `init` in a folder; nobody sits at a terminal.
fn init(folder: &Path, arguments: &[&str]) -> (Output, String) {
    let run = support::foolproof().arg("init").args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8(run.stderr.clone()).unwrap();
    (run, said)
}

const BUILT_IN: &str = "configs/models/vgg11-half-cifar10.safetensors";

#[test]
fn the_files_that_it_writes_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::copy(BUILT_IN, at.join("mine.safetensors")).unwrap();
    let (run, said) = init(at, &["mine.safetensors"]);
    assert!(run.status.success(), "{said}");
    assert_eq!(String::from_utf8(run.stdout).unwrap(), "mine.toml\nmine-sweep.toml\n");
    for (file, schema) in [("mine.toml", "model.schema.json"), ("mine-sweep.toml", "sweep.schema.json")] {
        assert!(fs::read_to_string(at.join(file)).unwrap().starts_with(&format!("#:schema ./{schema}\n")));
        assert!(fs::read_to_string(at.join(schema)).unwrap().contains("json-schema.org/draft/2020-12"));
    }
    for expected in [
        "recognised: vgg11_bn, width 0.5, head linear, 10 classes",
        "assumed: images of side 32",
        "assumed: what no tensor shows, as usual: ReLU",
        "tried: normalisation none",
        "recognised: normalisation CIFAR-10's (mean [0.4914, 0.4822, 0.4465], std [0.247, 0.2435, 0.2616]): 20 of 20 right",
        "assumed: pictures are resized to 32",
        "assumed: none of these, which are within chance of it: ImageNet's (20)",
    ] {
        assert!(said.contains(expected), "{expected}\nin {said}");
    }
    assert!(said.contains("\n16 cells missing: 182140 gradient steps"), "{said}");
    let sweep = fs::read_to_string(at.join("mine-sweep.toml")).unwrap();
    assert!(sweep.contains("the slowest by far: `foolproof list mine-sweep.toml` says the price"), "{sweep}");
    assert!(fs::read_to_string(at.join("mine.toml")).unwrap().contains("class_names = \"cifar10\" "));
    let own = model::find(at.join("mine.toml").to_str().unwrap(), at, &Hub::none()).unwrap();
    let known = model::built_in("vgg11-half-cifar10").unwrap();
    assert_eq!((own.network(), &own.digest, own.is_pinned()), (known.network(), &known.digest, true));
    let (again, said) = init(at, &["mine.safetensors"]);
    assert!(!again.status.success() && said.contains("mine.toml is there already (hint: --force"), "{said}");
    let (again, _) = init(at, &["mine.safetensors", "--force", "--to", "elsewhere"]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), "elsewhere/mine.toml\nelsewhere/mine-sweep.toml\n");

    for config in ["mine-sweep.toml", "elsewhere/mine-sweep.toml"] {
        let run = support::foolproof().args(["run", config, "--quiet"]).current_dir(at).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success() && !said.contains("nothing pins"), "{said}");
    }
    let cells = fs::read_dir(at.join("results/mine/cells")).unwrap().count();
    assert_eq!(cells, 16, "noise and PGD at seven budgets, AutoAttack at two, the same from both folders");
}

#[test]
fn what_is_left_open_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let write =
        |name: &str, checkpoint| fs::write(at.join(name), vgg::safetensors(&tensors(&described(checkpoint)))).unwrap();
    write("pre.safetensors", ("preact_resnet18", "pytorch-cifar", "width = 0.0625\nside = 32", 7));
    let (run, said) = init(at, &["pre.safetensors"]);
    assert!(run.status.success(), "{said}");
    for expected in ["to fill in: `shortcut`", "to fill in: `mean` and `std`", "to fill in: `data` in the sweep"] {
        assert!(said.contains(expected), "{expected}\nin {said}");
    }
    let run = support::foolproof().args(["run", "pre-sweep.toml"]).current_dir(at).output().unwrap();
    let problem = String::from_utf8(run.stderr).unwrap();
    let (model, sweep) =
        (fs::read_to_string(at.join("pre.toml")).unwrap(), fs::read_to_string(at.join("pre-sweep.toml")).unwrap());
    let marked = |name: &str, text: &str| {
        let lines = text.lines().zip(1..).filter(|(line, _)| line.contains(&format!("\"{FILL_IN}\"")));
        lines
            .map(|(line, n)| format!("{name}:{n}: `{}` is still \"{FILL_IN}\"", line.split(' ').next().unwrap()))
            .collect::<Vec<_>>()
    };
    let expected = [marked("pre.toml", &model), marked("pre-sweep.toml", &sweep)].concat();
    assert_eq!(expected.len(), 5, "{model}{sweep}");
    assert!(!run.status.success() && expected.iter().all(|line| problem.contains(line)), "{expected:?}\nin {problem}");
    assert_eq!(problem.lines().filter(|line| line.contains(".toml:")).count(), 5, "and nothing else: {problem}");

    // every line filled in, it resolves
    let (run, said) = init(at, &["pre.safetensors", "--yes", "--force"]);
    assert!(
        run.status.success() && said.contains("assumed: shortcut activated") && said.contains("tried on no image"),
        "{said}"
    );
    let own = model::find(at.join("pre.toml").to_str().unwrap(), at, &Hub::none()).unwrap();
    assert!(
        own.network().contains("shortcut=activated") && own.file.mean == [0.4914, 0.4822, 0.4465],
        "{}",
        own.network()
    );

    // ten classes, but of random weights: no CIFAR-10 network, and nobody says so for it
    write("random.safetensors", ("vgg11", "torchvision", VGG, 10));
    let (run, said) = init(at, &["random.safetensors"]);
    assert!(
        run.status.success() && said.contains("to fill in: nothing that was tried is better than guessing"),
        "{said}"
    );
    assert!(fs::read_to_string(at.join("random-sweep.toml")).unwrap().contains("data    = \"FILL IN\""));
}

/// A folder of pictures, a folder a class, sorted as CIFAR-10's labels.
fn pictures(at: &Path) {
    for picture in fs::read_dir("datasets/cifar10-sample").unwrap().map(|e| e.unwrap().path()) {
        let name = picture.file_stem().unwrap().to_string_lossy().into_owned();
        let Some((_, label)) = name.rsplit_once('_').filter(|_| picture.extension().is_some_and(|e| e == "png")) else {
            continue;
        };
        let class = at.join(format!("pictures/class-{label}"));
        fs::create_dir_all(&class).unwrap();
        fs::copy(&picture, class.join(picture.file_name().unwrap())).unwrap();
    }
}

/// The same, with a picture in the classes of which there is none.
fn all_classes(at: &Path) {
    pictures(at);
    for class in (0..10).map(|c| at.join(format!("pictures/class-{c}"))).filter(|place| !place.exists()) {
        fs::create_dir(&class).unwrap();
        fs::copy("datasets/cifar10-sample/cifar10_00_3.png", class.join("cat.png")).unwrap();
    }
}

#[test]
fn squares_of_one_size_say_how_large_images_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let truth = described(("resnet18", "torchvision", "width = 0.25\nside = 64", 2));
    fs::write(at.join("toy.safetensors"), vgg::safetensors(&tensors(&truth))).unwrap();
    for (name, side) in [("cat", 64), ("dog", 64)] {
        fs::create_dir_all(at.join("pictures").join(name)).unwrap();
        image::RgbImage::from_fn(side, side, |x, y| image::Rgb([x as u8, y as u8, 9]))
            .save(at.join(format!("pictures/{name}/a.png")))
            .unwrap();
    }
    let side = || {
        fs::read_to_string(at.join("toy.toml")).unwrap().lines().find(|l| l.starts_with("side")).unwrap()[..12]
            .to_string()
    };
    let (run, said) = init(at, &["toy.safetensors", "--data", "pictures"]);
    assert!(run.status.success() && said.contains("recognised: images of side 64, as the data has them"), "{said}");
    assert!(said.contains(" of 2 right on `folder` may be chance (hint: more images)"), "{said}");
    assert_eq!(side(), "side    = 64");
    image::RgbImage::new(80, 60).save(at.join("pictures/dog/b.png")).unwrap();
    let (run, said) = init(at, &["toy.safetensors", "--data", "pictures", "--force"]);
    assert!(run.status.success() && said.contains("assumed: images of side 224"), "{said}");
    assert_eq!(side(), "side    = 22");
}

#[test]
fn normalisation_is_tried_on_a_folder_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    pictures(at);
    let classes = fs::read_dir(at.join("pictures")).unwrap().count();
    fs::copy(BUILT_IN, at.join("mine.safetensors")).unwrap();
    let (_, said) = init(at, &["mine.safetensors", "--data", "pictures"]);
    assert!(said.contains(&format!("in {classes} classes, and vgg11_bn takes side 32 and has 10 classes")), "{said}");
    all_classes(at);
    let (run, said) = init(at, &["mine.safetensors", "--data", "pictures"]);
    assert!(run.status.success() && said.contains("by the highest clean accuracy on `folder`"), "{said}");
    let sweep = fs::read_to_string(at.join("mine-sweep.toml")).unwrap();
    assert!(sweep.contains("data    = { name = \"folder\", path = \"pictures\", shuffle = 0 }"), "{sweep}");
    let own = model::find(at.join("mine.toml").to_str().unwrap(), at, &Hub::none()).unwrap();
    let names: Vec<String> = (0..10).map(|class| format!("class-{class}")).collect();
    assert_eq!(class_names::of_file(&own.file).unwrap(), Some(names));
    for (data, expected) in [
        ("picture", "--data picture: no dataset, and no folder"),
        ("cifar-10", "did you mean `cifar10`"),
        ("blank-cifar10", "its images have no true class"),
        ("folder", "name the folder itself"),
    ] {
        let (run, said) = init(at, &["mine.safetensors", "--force", "--data", data]);
        assert!(!run.status.success() && said.contains(expected), "{data}: {said}");
    }
}

#[test]
fn the_price_of_the_sweep_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    all_classes(at);
    for name in ["", "-robust"] {
        let weights = format!("configs/models/vgg11-half-cifar10{name}.safetensors");
        fs::copy(weights, at.join(format!("mine{name}.safetensors"))).unwrap();
    }
    let said = |file: &str| {
        let (run, said) = init(at, &[file, "--data", "pictures"]);
        assert!(run.status.success(), "{said}");
        assert!(said.contains("16 cells missing: ") && said.contains(" gradient steps at most"), "{said}");
        said
    };
    // what falls is not paid for to the end; the robust network stands on half of its images
    assert!(said("mine.safetensors").contains("in which a few steps fooled many images; "));
    assert!(said("mine-robust.safetensors").contains("by a probe of two seconds, "));
}

/// An ONNX network of so many classes.
fn onnx_of(classes: usize) -> Vec<u8> {
    Onnx::new(&[1, 3, 24, 24], 17)
        .weight("w", &[3, classes as i64], &vec![0.1; 3 * classes])
        .node("GlobalAveragePool", &["image"], &["x"], &[])
        .node("Flatten", &["x"], &["y"], &[])
        .node("MatMul", &["y", "w"], &["logits"], &[])
        .bytes()
}

#[test]
fn many_classes_are_named_in_a_file_beside() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("net.onnx"), onnx_of(21)).unwrap();
    let names: Vec<String> = (0..21).map(|i| format!("thing {i}")).collect();
    fs::write(at.join("names"), names.join("\n")).unwrap();
    let (run, said) = init(at, &["net.onnx", "--yes", "--classes", "names", "--to", "there"]);
    assert!(run.status.success(), "{said}");
    let written = String::from_utf8(run.stdout).unwrap();
    assert_eq!(written, "there/net.toml\nthere/net-sweep.toml\nthere/net-classes.txt\n");
    assert!(fs::read_to_string(at.join("there/net.toml")).unwrap().contains("class_names = \"net-classes.txt\""));
    let own = model::find(at.join("there/net.toml").to_str().unwrap(), at, &Hub::none()).unwrap();
    assert_eq!(class_names::of_file(&own.file).unwrap(), Some(names.clone()));
    fs::write(at.join("names"), names[1..].join("\n")).unwrap();
    let (run, said) = init(at, &["net.onnx", "--yes", "--classes", "names", "--force"]);
    assert!(!run.status.success() && said.contains("--classes: 20 names for 21 classes (hint:"), "{said}");
    // names of images that the network gets wrong may be in another order: they are not written
    fs::write(at.join("net.onnx"), onnx_of(2)).unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir_all(at.join("pictures").join(class)).unwrap();
        image::RgbImage::new(24, 24).save(at.join("pictures").join(class).join("a.png")).unwrap();
    }
    let (run, said) = init(at, &["net.onnx", "--data", "pictures"]);
    assert!(run.status.success() && said.contains("1 of 2 right on `folder` may be chance"), "{said}");
    assert!(!fs::read_to_string(at.join("net.toml")).unwrap().contains("class_names"));
}

#[test]
fn what_no_sweep_can_attack_is_refused_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refused = |name: &str, bytes: &[u8], expected: &str| {
        fs::write(at.join(name), bytes).unwrap();
        let (run, said) = init(at, &[name, "--yes"]);
        let problem: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("error: ")).collect();
        assert!(!run.status.success() && problem.len() == 1, "{said}");
        assert!(
            problem[0].starts_with(&format!("error: {name}: {expected}")) && problem[0].contains("(hint: "),
            "{said}"
        );
        assert!(!at.join(name).with_extension("toml").exists());
    };
    fs::write(at.join("a + b.onnx"), onnx_of(2)).unwrap();
    let (run, said) = init(at, &["a + b.onnx", "--yes"]);
    assert!(!run.status.success() && said.contains("could not be named in a sweep (hint: rename the file)"), "{said}");
    assert_eq!(fs::read_dir(at).unwrap().count(), 1, "nothing is left behind");
    refused(
        "p.onnx",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "the file is a pointer of git-lfs",
    );
    refused("page.onnx", b"<!DOCTYPE html><html>", "the file is a page of the web");
    refused("one.onnx", &onnx_of(1), "the network has one class, and an attack needs two (hint: of a logit x");
    let one = tensors(&described(("vgg11", "torchvision", VGG, 1)));
    refused("one.safetensors", &vgg::safetensors(&one), "the network has one class");

    let net = tensors(&described(("vgg11", "torchvision", VGG, 10)));
    let mut broken = net.clone();
    let (name, _, bytes) = broken.last_mut().unwrap();
    bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let cause = format!("vgg11 by names and shapes, but tensor `{name}`: expected finite numbers, found NaN at 0");
    refused("nan.safetensors", &vgg::safetensors(&broken), &cause);
    let cause = "vgg11 by names and shapes, but tensor `";
    refused("double.safetensors", &doubled(&net), cause);
    let (_, said) = init(at, &["double.safetensors", "--yes"]);
    assert!(said.contains("expected F32, F16 or BF16, found F64 (hint: save them in float32"), "{said}");
}

/// The same tensors in float64.
fn doubled(tensors: &[Stored]) -> Vec<u8> {
    let double = |bytes: &[u8]| -> Vec<u8> {
        let (numbers, _) = bytes.as_chunks::<4>();
        numbers.iter().flat_map(|number| f64::from(f32::from_le_bytes(*number)).to_le_bytes()).collect()
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, bytes)| double(bytes)).collect();
    let view = |shape: &Vec<usize>, bytes| TensorView::new(Dtype::F64, shape.clone(), bytes).unwrap();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| (name, view(shape, bytes)));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn an_onnx_file_says_classes_and_size_itself() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let net = |side: i64| {
        Onnx::new(&[OPEN, 3, side, side], 17)
            .weight("w", &[3, 4], &[0.1; 12])
            .node("GlobalAveragePool", &["image"], &["x"], &[])
            .node("Flatten", &["x"], &["y"], &[])
            .node("MatMul", &["y", "w"], &["logits"], &[])
            .bytes()
    };
    for (side, expected, line) in [
        (48, "recognised: images of side 48", "side    = 48"),
        (OPEN, "assumed: images of side 224; the file leaves it open", "side    = 224"),
    ] {
        fs::write(at.join("net.onnx"), net(side)).unwrap();
        let (run, said) = init(at, &["net.onnx", "--force"]);
        assert!(
            run.status.success() && said.contains("an ONNX network of 4 classes") && said.contains(expected),
            "{said}"
        );
        let text = fs::read_to_string(at.join("net.toml")).unwrap();
        assert!(text.contains("mean    = \"FILL IN\"") && text.contains(line) && !text.contains("family"), "{text}");
    }
    let (run, said) = init(at, &["net.onnx", "--force", "--yes"]);
    assert!(run.status.success(), "{said}");
    let own = model::find(at.join("net.toml").to_str().unwrap(), at, &Hub::none()).unwrap();
    assert_eq!((own.file.classes, own.file.mean, own.load().unwrap().classes()), (4, [0.0; 3], 4));
    fs::write(at.join("other.onnx"), b"PK\x03\x04").unwrap();
    assert!(init(at, &["other.onnx"]).1.contains("error: other.onnx: the file is no ONNX model, or damaged"));
}

const CONFIG: &str = r#"{"architecture": "resnet18", "num_classes": 10, "pretrained_cfg": {"input_size": [3, 32, 32],
    "interpolation": "bilinear", "crop_pct": 1.0, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}"#;

#[test]
fn a_repository_of_the_hub_is_pinned() {
    let (server, folder) = (HubServer::start(), tempfile::tempdir().unwrap());
    let at = folder.path();
    let described_by_itself = vgg::safetensors(&tensors(&described(("resnet18_cifar", "torchvision", SMALL, 10))));
    let bare = vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10)));
    let files =
        [("config.json", CONFIG.as_bytes(), false), ("model.safetensors", described_by_itself.as_slice(), true)];
    let commit = server.put(Kind::Model, "somebody/small", &files);
    let other = server.put(Kind::Model, "somebody/bare", &[("model.safetensors", bare.as_slice(), true)]);
    let init = |weights: &str| {
        let mut run = support::foolproof();
        run.args(["init", weights, "--yes"]).current_dir(at).env("HF_ENDPOINT", server.endpoint());
        let run = run.env("HF_HOME", at.join("home")).output().unwrap();
        (run.status.success(), String::from_utf8(run.stderr).unwrap())
    };
    let (done, said) = init("hub:somebody/small");
    assert!(
        done && said.contains("recognised: resnet18_cifar, 10 classes, images of side 32, as the repository says"),
        "{said}"
    );
    let hub = server.hub(&at.join("home/hub"));
    let own = model::find(at.join("small.toml").to_str().unwrap(), at, &hub).unwrap();
    assert_eq!((own.digest.as_str(), own.is_pinned()), (sha256(&described_by_itself).as_str(), true));
    assert_eq!((own.file.mean, own.file.std), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]));
    assert!(fs::read_to_string(at.join("small.toml")).unwrap().contains(&format!("revision = \"{commit}\"")));

    let (done, said) = init("hub:somebody/bare");
    assert!(done && said.contains("recognised: vgg11, width 0.015625, head linear, 10 classes"), "{said}");
    assert!(fs::read_to_string(at.join("bare.toml")).unwrap().contains(&format!("revision = \"{other}\"")));
    let (done, said) = init("hub:somebody/none");
    assert!(!done && said.contains("somebody/none"), "{said}");
}

#[test]
fn a_person_chooses_takes_the_default_or_leaves_it_open() {
    let choices = ["silu".to_string(), "relu".to_string()];
    for (typed, expected) in
        [("\n", Some(0)), ("2\n", Some(1)), ("relu\n", Some(1)), ("7\n2\n", Some(1)), ("?\n", None), ("", None)]
    {
        let mut person = Answers::Person(Box::new(typed.as_bytes()));
        assert_eq!(person.choose("activation", &choices), expected, "{typed:?}");
    }
    assert_eq!(Answers::Person(Box::new(&b" cifar10\n"[..])).text("images"), Some("cifar10".into()));
    assert_eq!((Answers::Defaults.text("images"), Answers::Person(Box::new(&b"\n"[..])).text("images")), (None, None));
    assert_eq!(Answers::Person(Box::new(&b"x\n48\n"[..])).number("side", 32), Some(48));
    assert_eq!((Answers::Defaults.number("side", 32), Answers::Nobody.number("side", 32)), (Some(32), None));
}
