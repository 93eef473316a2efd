use super::*;
use crate::terms::{Goal, Mode, Norm, Precision, Ratio, Threat, WitnessKind};

pub(crate) fn cell() -> Cell {
    Cell {
        schema: SCHEMA,
        model: ModelRecord { name: "m".into(), network: "vgg11_bn".into(), weights: "00".into() },
        data: DataRecord {
            name: "d".into(),
            split: "test".into(),
            first: 0,
            every: 1,
            take: 2,
            shuffle: None,
            indices: None,
            files: None,
            corruption: None,
            prepared: String::new(),
            digest: "11".into(),
        },
        attack: AttackRecord {
            name: "pgd".into(),
            revision: 1,
            params: [("steps", "10"), ("restarts", "1")].map(|(k, v)| (k.into(), v.into())).into(),
        },
        threat: Threat::within(Norm::Linf, Ratio::parse("8/255").unwrap()),
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

#[test]
fn the_id_of_a_cell_never_changes() {
    assert_eq!(cell().id(), "094467c832debccf");
    assert_eq!(serde_json::from_str::<Cell>(&cell().canonical()).unwrap(), cell());
}

/// A store from before `margin_midway`, `l1` and `l0`, the last columns, is read as it stands.
#[test]
fn older_rows_are_read() {
    let row = "1,0,,0,0,false,8,0.5,2,1,0.9,0.8,0.9,0.8,,,,,,3,0,4,3,,";
    let heading = "example,label,target,clean_prediction,adversarial_prediction,success,linf_255,l2,margin_clean,\
                   margin_adversarial,confidence_clean,confidence_adversarial,label_probability_clean,\
                   label_probability_adversarial,target_probability_clean,target_probability_adversarial,\
                   target_logit_adversarial,target_rank_clean,target_rank_adversarial,step,restart,forwards,backwards,\
                   flags,note";
    let read =
        |text: String| -> Outcome { csv::Reader::from_reader(text.as_bytes()).deserialize().next().unwrap().unwrap() };
    let old = read(format!("{heading}\n{row}\n"));
    let new = read(format!("{heading},margin_midway\n{row},1.5\n"));
    assert_eq!((old.margin_midway, new.margin_midway), (None, Some(1.5)));
    assert_eq!(Outcome { margin_midway: None, ..new.clone() }, old);
    let mut written = csv::Writer::from_writer(Vec::new());
    written.serialize(&new).unwrap();
    assert!(written.into_inner().unwrap().starts_with(format!("{heading},margin_midway,l1,l0\n").as_bytes()));
}

#[test]
fn columns_are_the_fields_of_an_outcome() {
    let fields: Vec<String> = Outcome::COLUMNS
        .iter()
        .map(|name| match *name {
            "example" | "step" | "restart" | "forwards" | "backwards" => format!("\"{name}\": 0"),
            "flags" | "note" => format!("\"{name}\": \"\""),
            _ => format!("\"{name}\": null"),
        })
        .collect();
    let outcome: Outcome = serde_json::from_str(&format!("{{{}}}", fields.join(","))).unwrap();
    let mut table = csv::Writer::from_writer(Vec::new());
    table.serialize(outcome).unwrap();
    let text = String::from_utf8(table.into_inner().unwrap()).unwrap();
    assert_eq!(text.lines().next().unwrap(), Outcome::COLUMNS.join(","));
}

#[test]
fn a_subset_is_named_by_its_range() {
    let data = cell().data;
    assert_eq!(data.text(), "d:test[0..2]");
    assert_eq!(DataRecord { first: 1, every: 2, take: 50, ..data.clone() }.text(), "d:test[1..101:2]");
    assert_eq!(DataRecord { shuffle: Some(7), ..data.clone() }.text(), "d:test[0..2 shuffle=7]");
    let listed = |n: usize| DataRecord { indices: Some((0..n).collect()), ..data.clone() }.text();
    assert_eq!((listed(2), listed(12)), ("d:test[0 1]".into(), "d:test[0 1 2 3 4 5 6 7 … 12 of them]".into()));
}

#[test]
fn everything_in_a_cell_changes_its_id() {
    let mut other = cell();
    other.attack.params.insert("steps".into(), "11".into());
    assert_ne!(other.id(), cell().id());
    let mut other = cell();
    other.seed = 1;
    assert_ne!(other.id(), cell().id());
    let mut other = cell();
    other.data.shuffle = Some(0);
    assert_ne!(other.id(), cell().id());
}
