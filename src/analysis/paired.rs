//! Two cells, image by image.

use crate::record::Outcome;

/// What cells are compared by, image by image: small, because a run has millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Number of the image.
    pub example: u32,
    /// Class predicted for the clean image; `u32::MAX` for none.
    pub clean_prediction: u32,
    /// Right before the attack.
    pub right: bool,
    /// Right before the attack, and fooled by it.
    pub fooled: bool,
    /// Taken for the target after the attack, whatever it was before.
    pub target: bool,
    /// The clean image lies so near a tie that another machine may predict another class.
    pub near: bool,
}

/// Clean margins below this are a tie to other arithmetic.
const NEAR: f32 = 1e-3;

impl Verdict {
    /// Of an image that is no error row.
    pub fn of(o: &Outcome) -> Verdict {
        Verdict {
            example: o.example as u32,
            clean_prediction: o.clean_prediction.map_or(u32::MAX, |c| c as u32),
            right: o.is_right_before(),
            fooled: o.success == Some(true),
            target: o.target_rank_adversarial == Some(0),
            near: o.margin_clean.is_none_or(|m| m.abs() < NEAR),
        }
    }
}

/// What counts of an image.
pub type Counts = fn(&Verdict) -> bool;

/// Two cells on the images that both have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paired {
    /// Images that both have.
    pub n: usize,
    /// Of these, those that count in both cells.
    pub both: usize,
    /// Those that count in the first alone, and in the second alone.
    pub only: (usize, usize),
}

impl Paired {
    /// Of two lists in the order of the images' numbers.
    pub fn of(first: &[Verdict], second: &[Verdict], counts: Counts) -> Paired {
        let mut pair = Paired::default();
        let mut rest = second.iter().peekable();
        for v in first {
            while rest.next_if(|o| o.example < v.example).is_some() {}
            let Some(o) = rest.next_if(|o| o.example == v.example) else { continue };
            pair.n += 1;
            match (counts(v), counts(o)) {
                (true, true) => pair.both += 1,
                (true, false) => pair.only.0 += 1,
                (false, true) => pair.only.1 += 1,
                (false, false) => {}
            }
        }
        pair
    }
}
