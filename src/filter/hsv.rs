//! Colours as hue, saturation and value, each in [0,1] (Smith 1978, as in scikit-image).

/// The picture 3×H×W with every pixel's hue, saturation and value changed.
pub fn changed(image: &[f32], change: impl Fn([f32; 3]) -> [f32; 3]) -> Vec<f32> {
    let n = image.len() / 3;
    let mut out = vec![0.0; 3 * n];
    for i in 0..n {
        let pixel = [image[i], image[n + i], image[2 * n + i]];
        let new = rgb(change(hsv(pixel)));
        (0..3).for_each(|c| out[c * n + i] = new[c]);
    }
    out
}

/// Hue, saturation, value of red, green, blue.
pub fn hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let value = r.max(g).max(b);
    let span = value - r.min(g).min(b);
    if span == 0.0 {
        return [0.0, 0.0, value];
    }
    let sixths = if value == b {
        4.0 + (r - g) / span
    } else if value == g {
        2.0 + (b - r) / span
    } else {
        (g - b) / span
    };
    [(sixths / 6.0).rem_euclid(1.0), span / value, value]
}

/// Red, green, blue of hue, saturation, value.
pub fn rgb([hue, saturation, v]: [f32; 3]) -> [f32; 3] {
    let sixths = hue * 6.0;
    let share = sixths - sixths.floor();
    let p = v * (1.0 - saturation);
    let q = v * (1.0 - share * saturation);
    let t = v * (1.0 - (1.0 - share) * saturation);
    match sixths.floor() as u32 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_the_wheel() {
        assert_eq!(hsv([1.0, 0.0, 0.0]), [0.0, 1.0, 1.0]);
        assert_eq!(hsv([0.0, 0.5, 0.0]), [2.0 / 6.0, 1.0, 0.5]);
        assert_eq!(hsv([0.5, 0.5, 1.0]), [4.0 / 6.0, 0.5, 1.0]);
        assert_eq!(hsv([0.25; 3]), [0.0, 0.0, 0.25]);
    }

    #[test]
    fn there_and_back_is_the_same_colour() {
        for (r, g, b) in (0..6).flat_map(|r| (0..6).flat_map(move |g| (0..6).map(move |b| (r, g, b)))) {
            let colour = [r, g, b].map(|v| v as f32 / 5.0);
            let back = rgb(hsv(colour));
            assert!(colour.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-6), "{colour:?} {back:?}");
        }
    }
}
