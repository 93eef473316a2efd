//! Corrupted images: readers of the published ones, the generators, the mean, the binarisation test, and what is refused.

mod support;

use foolproof::corruption::{CORRUPTIONS, SEVERITIES};
use foolproof::data::{self, Choice, Preparation, Source};
use foolproof::record::CorruptionRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;
use support::foolproof;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    foolproof().current_dir(folder).env("FOOLPROOF_DATA", folder).args(arguments).output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn sweep(folder: &Path, name: &str, data: &str, more: &str) {
    let text = format!(
        "name = \"{name}\"\nseed = 3\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\ndata = {{ {data} }}\n\
         goals = [\"untargeted\"]\n{more}\n"
    );
    fs::write(folder.join(format!("{name}.toml")), text).unwrap();
}

/// Nothing but the corruption.
const ALONE: &str = "threats = [{ norm = \"linf\", eps = [\"0\"] }]\nattacks = [{ name = \"noise\", draws = 1 }]";

/// A table of a run as rows of columns.
fn table(folder: &Path, run: &str, table: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(folder.join(format!("results/{run}/tables/{table}.csv"))).unwrap();
    let rows: Result<Vec<_>, _> = reader.deserialize().collect();
    rows.unwrap()
}

/// An array file as numpy writes it.
fn npy(path: &Path, kind: &str, shape: &str, data: &[u8]) {
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let bytes = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat();
    fs::write(path, bytes).unwrap();
}

fn sample(take: usize) -> data::Subset {
    data::find("cifar10-sample").unwrap().subset(&Source::new("nowhere"), &Choice::new("test", 0, Some(take))).unwrap()
}

/// Row by row, RGB pixel by pixel.
fn pixel_by_pixel(image: &[u8]) -> Vec<u8> {
    let plane = image.len() / 3;
    (0..plane).flat_map(|at| (0..3).map(move |c| image[c * plane + at])).collect()
}

/// Whether the image at a place is another one in this stand-in for a published set: so many are wrong.
fn is_swapped(corruption: usize, severity: u8, place: usize) -> bool {
    place < (corruption + usize::from(severity)) % 4
}

/// CIFAR-10-C of four images, some of which are replaced by one of another class.
fn published(folder: &Path) {
    let (subset, n) = (sample(4), 4);
    let other = |label: usize| (0..n).find(|k| subset.labels[*k] != label).unwrap();
    fs::create_dir_all(folder).unwrap();
    let mut labels = Vec::new();
    for _ in SEVERITIES {
        labels.extend(subset.labels.iter().map(|label| *label as u8));
    }
    npy(&folder.join("labels.npy"), "|u1", "20,", &labels);
    for (k, corruption) in CORRUPTIONS.iter().enumerate() {
        let image = |severity: u8, place: usize| {
            let shown = if is_swapped(k, severity, place) { other(subset.labels[place]) } else { place };
            pixel_by_pixel(subset.image(shown))
        };
        let rows: Vec<u8> = SEVERITIES.flat_map(|s| (0..n).flat_map(move |place| image(s, place))).collect();
        let name = corruption.name.replace('-', "_");
        npy(&folder.join(format!("{name}.npy")), "|u1", "20, 32, 32, 3", &rows);
    }
}

