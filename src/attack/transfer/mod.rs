//! Attacks that are made to be carried over to other nets (`transfer_to`): momentum, and copies of the iterate that keep it from
//! fitting the net at hand too well.
//!
//! Constants and order of operations are those of the benchmark TransferAttack, whose numbers papers compare: a gradient is
//! divided by its mean absolute value, no random start, and the *last* iterate is what is handed over, whether it fools the
//! net at hand or not. So nothing else is proposed: the row says of the last iterate whether it fools, and `transfer_to` asks
//! others about it. Gradients of several copies are averaged as those of the cross-entropy, in which a copy that the net is
//! less sure of counts more; the weights are kept as logarithms, so a net that is sure of all of them has a direction, too,
//! where PyTorch's cross-entropy rounds to zero.
//!
//! Apart from theirs, each image is looked at alone: what is drawn for a batch there is drawn for each image here, and
//! Admix mixes in clean images, any other one that is attacked in the cell, not the iterates that share a batch. What is
//! handed over is rounded to the nearest 8 bits inside the ball; they cut off.

mod axes;
mod method;
mod walk;

use super::descent::check_step;
use super::{Attack, Entry, Kind, Param, Params, STEPS, Task, search};
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::Oracle;
use crate::threat::{Norm, Threat};
use method::Method;
use walk::{Settings, Walk};

const ITERATIONS: Param =
    Param { name: STEPS, kind: Kind::Count, default: "10", summary: "iterations (Dong et al. 2018: 10)" };

const STEP_SIZE: Param = Param {
    name: "step_size",
    kind: Kind::StepSize,
    default: "eps/steps",
    summary: "length of a step (Dong et al. 2018: 1.6/255 at 16/255)",
};

const DECAY: Param =
    Param { name: "decay", kind: Kind::Number, default: "1", summary: "of the momentum (Dong et al. 2018: 1)" };

const SCALES: Param = Param {
    name: "scales",
    kind: Kind::Count,
    default: "5",
    summary: "copies, each half as bright as the one before (Lin et al. 2020: 5)",
};

pub const MI: Entry = Entry {
    name: "mi-fgsm",
    revision: 2,
    summary: "momentum iterative FGSM, for transfer: its last iterate counts (Dong et al. 2018)",
    source: "Dong et al. 2018, arXiv:1710.06081; constants of the benchmark TransferAttack",
    norms: &[Norm::Linf],
    params: &[ITERATIONS, STEP_SIZE, DECAY],
    build: |params, threat| build(params, threat, Method::Plain),
};

pub const NI: Entry = Entry {
    name: "ni-fgsm",
    revision: 2,
    summary: "Nesterov's look ahead, for transfer: its last iterate counts (Lin et al. 2020)",
    source: "Lin et al. 2020, arXiv:1908.06281; constants of the benchmark TransferAttack",
    norms: &[Norm::Linf],
    params: &[ITERATIONS, STEP_SIZE, DECAY],
    build: |params, threat| build(params, threat, Method::LookAhead),
};

pub const VMI: Entry = Entry {
    name: "vmi-fgsm",
    revision: 2,
    summary: "momentum tuned by gradients nearby, for transfer: its last iterate counts (Wang and He 2021)",
    source: "Wang and He 2021, arXiv:2103.15571; constants of the benchmark TransferAttack",
    norms: &[Norm::Linf],
    params: &[
        ITERATIONS,
        STEP_SIZE,
        DECAY,
        Param { name: "neighbours", kind: Kind::Count, default: "20", summary: "points a step (Wang and He 2021: 20)" },
        Param {
            name: "radius",
            kind: Kind::Number,
            default: "1.5",
            summary: "how far they lie in each value, in eps (Wang and He 2021: 1.5)",
        },
    ],
    build: |params, threat| {
        let radius = params.number("radius") as f32;
        build(params, threat, Method::Tuned { neighbours: params.count("neighbours"), radius })
    },
};

pub const DI: Entry = Entry {
    name: "di-fgsm",
    revision: 2,
    summary: "resized and padded at random, for transfer: its last iterate counts (Xie et al. 2019)",
    source: "Xie et al. 2019, arXiv:1803.06978; constants of the benchmark TransferAttack",
    norms: &[Norm::Linf],
    params: &[
        ITERATIONS,
        STEP_SIZE,
        DECAY,
        Param {
            name: "chance",
            kind: Kind::Number,
            default: "0.5",
            summary: "of a step at a resized image (Xie et al. 2019: 0.5)",
        },
        Param {
            name: "largest",
            kind: Kind::Number,
            default: "1.1",
            summary: "largest size, in sizes of the image (TransferAttack: 1.1)",
        },
    ],
    build: |params, threat| {
        let (chance, largest) = (params.number("chance") as f32, params.number("largest"));
        if chance > 1.0 {
            return Err("`chance` is at most 1".into());
        }
        if !(1.0..=4.0).contains(&largest) {
            return Err("`largest` is from 1, the size of the image, to 4".into());
        }
        build(params, threat, Method::Diverse { chance, largest })
    },
};

