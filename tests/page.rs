//! `report.html`: it needs nothing but itself, nothing of a run becomes markup, it stays small, and it works in a browser.

#[path = "support/made_up.rs"]
mod made_up;
mod support;

use foolproof::analysis::{Run, ladder};
use foolproof::digest;
use foolproof::record::{
    AttackRecord, Cell, DataRecord, Explained, Explanation, Inputs, ModelRecord, Outcome, Provenance, Witnesses,
};
use foolproof::report;
use foolproof::store::Store;
use foolproof::terms::{Budget, Norm};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use support::stream;

/// A name that would like to be markup.
const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--";

/// A run made of numbers, without a net.
struct Synthetic {
    models: Vec<String>,
    classes: Vec<String>,
    attacks: Vec<(String, Vec<(String, String)>)>,
    budgets: Vec<String>,
    images: usize,
    side: usize,
    explained: bool,
    norm: Norm,
    /// Whether (attack, budget, example) is fooled, of so many budgets.
    fooled: fn([usize; 3], usize) -> bool,
}

fn small() -> Synthetic {
    let classes = (0..10).map(|c| format!("class {c}")).collect();
    let attack = |name: &str, steps: &str| (name.to_string(), vec![("steps".to_string(), steps.to_string())]);
    Synthetic {
        models: vec!["net-a".into(), "net-b".into()],
        classes,
        attacks: vec![attack("fgsm", "1"), attack("pgd", "10"), attack("pgd", "40")],
        budgets: vec!["2/255".into(), "4/255".into(), "8/255".into()],
        images: 12,
        side: 16,
        explained: true,
        norm: Norm::Linf,
        // the later a budget stands, the more
        fooled: |[_, budget, example], budgets| example % (budgets + 1) <= budget,
    }
}

fn outcome(example: usize, fooled: bool, classes: usize) -> Outcome {
    let (label, other) = (example % classes, (example + 1) % classes);
    let stands = made_up::standing(example, label);
    match fooled {
        false => stands,
        true => Outcome {
            adversarial_prediction: Some(other),
            success: Some(true),
            margin_adversarial: Some(-0.5),
            label_probability_adversarial: Some(0.3),
            ..stands
        },
    }
}

impl Synthetic {
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for model in &self.models {
            for (attack, params) in &self.attacks {
                for eps in &self.budgets {
                    let usual = made_up::cell();
                    cells.push(Cell {
                        model: ModelRecord {
                            name: model.clone(),
                            weights: digest::sha256(model.as_bytes()),
                            ..usual.model
                        },
                        data: DataRecord { take: self.images, digest: "d".repeat(64), ..usual.data },
                        attack: AttackRecord {
                            name: attack.clone(),
                            params: params.iter().cloned().collect(),
                            ..usual.attack
                        },
                        threat: made_up::threat(self.norm, eps),
                        ..usual
                    });
                }
            }
        }
        cells
    }

    /// Stores it.
    fn store(&self, folder: &Path) -> Store {
        let store = Store::create(folder).unwrap();
        let values = 3 * self.side * self.side;
        let mut pixels = stream("pixels");
        let clean: Vec<u8> = (0..self.images * values).map(|_| pixels.below(240) as u8).collect();
        let cells = self.cells();
        store.put_plan(&made_up::plan("made-up", &cells)).unwrap();
        let inputs = Inputs {
            examples: (0..self.images).collect(),
            labels: (0..self.images).map(|i| i % self.classes.len()).collect(),
            classes: self.classes.clone(),
            size: [self.side; 2],
            pixels: clean.clone(),
        };
        store.put_inputs(&cells[0].data.digest, &inputs).unwrap();
        for (i, cell) in cells.iter().enumerate() {
            let budgets = self.budgets.len();
            let fooled =
                |example: usize| (self.fooled)([i / budgets % self.attacks.len(), i % budgets, example], budgets);
            let rows: Vec<Outcome> =
                (0..self.images).map(|e| outcome(e, fooled(e), self.classes.len().max(1))).collect();
            // 8 levels in the first cell, and not the same in its neighbours
            let attacked = Witnesses::U8(clean.iter().map(|v| v + 8 + (i % 8) as u8).collect());
            store.put(cell, &rows, &attacked, [self.side; 2], made_up::provenance()).unwrap();
            if self.explained {
                let row = |example| Explained {
                    example,
                    maximum_clean: 1.0,
                    maximum_adversarial: 1.0,
                    correlation: Some(0.5),
                    share_clean: None,
                    share_adversarial: None,
                };
                let map: Vec<f32> = (0..self.images * 16).map(|v| (v % 16) as f32).collect();
                let rows = (0..self.images).map(row).collect();
                let maps = Explanation {
                    rows,
                    layer: Some("features.14".into()),
                    size: [4; 2],
                    clean: map.clone(),
                    adversarial: map,
                };
                store.put_explanation(&cell.id(), &maps, made_up::provenance()).unwrap();
            }
        }
        store
    }
}

