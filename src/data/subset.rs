//! Images of one split, pinned by a digest.

use super::prepare::Preparation;
use crate::digest;
use crate::record::{HubFile, Inputs};

/// Images of one split.
#[derive(Debug, Clone)]
pub struct Subset {
    /// Index of each image in its split: its stable name.
    pub examples: Vec<usize>,
    /// True classes.
    pub labels: Vec<usize>,
    /// N×3×height×width, RGB.
    pub pixels: Vec<u8>,
    /// Height and width of an image in pixels.
    pub size: [usize; 2],
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// SHA-256 of indices, labels and pixels.
    pub digest: String,
    /// Whether labels mean anything; blank canvases have no true class.
    pub labelled: bool,
    /// Files of the Hub that it was read from.
    pub sources: Vec<HubFile>,
    /// What was done to its pictures; `None`: they are stored as networks take them.
    pub preparation: Option<Preparation>,
    /// What has to be said of it: what lies among its pictures and was not read, pictures that were enlarged a lot.
    pub notes: Vec<String>,
}

impl Subset {
    /// A subset with its digest.
    pub fn new(
        examples: Vec<usize>,
        labels: Vec<usize>,
        pixels: Vec<u8>,
        size: [usize; 2],
        classes: Vec<String>,
    ) -> Subset {
        // the store keeps a name a line, and a terminal obeys what is none
        let plain = |name: String| name.replace(char::is_control, "\u{fffd}");
        let classes = classes.into_iter().map(plain).collect();
        let mut text = format!("3x{}x{}\n", size[0], size[1]).into_bytes();
        for (example, label) in examples.iter().zip(&labels) {
            text.extend_from_slice(format!("{example} {label}\n").as_bytes());
        }
        Subset {
            digest: digest::sha256_of(&[&text, &pixels]),
            examples,
            labels,
            pixels,
            size,
            classes,
            labelled: true,
            sources: Vec::new(),
            preparation: None,
            notes: Vec::new(),
        }
    }

    /// True class of image `i`; `None`: there is none.
    pub fn label(&self, i: usize) -> Option<usize> {
        self.labelled.then_some(self.labels[i])
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of values of one image, 3·height·width.
    pub fn values(&self) -> usize {
        3 * self.size[0] * self.size[1]
    }

    /// As it is kept beside the cells of a run.
    pub fn inputs(&self) -> Inputs {
        Inputs {
            examples: self.examples.clone(),
            labels: self.labels.clone(),
            classes: self.classes.clone(),
            size: self.size,
            pixels: self.pixels.clone(),
        }
    }

    /// The 8-bit pixels of image `i`, 3×height×width.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.values()..(i + 1) * self.values()]
    }
}
