//! Networks from ONNX files that are written here: what they compute in closed form, in batches of every kind, what exporters
//! write of norms and activations, and every refusal.

#[path = "support/onnx.rs"]
mod writer;

use candle_core::{Device, Tensor};
use foolproof::kernel::graph::{Activation, Op};
use foolproof::kernel::plain::Plain;
use foolproof::model::onnx::{Imported, import};
use std::fs;
use std::path::Path;
use writer::{Attribute as A, OPEN, Onnx};

const INSIDE: ([f64; 3], [f64; 3]) = ([0.0; 3], [1.0; 3]);

fn read(model: &Onnx) -> Result<Imported, String> {
    import(&model.bytes(), None, Some([2, 2]), INSIDE.0, INSIDE.1)
}

/// Logits and the gradient of their sum, of an image whose numbers are 1, 2, 3, … twelfths.
fn computed(imported: &Imported) -> (Vec<f64>, Vec<f64>) {
    let [height, width] = imported.graph.size();
    let n = 3 * height * width;
    let image = (1..=n).map(|i| i as f64 / 12.0).collect::<Vec<f64>>();
    let image = Tensor::from_vec(image, (1, 3, height, width), &Device::Cpu).unwrap();
    let (logits, gradient) = Plain::new(imported.graph.to_f64()).gradient(&image, |z| Ok(z.ones_like()?)).unwrap();
    let numbers = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    (numbers(logits), numbers(gradient))
}

fn logits(model: &Onnx) -> Vec<f64> {
    computed(&read(model).unwrap()).0
}

fn close(a: &[f64], b: &[f64]) {
    assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?}\n{b:?}");
}

/// Images of 2×2 pixels, however many.
fn images() -> Onnx {
    Onnx::new(&[OPEN, 3, 2, 2], 18)
}

/// A node that averages places, so that three channels are the logits.
fn pooled(model: Onnx, from: &str) -> Onnx {
    model.node("GlobalAveragePool", &[from], &["pooled"], &[]).node("Flatten", &["pooled"], &["logits"], &[])
}

#[test]
fn a_convolutional_network_is_what_its_file_says() {
    let model = images()
        .weight("kernel", &[2, 3, 1, 1], &[1.0, 2.0, 3.0, -1.0, 0.0, 0.0])
        .weight("shift", &[2], &[0.5, 0.0])
        .node("Conv", &["image", "kernel", "shift"], &["a"], &[("kernel_shape", A::Ints(&[1, 1]))])
        .node("Relu", &["a"], &["b"], &[])
        .node("GlobalAveragePool", &["b"], &["c"], &[])
        .node("Flatten", &["c"], &["d"], &[])
        .weight("rows", &[3, 2], &[1.0, 5.0, 0.5, 5.0, -1.0, 5.0])
        .weight("bias", &[3], &[0.0, 0.0, 7.0])
        .node("Gemm", &["d", "rows", "bias"], &["logits"], &[("transB", A::Int(1))]);
    let imported = read(&model).unwrap();
    // channels have means 2.5, 6.5 and 10.5 twelfths; the second kernel is below 0
    let mean = (2.5 + 2.0 * 6.5 + 3.0 * 10.5) / 12.0 + 0.5;
    let (logits, gradient) = computed(&imported);
    close(&logits, &[mean, mean / 2.0, 7.0 - mean]);
    close(&gradient, &[1.0, 2.0, 3.0].map(|w| [w / 4.0 * 0.5; 4]).concat());
    let names: Vec<&str> = imported.names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, imported.notes.len()), (vec!["a", "b", "c", "d", "logits"], 0));
    let (_, b) = imported.names[1];
    assert_eq!((imported.graph.shape(b), imported.graph.classes()), (&[2, 2, 2][..], 3));
}

