//! Class activation maps: closed form, finite differences, and PyTorch's numbers.

mod support;

use candle_core::{DType, Device, Tensor};
use foolproof::explain::{Explainer, Map, correlation};
use foolproof::kernel::graph::{Graph, Op};
use foolproof::kernel::{Engine, Precision};
use foolproof::model::{self, ModelSource};
use serde_json::Value;
use std::borrow::Cow;
use std::path::Path;
use support::{images, number, shared_data, stream};

fn tensor(values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// A = ReLU(1×1 convolution of the image), then the average of each map, then a linear layer: the network for which
/// class activation maps were first made (Zhou et al. 2016), whose α is the linear layer's weight over the places.
fn averaging(dtype: DType, kernels: &[f64; 6], linear: &[f64; 6]) -> Graph {
    let mut graph = Graph::new([0.0; 3], [1.0; 3], dtype, &Device::Cpu).unwrap();
    let weight = tensor(kernels, &[2, 3, 1, 1], dtype);
    let bias = tensor(&[0.0, -0.1], &[2], dtype);
    let conv = graph.push(Op::Conv { weight, bias, stride: 1, padding: 0 }, &[0]);
    let a = graph.push(Op::Relu, &[conv]);
    let mean = graph.push(Op::AveragePool { side: 1 }, &[a]);
    let weight = tensor(linear, &[3, 2], dtype);
    graph.push(Op::Linear { weight, bias: tensor(&[0.0; 3], &[3], dtype) }, &[mean]);
    graph
}

#[test]
fn maps_of_a_net_of_one_average_are_its_weights_times_its_activations() {
    let (kernels, linear) = ([1.0, -1.0, 0.5, -0.5, 1.0, 0.0], [2.0, -1.0, -3.0, 0.5, -1.0, -1.0]);
    let explainer = Explainer::new(averaging(DType::F32, &kernels, &linear), 2);
    let (n, side) = (3, 4);
    let x = images(n, side, "explained");
    let classes = [1, 0, 2];
    let batch = tensor(&x, &[n, 3, side, side], DType::F32);
    let maps = explainer.maps(&batch, &classes).unwrap();
    for (row, (map, class)) in maps.iter().zip(classes).enumerate() {
        assert_eq!((map.side, map.values.len()), (side, side * side));
        for (place, found) in map.values.iter().enumerate() {
            let pixel = |c: usize| x[(row * 3 + c) * side * side + place];
            let a = |k: usize| {
                let sum: f64 = (0..3).map(|c| kernels[k * 3 + c] * pixel(c)).sum();
                (sum + [0.0, -0.1][k]).max(0.0)
            };
            let expected = (0..2).map(|k| linear[class * 2 + k] * a(k)).sum::<f64>().max(0.0) / (side * side) as f64;
            assert!((f64::from(*found) - expected).abs() < 1e-7, "image {row}, place {place}: {found}, not {expected}");
        }
        // alone as in company
        let alone = explainer.maps(&batch.narrow(0, row, 1).unwrap(), &[class]).unwrap();
        assert_eq!(alone[0], *map);
    }
    assert_eq!(maps[2].maximum(), 0.0, "both weights of the last class are negative");
    assert!(maps[0].maximum() > 0.0 || maps[1].maximum() > 0.0);
    assert!(explainer.maps(&batch, &[0, 1, 3]).unwrap_err().to_string().contains("class 3 of a network of 3"));
}

#[test]
fn the_gradient_at_a_value_is_a_finite_difference() {
    // the second part of the net alone, from the value on, is a net of its own: its images are the values
    let mut s = stream("explained");
    let mut random = |shape: &[usize], scale: f64| {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| number(&mut s) * scale).collect();
        tensor(&values, shape, DType::F64)
    };
    let first = Op::Conv { weight: random(&[3, 3, 3, 3], 0.4), bias: random(&[3], 0.1), stride: 2, padding: 1 };
    let branches = [(1, 0), (3, 1)].map(|(k, padding)| Op::Conv {
        weight: random(&[4, 3, k, k], 0.4),
        bias: random(&[4], 0.1),
        stride: 1,
        padding,
    });
    let last = Op::Linear { weight: random(&[5, 8 * 3 * 3], 0.2), bias: random(&[5], 0.1) };
    let rest = |graph: &mut Graph, from: usize| {
        let made = branches.clone().map(|op| graph.push(op, &[from]));
        let made = made.map(|value| graph.push(Op::Relu, &[value]));
        let both = graph.push(Op::Concat, &made);
        let pooled = graph.push(Op::MaxPool { window: 3, stride: 2, padding: 0, ceil: true }, &[both]);
        graph.push(last.clone(), &[pooled]);
    };
    let empty = || Graph::new([0.0; 3], [1.0; 3], DType::F64, &Device::Cpu).unwrap();
    let (mut whole, mut part) = (empty(), empty());
    let conv = whole.push(first, &[0]);
    let value = whole.push(Op::Relu, &[conv]);
    rest(&mut whole, value);
    rest(&mut part, 0);

    let x = tensor(&images(2, 14, "explained images"), &[2, 3, 14, 14], DType::F64);
    let classes = [3, 1];
    let (a, g) = whole.class_activation(&x, &classes, value).unwrap();
    assert_eq!((a.dims(), g.dims()), (&[2, 3, 7, 7][..], &[2, 3, 7, 7][..]));
    let (before, _) = whole.class_activation(&x, &classes, conv).unwrap();
    assert!(before.min_all().unwrap().to_scalar::<f64>().unwrap() < 0.0, "before the ReLU");
    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (a, g) = (numbers(&a), numbers(&g));
    let of_image = a.len() / 2;
    let mut nonzero = 0;
    for i in 0..a.len() {
        let row = i / of_image;
        let logit = |d: f64| {
            let mut moved = a[row * of_image..(row + 1) * of_image].to_vec();
            moved[i % of_image] += d;
            part.logits(&tensor(&moved, &[1, 3, 7, 7], DType::F64)).unwrap().to_vec2::<f64>().unwrap()[0][classes[row]]
        };
        let slope = (logit(1e-6) - logit(-1e-6)) / 2e-6;
        assert!((g[i] - slope).abs() < 1e-7, "{i}: {} against {slope}", g[i]);
        nonzero += usize::from(g[i] != 0.0);
    }
    assert!(nonzero > 50, "{nonzero}");
}

