//! `export`: what others read of a run, held to what the run says, and the bundle, verified where nothing else is.

mod support;
#[path = "support/tables.rs"]
mod tables;
#[path = "support/vgg.rs"]
mod vgg;

use foolproof::digest::sha256;
use foolproof::record::{Outcome, StoredCell, Witnesses};
use foolproof::store::Store;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Output;
use tables::png;
use vgg::Head;

/// Attacks in two norms, one of them twice, targeted ones too, and a budget that the others do not know.
const SWEEP: &str = r#"
name = "shared"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted", "target:next"]
threats = [{ norm = "linf", eps = ["1/255", "8/255"] }, { norm = "l2", eps = ["0.25"] }]
attacks = [{ name = "noise" }, { name = "fgsm" }, { name = "pgd", steps = [2, 4], step_size = "2/255" }]
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "pixels", count = [1] }]
attacks = [{ name = "one-pixel", population = 10, generations = 1 }]
"#;

fn foolproof(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = support::foolproof();
    command.current_dir(folder).env_remove("FOOLPROOF_DATA").env("HF_HUB_OFFLINE", "1").args(arguments);
    command.output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> (String, String) {
    let output = foolproof(folder, arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn fails(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = foolproof(folder, arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn ran(sweep: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sweep.toml"), sweep).unwrap();
    ok(folder.path(), &["--config", "sweep.toml", "-q"]);
    folder
}

/// Cells of one model, norm and budget, in the order of the plan.
fn cells(run: &Path, model: &str, norm: &str, eps: &str) -> Vec<StoredCell> {
    let store = Store::open(run).unwrap();
    let plan = store.read_plan().unwrap();
    let wanted = plan.cells.iter().filter(|c| c.model.name == model && c.threat.norm == norm && c.threat.eps == eps);
    wanted.map(|c| store.read(&c.id()).unwrap()).collect()
}

/// What stands of 20 images after each of these cells, worked out image by image.
fn standing(cells: &[StoredCell]) -> Vec<usize> {
    let mut stands: BTreeMap<usize, bool> = BTreeMap::new();
    let right = |o: &Outcome| o.clean_prediction == o.label;
    stands.extend(cells.iter().flat_map(|c| &c.outcomes).map(|o| (o.example, right(o))));
    assert_eq!(stands.len(), 20);
    let mut counts = vec![stands.values().filter(|s| **s).count()];
    for cell in cells {
        for o in &cell.outcomes {
            *stands.get_mut(&o.example).unwrap() &= o.adversarial_prediction == o.label;
        }
        counts.push(stands.values().filter(|s| **s).count());
    }
    counts
}

#[test]
fn robustbench_and_autoattack_get_the_worst_case_over_all_attacks() {
    let folder = ran(SWEEP);
    let (at, run) = (folder.path(), folder.path().join("results/shared"));
    let (files, notes) = ok(at, &["export", "shared", "--format", "robustbench-json", "--to", "rb"]);
    assert_eq!(files.lines().count(), 2 * 3, "{files}");
    assert!(notes.contains("1 cells left out: neither Linf nor L2"), "{notes}");
    let (logs, _) = ok(at, &["export", "shared", "--format", "autoattack-log", "--to", "aa"]);
    assert_eq!(logs.lines().count(), 2 * 3, "{logs}");
    for model in ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"] {
        for (norm, theirs, eps) in [("linf", "Linf", "1/255"), ("linf", "Linf", "8/255"), ("l2", "L2", "0.25")] {
            let cells = cells(&run, model, norm, eps);
            assert_eq!(cells.len(), 8);
            let counts = standing(&cells);
            let percent = |k: usize| format!("{:.2}", k as f64 * 5.0);
            let name = format!("{model}_cifar10-sample_{theirs}_eps-{}", eps.replace('/', "_"));
            let path = at.join(format!("rb/model_info/cifar10-sample/{theirs}/{name}.json"));
            let entry: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let text = |key: &str| entry[key].as_str().unwrap_or_else(|| panic!("{key}: {entry}")).to_string();
            assert_eq!(text("clean_acc"), percent(counts[0]));
            assert_eq!((text("external"), text("reported")), (percent(counts[8]), percent(counts[8])));
            assert_eq!(
                (text("eps"), text("dataset"), text("name")),
                (eps.into(), "cifar10-sample".into(), model.into())
            );
            assert!(text("footnote").contains("20 images") && text("footnote").contains("steps=4"));
            for key in ["link", "authors", "venue", "architecture"] {
                assert!(!text(key).is_empty());
            }
            assert!(entry["unreliable"].is_boolean() && entry["number_forward_passes"] == 1);
            assert!(entry.get("autoattack_acc").is_none(), "it was not AutoAttack");

            let log = fs::read_to_string(at.join(format!("aa/{name}.log"))).unwrap();
            let mut lines = log.lines().skip(1);
            assert!(lines.next().unwrap().starts_with("using custom version including noise, "));
            assert_eq!(lines.next().unwrap(), format!("initial accuracy: {}%", percent(counts[0])));
            let ended = counts[1..].iter().position(|k| *k == 0).map_or(8, |k| k + 1);
            for k in 0..ended {
                let (broken, left) = (counts[k] - counts[k + 1], counts[k]);
                let line = lines.next().unwrap();
                let expected = format!(" - 1/1 - {broken} out of {left} successfully perturbed");
                assert!(line.ends_with(&expected), "{line} /{expected}");
                let line = lines.next().unwrap();
                assert!(line.starts_with("robust accuracy after ") && line.ends_with(" s)"), "{line}");
                assert!(line.contains(&format!(": {}% (total time ", percent(counts[k + 1]))), "{line}");
            }
            let last = lines.next().unwrap();
            assert_eq!(last, format!("max {theirs} perturbation: {}", extremes(&run, &cells, norm)));
            assert_eq!(lines.next().unwrap(), format!("robust accuracy: {}%", percent(counts[8])));
            assert_eq!(lines.next(), None);
        }
    }
    let attacks: Vec<&str> = logs.lines().map(|path| path.split('/').next_back().unwrap()).collect();
    assert_eq!(attacks.iter().collect::<std::collections::BTreeSet<_>>().len(), 6, "each has a name of its own");
}

/// AutoAttack's last check, from the stored images: first wrong witness of each image, else the clean image.
fn extremes(run: &Path, cells: &[StoredCell], norm: &str) -> String {
    let store = Store::open(run).unwrap();
    let inputs = store.read_inputs(&cells[0].cell.data.digest).unwrap();
    let values = 3 * inputs.side * inputs.side;
    let (mut distance, mut most, mut least) = (0.0f64, 0u8, 255u8);
    for (i, example) in inputs.examples.iter().enumerate() {
        let clean = &inputs.pixels[i * values..(i + 1) * values];
        let mut image = clean.to_vec();
        for cell in cells {
            let row = cell.outcomes.iter().position(|o| o.example == *example);
            let Some(row) = row.filter(|row| {
                let o = &cell.outcomes[*row];
                o.clean_prediction == o.label && o.adversarial_prediction != o.label
            }) else {
                continue;
            };
            let Witnesses::U8(all) = store.read_witnesses(&cell.cell.id()).unwrap() else { panic!("8-bit") };
            image = all[row * values..(row + 1) * values].to_vec();
            break;
        }
        let change = || clean.iter().zip(&image).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs() / 255.0);
        let here =
            if norm == "l2" { change().map(|d| d * d).sum::<f64>().sqrt() } else { change().fold(0.0, f64::max) };
        distance = distance.max(here);
        most = most.max(*image.iter().max().unwrap());
        least = least.min(*image.iter().min().unwrap());
    }
    let [most, least] = [most, least].map(|v| f64::from(v) / 255.0);
    format!("{distance:.5}, nan in tensor: 0, max: {most:.5}, min: {least:.5}")
}

#[test]
fn a_worst_case_needs_every_cell() {
    let folder = ran(SWEEP);
    let (at, run) = (folder.path(), folder.path().join("results/shared"));
    let gone = cells(&run, "vgg11-half-cifar10", "linf", "8/255")[1].cell.id();
    fs::remove_dir_all(run.join("cells").join(&gone)).unwrap();
    for format in ["robustbench-json", "autoattack-log"] {
        let (code, problem) = fails(at, &["export", "shared", "--format", format]);
        assert!(code == Some(1) && problem.contains(&gone) && problem.contains("missing"), "{problem}");
    }
    assert!(!at.join("export").exists(), "nothing is half written");
    let (_, notes) = ok(at, &["export", "shared", "--format", "parquet"]);
    assert!(notes.contains("1 cells have no rows"), "{notes}");
    let (_, notes) = ok(at, &["export", "shared", "--format", "tar"]);
    assert!(notes.contains("1 cells are missing"), "{notes}");
    let (code, problem) = fails(at, &["export", "shared", "--format", "yaml"]);
    assert!(code == Some(1) && problem.contains("robustbench-json"), "{problem}");
    let (code, problem) = fails(at, &["export", "nothing", "--format", "tar"]);
    assert!(code == Some(1) && problem.contains("no run at nothing"), "{problem}");
}

#[test]
fn the_table_has_every_row_with_its_cell() {
    let folder = ran(SWEEP);
    let (at, run) = (folder.path(), folder.path().join("results/shared"));
    ok(at, &["export", "shared", "--format", "parquet"]);
    let file = SerializedFileReader::new(fs::File::open(at.join("export/shared.parquet")).unwrap()).unwrap();
    let rows: Vec<BTreeMap<String, Field>> =
        file.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns().into_iter().collect()).collect();
    let store = Store::open(&run).unwrap();
    let plan = store.read_plan().unwrap();
    let stored: Vec<StoredCell> = plan.cells.iter().map(|c| store.read(&c.id()).unwrap()).collect();
    assert_eq!(rows.len(), stored.iter().map(|c| c.outcomes.len()).sum::<usize>());
    let expected = stored.iter().flat_map(|c| c.outcomes.iter().map(move |o| (&c.cell, o)));
    for (row, (cell, o)) in rows.iter().zip(expected) {
        let text = |text: &str| Field::Str(text.into());
        let number = |v: Option<f64>| v.map_or(Field::Null, Field::Double);
        // written as the shortest decimal that is the f32, read as f64
        let single = |v: Option<f32>| number(v.map(|v| v.to_string().parse().unwrap()));
        let count = |v: Option<usize>| v.map_or(Field::Null, |v| Field::Long(v as i64));
        for (name, field) in [
            ("run", text(&plan.run_id())),
            ("cell", text(&cell.id())),
            ("model", text(&cell.model.name)),
            ("weights", text(&cell.model.weights)),
            ("attack", text(&cell.attack.name)),
            ("params", if cell.params().is_empty() { Field::Null } else { text(&cell.params()) }),
            ("eps", text(&cell.threat.eps)),
            ("goal", text(&cell.goal)),
            ("seed", count(Some(0))),
            ("weights_pinned", text("yes")),
            ("example", count(Some(o.example))),
            ("label", count(o.label)),
            ("target", count(o.target)),
            ("adversarial_prediction", count(o.adversarial_prediction)),
            ("success", o.success.map_or(Field::Null, Field::Bool)),
            ("l2", number(o.l2)),
            ("margin_adversarial", single(o.margin_adversarial)),
            ("target_probability_adversarial", single(o.target_probability_adversarial)),
            ("target_rank_clean", count(o.target_rank_clean)),
            ("forwards", number(Some(o.forwards as f64))),
            ("flags", if o.flags.is_empty() { Field::Null } else { text(&o.flags) }),
        ] {
            assert_eq!(row[name], field, "{name} of {} {}", cell.id(), o.example);
        }
        let value = |name: &str| match row[name] {
            Field::Double(v) => v,
            ref other => panic!("{name}: {other:?}"),
        };
        let eps = [("1/255", 1.0 / 255.0), ("8/255", 8.0 / 255.0), ("0.25", 0.25), ("1", 1.0)];
        assert_eq!(value("eps_value"), eps.iter().find(|(t, _)| *t == cell.threat.eps).unwrap().1);
    }
}

/// A run on pictures and a model of somebody's own, with transfers and maps; the sweep's folder.
fn own() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let sample = foolproof::data::find("cifar10-sample").unwrap();
    let source = foolproof::data::Source::new("nowhere");
    let sample = sample.subset(&source, &foolproof::data::Choice::new("test", 0, None)).unwrap();
    for i in 0..20 {
        // the sample lacks two classes of ten
        let class = at.join(format!("pictures/{}", i % 10));
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{i}.png")), png(sample.image(i), 32)).unwrap();
    }
    fs::create_dir_all(at.join("configs/models/deep")).unwrap();
    let weights = vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(10)));
    fs::write(at.join("configs/models/deep/mine.bin"), &weights).unwrap();
    let model = "family = \"vgg11\"\nwidth = 0.015625\nhead = \"linear\"\nclasses = 10\nside = 32\n\
                 mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\nweights = \"deep/../deep/mine.bin\"\n";
    fs::write(at.join("configs/models/mine.toml"), model).unwrap();
    let sweep = r#"
