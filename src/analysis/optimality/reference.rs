//! A frozen reference: of each image the least distance that the attacks of some runs found, as a file to keep. JSON lines: a
//! heading, then one line a pool. The same cells give the same bytes.

use super::pool::pool;
use crate::analysis::groups::{Key, grouped};
use crate::analysis::summary::Summary;
use crate::analysis::worst::{attacks, nearest};
use crate::error::{Error, Result};
use crate::terms::{Goal, Norm, WitnessKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Version of the file; readers refuse any other.
const SCHEMA: u32 = 1;

/// First line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    schema: u32,
    pools: usize,
}

/// One net on one set of images in one norm.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    /// Name of the net, for people.
    model: String,
    network: String,
    weights: String,
    /// The images in words, and their digest.
    images: String,
    data: String,
    norm: Norm,
    goal: Goal,
    witness: WitnessKind,
    /// The attacks that found them, for people.
    attacks: Vec<String>,
    /// Images that were right before.
    examples: Vec<u32>,
    /// One an image, as shortest decimals; empty: no attack fooled it. Text, because JSON's numbers need not be read to the bit.
    distances: Vec<String>,
}

/// Any line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Optimality(Heading),
    Pool(Box<Pool>),
}

/// Least distances by pool, then by image; infinite: no attack fooled it.
pub struct Reference(BTreeMap<Key, BTreeMap<u32, f64>>);

impl Reference {
    /// What it has for the pool of a cell.
    pub fn of(&self, s: &Summary) -> Option<&BTreeMap<u32, f64>> {
        self.0.get(&pool(s))
    }

    /// Writes what these cells found; returns the number of pools and of images.
    pub fn bless(entrants: &[&Summary], path: &Path) -> Result<(usize, usize)> {
        let pools = grouped(entrants, pool);
        let images = |p: &Pool| p.examples.len();
        let pools: Vec<Pool> = pools.iter().map(|cells| Pool::of(cells)).collect();
        let count = (pools.len(), pools.iter().map(images).sum());
        let heading = Line::Optimality(Heading { schema: SCHEMA, pools: pools.len() });
        let lines = [heading].into_iter().chain(pools.into_iter().map(|p| Line::Pool(Box::new(p))));
        let text: String = lines.map(|line| serde_json::to_string(&line).expect("plain data") + "\n").collect();
        let name = path.file_name().ok_or_else(|| {
            Error::usage(format!("{} is no file (hint: the path of a file to write, as reference.csv)", path.display()))
        })?;
        let beside = path.with_file_name(format!(".tmp-{}", name.to_string_lossy()));
        fs::write(&beside, text).map_err(Error::io("write", &beside))?;
        fs::rename(&beside, path).map_err(Error::io("rename into", path))?;
        Ok(count)
    }

    /// Reads what [`Reference::bless`] wrote.
    pub fn read(path: &Path) -> Result<Reference> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        parse(&text).map_err(|(line, what)| {
            Error::usage(format!(
                "{}:{line}: {what} (hint: `foolproof optimality --bless FILE RUN…` writes such a file)",
                path.display()
            ))
        })
    }
}

fn parse(text: &str) -> Result<Reference, (usize, String)> {
    let (mut heading, mut pools) = (None, BTreeMap::new());
    for (number, line) in (1..).zip(text.lines()) {
        let problem = |what: &str| (number, what.to_string());
        let line = serde_json::from_str(line).map_err(|e| problem(&e.to_string()))?;
        match (line, &heading) {
            (Line::Optimality(h), None) if h.schema != SCHEMA => {
                return Err(problem(&format!("schema {}, this foolproof reads {SCHEMA}", h.schema)));
            }
            (Line::Optimality(h), None) => heading = Some(h),
            (Line::Optimality(_), Some(_)) => return Err(problem("a second heading")),
            (_, None) => return Err(problem("no heading in the first line")),
            (Line::Pool(pool), _) => {
                let distances = pool.by_image().map_err(|what| problem(&what))?;
                if pools.insert(pool.key(), distances).is_some() {
                    return Err(problem("a pool a second time"));
                }
            }
        }
    }
    match heading {
        Some(h) if h.pools == pools.len() => Ok(Reference(pools)),
        Some(h) => Err((1, format!("the heading speaks of {} pools, the file holds {}", h.pools, pools.len()))),
        None => Err((1, "an empty file".into())),
    }
}

impl Pool {
    fn of(cells: &[&Summary]) -> Pool {
        let (c, least) = (&cells[0].cell, nearest(cells.iter().map(|s| s.tally.least.as_slice())));
        let text = |d: f64| if d.is_finite() { d.to_string() } else { String::new() };
        Pool {
            model: c.model.name.clone(),
            network: c.model.network.clone(),
            weights: c.model.weights.clone(),
            images: c.data.text(),
            data: c.data.digest.clone(),
            norm: c.threat.norm,
            goal: c.goal,
            witness: c.witness,
            attacks: attacks(cells).into_iter().map(String::from).collect(),
            examples: least.iter().map(|l| l.example).collect(),
            distances: least.iter().map(|l| text(l.distance)).collect(),
        }
    }

    /// [`pool`] of its cells.
    fn key(&self) -> Key {
        let Pool { network, weights, data, norm, goal, witness, .. } = self;
        let asked = [data.clone(), norm.name().into(), goal.name(), witness.to_string()];
        [vec![network.clone(), weights.clone()], asked.to_vec()].concat()
    }

    fn by_image(&self) -> Result<BTreeMap<u32, f64>, String> {
        if self.examples.len() != self.distances.len() {
            return Err(format!("{} images, but {} distances", self.examples.len(), self.distances.len()));
        }
        let distance = |text: &String| match text.as_str() {
            "" => Ok(f64::INFINITY),
            text => match text.parse() {
                Ok(d) if d >= 0.0 && f64::is_finite(d) => Ok(d),
                _ => Err(format!("`{text}` is no distance")),
            },
        };
        self.examples.iter().zip(&self.distances).map(|(example, text)| Ok((*example, distance(text)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_files_are_refused_with_their_line() {
        let refused = |text: &str| parse(text).err().unwrap();
        let heading = r#"{"optimality":{"schema":1,"pools":0}}"#;
        let pool = |examples: &str, distances: &str| {
            format!(
                "{}\n{{\"pool\":{{\"model\":\"m\",\"network\":\"n\",\"weights\":\"w\",\"images\":\"i\",\"data\":\"d\",\"norm\":\"l2\",\
                 \"goal\":\"untargeted\",\"witness\":\"u8\",\"attacks\":[],\"examples\":{examples},\"distances\":{distances}}}}}",
                heading.replace("\"pools\":0", "\"pools\":1")
            )
        };
        assert!(parse(heading).is_ok() && parse(&pool("[3]", "[\"0.5\"]")).is_ok());
        for (text, line, part) in [
            ("", 1, "an empty file"),
            ("not json", 1, "expected"),
            (r#"{"optimality":{"schema":2,"pools":0}}"#, 1, "schema 2"),
            (&format!("{heading}\n{heading}"), 2, "a second heading"),
            (&heading.replace('0', "3"), 1, "the file holds 0"),
            (&pool("[3]", "[]"), 2, "1 images, but 0 distances"),
            (&pool("[3]", "[\"-1\"]"), 2, "`-1` is no distance"),
            (&pool("[3]", "[\"NaN\"]"), 2, "`NaN` is no distance"),
        ] {
            let (at, what) = refused(text);
            assert!(at == line && what.contains(part), "{at}: {what}");
        }
    }
}