fn map(values: &[f32]) -> Map {
    Map { side: values.len().isqrt(), values: values.to_vec() }
}

#[test]
fn correlations_are_pearsons() {
    let a = map(&[1.0, 2.0, 3.0, 4.0]);
    let close = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}");
    close(correlation(&a, &a), 1.0);
    close(correlation(&a, &map(&[30.0, 20.0, 10.0, 0.0])), -1.0);
    // means 2.5 and 2, sums of products 1, 5 and 6
    close(correlation(&a, &map(&[1.0, 4.0, 1.0, 2.0])), 0.0);
    close(correlation(&a, &map(&[0.0, 2.0, 2.0, 4.0])), 6.0 / 40f64.sqrt());
    assert_eq!(correlation(&a, &map(&[0.3; 4])), None, "a constant map");
    assert_eq!(correlation(&map(&[0.0; 4]), &a), None);
}

#[test]
fn upsampling_is_pytorchs() {
    // torch.nn.functional.interpolate(t, size=4, mode="bilinear", align_corners=False)
    let small = map(&[0.0, 4.0, 8.0, 16.0]);
    #[rustfmt::skip] // rows
    let expected = [
        0.0, 1.0, 3.0, 4.0,
        2.0, 3.25, 5.75, 7.0,
        6.0, 7.75, 11.25, 13.0,
        8.0, 10.0, 14.0, 16.0,
    ];
    assert_eq!(small.upsampled(4), expected);
    assert_eq!(small.upsampled(2), small.values);
    assert_eq!(map(&[3.0]).upsampled(5), [3.0; 25]);
    // down: each place the mean of its four neighbours' centres
    assert_eq!(map(&expected).upsampled(2), [1.5625, 4.9375, 7.9375, 13.5625]);
    assert_eq!(small.maximum(), 16.0);
}

#[test]
fn the_share_inside_a_mask_is_of_the_upsampled_map() {
    let (corner, map_of_zeros) = (map(&[1.0, 0.0, 0.0, 0.0]), map(&[0.0; 9]));
    let mask: Vec<bool> = (0..16).map(|i| i % 4 < 2).collect();
    // along a row the upsampled map is 1, 3/4, 1/4, 0
    assert!((corner.share_inside(&mask).unwrap() - 1.75 / 2.0).abs() < 1e-12);
    assert_eq!(corner.share_inside(&[true; 16]), Some(1.0));
    assert_eq!(corner.share_inside(&[false; 9]), Some(0.0));
    assert_eq!(map_of_zeros.share_inside(&mask), None);
}