fn page_of(store: &Store) -> String {
    report::write(store).unwrap();
    String::from_utf8(store.read_bytes("report.html").unwrap()).unwrap()
}

/// What stands between `from` and `to`, each time.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from).skip(1).filter_map(|rest| rest.split(to).next()).collect()
}

#[test]
fn what_is_not_pinned_is_the_first_warning() {
    let folder = tempfile::tempdir().unwrap();
    let store = small().store(folder.path());
    let page = || String::from_utf8(report::render(&Run::read(&store).unwrap()).unwrap().pop().unwrap().1).unwrap();
    assert!(!page().contains("not pinned"));
    let mut plan = store.read_plan().unwrap();
    plan.unpinned = vec![HOSTILE.into()];
    plan.unpinned_data = vec!["d".repeat(64)];
    plan.cells.pop();
    store.put_plan(&plan).unwrap();
    let page = page();
    let warnings: Vec<&str> = page.split("<li class=\"").skip(1).take(3).collect();
    assert!(
        warnings[0].contains("Weights of model `&lt;/script&gt;") && warnings[0].contains("weights_pinned"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("Files of dataset `made-up:test[0..12]`") && warnings[1].contains("data_pinned"));
    assert!(warnings[..2].iter().all(|w| w.contains("foolproof fetch")));
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = small().store(folder.path());
    let page = page_of(&store);
    assert!(page.starts_with("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;"));
    // no element fetches anything: pictures in figures are data, and links lead to places on the page or files of the run
    let markup: String = {
        let mut rest = page.clone();
        for script in between(&page, "<script", "</script>") {
            rest = rest.replace(script, "");
        }
        rest
    };
    let sources = between(&markup, " src=\"", "\"");
    assert!(!sources.is_empty() && sources.iter().all(|s| s.starts_with("data:image/png;base64,")));
    assert_eq!(markup.matches("url(").count() + markup.matches("@import").count(), 0);
    assert_eq!(
        markup.matches("<link").count() + markup.matches("<iframe").count() + markup.matches("<object").count(),
        0
    );
    let targets: BTreeSet<&str> = between(&markup, "href=\"", "\"").into_iter().collect();
    assert!(targets.len() > 30);
    for target in targets {
        match target.strip_prefix('#') {
            Some(id) => assert!(page.contains(&format!("id=\"{id}\"")), "{target}"),
            None if target.starts_with("data:image/png;base64,") => {}
            None => assert!(folder.path().join(target).is_file(), "{target}"),
        }
    }
    for address in ["http://", "https://", "//cdn"] {
        let found: Vec<&str> =
            page.match_indices(address).map(|(at, _)| &page[at..(at + 30).min(page.len())]).collect();
        assert!(found.iter().all(|a| a.starts_with("http://www.w3.org/")), "{found:?}");
    }
    // the one script that runs is the one that the policy names
    let script = page.rsplit("<script>").next().unwrap().split("</script>").next().unwrap();
    let digest = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest::sha256_bytes(script.as_bytes()));
    assert!(page.contains(&format!("script-src &#39;sha256-{digest}&#39;;")));
    assert!(!page[..page.find("<style>").unwrap()].contains("unsafe-inline&#39;; script"), "no other script");
}

