//! A model file of an ONNX file: found, loaded, attacked, verified; its layers; what it may not say.

mod support;
#[path = "support/onnx.rs"]
mod writer;

use foolproof::data::Source;
use foolproof::fingerprint::Fingerprints;
use foolproof::hub::Hub;
use foolproof::kernel::Precision;
use foolproof::kernel::graph::{Activation, Graph, Op};
use foolproof::model::{self, ModelSource, Portable};
use foolproof::store::Store;
use foolproof::sweep::verify;
use std::fs;
use std::path::Path;
#[cfg(unix)]
use std::time::SystemTime;
use writer::{Attribute as A, OPEN, Onnx};

const BUILT_IN: &str = "vgg11-half-cifar10";

/// A VGG as an exporter would write it: convolutions, batch norms, ReLUs, pools and linear layers, the normalisation of its
/// images in front of them.
fn exported(graph: &Graph<f32>) -> Onnx {
    let [height, width] = graph.size().map(|side| side as i64);
    let f32s = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let mut model = Onnx::new(&[OPEN, 3, height, width], 17)
        .weight("mean", &[1, 3, 1, 1], &f32s(&graph.mean))
        .weight("std", &[1, 3, 1, 1], &f32s(&graph.std))
        .node("Sub", &["image", "mean"], &["centred"], &[])
        .node("Div", &["centred", "std"], &["v0"], &[]);
    let last = graph.nodes().len();
    for (i, node) in graph.nodes().iter().enumerate() {
        let out = if i + 1 == last { "logits".to_string() } else { format!("v{}", i + 1) };
        let x = format!("v{}", node.inputs[0]);
        let (w, b) = (format!("w{i}"), format!("b{i}"));
        let shape = graph.shape(node.inputs[0]);
        model = match &node.op {
            Op::Conv { window, weight, bias, .. } => {
                let [h, w_] = window.size.map(|s| s as i64);
                let outputs = bias.len() as i64;
                model.weight(&w, &[outputs, shape[0] as i64, h, w_], weight).weight(&b, &[outputs], bias).node(
                    "Conv",
                    &[&x, &w, &b],
                    &[&out],
                    &[("pads", A::Ints(&window.padding.map(|p| p as i64)))],
                )
            }
            Op::Scale { factor, shift, .. } => {
                let n = factor.len() as i64;
                model
                    .weight(&w, &[n], &f32s(factor))
                    .weight(&b, &[n], &f32s(shift))
                    .weight(&format!("m{i}"), &[n], &vec![0.0; factor.len()])
                    .weight(&format!("s{i}"), &[n], &vec![1.0; factor.len()])
                    .node(
                        "BatchNormalization",
                        &[&x, &w, &b, &format!("m{i}"), &format!("s{i}")],
                        &[&out],
                        &[("epsilon", A::Float(0.0))],
                    )
            }
            Op::Activate(Activation::Relu) => model.node("Relu", &[&x], &[&out], &[]),
            Op::MaxPool { window, .. } => {
                let [size, stride] = [window.size, window.stride].map(|v| v.map(|s| s as i64));
                let attributes = [("kernel_shape", A::Ints(&size)), ("strides", A::Ints(&stride))];
                model.node("MaxPool", &[&x], &[&out], &attributes)
            }
            Op::AdaptiveAverage { out: [1, 1] } => model.node("GlobalAveragePool", &[&x], &[&out], &[]),
            Op::Reshape { .. } => model.node("Flatten", &[&x], &[&out], &[]),
            Op::Linear { weight, bias } => {
                let (outputs, inputs) = (bias.len() as i64, (weight.len() / bias.len()) as i64);
                model.weight(&w, &[outputs, inputs], weight).weight(&b, &[outputs], bias).node(
                    "Gemm",
                    &[&x, &w, &b],
                    &[&out],
                    &[("transB", A::Int(1))],
                )
            }
            other => panic!("a VGG has no {}", other.name()),
        };
    }
    model
}

/// A folder with the file and a model file that names it, and this in place of `classes`, `mean` and `std`.
fn folder(bytes: &[u8], lines: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("net.onnx"), bytes).unwrap();
    fs::write(folder.path().join("net.toml"), format!("weights = \"net.onnx\"\nside = 32\n{lines}")).unwrap();
    folder
}

