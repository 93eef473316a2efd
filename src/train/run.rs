//! The loop: epochs of batches, a checkpoint after each epoch and every so many seconds, and what is measured in between.

use super::adversary::{Batch, away_from_itself, changed, in_training_mode, pgd, stepped};
use super::augment::augmented;
use super::held_out::{self, engine};
use super::loss::{Graded, cross_entropy, divergence};
use super::model_file;
use super::optimiser;
use super::plan::Training;
use super::recipe::Kind;
use super::state::State;
use crate::data::Subset;
use crate::error::{Error, Result};
use crate::kernel::cpu::CpuLearner;
use crate::kernel::learn::autograd::Autograd;
use crate::kernel::learn::{Learner, Tensors};
use crate::record::EpochRecord;
use crate::rng::Streams;
use candle_core::Device;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where and how often.
pub struct Setting<'a> {
    pub device: &'a Device,
    /// The state of the training.
    pub state: PathBuf,
    /// Folder of models.
    pub models: &'a Path,
    /// The training file, as the model file names it.
    pub file: String,
    /// Time between two checkpoints within an epoch.
    pub every: Duration,
    /// Whether what was done before is lost.
    pub restart: bool,
    /// Asks for an end.
    pub stop: &'a AtomicBool,
}

/// What happens, to be told.
pub enum Event<'a> {
    /// It goes on after so many epochs and batches of the next.
    Resumed { epoch: usize, batch: usize },
    /// So many batches of an epoch are done, of so many.
    Batch { epoch: usize, batch: usize, batches: usize, loss: f64 },
    /// An epoch is done; seconds that are left, if those to come take as long.
    Epoch { row: &'a EpochRecord, left: f64 },
}

/// A model that is trained.
pub struct Trained {
    /// Its model file.
    pub model: PathBuf,
    /// Every epoch.
    pub rows: Vec<EpochRecord>,
    /// Of all processes that took part.
    pub seconds: f64,
    /// Whether there was nothing left to do.
    pub was_done: bool,
}

/// A drop of more than this share of a batch from one epoch to the next is catastrophic overfitting (Wong et al.'s code,
/// `train_fgsm.py`), under PGD of so many steps.
const DROP: f64 = 0.2;
const STEPS_OF_A_LOOK: usize = 5;

/// Trains a model, from where it stopped if it did, and writes it.
///
/// # Errors
/// A loss that is not finite: what was saved before stays. A state of another training. A request to end. Those of device and disk.
pub fn train(
    training: &Training,
    data: &Subset,
    held_out: &Subset,
    setting: &Setting,
    tell: &mut dyn FnMut(Event),
) -> Result<Trained> {
    model_file::prepare(training, setting.models)?;
    let found = if setting.restart { None } else { State::load(&setting.state, training)? };
    let mut state = match found {
        Some(state) => {
            tell(Event::Resumed { epoch: state.progress.epoch, batch: state.progress.batch });
            state
        }
        None => State::first(training),
    };
    let was_done = state.is_done(training);
    let unknown = |problem| Error::usage(format!("{problem} (hint: the VGG and ResNet families can be trained)"));
    let learner: Box<dyn Learner> = match setting.device.is_cpu() {
        true => Box::new(CpuLearner::new(&training.blueprint).map_err(unknown)?),
        false => Box::new(Autograd::new(&training.blueprint, setting.device).map_err(unknown)?),
    };
    let (begun, before) = (Instant::now(), state.progress.seconds);
    let seconds = || before + begun.elapsed().as_secs_f64();
    let mut lesson = Lesson { training, data, device: setting.device, learner, gradients: training.blueprint.zeros() };
    if !was_done {
        lesson.learner.set(&state.tensors)?;
    }
    let mut saved = Instant::now();
    while !state.is_done(training) {
        let epoch = state.progress.epoch;
        let order = lesson.order(epoch);
        let batches: Vec<&[usize]> = lesson.batches(&order);
        while state.progress.batch < batches.len() {
            let places = batches[state.progress.batch];
            lesson.step(&mut state, places, batches.len())?;
            state.progress.batch += 1;
            let stops = setting.stop.load(Ordering::Relaxed);
            if stops || saved.elapsed() >= setting.every {
                state.progress.seconds = seconds();
                lesson.save(&state, &setting.state)?;
                saved = Instant::now();
            }
            if stops {
                return Err(Error::Interrupted);
            }
            let loss = f64::from_bits(state.progress.loss) / state.progress.steps as f64;
            tell(Event::Batch { epoch, batch: state.progress.batch, batches: batches.len(), loss });
        }
        lesson.end_epoch(&mut state, batches[0], batches.len(), held_out)?;
        state.progress.seconds = seconds();
        lesson.save(&state, &setting.state)?;
        saved = Instant::now();
        let left = (training.recipe.epochs - epoch - 1) as f64 * seconds() / (epoch + 1) as f64;
        tell(Event::Epoch { row: state.progress.rows.last().expect("just made"), left });
    }
    let model = model_file::write(training, &state, &setting.file, setting.models)?;
    Ok(Trained { model, rows: state.progress.rows, seconds: state.progress.seconds, was_done })
}

