//! Fitting a universal patch: plan a step, apply the patch, update it from the images' gradients. Plain data; whoever owns
//! the net computes the gradients in between.

use super::Rule;
use crate::attack::State;
use crate::placement::{Footprint, Mask, Placement};
use crate::rng::Streams;

/// What decides a fit, next to net, target, training images and streams.
#[derive(Debug, Clone, PartialEq)]
pub struct FitSettings {
    /// Shape of the patch.
    pub mask: Mask,
    /// Images a step.
    pub batch: usize,
    /// Steps of the whole fit.
    pub steps: usize,
    /// Least share of the image's pixels.
    pub min_area: f64,
    /// Greatest share of the image's pixels.
    pub max_area: f64,
    /// Greatest turn to either side, in radians.
    pub max_angle: f64,
    /// Optimiser.
    pub rule: Rule,
}

impl Default for FitSettings {
    /// Brown et al. 2017, but for the optimiser and the areas, which are measured (`optimisers_compared` in
    /// `tests/patch.rs`): no step is spent on areas that nobody reports, and no rate hangs on the size of a net's gradients.
    fn default() -> FitSettings {
        let rule = Rule::Momentum { rate: 0.03, decay: 0.9 };
        FitSettings { min_area: 0.03, max_area: 0.4, rule, ..FitSettings::paper() }
    }
}

impl FitSettings {
    /// As in Brown et al. 2017: a disc, 16 images a step, 500 steps, a disc of 0.1 to 1 times the image's side, turned by
    /// up to 22.5°, plain gradient ascent at 5.0 in units of [-1,1].
    pub fn paper() -> FitSettings {
        let disc = std::f64::consts::FRAC_PI_4;
        FitSettings {
            mask: Mask::Circle,
            batch: 16,
            steps: 500,
            min_area: 0.01 * disc,
            max_area: disc,
            max_angle: std::f64::consts::PI / 8.0,
            rule: Rule::Sgd { rate: 1.25 },
        }
    }
}

/// Side of the picture for images of this height and width, half that of a square of as many pixels: at 20 % of the area, a
/// patch lies on the image about one to one.
pub fn picture_side([height, width]: [usize; 2]) -> usize {
    (height * width).isqrt().div_ceil(2)
}

/// A patch being fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchFit {
    settings: FitSettings,
    /// Side of the picture.
    side: usize,
    /// Steps done.
    step: usize,
    /// 3×side×side in [0,1].
    pixels: Vec<f32>,
    /// What the optimiser remembers.
    moments: Vec<f32>,
    /// Whether the gradient of a step was zero everywhere.
    blind: bool,
}

impl PatchFit {
    /// A mid grey patch of `picture_side` pixels.
    pub fn new(settings: &FitSettings, picture_side: usize) -> PatchFit {
        let values = 3 * picture_side * picture_side;
        let moments = vec![0.0; settings.rule.moments() * values];
        let pixels = vec![0.5; values];
        PatchFit { settings: settings.clone(), side: picture_side, step: 0, pixels, moments, blind: false }
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.step >= self.settings.steps
    }

    /// Whether the gradient of a step done was zero everywhere: the patch had nothing to follow there.
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// Side of the picture in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The patch, 3×side×side in [0,1].
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// Training images (of `images`) and placements (on images of this height and width) of this step: a function of the streams'
    /// key and the number of the step alone. The patch's *side* is uniform, as in the paper; its area is not.
    pub fn plan_step(&self, streams: &Streams, images: usize, size: [usize; 2]) -> Vec<(usize, Placement)> {
        let s = &self.settings;
        let (least, most) = (s.min_area.sqrt(), s.max_area.sqrt());
        let plan = |member: usize| {
            let mut stream = streams.stream(self.step, member, "patch");
            let image = stream.below(images);
            let scale = least + (most - least) * f64::from(stream.uniform());
            (image, Placement::draw(&mut stream, size, scale * scale, s.mask, s.max_angle))
        };
        (0..s.batch).map(plan).collect()
    }

    /// Pastes the patch onto `images`, N×3×H×W, one for each placement of the plan; returns what it covers on each.
    pub fn apply(&self, plan: &[(usize, Placement)], size: [usize; 2], images: &mut [f32]) -> Vec<Footprint> {
        let values = 3 * size[0] * size[1];
        assert_eq!(images.len(), plan.len() * values, "one image a placement");
        let placed = plan.iter().zip(images.chunks_exact_mut(values));
        placed
            .map(|((_, placement), image)| {
                let footprint = placement.footprint(size, self.side);
                footprint.paste(&self.pixels, image);
                footprint
            })
            .collect()
    }

    /// Moves the patch uphill. `gradients`, N×3×H×W: of each image's own loss, to be *maximised* (minus the cross-entropy
    /// of the target), at the images that [`PatchFit::apply`] made; the loss of the step is their mean. No rule asks how
    /// long they are all together.
    pub fn update(&mut self, footprints: &[Footprint], gradients: &[f32]) {
        let of_image = gradients.len() / footprints.len();
        let mut gradient = vec![0.0; self.pixels.len()];
        for (footprint, of_image) in footprints.iter().zip(gradients.chunks_exact(of_image)) {
            footprint.pull(of_image, &mut gradient);
        }
        gradient.iter_mut().for_each(|g| *g /= footprints.len() as f32);
        let PatchFit { settings, step, pixels, moments, blind, .. } = self;
        *blind |= gradient.iter().all(|g| *g == 0.0);
        settings.rule.step(*step, settings.steps, &gradient, moments, pixels);
        self.step += 1;
    }

    /// The patch in 8 bits, 3×side×side, rounded half to even: what is stored, printed and judged.
    pub fn patch_u8(&self) -> Vec<u8> {
        self.pixels.iter().map(|v| (v * 255.0).round_ties_even() as u8).collect()
    }

    /// Everything that the next step needs: a fit that is restored goes on bit for bit.
    pub fn save(&self) -> State {
        let state =
            State::new(self.described()).with("step", &[self.step as u64]).with("blind", &[u64::from(self.blind)]);
        state.with("pixels", &self.pixels).with("moments", &self.moments)
    }

    /// A fit that [`PatchFit::save`] made, of the same settings and picture side; `None`: it is none.
    pub fn restore(settings: &FitSettings, picture_side: usize, state: &State) -> Option<PatchFit> {
        let mut fit = PatchFit::new(settings, picture_side);
        let (pixels, moments) = (state.list::<f32>("pixels")?, state.list::<f32>("moments")?);
        let fits =
            state.is_of(&fit.described()) && (pixels.len(), moments.len()) == (fit.pixels.len(), fit.moments.len());
        (fit.step, fit.pixels, fit.moments) = (state.number::<u64>("step")? as usize, pixels, moments);
        fit.blind = state.number::<u64>("blind")? == 1;
        fits.then_some(fit)
    }

    /// Fits that are described alike may go on from each other.
    fn described(&self) -> String {
        format!("patch fit\n{}\n{:?}", self.side, self.settings)
    }
}
