//! Which images of a split are wanted: evenly spaced ones, in order or in a random order fixed by a seed, or a list.

use super::prepare::Preparation;
use crate::record::{CorruptionRecord, DataRecord, TableRecord};
use crate::rng::Streams;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Which images of a dataset are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Name of a split.
    pub split: String,
    /// Place of the first image in the order.
    pub first: usize,
    /// Step from one place to the next.
    pub every: usize,
    /// Number of images; `None`: all from `first` on.
    pub take: Option<usize>,
    /// No more than so many, whatever is said above: `None`: no limit.
    pub limit: Option<usize>,
    /// `Some`: the order is random, by this seed; `None`: it is that of the split.
    pub shuffle: Option<u64>,
    /// `Some`: these indices, and nothing of the above but `split` counts.
    pub indices: Option<Vec<usize>>,
    /// Folder of a dataset that is one; `None`: its default.
    pub path: Option<PathBuf>,
    /// Of a dataset whose files a sweep names.
    pub table: Option<TableRecord>,
    /// Of a dataset whose pictures are prepared.
    pub preparation: Option<Preparation>,
    /// Whether a class folder without pictures is a class all the same.
    pub allow_empty: bool,
    /// What the images suffer, or suffered before they were published.
    pub corruption: Option<CorruptionRecord>,
}

impl Choice {
    /// Consecutive images of a dataset that is no folder.
    pub fn new(split: &str, first: usize, take: Option<usize>) -> Choice {
        Choice {
            split: split.to_string(),
            first,
            every: 1,
            take,
            limit: None,
            shuffle: None,
            indices: None,
            path: None,
            table: None,
            preparation: None,
            allow_empty: false,
            corruption: None,
        }
    }

    /// That of a stored cell, whose pictures lay at `path`, or in the files of `table`.
    pub fn of(record: &DataRecord, path: Option<&str>, table: Option<&TableRecord>) -> Choice {
        Choice {
            every: record.every,
            shuffle: record.shuffle,
            indices: record.indices.clone(),
            path: path.map(PathBuf::from),
            table: table.cloned(),
            preparation: Preparation::parse(&record.prepared),
            corruption: record.corruption.clone(),
            allow_empty: true, // the digest decides
            ..Choice::new(&record.split, record.first, Some(record.take))
        }
    }

    /// Number of images from the first that must be there before the wanted ones are known; `None`: all.
    pub fn reach(&self) -> Option<usize> {
        match (self.listed(), self.shuffle) {
            (Some(indices), _) => indices.iter().max().map(|last| last.saturating_add(1)),
            (None, Some(_)) => None,
            (None, None) if self.take == Some(0) => Some(0),
            (None, None) => self.most().and_then(|take| self.last(take)).map(|last| last.saturating_add(1)),
        }
    }

    /// The listed indices that are taken.
    pub fn listed(&self) -> Option<&[usize]> {
        let most = self.limit.unwrap_or(usize::MAX);
        self.indices.as_ref().map(|indices| &indices[..indices.len().min(most)])
    }

    /// How many images there are at most, where that is said.
    fn most(&self) -> Option<usize> {
        self.take.into_iter().chain(self.limit).min()
    }

    /// Place of the last of so many; `None`: there is none, or the number is too large.
    fn last(&self, take: usize) -> Option<usize> {
        take.checked_sub(1)?.checked_mul(self.every.max(1))?.checked_add(self.first)
    }

    /// The indices of the images, in order, of `n` that there are.
    pub fn examples(&self, n: usize) -> Result<Vec<usize>, String> {
        if let Some(indices) = self.listed() {
            let distinct: BTreeSet<usize> = indices.iter().copied().collect();
            return match indices.iter().find(|i| **i >= n) {
                Some(index) => Err(format!("`indices` has {index}, expected 0 to {}", n.saturating_sub(1))),
                None if distinct.len() != indices.len() => Err("`indices` names an image twice".into()),
                None if indices.is_empty() => Err("`indices` is empty".into()),
                None => Ok(indices.to_vec()),
            };
        }
        let every = self.every.max(1);
        let take = self.take.unwrap_or(n.saturating_sub(self.first).div_ceil(every));
        let take = take.min(self.limit.unwrap_or(usize::MAX));
        let last = self.last(take).filter(|last| *last < n);
        let last = last.ok_or_else(|| {
            format!(
                "first = {}, every = {every}, take = {take} does not fit (hint: fewer, or from an earlier one on)",
                self.first
            )
        })?;
        let order = self.shuffle.map(|seed| shuffled(seed, n, last + 1));
        let at = |place: usize| order.as_ref().map_or(place, |order| order[place]);
        Ok((0..take).map(|k| at(self.first + k * every)).collect())
    }
}

