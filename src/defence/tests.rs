use super::*;
use crate::kernel::Engine;
use crate::kernel::Loss;
use crate::rng::Streams;
use candle_core::{Device, Tensor};
use std::sync::Arc;

const SIZE: [usize; 2] = [12, 10];
const VALUES: usize = 3 * 12 * 10;

fn stage(name: &str, values: &[(&str, &str)]) -> StageSpec {
    let values = values.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    StageSpec { name: name.into(), values }
}

fn defence(stages: &[StageSpec], votes: Option<u32>) -> Result<Defence, String> {
    let spec = DefenceSpec { stages: stages.to_vec(), votes, draws: None };
    Defence::new(&spec, SIZE).map(|defence| defence.expect("there are stages"))
}

fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut stream = Streams::new(seed, "images").stream(0, 0, "test");
    (0..n).map(|_| stream.uniform()).collect()
}

/// Every stage as a model file may ask for it on images of this size.
fn all() -> Vec<StageSpec> {
    DEFENCES
        .iter()
        .map(|entry| if entry.name == "crops" { stage("crops", &[("share", "0.7")]) } else { stage(entry.name, &[]) })
        .collect()
}

/// ⟨Jv, s⟩ = ⟨v, Jᵀs⟩, with Jv by central differences: what `back` is for.
#[test]
fn what_goes_back_is_the_derivative_where_a_stage_says_so() {
    let (image, direction, slope) = (values(1, VALUES), values(2, VALUES), values(3, VALUES));
    for spec in all() {
        let placed = placed(&spec, SIZE).unwrap();
        let draw = || Streams::new(5, "draw").stream(0, 0, "test");
        let step = 1e-3;
        let moved = |sign: f32| -> Vec<f32> {
            let at: Vec<f32> = image.iter().zip(&direction).map(|(x, v)| x + sign * step * v).collect();
            placed.stage.apply(&at, &mut draw())
        };
        let forward: f64 = moved(1.0)
            .iter()
            .zip(moved(-1.0))
            .zip(&slope)
            .map(|((a, b), s)| f64::from((a - b) / (2.0 * step) * s))
            .sum();
        let back = placed.stage.back(&image, slope.clone(), &mut draw());
        let backward: f64 = back.iter().zip(&direction).map(|(g, v)| f64::from(g * v)).sum();
        let same = (forward - backward).abs() < 2e-3 * (1.0 + forward.abs());
        assert_eq!(same, placed.entry.has_derivative, "{}: {forward} and {backward}", spec.name);
        if !placed.entry.has_derivative {
            assert_eq!(back, slope, "{}", spec.name);
        }
    }
}

#[test]
fn a_stage_keeps_the_size_and_draws_only_where_it_says_so() {
    let image = values(1, VALUES);
    for spec in all() {
        let placed = placed(&spec, SIZE).unwrap();
        let made = |seed| placed.stage.apply(&image, &mut Streams::new(seed, "draw").stream(0, 0, "test"));
        let (one, other) = (made(1), made(2));
        assert_eq!(one.len(), VALUES, "{}", spec.name);
        assert!(one == made(1), "{}: the same draw", spec.name);
        assert_eq!(one != other, placed.entry.is_random, "{}", spec.name);
        assert_ne!(one, image, "{}: nothing is done", spec.name);
    }
}

/// Logits are two sums of the image, so that draws differ.
struct Sums;