#[test]
fn the_mean_over_published_images_is_that_of_75_accuracies() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    published(&at.join("CIFAR-10-C"));
    sweep(at, "c", "name = \"cifar10-c\"", ALONE);
    ok(at, &["--config", "c.toml"]);
    let wrong = |k: usize, severity: u8| (0..4).filter(|place| is_swapped(k, severity, *place)).count();
    let cells = table(at, "c", "corruptions");
    assert_eq!(cells.len(), 75);
    for row in &cells {
        let k = CORRUPTIONS.iter().position(|known| known.name == row["corruption"]).unwrap();
        let expected = 1.0 - wrong(k, row["severity"].parse().unwrap()) as f64 / 4.0;
        assert_eq!(row["clean_accuracy"].parse::<f64>().unwrap(), expected, "{row:?}");
    }
    let expected: f64 =
        (0..15).flat_map(|k| SEVERITIES.map(move |s| 1.0 - wrong(k, s) as f64 / 4.0)).sum::<f64>() / 75.0;
    let means = table(at, "c", "corruption-mean");
    assert_eq!(means.len(), 1);
    let [whole, cells, attack, mce] = ["whole", "cells", "attack", "mce"].map(|key| means[0][key].as_str());
    assert_eq!((whole, cells, attack, mce), ("yes", "75", "", ""));
    assert!((means[0]["mean_accuracy"].parse::<f64>().unwrap() - expected).abs() < 1e-6);
    ok(at, &["verify", "c"]);

    // one by its name as the files have it, two severities, some of the images
    let data = "name = \"cifar10-c\", corruption = \"gaussian_noise\", severity = [1, 3], first = 1, take = 2";
    sweep(at, "two", data, ALONE);
    ok(at, &["--config", "two.toml"]);
    let two = table(at, "two", "corruptions");
    let texts: Vec<&str> = two.iter().map(|row| row["dataset"].as_str()).collect();
    assert_eq!(texts, ["cifar10-c:test[1..3] gaussian-noise 1", "cifar10-c:test[1..3] gaussian-noise 3"]);
    assert_eq!(table(at, "two", "corruption-mean")[0]["whole"], "no");
}

#[test]
fn pictures_of_imagenet_c_lie_by_corruption_and_severity() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ImageNet-C");
    let put = |below: &str, level: u8| {
        let place = root.join(below);
        fs::create_dir_all(&place).unwrap();
        image::RgbImage::from_pixel(224, 224, image::Rgb([level; 3])).save(place.join("a.png")).unwrap();
    };
    put("fog/3/n01443537", 10);
    put("weather/snow/1/n01440764", 20);
    let dataset = data::find("imagenet-c").unwrap();
    let read = |name: &str, severity: u8| {
        let corruption = Some(CorruptionRecord { name: name.into(), severity, seed: None });
        let preparation = Preparation::usual(256, [224; 2]).ok();
        let choice = Choice { corruption, preparation, ..Choice::new("all", 0, None) };
        dataset.subset(&Source::new(folder.path()), &choice)
    };
    let (fog, snow) = (read("fog", 3).unwrap(), read("snow", 1).unwrap());
    assert_eq!((fog.labels.as_slice(), fog.pixels[0]), ([1].as_slice(), 10));
    assert_eq!((snow.labels.as_slice(), snow.pixels[0]), ([0].as_slice(), 20));
    let problem = read("fog", 2).unwrap_err();
    assert!(problem.is_absence() && problem.to_string().contains("hint: unpack its archives"), "{problem}");
}

#[test]
fn what_is_made_depends_on_seed_corruption_and_place_alone() {
    let dataset = data::find("cifar10-sample").unwrap();
    let made = |name: &str, severity: u8, seed: u64, first: usize, take: usize| {
        let corruption = Some(CorruptionRecord { name: name.into(), severity, seed: Some(seed) });
        let choice = Choice { corruption, ..Choice::new("test", first, Some(take)) };
        dataset.subset(&Source::new("nowhere"), &choice).unwrap()
    };
    let all = made("gaussian-noise-like", 3, 0, 0, 20);
    let one = made("gaussian-noise-like", 3, 0, 7, 1);
    assert_eq!(one.image(0), all.image(7), "whatever the others are");
    assert_ne!(made("gaussian-noise-like", 3, 1, 7, 1).image(0), one.image(0), "another seed");
    // the same grain, only stronger
    let clean = sample(20);
    let change = |of: &data::Subset| -> Vec<f64> {
        of.image(0).iter().zip(clean.image(7)).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
    };
    let (weak, strong) = (change(&made("gaussian-noise-like", 1, 0, 7, 1)), change(&one));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = product(&weak, &strong) / (product(&weak, &weak) * product(&strong, &strong)).sqrt();
    assert!(cosine > 0.95, "{cosine}");
    let other = change(&made("speckle-noise-like", 3, 0, 7, 1));
    let cosine = product(&weak, &other) / (product(&weak, &weak) * product(&other, &other)).sqrt();
    assert!(cosine.abs() < 0.5, "another corruption draws for itself: {cosine}");
}

