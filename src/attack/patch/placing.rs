//! Where pictures come to lie on the images that are attacked, and their pasting.

use crate::attack::{Params, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::{Oracle, Place, Proposal};
use crate::placement::{Footprint, MASKS, Mask, Picture, Placement};
use crate::rng::Streams;
use crate::threat::Threat;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// How pictures are placed: one place an image, which patch, controls, and all areas share.
pub struct Placing {
    /// Shape of what is covered.
    pub mask: Mask,
    /// Radians, each way.
    pub max_angle: f64,
    /// Share of the image.
    pub area: f64,
}

impl Placing {
    /// From the parameters `mask` and `rotation`, and the area of the threat.
    pub fn of(params: &Params, threat: &Threat) -> Placing {
        Placing {
            mask: mask(params.choice("mask")),
            max_angle: params.number("rotation").to_radians(),
            area: threat.eps.to_f64(),
        }
    }

    /// Where a picture lies on the image of a row. The stream is that of seed and image alone, whatever the attack.
    pub fn place(&self, row: usize, batch: &Batch, task: &Task) -> Placement {
        let streams: Streams = task.streams.shared("placement");
        let mut stream = streams.stream(batch.example(row), 0, "place");
        Placement::draw(&mut stream, batch.size(), self.area, self.mask, self.max_angle)
    }

    /// Pastes the task's pictures, in turn, onto all images, and proposes each.
    pub fn paste_all(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        for rows in all.chunks(batch.window) {
            let x = batch.images(rows)?;
            let clean = x.flatten_from(1)?.to_vec2::<f32>()?;
            let paste = |(row, mut image): (&usize, Vec<f32>)| {
                let which = batch.example(*row) % task.pictures.len();
                let (placement, picture) = (self.place(*row, batch, task), &task.pictures[which]);
                footprint(&placement, picture, batch.size()).paste(&picture.rgb, &mut image);
                // what is judged is 8-bit; so is what is proposed
                image.iter_mut().for_each(|v| *v = (*v * 255.0).round_ties_even() / 255.0);
                (image, placement.note(which))
            };
            let (images, notes): (Vec<Vec<f32>>, Vec<String>) =
                rows.par_iter().zip(clean).map(paste).unzip::<Vec<f32>, String, Vec<_>, Vec<_>>();
            let images = Tensor::from_vec(images.concat(), x.shape(), &Device::Cpu)?.to_device(x.device())?;
            let places = vec![Place { restart: 0, step: 1 }; rows.len()];
            // what the making of a picture lacked, every row that wears it lacks
            rows.iter().filter(|_| task.blind).for_each(|row| oracle.met_zero_gradient(*row));
            oracle.propose(
                rows,
                &Proposal { images: &images, gradient: None, evidence: None, places: &places, notes: &notes },
            )?;
            oracle.leave(rows.len());
        }
        Ok(())
    }
}

/// What a picture covers on an image of this height and width, where it lies.
fn footprint(placement: &Placement, picture: &Picture, size: [usize; 2]) -> Footprint {
    placement.footprint(size, picture.side).cut_out(picture)
}

/// Masks by their names: a declared choice is one of them.
pub fn mask(name: &str) -> Mask {
    MASKS.iter().find(|(n, _)| *n == name).map_or(Mask::Circle, |(_, m)| *m)
}
