//! Crop and flip: an image moved by some pixels, zeros coming in, and mirrored.

use super::recipe::Recipe;
use crate::rng::Stream;

/// Writes an image 3×H×W in [0,1], moved and mirrored at random.
pub fn augmented(recipe: &Recipe, image: &[u8], [height, width]: [usize; 2], stream: &mut Stream, to: &mut [f32]) {
    let mut shift = || stream.below(2 * recipe.crop + 1) as isize - recipe.crop as isize;
    let (down, across) = (shift(), shift());
    let mirrored = recipe.flip && stream.below(2) == 1;
    for (plane, to) in image.chunks_exact(height * width).zip(to.chunks_exact_mut(height * width)) {
        for (y, row) in to.chunks_exact_mut(width).enumerate() {
            let from = (y as isize + down)
                .try_into()
                .ok()
                .filter(|y| *y < height)
                .map(|y: usize| &plane[y * width..][..width]);
            for (x, to) in row.iter_mut().enumerate() {
                let x = if mirrored { width - 1 - x } else { x } as isize + across;
                let pixel = usize::try_from(x).ok().filter(|x| *x < width).and_then(|x| Some(from?[x]));
                *to = pixel.map_or(0.0, |v| f32::from(v) / 255.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recipe::{Kind, Recipe};
    use super::*;
    use crate::rng::Streams;
    use std::collections::BTreeSet;

    #[test]
    fn an_image_is_moved_and_mirrored_as_a_whole() {
        let image: Vec<u8> = (0..3 * 4 * 5).map(|i| i as u8 + 1).collect();
        let recipe = Recipe { crop: 1, ..Recipe::usual(Kind::Standard) };
        let plain: Vec<f32> = image.iter().map(|v| f32::from(*v) / 255.0).collect();
        let at = |c: usize, y: isize, x: isize| {
            let inside = (0..4).contains(&y) && (0..5).contains(&x);
            if inside { plain[(c * 4 + y as usize) * 5 + x as usize] } else { 0.0 }
        };
        let mut seen = BTreeSet::new();
        for i in 0..200 {
            let mut to = vec![9.0; 60];
            augmented(&recipe, &image, [4, 5], &mut Streams::new(0, "t").stream(i, 0, "augment"), &mut to);
            let found =
                (-1..=1).flat_map(|d| (-1..=1).flat_map(move |a| [(d, a, false), (d, a, true)])).find(|(d, a, m)| {
                    (0..60).all(|i| {
                        let (c, y, x) = (i / 20, (i / 5 % 4) as isize, (i % 5) as isize);
                        to[i] == at(c, y + d, if *m { 4 - x } else { x } + a)
                    })
                });
            seen.insert(found.expect("one of eighteen"));
        }
        assert_eq!(seen.len(), 18, "all of them come up");
        let still = Recipe { crop: 0, flip: false, ..recipe };
        let mut to = vec![9.0; 60];
        augmented(&still, &image, [4, 5], &mut Streams::new(0, "t").stream(0, 0, "augment"), &mut to);
        assert_eq!(to, plain);
    }
}
