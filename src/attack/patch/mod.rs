//! The adversarial patch (Brown, Mané, Roy, Abadi, Gilmer 2017, arXiv:1712.09665): one picture that makes a net answer the
//! target class wherever it lies, on whatever scene. Or one patch an image (LaVAN: Karmon, Zoran, Goldberg 2018).

pub mod fit;
mod per_image;
mod placing;
mod rule;

pub use fit::{FitSettings, PatchFit};
pub use placing::Placing;
pub use rule::Rule;

use super::{Attack, Entry, Kind, Param, Task, Training, Workshop};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::goal::{Aim, Goal};
use crate::loss::{at_one_size, log_odds, log_probability, log_share_of_others};
use crate::oracle::{Oracle, climb};
use crate::placement::Picture;
use crate::threat::Norm;
use candle_core::{Device, Tensor};

/// Degrees, each way (Brown et al. 2017).
pub(super) const MAX_ANGLE: &str = "22.5";

pub const ENTRY: Entry = Entry {
    name: "patch",
    revision: 2,
    summary: "adversarial patch, universal (Brown et al. 2017) or one an image (LaVAN, Karmon et al. 2018)",
    source: "Brown et al. 2017, arXiv:1712.09665; LaVAN: Karmon et al. 2018, arXiv:1801.02608",
    norms: &[Norm::Patch],
    params: &[
        Param {
            name: "fit",
            kind: Kind::Choice(&["universal", "per-image"]),
            default: "universal",
            summary: "one patch for all images, fitted to training images; or one for each image at its place",
        },
        Param {
            name: "mask",
            kind: Kind::Choice(&["circle", "square"]),
            default: "circle",
            summary: "shape of the patch",
        },
        Param {
            name: "rotation",
            kind: Kind::Number,
            default: MAX_ANGLE,
            summary: "degrees, each way (Brown et al. 2017: 22.5)",
        },
        Param {
            name: "steps",
            kind: Kind::Count,
            default: "500",
            summary: "steps of the fit (Brown et al. 2017: 500)",
        },
        Param {
            name: "images",
            kind: Kind::Count,
            default: "16",
            summary: "training images per step (Brown et al. 2017: 16)",
        },
        Param {
            name: "optimiser",
            kind: Kind::Choice(&["momentum", "adam", "sgd"]),
            default: "momentum",
            summary: "signs of a momentum, or Adam, both with a falling rate; plain ascent, in steps of one length",
        },
        Param {
            name: "rate",
            kind: Kind::Auto,
            default: "auto",
            summary: "step size; auto: 0.03 (momentum), 0.05 (adam), 1.25 (sgd), chosen on the built-in networks",
        },
        Param { name: "min_area", kind: Kind::Number, default: "0.03", summary: "least area during the fit" },
        Param { name: "max_area", kind: Kind::Number, default: "0.4", summary: "greatest area during the fit" },
        Param {
            name: "resolution",
            kind: Kind::Auto,
            default: "auto",
            summary: "side of the patch in pixels; auto: half the image's, so that it lies one to one at 20 % of the area",
        },
    ],
    build: |params, threat| {
        let rate = |default: f64| params.auto("rate").unwrap_or(default);
        let rule = match params.choice("optimiser") {
            "adam" => Rule::Adam { rate: rate(0.05) },
            "sgd" => Rule::Sgd { rate: rate(1.25) },
            _ => Rule::Momentum { rate: rate(0.03), decay: 0.9 },
        };
        if params.auto("rate").is_some_and(|rate| rate < LEAST_RATE) {
            return Err(format!("at a `rate` below {LEAST_RATE} a patch stays as it is"));
        }
        let placing = Placing::of(params, threat);
        let settings = FitSettings {
            mask: placing.mask,
            batch: params.count("images"),
            steps: params.count("steps"),
            min_area: params.number("min_area"),
            max_area: params.number("max_area"),
            max_angle: placing.max_angle,
            rule,
        };
        if !(settings.min_area > 0.0 && settings.min_area <= settings.max_area && settings.max_area <= 1.0) {
            return Err("areas are shares of the image: 0 < min_area ≤ max_area ≤ 1".into());
        }
        let resolution = params.auto("resolution");
        if resolution.is_some_and(|r| r.fract() != 0.0 || !(1.0..=MOST_RESOLUTION).contains(&r)) {
            return Err(format!("`resolution` is a whole number of pixels, at most {MOST_RESOLUTION}"));
        }
        let universal = params.choice("fit") == "universal";
        Ok(Box::new(Patch { universal, placing, settings, resolution: resolution.map(|r| r as usize) }))
    },
};

/// A fortieth of a grey level a step.
const LEAST_RATE: f64 = 1e-4;

/// No image that a net takes is larger.
const MOST_RESOLUTION: f64 = 4096.0;

/// Steps between two points of the curve that is kept.
const CURVE_EVERY: usize = 10;

struct Patch {
    universal: bool,
    placing: Placing,
    settings: FitSettings,
    /// Side of the patch; `None`: half the image's.
    resolution: Option<usize>,
}

