//! Whether the program computes here what it computes elsewhere: the networks and images that are part of it, against numbers that
//! are part of it, too. A few seconds on two cores.

use super::goldens::{GOLDENS, Golden, SWEEP};
use super::report::Report;
use crate::analysis::Run;
use crate::data::{self, Choice, Source, Subset};
use crate::error::{Error, Result};
use crate::kernel::cpu::{Cpu, Instructions};
use crate::model;
use crate::store::Store;
use crate::sweep::plan;
use crate::sweep::run::{self, Machine};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// How far a logit may be off. Other machines give the same bits; this is what a mend of the kernels may move.
const LOGITS: f32 = 1e-4;

/// How far a slope may be off, of the largest one.
const SLOPES: f32 = 1e-4;

/// What each test found; none ends the others.
pub fn run(report: &mut Report, machine: &Machine) {
    let begin = Instant::now();
    let mut tell = |what: &str, found: Result<String, String>| match found {
        Ok(found) => report.line("self-test", format!("{what}: {found}")),
        Err(problem) => report.fault("self-test", what, format!("{problem}{BUG}")),
    };
    match sample() {
        Ok(images) => {
            for golden in &GOLDENS {
                tell(golden.model, numbers(golden, &images));
                tell("the same bytes", same_bytes(golden.model, &images));
            }
        }
        Err(problem) => tell("images", Err(problem.to_string())),
    }
    tell("pgd", attack(machine));
    report.line("self-test", format!("{:.1} s", begin.elapsed().as_secs_f64()));
}

const BUG: &str = " (hint: this machine computes something else; please report it with all of these lines)";

/// The built-in images.
fn sample() -> Result<Subset> {
    data::find("cifar10-sample")?.subset(&Source::new("nowhere"), &Choice::new("test", 0, None))
}

/// Of each image the logit of its label, and how steeply that rises in one direction.
pub fn of_labels(engine: &Cpu, images: &Subset, count: usize) -> (Vec<f32>, Vec<f32>) {
    let values = images.pixels.len() / images.labels.len();
    let pixels: Vec<f32> = images.pixels[..count * values].iter().map(|v| f32::from(*v) / 255.0).collect();
    let label = |row: usize, _: &[f32], gradient: &mut [f32]| {
        gradient.fill(0.0);
        gradient[images.labels[row]] = 1.0;
    };
    let (logits, gradients) = engine.images(&pixels, Some(&label));
    let classes = logits.len() / count;
    let logits = logits.chunks(classes).zip(&images.labels).map(|(z, label)| z[*label]).collect();
    let slope = |g: &[f32]| g.iter().enumerate().map(|(i, g)| f64::from(*g) * direction(i)).sum::<f64>() as f32;
    (logits, gradients.chunks(values).map(slope).collect())
}

/// One of no meaning, in which no value is as the one beside it.
pub fn direction(i: usize) -> f64 {
    [1.0, -1.0, 0.5, -2.0, 0.25][i % 5]
}

fn numbers(golden: &Golden, images: &Subset) -> Result<String, String> {
    let graph = model::built_in(golden.model).and_then(|source| source.load());
    let engine = Cpu::new(graph.map_err(|e| e.to_string())?);
    let (logits, slopes) = of_labels(&engine, images, images.labels.len());
    let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    if logits.iter().chain(&slopes).any(|v| !v.is_finite()) {
        return Err("logits or gradients that are no numbers".into());
    }
    let largest = golden.slopes.iter().fold(0.0f32, |most, s| most.max(s.abs()));
    let (logits, slopes) = (worst(&logits, &golden.logits), worst(&slopes, &golden.slopes) / largest);
    let text = match logits == 0.0 && slopes == 0.0 {
        true => "logits and gradients are those that are stored, to the bit".into(),
        false => format!("logits within {logits:.0e}, gradients within {slopes:.0e} of what is stored"),
    };
    if logits <= LOGITS && slopes <= SLOPES { Ok(text) } else { Err(text) }
}

/// The plain path against the widest, to the bit, on one image: the plain one is slow.
fn same_bytes(name: &str, images: &Subset) -> Result<String, String> {
    let chosen = Instructions::chosen();
    let bits = |instructions: Instructions| {
        instructions.limit();
        let engine = model::built_in(name).and_then(|source| source.load()).map(Cpu::new);
        chosen.limit();
        let (logits, slopes) = of_labels(&engine?, images, 1);
        Ok((logits[0].to_bits(), slopes[0].to_bits()))
    };
    let both = bits(chosen).and_then(|ours| Ok((ours, bits(Instructions::Portable)?)));
    let (ours, plain) = both.map_err(|e: Error| e.to_string())?;
    match ours == plain {
        true => Ok(format!("{} and portable agree to the bit", chosen.name())),
        false => Err(format!("{} and portable differ: {ours:x?}, {plain:x?}", chosen.name())),
    }
}

/// A small sweep as any other, in a temporary folder: judged, stored, read again.
fn attack(machine: &Machine) -> Result<String, String> {
    let ran = || -> Result<Vec<(String, Option<u64>)>> {
        let folder = tempfile::tempdir().map_err(Error::io("make a folder in", &std::env::temp_dir()))?;
        let plan = plan::parse(Path::new("doctor.toml"), SWEEP, &Source::new("nowhere"))?;
        let store = Store::create(&folder.path().join("run"))?;
        run::run(&plan, &store, machine, &AtomicBool::new(false), &mut |_| {})?;
        let cells = Run::read(&store)?.cells;
        Ok(cells
            .iter()
            .map(|c| (c.cell.model.name.clone(), c.rates.as_ref().map(|r| r.robust_correct as u64)))
            .collect())
    };
    let left = ran().map_err(|e| e.to_string())?;
    let of = |golden: &&Golden| left.contains(&(golden.model.to_string(), Some(golden.left)));
    let text = left.iter().map(|(model, left)| format!("{model}: {}", left.map_or("none".into(), |n| n.to_string())));
    let text = format!("images that stand after 10 steps at 2/255: {}", text.collect::<Vec<_>>().join(", "));
    match GOLDENS.iter().filter(of).count() == GOLDENS.len() {
        true => Ok(text),
        false => {
            let stored: Vec<String> = GOLDENS.iter().map(|g| g.left.to_string()).collect();
            Err(format!("{text}; stored are {}", stored.join(", ")))
        }
    }
}
