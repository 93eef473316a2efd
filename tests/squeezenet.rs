//! SqueezeNet: its gradient, its independence of batch and threads, its model file. Its real weights are held to PyTorch's
//! logits in `explain.rs`.

mod support;

use candle_core::{Device, Tensor};
use foolproof::config::ModelFile;
use foolproof::hub::Hub;
use foolproof::kernel::plain::Plain;
use foolproof::kernel::{Engine, Precision};
use foolproof::model::{self, ModelSource, squeezenet};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::borrow::Cow;
use std::path::Path;
use support::{images, number, stream};

const CLASSES: usize = 5;

fn file(side: usize, more: &str) -> ModelFile {
    let text = format!(
        "family = \"squeezenet1_0\"\nclasses = {CLASSES}\nside = {side}\nmean = [0.48, 0.46, 0.41]\n\
         std = [0.23, 0.22, 0.24]\nweights = \"s.safetensors\"\n{more}"
    );
    model::parse(Path::new("s.toml"), &text).unwrap()
}

/// Name, shape and values.
type Named = (String, Vec<usize>, Vec<f64>);

/// Random weights (He et al. 2015) that let about half of the values through each ReLU.
fn tensors() -> Vec<Named> {
    let mut s = stream("squeezenet");
    let values = |(name, shape): (String, Vec<usize>)| {
        let fan_in: usize = shape[1..].iter().product();
        let scale = if shape.len() == 1 { 0.1 } else { (6.0 / fan_in as f64).sqrt() };
        let values = (0..shape.iter().product()).map(|_| number(&mut s) * scale).collect();
        (name, shape, values)
    };
    squeezenet::FAMILY.network(&file(29, ""), None).unwrap().tensors.into_iter().map(values).collect()
}

fn random(side: usize) -> ModelSource {
    source(file(side, ""), &tensors()).unwrap()
}

#[test]
fn gradients_are_finite_differences() {
    let side = 29;
    let (net, x) = (Plain::new(random(side).load().unwrap().to_f64()), images(1, side, "squeezenet images"));
    let tensor = |x: &[f64]| Tensor::from_slice(x, (x.len() / (3 * side * side), 3, side, side), &Device::Cpu).unwrap();
    let weights = [0.3, -1.0, 0.7, 0.2, -0.4];
    let weight = Tensor::new(&[weights], &Device::Cpu).unwrap();
    let (logits, gradient) = net.gradient(&tensor(&x), |_| Ok(weight.clone())).unwrap();
    assert_eq!(logits.dims(), [1, CLASSES]);
    let gradient = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    assert!(largest > 1e-3, "{largest}");
    let (step, some) = (1e-6, (0..x.len()).step_by(29));
    for pixel in some {
        let loss = |d: f64| {
            let mut moved = x.clone();
            moved[pixel] += d;
            let z = net.logits(&tensor(&moved)).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
            z.iter().zip(weights).map(|(z, w)| z * w).sum::<f64>()
        };
        let slope = (loss(step) - loss(-step)) / (2.0 * step);
        let g = gradient[pixel];
        assert!((g - slope).abs() < 1e-6 * largest.max(1.0), "pixel {pixel}: {g} against {slope}");
    }
}

/// Bits of logits and gradients of images.
fn bits(engine: &dyn Engine, x: &[f32], side: usize, threads: usize) -> (Vec<u32>, Vec<u32>) {
    let x = Tensor::from_slice(x, (x.len() / (3 * side * side), 3, side, side), &Device::Cpu).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let same = |_: usize, z: &[f32], g: &mut [f32]| g.copy_from_slice(z);
    let (logits, gradient) = pool.install(|| engine.logits_and_gradient(&x, &same).unwrap());
    let alone = pool.install(|| engine.logits(&x).unwrap());
    let bits = |t: Tensor| -> Vec<u32> {
        t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
    };
    let logits = bits(logits);
    assert_eq!(bits(alone), logits, "a forward pass alone gives the same bits");
    (logits, bits(gradient))
}

