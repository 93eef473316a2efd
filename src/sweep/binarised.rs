//! Puts the attack of a stored cell to the binarisation test ([`crate::binarise`]): image by image, the same attack, threat and judge,
//! on the network with a readout for that image in place of its last layer.

use super::plan::PlannedCell;
use super::runner::Runner;
use crate::attack::{NoCheckpoint, Task};
use crate::binarise::{Points, readout};
use crate::data::Subset;
use crate::error::Result;
use crate::judge::{self, Judging, Trial, Verdict};
use crate::kernel::{Engine, Readout, bus};
use crate::oracle::{Mark, Memo};
use crate::record::Binarised;
use crate::rng::{Stream, Streams};
use crate::terms::{Goal, Through};
use candle_core::Device;
use std::sync::Mutex;

/// What the two classes are called: inside, and on the border.
const CLASSES: [&str; 2] = ["inside", "border"];

/// The features of a network, as the judge sees them and as an attack does.
pub(super) struct Features {
    judged: Box<dyn Engine>,
    attacked: Box<dyn Engine>,
}

impl Features {
    /// Those of the network of a cell.
    pub(super) fn load(runner: &Runner, cell: &PlannedCell) -> Result<Features> {
        let (model, device, asked) = (&runner.plan.models[cell.model], &runner.machine.device, &cell.cell);
        let draws = (asked.eot.unwrap_or(1), asked.seed);
        Ok(Features {
            judged: model.features(device)?,
            attacked: model.attacked_features(device, asked.precision, asked.through, draws)?,
        })
    }

    /// Puts the attack of a cell to the test on one image of its subset, of which the network says `clean`.
    pub(super) fn test(&self, runner: &Runner, cell: &PlannedCell, image: usize, clean: &Verdict) -> Result<Binarised> {
        let (asked, subset) = (&cell.cell, &runner.plan.data[cell.data].subset);
        let (threat, witness) = (asked.threat, asked.witness);
        // the same points for every attack on these images
        let (model, data) = (&asked.model, &asked.data.digest);
        let points_of = format!("binarised {} {} {data} {}", model.network, model.weights, threat.caption());
        let streams = Streams::new(asked.seed, points_of);
        let example = subset.examples[image];
        let stream = |purpose: &str| -> Stream { streams.stream(example, 0, purpose) };
        let ask = |images: &[Vec<f32>]| self.ask(images, subset.size, runner);

        let length = ask(&[judge::to_floats(subset.image(image))])?[0].len();
        let points = Points::draw(&threat, witness, subset.image(image), length, &mut stream("points"));
        let (inner, border) = (ask(&points.inner)?, ask(std::slice::from_ref(&points.border))?);
        let Some(separator) = readout(&inner, &border[0], clean) else {
            return Ok(Binarised { example, fooled: None, guessed: None });
        };
        let guesses = Points::guesses(&threat, witness, subset.image(image), &mut stream("guesses"));
        let guessed = ask(&guesses)?.iter().any(|features| separator.score(features) > 0.0);

        let with = |features| Readout { features, weights: &separator.weights, bias: separator.bias };
        let (judged, attacked) = (with(self.judged.as_ref()), with(self.attacked.as_ref()));
        let classes = CLASSES.map(String::from).to_vec();
        let alone = Subset::new(vec![example], vec![0], subset.image(image).to_vec(), subset.size, classes);
        let before = judge::predict(&judged, &self.up(&[judge::to_floats(alone.image(0))], alone.size, runner)?)?;
        let marks = [Mark { end: cell.attack.iterations().unwrap_or(usize::MAX), threat }];
        let trial = Trial {
            engine: &judged,
            attacked_through: (&attacked, asked.precision),
            device: &runner.machine.device,
            subset: &alone,
            images: 0..1,
            clean: &before,
            goal: Goal::Untargeted,
            seed: asked.seed,
            witness,
            judging: if asked.through.is_some() { Judging::Every } else { Judging::WhereItMatters },
            blind: asked.through == Some(Through::Straight),
            votes: None,
            on_device: !runner.machine.device.is_cpu(),
            marks: &marks,
            earlier: None,
            confidence: None,
            every_image: false,
            batch: runner.machine.batch_size(alone.values()),
            stop: runner.stop,
        };
        let (streams, checkpoint, stages) = (streams.clone(), &NoCheckpoint, Mutex::default());
        let task = Task { threat, streams, witness, pictures: &[], blind: false, checkpoint, stages };
        let found = trial.run(cell.attack.as_ref(), &task, &Memo::new(1), &mut |_| ())?;
        let fooled = found[0].0[0].success == Some(true);
        Ok(Binarised { example, fooled: Some(fooled), guessed: Some(guessed) })
    }

    /// What the judge sees of images.
    fn ask(&self, images: &[Vec<f32>], size: [usize; 2], runner: &Runner) -> Result<Vec<Vec<f32>>> {
        let mut rows = Vec::new();
        for images in images.chunks(runner.machine.batch_size(3 * size[0] * size[1])) {
            rows.extend(bus::down_rows(&self.judged.logits(&self.up(images, size, runner)?)?)?);
        }
        Ok(rows)
    }

    fn up(&self, images: &[Vec<f32>], [height, width]: [usize; 2], runner: &Runner) -> Result<candle_core::Tensor> {
        let device: &Device = &runner.machine.device;
        bus::up(images.concat(), (images.len(), 3, height, width), device)
    }
}