#[test]
fn normalisation_is_the_model_files_or_the_files() {
    let inside = pooled(
        images()
            .weight("mean", &[3, 1, 1], &[0.1, 0.2, 0.3])
            .weight("std", &[3, 1, 1], &[0.5, 0.25, 2.0])
            .node("Sub", &["image", "mean"], &["centred"], &[])
            .node("Div", &["centred", "std"], &["normal"], &[]),
        "normal",
    );
    let outside = import(&pooled(images(), "image").bytes(), None, Some([2, 2]), [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]);
    close(&logits(&inside), &computed(&outside.unwrap()).0);
}

/// With the images of a batch as a given number, or open, in the first place; reshapes by shapes that the file computes.
fn tokens(images: i64, opset: i64) -> Onnx {
    Onnx::new(&[images, 3, 2, 2], opset)
        // N×3×4 to N×4×3, with a class token in front: N×5×3
        .node("Shape", &["image"], &["shape"], &[])
        .whole("zero", &[0])
        .node("Gather", &["shape", "zero"], &["n"], &[])
        .whole("three-all", &[3, -1])
        .node("Concat", &["n", "three-all"], &["flat-shape"], &[("axis", A::Int(0))])
        .node("Reshape", &["image", "flat-shape"], &["flat"], &[])
        .node("Transpose", &["flat"], &["tokens"], &[("perm", A::Ints(&[0, 2, 1]))])
        .weight("class", &[1, 1, 3], &[10.0, 20.0, 30.0])
        .whole("ones", &[1, 1])
        .node("Concat", &["n", "ones"], &["class-shape"], &[("axis", A::Int(0))])
        .node("Expand", &["class", "class-shape"], &["classes"], &[])
        .node("Concat", &["classes", "tokens"], &["all"], &[("axis", A::Int(1))])
        .whole("first", &[0])
        .whole("second", &[2])
        .whole("axis", &[1])
        .node("Slice", &["all", "first", "second", "axis"], &["two"], &[])
        .node("ReduceMean", &["two", "axis"], &["logits"], &[("keepdims", A::Int(0))])
}

#[test]
fn a_file_for_one_image_some_or_any_number_is_one_network() {
    // the class token and the first place
    let expected = [(10.0 + 1.0 / 12.0) / 2.0, (20.0 + 5.0 / 12.0) / 2.0, (30.0 + 9.0 / 12.0) / 2.0];
    for batch in [1, 4, OPEN] {
        close(&logits(&tokens(batch, 18)), &expected);
    }
}

#[test]
fn the_batch_may_lie_behind_other_axes_and_beside_heads() {
    // as torch's MultiheadAttention does: tokens first, then images; then images and heads on one axis
    for (batch, sizes) in [(OPEN, [0i64; 0].as_slice()), (2, &[2])] {
        let model = Onnx::new(&[batch, 3, 2, 2], 18)
            .node("Shape", &["image"], &["n"], &[("start", A::Int(0)), ("end", A::Int(1))])
            .whole("heads", &[3])
            .node("Mul", &["n", "heads"], &["of-heads"], &[])
            .node("Transpose", &["image"], &["first"], &[("perm", A::Ints(&[2, 0, 1, 3]))])
            .whole("two", &[2])
            .node("Concat", &["two", "of-heads", "two"], &["shape"], &[("axis", A::Int(0))])
            .node("Reshape", &["first", "shape"], &["merged"], &[])
            .node("Transpose", &["merged"], &["queries"], &[("perm", A::Ints(&[1, 0, 2]))])
            .node("Transpose", &["queries"], &["keys"], &[("perm", A::Ints(&[0, 2, 1]))])
            .node("MatMul", &["queries", "keys"], &["scores"], &[])
            .node("Concat", &["n", "heads", "all"], &["apart"], &[("axis", A::Int(0))])
            .whole("all", &[-1])
            .node("Reshape", &["scores", "apart"], &["split"], &[])
            .whole("last", &[2])
            .node("ReduceSum", &["split", "last"], &["logits"], &[("keepdims", A::Int(0))]);
        assert!(sizes.is_empty() || sizes == [batch]);
        // the sum of all products of rows of a channel's 2×2 matrix: the square of the sum of each column
        let channel = |c: f64| {
            let x = |i: f64| (4.0 * c + i) / 12.0;
            (x(1.0) + x(3.0)).powi(2) + (x(2.0) + x(4.0)).powi(2)
        };
        close(&logits(&model), &[channel(0.0), channel(1.0), channel(2.0)]);
    }
}