#[test]
fn an_image_depends_on_no_other_and_on_no_number_of_threads() {
    let side = 67;
    let engine = random(side).engine(&Device::Cpu, Precision::F32).unwrap();
    let x: Vec<f32> = images(8, side, "squeezenet batch").iter().map(|v| *v as f32).collect();
    let all = bits(engine.as_ref(), &x, side, 1);
    assert!(bits(engine.as_ref(), &x, side, 2) == all, "two threads");
    let each: Vec<_> = x.chunks(3 * side * side).map(|image| bits(engine.as_ref(), image, side, 2)).collect();
    let (logits, gradients): (Vec<_>, Vec<_>) = each.into_iter().unzip();
    assert!((logits.concat(), gradients.concat()) == all, "one at a time");
}

fn source(file: ModelFile, tensors: &[Named]) -> Result<ModelSource, String> {
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape, values)| {
            (name.as_str(), shape.as_slice(), values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect())
        })
        .collect();
    let views = bytes.iter().map(|(n, s, b)| (*n, TensorView::new(Dtype::F32, s.to_vec(), b).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    ModelSource::new("s".into(), file, None, Cow::Owned(bytes)).map_err(|e| e.to_string())
}

#[test]
fn every_tensor_is_used_and_of_the_right_shape() {
    let problem = |change: &dyn Fn(&mut Vec<Named>)| {
        let mut tensors = tensors();
        change(&mut tensors);
        source(file(29, ""), &tensors)
            .unwrap()
            .engine(&Device::Cpu, Precision::F32)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let at = |t: &[Named], name: &str| t.iter().position(|t| t.0 == name).unwrap();
    let missing = problem(&|t| t.retain(|t| t.0 != "features.5.expand3x3.bias"));
    let told = "weights of `s`: tensor `features.5.expand3x3.bias` is missing (expected shape [128]); the file has `classifier.1.bias`";
    assert!(missing.starts_with(told), "{missing}");
    let extra = problem(&|t| t.push(("features.13.weight".into(), vec![2], vec![0.0; 2])));
    assert_eq!(extra, "weights of `s`: tensor `features.13.weight` [2] has no place in squeezenet1_0");
    let wrong = problem(&|t| {
        let i = at(t, "classifier.1.weight");
        t[i].1 = vec![CLASSES, 512];
    });
    assert_eq!(wrong, "weights of `s`: tensor `classifier.1.weight`: expected shape [5, 512, 1, 1], found [5, 512]");
}

#[test]
fn keys_of_other_families_are_refused() {
    let problem = |side: usize, more: &str| source(file(side, more), &[]).map(|_| ()).unwrap_err();
    let width = problem(29, "width = 1.0\n");
    assert!(width.contains("`width` is a key of the VGG families, `squeezenet1_0` has none"), "{width}");
    assert!(problem(29, "head = \"mlp\"\n").contains("`head` is a key of the VGG families"));
    assert_eq!(problem(29, "keys = \"timm\"\n"), "model `s`: timm has no SqueezeNet (hint: keys = \"torchvision\")");
    assert!(problem(28, "").contains("side 28 leaves nothing after three pools (hint: at least 29)"));
    let source = source(file(29, ""), &tensors()).unwrap();
    assert_eq!(source.network(), "squeezenet1_0 classes=5 side=29 mean=[0.48, 0.46, 0.41] std=[0.23, 0.22, 0.24]");
}

#[test]
fn the_text_that_vgg_cells_are_named_by_stays() {
    let source = model::built_in("vgg11-half-cifar10").unwrap();
    assert_eq!(
        source.network(),
        "vgg11_bn width=0.5 head=linear classes=10 side=32 mean=[0.4914, 0.4822, 0.4465] std=[0.247, 0.2435, 0.2616]"
    );
}

#[test]
fn weights_that_are_nowhere_are_an_error_that_says_where_to_put_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let text = std::fs::read_to_string("configs/models/squeezenet1_0-imagenet.toml").unwrap();
    std::fs::write(&path, text.replace("squeezenet1_0-imagenet.safetensors", "nowhere.safetensors")).unwrap();
    let error = model::find(path.to_str().unwrap(), Path::new("."), &Hub::none()).map(|_| ()).unwrap_err().to_string();
    for part in ["model `mine`: no weights", "models/nowhere.safetensors", "SHA-256 a2bc5b7a", "FOOLPROOF_DATA"] {
        assert!(error.contains(part), "{part}\nin\n{error}");
    }
}
