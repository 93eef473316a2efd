//! Who works on a layer: one thread, or all together.

use super::compiled::Cpu;
use super::conv;
use super::first;
use super::map::padded;
use super::workspace::Scratch;
use rayon::prelude::*;

/// Who works on a layer.
pub enum Crew<'a> {
    /// One thread with its scratch.
    Alone(&'a mut Scratch),
    /// All threads together.
    Team(&'a Cpu),
}

impl Scratch {
    pub fn new(cpu: &Cpu) -> Scratch {
        let channels = cpu.maps.iter().map(|m| m.channels).max().expect("never empty");
        Scratch {
            conv: conv::Scratch::new(channels),
            first: first::Scratch::new(cpu.side, padded(cpu.layers[0].outputs)),
        }
    }
}

impl Crew<'_> {
    /// Does every piece.
    pub fn each(&mut self, pieces: usize, work: impl Fn(usize, &mut Scratch) + Sync) {
        match self {
            Crew::Alone(scratch) => (0..pieces).for_each(|i| work(i, scratch)),
            Crew::Team(cpu) => (0..pieces).into_par_iter().with_max_len(1).for_each(|i| {
                let mut scratch = cpu.scratches.take(|| Scratch::new(cpu));
                work(i, &mut scratch);
                cpu.scratches.give_back(scratch);
            }),
        }
    }

    /// How many threads share the work.
    pub fn size(&self) -> usize {
        match self {
            Crew::Alone(_) => 1,
            Crew::Team(_) => rayon::current_num_threads(),
        }
    }
}
