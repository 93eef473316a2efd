//! `foolproof schema`: every file of the repository fits, wrong ones do not, and no key is missing.

mod support;

use foolproof::data::Source;
use foolproof::error::Error;
use foolproof::model::families;
use foolproof::sweep::plan;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::foolproof;
use toml::de::{DeTable, DeValue};

fn schema(kind: &str) -> Value {
    let output = foolproof().args(["schema", kind]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

// ---- a validator of the keywords that are used

/// The first thing that is wrong with a value; `None`: it fits.
fn wrong(schema: &Value, value: &Value, at: &str) -> Option<String> {
    let Some(rules) = schema.as_object() else {
        return (schema != &json!(true)).then(|| format!("{at}: not allowed"));
    };
    rules.iter().find_map(|(keyword, rule)| {
        let says = |sound: bool| (!sound).then(|| format!("{at}: {keyword} {rule}, found {value}"));
        let list = || rule.as_array().unwrap();
        match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "then" => None,
            "type" => says(match rule {
                Value::Array(types) => types.iter().any(|one| is_of(value, one.as_str().unwrap())),
                one => is_of(value, one.as_str().unwrap()),
            }),
            "enum" => says(list().contains(value)),
            "const" => says(rule == value),
            "minimum" => says(value.as_f64().is_none_or(|v| v >= rule.as_f64().unwrap())),
            "maximum" => says(value.as_f64().is_none_or(|v| v <= rule.as_f64().unwrap())),
            "exclusiveMinimum" => says(value.as_f64().is_none_or(|v| v > rule.as_f64().unwrap())),
            "pattern" => says(value.as_str().is_none_or(|text| fits(rule.as_str().unwrap(), text))),
            "minItems" => says(value.as_array().is_none_or(|list| list.len() as u64 >= rule.as_u64().unwrap())),
            "items" => {
                let elements = value.as_array().into_iter().flatten().enumerate();
                elements.into_iter().find_map(|(i, element)| wrong(rule, element, &format!("{at}[{i}]")))
            }
            "required" => says(
                value
                    .as_object()
                    .is_none_or(|table| list().iter().all(|key| table.contains_key(key.as_str().unwrap()))),
            ),
            "properties" => rule
                .as_object()
                .unwrap()
                .iter()
                .find_map(|(key, rule)| wrong(rule, value.get(key)?, &format!("{at}.{key}"))),
            "additionalProperties" => {
                let own = rules.get("properties").and_then(Value::as_object);
                let others = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| own.is_none_or(|own| !own.contains_key(*key)));
                others.into_iter().find_map(|(key, other)| wrong(rule, other, &format!("{at}.{key}")))
            }
            "allOf" => list().iter().find_map(|one| wrong(one, value, at)),
            "anyOf" => says(list().iter().any(|one| wrong(one, value, at).is_none())),
            "not" => says(wrong(rule, value, at).is_some()),
            "if" => wrong(rule, value, at).is_none().then(|| wrong(&rules["then"], value, at)).flatten(),
            other => panic!("`{other}` is not known here"),
        }
    })
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|v| v.fract() == 0.0),
        other => panic!("type `{other}`"),
    }
}

/// The few patterns that are used.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern {
        "^target:" => text.starts_with("target:"),
        "\\.onnx$" => text.ends_with(".onnx"),
        "^\\+?[0-9]+$" => {
            let digits = text.strip_prefix('+').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        }
        "^([0-9a-f]{64}|unpinned)$" => {
            text == "unpinned"
                || text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        }
        other => panic!("pattern `{other}`"),
    }
}

// ---- files

fn json_of(value: &DeValue) -> Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).unwrap().into(),
        DeValue::Float(f) => f.as_str().parse::<f64>().unwrap().into(),
        DeValue::Array(list) => list.iter().map(|v| json_of(v.get_ref())).collect(),
        DeValue::Table(table) => object_of(table),
        DeValue::Datetime(time) => time.to_string().into(),
    }
}

fn object_of(table: &DeTable) -> Value {
    let entries = table.iter().map(|(key, value)| (key.get_ref().to_string(), json_of(value.get_ref())));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn read(text: &str) -> Value {
    object_of(DeTable::parse(text).unwrap().get_ref())
}

fn files(folder: &str) -> Vec<(String, Value)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == "toml"));
    let mut files: Vec<_> =
        paths.map(|path| (path.display().to_string(), read(&fs::read_to_string(&path).unwrap()))).collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

#[test]
fn every_file_of_the_repository_fits() {
    for (kind, folder, least) in
        [("sweep", "configs/sweeps", 20), ("model", "configs/models", 24), ("training", "configs/training", 4)]
    {
        let (schema, files) = (schema(kind), files(folder));
        assert!(files.len() >= least, "{folder}: {}", files.len());
        for (path, file) in files {
            assert_eq!(wrong(&schema, &file, ""), None, "{path}");
        }
    }
}

