//! Laws of the threat sets, over random images and budgets.

mod support;

use candle_core::{Device, Tensor};
use foolproof::ratio::Ratio;
use foolproof::rng::Streams;
use foolproof::threat::{FLOAT_TOLERANCE, Norm, Threat};
use proptest::prelude::*;

const SIZE: [usize; 2] = [5, 5];
const VALUES: usize = 3 * SIZE[0] * SIZE[1];

fn threats() -> impl Strategy<Value = Threat> {
    let norm = prop_oneof![Just(Norm::Linf), Just(Norm::L2)];
    (norm, 0u128..600, prop_oneof![Just(255u128), Just(1000), Just(100), Just(7)])
        .prop_map(|(norm, num, den)| Threat::within(norm, Ratio::new(num, den).unwrap()))
}

fn floats(v: &[u8]) -> Vec<f32> {
    v.iter().map(|v| f32::from(*v) / 255.0).collect()
}

fn tensor(v: &[f32]) -> Tensor {
    Tensor::from_slice(v, (1, 3, 5, 5), &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_projected_is_contained_and_stays(
        threat in threats(),
        clean in proptest::collection::vec(any::<u8>(), VALUES),
        anywhere in proptest::collection::vec(-2.0f32..3.0, VALUES),
    ) {
        let x = floats(&clean);
        let once = threat.project(&tensor(&anywhere), &tensor(&x)).unwrap();
        prop_assert!(threat.contains(&values(&once), &x, SIZE));
        let twice = threat.project(&once, &tensor(&x)).unwrap();
        for (a, b) in values(&once).iter().zip(values(&twice)) {
            prop_assert!((a - b).abs() <= 2.0 * FLOAT_TOLERANCE as f32, "{a} {b}");
        }
        // an image inside is left alone
        let inside = threat.project(&tensor(&x), &tensor(&x)).unwrap();
        prop_assert_eq!(values(&inside), x);
    }

    #[test]
    fn what_is_rounded_lies_inside_in_integers(
        threat in threats(),
        clean in proptest::collection::vec(any::<u8>(), VALUES),
        anywhere in proptest::collection::vec(-2.0f32..3.0, VALUES),
        gradient in proptest::collection::vec(-1.0f32..1.0, VALUES),
    ) {
        let x = floats(&clean);
        let x_adv = values(&threat.project(&tensor(&anywhere), &tensor(&x)).unwrap());
        for gradient in [None, Some(gradient.as_slice())] {
            let rounded = threat.quantise(&x_adv, &clean, gradient);
            prop_assert!(threat.contains_u8(&rounded, &clean, SIZE));
            // and the float judge agrees with the integer judge
            prop_assert!(threat.contains(&floats(&rounded), &x, SIZE));
        }
        // nothing is given away: what lies inside when rounded to nearest stays, and an L2 image that had to be shortened
        // would leave the ball again by one level more somewhere
        let nearest: Vec<u8> = x_adv.iter().map(|v| (v * 255.0).round_ties_even() as u8).collect();
        let rounded = threat.quantise(&x_adv, &clean, None);
        if threat.contains_u8(&nearest, &clean, SIZE) {
            prop_assert_eq!(rounded, nearest);
        } else if threat.norm == Norm::L2 {
            let mut one_more = (0..VALUES).filter(|i| rounded[*i] != nearest[*i]).map(|i| {
                let mut image = rounded.clone();
                image[i] = if nearest[i] > image[i] { image[i] + 1 } else { image[i] - 1 };
                image
            });
            prop_assert!(one_more.any(|image| !threat.contains_u8(&image, &clean, SIZE)));
        }
    }

    #[test]
    fn random_points_lie_in_the_set(threat in threats(), clean in proptest::collection::vec(any::<u8>(), VALUES), seed in any::<u64>()) {
        let x = floats(&clean);
        let change = threat.random_change(VALUES, &mut Streams::new(seed, "p").stream(0, 0, "start"));
        let moved: Vec<f32> = x.iter().zip(&change).map(|(a, b)| a + b).collect();
        let point = values(&threat.project(&tensor(&moved), &tensor(&x)).unwrap());
        prop_assert!(threat.contains(&point, &x, SIZE));
    }

    #[test]
    fn steepest_ascent_has_length_one(gradient in proptest::collection::vec(-1.0f32..1.0, VALUES)) {
        let one = Ratio::new(1, 1).unwrap();
        let l2 = values(&Threat::within(Norm::L2, one).steepest(&tensor(&gradient)).unwrap());
        let length = l2.iter().map(|v| v * v).sum::<f32>().sqrt();
        prop_assert!((length - 1.0).abs() < 1e-4);
        let linf = values(&Threat::within(Norm::Linf, one).steepest(&tensor(&gradient)).unwrap());
        for (s, g) in linf.iter().zip(&gradient) {
            prop_assert_eq!(*s, if *g > 0.0 { 1.0 } else if *g < 0.0 { -1.0 } else { 0.0 });
        }
    }

    #[test]
    fn ratios_are_read_back(num in 0u128..1_000_000, den in 1u128..1_000_000) {
        let r = Ratio::new(num, den).unwrap();
        prop_assert_eq!(Ratio::parse(&r.to_string()), Some(r));
        prop_assert_eq!(Ratio::parse(&r.in_grey_levels()), Some(r));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
        let _ = Ratio::parse(&text);
    }
}

#[test]
fn sign_of_zero_is_zero() {
    let zeros = tensor(&[0.0; VALUES]);
    for norm in [Norm::Linf, Norm::L2] {
        let threat = Threat::within(norm, Ratio::new(8, 255).unwrap());
        assert!(values(&threat.steepest(&zeros).unwrap()).iter().all(|v| *v == 0.0));
        let negative = tensor(&[-0.0; VALUES]);
        assert!(values(&threat.steepest(&negative).unwrap()).iter().all(|v| *v == 0.0));
    }
}

#[test]
fn nan_is_in_no_threat_set() {
    let threat = Threat::within(Norm::L2, Ratio::new(100, 1).unwrap());
    let mut x_adv = vec![0.5; VALUES];
    x_adv[3] = f32::NAN;
    assert!(!threat.contains(&x_adv, &[0.5; VALUES], SIZE));
}

#[test]
fn float_additions_leave_the_ball_that_integers_keep() {
    // 36 of 256 grey levels: the reason why membership of stored images is decided in integers
    let eps = 8.0f32 / 255.0;
    let out = (0..=247u8).filter(|v| (f32::from(*v) / 255.0 + eps) - f32::from(*v) / 255.0 > eps).count();
    assert!(out > 0);
    let threat = Threat::within(Norm::Linf, Ratio::parse("8/255").unwrap());
    for v in 0..=247u8 {
        assert!(threat.contains_u8(&[v + 8], &[v], SIZE));
        assert!(v == 247 || !threat.contains_u8(&[v + 9], &[v], SIZE));
    }
}
