//! Class activation maps: closed form, finite differences, and PyTorch's numbers.

mod support;
#[path = "support/vgg.rs"]
mod vgg;

use candle_core::{DType, Device, Tensor};
use foolproof::config::ModelFile;
use foolproof::data::Source;
use foolproof::explain::{Explainer, Map, correlation};
use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use foolproof::kernel::plain::Plain;
use foolproof::kernel::{Engine, Precision};
use foolproof::model::{self, ModelSource, squeezenet};
use foolproof::record::Explanation;
use foolproof::report;
use foolproof::store::Store;
use foolproof::sweep::{plan, run, verify};
use serde_json::Value;
use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use support::{images, machine, number, shared_data, stream};

fn tensor(values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

fn relu() -> Op<f64> {
    Op::Activate(Activation::Relu)
}

/// A = ReLU(1×1 convolution of an image of this side), then the average of each map, then a linear layer: the network for
/// which class activation maps were first made (Zhou et al. 2016), whose α is the linear layer's weight over the places.
fn averaging(side: usize, kernels: &[f64; 6], linear: &[f64; 6]) -> Graph<f32> {
    let mut graph = Graph::new([side; 2], [0.0; 3], [1.0; 3]);
    let window = Window::square(1, 1, 0);
    let conv = Op::Conv { window, groups: 1, weight: kernels.to_vec(), bias: vec![0.0, -0.1] };
    let conv = graph.push(conv, &[0]).unwrap();
    let a = graph.push(relu(), &[conv]).unwrap();
    let mean = graph.push(Op::AdaptiveAverage { out: [1, 1] }, &[a]).unwrap();
    let mean = graph.push(Op::Reshape { shape: vec![2] }, &[mean]).unwrap();
    graph.push(Op::Linear { weight: linear.to_vec(), bias: vec![0.0; 3] }, &[mean]).unwrap();
    graph.to_f32()
}

#[test]
fn maps_of_a_net_of_one_average_are_its_weights_times_its_activations() {
    let (kernels, linear) = ([1.0, -1.0, 0.5, -0.5, 1.0, 0.0], [2.0, -1.0, -3.0, 0.5, -1.0, -1.0]);
    let (n, side) = (3, 4);
    let explainer = Explainer::new(averaging(side, &kernels, &linear), 2);
    let x = images(n, side, "explained");
    let classes = [1, 0, 2];
    let batch = tensor(&x, &[n, 3, side, side], DType::F32);
    let maps = explainer.maps(&batch, &classes).unwrap();
    for (row, (map, class)) in maps.iter().zip(classes).enumerate() {
        assert_eq!((map.size, map.values.len()), ([side; 2], side * side));
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
    let mut random = |numbers: usize, scale: f64| (0..numbers).map(|_| number(&mut s) * scale).collect::<Vec<f64>>();
    let mut conv = |outputs: usize, size: usize, stride: usize| Op::Conv {
        window: Window::square(size, stride, size / 2),
        groups: 1,
        weight: random(outputs * 3 * size * size, 0.4),
        bias: random(outputs, 0.1),
    };
    let (first, branches) = (conv(3, 3, 2), [conv(4, 1, 1), conv(4, 3, 1)]);
    let last = Op::Linear { weight: random(5 * 8 * 3 * 3, 0.2), bias: random(5, 0.1) };
    let rest = |graph: &mut Graph<f64>, from: usize| {
        let made = branches.clone().map(|op| graph.push(op, &[from]).unwrap());
        let made = made.map(|value| graph.push(relu(), &[value]).unwrap());
        let both = graph.push(Op::Concat { axis: 0 }, &made).unwrap();
        let pooled = graph.push(Op::MaxPool { window: Window::square(3, 2, 0), ceil: true }, &[both]).unwrap();
        let flat = graph.push(Op::Reshape { shape: vec![8 * 3 * 3] }, &[pooled]).unwrap();
        graph.push(last.clone(), &[flat]).unwrap();
    };
    let empty = |side: usize| Graph::new([side; 2], [0.0; 3], [1.0; 3]);
    let (mut whole, mut part) = (empty(14), empty(7));
    let conv = whole.push(first, &[0]).unwrap();
    let value = whole.push(relu(), &[conv]).unwrap();
    rest(&mut whole, value);
    rest(&mut part, 0);
    let (whole, part) = (Plain::new(whole), Plain::new(part));

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
    Map { size: [values.len().isqrt(); 2], values: values.to_vec() }
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
    assert_eq!(small.upsampled([4; 2]), expected);
    assert_eq!(small.upsampled([2; 2]), small.values);
    assert_eq!(map(&[3.0]).upsampled([5; 2]), [3.0; 25]);
    // down: each place the mean of its four neighbours' centres
    assert_eq!(map(&expected).upsampled([2; 2]), [1.5625, 4.9375, 7.9375, 13.5625]);
    assert_eq!(small.maximum(), 16.0);
    // each axis by itself
    let line = Map { size: [1, 2], values: vec![0.0, 4.0] };
    assert_eq!(line.upsampled([2, 4]), [0.0, 1.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0]);
    assert_eq!(line.share_inside(&[false, true, false, true, false, true], [3, 2]), Some(1.0));
}

#[test]
fn the_share_inside_a_mask_is_of_the_upsampled_map() {
    let (corner, map_of_zeros) = (map(&[1.0, 0.0, 0.0, 0.0]), map(&[0.0; 9]));
    let mask: Vec<bool> = (0..16).map(|i| i % 4 < 2).collect();
    // along a row the upsampled map is 1, 3/4, 1/4, 0
    assert!((corner.share_inside(&mask, [4; 2]).unwrap() - 1.75 / 2.0).abs() < 1e-12);
    assert_eq!(corner.share_inside(&[true; 16], [4; 2]), Some(1.0));
    assert_eq!(corner.share_inside(&[false; 9], [3; 2]), Some(0.0));
    assert_eq!(map_of_zeros.share_inside(&mask, [4; 2]), None);
}

/// What PyTorch computes in f64 (scripts/reference_grad_cam.py).
fn reference(net: &str) -> Value {
    let text = std::fs::read_to_string("tests/data/grad_cam.json").unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["nets"][net].clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn compare(source: &ModelSource, pixels: &[Vec<u8>], reference: &Value, layer: &str) {
    let (side, n) = (source.file.size[0], pixels.len());
    let values: Vec<f32> = pixels.concat().iter().map(|v| f32::from(*v) / 255.0).collect();
    let x = Tensor::from_vec(values, (n, 3, side, side), &Device::Cpu).unwrap();
    let logits = source.engine(&Device::Cpu, Precision::F32).unwrap().logits(&x).unwrap().to_vec2::<f32>().unwrap();
    let rows = reference["images"].as_array().unwrap();
    let classes: Vec<usize> = rows.iter().map(|r| r["class"].as_u64().unwrap() as usize).collect();
    let maps = source.explainer(Some(layer)).unwrap().maps(&x, &classes).unwrap();
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
    compare(&source, &pixels, &reference("vgg11-half-cifar10"), "features.27");
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
    let pixels: Vec<Vec<u8>> = (0..8).map(|seed| picture(seed, file.size[0])).collect();
    let source = ModelSource::new("squeezenet1_0-imagenet".into(), file, None, Cow::Owned(bytes)).unwrap();
    compare(&source, &pixels, &reference("squeezenet1_0-imagenet"), "features.12");
}

/// A model of random numbers, by the hashes of `scripts/reference_grad_cam_layers.py`.
fn hashed(family: &str, side: usize) -> ModelSource {
    let (keys, bytes) = match family {
        "squeezenet1_0" => ("", vgg::safetensors(&hashed_squeezenet())),
        _ => (
            "width = 0.125\nhead = \"linear\"\n",
            vgg::safetensors(&vgg::tensors(family, 0.125, vgg::Head::Linear(10))),
        ),
    };
    ModelSource::new(family.into(), description(family, keys, side), None, Cow::Owned(bytes)).unwrap()
}

fn description(family: &str, keys: &str, side: usize) -> ModelFile {
    let text = format!(
        "family = \"{family}\"\n{keys}classes = 10\nside = {side}\nmean = [0.485, 0.456, 0.406]\n\
         std = [0.229, 0.224, 0.225]\nweights = \"w.safetensors\"\n"
    );
    model::parse(Path::new("m.toml"), &text).unwrap()
}

fn hashed_squeezenet() -> Vec<vgg::Stored> {
    let tensor = |(seed, (name, shape)): (usize, (String, Vec<usize>))| {
        let fan_in: usize = shape[1..].iter().product();
        let scale = if shape.len() == 1 { 0.125 } else { (6.0 / fan_in as f64).sqrt() as f32 };
        let values = vgg::numbers(seed as u32, shape.iter().product());
        let bytes = values.iter().flat_map(|v| (v * scale).to_le_bytes()).collect();
        (name, shape, bytes)
    };
    squeezenet::FAMILY
        .network(&description("squeezenet1_0", "", 29), None)
        .unwrap()
        .tensors
        .into_iter()
        .enumerate()
        .map(tensor)
        .collect()
}

#[test]
fn maps_of_any_layer_are_pytorchs() {
    let text = std::fs::read_to_string("tests/data/grad_cam_layers.json").unwrap();
    let reference: Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (family, net) in reference["nets"].as_object().unwrap() {
        let side = net["side"].as_u64().unwrap() as usize;
        let classes: Vec<usize> = numbers(&net["classes"]).into_iter().map(|c| c as usize).collect();
        let source = hashed(family, side);
        let pixels = (0..classes.len() as u32).flat_map(|k| vgg::numbers(vgg::IMAGE + k, 3 * side * side));
        let x: Vec<f32> = pixels.map(|v| v / 2.0 + 0.5).collect();
        let x = Tensor::from_vec(x, (classes.len(), 3, side, side), &Device::Cpu).unwrap();
        for (name, layer) in net["layers"].as_object().unwrap() {
            let known = source.layer(Some(name)).unwrap();
            let maps = source.explainer(Some(name)).unwrap().maps(&x, &classes).unwrap();
            for (map, expected) in maps.iter().zip(layer["maps"].as_array().unwrap()) {
                assert_eq!(
                    (map.size, known.size),
                    ([layer["side"].as_u64().unwrap() as usize; 2], map.size),
                    "{family} {name}"
                );
                let expected = numbers(expected);
                let most = expected.iter().copied().fold(0.0, f64::max);
                assert_eq!(map.values.len(), expected.len());
                for (found, expected) in map.values.iter().zip(expected) {
                    assert!((f64::from(*found) - expected).abs() < 1e-4 * most, "{family} {name}: {found}, {expected}");
                }
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 28);
}

#[test]
fn every_layer_is_the_value_it_says() {
    for (family, side) in [("vgg11", 32), ("vgg16_bn", 48), ("squeezenet1_0", 29), ("squeezenet1_0", 64)] {
        let source = hashed(family, side);
        let x = tensor(&images(1, side, "layers"), &[1, 3, side, side], DType::F32);
        let net = Plain::new(source.load().unwrap());
        let Err(problem) = source.layer(Some("none")) else { panic!("no layer is called none") };
        let names = problem.split(": ").last().unwrap().split(", ");
        let names: Vec<&str> = names.map(|name| name.split(' ').next().unwrap()).collect();
        assert!(names.len() > 10, "{problem}");
        for name in names {
            let layer = source.layer(Some(name)).unwrap();
            let (activation, _) = net.class_activation(&x, &[0], layer.value).unwrap();
            assert_eq!(activation.dims()[2..], layer.size, "{family} {name}");
        }
    }
}

#[test]
fn the_usual_layer_is_the_last_of_four_places_a_side_before_a_pool() {
    for (family, side, name, of) in [
        ("vgg11", 32, "features.14", 4),
        ("vgg11_bn", 32, "features.20", 4),
        ("vgg11", 64, "features.19", 4),
        ("vgg11", 63, "features.14", 7),
        ("vgg16_bn", 224, "features.42", 14),
        ("squeezenet1_0", 227, "features.12", 13),
        ("squeezenet1_0", 29, "features.5", 6),
    ] {
        let layer = hashed(family, side).layer(None).unwrap();
        assert_eq!((layer.name.as_str(), layer.size), (name, [of; 2]), "{family} {side}");
    }
}

const SWEEP: &str = r#"
name = "explained"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", take = 2 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
explain = EXPLAIN
attacks = [{ name = "fgsm" }]
"#;

fn plan_of(text: &str) -> Result<plan::Plan, String> {
    plan::parse(Path::new("x.toml"), text, &Source::new("nowhere")).map_err(|e| e.to_string())
}

#[test]
fn a_layer_that_gives_no_map_is_refused_when_planning() {
    let refused = |explain: &str| plan_of(&SWEEP.replace("EXPLAIN", explain)).map(|_| ()).unwrap_err();
    let unknown = refused("{ layer = \"features.99\" }");
    for part in
        ["x.toml:8: model `vgg11-half-cifar10`: no layer `features.99`", "features.2 (32×32)", "features.20 (4×4), "]
    {
        assert!(unknown.contains(part), "{part}: {unknown}");
    }
    assert!(!unknown.contains("features.28"), "{unknown}");
    let one = refused("{ layer = \"features.28\" }");
    assert!(one.contains("the map of layer `features.28` is 1×1, one place") && one.contains("(4×4)"), "{one}");
    assert!(
        refused("{ }").contains("missing key `layer`") && refused("{ layer = \"features.20\", x = 1 }").contains("`x`")
    );
    assert!(refused("3").contains("expected true or false"));
    assert!(plan_of(&SWEEP.replace("EXPLAIN", "false")).unwrap().cells[0].explain.is_none());
    let planned = |explain: &str| plan_of(&SWEEP.replace("EXPLAIN", explain)).unwrap().cells.remove(0);
    assert_eq!(planned("true").explain.as_deref(), Some("features.20"));
    assert_eq!(planned("{ layer = \"features.13\" }").explain.as_deref(), Some("features.13"));
    // a convolution before its batch norm is a layer as any other
    assert_eq!(planned("{ layer = \"features.18\" }").explain.as_deref(), Some("features.18"));
    assert_eq!(planned("true").id, planned("{ layer = \"features.13\" }").id, "no outcome depends on it");
}

/// A cell that stands in two blocks is one cell: it is explained where either asks for it, and by one layer.
#[test]
fn two_blocks_agree_about_a_cell_that_both_have() {
    let two = |first: &str, second: &str| {
        let block = SWEEP.split_once("[[sweep]]").unwrap().1;
        plan_of(&(SWEEP.replace("EXPLAIN", first) + "[[sweep]]" + &block.replace("EXPLAIN", second)))
    };
    for (first, second) in [("false", "true"), ("true", "false"), ("true", "{ layer = \"features.20\" }")] {
        let cells = two(first, second).unwrap().cells;
        assert_eq!((cells.len(), cells[0].explain.as_deref()), (1, Some("features.20")));
    }
    let problem = two("true", "{ layer = \"features.13\" }").map(|_| ()).unwrap_err();
    assert!(problem.contains("is explained by `features.20` already, not by `features.13`"), "{problem}");
}

#[test]
fn the_layer_is_stored_with_its_maps_and_another_one_takes_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let (machine, nowhere) = (machine(None), Source::new("nowhere"));
    let run = |explain: &str| {
        let plan = plan_of(&SWEEP.replace("EXPLAIN", explain)).unwrap();
        let store = Store::create(folder.path()).unwrap();
        run::run(&plan, &store, &machine, &AtomicBool::new(false), &mut |_| {}).unwrap();
        report::write(&store).unwrap();
        let id = plan.cells[0].id.clone();
        assert_eq!(verify::verify(&store, &nowhere, &machine).unwrap().problems, [""; 0]);
        let maps = store.read_explanation(&id).unwrap().unwrap();
        let place = folder.path().join("explanations").join(&id);
        (maps, id, place)
    };
    let (maps, id, place) = run("true");
    assert_eq!((maps.layer.as_deref(), maps.size, maps.clean.len()), (Some("features.20"), [4; 2], 2 * 16));
    let table = std::fs::read_to_string(folder.path().join("tables/explain.csv")).unwrap();
    assert!(table.lines().next().unwrap().ends_with(",layer,side") && table.contains(",features.20,4\n"), "{table}");
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    let figure = std::fs::read_to_string(folder.path().join("figures/grad-cam.svg")).unwrap();
    assert!(page.contains("features.20, 4×4") && figure.contains("features.20, 4×4"));
    // what is there is not made again
    let before = std::fs::metadata(place.join("maps.safetensors")).unwrap().modified().unwrap();
    run("true");
    assert_eq!(std::fs::metadata(place.join("maps.safetensors")).unwrap().modified().unwrap(), before);
    let (other, ..) = run("{ layer = \"features.9\" }");
    assert_eq!((other.layer.as_deref(), other.size), (Some("features.9"), [8; 2]));
    // whoever writes another name over it is found out
    let store = Store::create(folder.path()).unwrap();
    let provenance = store.read(&id).unwrap().provenance;
    store.put_explanation(&id, &Explanation { layer: Some("features.13".into()), ..other }, provenance).unwrap();
    let problems = verify::verify(&store, &nowhere, &machine).unwrap().problems;
    assert!(problems.iter().any(|p| p.contains("map")), "{problems:?}");
}

/// A store from before a layer could be chosen: its maps are of the last layer before a pool, here 2×2, and it does not say so.
#[test]
fn maps_without_a_layer_are_read_and_verified_as_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let (machine, nowhere) = (machine(None), Source::new("nowhere"));
    let plan = plan_of(&SWEEP.replace("EXPLAIN", "{ layer = \"features.27\" }")).unwrap();
    let id = &plan.cells[0].id;
    let store = Store::create(folder.path()).unwrap();
    run::run(&plan, &store, &machine, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let maps = store.read_explanation(id).unwrap().unwrap();
    assert_eq!(maps.size, [2; 2]);
    let provenance = store.read(id).unwrap().provenance;
    store.put_explanation(id, &Explanation { layer: None, ..maps.clone() }, provenance).unwrap();
    assert!(!folder.path().join("explanations").join(id).join("layer.json").exists());
    assert_eq!(store.read_explanation(id).unwrap().unwrap(), Explanation { layer: None, ..maps });
    report::write(&store).unwrap();
    let found = verify::verify(&store, &nowhere, &machine).unwrap();
    assert_eq!((found.problems.as_slice(), found.maps), (&[][..], 4));
}