#[test]
fn every_cell_of_the_table_has_its_place_and_says_how_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let run = small();
    let page = page_of(&run.store(folder.path()));
    for cell in run.cells() {
        let id = cell.id();
        assert_eq!(page.matches(&format!("<details id=\"cell-{id}\"")).count(), 1);
        assert!(page.matches(&format!("href=\"#cell-{id}\"")).count() >= 9, "each of its numbers leads there");
        assert!(page.contains(&format!("href=\"cells/{id}/provenance.json\"")));
    }
    assert!(page.contains("foolproof verify made-up") && page.contains("foolproof --config"));
    // law 3: what differs from machine to machine stands in provenance.json alone
    for word in ["time_s", "finished_unix", "threads&quot;", &folder.path().display().to_string()] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn nothing_of_a_run_becomes_markup() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = small();
    run.models[0] = HOSTILE.into();
    run.classes = (0..10).map(|c| format!("{HOSTILE}{c}")).collect();
    run.attacks[1].0 = HOSTILE.into();
    run.attacks[2].1.push((HOSTILE.into(), HOSTILE.into()));
    let store = run.store(folder.path());
    let failed = Cell { seed: 1, ..run.cells()[0].clone() };
    let mut cells = run.cells();
    cells.push(failed.clone());
    store.put_plan(&made_up::plan("made-up", &cells)).unwrap();
    store.put_failed(&failed, Provenance { error: Some(HOSTILE.into()), ..made_up::provenance() }).unwrap();
    let page = page_of(&store);
    assert_eq!(page.matches("<script").count(), 2, "the data and the script");
    assert_eq!(page.matches("</script").count(), 2);
    assert_eq!(page.matches("<!--").count(), 0);
    let ours = page.matches("<img id=").count() + page.matches("<img class=\"thumb\" alt=\"").count();
    assert_eq!(page.matches("<img").count(), ours);
    assert!(page.contains("&lt;img src=x onerror=alert(2)&gt;"), "it is there as text");
    let figures = between(&page, "<svg", "</svg>");
    assert!(figures.len() >= 3);
    for figure in figures {
        let text = format!("<svg{figure}</svg>");
        let parsed = roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{e}: {}", &text[..300]));
        let names: BTreeSet<&str> =
            parsed.descendants().filter(|n| n.is_element()).map(|n| n.tag_name().name()).collect();
        assert!(
            names.is_subset(
                &[
                    "svg", "title", "metadata", "figure", "rect", "text", "line", "polyline", "polygon", "circle",
                    "path", "image", "g",
                ]
                .into()
            ),
            "{names:?}"
        );
    }
    // the data reads back as it was
    let data = between(&page, "id=\"gallery-data\">", "</script>")[0];
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert!(data["scenes"][0]["name"].as_str().unwrap().starts_with(HOSTILE));
}

#[test]
fn the_same_cells_give_the_same_page() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (small().store(one.path()), small().store(two.path()));
    let page = page_of(&first);
    assert!(page == page_of(&second) && page == page_of(&first));
    let of_render = report::render(&Run::read(&first).unwrap()).unwrap();
    assert!(of_render.iter().any(|(path, bytes)| path == "report.html" && bytes == page.as_bytes()), "verify sees it");
    // every figure has its place on it, with its files
    let figures: Vec<&str> = of_render.iter().filter_map(|(path, _)| path.strip_suffix(".svg")).collect();
    assert!(["figures/robust-accuracy", "figures/cost", "figures/gallery"].iter().all(|f| figures.contains(f)));
    for figure in figures {
        assert!(["svg", "pdf", "csv"].iter().all(|end| page.contains(&format!("href=\"{figure}.{end}\""))), "{figure}");
    }
}

/// The card of a model.
fn card<'a>(page: &'a str, model: &str) -> &'a str {
    let head = format!("<article class=\"answer\"><h3>{model}</h3>");
    let at = page.find(&head).unwrap_or_else(|| panic!("no card of {model}"));
    page[at..].split("</article>").next().unwrap()
}

/// A table of the run by the names of its columns.
fn rows(store: &Store, table: &str) -> Vec<BTreeMap<String, String>> {
    let bytes = store.read_bytes(table).unwrap();
    csv::Reader::from_reader(bytes.as_slice()).into_deserialize().map(Result::unwrap).collect()
}

