//! Colours for a quantity from 0 to 1, even to the eye.

/// Viridis (Smith and van der Walt 2015, CC0; matplotlib 3.11, `_cm_listed.py`) at every sixteenth of its length: lightness
/// rises evenly, so the order of two values is seen in grey and by colour-blind readers too.
#[rustfmt::skip] // rows
const VIRIDIS: [[u8; 3]; 17] = [
    [68, 1, 84], [72, 24, 106], [71, 45, 123], [66, 64, 134], [59, 82, 139], [51, 99, 141],
    [44, 114, 142], [38, 129, 142], [33, 144, 140], [31, 159, 136], [40, 174, 128], [62, 188, 116],
    [93, 201, 99], [130, 211, 76], [171, 220, 50], [213, 226, 26], [253, 231, 37],
];

/// The colour of a value, red, green and blue from 0 to 255; values beyond 0 and 1 count as these, NaN as 0.
pub fn colour(value: f32) -> [f32; 3] {
    let last = VIRIDIS.len() - 1;
    let at = value.clamp(0.0, 1.0) * last as f32;
    // NaN is cast to 0
    let before = (at as usize).min(last - 1);
    let share = (at - before as f32).max(0.0);
    let mix = |c: usize| f32::from(VIRIDIS[before][c]) * (1.0 - share) + f32::from(VIRIDIS[before + 1][c]) * share;
    [0, 1, 2].map(mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader without one kind of cones sees: Machado, Oliveira and Fernandes 2009, severity 1, linear RGB.
    const BLIND: [(&str, [[f64; 3]; 3]); 3] = [
        (
            "protanopia",
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        ),
        (
            "deuteranopia",
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        ),
        (
            "tritanopia",
            [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
        ),
    ];
    const ALL: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

    fn times(m: &[[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
        m.map(|row| (0..3).map(|k| row[k] * v[k]).sum())
    }

    /// CIE L*a*b* (D65) of an sRGB colour as such a reader sees it.
    fn lab(rgb: [f32; 3], seen: &[[f64; 3]; 3]) -> [f64; 3] {
        // IEC 61966-2-1
        let linear = |v: f64| if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
        let linear = times(seen, rgb.map(|v| linear(f64::from(v) / 255.0))).map(|v| v.clamp(0.0, 1.0));
        let xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]];
        let [x, y, z] = times(&xyz, linear);
        let f = |t: f64| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let [x, y, z] = [f(x / 0.9505), f(y), f(z / 1.089)];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// Of sixteen steps: how much lighter each is, and how far from the one before (CIE 1976).
    fn steps(seen: &[[f64; 3]; 3]) -> (Vec<f64>, Vec<f64>) {
        let colours: Vec<[f64; 3]> = (0..=16).map(|i| lab(colour(i as f32 / 16.0), seen)).collect();
        let pairs = || colours.windows(2);
        let far = |p: &[[f64; 3]]| (0..3).map(|k| (p[1][k] - p[0][k]).powi(2)).sum::<f64>().sqrt();
        (pairs().map(|p| p[1][0] - p[0][0]).collect(), pairs().map(far).collect())
    }

    fn ends(values: &[f64]) -> (f64, f64) {
        (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max))
    }

    #[test]
    fn lightness_rises_evenly_and_no_step_is_large() {
        let (lighter, far) = steps(&ALL);
        let ((least, most), (nearest, farthest)) = (ends(&lighter), ends(&far));
        assert!(least > 4.0 && most < 1.3 * least, "lightness by {least:.1} to {most:.1}");
        assert!(farthest < 2.5 * nearest, "steps of {nearest:.1} to {farthest:.1}");
        let (dark, light) = (lab(colour(0.0), &ALL)[0], lab(colour(1.0), &ALL)[0]);
        assert!(dark < 20.0 && light > 85.0, "from {dark:.0} to {light:.0}");
    }

    /// A difference of 2.3 is just seen (Mahy et al. 1994).
    #[test]
    fn neighbouring_steps_stay_apart_for_colour_blind_readers() {
        for (kind, seen) in &BLIND {
            let (lighter, far) = steps(seen);
            assert!(ends(&lighter).0 > 2.3 && ends(&far).0 > 4.0, "{kind}: {lighter:.1?} {far:.1?}");
        }
    }

    #[test]
    fn values_beyond_the_ends_are_the_ends() {
        let ends = [[68.0, 1.0, 84.0], [253.0, 231.0, 37.0]];
        assert_eq!([-1.0, 0.0, f32::NAN].map(colour), [ends[0]; 3]);
        assert_eq!([1.0, 2.0, f32::INFINITY].map(colour), [ends[1]; 3]);
    }
}