impl Engine for Sums {
    fn logits(&self, images: &Tensor) -> crate::error::Result<Tensor> {
        let sums = (images.flatten_from(1)?.sum_keepdim(1)? - VALUES as f64 / 2.0)?;
        Ok(Tensor::cat(&[&sums, &sums.neg()?], 1)?)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> crate::error::Result<(Tensor, Tensor)> {
        let logits = self.logits(images)?;
        let mut gradients = Vec::new();
        for (row, z) in logits.to_vec2::<f32>()?.iter().enumerate() {
            let mut seed = vec![0.0; 2];
            loss.gradient(row, z, &mut seed);
            gradients.extend(vec![seed[0] - seed[1]; VALUES]);
        }
        Ok((logits, Tensor::from_vec(gradients, images.shape(), &Device::Cpu)?))
    }
}

fn images(n: usize) -> Tensor {
    Tensor::from_vec(values(9, n * VALUES), (n, 3, 12, 10), &Device::Cpu).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.flatten_from(1).unwrap().to_vec2().unwrap()
}

/// Otherwise a witness could not be verified, and a batch would change results.
#[test]
fn what_is_said_of_an_image_depends_on_that_image_and_the_seed_alone() {
    let noise = Arc::new(defence(&[stage("noise", &[]), stage("jpeg", &[])], Some(40)).unwrap());
    let slope = |_: usize, z: &[f32], g: &mut [f32]| g.copy_from_slice(&[1.0, z[1]]);
    for draws in [Draws::Votes(40, 3), Draws::Mean(7, 3)] {
        let defended = Defended::new(Box::new(Sums), noise.clone(), draws);
        let (logits, gradient) = defended.logits_and_gradient(&images(20), &slope).unwrap();
        let alone = images(20).narrow(0, 13, 1).unwrap();
        let (of_one, its) = defended.logits_and_gradient(&alone, &slope).unwrap();
        assert_eq!(rows(&logits)[13], rows(&of_one)[0]);
        assert_eq!(rows(&gradient)[13], rows(&its)[0]);
        assert_eq!(rows(&logits), rows(&defended.logits(&images(20)).unwrap()));
        let other = match draws {
            Draws::Votes(n, _) => Draws::Votes(n, 4),
            Draws::Mean(n, _) => Draws::Mean(n, 4),
        };
        let other = Defended::new(Box::new(Sums), noise.clone(), other).logits(&images(20)).unwrap();
        assert_ne!(rows(&logits), rows(&other));
    }
}

/// Counted by hand from the single draws.
#[test]
fn the_softmax_of_a_vote_is_its_share() {
    let noise = Arc::new(defence(&[stage("noise", &[("sigma", "0.5")])], Some(9)).unwrap());
    let of = |draws| Defended::new(Box::new(Sums), noise.clone(), draws).logits(&images(30)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for voted in rows(&of(Draws::Votes(9, 1))) {
        let shares: Vec<f64> = voted.iter().map(|z| f64::from(*z).exp()).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        let votes: Vec<f64> = shares.iter().map(|share| (10.0 * share + 1e-6).floor().min(9.0)).collect();
        assert_eq!(votes.iter().sum::<f64>(), 9.0, "{shares:?}");
        seen.insert(votes[0] as u32);
    }
    assert!(seen.len() > 2, "the draws differ: {seen:?}");
}

#[test]
fn what_does_not_fit_is_refused_with_a_way_out() {
    let refused = |spec: StageSpec| defence(&[spec], None).err().unwrap();
    let cases = [
        (stage("jpg", &[]), "unknown defence `jpg` (hint: did you mean `jpeg`?)"),
        (
            stage("jpeg", &[("quality", "0")]),
            "defence `jpeg`: `quality`: expected a whole number from 1 to 100, found 0",
        ),
        (
            stage("jpeg", &[("quality", "7.5")]),
            "defence `jpeg`: `quality`: expected a whole number from 1 to 100, found 7.5",
        ),
        (stage("jpeg", &[("qualty", "75")]), "defence `jpeg`: unknown key `qualty` (hint: did you mean `quality`?)"),
        (
            stage("median", &[("window", "11")]),
            "defence `median`: window = 11: images have 10 pixels (hint: at most 10)",
        ),
        (
            stage("blur", &[("sigma", "30")]),
            "defence `blur`: sigma = 30: it reaches 120 pixels, and images have 10 (hint: less)",
        ),
        (
            stage("crops", &[("share", "1/12")]),
            "defence `crops`: share = 1/12: a crop has 2 pixels at least (hint: more)",
        ),
        (stage("crops", &[("share", "1")]), "defence `crops`: share = 1: nothing is left to draw (hint: less)"),
        (
            stage("random-resize-pad", &[("smallest", "1")]),
            "defence `random-resize-pad`: smallest = 1: of 10 pixels nothing is left to draw (hint: at most 0.9)",
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(refused(spec), expected);
    }
    let votes = defence(&[stage("jpeg", &[])], Some(30)).err().unwrap();
    assert!(votes.contains("hint: remove `votes`"), "{votes}");
}