#[test]
fn corruptions_and_budgets_stand_in_one_block() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let data = "name = \"cifar10-sample\", take = 12, corruption = [\"none\", \"common\"], severity = [1, 5]";
    let attacked =
        "threats = [{ norm = \"linf\", eps = [\"0\", \"1/255\"] }]\nattacks = [{ name = \"pgd\", steps = 3 }]";
    sweep(at, "b", data, attacked);
    let said = ok(at, &["--config", "b.toml", "--threads", "2"]);
    assert!(said.contains("without frost, which is not made here"), "nothing is left out silently: {said}");
    let means = table(at, "b", "corruption-mean");
    let told: Vec<[&str; 4]> =
        means.iter().map(|row| ["attack", "eps", "corruptions", "cells"].map(|key| row[key].as_str())).collect();
    assert_eq!(told, [["", "", "14", "28"], ["pgd", "1/255", "14", "28"]]);
    let mean = |k: usize| means[k]["mean_accuracy"].parse::<f64>().unwrap();
    assert!(mean(1) < mean(0) && mean(0) < 1.0, "{means:?}");
    let points = fs::read_to_string(at.join("results/b/figures/corruption.csv")).unwrap();
    for expected in ["mean,", "fog-like,", "jpeg-compression-like,"] {
        assert!(points.lines().any(|line| line.starts_with(expected)), "{expected} {points}");
    }
    let fog = points.lines().filter(|l| l.starts_with("fog-like,"));
    let severities: BTreeSet<&str> =
        fog.map(|l| l.split("severity,").nth(1).unwrap().split(',').next().unwrap()).collect();
    assert_eq!(severities.len(), 3, "the clean images at 0, and two severities: {severities:?}");
    ok(at, &["verify", "b"]);
    // leaderboards are of clean images
    let said = ok(at, &["export", "b", "--format", "robustbench-json", "--to", "out"]);
    assert!(said.contains("their images are corrupted"), "{said}");

    // the same with other threads, and the clean cells are those of a sweep without corruptions
    let cells = |run: &str| -> BTreeMap<String, Vec<u8>> {
        let cells = fs::read_dir(at.join(run)).unwrap().map(|e| e.unwrap().path());
        let outcomes = |path: std::path::PathBuf| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path.join("outcomes.csv")).unwrap())
        };
        cells.map(outcomes).collect()
    };
    let first = cells("results/b/cells");
    fs::rename(at.join("results"), at.join("before")).unwrap();
    ok(at, &["run", "b.toml", "--threads", "1", "--batch", "5"]);
    assert_eq!(cells("results/b/cells"), first);
    sweep(at, "plain", "name = \"cifar10-sample\", take = 12", attacked);
    ok(at, &["run", "plain.toml"]);
    let plain = cells("results/plain/cells");
    assert!(plain.len() == 2 && plain.iter().all(|(id, outcomes)| first.get(id) == Some(outcomes)));
}