#[test]
fn what_would_mix_images_is_refused() {
    let flat = |axis: i64| images().node("Flatten", &["image"], &["flat"], &[("axis", A::Int(axis))]);
    let axis = |axis: i64| [("axis", A::Int(axis))];
    for (model, problem) in [
        (flat(1).node("Softmax", &["flat"], &["logits"], &axis(0)), "a softmax along axis 0"),
        (flat(0), "output `flat`"),
        (
            flat(1).whole("zero", &[0]).node("ReduceMean", &["flat", "zero"], &["logits"], &[]),
            "where the images of a batch are",
        ),
        (
            flat(1).whole("zero", &[0]).node("Gather", &["flat", "zero"], &["logits"], &[]),
            "picking by index along axis 0",
        ),
        (flat(1).node("Concat", &["flat", "flat"], &["logits"], &axis(0)), "along the axis of the images"),
        (
            flat(1).whole("shape", &[6, -1]).node("Reshape", &["flat", "shape"], &["logits"], &[]),
            "tears apart or mixes",
        ),
        (
            flat(1).node("Transpose", &["flat"], &["turned"], &[("perm", A::Ints(&[1, 0]))]).node(
                "MatMul",
                &["turned", "flat"],
                &["logits"],
                &[],
            ),
            "it mixes the images of a batch",
        ),
        (
            Onnx::new(&[2, 3, 2, 2], 18)
                .node("Flatten", &["image"], &["flat"], &[])
                .weight("each", &[2, 1], &[1.0, 2.0])
                .node("Mul", &["flat", "each"], &["logits"], &[]),
            "differs from image to image",
        ),
    ] {
        let model =
            if problem.contains("`flat`") { model.node("Identity", &["flat"], &["logits"], &[]) } else { model };
        let refusal = read(&model).unwrap_err();
        let problem = if problem.contains("`flat`") { "logits are images × classes" } else { problem };
        assert!(refusal.contains(problem), "{problem}: {refusal}");
    }
    // for a batch of one there is nothing to mix
    let one = Onnx::new(&[1, 3, 2, 2], 18)
        .node("Flatten", &["image"], &["flat"], &[])
        .whole("shape", &[6, -1])
        .node("Reshape", &["flat", "shape"], &["rows"], &[])
        .whole("zero", &[1])
        .node("ReduceSum", &["rows", "zero"], &["logits"], &[("keepdims", A::Int(0))]);
    assert_eq!(logits(&one).len(), 6);
}

/// How many operations of the graph there are that the logits depend on.
fn operations(imported: &Imported) -> Vec<&'static str> {
    let graph = &imported.graph;
    let mut needed = vec![false; graph.nodes().len() + 1];
    needed[graph.nodes().len()] = true;
    for (i, node) in graph.nodes().iter().enumerate().rev() {
        if needed[i + 1] {
            node.inputs.iter().for_each(|x| needed[*x] = true);
        }
    }
    graph.nodes().iter().zip(&needed[1..]).filter(|(_, needed)| **needed).map(|(node, _)| node.op.name()).collect()
}

