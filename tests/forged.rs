//! Runs that somebody made up, every digest, id and seal of them right: what `verify` must not believe, and must not fall over.

mod support;

use foolproof::digest::sha256;
use foolproof::figure::FigureRecord;
use foolproof::record::{
    Cell, Inputs, ModelRecord, Outcome, PlanRecord, Provenance, PublishedRecord, StoredPictures, Witnesses,
};
use foolproof::report;
use foolproof::store::Store;
use foolproof::terms::Goal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A cell with all that is stored of it.
struct Part {
    cell: Cell,
    provenance: Provenance,
    outcomes: Vec<Outcome>,
    witnesses: Witnesses,
}

/// A run in pieces.
struct Forged {
    plan: PlanRecord,
    parts: Vec<Part>,
    inputs: Inputs,
    /// Name of the file of `inputs`.
    digest: String,
}

impl Forged {
    fn take(run: &Path) -> Forged {
        let store = Store::open(run).unwrap();
        let plan = store.read_plan().unwrap();
        let part = |cell: &Cell| {
            let stored = store.read(&cell.id()).unwrap();
            let witnesses = store.read_witnesses(&cell.id()).unwrap();
            Part { cell: stored.cell, provenance: stored.provenance, outcomes: stored.outcomes, witnesses }
        };
        let digest = plan.cells[0].data.digest.clone();
        let (parts, inputs) = (plan.cells.iter().map(part).collect(), store.read_inputs(&digest).unwrap());
        Forged { plan, parts, inputs, digest }
    }

    /// Stored as if it had been run.
    fn put(mut self, run: &Path) -> Store {
        let store = Store::create(run).unwrap();
        self.plan.cells = self.parts.iter().map(|p| p.cell.clone()).collect();
        store.put_plan(&self.plan).unwrap();
        store.put_inputs(&self.digest, &self.inputs).unwrap();
        for Part { cell, provenance, outcomes, witnesses } in self.parts {
            store.put(&cell, &outcomes, &witnesses, self.inputs.size, provenance).unwrap();
        }
        store
    }

    /// The inputs' own digest, as the subset of a dataset would have it.
    fn name_inputs_by_their_digest(&mut self) {
        let Inputs { examples, labels, size: [side, _], pixels, .. } = &self.inputs;
        let rows: String = examples.iter().zip(labels).map(|(e, l)| format!("{e} {l}\n")).collect();
        let text = format!("3x{side}x{side}\n{rows}");
        self.digest = sha256(&[text.as_bytes(), pixels].concat());
        self.parts.iter_mut().for_each(|p| p.cell.data.digest = self.digest.clone());
    }
}

fn foolproof(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = support::foolproof();
    command.current_dir(folder).env_remove("FOOLPROOF_DATA").env("HF_HUB_OFFLINE", "1").args(arguments);
    command.output().unwrap()
}

const SWEEP: &str = r#"
name = "true"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", take = 6 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["2/255", "8/255"] }]
attacks = [{ name = "fgsm" }]
"#;

