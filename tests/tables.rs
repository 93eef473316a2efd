//! Datasets of parquet files: those that pyarrow wrote (`scripts/make_parquet_fixture.py`) and our own; what is read of them,
//! what is wrong with them, which subsets they give, and a whole run.

mod support;
#[path = "support/tables.rs"]
mod tables;

use foolproof::data::{self, Choice, Preparation, Source, Subset, resize};
use foolproof::error::{Error, Result};
use foolproof::record::TableRecord;
use foolproof::store::Store;
use foolproof::sweep::{plan, verify};
use image::{Rgb, RgbImage};
use parquet::basic::{Compression, ZstdLevel};
use std::fs;
use std::path::Path;
use support::{machine, shared_data, stored, sweep};
use tables::{png, table};

const FIXTURES: &str = "tests/data/parquet";

/// The formula of the script.
fn pattern(seed: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([3 * x + seed, 5 * y + 2 * seed, 2 * x + 2 * y + 7 * seed].map(|v| (v % 256) as u8))
    })
}

fn prepared(picture: &RgbImage, side: usize) -> Vec<u8> {
    let square = resize::covering_and_centre(picture, side, [side; 2], resize::Filter::Bilinear);
    (0..3).flat_map(|channel| square.iter().skip(channel).step_by(3).copied()).collect()
}

/// All of a table, prepared to squares of 16.
fn whole(table: TableRecord) -> Choice {
    Choice {
        table: Some(table),
        preparation: Some(Preparation::new(16, [16; 2]).unwrap()),
        ..Choice::new("all", 0, None)
    }
}

fn at(path: impl AsRef<Path>) -> TableRecord {
    TableRecord { path: Some(path.as_ref().display().to_string()), ..TableRecord::default() }
}

fn fixture(name: &str) -> TableRecord {
    at(Path::new(FIXTURES).join(name))
}

fn read(choice: &Choice) -> Result<Subset> {
    data::find("parquet").unwrap().subset(&Source::new("nowhere"), choice)
}

fn problem(choice: &Choice) -> String {
    read(choice).unwrap_err().to_string()
}

fn two_shards() -> Choice {
    Choice { split: "test".into(), ..whole(at(FIXTURES)) }
}

#[test]
fn rows_are_those_that_pyarrow_wrote() {
    let subset = read(&two_shards()).unwrap();
    assert_eq!((subset.labels.as_slice(), subset.size), ([0, 1, 2, 0, 1, 2, 0, 1, 2, 0].as_slice(), [16; 2]));
    assert_eq!(subset.classes, ["tench", "n02102040", "church, church building"]);
    for i in 0..10 {
        let expected = prepared(&pattern(i as u32, 20 + i as u32, 18 + 2 * i as u32), 16);
        let far = subset.image(i).iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // every other one is a JPEG
        assert!(far <= if i % 2 == 0 { 0 } else { 4 }, "picture {i}: {far} grey levels");
    }
    let second =
        Choice { table: Some(TableRecord { files: Some("*-00001-of-*".into()), ..at(FIXTURES) }), ..two_shards() };
    assert_eq!(read(&second).unwrap().labels, subset.labels[5..]);
    assert!(problem(&Choice { split: "train".into(), ..two_shards() }).contains("no parquet file of split `train`"));
}

#[test]
fn a_subset_is_the_same_images_however_it_is_chosen() {
    let all = read(&two_shards()).unwrap();
    let choices = [
        Choice { first: 3, take: Some(4), ..two_shards() },
        Choice { first: 1, every: 4, ..two_shards() },
        Choice { shuffle: Some(5), take: Some(6), ..two_shards() },
        Choice { indices: Some(vec![9, 0, 4, 5]), ..two_shards() },
    ];
    for choice in choices {
        let some = read(&choice).unwrap();
        assert_eq!(some.examples, choice.examples(10).unwrap());
        for (k, example) in some.examples.iter().enumerate() {
            assert_eq!((some.labels[k], some.image(k)), (all.labels[*example], all.image(*example)), "{choice:?}");
        }
    }
    assert!(problem(&Choice { take: Some(11), ..two_shards() }).contains("has 10 images in split `test`"));
}

