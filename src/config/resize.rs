//! Which length the short side of a picture gets before it is cut, where a model file names none: three questions, whose answers
//! differ, and stand together so that nobody takes one for another.

use super::model_file::ModelFile;

/// torchvision's before it cuts 224.
const USUAL: (usize, usize) = (256, 224);

/// Larger images are pictures of things as ImageNet has them.
const SMALL: usize = 64;

impl ModelFile {
    /// In a sweep. The length is part of every cell, and of ids that are stored: one number for all networks.
    pub fn resize_in_a_sweep(&self) -> usize {
        self.resize.unwrap_or(USUAL.0)
    }

    /// Of pictures that the command line gives: a network for smaller images is shown all of a picture, not the middle of one
    /// that was brought to ImageNet's size. `None`: as in a sweep.
    pub fn resize_of_given_pictures(&self) -> Option<usize> {
        Some(self.short_side()).filter(|short| self.resize.is_none() && *short < USUAL.1)
    }

    /// What `init` writes, and tries: as networks of this size are usually trained. A person may change the line.
    pub fn resize_to_write(&self) -> usize {
        let (usual, cut) = USUAL;
        let guess = if self.is_small() { self.short_side() } else { self.short_side() * usual / cut };
        self.resize.unwrap_or(guess)
    }

    /// Whether the network is for images as CIFAR's.
    pub fn is_small(&self) -> bool {
        self.size[0].max(self.size[1]) <= SMALL
    }

    fn short_side(&self) -> usize {
        self.size[0].min(self.size[1])
    }
}
