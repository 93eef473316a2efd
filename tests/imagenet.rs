//! Datasets of picture files: preparation to the bit, the layouts of a folder, files that are no pictures, and a whole
//! run on one.

mod support;

use foolproof::data::{self, Choice, Preparation, Source, Subset, picture, resize};
use foolproof::error::{Error, Result};
use foolproof::store::Store;
use foolproof::sweep::{plan, verify};
use image::{ImageFormat, Rgb, RgbImage};
use std::fs;
use std::path::{Path, PathBuf};
use support::{machine, shared_data, shared_reference, stored, sweep};

/// The formula of `reference/resize.json`.
fn pattern(seed: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let red = (7 * x + 13 * y + 29 * seed) ^ (x * y / 3);
        let blue = (11 * x) ^ (17 * y) ^ (101 * seed);
        Rgb([red, x * x / 5 + 3 * y + seed, blue].map(|v| (v % 256) as u8))
    })
}

#[test]
fn pictures_are_prepared_as_pillow_does_to_the_bit() {
    let Some((_, reference)) = shared_reference("pillow") else { return };
    let text = fs::read_to_string(reference.join("resize.json")).unwrap();
    let cases = serde_json::from_str::<serde_json::Value>(&text).unwrap()["cases"].as_array().unwrap().clone();
    for case in &cases {
        let [seed, width, height, size, crop] =
            ["seed", "width", "height", "size", "crop"].map(|key| case[key].as_u64().unwrap() as u32);
        let square = resize::covering_and_centre(
            &pattern(seed, width, height),
            size as usize,
            [crop as usize; 2],
            resize::Filter::Bilinear,
        );
        assert_eq!(foolproof::digest::sha256(&square), case["sha256"].as_str().unwrap(), "{case}");
    }
    assert!(cases.len() >= 8);
}

fn choice(path: Option<&Path>, resize: usize, crop: usize) -> Choice {
    Choice {
        path: path.map(Path::to_path_buf),
        preparation: Some(Preparation::new(resize, [crop; 2]).unwrap()),
        ..Choice::new("all", 0, None)
    }
}

fn load(dataset: &str, folder: &Path) -> Result<Subset> {
    data::find(dataset).unwrap().subset(&Source::new("nowhere"), &choice(Some(folder), 16, 8))
}

fn problem(dataset: &str, folder: &Path) -> String {
    load(dataset, folder).unwrap_err().to_string()
}

#[test]
fn the_hundred_pictures_have_the_labels_of_their_file() {
    let Some(folder) = shared_data("hundred pictures") else { return };
    let dataset = data::find("imagenet-folder").unwrap();
    let all = dataset.subset(&Source::new(&folder), &choice(None, 256, 227)).unwrap();
    assert_eq!((all.len(), all.size, all.classes.len()), (100, [227; 2], 1000));
    let lines = fs::read_to_string(folder.join("imagenet/labels.csv")).unwrap();
    for (i, line) in lines.lines().skip(1).enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(all.labels[i].to_string(), fields[1], "{line}");
        assert_eq!(all.classes[all.labels[i]].to_lowercase(), fields[2].replace('_', " ").to_lowercase());
    }
    // the same pictures without the labels file, and the halves of a stride
    let flat = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder.join("imagenet")).unwrap().map(|e| e.unwrap()) {
        if picture::is_picture(&entry.path()) {
            fs::copy(entry.path(), flat.path().join(entry.file_name())).unwrap();
        }
    }
    let odd = Choice { first: 1, every: 2, take: Some(50), ..choice(Some(flat.path()), 256, 227) };
    let odd = dataset.subset(&Source::new("nowhere"), &odd).unwrap();
    assert_eq!((odd.examples[0], odd.examples[49]), (1, 99));
    assert_eq!((odd.labels[7], odd.image(7)), (all.labels[15], all.image(15)));
}

fn write(path: PathBuf, picture: &RgbImage) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

