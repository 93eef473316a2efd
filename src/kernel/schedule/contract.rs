//! One operation for everything that moves, repeats, sums or multiplies numbers along axes: y (+)= factor·Σ x·z, where each of
//! the three has its own distance from one index of an axis to the next. An axis along which y stays is summed over, one
//! along which x or z stay repeats them. The way back to x or z is the same operation with its operands exchanged.

use super::layout::{EIGHT, Factor};
use std::{iter, mem};

/// Where numbers lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// In a slot, other ones for each image.
    Slot(usize),
    /// In what was kept, the same for every image.
    Weight(usize),
}

/// A value seen along some axes.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Where it lies.
    pub at: At,
    /// Its first number there.
    pub offset: usize,
    /// From one image to the next.
    pub image: usize,
    /// Factors of each axis, the slowest first.
    pub axes: Vec<Vec<Factor>>,
}

impl View {
    /// The same numbers of another buffer.
    pub fn on(&self, slot: usize) -> View {
        View { at: At::Slot(slot), ..self.clone() }
    }

    /// With its last two axes exchanged.
    pub fn turned(&self) -> View {
        let mut turned = self.clone();
        let axes = turned.axes.len();
        turned.axes.swap(axes - 2, axes - 1);
        turned
    }

    /// From one index of an axis to the next, if it is one factor.
    pub fn stride(&self, axis: usize) -> usize {
        self.axes[axis].first().map_or(1, |(_, stride)| *stride)
    }

    /// Numbers it sees.
    pub fn count(&self) -> usize {
        self.axes.iter().flatten().filter(|f| f.1 > 0).map(|f| f.0).product()
    }
}

/// An axis, and from one of its indices to the next in y, x and z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Indices.
    pub size: usize,
    /// y, x, z.
    pub strides: [usize; 3],
}

/// See the top of this file. Sums go through their axes row by row, whatever the batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Contract {
    /// y, x, and z if there is one.
    pub at: (At, At, Option<At>),
    /// First number of each.
    pub offsets: [usize; 3],
    /// From one image to the next.
    pub images: [usize; 3],
    /// Of one image.
    pub axes: Vec<Axis>,
    /// Times the sum.
    pub factor: f32,
    /// Whether it adds to what y holds.
    pub add: bool,
}

/// A [`Contract`] as a kernel takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loops {
    /// Threads, one a number of y, or one for eight of them.
    pub count: usize,
    /// Whether numbers are taken by eights; offsets and strides count these then.
    pub eights: bool,
    /// First number of y, x and z.
    pub offsets: [usize; 3],
    /// Axes of y, the fastest last.
    pub kept: Vec<Axis>,
    /// Axes that are summed over.
    pub summed: Vec<Axis>,
}

impl Contract {
    /// y (+)= factor·Σ x·z over views along the same axes, of which each factor of one is made of whole ones of the others.
    pub fn new([y, x]: [&View; 2], z: Option<&View>, factor: f32, add: bool) -> Contract {
        let views = [y, x, z.unwrap_or(x)];
        let axes = (0..y.axes.len()).flat_map(|a| joined(views.map(|view| view.axes[a].clone()))).collect();
        let (offsets, images) = (views.map(|v| v.offset), views.map(|v| v.image));
        Contract { at: (y.at, x.at, z.map(|z| z.at)), offsets, images, axes, factor, add }
    }

    /// For so many images.
    pub fn loops(&self, images: usize) -> Loops {
        let all = Axis { size: images, strides: self.images };
        let axes = iter::once(all).chain(self.axes.iter().copied()).filter(|a| a.size > 1);
        let (mut kept, summed): (Vec<Axis>, Vec<Axis>) = axes.partition(|a| a.strides[0] > 0);
        kept.sort_by_key(|a| std::cmp::Reverse(a.strides[0]));
        let (mut kept, mut summed) = (merged(kept), merged(summed));
        let mut offsets = self.offsets;
        let alike = |a: &Axis| a.strides.iter().all(|s| s % EIGHT == 0);
        let eights = kept.split_last().is_some_and(|(last, others)| {
            last.size % EIGHT == 0 && last.strides == [1; 3] && others.iter().chain(&summed).all(alike)
        }) && offsets.iter().all(|o| o % EIGHT == 0);
        if eights {
            let last = kept.last_mut().expect("seen above");
            (last.size, last.strides) = (last.size / EIGHT, [EIGHT; 3]);
            kept.iter_mut()
                .chain(&mut summed)
                .flat_map(|a| &mut a.strides)
                .chain(&mut offsets)
                .for_each(|s| *s /= EIGHT);
        }
        Loops { count: kept.iter().map(|a| a.size).product(), eights, offsets, kept, summed }
    }
}

/// The axes that the factors of one axis have in common; of a view without factors it stays.
fn joined(mut all: [Vec<Factor>; 3]) -> Vec<Axis> {
    let mut axes = Vec::new();
    // from the fastest on
    while let Some(size) = all.iter().filter_map(|factors| factors.last()).map(|f| f.0).min() {
        let strides = all.each_mut().map(|factors| match factors.last_mut() {
            Some((left, stride)) => {
                assert!(*left % size == 0, "factors {left} and {size} of one axis");
                let now = mem::replace(stride, *stride * size);
                *left /= size;
                now
            }
            None => 0,
        });
        all.iter_mut().for_each(|factors| _ = factors.pop_if(|f| f.0 == 1));
        axes.push(Axis { size, strides });
    }
    axes.reverse();
    axes
}

