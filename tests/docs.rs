//! README and manual: tables written from the registries, links, examples, and the book.
//!
//! What stands between `<!-- generated: NAME -->` and `<!-- end -->` is made here. Where a page differs, the test says which, and
//! `FOOLPROOF_RENEW=1 cargo test --release --test docs` renews it.

mod support;

use clap::{Arg, Command, CommandFactory};
use foolproof::attack::{ATTACKS, Entry};
use foolproof::cli::Cli;
use foolproof::config::{Place, Problems, RobustSpec, SWEEP_KEYS, SweepFile, TRAINING_KEYS, TrainingFile};
use foolproof::data::{DATASETS, Source};
use foolproof::export::FORMATS;
use foolproof::model::{self, FAMILIES, MODELS};
use foolproof::record::Outcome;
use foolproof::report::columns::{self, Described};
use foolproof::sweep::plan;
use foolproof::terms::Norm;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use support::foolproof;

/// What makes a block, by its name.
type Block = (&'static str, fn() -> String);

const BLOCKS: &[Block] = &[
    ("attacks-by-norm", attacks_by_norm),
    ("attacks-of-norms", attacks_of_norms),
    ("attacks", attacks),
    ("keys-of-a-block", || keys("sweep.", &["key", "values", "default"], |key| !key.contains('.'))),
    ("keys-of-images", || keys("sweep.data.", &["key", "meaning", "default"], |key| !OF_PARQUET.contains(&key))),
    ("keys-of-parquet", keys_of_parquet),
    ("keys-of-a-training", || keys_of_a_training(|key| !key.contains('.'))),
    ("keys-of-a-recipe", || keys_of_a_training(|key| key.contains('.'))),
    ("verbs", verbs),
    ("options", options),
    ("options-of-verbs", options_of_verbs),
    ("models", models),
    ("families", families),
    ("onnx-operators", onnx_operators),
    ("datasets", datasets),
    ("defences", defences),
    ("corruptions", corruptions),
    ("formats", formats),
    ("columns", all_columns),
    ("export-columns", || columns_of(&columns::EXPORT)),
    ("optimality-columns", || columns_of(&columns::OPTIMALITY)),
    ("optimality-curve-columns", || columns_of(&columns::OPTIMALITY_CURVE)),
    ("first-run", first_run),
    ("one-picture", one_picture),
];

const BEGIN: &str = "\n<!-- generated: ";
const END: &str = "<!-- end -->";

// ---- pages

/// Every Markdown file below a folder.
fn markdown_below(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            found.extend(markdown_below(entry.to_str().unwrap()));
        } else if entry.extension().is_some_and(|end| end == "md") {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// README and manual.
fn manual() -> Vec<PathBuf> {
    [vec!["README.md".into()], markdown_below("docs")].concat()
}

/// All of the project's pages.
fn pages() -> Vec<PathBuf> {
    let others = ["CHANGELOG.md", "datasets/README.md", "results/README.md"];
    [manual(), others.map(PathBuf::from).into()].concat()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Lines outside of fenced code, and the fenced blocks with their language.
fn taken_apart(text: &str) -> (Vec<&str>, Vec<(String, String)>) {
    let (mut lines, mut blocks) = (Vec::new(), Vec::new());
    let mut fence: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), fence.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(language), None) => fence = Some((language.to_string(), String::new())),
            (None, Some((language, code))) => fence = Some((language, code + line + "\n")),
            (None, None) => lines.push(line),
        }
    }
    assert!(fence.is_none(), "a fence is left open");
    (lines, blocks)
}

// ---- generated blocks

/// A page with its blocks made anew, and the names of those.
fn renewed(page: &Path, text: &str) -> (String, Vec<String>) {
    let (mut out, mut names, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->\n").unwrap_or_else(|| panic!("{}: no name", page.display()));
        let (_, after) = after.split_once(END).unwrap_or_else(|| panic!("{}: `{name}` has no end", page.display()));
        let block = BLOCKS.iter().find(|(known, _)| *known == name);
        let (_, make) = block.unwrap_or_else(|| panic!("{}: nothing makes `{name}`", page.display()));
        out += &format!("{before}{BEGIN}{name} -->\n\n{}\n\n{END}", make().trim());
        names.push(name.to_string());
        rest = after;
    }
    (out + rest, names)
}