#[test]
fn classes_come_from_wnid_folders_file_names_or_folder_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(at("n04442312/b.png"), &pattern(1, 20, 30));
    write(at("n01443537/z.JPEG"), &pattern(2, 40, 20));
    write(at("n04442312/a.gif"), &pattern(3, 16, 16));
    fs::write(at("n04442312/notes.txt"), "no picture").unwrap();
    fs::create_dir(at(".cache")).unwrap();
    let subset = load("imagenet-folder", folder.path()).unwrap();
    assert_eq!(
        (subset.labels.as_slice(), subset.size),
        ([1, 859, 859].as_slice(), [8; 2]),
        "sorted by folder and name"
    );
    assert_eq!(subset.classes[859], "toaster");

    // the same folders as classes of their own
    let own = load("folder", folder.path()).unwrap();
    assert_eq!((own.labels.as_slice(), own.classes.join(" ")), ([0, 1, 1].as_slice(), "n01443537 n04442312".into()));
    assert_eq!(own.pixels, subset.pixels);

    write(at("n00000000/x.png"), &pattern(1, 9, 9));
    assert!(problem("imagenet-folder", folder.path()).contains("n00000000 is none of ImageNet's 1,000 classes"));

    let flat = tempfile::tempdir().unwrap();
    assert!(problem("imagenet-folder", flat.path()).contains("no picture in"));
    assert!(problem("folder", flat.path()).contains("one folder a class"));
    write(flat.path().join("n01614925_3.png"), &pattern(1, 20, 30));
    assert_eq!(load("imagenet-folder", flat.path()).unwrap().labels, [22]);
    write(flat.path().join("eagle.png"), &pattern(1, 20, 30));
    assert!(problem("imagenet-folder", flat.path()).contains("eagle.png: the name does not begin with a wnid"));

    let labels = |text: &str| fs::write(flat.path().join("labels.csv"), text).unwrap();
    labels("file,label,name\neagle.png,22,bald eagle\n");
    assert_eq!(load("imagenet-folder", flat.path()).unwrap().labels, [22], "a labels file goes before names");
    for (text, expected) in [
        ("picture,label\neagle.png,22\n", "labels.csv:1: no column `file`"),
        ("file,label\neagle.png,1000\n", "labels.csv:2: label `1000`: expected 0 to 999"),
        ("file,label\n../eagle.png,22\n", "labels.csv:2: `../eagle.png` is no file of this folder"),
        ("file,label\nn01614925_3.png,23\n", "labels.csv:2: `n01614925_3.png` has label 23, but its name says 22"),
        ("file,label\n", "no line names a picture"),
        ("file,label\nowl.png,22\n", "owl.png"),
    ] {
        labels(text);
        assert!(problem("imagenet-folder", flat.path()).contains(expected), "{text}");
    }
}

/// A PNG that is all right but for its claim of 65,535×65,535 pixels.
fn bomb() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    pattern(0, 4, 4).write_to(&mut bytes, ImageFormat::Png).unwrap();
    let mut bytes = bytes.into_inner();
    bytes[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let crc = bytes[12..29].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb88320 } else { crc >> 1 })
    });
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    bytes
}

#[test]
fn a_file_that_cannot_be_decoded_is_named_and_one_not_wanted_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("cat").join(name);
    write(at("a.png"), &pattern(1, 20, 30));
    write(at("whole.jpg"), &pattern(1, 200, 300));
    let whole = fs::read(at("whole.jpg")).unwrap();
    for (name, bytes, expected) in [
        ("b.png", bomb(), "65535×65535 pixels are more than"),
        ("b.jpg", whole[..whole.len() / 2].to_vec(), "the file is cut off"),
        ("b.png", fs::read(at("a.png")).unwrap()[..60].to_vec(), ""),
        ("b.webp", b"<html>not found</html>".to_vec(), "the file is a page of the web, in place of the picture"),
        ("b.gif", Vec::new(), "the file is empty"),
        ("b.bmp", b"no picture".to_vec(), "no picture format that is known here"),
    ] {
        fs::write(at(name), bytes).unwrap();
        let text = problem("folder", folder.path());
        assert!(text.contains(&at(name).display().to_string()) && text.contains(expected), "{text}");
        assert!(text.contains("hint: "), "{text}");
        let one = Choice { take: Some(1), ..choice(Some(folder.path()), 16, 8) };
        assert!(data::find("folder").unwrap().subset(&Source::new("nowhere"), &one).is_ok());
        fs::remove_file(at(name)).unwrap();
    }
}

