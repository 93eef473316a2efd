//! PyTorch's own weight files: those of PyTorch, and those that are out to do harm. What a pickle asks to be called is never
//! called, and what it asks to be made is never made beyond a bound.

mod support;
#[path = "support/vgg.rs"]
mod vgg;

use foolproof::kernel::graph::{Graph, Op};
use foolproof::model::{self, ModelSource};
use foolproof::rng::Stream;
use std::borrow::Cow;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Command;
use support::stream;
use vgg::Head;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The network of `weights/*.pth`: VGG-11 at 1/64 of its width.
const FILE: &str = "family = \"vgg11\"\nwidth = 0.015625\nhead = \"linear\"\nclasses = 10\nside = 32\n\
                    mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nweights = \"w\"\n";

/// Files of PyTorch 2.15: `scripts/reference_vgg.py`.
fn saved(name: &str) -> Vec<u8> {
    std::fs::read(format!("tests/data/weights/{name}.pth")).unwrap()
}

fn load(bytes: Vec<u8>) -> Result<Graph<f32>, String> {
    let file = model::parse(Path::new("m.toml"), FILE).unwrap();
    ModelSource::new("m".into(), file, None, Cow::Owned(bytes)).unwrap().load().map_err(|e| e.to_string())
}

/// The same network from a safetensors file.
fn safetensors() -> Vec<u8> {
    vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10)))
}

#[test]
fn what_pytorch_saves_is_read() {
    let expected = load(safetensors()).unwrap();
    for name in ["flat", "state_dict", "parallel", "channels_last", "views", "legacy"] {
        assert!(load(saved(name)).unwrap() == expected, "{name}");
    }
    let half = load(saved("half")).unwrap();
    assert!(half != expected);
    let (half, whole) = (weights(&half), weights(&expected));
    assert!(half.iter().zip(&whole).all(|(h, w)| half::f16::from_f32(*w).to_f32() == *h));
}

/// All weights, without the biases.
fn weights(net: &Graph<f32>) -> Vec<f32> {
    let of = |op: &Op<f32>| match op {
        Op::Conv { weight, .. } | Op::Linear { weight, .. } => weight.clone(),
        _ => Vec::new(),
    };
    net.nodes().iter().flat_map(|node| of(&node.op)).collect()
}

#[test]
fn what_is_not_read_says_how_it_would_be() {
    for (name, expected) in [
        ("module", "a whole pickled object, no state dict (hint:"),
        ("integers", "tensor `features.0.weight`: numbers in `torch.IntStorage`, which is not read (hint:"),
    ] {
        let problem = load(saved(name)).unwrap_err();
        assert!(problem.starts_with("weights of `m`: ") && problem.contains(expected), "{name}: {problem}");
    }
}