#[test]
fn generated_blocks_are_what_the_registries_say() {
    let (mut stale, mut used) = (Vec::new(), BTreeSet::new());
    for page in manual() {
        let text = read(&page);
        let (new, names) = renewed(&page, &text);
        used.extend(names);
        if new != text && std::env::var_os("FOOLPROOF_RENEW").is_some() {
            fs::write(&page, new).unwrap();
        } else if new != text {
            let differs = new.lines().zip(text.lines()).find(|(new, old)| new != old);
            stale.push(format!("{}: {differs:?}", page.display()));
        }
    }
    let made: BTreeSet<String> = BLOCKS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(used, made, "every block is used, and made");
    assert!(
        stale.is_empty(),
        "not what the registries say (first line that differs: new, old):\n{}\n\
         FOOLPROOF_RENEW=1 cargo test --release --test docs renews them",
        stale.join("\n")
    );
}

/// A table in Markdown.
fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let field = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let line = |fields: Vec<String>| format!("| {} |\n", fields.join(" | ")).replace("  ", " ");
    let mut out = line(heading.iter().map(|h| h.to_string()).collect());
    out += &format!("|{}\n", "---|".repeat(heading.len()));
    for row in rows {
        assert_eq!(row.len(), heading.len());
        out += &line(row.iter().map(|text| field(text)).collect());
    }
    out
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

fn codes<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(code).collect::<Vec<_>>().join(", ")
}

fn attacks_by_norm() -> String {
    let norms: Vec<&str> = Norm::all().map(Norm::name).collect();
    let heading = [vec!["attack"], norms, vec!["what it is"]].concat();
    let row = |a: &&Entry| {
        let mut row = vec![code(a.name)];
        row.extend(Norm::all().map(|norm| if a.norms.contains(&norm) { "✓".into() } else { String::new() }));
        row.push(a.summary.to_string());
        row
    };
    table(&heading, ATTACKS.iter().map(row))
}

/// The names alone.
fn attacks_of_norms() -> String {
    let row = |norm: Norm| {
        let of = ATTACKS.iter().filter(|a| a.norms.contains(&norm)).map(|a| a.name);
        vec![code(norm.name()), codes(of)]
    };
    table(&["norm", "attacks"], Norm::all().map(row))
}

fn attacks() -> String {
    let one = |a: &&Entry| {
        let head =
            format!("### `{}`\n\n{}. Norms: {}.", a.name, capital(a.summary), codes(a.norms.iter().map(|n| n.name())));
        if a.params.is_empty() {
            return format!("{head} No parameters.\n");
        }
        let rows = a.params.iter().map(|p| vec![code(p.name), p.kind.values(), code(p.default), p.summary.to_string()]);
        format!("{head}\n\n{}", table(&["parameter", "values", "default", "meaning"], rows))
    };
    ATTACKS.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// What clap says of an argument, with its values and its default where the text has not got them.
fn help(arg: &Arg) -> String {
    let mut text = arg.get_help().map_or(String::new(), |h| h.to_string());
    let values: Vec<String> = arg.get_possible_values().iter().map(|v| v.get_name().to_string()).collect();
    let is_list = !arg.is_hide_possible_values_set() && arg.get_action().takes_values() && !values.is_empty();
    if is_list && !text.contains(&values[0]) {
        text += &format!(": {}", codes(values.iter().map(String::as_str)));
    }
    let default: Vec<_> = arg.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !default.is_empty() {
        text += &format!(" [default: {}]", default.join(" "));
    }
    // clap's help sets neither links nor code apart
    text.replace('<', "&lt;")
}

/// `-q`, `--quiet`; `--out DIR`.
fn call(arg: &Arg) -> String {
    let value = arg.get_value_names().map_or(String::new(), |names| format!(" {}", names.join(" ")));
    let value = if arg.get_action().takes_values() && value.is_empty() {
        format!(" {}", arg.get_id().as_str().to_uppercase())
    } else {
        value
    };
    let value = match arg.get_num_args() {
        _ if !arg.get_action().takes_values() => String::new(),
        Some(few) if few.min_values() == 0 => format!("[={}]", value.trim()),
        _ => value,
    };
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}{value}`"),
        (_, Some(long)) => format!("`--{long}{value}`"),
        _ => code(value.trim()),
    }
}

/// As in a call: `[NAME]` where it may be left out.
fn in_call(arg: &Arg) -> String {
    let text = call(arg).replace('`', "");
    if arg.is_required_set() { text } else { format!("[{text}]") }
}