const CIFAR: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const SWEEP: &str = r#"
name = "own"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "folder", path = "PATH", resize = 32, first = 1, every = 2, take = 9, allow_empty = true }
goals   = ["untargeted", "target:next"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
"#;

/// The built-in sample as a folder of pictures: the labels of the cars are wrong, so something is confused.
fn sample_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    CIFAR.iter().for_each(|class| fs::create_dir_all(folder.path().join(class)).unwrap());
    for entry in fs::read_dir("datasets/cifar10-sample").unwrap().map(|e| e.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let label: usize = name.trim_end_matches(".png").rsplit('_').next().unwrap().parse().unwrap();
        let class = if label == 1 { "truck" } else { CIFAR[label] };
        fs::copy(entry.path(), folder.path().join(class).join(name)).unwrap();
    }
    folder
}

#[test]
fn a_run_on_a_folder_is_verified_and_says_what_is_confused() {
    let pictures = sample_folder();
    let text = SWEEP.replace("PATH", &pictures.path().display().to_string());
    let (folder, cells) = sweep(&text, &Source::new("nowhere"), None);
    let data = &cells[0].cell.data;
    assert_eq!(data.text(), "folder:all[1..19:2]");
    assert_eq!(data.prepared, format!("resize=32 crop=32 bilinear (Pillow) decoder={}", picture::DECODER));
    let kept = stored(folder.path(), &cells).remove(0);
    assert_eq!(kept.provenance.data_path.as_deref(), Some(pictures.path().to_str().unwrap()));
    assert_eq!(kept.outcomes.iter().map(|o| o.example).collect::<Vec<_>>(), [1, 3, 5, 7, 9, 11, 13, 15, 17]);

    let table = fs::read_to_string(folder.path().join("tables/confusion.csv")).unwrap();
    assert!(table.starts_with("model,dataset,label,label_name,prediction,prediction_name,count,of_label\n"));
    let counts = table.lines().skip(1).map(|l| l.split(',').nth(6).unwrap().parse::<usize>().unwrap());
    assert_eq!(counts.sum::<usize>(), 9, "{table}");
    assert!(table.contains(",folder:all[1..19:2],9,truck,1,automobile,1,1\n"), "{table}");

    // the program itself, which sets its number of threads
    let config = folder.path().join("own.toml");
    fs::write(&config, &text).unwrap();
    let out = folder.path().join("again");
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_foolproof"))
        .args(["--device", "cpu", "--threads", "1", "-q", "--out"])
        .args([&out, &PathBuf::from("--config"), &config])
        .output()
        .unwrap();
    assert!(program.status.success(), "{}", String::from_utf8_lossy(&program.stderr));
    assert_eq!(fs::read_to_string(out.join("own/tables/confusion.csv")).unwrap(), table);
    for figure in ["confusion.svg", "confusion.png"].map(|name| Path::new("figures").join(name)) {
        assert_eq!(fs::read(out.join("own").join(&figure)).unwrap(), fs::read(folder.path().join(&figure)).unwrap());
    }

    let store = Store::open(folder.path()).unwrap();
    let check = || verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap();
    let findings = check();
    assert!(findings.problems.is_empty(), "{:?}", findings.problems);
    let moved = pictures.path().join("cat/new.png");
    write(moved.clone(), &pattern(1, 32, 32));
    assert!(check().problems[0].contains("has other images than the cell's"));
    fs::remove_file(moved).unwrap();
    drop(pictures);
    // what is not here contradicts nothing: the run's own images are taken, and that is said
    let findings = check();
    assert!(findings.problems.is_empty(), "{:?}", findings.problems);
    assert!(findings.absent.len() == 1 && findings.absent[0].contains("put it back"), "{:?}", findings.absent);
}

