//! Class maximisation as an attack: every image of the batch, best a blank canvas, becomes a painting of the target.

use super::{OBJECTIVES, Objective, Painting, RECIPES, Recipe, Settings};
use crate::attack::{Attack, Entry, Kind, Param, Params, STEPS, State, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::goal::{Aim, Goal};
use crate::oracle::{Oracle, Place, Proposal};
use crate::size;
use crate::threat::Norm;
use candle_core::{Device, Tensor};
use rayon::prelude::*;

pub const ENTRY: Entry = Entry {
    name: "class-max",
    revision: 2,
    summary: "class maximisation, the image that makes a net answer a class (Simonyan 2013, Yosinski 2015, Olah 2017)",
    source: "Simonyan et al. 2013, arXiv:1312.6034; Yosinski et al. 2015, arXiv:1506.06579; Olah et al. 2017, distill.pub/2017/feature-visualization",
    norms: &[Norm::Any],
    params: &[
        Param {
            name: "recipe",
            kind: Kind::Choice(&["l2", "blur", "tv", "fourier"]),
            default: "fourier",
            summary: "what keeps the picture from being noise (see docs/methodology.md)",
        },
        Param {
            name: "objective",
            kind: Kind::Choice(&["logit", "margin"]),
            default: "logit",
            summary: "the target's logit (Simonyan 2013), or the logarithm of its odds",
        },
        Param { name: STEPS, kind: Kind::Count, default: "512", summary: "steps (lucid: 512)" },
        auto("step_size", "root mean square change of a step in [0,1] pixels; of fourier Adam's rate (lucid: 0.05)"),
        auto("decay", "share of the way back to the canvas in each step"),
        auto("tv", "weight of total variation against a gradient scaled to 1"),
        auto("blur_every", "steps between blurs (Yosinski 2015: 4)"),
        auto("blur_sigma", "standard deviation of a blur in pixels"),
        auto("jitter", "first shift in pixels (lucid: 8 of 224)"),
        auto("scale", "largest change of size (0.1: ±10 %)"),
        auto("rotate", "largest turn in degrees (10)"),
    ],
    build: |params, _| {
        let find = |name: &str| RECIPES.iter().find(|(n, _)| *n == name).map(|(_, r)| *r);
        let recipe = find(params.choice("recipe")).ok_or("unknown recipe")?;
        let objective = OBJECTIVES.iter().find(|(n, _)| *n == params.choice("objective")).map(|(_, o)| *o);
        Ok(Box::new(ClassMax { recipe, objective: objective.ok_or("unknown objective")?, params: params.clone() }))
    },
};

/// A number that the recipe decides where the user says nothing.
const fn auto(name: &'static str, summary: &'static str) -> Param {
    Param { name, kind: Kind::Auto, default: "auto", summary }
}

/// Points of the curve that is noted.
const CURVE_POINTS: usize = 16;

struct ClassMax {
    recipe: Recipe,
    objective: Objective,
    params: Params,
}

impl Attack for ClassMax {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        all.chunks(batch.window).try_for_each(|rows| self.paint(rows, oracle, batch, task))
    }

    fn cost(&self) -> u64 {
        self.params.count(STEPS) as u64
    }

    fn check_goal(&self, goal: &Goal) -> Result<(), String> {
        match goal {
            Goal::Untargeted => Err("it maximises a class (hint: target:NAME or target:all)".into()),
            _ => Ok(()),
        }
    }

    fn check_size(&self, size: [usize; 2]) -> Result<(), String> {
        let given = |name: &str| self.params.auto(name);
        for Range { name, from, to } in ranges(size) {
            if let Some(value) = given(name).filter(|v| !(from..=to).contains(v)) {
                let size = size::text(size);
                return Err(format!("`{name}` = {value} is outside {from} to {to}, for images of {size} pixels"));
            }
        }
        match given("blur_every").filter(|every| every.fract() != 0.0) {
            Some(every) => Err(format!("`blur_every` = {every} is no whole number of steps")),
            None => Ok(()),
        }
    }

    fn changes_every_image(&self) -> bool {
        true
    }
}