fn verbs() -> String {
    let command = Cli::command();
    let row = |verb: &Command| {
        let wanted = verb.get_arguments().filter(|a| a.is_positional() || a.is_required_set());
        let arguments: String = wanted.map(|a| format!(" {}", in_call(a))).collect();
        let about = verb.get_about().map_or(String::new(), |a| a.to_string());
        vec![format!("`foolproof {}{arguments}`", verb.get_name()), about]
    };
    let whole =
        vec!["`foolproof --config FILE`".to_string(), "Run a sweep, then write its tables, figures and page".into()];
    table(&["call", "what it does"], [whole].into_iter().chain(command.get_subcommands().map(row)))
}

fn options() -> String {
    let command = Cli::command();
    let global: Vec<Vec<String>> =
        command.get_arguments().filter(|a| a.is_global_set()).map(|a| vec![call(a), help(a)]).collect();
    table(&["option", "meaning"], global)
}

fn options_of_verbs() -> String {
    let command = Cli::command();
    let rows = command.get_subcommands().flat_map(|verb| {
        let own = verb.get_arguments().filter(|a| !a.is_global_set());
        own.map(|a| vec![code(verb.get_name()), call(a), help(a)]).collect::<Vec<_>>()
    });
    table(&["verb", "argument", "meaning"], rows)
}

fn models() -> String {
    let rows = MODELS.iter().map(|entry| {
        let f = entry.file().unwrap();
        let width = f.own.get("width").map_or(String::new(), |w| format!(", width {w}"));
        let place = match &f.place {
            Place::Hub { repository, .. } => code(repository),
            Place::File(_) if entry.is_embedded() => "compiled in".into(),
            Place::File(_) => "a file".into(),
        };
        let stages: Vec<&str> = f.defence.stages.iter().map(|stage| stage.name.as_str()).collect();
        let behind = if stages.is_empty() { String::new() } else { format!(", behind `{}`", stages.join("`, `")) };
        let pinned = f.sha256.as_ref().map_or("no", |_| "yes");
        let accuracy = f
            .published
            .as_ref()
            .map_or("–".into(), |p| format!("{:.1} % of {}", 100.0 * p.correct as f64 / p.of as f64, p.of));
        let left = |r: &RobustSpec| {
            let a = &r.accuracy;
            format!("{:.1} % of {} ({} {} {})", 100.0 * a.correct as f64 / a.of as f64, a.of, r.attack, r.norm, r.eps)
        };
        vec![
            code(entry.name),
            format!("{}{width}{behind}", f.family),
            foolproof::size::text(f.size),
            f.classes.to_string(),
            place,
            pinned.into(),
            accuracy,
            f.robust.as_ref().map_or("–".into(), left),
        ]
    });
    table(&["model", "network", "side", "classes", "weights", "pinned", "clean accuracy", "under attack"], rows)
}

/// Keys of a sweep file whose paths begin so.
fn keys(prefix: &str, heading: &[&str], wanted: fn(&str) -> bool) -> String {
    let below = SWEEP_KEYS.iter().filter_map(|key| Some((key.path.strip_prefix(prefix)?, key)));
    let rows = below.filter(|(name, _)| wanted(name));
    let rows = rows.map(|(name, key)| vec![code(name), key.meaning.to_string(), key.default.to_string()]);
    table(heading, rows)
}