/// A sweep file with one thing put in place of another.
const SWEEP: &str = r#"
name = "s"
[[sweep]]
models  = ["vgg11-half-cifar10"]
data    = { name = "cifar10-sample", take = 2 }
goals   = ["untargeted"]
threats = [{ norm = "linf", eps = ["8/255"] }]
attacks = [{ name = "pgd", steps = [5, 10], step_size = "2/255", random_start = false }]
"#;

#[test]
fn what_the_schema_of_sweeps_refuses_the_program_refuses_too() {
    let schema = schema("sweep");
    let parse = |text: &str| plan::parse(Path::new("s.toml"), text, &Source::new("nowhere"));
    assert!(wrong(&schema, &read(SWEEP), "").is_none() && parse(SWEEP).is_ok());
    let wrongs = [
        ("name = \"s\"", "nam = \"s\""),
        ("name = \"s\"", "name = 1"),
        ("name = \"s\"", "name = \"s\"\nseed = -1"),
        ("name = \"s\"", "name = \"s\"\nfigure = { width = \"poster\" }"),
        ("name = \"s\"", "name = \"s\"\nfigure = { fontt = 7 }"),
        ("[\"vgg11-half-cifar10\"]", "[]"),
        ("[\"vgg11-half-cifar10\"]", "\"vgg11-half-cifar10\""),
        ("take = 2", "take = 0"),
        ("take = 2", "takes = 2"),
        ("take = 2", "take = \"2\""),
        ("cifar10-sample", "cifar11-sample"),
        ("\"untargeted\"", "\"untargetted\""),
        ("norm = \"linf\"", "norm = \"l3\""),
        ("norm = \"linf\", ", ""),
        ("eps = [\"8/255\"]", "eps = 0.03"),
        ("eps = [\"8/255\"]", "eps = [0.03]"),
        ("eps = [\"8/255\"]", "minimal = true, passes = 1"),
        ("name = \"pgd\"", "name = \"pdg\""),
        ("name = \"pgd\", ", ""),
        ("steps = [5, 10]", "stepss = 5"),
        ("steps = [5, 10]", "steps = 0"),
        ("steps = [5, 10]", "steps = []"),
        ("steps = [5, 10]", "steps = { a = 1 }"),
        ("steps = [5, 10]", "queries = 5"),
        ("random_start = false", "random_start = 0"),
        ("random_start = false", "loss = \"cee\""),
        ("step_size = \"2/255\"", "step_size = -1"),
        ("goals   =", "mode = \"with\"\ngoals ="),
        ("goals   =", "witness = \"u16\"\ngoals ="),
        ("goals   =", "explain = \"yes\"\ngoals ="),
        ("goals   =", "explain = { layers = \"x\" }\ngoals ="),
        ("goals   = [\"untargeted\"]\n", ""),
        ("data    = { name = \"cifar10-sample\", take = 2 }\n", ""),
    ];
    for (right, other) in wrongs {
        assert!(SWEEP.contains(right), "{right}");
        let text = SWEEP.replace(right, other);
        assert!(wrong(&schema, &read(&text), "").is_some(), "the schema takes {other}");
        assert!(matches!(parse(&text), Err(Error::Config(_))), "the program takes {other}");
    }
    let rights = [
        ("[5, 10]", "\"5\""),
        ("\"vgg11-half-cifar10\"]", "\"mine.toml\", \"hub:owner/name\"]"),
        ("\"untargeted\"", "\"target:cat\", \"target:3\""),
        ("goals   =", "explain = true\ngoals ="),
        ("goals   =", "explain = { layer = \"features.4\" }\ngoals ="),
        ("goals   =", "train = { name = \"cifar10\", split = \"train\", models = [\"a + b\"] }\ngoals ="),
        ("name = \"s\"", "name = \"s\"\nfigure = { labels = { pgd = \"PGD\" }, panels = { eps = [\"8/255\", 1] } }"),
        ("name = \"linf\", eps = [\"8/255\"]", "norm = \"pixels\", count = [1, \"3\"]"),
    ];
    for (right, other) in rights {
        assert_eq!(wrong(&schema, &read(&SWEEP.replace(right, other)), ""), None, "{other}");
    }
}

const MODEL: &str = "family = \"vgg16_bn\"\nclasses = 10\nside = 32\nmean = [0.5, 0.5, 0.5]\nstd = [0.2, 0.2, 0.2]\nweights = \"a.pth\"\n";

