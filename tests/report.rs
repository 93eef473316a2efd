//! What reports look like, from stores made up here: no network is computed.

#[path = "support/made_up.rs"]
mod made_up;
mod support;

use foolproof::data::Source;
use foolproof::error::Error;
use foolproof::figure::{FigureRecord, KINDS};
use foolproof::record::{
    AttackRecord, Cell, DataRecord, Inputs, ModelRecord, Outcome, PlanRecord, Provenance, StageRecord, Transfer,
    Witnesses,
};
use foolproof::report::{self, columns};
use foolproof::rng::Streams;
use foolproof::store::Store;
use foolproof::sweep::plan;
use foolproof::terms::{Budget, Goal, Norm, Threat};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Parameters of an attack.
type Params = Vec<(&'static str, String)>;

/// What a made-up sweep is a product of.
struct Sweep {
    models: usize,
    /// Name, whether it takes gradients, parameters.
    attacks: Vec<(&'static str, bool, Params)>,
    /// Norm and budgets.
    threats: Vec<(&'static str, Vec<String>)>,
    goals: Vec<&'static str>,
    images: usize,
    transfers: bool,
}

fn small() -> Sweep {
    Sweep {
        models: 2,
        attacks: vec![("fgsm", true, vec![]), ("pgd", true, vec![("restarts", "2".into()), ("steps", "10".into())])],
        threats: vec![
            ("linf", [2, 4, 8].map(|e| format!("{e}/255")).into()),
            ("l2", vec!["0.25".into(), "0.5".into()]),
        ],
        goals: vec!["untargeted"],
        images: 30,
        transfers: true,
    }
}

fn model(k: usize) -> ModelRecord {
    ModelRecord { name: format!("net_{k} & co"), network: "vgg11_bn".into(), weights: format!("{k:064x}") }
}

fn cells(sweep: &Sweep) -> Vec<Cell> {
    let mut cells = Vec::new();
    for k in 0..sweep.models {
        for goal in &sweep.goals {
            for (norm, budgets) in &sweep.threats {
                for (attack, _, params) in &sweep.attacks {
                    let usual = made_up::cell();
                    cells.extend(budgets.iter().map(|eps| Cell {
                        model: model(k),
                        data: DataRecord { take: sweep.images, ..usual.data.clone() },
                        attack: AttackRecord {
                            name: attack.to_string(),
                            revision: 1,
                            params: params.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
                        },
                        threat: made_up::threat(Norm::all().find(|n| n.name() == *norm).unwrap(), eps),
                        goal: Goal::parse(goal).unwrap(),
                        ..usual.clone()
                    }));
                }
            }
        }
    }
    cells
}

/// Outcomes as they might be: one image in ten is wrong before, and three in ten are fooled, by noise none, and by more than 20
/// steps six.
fn outcomes(cell: &Cell, gradients: bool, images: usize) -> Vec<Outcome> {
    let mut stream = Streams::new(0, cell.id()).stream(0, 0, "outcomes");
    let targeted = cell.goal.is_targeted();
    let steps = cell.attack.params.get("steps").and_then(|n| n.parse::<usize>().ok());
    let stands = match cell.attack.name.as_str() {
        "noise" => 1.0,
        _ if steps.is_some_and(|n| n > 20) => 0.4,
        _ => 0.7,
    };
    let outcome = |example: usize| {
        let label = example % 10;
        let draw = stream.uniform();
        let (right, fooled) = (draw > 0.1, draw > stands);
        let target = targeted.then_some((label + 1) % 10);
        let clean = if right { label } else { (label + 2) % 10 };
        let forwards = 1 + (draw * 50.0) as u64;
        Outcome {
            target,
            clean_prediction: Some(clean),
            adversarial_prediction: Some(if fooled { (label + 1) % 10 } else { clean }),
            success: Some(fooled),
            linf_255: Some(f64::from((draw * 8.0).ceil())),
            l2: Some(f64::from(draw) / 4.0),
            margin_clean: Some(draw),
            margin_adversarial: if example == 3 { None } else { Some(-draw) },
            confidence_adversarial: Some(0.8),
            label_probability_adversarial: Some(0.1),
            target_probability_clean: target.map(|_| 0.01),
            target_probability_adversarial: target.map(|_| 0.8),
            target_logit_adversarial: target.map(|_| 3.0),
            target_rank_clean: target.map(|_| 4),
            target_rank_adversarial: target.map(|_| usize::from(!fooled)),
            step: if fooled { 1 + example % 10 } else { 0 },
            restart: example % 2,
            forwards: if right { forwards } else { 0 },
            backwards: if right && gradients { forwards } else { 0 },
            flags: if right { String::new() } else { "clean-wrong".into() },
            ..made_up::standing(example, label)
        }
    };
    (0..images).map(outcome).collect()
}

/// Stores all of it below `folder`.
fn make(folder: &Path, sweep: &Sweep, figures: Vec<FigureRecord>) -> Store {
    let store = Store::create(folder).unwrap();
    let cells = cells(sweep);
    let pixels = vec![100; 3 * sweep.images];
    let inputs = Inputs {
        examples: (0..sweep.images).collect(),
        labels: (0..sweep.images).map(|i| i % 10).collect(),
        classes: (0..10).map(|c| format!("class {c}")).collect(),
        size: [1; 2],
        pixels: pixels.clone(),
    };
    store.put_inputs(&cells[0].data.digest, &inputs).unwrap();
    for cell in &cells {
        let gradients = sweep.attacks.iter().any(|(name, gradients, _)| *name == cell.attack.name && *gradients);
        let outcomes = outcomes(cell, gradients, sweep.images);
        store.put(cell, &outcomes, &Witnesses::U8(pixels.clone()), [1; 2], made_up::provenance()).unwrap();
        for other in (0..sweep.models).map(model).filter(|m| sweep.transfers && *m != cell.model) {
            let row = |o: &Outcome| Transfer {
                example: o.example,
                clean_prediction: o.label,
                prediction: o.adversarial_prediction,
                label_probability: Some(0.5),
                target_probability: o.target.map(|_| 0.5),
                target_rank: o.target.map(|_| 1),
            };
            let rows: Vec<Transfer> = outcomes.iter().map(row).collect();
            store.put_transfer(&cell.id(), &other, &rows, made_up::provenance()).unwrap();
        }
    }
    let plan = PlanRecord { figures, ..made_up::plan("made-up", &cells) };
    store.put_plan(&plan).unwrap();
    store
}

fn text(folder: &Path, path: &str) -> String {
    fs::read_to_string(folder.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn rows(csv: &str) -> Vec<csv::StringRecord> {
    csv::Reader::from_reader(csv.as_bytes()).records().map(|r| r.unwrap()).collect()
}

#[test]
fn a_report_is_the_same_bytes_twice_and_every_figure_names_its_run_and_points() {
    let folder = tempfile::tempdir().unwrap();
    let store = make(folder.path(), &small(), vec![]);
    let id = store.read_plan().unwrap().run_id();
    let written = report::write(&store).unwrap().1;
    let read = || written.iter().map(|p| store.read_bytes(p).unwrap()).collect::<Vec<_>>();
    let first = read();
    assert_eq!(report::write(&store).unwrap().1, written);
    assert!(read() == first);
    assert_eq!(report::stale(&store).unwrap(), Vec::<String>::new());

    let mut drawn = Vec::new();
    for path in written.iter().filter(|p| p.starts_with("figures/") && p.ends_with(".svg")) {
        let stem = path.trim_end_matches(".svg");
        drawn.push(stem.trim_start_matches("figures/"));
        let points = store.read_bytes(&format!("{stem}.csv")).unwrap();
        let digest = foolproof::digest::sha256(&points);
        let svg = text(folder.path(), path);
        assert!(svg.contains(&format!("run=\"{id}\"")) && svg.contains(&format!("points=\"{digest}\"")), "{path}");
        let png = fs::read(folder.path().join(format!("{stem}.png"))).unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let said: Vec<String> = decoder.info().uncompressed_latin1_text.iter().map(|t| t.text.clone()).collect();
        assert!(said.iter().any(|t| t.contains(&id) && t.contains(&digest)), "{stem}.png: {said:?}");
        let pdf = String::from_utf8_lossy(&store.read_bytes(&format!("{stem}.pdf")).unwrap()).into_owned();
        assert!(pdf.contains(&id) && pdf.contains(&digest) && pdf.contains("/FontFile2"), "{stem}.pdf");
    }
    assert_eq!(drawn, ["robust-accuracy", "success-steps", "distance", "cost", "transfer", "gallery", "confusion"]);
}

/// Value of an attribute.
fn number(tag: &str, name: &str) -> f64 {
    let value = tag.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
    value.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{name} in {tag}"))
}

#[test]
fn the_points_beside_a_figure_are_where_its_marks_are() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = Sweep { models: 1, threats: vec![small().threats[0].clone()], transfers: false, ..small() };
    report::write(&make(folder.path(), &sweep, vec![])).unwrap();
    let csv = rows(&text(folder.path(), "figures/robust-accuracy.csv"));
    let svg = text(folder.path(), "figures/robust-accuracy.svg");
    // the first line has discs; the last disc is in the legend
    let discs: Vec<(f64, f64)> = svg
        .split("<circle")
        .skip(1)
        .map(|rest| rest.split("/>").next().unwrap())
        .map(|tag| (number(tag, "cx"), number(tag, "cy")))
        .collect();
    let points: Vec<(f64, f64)> = csv
        .iter()
        .filter(|row| row[1] == csv[0][1])
        .map(|row| (row[3].parse().unwrap(), row[4].parse().unwrap()))
        .collect();
    assert_eq!(points.len(), 4, "the clean point and three budgets");
    assert_eq!(discs.len(), points.len() + 1);
    let (first, last) = (points[0], points[3]);
    let across = (discs[3].0 - discs[0].0) / (last.0 - first.0);
    let down = (discs[3].1 - discs[0].1) / (last.1 - first.1);
    assert!(across > 0.0 && down < 0.0, "{points:?} {discs:?}");
    for (point, disc) in points.iter().zip(&discs) {
        let wanted = (discs[0].0 + across * (point.0 - first.0), discs[0].1 + down * (point.1 - first.1));
        // dots are whole
        assert!((disc.0 - wanted.0).abs() <= 1.5 && (disc.1 - wanted.1).abs() <= 1.5, "{point:?}: {disc:?} {wanted:?}");
    }
    // the same numbers stand in the table
    let summary = rows(&text(folder.path(), "tables/summary.csv"));
    for row in csv.iter().filter(|row| &row[3] != "0.000000" && &row[1] != "worst case") {
        let cell = summary.iter().find(|s| s[0] == row[8]).unwrap();
        assert_eq!(
            format!("{:.4}", 100.0 * cell[16].parse::<f64>().unwrap()),
            format!("{:.4}", row[4].parse::<f64>().unwrap())
        );
    }
}

#[test]
fn success_over_queries_ends_at_the_budget_and_at_the_success_rate() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = Sweep {
        models: 1,
        attacks: vec![("one-pixel", false, vec![])],
        threats: vec![("pixels", vec!["1".into()])],
        transfers: false,
        ..small()
    };
    let store = make(folder.path(), &sweep, vec![]);
    report::write(&store).unwrap();
    let points = rows(&text(folder.path(), "figures/success-queries.csv"));
    let outcomes = store.read(&store.ids().unwrap()[0]).unwrap().outcomes;
    let budget = outcomes.iter().map(|o| o.forwards).max().unwrap();
    let right = outcomes.iter().filter(|o| o.is_right_before()).count();
    for point in &points {
        let (q, y): (f64, f64) = (point[3].parse().unwrap(), point[4].parse().unwrap());
        let within = outcomes.iter().filter(|o| o.success == Some(true) && o.forwards as f64 <= q).count();
        assert!((y - 100.0 * within as f64 / right as f64).abs() < 1e-5, "{point:?}");
    }
    assert_eq!(points.last().unwrap()[3].parse::<f64>().unwrap(), budget as f64);
    assert!(points.len() > 3);
}

#[test]
fn success_over_queries_goes_on_to_what_an_image_may_take() {
    let end_of = |attack: &'static str, threat: (&'static str, &str), params: &[(&'static str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let params = params.iter().map(|(k, v)| (*k, v.to_string())).collect();
        let sweep = Sweep {
            models: 1,
            attacks: vec![(attack, false, params)],
            threats: vec![(threat.0, vec![threat.1.into()])],
            transfers: false,
            ..small()
        };
        let store = make(folder.path(), &sweep, vec![]);
        report::write(&store).unwrap();
        let points = rows(&text(folder.path(), "figures/success-queries.csv"));
        let spent = store.read(&store.ids().unwrap()[0]).unwrap().outcomes.iter().map(|o| o.forwards).max().unwrap();
        let [last, before] = [1, 2].map(|k| &points[points.len() - k]);
        assert!(last[4] == before[4] || last[3] == format!("{spent}.000000"), "nothing falls beyond what was spent");
        (last[3].parse::<f64>().unwrap(), spent as f64)
    };
    let end = |params: &[(&'static str, &str)]| end_of("one-pixel", ("pixels", "1"), params);
    assert_eq!(end_of("square", ("linf", "8/255"), &[("queries", "500")]).0, 500.0);
    let search = [("population", "40"), ("generations", "10")];
    assert_eq!(end(&search).0, 440.0);
    assert_eq!(end(&[("draws", "300")]).0, 300.0);
    // neither is told by parameters alone
    for other in [("variant", "scan"), ("objective", "union")] {
        let (end, spent) = end(&[search[0], search[1], other]);
        assert_eq!(end, spent, "{other:?}");
    }
    let (end, spent) = end(&[("draws", "3")]);
    assert!(end == spent && spent > 3.0, "the judge's own passes come on top");
}

#[test]
fn the_transfer_matrix_counts_what_the_other_network_had_right() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = Sweep { threats: vec![("linf", vec!["8/255".into()])], ..small() };
    let store = make(folder.path(), &sweep, vec![]);
    report::write(&store).unwrap();
    let squares = rows(&text(folder.path(), "figures/transfer.csv"));
    assert_eq!(squares.len(), 2 * 4, "two attacks, two by two networks");
    let plan = store.read_plan().unwrap();
    let outcomes = store.read(&plan.cells[0].id()).unwrap().outcomes;
    // the other network has every clean image right, and says what the first says of the witnesses
    let wrong = outcomes.iter().filter(|o| o.adversarial_prediction != o.label).count();
    let square = squares.iter().find(|s| s[1] == model(0).name && s[2] == model(1).name).unwrap();
    assert_eq!((&square[3], &square[4]), (wrong.to_string().as_str(), "30"));
}

#[test]
fn parquet_holds_what_csv_does_in_types_with_nulls() {
    let folder = tempfile::tempdir().unwrap();
    report::write(&make(folder.path(), &small(), vec![])).unwrap();
    for (table, nulls_wanted) in [("images", 20), ("summary", 20), ("transfer", 20), ("confusion", 0)] {
        let csv = text(folder.path(), &format!("tables/{table}.csv"));
        let file = fs::File::open(folder.path().join(format!("tables/{table}.parquet"))).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let (rows, mut nulls) = (rows(&csv), 0);
        let heading: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
        let mut n = 0;
        for (row, wanted) in reader.get_row_iter(None).unwrap().zip(&rows) {
            for (((name, field), wanted), column) in row.unwrap().get_column_iter().zip(wanted).zip(&heading) {
                assert_eq!(name, column);
                match field {
                    Field::Null => {
                        assert_eq!(wanted, "", "{table}.{name}");
                        nulls += usize::from(
                            name != "flags" && name != "error" && name != "params" && !name.starts_with("votes"),
                        );
                    }
                    Field::Long(v) => assert_eq!(v.to_string(), wanted, "{table}.{name}"),
                    Field::Double(v) => assert_eq!(*v, wanted.parse::<f64>().unwrap(), "{table}.{name}"),
                    Field::Bool(v) => assert_eq!(v.to_string(), wanted, "{table}.{name}"),
                    Field::Str(v) => assert_eq!(v, wanted, "{table}.{name}"),
                    other => panic!("{table}.{name}: {other:?}"),
                }
            }
            n += 1;
        }
        assert_eq!(n, rows.len(), "{table}");
        if table == "images" {
            assert_eq!(nulls, nulls_wanted, "example 3 of each cell has no margin");
        }
    }
}

#[test]
fn latex_and_markdown_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = Sweep { goals: vec!["untargeted", "target:next"], ..small() };
    let store = make(folder.path(), &sweep, vec![]);
    report::write(&store).unwrap();
    let (tex, md) = (text(folder.path(), "tables/summary.tex"), text(folder.path(), "tables/summary.md"));
    let id = store.read_plan().unwrap().run_id();
    assert!(tex.starts_with(&format!("% foolproof run {id} (made-up), n = 30, seed 0;")), "{tex}");
    assert!(tex.contains("\\textbf{net\\_0 \\& co, linf, n = 30, clean accuracy"), "{tex}");
    assert!(md.contains("### net\\_0 & co, linf, n = 30, clean accuracy"), "{md}");
    let cells = md.lines().filter(|l| l.contains("/255 |")).count();
    // a worst case for each of three budgets, two goals and two networks
    assert_eq!((cells, tex.lines().filter(|l| l.contains("/255 &")).count()), (36, 36));
}

/// What `configs/sweeps/pgd.toml` asks, of more images.
fn default_sweep() -> Sweep {
    let pgd = |restarts: &str, start: &str, steps: &str| {
        let params =
            [("random_start", start), ("restarts", restarts), ("step_size", "2.5*eps/steps"), ("steps", steps)];
        ("pgd", true, params.map(|(k, v)| (k, v.to_string())).into())
    };
    Sweep {
        attacks: vec![
            ("noise", false, vec![]),
            ("fgsm", true, vec![]),
            pgd("1", "false", "10"),
            pgd("2", "true", "40"),
        ],
        threats: vec![("linf", [1, 2, 4, 8, 16].map(|e| format!("{e}/255")).into())],
        goals: vec!["untargeted", "target:next"],
        images: 1000,
        ..small()
    }
}

#[test]
fn latex_compiles_and_no_line_is_too_long() {
    let folder = tempfile::tempdir().unwrap();
    report::write(&make(folder.path(), &default_sweep(), vec![])).unwrap();
    let tables = fs::read_dir(folder.path().join("tables")).unwrap().map(|f| f.unwrap().path());
    let mut tex: Vec<String> = tables
        .filter(|f| f.extension().is_some_and(|e| e == "tex"))
        .map(|f| format!("\\input{{tables/{}}}", f.file_stem().unwrap().to_string_lossy()))
        .collect();
    tex.sort();
    let document = format!(
        "\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{}\\end{{document}}",
        tex.concat()
    );
    fs::write(folder.path().join("all.tex"), document).unwrap();
    let compiled = Command::new("pdflatex")
        .args(["-interaction=nonstopmode", "-halt-on-error", "all.tex"])
        .current_dir(folder.path())
        .output();
    let Ok(output) = compiled else { return eprintln!("skipped latex_compiles: no pdflatex") };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let too_long =
        said.split("Overfull \\hbox (").skip(1).filter_map(|rest| rest.split("pt").next()?.parse::<f64>().ok());
    let worst = too_long.fold(0.0, f64::max);
    assert!(worst <= 1.0, "{worst} pt too wide:\n{said}");
}

/// Fields of the rows of all tables of a Markdown file.
fn markdown_rows(md: &str) -> Vec<Vec<&str>> {
    let rows = md.lines().filter(|l| l.starts_with('|') && !l.starts_with("| :---"));
    rows.map(|l| l.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn tables_for_people_say_what_the_others_say() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = Sweep { goals: vec!["untargeted", "target:next"], ..small() };
    report::write(&make(folder.path(), &sweep, vec![])).unwrap();
    let (csv, md) = (rows(&text(folder.path(), "tables/transfer.csv")), text(folder.path(), "tables/transfer.md"));
    let said: Vec<Vec<&str>> = markdown_rows(&md).into_iter().filter(|r| r[0] != "attack").collect();
    assert_eq!(said.len(), csv.len());
    for row in &csv {
        let percent = |k: usize| row[k].parse::<f64>().map_or("–".into(), |v| format!("{:.0} [", 100.0 * v));
        let (accuracy, target) = (percent(10), percent(11));
        let found = said.iter().find(|s| {
            s[0].starts_with(&row[2])
                && s[1] == &row[5]
                && s[2].replace('\\', "") == row[7]
                && s[3].starts_with(&accuracy)
                && s[4].starts_with(&target)
        });
        assert!(found.is_some(), "{row:?}: {md}");
    }
    let (csv, md) = (rows(&text(folder.path(), "tables/sanity.csv")), text(folder.path(), "tables/sanity.md"));
    let bad: Vec<_> = csv.iter().filter(|row| &row[1] != "ok").collect();
    assert!(
        !bad.is_empty() && md.contains(&format!("### {} of {} relations", csv.len() - bad.len(), csv.len())),
        "{md}"
    );
    let said: Vec<Vec<&str>> = markdown_rows(&md).into_iter().filter(|r| r[0] != "relation").collect();
    assert_eq!(said.len(), bad.len());
    for row in bad {
        assert!(
            said.iter().any(|s| s[0] == &row[0] && s[1] == &row[1] && s[2].starts_with(&row[3][..8])),
            "{row:?}: {md}"
        );
    }
    assert!(!folder.path().join("tables/class-max.md").exists());
}

#[test]
fn where_all_relations_are_ok_one_line_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let threats = vec![("linf", vec!["8/255".to_string()])];
    let sweep = Sweep { models: 1, attacks: vec![("fgsm", true, vec![])], threats, ..small() };
    report::write(&make(folder.path(), &sweep, vec![])).unwrap();
    let (csv, md) = (rows(&text(folder.path(), "tables/sanity.csv")), text(folder.path(), "tables/sanity.md"));
    assert!(md.starts_with(&format!("### {0} of {0} relations of the sanity ladder are ok\n", csv.len())), "{md}");
    assert_eq!(markdown_rows(&md), Vec::<Vec<&str>>::new());
}

#[test]
fn the_strongest_attack_is_bold_where_a_test_says_so() {
    let folder = tempfile::tempdir().unwrap();
    report::write(&make(folder.path(), &default_sweep(), vec![])).unwrap();
    for table in ["summary", "targets"] {
        let md = text(folder.path(), &format!("tables/{table}.md"));
        let bold: Vec<&str> = md.lines().filter(|l| l.starts_with('|') && l.contains("**")).collect();
        assert!(bold.iter().all(|l| l.contains("steps 40") && l.matches("**").count() == 2), "{bold:?}");
        assert_eq!(bold.len(), if table == "summary" { 20 } else { 10 }, "two models, five budgets, and goals");
        let tex = text(folder.path(), &format!("tables/{table}.tex"));
        assert_eq!(tex.lines().filter(|l| l.contains("& \\textbf{")).count(), bold.len());
    }
}

#[test]
fn figure_blocks_decide_width_names_and_what_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let labels = [("net_0 & co", "Network A"), ("fgsm", "FGSM"), ("robust accuracy / %", "accuracy / %")];
    let general = FigureRecord {
        width: Some("page".into()),
        labels: labels.map(|(k, v)| (k.into(), v.into())).into(),
        ..FigureRecord::default()
    };
    let own = FigureRecord {
        kind: Some("robust-accuracy".into()),
        name: Some("fig-2".into()),
        width: Some("column".into()),
        models: vec!["net_0 & co".into()],
        norms: vec!["linf".into()],
        ..FigureRecord::default()
    };
    let store = make(folder.path(), &small(), vec![general, own.clone()]);
    report::write(&store).unwrap();
    let svg = text(folder.path(), "figures/fig-2.svg");
    assert!(svg.contains("width=\"85.00mm\""), "its own width");
    for word in ["Network A", "FGSM", "accuracy / %"] {
        assert!(svg.contains(word), "{word}");
    }
    assert!(!svg.contains("net_1") && !svg.contains("robust accuracy / %"));
    assert!(!folder.path().join("figures/robust-accuracy.svg").exists(), "the block names another file");
    assert!(text(folder.path(), "figures/cost.svg").contains("width=\"180.00mm\""), "the general width");
    let points = rows(&text(folder.path(), "figures/fig-2.csv"));
    assert_eq!(points.len(), 3 * 4, "two attacks and the worst case, the clean point and three budgets");
    // without the block its files go, and those of others stay
    fs::write(folder.path().join("figures/mine.svg"), "<svg/>").unwrap();
    let mut plan = store.read_plan().unwrap();
    let id = plan.run_id();
    plan.figures.clear();
    assert_eq!(plan.run_id(), id, "figures do not change the run");
    store.put_plan(&plan).unwrap();
    report::write(&store).unwrap();
    let there = |name: &str| folder.path().join("figures").join(name).exists();
    assert!(!there("fig-2.svg") && !there("fig-2.pdf") && there("robust-accuracy.svg") && there("mine.svg"));
}

/// Of each budget, image by image, and in no table of cells.
#[test]
fn the_worst_case_is_a_row_and_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = make(folder.path(), &small(), vec![]);
    report::write(&store).unwrap();
    let worst = rows(&text(folder.path(), "tables/worst-case.csv"));
    assert_eq!(worst.len(), 2 * 5, "two networks, five budgets");
    let points = rows(&text(folder.path(), "figures/robust-accuracy.csv"));
    let md = text(folder.path(), "tables/summary.md");
    let plan = store.read_plan().unwrap();
    for row in &worst {
        assert_eq!((&row[6], &row[8], &row[9]), ("fgsm pgd", "0", "30"));
        let ids: Vec<&str> = row[7].split(' ').collect();
        let cells: Vec<_> = ids.iter().map(|id| store.read(id).unwrap()).collect();
        assert_eq!(cells.len(), 2);
        assert!(cells.iter().all(|c| c.cell.model.name == row[0] && c.cell.threat.eps_text() == row[3]));
        let stands =
            |i: usize| cells.iter().all(|c| c.outcomes[i].is_right_before() && c.outcomes[i].success == Some(false));
        let (robust, right) =
            ((0..30).filter(|i| stands(*i)).count(), cells[0].outcomes.iter().filter(|o| o.is_right_before()).count());
        assert_eq!((&row[10], &row[11]), (right.to_string().as_str(), robust.to_string().as_str()));
        let (low, high) = foolproof::statistics::wilson(robust, 30);
        assert_eq!((&row[14], &row[15]), (format!("{low:.6}").as_str(), format!("{high:.6}").as_str()));
        let drawn = points.iter().find(|p| &p[1] == "worst case" && p[8] == row[7] && &p[3] != "0.000000").unwrap();
        assert_eq!(drawn[4], format!("{:.6}", 100.0 * robust as f64 / 30.0));
    }
    let said: Vec<Vec<&str>> = markdown_rows(&md).into_iter().filter(|r| r[0] == "worst case of fgsm, pgd").collect();
    assert_eq!(said.len(), worst.len());
    assert!(text(folder.path(), "figures/robust-accuracy.svg").contains("worst case"));
    let summary = text(folder.path(), "tables/summary.csv");
    assert!(summary.lines().count() == 1 + plan.cells.len() && !summary.contains("worst"));
    assert!(text(folder.path(), "report.html").contains(&format!("{} cells: {0} complete", plan.cells.len())));
    // one attack alone
    let folder = tempfile::tempdir().unwrap();
    let alone = Sweep { attacks: vec![("fgsm", true, vec![])], ..small() };
    report::write(&make(folder.path(), &alone, vec![])).unwrap();
    assert!(!folder.path().join("tables/worst-case.csv").exists());
    assert!(!text(folder.path(), "figures/robust-accuracy.svg").contains("worst case"));
}

/// Two attacks that look for the least L2 distance on nine images, the last of which is wrong before any attack.
fn minimal(folder: &Path) -> Store {
    let store = Store::create(folder).unwrap();
    let found: [(&str, [f64; 8]); 2] = [
        ("ddn", [0.5, 0.25, 1.0, 2.0, 0.75, 0.125, 3.0, f64::INFINITY]),
        ("fmn", [0.25, 0.5, 1.5, f64::INFINITY, f64::INFINITY, 0.25, f64::INFINITY, f64::INFINITY]),
    ];
    let usual = made_up::cell();
    let mut cells = Vec::new();
    for (attack, distances) in found {
        let cell = Cell {
            data: DataRecord { take: 9, ..usual.data.clone() },
            attack: AttackRecord { name: attack.into(), ..usual.attack.clone() },
            threat: Threat { norm: Norm::L2, eps: Budget::Minimal { passes: 60 } },
            ..usual.clone()
        };
        let outcome = |(example, distance): (usize, &f64)| {
            let stands = made_up::standing(example, example % 2);
            let fooled = Outcome {
                success: Some(true),
                l2: Some(*distance),
                note: format!("pass={}", 10 * (example + 1)),
                adversarial_prediction: Some(1 - example % 2),
                ..stands.clone()
            };
            if distance.is_finite() { fooled } else { stands }
        };
        let mut outcomes: Vec<Outcome> = distances.iter().enumerate().map(outcome).collect();
        let wrong = Outcome { clean_prediction: Some(1), adversarial_prediction: Some(1), ..made_up::standing(8, 0) };
        outcomes.push(Outcome { forwards: 0, backwards: 0, flags: "clean-wrong".into(), ..wrong });
        let stage = |name: &str, standing| StageRecord {
            name: name.into(),
            standing,
            forwards: 100,
            backwards: 50,
            seconds: 1.5,
        };
        let stages = if attack == "fmn" { vec![stage("first", 6), stage("second", 4)] } else { vec![] };
        let provenance = Provenance { stages, ..made_up::provenance() };
        store.put(&cell, &outcomes, &Witnesses::U8(vec![100; 27]), [1; 2], provenance).unwrap();
        cells.push(cell);
    }
    let inputs = Inputs {
        examples: (0..9).collect(),
        labels: (0..9).map(|i| i % 2).collect(),
        classes: ["zero", "one"].map(String::from).into(),
        size: [1; 2],
        pixels: vec![100; 27],
    };
    store.put_inputs(&cells[0].data.digest, &inputs).unwrap();
    store.put_plan(&made_up::plan("minimal", &cells)).unwrap();
    store
}

#[test]
fn distances_and_stages_have_tables() {
    let folder = tempfile::tempdir().unwrap();
    let store = minimal(folder.path());
    report::write(&store).unwrap();
    let ids: Vec<String> = store.read_plan().unwrap().cells.iter().map(Cell::id).collect();
    // sorted, of eight at places 2, 4 and 6
    let wanted = format!(
        "cell,model,attack,norm,n,failed,q25,q50,q75\n{},net,ddn,l2,8,1,0.500000,1.000000,3.000000\n\
         {},net,fmn,l2,8,4,0.500000,,\n",
        ids[0], ids[1]
    );
    assert_eq!(text(folder.path(), "tables/distances.csv"), wanted);
    let wanted = format!(
        "cell,model,attack,stage,standing,passes,seconds\n{0},net,fmn,first,6,150,1.500000\n{0},net,fmn,second,4,150,1.500000\n",
        ids[1]
    );
    assert_eq!(text(folder.path(), "tables/stages.csv"), wanted);
    // the heading is what the manual explains
    for table in [&columns::DISTANCES, &columns::STAGES, &columns::WORST_CASE] {
        let heading = text(folder.path(), &format!("{}.csv", table.table)).lines().next().unwrap().to_string();
        let named: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        assert_eq!(heading, named.join(","));
    }
}

#[test]
fn the_security_curve_is_robust_accuracy_at_every_eps() {
    let folder = tempfile::tempdir().unwrap();
    let store = minimal(folder.path());
    report::write(&store).unwrap();
    let points = rows(&text(folder.path(), "figures/security-curve.csv"));
    let of = |line: &str| -> Vec<(f64, usize)> {
        let of = points.iter().filter(|p| &p[1] == line);
        let count = |p: &csv::StringRecord| (p[4].parse::<f64>().unwrap() / 100.0 * 9.0).round() as usize;
        of.map(|p| (p[3].parse().unwrap(), count(p))).collect()
    };
    // of nine images, one wrong before
    let ddn = [(0.0, 8), (0.125, 7), (0.25, 6), (0.5, 5), (0.75, 4), (1.0, 3), (2.0, 2), (3.0, 1)];
    assert_eq!(of("ddn"), ddn);
    // it goes on to where the hardest image falls, although it fooled none there
    assert_eq!(of("fmn"), [(0.0, 8), (0.25, 6), (0.5, 5), (1.5, 4), (3.0, 4)]);
    let worst = [(0.0, 8), (0.125, 7), (0.25, 5), (0.75, 4), (1.0, 3), (2.0, 2), (3.0, 1)];
    assert_eq!(of("worst case"), worst);
    let (low, high) = foolproof::statistics::wilson(7, 9);
    let point = points.iter().find(|p| &p[1] == "ddn" && &p[3] == "0.125000").unwrap();
    assert_eq!([&point[5], &point[6]], [format!("{:.6}", 100.0 * low), format!("{:.6}", 100.0 * high)]);
    assert!(!folder.path().join("figures/robust-accuracy.svg").exists(), "a least distance is no budget");
}

#[test]
fn optimality_is_printed_written_and_frozen() {
    let folder = tempfile::tempdir().unwrap();
    minimal(&folder.path().join("results/minimal"));
    let sweep = Sweep { models: 1, transfers: false, ..small() };
    make(&folder.path().join("results/fixed"), &sweep, vec![]);
    let call = |arguments: &[&str]| {
        let done = support::foolproof().current_dir(folder.path()).arg("optimality").args(arguments).output().unwrap();
        let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (done.status.code(), out, err)
    };
    let (code, out, err) = call(&["minimal", "fixed", "--csv", "o.csv", "--curve", "c.csv"]);
    assert_eq!((code, err.as_str()), (Some(0), "cells left out: 10 of fixed budgets\n"), "{out}");
    // the least distances 0.25 0.25 1 2 0.75 0.125 3 and none: A* = 10.375, nothing found 24; ddn 10.625, fmn 14.5
    let (ddn, fmn) = (1.0 - 0.25 / 13.625, 1.0 - 4.125 / 13.625);
    let lines: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(
        out.lines().next().unwrap(),
        "net, made-up:test[0..9], L2, untargeted, u8 witness: 8 images, scale 3.0000"
    );
    assert_eq!(lines[1], ["attack", "passes", "optimality", "95", "%", "asr", "passes_mean", "improved", "global"]);
    assert_eq!(lines[2][..3], ["ddn", "60", &format!("{ddn:.4}")]);
    assert_eq!(lines[3][..3], ["fmn", "60", &format!("{fmn:.4}")]);
    let written = rows(&text(folder.path(), "o.csv"));
    let heading = text(folder.path(), "o.csv").lines().next().unwrap().to_string();
    assert_eq!(heading, columns::OPTIMALITY.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(","));
    let fields = |k: usize| [3, 11, 12, 13, 16, 17, 18, 19].map(|column| written[k][column].to_string());
    let six = |v: f64| format!("{v:.6}");
    // two passes forward and one back, as made up; ddn alone is nearest at 1, 2, 3, 4, 5 and 6
    assert_eq!(fields(0), ["ddn".into(), "8".into(), six(3.0), six(ddn), six(0.875), six(3.0), "6".into(), six(ddn)]);
    assert_eq!(fields(1), ["fmn".into(), "8".into(), six(3.0), six(fmn), six(0.5), six(3.0), "1".into(), six(fmn)]);
    let curve = text(folder.path(), "c.csv");
    let heading = curve.lines().next().unwrap();
    assert_eq!(heading, columns::OPTIMALITY_CURVE.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(","));
    // image 0 alone, at pass 10: 0.25 for 3
    let first = format!(",net,fmn,l2,10,{:.6}\n", 1.0 - (24.0 - 2.75 - 10.375) / 13.625);
    assert!(curve.contains(&first), "{first}{curve}");
    assert!(curve.ends_with(&format!(",net,fmn,l2,60,{fmn:.6}\n")), "{curve}");

    let (code, out, _) = call(&["minimal", "--bless", "r.jsonl"]);
    assert!(code == Some(0) && out.starts_with("r.jsonl: 1 pools, 8 images, "), "{out}");
    let (_, frozen, _) = call(&["minimal", "--frozen", "r.jsonl"]);
    assert!(frozen.contains(&format!("{ddn:.4}")) && !frozen.contains("fixed"), "{frozen}");
    let (_, other, _) = call(&["minimal", "--rule", "attackbench"]);
    assert!(other.lines().nth(2).unwrap().contains('–'), "an image that nobody fools has no scale there: {other}");
    let (code, _, err) = call(&["fixed"]);
    assert!(code == Some(1) && err.contains("no complete cell looks for the least distance"), "{err}");
    let (code, _, err) = call(&["minimal", "--frozen", "o.csv"]);
    assert!(code == Some(1) && err.contains("o.csv:1: ") && err.contains("--bless FILE"), "{err}");
}

const SWEEP: &str = r#"name = "x"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "fgsm" }]
"#;

fn parse(figures: &str) -> Result<plan::Plan, Error> {
    plan::parse(Path::new("x.toml"), &format!("{SWEEP}{figures}"), &Source::new("nowhere"))
}

#[test]
fn figure_blocks_are_read_and_change_no_id() {
    let plan = parse(
        "[[figure]]\nwidth = \"page\"\nfont = 8\npalette = \"grey\"\nlabels = { fgsm = \"FGSM\" }\n\
         [[figure]]\nkind = \"cost\"\npanels = { models = [\"vgg11-half-cifar10\"], eps = [\"0.5/15.9375\"], columns = 2 }\n",
    )
    .unwrap();
    assert_eq!(plan.cells[0].id, parse("").unwrap().cells[0].id);
    let [general, cost] = &plan.figures[..] else { panic!("{:?}", plan.figures) };
    assert_eq!(
        (general.font, general.palette.as_deref(), general.labels["fgsm"].as_str()),
        (Some(8.0), Some("grey"), "FGSM")
    );
    assert_eq!((cost.eps.as_slice(), cost.columns), (&["8/255".to_string()][..], Some(2)), "as cells write it");
    let one = parse("[figure]\nwidth = \"column\"\n").unwrap();
    assert_eq!(one.figures[0].width.as_deref(), Some("column"));
    let merged = FigureRecord::resolved(&plan.figures);
    assert_eq!(merged.len(), KINDS.len());
    let cost = &merged.iter().find(|(kind, _)| *kind == "cost").unwrap().1;
    assert_eq!((cost.width.as_deref(), cost.columns), (Some("page"), Some(2)), "a block goes over the general one");
}

#[test]
fn the_plan_has_what_is_published_of_samples_and_older_plans_are_read() {
    let plan = parse("").unwrap().record();
    let [published] = &plan.published[..] else { panic!("{:?}", plan.published) };
    assert_eq!((&published.weights, &published.data), (&plan.cells[0].model.weights, &plan.cells[0].data.digest));
    assert_eq!((published.correct, published.of), (451, 500), "configs/models/vgg11-half-cifar10.toml");
    // images picked one by one are no sample
    let text = SWEEP.replace("\"cifar10-sample\"", "\"cifar10-sample\", indices = [3, 5]");
    let picked = plan::parse(Path::new("x.toml"), &text, &Source::new("nowhere")).unwrap().record();
    assert_eq!(picked.published, vec![]);
    // an older plan does not know the key
    let json = serde_json::to_string(&picked).unwrap();
    assert!(!json.contains("published"), "{json}");
    assert_eq!(serde_json::from_str::<PlanRecord>(&json).unwrap(), picked);
}

#[test]
fn wrong_figure_blocks_are_named_with_line_and_hint() {
    for (figures, wanted) in [
        ("[figure]\nwidth = \"pag\"\n", "x.toml:9: unknown width \"pag\" (hint: did you mean `page`?)"),
        ("[figure]\nwidht = \"page\"\n", "x.toml:9: unknown key `widht` in `figure` (hint: did you mean `width`?)"),
        ("[figure]\nfont = 3\n", "x.toml:9: `font` is a size in points from 5 to 14"),
        ("[figure]\nfont = \"big\"\n", "x.toml:9: `font` in `figure`: expected a number, found the text \"big\""),
        ("[figure]\npalette = \"rainbow\"\n", "x.toml:9: unknown palette \"rainbow\" (known: okabe-ito, grey)"),
        ("[figure]\nkind = \"costs\"\n", "x.toml:9: unknown kind of figure \"costs\" (hint: did you mean `cost`?)"),
        (
            "[figure]\nkind = \"cost\"\npanels = { models = [\"vgg11-half-cifar\"] }\n",
            "x.toml:10: no cell of this sweep has the model \"vgg11-half-cifar\" (hint: did you mean `vgg11-half-cifar10`?)",
        ),
        (
            "[figure]\npanels = { eps = [\"4/255\"], columns = 9 }\n",
            "x.toml:9: no cell of this sweep has the budget \"4/255\" (known: 8/255)",
        ),
        ("[figure]\npanels = { columns = 9 }\n", "x.toml:9: `columns` is a number of panels from 1 to 6"),
        (
            "[[figure]]\nkind = \"cost\"\n[[figure]]\nkind = \"cost\"\n",
            "x.toml:10: line 8 is about figure `cost`, too (hint: give one of them a `name`)",
        ),
        ("[figure]\nname = \"a/b\"\n", "x.toml:9: `name` becomes the name of files"),
        ("[figure]\nkind = \"cost\"\nname = \"gallery\"\n", "`gallery` is the name of another chart"),
        ("figure = 3\n", "expected a table, found"),
    ] {
        // a bare key cannot follow a table
        let text =
            if figures.starts_with("figure =") { format!("{figures}{SWEEP}") } else { format!("{SWEEP}{figures}") };
        let found = match plan::parse(Path::new("x.toml"), &text, &Source::new("nowhere")) {
            Err(Error::Config(problems)) => problems,
            Err(other) => panic!("{figures}: {other}"),
            Ok(_) => panic!("{figures}: no error"),
        };
        assert!(found.iter().any(|p| p.contains(wanted)), "{figures}: {found:?}");
    }
}

#[test]
fn a_changed_table_of_images_is_noticed_with_its_cell() {
    let folder = tempfile::tempdir().unwrap();
    let store = make(folder.path(), &small(), vec![]);
    report::write(&store).unwrap();
    let csv = text(folder.path(), "tables/images.csv");
    let cell = store.read_plan().unwrap().cells[2].id();
    let changed = csv.replacen(&format!("\n{cell},7,"), &format!("\n{cell},8,"), 1);
    assert_ne!(csv, changed);
    fs::write(folder.path().join("tables/images.csv"), changed).unwrap();
    let problems = report::stale(&store).unwrap();
    assert!(problems.len() == 1 && problems[0].starts_with(&format!("cell {cell}: tables/images.csv")), "{problems:?}");
    fs::write(folder.path().join("tables/images.csv"), csv + "more\n").unwrap();
    assert_eq!(report::stale(&store).unwrap().len(), 1, "what follows counts, too");
}

/// Peak memory of this process in KiB.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// 10,000 cells of 1,000 images, in under 30 s and 1 GiB: `cargo test --release --test report -- --ignored --nocapture`. Writes
/// 2.5 GB below the temporary folder.
#[test]
#[ignore = "takes minutes to make its store"]
fn ten_thousand_cells_are_reported_in_half_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let attacks = (0..20).map(|k| ("pgd", true, vec![("steps", (10 + k).to_string())])).collect();
    let sweep = Sweep {
        models: 50,
        attacks,
        threats: vec![("linf", (1..=10).map(|e| format!("{e}/255")).collect())],
        goals: vec!["untargeted"],
        images: 1000,
        transfers: false,
    };
    let store = make(folder.path(), &sweep, vec![]);
    let start = Instant::now();
    report::write(&store).unwrap();
    let (seconds, peak) = (start.elapsed().as_secs_f64(), peak());
    println!("{seconds:.1} s, {peak:?} KiB");
    assert!(seconds < 30.0, "{seconds:.1} s");
    assert!(peak.is_none_or(|kib| kib < 1 << 20), "{peak:?} KiB");
}
