use super::*;
use crate::rng::Streams;

const SIZE: [usize; 2] = [8, 6];
const VALUES: usize = 3 * SIZE[0] * SIZE[1];

fn canvas() -> Vec<f32> {
    (0..VALUES).map(|i| [0.5, 0.45, 0.4][i / (SIZE[0] * SIZE[1])]).collect()
}

fn stream(class: usize) -> Stream {
    Streams::new(0, "class-max").stream(class, 0, "paint")
}

fn painting(recipe: Recipe, class: usize) -> Painting {
    Painting::new(recipe, &Settings::of(recipe, SIZE), &canvas(), SIZE, stream(class))
}

/// A gradient that depends on the view, as a net's does.
fn gradient(view: &[f32]) -> Vec<f32> {
    view.iter().enumerate().map(|(i, v)| ((i * i) as f32).sin() - v * v).collect()
}

fn climb(painting: &mut Painting, steps: usize) {
    (0..steps).for_each(|_| painting.climb(&gradient(&painting.view())));
}

#[test]
fn on_a_linear_model_l2_reaches_the_closed_form() {
    // z = ⟨w, x⟩: η·ŵ = θ·(x − canvas) at rest, with ŵ = w / rms(w)
    let settings = Settings { step_size: 0.005, decay: 0.05, ..Settings::of(Recipe::L2, SIZE) };
    let mut painting = Painting::new(Recipe::L2, &settings, &canvas(), SIZE, stream(0));
    let w: Vec<f32> = (0..VALUES).map(|i| ((i * i) as f32).sin() * 40.0).collect();
    (0..400).for_each(|_| painting.climb(&w));
    let rms = (w.iter().map(|w| f64::from(w * w)).sum::<f64>() / VALUES as f64).sqrt();
    for ((x, w), c) in painting.picture().iter().zip(&w).zip(canvas()) {
        let expected = f64::from(c) + 0.005 / 0.05 * f64::from(*w) / rms;
        assert!((f64::from(*x) - expected).abs() < 1e-5, "{x} {expected}");
    }
}

#[test]
fn the_gradient_goes_through_transformation_and_spectrum() {
    let mut painting = painting(Recipe::Fourier, 0);
    climb(&mut painting, 5);
    let g: Vec<f32> = (0..VALUES).map(|i| ((i * i) as f32).cos()).collect();
    let warp = painting.warp().expect("this recipe has one");
    let Parameters::Fourier { spectrum, coefficients, .. } = &painting.parameters else { unreachable!() };
    let analytic = spectrum.gradient(&painting.picture, &warp.transposed(&g));
    let value = |coefficients: &[f32]| -> f64 {
        let view = warp.apply(&spectrum.picture(coefficients), painting.margin);
        view.iter().zip(&g).map(|(v, g)| f64::from(*v) * f64::from(*g)).sum()
    };
    for i in (0..VALUES).step_by(7) {
        let at = |d: f32| {
            let mut moved = coefficients.clone();
            moved[i] += d;
            value(&moved)
        };
        let difference = (at(1.0 / 64.0) - at(-1.0 / 64.0)) * 32.0;
        let error = (difference - f64::from(analytic[i])).abs();
        assert!(error < 1e-3 + 1e-3 * difference.abs(), "{i}: {difference} {}", analytic[i]);
    }
}

#[test]
fn a_restored_painting_goes_on_bit_for_bit() {
    for (name, recipe) in RECIPES {
        let mut whole = painting(*recipe, 3);
        climb(&mut whole, 9);
        let mut first = painting(*recipe, 3);
        climb(&mut first, 4);
        first.view(); // leaves no trace
        let mut second = painting(*recipe, 3);
        second.restore(&first.save()).unwrap();
        assert_eq!((second.step(), second.picture()), (4, first.picture()), "{name}");
        climb(&mut second, 5);
        assert_eq!(second.save(), whole.save(), "{name}");
        assert_eq!(second.picture(), whole.picture(), "{name}");
    }
}

#[test]
fn a_state_that_is_none_changes_nothing() {
    for (name, recipe) in RECIPES {
        let mut painting = painting(*recipe, 0);
        climb(&mut painting, 2);
        let before = painting.save();
        let list = if *recipe == Recipe::Fourier { "moments" } else { "picture" };
        let values: Vec<f32> = before.list(list).unwrap();
        let short = before.clone().with(list, &values[1..]);
        let nan = before.clone().with(list, &[&[f32::NAN], &values[1..]].concat());
        let no_step = before.clone().with("step", &[1.0f32]);
        let foreign = State::new("patch fit").with("step", &[2u64]).with("picture", &values);
        for state in [&short, &nan, &no_step, &State::new("painting"), &foreign] {
            assert!(painting.restore(state).is_err(), "{name}");
            assert_eq!(painting.save(), before, "{name}");
        }
    }
}

#[test]
fn paintings_in_any_order_are_the_same() {
    for (name, recipe) in RECIPES {
        let alone = |class| {
            let mut painting = painting(*recipe, class);
            climb(&mut painting, 6);
            painting.save()
        };
        let mut together = [2, 0, 1].map(|class| (class, painting(*recipe, class)));
        for _ in 0..6 {
            together.iter_mut().for_each(|(_, p)| climb(p, 1));
        }
        for (class, painting) in &together {
            assert_eq!(painting.save(), alone(*class), "{name} {class}");
        }
        assert_ne!(alone(0), alone(1), "{name}: streams differ");
    }
}

#[test]
fn every_picture_and_view_is_in_the_box() {
    for (name, recipe) in RECIPES {
        let mut painting = painting(*recipe, 0);
        climb(&mut painting, 60);
        for v in painting.picture().iter().chain(&painting.view()) {
            assert!((0.0..=1.0).contains(v), "{name}: {v}");
        }
    }
}

#[test]
fn a_gradient_of_zero_moves_nothing_away() {
    for (name, recipe) in RECIPES {
        let mut painting = painting(*recipe, 0);
        let before: Vec<f32> = painting.picture().to_vec();
        (0..5).for_each(|_| painting.climb(&[0.0; VALUES]));
        for ((after, before), c) in painting.picture().iter().zip(before).zip(canvas()) {
            assert!((after - c).abs() <= (before - c).abs() + 0.05, "{name}: {after} {before} {c}");
        }
    }
}
