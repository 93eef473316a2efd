//! VGGs of full size: logits of PyTorch, both namings of the tensors; and, on request, what loading and attacking one takes.

mod support;
#[path = "support/vgg.rs"]
mod vgg;

use candle_core::{Device, Tensor};
use foolproof::config::{KeyValue, ModelFile};
use foolproof::kernel::Precision;
use foolproof::model::{FAMILIES, MODELS, ModelSource, WIDTH};
use rayon::prelude::*;
use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Instant;
use vgg::{Head, Stored};

/// timm's and torchvision's own logits: `scripts/reference_vgg.py`.
const REFERENCE: &str = include_str!("data/vgg_logits.json");

fn description(name: &str) -> ModelFile {
    MODELS.iter().find(|m| m.name == name).expect("built in").file().unwrap()
}

fn source(family: &str, keys: &str, tensors: &[Stored]) -> ModelSource {
    let mut file = description(&format!("{family}.tv_in1k"));
    (file.sha256, file.keys) = (None, Some(keys.into()));
    ModelSource::new(family.into(), file, None, Cow::Owned(vgg::safetensors(tensors))).unwrap()
}

#[test]
fn all_eight_have_pytorchs_logits_under_timms_and_torchvisions_names() {
    let reference: serde_json::Value = serde_json::from_str(REFERENCE).unwrap();
    let every = reference["every"].as_u64().unwrap() as usize;
    let image = Tensor::from_vec(vgg::image(224), (1, 3, 224, 224), &Device::Cpu).unwrap();
    let families = FAMILIES.iter().flat_map(|f| f.names.iter().copied()).filter(|name| name.starts_with("vgg"));
    let families: Vec<&str> = families.collect();
    assert_eq!(families.len(), 8);
    // most of the time goes into making weights, on one thread
    families.into_par_iter().for_each(|family| {
        let began = Instant::now();
        let mut tensors = vgg::tensors(family, 1.0, Head::Mlp(1000));
        let torchvision = source(family, "torchvision", &tensors);
        vgg::as_timm(&mut tensors);
        let timm = source(family, "timm", &tensors);
        drop(tensors);
        assert!(torchvision.load().unwrap() == timm.load().unwrap(), "{family}: the namings give different networks");
        drop(torchvision);
        let logits = timm.engine(&Device::Cpu, Precision::F32).unwrap().logits(&image).unwrap();
        let logits = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = reference["logits"][family].as_array().unwrap();
        let ours = logits.iter().step_by(every);
        assert_eq!(ours.len(), expected.len());
        let (mut worst, mut largest) = (0f64, 0f64);
        for (z, expected) in ours.zip(expected) {
            let expected = expected.as_f64().unwrap();
            worst = worst.max((f64::from(*z) - expected).abs());
            largest = largest.max(expected.abs());
        }
        println!("{family}: off by {worst:.1e}, logits up to {largest:.1}, {:.1} s", began.elapsed().as_secs_f64());
        assert!(worst < 1e-4, "{family}: {worst}");
    });
}

#[test]
fn tensors_of_the_other_naming_are_missing_under_the_one_that_is_asked_for() {
    let tensors = vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10));
    let mut file = description("vgg16_bn_cifar10");
    (file.sha256, file.family) = (None, "vgg11".into());
    file.own.insert(WIDTH.name, KeyValue::Number(1.0 / 64.0));
    let net = |file: &ModelFile, tensors: &[Stored]| {
        let bytes = Cow::Owned(vgg::safetensors(tensors));
        ModelSource::new("m".into(), file.clone(), None, bytes).unwrap().load().map_err(|e| e.to_string())
    };
    let missing = net(&file, &tensors).unwrap_err();
    assert!(missing.starts_with("weights of `m`: tensor `head.fc.weight` is missing"), "{missing}");
    let mut timm = tensors.clone();
    vgg::as_timm(&mut timm);
    let expected = net(&file, &timm).unwrap();
    file.keys = None;
    assert!(net(&file, &tensors).unwrap() == expected && net(&file, &timm).unwrap() == expected);
    // as `torch.nn.DataParallel` saves it
    let parallel: Vec<Stored> = tensors.into_iter().map(|(n, s, b)| (format!("module.{n}"), s, b)).collect();
    assert!(net(&file, &parallel).unwrap() == expected);
}

#[test]
fn timms_head_on_a_larger_map_is_refused() {
    let mut tensors = vgg::tensors("vgg11", 1.0 / 64.0, Head::Mlp(10));
    vgg::as_timm(&mut tensors);
    let mut file = description("vgg11.tv_in1k");
    (file.sha256, file.classes, file.size) = (None, 10, [256; 2]);
    file.own.insert(WIDTH.name, KeyValue::Number(1.0 / 64.0));
    let source = |file| ModelSource::new("m".into(), file, None, Cow::Owned(vgg::safetensors(&tensors)));
    let refused = |problem: String| {
        assert!(problem.contains("timm's head on a map of side 8") && problem.contains("side = 224"), "{problem}");
    };
    // where the model file says whose names they are, before any weight is read
    refused(source(file.clone()).map(drop).unwrap_err().to_string());
    file.keys = None;
    refused(source(file).unwrap().load().unwrap_err().to_string());
}

