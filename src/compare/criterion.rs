//! Samples that criterion left behind: `<bench>/new/sample.json`, or those of a named baseline, `target/criterion@NAME`.

use super::side::Bench;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders below each other: group, function, parameter, baseline.
const DEEPEST: usize = 8;

/// `sample.json` of criterion 0.8: so many iterations took so many nanoseconds, one entry a sample.
#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// The benches below a folder, by name; none where there is no folder.
pub fn read(path: &Path) -> Result<Vec<Bench>> {
    let text = path.to_string_lossy();
    let (root, name) = match text.rsplit_once('@') {
        Some((root, name)) if !path.is_dir() => (PathBuf::from(root), name.to_string()),
        _ => (path.to_path_buf(), "new".to_string()),
    };
    let mut benches = Vec::new();
    let mut folders = vec![(root, String::new(), 0)];
    while let Some((folder, bench, depth)) = folders.pop() {
        let sample = folder.join(&name).join("sample.json");
        if sample.is_file() {
            benches.push(Bench { name: bench.clone(), nanoseconds: samples(&sample)? });
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // links are not followed, so there is no way round in circles
            if depth < DEEPEST && entry.file_type().is_ok_and(|t| t.is_dir()) {
                let part = entry.file_name().to_string_lossy().into_owned();
                let below = if bench.is_empty() { part } else { format!("{bench}/{part}") };
                folders.push((entry.path(), below, depth + 1));
            }
        }
    }
    benches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(benches)
}

fn samples(path: &Path) -> Result<Vec<f64>> {
    let problem = |what: &str| Error::usage(format!("{}: {what} (hint: run the bench again)", path.display()));
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let sample: Sample = serde_json::from_slice(&bytes).map_err(|e| problem(&e.to_string()))?;
    let each: Vec<f64> = sample.times.iter().zip(&sample.iters).map(|(time, n)| six_digits(time / n)).collect();
    let sound = each.iter().all(|v| v.is_finite() && *v > 0.0) && sample.times.len() == sample.iters.len();
    if sound { Ok(each) } else { Err(problem("a sample without a time")) }
}

/// So that a baseline holds what is compared.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(f64::NAN)
}