name = "own"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "folder", path = "pictures", resize = 32 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
transfer_to = ["mine"]
explain = true
"#;
    fs::write(at.join("sweep.toml"), sweep).unwrap();
    ok(at, &["--config", "sweep.toml", "-q"]);
    folder
}

#[test]
fn a_bundle_is_verified_where_nothing_else_is() {
    let folder = own();
    let at = folder.path();
    let (line, _) = ok(at, &["export", "own", "--format", "tar"]);
    assert_eq!(line.trim_end(), "export/own.tar");
    let bundle = at.join("export/own.tar");
    let bytes = fs::read(&bundle).unwrap();
    ok(at, &["export", "own", "--format", "tar"]);
    assert!(bytes == fs::read(&bundle).unwrap(), "the same run gives the same bytes");
    assert!(fs::read_dir(at.join("export")).unwrap().count() == 1);

    let elsewhere = tempfile::tempdir().unwrap();
    let there = elsewhere.path();
    fs::copy(&bundle, there.join("own.tar")).unwrap();
    let (said, why) = ok(there, &["verify", "own.tar"]);
    assert!(said.starts_with("1 cells, 20 witnesses, ") && said.contains(" 0 problems"), "{said}");
    assert!(said.contains("20 transfers, 40 maps verified, 1 subsets held to no dataset,"), "{said}");
    assert!(why.contains("were taken from the run: ") && why.contains("pictures"), "{why}");
    assert_eq!(fs::read_dir(there).unwrap().count(), 1, "nothing is left behind");
    // at home the dataset is there, and held to
    let (said, _) = ok(at, &["verify", "export/own.tar"]);
    assert!(said.contains(" 0 problems") && !said.contains("held to no dataset"), "{said}");

    // unpacked by whatever tool, each file is as it was sent
    tar::Archive::new(bytes.as_slice()).unpack(there).unwrap();
    let root = there.join("own");
    let sums = fs::read_to_string(root.join("SHA256SUMS")).unwrap();
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        assert_eq!(sha256(&fs::read(root.join(path)).unwrap()), sum, "{path}");
    }
    let mut files = Vec::new();
    list(&root, &mut files);
    assert_eq!(files.len(), sums.lines().count() + 1, "the sums name every other file");
    assert!(!files.iter().any(|f| f.ends_with("lock")));
    ok(there, &["verify", "own"]);

    // a model, a witness, a clean image that is not what the cells say
    for (what, find, code) in
        [("model", "weights", "mine"), ("witness", "witnesses.safetensors", "damaged"), ("clean", "inputs", "pictures")]
    {
        let copy = tempfile::tempdir().unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(copy.path()).unwrap();
        let mut files = Vec::new();
        list(&copy.path().join("own"), &mut files);
        let path = files.iter().find(|f| f.to_string_lossy().contains(find)).unwrap();
        let mut forged = fs::read(path).unwrap();
        let middle = forged.len() / 2;
        forged[middle] ^= 1;
        fs::write(path, forged).unwrap();
        let (status, problem) = fails(copy.path(), &["verify", "own"]);
        assert!(status == Some(3) && problem.contains(code), "{what}: {problem}");
    }
}

