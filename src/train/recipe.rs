//! What is learned, and how: recipes with the constants of their papers.

use super::schedule::Schedule;
use crate::config::{At, Problems, RECIPES, RecipeSpec};
use crate::ratio::Ratio;
use std::fmt;

/// Which recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The images as they are.
    Standard,
    /// One step of FGSM from a random start (Wong, Rice and Kolter 2020, algorithm 3).
    FastAt,
    /// Several steps of PGD from a random start (Madry et al. 2018).
    PgdAt,
    /// Cross-entropy at the clean image, and the divergence between its prediction and that of a perturbed one (Zhang et al. 2019).
    Trades,
    /// Several steps on each batch, whose gradients serve weights and perturbation both (Shafahi et al. 2019).
    Free,
}

/// In the order of [`RECIPES`].
const KINDS: [Kind; 5] = [Kind::Standard, Kind::FastAt, Kind::PgdAt, Kind::Trades, Kind::Free];

/// What a training attack does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attack {
    /// Linf radius.
    pub eps: Ratio,
    /// Length of a step in Linf.
    pub step_size: Ratio,
    /// How many.
    pub steps: u64,
}

/// How a network is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Which recipe.
    pub kind: Kind,
    /// Times that every image is learned.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// The largest rate.
    pub learning_rate: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// Of stochastic gradient descent.
    pub momentum: f64,
    /// Times the weight, added to its gradient.
    pub weight_decay: f64,
    /// Share of the label that all classes get.
    pub label_smoothing: f64,
    /// Share of itself that the average of the weights keeps a step; `None`: the last weights are the model.
    pub ema: Option<f64>,
    /// Pixels by which images are moved at random.
    pub crop: usize,
    /// Whether half of them are mirrored.
    pub flip: bool,
    /// What is learned against, and, for [`Kind::Standard`], only measured.
    pub attack: Attack,
    /// Of TRADES.
    pub beta: f64,
    /// Of free training: steps on each batch.
    pub replays: u64,
    /// Of Fast-AT: whether training ends where it falls to another attack.
    pub early_stop: bool,
}