/// What PyTorch computes in f64 (scripts/reference_grad_cam.py).
fn reference(net: &str) -> Value {
    let text = std::fs::read_to_string("tests/data/grad_cam.json").unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["nets"][net].clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn compare(source: &ModelSource, pixels: &[Vec<u8>], reference: &Value) {
    let (side, n) = (source.file.side, pixels.len());
    let values: Vec<f32> = pixels.concat().iter().map(|v| f32::from(*v) / 255.0).collect();
    let x = Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu).unwrap();
    let logits = source.engine(&Device::Cpu, Precision::F32).unwrap().logits(&x).unwrap().to_vec2::<f32>().unwrap();
    let rows = reference["images"].as_array().unwrap();
    let classes: Vec<usize> = rows.iter().map(|r| r["class"].as_u64().unwrap() as usize).collect();
    let maps = source.explainer(&Device::Cpu).unwrap().maps(&x, &classes).unwrap();
    assert_eq!((rows.len(), maps.len()), (n, n));
    for (row, ((expected, logits), map)) in rows.iter().zip(&logits).zip(&maps).enumerate() {
        let logit = expected["logit"].as_f64().unwrap();
        let largest = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        assert_eq!(largest.0, classes[row], "prediction of image {row}");
        assert!((f64::from(*largest.1) / logit - 1.0).abs() < 1e-4, "image {row}: {} against {logit}", largest.1);
        for (z, expected) in logits.iter().zip(numbers(&expected["logits_first_5"])) {
            assert!((f64::from(*z) - expected).abs() < 1e-4 * logit.abs(), "image {row}: {z} against {expected}");
        }
        let (values, maximum) = (numbers(&expected["map"]), expected["max"].as_f64().unwrap());
        assert_eq!(values.len(), map.values.len());
        for (found, expected) in map.values.iter().zip(values) {
            assert!((f64::from(*found) - expected).abs() < 1e-3 * maximum, "image {row}: {found} against {expected}");
        }
    }
}

#[test]
fn maps_of_vgg_are_pytorchs() {
    let Some(data) = shared_data("maps_of_vgg_are_pytorchs") else { return };
    let bytes = std::fs::read(data.join("cifar10/test.bin")).unwrap();
    let pixels: Vec<Vec<u8>> = bytes.chunks(3073).take(8).map(|record| record[1..].to_vec()).collect();
    let source = model::built_in("vgg11-half-cifar10").unwrap();
    compare(&source, &pixels, &reference("vgg11-half-cifar10"));
}

/// Picture of the reference's formula, 3×side×side.
fn picture(seed: usize, side: usize) -> Vec<u8> {
    let channel = |c: usize, x: usize, y: usize| match c {
        0 => (7 * x + 13 * y + 29 * seed) ^ (x * y / 3),
        1 => x * x / 5 + 3 * y + seed,
        _ => (11 * x) ^ (17 * y) ^ (101 * seed),
    };
    let places = |c: usize| (0..side * side).map(move |i| (channel(c, i % side, i / side) % 256) as u8);
    (0..3).flat_map(places).collect()
}

#[test]
fn maps_of_squeezenet_are_pytorchs() {
    let Some(data) = shared_data("maps_of_squeezenet_are_pytorchs") else { return };
    let path = "configs/models/squeezenet1_0-imagenet.toml";
    let file = model::parse(Path::new(path), &std::fs::read_to_string(path).unwrap()).unwrap();
    let weights = data.join("models").join("squeezenet1_0-imagenet.safetensors");
    let Ok(bytes) = std::fs::read(&weights) else {
        return eprintln!("skipped maps_of_squeezenet_are_pytorchs: no weights at {}", weights.display());
    };
    let pixels: Vec<Vec<u8>> = (0..8).map(|seed| picture(seed, file.side)).collect();
    let source = ModelSource::new("squeezenet1_0-imagenet".into(), file, None, Cow::Owned(bytes)).unwrap();
    compare(&source, &pixels, &reference("squeezenet1_0-imagenet"));
}