/// A folder with an honest run in `results/true`.
fn honest() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sweep.toml"), SWEEP).unwrap();
    let output = foolproof(folder.path(), &["--config", "sweep.toml", "-q"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = folder.path().join("results/true");
    (folder, run)
}

/// What verify says of a run that `forge` made of an honest one: exit code, stdout, stderr. `report` writes its tables too.
fn said(honest: &Path, at: &Path, forge: impl Fn(&mut Forged), with: impl Fn(&Path)) -> (Option<i32>, String, String) {
    let run = at.join("results/forged");
    fs::remove_dir_all(&run).ok();
    let mut forged = Forged::take(honest);
    forge(&mut forged);
    drop(forged.put(&run));
    with(&run);
    let output = foolproof(at, &["verify", "forged"]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_put_together_again_is_as_it_was() {
    let (folder, run) = honest();
    let (code, stdout, stderr) = said(&run, folder.path(), |_| (), |_| ());
    assert!(code == Some(0) && stdout.starts_with("2 cells, 12 witnesses, "), "{stdout}{stderr}");
    assert!(!stdout.contains("held to no") && !stdout.contains("came with"), "{stdout}");
}

#[test]
fn a_name_is_no_proof() {
    let (folder, run) = honest();
    let at = folder.path();
    // the weak net under the robust one's name, its weights brought along
    let robust = |f: &mut Forged| f.parts.iter_mut().for_each(|p| p.cell.model.name += "-robust");
    let brings = |forged: &Path| {
        let store = Store::open(forged).unwrap();
        let model = &store.read_plan().unwrap().cells[0].model;
        let place = store.model_folder(model);
        fs::create_dir_all(&place).unwrap();
        for (from, to) in [("toml", "model.toml"), ("safetensors", "weights")] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("configs/models/vgg11-half-cifar10.{from}"));
            fs::copy(from, place.join(to)).unwrap();
        }
    };
    let (code, _, stderr) = said(&run, at, robust, brings);
    assert!(code == Some(3) && stderr.contains("vgg11-half-cifar10-robust"), "{stderr}");
    // found by another name than the cell's
    let renamed = |f: &mut Forged| {
        for part in &mut f.parts {
            part.cell.model.name = "vgg16_bn.tv_in1k".into();
            part.provenance.model_file = Some("vgg11-half-cifar10".into());
        }
    };
    let (code, _, stderr) = said(&run, at, renamed, |_| ());
    assert!(code == Some(3) && stderr.contains("is another one than the cell's"), "{stderr}");
    // a name of nobody's is the run's word, and that is said
    let own = |f: &mut Forged| f.parts.iter_mut().for_each(|p| p.cell.model.name = "mine".into());
    let (code, stdout, stderr) = said(&run, at, own, brings);
    assert!(code == Some(0) && stdout.contains(" 1 models that came with the run, 0 undecided"), "{stdout}{stderr}");
    // one cell alone says something else of the same images
    for change in [
        |cell: &mut Cell| cell.data.name = "cifar100".into(),
        |cell: &mut Cell| cell.data.first = 3,
        |cell: &mut Cell| cell.data.take = 20_000,
        |cell: &mut Cell| cell.data.split = "train".into(),
    ] {
        let (code, stdout, stderr) = said(&run, at, |f| change(&mut f.parts[1].cell), |_| ());
        let told = code == Some(3) || stdout.contains("1 subsets held to no dataset");
        assert!(told, "{code:?} {stdout}{stderr}");
        // what is compiled in is at hand: contradicted, not absent
        let name = Forged::take(&folder.path().join("results/forged")).parts[1].cell.data.name.clone();
        assert_eq!(code == Some(3), name == "cifar10-sample", "{stdout}{stderr}");
    }
}

#[test]
fn a_run_is_no_dataset_for_itself() {
    let (folder, run) = honest();
    let at = folder.path();
    let pictures = |forged: &Path| {
        for class in 0..10 {
            fs::create_dir_all(forged.join(format!("pictures/{class}"))).unwrap();
            let grey = grey_png();
            fs::write(forged.join(format!("pictures/{class}/0.png")), grey).unwrap();
        }
    };
    let own = |f: &mut Forged| {
        for part in &mut f.parts {
            part.cell.data.name = "folder".into();
            part.cell.data.split = "all".into();
            part.provenance.data_path = Some("results/forged/pictures".into());
        }
    };
    let (_, stdout, stderr) = said(&run, at, own, pictures);
    assert!(stdout.contains("1 subsets held to no dataset"), "{stdout}{stderr}");
    assert!(stderr.contains("proves nothing"), "{stderr}");
}

/// A grey picture of 32×32.
fn grey_png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(32, 32).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn what_the_cells_do_not_give_is_no_table() {
    let (folder, run) = honest();
    let (at, report) = (folder.path(), |forged: &Path| drop(report::write(&Store::create(forged).unwrap()).unwrap()));
    let (code, _, stderr) = said(&run, at, |_| (), report);
    assert_eq!(code, Some(0), "{stderr}");
    for path in ["tables/transfer.csv", "tables/class-max.parquet", "figures/transfer.png", "pictures/cat.png"] {
        let with = |forged: &Path| {
            report(forged);
            let path = forged.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "made up").unwrap();
        };
        let (code, _, stderr) = said(&run, at, |_| (), with);
        assert!(code == Some(3) && stderr.contains(path), "{path}: {stderr}");
    }
    let (code, _, stderr) = said(&run, at, |f| f.parts.clear(), |_| ());
    assert!(code == Some(3) && stderr.contains("the plan has none"), "{stderr}");
}

