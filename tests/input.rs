//! Input that could be dropped, bent or mixed up without a word: links to nowhere, folders in folders, empty classes, files
//! that are no pictures, pictures of the models' side, names and numbers as other programs write them, paths that lead to two
//! places. Each is an error, or a line that stands in the provenance too.

mod support;
#[path = "support/tables.rs"]
mod tables;

use foolproof::data::{self, Choice, Preparation, Source, Subset};
use foolproof::error::{Error, Result};
use foolproof::kernel::Precision;
use foolproof::model;
use foolproof::store::Store;
use foolproof::sweep::{plan, verify};
use image::{Rgb, RgbImage};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::{foolproof, machine, shared_data, stored, sweep};

fn write(folder: &Path, name: &str, seed: u8, side: u32) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(side, side, |x, y| Rgb([seed, (7 * x) as u8, (5 * y) as u8])).save(path).unwrap();
}

fn asked(folder: &Path) -> Choice {
    Choice {
        path: Some(folder.to_path_buf()),
        preparation: Some(Preparation::new(8, [8; 2]).unwrap()),
        ..Choice::new("all", 0, None)
    }
}

fn load(dataset: &str, folder: &Path) -> Result<Subset> {
    data::find(dataset).unwrap().subset(&Source::new("nowhere"), &asked(folder))
}

fn problem(dataset: &str, folder: &Path) -> String {
    load(dataset, folder).unwrap_err().to_string()
}

/// The seeds of the pictures, which are their red.
fn seeds(subset: &Subset) -> Vec<u8> {
    (0..subset.len()).map(|i| subset.image(i)[0]).collect()
}

#[test]
fn a_link_to_nowhere_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for class in ["n01440764", "n01443537"] {
        write(folder.path(), &format!("{class}/a.png"), 1, 8);
    }
    // a picture, a folder inside a class, a class, and a file of labels
    for link in ["n01443537/b.png", "n01443537/more", "n01484850", "labels.csv"] {
        symlink("/nowhere/of-a-cache", at(link)).unwrap();
        for dataset in ["folder", "imagenet-folder"] {
            let text = problem(dataset, folder.path());
            let named = text.contains(&at(link).display().to_string()) && text.contains("/nowhere/of-a-cache");
            assert!(named && text.contains("hint: bring it back"), "{dataset}, {link}: {text}");
        }
        fs::remove_file(at(link)).unwrap();
    }
    // links that lead somewhere are followed
    write(folder.path(), "../elsewhere-of-input/c.png", 3, 8);
    symlink(at("../elsewhere-of-input/c.png"), at("n01443537/b.png")).unwrap();
    symlink(at("../elsewhere-of-input"), at("n01443537/more")).unwrap();
    let subset = load("folder", folder.path()).unwrap();
    fs::remove_dir_all(at("../elsewhere-of-input")).unwrap();
    assert_eq!(seeds(&subset), [1, 1, 3, 3]);
    // a table, and a folder of tables
    let tables = tempfile::tempdir().unwrap();
    symlink("/nowhere/of-a-cache", tables.path().join("data")).unwrap();
    let table =
        foolproof::record::TableRecord { path: Some(tables.path().display().to_string()), ..Default::default() };
    let choice = Choice { path: None, table: Some(table), ..asked(folder.path()) };
    let text = data::find("parquet").unwrap().subset(&Source::new("nowhere"), &choice).unwrap_err().to_string();
    assert!(text.contains("data: a link to /nowhere/of-a-cache"), "{text}");
}

#[test]
fn a_folder_that_cannot_be_read_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "cat/a.png", 1, 8);
    write(folder.path(), "dog/locked/b.png", 2, 8);
    let locked = folder.path().join("dog/locked");
    let mode = |mode| fs::set_permissions(&locked, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    let root = fs::read_dir(&locked).is_ok();
    let text = if root { String::new() } else { problem("folder", folder.path()) };
    mode(0o755);
    assert!(root || text.contains(&locked.display().to_string()), "{text}");
    // a link to a folder above would go round for ever
    symlink("..", locked.join("up")).unwrap();
    let text = problem("folder", folder.path());
    assert!(text.contains("up: a link to a folder that it lies in"), "{text}");
}