#[test]
fn what_exporters_write_of_one_operation_is_one() {
    let one = |name: &str, value: f32| (name.to_string(), value);
    let scalar = |model: Onnx, (name, value): (String, f32)| model.weight(&name, &[], &[value]);
    let rows = || images().whole("shape", &[0, 3, 4]).node("Reshape", &["image", "shape"], &["x"], &[]);
    let summed = |model: Onnx| {
        model.whole("last", &[2]).node("ReduceSum", &["y", "last"], &["logits"], &[("keepdims", A::Int(0))])
    };
    let last = [("axes", A::Ints(&[-1]))];
    // layer norm, as torch wrote it before opset 17
    let norm = scalar(scalar(rows(), one("two", 2.0)), one("eps", 1e-5))
        .weight("factor", &[4], &[1.0, 2.0, 3.0, 4.0])
        .weight("shift", &[4], &[0.0, 0.0, 0.0, 1.0])
        .node("ReduceMean", &["x"], &["mean"], &last)
        .node("Sub", &["x", "mean"], &["centred"], &[])
        .node("Pow", &["centred", "two"], &["square"], &[])
        .node("ReduceMean", &["square"], &["variance"], &last)
        .node("Add", &["variance", "eps"], &["sum"], &[])
        .node("Sqrt", &["sum"], &["root"], &[])
        .node("Div", &["centred", "root"], &["normal"], &[])
        .node("Mul", &["normal", "factor"], &["scaled"], &[])
        .node("Add", &["scaled", "shift"], &["y"], &[]);
    let norm = read(&summed(norm)).unwrap();
    assert_eq!(operations(&norm), ["reshape", "layer norm", "mean", "scale"], "then a sum over four");
    let whole = rows().weight("factor", &[4], &[1.0, 2.0, 3.0, 4.0]).weight("shift", &[4], &[0.0, 0.0, 0.0, 1.0]).node(
        "LayerNormalization",
        &["x", "factor", "shift"],
        &["y"],
        &[],
    );
    close(&computed(&norm).0, &logits(&summed(whole)));
    // GELU by the error function
    let gelu = scalar(scalar(scalar(rows(), one("root", 2f32.sqrt())), one("one", 1.0)), one("half", 0.5))
        .node("Div", &["x", "root"], &["inner"], &[])
        .node("Erf", &["inner"], &["erf"], &[])
        .node("Add", &["erf", "one"], &["gate"], &[])
        .node("Mul", &["x", "gate"], &["double"], &[])
        .node("Mul", &["double", "half"], &["y"], &[]);
    let gelu = read(&summed(gelu)).unwrap();
    assert_eq!(operations(&gelu), ["activation", "reshape", "mean", "scale"]);
    let direct = summed(Onnx::new(&[OPEN, 3, 2, 2], 20).whole("shape", &[0, 3, 4]).node(
        "Reshape",
        &["image", "shape"],
        &["x"],
        &[],
    ))
    .node("Gelu", &["x"], &["y"], &[]);
    assert!(read(&direct).unwrap_err().contains("reads `y`"), "nodes are in an order of computation");
    let x: Vec<f64> = (1..=12).map(|i| f64::from(i) / 12.0).collect();
    let by_hand = |f: &dyn Fn(f64) -> f64| x.chunks(4).map(|row| row.iter().map(|x| f(*x)).sum()).collect::<Vec<f64>>();
    close(&computed(&gelu).0, &by_hand(&|x| x * 0.5 * (1.0 + libm_erf(x / 2f64.sqrt()))));
    // SiLU, hard swish
    for (gate, op, by) in [
        ("Sigmoid", Activation::Silu, (&|x: f64| x / (1.0 + (-x).exp())) as &dyn Fn(f64) -> f64),
        ("HardSigmoid", Activation::HardSwish, &|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    ] {
        let slope: &[(&str, A)] = if gate == "Sigmoid" { &[] } else { &[("alpha", A::Float(1.0 / 6.0))] };
        let model = rows().node(gate, &["x"], &["gate"], slope).node("Mul", &["x", "gate"], &["y"], &[]);
        let imported = read(&summed(model)).unwrap();
        assert!(imported.graph.nodes().iter().any(|node| node.op == Op::Activate(op)), "{gate}");
        close(&computed(&imported).0, &by_hand(by));
    }
    // a value over its own length
    let unit = scalar(rows(), one("least", 1e-12))
        .node("ReduceL2", &["x"], &["length"], &last)
        .node("Clip", &["length", "least"], &["some"], &[])
        .node("Shape", &["x"], &["all"], &[])
        .node("Expand", &["some", "all"], &["lengths"], &[])
        .node("Div", &["x", "lengths"], &["y"], &[]);
    let length = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let expected: Vec<f64> = x.chunks(4).map(|row| row.iter().sum::<f64>() / length(row)).collect();
    close(&logits(&summed(unit)), &expected);
}

#[test]
fn a_part_without_the_image_is_computed_when_the_file_is_read() {
    // as Swin's second version makes biases of a table: a small network on numbers, and rows that are picked of what it gives
    let model = images()
        .weight("table", &[4, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0, -2.0, 0.5])
        .weight("first", &[2, 3], &[1.0, 0.0, -1.0, 0.0, 2.0, 1.0])
        .weight("second", &[3, 1], &[1.0, 1.0, 3.0])
        .node("MatMul", &["table", "first"], &["hidden"], &[])
        .node("Relu", &["hidden"], &["active"], &[])
        .node("MatMul", &["active", "second"], &["biases"], &[])
        .node("Sigmoid", &["biases"], &["gates"], &[])
        .whole("rows", &[3, 0, 2])
        .node("Gather", &["gates", "rows"], &["picked"], &[])
        .whole("shape", &[1, 3])
        .node("Reshape", &["picked", "shape"], &["shift"], &[])
        .node("GlobalAveragePool", &["image"], &["pooled"], &[])
        .node("Flatten", &["pooled"], &["means"], &[])
        .node("Add", &["means", "shift"], &["logits"], &[]);
    let imported = read(&model).unwrap();
    assert_eq!(operations(&imported), ["average pool", "reshape", "scale"]);
    // rows of the table become 1, 5, 3 and 8.5
    let means = [2.5, 6.5, 10.5].map(|sum| sum / 12.0);
    let gates = [8.5, 1.0, 3.0].map(|x: f64| 1.0 / (1.0 + (-x).exp()));
    close(&computed(&imported).0, &[means[0] + gates[0], means[1] + gates[1], means[2] + gates[2]]);

    // one that takes too long stays a part of the network: 512·512·1024 products
    let model = images()
        .whole("square", &[512, 512])
        .node("ConstantOfShape", &["square"], &["a"], &[("value", A::Tensor(&[1], &[0.5]))])
        .whole("wide", &[512, 1024])
        .node("ConstantOfShape", &["wide"], &["b"], &[("value", A::Tensor(&[1], &[0.25]))])
        .node("MatMul", &["a", "b"], &["products"], &[])
        .whole("row", &[0])
        .node("Gather", &["products", "row"], &["picked"], &[])
        .whole("columns", &[0, 1, 2])
        .node("Gather", &["picked", "columns"], &["shift"], &[("axis", A::Int(1))])
        .node("GlobalAveragePool", &["image"], &["pooled"], &[])
        .node("Flatten", &["pooled"], &["means"], &[])
        .node("Add", &["means", "shift"], &["logits"], &[]);
    let imported = read(&model).unwrap();
    assert_eq!(operations(&imported)[..3], ["constant", "linear layer", "slice"]);
    close(&computed(&imported).0, &means.map(|mean| mean + 64.0));
}

/// The error function by its series (Abramowitz and Stegun 7.1.5), for small numbers.
fn libm_erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..60 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}