/// What a number may be.
struct Range {
    name: &'static str,
    from: f64,
    to: f64,
}

/// Beyond these a picture leaves its view, or nothing of the gradient stays in it: it would be painted for all its steps, and
/// its objective would not move. A first shift of the side (of a rectangle, the shorter one) leaves half of the picture in
/// view; from a change of size of 1 on it has none.
fn ranges(size: [usize; 2]) -> [Range; 7] {
    let range = |name, from, to| Range { name, from, to };
    let side = size[0].min(size[1]) as f64;
    [
        range("step_size", 1e-4, 1.0),
        range("decay", 0.0, 0.9),
        range("tv", 0.0, 10.0),
        range("blur_sigma", 0.0, side / 4.0),
        range("jitter", 0.0, side),
        range("scale", 0.0, 0.9),
        range("rotate", 0.0, 180.0),
    ]
}

/// A painting, and how its objective rose.
struct Work {
    painting: Painting,
    curve: Curve,
    /// Whether it met a gradient of zero, or a faint one, before it was stopped and taken up again.
    noticed: [bool; 2],
}

impl ClassMax {
    /// All paintings take their steps together; only what they are at the end is proposed.
    fn paint(&self, rows: &[usize], oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let (size @ [height, width], steps) = (batch.size(), self.params.count(STEPS));
        let settings = self.settings(size);
        let x = batch.images(rows)?;
        let canvases = x.flatten_from(1)?.to_vec2::<f32>()?;
        let begin = |(row, canvas): (&usize, Vec<f32>)| {
            let example = batch.example(*row);
            let stream = task.streams.stream(example, 0, "paint");
            let mut painting = Painting::new(self.recipe, &settings, &canvas, size, stream);
            let kept = task.checkpoint.load(example).and_then(|state| resume(&mut painting, &state));
            let (curve, noticed) = kept.unwrap_or_default();
            Work { painting, curve, noticed }
        };
        let mut works: Vec<Work> = rows.iter().zip(canvases).map(begin).collect();
        rows.iter().zip(&works).for_each(|(row, work)| oracle.resume(*row, work.painting.step(), work.noticed));
        let slope = |aim: &Aim, logits: &[f32], gradient: &mut [f32]| {
            self.objective.gradient(aim.target.unwrap_or(aim.label), logits, gradient);
        };
        loop {
            // those that were kept farther on wait for the others
            let step = works.iter().map(|w| w.painting.step()).min().unwrap_or(steps);
            if step >= steps {
                break;
            }
            let active: Vec<usize> = (0..works.len()).filter(|i| works[*i].painting.step() == step).collect();
            let views: Vec<Vec<f32>> = active.par_iter().map(|i| works[*i].painting.view()).collect();
            let views = Tensor::from_vec(views.concat(), (active.len(), 3, height, width), &Device::Cpu)?;
            let of: Vec<usize> = active.iter().map(|i| rows[*i]).collect();
            let places = vec![Place { restart: 0, step }; of.len()];
            if task.checkpoint.is_due() {
                for (row, work) in rows.iter().zip(&works) {
                    task.checkpoint.save(batch.example(*row), &work.state(oracle.noticed(*row)).to_bytes())?;
                }
            }
            let pass = oracle.climb(&of, &views.to_device(x.device())?, &places, &slope)?;
            let gradients = pass.gradient().flatten_from(1)?.to_vec2::<f32>()?;
            for (k, i) in active.iter().enumerate() {
                if step % steps.div_ceil(CURVE_POINTS) == 0 {
                    let aim = oracle.aim(rows[*i]);
                    works[*i].curve.push((step, pass.logits()[k][aim.target.unwrap_or(aim.label)]));
                }
            }
            let mut steps = vec![None; works.len()];
            active.iter().zip(&gradients).for_each(|(i, g)| steps[*i] = Some(g));
            works.par_iter_mut().zip(steps).for_each(|(work, gradient)| {
                gradient.into_iter().for_each(|g| work.painting.climb(g));
            });
        }
        let pictures: Vec<f32> = works.iter().flat_map(|w| w.painting.picture()).copied().collect();
        let images = Tensor::from_vec(pictures, x.shape(), &Device::Cpu)?.to_device(x.device())?;
        let notes: Vec<String> = works.iter().map(Work::note).collect();
        let places = vec![Place { restart: 0, step: steps }; rows.len()];
        oracle.propose(
            rows,
            &Proposal { images: &images, gradient: None, evidence: None, places: &places, notes: &notes },
        )?;
        oracle.leave(rows.len());
        Ok(())
    }