/// Order: that of torchvision's `ImageFolder` on the same tree (`sorted(os.walk(root, followlinks=True))`).
#[test]
fn folders_in_folders_are_read_in_torchvisions_order() {
    let folder = tempfile::tempdir().unwrap();
    let tree =
        ["c1/z.png", "c1/images-b/y.png", "c1/images/x/d.png", "c1/images/c.png", "c1/images/b.png", "c2/images/a.png"];
    for (seed, name) in tree.iter().enumerate() {
        write(folder.path(), name, seed as u8, 8);
    }
    let subset = load("folder", folder.path()).unwrap();
    assert_eq!((seeds(&subset), subset.labels.as_slice()), (vec![0, 4, 3, 1, 2, 5], [0, 0, 0, 0, 0, 1].as_slice()));
    assert!(subset.notes.is_empty(), "{:?}", subset.notes);
    for (from, to) in [("c1", "n01440764"), ("c2", "n01443537")] {
        fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    let same = load("imagenet-folder", folder.path()).unwrap();
    assert_eq!((seeds(&same), same.labels.as_slice()), (seeds(&subset), subset.labels.as_slice()));
}

#[test]
fn a_class_without_a_picture_is_an_error_unless_it_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "n01440764/a.png", 1, 8);
    fs::create_dir_all(folder.path().join("n01443537/images")).unwrap();
    fs::write(folder.path().join("n01443537/images/a.pngx"), "").unwrap();
    for dataset in ["folder", "imagenet-folder"] {
        let text = problem(dataset, folder.path());
        assert!(text.contains("no picture in the class folders `n01443537` of"), "{dataset}: {text}");
        assert!(text.contains("`allow_empty = true`"), "{dataset}: {text}");
        let choice = Choice { allow_empty: true, ..asked(folder.path()) };
        let subset = data::find(dataset).unwrap().subset(&Source::new("nowhere"), &choice).unwrap();
        assert_eq!(subset.labels, [0]);
        assert!(subset.notes.iter().any(|note| note.contains("no picture in the class folders `n01443537`")));
        assert!(subset.notes.iter().any(|note| note.contains("(as n01443537/images/a.pngx)")), "{:?}", subset.notes);
    }
    // as many as there are names for, and the number of the others
    for class in 10..40 {
        fs::create_dir(folder.path().join(format!("n015{class}"))).unwrap();
    }
    let text = problem("folder", folder.path());
    assert!(text.contains("n01518`, … (31 in all)") && !text.contains("n01519"), "{text}");
}

#[test]
fn what_is_not_read_is_said_with_its_number_and_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(folder.path(), "n01440764/a.png", 1, 8);
    write(folder.path(), "n01440764/.b.png", 2, 8);
    for name in ["n01440764/a.txt", "n01440764/b.heic", "README.md"] {
        fs::write(at(name), "no picture").unwrap();
    }
    let note = load("folder", folder.path()).unwrap().notes.join("\n");
    for part in [
        "dataset `folder`: of what lies in",
        "1 hidden (as n01440764/.b.png)",
        "2 no pictures by their names (as n01440764/a.txt)",
        "1 outside the folders of the classes (as README.md)",
    ] {
        assert!(note.contains(part), "{part}: {note}");
    }
    write(folder.path(), "cats/c.png", 3, 8);
    let note = load("imagenet-folder", folder.path()).unwrap().notes.join("\n");
    assert!(note.contains("1 folders that no wnid names (as cats)"), "{note}");
    // a file of labels that forgets one, and one that says one twice
    fs::write(at("labels.csv"), "file,label\nn01440764/a.png,0\n").unwrap();
    let note = load("imagenet-folder", folder.path()).unwrap().notes.join("\n");
    assert!(note.contains("1 pictures that no line of labels.csv names (as cats/c.png)"), "{note}");
    fs::write(at("labels.csv"), "file,label\ncats/c.png,0\ncats/c.png,1\n").unwrap();
    assert!(problem("imagenet-folder", folder.path()).contains("labels.csv:3: `cats/c.png` stands on line 2 already"));
}