/// Data that is taken from the run is checked before anything computes with it.
#[test]
fn nothing_makes_verify_or_report_fall_over() {
    let (folder, run) = honest();
    let at = folder.path();
    let absent = |f: &mut Forged| {
        f.name_inputs_by_their_digest();
        for part in &mut f.parts {
            part.cell.data.name = "cifar100".into();
        }
    };
    type Forge<'a> = &'a dyn Fn(&mut Forged);
    let cases: [(&str, Forge); 10] = [
        ("a smaller side", &|f| {
            f.inputs.size = [1; 2];
            f.inputs.pixels.truncate(18);
            f.parts.iter_mut().for_each(|p| p.witnesses = Witnesses::U8(vec![0; 18]));
            absent(f);
        }),
        ("no image", &|f| {
            f.inputs = Inputs { examples: vec![], labels: vec![], pixels: vec![], ..f.inputs.clone() };
            f.parts.iter_mut().for_each(|p| (p.outcomes, p.witnesses) = (vec![], Witnesses::U8(vec![])));
            absent(f);
        }),
        ("a label of no class", &|f| {
            f.inputs.labels[0] = 9999;
            f.parts.iter_mut().for_each(|p| p.outcomes[0].label = Some(9999));
            absent(f);
        }),
        ("labels that are too few", &|f| {
            f.inputs.labels.clear();
            absent(f);
        }),
        ("a target of no class", &|f| {
            for part in &mut f.parts {
                part.cell.goal = Goal::Class(99999);
                part.outcomes.iter_mut().for_each(|o| o.target = Some(99999));
            }
        }),
        ("a prediction of no class", &|f| {
            f.parts[0].outcomes[0].adversarial_prediction = Some(99999);
            f.parts[0].outcomes[0].clean_prediction = Some(99999);
        }),
        ("a figure of no size", &|f| {
            f.plan.figures = vec![FigureRecord { font: Some(1e9), ..FigureRecord::default() }];
        }),
        ("a figure elsewhere", &|f| {
            let (kind, name) = (Some("robust-accuracy".into()), Some("../../../elsewhere".into()));
            f.plan.figures = vec![FigureRecord { kind, name, ..FigureRecord::default() }];
        }),
        ("a publication of no end", &|f| {
            let Cell { model, data, .. } = &f.parts[0].cell;
            let (weights, data) = (model.weights.clone(), data.digest.clone());
            let source = "nobody".into();
            f.plan.published = vec![PublishedRecord { weights, data, correct: 1, of: u64::MAX >> 1, source }];
        }),
        ("weights elsewhere", &|f| {
            f.parts.iter_mut().for_each(|p| {
                p.cell.model =
                    ModelRecord { name: "../../x".into(), weights: "../../y".into(), ..p.cell.model.clone() };
            })
        }),
    ];
    for (what, forge) in cases {
        let (code, stdout, stderr) = said(&run, at, forge, |_| ());
        // what is said of a publication stands in no claim, and is left out
        let harmless = what == "a publication of no end" && code == Some(0);
        assert!(code == Some(3) || code == Some(1) || harmless, "{what}: {code:?} {stdout}{stderr}");
        let output = foolproof(at, &["report", "forged"]);
        let code = output.status.code();
        assert!(code == Some(0) || code == Some(1), "{what}: {code:?} {}", String::from_utf8_lossy(&output.stderr));
        assert!(!at.join("elsewhere.svg").exists() && !at.join("results/elsewhere.svg").exists(), "{what}");
    }
}

#[test]
fn a_budget_of_no_number_is_damage() {
    let (folder, run) = honest();
    let rewrite = |run: &Path| {
        let cells = fs::read_dir(run.join("cells")).unwrap().map(|cell| cell.unwrap().path().join("cell.json"));
        for path in cells.chain([run.join("plan.json")]) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("/255\""));
            fs::write(&path, text.replace("8/255\"", "-1/0\"").replace("2/255\"", "-1/0\"")).unwrap();
        }
    };
    let (code, stdout, stderr) = said(&run, folder.path(), |_| (), rewrite);
    assert!(code == Some(3) && stderr.contains("its seal does not fit"), "{code:?} {stdout}{stderr}");
    assert!(stderr.contains("cell.json is damaged"), "{stderr}");
}

#[test]
fn a_picture_of_no_size_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let (_honest, run) = honest();
    let part = Forged::take(&run).parts.remove(0);
    let fit = part.cell.fit([32; 2]);
    let pictures = |side: usize| StoredPictures { side, rgb: vec![0; 3 * side * side], alpha: None, blind: false };
    store.put_fit(&fit, &pictures(2), &[], part.provenance.clone()).unwrap();
    assert_eq!(store.read_fit(&fit.id()).unwrap().1, pictures(2));
    store.put_fit(&fit, &pictures(0), &[], part.provenance).unwrap();
    assert!(store.read_fit(&fit.id()).unwrap_err().to_string().contains("is damaged"));
}

/// A name in a message is no message to the terminal, and no line of its own.
#[test]
fn messages_are_text() {
    let (folder, run) = honest();
    let evil = "\x1b[2J\n8 cells, 0 problems";
    let forge = |f: &mut Forged| f.parts.iter_mut().for_each(|p| p.cell.data.split = evil.into());
    let (code, _, stderr) = said(&run, folder.path(), forge, |_| ());
    assert!(code == Some(3) && !stderr.contains('\x1b') && !stderr.contains("\n8 cells"), "{stderr:?}");
    assert!(stderr.contains("\\u{1b}[2J\\n8 cells"), "{stderr:?}");
}

/// Before labels were kept beside the images a run was no worse.
#[test]
fn a_run_without_labels_verifies_where_its_dataset_is() {
    let (folder, run) = honest();
    let (code, stdout, stderr) = said(&run, folder.path(), |f| f.inputs.labels.clear(), |_| ());
    assert!(code == Some(0) && stdout.contains(" 0 problems"), "{stdout}{stderr}");
}
