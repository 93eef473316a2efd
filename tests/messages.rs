//! Every error that the program makes says what is wrong, where, and what helps: the sources are read, and each place that makes one
//! is looked at. What an error says that others are part of (`{problem}`) is looked at where that is made.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::foolproof;

/// What makes an error of a text.
const MAKERS: [&str; 10] = [
    "Error::usage(",
    "Error::Usage(",
    "Error::Absent(",
    "Error::Hub(",
    "Error::Store(",
    "Error::Verify(",
    "Error::Gate(",
    "Error::Figure(",
    ".problem(",
    "problem: format!(",
];

/// A message that has one of these says what helps, what is expected, or which bound is passed.
const WAYS: &[&str] = &[
    "hint",
    "known",
    "expected",
    "missing key",
    "needs",
    "must",
    "use ",
    "rename",
    "at least",
    "one of the two",
    "one text, not",
    "one kind",
    "are in one place",
    "goes without",
    "reads {SCHEMA}",
    "scripts/build_cuda.sh",
    "more than {",
    "HINT",
    "HOW_TO_FETCH",
    "{near}",
    "{rule}",
    "BUG",
];

/// Beginnings of messages that have none of [`WAYS`], and why that is right.
const ALLOWED: &[(&str, &str)] = &[
    ("{}: {problem}", "the problem says it"),
    ("{text}: {problem}", "the problem says it"),
    ("{text}: {file}: {problem}", "the problem says it"),
    ("`{KEY}`: {problem}", "the problem says it"),
    ("classes `{text}`: {problem}", "the problem says it"),
    ("--classes: {problem}", "the problem says it"),
    ("{}:{line}: {problem}", "the problem says it"),
    ("{name}: {problem}", "the problem says it"),
    ("{key} `{value}`: {problem}", "the problem says it"),
    ("attack `{}`: {problem}", "the problem says it"),
    ("dataset `{}`: {}: {problem}", "the problem says it"),
    ("dataset `{}` has {n} images in split `{}`: {problem}", "the problem says it"),
    ("model `{name}`: {problem}", "the problem says it"),
    ("model `hub:{repository}`: {CONFIG}: {text}", "the text says it"),
    ("parquet file {}: {problem}", "the problem says it"),
    ("{what}: {why}", "what the Hub answered says it"),
    ("CUDA is not there: {missing}", "docs/cuda.md; --device cpu is said where it is printed"),
    ("the driver is of CUDA", "names the version that it wants"),
    (";", "joins messages"),
    ("in the plan, but missing", "of a cell, whose id stands before it"),
    ("its rows are not", "of a cell, whose id stands before it"),
    ("this program was built without", "names the script that builds one with it"),
    ("{} at fault, told above", "each fault says it"),
    ("{} problems, first", "`verify` prints each"),
    ("{} cells could not be checked", "`verify` prints each"),
    ("what lies in {} proves nothing", "names the folder, and is printed with the cells"),
    ("`std`: every channel", "says what it must be"),
    ("threat `{name}`: missing", "says what is missing"),
    ("it does not depend", "of an ONNX file: the network itself is at fault"),
    ("shape {dims:?}", "of an ONNX file: says what the shape should be"),
    // no file and no command line leads there: faults of the program
    ("an attack handed on", "a fault of the program"),
    ("what the net said was of other images", "a fault of the program"),
    ("an attack made no picture", "a fault of the program"),
    ("a picture of {} bytes", "a fault of the program"),
    ("a patch of {} bytes", "a fault of the program"),
    ("built-in picture: {e}", "a fault of the program"),
    ("attack `{}` has no norm", "a fault of the program"),
    ("dataset `{}`: no size", "a fault of the program"),
    ("the CUDA engine needs", "a fault of the program"),
    ("the report as JSON: {e}", "a fault of the program"),
    ("the schema as JSON: {e}", "a fault of the program"),
    ("manual page of `{}`: {e}", "a fault of the program"),
    ("threat `{}` has no direction", "a fault of the program"),
];

/// Of these `Error::way_out` says what helps.
const BY_KIND: [&str; 2] = ["Error::Store(", "Error::Figure("];

/// Texts handed on by these names were made by us.
const OURS: [&str; 4] = ["_", "problem", "text", "&problem"];

