//! The reference engine against central differences in f64 and against an unfolded candle-nn network.

mod support;

use candle_core::{DType, Device, Module, ModuleT, Tensor};
use candle_nn::{BatchNormConfig, Conv2dConfig, VarBuilder};
use foolproof::config::ModelFile;
use foolproof::kernel::Engine;
use foolproof::kernel::graph::{Graph, Op};
use foolproof::kernel::plain::Plain;
use foolproof::model::{self, WIDTH, Weights, vgg};
use std::collections::HashMap;
use std::path::Path;
use support::{images, number, small_net, stream};

/// Fixed weights of the logits: the loss of the difference test is their weighted sum, so its gradient is these.
fn seed_row(classes: usize) -> Vec<f64> {
    (0..classes).map(|c| (c as f64 * 1.3 + 0.7).sin()).collect()
}

/// Largest |analytic − central difference| over some coordinates, relative to the largest |gradient|. A coordinate
/// whose two one-sided slopes disagree sits on a kink of ReLU or max-pool and is left out; how many is returned too.
fn difference_error(net: &Graph<f64>, gradient: &[f64], x: &[f64]) -> (f64, usize, usize) {
    assert!(gradient.len() == x.len() && gradient.iter().all(|g| g.is_finite()), "maxima drop NaN");
    let row = seed_row(net.classes());
    let plain = Plain::new(net.clone());
    let loss = |x: &[f64]| logits(&plain, net.size()[0], x).iter().zip(&row).map(|(z, w)| z * w).sum::<f64>();
    let scale = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
    let h = 1e-6;
    let (mut worst, mut kinks, mut tried) = (0.0f64, 0, 0);
    for i in (0..x.len()).step_by(7) {
        let at = |delta: f64| {
            let mut moved = x.to_vec();
            moved[i] += delta;
            loss(&moved)
        };
        let (up, here, down) = (at(h), at(0.0), at(-h));
        tried += 1;
        if ((up - here) - (here - down)).abs() / h > 1e-4 * scale {
            kinks += 1;
            continue;
        }
        worst = worst.max(((up - down) / (2.0 * h) - gradient[i]).abs() / scale);
    }
    (worst, kinks, tried)
}

fn odd_nets() -> Vec<Graph<f64>> {
    vec![
        small_net(32, &[8, 8, 16, 17], None, 12, 10, "even"),
        small_net(19, &[5, 7, 9, 3], None, 6, 4, "odd side, odd channels"),
        small_net(13, &[4, 4], Some(4), 5, 3, "overlapping average windows"),
        small_net(3, &[16, 33], None, 3, 2, "tiny map"),
    ]
}

fn tensor(side: usize, x: &[f64]) -> Tensor {
    Tensor::from_slice(x, (x.len() / (3 * side * side), 3, side, side), &Device::Cpu).unwrap()
}