#[test]
fn what_a_dataset_does_not_take_is_refused_with_the_way_out() {
    let pictures = sample_folder();
    let beside = tempfile::tempdir().unwrap();
    let file = |side: usize| {
        format!(
            "family = \"vgg11_bn\"\nwidth = 0.5\nhead = \"linear\"\nclasses = 10\nside = {side}\nmean = [0.5, 0.5, 0.5]\n\
             std = [0.2, 0.2, 0.2]\nweights = \"{}\"\n",
            Path::new("configs/models/vgg11-half-cifar10.safetensors").canonicalize().unwrap().display()
        )
    };
    fs::write(beside.path().join("large.toml"), file(64)).unwrap();
    for interpolation in ["bicubic", "lanczos"] {
        let path = beside.path().join(format!("{interpolation}.toml"));
        fs::write(path, format!("interpolation = \"{interpolation}\"\n{}", file(32))).unwrap();
    }
    let good = SWEEP.replace("PATH", &pictures.path().display().to_string());
    let problems = |text: &str| match plan::parse(&beside.path().join("x.toml"), text, &Source::new("nowhere")) {
        Err(Error::Config(problems)) => problems.join("\n"),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => String::new(),
    };
    assert_eq!(problems(&good), "");
    let both = good.replace("\"vgg11-half-cifar10\"", "\"vgg11-half-cifar10\", \"large.toml\"");
    let cifar = good.replace("\"folder\"", "\"cifar10-sample\"");
    let models = |models: &str| good.replace("\"vgg11-half-cifar10\"", models);
    let cubic = models("\"bicubic.toml\"");
    let plan = plan::parse(&beside.path().join("x.toml"), &cubic, &Source::new("nowhere")).unwrap();
    assert!(plan.cells[0].cell.data.prepared.starts_with("resize=32 crop=32 bicubic (Pillow) decoder="));
    for (text, expected) in [
        (both, "these take 32 and 64 (hint: a [[sweep]] for each)"),
        (models("\"bicubic.toml\", \"vgg11-half-cifar10\""), "some of these models take bicubic interpolation"),
        (models("\"lanczos.toml\""), "unknown `interpolation` `lanczos`"),
        (good.replace("resize = 32", "resize = 31"), "`resize` is 31, less than the side of 32"),
        (good.replace("every = 2", "every = 0"), "`every` is the step"),
        (good.replace("take = 9", "take = 11"), "has 20 images in split `all`: first = 1, every = 2, take = 11"),
        (
            cifar.clone(),
            "dataset `cifar10-sample` has no `path` (hint: that is for cifar10-c, cifar100-c, imagenet-folder, imagenet-c, folder and parquet)",
        ),
        (cifar, "dataset `cifar10-sample` has no `resize`"),
        (good.replace("PATH", "x").replacen("path", "paths", 1), "needs `path`"),
        (SWEEP.to_string(), "PATH, nor PATH, nor nowhere/PATH"),
        (good.replace("\"folder\"", "\"imagenet-folder\""), "no picture in"),
    ] {
        assert!(problems(&text).contains(expected), "{expected}\nin {}", problems(&text));
    }
    // beside the sweep file
    std::os::unix::fs::symlink(pictures.path(), beside.path().join("pictures")).unwrap();
    assert_eq!(problems(&SWEEP.replace("PATH", "pictures")), "");
}