impl Attack for Patch {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        match self.universal {
            true => self.placing.paste_all(oracle, batch, task),
            false => per_image::fit_all(&self.placing, &self.settings, oracle, batch, task),
        }
    }

    fn cost(&self) -> u64 {
        if self.universal { 1 } else { self.settings.steps as u64 }
    }

    fn queries(&self) -> Option<u64> {
        self.universal.then_some(1)
    }

    fn check_goal(&self, goal: &Goal) -> Result<(), String> {
        match (self.universal, goal) {
            (true, Goal::Class(_)) | (false, _) => Ok(()),
            _ => Err("a universal patch is fitted to one class (hint: target:NAME)".into()),
        }
    }

    fn changes_every_image(&self) -> bool {
        true
    }

    fn pastes(&self) -> bool {
        self.universal
    }

    fn training(&self) -> Training {
        if self.universal { Training::ImagesAndNets } else { Training::Nothing }
    }

    /// Expectation over scenes, scales, turns and places: each step pastes the patch onto other training images elsewhere,
    /// and moves it up the mean log-probability of the target. An ensemble takes one step a net in turn.
    fn pictures(&self, workshop: &mut Workshop) -> Result<Vec<Picture>> {
        let target = workshop.target()?;
        let train = workshop
            .train
            .ok_or_else(|| Error::usage("attack `patch` has no training images (hint: `train` in the block)"))?;
        let scenes: Vec<usize> = (0..train.len()).filter(|i| train.labels[*i] != target).collect();
        if scenes.is_empty() {
            return Err(Error::usage(
                "every training image shows the target already (hint: other images in `train`, or another target)",
            ));
        }
        let size @ [height, width] = train.size;
        let resolution = self.resolution.unwrap_or_else(|| fit::picture_side(size));
        let kept = workshop.resume(|state| PatchFit::restore(&self.settings, resolution, state));
        let mut fit = kept.unwrap_or_else(|| PatchFit::new(&self.settings, resolution));
        while !fit.is_done() {
            workshop.pause(|| fit.save())?;
            let plan = fit.plan_step(&workshop.streams, scenes.len(), size);
            let scene = |(i, _): &(usize, _)| train.image(scenes[*i]).iter().map(|v| f32::from(*v) / 255.0);
            let mut images: Vec<f32> = plan.iter().flat_map(scene).collect(); // N×3×H×W
            let footprints = fit.apply(&plan, size, &mut images);
            let images = Tensor::from_vec(images, (plan.len(), 3, height, width), &Device::Cpu)?;
            let aim = |(i, _): &(usize, _)| Aim { label: train.labels[scenes[*i]], target: Some(target) };
            let aims: Vec<Aim> = plan.iter().map(aim).collect();
            let engine = workshop.engines[fit.step() % workshop.engines.len()].as_ref();
            let slope = |aim: &Aim, logits: &[f32], gradient: &mut [f32]| {
                log_odds(aim, &at_one_size(logits), gradient);
            };
            let pass = climb(engine, aims, &images.to_device(workshop.device)?, &slope)?;
            if fit.step().is_multiple_of(CURVE_EVERY) {
                let sum = pass.logits().iter().map(|z| log_probability(z, target)).sum::<f64>();
                workshop.curve.push((fit.step(), sum / plan.len() as f64));
            }
            let mut gradients = pass.gradient().flatten_all()?.to_vec1::<f32>()?;
            weigh(&mut gradients, pass.logits(), target);
            fit.update(&footprints, &gradients);
            (workshop.progress)(fit.step() as f64 / self.settings.steps as f64);
        }
        workshop.blind = fit.is_blind();
        Ok(vec![Picture::from_rgb_u8(fit.side(), &fit.patch_u8())?])
    }
}

/// Makes the gradients of the images' log-odds those of their log-probabilities, 1 − p_c times as long, but for one factor
/// for all of them: the image that is farthest from the target keeps its own. So an image that shows the target has no say,
/// and where all do, however surely, the least sure has one: nothing underflows. Logits are brought to one size first.
fn weigh(gradients: &mut [f32], logits: &[Vec<f32>], target: usize) {
    let shares: Vec<f64> = logits.iter().map(|z| log_share_of_others(&at_one_size(z), target)).collect();
    let most = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let of_image = gradients.len() / logits.len();
    for (gradient, share) in gradients.chunks_mut(of_image).zip(shares) {
        let weight = (share - most).exp() as f32;
        gradient.iter_mut().for_each(|g| *g *= weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_weigh_as_their_probabilities_say_at_any_size() {
        let at = |scale: f32| {
            let logits = [[2.0f32, 1.0, 0.0], [0.0, 2.0, 1.0]].map(|z| z.map(|z| z * scale).to_vec());
            let mut gradients = [1.0; 6];
            weigh(&mut gradients, &logits, 1);
            let [a, _, _, b, ..] = gradients;
            (a, b)
        };
        // 3.5 over the spread of 0, 1, 2
        let size = 3.5 / (2.0f64 / 3.0).sqrt();
        let p = |z: [f64; 3]| (size * z[1]).exp() / z.iter().map(|z| (size * z).exp()).sum::<f64>();
        let (far, near) = (1.0 - p([2.0, 1.0, 0.0]), 1.0 - p([0.0, 2.0, 1.0]));
        let (a, b) = at(1.0);
        assert!(a == 1.0 && (f64::from(b) - near / far).abs() < 1e-6, "{a} {b}");
        for scale in [1e-4, 1e4, 1e6] {
            let (c, d) = at(scale);
            assert!(c == 1.0 && (d - b).abs() < 1e-6, "{scale}: {c} {d}");
        }
        // all of them sure of the target
        let mut gradients = [1.0; 4];
        weigh(&mut gradients, &[vec![0.0, 900.0], vec![0.0, 901.0]], 1);
        assert_eq!(gradients, [1.0; 4]);
    }
}