#[test]
fn what_pytorch_saved_before_1_6_is_cut_off_at_no_place_unseen() {
    let whole = saved("legacy");
    for length in (0..whole.len()).step_by(7) {
        let problem = load(whole[..length].to_vec()).unwrap_err();
        assert!(problem.starts_with("weights of `m`: "), "{length}: {problem}");
    }
    let changed = |from: &[u8], to: &[u8]| {
        let at = whole.windows(from.len()).position(|part| part == from).expect("it is there");
        load([&whole[..at], to, &whole[at + from.len()..]].concat()).unwrap_err()
    };
    for (from, to, expected) in [
        (&b"M\xe9\x03."[..], &b"M\xea\x03."[..], "its format is not of version 1001"),
        (b"little_endianq\x02\x88", b"little_endianq\x02\x89", "numbers of another byte order"),
        (b"little_endian", b"middle_endian", "numbers of another byte order"),
        (b"FloatStorage", b"BloatStorage", "nothing says what storage `"),
    ] {
        let problem = changed(from, to);
        assert!(problem.contains(expected), "{expected}\nin {problem}");
    }
    let mut longer = whole.clone();
    // the length of the last storage
    let at = |numbers: usize| whole.len() - 4 * numbers - 8;
    let last = (1..whole.len() / 4 - 2)
        .find(|n| whole[at(*n)..][..8] == (*n as u64).to_le_bytes())
        .expect("a storage ends the file");
    let at = at(last);
    longer[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(load(longer).unwrap_err().contains("it is cut off"));
}

/// A pickle under way.
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Pickle {
        Pickle(b"\x80\x02".to_vec())
    }

    fn op(mut self, bytes: &[u8]) -> Pickle {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Pickle {
        let length = (text.len() as u32).to_le_bytes();
        self.op(b"X").op(&length).op(text.as_bytes())
    }

    fn number(self, number: i32) -> Pickle {
        self.op(b"J").op(&number.to_le_bytes())
    }

    fn numbers(self, numbers: &[i32]) -> Pickle {
        numbers.iter().fold(self.op(b"("), |p, n| p.number(*n)).op(b"t")
    }

    fn class(self, module: &str, name: &str) -> Pickle {
        self.op(b"c").op(module.as_bytes()).op(b"\n").op(name.as_bytes()).op(b"\n")
    }

    /// What `torch.save` writes for a tensor of 27 numbers.
    fn tensor(self, storage: &str, class: &str, offset: i32, shape: &[i32], strides: &[i32]) -> Pickle {
        self.described(storage, class, 27, offset, shape, strides, |p| p.op(b"\x89N"))
    }

    /// The same of so many numbers; `rest` pushes what follows the strides.
    #[allow(clippy::too_many_arguments)] // PyTorch's are as many
    fn described(
        self,
        storage: &str,
        class: &str,
        numbers: i32,
        offset: i32,
        shape: &[i32],
        strides: &[i32],
        rest: impl FnOnce(Pickle) -> Pickle,
    ) -> Pickle {
        let arguments = self
            .class("torch._utils", "_rebuild_tensor_v2")
            .op(b"((")
            .text("storage")
            .class("torch", class)
            .text(storage)
            .text("cpu")
            .number(numbers)
            .op(b"tQ")
            .number(offset)
            .numbers(shape)
            .numbers(strides);
        rest(arguments).op(b"tR")
    }

    /// A dictionary of one entry, from what `value` pushes.
    fn dictionary(self, key: &str, value: impl FnOnce(Pickle) -> Pickle) -> Pickle {
        value(self.op(b"}(").text(key)).op(b"u")
    }

    /// The file, with these storages.
    fn file(self, storages: &[(&str, &[u8])]) -> Vec<u8> {
        let pickle = self.op(b".").0;
        let entries: Vec<(String, &[u8])> =
            storages.iter().map(|(name, bytes)| (format!("archive/data/{name}"), *bytes)).collect();
        archive(
            [("archive/data.pkl", pickle.as_slice())].into_iter().chain(entries.iter().map(|(n, b)| (n.as_str(), *b))),
        )
    }
}

fn archive<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn nothing_that_a_pickle_names_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("executed");
    let call = |p: Pickle| p.class("posix", "system").op(b"(").text(&format!("touch {}", mark.display())).op(b"tR");
    let built =
        |p: Pickle| p.class("subprocess", "Popen").op(b"((").text("touch").text(mark.to_str().unwrap()).op(b"tt\x81}b");
    let files = [
        call(Pickle::new()).file(&[]),
        built(Pickle::new()).file(&[]),
        Pickle::new().dictionary("features.0.weight", call).file(&[]),
        Pickle::new().dictionary("state_dict", call).file(&[]),
        Pickle::new().dictionary("state_dict", |p| p.dictionary("features.0.weight", built)).file(&[]),
        Pickle::new()
            .op(b"}(")
            .text("a")
            .tensor("0", "FloatStorage", 0, &[1], &[1])
            .text("b")
            .class("os", "system")
            .op(b")Ru")
            .file(&[("0", &[0; 108])]),
    ];
    let problems: Vec<String> = files.into_iter().map(|file| load(file).unwrap_err()).collect();
    assert!(!mark.exists());
    for (problem, expected) in problems.iter().zip([
        "a whole pickled object, no state dict",
        "a whole pickled object, no state dict",
        "no tensor in it",
        "`state_dict` in it is a whole pickled object",
        "no tensor in it",
        "tensor `b`: stored by `os.system`, which is not read",
    ]) {
        assert!(problem.contains(expected), "{expected}\nin {problem}");
    }
}

