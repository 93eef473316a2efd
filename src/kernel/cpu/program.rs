//! What is done in which order: the units forward, and for each of them on the way back where its gradient comes from and
//! where it goes.
//!
//! A value that several units read gets its gradient in parts. The last part that is computed adds the one before it and what
//! sums hand on, and goes through the function of the unit that made the value; only where that does not work out is a step
//! of its own needed.

use super::buffers::Uses;
use super::map::Layout;
use super::unit::{Unit, as_map};
use super::work::Work;

/// A unit ready to run.
pub struct Compiled {
    pub work: Work,
    /// One a channel of its outputs, before a sum and a function.
    pub bias: super::map::Buffer,
    pub unit: Unit,
    /// Units of a stage are computed for the same number of images at a time.
    pub stage: usize,
    /// The map it writes, by its number among [`Program::slots`].
    pub map: usize,
    /// Its steps on the way back.
    pub back: Back,
}

/// A map, with its layout.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    pub buffer: usize,
    pub layout: Layout,
}

/// The way back of a unit, by numbers of [`Program::slots`].
#[derive(Default)]
pub struct Back {
    /// What is left to be added up, the last of which goes through its function.
    pub sums: Vec<Sum>,
    /// The gradient with respect to its outputs; `None`: nothing depends on it.
    pub gradient: Option<usize>,
    /// For each value that it reads, but the image.
    pub parts: Vec<Part>,
}

/// A sum of two parts of the gradient with respect to a value, or one alone.
pub struct Sum {
    pub from: usize,
    pub into: Destination,
}

/// A part of the gradient with respect to a value, from one of the unit's inputs.
pub struct Part {
    pub input: usize,
    pub into: Destination,
}

/// Where a part of a gradient goes.
#[derive(Clone, Copy)]
pub struct Destination {
    pub to: usize,
    /// What is added to it.
    pub add: Option<usize>,
    /// Whether it is the last and goes through the function of the value's unit.
    pub closes: bool,
}

/// Where maps lie, and the gradient with respect to the features.
pub struct Program {
    /// Every map, of values and of gradients.
    pub slots: Vec<Slot>,
    /// The buffers that they lie in.
    pub layouts: Vec<Layout>,
    /// The map that the features are read from, and the one that their gradient is written to.
    pub features: (Slot, Slot),
}

/// Sizes of a value's map.
pub fn size_of(shape: &[usize]) -> (usize, [usize; 2]) {
    let [channels, height, width] = as_map(shape);
    (channels, [height, width])
}