    /// The recipe's, but for what the user says.
    fn settings(&self, size: [usize; 2]) -> Settings {
        let mut settings = Settings { steps: self.params.count(STEPS), ..Settings::of(self.recipe, size) };
        let set = |name: &str, value: &mut f64| self.params.auto(name).into_iter().for_each(|v| *value = v);
        set("step_size", &mut settings.step_size);
        set("decay", &mut settings.decay);
        set("tv", &mut settings.tv);
        set("blur_sigma", &mut settings.blur_sigma);
        set("jitter", &mut settings.jitter);
        set("scale", &mut settings.scale);
        set("rotate", &mut settings.rotate);
        self.params.auto("blur_every").into_iter().for_each(|v| settings.blur_every = v as usize);
        settings
    }
}

impl Work {
    /// The logit at some steps, as a text: `0:-1.25 32:4.5`.
    fn note(&self) -> String {
        let points: Vec<String> = self.curve.iter().map(|(step, z)| format!("{step}:{z}")).collect();
        points.join(" ")
    }

    /// The painting, its curve, and what was noticed.
    fn state(&self, noticed: [bool; 2]) -> State {
        self.painting.save().with_curve(&self.curve).with(NOTICED, &noticed.map(u64::from))
    }
}

/// 1 each where a gradient of zero was met, and a faint one.
const NOTICED: &str = "noticed";

/// (step, objective at the view of that step).
type Curve = Vec<(usize, f32)>;

/// Takes up a painting where it was left: its curve, and what was noticed.
fn resume(painting: &mut Painting, bytes: &[u8]) -> Option<(Curve, [bool; 2])> {
    let state = State::parse(bytes)?;
    let (curve, noticed) = (state.curve()?, <[u64; 2]>::try_from(state.list::<u64>(NOTICED)?).ok()?);
    painting.restore(&state).ok().map(|()| (curve, noticed.map(|n| n == 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Streams;

    #[test]
    fn what_was_noticed_before_a_stop_is_known_after_it() {
        let canvas = vec![0.5; 3 * 8 * 8];
        let settings = Settings::of(Recipe::Fourier, [8; 2]);
        let begin = || {
            let stream = Streams::new(0, "test").stream(0, 0, "paint");
            Painting::new(Recipe::Fourier, &settings, &canvas, [8; 2], stream)
        };
        for noticed in [[false, false], [false, true], [true, false], [true, true]] {
            for curve in [vec![], vec![(0, -1.25), (32, 4.5)]] {
                let mut painting = begin();
                painting.climb(&canvas);
                let work = Work { painting, curve, noticed: [false; 2] };
                let mut resumed = begin();
                let state = work.state(noticed).to_bytes();
                assert_eq!(resume(&mut resumed, &state), Some((work.curve.clone(), noticed)));
                assert_eq!((resumed.step(), resumed.picture()), (1, work.painting.picture()));
                assert_eq!(resume(&mut begin(), &state[..state.len() - 1]), None);
            }
        }
    }
}