#[test]
fn descriptions_that_are_wrong_or_too_large_are_refused() {
    let tensor = |storage: &str, class: &str, offset, shape: &[i32], strides: &[i32]| {
        let described = |p: Pickle| p.tensor(storage, class, offset, shape, strides);
        Pickle::new().dictionary("features.0.weight", described).file(&[("0", &[0; 108])])
    };
    // 27 numbers, in one channel: all is well but for what is missing
    let fine = load(tensor("0", "FloatStorage", 0, &[1, 3, 3, 3], &[27, 9, 3, 1])).unwrap_err();
    assert!(fine.contains("tensor `features.0.bias` is missing"), "{fine}");
    let rebuild = |args: &dyn Fn(Pickle) -> Pickle| {
        let described = |p: Pickle| args(p.class("torch._utils", "_rebuild_tensor_v2").op(b"(")).op(b"tR");
        Pickle::new().dictionary("features.0.weight", described).file(&[])
    };
    let laughs = (0..100).fold(Pickle::new().op(b")q\x00"), |p, _| p.op(b"h\x00h\x00\x86q\x00")).file(&[]);
    let deep = Pickle::new().op(b"N").op(&vec![0x85; 2_000_000]).file(&[]);
    let wide = Pickle::new().op(b"}").op(&b"(NNu".repeat(100_000)).file(&[]);
    let good = tensor("0", "FloatStorage", 0, &[1, 3, 3, 3], &[27, 9, 3, 1]);
    // the method of every entry, in its own header and in the directory
    let compressed: Vec<u8> = {
        let mut bytes = good.clone();
        for (mark, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
            let found: Vec<usize> = (0..bytes.len() - 12).filter(|i| bytes[*i..].starts_with(mark)).collect();
            assert_eq!(found.len(), 2);
            found.into_iter().for_each(|i| bytes[i + at] = 8);
        }
        bytes
    };
    let data: &[u8] = b"\x80\x02}.";
    for (what, file, expected) in [
        (
            "beyond",
            tensor("0", "FloatStorage", 1, &[1, 3, 3, 3], &[27, 9, 3, 1]),
            "reaches beyond the 108 bytes stored",
        ),
        ("huge", tensor("0", "FloatStorage", 0, &[i32::MAX; 8], &[i32::MAX; 8]), "reaches beyond the 108 bytes stored"),
        ("far", tensor("0", "FloatStorage", i32::MAX, &[0], &[1]), "reaches beyond"),
        (
            "copied",
            tensor("0", "FloatStorage", 0, &[i32::MAX, i32::MAX], &[0, 0]),
            "expected shape [1, 3, 3, 3], found",
        ),
        ("negative", tensor("0", "FloatStorage", -1, &[1], &[1]), "sizes that are no whole numbers"),
        ("strides", tensor("0", "FloatStorage", 0, &[1, 1], &[1]), "2 sizes and 1 strides"),
        ("elsewhere", tensor("../../0", "FloatStorage", 0, &[1], &[1]), "no `archive/data/../../0` in the archive"),
        ("complex", tensor("0", "ComplexFloatStorage", 0, &[1], &[1]), "numbers in `torch.ComplexFloatStorage`"),
        (
            "double",
            tensor("0", "DoubleStorage", 0, &[1, 3, 1, 3], &[0, 0, 0, 1]),
            "108 bytes in storage `0`, not as many",
        ),
        ("no arguments", rebuild(&|p| p), "a description of another form"),
        (
            "no storage",
            rebuild(&|p| p.number(0).number(0).numbers(&[1]).numbers(&[1])),
            "a description of another form",
        ),
        (
            "short storage",
            rebuild(&|p| p.op(b"(t").op(b"Q").number(0).numbers(&[1]).numbers(&[1]).op(b"\x89N")),
            "a storage of another form",
        ),
        ("laughs", laughs, "a whole pickled object, no state dict"),
        ("deep", deep, "the pickle makes too many objects"),
        ("wide", wide, "no tensor in it (hint:"),
        ("a text of 4 GiB", Pickle::new().op(b"X\xff\xff\xff\xff").file(&[]), "the pickle is cut off"),
        (
            "a number of 255 bytes",
            Pickle::new().op(b"\x8a\xff").op(&[1; 255]).file(&[]),
            "a whole pickled object, no state dict",
        ),
        ("no end", archive([("archive/data.pkl", &b"\x80\x02"[..])]), "no sound PyTorch file"),
        ("no opcode", archive([("archive/data.pkl", &b"\xff"[..])]), "the pickle has op-code 255, which is not read"),
        ("a number alone", Pickle::new().number(1).file(&[]), "a whole pickled object"),
        ("nothing", Pickle::new().op(b"}").file(&[]), "no tensor in it (hint:"),
        ("no pickle", archive([("readme.txt", &b"hello"[..])]), "0 entries `data.pkl`"),
        ("two", archive([("a/data.pkl", data), ("b/data.pkl", data)]), "2 entries `data.pkl`"),
        ("big", archive([("a/data.pkl", data), ("a/byteorder", &b"big"[..])]), "another byte order"),
        ("compressed", compressed, "in the archive"),
        ("cut", good[..good.len() - 30].to_vec(), "no sound PyTorch file"),
    ] {
        let problem = load(file).unwrap_err();
        assert!(problem.contains(expected), "{what}: {expected}\nin {problem}");
    }
}

