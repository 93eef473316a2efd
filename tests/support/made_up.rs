//! Records of runs that were never run: whole ones, of which a test changes what it is about.

use foolproof::ratio::Ratio;
use foolproof::record::{AttackRecord, Cell, DataRecord, ModelRecord, Outcome, PlanRecord, Provenance, SCHEMA};
use foolproof::terms::{Goal, Mode, Norm, Precision, Threat, WitnessKind};

/// PGD on two images within 8/255.
pub fn cell() -> Cell {
    Cell {
        schema: SCHEMA,
        model: ModelRecord { name: "net".into(), network: "vgg11_bn".into(), weights: "0".repeat(64) },
        data: DataRecord {
            name: "made-up".into(),
            split: "test".into(),
            first: 0,
            every: 1,
            take: 2,
            shuffle: None,
            indices: None,
            files: None,
            corruption: None,
            prepared: String::new(),
            digest: "1".repeat(64),
        },
        attack: AttackRecord { name: "pgd".into(), revision: 1, params: [("steps".into(), "10".into())].into() },
        threat: threat(Norm::Linf, "8/255"),
        goal: Goal::Untargeted,
        mode: Mode::At,
        witness: WitnessKind::U8,
        precision: Precision::F32,
        through: None,
        eot: None,
        votes: None,
        confidence: None,
        seed: 0,
        train: None,
    }
}

/// A budget as sweep files write it.
pub fn threat(norm: Norm, eps: &str) -> Threat {
    Threat::within(norm, Ratio::parse(eps).unwrap())
}

/// An image of this class that was right, was attacked, and stands.
#[allow(dead_code, reason = "not every test makes one up")]
pub fn standing(example: usize, label: usize) -> Outcome {
    Outcome {
        example,
        label: Some(label),
        target: None,
        clean_prediction: Some(label),
        adversarial_prediction: Some(label),
        success: Some(false),
        linf_255: Some(8.0),
        l2: Some(0.25),
        margin_clean: Some(3.5),
        margin_adversarial: Some(1.5),
        confidence_clean: Some(0.9),
        confidence_adversarial: Some(0.6),
        label_probability_clean: Some(0.9),
        label_probability_adversarial: Some(0.6),
        target_probability_clean: None,
        target_probability_adversarial: None,
        target_logit_adversarial: None,
        target_rank_clean: None,
        target_rank_adversarial: None,
        step: 1,
        restart: 0,
        forwards: 2,
        backwards: 1,
        flags: String::new(),
        note: String::new(),
        margin_midway: None,
        l1: None,
        l0: None,
    }
}

/// Of a cell that is complete.
pub fn provenance() -> Provenance {
    Provenance {
        schema: SCHEMA,
        error: None,
        files: Default::default(),
        version: "test".into(),
        model_file: None,
        model_commit: None,
        model_notes: Vec::new(),
        folder: None,
        data_path: None,
        data_table: None,
        data_files: Vec::new(),
        notes: Vec::new(),
        device: "cpu".into(),
        machine: Some("one".into()),
        threads: 2,
        batch: 512,
        time_s: 1.0,
        stages: Vec::new(),
        served_by: None,
        finished_unix_s: 0,
    }
}

/// A plan of these cells, all of it pinned, its figures as usual.
pub fn plan(name: &str, cells: &[Cell]) -> PlanRecord {
    PlanRecord {
        schema: SCHEMA,
        name: name.into(),
        cells: cells.to_vec(),
        unpinned: Vec::new(),
        unpinned_data: Vec::new(),
        published: Vec::new(),
        figures: Vec::new(),
    }
}