/// Keys of a training file: of the file itself, or of a recipe.
fn keys_of_a_training(wanted: fn(&str) -> bool) -> String {
    let rows = TRAINING_KEYS
        .iter()
        .filter(|key| wanted(key.path))
        .map(|key| vec![code(key.path.trim_start_matches("train.")), key.meaning.to_string(), key.default.to_string()]);
    table(&["key", "meaning", "default"], rows)
}

/// Keys of `data` that `parquet` alone has.
const OF_PARQUET: [&str; 7] = ["repository", "revision", "files", "image", "label", "classes", "sha256"];

fn keys_of_parquet() -> String {
    let further = |key: &str| key != "repository" && OF_PARQUET.contains(&key);
    keys("sweep.data.", &["further key of `parquet`", "meaning", "default"], further)
}

fn onnx_operators() -> String {
    let row = |(about, names): (&str, _)| vec![capital(about), codes(names)];
    table(&["about", "operators"], model::onnx::operators().map(row))
}

fn families() -> String {
    format!("Known families: {}.", codes(FAMILIES.iter().flat_map(|f| f.names.iter().copied())))
}

fn datasets() -> String {
    let number = |n: Option<usize>| n.map_or("–".into(), |n| n.to_string());
    let rows = DATASETS.iter().map(|d| {
        let splits = if d.splits.is_empty() { "any".into() } else { codes(d.splits.iter().copied()) };
        vec![code(d.name), splits, number(d.side), number(d.classes), d.summary.to_string()]
    });
    table(&["dataset", "splits", "side", "classes", "what it is"], rows)
}

fn defences() -> String {
    let key = |key: &foolproof::defence::Key| format!("{} = {}: {}", code(key.name), key.default, key.summary);
    let yes = |flag: bool| if flag { "yes" } else { "no" }.to_string();
    let row = |d: &foolproof::defence::StageEntry| {
        let keys = d.keys.iter().map(key).collect::<Vec<_>>().join("; ");
        vec![code(d.name), d.summary.into(), keys, yes(d.is_random), yes(d.has_derivative), d.source.into()]
    };
    table(
        &["name", "what it does", "constants", "random", "derivative", "source"],
        foolproof::defence::DEFENCES.iter().map(row),
    )
}

fn corruptions() -> String {
    let row = |c: &foolproof::corruption::Corruption| {
        let made = c.generate.map_or("–".into(), |_| code(&(c.name.to_string() + foolproof::corruption::LIKE)));
        let common = if c.is_common { "yes" } else { "no" };
        vec![code(c.name), made, common.into(), c.summary.into()]
    };
    table(&["published", "made here", "common", "what it is"], foolproof::corruption::CORRUPTIONS.iter().map(row))
}

fn formats() -> String {
    table(&["format", "what it is"], FORMATS.iter().map(|f| vec![code(f.name), f.summary.to_string()]))
}

fn columns_of(described: &Described) -> String {
    table(&["column", "what it says"], described.columns.iter().map(|(name, says)| vec![code(name), says.to_string()]))
}

fn all_columns() -> String {
    let one = |d: &Described| format!("### `{}`\n\n{}\n\n{}", d.table, d.rows, columns_of(d));
    let mut sections: Vec<String> = columns::TABLES.iter().map(one).collect();
    let rows = outcome_columns().into_iter().map(|(name, says)| vec![code(&name), says]);
    sections.push(format!(
        "### `cells/<id>/outcomes.csv`\n\nOne row per image of the cell; `tables/images` has a selection of it.\n\n{}",
        table(&["column", "what it says"], rows)
    ));
    sections.join("\n")
}