/// A state dict of one tensor, whose description ends in what `rest` pushes.
fn one_tensor(rest: impl FnOnce(Pickle) -> Pickle) -> Vec<u8> {
    let described = |p: Pickle| p.described("0", "FloatStorage", 27, 0, &[1, 3, 3, 3], &[27, 9, 3, 1], rest);
    Pickle::new().dictionary("features.0.weight", described).file(&[("0", &[0; 108])])
}

#[test]
fn no_field_of_a_tensor_is_left_unseen() {
    let read = "tensor `features.0.bias` is missing";
    let metadata = |p: Pickle, key: &str, value: &[u8]| p.op(b"\x89N}").text(key).op(value).op(b"s");
    let parameter = |inner: fn(Pickle) -> Pickle, rest: &'static [u8]| {
        Pickle::new()
            .dictionary("features.0.weight", |p| {
                inner(p.class("torch._utils", "_rebuild_parameter").op(b"(")).op(rest).op(b"tR")
            })
            .file(&[("0", &[0; 108])])
    };
    let plain = |p: Pickle| p.tensor("0", "FloatStorage", 0, &[1, 3, 3, 3], &[27, 9, 3, 1]);
    let hooks = |p: Pickle| p.class("collections", "OrderedDict").op(b")R");
    for (what, file, expected) in [
        ("no gradient", one_tensor(|p| p.op(b"\x89N")), read),
        ("a gradient", one_tensor(|p| hooks(p.op(b"\x88"))), read),
        ("no metadata", one_tensor(|p| p.op(b"\x89NN")), read),
        ("negative", one_tensor(|p| metadata(p, "neg", b"\x88")), read),
        ("not conjugate", one_tensor(|p| metadata(p, "conj", b"\x89")), read),
        ("conjugate", one_tensor(|p| metadata(p, "conj", b"\x88")), "its `conj` is not read (hint:"),
        ("of tomorrow", one_tensor(|p| metadata(p, "halved", b"\x88")), "its `halved` is not read (hint:"),
        ("odd", one_tensor(|p| metadata(p, "neg", b"K\x01")), "its `neg` is not read (hint:"),
        ("hooks", one_tensor(|p| p.op(b"\x89}").text("a").op(b"Ns")), "it has backward hooks, which are not read"),
        ("no flag", one_tensor(|p| p.op(b"K\x01N")), "a description of another form"),
        ("too many", one_tensor(|p| p.op(b"\x89NNN")), "a description of 8 fields, of which 7 are read"),
        ("too few", one_tensor(|p| p.op(b"\x89")), "a description of another form"),
        ("a parameter", parameter(plain, b"\x88N"), read),
        ("with more", parameter(plain, b"\x88NN"), "a description of another form"),
        (
            "of a parameter",
            parameter(|p| p.class("torch._utils", "_rebuild_parameter").op(b")R"), b"\x88N"),
            "a parameter made by `torch._utils._rebuild_parameter`, which is not read",
        ),
        (
            "a state",
            {
                let state = |p: Pickle| plain(p).op(b"}").text("scale").op(b"K\x02sb");
                Pickle::new().dictionary("features.0.weight", state).file(&[("0", &[0; 108])])
            },
            "stored by `torch._utils._rebuild_tensor_v2` with a state of its own, which is not read",
        ),
    ] {
        let problem = load(file).unwrap_err();
        assert!(problem.contains(expected), "{what}: {expected}\nin {problem}");
    }
    for maker in ["_rebuild_sparse_tensor", "_rebuild_qtensor", "_rebuild_tensor_v3", "_rebuild_parameter_with_state"] {
        let made = |p: Pickle| p.class("torch._utils", maker).op(b")R");
        let problem = load(Pickle::new().dictionary("features.0.weight", made).file(&[])).unwrap_err();
        assert!(problem.contains(&format!("stored by `torch._utils.{maker}`, which is not read (hint:")), "{problem}");
    }
    // what is beside the tensors, too
    let data: &[u8] = b"\x80\x02}.";
    for (entry, bytes, expected) in [
        ("a/version", &b"11\n"[..], "version 11 of PyTorch's format, newer than 10"),
        ("a/version", b"new", "`a/version` in the archive is no number"),
        ("a/constants.pkl", data, "a program of TorchScript"),
        ("a/byteorder", b"middle", "another byte order"),
    ] {
        let problem = load(archive([("a/data.pkl", data), (entry, bytes)])).unwrap_err();
        assert!(problem.contains(expected), "{expected}\nin {problem}");
    }
}

