//! What a weight file is of: every family says what it may be by names and shapes, and only what can be built of it, with no
//! tensor left, counts.

use super::families::{self, FAMILIES};
use super::family::Family;
use super::guess::Guess;
use super::weights::Weights;
use super::width::{WIDTH, width_of};
use crate::config::{DefenceSpec, KeyValue, ModelFile, Place};

/// A description that the weights fit.
#[derive(Debug)]
pub struct Recognised {
    /// The description; normalisation, place and digest of the weights are yet to be said.
    pub file: ModelFile,
    /// What names and shapes told of it, and what they did not.
    pub guess: Guess,
    /// What decides logits, leaves no trace in weights, and is taken as it usually is.
    pub unseen: &'static str,
    /// What the user is to know of how the weights were read, a line each.
    pub notes: Vec<String>,
}

/// Tensors that a refusal names.
const MOST_LISTED: usize = 4;

/// A network of which the file has not even one name in so many is not near.
const LEAST_SHARED: usize = 4;

/// The way out where no family fits.
const EXPORT: &str = "hint: `torch.onnx.export` makes a file of any network that is read as a whole, see docs/onnx.md";

/// Every description that the state dicts of a file fit, that first which is taken where none is asked for; `size` of the
/// images where it is known. Several are of as many state dicts, or of one whose tensors fit several networks.
///
/// # Errors
/// What the file is, or what it has, and the network that it is nearest to.
pub fn recognise_file(bytes: &[u8], size: Option<[usize; 2]>) -> Result<Vec<Recognised>, String> {
    let dicts = Weights::state_dicts(bytes);
    let is_plain = dicts.len() < 2 && Weights::parse(bytes, None).is_ok();
    let keys = if is_plain || dicts.is_empty() { vec![None] } else { dicts };
    let (mut fits, mut problems) = (Vec::new(), Vec::new());
    for key in keys {
        let found = Weights::parse(bytes, key.as_deref()).and_then(|weights| recognise(&weights, size));
        match found {
            Ok(found) => fits.extend(found.into_iter().map(|mut one| {
                one.file.state_dict = key.clone();
                one
            })),
            Err(problem) => problems.push(problem),
        }
    }
    match fits.is_empty() {
        true => Err(problems.swap_remove(0)),
        false => Ok(fits),
    }
}

/// Every description that the tensors fit, all of them used; usually one.
///
/// # Errors
/// What the file has, the network that it is nearest to, and the first thing that does not fit.
pub fn recognise(weights: &Weights, size: Option<[usize; 2]>) -> Result<Vec<Recognised>, String> {
    let (mut fits, mut near) = (Vec::new(), Vec::new());
    for family in FAMILIES {
        for guess in (family.recognise)(weights) {
            match built(family, weights, &guess, size) {
                Ok(found) => fits.push(found),
                Err(problem) => near.push((missing(family, weights, &guess), (family, guess, problem))),
            }
        }
    }
    // of equals the first
    let near = near.into_iter().min_by_key(|(missing, _)| *missing).map(|(_, near)| near);
    if let (true, Some((family, guess, _))) = (fits.is_empty(), &near)
        && let Some(problem) = unusable(family, weights, guess)
    {
        return Err(problem);
    }
    let near = near.map(|(_, guess, problem)| (guess.family, problem));
    match (fits.is_empty(), near.or_else(|| nearest(weights))) {
        (false, _) => Ok(fits),
        (true, near) => Err(unknown(weights, near)),
    }
}

fn built(family: &Family, weights: &Weights, guess: &Guess, size: Option<[usize; 2]>) -> Result<Recognised, String> {
    let file = described(guess, size);
    families::checked(&file)?;
    let network = family.network(&file, Some(weights))?;
    let notes = [weights.notes(), &network.notes].concat();
    Ok(Recognised { file, guess: guess.clone(), unseen: family.unseen, notes })
}