fn find(folder: &Path) -> foolproof::error::Result<ModelSource> {
    model::find(folder.join("net.toml").to_str().unwrap(), Path::new("."), &Hub::none())
}

const INSIDE: &str = "classes = 10\nmean = \"inside\"\n";

#[test]
fn an_onnx_file_is_attacked_and_verified_as_the_network_that_it_came_from() {
    let graph = model::built_in(BUILT_IN).unwrap().load().unwrap();
    let folder = folder(&exported(&graph).bytes(), INSIDE);
    let path = folder.path().join("net.toml");
    let text = format!(
        "name = \"onnx\"\n[[sweep]]\nmodels = [\"{BUILT_IN}\", {path:?}]\ndata = {{ name = \"cifar10-sample\", take = 20 }}\n\
         goals = [\"untargeted\"]\nattacks = [{{ name = \"pgd\", steps = 5 }}]\nthreats = [{{ norm = \"linf\", eps = [\"1/255\"] }}]\n"
    );
    let source = Source::new("nowhere");
    let (run, cells) = support::sweep(&text, &source, None);
    let stored = support::stored(run.path(), &cells);
    let of = |model: &str| {
        let cell = stored.iter().find(|c| c.cell.model.name == model).expect("a cell of it");
        cell.outcomes.iter().map(|o| (o.clean_prediction, o.success)).collect::<Vec<_>>()
    };
    assert_eq!(of(BUILT_IN), of("net"));
    assert!(of("net").iter().any(|(_, success)| *success == Some(true)), "some fall");
    assert!(of("net").iter().any(|(_, success)| *success == Some(false)), "some stand");
    let network = &stored.iter().find(|c| c.cell.model.name == "net").unwrap().cell.model.network;
    assert_eq!(network, "onnx reading=2 classes=10 side=32 mean=[0.0, 0.0, 0.0] std=[1.0, 1.0, 1.0]");
    let findings = verify::verify(&Store::open(run.path()).unwrap(), &source, &support::machine(None)).unwrap();
    assert!(findings.problems.is_empty(), "{:?}", findings.problems);
}

/// A plan takes the digest of weights that were hashed before; whoever reads them holds them to it.
#[cfg(unix)]
#[test]
fn weights_of_a_known_digest_are_read_when_the_network_is_made_and_held_to_it() {
    let graph = model::built_in(BUILT_IN).unwrap().load().unwrap();
    let folder = folder(&exported(&graph).bytes(), INSIDE);
    let (weights, kept) = (folder.path().join("net.onnx"), folder.path().join("kept"));
    let hour = std::time::Duration::from_secs(3600);
    fs::File::options().write(true).open(&weights).unwrap().set_modified(SystemTime::now() - hour).unwrap();
    let path = folder.path().join("net.toml");
    let fingerprints = Fingerprints::at(&kept);
    let found = || model::find_hashed(path.to_str().unwrap(), Path::new("."), &Hub::none(), &fingerprints).unwrap();
    let digest = found().digest;
    assert_eq!((&digest, &found().digest), (&find(folder.path()).unwrap().digest, &digest));
    assert!(found().load().is_ok());
    // another digest stands there: it is believed until the weights are read, and then forgotten
    let entry = fs::read_dir(&kept).unwrap().next().expect("one").unwrap().path();
    let text = fs::read_to_string(&entry).unwrap().replace(&digest, &"f".repeat(64));
    fs::write(&entry, text).unwrap();
    let wrong = found();
    assert_eq!(wrong.digest, "f".repeat(64));
    let problem = wrong.load().expect_err("they are not those").to_string();
    assert!(problem.contains("net.onnx: changed since it was checked (hint: run again"), "{problem}");
    assert_eq!(found().digest, digest);
}

#[test]
fn layers_are_the_nodes_that_give_maps() {
    let graph = model::built_in(BUILT_IN).unwrap().load().unwrap();
    let folder = folder(&exported(&graph).bytes(), INSIDE);
    let source = find(folder.path()).unwrap();
    let usual = source.layer(None).unwrap();
    let maker = |value: usize| source.load().unwrap().nodes()[value - 1].op == Op::Activate(Activation::Relu);
    assert!(maker(usual.value) && usual.size[0] >= 4, "{usual:?}");
    let named = source.layer(Some("v1")).unwrap();
    assert_eq!((named.size, named.usual), ([32; 2], false));
    assert!(source.explainer(Some(&usual.name)).is_ok());
    let none = source.layer(Some("v0x")).unwrap_err();
    assert!(none.contains("no layer `v0x`") && none.contains("did you mean `v0`"), "{none}");
    assert!(source.engine(&candle_core::Device::Cpu, Precision::F32).is_ok());
}