#[test]
fn a_shard_that_is_not_needed_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let name = "test-00000-of-00002.parquet";
    fs::copy(Path::new(FIXTURES).join(name), folder.path().join(name)).unwrap();
    fs::write(folder.path().join("test-00001-of-00002.parquet"), "no parquet").unwrap();
    let choice = |take| Choice { take: Some(take), ..whole(at(folder.path())) };
    assert_eq!(read(&choice(5)).unwrap().len(), 5);
    let text = problem(&choice(6));
    assert!(
        text.contains("test-00001-of-00002.parquet") && text.contains("no parquet file: it has no end mark"),
        "{text}"
    );
}

#[test]
fn pages_of_version_two_and_other_columns_are_read() {
    let fine = TableRecord { classes: Some(100), ..fixture("cifar100.parquet") };
    let coarse = TableRecord { label: Some("coarse_label".into()), classes: Some(20), ..fine.clone() };
    let [fine, coarse] = [fine, coarse].map(|table| read(&whole(table)).unwrap());
    assert_eq!((fine.labels.as_slice(), fine.classes.len()), ([0, 10, 20, 30, 40, 50, 60].as_slice(), 100));
    assert_eq!((coarse.labels.as_slice(), coarse.classes[19].as_str()), ([0, 1, 2, 3, 4, 5, 6].as_slice(), "19"));

    // the registry's dataset from this file, and from CIFAR's own format
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("cifar100");
    fs::create_dir(&place).unwrap();
    let load = || {
        let dataset = data::find("cifar100").unwrap();
        dataset.subset(&Source::new(folder.path()), &Choice::new("test", 0, None)).unwrap()
    };
    fs::copy(Path::new(FIXTURES).join("cifar100.parquet"), place.join("test-00000-of-00001.parquet")).unwrap();
    let table = load();
    let record = |i: usize| {
        let planes = prepared(&pattern(i as u32, 32, 32), 32);
        [&[i as u8, 10 * i as u8][..], &planes].concat()
    };
    fs::write(place.join("test.bin"), (0..7).flat_map(record).collect::<Vec<u8>>()).unwrap();
    let binary = load();
    assert_eq!((table.digest, table.labels, table.classes), (binary.digest, binary.labels, binary.classes));
}

#[test]
fn odd_pictures_become_what_pillow_makes_of_them() {
    let odd = Choice { preparation: Some(Preparation::new(24, [24; 2]).unwrap()), ..whole(fixture("odd.parquet")) };
    let subset = read(&odd).unwrap();
    let expected = fs::read(Path::new(FIXTURES).join("odd.rgb")).unwrap();
    for (i, expected) in expected.chunks(24 * 24 * 3).enumerate() {
        let expected = prepared(&RgbImage::from_raw(24, 24, expected.to_vec()).unwrap(), 24);
        let far = subset.image(i).iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        // grey and CMYK are JPEGs
        assert!(far <= if [0, 3].contains(&i) { 4 } else { 0 }, "picture {i}: {far} grey levels");
    }
}