#[test]
fn warnings_stand_above_the_cards_then_figures_then_tables() {
    let folder = tempfile::tempdir().unwrap();
    let run = small();
    let store = run.store(folder.path());
    let ids =
        |page: &str| -> Vec<String> { between(page, "<section id=\"", "\"").into_iter().map(String::from).collect() };
    let order = ["warnings", "cards", "figures", "gallery", "summary", "tables", "cells", "commands"];
    let page = page_of(&store);
    let complaints = ladder::complaints(&Run::read(&store).unwrap().sanity).len();
    assert_eq!(complaints, 0, "nothing to warn of");
    assert_eq!(ids(&page), order[1..], "no heading without a warning below it");
    assert!(!page.contains("#warnings") && page.contains("relations of the sanity ladder apply"));
    // a failed cell is a warning
    store
        .put_failed(&run.cells()[0], Provenance { error: Some("out of luck".into()), ..made_up::provenance() })
        .unwrap();
    let page = page_of(&store);
    assert_eq!(ids(&page), order);
    assert!(page.contains("href=\"#warnings\""));
}

/// Three attacks that fool different images: at 8/255 of twelve the 1st three, the 2nd four, the 3rd two, and six in all.
#[test]
fn a_card_has_the_worst_case_over_the_attacks_that_the_tables_give() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = small();
    run.fooled = |[attack, budget, example], _| budget > 0 && example % [4, 3, 6][attack] == 0;
    let store = run.store(folder.path());
    let page = page_of(&store);
    let of_budget = |row: &&BTreeMap<String, String>| row["model"] == "net-b" && row["eps"] == "8/255";
    let (summary, images) = (rows(&store, "tables/summary.csv"), rows(&store, "tables/images.csv"));
    let cells: Vec<_> = summary.iter().filter(of_budget).collect();
    let broken: BTreeSet<&str> = images
        .iter()
        .filter(|row| row["success"] == "true" && cells.iter().any(|cell| cell["cell"] == row["cell"]))
        .map(|row| row["example"].as_str())
        .collect();
    let strongest = cells.iter().min_by_key(|row| row["robust_correct"].parse::<usize>().unwrap()).unwrap();
    let (n, alone) = (cells[0]["n"].parse::<usize>().unwrap(), strongest["robust_correct"].parse::<usize>().unwrap());
    let robust = n - broken.len();
    assert_eq!((n, robust, alone, strongest["params"].as_str()), (12, 6, 8, "steps=10"));
    let (low, high) = foolproof::statistics::wilson(robust, n);
    let card = card(&page, "net-b");
    let number = format!(
        "<dt>Linf 8/255</dt><dd><strong>50.0 %</strong> robust (6 of 12), interval {:.1} to {:.1} %. Set by pgd, steps 10 (<a href=\"#cell-{}\"",
        100.0 * low,
        100.0 * high,
        strongest["cell"]
    );
    assert!(card.contains(&number), "{number}\n{card:.2000}");
    assert!(card.contains("</a>). The 2 other attacks fool 2 more: alone it leaves 8."), "{card:.2000}");
    assert!(card.contains("<dt>clean</dt><dd><strong>100.0 %</strong> right (12 of 12), interval 75.8 to 100.0 %"));
    // at 2/255 nothing is fooled, at the others the same six
    let name = "aria-label=\"Percent robust over the budget: 0: 100.0 %; Linf 2/255: 100.0 %; Linf 4/255: 50.0 %; Linf 8/255: 50.0 %\"";
    assert!(card.contains(name), "{card:.3000}");
    // all changes are as large as each other: by number
    let shown: Vec<&str> = between(card, "alt=\"clean image ", ",");
    assert_eq!(shown, ["0", "3", "6", "9"]);
    assert_eq!(card.matches("alt=\"adversarial image ").count(), 4);
    assert!(!card.contains("was not run") && !card.contains("failed"));
}

#[test]
fn a_card_says_what_failed_and_which_budget_was_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = small();
    run.budgets.pop();
    let store = run.store(folder.path());
    // the strongest attack of net-a at 4/255, and all of net-b
    let cells = run.cells();
    let failed = |cell: &Cell| {
        cell.model.name == "net-b"
            || (cell.attack.name == "fgsm" && cell.threat == made_up::threat(Norm::Linf, "4/255"))
    };
    for cell in cells.iter().filter(|cell| failed(cell)) {
        let error = Some(format!("{HOSTILE} ran out"));
        store.put_failed(cell, Provenance { error, ..made_up::provenance() }).unwrap();
    }
    let page = page_of(&store);
    let (some, none) = (card(&page, "net-a"), card(&page, "net-b"));
    assert!(
        some.contains("1 of 6 cells failed, and are in no number here. The first: &lt;/script&gt;"),
        "{some:.2000}"
    );
    assert!(
        some.contains("1 of the attacks here failed or are missing: the net may be weaker than this."),
        "{some:.2000}"
    );
    assert!(
        some.contains("<dt>Linf 4/255</dt>")
            && some.contains("The usual budget, 8/255, was not run: this is the nearest.")
    );
    assert!(none.contains("6 of 6 cells failed") && none.contains("No cell of this model is complete"), "{none}");
}