/// A place that makes an error.
struct Site {
    file: String,
    maker: &'static str,
    /// Its argument, in one line.
    argument: String,
    /// The literals in it.
    literals: Vec<String>,
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push((path.display().to_string(), code(&fs::read_to_string(&path).unwrap())));
        }
    }
}

/// Without comments and without what is behind `#[cfg(test)]`.
fn code(text: &str) -> String {
    let (mut kept, mut skipped) = (String::new(), None);
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        match skipped {
            Some(at) => skipped = (!(indent == at && line.trim_end().ends_with(['}', ';']))).then_some(at),
            None if line.trim_start().starts_with("#[cfg(test)]") => skipped = Some(indent),
            None if line.trim_start().starts_with("//") => {}
            None => kept += &format!("{line}\n"),
        }
    }
    kept
}

/// What stands up to the closing parenthesis, and the literals in it.
fn argument(text: &str) -> (String, Vec<String>) {
    let (mut depth, mut end, mut literals) = (1, text.len(), Vec::new());
    let mut open: Option<usize> = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (open, letter) {
            (Some(_), '\\') => _ = letters.next(),
            (Some(begin), '"') => {
                literals.push(one_line(&text[begin..at]));
                open = None;
            }
            (Some(_), _) => {}
            (None, '"') => open = Some(at + 1),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            end = at;
            break;
        }
    }
    (one_line(&text[..end]), literals)
}

