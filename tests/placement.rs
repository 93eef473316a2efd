//! Laws of placed pictures: what they cover, how they are sampled, and that nothing else changes.

mod support;

use foolproof::placement::{Mask, Picture, Placement, covered, window};
use foolproof::ratio::Ratio;
use foolproof::rng::Streams;
use proptest::prelude::*;
use std::f64::consts::{FRAC_PI_2, PI};
use support::stream;

const MASKS: [Mask; 2] = [Mask::Circle, Mask::Square];

fn values(n: usize, seed: &str) -> Vec<f32> {
    let mut s = stream(seed);
    (0..n).map(|_| s.uniform()).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// First and last covered row and column.
fn bounds(mask: &[bool], side: usize) -> [usize; 4] {
    let covered = || (0..mask.len()).filter(|i| mask[*i]);
    let (rows, columns) = (|| covered().map(|i| i / side), || covered().map(|i| i % side));
    [rows().min().unwrap(), rows().max().unwrap(), columns().min().unwrap(), columns().max().unwrap()]
}

#[test]
fn exactly_the_area_is_covered_and_fits_its_window() {
    for (side, turns) in [(32, 60), (227, 4)] {
        for percent in [1, 2, 5, 10, 15, 20, 30, 40, 50] {
            let area = f64::from(percent) / 100.0;
            for (mask, turn) in MASKS.into_iter().flat_map(|m| (0..turns).map(move |t| (m, t))) {
                let mut stream = Streams::new(turn, "window").stream(side, percent as usize, mask.name());
                // every second one turned by up to half a turn, the others as patches are
                let placement = Placement::draw(&mut stream, [side; 2], area, mask, [PI / 8.0, PI][turn as usize % 2]);
                let footprint = placement.footprint([side; 2], 2);
                let count = percent as usize * side * side / 100;
                let mask = footprint.mask();
                assert_eq!((footprint.len(), mask.iter().filter(|m| **m).count()), (count, count));
                let [top, bottom, left, right] = bounds(&mask, side);
                let most = ((2 * count) as f64).sqrt().ceil() as usize + 1;
                assert_eq!(window(count, [side.max(most); 2]), [most; 2]);
                assert!((bottom - top).max(right - left) < most, "{side} {placement:?}: {top} {bottom} {left} {right}");
            }
        }
    }
}

/// In a narrow image a shape goes from border to border, and is longer than a square window of its pixels.
#[test]
fn in_rectangles_too_covered_pixels_fit_into_the_window_and_the_image() {
    for size in [[64, 16], [16, 64], [48, 40], [7, 120], [120, 1]] {
        let ([height, width], mut longer) = (size, 0);
        for mask in MASKS {
            for percent in (1..=100).step_by(3) {
                for turn in 0..6 {
                    let mut stream = Streams::new(turn, "rectangle").stream(percent, height, mask.name());
                    let area = percent as f64 / 100.0;
                    let placement = Placement::draw(&mut stream, size, area, mask, PI);
                    let [x, y] = placement.centre;
                    assert!((0.0..=width as f64).contains(&x) && (0.0..=height as f64).contains(&y), "{placement:?}");
                    let footprint = placement.footprint(size, 9);
                    let count = percent * height * width / 100;
                    assert_eq!(footprint.len(), count);
                    let covered = footprint.mask();
                    assert_eq!(covered.len(), height * width);
                    if count == 0 {
                        continue;
                    }
                    let [top, bottom, left, right] = bounds(&covered, width);
                    let most = window(count, size);
                    let is_within = bottom - top < most[0] && right - left < most[1];
                    assert!(is_within, "{size:?} {placement:?}: {top} {bottom} {left} {right}, {most:?}");
                    longer += usize::from((bottom - top).max(right - left) >= window(count, [1 << 20; 2])[0]);
                }
            }
        }
        assert!(longer > 0 || height.abs_diff(width) < 10, "{size:?}: the window has to be longer there");
    }
}

#[test]
fn the_middle_of_a_rectangle_is_a_square() {
    let pixels: Vec<u8> = (0..3 * 2 * 5).collect();
    let picture = Picture::middle_u8([2, 5], &pixels).unwrap();
    assert_eq!((picture.side, picture.to_u8().0), (2, vec![1, 2, 6, 7, 11, 12, 16, 17, 21, 22, 26, 27]));
    let picture = Picture::middle_u8([5, 2], &pixels).unwrap();
    assert_eq!((picture.side, &picture.to_u8().0[..4]), (2, &[2, 3, 4, 5][..]));
    let square = Picture::middle_u8([3, 3], &pixels[..27]).unwrap();
    assert_eq!(square, Picture::from_rgb_u8(3, &pixels[..27]).unwrap());
}

#[test]
fn a_share_counts_as_its_exact_fraction() {
    for side in [10, 32, 224, 227, 512] {
        for den in 1..=1000u128 {
            for num in [1, den / 7, den * 29 / 100, den / 2, den - 1, den] {
                let share = Ratio::new(num, den).unwrap();
                let exact = num as usize * side * side / den as usize;
                assert_eq!(covered(share.to_f64(), [side; 2]), exact, "{share} of {side}²");
            }
        }
    }
}

#[test]
fn all_areas_and_both_masks_share_a_place() {
    let draw = |area, mask| Placement::draw(&mut stream("place"), [224; 2], area, mask, PI / 8.0);
    let first = draw(0.05, Mask::Circle);
    for (area, mask) in [0.01, 0.2, 0.5].into_iter().flat_map(|a| MASKS.map(|m| (a, m))) {
        let other = draw(area, mask);
        assert_eq!(first.angle, other.angle);
        // on the same side of the middle: the same fraction of what can be reached
        for (a, b) in first.centre.iter().zip(other.centre) {
            assert!((a - 112.0) * (b - 112.0) >= 0.0, "{first:?} {other:?}");
        }
        // and a text of few decimals carries the place exactly
        for v in other.centre {
            assert_eq!(format!("{v:.4}").parse::<f64>().unwrap(), v);
        }
        assert_eq!(format!("{:.6}", other.angle).parse::<f64>().unwrap(), other.angle);
    }
    // what does not fit lies in the middle, and still takes three numbers from the stream
    let mut shared = stream("place");
    assert_eq!(Placement::draw(&mut shared, [224; 2], 1.0, Mask::Circle, 0.1).centre, [112.0; 2]);
    let mut apart = stream("place");
    let past = (0..4).map(|_| apart.uniform()).last();
    assert_eq!(Some(shared.uniform()), past);
}

#[test]
fn a_picture_of_the_grid_is_copied_and_turned() {
    // a square of 6×6 pixels whose corner is at column 3, row 2
    let at = |angle| Placement { centre: [6.0, 5.0], angle, area: 36.0 / 256.0, mask: Mask::Square };
    let picture = values(3 * 36, "grid");
    let pasted = |angle| {
        let mut image = vec![-1.0f32; 3 * 256];
        at(angle).footprint([16; 2], 6).paste(&picture, &mut image);
        image
    };
    let (straight, quarter, half) = (pasted(0.0), pasted(FRAC_PI_2), pasted(PI));
    for c in 0..3 {
        for (row, column) in (0..16).flat_map(|r| (0..16).map(move |c| (r, c))) {
            let inside = (2..8).contains(&row) && (3..9).contains(&column);
            let i = c * 256 + row * 16 + column;
            if inside {
                let (r, k) = (row - 2, column - 3);
                let of = |row: usize, column: usize| picture[c * 36 + row * 6 + column];
                assert_eq!(straight[i], of(r, k));
                // clockwise: the left column becomes the top row
                assert!((quarter[i] - of(5 - k, r)).abs() < 1e-6, "{row} {column}");
                assert!((half[i] - of(5 - r, 5 - k)).abs() < 1e-6);
            } else {
                assert_eq!([straight[i], quarter[i], half[i]], [-1.0; 3], "nothing changes outside");
            }
        }
    }
}

#[test]
fn a_disc_in_the_middle_is_symmetric() {
    // areas at which whole shells of equally far pixels are covered
    for side in [15, 16] {
        let shell = |i: usize| (2 * (i % side) + 1).abs_diff(side).pow(2) + (2 * (i / side) + 1).abs_diff(side).pow(2);
        for most in [20, 60, 100] {
            let count = (0..side * side).filter(|i| shell(*i) <= most).count();
            let area = count as f64 / (side * side) as f64;
            let placement = Placement { centre: [side as f64 / 2.0; 2], angle: 0.3, area, mask: Mask::Circle };
            let mask = placement.footprint([side; 2], 8).mask();
            for i in 0..side * side {
                let (row, column) = (i / side, i % side);
                let mirrored = [row * side + side - 1 - column, (side - 1 - row) * side + column, column * side + row];
                assert!(mirrored.iter().all(|j| mask[*j] == mask[i]));
            }
        }
    }
}

#[test]
fn a_shrunk_picture_is_averaged() {
    // a chequerboard of single pixels on an eighth of its size is grey, not black or white
    let side = 64;
    let picture: Vec<f32> = (0..3 * side * side).map(|i| ((i % side + i / side) % 2) as f32).collect();
    let placement = Placement { centre: [8.0; 2], angle: 0.2, area: 64.0 / 256.0, mask: Mask::Square };
    let mut image = vec![0.5; 3 * 256];
    placement.footprint([16; 2], side).paste(&picture, &mut image);
    assert!(image.iter().all(|v| (v - 0.5).abs() < 0.1), "{image:?}");
}

#[test]
fn transparent_pixels_leave_the_scene() {
    // a red object of 2×4 pixels amid transparent green, 4 wide and 2 high
    let pixel = |i: usize| if (1..3).contains(&(i % 4)) { [255, 0, 0, 255] } else { [0, 255, 0, 0] };
    let bytes: Vec<u8> = (0..8).flat_map(pixel).collect();
    let picture = Picture::from_rgba_u8(4, 2, &bytes).unwrap();
    assert_eq!((picture.side, picture.rgb.len(), picture.alpha.as_ref().unwrap().len()), (4, 48, 16));
    let placement = Placement { centre: [8.0; 2], angle: 0.0, area: 0.25, mask: Mask::Square };
    let footprint = placement.footprint([16; 2], 4).cut_out(&picture);
    let mut image = vec![7; 3 * 256];
    footprint.paste_u8(&picture.rgb, &mut image);
    // 8 pixels a side: 4 columns and 4 rows of the object
    assert_eq!(footprint.len(), 16);
    for (i, covered) in footprint.mask().into_iter().enumerate() {
        let colour = [image[i], image[256 + i], image[512 + i]];
        assert_eq!(covered, (6..10).contains(&(i / 16)) && (6..10).contains(&(i % 16)));
        assert_eq!(colour, if covered { [255, 0, 0] } else { [7; 3] }, "no green bleeds in");
    }
    // opaque pictures are cut to their middle
    let opaque: Vec<u8> = (0..15).flat_map(|i| [i, i, i, 255]).collect();
    let picture = Picture::from_rgba_u8(5, 3, &opaque).unwrap();
    assert_eq!((picture.side, picture.alpha), (3, None));
    let middle: Vec<u8> = picture.rgb[..9].iter().map(|v| (v * 255.0).round() as u8).collect();
    assert_eq!(middle, [1, 2, 3, 6, 7, 8, 11, 12, 13]);
    assert!(Picture::from_rgba_u8(5, 3, &opaque[1..]).is_err() && Picture::from_rgba_u8(0, 3, &[]).is_err());
}

#[test]
fn controls_are_on_the_grid_of_8_bits_and_stay_uniform() {
    let grey = Picture::grey(9);
    for turn in 0..20 {
        let mut stream = Streams::new(turn, "grey").stream(0, 0, "place");
        let placement = Placement::draw(&mut stream, [32; 2], 0.3, Mask::Circle, PI);
        let footprint = placement.footprint([32; 2], 9);
        let mut image = vec![3; 3 * 1024];
        footprint.paste_u8(&grey.rgb, &mut image);
        let mask = footprint.mask();
        assert!(image.iter().enumerate().all(|(i, v)| *v == if mask[i % 1024] { 128 } else { 3 }));
    }
    let noise = Picture::noise(50, &mut stream("noise"));
    assert_eq!(noise, Picture::noise(50, &mut stream("noise")));
    assert!(noise.rgb.iter().all(|v| (v * 255.0 - (v * 255.0).round()).abs() < 1e-4));
    let mean = noise.rgb.iter().sum::<f32>() / noise.rgb.len() as f32;
    // five standard errors of 7500 uniform values
    assert!((mean - 0.5).abs() < 5.0 * 0.289 / 7500f32.sqrt(), "{mean}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn pull_is_the_transpose_of_paste(
        seed in any::<u64>(), area in 0.01f64..0.6, picture_side in 1usize..60, circle in any::<bool>(),
    ) {
        let side = 24;
        let mask = if circle { Mask::Circle } else { Mask::Square };
        let mut place = Streams::new(seed, "pull").stream(0, 0, "place");
        let footprint = Placement::draw(&mut place, [side; 2], area, mask, PI).footprint([side; 2], picture_side);
        let (picture, gradient) = (values(3 * picture_side * picture_side, "p"), values(3 * side * side, "g"));
        let mut image = vec![0.0; 3 * side * side];
        footprint.paste(&picture, &mut image);
        let mut pulled = vec![0.0; picture.len()];
        footprint.pull(&gradient, &mut pulled);
        let (there, back) = (dot(&image, &gradient), dot(&picture, &pulled));
        prop_assert!((there - back).abs() <= 1e-5 * there.max(1.0), "{there} {back}");
        // weights add up to 1, so that a uniform picture stays what it is
        let mut ones = vec![0.0; 3 * side * side];
        footprint.paste(&vec![1.0; picture.len()], &mut ones);
        let mask = footprint.mask();
        prop_assert!(ones.iter().enumerate().all(|(i, v)| (v - f32::from(u8::from(mask[i % (side * side)]))).abs() < 1e-5));
        // the 8-bit twin is the rounded float
        let mut bytes = vec![0; 3 * side * side];
        footprint.paste_u8(&picture, &mut bytes);
        prop_assert!(image.iter().zip(&bytes).all(|(v, b)| (v * 255.0).round_ties_even() as u8 == *b));
    }
}