/// A state dict of the little network, its tensors as a builder pushes them, named by `name`.
fn checkpoint(push: impl FnOnce(Pickle, &dyn Fn(Pickle, &str, bool) -> Pickle) -> Pickle) -> Vec<u8> {
    let tensors = vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10));
    let dictionary = |mut p: Pickle, before: &str, negated: bool| {
        p = p.op(b"}(");
        for (i, (name, shape, values)) in tensors.iter().enumerate() {
            let ints: Vec<i32> = shape.iter().map(|n| *n as i32).collect();
            let strides: Vec<i32> = (0..ints.len()).map(|a| ints[a + 1..].iter().product()).collect();
            let (number, storage) = (values.len() as i32 / 4, i.to_string());
            // the first tensor is stored with the other sign, and says so
            let rest = |p: Pickle| match negated && i == 0 {
                true => p.op(b"\x89N}").text("neg").op(b"\x88s"),
                false => p.op(b"\x89N"),
            };
            p = p.text(&named(before, name));
            let storage = if negated && i == 0 { "negated".into() } else { storage };
            p = p.described(&storage, "FloatStorage", number, 0, &ints, &strides, rest);
        }
        p.op(b"u")
    };
    let pickle = push(Pickle::new(), &dictionary);
    let negated: Vec<u8> =
        tensors[0].2.as_chunks::<4>().0.iter().flat_map(|b| (-f32::from_le_bytes(*b)).to_le_bytes()).collect();
    let numbered = tensors.iter().enumerate().map(|(i, (_, _, values))| (i.to_string(), values.clone()));
    let storages: Vec<(String, Vec<u8>)> = numbered.chain([("negated".to_string(), negated)]).collect();
    let storages: Vec<(&str, &[u8])> = storages.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
    pickle.file(&storages)
}

/// `before` may have a place inside the name: `features.module.`.
fn named(before: &str, name: &str) -> String {
    match before.strip_prefix("features.") {
        Some(inside) => name.replace("features.", &format!("features.{inside}")),
        None => format!("{before}{name}"),
    }
}

/// The network, and what is said of how it was read.
fn load_noting(bytes: Vec<u8>, keys: &str) -> Result<(Graph<f32>, Vec<String>), String> {
    let file = model::parse(Path::new("m.toml"), &format!("{FILE}{keys}")).unwrap();
    let source = ModelSource::new("m".into(), file, None, Cow::Owned(bytes)).unwrap();
    let net = source.load().map_err(|e| e.to_string())?;
    Ok((net, source.notes().to_vec()))
}

/// As the `robustness` library saves its `AttackerModel`, in `torch.nn.DataParallel`.
#[test]
fn a_model_is_taken_from_beside_its_attacker_and_it_is_said() {
    let saved = |again: bool| {
        let tensors = vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10));
        let named = |before: &str, negated: bool| {
            let tensors = tensors.clone().into_iter().map(move |(name, shape, mut bytes)| {
                if negated && name == "classifier.bias" {
                    bytes[3] ^= 0x80;
                }
                (format!("module.{before}{name}"), shape, bytes)
            });
            tensors.collect::<Vec<_>>()
        };
        let mean = ["normalizer.new_mean", "normalizer.new_std", "attacker.normalize.new_mean"]
            .map(|name| (format!("module.{name}"), vec![3, 1, 1], vec![0; 12]));
        vgg::safetensors(&[named("model.", false), named("attacker.model.", !again), mean.to_vec()].concat())
    };
    let (net, notes) = load_noting(saved(true), "").unwrap();
    assert!(net == load(safetensors()).unwrap());
    assert_eq!(
        notes,
        [
            "of the names of tensors `module.` before all names is left out",
            "21 tensors beside the model are left out: `attacker.…`, which is the model again, and the normalisation, which \
             the model file states",
            "of the names of tensors `model.` before all names is left out",
        ]
    );
    let other = load(saved(false)).unwrap_err();
    assert!(
        other.contains("tensor `attacker.model.classifier.bias` is another than `model.classifier.bias`"),
        "{other}"
    );
}

