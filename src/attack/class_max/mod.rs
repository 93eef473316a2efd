//! Class maximisation: the image that makes a net answer a class (Simonyan, Vedaldi, Zisserman 2013; Yosinski et al. 2015;
//! Olah, Mordvintsev, Schubert 2017). It maximises the *logit* z_c (or another [`Objective`]), not the probability, which
//! could be had by pushing down the other classes, and keeps the picture plausible by one of four [`Recipe`]s.
//!
//! A [`Painting`] is one image in the making. It knows no net: it shows a view, and is given the objective's gradient there.
//! Nothing is rounded to 8 bits on the way.

mod attack;
mod blur;
mod objective;
mod settings;
mod spectrum;
mod variation;
mod warp;

use crate::attack::{State, adam};
use crate::rng::Stream;
use spectrum::Spectrum;
use warp::Warp;

pub use attack::ENTRY;
pub use objective::{OBJECTIVES, Objective};
pub use settings::{RECIPES, Recipe, Settings};

/// Standard deviation of the noise a painting begins with, of pixels in [0,1] or of coefficients (lucid's `fft_image`:
/// `sd=0.01`).
const NOISE: f64 = 0.01;

/// One image in the making.
pub struct Painting {
    settings: Settings,
    /// Height and width.
    size: [usize; 2],
    /// 3×H×W: where it starts, and what decay leads back to.
    canvas: Vec<f32>,
    /// What a view shows outside the picture: the canvas's mean colour.
    margin: [f32; 3],
    parameters: Parameters,
    /// 3×H×W in [0,1], as the parameters have it.
    picture: Vec<f32>,
    /// Steps taken.
    step: usize,
    /// Mother of one stream a step.
    stream: Stream,
}

/// What is climbed with.
enum Parameters {
    /// The pixels themselves: they are `picture`.
    Pixels,
    /// Coefficients of a decorrelated spectrum, with Adam's memory.
    Fourier { spectrum: Box<Spectrum>, coefficients: Vec<f32>, moments: Vec<f32> },
}

impl Painting {
    /// Begins at `canvas`, 3×H×W in [0,1], plus a little noise.
    pub fn new(recipe: Recipe, settings: &Settings, canvas: &[f32], size: [usize; 2], stream: Stream) -> Painting {
        let plane = size[0] * size[1];
        let values = 3 * plane;
        assert_eq!(canvas.len(), values, "a canvas has 3×H×W values");
        let mut noise = stream.at(0);
        let noise: Vec<f32> = (0..values).map(|_| (NOISE * noise.normal()) as f32).collect();
        let (parameters, picture) = match recipe {
            Recipe::Fourier => {
                let spectrum = Box::new(Spectrum::new(size, canvas));
                let picture = spectrum.picture(&noise);
                let moments = vec![0.0; adam::MOMENTS * values];
                (Parameters::Fourier { spectrum, coefficients: noise, moments }, picture)
            }
            _ => (Parameters::Pixels, canvas.iter().zip(&noise).map(|(c, n)| (c + n).clamp(0.0, 1.0)).collect()),
        };
        let mean = |c: usize| {
            let channel = &canvas[c * plane..][..plane];
            (channel.iter().map(|v| f64::from(*v)).sum::<f64>() / channel.len() as f64) as f32
        };
        Painting {
            settings: settings.clone(),
            size,
            canvas: canvas.to_vec(),
            margin: [0, 1, 2].map(mean),
            parameters,
            picture,
            step: 0,
            stream,
        }
    }

    /// What the net is to look at next, 3×H×W in [0,1]: the picture under this step's random transformation.
    pub fn view(&self) -> Vec<f32> {
        let picture = self.blurred();
        match self.warp() {
            Some(warp) => warp.apply(&picture, self.margin),
            None => picture,
        }
    }

