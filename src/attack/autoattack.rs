//! AutoAttack (Croce and Hein 2020; L1: Croce and Hein 2021): attacks one after the other, each from the clean image, each on
//! the images that still stand. The versions are those of the authors' code (fra31/auto-attack a392200).

use super::apgd::{self, Choice};
use super::fab;
use super::outward::Outward;
use super::search::{self, Ask, Search};
use super::square;
use super::{Attack, Entry, Kind, Param, STEPS, StageReport, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::Goal;
use crate::loss::Objective;
use crate::oracle::{Oracle, Place};
use crate::terms::{Threat, WitnessKind};
use crate::threat::Norm;
use std::time::Instant;

pub const ENTRY: Entry = Entry {
    name: "autoattack",
    revision: 2,
    summary: "AutoAttack: APGD, APGD-T, FAB-T and Square, each on the images that stand (Croce and Hein 2020)",
    source: "Croce and Hein 2020, arXiv:2003.01690; L1: Croce and Hein 2021, arXiv:2103.01208; authors' code fra31/auto-attack a392200",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    params: &[
        Param {
            name: "version",
            kind: Kind::Choice(&["standard", "plus", "rand"]),
            default: "standard",
            summary: "`standard`: the leaderboards'; `plus`: also APGD on the difference of logits ratio and untargeted FAB, \
                      five runs each; `rand`: for networks that draw random numbers (authors' code)",
        },
        Param {
            name: STEPS,
            kind: Kind::Count,
            default: "100",
            summary: "of every APGD and FAB (authors' code: 100; with any other number it is not the leaderboards' AutoAttack)",
        },
        Param {
            name: "queries",
            kind: Kind::Count,
            default: "5000",
            summary: "of Square (authors' code: 5000; with any other number it is not the leaderboards' AutoAttack)",
        },
    ],
    build: |params, threat| {
        let eps = threat.radius()?.to_f64();
        let (version, steps, queries) = (params.choice("version"), params.count(STEPS), params.count("queries"));
        // `rand` has no Square
        let is_authors = steps == AUTHORS.0 && (queries == AUTHORS.1 || version == "rand");
        Ok(Box::new(AutoAttack { stages: stages(version, steps, queries, threat.norm, eps), is_authors }))
    },
};

/// Steps of every APGD and FAB, and queries of Square, in the authors' code.
const AUTHORS: (usize, usize) = (100, 5000);

/// Runs of the attacks that have several.
const RESTARTS: usize = 5;

/// Gradients averaged in `rand`.
const EOT: usize = 20;

/// Targets of APGD-T and FAB-T, and of APGD-T in L1.
const TARGETS: usize = 9;
const TARGETS_L1: usize = 5;

/// Share of an image that Square's first squares cover.
const FIRST_SHARE: f64 = 0.8;

/// One of the attacks.
struct Stage {
    name: &'static str,
    attack: Kinds,
}

/// What a stage runs.
enum Kinds {
    Apgd(apgd::Settings),
    Fab(fab::Settings),
    Square(square::Settings),
}

/// The stages of a version, in their order.
fn stages(version: &str, steps: usize, queries: usize, norm: Norm, eps: f64) -> Vec<Stage> {
    let apgd = |name, loss, targets, restarts, eot, large_radii| Stage {
        name,
        attack: Kinds::Apgd(apgd::Settings { steps, loss, targets, restarts, eot, large_radii }),
    };
    let fab = |name, targeted, restarts| Stage {
        name,
        attack: Kinds::Fab(fab::Settings { norm, targeted, targets: TARGETS, steps, restarts }),
    };
    let square =
        || Stage { name: "square", attack: Kinds::Square(square::Settings { norm, eps, queries, p: FIRST_SHARE }) };
    let (ce, dlr) = (Objective::CrossEntropy, Objective::Dlr);
    let is_l1 = norm == Norm::L1;
    match version {
        // in L1: larger balls first, five runs, and five targets
        "standard" => vec![
            apgd("apgd-ce", ce, None, if is_l1 { RESTARTS } else { 1 }, 1, is_l1),
            apgd("apgd-t", dlr, Some(Choice::Largest(if is_l1 { TARGETS_L1 } else { TARGETS })), 1, 1, is_l1),
            fab("fab-t", true, 1),
            square(),
        ],
        "plus" => vec![
            apgd("apgd-ce", ce, None, RESTARTS, 1, false),
            apgd("apgd-dlr", dlr, None, RESTARTS, 1, false),
            fab("fab", false, RESTARTS),
            square(),
            apgd("apgd-t", dlr, Some(Choice::Largest(TARGETS)), 1, 1, false),
            fab("fab-t", true, 1),
        ],
        _ => vec![apgd("apgd-ce", ce, None, 1, EOT, false), apgd("apgd-dlr", dlr, None, 1, EOT, false)],
    }
}

struct AutoAttack {
    stages: Vec<Stage>,
    /// Whether the numbers of steps are the authors'.
    is_authors: bool,
}

impl Attack for AutoAttack {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let began = Instant::now();
        let mut standing: Vec<usize> = (0..batch.len()).collect();
        for stage in &self.stages {
            search::run_stage(&standing, oracle, batch, &mut |row, oracle| {
                Ok(Box::new(Staged { stage: stage.name, search: stage.begin(row, oracle, batch, task) }))
            })?;
            standing.retain(|row| oracle.stands(*row));
            let (forwards, backwards) = oracle.passes_so_far();
            let (standing, seconds) = (standing.len() as u64, began.elapsed().as_secs_f64());
            let report = StageReport { name: stage.name, standing, forwards, backwards, seconds };
            task.stages.lock().expect("no attack panics").push(report);
        }
        oracle.leave(standing.len());
        Ok(())
    }

    fn cost(&self) -> u64 {
        self.stages.iter().map(Stage::cost).sum()
    }

    fn check_goal(&self, goal: &Goal) -> std::result::Result<(), String> {
        match goal.is_targeted() {
            true => Err("AutoAttack counts any wrong class (hint: `apgd` climbs toward a target)".into()),
            false => Ok(()),
        }
    }

    fn caveat(&self, threat: &Threat, _: WitnessKind) -> Option<String> {
        if !self.is_authors {
            return Some(
                "its steps or queries are not the authors', so what it leaves is not what leaderboards report".into(),
            );
        }
        let random = |stage: &Stage| matches!(&stage.attack, Kinds::Apgd(settings) if settings.eot > 1);
        if self.stages.iter().any(random) {
            return Some("version `rand` is for networks that draw random numbers: these draw none".into());
        }
        let plus = self.stages.len() > 4;
        (plus && threat.norm == Norm::L1).then(|| "the authors give version `plus` for Linf and L2 alone".into())
    }
}