/// Decides the order and the maps of units whose stages are known. `chunks`: images at a time of each stage.
pub fn arrange(units: &mut [Compiled], features: usize, chunks: &[usize]) -> Program {
    let n = units.len();
    let mut uses = Uses::new(n);
    let last_stage = chunks.len() - 1;
    // the latest stage that reads each value; the features are read in the last
    let mut reader_stage = vec![0; n + 1];
    for u in units.iter() {
        for v in u.unit.reads.iter().chain(&u.unit.add) {
            reader_stage[*v] = u.stage.max(reader_stage[*v]);
        }
    }
    reader_stage[features] = last_stage;
    let capacity = |v: usize| chunks[reader_stage[v]];
    let mut has_border = vec![false; n + 1];
    for u in units.iter().filter(|u| matches!(u.work, Work::Winograd(..))) {
        has_border[u.unit.reads[0]] = true;
    }
    // forward
    let mut forward = vec![usize::MAX];
    for (i, u) in units.iter().enumerate() {
        let (channels, size) = size_of(&u.unit.shape);
        let layout = Layout::new(channels, size, has_border[i + 1], capacity(i + 1));
        forward.push(uses.write(layout, false, i, u.stage));
        for v in u.unit.reads.iter().chain(&u.unit.add).filter(|v| **v > 0) {
            uses.touch(forward[*v], i, u.stage);
        }
    }
    uses.touch(forward[features], n, last_stage);
    // back
    let raw = |v: usize, units: &[Compiled]| {
        let (channels, size) = size_of(&units[v - 1].unit.shape);
        Layout::new(channels, size, false, capacity(v))
    };
    let closed = |v: usize, units: &[Compiled]| {
        let u = &units[v - 1];
        let (channels, size) = size_of(&u.unit.before_pool);
        Layout::new(channels, size, matches!(u.work, Work::Winograd(..) | Work::First(_)), capacity(v))
    };
    let mut pending: Vec<Vec<usize>> = vec![Vec::new(); n + 1];
    let (mut to_compute, mut to_hand_on) = (vec![0; n + 1], vec![0; n + 1]);
    for u in units.iter() {
        u.unit.reads.iter().for_each(|v| to_compute[*v] += 1);
        u.unit.add.iter().for_each(|v| to_hand_on[*v] += 1);
    }
    let seed = uses.write(raw(features, units), false, n, last_stage);
    pending[features].push(seed);
    let mut gradients: Vec<Option<usize>> = vec![None; n + 1];
    for i in (0..n).rev() {
        let (v, stage, time) = (i + 1, units[i].stage, n + 1 + (n - 1 - i));
        let mut back = Back::default();
        if gradients[v].is_none() {
            let parts = std::mem::take(&mut pending[v]);
            gradients[v] = match parts.as_slice() {
                [] => None,
                [only] if units[i].passes() && uses.layout(*only) == closed(v, units) => Some(*only),
                [first, rest @ ..] => {
                    let mut from = *first;
                    for add in &rest[..rest.len().saturating_sub(1)] {
                        let to = uses.write(raw(v, units), false, time, stage);
                        back.sums.push(Sum { from, into: Destination { to, add: Some(*add), closes: false } });
                        from = to;
                    }
                    let to = uses.write(closed(v, units), units[i].unit.pooled, time, stage);
                    back.sums.push(Sum { from, into: Destination { to, add: rest.last().copied(), closes: true } });
                    Some(to)
                }
            };
            parts.iter().for_each(|map| uses.touch(*map, time, stage));
        }
        if let Some(gradient) = gradients[v] {
            uses.touch(gradient, time, stage);
            back.gradient = Some(gradient);
            if let Some(add) = units[i].unit.add {
                to_hand_on[add] -= 1;
                pending[add].push(gradient);
            }
            for (input, x) in units[i].unit.reads.clone().into_iter().enumerate().filter(|(_, x)| *x > 0) {
                to_compute[x] -= 1;
                let add = pending[x].pop();
                let closes = to_compute[x] == 0 && to_hand_on[x] == 0 && pending[x].is_empty();
                let to = match closes {
                    true => uses.write(closed(x, units), units[x - 1].unit.pooled, time, stage),
                    false => uses.write(raw(x, units), false, time, stage),
                };
                add.iter().for_each(|map| uses.touch(*map, time, stage));
                if closes {
                    gradients[x] = Some(to)
                } else {
                    pending[x].push(to)
                }
                back.parts.push(Part { input, into: Destination { to, add, closes } });
            }
        }
        units[i].back = back;
    }
    let (buffer_of, layouts) = uses.assign();
    let slot = |map: usize| Slot { buffer: buffer_of[map], layout: uses.layout(map) };
    for (u, map) in units.iter_mut().zip(&forward[1..]) {
        u.map = *map;
    }
    let slots: Vec<Slot> = (0..buffer_of.len()).map(slot).collect();
    Program { features: (slots[forward[features]], slots[seed]), slots, layouts }
}

impl Compiled {
    /// Not yet arranged.
    pub fn new(work: Work, bias: super::map::Buffer, unit: Unit) -> Compiled {
        Compiled { work, bias, unit, stage: 0, map: 0, back: Back::default() }
    }

    /// Whether a gradient goes through what follows the operation unchanged.
    fn passes(&self) -> bool {
        self.unit.activation.is_none() && !self.unit.pooled
    }
}
