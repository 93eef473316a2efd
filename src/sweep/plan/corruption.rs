//! Resolves what images are to suffer: names and words for several, at severities.

use super::resolver::Resolver;
use crate::config::{At, DataSpec};
use crate::corruption::{self, CORRUPTIONS, Corruption, LIKE, SEVERITIES};
use crate::data::{DATASETS, Dataset};
use crate::error::hint;
use crate::record::CorruptionRecord;

/// The images as they are, beside corrupted ones.
const NONE: &str = "none";
/// The fifteen whose mean is reported.
const COMMON: &str = "common";
/// Every one that there is.
const ALL: &str = "all";

impl Resolver<'_> {
    /// Every corruption at every severity that a block asks for, `None` for the images as they are; draws are by this seed. Nothing
    /// after a problem.
    pub(super) fn corruptions(
        &self,
        spec: &DataSpec,
        dataset: &Dataset,
        seed: u64,
    ) -> Option<Vec<Option<CorruptionRecord>>> {
        if let Some(name) = spec.corruption.first().filter(|_| !dataset.labelled) {
            let hint = "hint: leave `corruption` out";
            let problem =
                format!("dataset `{}` has canvases, on which there is nothing to spoil ({hint})", dataset.name);
            self.problem(name.line, problem);
            return None;
        }
        let severities = self.severities(spec, dataset)?;
        let by_default = [At { value: COMMON.to_string(), line: spec.name.line }];
        let asked =
            if spec.corruption.is_empty() && dataset.corrupted { &by_default } else { spec.corruption.as_slice() };
        if asked.is_empty() {
            return Some(vec![None]);
        }
        // all names are looked at, so that all that are wrong are told
        let named: Vec<_> = asked.iter().map(|name| self.named(name, dataset)).collect();
        let mut wanted: Vec<Option<CorruptionRecord>> = Vec::new();
        for found in named.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten() {
            let at = |severity: &u8| {
                let record = |known: &Corruption| CorruptionRecord {
                    name: if dataset.corrupted { known.name.into() } else { known.name.to_string() + LIKE },
                    severity: *severity,
                    seed: (!dataset.corrupted).then_some(seed),
                };
                found.map(record)
            };
            for one in severities.iter().map(at) {
                if !wanted.contains(&one) {
                    wanted.push(one);
                }
            }
        }
        Some(wanted)
    }

    /// The corruptions of a name or of a word for several; `None` among them: the images as they are.
    fn named(&self, name: &At<String>, dataset: &Dataset) -> Option<Vec<Option<&'static Corruption>>> {
        let there = |known: &&Corruption| dataset.corrupted || known.generate.is_some();
        match name.value.as_str() {
            NONE if !dataset.corrupted => return Some(vec![None]),
            NONE => {
                let hint = "hint: the images as they were are another dataset, in a [[sweep]] of its own";
                self.problem(name.line, format!("dataset `{}` has no clean images ({hint})", dataset.name));
                return None;
            }
            COMMON | ALL => {
                let asked = |known: &&Corruption| name.value == ALL || known.is_common;
                let (made, lacking): (Vec<_>, Vec<_>) = CORRUPTIONS.iter().filter(asked).partition(there);
                let lacking: Vec<&str> = lacking.iter().map(|known| known.name).collect();
                let without =
                    format!("corruption `{}`: without {}, which is not made here", name.value, lacking.join(" and "));
                self.note((!lacking.is_empty()).then_some(without));
                return Some(made.into_iter().map(Some).collect());
            }
            _ => {}
        }
        let is_like = name.value.replace('_', "-").ends_with(LIKE);
        let problem = match corruption::find(&name.value) {
            Some(known) if there(&known) && is_like != dataset.corrupted => return Some(vec![Some(known)]),
            Some(known) if is_like && dataset.corrupted => {
                format!(
                    "dataset `{}` has the published `{name}` (hint: corruption = \"{name}\")",
                    dataset.name,
                    name = known.name
                )
            }
            Some(known) if known.generate.is_none() => {
                format!("corruption `{}` is not made here: {} (hint: {})", name.value, known.summary, published())
            }
            Some(known) => format!(
                "corruption `{}` is published, for other data than `{}` (hint: \"{}{LIKE}\" is made here; {})",
                name.value,
                dataset.name,
                known.name,
                published()
            ),
            None => {
                let end = if dataset.corrupted { "" } else { LIKE };
                let names: Vec<String> =
                    CORRUPTIONS.iter().filter(there).map(|known| known.name.to_string() + end).collect();
                let none = (!dataset.corrupted).then_some(NONE);
                let words = none.into_iter().chain([COMMON, ALL]).chain(names.iter().map(String::as_str));
                format!("unknown corruption `{}`{}", name.value, hint(&name.value, words))
            }
        };
        self.problem(name.line, problem);
        None
    }

    /// The severities that are asked for, else all.
    fn severities(&self, spec: &DataSpec, dataset: &Dataset) -> Option<Vec<u8>> {
        let line = spec.name.line;
        if !spec.severity.is_empty() && spec.corruption.is_empty() && !dataset.corrupted {
            self.problem(line, "`severity` belongs to a corruption (hint: corruption = \"common\")");
            return None;
        }
        let known = |severity: &u64| u8::try_from(*severity).ok().filter(|s| SEVERITIES.contains(s)).ok_or(*severity);
        match spec.severity.iter().map(known).collect::<Result<Vec<u8>, u64>>() {
            Ok(none) if none.is_empty() => Some(SEVERITIES.collect()),
            Ok(severities) => Some(severities),
            Err(wrong) => {
                let (least, most) = SEVERITIES.into_inner();
                let hint = format!("hint: {least} is the mildest; corruption = \"{NONE}\" has the images as they are");
                self.problem(line, format!("`severity` is {wrong}, expected {least} to {most} ({hint})"));
                None
            }
        }
    }
}

/// Where published corruptions are.
fn published() -> String {
    let names: Vec<&str> = DATASETS.iter().filter(|d| d.corrupted).map(|d| d.name).collect();
    format!("published ones are of {}", names.join(", "))
}