/// Where the operands lie at an index of these axes, row by row.
pub(super) fn place(axes: &[Axis], mut index: usize) -> [usize; 3] {
    let mut place = [0; 3];
    for axis in axes.iter().rev() {
        (0..3).for_each(|o| place[o] += index % axis.size * axis.strides[o]);
        index /= axis.size;
    }
    place
}

/// Fewer axes: where all operands go on evenly from one to the next, both are one.
pub(super) fn merged(axes: Vec<Axis>) -> Vec<Axis> {
    let mut fewer: Vec<Axis> = Vec::new();
    for axis in axes {
        match fewer.last_mut() {
            Some(last) if last.strides == axis.strides.map(|s| s * axis.size) => {
                *last = Axis { size: last.size * axis.size, ..axis }
            }
            _ => fewer.push(axis),
        }
    }
    fewer
}

#[cfg(test)]
mod tests {
    use super::super::layout::Layout;
    use super::*;

    fn view(layout: &Layout, shape: &[usize]) -> View {
        View { at: At::Slot(0), offset: 0, image: layout.numbers(), axes: layout.axes(shape).unwrap() }
    }

    /// What a kernel does, one thread after the other.
    fn run(contract: &Contract, images: usize, y: &mut [f32], x: &[f32], z: &[f32]) {
        let loops = contract.loops(images);
        let width = if loops.eights { EIGHT } else { 1 };
        for i in 0..loops.count {
            let [to, from, by] = place(&loops.kept, i);
            for k in 0..width {
                let terms = (0..loops.summed.iter().map(|a| a.size).product()).map(|s| {
                    let [_, more, other] = place(&loops.summed, s);
                    let x = x[(loops.offsets[1] + from + more) * width + k];
                    x * if contract.at.2.is_some() { z[(loops.offsets[2] + by + other) * width + k] } else { 1.0 }
                });
                let sum = contract.factor * terms.sum::<f32>();
                let y = &mut y[(loops.offsets[0] + to) * width + k];
                *y = sum + if contract.add { *y } else { 0.0 };
            }
        }
    }

    #[test]
    fn a_map_becomes_rows() {
        let shape = [3, 2, 4];
        let (map, rows) = (Layout::with_last(&shape, 0), Layout::rows(&shape));
        let contract = Contract::new([&view(&rows, &shape), &view(&map, &shape)], None, 1.0, false);
        let mut x = vec![f32::NAN; 2 * map.numbers()];
        (0..48).for_each(|i| x[i / 24 * map.numbers() + map.address(i % 24)] = i as f32);
        let mut y = vec![0.0; 2 * rows.numbers()];
        run(&contract, 2, &mut y, &x, &[]);
        (0..48).for_each(|i| assert_eq!(y[i / 24 * rows.numbers() + rows.address(i % 24)], i as f32));
        assert_eq!(y.iter().filter(|v| **v != 0.0).count(), 47);
    }

    #[test]
    fn whole_values_go_by_eights_along_one_axis() {
        let shape = [16, 5, 5];
        let map = view(&Layout::with_last(&shape, 0), &shape);
        let loops = Contract::new([&map, &map], Some(&map), 1.0, true).loops(7);
        assert!(loops.eights && loops.summed.is_empty());
        assert_eq!((loops.count, loops.kept.len()), (7 * 50, 1));
    }

    #[test]
    fn what_repeats_on_the_way_forward_is_summed_on_the_way_back() {
        // each channel of a map times a number of its own, and the sum over the map that leads back to these
        let (shape, one) = ([16, 2, 3], [16, 1, 1]);
        let (map, few) = (Layout::with_last(&shape, 0), Layout::with_last(&one, 0));
        let (x, s) = (view(&map, &shape), view(&few, &one));
        let numbers: Vec<f32> = (0..2 * 96).map(|v| v as f32).collect();
        let scales: Vec<f32> = (0..2 * 16).map(|v| (v % 5) as f32).collect();
        let mut y = vec![0.0; 2 * 96];
        let forward = Contract::new([&x, &x], Some(&s), 2.0, false);
        assert!(forward.loops(2).eights);
        run(&forward, 2, &mut y, &numbers, &scales);
        assert!((0..192).all(|i| y[i] == 2.0 * numbers[i] * scales[i / 96 * 16 + i % 16]));
        let mut back = vec![1.0; 32];
        run(&Contract::new([&s, &x], Some(&x), 0.5, true), 2, &mut back, &y, &numbers);
        for (i, b) in back.iter().enumerate() {
            let sum: f32 = (0..6).map(|p| i / 16 * 96 + p * 16 + i % 16).map(|j| y[j] * numbers[j]).sum();
            assert_eq!(*b, 1.0 + 0.5 * sum);
        }
    }
}