pub const TI: Entry = Entry {
    name: "ti-fgsm",
    revision: 2,
    summary: "gradients smoothed over shifts, for transfer: its last iterate counts (Dong et al. 2019)",
    source: "Dong et al. 2019, arXiv:1904.02884; constants of the benchmark TransferAttack",
    norms: &[Norm::Linf],
    params: &[
        ITERATIONS,
        STEP_SIZE,
        DECAY,
        Param {
            name: "kernel",
            kind: Kind::Count,
            default: "15",
            summary: "side of a Gaussian of three deviations, in pixels (Dong et al. 2019: 15)",
        },
    ],
    build: |params, threat| {
        let taps = params.count("kernel");
        if taps % 2 == 0 || taps > 1001 {
            return Err("`kernel` is odd, so that it has a middle, and at most 1001".into());
        }
        build(params, threat, Method::Smoothed { taps })
    },
};

pub const SI: Entry = Entry {
    name: "si-fgsm",
    revision: 2,
    summary: "darker and darker copies, for transfer: its last iterate counts (Lin et al. 2020)",
    source: "Lin et al. 2020, arXiv:1908.06281; constants of the benchmark TransferAttack",
    norms: &[Norm::Linf],
    params: &[ITERATIONS, STEP_SIZE, DECAY, SCALES],
    build: |params, threat| build(params, threat, Method::Scaled { scales: params.count("scales") }),
};

pub const ADMIX: Entry = Entry {
    name: "admix",
    revision: 2,
    summary: "other attacked images mixed in, for transfer: its last iterate counts (Wang et al. 2021)",
    source: "Wang et al. 2021, arXiv:2102.00436; constants of the benchmark TransferAttack",
    norms: &[Norm::Linf],
    params: &[
        ITERATIONS,
        STEP_SIZE,
        DECAY,
        SCALES,
        Param { name: "others", kind: Kind::Count, default: "3", summary: "images a step (Wang et al. 2021: 3)" },
        Param {
            name: "strength",
            kind: Kind::Number,
            default: "0.2",
            summary: "share of another that is added (Wang et al. 2021: 0.2)",
        },
    ],
    build: |params, threat| {
        let (scales, images) = (params.count("scales"), params.count("others"));
        build(params, threat, Method::Mixed { scales, images, strength: params.number("strength") as f32 })
    },
};

/// Beyond this a copy is black to the last digit.
const MOST_SCALES: usize = 24;

fn build(params: &Params, threat: &Threat, method: Method) -> Result<Box<dyn Attack>, String> {
    if let Method::Scaled { scales } | Method::Mixed { scales, .. } = method
        && scales > MOST_SCALES
    {
        return Err(format!("`scales` is at most {MOST_SCALES}: darker copies are black"));
    }
    let (steps, eps) = (params.count(STEPS), threat.radius()?);
    let step_size = params.step_size("step_size", eps, steps)?.to_f64();
    check_step(threat, step_size).map_err(|e| format!("`step_size`: {e} (hint: fewer `steps`, or a longer one)"))?;
    let (step_size, decay) = (step_size as f32, params.number("decay") as f32);
    let settings = Settings { steps, step_size, decay, eps: eps.to_f64() as f32 };
    Ok(Box::new(Transfer { settings, method }))
}

struct Transfer {
    settings: Settings,
    method: Method,
}

impl Attack for Transfer {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        search::run(&all, oracle, batch, &mut |row, oracle| {
            let stream = task.streams.stream(batch.example(row), 0, "copies");
            Ok(Box::new(Walk::begin((self.settings, self.method), row, oracle.aim(row), batch, stream)))
        })
    }

    fn cost(&self) -> u64 {
        ((self.settings.steps - 1) * self.method.copies(false) + self.method.copies(true)) as u64
    }

    fn iterations(&self) -> Option<usize> {
        Some(self.settings.steps)
    }

    fn mixes_images(&self) -> bool {
        matches!(self.method, Method::Mixed { .. })
    }

    fn caveat_within(&self) -> Option<String> {
        Some(
            "with `mode = \"within\"` an image that breaks at a smaller budget is kept, and it is the last iterate at the larger one that \
             carries over (hint: a block of its own without `mode`)"
                .into(),
        )
    }
}
