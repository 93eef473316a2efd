//! From what is asked of a table to the schema of an object.

use crate::config::{Asked, AskedKey, Form, Key, MODEL_KEYS, SWEEP_KEYS};
use serde_json::{Map, Value, json};

/// Writes schemas.
pub struct Pen {
    /// What is said of the keys.
    pub keys: &'static [Key],
    /// What the registries say of a value at a path; `None`: nothing.
    pub words: fn(path: &str) -> Option<Value>,
}

impl Pen {
    /// A table at a path; empty: the whole file.
    pub fn object(&self, asked: &Asked, path: &str) -> Value {
        let mut properties = Map::new();
        for key in &asked.keys {
            let path = if path.is_empty() { key.name.to_string() } else { format!("{path}.{}", key.name) };
            properties.insert(key.name.into(), self.property(key, &path));
        }
        let required: Vec<&str> = asked.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
        let mut object = json!({ "type": "object", "properties": properties });
        object["additionalProperties"] = if asked.rest { one_or_more(scalar()) } else { false.into() };
        if !required.is_empty() {
            object["required"] = required.into();
        }
        let one_of = asked.one_of.iter().map(|keys| {
            let each: Vec<Value> = keys.iter().map(|key| json!({ "required": [key] })).collect();
            json!({ "anyOf": each })
        });
        let mut all: Vec<Value> = one_of.collect();
        if let Some(more) = (self.words)(&format!("{path}{{}}")).and_then(|more| more.as_array().cloned()) {
            all.extend(more);
        }
        if !all.is_empty() {
            object["allOf"] = all.into();
        }
        object
    }

    fn property(&self, key: &AskedKey, path: &str) -> Value {
        let mut forms: Vec<Value> = key.forms.iter().map(|form| self.form(form, path, key.range)).collect();
        let mut schema = if forms.len() == 1 { forms.remove(0) } else { json!({ "anyOf": forms }) };
        if let Some(description) = self.description(path) {
            schema["description"] = description.into();
        }
        schema
    }

    fn form(&self, form: &Form, path: &str, range: Option<(u64, u64)>) -> Value {
        match form {
            Form::Text => (self.words)(path).unwrap_or(json!({ "type": "string" })),
            Form::Word(known) => json!({ "enum": known }),
            Form::Count => {
                let (least, most) = range.unwrap_or((0, u64::MAX));
                let mut schema = json!({ "type": "integer", "minimum": least });
                if most < u64::MAX {
                    schema["maximum"] = most.into();
                }
                schema
            }
            Form::Number => json!({ "type": "number" }),
            Form::Flag => json!({ "type": "boolean" }),
            Form::Scalar => scalar(),
            Form::List(of) => json!({ "type": "array", "items": self.form(of, path, None) }),
            Form::Filled(of) => json!({ "type": "array", "items": self.form(of, path, None), "minItems": 1 }),
            Form::AnyOf(forms) => {
                json!({ "anyOf": forms.iter().map(|form| self.form(form, path, None)).collect::<Vec<_>>() })
            }
            Form::Table(asked) => self.object(asked, path),
        }
    }

    /// What the manual says of a key, without its links.
    fn description(&self, path: &str) -> Option<String> {
        let at = |path: &str| self.keys.iter().find(|key| key.path == path);
        // the images of `train` have the keys of `data`
        let key =
            at(path).or_else(|| at(&path.replacen("sweep.train.", "sweep.data.", 1))).or_else(|| borrowed(path))?;
        let default = if key.default.is_empty() { String::new() } else { format!(" (default: {})", key.default) };
        let default = default.replace("(default: required", "(required");
        Some(without_links(key.meaning) + &without_links(&default))
    }
}

/// A key of a training file that a sweep file or a model file has, too, and means there.
fn borrowed(path: &str) -> Option<&'static Key> {
    let (part, key) = path.split_once('.')?;
    let (keys, path) = match part {
        "network" => (MODEL_KEYS, key.to_string()),
        "data" | "held_out" => (SWEEP_KEYS, format!("sweep.data.{key}")),
        _ => return None,
    };
    keys.iter().find(|known| known.path == path)
}

/// A text, a number, true or false.
fn scalar() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

/// A value, or several.
pub fn one_or_more(one: Value) -> Value {
    json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
}

/// `[text](target)` is its text, and nothing where it leads to another place of the manual alone.
fn without_links(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, link)) = rest.split_once('[') {
        let parts = link.split_once("](").and_then(|(text, after)| Some((text, after.split_once(')')?.1)));
        let Some((text, after)) = parts else { return out + rest };
        out += before;
        if ["below", "how"].contains(&text) {
            out.truncate(out.trim_end_matches(" (").len());
            rest = after.strip_prefix(')').unwrap_or(after);
        } else {
            out += text;
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_left_out() {
        assert_eq!(without_links("which images ([below](#images))"), "which images");
        assert_eq!(without_links("by name ([Models](models.md)); `\"a + b\"`"), "by name (Models); `\"a + b\"`");
        assert_eq!(without_links("as `[3, 14]`, in place"), "as `[3, 14]`, in place");
    }
}
