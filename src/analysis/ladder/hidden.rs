//! Whether attacks find what the binarisation test has hidden.

use super::row::{Judgement, Row, single};
use crate::analysis::binarised::{Tested, tested};
use crate::analysis::summary::Summary;
use crate::error::Result;
use crate::statistics::wilson;
use crate::store::Store;

/// The control finds nothing, and is to find nothing.
const CONTROL: &str = "noise";

/// An attack that finds less cannot be trusted where it finds nothing else: the paper's own attacks that pass reach nearly all.
const NEARLY_ALL: f64 = 0.95;

/// A row for each cell whose attack was put to the test.
pub fn hidden(store: &Store, cells: &[Summary]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for s in cells.iter().filter(|s| s.rates.is_some() && s.cell.attack.name != CONTROL) {
        rows.extend(tested(store, s)?.and_then(|test| row(s, test)));
    }
    Ok(rows)
}

fn row(s: &Summary, test: Tested) -> Option<Row> {
    let Tested { separated, fooled, .. } = test;
    let misses = separated > 0 && wilson(fooled, separated).1 < NEARLY_ALL;
    let verdict = if misses { Judgement::Suspicious } else { Judgement::Ok };
    let found = format!("it found {fooled} of {separated}");
    let why = if misses { found + ": where it finds nothing else, that proves nothing" } else { found };
    let name = "an attack finds what the binarisation test hides";
    (separated > 0).then(|| single(name, s, separated, fooled, verdict, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ladder::tests::summary;

    #[test]
    fn an_attack_that_misses_what_is_there_is_suspicious() {
        let cell = summary(20, &[], |_| ());
        let verdict =
            |separated, fooled| row(&cell, Tested { images: 20, separated, fooled, guessed: 0 }).map(|row| row.verdict);
        assert_eq!(verdict(20, 20), Some(Judgement::Ok));
        assert_eq!(verdict(20, 18), Some(Judgement::Ok), "chance explains that");
        assert_eq!(verdict(20, 10), Some(Judgement::Suspicious));
        assert_eq!(verdict(0, 0), None, "nothing was hidden");
    }
}