#[test]
fn what_the_schema_of_models_refuses_the_program_refuses_too() {
    let schema = schema("model");
    let parse = |text: &str| {
        families::parse_either(Path::new("m.toml"), text).and_then(|text| match text {
            foolproof::config::ModelText::Whole(file) => families::checked(&file).map(drop).map_err(Error::usage),
            _ => Ok(()),
        })
    };
    let onnx = "weights = \"a.onnx\"\nclasses = 10\nside = 32\nmean = \"inside\"\n";
    for right in [
        MODEL,
        onnx,
        "hub = \"owner/name\"\n",
        &MODEL.replace("side = 32", "size = [64, 32]"),
        &MODEL.replace("weights = \"a.pth\"", "hub = \"owner/name\"\nfile = \"b.bin\""),
        &format!("{MODEL}head = \"linear\"\nwidth = 0.5\n"),
        &format!("{MODEL}class_names = \"names.txt\"\n"),
        &MODEL.replace("classes = 10", "classes = 2\nclass_names = [\"cat\", \"dog\"]"),
        "hub = \"owner/name\"\nclass_names = [\"cat\", \"dog\"]\n",
    ] {
        assert_eq!(wrong(&schema, &read(right), ""), None, "{right}");
        parse(right).unwrap();
    }
    let wrongs = [
        ("family = \"vgg16_bn\"\n", ""),
        ("family = \"vgg16_bn\"", "family = \"vgg17\""),
        ("classes = 10\n", ""),
        ("classes = 10", "classes = 0"),
        ("side = 32\n", ""),
        ("mean = [0.5, 0.5, 0.5]\n", ""),
        ("mean = [0.5, 0.5, 0.5]", "mean = \"outside\""),
        ("weights = \"a.pth\"\n", ""),
        ("weights", "weight"),
        ("side = 32", "side = 32\ninterpolation = \"cubic\""),
        ("side = 32", "side = 32\nkeys = \"keras\""),
        ("side = 32", "side = 32\nhead = \"round\""),
        ("side = 32", "side = 32\nsha256 = \"abc\""),
        ("side = 32", "side = 32\nclass_names = []"),
        ("side = 32", "side = 32\nclass_names = [1, 2]"),
        ("side = 32", "side = 32\nclean_accuracy = { population = \"p\", correct = 1, source = \"s\" }"),
    ];
    for (right, other) in wrongs {
        let text = MODEL.replace(right, other);
        assert!(text != MODEL && wrong(&schema, &read(&text), "").is_some(), "the schema takes {other}");
        assert!(parse(&text).is_err(), "the program takes {other}");
    }
}

/// The keys that the reader says it knows, and how many there are.
fn known(message: &str) -> (BTreeSet<String>, usize) {
    let list = message.split_once("(known: ").unwrap_or_else(|| panic!("{message}")).1;
    let list = list.lines().next().unwrap().trim_end_matches(')');
    let (names, count) = match list.split_once(", … ") {
        Some((names, rest)) => (names, rest.split(' ').next().unwrap().parse().ok()),
        None => (list, None),
    };
    let names: BTreeSet<String> = names.split(", ").map(String::from).collect();
    let count = count.unwrap_or(names.len());
    (names, count)
}

#[test]
fn every_key_that_the_reader_knows_is_in_the_schema() {
    let sweep = schema("sweep");
    let block = &sweep["properties"]["sweep"]["items"]["properties"];
    let figure = &sweep["properties"]["figure"]["anyOf"][0]["properties"];
    let odd = "zzzzzzzzzzzzzzzz = 1";
    let tables: [(&Value, &str, String); 7] = [
        (&sweep["properties"], "name = \"s\"", format!("name = \"s\"\n{odd}")),
        (block, "goals   =", format!("{odd}\ngoals   =")),
        (&block["data"]["properties"], "take = 2", odd.into()),
        (&block["threats"]["items"]["properties"], "eps = [\"8/255\"]", odd.into()),
        (&block["train"]["properties"], "goals   =", format!("train = {{ name = \"cifar10\", {odd} }}\ngoals   =")),
        (figure, "name = \"s\"", format!("name = \"s\"\nfigure = {{ {odd} }}")),
        (&figure["panels"]["properties"], "name = \"s\"", format!("name = \"s\"\nfigure = {{ panels = {{ {odd} }} }}")),
    ];
    for (properties, right, other) in tables {
        let text = SWEEP.replace(right, &other);
        let problem = plan::parse(Path::new("s.toml"), &text, &Source::new("nowhere")).err().unwrap().to_string();
        let line = problem.lines().find(|line| line.contains("zzzz")).unwrap();
        compare(properties, line);
    }
    let problem = families::parse(Path::new("m.toml"), &format!("{MODEL}{odd}\n")).unwrap_err().to_string();
    compare(&schema("model")["properties"], &problem);
}

fn compare(properties: &Value, problem: &str) {
    let ours: BTreeSet<String> =
        properties.as_object().unwrap_or_else(|| panic!("{problem}")).keys().cloned().collect();
    let (names, count) = known(problem);
    assert!(names.is_subset(&ours), "{problem}\n{ours:?}");
    assert_eq!(count, ours.len(), "{problem}\n{ours:?}");
}

#[test]
fn every_key_is_described() {
    fn walk(schema: &Value, at: &str, bare: &mut Vec<String>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}.{key}");
            if property["description"].as_str().is_none_or(str::is_empty) && !at.ends_with(".labels") {
                bare.push(at.clone());
            }
            for inner in
                [property, &property["items"]].into_iter().chain(property["anyOf"].as_array().into_iter().flatten())
            {
                walk(inner, &at, bare);
            }
        }
    }
    let mut bare = Vec::new();
    for kind in ["sweep", "model"] {
        walk(&schema(kind), kind, &mut bare);
    }
    assert!(bare.is_empty(), "{bare:?}");
}