#[test]
fn of_two_forms_of_a_dataset_the_one_that_is_not_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("cifar10");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("test.bin"), [3; 3073]).unwrap();
    let load = || {
        let cifar = data::find("cifar10").unwrap();
        cifar.subset(&Source::new(folder.path()), &Choice::new("test", 0, None)).unwrap().notes.join("\n")
    };
    assert_eq!(load(), "");
    fs::write(place.join("test-00000-of-00001.parquet"), "another one").unwrap();
    assert!(load().contains("test.bin is read, and not "), "{}", load());
}

const CIFAR: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const SWEEP: &str = r#"
name = "own"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "folder", path = "PATH", allow_empty = true }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
"#;

/// The built-in sample as a folder of pictures, and as a table.
fn sample(folder: &Path) -> Subset {
    let dataset = data::find("cifar10-sample").unwrap();
    let subset = dataset.subset(&Source::new("nowhere"), &Choice::new("test", 0, None)).unwrap();
    pictures(folder, &subset);
    subset
}

fn pictures(folder: &Path, subset: &Subset) {
    let encoded = |i: usize| tables::png(subset.image(i), 32);
    CIFAR.iter().for_each(|class| fs::create_dir_all(folder.join("pics").join(class)).unwrap());
    for i in 0..subset.len() {
        fs::write(folder.join("pics").join(CIFAR[subset.labels[i]]).join(format!("{i:03}.png")), encoded(i)).unwrap();
    }
    let rows: Vec<_> = (0..subset.len()).map(|i| (encoded(i), subset.labels[i] as i64)).collect();
    let codec = parquet::basic::Compression::SNAPPY;
    fs::write(folder.join("own.parquet"), tables::table(&rows, ["img", "label"], &CIFAR, codec, 7)).unwrap();
}

fn planned(text: &str, folder: &Path) -> Result<plan::Plan> {
    plan::parse(&folder.join("own.toml"), text, &Source::new("nowhere"))
}

fn problems(text: &str, folder: &Path) -> String {
    match planned(text, folder) {
        Err(Error::Config(problems)) => problems.join("\n"),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => String::new(),
    }
}

/// How many images of a plan's only subset the embedded net names right.
fn right(plan: &plan::Plan) -> usize {
    let subset = &plan.data[0].subset;
    let model = model::built_in("vgg11-half-cifar10").unwrap();
    let images = data::to_tensor(&subset.pixels, subset.size, &candle_core::Device::Cpu).unwrap();
    let engine = model.engine(&candle_core::Device::Cpu, Precision::F32).unwrap();
    let logits: Vec<Vec<f32>> = engine.logits(&images).unwrap().to_vec2().unwrap();
    logits.iter().zip(&subset.labels).filter(|(logits, label)| foolproof::goal::argmax(logits) == **label).count()
}

#[test]
fn pictures_of_the_models_side_are_left_alone() {
    let Some(shared) = shared_data("pictures of the models' side") else { return };
    let folder = tempfile::tempdir().unwrap();
    let thirty = Choice::new("test", 0, Some(30));
    let cifar = data::find("cifar10").unwrap().subset(&Source::new(shared), &thirty).unwrap();
    pictures(folder.path(), &cifar);
    let folders = SWEEP.replace("PATH", "pics");
    let table =
        SWEEP.replace("\"folder\"", "\"parquet\"").replace("PATH", "own.parquet").replace(", allow_empty = true", "");
    for text in [&folders, &table] {
        let resized =
            |size: &str| planned(&text.replace("path =", &format!("resize = {size}, path =")), folder.path()).unwrap();
        let (usual, same, large) = (planned(text, folder.path()).unwrap(), resized("32"), resized("256"));
        assert_eq!([&usual, &same, &large].map(right), [29, 29, 3]);
        let prepared = |plan: &plan::Plan| plan.cells[0].cell.data.prepared.clone();
        assert!(prepared(&usual).starts_with("side=32 as stored decoder=image"), "{}", prepared(&usual));
        assert!(prepared(&same).starts_with("resize=32 crop=32 bilinear (Pillow) decoder=image"));
        assert!(prepared(&large).starts_with("resize=256 crop=32 bilinear (Pillow) decoder=image"));
        assert!(usual.warnings().is_empty() && same.warnings().is_empty());
        let warning = large.warnings().join("\n");
        assert!(
            warning.contains("resize = 256 enlarges 30 of 30 pictures 4 times or more, at most 8.0 times"),
            "{warning}"
        );
        assert_eq!(usual.data[0].subset.pixels, same.data[0].subset.pixels);
    }
    let table = planned(&table, folder.path()).unwrap();
    assert_eq!(table.data[0].subset.digest, cifar.digest);
}

