//! What the registries say of values.

use super::object::one_or_more;
use crate::attack::{ATTACKS, Entry, Kind, Param};
use crate::config::{KeyKind, RECIPES};
use crate::data::DATASETS;
use crate::defence::{DEFENCES, StageEntry};
use crate::figure::{KINDS, PALETTES, WIDTHS};
use crate::model::{FAMILIES, MODELS};
use crate::terms::{Norm, Precision, Through, WitnessKind};
use serde_json::{Map, Value, json};

/// Names that end so are of ONNX files.
pub const ONNX: &str = "\\.onnx$";

/// Of a sweep file, by path; of a table `PATH{}`, a list of schemas that it is held to as well.
pub fn of_a_sweep(path: &str) -> Option<Value> {
    let known = |names: Vec<&str>| Some(json!({ "enum": names }));
    // an editor offers what is known; any other may be a file, or lie on the Hub
    let offered = |names: Vec<&str>| Some(json!({ "anyOf": [{ "enum": names }, { "type": "string" }] }));
    let goals = ["untargeted", "target:all", "target:next", "target:least-likely", "target:random"];
    match path {
        "sweep.models" | "sweep.transfer_to" | "sweep.train.models" => {
            offered(MODELS.iter().map(|model| model.name).collect())
        }
        "sweep.data.name" | "sweep.train.name" => known(DATASETS.iter().filter(|d| !d.given).map(|d| d.name).collect()),
        "sweep.goals" => Some(json!({ "anyOf": [{ "enum": goals }, { "type": "string", "pattern": "^target:" }] })),
        "sweep.threats.norm" => known(Norm::all().map(Norm::name).collect()),
        "sweep.attacks.name" => known(ATTACKS.iter().map(|attack| attack.name).collect()),
        "sweep.attacks{}" => Some(ATTACKS.iter().map(|attack| parameters(attack)).collect()),
        "sweep.mode" => known(vec!["at", "within"]),
        "sweep.witness" => known(WitnessKind::ALL.map(WitnessKind::name).to_vec()),
        "sweep.precision" => known(Precision::ALL.map(Precision::name).to_vec()),
        "sweep.through" => known(Through::ALL.map(Through::name).to_vec()),
        "figure.kind" => known(KINDS.to_vec()),
        "figure.width" => known(WIDTHS.iter().map(|(name, _)| *name).collect()),
        "figure.palette" => known(PALETTES.iter().map(|(name, _)| *name).collect()),
        _ => None,
    }
}

/// Of a model file.
pub fn of_a_model(path: &str) -> Option<Value> {
    let names = || DEFENCES.iter().map(|defence| defence.name).collect::<Vec<_>>();
    let families = || FAMILIES.iter().flat_map(|family| family.names.iter().copied()).chain(["onnx"]);
    match path {
        "family" => Some(json!({ "enum": families().collect::<Vec<_>>() })),
        "mean" => Some(json!({ "const": "inside" })),
        "defence" => Some(json!({ "enum": names() })),
        "defence.name" => Some(json!({ "enum": names() })),
        "defence{}" => Some(DEFENCES.iter().map(constants).collect()),
        "sha256" => Some(json!({ "type": "string", "pattern": "^([0-9a-f]{64}|unpinned)$" })),
        _ => None,
    }
}

/// Of a training file.
pub fn of_a_training(path: &str) -> Option<Value> {
    match path {
        "data.name" | "held_out.name" => Some(
            json!({ "enum": DATASETS.iter().filter(|d| !d.given && d.labelled).map(|d| d.name).collect::<Vec<_>>() }),
        ),
        "train.recipe" => Some(json!({ "enum": RECIPES })),
        other => other.strip_prefix("network.").filter(|key| *key != "sha256").and_then(of_a_model),
    }
}

/// What families say of their own keys; several may have the same.
pub fn add_family_keys(schema: &mut Value) {
    for key in FAMILIES.iter().flat_map(|family| family.keys) {
        let property = &mut schema["properties"][key.name];
        property["description"] = key.summary.into();
        match key.kind {
            KeyKind::Number { default } => property["default"] = json!(default),
            KeyKind::Choice { known, .. } => {
                let mut words = property["enum"].as_array().cloned().unwrap_or_default();
                words.extend(known.iter().map(|word| Value::from(*word)));
                words.dedup();
                *property = json!({ "enum": words, "description": key.summary });
            }
        }
    }
}

/// Where a table names this attack, its parameters.
fn parameters(attack: &Entry) -> Value {
    let mut properties = Map::new();
    properties.insert("name".into(), json!({ "description": attack.summary }));
    for param in attack.params {
        properties.insert(param.name.into(), parameter(param));
    }
    json!({
        "if": { "properties": { "name": { "const": attack.name } }, "required": ["name"] },
        "then": { "properties": properties, "additionalProperties": false },
    })
}

/// Where a table names this stage of a defence, its constants.
fn constants(stage: &StageEntry) -> Value {
    let mut properties = Map::new();
    properties.insert("name".into(), json!({ "description": stage.summary }));
    for key in stage.keys {
        let number =
            json!({ "type": if key.whole { "integer" } else { "number" }, "minimum": key.least, "maximum": key.most });
        let value = json!({ "anyOf": [number, { "type": "string" }], "description": key.summary, "default": serde_json::from_str::<Value>(key.default).unwrap_or_else(|_| key.default.into()) });
        properties.insert(key.name.into(), value);
    }
    json!({
        "if": { "properties": { "name": { "const": stage.name } }, "required": ["name"] },
        "then": { "properties": properties, "additionalProperties": false },
    })
}

/// A parameter, with its default; a list of values stands for as many attacks.
fn parameter(param: &Param) -> Value {
    let mut schema = one_or_more(value(param.kind));
    schema["description"] = param.summary.into();
    if !param.default.is_empty() {
        let number = serde_json::from_str(param.default).ok();
        schema["default"] = number.unwrap_or_else(|| param.default.into());
    }
    schema
}

/// A value of a kind. Whatever is no list may be a text, too.
fn value(kind: Kind) -> Value {
    let count = json!({ "type": "integer", "minimum": 1, "maximum": 1_000_000 });
    let digits = json!({ "type": "string", "pattern": "^\\+?[0-9]+$" });
    let text = json!({ "type": "string" });
    match kind {
        Kind::Count => json!({ "anyOf": [count, digits] }),
        Kind::CountOr(word) => json!({ "anyOf": [count, digits, { "const": word }] }),
        Kind::Flag => json!({ "enum": [true, false, "true", "false"] }),
        Kind::Choice(known) => json!({ "enum": known }),
        Kind::StepSize | Kind::Positive => json!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, text] }),
        Kind::Number | Kind::Auto => {
            json!({ "anyOf": [{ "type": "number", "minimum": 0, "maximum": 1_000_000 }, text] })
        }
        Kind::Picture => text,
    }
}