/// Fields of [`Outcome`] with their documentation in the source, where a missing value is an empty field.
fn outcome_columns() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    rust_below(Path::new("src"), &mut sources);
    let text = sources.iter().map(|p| read(p)).find(|t| t.contains("pub struct Outcome {")).expect("its source");
    let body = text.split_once("pub struct Outcome {").unwrap().1.split_once("\n}").unwrap().0;
    let (mut fields, mut says) = (Vec::new(), String::new());
    for line in body.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            says += more;
        } else if let Some(field) = line.strip_prefix("pub ") {
            let name = field.split_once(':').unwrap().0.to_string();
            let said = std::mem::take(&mut says).trim().trim_end_matches('.').replace("`None`", "empty");
            fields.push((name, said));
        }
    }
    fields
}

fn rust_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            rust_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// What the program prints, its runs below a folder.
fn printed(arguments: &[&str], out: &Path) -> String {
    let done = foolproof().args(arguments).args(["--quiet", "--device", "cpu", "--out"]).arg(out).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// What the first commands of the README print, eight lines of it.
fn first_run() -> String {
    let out = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| printed(arguments, out.path());
    let ran = run(&["--config", "sweeps/pgd.toml"]);
    let verified = run(&["verify", "pgd"]);
    let summary = read(&out.path().join("pgd/tables/summary.md"));
    let shown = ["n = ", "attack", "| 8/255"];
    let lines = summary.lines().filter(|line| shown.iter().any(|s| line.contains(s)));
    format!(
        "```console\n$ foolproof --config sweeps/pgd.toml --quiet | head -1\n{}\n$ foolproof verify pgd --quiet\n{}\n\
         $ grep -e 'n = ' -e attack -e '| 8/255' results/pgd/tables/summary.md | head -6\n{}\n```",
        ran.lines().next().unwrap(),
        verified.trim(),
        lines.take(6).collect::<Vec<_>>().join("\n")
    )
}

/// What an attack on one picture prints.
fn one_picture() -> String {
    let out = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| printed(arguments, out.path());
    let cat = "datasets/cifar10-sample/cifar10_00_3.png";
    let table = run(&["attack", cat, "--model", "vgg11-half-cifar10", "--target", "truck"]);
    let verified = run(&["verify", "cifar10_00_3-pgd"]);
    format!(
        "```console\n$ foolproof attack {cat} --model vgg11-half-cifar10 --target truck --quiet\n{}\n\
         $ foolproof verify cifar10_00_3-pgd --quiet\n{}\n```",
        table.trim(),
        verified.trim()
    )
}

#[test]
fn described_columns_are_those_that_are_written() {
    const SWEEP: &str = r#"
        name = "all"
        [[sweep]]
        models = ["vgg11-half-cifar10"]
        data = { name = "cifar10-sample", take = 3 }
        goals = ["target:next"]
        threats = [{ norm = "linf", eps = ["4/255", "8/255"] }]
        attacks = [{ name = "fgsm" }, { name = "pgd", steps = 2 }]
        transfer_to = ["vgg11-half-cifar10-robust"]
        explain = true
        [[sweep]]
        models = ["vgg11-half-cifar10"]
        data = { name = "cifar10-sample", take = 2 }
        goals = ["untargeted"]
        threats = [{ norm = "l2", minimal = true, passes = 20 }]
        attacks = [{ name = "ddn", steps = 10 }]
        [[sweep]]
        models = ["vgg11-half-cifar10"]
        data = { name = "cifar10-sample", take = 2 }
        goals = ["untargeted"]
        threats = [{ norm = "linf", eps = ["8/255"] }]
        attacks = [{ name = "autoattack", steps = 5 }]
        [[sweep]]
        models = ["vgg11-half-jpeg"]
        data = { name = "cifar10-sample", take = 2, corruption = "fog-like", severity = 1 }
        goals = ["untargeted"]
        threats = [{ norm = "linf", eps = ["8/255"] }]
        attacks = [{ name = "fgsm" }]
        binarise = 1
        [[sweep]]
        models = ["vgg11-half-cifar10"]
        data = { name = "blank-cifar10", take = 1 }
        goals = ["target:frog"]
        threats = [{ norm = "any" }]
        attacks = [{ name = "class-max", steps = 2 }]
    "#;
    let out = tempfile::tempdir().unwrap();
    let config = out.path().join("all.toml");
    fs::write(&config, SWEEP).unwrap();
    let run = |arguments: &[&Path]| {
        let done = foolproof().args(arguments).args(["--device", "cpu", "--out"]).arg(out.path()).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run(&["--config".as_ref(), &config]);
    let all = out.path().join("all");
    let heading = |path: &Path| -> Vec<String> {
        read(path).lines().next().unwrap_or_default().split(',').map(String::from).collect()
    };
    let names = |d: &Described| -> Vec<String> { d.columns.iter().map(|(name, _)| name.to_string()).collect() };
    for described in columns::TABLES {
        assert_eq!(names(described), heading(&all.join(format!("{}.csv", described.table))), "{}", described.table);
    }
    let written = fs::read_dir(all.join("tables")).unwrap().map(|e| e.unwrap().path());
    assert_eq!(written.filter(|p| p.extension().is_some_and(|end| end == "csv")).count(), columns::TABLES.len());
    let outcome: Vec<String> = outcome_columns().into_iter().map(|(name, _)| name).collect();
    assert_eq!(outcome, Outcome::COLUMNS);
    let export = out.path().join("export");
    run(&["export", "all", "--format", "parquet", "--to"]
        .map(Path::new)
        .iter()
        .copied()
        .chain([export.as_path()])
        .collect::<Vec<_>>());
    let file = SerializedFileReader::new(File::open(export.join("all.parquet")).unwrap()).unwrap();
    let schema = file.metadata().file_metadata().schema_descr();
    let exported: Vec<String> = schema.columns().iter().map(|c| c.name().to_string()).collect();
    assert_eq!(exported, [names(&columns::EXPORT), outcome].concat());
}

// ---- links

/// Targets of links and pictures outside of code.
fn links(text: &str) -> Vec<String> {
    let (lines, _) = taken_apart(text);
    let mut found = Vec::new();
    for line in lines {
        // what stands between backticks is code
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        found.extend(plain.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_string())));
    }
    found
}

/// Anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = taken_apart(text).0.into_iter().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || "_- ".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    };
    let unique = |line: &str| {
        let anchor = anchor(line);
        let count = seen.entry(anchor.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    };
    headings.map(unique).collect()
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut at, part| {
        match part {
            Component::ParentDir => assert!(at.pop(), "{} leaves the repository", path.display()),
            Component::CurDir => {}
            part => at.push(part),
        }
        at
    })
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for page in pages() {
        let in_book = page.starts_with("docs");
        for link in links(&read(&page)).iter().filter(|l| !l.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = if path.is_empty() { page.clone() } else { plain(&page.parent().unwrap().join(path)) };
            if !to.exists() {
                dead.push(format!("{}: no file {link}", page.display()));
            } else if in_book && !to.starts_with("docs") {
                dead.push(format!(
                    "{}: {link} is not in the book (hint: name the file, without a link)",
                    page.display()
                ));
            } else if !anchor.is_empty() && !anchors(&read(&to)).contains(anchor) {
                dead.push(format!("{}: no heading {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn every_page_is_in_the_summary_once() {
    let mut listed: Vec<PathBuf> =
        links(&read(Path::new("docs/SUMMARY.md"))).iter().map(|link| Path::new("docs").join(link)).collect();
    listed.sort();
    let pages: Vec<PathBuf> = markdown_below("docs").into_iter().filter(|p| !p.ends_with("SUMMARY.md")).collect();
    assert_eq!(listed, pages);
}

/// Comments name pages by their path.
#[test]
fn pages_that_sources_name_exist() {
    let mut sources = Vec::new();
    ["src", "tests", "benches"].iter().for_each(|folder| rust_below(Path::new(folder), &mut sources));
    for path in sources {
        let text = read(&path);
        for rest in text.split("docs/").skip(1) {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_/.".contains(c))).unwrap_or(rest.len());
            let named = rest[..end].trim_end_matches('.');
            if named.ends_with(".md") {
                assert!(Path::new("docs").join(named).is_file(), "{} names docs/{named}", path.display());
            }
        }
    }
}

// ---- examples

/// The rest of the block that a fragment stands for.
const REST: [(&str, &str); 5] = [
    ("models", r#"["vgg11-half-cifar10"]"#),
    ("data", r#"{ name = "cifar10-sample" }"#),
    ("goals", r#"["untargeted"]"#),
    ("threats", r#"[{ norm = "linf", eps = ["8/255"] }]"#),
    ("attacks", r#"[{ name = "fgsm" }, { name = "pgd" }]"#),
];

/// A sweep is planned, on data that is compiled in; a figure is drawn of one; of other fragments and of model files the form is
/// checked.
fn try_example(text: &str) -> Result<(), String> {
    let has = |key: &str| text.lines().any(|line| line.starts_with(key));
    let path = Path::new("example.toml");
    let planned = |text: &str| plan::parse(path, text, &Source::new("nowhere")).map(|_| ()).map_err(|e| e.to_string());
    if has("[[sweep]]") {
        return planned(text);
    }
    if has("[[train]]") {
        let problems = Problems::new(path, text);
        TrainingFile::parse(&problems, &model::families::keys());
        return problems.into_result().map_err(|e| e.to_string());
    }
    if has("family") || has("weights") {
        return model::parse(path, text).map(|_| ()).map_err(|e| e.to_string());
    }
    let rest = REST.iter().filter(|(key, _)| !has(key)).map(|(key, value)| format!("{key} = {value}\n"));
    let sweep = format!("name = \"example\"\n[[sweep]]\n{}{text}", rest.collect::<String>());
    if has("[figure]") || has("[[figure]]") {
        return planned(&sweep);
    }
    let problems = Problems::new(path, &sweep);
    SweepFile::parse(&problems);
    problems.into_result().map_err(|e| e.to_string())
}

#[test]
fn examples_are_valid() {
    let mut tried = 0;
    for page in manual() {
        let text = read(&page);
        for (_, example) in taken_apart(&text).1.iter().filter(|(language, _)| language == "toml") {
            try_example(example).unwrap_or_else(|e| panic!("{}: {e}\n{example}", page.display()));
            tried += 1;
        }
    }
    assert!(tried >= 6, "{tried} examples found");
}

/// What the readers of sweep and model files ask for is explained.
#[test]
fn every_key_is_in_the_manual() {
    let pages = [
        "docs/sweep-file.md",
        "docs/models.md",
        "docs/data.md",
        "docs/training.md",
        "docs/defences.md",
        "docs/corruptions.md",
    ]
    .map(|p| read(Path::new(p)))
    .concat();
    let said: BTreeSet<&str> = pages.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let mut keys = BTreeSet::new();
    for source in ["src/config/sweep_file.rs", "src/config/model_file.rs", "src/config/training_file.rs"] {
        let text = read(Path::new(source));
        for opening in ["(\"", "(top, \"", "[\""] {
            let literals = text.split(opening).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_string()));
            keys.extend(
                literals.filter(|l| {
                    !l.is_empty() && l.chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c))
                }),
            );
        }
    }
    assert!(keys.len() > 40 && keys.contains("sha256") && keys.contains("transfer_to"), "{keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !said.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "not in the manual: {missing:?}");
}

#[test]
fn every_kind_of_figure_is_in_the_manual() {
    let page = read(Path::new("docs/results.md"));
    for kind in foolproof::figure::KINDS {
        assert!(page.contains(&format!("| `{kind}` |")), "docs/results.md says nothing of `{kind}`");
    }
}

#[test]
fn the_readme_stays_short() {
    let bytes = read(Path::new("README.md")).len();
    assert!(bytes <= 10_000, "README.md has {bytes} bytes; the manual has room");
}

#[test]
fn the_book_builds() {
    let out = tempfile::tempdir().unwrap();
    match std::process::Command::new("mdbook").args(["build", "docs", "--dest-dir"]).arg(out.path()).output() {
        Err(_) => eprintln!("skipped the_book_builds: no mdbook (cargo install mdbook)"),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
            assert!(out.path().join("sweep-file.html").is_file());
        }
    }
}