/// The first `take` of the numbers below `n` in a random order (Fisher and Yates), which does not depend on `take`.
fn shuffled(seed: u64, n: usize, take: usize) -> Vec<usize> {
    let mut stream = Streams::new(seed, "subset").stream(0, 0, "order");
    let mut order: Vec<usize> = (0..n).collect();
    for place in 0..take {
        let from = place + stream.below(n - place);
        order.swap(place, from);
    }
    order.truncate(take);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(first: usize, every: usize, take: Option<usize>) -> Choice {
        Choice { every, ..Choice::new("all", first, take) }
    }

    #[test]
    fn a_stride_splits_a_dataset_into_disjoint_halves() {
        assert_eq!(choice(0, 2, Some(3)).examples(6).unwrap(), [0, 2, 4]);
        assert_eq!(choice(1, 2, Some(3)).examples(6).unwrap(), [1, 3, 5]);
        assert_eq!(choice(1, 2, None).examples(7).unwrap(), [1, 3, 5]);
        assert_eq!(choice(4, 1, None).examples(6).unwrap(), [4, 5]);
        for wrong in [choice(2, 2, Some(3)), choice(6, 1, None), choice(0, 1, Some(0)), choice(1, usize::MAX, Some(3))]
        {
            assert!(wrong.examples(6).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_shuffled_subset_begins_with_the_smaller_ones() {
        let taken =
            |seed, first, take| Choice { shuffle: Some(seed), ..choice(first, 1, take) }.examples(50_000).unwrap();
        let thousand = taken(7, 0, Some(1000));
        assert_eq!(taken(7, 0, Some(100)), thousand[..100]);
        assert_eq!(taken(7, 100, Some(900)), thousand[100..]);
        assert_ne!(taken(8, 0, Some(1000)), thousand);
        let all: BTreeSet<usize> = taken(7, 0, None).into_iter().collect();
        assert_eq!(all.len(), 50_000, "each image once");
        // evenly over the split: the mean of 1,000 is within five standard errors of the middle
        let mean = thousand.iter().sum::<usize>() as f64 / 1000.0;
        assert!((mean - 24_999.5).abs() < 5.0 * 50_000.0 / 12f64.sqrt() / 1000f64.sqrt(), "{mean}");
        // pinned: the same in every version
        assert_eq!(taken(7, 0, Some(3)), PINNED);
    }

    const PINNED: [usize; 3] = [5158, 48598, 33222];

    #[test]
    fn a_list_of_indices_is_taken_as_it_stands() {
        let list = |indices: &[usize]| Choice { indices: Some(indices.to_vec()), ..choice(0, 1, None) };
        assert_eq!(list(&[14, 3, 15]).examples(16).unwrap(), [14, 3, 15]);
        assert!(list(&[3, 16]).examples(16).unwrap_err().contains("16, expected 0 to 15"));
        assert!(list(&[3, 3]).examples(16).unwrap_err().contains("twice"));
        assert!(list(&[]).examples(16).is_err());
    }

    #[test]
    fn a_limit_leaves_the_first_of_whatever_is_chosen() {
        let most = |choice: Choice| Choice { limit: Some(2), ..choice };
        assert_eq!(most(choice(1, 2, None)).examples(7).unwrap(), [1, 3]);
        assert_eq!(most(choice(4, 1, None)).examples(5).unwrap(), [4], "there are no more");
        assert_eq!(most(choice(0, 1, Some(1))).examples(5).unwrap(), [0]);
        assert_eq!(most(Choice { indices: Some(vec![9, 4, 7]), ..choice(0, 1, None) }).examples(10).unwrap(), [9, 4]);
        let shuffled = Choice { shuffle: Some(7), ..choice(0, 1, None) };
        assert_eq!(most(shuffled.clone()).examples(50_000).unwrap(), PINNED[..2]);
        // no image beyond is looked for
        assert_eq!((most(choice(2, 3, Some(4))).reach(), most(choice(2, 3, None)).reach()), (Some(6), Some(6)));
    }

    #[test]
    fn no_more_is_looked_at_than_must_be() {
        assert_eq!(choice(2, 3, Some(4)).reach(), Some(12));
        assert_eq!(choice(5, 1, Some(0)).reach(), Some(0), "not all");
        assert_eq!(choice(0, 1, None).reach(), None);
        assert_eq!(Choice { shuffle: Some(0), ..choice(0, 1, Some(4)) }.reach(), None);
        assert_eq!(Choice { indices: Some(vec![9, 4]), ..choice(0, 1, None) }.reach(), Some(10));
    }
}