/// A network and what it learns from.
struct Lesson<'a> {
    training: &'a Training,
    data: &'a Subset,
    device: &'a Device,
    learner: Box<dyn Learner>,
    /// Of a step, by tensor.
    gradients: Tensors,
}

impl Lesson<'_> {
    /// Places of all images in the order of an epoch (Fisher and Yates).
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut stream = Streams::new(self.training.seed, "train").stream(0, epoch, "order");
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        for place in (1..order.len()).rev() {
            order.swap(place, stream.below(place + 1));
        }
        order
    }

    /// The order cut into batches; a single image at its end joins the batch before, since it has no variance.
    fn batches<'o>(&self, order: &'o [usize]) -> Vec<&'o [usize]> {
        let size = self.training.recipe.batch;
        let mut batches: Vec<&[usize]> = order.chunks(size).collect();
        if batches.len() > 1 && batches.last().is_some_and(|last| last.len() == 1) {
            batches.pop();
            let first = (batches.len() - 1) * size;
            *batches.last_mut().expect("one at least") = &order[first..];
        }
        batches
    }

    fn batch(&self, places: &[usize], epoch: usize) -> Batch {
        let streams = Streams::new(self.training.seed, "train");
        let values = self.data.values();
        let mut images = vec![0.0; places.len() * values];
        let examples: Vec<usize> = places.iter().map(|i| self.data.examples[*i]).collect();
        let pairs = images.par_chunks_exact_mut(values).zip(places).zip(&examples);
        pairs.for_each(|((to, place), example)| {
            let mut stream = streams.stream(*example, epoch, "augment");
            augmented(&self.training.recipe, self.data.image(*place), self.data.size, &mut stream, to);
        });
        Batch { images, labels: places.iter().map(|i| self.data.labels[*i]).collect(), examples }
    }

    /// One batch: a step of the optimiser, of free training several.
    fn step(&mut self, state: &mut State, places: &[usize], batches: usize) -> Result<()> {
        let epoch = state.progress.epoch;
        let batch = self.batch(places, epoch);
        let recipe = &self.training.recipe;
        let replays = if recipe.kind == Kind::Free { recipe.replays } else { 1 };
        let all = replays * (batches * recipe.epochs) as u64;
        for _ in 0..replays {
            self.gradients.iter_mut().for_each(|g| g.fill(0.0));
            let (loss, correct) = match recipe.kind {
                Kind::Standard => {
                    let graded = self.learn(state, &batch, &batch.images)?;
                    (graded.loss, graded.correct)
                }
                Kind::FastAt | Kind::PgdAt => {
                    let changes =
                        in_training_mode(self.training, &batch, epoch, &mut *self.learner, &mut state.tensors)?;
                    let graded = self.learn(state, &batch, &changed(&batch.images, &changes))?;
                    (graded.loss, graded.correct)
                }
                Kind::Trades => self.learn_trades(state, &batch)?,
                Kind::Free => self.learn_free(state, &batch)?,
            };
            if !loss.is_finite() {
                return Err(self.diverged(state, "the loss"));
            }
            let rate = recipe.learning_rate * recipe.schedule.share(state.progress.updates, all);
            self.update(state, rate);
            self.learner.set(&state.tensors)?;
            let sum = f64::from_bits(state.progress.loss) + loss;
            state.progress.loss = sum.to_bits();
            state.progress.steps += 1;
            state.progress.updates += 1;
            state.progress.correct += correct;
            state.progress.seen += batch.labels.len();
        }
        Ok(())
    }

    /// Cross-entropy of the batch at these images, and its gradient with respect to the weights.
    fn learn(&mut self, state: &mut State, batch: &Batch, images: &[f32]) -> Result<Graded> {
        let logits = self.learner.forward(images, &mut state.tensors)?;
        let graded = cross_entropy(&logits, &batch.labels, self.training.recipe.label_smoothing);
        self.learner.backward(&graded.gradient, Some(&mut self.gradients), false)?;
        Ok(graded)
    }

    /// CE(x) + β·KL(p(x) ‖ p(x′)): a way forward and back for each of x′ and x, in training mode. The clean one goes forward twice,
    /// as in the authors' code.
    fn learn_trades(&mut self, state: &mut State, batch: &Batch) -> Result<(f64, usize)> {
        let (training, classes) = (self.training, self.training.file.classes);
        let engine = engine(training, &state.tensors, self.device)?;
        let changes = away_from_itself(training, batch, state.progress.epoch, &*engine, self.device)?;
        let clean = self.learner.forward(&batch.images, &mut state.tensors)?;
        let perturbed = self.learner.forward(&changed(&batch.images, &changes), &mut state.tensors)?;
        let (loss, [of_clean, of_perturbed]) = divergence(&clean, &perturbed, classes, training.recipe.beta);
        self.learner.backward(&of_perturbed, Some(&mut self.gradients), false)?;
        let clean = self.learner.forward(&batch.images, &mut state.tensors)?;
        let graded = cross_entropy(&clean, &batch.labels, 0.0);
        let seed: Vec<f32> = graded.gradient.iter().zip(of_clean).map(|(a, b)| a + b).collect();
        self.learner.backward(&seed, Some(&mut self.gradients), false)?;
        Ok((graded.loss + loss, graded.correct))
    }

    /// One way forward and back serves the weights and the changes, which go on from where the last step left them.
    fn learn_free(&mut self, state: &mut State, batch: &Batch) -> Result<(f64, usize)> {
        let attack = &self.training.recipe.attack;
        if state.changes.is_empty() {
            // the last batch may have one image more
            state.changes = vec![vec![0.0; (self.training.recipe.batch + 1) * batch.values()]];
        }
        // the changes of the batch before, on other images: within their box again
        let mut changes = state.changes[0][..batch.images.len()].to_vec();
        stepped(batch, attack, 0.0, &mut changes, &vec![0.0; batch.images.len()]);
        let logits = self.learner.forward(&changed(&batch.images, &changes), &mut state.tensors)?;
        let graded = cross_entropy(&logits, &batch.labels, self.training.recipe.label_smoothing);
        let gradient = self.learner.backward(&graded.gradient, Some(&mut self.gradients), true)?.expect("asked for");
        stepped(batch, attack, attack.step_size.to_f64() as f32, &mut changes, &gradient);
        state.changes[0][..changes.len()].copy_from_slice(&changes);
        Ok((graded.loss, graded.correct))
    }

    fn update(&self, state: &mut State, rate: f64) {
        let (blueprint, recipe) = (&self.training.blueprint, &self.training.recipe);
        for i in 0..state.tensors.len() {
            if !blueprint.is_statistic(i) {
                let (weights, velocity) = (&mut state.tensors[i], &mut state.velocity[i]);
                optimiser::step(recipe, rate, weights, velocity, &self.gradients[i]);
            }
            if let (Some(keeps), Some(average)) = (recipe.ema, state.average.get_mut(i)) {
                optimiser::average(keeps, average, &state.tensors[i]);
            }
        }
    }

    /// Looks whether training must end here, measures, and notes the epoch.
    fn end_epoch(&mut self, state: &mut State, first: &[usize], batches: usize, held_out: &Subset) -> Result<()> {
        let (training, recipe) = (self.training, &self.training.recipe);
        let epoch = state.progress.epoch;
        self.refuse_what_is_not_finite(state)?;
        let mut stopped = String::new();
        if recipe.early_stop {
            let batch = self.batch(first, epoch);
            let engine = engine(training, &state.tensors, self.device)?;
            let [_, stands] = pgd(training, &batch, STEPS_OF_A_LOOK, &*engine, self.device)?;
            let (now, of) = (stands.iter().filter(|s| **s).count(), first.len() as f64);
            if let Some(before) = state.progress.withstood.filter(|before| (*before as f64 - now as f64) / of > DROP) {
                stopped = format!(
                    "catastrophic overfitting: under PGD-{STEPS_OF_A_LOOK} {now} of {of} training images are right, {before} after \
                     the epoch before; the model is that of the epoch before"
                );
            }
            state.progress.withstood = Some(now);
        }
        let [clean, robust] = {
            let model = if state.average.is_empty() { &state.tensors } else { &state.average };
            held_out::measure(training, model, held_out, self.device)?
        };
        let replays = if recipe.kind == Kind::Free { recipe.replays } else { 1 };
        let all = replays * (batches * recipe.epochs) as u64;
        let last = recipe.learning_rate * recipe.schedule.share(state.progress.updates - 1, all);
        let progress = &mut state.progress;
        progress.rows.push(EpochRecord {
            model: training.model.clone(),
            recipe: recipe.kind.name().into(),
            epoch: epoch + 1,
            updates: progress.updates,
            learning_rate: format!("{last:.6}"),
            loss: format!("{:.6}", f64::from_bits(progress.loss) / progress.steps as f64),
            train_correct: progress.correct,
            train_images: progress.seen,
            clean_correct: clean,
            pgd_correct: robust,
            held_out: held_out.len(),
            eps: recipe.attack.eps.in_grey_levels(),
            stopped: stopped.clone(),
        });
        (progress.epoch, progress.batch, progress.loss) = (epoch + 1, 0, 0f64.to_bits());
        (progress.steps, progress.correct, progress.seen) = (0, 0, 0);
        if stopped.is_empty() && recipe.early_stop {
            state.before = if state.average.is_empty() { state.tensors.clone() } else { state.average.clone() };
        }
        state.progress.stopped = stopped;
        Ok(())
    }

    /// Saves the state, unless it is none to go on from.
    fn save(&self, state: &State, path: &Path) -> Result<()> {
        self.refuse_what_is_not_finite(state)?;
        state.save(path)
    }

    fn refuse_what_is_not_finite(&self, state: &State) -> Result<()> {
        match state.tensors.iter().flatten().all(|v| v.is_finite()) {
            true => Ok(()),
            false => Err(self.diverged(state, "a weight")),
        }
    }

    fn diverged(&self, state: &State, what: &str) -> Error {
        let (epoch, step) = (state.progress.epoch + 1, state.progress.batch + 1);
        Error::usage(format!(
            "training of `{}`: {what} is no finite number any more at epoch {epoch}, batch {step}; the last sound state is kept \
             (hint: a smaller `learning_rate`)",
            self.training.model
        ))
    }
}