/// Where the measurement lies; outside git.
fn folder() -> PathBuf {
    PathBuf::from("target/vgg16")
}

/// Writes a VGG-16 of full size with random weights (528 MiB), eight pictures, a sweep over them, for docs/performance.md:
///
/// ```sh
/// cargo test --release --test vgg -- --ignored write_a_vgg16 --nocapture
/// ```
#[test]
#[ignore = "writes 528 MiB into target/vgg16"]
fn write_a_vgg16_of_full_size_and_a_sweep() {
    let folder = folder();
    std::fs::create_dir_all(folder.join("pictures")).unwrap();
    let mut tensors = vgg::tensors("vgg16", 1.0, Head::Mlp(1000));
    vgg::as_timm(&mut tensors);
    std::fs::write(folder.join("model.safetensors"), vgg::safetensors(&tensors)).unwrap();
    drop(tensors);
    let text = include_str!("../configs/models/vgg16.tv_in1k.toml");
    let lines = text.lines().take_while(|l| !l.starts_with("hub")).map(String::from);
    let lines: Vec<String> = lines.chain(["weights = \"model.safetensors\"".into()]).collect();
    std::fs::write(folder.join("vgg16-random.toml"), lines.join("\n") + "\n").unwrap();
    // labels are what the network says, so that every image is attacked
    let source = foolproof::model::find("vgg16-random.toml", &folder, &foolproof::hub::Hub::none()).unwrap();
    let engine = source.engine(&Device::Cpu, Precision::F32).unwrap();
    let mut labels = String::from("file,label\n");
    for k in 0..8 {
        let pixels: Vec<u8> = vgg::numbers(k, 3 * 224 * 224).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
        let planes = pixels.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect::<Vec<_>>();
        let floats: Vec<f32> = (0..3).flat_map(|c| planes.iter().map(move |p| f32::from(p[c]) / 255.0)).collect();
        let image = Tensor::from_vec(floats, (1, 3, 224, 224), &Device::Cpu).unwrap();
        let logits = engine.logits(&image).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let best = (0..1000).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        let file = format!("{k}.png");
        image::save_buffer(folder.join("pictures").join(&file), &pixels, 224, 224, image::ColorType::Rgb8).unwrap();
        labels += &format!("{file},{best}\n");
    }
    std::fs::write(folder.join("pictures/labels.csv"), labels).unwrap();
    // a budget that breaks none of them, so that all eight go all the way
    std::fs::write(
        folder.join("pgd10.toml"),
        "name = \"pgd10\"\n[[sweep]]\nmodels = [\"vgg16-random.toml\"]\n\
         data = { name = \"imagenet-folder\", path = \"pictures\", resize = 224 }\ngoals = [\"untargeted\"]\n\
         threats = [{ norm = \"linf\", eps = [\"1/255000\"] }]\nwitness = \"f32\"\n\
         attacks = [{ name = \"pgd\", steps = 10 }]\n",
    )
    .unwrap();
    println!("written to {}", folder.display());
}

/// What loading takes, and a pass over eight images; after `write_a_vgg16_of_full_size_and_a_sweep`, in a process of its own:
///
/// ```sh
/// cargo test --release --test vgg -- --ignored measure_a_vgg16 --nocapture
/// ```
#[test]
#[ignore = "reads target/vgg16"]
fn measure_a_vgg16_of_full_size() {
    let began = Instant::now();
    let mut lap = began;
    let mut tell = |what: &str| {
        let peak = support::peak_memory().map_or_else(|| "unknown".into(), |b| format!("{} MiB", b >> 20));
        println!("{what}: {:.2} s, peak so far {peak}", lap.elapsed().as_secs_f64());
        lap = Instant::now();
    };
    let source = foolproof::model::find("vgg16-random.toml", &folder(), &foolproof::hub::Hub::none()).unwrap();
    tell("read and hashed");
    let net = source.load().unwrap();
    tell("unpacked and checked");
    drop(net);
    let engine = source.engine(&Device::Cpu, Precision::F32).unwrap();
    tell("unpacked again and compiled");
    let pixels: Vec<f32> = (0..8).flat_map(|k| vgg::numbers(k, 3 * 224 * 224)).map(|v| v / 2.0 + 0.5).collect();
    let images = Tensor::from_vec(pixels, (8, 3, 224, 224), &Device::Cpu).unwrap();
    let loss = |_: usize, z: &[f32], g: &mut [f32]| g.copy_from_slice(z);
    for pass in ["first", "second"] {
        assert_eq!(engine.logits(&images).unwrap().dims(), [8, 1000]);
        tell(&format!("{pass} forward pass of 8"));
        assert_eq!(engine.logits_and_gradient(&images, &loss).unwrap().1.dims(), [8, 3, 224, 224]);
        tell(&format!("{pass} gradient of 8"));
    }
}
