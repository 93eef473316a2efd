//! Two cells, image by image.

use crate::record::Outcome;
use std::collections::HashSet;
use std::sync::Arc;

/// What cells are compared by, image by image.
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

/// The verdicts of a cell, in the order of the images' numbers. A run may have very many: an image takes two bits, and what is
/// said of clean images is kept once for all cells that say the same ([`Verdicts::share`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdicts {
    clean: Arc<[Clean]>,
    fooled: Bits,
    target: Bits,
}

/// What is said of a clean image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Clean {
    example: u32,
    prediction: u32,
    right: bool,
    near: bool,
}

/// What cells say of clean images, each list once.
#[derive(Default)]
pub struct Shared(HashSet<Arc<[Clean]>>);

/// A bit an image; none where no bit is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Bits(Box<[u64]>);

impl Bits {
    fn of(bits: impl ExactSizeIterator<Item = bool>) -> Bits {
        let mut words = vec![0u64; bits.len().div_ceil(64)];
        bits.enumerate().filter(|(_, bit)| *bit).for_each(|(i, _)| words[i / 64] |= 1 << (i % 64));
        if words.iter().all(|word| *word == 0) { Bits::default() } else { Bits(words.into()) }
    }

    fn get(&self, i: usize) -> bool {
        self.0.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }
}

impl Verdicts {
    /// One an image.
    pub fn iter(&self) -> impl Iterator<Item = Verdict> + '_ {
        self.clean.iter().enumerate().map(|(i, clean)| Verdict {
            example: clean.example,
            clean_prediction: clean.prediction,
            right: clean.right,
            fooled: self.fooled.get(i),
            target: self.target.get(i),
            near: clean.near,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.clean.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.clean.is_empty()
    }

    /// Keeps what is said of clean images once.
    pub fn share(&mut self, known: &mut Shared) {
        match known.0.get(&self.clean) {
            Some(same) => self.clean = same.clone(),
            None => drop(known.0.insert(self.clean.clone())),
        }
    }

    /// Tells apart what is said of clean images: the same for cells that share it.
    pub fn clean(&self) -> usize {
        self.clean.as_ptr() as usize
    }
}

/// From verdicts in any order.
impl FromIterator<Verdict> for Verdicts {
    fn from_iter<I: IntoIterator<Item = Verdict>>(verdicts: I) -> Verdicts {
        let mut all: Vec<Verdict> = verdicts.into_iter().collect();
        all.sort_by_key(|v| v.example);
        let clean =
            |v: &Verdict| Clean { example: v.example, prediction: v.clean_prediction, right: v.right, near: v.near };
        Verdicts {
            clean: all.iter().map(clean).collect(),
            fooled: Bits::of(all.iter().map(|v| v.fooled)),
            target: Bits::of(all.iter().map(|v| v.target)),
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
    /// Of the verdicts of two cells.
    pub fn of(first: &Verdicts, second: &Verdicts, counts: Counts) -> Paired {
        let mut pair = Paired::default();
        let mut rest = second.iter().peekable();
        for v in first.iter() {
            while rest.next_if(|o| o.example < v.example).is_some() {}
            let Some(o) = rest.next_if(|o| o.example == v.example) else { continue };
            pair.n += 1;
            match (counts(&v), counts(&o)) {
                (true, true) => pair.both += 1,
                (true, false) => pair.only.0 += 1,
                (false, true) => pair.only.1 += 1,
                (false, false) => {}
            }
        }
        pair
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(example: u32, flags: u32) -> Verdict {
        let flag = |bit: u32| flags >> bit & 1 == 1;
        let clean_prediction = example % 7;
        Verdict { example, clean_prediction, right: flag(0), fooled: flag(1), target: flag(2), near: flag(3) }
    }

    #[test]
    fn packed_verdicts_are_what_went_in() {
        for n in [0, 1, 63, 64, 65, 200] {
            let all: Vec<Verdict> = (0..n).map(|i| verdict(3 * i, i * i + i / 3)).collect();
            let packed: Verdicts = all.iter().rev().copied().collect();
            assert_eq!(packed.iter().collect::<Vec<_>>(), all, "{n}");
            assert_eq!((packed.len(), packed.is_empty()), (n as usize, n == 0));
        }
    }

    #[test]
    fn cells_share_what_is_said_of_clean_images_and_nothing_else() {
        let of = |flags: u32| (0..100).map(|i| verdict(i, flags)).collect::<Verdicts>();
        let (mut first, mut same, mut other) = (of(1), of(3), of(9));
        let mut known = Shared::default();
        [&mut first, &mut same, &mut other].into_iter().for_each(|v| v.share(&mut known));
        assert!(first.clean() == same.clean() && first.clean() != other.clean());
        assert_eq!((first, same, other), (of(1), of(3), of(9)));
    }
}