#[test]
fn the_negative_bit_changes_the_sign() {
    let file = checkpoint(|p, dictionary| dictionary(p, "", true));
    assert!(load(file).unwrap() == load(safetensors()).unwrap());
}

#[test]
fn the_usual_names_of_a_state_dict_come_before_tensors_beside_it() {
    let expected = load(safetensors()).unwrap();
    for key in ["state_dict", "model_state_dict", "model", "net"] {
        let file = checkpoint(|p, dictionary| {
            let accuracy = p.op(b"}(").text("acc").described("0", "FloatStorage", 27, 0, &[], &[], |p| p.op(b"\x89N"));
            dictionary(accuracy.text(key), "", false).op(b"u")
        });
        assert!(load_noting(file, "").unwrap() == (expected.clone(), vec![]), "{key}");
    }
}

#[test]
fn what_no_tensor_needs_is_skipped() {
    let marks = tempfile::tempdir().unwrap();
    let mark = marks.path().join("executed");
    let expected = load(safetensors()).unwrap();
    let file = checkpoint(|p, dictionary| {
        let p = dictionary(p.op(b"}(").text("model"), "", false);
        // NumPy's state of 128 bits, a call with a state, a set, a long text of bytes
        p.text("rng")
            .op(b"\x8a\x10")
            .op(&[0x7f; 16])
            .text("numpy")
            .class("numpy.core.multiarray", "_reconstruct")
            .op(b"(N")
            .op(b"tRN")
            .op(b"b")
            .text("bytes")
            .op(b"B\x03\x00\x00\x00abc")
            .text("called")
            .class("posix", "system")
            .op(b"(")
            .text(&format!("touch {}", mark.display()))
            .op(b"tR")
            .op(b"u")
    });
    assert!(load_noting(file, "").unwrap() == (expected, vec![]));
    assert!(!mark.exists());
}

#[test]
fn names_are_taken_out_of_their_wrappers_and_it_is_said() {
    let expected = load(safetensors()).unwrap();
    for (before, said) in [
        ("_orig_mod.", "`_orig_mod.` before all names"),
        ("_orig_mod.module.", "`_orig_mod.module.` before all names"),
        ("model.", "`model.` before all names"),
        ("features.module.", "`module.` inside names"),
    ] {
        let (net, notes) = load_noting(checkpoint(|p, dictionary| dictionary(p, before, false)), "").unwrap();
        assert!(net == expected, "{before}");
        assert_eq!(notes, [format!("of the names of tensors {said} is left out")]);
    }
}

