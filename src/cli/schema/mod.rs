//! `schema`: JSON Schemas of what the program reads. The keys are those that the reader asks for, the names those of the
//! registries; a schema refuses only what the program refuses, and less of it: what a key means together with others is not in it.

mod object;
mod words;

use super::registries::print;
use crate::config::{MODEL_KEYS, SWEEP_KEYS, SweepFile, TRAINING_KEYS, TrainingFile, asked_of_a_model};
use crate::error::{Error, Result};
use crate::model::families;
use object::Pen;
use serde_json::{Value, json};

/// Which file.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Kind {
    /// A sweep file
    Sweep,
    /// A model file
    Model,
    /// A training file
    Training,
}

/// Prints the schema of a kind of file.
pub fn schema(kind: Kind) -> Result<()> {
    print(text(kind)?.as_bytes())
}

/// The schema of a kind of file.
pub fn text(kind: Kind) -> Result<String> {
    let schema = match kind {
        Kind::Sweep => sweep(),
        Kind::Model => model(),
        Kind::Training => training(),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(|e| Error::usage(format!("the schema as JSON: {e}")))?;
    Ok(format!("{text}\n"))
}

fn sweep() -> Value {
    let mut schema = Pen { keys: SWEEP_KEYS, words: words::of_a_sweep }.object(&SweepFile::asked(), "");
    head(&mut schema, "A sweep file of foolproof");
    schema
}

/// Three forms: described by the file, by an ONNX file, or by a repository.
fn model() -> Value {
    let own = families::keys();
    let mut schema = Pen { keys: MODEL_KEYS, words: words::of_a_model }.object(&asked_of_a_model(&own), "");
    words::add_family_keys(&mut schema);
    let whole = json!({ "required": schema["required"].take(), "allOf": schema["allOf"].take() });
    let mut onnx = whole.clone();
    if let Some(required) = onnx["required"].as_array_mut() {
        required.retain(|key| key != "family");
    }
    let named = |key: &str| json!({ "properties": { key: { "pattern": words::ONNX } }, "required": [key] });
    onnx["anyOf"] = json!([named("weights"), named("file")]);
    let repository = json!({ "required": ["hub"], "not": { "required": ["family"] } });
    if let Some(schema) = schema.as_object_mut() {
        schema.retain(|_, value| !value.is_null());
    }
    schema["anyOf"] = json!([whole, onnx, repository]);
    head(&mut schema, "A model file of foolproof");
    schema
}

fn training() -> Value {
    let asked = TrainingFile::asked(&families::keys());
    let mut schema = Pen { keys: TRAINING_KEYS, words: words::of_a_training }.object(&asked, "");
    words::add_family_keys(&mut schema["properties"]["network"]);
    head(&mut schema, "A training file of foolproof");
    schema
}

fn head(schema: &mut Value, title: &str) {
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = title.into();
}