#[test]
fn what_is_wrong_with_a_row_is_said_with_its_number() {
    let wrong = |indices: &[usize]| Choice { indices: Some(indices.to_vec()), ..whole(fixture("wrong.parquet")) };
    assert_eq!(read(&wrong(&[0])).unwrap().labels, [0]);
    for (indices, expected) in [
        (&[0, 1][..], "row 1 has no `image`"),
        (&[2], "row 2 has no `label`"),
        (&[5, 0], "row 5: label 9, expected 0 to 2"),
        (&[3], "picture of row 3 of tests/data/parquet/wrong.parquet: no picture format"),
        (&[4, 3], "row 3 of tests/data/parquet/wrong.parquet: no picture format"),
        (&[4, 3], "1 more cannot be read: picture of row 4 of"),
    ] {
        let text = problem(&wrong(indices));
        assert!(text.contains(expected) && text.contains("wrong.parquet"), "{indices:?}: {text}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_the_way_out() {
    let named = |name: &str| TableRecord {
        image: Some("photo".into()),
        label: Some("class".into()),
        classes: Some(2),
        ..fixture(name)
    };
    assert_eq!(read(&whole(named("plain.parquet"))).unwrap().labels, [1, 0]);
    let missing = Path::new(FIXTURES).join("none.parquet");
    for (table, expected) in [
        (
            fixture("plain.parquet"),
            "no column of encoded pictures named `image` or `img`; there are `id.list.element` (INT64)",
        ),
        (
            fixture("plain.parquet"),
            "`photo` (BYTE_ARRAY), `class` (INT32), `text` (BYTE_ARRAY) (hint: `image` names it)",
        ),
        (TableRecord { label: Some("id".into()), ..named("plain.parquet") }, "no column of whole numbers named `id`"),
        (TableRecord { label: None, ..named("plain.parquet") }, "named `label` or `fine_label`"),
        (TableRecord { classes: None, ..named("plain.parquet") }, "(hint: `classes` says how many there are)"),
        (named("gzip.parquet"), "column `photo`: compressed by GZIP"),
        (TableRecord::default(), "needs either `path` or `repository`"),
        (at(&missing), "none.parquet is not there"),
    ] {
        let text = problem(&whole(table));
        assert!(text.contains(expected), "{text}");
    }
}

fn sample() -> Vec<(Vec<u8>, i64)> {
    let subset = data::find("cifar10-sample").unwrap();
    let subset = subset.subset(&Source::new("nowhere"), &Choice::new("test", 0, None)).unwrap();
    (0..subset.len()).map(|i| (png(subset.image(i), 32), subset.labels[i] as i64)).collect()
}

const CIFAR: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn zstd() -> Compression {
    Compression::ZSTD(ZstdLevel::default())
}

/// The same images under three roofs have the same digest, so cells can be compared.
#[test]
fn cifar10_is_the_same_compiled_in_as_records_and_as_tables() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("cifar10");
    fs::create_dir(&place).unwrap();
    let load =
        |name: &str, choice: &Choice| data::find(name).unwrap().subset(&Source::new(folder.path()), choice).unwrap();
    let choice = Choice { shuffle: Some(3), ..Choice::new("test", 2, Some(11)) };
    let compiled = load("cifar10-sample", &choice);
    let tables = sample();
    for (k, rows) in tables.chunks(8).enumerate() {
        let bytes = table(rows, ["img", "label"], &CIFAR, Compression::SNAPPY, 3);
        fs::write(place.join(format!("test-0000{k}-of-00003.parquet")), bytes).unwrap();
    }
    let tabled = load("cifar10", &choice);
    assert_eq!((&tabled.digest, &tabled.classes), (&compiled.digest, &compiled.classes));

    let Some(shared) = shared_data("a thousand images as a table") else { return };
    let all = Choice::new("test", 0, Some(1000));
    let binary = data::find("cifar10").unwrap().subset(&Source::new(&shared), &all).unwrap();
    let rows: Vec<_> = (0..1000).map(|i| (png(binary.image(i), 32), binary.labels[i] as i64)).collect();
    fs::remove_dir_all(&place).unwrap();
    fs::create_dir_all(place.join("plain_text")).unwrap();
    let file = place.join("plain_text/test-00000-of-00001.parquet");
    fs::write(&file, table(&rows, ["img", "label"], &CIFAR, zstd(), 400)).unwrap();
    let began = std::time::Instant::now();
    let tabled = load("cifar10", &all);
    println!("1,000 images from a table of {} bytes: {:?}", fs::metadata(&file).unwrap().len(), began.elapsed());
    assert_eq!(tabled.digest, binary.digest);
    fs::write(&file, table(&[(png(&[0; 3 * 31 * 31], 31), 0)], ["img", "label"], &CIFAR, zstd(), 1)).unwrap();
    let wrong = data::find("cifar10").unwrap().subset(&Source::new(folder.path()), &Choice::new("test", 0, None));
    assert!(wrong.unwrap_err().to_string().contains("31×31 pixels, expected 32×32"));
}

#[test]
fn labels_become_imagenets() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, names: &[&str]| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let rows: Vec<(Vec<u8>, i64)> = (0..3).map(|i| (png(&[i as u8; 3 * 9 * 9], 9), i)).collect();
        fs::write(file, table(&rows, ["image", "label"], names, Compression::SNAPPY, 2)).unwrap();
    };
    let some = |name: &str, split: &str, take: Option<usize>| {
        let choice = Choice { split: split.into(), take, table: None, ..whole(TableRecord::default()) };
        data::find(name).unwrap().subset(&Source::new(folder.path()), &choice)
    };
    let load = |name: &str, split: &str| some(name, split, None);
    put("mini-imagenet/data/test-00000-of-00002.parquet", &["n02102040", "toaster", "church, church building"]);
    let mini = some("mini-imagenet", "test", Some(3)).unwrap();
    assert_eq!(
        (mini.labels.as_slice(), mini.classes.len(), mini.classes[859].as_str()),
        ([217, 859, 497].as_slice(), 1000, "toaster")
    );
    put("mini-imagenet/data/train-00000-of-00001.parquet", &["n02102040", "muffin", "church"]);
    assert!(
        load("mini-imagenet", "train")
            .unwrap_err()
            .to_string()
            .contains("class `muffin` of the file is none of ImageNet's")
    );
    put("mini-imagenet/data/test-00001-of-00002.parquet", &["n02102040", "church", "toaster"]);
    assert!(load("mini-imagenet", "test").unwrap_err().to_string().contains("other names than those of the first"));

    put("imagenette/320px/validation-00000-of-00001.parquet", &["parachute", "gas pump", "tench"]);
    assert_eq!(load("imagenette", "validation").unwrap().labels, [701, 571, 0]);
    // a mirror has all sizes
    put("imagenette/160px/validation-00000-of-00001.parquet", &["church", "church", "church"]);
    put("imagenette/full_size/validation-00000-of-00001.parquet", &["church", "church", "church"]);
    assert_eq!(load("imagenette", "validation").unwrap().labels, [701, 571, 0]);
    put("imagenette-160px/validation-00000-of-00001.parquet", &["church", "tench", "tench"]);
    assert_eq!(load("imagenette-160px", "validation").unwrap().labels, [497, 0, 0]);

    // what is not there is missed only where it is wanted
    put("imagenet-1k/data/validation-00001-of-00014.parquet", &["tench, Tinca tinca"]);
    let missing = some("imagenet-1k", "validation", Some(1)).unwrap_err().to_string();
    assert!(missing.contains("validation-00000-of-00014.parquet, though others"), "{missing}");
    put("imagenet-1k/data/validation-00000-of-00014.parquet", &["tench, Tinca tinca"]);
    assert_eq!(some("imagenet-1k", "validation", Some(6)).unwrap().labels, [0, 1, 2, 0, 1, 2]);
    let missing = load("imagenet-1k", "validation").unwrap_err().to_string();
    assert!(missing.contains("validation-00002-of-00014.parquet, though others"), "{missing}");
    assert!(load("imagenet-1k", "train").unwrap_err().to_string().contains("has no split `train`"));
}

