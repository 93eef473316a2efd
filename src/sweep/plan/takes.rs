//! The pictures that a model takes.

use crate::config::ModelFile;
use crate::data::Preparation;
use crate::data::resize::Filter;

/// The pictures that a model takes.
#[derive(Clone, Copy)]
pub struct Takes {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// Length that the short side of what is cut has before the cut.
    pub resize: usize,
    /// How pictures are resized.
    pub filter: Filter,
}

impl Takes {
    /// As its model file says.
    pub fn of(file: &ModelFile) -> Takes {
        let filter = if file.bicubic { Filter::Bicubic } else { Filter::Bilinear };
        Takes { size: file.size, resize: file.resize_in_a_sweep(), filter }
    }

    /// How pictures are prepared, resized as asked, else as the model says unless they have its size already.
    ///
    /// # Errors
    /// A length that cannot be.
    pub fn preparation(&self, resize: Option<usize>) -> Result<Preparation, String> {
        let made = match resize {
            Some(resize) => Preparation::new(resize, self.size),
            None => Preparation::usual(self.resize, self.size),
        };
        made.map(|made| Preparation { filter: self.filter, ..made })
    }
}
