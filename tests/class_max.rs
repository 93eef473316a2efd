//! Class maximisation on the built-in networks: for every class and recipe an 8-bit picture that the standard network gives at
//! least 99.9 %. Prints the probabilities, and where the pictures lie.
//!
//! `cargo test --release --test class_max -- --ignored --nocapture`

use candle_core::{Device, Tensor};
use foolproof::attack::class_max::{OBJECTIVES, Objective, Painting, RECIPES, Recipe, Settings};
use foolproof::kernel::{Engine, Precision};
use foolproof::model;
use foolproof::rng::Streams;
use std::path::Path;

const SIDE: usize = 32;
const CLASSES: usize = 10;
/// Of any class under the robust network: the picture with its highest logit of a cat looks like a dog.
const WEAKEST_ROBUST: f64 = 0.05;
const MODELS: [&str; 2] = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"];

/// N×3×32×32.
fn batch(images: Vec<f32>) -> Tensor {
    Tensor::from_vec(images, (CLASSES, 3, SIDE, SIDE), &Device::Cpu).unwrap()
}

/// One painting a class, after a whole run.
fn paint(recipe: Recipe, objective: Objective, engine: &dyn Engine) -> Vec<Painting> {
    let settings = Settings::of(recipe, [SIDE; 2]);
    let streams = Streams::new(0, "class-max");
    let mut paintings: Vec<Painting> = (0..CLASSES)
        .map(|class| Painting::new(recipe, &settings, &grey(), [SIDE; 2], streams.stream(class, 0, "paint")))
        .collect();
    let loss = |row: usize, z: &[f32], gradient: &mut [f32]| objective.gradient(row, z, gradient);
    for _ in 0..settings.steps {
        let views = batch(paintings.iter().flat_map(Painting::view).collect());
        let (_, gradient) = engine.logits_and_gradient(&views, &loss).unwrap();
        let gradients: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        paintings.iter_mut().zip(gradients.chunks(3 * SIDE * SIDE)).for_each(|(p, g)| p.climb(g));
    }
    paintings
}

/// Both networks' mean colour, zero in normalised space, 3×32×32.
fn grey() -> Vec<f32> {
    [0.4914, 0.4822, 0.4465].iter().flat_map(|v| [*v; SIDE * SIDE]).collect()
}

/// Grey levels 0..=255.
fn rounded(picture: &[f32]) -> Vec<u8> {
    picture.iter().map(|v| (v * 255.0).round() as u8).collect()
}

/// Logits and probabilities of the class of each row.
fn judged(pictures: &[Vec<u8>], engine: &dyn Engine) -> Vec<(f64, f64)> {
    let values = pictures.iter().flatten().map(|v| f32::from(*v) / 255.0).collect();
    let logits: Vec<Vec<f32>> = engine.logits(&batch(values)).unwrap().to_vec2().unwrap();
    let of = |(class, z): (usize, &Vec<f32>)| {
        let others: f64 = z.iter().map(|v| f64::from(v - z[class]).exp()).sum();
        (f64::from(z[class]), 1.0 / others)
    };
    logits.iter().enumerate().map(of).collect()
}

/// One row of ten pictures a recipe, four times as large.
fn sheet(rows: &[Vec<Vec<u8>>], path: &Path) {
    const TIMES: usize = 4;
    let cell = SIDE * TIMES + 4;
    let (width, height) = (CLASSES * cell, rows.len() * cell);
    let mut sheet = image::RgbImage::from_pixel(width as u32, height as u32, image::Rgb([255; 3]));
    for (r, row) in rows.iter().enumerate() {
        for (c, picture) in row.iter().enumerate() {
            for (y, x) in (0..SIDE * TIMES).flat_map(|y| (0..SIDE * TIMES).map(move |x| (y, x))) {
                let i = y / TIMES * SIDE + x / TIMES;
                let pixel = [0, 1, 2].map(|k| picture[k * SIDE * SIDE + i]);
                sheet.put_pixel((c * cell + x) as u32, (r * cell + y) as u32, image::Rgb(pixel));
            }
        }
    }
    sheet.save(path).unwrap();
}

#[test]
#[ignore = "minutes"]
fn every_class_has_its_picture() {
    let folder = std::env::temp_dir().join("foolproof-class-max");
    std::fs::create_dir_all(&folder).unwrap();
    let engines = MODELS.map(|m| model::built_in(m).unwrap().engine(&Device::Cpu, Precision::F32).unwrap());
    for ((i, model), (name, objective)) in
        MODELS.iter().enumerate().flat_map(|m| OBJECTIVES.iter().map(move |o| (m, o)))
    {
        let mut rows = Vec::new();
        let mut least = f64::INFINITY;
        for (recipe_name, recipe) in RECIPES {
            let paintings = paint(*recipe, *objective, &*engines[i]);
            let pictures: Vec<Vec<u8>> = paintings.iter().map(|p| rounded(p.picture())).collect();
            let (own, other) = (judged(&pictures, &*engines[i]), judged(&pictures, &*engines[1 - i]));
            let believed = other.iter().filter(|(_, p)| *p > 0.5).count();
            println!("{model} {name} {recipe_name}: the other network gives {believed} of {CLASSES} more than half");
            println!("  z {}", own.iter().map(|(z, _)| format!("{z:7.2}")).collect::<String>());
            println!("  p {}", own.iter().map(|(_, p)| format!("{p:7.4}")).collect::<String>());
            least = own.iter().fold(least, |least, (_, p)| least.min(*p));
            rows.push(pictures);
        }
        let path = folder.join(format!("{model}-{name}.png"));
        sheet(&rows, &path);
        println!("{}", path.display());
        let robust = i == 1;
        assert!(least >= if robust { WEAKEST_ROBUST } else { 0.999 }, "{model} {name}: {least}");
    }
}
