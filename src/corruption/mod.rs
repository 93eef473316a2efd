//! Corruptions of a picture as they happen in the world: noise, blur, weather, what digital processing does (Hendrycks
//! and Dietterich 2019). The published data sets were drawn by generators without a seed, so that their pictures cannot be
//! made again; the generators here follow the same definitions and constants with a seed, and what they make is called
//! `-like`.

mod brightness;
mod contrast;
mod defocus_blur;
mod elastic_transform;
mod entry;
mod fog;
mod frost;
mod gaussian_blur;
mod gaussian_noise;
mod glass_blur;
mod impulse_noise;
mod jpeg_compression;
mod motion_blur;
mod pixelate;
mod saturate;
mod shot_noise;
mod snow;
mod spatter;
mod speckle_noise;
#[cfg(test)]
mod tests;
mod zoom_blur;

pub use entry::{Corruption, Generate};

use crate::rng::Streams;
use rayon::prelude::*;

/// Every corruption, the fifteen whose mean is reported first, in the published order, then the four extra ones.
pub const CORRUPTIONS: &[Corruption] = &[
    gaussian_noise::CORRUPTION,
    shot_noise::CORRUPTION,
    impulse_noise::CORRUPTION,
    defocus_blur::CORRUPTION,
    glass_blur::CORRUPTION,
    motion_blur::CORRUPTION,
    zoom_blur::CORRUPTION,
    snow::CORRUPTION,
    frost::CORRUPTION,
    fog::CORRUPTION,
    brightness::CORRUPTION,
    contrast::CORRUPTION,
    elastic_transform::CORRUPTION,
    pixelate::CORRUPTION,
    jpeg_compression::CORRUPTION,
    speckle_noise::CORRUPTION,
    gaussian_blur::CORRUPTION,
    spatter::CORRUPTION,
    saturate::CORRUPTION,
];

/// Behind the name of a corruption that is made here.
pub const LIKE: &str = "-like";

/// From the mildest to the worst.
pub const SEVERITIES: std::ops::RangeInclusive<u8> = 1..=5;

/// The corruption of this name, written with hyphens or as the published files are, with underscores; a generator's with
/// [`LIKE`] behind it.
pub fn find(name: &str) -> Option<&'static Corruption> {
    let name = name.replace('_', "-");
    let name = name.strip_suffix(LIKE).unwrap_or(&name);
    CORRUPTIONS.iter().find(|c| c.name == name)
}

/// Images of 3×height×width 8-bit values, each corrupted by draws that depend on the seed, the corruption and the place of the image in
/// its split, not on the severity: the same noise grows. Values are clipped and cut to whole ones as the published files were.
pub fn corrupt(
    generate: Generate,
    streams: &Streams,
    severity: u8,
    [height, width]: [usize; 2],
    examples: &[usize],
    pixels: &[u8],
) -> Vec<u8> {
    let images = pixels.par_chunks(3 * height * width).zip(examples);
    let one = |(image, example): (&[u8], &usize)| {
        let image: Vec<f32> = image.iter().map(|v| f32::from(*v) / 255.0).collect();
        let mut draw = streams.stream(*example, 0, "corruption");
        generate(&image, [height, width], severity.into(), &mut draw).into_iter().map(whole).collect::<Vec<u8>>()
    };
    images.flat_map_iter(one).collect()
}

/// The 8-bit value below a number in [0,1]. What f32 rounds to just below a whole one is that one.
fn whole(x: f32) -> u8 {
    const SLACK: f32 = 1e-3;
    (x * 255.0 + SLACK).floor().clamp(0.0, 255.0) as u8
}