const SWEEP: &str = r#"
name = "table"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "parquet", path = "PATH", resize = 32, CHOICE }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
transfer_to = ["vgg11-half-cifar10-robust"]
explain = true
"#;

#[test]
fn a_run_on_a_table_is_verified_from_its_record() {
    let beside = tempfile::tempdir().unwrap();
    let file = beside.path().join("own.parquet");
    fs::write(&file, table(&sample(), ["img", "label"], &CIFAR, zstd(), 6)).unwrap();
    let path = file.display().to_string();
    for (chosen, text) in [
        ("shuffle = 7, first = 2, take = 9", "parquet:all[2..11 shuffle=7]"),
        ("indices = [11, 3, 4]", "parquet:all[11 3 4]"),
    ] {
        let (folder, cells) =
            sweep(&SWEEP.replace("PATH", &path).replace("CHOICE", chosen), &Source::new("nowhere"), None);
        assert_eq!(cells[0].cell.data.text(), text);
        let kept = stored(folder.path(), &cells).remove(0);
        assert_eq!(kept.provenance.data_table, Some(at(&file)));
        assert_eq!(kept.outcomes.len(), cells[0].cell.data.take);
        let store = Store::open(folder.path()).unwrap();
        let check = || verify::verify(&store, &Source::new("nowhere"), &machine(None)).unwrap();
        assert!(check().problems.is_empty(), "{:?}", check().problems);
        let moved = beside.path().join("moved");
        fs::rename(&file, &moved).unwrap();
        // a file out of reach contradicts nothing: the run's own images are taken
        let findings = check();
        assert!(findings.problems.is_empty(), "{:?}", findings.problems);
        assert!(findings.absent[0].contains("put it back"), "{:?}", findings.absent);
        fs::rename(&moved, &file).unwrap();
    }
}

