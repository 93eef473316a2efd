//! Laws that hold for every corruption, and what the files' own tests share.

use super::{CORRUPTIONS, Corruption};
use crate::filter::Size;
use crate::rng::Streams;

/// A picture with slopes and edges.
pub fn picture([height, width]: Size) -> Vec<f32> {
    let at = |c: usize, y: usize, x: usize| match c {
        0 => (x * 11 + y * y) % 256,
        1 => (x * x + 7 * y) % 256,
        _ => (x * x + y * y * 2 + 250 * x) % 256,
    };
    let places = (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))));
    places.map(|(c, y, x)| at(c, y, x) as f32 / 255.0).collect()
}

/// What the generator makes of a picture, clipped.
pub fn made(corruption: &Corruption, image: &[f32], size: Size, severity: usize) -> Vec<f32> {
    let generate = corruption.generate.expect("a corruption that can be made");
    let mut draw = Streams::new(0, "check").stream(0, 0, corruption.name);
    generate(image, size, severity, &mut draw).iter().map(|v| v.clamp(0.0, 1.0)).collect()
}

/// That eight values from all over the picture are these.
pub fn assert_made(corruption: &Corruption, size: Size, severity: usize, expected: [f32; 8]) {
    let out = made(corruption, &picture(size), size, severity);
    let some: Vec<f32> = out.iter().skip(5).step_by(out.len() / 8).copied().collect();
    assert!(some.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{}: {some:?}", corruption.name);
}

#[test]
fn names_come_in_the_published_order_and_only_frost_is_missing() {
    let common: Vec<&str> = CORRUPTIONS.iter().filter(|c| c.is_common).map(|c| c.name).collect();
    assert_eq!(common.len(), 15);
    assert_eq!((CORRUPTIONS.len(), common[0], common[14]), (19, "gaussian-noise", "jpeg-compression"));
    assert!(CORRUPTIONS.iter().all(|c| c.is_common == c.alexnet_error.is_some()));
    let missing: Vec<&str> = CORRUPTIONS.iter().filter(|c| c.generate.is_none()).map(|c| c.name).collect();
    assert_eq!(missing, ["frost"]);
}

#[test]
fn any_size_gives_a_picture_without_nan_and_always_the_same() {
    for corruption in CORRUPTIONS.iter().filter(|c| c.generate.is_some()) {
        for size in [[1, 1], [1, 9], [2, 2], [3, 7], [33, 20], [85, 86]] {
            for image in [picture(size), vec![0.0; 3 * size[0] * size[1]]] {
                for severity in 1..=5 {
                    let out = made(corruption, &image, size, severity);
                    assert_eq!(out.len(), image.len());
                    assert!(out.iter().all(|v| v.is_finite()), "{} {size:?} {severity}", corruption.name);
                    assert_eq!(out, made(corruption, &image, size, severity));
                }
            }
        }
    }
}

/// Those whose published constants make it so: glass blur, for one, is milder at severity 3 than at 2.
#[test]
fn a_higher_severity_is_farther_from_the_picture() {
    let growing = [
        "gaussian-noise",
        "shot-noise",
        "impulse-noise",
        "defocus-blur",
        "zoom-blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg-compression",
        "speckle-noise",
        "gaussian-blur",
    ];
    for corruption in CORRUPTIONS.iter().filter(|c| growing.contains(&c.name)) {
        for size in [[32, 32], [96, 120]] {
            let image: Vec<f32> = smooth(size);
            let off = |severity| {
                let out = made(corruption, &image, size, severity);
                out.iter().zip(&image).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>()
            };
            let all = [1, 2, 3, 4, 5].map(off);
            assert!(all.is_sorted_by(|a, b| a < b), "{} {size:?} {all:?}", corruption.name);
        }
    }
}

/// A picture whose details are a few pixels wide, as in a photograph: of stripes as fine as pixels, more blur is not
/// farther.
fn smooth(size: Size) -> Vec<f32> {
    let wave = |i: usize| {
        let (c, y, x) = (i / (size[0] * size[1]), i / size[1] % size[0], i % size[1]);
        let phase = (x as f32 * 0.35 + c as f32).sin() + (y as f32 * 0.23 - x as f32 * 0.11).cos();
        0.45 + 0.18 * phase + if (x / 9 + y / 7) % 2 == 0 { 0.08 } else { 0.0 }
    };
    (0..3 * size[0] * size[1]).map(wave).collect()
}
