//! The recipes, and the numbers they take where the user says nothing.

/// What keeps a picture from being mere noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// Decay toward the canvas (Simonyan, Vedaldi, Zisserman 2013).
    L2,
    /// Gaussian blur every few steps, and decay (Yosinski et al. 2015).
    Blur,
    /// A penalty on total variation, and decay (Mahendran and Vedaldi 2015).
    Tv,
    /// A decorrelated spectrum seen under random transformations (Olah, Mordvintsev, Schubert 2017).
    Fourier,
}

/// Names of recipes in sweep files.
pub const RECIPES: &[(&str, Recipe)] =
    &[("l2", Recipe::L2), ("blur", Recipe::Blur), ("tv", Recipe::Tv), ("fourier", Recipe::Fourier)];

impl Recipe {
    /// Name in sweep files and tables.
    pub fn name(self) -> &'static str {
        RECIPES.iter().find(|(_, r)| *r == self).expect("every recipe is listed").0
    }
}

/// The numbers of a recipe. 0 turns a part off.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Steps of a whole run. None of the others depends on it: a run of fewer is the beginning of one of more.
    pub steps: usize,
    /// η: how far a pixel moves in a step, as the root of the mean square, in [0,1] pixels; of `fourier` Adam's α.
    pub step_size: f64,
    /// θ: share of the way back to the canvas in each step.
    pub decay: f64,
    /// n: steps between blurs.
    pub blur_every: usize,
    /// Standard deviation of a blur, in pixels.
    pub blur_sigma: f64,
    /// w: weight of total variation, against a gradient scaled to 1.
    pub tv: f64,
    /// First shift: pixels from one end of its range to the other, each way.
    pub jitter: f64,
    /// Largest change of size: 0.1 is ±10 %.
    pub scale: f64,
    /// Largest turn, in degrees.
    pub rotate: f64,
    /// Second shift, after size and turn.
    pub jitter_after: f64,
}

impl Settings {
    /// Those of a recipe for pictures of this height and width. `fourier` is lucid's: Adam with 0.05, 512 steps, jitter 8 and 4 of 224
    /// pixels, ±10 %, ±10°. The blur, of 0.5 pixels every 4 steps, is one of Yosinski's four choices. η, θ and w are chosen
    /// by eye on the two built-in networks: the papers' belong to unscaled gradients of one net. η·w stays below ε/4 of
    /// `variation`, past which it swings.
    pub fn of(recipe: Recipe, [height, width]: [usize; 2]) -> Settings {
        let wide = height.min(width) as f64 / 224.0; // shifts are given for 224 pixels
        let plain = Settings {
            steps: 512,
            step_size: 0.01,
            decay: 0.02,
            blur_every: 0,
            blur_sigma: 0.0,
            tv: 0.0,
            jitter: 0.0,
            scale: 0.0,
            rotate: 0.0,
            jitter_after: 0.0,
        };
        match recipe {
            Recipe::L2 => plain,
            // a blur takes contrast, which larger steps give back
            Recipe::Blur => Settings { step_size: 0.02, blur_every: 4, blur_sigma: 0.5, ..plain },
            Recipe::Tv => Settings { tv: 0.3, decay: 0.005, ..plain },
            Recipe::Fourier => Settings {
                step_size: 0.05,
                decay: 0.0,
                jitter: 8.0 * wide,
                scale: 0.1,
                rotate: 10.0,
                jitter_after: 4.0 * wide,
                ..plain
            },
        }
    }
}