/// Of the files of a table: other files that fit, hidden ones, ones too deep, names of classes that are none, a number of
/// classes that is not theirs.
#[test]
fn what_a_table_does_not_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let at = folder.path().join("table");
    fs::create_dir_all(at.join("a")).unwrap();
    let rows = [(tables::png(&[7; 3 * 64], 8), 0)];
    let write = |name: &str, classes: &[&str]| {
        let codec = parquet::basic::Compression::SNAPPY;
        fs::write(at.join(name), tables::table(&rows, ["img", "label"], classes, codec, 7)).unwrap();
    };
    let read = || {
        let path = Some(at.display().to_string());
        let table = foolproof::record::TableRecord { path, classes: Some(3), ..Default::default() };
        let choice = Choice { path: None, table: Some(table), ..asked(folder.path()) };
        data::find("parquet").unwrap().subset(&Source::new("nowhere"), &choice)
    };
    write("a/x.PARQUET", &["one", "two", "three"]);
    assert!(read().unwrap().notes.is_empty());
    write("a/x.PARQUET", &["one", "two"]);
    fs::create_dir_all(at.join("a/b/c/d")).unwrap();
    for name in [".hidden.parquet", "a/b/c/d/deep.parquet"] {
        write(name, &["one", "two"]);
    }
    fs::write(at.join("a/part.arrow"), "another format").unwrap();
    let notes = read().unwrap().notes.join("\n");
    for part in [
        "1 folders deeper than is looked (as a/b/c/d)",
        "1 hidden (as .hidden.parquet)",
        "1 no parquet files by their names (as a/part.arrow)",
        "`classes` is 3, but the files name 2, which count",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    // names that are no texts
    let bytes = fs::read(at.join("a/x.PARQUET")).unwrap();
    let place = bytes.windows(5).position(|w| w == b"\"one\"").unwrap();
    fs::write(at.join("a/x.PARQUET"), [&bytes[..place], b"11111", &bytes[place + 5..]].concat()).unwrap();
    let text = read().unwrap_err().to_string();
    assert!(text.contains("the names of the classes of `label` are no texts"), "{text}");
}

/// The first picture of the split decides, whichever are taken; a mixture is refused or resized, never read both ways.
#[test]
fn a_mixture_of_sizes_is_decided_by_the_first_picture() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let text = SWEEP.replace("PATH", "pics");
    let stored = planned(&text, folder.path()).unwrap().data[0].subset.clone();
    write(&folder.path().join("pics"), "truck/zzz.png", 7, 40);
    let mixed = problems(&text, folder.path());
    assert!(
        mixed.contains("zzz.png: 40×40 pixels, where the first picture of the dataset has the models' 32×32"),
        "{mixed}"
    );
    assert!(mixed.contains("hint: `resize = 32`"), "{mixed}");
    // a subset without it is what it was
    let some = planned(&text.replace("path =", "take = 20, path ="), folder.path()).unwrap();
    assert_eq!(some.data[0].subset.pixels, stored.pixels);
    write(&folder.path().join("pics"), "airplane/000.png", 7, 40);
    let plan = planned(&text.replace("path =", "first = 1, path ="), folder.path()).unwrap();
    assert!(plan.cells[0].cell.data.prepared.starts_with("resize=256 crop=32 bilinear (Pillow)"));
    assert!(plan.warnings()[1].contains("enlarges 21 of 21 pictures"), "{:?}", plan.warnings());
}

