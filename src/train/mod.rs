//! Training: from a network's description, images and a recipe to a model that a sweep finds by its name.
//!
//! Same file, same bytes: every random choice has a stream of its own, by seed, epoch and image; sums over a batch do not depend
//! on threads; a training that was killed goes on from its last checkpoint and ends with the weights that it would have had.

mod adversary;
mod augment;
mod held_out;
mod loss;
mod model_file;
mod optimiser;
mod plan;
mod recipe;
mod run;
mod schedule;
mod state;
mod weights;

pub use plan::{Plan, Training, load};
pub use recipe::{Kind, Recipe};
pub use run::{Event, Setting, Trained, train};
pub use schedule::Schedule;