#[test]
fn keys_that_make_no_sense_are_refused_with_the_way_out() {
    let beside = tempfile::tempdir().unwrap();
    let file = beside.path().join("own.parquet");
    fs::write(&file, table(&sample(), ["img", "label"], &CIFAR, zstd(), 6)).unwrap();
    let good = SWEEP.replace("PATH", "own.parquet").replace("CHOICE", "take = 2");
    let problems = |text: &str| match plan::parse(&beside.path().join("x.toml"), text, &Source::new("nowhere")) {
        Err(Error::Config(problems)) => problems.join("\n"),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => String::new(),
    };
    assert_eq!(problems(&good), "");
    for (text, expected) in [
        (good.replace("own.parquet", "none.parquet"), "none.parquet, nor none.parquet, nor nowhere/none.parquet"),
        (
            good.replace("take = 2", "indices = [1], take = 2"),
            "`indices` says which images there are: it goes without `take`",
        ),
        (good.replace("take = 2", "indices = [1], shuffle = 2"), "it goes without `shuffle`"),
        (good.replace("take = 2", "indices = []"), "the list is empty"),
        (good.replace("take = 2", "indices = [1, 20]"), "`indices` has 20, expected 0 to 19"),
        (good.replace("take = 2", "indices = [1, -2]"), "expected a list of whole numbers from 0"),
        (good.replace("take = 2", "shuffle = \"x\""), "expected a whole number from 0"),
        (good.replace("take = 2", "sha256 = [\"ab\"]"), "expected 64 lower-case hexadecimal digits"),
        (good.replace("take = 2", "repository = \"a/b\""), "either `path` or `repository`"),
        (
            good.replace("take = 2", &format!("sha256 = [\"{}\"]", "0".repeat(64))),
            "`sha256` is for files of the Hub, and goes without `path`",
        ),
        (good.replace("take = 2", "revision = \"main\""), "`revision` is for files of the Hub"),
        (good.replace("take = 2", "files = \"*.parquet\""), "so `files` chooses none"),
        (good.replace("take = 2", "take = 0"), "`take` is the number of images: 1 at least (hint: without it, all)"),
        (good.replace("take = 2", "classes = 100001"), "`classes` is 100001, more than 100000"),
        (good.replace("take = 2", "label = \"img\""), "no column of whole numbers named `img`"),
        (
            good.replace(
                "name = \"parquet\", path = \"own.parquet\", resize = 32, take = 2",
                "name = \"cifar10-sample\", files = \"x\"",
            ),
            "dataset `cifar10-sample` has no `files` (hint: that is for parquet)",
        ),
    ] {
        let found = problems(&text);
        assert!(found.contains(expected), "{expected}: {found}");
    }
    // training images may come from the same order, not from another
    let patch = |shuffle: &str| {
        let (place, data) = ("path = \"own.parquet\", resize = 32", "name = \"parquet\"");
        format!(
            "name = \"p\"\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\n\
             data = {{ {data}, {place}, shuffle = 1, take = 10 }}\ntrain = {{ {data}, {place}, {shuffle}, first = 10 }}\n\
             goals = [\"target:toaster\"]\nthreats = [{{ norm = \"patch\", area = [\"5 %\"] }}]\n\
             attacks = [{{ name = \"patch\" }}]\n"
        )
        .replace("toaster", "ship")
    };
    assert_eq!(problems(&patch("shuffle = 1")), "");
    assert!(problems(&patch("shuffle = 2")).contains("training images are attacked too"));
}
