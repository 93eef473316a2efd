//! Least distances: what a cell of a minimal threat found for each image, and how they are spread.

use crate::record::{Cell, Outcome};
use crate::terms::Budget;

/// What a minimal attack found for an image that was right before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Least {
    /// Index of the image in its split.
    pub example: u32,
    /// The least distance of an image that is fooled, in the units of the norm; infinite: none was found.
    pub distance: f64,
    /// The pass, forward or back, that found it; where none was found, the last that the attack was allowed.
    pub pass: u64,
}

/// Of a cell without error rows, by number of the image; empty unless its threat is minimal.
pub fn least(cell: &Cell, outcomes: &[Outcome]) -> Vec<Least> {
    let Budget::Minimal { passes } = cell.threat.eps else { return Vec::new() };
    let of = |o: &Outcome| {
        let found = o.distance(cell.threat.norm).filter(|_| o.success == Some(true));
        let pass = found.and_then(|_| pass(&o.note)).unwrap_or(passes);
        Least { example: o.example as u32, distance: found.unwrap_or(f64::INFINITY), pass }
    };
    let mut all: Vec<Least> = outcomes.iter().filter(|o| o.is_right_before()).map(of).collect();
    all.sort_by_key(|l| l.example);
    all
}

/// `pass=246 …` in the note of a row.
fn pass(note: &str) -> Option<u64> {
    note.split(' ').find_map(|word| word.strip_prefix("pass="))?.parse().ok()
}

/// Distances, the least first; infinite ones at the end.
pub fn sorted(all: &[Least]) -> Vec<f64> {
    let mut distances: Vec<f64> = all.iter().map(|l| l.distance).collect();
    distances.sort_by(f64::total_cmp);
    distances
}

/// The quartiles of sorted distances, each one of them: that at place ⌊n·share⌋, counted from 0. `None` where it is infinite, or
/// there is none.
pub fn quartiles(sorted: &[f64]) -> [Option<f64>; 3] {
    let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied();
    [0.25, 0.5, 0.75].map(|share| at(share).filter(|d| d.is_finite()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::tests::cell;
    use crate::terms::{Norm, Threat};

    /// Images 0, 1, … at these distances; infinite: they stand.
    pub fn at(distances: &[f64]) -> Vec<Least> {
        let of = |(example, distance): (usize, &f64)| Least { example: example as u32, distance: *distance, pass: 10 };
        distances.iter().enumerate().map(of).collect()
    }

    #[test]
    fn a_quartile_that_falls_on_a_failure_is_missing() {
        let inf = f64::INFINITY;
        let of = |distances: &[f64]| quartiles(&sorted(&at(distances)));
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]), [Some(2.0), Some(3.0), Some(4.0)]);
        assert_eq!(of(&[inf, 1.0, 3.0, 2.0]), [Some(2.0), Some(3.0), None]);
        assert_eq!(of(&[inf, inf, inf, 2.0]), [None, None, None]);
        assert_eq!(of(&[5.0]), [Some(5.0); 3]);
        assert_eq!(of(&[]), [None; 3]);
    }

    fn outcome() -> Outcome {
        let fields = Outcome::COLUMNS.iter().map(|name| match *name {
            "step" | "restart" | "forwards" | "backwards" => format!("\"{name}\": 0"),
            "example" | "label" | "clean_prediction" => format!("\"{name}\": 1"),
            "flags" | "note" => format!("\"{name}\": \"\""),
            _ => format!("\"{name}\": null"),
        });
        serde_json::from_str(&format!("{{{}}}", fields.collect::<Vec<_>>().join(","))).unwrap()
    }

    #[test]
    fn images_that_were_right_count_and_what_stands_is_infinitely_far() {
        let mut cell = cell();
        let fooled = |example, l2, note: &str| Outcome {
            example,
            success: Some(true),
            l2: Some(l2),
            note: note.into(),
            ..outcome()
        };
        let stands = Outcome { example: 2, success: Some(false), l2: Some(0.1), note: "pass=3".into(), ..outcome() };
        let wrong = Outcome { clean_prediction: Some(9), label: Some(1), ..fooled(5, 0.0, "") };
        let rows = [fooled(7, 0.5, "pass=12 target=3"), stands, wrong, fooled(1, 0.25, "")];
        assert_eq!(least(&cell, &rows), [], "a budget is no search for the least");
        cell.threat = Threat { norm: Norm::L2, eps: Budget::Minimal { passes: 60 } };
        let found = |example, distance, pass| Least { example, distance, pass };
        assert_eq!(least(&cell, &rows), [found(1, 0.25, 60), found(2, f64::INFINITY, 60), found(7, 0.5, 12)]);
    }
}