#[test]
fn weights_may_stay_at_home() {
    let folder = own();
    let (at, models) = (folder.path(), "configs/models");
    let (_, note) = ok(at, &["export", "own", "--format", "tar", "--without-weights"]);
    assert!(note.contains("model `mine`: verify needs a weight file with SHA-256 "), "{note}");
    let elsewhere = tempfile::tempdir().unwrap();
    let there = elsewhere.path();
    fs::copy(at.join("export/own.tar"), there.join("own.tar")).unwrap();
    let (code, problem) = fails(there, &["verify", "own.tar"]);
    assert!(code == Some(3) && problem.contains("mine"), "{problem}");
    fs::create_dir_all(there.join("datasets/models/deep")).unwrap();
    fs::copy(at.join(models).join("deep/mine.bin"), there.join("datasets/models/deep/mine.bin")).unwrap();
    ok(there, &["verify", "own.tar"]);
    // others than the run's are no part of a bundle
    fs::write(
        at.join(models).join("deep/mine.bin"),
        vgg::safetensors(&vgg::tensors("vgg11", 1.0 / 64.0, Head::Linear(9))),
    )
    .unwrap();
    let (code, problem) = fails(at, &["export", "own", "--format", "tar"]);
    assert!(code == Some(1) && problem.contains("mine") && problem.contains("--without-weights"), "{problem}");
    fs::remove_file(at.join(models).join("mine.toml")).unwrap();
    let (code, problem) = fails(at, &["export", "own", "--format", "tar"]);
    assert!(code == Some(1) && problem.contains("mine") && problem.contains("--without-weights"), "{problem}");
}