#[test]
fn a_card_fits_runs_without_a_radius() {
    for (norm, budgets, wanted) in [
        (
            Norm::Patch,
            ["0.05", "0.2"],
            "<dt>5 % of the area</dt><dd><strong>33.3 %</strong> fooled, of those right before (4 of 12)",
        ),
        (Norm::Pixels, ["3", "5"], "<dt>3 pixels</dt><dd><strong>66.7 %</strong> robust (8 of 12)"),
        (
            Norm::Any,
            ["1", "2"],
            "<dt>any image</dt><dd><strong>66.7 %</strong> fooled, of those right before (8 of 12)",
        ),
        (Norm::L2, ["1", "0.25"], "<dt>L2 0.25</dt><dd><strong>33.3 %</strong> robust (4 of 12)"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut run = small();
        (run.norm, run.budgets) = (norm, budgets.map(String::from).into());
        let page = page_of(&run.store(folder.path()));
        let card = card(&page, "net-a");
        assert!(card.contains(wanted), "{norm:?}: {card:.2000}");
        assert_eq!(card.contains("<svg"), norm != Norm::Any);
        assert!(card.matches("<img").count() >= 8, "{norm:?}: pictures");
    }
}

/// Of four images the first attack fools three, the second all, the third one at less: 0.05, 0.1, 0.2 and 0.3 are the least.
#[test]
fn where_the_least_change_is_looked_for_a_card_has_its_median_and_no_robust_accuracy() {
    for (images, wanted, alone) in [
        (
            6,
            "<strong>0.250</strong> is the median of the least changes (4 of 6 fooled, of those right before)",
            "0.300",
        ),
        (8, "<strong>none</strong>: half of the images or more stand (4 of 8 fooled, of those right before)", "none"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = Synthetic { images, explained: false, models: vec!["net-a".into()], ..small() };
        let within = Synthetic { norm: Norm::L2, budgets: vec!["0.5".into()], ..run };
        let mut cells = within.cells();
        let store = within.store(folder.path());
        cells.iter_mut().for_each(|cell| cell.threat.eps = Budget::Minimal { passes: 100 });
        store.put_plan(&made_up::plan("made-up", &[within.cells(), cells.clone()].concat())).unwrap();
        let nearest = [[0.3, 0.1, 0.4, f64::NAN], [0.2, 0.1, 0.4, 0.05], [f64::NAN, f64::NAN, 0.3, f64::NAN]];
        for (cell, l2) in cells.iter().zip(nearest) {
            let row = |e: usize| match l2.get(e) {
                Some(l2) if l2.is_finite() => Outcome { l2: Some(*l2), ..outcome(e, true, 10) },
                _ => outcome(e, false, 10),
            };
            let rows: Vec<Outcome> = (0..images).map(row).collect();
            let attacked = Witnesses::U8(vec![9; images * 3 * 16 * 16]);
            store.put(cell, &rows, &attacked, [16; 2], made_up::provenance()).unwrap();
        }
        let page = page_of(&store);
        let card = card(&page, "net-a");
        let line = card.split("<dt>L2 minimal, 100 passes</dt>").nth(1).expect("its own number");
        assert!(line.contains(wanted), "{line:.1000}");
        assert!(line.contains("Set by pgd, steps 10 (") && !line.contains("robust"), "{line:.1000}");
        assert!(line.contains(&format!("The least of 3 attacks counts; alone it gives {alone}.")), "{line:.1000}");
        assert_eq!(card.matches("<svg").count(), 1, "a curve of the radii alone");
        assert!(card.contains("<dt>L2 0.5</dt>") && !card.contains("inf"), "{card:.2000}");
    }
}

/// Room is shared out: pictures, cells and tables that would be too much are left out, counted, and their file is named.
#[test]
fn the_page_stays_small_and_says_what_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = small();
    (run.images, run.side, run.explained) = (20, 224, false);
    run.attacks[0].1.push(("words".into(), "x".repeat(1_000_000)));
    let page = page_of(&run.store(folder.path()));
    assert!(page.len() < 20_000_000, "{} bytes", page.len());
    // at this side the usual budget is ImageNet's, and pictures are made smaller
    assert!(card(&page, "net-a").contains("<dt>Linf 4/255</dt>") && card(&page, "net-a").len() < 500_000);
    let shown = between(&page, "<h2 id=\"gallery-h\">Gallery</h2><p>", "</p>")[0];
    let count: usize = shown.split(' ').next().unwrap().parse().unwrap();
    assert!(shown.contains(" of 360 images are shown, of ") && (5..126).contains(&count), "{shown}");
    let note = " of 18 cells are shown. </strong>All of it: <a href=\"tables/summary.csv\"";
    let cells: usize = page[..page.find(note).expect("a note")].rsplit('>').next().unwrap().parse().unwrap();
    assert!((1..18).contains(&cells) && page.matches("<details id=\"cell-").count() == cells, "{cells}");
}

/// A run that cannot be: images are fooled where no change is allowed.
#[test]
fn a_violated_relation_is_said_and_under_strict_ends_with_status_3() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = small();
    (run.budgets, run.explained) = (vec!["0".into(), "8/255".into()], false);
    drop(run.store(&folder.path().join("made-up")));
    let report = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_foolproof"));
        let output = command.args(["report", "made-up", "--out"]).arg(folder.path()).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = report(&[]);
    let line = "violated: budget 0 equals clean: 4 images fooled where no change is allowed (cell ";
    assert!(code == Some(0) && said.contains(line), "{said}");
    let (code, said) = report(&["--strict"]);
    assert!(code == Some(3) && said.contains("6 relations of the sanity ladder are violated"), "{said}");
    // the reports are written all the same, and name it first
    let page = fs::read_to_string(folder.path().join("made-up/report.html")).unwrap();
    let warnings = between(&page, "<ul class=\"warnings\">", "</ul>")[0];
    assert!(
        warnings.starts_with("<li class=\"violated\"><strong>violated</strong> budget 0 equals clean"),
        "{warnings:.300}"
    );
    let table = fs::read_to_string(folder.path().join("made-up/tables/sanity.csv")).unwrap();
    assert!(table.starts_with(
        "relation,verdict,model,cell,against,n,count,against_count,only,only_against,p,p_holm,why\nbudget 0 equals clean,violated,net-a,"
    ));
}

