//! Where a picture lies, and what shape it has there.

use crate::rng::Stream;

/// Shape of what is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// The disc in the picture's square.
    Circle,
    /// The whole picture, turned.
    Square,
}

/// Names of the masks in sweep files.
pub const MASKS: &[(&str, Mask)] = &[("circle", Mask::Circle), ("square", Mask::Square)];

impl Mask {
    /// Name in sweep files and tables.
    pub fn name(self) -> &'static str {
        MASKS.iter().find(|(_, m)| *m == self).expect("every mask is listed").0
    }

    /// Side of the picture, in pixels of the image, whose shape has an area of so many pixels.
    pub fn span(self, pixels: usize) -> f64 {
        match self {
            Mask::Circle => 2.0 * (pixels as f64 / std::f64::consts::PI).sqrt(),
            Mask::Square => (pixels as f64).sqrt(),
        }
    }

    /// Half the width of the turned shape, in units of its span.
    fn half_extent(self, angle: f64) -> f64 {
        match self {
            Mask::Circle => 0.5,
            Mask::Square => {
                let (cos, sin) = cos_sin(angle);
                (cos.abs() + sin.abs()) / 2.0
            }
        }
    }
}

/// Where a picture lies on an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// x and y of the picture's centre, in pixels of the image.
    pub centre: [f64; 2],
    /// Clockwise turn as seen on the screen, in radians.
    pub angle: f64,
    /// Share of the image's pixels that is covered.
    pub area: f64,
    /// Shape of what is covered.
    pub mask: Mask,
}

/// Steps of a pixel in which places are drawn, and of a radian for angles: numbers of few decimals, which any text format
/// carries exactly.
const STEPS: [f64; 2] = [1e4, 1e6];

impl Placement {
    /// A placement on an image of this height and width: angle uniform within ±`max_angle`, centre uniform over the places where
    /// the turned shape lies inside the image (the middle of a side that it does not fit on).
    ///
    /// Always takes three numbers from the stream, whatever the area and the shape: patch, controls and all areas of an
    /// image share one place, as a fraction of where they can be.
    pub fn draw(stream: &mut Stream, size: [usize; 2], area: f64, mask: Mask, max_angle: f64) -> Placement {
        let [u, v, w] = [(); 3].map(|()| f64::from(stream.uniform()));
        let angle = ((2.0 * w - 1.0) * max_angle * STEPS[1]).round() / STEPS[1];
        let half = mask.span(covered(area, size)) * mask.half_extent(angle);
        let place = |u: f64, side: usize| {
            let margin = half.min(side as f64 / 2.0);
            ((margin + u * (side as f64 - 2.0 * margin)) * STEPS[0]).round() / STEPS[0]
        };
        let [height, width] = size;
        Placement { centre: [place(u, width), place(v, height)], angle, area, mask }
    }

    /// As it is noted beside a witness: shape, x, y, angle, area. Numbers read back as they were.
    pub fn text(&self) -> String {
        let Placement { centre: [x, y], angle, area, mask } = self;
        format!("{} x={x} y={y} angle={angle} area={area}", mask.name())
    }

    /// [`Placement::text`] with the number of the picture that lies there.
    pub fn note(&self, picture: usize) -> String {
        format!("{} picture={picture}", self.text())
    }

    /// Reads [`Placement::note`]: the placement, and the number of the picture.
    pub fn parse(note: &str) -> Option<(Placement, usize)> {
        let mut words = note.split(' ');
        let shape = words.next()?;
        let mask = MASKS.iter().find(|(name, _)| *name == shape).map(|(_, mask)| *mask)?;
        let mut value = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        let number = |text: Option<&str>| text?.parse::<f64>().ok().filter(|v| v.is_finite());
        let centre = [number(value("x"))?, number(value("y"))?];
        let (angle, area) = (number(value("angle"))?, number(value("area"))?);
        Some((Placement { centre, angle, area, mask }, value("picture")?.parse().ok()?))
    }
}

/// Number of pixels in a share `area` of an image: floor(area·height·width).
///
/// A millionth of a pixel is granted, because `0.29 * 100.0` is below 29: so a fraction whose denominator has up to six
/// digits gives the floor of its exact value.
pub fn covered(area: f64, [height, width]: [usize; 2]) -> usize {
    let all = height * width;
    ((area * all as f64 + 1e-6).floor() as usize).min(all)
}

/// Height and width of the window into which so many covered pixels of an image fit, whatever the turn: ceil(√(2·pixels)) + 1
/// each. A square turned by 45° is √2 as wide as it was, and an interval of length l holds at most l + 1 pixel centres.
///
/// Where the image is narrower than that, the shape may go from border to border, and what it lacks there it has on the other
/// side: there up to pixels/narrow + narrow + 2. (The rows of a convex shape that crosses a strip of width s have lengths with
/// the mean pixels/s, each within one pixel; from its middle to its ends it shifts by s/2 at most, since it is turned by no
/// more than 45° from its own axes.)
pub fn window(pixels: usize, [height, width]: [usize; 2]) -> [usize; 2] {
    let root = (2 * pixels).isqrt();
    let side = root + usize::from(root * root < 2 * pixels) + 1;
    let beside = |narrow: usize| if narrow < side { pixels.div_ceil(narrow.max(1)) + narrow + 2 } else { side };
    [beside(width), beside(height)]
}

/// Cosine and sine from their Taylor series: sums and products alone, where a platform's mathematical library may differ
/// in the last bit. Within 1e-13.
pub fn cos_sin(angle: f64) -> (f64, f64) {
    // at most ±π is left, where the 40th term is below 1e-28
    let turn = std::f64::consts::TAU;
    let x = angle - (angle / turn).round() * turn;
    let (mut cos, mut sin, mut term) = (0.0, 0.0, 1.0);
    for n in 0..40u32 {
        match n % 4 {
            0 => cos += term,
            1 => sin += term,
            2 => cos -= term,
            _ => sin -= term,
        }
        term *= x / f64::from(n + 1);
    }
    (cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_to_the_bit() {
        let placement = Placement { centre: [12.3457, 100.0], angle: -0.312345, area: 0.07, mask: Mask::Square };
        assert_eq!(Placement::parse(&placement.note(3)), Some((placement, 3)));
        assert_eq!(Placement::parse(&placement.text()), None);
        for wrong in ["", "disc x=1 y=1 angle=0 area=0.1 picture=0", "circle x=nan y=1 angle=0 area=0.1 picture=0"] {
            assert_eq!(Placement::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn cosine_and_sine_are_those_of_the_library() {
        for i in -1000..=1000 {
            let angle = f64::from(i) * 0.01;
            let (cos, sin) = cos_sin(angle);
            assert!((cos - angle.cos()).abs() < 1e-13 && (sin - angle.sin()).abs() < 1e-13, "{angle}: {cos} {sin}");
        }
        assert_eq!(cos_sin(0.0), (1.0, 0.0));
    }
}