/// Every file below.
fn list(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() { list(&entry, found) } else { found.push(entry) }
    }
}

#[test]
fn a_hostile_bundle_writes_nothing_outside_its_folder() {
    let entry = |path: &str, kind: tar::EntryType, link: &str| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(if kind.is_file() { 4 } else { 0 });
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        if kind.is_file() {
            bytes.extend([b"evil".as_slice(), &[0; 508]].concat());
        }
        bytes
    };
    let end = vec![0; 1024];
    let plain = entry("run/cells/a", tar::EntryType::Regular, "");
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (what, bytes) in [
        ("above", [entry("run/../../evil", tar::EntryType::Regular, ""), end.clone()].concat()),
        ("absolute", [entry("/tmp/evil-foolproof", tar::EntryType::Regular, ""), end.clone()].concat()),
        ("link", [entry("run/cells", tar::EntryType::Symlink, "/tmp"), plain.clone(), end.clone()].concat()),
        ("hard link", [entry("run/cells/b", tar::EntryType::Link, "/etc/passwd"), end.clone()].concat()),
        ("device", [entry("run/cells/b", tar::EntryType::Char, ""), end.clone()].concat()),
        ("two folders", [plain.clone(), entry("other/a", tar::EntryType::Regular, ""), end.clone()].concat()),
        ("cut off", plain[..600].to_vec()),
        ("nothing", end.clone()),
        ("no tar", b"certainly not".repeat(100)),
        ("empty", Vec::new()),
    ] {
        fs::write(at.join("bad.tar"), bytes).unwrap();
        let (code, problem) = fails(at, &["verify", "bad.tar"]);
        assert!(code == Some(1) && problem.contains("bad.tar"), "{what}: {code:?} {problem}");
        assert_eq!(fs::read_dir(at).unwrap().count(), 1, "{what}");
        assert!(!Path::new("/tmp/evil-foolproof").exists() && !at.parent().unwrap().join("evil").exists(), "{what}");
    }
}

#[test]
fn a_bundle_comes_out_as_it_went_in() {
    let folder = ran(SWEEP);
    let at = folder.path();
    ok(at, &["export", "shared", "--format", "tar"]);
    let mut names = Vec::new();
    let mut archive = tar::Archive::new(fs::File::open(at.join("export/shared.tar")).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().strip_prefix("shared").unwrap().to_path_buf();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let own = ["README.txt", "SHA256SUMS"].map(Path::new).contains(&path.as_path());
        assert!(own || bytes == fs::read(at.join("results/shared").join(&path)).unwrap(), "{}", path.display());
        names.push(path);
    }
    let mut files = Vec::new();
    list(&at.join("results/shared"), &mut files);
    assert_eq!(names.len(), files.len() - 1 + 2, "all but the lock, and two of its own; the models are compiled in");
    let (said, _) =
        ok(tempfile::tempdir().unwrap().path(), &["verify", at.join("export/shared.tar").to_str().unwrap()]);
    assert!(said.contains("49 cells") && said.contains(" 0 problems"), "{said}");
}