impl Stage {
    /// Its search of a row.
    fn begin(&self, row: usize, oracle: &Oracle, batch: &Batch, task: &Task) -> Box<dyn Search> {
        match &self.attack {
            Kinds::Apgd(settings) => {
                let image = apgd::Image::of(row, oracle, batch, task);
                Box::new(apgd::Climb::new(*settings, image, task.threat.eps.to_f64(), self.name))
            }
            Kinds::Fab(settings) => {
                let (x, aim, eps) = (batch.image(row), oracle.aim(row), task.threat.eps.to_f64());
                let search = fab::begin(*settings, x.clone(), aim, batch.example(row), &task.streams, Some(eps));
                Outward::inside(eps, search, &x, aim, task)
            }
            Kinds::Square(settings) => {
                let (x, example) = (batch.image(row), batch.example(row));
                square::begin(*settings, x, batch.size(), oracle.aim(row), example, &task.streams)
            }
        }
    }

    fn cost(&self) -> u64 {
        match &self.attack {
            Kinds::Apgd(settings) => settings.cost(),
            Kinds::Fab(settings) => settings.cost(),
            Kinds::Square(settings) => settings.cost(),
        }
    }
}

/// A search that says which stage it belongs to.
struct Staged {
    stage: &'static str,
    search: Box<dyn Search>,
}

impl Search for Staged {
    fn point(&self) -> &[f32] {
        self.search.point()
    }

    fn asks(&self) -> Ask {
        self.search.asks()
    }

    fn slope(&self, logits: &[f32], slope: &mut [f32]) {
        self.search.slope(logits, slope);
    }

    fn hear(&mut self, logits: &[f32], gradient: &[f32]) -> bool {
        self.search.hear(logits, gradient)
    }

    fn place(&self) -> Place {
        self.search.place()
    }

    fn proposes(&self) -> bool {
        self.search.proposes()
    }

    fn note(&self) -> String {
        format!("stage={} {}", self.stage, self.search.note()).trim_end().to_string()
    }
}
