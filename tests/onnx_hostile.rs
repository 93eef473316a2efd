//! Damaged and hostile ONNX files: a network or an error, never a panic, and little memory. They are tried in a process of its
//! own, which reports its peak (`VmHWM`). `FOOLPROOF_FILES` changes the number of files.

#[path = "support/onnx.rs"]
mod writer;

use foolproof::model::onnx::import;
use foolproof::rng::{Stream, Streams};
use std::process::Command;
use std::time::{Duration, Instant};
use writer::{Attribute as A, OPEN, Onnx, field, number};

/// Bytes that a process of these tests may take at its peak: a few bytes may ask for a gigabyte of weights, as ONNX's own tests do,
/// and half as much is for everything else.
const MOST: u64 = 1536 << 20;

/// A small network with one of most operators: convolutions, norms, shapes that are computed, attention.
fn network() -> Onnx {
    let few = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>();
    Onnx::new(&[OPEN, 3, 6, 6], 17)
        .weight("kernel", &[4, 3, 3, 3], &few(108))
        .weight("one", &[4], &[1.0, 0.5, 2.0, 1.5])
        .weight("two", &[4], &[0.1, 0.2, 0.3, 0.4])
        .node(
            "Conv",
            &["image", "kernel", "two"],
            &["a"],
            &[("pads", A::Ints(&[1, 1, 1, 1])), ("strides", A::Ints(&[2, 2])), ("auto_pad", A::Text("NOTSET"))],
        )
        .node("BatchNormalization", &["a", "one", "two", "two", "one"], &["b"], &[("epsilon", A::Float(1e-3))])
        .node("Sigmoid", &["b"], &["gate"], &[])
        .node("Mul", &["b", "gate"], &["c"], &[])
        .node("Pad", &["c", "pads"], &["padded"], &[("mode", A::Text("reflect"))])
        .whole("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
        .node("MaxPool", &["padded"], &["d"], &[("kernel_shape", A::Ints(&[3, 3])), ("ceil_mode", A::Int(1))])
        .node("Resize", &["d", "", "scales"], &["e"], &[("mode", A::Text("linear"))])
        .weight("scales", &[4], &[1.0, 1.0, 1.5, 2.0])
        .node("Shape", &["e"], &["shape"], &[])
        .node("Gather", &["shape", "zero"], &["n"], &[])
        .whole("zero", &[0])
        .whole("rest", &[4, -1])
        .node("Concat", &["n", "rest"], &["rows"], &[("axis", A::Int(0))])
        .node("Reshape", &["e", "rows"], &["f"], &[])
        .node("Transpose", &["f"], &["g"], &[("perm", A::Ints(&[0, 2, 1]))])
        .node("LayerNormalization", &["g", "one", "two"], &["h"], &[("axis", A::Int(-1))])
        .node("MatMul", &["h", "f"], &["scores"], &[])
        .node("Softmax", &["scores"], &["attention"], &[("axis", A::Int(-1))])
        .node("MatMul", &["attention", "h"], &["mixed"], &[])
        .whole("ones", &[1, 4])
        .node("Concat", &["n", "ones"], &["class-shape"], &[("axis", A::Int(0))])
        .node("ConstantOfShape", &["class-shape"], &["class"], &[("value", A::Tensor(&[1], &[0.5]))])
        .node("Concat", &["class", "mixed"], &["all"], &[("axis", A::Int(1))])
        .node("Slice", &["all", "zero", "end", "axis"], &["first"], &[])
        .whole("end", &[2])
        .whole("axis", &[1])
        .node("Tile", &["zero", "end"], &["zeros"], &[])
        .node("Range", &["from", "to", "step"], &["range"], &[])
        .raw("from", 7, &[], &[0; 8])
        .raw("to", 7, &[], &[2, 0, 0, 0, 0, 0, 0, 0])
        .raw("step", 7, &[], &[1, 0, 0, 0, 0, 0, 0, 0])
        .node("Gather", &["first", "range"], &["again"], &[("axis", A::Int(1))])
        .node("Split", &["again"], &["left", "right"], &[("axis", A::Int(1))])
        .node("Where", &["zero", "left", "right"], &["chosen"], &[])
        .node("Expand", &["chosen", "wide"], &["expanded"], &[])
        .whole("wide", &[1, 3, 4])
        .node("Einsum", &["expanded", "expanded"], &["products"], &[("equation", A::Text("bij,bkj->bik"))])
        .node("ReduceMean", &["products"], &["mean"], &[("axes", A::Ints(&[-1])), ("keepdims", A::Int(0))])
        .node("Clip", &["mean", "low"], &["clipped"], &[])
        .raw("low", 1, &[], &[0, 0, 0x80, 0xbf])
        .node("Gemm", &["clipped", "matrix", "bias"], &["logits"], &[("alpha", A::Float(0.5)), ("transB", A::Int(1))])
        .weight("matrix", &[3, 3], &few(9))
        .weight("bias", &[3], &few(3))
}

fn read(bytes: &[u8]) -> Result<usize, String> {
    import(bytes, None, Some([6, 6]), [0.0; 3], [1.0; 3]).map(|imported| imported.graph.classes())
}

/// Some bytes changed, cut off, doubled or set to extremes.
fn mutated(bytes: &[u8], stream: &mut Stream) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + stream.below(4) {
        let n = bytes.len();
        let at = stream.below(n);
        let end = (at + 1 + stream.below(9)).min(n);
        match stream.below(8) {
            0..3 => bytes[at] ^= 1 << stream.below(8),
            3..5 => bytes[at] = stream.below(256) as u8,
            5 => bytes[at..end].fill([0, 0xff, 0x7f, 0x80][stream.below(4)]),
            6 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ if stream.below(4) == 0 => bytes.truncate(at.max(1)),
            _ => drop(bytes.drain(at..end.min(n - 1).max(at))),
        }
    }
    bytes
}