#[test]
fn what_cannot_be_is_refused_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refused = |data: &str, more: &str, expected: &str| {
        sweep(at, "bad", data, more);
        let output = run(at, &["run", "bad.toml"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{data}: {said}");
        assert!(said.contains(expected) && (said.contains("(hint: ") || said.contains("(known: ")), "{data}: {said}");
        assert!(!at.join("results").exists(), "nothing is computed");
    };
    let of_sample = |more: &str| format!("name = \"cifar10-sample\", take = 2, {more}");
    for (more, expected) in [
        ("corruption = \"foggy-like\"", "unknown corruption `foggy-like` (hint: did you mean `fog-like`?)"),
        ("corruption = \"frost-like\"", "needs photographs of frost"),
        ("corruption = \"fog\"", "\"fog-like\" is made here"),
        ("corruption = \"fog-like\", severity = 6", "`severity` is 6, expected 1 to 5"),
        ("corruption = \"fog-like\", severity = [0]", "`severity` is 0"),
        ("severity = 2", "`severity` belongs to a corruption"),
        ("corruption = []", "corruption"),
    ] {
        refused(&of_sample(more), ALONE, expected);
    }
    refused("name = \"blank-cifar10\", corruption = \"fog-like\"", ALONE, "nothing to spoil");
    let of_published = "name = \"cifar10-c\", path = \"c\"";
    refused("name = \"cifar10-c\"", ALONE, "no folder");
    published(&at.join("c"));
    refused(&format!("{of_published}, corruption = \"fog-like\""), ALONE, "corruption = \"fog\"");
    refused(&format!("{of_published}, corruption = \"none\""), ALONE, "has no clean images");
    // files that are not what they should be
    let fog = || format!("{of_published}, corruption = \"fog\"");
    fs::remove_file(at.join("c/fog.npy")).unwrap();
    refused(&fog(), ALONE, "no file");
    npy(&at.join("c/fog.npy"), "|u1", "20, 32, 32, 3", &[0; 1000]);
    refused(&fog(), ALONE, "download it again");
    npy(&at.join("c/fog.npy"), "|u1", "20, 3, 32, 32", &[0; 20 * 3072]);
    refused(&fog(), ALONE, "expected 5·N×32×32×3");
    npy(&at.join("c/fog.npy"), "|u1", "25, 32, 32, 3", &[0; 25 * 3072]);
    refused(&fog(), ALONE, "expected 25 labels");
    npy(&at.join("c/fog.npy"), "|u1", "20, 32, 32, 3", &[0; 20 * 3072]);
    npy(&at.join("c/labels.npy"), "|u1", "20,", &[[9; 3].as_slice(), &[10; 17]].concat());
    refused(&fog(), ALONE, "row 3 has label 10, expected 0 to 9");
    npy(&at.join("c/labels.npy"), "<i4", "20,", &[[0; 12].as_slice(), &[255; 4], &[0; 64]].concat());
    refused(&fog(), ALONE, "row 3 has label -1");
    npy(&at.join("c/labels.npy"), "|u1", "20,", &[[1, 2, 3, 4, 1, 2, 3, 5].as_slice(), &[1; 12]].concat());
    refused(&fog(), ALONE, "row 7 is the same image as row 3 at another severity");
    fs::write(at.join("c/labels.npy"), "<!DOCTYPE html>").unwrap();
    refused(&fog(), ALONE, "no array file of numpy");

    // the binarisation test
    let pgd = "attacks = [{ name = \"pgd\", steps = 2 }]\nbinarise = 2";
    refused(
        &of_sample("first = 0"),
        &format!("threats = [{{ norm = \"linf\", eps = [\"0\"] }}]\n{pgd}"),
        "points within a budget",
    );
    refused(
        &of_sample("first = 0"),
        &format!("threats = [{{ norm = \"l1\", eps = [\"3\"] }}]\n{pgd}"),
        "points within a budget",
    );
    refused(
        &of_sample("first = 0"),
        &format!("threats = [{{ norm = \"linf\", eps = [\"1/255\"] }}]\nmode = \"within\"\n{pgd}"),
        "no smaller budget to go on from",
    );
}

#[test]
fn a_test_with_a_known_answer_tells_an_attack_from_guesses() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let of = |images: usize| {
        format!(
            "threats = [{{ norm = \"linf\", eps = [\"4/255\"] }}, {{ norm = \"l2\", eps = [\"0.5\"] }}]\n\
             attacks = [{{ name = \"noise\", draws = 5 }}, {{ name = \"pgd\", steps = 5 }}]\nbinarise = {images}"
        )
    };
    sweep(at, "t", "name = \"cifar10-sample\", take = 6", &of(2));
    ok(at, &["--config", "t.toml"]);
    assert!(table(at, "t", "binarised").iter().all(|row| row["images"] == "2"));
    // more images of the same cells: all that there are
    sweep(at, "t", "name = \"cifar10-sample\", take = 6", &of(9));
    let output = run(at, &["--config", "t.toml", "--threads", "1", "--batch", "7"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("0 cells computed, 4 cached"), "{said}");
    let rows = table(at, "t", "binarised");
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert_eq!((row["images"].as_str(), row["separated"].as_str()), ("6", "6"), "{row:?}");
        let fooled = if row["attack"] == "pgd" { "6" } else { "0" };
        assert_eq!(row["fooled"], fooled, "{row:?}");
        assert!(row["guessed"].parse::<u32>().unwrap() <= 3, "{row:?}");
    }
    // the same points for every attack
    assert_eq!(rows[0]["guessed"], rows[1]["guessed"]);
    ok(at, &["verify", "t"]);
    let status = String::from_utf8(run(at, &["status", "t"]).stdout).unwrap();
    assert!(!status.contains("missing:"), "{status}");
    // damage is found
    let place = fs::read_dir(at.join("results/t/binarised")).unwrap().next().unwrap().unwrap().path().join("rows.csv");
    let text = fs::read_to_string(&place).unwrap();
    fs::write(&place, text.replace("true", "false")).unwrap();
    assert!(!run(at, &["verify", "t"]).status.success(), "what was changed by hand");
}