/// Why numbers are none of a network, where all names and shapes are those of the guess.
fn unusable(family: &Family, weights: &Weights, guess: &Guess) -> Option<String> {
    let tensors = family.network(&described(guess, None), None).ok()?.tensors;
    let is_there = |(name, shape): &(String, Vec<usize>)| weights.shape(name).is_ok_and(|own| own == shape);
    let mut problems = tensors.iter().filter_map(|(name, _)| weights.unusable(name));
    let problem = if tensors.iter().all(is_there) { problems.next() } else { None };
    problem.map(|problem| format!("{} by names and shapes, but {problem}", guess.family))
}

/// How many tensors of a guess the file has not.
fn missing(family: &Family, weights: &Weights, guess: &Guess) -> usize {
    let network = family.network(&described(guess, None), None);
    network.map_or(usize::MAX, |n| n.tensors.iter().filter(|(name, _)| !weights.contains(name)).count())
}

/// The model file of a guess, for images of this size, else of the usual one.
fn described(guess: &Guess, size: Option<[usize; 2]>) -> ModelFile {
    ModelFile {
        family: guess.family.clone(),
        own: guess.own.iter().map(|(key, value)| (key.name, value.clone())).collect(),
        classes: guess.classes,
        class_names: None,
        size: size.unwrap_or([guess.side.pixels(); 2]),
        resize: None,
        bicubic: false,
        mean: [0.0; 3],
        std: [1.0; 3],
        keys: Some(guess.naming.into()),
        state_dict: None,
        place: Place::File(String::new()),
        sha256: None,
        published: None,
        robust: None,
        defence: DefenceSpec::default(),
        training: Vec::new(),
    }
}

/// The network that shares most names with the file, at least some, and the first thing that does not fit.
fn nearest(weights: &Weights) -> Option<(String, String)> {
    // by names, then by sizes of kernels, which tell one stem from another
    let mut best: Option<((usize, usize), &Family, ModelFile, String)> = None;
    let is_near = |shared: usize, all: usize| shared * LEAST_SHARED >= all;
    for family in FAMILIES {
        for name in family.names {
            for keys in family.namings {
                let file = of_paper(name, keys);
                let tensors = family.network(&file, None).map_or(Vec::new(), |network| network.tensors);
                let found = tensors.iter().filter_map(|(name, shape)| Some((weights.shape(name).ok()?, shape)));
                let (mut shared, mut alike) = (0, 0);
                for (found, shape) in found {
                    shared += 1;
                    alike += usize::from(found.get(2..) == shape.get(2..));
                }
                let is_best = best.as_ref().is_none_or(|(most, ..)| (shared, alike) > *most);
                if shared > 0 && is_near(shared, tensors.len()) && is_best {
                    best = Some(((shared, alike), family, file, tensors[0].0.clone()));
                }
            }
        }
    }
    let (_, family, mut file, first) = best?;
    if let Some(channels) = weights.size(&first, 0).filter(|_| family.keys.contains(&WIDTH)) {
        file.own.insert(WIDTH.name, KeyValue::Number(width_of(channels)));
    }
    let problem = families::checked(&file).and_then(|family| family.network(&file, Some(weights))).err();
    Some((file.family, problem.unwrap_or_default()))
}

/// A network as its paper has it, for ImageNet.
fn of_paper(family: &str, keys: &&'static str) -> ModelFile {
    let (own, open, notes) = Default::default();
    let side = super::Side::Usual(224);
    described(&Guess { family: family.into(), own, open, naming: keys, classes: 1000, side, notes }, None)
}

/// Says what there is where nothing fits.
fn unknown(weights: &Weights, near: Option<(String, String)>) -> String {
    let cut = |name: &str| name.chars().take(80).collect::<String>();
    let shown = |name: &str| format!("`{}` {:?}", cut(name), weights.shape(name).unwrap_or_default());
    let mut listed: Vec<String> = weights.names().take(MOST_LISTED).map(shown).collect();
    let all = weights.names().count();
    if all > MOST_LISTED {
        listed.push(format!("… {all} in all"));
    }
    let near = near.map_or(String::new(), |(family, problem)| format!("; the nearest is `{family}`: {problem}"));
    format!("no network of a known family; the file has the tensors {}{near} ({EXPORT})", listed.join(", "))
}