/// Logits of the reference engine in f64.
fn logits(plain: &Plain<f64>, side: usize, x: &[f64]) -> Vec<f64> {
    plain.logits(&tensor(side, x)).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn plain_gradient(net: &Graph<f64>, x: &[f64]) -> Vec<f64> {
    let seed = |z: &Tensor| {
        let row = Tensor::from_vec(seed_row(net.classes()), (1, net.classes()), &Device::Cpu)?;
        Ok(row.broadcast_as(z.shape())?.contiguous()?)
    };
    let (_, gradient) = Plain::new(net.clone()).gradient(&tensor(net.size()[0], x), seed).unwrap();
    gradient.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn gradients_equal_central_differences_in_f64() {
    for net in odd_nets() {
        let side = net.size()[0];
        let x = images(1, side, "pixels");
        let (worst, kinks, tried) = difference_error(&net, &plain_gradient(&net, &x), &x);
        assert!(worst < 1e-6, "side {side}: relative error {worst}");
        assert!(kinks * 20 <= tried, "side {side}: {kinks} of {tried} coordinates on kinks");
    }
}

#[test]
fn a_whole_vgg_with_folded_batch_norm_has_the_right_gradient() {
    let (file, tensors) = random_vgg("vgg11_bn", "linear", 1.0 / 16.0, 32, 10, Naming::Torchvision);
    let net = folded(&file, tensors);
    let x = images(1, 32, "vgg pixels");
    let (worst, kinks, tried) = difference_error(&net, &plain_gradient(&net, &x), &x);
    assert!(worst < 1e-6, "relative error {worst}");
    assert!(kinks * 10 <= tried, "{kinks} of {tried} coordinates on kinks");
}

#[test]
fn candle_still_has_the_trap_we_avoid() {
    // if this ever fails, candle's max-pool gradient was mended and `plain` may use autograd
    let x = candle_core::Var::new(&[[[[1f32, 2.], [3., 4.]]]], &Device::Cpu).unwrap();
    let pooled = x.max_pool2d(2).unwrap().sum_all().unwrap();
    let gradient = pooled.backward().unwrap().get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(gradient, [0.0, 0.0, 0.0, 0.25]);
}

#[derive(Clone, Copy, PartialEq)]
enum Naming {
    Torchvision,
    Timm,
}

type NamedTensor = (String, Vec<usize>, Vec<f64>);

/// The network with its batch norms folded, in f64.
fn folded(file: &ModelFile, tensors: Vec<NamedTensor>) -> Graph<f64> {
    let network = vgg::FAMILY.network(file, Some(&Weights::from_tensors(tensors))).unwrap();
    network.graph.to_f64().folded().0
}

/// Random weights of a VGG of any family, under either naming; numbers that f32 holds.
fn random_vgg(
    family: &str,
    head: &str,
    width: f64,
    side: usize,
    classes: usize,
    naming: Naming,
) -> (ModelFile, Vec<NamedTensor>) {
    let text = format!(
        "family = \"{family}\"\nhead = \"{head}\"\nwidth = {width}\nside = {side}\nclasses = {classes}\n\
         mean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.3, 0.4]\nweights = \"x\"\n"
    );
    let file = model::parse(Path::new("random.toml"), &text).unwrap();
    let layers: &[usize] = match &family[..5] {
        "vgg11" => &[1, 1, 2, 2, 2],
        "vgg13" => &[2, 2, 2, 2, 2],
        "vgg16" => &[2, 2, 3, 3, 3],
        _ => &[2, 2, 4, 4, 4],
    };
    let mut s = stream(family);
    let mut tensors: Vec<NamedTensor> = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, centre: f64, spread: f64| {
        let values =
            (0..shape.iter().product()).map(|_| f64::from((centre + spread * number(&mut s)) as f32)).collect();
        tensors.push((name, shape, values));
    };
    let (mut index, mut inputs) = (0, 3);
    for (stage, count) in layers.iter().enumerate() {
        let outputs = ([64, 128, 256, 512, 512][stage] as f64 * width) as usize;
        for _ in 0..*count {
            let spread = (6.0 / (9 * inputs) as f64).sqrt();
            add(format!("features.{index}.weight"), vec![outputs, inputs, 3, 3], 0.0, spread);
            add(format!("features.{index}.bias"), vec![outputs], 0.0, 0.1);
            if family.ends_with("_bn") {
                let norm = index + 1;
                add(format!("features.{norm}.weight"), vec![outputs], 1.0, 0.2);
                add(format!("features.{norm}.bias"), vec![outputs], 0.0, 0.1);
                add(format!("features.{norm}.running_mean"), vec![outputs], 0.0, 0.2);
                add(format!("features.{norm}.running_var"), vec![outputs], 1.0, 0.3);
                index += 1;
            }
            index += 2;
            inputs = outputs;
        }
        index += 1;
    }
    match (head, naming) {
        ("linear", _) => {
            add("classifier.weight".into(), vec![classes, inputs], 0.0, 0.3);
            add("classifier.bias".into(), vec![classes], 0.0, 0.1);
        }
        (_, Naming::Torchvision) => {
            for (name, outputs, inputs) in [("0", 4096, 49 * inputs), ("3", 4096, 4096), ("6", classes, 4096)] {
                add(format!("classifier.{name}.weight"), vec![outputs, inputs], 0.0, (6.0 / inputs as f64).sqrt());
                add(format!("classifier.{name}.bias"), vec![outputs], 0.0, 0.1);
            }
        }
        (_, Naming::Timm) => {
            for (name, shape) in [
                ("pre_logits.fc1", vec![4096, inputs, 7, 7]),
                ("pre_logits.fc2", vec![4096, 4096, 1, 1]),
                ("head.fc", vec![classes, 4096]),
            ] {
                let (outputs, fan_in) = (shape[0], shape[1..].iter().product::<usize>());
                add(format!("{name}.weight"), shape, 0.0, (6.0 / fan_in as f64).sqrt());
                add(format!("{name}.bias"), vec![outputs], 0.0, 0.1);
            }
        }
    }
    (file, tensors)
}

/// The network as PyTorch would run it, from candle-nn's layers: nothing folded, torchvision's names.
fn unfolded_logits(file: &ModelFile, tensors: &[NamedTensor], x: &Tensor) -> Vec<f64> {
    let map: HashMap<String, Tensor> = tensors
        .iter()
        .map(|(name, shape, values)| {
            (name.clone(), Tensor::from_slice(values, shape.as_slice(), &Device::Cpu).unwrap())
        })
        .collect();
    let vb = VarBuilder::from_tensors(map, DType::F64, &Device::Cpu);
    let batch_norm = file.family.ends_with("_bn");
    let mean = Tensor::new(&file.mean, &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    let std = Tensor::new(&file.std, &Device::Cpu).unwrap().reshape((1, 3, 1, 1)).unwrap();
    let mut y = x.broadcast_sub(&mean).unwrap().broadcast_div(&std).unwrap();
    let mut index = 0;
    let layers: &[usize] = match &file.family[..5] {
        "vgg11" => &[1, 1, 2, 2, 2],
        "vgg13" => &[2, 2, 2, 2, 2],
        "vgg16" => &[2, 2, 3, 3, 3],
        _ => &[2, 2, 4, 4, 4],
    };
    for (stage, count) in layers.iter().enumerate() {
        let outputs = ([64, 128, 256, 512, 512][stage] as f64 * file.number(&WIDTH)) as usize;
        for _ in 0..*count {
            let config = Conv2dConfig { padding: 1, ..Default::default() };
            let conv =
                candle_nn::conv2d(y.dim(1).unwrap(), outputs, 3, config, vb.pp(format!("features.{index}"))).unwrap();
            y = conv.forward(&y).unwrap();
            if batch_norm {
                let norm = candle_nn::batch_norm(
                    outputs,
                    BatchNormConfig::default(),
                    vb.pp(format!("features.{}", index + 1)),
                )
                .unwrap();
                y = norm.forward_t(&y, false).unwrap();
                index += 1;
            }
            y = y.relu().unwrap();
            index += 2;
        }
        y = y.max_pool2d(2).unwrap();
        index += 1;
    }
    let mut y = y.flatten_from(1).unwrap();
    let names: &[&str] = if file.word(&vgg::HEAD) == "linear" {
        &["classifier"]
    } else {
        &["classifier.0", "classifier.3", "classifier.6"]
    };
    for (i, name) in names.iter().enumerate() {
        let outputs = if i + 1 == names.len() { file.classes } else { 4096 };
        let linear = candle_nn::linear(y.dim(1).unwrap(), outputs, vb.pp(name)).unwrap();
        y = linear.forward(&y).unwrap();
        if i + 1 < names.len() {
            y = y.relu().unwrap();
        }
    }
    y.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_vgg_equals_its_unfolded_form() {
    for family in vgg::NAMES {
        let (file, tensors) = random_vgg(family, "linear", 0.25, 32, 10, Naming::Torchvision);
        let net = folded(&file, tensors.clone());
        assert!(!net.nodes().iter().any(|node| matches!(node.op, Op::Scale { .. })), "{family}");
        let x = images(2, 32, family);
        let ours = logits(&Plain::new(net), 32, &x);
        let theirs = unfolded_logits(&file, &tensors, &Tensor::from_vec(x, (2, 3, 32, 32), &Device::Cpu).unwrap());
        close(&ours, &theirs, 1e-10, family);
    }
}

#[test]
fn torchvision_and_timm_names_load_to_the_same_imagenet_head() {
    // side 224, so that the map before the head is 7×7; two convolution channels keep it quick
    let (file, tensors) = random_vgg("vgg11", "mlp", 1.0 / 32.0, 224, 5, Naming::Torchvision);
    let (_, timm) = random_vgg("vgg11", "mlp", 1.0 / 32.0, 224, 5, Naming::Timm);
    let x = images(1, 224, "imagenet");
    let of = |tensors: &[NamedTensor]| logits(&Plain::new(folded(&file, tensors.to_vec())), 224, &x);
    let ours = of(&tensors);
    assert_eq!(ours, of(&timm), "the two namings hold the same random numbers in the same order");
    let theirs = unfolded_logits(&file, &tensors, &Tensor::from_slice(&x, (1, 3, 224, 224), &Device::Cpu).unwrap());
    close(&ours, &theirs, 1e-10, "vgg11 mlp");
    // another side is averaged to 7×7, as AdaptiveAvgPool2d does
    let mut other = file.clone();
    other.size = [96; 2];
    let net = folded(&other, tensors);
    assert_eq!(logits(&Plain::new(net), 96, &images(1, 96, "smaller")).len(), 5);
}

fn close(a: &[f64], b: &[f64], tolerance: f64, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= tolerance * scale, "{what}: {x} against {y}");
    }
}
