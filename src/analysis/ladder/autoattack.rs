//! What AutoAttack asks of its own attacks (Croce and Hein 2020; `checks.py` of the authors' code, 2022).

use super::relations::{APGD, AUTOATTACK, FAB, FOOLED, SQUARE, is, place};
use super::row::{Judgement, Row, pair, single};
use crate::analysis::groups::grouped;
use crate::analysis::summary::Summary;
use crate::analysis::worst::attacks;
use std::collections::BTreeSet;

/// Share of the images that Square alone may break: more hints at gradients that lead nowhere (`check_square_sr`, alpha).
const SQUARE_ALONE: f64 = 0.002;

const RELATION: &str = "Square finds no more than gradients do";

/// Square sees scores alone, so what only it breaks stood because gradients did not lead there. Of cells of their own: what no
/// attack that took gradients broke. Of AutoAttack: what stood until its stage.
pub fn square_and_gradients(cells: &[&Summary]) -> Vec<Row> {
    let mut rows = Vec::new();
    for group in grouped(cells, place) {
        let takes_gradients = |s: &&Summary| s.rates.as_ref().is_some_and(|r| r.backwards.is_some_and(|b| b > 0.0));
        let white: Vec<&Summary> =
            group.iter().copied().filter(|s| takes_gradients(s) && !is(s, AUTOATTACK) && !is(s, SQUARE)).collect();
        let square: Vec<&Summary> = group.iter().copied().filter(|s| is(s, SQUARE)).collect();
        if !square.is_empty() {
            let theirs: BTreeSet<u32> = white.iter().flat_map(|s| fooled(s)).collect();
            rows.extend(square.iter().filter_map(|s| alone(s, &white, &theirs)));
        }
        rows.extend(group.iter().filter(|s| is(s, AUTOATTACK)).filter_map(|s| at_its_stage(s)));
    }
    rows
}

/// Numbers of the images that a cell fooled.
fn fooled(s: &Summary) -> impl Iterator<Item = u32> + '_ {
    s.verdicts.iter().filter(|v| v.fooled).map(|v| v.example)
}

/// Square against the attacks that took gradients, which fooled `theirs` together.
fn alone(square: &Summary, white: &[&Summary], theirs: &BTreeSet<u32>) -> Option<Row> {
    let strongest = white.iter().max_by_key(|s| fooled(s).count())?;
    let own: BTreeSet<u32> = fooled(square).collect();
    let only = (own.difference(theirs).count(), theirs.difference(&own).count());
    let n = square.verdicts.len();
    let why = format!("{} of {n} images fall to Square alone, and stand against {}", only.0, attacks(white).join(", "));
    let row = single(RELATION, square, n, own.len(), verdict(only.0, n), why);
    Some(Row { against: Some(strongest.id.clone()), against_count: Some(theirs.len()), only: Some(only), ..row })
}

/// Square among the stages of AutoAttack, which are in provenance.
fn at_its_stage(s: &Summary) -> Option<Row> {
    let at = s.stages.iter().position(|stage| stage.name == SQUARE)?;
    let before = s.stages[..at].last()?.standing;
    let fell = before.saturating_sub(s.stages[at].standing) as usize;
    let n = s.verdicts.len();
    let why = format!("{fell} of {n} images stood until Square, and fell to it");
    Some(single(RELATION, s, n, fell, verdict(fell, n), why))
}

fn verdict(alone: usize, n: usize) -> Judgement {
    if alone > 0 && alone as f64 > SQUARE_ALONE * n as f64 { Judgement::Suspicious } else { Judgement::Ok }
}

/// AutoAttack runs them, and others.
pub fn more_than_its_parts(cells: &[&Summary]) -> Vec<Row> {
    let mut rows = Vec::new();
    for group in grouped(cells, place) {
        for part in group.iter().filter(|s| [APGD, FAB, SQUARE].iter().any(|attack| is(s, attack))) {
            let whole = group.iter().filter(|s| is(s, AUTOATTACK));
            let why = format!("AutoAttack runs `{}` and others", part.cell.attack.name);
            rows.extend(whole.map(|whole| {
                pair("AutoAttack is not weaker than its attacks", (part, whole), &whole.verdicts, FOOLED, &why)
            }));
        }
    }
    rows
}
