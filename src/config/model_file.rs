//! The model file: one network with the place and digest of its weights.

use super::reader::{self, Problems};
use crate::error::Result;
use std::path::Path;

/// A model file as written.
#[derive(Debug, Clone)]
pub struct ModelFile {
    /// Architecture: `vgg11` … `vgg19`, with `_bn` for batch norm; `squeezenet1_0`.
    pub family: String,
    /// Channels of the convolutions, as a multiple of the paper's (VGG only).
    pub width: Option<f64>,
    /// `linear` (one layer) or `mlp` (ImageNet's three); VGG only.
    pub head: Option<String>,
    /// Number of classes.
    pub classes: usize,
    /// Height and width of the images in pixels.
    pub side: usize,
    /// Subtracted from each channel of an image in [0,1].
    pub mean: [f64; 3],
    /// Divides each channel after that.
    pub std: [f64; 3],
    /// Weight file, relative to this file, else to `models/` in the folder of the data.
    pub weights: String,
    /// SHA-256 of the weight file; not given: any.
    pub sha256: Option<String>,
    /// Clean accuracy others have measured.
    pub published: Option<PublishedSpec>,
}

/// `[clean_accuracy]`.
#[derive(Debug, Clone)]
pub struct PublishedSpec {
    /// Which images: `cifar10-test`.
    pub population: String,
    /// Correct images.
    pub correct: u64,
    /// Of so many.
    pub of: u64,
    /// Who measured it.
    pub source: String,
}

impl ModelFile {
    /// Reads a model file; all its problems at once.
    pub fn parse(path: &Path, text: &str) -> Result<ModelFile> {
        let problems = Problems::new(path, text);
        let file = reader::read(&problems, |top| {
            let family = top.required_text("family");
            let width = top.number("width").map(|w| w.value);
            let head = top.text("head").map(|h| h.value);
            let classes = top.count("classes");
            let side = top.count("side");
            let triple = |key| -> [f64; 3] {
                let numbers = top.numbers(key);
                let line = numbers.as_ref().map_or(top.line, |n| n.line);
                numbers.and_then(|n| n.value.try_into().ok()).unwrap_or_else(|| {
                    top.problem(
                        line,
                        format!("`{key}`: expected three numbers, one a channel (as [0.485, 0.456, 0.406])"),
                    );
                    [1.0; 3]
                })
            };
            let (mean, std) = (triple("mean"), triple("std"));
            if std.iter().any(|s| *s <= 0.0) {
                top.problem(top.line, "`std`: every channel must be above 0");
            }
            let weights = top.required_text("weights");
            let sha256 = top.text("sha256");
            if let Some(s) = sha256.as_ref().filter(|s| !is_sha256(&s.value)) {
                top.problem(s.line, "`sha256`: expected 64 lower-case hexadecimal digits");
            }
            let published = top.table("clean_accuracy", |t| {
                let (population, source) = (t.required_text("population"), t.required_text("source"));
                let (correct, of) = (t.count("correct"), t.count("of"));
                let sound = correct
                    .as_ref()
                    .zip(of.as_ref())
                    .is_some_and(|(c, n)| (1..=MOST_IMAGES).contains(&n.value) && c.value <= n.value);
                if !sound {
                    t.problem(
                        t.line,
                        "`clean_accuracy`: expected `correct` and `of`, whole numbers with correct ≤ of ≤ 10000000",
                    );
                }
                Some(PublishedSpec {
                    population: population?.value,
                    correct: correct?.value,
                    of: of?.value,
                    source: source?.value,
                })
            });
            let size = |key: &'static str, found: Option<super::At<u64>>, most: u64| {
                let value = found.as_ref().map_or(0, |v| v.value);
                if value == 0 || value > most {
                    top.problem(
                        found.map_or(top.line, |v| v.line),
                        format!("`{key}`: expected a whole number from 1 to {most}"),
                    );
                }
                value as usize
            };
            Some(ModelFile {
                classes: size("classes", classes, 100_000),
                side: size("side", side, 4096),
                family: family?.value,
                width,
                head,
                mean,
                std,
                weights: weights?.value,
                sha256: sha256.map(|s| s.value),
                published: published.flatten(),
            })
        });
        problems.into_result()?;
        Ok(file.expect("without problems every required key is there"))
    }
}

/// No test set is larger, and the exact test on the counts takes memory in proportion.
const MOST_IMAGES: u64 = 10_000_000;

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