#[test]
fn a_key_chooses_among_several_state_dicts_and_is_part_of_the_network() {
    let two = || {
        checkpoint(|p, dictionary| {
            let p = dictionary(p.op(b"}(").text("state_dict"), "", false);
            // the other one has another first tensor
            let p = p.text("state_dict_ema").op(b"}(").text("features.0.weight");
            p.tensor("0", "FloatStorage", 0, &[1, 3, 3, 3], &[27, 9, 3, 1]).op(b"uu")
        })
    };
    let (net, notes) = load_noting(two(), "").unwrap();
    assert!(net == load(safetensors()).unwrap());
    assert_eq!(
        notes,
        ["of several state dicts in the file `state_dict` is taken, and left `state_dict_ema` (hint: `state_dict = \
          \"state_dict_ema\"` in the model file takes that)"]
    );
    let chosen = load_noting(two(), "state_dict = \"state_dict\"\n").unwrap();
    assert!(chosen == (net, vec![]));
    let other = load_noting(two(), "state_dict = \"state_dict_ema\"\n").unwrap_err();
    assert!(
        other.contains("tensor `features.0.bias` is missing (expected shape [1]); the file has `features.0.weight`"),
        "{other}"
    );
    let none = load_noting(two(), "state_dict = \"ema\"\n").unwrap_err();
    assert!(none.contains("no state dict `ema` in it (there is `state_dict`, `state_dict_ema`)"), "{none}");
    let flat = load_noting(saved("flat"), "state_dict = \"ema\"\n").unwrap_err();
    assert!(flat.contains("(hint: leave `state_dict` out of the model file)"), "{flat}");
    let safe = load_noting(safetensors(), "state_dict = \"ema\"\n").unwrap_err();
    assert!(safe.contains("a safetensors file is one state dict (hint: leave"), "{safe}");
    let unusual = checkpoint(|p, dictionary| dictionary(p.op(b"}(").text("params"), "", false).op(b"u"));
    let problem = load(unusual.clone()).unwrap_err();
    assert!(
        problem.contains("not looked for, `params` (hint: `state_dict = \"params\"` in the model file)"),
        "{problem}"
    );
    assert!(load_noting(unusual, "state_dict = \"params\"\n").is_ok());
    // another choice is another network, and no choice is the one it always was
    let network = |keys: &str| {
        let file = model::parse(Path::new("m.toml"), &format!("{FILE}{keys}")).unwrap();
        ModelSource::new("m".into(), file, None, Cow::Borrowed(b"")).unwrap().network()
    };
    let (without, with) = (network(""), network("state_dict = \"ema\"\n"));
    assert!(!without.contains("state_dict") && with.contains(" state_dict=\"ema\" classes=10"), "{with}");
}

#[test]
fn protocol_4_is_read() {
    // as CPython writes it: frames, short texts, classes by the stack, a memo without numbers
    let short = |text: &str| [&[0x8c, text.len() as u8][..], text.as_bytes(), b"\x94"].concat();
    let class = |module: &str, name: &str| [short(module), short(name), b"\x93\x94".to_vec()].concat();
    let pickle = [
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}\x94(".to_vec(),
        short("features.0.weight"),
        class("torch._utils", "_rebuild_tensor_v2"),
        b"((".to_vec(),
        short("storage"),
        class("torch", "FloatStorage"),
        short("0"),
        short("cpu"),
        b"K\x1bt\x94QK\x00(K\x01K\x03K\x03K\x03t\x94(K\x1bK\x09K\x03K\x01t\x94\x89".to_vec(),
        class("collections", "OrderedDict"),
        b")R\x94t\x94R\x94u.".to_vec(),
    ]
    .concat();
    let problem = load(archive([("a/data.pkl", pickle.as_slice()), ("a/data/0", &[0; 108])])).unwrap_err();
    assert!(
        problem.contains("tensor `features.0.bias` is missing (expected shape [1]); the file has `features.0.weight`"),
        "{problem}"
    );
}

#[test]
fn what_is_no_weight_file_is_named_for_what_it_is() {
    for (bytes, expected) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"[..],
            "a pointer of git-lfs, in place of the file (hint: run `git lfs pull`)",
        ),
        (b"<!DOCTYPE html><html></html>", "a page of the web"),
        (b"", "the file is empty"),
        (b"\x1f\x8b\x08\x00", "gunzip"),
    ] {
        let problem = load(bytes.to_vec()).unwrap_err();
        assert!(problem.contains(expected), "{expected}\nin {problem}");
        // before anything is said of a hash that cannot fit
        let pinned = format!("{FILE}sha256 = \"{}\"\n", "0".repeat(64));
        let file = model::parse(Path::new("m.toml"), &pinned).unwrap();
        let problem = ModelSource::new("m".into(), file, None, Cow::Owned(bytes.to_vec())).err().unwrap().to_string();
        assert!(problem.contains(expected) && problem.contains("the model file pins 000"), "{problem}");
    }
    // nothing of what a library says of it
    let mut cut = safetensors();
    cut.truncate(cut.len() - 1);
    let problem = load(cut).unwrap_err();
    assert!(
        problem.ends_with(
            "no sound safetensors file: it is shorter or longer than its header says (hint: download or save it again)"
        ),
        "{problem}"
    );
}

