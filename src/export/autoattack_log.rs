//! The sentences of AutoAttack's log (Croce and Hein 2020, `run_standard_evaluation`), for tools that read them. As there,
//! each attack counts those images that stand after the ones before it, and all ends when none stands. AutoAttack alone is told
//! stage by stage. Other attacks were each run on all images that were right, so the times are longer than AutoAttack's would
//! be; or, with `mode = "within"`, on those that stood at smaller budgets, whose time is not counted. The first line says which.

use super::evaluation::{Evaluation, evaluations};
use super::request::{Request, Written};
use super::robustbench_json::AS_THERE;
use crate::analysis::Run;
use crate::error::Result;
use crate::record::Witnesses;
use crate::store::{Pending, Store};
use std::collections::BTreeSet;

/// One file an evaluation.
pub fn write(request: &Request) -> Result<Written> {
    let run = Run::read(request.store)?;
    let (evaluations, notes) = evaluations(&run)?;
    let mut files = Vec::new();
    for evaluation in &evaluations {
        let path = request.to.join(format!("{}.log", evaluation.name));
        let mut file = Pending::at(path.clone())?;
        file.append(log(&run, evaluation)?.as_bytes())?;
        file.finish()?;
        files.push(path);
    }
    Ok(Written { files, notes })
}

fn log(run: &Run, evaluation: &Evaluation) -> Result<String> {
    let (attacks, n) = (evaluation.attacks(), evaluation.images.len());
    let accuracy = |k: usize| format!("{:.2}%", 100.0 * k as f64 / n as f64);
    let mut text = format!(
        "foolproof {}, run {} ({}): {}; {}\n",
        env!("CARGO_PKG_VERSION"),
        run.id,
        run.name,
        evaluation.what(),
        met(evaluation)
    );
    // AutoAttack alone tells of each of its stages; behind other attacks it counts images that they had broken, too
    let stages = match evaluation.cells.as_slice() {
        [only] => only.stages.as_slice(),
        _ => &[],
    };
    let param = |name: &str| evaluation.cells[0].cell.attack.params.get(name).map(String::as_str);
    // of the leaderboard's parameters all but the version
    let is_authors = AS_THERE[1..].iter().all(|(name, value)| param(name) == Some(*value));
    let (version, names) = match stages {
        [] => ("custom", attacks.clone()),
        _ => {
            let version = param("version").filter(|version| is_authors || *version == "rand");
            (version.unwrap_or("custom"), stages.iter().map(|stage| stage.name.clone()).collect())
        }
    };
    text += &format!("using {version} version including {}.\n", names.join(", "));
    let mut standing = evaluation.clean();
    text += &format!("initial accuracy: {}\n", accuracy(standing));
    for stage in stages {
        if standing == 0 {
            break;
        }
        let (left, name) = (usize::try_from(stage.standing).unwrap_or(standing), &stage.name);
        text += &format!("{name} - 1/1 - {} out of {standing} successfully perturbed\n", standing.saturating_sub(left));
        let (name, seconds) = (name.to_uppercase(), stage.seconds);
        text += &format!("robust accuracy after {name}: {} (total time {seconds:.1} s)\n", accuracy(left));
        standing = left;
    }
    let (mut seconds, mut timed) = (0.0, BTreeSet::new());
    for (k, (s, attack)) in evaluation.cells.iter().zip(&attacks).enumerate() {
        if standing == 0 || !stages.is_empty() {
            break;
        }
        let broken = evaluation.images.values().filter(|i| i.broken_by.is_some_and(|(by, _)| by == k)).count();
        text += &format!("{attack} - 1/1 - {broken} out of {standing} successfully perturbed\n");
        standing -= broken;
        let provenance = run.store.read(&s.id)?.provenance;
        // cells that one run served have its time, which counts once
        if timed.insert(provenance.served_by.unwrap_or(s.id.clone())) {
            seconds += provenance.time_s;
        }
        let name = attack.to_uppercase();
        text += &format!("robust accuracy after {name}: {} (total time {seconds:.1} s)\n", accuracy(standing));
    }
    let last = Last::of(run.store, evaluation)?;
    let norm = evaluation.norm;
    text += &format!(
        "max {norm} perturbation: {:.5}, nan in tensor: {}, max: {:.5}, min: {:.5}\n",
        last.distance, last.nan, last.max, last.min
    );
    text += &format!("robust accuracy: {}\n", accuracy(standing));
    Ok(text)
}

/// Which images the attacks met.
fn met(evaluation: &Evaluation) -> &'static str {
    match evaluation.cells.iter().filter(|s| s.cell.mode.carries()).count() {
        0 => "every attack met all images that were right",
        n if n == evaluation.cells.len() => {
            "images that an attack broke at a smaller eps count as broken by it and were not attacked again, and times leave \
             the smaller eps out"
        }
        _ => {
            "images that some of the attacks broke at a smaller eps count as broken by them and were not attacked again, and \
             their times leave the smaller eps out"
        }
    }
}

/// What AutoAttack checks at the end: of each image the first witness that is wrong, else the clean image.
struct Last {
    distance: f64,
    nan: usize,
    max: f32,
    min: f32,
}

impl Last {
    fn of(store: &Store, evaluation: &Evaluation) -> Result<Last> {
        let mut last = Last { distance: 0.0, nan: 0, max: f32::NEG_INFINITY, min: f32::INFINITY };
        for (k, s) in evaluation.cells.iter().enumerate() {
            let broken = evaluation.images.values().filter_map(|i| i.broken_by.filter(|(by, _)| *by == k));
            let rows: Vec<usize> = broken.map(|(_, row)| row).collect();
            if rows.is_empty() {
                continue;
            }
            let (outcomes, witnesses) = (store.read(&s.id)?.outcomes, store.read_witnesses(&s.id)?);
            for row in rows {
                let o = &outcomes[row];
                last.distance = last.distance.max(o.distance(s.cell.threat.norm).unwrap_or(0.0));
                match &witnesses {
                    Witnesses::U8(v) => last.see(part(v, row, outcomes.len()).iter().map(|v| f32::from(*v) / 255.0)),
                    Witnesses::F32(v) => last.see(part(v, row, outcomes.len()).iter().copied()),
                }
            }
        }
        let inputs = store.read_inputs(&evaluation.cells[0].cell.data.digest)?;
        for (row, example) in inputs.examples.iter().enumerate() {
            if evaluation.images.get(example).is_some_and(|i| i.broken_by.is_none()) {
                last.see(part(&inputs.pixels, row, inputs.examples.len()).iter().map(|v| f32::from(*v) / 255.0));
            }
        }
        Ok(last)
    }

    fn see(&mut self, pixels: impl Iterator<Item = f32>) {
        for v in pixels {
            self.nan += usize::from(v.is_nan());
            self.max = self.max.max(v);
            self.min = self.min.min(v);
        }
    }
}

/// Row `row` of `n` rows of one length.
fn part<T>(all: &[T], row: usize, n: usize) -> &[T] {
    let length = all.len() / n.max(1);
    &all[row * length..(row + 1) * length]
}