/// Where Chromium is, if it is.
fn chromium(test: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .flat_map(|folder| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name)))
        .find(|p| p.is_file());
    if found.is_none() {
        eprintln!("skipped {test}: no chromium in PATH");
    }
    found
}

const LISTEN: &str = include_str!("page/listen.js");
const DRIVE: &str = include_str!("page/drive.js");

/// The page with scripts that listen for errors and act as a user would. Its policy stays in force and names them too.
fn driven(page: &str) -> String {
    let digest = |script: &str| {
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, digest::sha256_bytes(script.as_bytes()))
    };
    let also = format!("script-src &#39;sha256-{}&#39; &#39;sha256-{}&#39; ", digest(LISTEN), digest(DRIVE));
    page.replacen("script-src ", &also, 1)
        .replacen("<title>", &format!("<script>{LISTEN}</script><title>"), 1)
        .replacen("</body>", &format!("<script>{DRIVE}</script></body>"), 1)
}

/// What the driver reports, and what the browser says on its console.
fn browse(chromium: &Path, folder: &Path, width: usize, dark: bool) -> serde_json::Value {
    let profile = tempfile::tempdir().unwrap();
    let page = folder.join("driven.html");
    // a window has a least width, a frame has none
    let frame = folder.join("frame.html");
    let text = format!(
        "<!doctype html><body style=\"margin:0\"><iframe src=\"driven.html\" style=\"border:0;width:{width}px;height:800px\"></iframe>\
         <pre id=\"result\"></pre><script>addEventListener('message', (m) => {{ document.getElementById('result').textContent = m.data; }});</script>"
    );
    fs::write(&frame, text).unwrap();
    assert!(page.is_file());
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"])
        .args([
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={},900", width.max(600)))
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)))
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("file://{}", frame.display()))
        .output()
        .unwrap();
    let (dom, console) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let complaints: Vec<&str> = console.lines().filter(|l| l.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    let result = between(&dom, "<pre id=\"result\">", "</pre>").into_iter().next().unwrap_or_default();
    let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, result).unwrap();
    assert!(!bytes.is_empty(), "no report: {dom:.500} {console:.2000}");
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn it_works_in_a_browser() {
    let Some(chromium) = chromium("it_works_in_a_browser") else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = small();
    let page = page_of(&run.store(folder.path()));
    fs::write(folder.path().join("driven.html"), driven(&page)).unwrap();
    let mut papers = BTreeSet::new();
    for (width, dark) in [(360, false), (360, true), (800, false), (800, true), (1400, false), (1400, true)] {
        let said = browse(&chromium, folder.path(), width, dark);
        let at = format!("{width} px, dark {dark}: {said:#}");
        let number = |key: &str| said[key].as_f64().unwrap_or_else(|| panic!("{key}: {at}"));
        let text = |key: &str| said[key].as_str().unwrap_or_else(|| panic!("{key}: {at}"));
        assert_eq!(said["problems"], serde_json::json!([]), "{at}");
        assert_eq!((number("width"), number("overflow")), (width as f64, 0.0), "no sideways scrolling: {at}");
        assert_eq!(said["dark"], dark, "{at}");
        papers.insert(text("paper").to_string());
        // a click on a heading sorts, a second one the other way
        let column = |key: &str| -> Vec<f64> {
            said[key].as_array().unwrap().iter().map(|v| v.as_str().unwrap().parse().unwrap()).collect()
        };
        assert!(column("rising").len() == 18 && column("rising").is_sorted(), "{at}");
        assert!(column("falling").iter().rev().is_sorted() && column("rising") != column("falling"), "{at}");
        assert_eq!((text("sorted"), text("sorted_again")), ("ascending", "descending"), "{at}");
        assert_eq!(number("filtered"), 9.0, "{at}");
        // keys and lists turn the gallery
        assert_eq!((text("place"), text("place_next"), text("place_back")), ("1 of 5", "2 of 5", "1 of 5"), "{at}");
        assert_ne!(text("clean"), text("clean_next"), "{at}");
        assert_ne!(text("budget"), text("budget_up"), "{at}");
        assert_ne!(text("attack"), text("attack_next"), "{at}");
        assert_eq!(text("verdict_kept"), text("verdict_next"), "the image stays when the attack changes: {at}");
        assert_eq!(number("scene_chosen"), 1.0, "{at}");
        // mid grey and 15 times 8 levels
        assert_eq!(said["difference"], serde_json::json!([16, 16, 248, 248, 248]), "{at}");
        // a number leads to its cell
        assert_eq!(said["opened"], true, "{at}");
        assert_ne!(text("focus"), "none", "{at}");
    }
    assert_eq!(papers.len(), 2, "dark and light differ");
}

