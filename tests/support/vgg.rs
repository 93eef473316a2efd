//! VGGs of full size whose numbers come from integer hashes, as `scripts/reference_vgg.py` makes them too.
#![allow(dead_code)] // each test binary uses its part

use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Seed of the image; tensors count from 0.
pub const IMAGE: u32 = 1 << 20;

/// n numbers in [-1, 1), multiples of 2^-23, which f32 holds exactly.
pub fn numbers(seed: u32, n: usize) -> Vec<f32> {
    let number = |i: usize| {
        let mut h = (i as u32).wrapping_mul(0x9E37_79B1).wrapping_add(seed.wrapping_mul(0x85EB_CA77));
        for (shift, factor) in [(15, 0x2C1B_3C6D), (12, 0x297A_2D39)] {
            h ^= h >> shift;
            h = h.wrapping_mul(factor);
        }
        h ^= h >> 15;
        (h >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).into_par_iter().map(number).collect()
}

/// The one image, 3×side×side in [0,1].
pub fn image(side: usize) -> Vec<f32> {
    numbers(IMAGE, 3 * side * side).into_iter().map(|v| v / 2.0 + 0.5).collect()
}

/// A tensor as it is stored: name, shape, bytes of f32.
pub type Stored = (String, Vec<usize>, Vec<u8>);

/// What the last layers are.
#[derive(Clone, Copy, PartialEq)]
pub enum Head {
    /// ImageNet's three, so many classes.
    Mlp(usize),
    /// One, so many classes.
    Linear(usize),
}

/// Every tensor of a VGG of this width under torchvision's names.
pub fn tensors(family: &str, width: f64, head: Head) -> Vec<Stored> {
    let stages: [usize; 5] = match &family[..5] {
        "vgg11" => [1, 1, 2, 2, 2],
        "vgg13" => [2, 2, 2, 2, 2],
        "vgg16" => [2, 2, 3, 3, 3],
        _ => [2, 2, 4, 4, 4],
    };
    let norm = family.ends_with("_bn");
    let mut all: Vec<Stored> = Vec::new();
    let mut push = |name: String, shape: Vec<usize>, number: &(dyn Fn(f32) -> f32 + Sync)| {
        let values = numbers(all.len() as u32, shape.iter().product());
        let mut bytes = vec![0; values.len() * 4];
        bytes.par_chunks_exact_mut(4).zip(&values).for_each(|(b, v)| b.copy_from_slice(&number(*v).to_le_bytes()));
        all.push((name, shape, bytes));
    };
    let (mut index, mut inputs) = (0, 3);
    for (stage, channels) in stages.into_iter().zip([64, 128, 256, 512, 512]) {
        let outputs = (channels as f64 * width) as usize;
        for _ in 0..stage {
            let scale = (6.0 / (9 * inputs) as f64).sqrt() as f32;
            push(format!("features.{index}.weight"), vec![outputs, inputs, 3, 3], &|v| v * scale);
            push(format!("features.{index}.bias"), vec![outputs], &|v| v * 0.125);
            if norm {
                let part = |part: &str| format!("features.{}.{part}", index + 1);
                push(part("weight"), vec![outputs], &|v| v * 0.25 + 1.0);
                push(part("bias"), vec![outputs], &|v| v * 0.125);
                push(part("running_mean"), vec![outputs], &|v| v * 0.125);
                push(part("running_var"), vec![outputs], &|v| v * 0.5 + 1.0);
            }
            index += if norm { 3 } else { 2 };
            inputs = outputs;
        }
        index += 1;
    }
    let layers = match head {
        Head::Mlp(classes) => {
            vec![("classifier.0", 4096, inputs * 49), ("classifier.3", 4096, 4096), ("classifier.6", classes, 4096)]
        }
        Head::Linear(classes) => vec![("classifier", classes, inputs)],
    };
    for (name, outputs, inputs) in layers {
        let scale = (6.0 / inputs as f64).sqrt() as f32;
        push(format!("{name}.weight"), vec![outputs, inputs], &|v| v * scale);
        push(format!("{name}.bias"), vec![outputs], &|v| v * 0.125);
    }
    all
}

/// The same tensors under timm's names, the hidden layers as convolutions.
pub fn as_timm(tensors: &mut [Stored]) {
    for (name, shape, _) in tensors {
        let (layer, part) = name.rsplit_once('.').unwrap();
        let (layer, convolution) = match layer {
            "classifier.0" => ("pre_logits.fc1", Some(7)),
            "classifier.3" => ("pre_logits.fc2", Some(1)),
            "classifier.6" | "classifier" => ("head.fc", None),
            _ => continue,
        };
        if let (Some(kernel), "weight") = (convolution, part) {
            *shape = vec![shape[0], shape[1] / (kernel * kernel), kernel, kernel];
        }
        *name = format!("{layer}.{part}");
    }
}

/// A safetensors file of them.
pub fn safetensors(tensors: &[Stored]) -> Vec<u8> {
    let view =
        |bytes, shape: &Vec<usize>| TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of the shape");
    let views = tensors.iter().map(|(name, shape, bytes)| (name.as_str(), view(bytes, shape)));
    safetensors::serialize(views, None).unwrap()
}