    /// Takes a step. `gradient`, 3×H×W: of the objective with respect to the view.
    pub fn climb(&mut self, gradient: &[f32]) {
        assert_eq!(gradient.len(), self.picture.len(), "a gradient has 3×H×W values");
        let gradient = self.warp().map_or(gradient.to_vec(), |warp| warp.transposed(gradient));
        let blurred = self.blurred();
        let Settings { step_size, decay, tv, .. } = self.settings;
        match &mut self.parameters {
            Parameters::Fourier { spectrum, coefficients, moments } => {
                let slope = spectrum.gradient(&self.picture, &gradient);
                adam::ascend(coefficients, &slope, moments, step_size, self.step + 1);
                self.picture = spectrum.picture(coefficients);
            }
            // x ← clip(x + η·(ĝ − w·∇TV(x)) − θ·(x − canvas)), x blurred first where a blur is due
            Parameters::Pixels => {
                let roughening = (tv > 0.0).then(|| variation::gradient(&blurred, self.size));
                let scale = inverse_rms(&gradient);
                for i in 0..blurred.len() {
                    let x = blurred[i];
                    let rough = roughening.as_ref().map_or(0.0, |t| t[i]);
                    let up = (f64::from(gradient[i]) * scale) as f32 - tv as f32 * rough;
                    let back = decay as f32 * (x - self.canvas[i]);
                    self.picture[i] = (x + step_size as f32 * up - back).clamp(0.0, 1.0);
                }
            }
        }
        self.step += 1;
    }

    /// The picture as it stands, 3×H×W in [0,1].
    pub fn picture(&self) -> &[f32] {
        &self.picture
    }

    /// Steps taken.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Its whole state: the step, the parameters, the optimiser's memory. Random numbers belong to the step's number, so none
    /// need be kept.
    pub fn save(&self) -> State {
        let state = State::new("painting").with("step", &[self.step as u64]);
        match &self.parameters {
            Parameters::Pixels => state.with("picture", &self.picture),
            Parameters::Fourier { coefficients, moments, .. } => {
                state.with("coefficients", coefficients).with("moments", moments)
            }
        }
    }

    /// Goes on from a saved state of a painting of the same recipe, settings, canvas and stream: bit for bit.
    ///
    /// # Errors
    /// Where it is none; the painting is then as it was.
    pub fn restore(&mut self, state: &State) -> Result<(), String> {
        let n = self.picture.len();
        let numbers = |name: &str, n: usize| -> Result<Vec<f32>, String> {
            let values: Vec<f32> = state
                .list(name)
                .filter(|v: &Vec<f32>| v.len() == n)
                .ok_or_else(|| format!("a painting's state has {n} numbers in `{name}` here"))?;
            match values.iter().position(|v| !v.is_finite()) {
                Some(i) => Err(format!("a painting's state has {} at {i} of `{name}`", values[i])),
                None => Ok(values),
            }
        };
        let step = state.number::<u64>("step").ok_or("a painting's state has no `step`")?;
        match &mut self.parameters {
            _ if !state.is_of("painting") => return Err("the state of something else".into()),
            Parameters::Pixels => self.picture = numbers("picture", n)?,
            Parameters::Fourier { spectrum, coefficients, moments } => {
                let remembered = numbers("moments", moments.len())?;
                *coefficients = numbers("coefficients", n)?;
                *moments = remembered;
                self.picture = spectrum.picture(coefficients);
            }
        }
        self.step = step as usize;
        Ok(())
    }

    /// The picture, blurred where a blur is due before this step. The last step is then never a blur.
    fn blurred(&self) -> Vec<f32> {
        let Settings { blur_every, blur_sigma, .. } = self.settings;
        match self.step > 0 && self.step.is_multiple_of(blur_every) {
            true => blur::blur(&self.picture, self.size, blur_sigma),
            false => self.picture.clone(),
        }
    }

    /// This step's transformation, from the stream of its number; `None`: the identity.
    fn warp(&self) -> Option<Warp> {
        Warp::random(&self.settings, self.size, &mut self.stream.at(self.step as u64 + 1))
    }
}

/// One over the root of the mean square, in f64, which no f32 leaves the range of; 0 for a gradient of zero.
fn inverse_rms(gradient: &[f32]) -> f64 {
    let square: f64 = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
    if square > 0.0 { (gradient.len() as f64 / square).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests;