#[test]
fn grey_images_and_channels_last_are_taken() {
    let grey = Onnx::new(&[OPEN, 1, 2, 2], 18).node("Flatten", &["image"], &["logits"], &[]);
    let (logits, gradient) = computed(&read(&grey).unwrap());
    close(&logits, &[1.0, 2.0, 3.0, 4.0].map(|x| x / 12.0));
    close(&gradient, &[[1.0; 4], [0.0; 4], [0.0; 4]].concat());
    let last =
        Onnx::new(&[OPEN, 2, 2, 3], 18).node("Transpose", &["image"], &["first"], &[("perm", A::Ints(&[0, 3, 1, 2]))]);
    let imported = read(&pooled(last, "first")).unwrap();
    assert_eq!(operations(&imported), ["average pool", "reshape"], "two transposes are none");
    close(&computed(&imported).0, &[2.5 / 12.0, 6.5 / 12.0, 10.5 / 12.0]);
}

#[test]
fn the_size_is_the_files_or_the_model_files() {
    let open = pooled(Onnx::new(&[OPEN, 3, OPEN, OPEN], 18), "image").bytes();
    let size = |bytes: &[u8], size| import(bytes, None, size, INSIDE.0, INSIDE.1).map(|i| i.graph.size());
    assert_eq!(size(&open, Some([7, 5])), Ok([7, 5]));
    assert!(size(&open, None).unwrap_err().contains("`side` or `size` in the model file"));
    let fixed = pooled(Onnx::new(&[OPEN, 3, 6, 8], 18), "image").bytes();
    assert_eq!(size(&fixed, None), Ok([6, 8]));
    assert!(
        size(&fixed, Some([8, 8])).unwrap_err().contains("images of size 6×8, not of side 8 (hint: `size = [6, 8]` in")
    );
    assert!(
        size(&fixed, Some([8, 6])).unwrap_err().contains("images of size 6×8, not of size 8×6"),
        "they are not turned"
    );
    let square = pooled(Onnx::new(&[OPEN, 3, 6, 6], 18), "image").bytes();
    assert!(size(&square, Some([8, 8])).unwrap_err().contains("images of side 6, not of side 8 (hint: `side = 6` in"));
}