/// 10,000 cells of 1,000 images: `cargo test --release --test page -- --ignored` (2.5 GB in the temporary folder).
#[test]
#[ignore = "minutes, and gigabytes of disk"]
fn a_large_run_is_reported_in_time_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let run = Synthetic {
        models: (0..10).map(|m| format!("net-{m}")).collect(),
        attacks: (1..=20).map(|k| ("pgd".to_string(), vec![("steps".to_string(), (5 * k).to_string())])).collect(),
        budgets: (1..=50).map(|k| format!("{k}/255")).collect(),
        images: 1000,
        side: 4,
        explained: false,
        ..small()
    };
    drop(run.store(&folder.path().join("large")));
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_foolproof"))
        .args(["report", "large", "--out"])
        .arg(folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut peak_kib = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let text = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        peak_kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak_kib);
        std::thread::sleep(Duration::from_millis(50));
    };
    let seconds = began.elapsed().as_secs_f64();
    let size = |path: &str| fs::metadata(folder.path().join("large").join(path)).unwrap().len();
    println!(
        "{seconds:.1} s, {peak_kib} KiB, page {} bytes, images.csv {} bytes",
        size("report.html"),
        size("tables/images.csv")
    );
    assert!(status.success());
    assert!(size("report.html") < 20_000_000);
    assert!(peak_kib > 0 && peak_kib < 1 << 20, "{peak_kib} KiB");
    assert!(seconds < 30.0, "{seconds:.1} s");
}
