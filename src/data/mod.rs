//! Labelled 8-bit images: the registry of datasets, and subsets pinned by a digest.

mod batch;
mod blank;
mod choice;
mod cifar;
mod cifar10;
mod cifar100;
mod cifar10_sample;
mod cifar_c;
mod columns;
mod corrupted;
mod dataset;
mod folder;
mod gif;
mod given;
mod imagenet_1k;
mod imagenet_c;
mod imagenet_folder;
mod imagenette;
mod mini_imagenet;
mod name;
mod npy;
mod parquet;
mod path;
pub mod picture;
mod place;
mod prepare;
mod prepared;
pub mod resize;
mod shapes;
mod shard;
mod shown;
mod source;
mod subset;
mod table;
mod walk;

use crate::error::{Error, Result, hint};
use crate::record::{DataRecord, Inputs};

pub use batch::{Batch, to_tensor};
pub use choice::Choice;
pub use corrupted::corrupted;
pub use dataset::{Dataset, Folder};
pub use given::Given;
pub use name::{CLASS_SETS, class_names, find_class};
pub use path::{Located, find_folder, find_model_file, find_path, find_picture};
pub use place::{ALL, MOST_PIXELS};
pub use prepare::Preparation;
pub use shown::picture_files;
pub use source::{Kept, Source};
pub use subset::Subset;

/// Every dataset.
pub const DATASETS: &[&Dataset] = &[
    &cifar10_sample::DATASET,
    &cifar10::DATASET,
    &shapes::DATASET,
    &cifar100::DATASET,
    &cifar_c::TEN,
    &cifar_c::HUNDRED,
    &imagenet_1k::DATASET,
    &imagenette::DATASET,
    &imagenette::SMALL,
    &mini_imagenet::DATASET,
    &imagenet_folder::DATASET,
    &imagenet_c::DATASET,
    &folder::DATASET,
    &parquet::DATASET,
    &blank::CIFAR10,
    &blank::IMAGENET,
    &shown::PICTURES,
    &shown::CANVAS,
];

/// The dataset of this name.
pub fn find(name: &str) -> Result<&'static Dataset> {
    DATASETS
        .iter()
        .copied()
        .find(|d| d.name == name)
        .ok_or_else(|| Error::usage(format!("unknown dataset `{name}`{}", hint(name, DATASETS.iter().map(|d| d.name)))))
}

impl Subset {
    /// From the copy that a run keeps, if that is what the record says, to the digest.
    pub fn of(inputs: Inputs, record: &DataRecord) -> Option<Subset> {
        let Inputs { examples, labels, classes, size, pixels } = inputs;
        let sound = labels.len() == examples.len() && !classes.is_empty();
        let labelled = find(&record.name).ok()?.labelled;
        let subset = Subset { labelled, ..Subset::new(examples, labels, pixels, size, classes) };
        (sound && subset.digest == record.digest).then_some(subset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_those_of_the_indices() {
        let sample = find("cifar10-sample").unwrap();
        let source = Source::new("nowhere");
        let all = sample.subset(&source, &Choice::new("test", 0, None)).unwrap();
        let some = sample.subset(&source, &Choice { every: 7, ..Choice::new("test", 1, Some(2)) }).unwrap();
        assert_eq!((some.examples.as_slice(), some.labels.as_slice()), ([1, 8].as_slice(), [8, 3].as_slice()));
        assert_eq!((some.image(0), some.image(1)), (all.image(1), all.image(8)));
        assert_eq!((all.classes.len(), all.classes[8].as_str()), (10, "ship"));
    }
}