/// A literal that goes on behind `\` in the next line, in one.
fn one_line(text: &str) -> String {
    text.replace("\\\n", "\n").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn sites() -> Vec<Site> {
    let (mut files, mut found) = (Vec::new(), Vec::new());
    sources(Path::new("src"), &mut files);
    for (file, text) in files {
        for maker in MAKERS {
            for (at, _) in text.match_indices(maker) {
                let (argument, literals) = argument(&text[at + maker.len()..]);
                let is_definition = text[..at].ends_with("fn ");
                if !is_definition {
                    found.push(Site { file: file.clone(), maker, argument, literals });
                }
            }
        }
    }
    found
}

#[test]
fn every_message_says_where_and_what_helps() {
    let sites = sites();
    let messages: Vec<&Site> = sites.iter().filter(|site| !site.literals.is_empty()).collect();
    println!("{} places make errors, {} of them with a text of their own", sites.len(), messages.len());
    assert!(messages.len() > 200, "{}: are they read?", messages.len());
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for site in &messages {
        let text = site.literals.join(" ");
        let named = text.contains(['`', '{']) || site.argument.contains("line");
        let helps = BY_KIND.contains(&site.maker) || WAYS.iter().any(|way| site.argument.contains(way));
        let allowed = ALLOWED.iter().find(|(begin, _)| text.starts_with(begin));
        used.extend(allowed.map(|(begin, _)| *begin));
        if allowed.is_none() && !helps {
            wrong.push(format!("{}: no way out: {text}", site.file));
        }
        if allowed.is_none() && !named && site.literals.iter().all(|literal| !literal.contains("hint")) {
            wrong.push(format!("{}: says not where: {text}", site.file));
        }
    }
    assert!(wrong.is_empty(), "{} messages:\n{}", wrong.len(), wrong.join("\n"));
    let unused: Vec<&str> = ALLOWED.iter().map(|(begin, _)| *begin).filter(|begin| !used.contains(begin)).collect();
    assert!(unused.is_empty(), "nothing begins so any more: {unused:?}");
}

#[test]
fn no_message_is_the_text_of_another_library_alone() {
    let mut wrong = Vec::new();
    for Site { file, argument, literals, .. } in sites() {
        let alone = literals.len() == 1 && ["{e}", "{problem}", "{error}", "{why}"].contains(&literals[0].as_str());
        let handed_on =
            literals.is_empty() && argument.contains("to_string()") && !argument.contains("line, e.to_string()");
        if alone || handed_on {
            wrong.push(format!("{file}: {argument}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn texts_are_handed_on_by_names_of_ours() {
    for Site { file, argument, .. } in sites().iter().filter(|site| site.literals.is_empty()) {
        let last = argument.rsplit([',', '|']).next().unwrap().trim();
        let is_ours = OURS.contains(&last) || argument.contains("line, e.to_string()") || argument.ends_with("_()");
        let is_empty = ["String::new()", "text.into()", "_"].contains(&argument.as_str());
        assert!(is_ours || is_empty, "{file}: {argument}");
    }
}

#[test]
fn names_are_never_joined_whole_into_a_message() {
    // `error::hint` cuts long lists, the nearest first
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let lists = ["MODELS", "ATTACKS", "DATASETS", "FAMILIES"];
    for (file, text) in files {
        for (n, line) in text.lines().enumerate() {
            let joined = line.contains(".join(\", \")") && lists.iter().any(|list| line.contains(list));
            assert!(!joined, "{file}:{}: {line}", n + 1);
        }
    }
}

/// A sweep on what is compiled in.
const SWEEP: &str = "name = \"s\"\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\ndata = { name = \"cifar10-sample\", take = 2 }\n\
                     goals = [\"untargeted\"]\nthreats = [{ norm = \"linf\", eps = [\"8/255\"] }]\nattacks = [{ name = \"fgsm\" }]\n";

/// What is printed for a wrong command line or file: what, where, and a way out.
#[test]
fn what_is_printed_has_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        at(name)
    };
    let put = |name: &str, old: &str, new: &str| {
        assert!(SWEEP.contains(old), "{old}");
        write(name, &SWEEP.replace(old, new))
    };
    let good = write("good.toml", SWEEP);
    let not_there = put("not-there.toml", "cifar10-sample", "cifar10");
    let no_weights = put("no-weights.toml", "vgg11-half-cifar10", "squeezenet1_0-imagenet");
    let offline = put("offline.toml", "vgg11-half-cifar10", "vgg16.tv_in1k");
    let no_model = put("no-model.toml", "vgg11-half-cifar10", "vgg11-half-cifar11");
    let not_toml = write("not.toml", "name = ");
    let damaged = at("damaged");
    fs::create_dir_all(folder.path().join("damaged/cells")).unwrap();
    fs::write(folder.path().join("damaged/plan.json"), "{}").unwrap();
    let (none, file) = (at("none"), write("file", ""));
    let calls: &[(&[&str], &str)] = &[
        (&["list", &none], "none"),
        (&["--config", &none], "none"),
        (&["run", &folder.path().display().to_string()], "no sweep file"),
        (&["list", &not_toml], "not.toml:1:"),
        (&["list", &not_there], "cifar10"),
        (&["list", &no_weights], "squeezenet1_0-imagenet"),
        (&["list", &offline], "timm/vgg16.tv_in1k"),
        (&["fetch", &offline], "timm/vgg16.tv_in1k"),
        (&["list", &no_model], "vgg11-half-cifar11"),
        (&["report", &none], "no run at"),
        (&["report", &damaged], "plan.json"),
        (&["verify", &none], "none"),
        (&["verify", &file], "file: holds no run"),
        (&["export", &none, "--format", "tar"], "none"),
        (&["compare", &none, &none], "none"),
        (&["bless", &none], "none"),
        (&["optimality", &none], "none"),
        (&["attacks", "pdg"], "pdg"),
        (&["datasets", "cifar1"], "cifar1"),
        (&["models", "vgg"], "vgg"),
        (&["run", &good, "--device", "tpu"], "tpu"),
        (&["run", &good, "--device", "cuda:9"], "cuda:9"),
        (&["run", &good, "--instructions", "sse"], "sse"),
        (&["run", &good, "--out", &file], "file"),
        (&["run", &good, "--explain=features.99"], "features.99"),
        (&["man", "--to", &format!("{file}/man")], "file/man"),
        (&["completions", "tcsh"], "tcsh"),
        (&["schema", "run"], "training"),
        (&["lisst"], "lisst"),
        (&[], "foolproof"),
    ];
    for (call, place) in calls {
        let mut command = foolproof();
        command.args(*call).current_dir(folder.path());
        command.env("FOOLPROOF_DATA", &none).env("HF_HUB_CACHE", &none).env("HF_HUB_OFFLINE", "1");
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{call:?}: {stderr}");
        assert!(stderr.contains(place), "{call:?} says not where: {stderr}");
        let ways = ["(hint: ", "(known: ", "expected", "[possible values: ", "--help", "Usage:"];
        assert!(ways.iter().any(|way| stderr.contains(way)), "{call:?} has no way out: {stderr}");
        assert!(!stderr.contains('\u{1b}') && !stderr.contains("panicked"), "{call:?}: {stderr}");
    }
}
