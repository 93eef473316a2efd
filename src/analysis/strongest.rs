//! Which attack of a table is the strongest of its budget beyond chance: the only one that may be set in bold.

use super::paired::{Counts, Paired};
use super::summary::Summary;
use crate::statistics::{holm, mcnemar};
use std::collections::BTreeMap;

/// Chance of a difference this clear, anywhere in a table, where there is none.
const LEVEL: f64 = 0.05;

/// Of the cells of one table, those in which more images count than in every other complete cell of the same budget, by
/// McNemar's exact test on the images, two-sided, corrected for all comparisons of the table (Holm 1979).
pub fn strongest(cells: &[&Summary], counts: Counts) -> Vec<bool> {
    let mut budgets: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, s) in cells.iter().enumerate() {
        if s.rates.as_ref().is_some_and(|r| r.n > 0 && r.labelled) {
            budgets.entry(s.cell.threat.eps_text()).or_default().push(i);
        }
    }
    let count = |i: &usize| cells[*i].verdicts.iter().filter(counts).count();
    let (mut of, mut p) = (Vec::new(), Vec::new());
    for group in budgets.values().filter(|group| group.len() > 1) {
        let Some(&most) = group.iter().max_by_key(|i| count(i)) else { continue };
        for &other in group.iter().filter(|i| **i != most) {
            of.push(most);
            p.push(chance(cells[most], cells[other], counts));
        }
    }
    let mut bold = vec![false; cells.len()];
    of.iter().for_each(|most| bold[*most] = true);
    for (most, corrected) in of.iter().zip(holm(&p)) {
        bold[*most] &= corrected <= LEVEL;
    }
    bold
}

/// Chance of so clear a lead of the first where nothing parts the two; 1 without a lead, and where they are not of the
/// same images.
fn chance(first: &Summary, second: &Summary, counts: Counts) -> f64 {
    let Paired { n, only, .. } = Paired::of(&first.verdicts, &second.verdicts, counts);
    let same =
        first.cell.data.digest == second.cell.data.digest && [first, second].iter().all(|s| s.verdicts.len() == n);
    if same && only.0 > only.1 { mcnemar(only.0, only.1) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::ladder::tests::summary;
    use crate::terms::{Budget, Norm};

    const FOOLED: Counts = |v| v.fooled;

    fn cell(eps: &str, fooled: std::ops::Range<u32>) -> Summary {
        summary(100, &fooled.collect::<Vec<_>>(), |c| c.threat.eps = Budget::Within(Norm::L2.budget(eps).unwrap()))
    }

    fn bold(cells: &[Summary]) -> Vec<bool> {
        strongest(&cells.iter().collect::<Vec<_>>(), FOOLED)
    }

    #[test]
    fn only_what_beats_every_other_attack_of_its_budget_is_bold() {
        // 6 against none: 2/64 = 0.031; 5 against none: 0.063
        assert_eq!(bold(&[cell("1", 0..30), cell("1", 0..24)]), [true, false]);
        assert_eq!(bold(&[cell("1", 0..30), cell("1", 0..25)]), [false, false]);
        // the same numbers without shared images: 30 against 24 is chance
        assert_eq!(bold(&[cell("1", 0..30), cell("1", 50..74)]), [false, false]);
        // not clear of both
        assert_eq!(bold(&[cell("1", 0..30), cell("1", 0..1), cell("1", 0..27)]), [false; 3]);
        // a tie, one attack alone, and other budgets
        assert_eq!(bold(&[cell("1", 0..30), cell("1", 0..30), cell("1", 0..1)]), [false; 3]);
        assert_eq!(bold(&[cell("1", 0..30), cell("2", 0..1)]), [false; 2]);
    }

    /// Two comparisons: 6 against none is 0.031 and corrected 0.063, 8 against none 0.0078 and corrected 0.016.
    #[test]
    fn all_comparisons_of_the_table_are_corrected_for() {
        let table = |lead: u32| [cell("1", 0..30), cell("1", 0..30 - lead), cell("2", 0..9), cell("2", 0..9)];
        assert_eq!(bold(&table(6)), [false; 4]);
        assert_eq!(bold(&table(8)), [true, false, false, false]);
        assert_eq!(bold(&[cell("1", 0..30), cell("1", 0..22), cell("1", 0..24)]), [true, false, false]);
    }

    #[test]
    fn cells_that_failed_or_have_other_images_give_no_bold() {
        let mut failed = cell("1", 0..0);
        failed.rates = None;
        assert_eq!(bold(&[cell("1", 0..30), cell("1", 0..20), failed.clone()]), [true, false, false]);
        assert_eq!(bold(&[cell("1", 0..30), failed]), [false; 2]);
        let mut other = cell("1", 0..20);
        other.cell.data.digest = "22".into();
        assert_eq!(bold(&[cell("1", 0..30), other]), [false; 2]);
        let mut fewer = cell("1", 0..20);
        fewer.verdicts = fewer.verdicts.iter().take(90).collect();
        assert_eq!(bold(&[cell("1", 0..30), fewer]), [false; 2]);
    }

    /// The strongest is picked by the same images that then test it. Tables of attacks that are as strong as each other say
    /// what that costs.
    #[test]
    fn equally_strong_attacks_are_bold_in_one_table_of_twenty_at_most() {
        for (attacks, wanted) in [(2, 86), (3, 7), (6, 0)] {
            // Knuth's MMIX generator, of which the upper bits are fair
            let mut state = attacks as u64;
            let mut uniform = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 32) as f64 / 2f64.powi(32)
            };
            let tables = 2000;
            let mut wrong = 0;
            for _ in 0..tables {
                let hard: Vec<f64> = (0..200).map(|_| uniform()).collect();
                let mut cells = Vec::new();
                for eps in ["1", "2", "4"] {
                    for _ in 0..attacks {
                        let fooled: Vec<u32> = (0..200u32).filter(|i| uniform() > hard[*i as usize]).collect();
                        cells.push(summary(200, &fooled, |c| {
                            c.threat.eps = Budget::Within(Norm::L2.budget(eps).unwrap())
                        }));
                    }
                }
                wrong += usize::from(bold(&cells).contains(&true));
            }
            assert!(wrong == wanted && wrong * 20 <= tables, "{attacks} attacks: {wrong} of {tables}");
        }
    }
}