#[test]
fn what_was_said_stands_on_stderr_and_in_the_provenance_and_the_run_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    fs::write(folder.path().join("pics/cat/notes.txt"), "no picture").unwrap();
    let text = SWEEP.replace("PATH", &folder.path().join("pics").display().to_string());
    let (run, cells) = sweep(&text, &Source::new("nowhere"), None);
    let notes = stored(run.path(), &cells).remove(0).provenance.notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("no picture in the class folders `bird`, `deer`"), "{notes:?}");
    assert!(notes[1].contains("1 no pictures by their names (as cat/notes.txt)"), "{notes:?}");
    let store = Store::open(run.path()).unwrap();
    let findings = verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap();
    assert!(findings.problems.is_empty() && findings.absent.is_empty(), "{:?}", findings.problems);

    let config = folder.path().join("own.toml");
    fs::write(&config, text).unwrap();
    let list = foolproof().arg("-q").arg("list").arg(&config).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(list.stderr).unwrap();
    assert_eq!(said, notes.iter().map(|note| format!("warning: {note}\n")).collect::<String>());
    let without =
        SWEEP.replace("PATH", "pics").replace(", allow_empty = true", "").replace("path =", "resize = 32, path =");
    assert!(problems(&without, folder.path()).contains("no picture in the class folders"));
    let foreign = without
        .replace("name = \"folder\", resize = 32, path = \"pics\"", "name = \"cifar10-sample\", allow_empty = true");
    assert!(
        problems(&foreign, folder.path())
            .contains("has no `allow_empty` (hint: that is for imagenet-folder, imagenet-c and folder)")
    );
}

/// The same sweep from two folders, each with `pics` of its own: those beside the sweep file are taken, and that is said.
#[test]
fn a_path_leads_to_the_folder_of_the_sweep_file_first() {
    let (project, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(project.path());
    write(elsewhere.path(), "pics/cat/a.png", 9, 32);
    fs::write(project.path().join("own.toml"), SWEEP.replace("PATH", "pics").replace("SEED", "0")).unwrap();
    let list = |from: &Path, config: &Path| {
        let out = foolproof().arg("list").arg(config).current_dir(from).output().unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{said}");
        (String::from_utf8(out.stdout).unwrap(), said)
    };
    let (here, said_here) = list(project.path(), Path::new("own.toml"));
    let (there, said_there) = list(elsewhere.path(), &project.path().join("own.toml"));
    assert_eq!(here, there);
    let pics = project.path().canonicalize().unwrap().join("pics");
    let place = format!("dataset `folder` is read from {}\n", pics.display());
    assert!(said_here.contains(&place) && !said_here.contains("was not taken"), "{said_here}");
    assert!(
        said_there.contains("`pics` of the sweep file is") && said_there.contains("; pics was not taken"),
        "{said_there}"
    );
    // where only one is there, it is found as before
    let config = elsewhere.path().join("sweeps");
    fs::create_dir(&config).unwrap();
    fs::copy(project.path().join("own.toml"), config.join("own.toml")).unwrap();
    let text = fs::read_to_string(config.join("own.toml")).unwrap().replace("allow_empty", "resize = 32, allow_empty");
    fs::write(config.join("own.toml"), text).unwrap();
    let out = foolproof().arg("list").arg("sweeps/own.toml").current_dir(elsewhere.path()).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    let pics = elsewhere.path().canonicalize().unwrap().join("pics");
    assert!(
        said.contains(&format!("read from {}", pics.display())) || said.contains("has side 32 and 1 classes"),
        "{said}"
    );
}

/// Model files and pictures to be pasted go the same way.
#[test]
fn every_path_of_a_sweep_leads_beside_it_first() {
    let (project, here) = (tempfile::tempdir().unwrap(), std::env::current_dir().unwrap());
    fs::create_dir_all(project.path().join("configs/models")).unwrap();
    let name = "configs/models/vgg11-half-cifar10.toml";
    let own = fs::read_to_string(here.join(name)).unwrap();
    fs::write(project.path().join(name), &own).unwrap();
    let weights = "configs/models/vgg11-half-cifar10.safetensors";
    fs::copy(here.join(weights), project.path().join(weights)).unwrap();
    let text = SWEEP
        .replace("\"vgg11-half-cifar10\"", &format!("\"{name}\""))
        .replace("name = \"folder\", path = \"PATH\", allow_empty = true", "name = \"cifar10-sample\"");
    let plan = planned(&text, project.path()).unwrap();
    assert_eq!(plan.models[0].origin.as_deref(), project.path().join(name).to_str());
    assert!(plan.notes[0].contains(&format!("{name} was not taken")), "{:?}", plan.notes);
    assert_eq!(plan.notes_of(&plan.cells[0]), plan.notes);
}

#[test]
fn a_wnid_is_the_name_of_a_class_and_long_lists_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    for class in (0..9).map(|i| format!("muffin {i}")).chain(["n01443537".into()]) {
        write(&folder.path().join("pics"), &format!("{class}/a.png"), 1, 32);
    }
    let own = SWEEP.replace("PATH", "pics");
    for (name, expected) in [("goldfish", "target:9"), ("n01443537", "target:9"), ("MUFFIN 3", "target:3")] {
        let plan = planned(&own.replace("untargeted", &format!("target:{name}")), folder.path()).unwrap();
        assert_eq!(plan.cells[0].cell.goal.name(), expected, "{name}");
    }
    // where names are numbers, a number is one of a class all the same, and that is said
    fs::remove_dir_all(folder.path().join("pics")).unwrap();
    (1..11).for_each(|class| write(&folder.path().join("pics"), &format!("{class}/a.png"), 1, 32));
    for (goal, expected) in [("target:1", "`target:1` is class 1, `10`; class `1` is target:0"), ("target:2", "")] {
        let plan = planned(&own.replace("untargeted", goal), folder.path()).unwrap();
        assert_eq!((plan.cells[0].cell.goal.name().as_str(), plan.notes.concat().as_str()), (goal, expected));
    }
    // the net has ten classes, which is said; the name is known all the same
    let imagenet = SWEEP
        .replace("name = \"folder\", path = \"PATH\", allow_empty = true", "name = \"blank-imagenet\"")
        .replace("\"fgsm\"", "\"class-max\"")
        .replace("linf\", eps = [\"8/255\"]", "any\"");
    let goal = |name: &str| problems(&imagenet.replace("untargeted", &format!("target:{name}")), folder.path());
    assert!(!goal("n01443537").contains("unknown goal"), "{}", goal("n01443537"));
    let unknown = goal("n00000001");
    let line = unknown.lines().find(|l| l.contains("unknown goal `target:n00000001`")).unwrap();
    assert!(line.contains("… 1000 in all)") && line.len() < 400, "{line}");
}

