//! Resolves what attacks are fitted to.

use super::cells::Fitting;
use super::resolver::{ResolvedAttack, ResolvedTrain, Resolver};
use super::takes::Takes;
use crate::attack::{Attack, Training};
use crate::config::TrainSpec;
use crate::record::{Cell, DataRecord, ModelRecord, TrainRecord};
use std::collections::HashSet;

impl Resolver<'_> {
    /// The training images and nets of a block; no image of `attacked` may be among them.
    pub(super) fn train(
        &mut self,
        spec: &TrainSpec,
        takes: &[Takes],
        attacked: Option<usize>,
    ) -> Option<ResolvedTrain> {
        let data = self.data(&spec.data, takes, None)?;
        let models: Vec<usize> =
            spec.models.iter().filter_map(|m| self.model(m).filter(|i| self.fits(*i, data, m.line))).collect();
        let (train, attacked) = (&self.data[data], &self.data[attacked?]);
        let same = train.dataset.name == attacked.dataset.name
            && (&train.choice.split, &train.choice.path, &train.choice.table)
                == (&attacked.choice.split, &attacked.choice.path, &attacked.choice.table);
        let examples: HashSet<usize> = attacked.subset.examples.iter().copied().filter(|_| same).collect();
        let shared = train.subset.examples.iter().filter(|e| examples.contains(e)).count();
        if shared > 0 {
            let hint = "hint: another `split`, or `first` and `every` that keep them apart, in the same order";
            self.problem(spec.line, format!("{shared} training images are attacked too ({hint})"));
            return None;
        }
        Some(ResolvedTrain { models, data })
    }

    /// What the attack's pictures are made from, which becomes part of the cell; `None` after a problem.
    pub(super) fn fitting(
        &self,
        cell: &mut Cell,
        built: &dyn Attack,
        attack: &ResolvedAttack,
        train: Option<&ResolvedTrain>,
        model: usize,
    ) -> Option<Option<Fitting>> {
        if !built.pastes() {
            return Some(None);
        }
        let wanted = built.training();
        let (mut models, mut data) = (Vec::new(), None);
        if wanted != Training::Nothing {
            let Some(train) = train else {
                self.problem(
                    attack.line,
                    format!(
                        "attack `{}` needs training images (hint: in this [[sweep]], \
                         train = {{ name = …, first = …, take = … }}, none of them attacked)",
                        attack.entry.name
                    ),
                );
                return None;
            };
            data = Some(train.data);
            if wanted == Training::ImagesAndNets {
                models = if train.models.is_empty() { vec![model] } else { train.models.clone() };
            }
            cell.train = Some(TrainRecord {
                models: models.iter().map(|m| self.model_record(*m)).collect(),
                data: self.data_record(train.data),
            });
        }
        let size = self.models[model].1.file.size;
        Some(Some(Fitting { record: cell.fit(size), models, data, given: attack.given.clone() }))
    }

    pub(super) fn model_record(&self, model: usize) -> ModelRecord {
        self.models[model].1.record()
    }

    pub(super) fn data_record(&self, data: usize) -> DataRecord {
        let data = &self.data[data];
        DataRecord {
            name: data.dataset.name.to_string(),
            split: data.choice.split.clone(),
            first: data.choice.first,
            every: data.choice.every,
            take: data.subset.len(),
            shuffle: data.choice.shuffle,
            indices: data.choice.listed().map(<[usize]>::to_vec),
            files: self
                .source
                .given
                .as_ref()
                .filter(|_| data.dataset.given)
                .map(|given| given.names())
                .filter(|names| !names.is_empty()),
            corruption: data.choice.corruption.clone(),
            prepared: match (data.subset.preparation, data.dataset.prepared) {
                (Some(p), true) => p.text(),
                (Some(p), false) => p.size_text(),
                (None, _) => String::new(),
            },
            digest: data.subset.digest.clone(),
        }
    }
}
