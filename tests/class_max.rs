//! Class maximisation on the built-in networks: for every class and recipe an 8-bit picture that the network calls by the
//! name of the class with at least 99.9 %. Prints the probabilities, and where the pictures lie.
//!
//! `cargo test --release --test class_max -- --ignored --nocapture`

use candle_core::{Device, Tensor};
use foolproof::attack::class_max::{Painting, RECIPES, Recipe, Settings};
use foolproof::kernel::{Engine, Precision};
use foolproof::model;
use foolproof::rng::Streams;
use std::path::Path;

const SIDE: usize = 32;
const CLASSES: usize = 10;
const MODELS: [&str; 2] = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"];

fn settings(recipe: Recipe) -> Settings {
    let mut s = Settings::of(recipe, SIDE);
    if let Ok(text) = std::env::var("CM") {
        for part in text.split(',') {
            let (k, v) = part.split_once('=').unwrap();
            let v: f64 = v.parse().unwrap();
            let Some((r, k)) = k.split_once('.') else { panic!() };
            if r != recipe.name() && r != "all" { continue; }
            match k {
                "steps" => s.steps = v as usize,
                "eta" => s.step_size = v,
                "decay" => s.decay = v,
                "every" => s.blur_every = v as usize,
                "sigma" => s.blur_sigma = v,
                "tv" => s.tv = v,
                "jitter" => s.jitter = v,
                "after" => s.jitter_after = v,
                "scale" => s.scale = v,
                "rotate" => s.rotate = v,
                _ => panic!(),
            }
        }
    }
    s
}

/// N×3×32×32.
fn batch(images: Vec<f32>) -> Tensor {
    Tensor::from_vec(images, (CLASSES, 3, SIDE, SIDE), &Device::Cpu).unwrap()
}

/// One painting a class, after a whole run.
fn paint(recipe: Recipe, engine: &dyn Engine) -> Vec<Painting> {
    let settings = settings(recipe);
    let canvas: Vec<f32> = [0.4914, 0.4822, 0.4465].iter().flat_map(|v| [*v; SIDE * SIDE]).collect();
    let streams = Streams::new(0, "class-max");
    let mut paintings: Vec<Painting> = (0..CLASSES)
        .map(|class| Painting::new(recipe, &settings, &canvas, SIDE, streams.stream(class, 0, "paint")))
        .collect();
    let one_hot = |row: usize, _: &[f32], gradient: &mut [f32]| {
        gradient.fill(0.0);
        gradient[row] = 1.0;
    };
    for _ in 0..settings.steps {
        let views = batch(paintings.iter().flat_map(Painting::view).collect());
        let (_, gradient) = engine.logits_and_gradient(&views, &one_hot).unwrap();
        let gradients: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
        paintings.iter_mut().zip(gradients.chunks(3 * SIDE * SIDE)).for_each(|(p, g)| p.climb(g));
    }
    paintings
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
    let engines = MODELS.map(|m| model::find(m, Path::new(".")).unwrap().engine(&Device::Cpu, Precision::F32).unwrap());
    let mut weakest = 1.0f64;
    for (i, name) in MODELS.iter().enumerate() {
        let mut rows = Vec::new();
        for (recipe_name, recipe) in RECIPES {
            if std::env::var("ONLY").is_ok_and(|o| o != *recipe_name) { continue; }
            let start = std::time::Instant::now();
            let paintings = paint(*recipe, &*engines[i]);
            let time = start.elapsed();
            let pictures: Vec<Vec<u8>> = paintings.iter().map(|p| rounded(p.picture())).collect();
            let (own, other) = (judged(&pictures, &*engines[i]), judged(&pictures, &*engines[1 - i]));
            let least = |of: &[(f64, f64)], k: fn(&(f64, f64)) -> f64| of.iter().map(k).fold(f64::INFINITY, f64::min);
            let believed = other.iter().filter(|o| o.1 > 0.5).count();
            let edge = pictures.iter().flatten().filter(|v| [0, 255].contains(*v)).count();
            println!(
                "{name:26} {recipe_name:8} least probability {:.6}, logit {:6.2}; the other network agrees {believed}/10; \
                 {:.0} % at 0 or 255; {time:.1?}",
                least(&own, |o| o.1),
                least(&own, |o| o.0),
                100.0 * edge as f64 / (10 * 3 * SIDE * SIDE) as f64,
            );
            weakest = weakest.min(least(&own, |o| o.1));
            rows.push(pictures);
        }
        let path = folder.join(format!("{name}.png"));
        sheet(&rows, &path);
        println!("{}", path.display());
    }
    assert!(weakest >= 0.999, "{weakest}");
}
