//! PyTorch's own weight files: those of PyTorch, and those that are out to do harm. What a pickle asks to be called is never
//! called, and what it asks to be made is never made beyond a bound.

mod support;
#[path = "support/vgg.rs"]
mod vgg;

use foolproof::kernel::Net;
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

fn load(bytes: Vec<u8>) -> Result<Net<f32>, String> {
    let file = model::parse(Path::new("m.toml"), FILE).unwrap();
    ModelSource::new("m".into(), file, None, Cow::Owned(bytes)).unwrap().net().map_err(|e| e.to_string())
}

/// The same network from a safetensors file.
fn safetensors() -> Vec<u8> {
    vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10)))
}

#[test]
fn what_pytorch_saves_is_read() {
    let expected = load(safetensors()).unwrap();
    for name in ["flat", "state_dict", "parallel", "channels_last", "views"] {
        assert!(load(saved(name)).unwrap() == expected, "{name}");
    }
    let half = load(saved("half")).unwrap();
    assert!(half != expected);
    let weights = |net: &Net<f32>| -> Vec<f32> {
        let of = |step: &foolproof::kernel::Step<f32>| match step {
            foolproof::kernel::Step::Conv { weight, .. } | foolproof::kernel::Step::Linear { weight, .. } => {
                weight.clone()
            }
            _ => Vec::new(),
        };
        net.steps.iter().flat_map(of).collect()
    };
    let (half, whole) = (weights(&half), weights(&expected));
    assert!(half.iter().zip(&whole).all(|(h, w)| half::f16::from_f32(*w).to_f32() == *h));
}

#[test]
fn what_is_not_read_says_how_it_would_be() {
    for (name, expected) in [
        ("legacy", "PyTorch's format from before version 1.6 is not read (hint: in Python, `torch.save("),
        ("module", "a whole pickled object, no state dict (hint:"),
        ("integers", "tensor `features.0.weight`: numbers in `torch.IntStorage`, which is not read (hint:"),
    ] {
        let problem = load(saved(name)).unwrap_err();
        assert!(problem.starts_with("weights of `m`: ") && problem.contains(expected), "{name}: {problem}");
    }
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

    /// What `torch.save` writes for a tensor.
    fn tensor(self, storage: &str, class: &str, offset: i32, shape: &[i32], strides: &[i32]) -> Pickle {
        self.class("torch._utils", "_rebuild_tensor_v2")
            .op(b"((")
            .text("storage")
            .class("torch", class)
            .text(storage)
            .text("cpu")
            .number(1)
            .op(b"tQ")
            .number(offset)
            .numbers(shape)
            .numbers(strides)
            .op(b"\x89Nt")
            .op(b"R")
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
            .file(&[("0", &[0; 4])]),
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
        ("elsewhere", tensor("../../0", "FloatStorage", 0, &[1], &[1]), "`archive/data/../../0` in the archive"),
        ("complex", tensor("0", "ComplexFloatStorage", 0, &[1], &[1]), "numbers in `torch.ComplexFloatStorage`"),
        ("double", tensor("0", "DoubleStorage", 0, &[1, 3, 1, 3], &[0, 0, 0, 1]), "expected shape"),
        ("no arguments", rebuild(&|p| p), "a description of another form"),
        (
            "no storage",
            rebuild(&|p| p.number(0).number(0).numbers(&[1]).numbers(&[1])),
            "a description of another form",
        ),
        (
            "short storage",
            rebuild(&|p| p.op(b"(t").op(b"Q").number(0).numbers(&[1]).numbers(&[1])),
            "a storage of another form",
        ),
        ("laughs", laughs, "the pickle makes too many objects"),
        ("deep", deep, "the pickle nests too deep"),
        ("wide", wide, "the pickle makes too many objects"),
        ("a text of 4 GiB", Pickle::new().op(b"X\xff\xff\xff\xff").file(&[]), "a text in the pickle is cut off"),
        ("a number of 255 bytes", Pickle::new().op(b"\x8a\xff").op(&[1; 255]).file(&[]), "a number of 255 bytes"),
        ("no end", archive([("archive/data.pkl", &b"\x80\x02"[..])]), "no sound PyTorch file"),
        ("no opcode", archive([("archive/data.pkl", &b"\xff"[..])]), "unknown op-code 255"),
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
    let mut loaded = [0; 3];
    let file = safetensors();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let pickles = ["flat", "state_dict", "parallel", "channels_last", "views", "half"].map(saved);
    let pickled = pickled(&pickles[2]);
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
    }
    let peak = support::peak_memory();
    let [a, b, c] = loaded;
    println!(
        "of 1000 each: {a} safetensors, {b} archives, {c} pickles still load; peak memory {} MiB",
        peak.map_or(0, |p| p >> 20)
    );
    assert!(peak.is_none_or(|p| p < MOST_MEMORY));
    assert!(a < 900 && b < 900 && c < 900, "{loaded:?}: the changes change something");
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