#[test]
fn what_a_model_file_says_is_held_to_the_file() {
    let graph = model::built_in(BUILT_IN).unwrap().load().unwrap();
    let bytes = exported(&graph).bytes();
    let plain = "mean = [0, 0, 0]\nstd = [1, 1, 1]\n";
    for (lines, expected) in [
        (
            "classes = 10\n",
            "missing key `mean`: three numbers, one a channel (as [0.485, 0.456, 0.406]), or \"inside\"",
        ),
        ("classes = 10\nmean = \"outside\"\n", "expected three numbers or \"inside\", found \"outside\""),
        ("classes = 10\nmean = \"inside\"\nstd = [1, 1, 1]\n", "`std` beside `mean = \"inside\"`"),
        ("mean = \"inside\"\n", "`classes`: expected a whole number"),
        (
            &format!("classes = 1000\n{plain}"),
            "the network has 10 classes, the model file says 1000 (hint: classes = 10)",
        ),
        (&format!("classes = 10\nkeys = \"timm\"\n{plain}"), "an ONNX file has neither `keys` nor a `state_dict`"),
        (&format!("classes = 10\nwidth = 0.5\n{plain}"), "`width` is a key of the"),
        (
            &format!("classes = 10\nfamily = \"vgg11\"\n{plain}"),
            "the file is ONNX, a whole network (hint: name it *.onnx",
        ),
        ("classes = 10\nfamily = \"vgg11\"\nmean = \"inside\"\n", "`mean`: expected a list of numbers"),
        (&format!("classes = 10\nsha256 = \"{}\"\n{plain}", "0".repeat(64)), "the model file pins 000"),
    ] {
        let folder = folder(&bytes, lines);
        let problem = find(folder.path()).and_then(|source| source.load()).map(drop).unwrap_err().to_string();
        assert!(problem.contains(expected), "{lines}{expected}\n{problem}");
    }
    let other = folder(b"PK\x03\x04 and so on", INSIDE);
    let problem = find(other.path()).unwrap().load().map(drop).unwrap_err().to_string();
    assert!(problem.contains("no ONNX model, or damaged"), "{problem}");
    let page = folder(b"<!DOCTYPE html>", INSIDE);
    let problem = find(page.path()).unwrap().load().map(drop).unwrap_err().to_string();
    assert!(problem.contains("a page of the web"), "{problem}");
}

#[test]
fn external_data_is_part_of_the_digest_and_does_not_go_with_a_run() {
    let model = |n: usize| {
        let entries = [("location", "net.data")];
        Onnx::new(&[OPEN, 3, 32, 32], 17)
            .external("w", &[3 * 32 * 32, 10], &entries[..n])
            .node("Flatten", &["image"], &["x"], &[])
            .node("MatMul", &["x", "w"], &["logits"], &[])
            .bytes()
    };
    let folder = folder(&model(1), INSIDE);
    let data = folder.path().join("net.data");
    fs::write(&data, vec![0; 3 * 32 * 32 * 10 * 4]).unwrap();
    let first = find(folder.path()).unwrap();
    assert_eq!(first.load().unwrap().classes(), 10);
    fs::write(&data, vec![1; 3 * 32 * 32 * 10 * 4]).unwrap();
    let second = find(folder.path()).unwrap();
    assert_ne!(first.digest, second.digest, "other weights are another model");
    let name = folder.path().join("net.toml");
    let portable = Portable::of(name.to_str().unwrap()).unwrap().expect("a file of the user's");
    let problem = portable.weights.expect("a weight file").here.unwrap_err().to_string();
    assert!(problem.contains("has external data, and one file goes with a run"), "{problem}");
    fs::remove_file(&data).unwrap();
    let problem = find(folder.path()).map(drop).unwrap_err().to_string();
    assert!(problem.contains("external data `net.data`: the file is not there"), "{problem}");
}