#[test]
fn a_softmax_at_the_end_goes_with_a_note_and_a_log_softmax_too() {
    let flat = pooled(images(), "image").node("Softmax", &["logits"], &["p"], &[("axis", A::Int(1))]);
    let [softmax, log] = ["Softmax", "LogSoftmax"].map(|operator| {
        let model = images().node("GlobalAveragePool", &["image"], &["pooled"], &[]);
        let model = model.node("Flatten", &["pooled"], &["z"], &[]);
        read(&model.node(operator, &["z"], &["logits"], &[("axis", A::Int(1))])).unwrap()
    });
    assert!(softmax.notes[0].contains("ends in Softmax, which is left out"), "{:?}", softmax.notes);
    close(&computed(&softmax).0, &[2.5 / 12.0, 6.5 / 12.0, 10.5 / 12.0]);
    assert!(log.notes[0].contains("LogSoftmax, which is left out"), "{:?}", log.notes);
    close(&computed(&log).0, &[2.5 / 12.0, 6.5 / 12.0, 10.5 / 12.0]);
    // what comes behind one is computed as it stands, and said
    let probabilities =
        || images().node("GlobalAveragePool", &["image"], &["pooled"], &[]).node("Flatten", &["pooled"], &["z"], &[]);
    let probabilities = || probabilities().node("Softmax", &["z"], &["p"], &[("axis", A::Int(1))]);
    let clipped = probabilities().weight("low", &[], &[1e-7]).weight("high", &[], &[0.999]);
    let clipped = clipped.node("Clip", &["p", "low", "high"], &["logits"], &[]);
    let scaled = probabilities().weight("hundred", &[], &[100.0]).node("Mul", &["p", "hundred"], &["logits"], &[]);
    for (model, sum) in [(clipped, 1.0), (scaled, 100.0)] {
        let network = read(&model).unwrap();
        assert!(
            network.notes.iter().any(|n| n.contains("computed from a softmax over all classes")),
            "{:?}",
            network.notes
        );
        assert!((computed(&network).0.iter().sum::<f64>() - sum).abs() < 1e-4);
    }
    // what nobody asks for is not computed into the output
    assert_eq!(read(&flat).unwrap().graph.classes(), 3);
}