/// With a network of ImageNet's classes, where one is at hand.
#[test]
fn the_corruption_error_is_that_of_alexnet_in_parts() {
    let Some(shared) = support::shared_data("the mean corruption error") else { return };
    let shared = shared.canonicalize().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (at, root) = (folder.path(), folder.path().join("ImageNet-C"));
    let picture = |name: &str| image::open(shared.join("imagenet").join(name)).unwrap().to_rgb8();
    let (fish, bird) = (picture("n01443537_goldfish.JPEG"), picture("n01558993_robin.JPEG"));
    let common = || CORRUPTIONS.iter().filter(|known| known.is_common);
    let put = |known: &str, severity: u8, name: &str, shown: &image::RgbImage| {
        let place = root.join(known.replace('-', "_")).join(severity.to_string()).join("n01443537");
        fs::create_dir_all(&place).unwrap();
        shown.save(place.join(name)).unwrap();
    };
    for (k, known) in common().enumerate() {
        for severity in SEVERITIES {
            // a robin is no goldfish: so many are wrong
            let shown = if (k + usize::from(severity)) % 3 == 0 { &bird } else { &fish };
            put(known.name, severity, "a.png", shown);
        }
    }
    let text = format!(
        "name = \"c\"\n[[sweep]]\nmodels = [\"squeezenet1_0-imagenet\"]\ndata = {{ name = \"imagenet-c\", path = \"{}\" }}\n\
         goals = [\"untargeted\"]\n{ALONE}\n",
        root.display()
    );
    fs::write(at.join("c.toml"), text).unwrap();
    let run =
        || foolproof().current_dir(at).env("FOOLPROOF_DATA", &shared).args(["--config", "c.toml"]).output().unwrap();
    let output = run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cells = table(at, "c", "corruptions");
    let error = |name: &str| -> f64 {
        let of = cells.iter().filter(|row| row["corruption"] == name);
        of.map(|row| 1.0 - row["clean_accuracy"].parse::<f64>().unwrap()).sum::<f64>() / 5.0
    };
    let expected = common().map(|known| error(known.name) / known.alexnet_error.unwrap()).sum::<f64>() / 15.0;
    let means = table(at, "c", "corruption-mean");
    let mce = means[0]["mce"].parse::<f64>().unwrap();
    assert!((mce - expected).abs() < 1e-5 && mce > 0.2, "{mce} {expected}");

    // an archive that was unpacked in part
    put("fog", 3, "b.png", &fish);
    let output = run();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has 1 images under `gaussian-noise 1` and 2 or other ones under `fog 3`"), "{said}");
}
