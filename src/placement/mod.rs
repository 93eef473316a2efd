//! Where a picture lies on an image, as plain numbers that are stored beside a witness: whoever has them, the picture and
//! the scene can redo the paste to the byte.
//!
//! Coordinates are in pixels of the image, x to the right and y down from its upper left corner; pixel (column, row) has
//! its centre at (column + ½, row + ½). Everything is made of additions, multiplications, divisions, square roots and
//! comparisons, each rounded as IEEE 754 says, so a footprint is the same on every machine.

mod footprint;
mod picture;
mod place;

pub use footprint::Footprint;
pub use picture::Picture;
pub use place::{MASKS, Mask, Placement, covered, window};