#[test]
fn a_radius_as_python_prints_it_is_refused_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let sample =
        SWEEP.replace("name = \"folder\", path = \"PATH\", allow_empty = true", "name = \"cifar10-sample\", take = 1");
    let with = |eps: &str| sample.replace("8/255", eps);
    let text = problems(&with("0.03137254901960784"), folder.path());
    assert!(text.contains("eps `0.03137254901960784`: more digits than are kept"), "{text}");
    assert!(text.contains("below 10^12 (hint: \"8/255\", which this is not quite)"), "{text}");
    // digits that change nothing are read, and what was rounded is said
    for (eps, kept, warning) in [
        ("0.50000000000000000000", "0.5", None),
        ("0.0314", "0.0314", None),
        ("0.031", "0.031", None),
        ("0.03137254", "0.03137254", Some("eps 0.03137254 is a little less than 8/255")),
    ] {
        let plan = planned(&with(eps), folder.path()).unwrap();
        assert!(
            plan.cells[0].cell.threat.eps_text() == kept || kept == "0.5",
            "{}",
            plan.cells[0].cell.threat.eps_text()
        );
        assert_eq!(plan.warnings().first().map(|w| &w[..w.len().min(42)]), warning.map(|w: &str| &w[..42]), "{eps}");
    }
    // steps that 8-bit images round away make an attack that cannot do anything
    let short = |start: bool| {
        sample.replace("\"fgsm\"", &format!("\"pgd\", step_size = \"1/10000\", steps = 19, random_start = {start}"))
    };
    let said = planned(&short(false), folder.path()).unwrap().warnings().concat();
    assert!(said.contains("its 19 steps move no pixel by half a grey level"), "{said}");
    assert_eq!(planned(&short(true), folder.path()).unwrap().warnings().concat(), "");
    let step = sample.replace("\"fgsm\"", "\"pgd\", step_size = \"0.00784313725490196\"");
    assert!(
        problems(&step, folder.path()).contains("expected a number of 11 digits at most"),
        "{}",
        problems(&step, folder.path())
    );
}