/// Files that ask for much with little.
fn hostile() -> Vec<Vec<u8>> {
    let flat = || Onnx::new(&[OPEN, 3, 6, 6], 18).node("Flatten", &["image"], &["x"], &[]);
    let vast = |dims: &[i64]| flat().whole("dims", dims).node("ConstantOfShape", &["dims"], &["w"], &[]);
    let times = |n: usize, mut model: Onnx, node: &dyn Fn(Onnx, usize) -> Onnx| {
        for i in 0..n {
            model = node(model, i);
        }
        model.bytes()
    };
    let shared = flat().weight("v", &[1 << 16], &vec![1.0; 1 << 16]);
    vec![
        vast(&[108, 1 << 40]).node("MatMul", &["x", "w"], &["logits"], &[]).bytes(),
        vast(&[1 << 20]).node("Add", &["x", "w"], &["logits"], &[]).bytes(),
        vast(&[1 << 62, 1 << 62]).bytes(),
        // a weight that is used ten thousand times
        times(10_000, shared, &|model, i| model.node("Mul", &["v", "x"], &[&format!("y{i}")], &[])),
        // twice as many, sixty times over
        times(60, flat().weight("v0", &[2], &[1.0, 2.0]), &|model, i| {
            let (from, to) = (format!("v{i}"), format!("v{}", i + 1));
            model.node("Concat", &[&from, &from], &[&to], &[("axis", A::Int(0))])
        }),
        times(60, flat(), &|model, i| {
            let (from, to) = (if i == 0 { "x".into() } else { format!("x{i}") }, format!("x{}", i + 1));
            model.node("Concat", &[&from, &from], &[&to], &[("axis", A::Int(1))])
        }),
        // indices in as many parts as there are
        times(2000, flat().whole("odd", &(0..4000).map(|i| i * 37 % 108).collect::<Vec<i64>>()), &|model, i| {
            model.node("Gather", &["x", "odd"], &[&format!("y{i}")], &[("axis", A::Int(1))])
        }),
        // layers on nothing but weights, which are computed while the file is read
        times(2000, flat().whole("dims", &[512, 512]).node("ConstantOfShape", &["dims"], &["w0"], &[]), &|model, i| {
            let (from, to) = (format!("w{i}"), format!("w{}", i + 1));
            model.node("MatMul", &[&from, "w0"], &[&to], &[])
        }),
        // a range of a long way, an endless one
        flat()
            .raw("a", 7, &[], &[0; 8])
            .raw("b", 7, &[], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])
            .raw("c", 7, &[], &[1, 0, 0, 0, 0, 0, 0, 0])
            .node("Range", &["a", "b", "c"], &["r"], &[])
            .bytes(),
        flat().raw("a", 7, &[], &[0; 8]).node("Range", &["a", "a", "a"], &["r"], &[]).bytes(),
        // lengths beyond the file, fields in fields in fields, a tensor of nothing
        [number(1, 8), vec![0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat(),
        (0..100_000).fold(Vec::new(), |inner, _| if inner.len() > 1 << 16 { inner } else { field(7, &inner) }),
        flat().raw("w", 1, &[0, 5], &[]).node("MatMul", &["x", "w"], &["logits"], &[]).bytes(),
        flat().raw("w", 1, &[i64::MAX, i64::MAX], &[]).node("Mul", &["x", "w"], &["logits"], &[]).bytes(),
        // a node that reads what it makes, and two in a circle
        flat().node("Add", &["x", "y"], &["y"], &[]).node("Add", &["a", "b"], &["b"], &[]).bytes(),
    ]
}

#[test]
fn hostile_files_are_refused_in_bounded_memory() {
    const NAME: &str = "hostile_files_are_refused_in_bounded_memory";
    if std::env::var_os("FOOLPROOF_CHILD").is_none() {
        let program = std::env::current_exe().unwrap();
        let child =
            Command::new(program).args(["--exact", NAME, "--nocapture"]).env("FOOLPROOF_CHILD", "1").output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        assert!(child.status.success(), "{:?}\n{out}\n{err}", child.status);
        println!("{}", out.lines().find(|line| line.contains("peak")).expect("the child reports its peak"));
        return;
    }
    let whole = network().bytes();
    assert_eq!(read(&whole), Ok(3));
    let mut slowest = Duration::ZERO;
    for (i, bytes) in hostile().iter().enumerate() {
        let begin = Instant::now();
        assert!(read(bytes).is_err(), "hostile file {i}");
        slowest = slowest.max(begin.elapsed());
    }
    let files = std::env::var("FOOLPROOF_FILES").map_or(1000, |n| n.parse().unwrap());
    let mut stream = Streams::new(7, "hostile onnx").stream(0, 0, "files");
    let mut networks = 0;
    for _ in 0..files {
        let begin = Instant::now();
        networks += usize::from(read(&mutated(&whole, &mut stream)).is_ok());
        slowest = slowest.max(begin.elapsed());
    }
    assert!(networks > 0 && networks < files, "{networks} of {files} were still networks");
    assert!(slowest < Duration::from_secs(20), "{slowest:?} for one file");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let peak = peak.unwrap_or(0);
    println!(
        "{files} damaged files, {networks} of them still networks, the slowest in {slowest:?}, peak {} MiB",
        peak >> 10
    );
    assert!(peak << 10 <= MOST, "peak {peak} kB");
}