/// One change to a file: a bit, a byte, a cut, a piece doubled, moved or overwritten.
fn mutate(bytes: &mut Vec<u8>, within: usize, s: &mut Stream) {
    for _ in 0..1 + s.below(3) {
        let at = s.below(within.min(bytes.len()).max(1));
        if at >= bytes.len() {
            return;
        }
        let piece = s.below(32).min(bytes.len() - at);
        match s.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + piece)),
            2 => {
                let copy = bytes[at..at + piece].to_vec();
                let to = s.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            3 => bytes[at] = s.below(256) as u8,
            4 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][s.below(5)],
            5 => bytes[at] = b"(t)]}aesuRbQqhrjXJKMcN\x81\x85\x86\x87\x8a."[s.below(28)],
            _ => bytes[at] ^= 1 << s.below(8),
        }
    }
}

/// Set for the process that reads hostile files.
const CHILD: &str = "FOOLPROOF_HOSTILE_FILES";

/// No more may be held at any time: 15 kB of weights, and what the largest pickle may make.
const MOST_MEMORY: u64 = 256 << 20;

#[test]
fn thousands_of_mutated_files_make_no_panic_and_no_memory() {
    // in a process of its own, whose peak can be read, and which cannot reserve more than 2 GiB: threads reserve arenas, so few
    let exe = std::env::current_exe().unwrap();
    let run = format!("ulimit -v 2097152; exec \"{}\" --exact read_mutated_files --ignored --nocapture", exe.display());
    let output = Command::new("sh")
        .args(["-c", &run])
        .envs([(CHILD, "1"), ("RAYON_NUM_THREADS", "1"), ("MALLOC_ARENA_MAX", "1")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let said = text.lines().find(|l| l.contains("peak memory")).expect("what it says last");
    println!("{said}");
}

#[test]
#[ignore = "run by thousands_of_mutated_files_make_no_panic_and_no_memory"]
fn read_mutated_files() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut s = stream("mutated weight files");
    let read = |kind: &str, bytes: Vec<u8>| -> bool {
        match load(bytes) {
            Ok(_) => true,
            Err(problem) => {
                assert!(problem.starts_with("weights of `m`: ") && problem.len() < 2000, "{kind}: {problem}");
                false
            }
        }
    };
    let mut loaded = [0; 4];
    let file = safetensors();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let pickles = ["flat", "state_dict", "parallel", "channels_last", "views", "half"].map(saved);
    let pickled = pickled(&pickles[2]);
    let legacy = saved("legacy");
    // about what comes before the numbers of its eighteen tensors
    let described = legacy.len() - 4 * weights(&load(legacy.clone()).unwrap()).len() - 18 * 8;
    for i in 0..1000 {
        let mut bytes = file.clone();
        mutate(&mut bytes, if i % 2 == 0 { header } else { file.len() }, &mut s);
        loaded[0] += usize::from(read("safetensors", bytes));
        // the whole file, its directory too
        let mut bytes = pickles[i % pickles.len()].clone();
        let length = bytes.len();
        mutate(&mut bytes, length, &mut s);
        loaded[1] += usize::from(read("archive", bytes));
        // the pickle alone, in a sound archive
        let mut entries = pickled.clone();
        mutate(&mut entries[0].1, usize::MAX, &mut s);
        loaded[2] += usize::from(read("pickle", archive(entries.iter().map(|(n, b)| (n.as_str(), b.as_slice())))));
        let mut bytes = legacy.clone();
        mutate(&mut bytes, if i % 2 == 0 { described } else { legacy.len() }, &mut s);
        loaded[3] += usize::from(read("legacy", bytes));
    }
    let peak = support::peak_memory();
    let [a, b, c, d] = loaded;
    println!(
        "of 1000 each: {a} safetensors, {b} archives, {c} pickles, {d} old files still load; peak memory {} MiB",
        peak.map_or(0, |p| p >> 20)
    );
    assert!(peak.is_none_or(|p| p < MOST_MEMORY));
    assert!(a < 900 && b < 900 && c < 900 && d < 900, "{loaded:?}: the changes change something");
}

/// The entries of a file of PyTorch's, the pickle first.
fn pickled(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut entries: Vec<(String, Vec<u8>)> = Vec::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        entries.push((entry.name().unwrap().into_owned(), bytes));
    }
    entries.sort_by_key(|(name, _)| !name.ends_with("data.pkl"));
    entries
}