#[test]
fn every_refusal_names_the_node_and_what_would_do() {
    let conv = |attributes: &[(&str, A)]| {
        images().weight("kernel", &[2, 3, 1, 1], &[0.0; 6]).node("Conv", &["image", "kernel"], &["logits"], attributes)
    };
    let unary = |operator: &str| images().node(operator, &["image"], &["logits"], &[]);
    let flat = || images().node("Flatten", &["image"], &["x"], &[]);
    for (model, expected) in [
        (unary("LSTM"), "node `node-logits` (LSTM): the operator is not supported: a recurrent layer"),
        (unary("Frobnicate"), "there is no operation for it"),
        (unary("com.microsoft:FusedConv"), "an operator of `com.microsoft`"),
        (unary("Exp"), "Exp of what is computed from the image"),
        (unary("Sqrt"), "understood only in a layer norm"),
        (unary("ArgMax"), "has no gradient (hint: export the network up to its logits)"),
        (unary("QuantizeLinear"), "export before quantisation"),
        (unary("LogSoftmax").node("Relu", &["logits"], &["more"], &[]).output("more"), "understood as the last one"),
        (images().node("If", &["image"], &["logits"], &[("then_branch", A::Graph)]), "networks inside the network"),
        (conv(&[("activation", A::Text("Relu"))]), "attribute `activation` is not understood"),
        (conv(&[("auto_pad", A::Text("SOMEHOW"))]), "attribute `auto_pad` \"SOMEHOW\""),
        (conv(&[("kernel_shape", A::Ints(&[3, 3]))]), "attribute `kernel_shape` beside a weight of shape [2, 3, 1, 1]"),
        (conv(&[("pads", A::Ints(&[-1, 0, 0, 0]))]), "attribute `pads`: four sizes from 0 on"),
        (conv(&[("group", A::Int(2))]), "2 groups"),
        (
            images().weight("kernel", &[2, 3, 1], &[0.0; 6]).node("Conv", &["image", "kernel"], &["logits"], &[]),
            "Conv is two-dimensional here",
        ),
        (
            images().node("Conv", &["image", "image"], &["logits"], &[]),
            "its weight (input 1) is computed from the image",
        ),
        (images().node("Relu", &["nothing"], &["logits"], &[]), "`nothing`, which nothing before it gives"),
        (images().node("Relu", &[""], &["logits"], &[]), "input 0 is missing"),
        (flat().node("Relu", &["x"], &["x"], &[]).node("Relu", &["x"], &["logits"], &[]), "two values of the name `x`"),
        (
            images().weight("image2", &[1], &[0.0]).weight("image2", &[1], &[0.0]).node(
                "Relu",
                &["image"],
                &["logits"],
                &[],
            ),
            "two weights of the name `image2`",
        ),
        (flat().node("Div", &["x", "x"], &["logits"], &[]), "it divides by what is computed from the image"),
        (
            flat().raw("w", 17, &[1], &[0]).node("Mul", &["x", "w"], &["logits"], &[]),
            "`w`: numbers of kind 17, which are not read",
        ),
        (flat().raw("w", 1, &[3], &[0; 8]).node("Mul", &["x", "w"], &["logits"], &[]), "8 bytes for shape [3]"),
        (
            flat().raw("w", 11, &[1], &1e39f64.to_le_bytes()).node("Mul", &["x", "w"], &["logits"], &[]),
            "`w`: 1e39, which single precision does not hold",
        ),
        (images().input("second", 1, &[1]), "inputs [\"image\", \"second\"]: a classifier has one, its images"),
        (Onnx::new(&[OPEN, 4, 2, 2], 18), "4 channels: an image has 3, or 1 where it is grey"),
        (Onnx::new(&[OPEN, 3, 2], 18), "images are N×channels×height×width"),
        (images().only_input("image", 2, &[OPEN, 3, 2, 2]), "images are floats from 0 to 1 here"),
        (Onnx::new(&[OPEN, 3, 2, 2], 5), "version 5 of ONNX's operators, of which 6 to"),
        (images().node("Identity", &["image"], &["logits"], &[]), "output `logits`: shape"),
        (
            images().weight("w", &[2], &[1.0, 2.0]).node("Identity", &["w"], &["logits"], &[]),
            "it does not depend on the image",
        ),
        (images(), "`logits`, which nothing before it gives"),
        (
            flat().node("MaxPool", &["image"], &["y", "places"], &[("kernel_shape", A::Ints(&[2, 2]))]).node(
                "Flatten",
                &["places"],
                &["logits"],
                &[],
            ),
            "its output 1 is read and not computed",
        ),
        (
            images().whole("huge", &[1 << 20, 1 << 20]).node("ConstantOfShape", &["huge"], &["w"], &[]).node(
                "MatMul",
                &["image", "w"],
                &["logits"],
                &[],
            ),
            "matrices of shapes",
        ),
        (
            images()
                .whole("huge", &[1 << 20, 1 << 20])
                .node("ConstantOfShape", &["huge"], &["w"], &[])
                .node("Flatten", &["image"], &["x"], &[])
                .whole("n", &[1 << 40])
                .node("ConstantOfShape", &["n"], &["v"], &[])
                .node("Add", &["x", "v"], &["logits"], &[]),
            "values of shapes",
        ),
        (
            flat().whole("huge", &[12, 1 << 30]).node("ConstantOfShape", &["huge"], &["w"], &[]).node(
                "MatMul",
                &["x", "w"],
                &["logits"],
                &[],
            ),
            "it makes more numbers than the file has any reason to",
        ),
    ] {
        let refusal = read(&model).unwrap_err();
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
    assert!(import(b"not one", None, None, INSIDE.0, INSIDE.1).unwrap_err().contains("no ONNX model, or damaged"));
    assert!(import(b"", None, None, INSIDE.0, INSIDE.1).unwrap_err().contains("version 1 of ONNX's operators"));
}

/// A linear network whose weights lie in another file.
fn external(location: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let entries = [&[("location", location)], more].concat();
    images()
        .external("w", &[12, 2], &entries)
        .node("Flatten", &["image"], &["x"], &[])
        .node("MatMul", &["x", "w"], &["logits"], &[])
        .bytes()
}

#[test]
fn external_data_stays_inside_the_models_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("model");
    fs::create_dir_all(folder.join("sub")).unwrap();
    let numbers: Vec<u8> = (0..24).flat_map(|i| (i as f32).to_le_bytes()).collect();
    fs::write(folder.join("w.data"), [&[0; 8], numbers.as_slice()].concat()).unwrap();
    fs::write(folder.join("sub/w.data"), &numbers).unwrap();
    fs::write(root.path().join("outside.data"), &numbers).unwrap();
    let read = |bytes: &[u8], folder: Option<&Path>| import(bytes, folder, None, INSIDE.0, INSIDE.1);
    let expected: Vec<f64> =
        (0..2).map(|o| (0..12).map(|i| f64::from(i + 1) / 12.0 * f64::from(2 * i + o)).sum()).collect();
    for inside in [external("w.data", &[("offset", "8"), ("length", "96")]), external("./sub/w.data", &[])] {
        close(&computed(&read(&inside, Some(&folder)).unwrap()).0, &expected);
    }
    let absolute = root.path().join("outside.data");
    for (location, more, problem) in [
        ("../outside.data", &[][..], "outside the folder"),
        ("sub/../../outside.data", &[], "outside the folder"),
        (absolute.to_str().unwrap(), &[], "outside the folder"),
        ("..\\outside.data", &[], "outside the folder"),
        ("", &[], "outside the folder"),
        ("missing.data", &[], "is not there"),
        ("sub", &[], "is no file"),
        ("w.data", &[("offset", "9")], "96 bytes from 9 on are wanted, and it has 104"),
        ("w.data", &[("offset", "18446744073709551615")], "are wanted"),
        ("w.data", &[("offset", "-1")], "`offset` \"-1\""),
        ("w.data", &[("length", "95")], "another length"),
    ] {
        let refusal = read(&external(location, more), Some(&folder)).unwrap_err();
        assert!(refusal.contains(problem), "{location}: {refusal}");
    }
    assert!(read(&external("w.data", &[]), None).unwrap_err().contains("`external_data=False` when exporting"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../outside.data", folder.join("link.data")).unwrap();
        let refusal = read(&external("link.data", &[]), Some(&folder)).unwrap_err();
        assert!(refusal.contains("leads outside the folder"), "{refusal}");
    }
}
