//! Decides: clean pass, membership in the threat set, 8-bit rounding, adversarial pass, one outcome an image.
//!
//! What is judged is what is stored: an iterate is rounded to 8 bits (or kept as floats, `witness = "f32"`) before the
//! net sees it again. Success is any iterate, the first that succeeds; where none does, the witness is the iterate that
//! came closest. Where the net has been asked at the unrounded iterate anyway, and it stands so firmly that rounding
//! cannot matter, the rounded one is not judged unless it turns out to have come closest ([`Bench::firm`]).

mod bench;
mod on_device;
mod outcomes;
mod pixels;
mod sheet;
mod trial;
mod verdict;

pub use crate::terms::WitnessKind;
pub use pixels::{distances_f32, distances_u8, to_floats};
pub use trial::{Earlier, Judging, Trial};
pub use verdict::{BOUNDARY_MARGIN, Verdict, clear_majority, is_boundary, is_right_before, predict, predict_stored};