/// Epochs, rate, weight decay, schedule, and the attack's eps, step and number of steps; the same where nothing else is said: Wong et
/// al.'s code (`fast_adversarial`, `CIFAR10/train_*.py`), which has 15 epochs, a rate to 0.2 and back for all of its recipes, 0.04 and
/// 10 epochs for free training; TRADES' (`train_trades_cifar10.py`) has 76 epochs of a rate of 0.1.
fn usual(kind: Kind) -> (usize, f64, f64, Schedule, [&'static str; 2], u64) {
    const WONG: (usize, f64, f64) = (15, 0.2, 5e-4);
    let (epochs, rate, decay) = WONG;
    let cycle = Schedule::OneCycle;
    match kind {
        Kind::Standard => (epochs, rate, decay, cycle, ["8/255", "2/255"], 0),
        Kind::FastAt => (epochs, rate, decay, cycle, ["8/255", "10/255"], 1),
        Kind::PgdAt => (epochs, rate, decay, cycle, ["8/255", "2/255"], 7),
        Kind::Trades => (76, 0.1, 2e-4, Schedule::Cosine, ["0.031", "0.007"], 10),
        Kind::Free => (10, 0.04, decay, cycle, ["8/255", "8/255"], 1),
    }
}

/// TRADES' weight of the divergence (table 5 of the paper: 1/λ = 6).
const BETA: f64 = 6.0;

/// Shafahi et al.'s m.
const REPLAYS: u64 = 8;

/// Which recipes have a key that not all have.
fn has(kind: Kind, key: &str) -> bool {
    match key {
        "steps" => matches!(kind, Kind::PgdAt | Kind::Trades),
        "step_size" => kind != Kind::Standard,
        "beta" => kind == Kind::Trades,
        "replays" => kind == Kind::Free,
        "early_stop" => kind == Kind::FastAt,
        "label_smoothing" => kind != Kind::Trades,
        _ => true,
    }
}

impl Kind {
    /// Name in training files.
    pub fn name(self) -> &'static str {
        RECIPES[KINDS.iter().position(|k| *k == self).expect("all are listed")]
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Kind> {
        RECIPES.iter().position(|n| *n == name).map(|i| KINDS[i])
    }
}

impl Recipe {
    /// The recipe of this kind as its paper has it.
    pub fn usual(kind: Kind) -> Recipe {
        let (epochs, learning_rate, weight_decay, schedule, [eps, step_size], steps) = usual(kind);
        let ratio = |text| Ratio::parse(text).expect("a fraction");
        Recipe {
            kind,
            epochs,
            batch: 128,
            learning_rate,
            schedule,
            momentum: 0.9,
            weight_decay,
            label_smoothing: 0.0,
            ema: None,
            crop: 4,
            flip: true,
            attack: Attack { eps: ratio(eps), step_size: ratio(step_size), steps },
            beta: BETA,
            replays: if kind == Kind::Free { REPLAYS } else { 1 },
            early_stop: kind == Kind::FastAt,
        }
    }

    /// From what a file says; `None`: a problem was told.
    pub fn resolve(spec: &RecipeSpec, problems: &Problems) -> Option<Recipe> {
        let kind = Kind::parse(&spec.recipe.value)?; // else the reader has told
        let mut recipe = Recipe::usual(kind);
        let mut sound = true;
        let mut refuse = |line: usize, problem: String| {
            problems.add(line, problem);
            sound = false;
        };
        let foreign = |key: &str| format!("`{key}` is no key of recipe `{}` (hint: remove it)", kind.name());
        for (key, At { value, line }) in &spec.counts {
            let most = if *key == "crop" { 64 } else { 1_000_000 };
            let least = u64::from(*key != "crop") + u64::from(*key == "batch");
            match *key {
                _ if !has(kind, key) => refuse(*line, foreign(key)),
                _ if !(least..=most).contains(value) => {
                    refuse(*line, format!("`{key}`: expected a whole number from {least} to {most}"));
                }
                "epochs" => recipe.epochs = *value as usize,
                "batch" => recipe.batch = *value as usize,
                "crop" => recipe.crop = *value as usize,
                "steps" => recipe.attack.steps = *value,
                _ => recipe.replays = *value,
            }
        }
        for (key, At { value, line }) in &spec.numbers {
            let most = if ["learning_rate", "beta"].contains(key) { 1e6 } else { 1.0 };
            // a share of everything leaves nothing to learn
            let in_range = *value >= 0.0 && *value <= most && (most > 1.0 || *value < 1.0);
            match *key {
                _ if !has(kind, key) => refuse(*line, foreign(key)),
                _ if !in_range => {
                    let to = if most > 1.0 { "up to a million" } else { "below 1" };
                    refuse(*line, format!("`{key}`: expected a number from 0, {to}"));
                }
                "learning_rate" => recipe.learning_rate = *value,
                "momentum" => recipe.momentum = *value,
                "weight_decay" => recipe.weight_decay = *value,
                "label_smoothing" => recipe.label_smoothing = *value,
                "ema" => recipe.ema = Some(*value),
                _ => recipe.beta = *value,
            }
        }
        let given = |key: &str| spec.fractions.iter().find(|(k, _)| *k == key).map(|(_, text)| text);
        for (key, At { value, line }) in &spec.fractions {
            match Ratio::parse(value).filter(|r| r.num() > 0 && r.to_f64() <= 1.0) {
                _ if !has(kind, key) => refuse(*line, foreign(key)),
                None => refuse(
                    *line,
                    format!("`{key}`: expected a fraction above 0, up to 1 (as \"8/255\"), found `{value}`"),
                ),
                Some(ratio) if *key == "eps" => recipe.attack.eps = ratio,
                Some(ratio) => recipe.attack.step_size = ratio,
            }
        }
        if given("step_size").is_none() && given("eps").is_some() {
            // as its paper has it, in proportion
            let times = Recipe::usual(kind).attack;
            let scaled = times.step_size.over(times.eps).and_then(|share| recipe.attack.eps.times(share));
            recipe.attack.step_size = scaled.unwrap_or(recipe.attack.step_size);
        }
        for (key, At { value, line }) in &spec.flags {
            match *key {
                _ if !has(kind, key) => refuse(*line, foreign(key)),
                "flip" => recipe.flip = *value,
                _ => recipe.early_stop = *value,
            }
        }
        if let Some(schedule) = &spec.schedule {
            recipe.schedule = Schedule::parse(&schedule.value)?; // else the reader has told
        }
        sound.then_some(recipe)
    }
}

impl fmt::Display for Recipe {
    /// Everything that decides a weight, in one line.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Recipe { kind, epochs, batch, learning_rate, schedule, momentum, weight_decay, label_smoothing, .. } = self;
        write!(
            f,
            "{} epochs={epochs} batch={batch} learning_rate={learning_rate} schedule={} momentum={momentum} \
             weight_decay={weight_decay} label_smoothing={label_smoothing} ",
            kind.name(),
            schedule.name()
        )?;
        if let Some(ema) = self.ema {
            write!(f, "ema={ema} ")?;
        }
        write!(f, "crop={} flip={} eps={}", self.crop, self.flip, self.attack.eps.in_grey_levels())?;
        if *kind != Kind::Standard {
            write!(f, " step_size={} steps={}", self.attack.step_size.in_grey_levels(), self.attack.steps)?;
        }
        match kind {
            Kind::Trades => write!(f, " beta={}", self.beta),
            Kind::Free => write!(f, " replays={}", self.replays),
            Kind::FastAt => write!(f, " early_stop={}", self.early_stop),
            Kind::Standard | Kind::PgdAt => Ok(()),
        }
    }
}
