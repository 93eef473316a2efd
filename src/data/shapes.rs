//! Pictures that are made: a figure of one of ten kinds, in colours, place, size and noise drawn by the number of the picture. To
//! learn from where no data is at hand; a small network needs seconds to tell them apart, and is as easily fooled as by CIFAR-10.

use super::cifar;
use super::dataset::Dataset;
use super::place::{Content, Place};
use crate::error::Result;
use crate::rng::{Stream, Streams};

pub const DATASET: Dataset = Dataset {
    name: "shapes",
    summary: "figures of ten kinds, made by their number: 2,000 to learn from, 500 to test",
    splits: &["train", "test"],
    classes: Some(CLASSES.len()),
    side: Some(cifar::SIDE),
    terms: "made by this program",
    load,
    ..Dataset::BASE
};

const CLASSES: [&str; 10] =
    ["disc", "ring", "square", "frame", "triangle", "diamond", "cross", "plus", "bars", "checkers"];

/// Pictures of each split.
const SPLITS: [(&str, usize); 2] = [("train", 2000), ("test", 500)];

fn load(place: &Place) -> Result<Content> {
    let (_, count) = SPLITS.iter().find(|(name, _)| *name == place.split).expect("a split that is listed");
    let streams = Streams::new(0, "shapes");
    let labels: Vec<usize> = (0..*count).map(|i| i % CLASSES.len()).collect();
    let picture = |(i, label): (usize, &usize)| picture(*label, &mut streams.stream(i, 0, place.split));
    Ok(cifar::content(&CLASSES, labels.clone(), labels.iter().enumerate().flat_map(picture).collect()))
}

/// 3×32×32.
fn picture(label: usize, stream: &mut Stream) -> Vec<u8> {
    let mut between = |low: f32, high: f32| low + (high - low) * stream.uniform();
    let side = cifar::SIDE as f32;
    let (x0, y0) = (between(0.42, 0.58) * side, between(0.42, 0.58) * side);
    let (radius, angle) = (between(0.28, 0.38) * side, between(-0.2, 0.2));
    let ground: [f32; 3] = std::array::from_fn(|_| between(0.15, 0.85));
    // in some channel the figure stands out
    let strongest = (between(0.0, 3.0) as usize).min(2);
    let figure: [f32; 3] = std::array::from_fn(|c| {
        let by = between(if c == strongest { 0.4 } else { 0.0 }, 0.5);
        if ground[c] < 0.5 { ground[c] + by } else { ground[c] - by }
    });
    let noise = between(0.0, 0.05);
    let mut pixels = Vec::with_capacity(3 * cifar::SIDE * cifar::SIDE);
    for c in 0..3 {
        for at in 0..cifar::SIDE * cifar::SIDE {
            let (x, y) = ((at % cifar::SIDE) as f32 + 0.5 - x0, (at / cifar::SIDE) as f32 + 0.5 - y0);
            let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
            let (u, v) = ((cos * x + sin * y) / radius, (cos * y - sin * x) / radius);
            // half a pixel of soft edge
            let inside = (0.5 - depth(label, u, v) * radius).clamp(0.0, 1.0);
            let value = ground[c] + inside * (figure[c] - ground[c]) + noise * between(-1.0, 1.0);
            pixels.push((value.clamp(0.0, 1.0) * 255.0).round() as u8);
        }
    }
    pixels
}

/// How far outside the figure of this class a place lies, in units of its radius; below 0: inside.
fn depth(label: usize, u: f32, v: f32) -> f32 {
    let (length, largest) = (u.hypot(v), u.abs().max(v.abs()));
    let band = |at: f32, half: f32| at.abs() - half;
    let bars = |at: f32| (at * 2.5).rem_euclid(1.0) < 0.5;
    let filled = |is: bool| largest.max(0.9) - if is { 0.9 + 0.2 } else { 0.9 - 0.2 };
    match label {
        0 => length - 0.9,
        1 => band(length - 0.7, 0.2),
        2 => largest - 0.8,
        3 => band(largest - 0.7, 0.2),
        4 => (v - 0.7).max(0.866 * u.abs() - 0.5 * v - 0.5),
        5 => u.abs() + v.abs() - 1.0,
        6 => (band(u - v, 0.35).min(band(u + v, 0.35))).max(largest - 0.85),
        7 => (band(u, 0.25).min(band(v, 0.25))).max(largest - 0.95),
        8 => filled(bars(v)),
        _ => filled(bars(u) != bars(v)),
    }
}
