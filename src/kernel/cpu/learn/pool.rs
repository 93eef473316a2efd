//! Pools of a batch.

use super::super::lanes::LANES;
use super::super::windows::Pool;
use super::crew::Crew;
use super::maps::Maps;
use crate::kernel::graph::Window;
use rayon::prelude::*;

/// The largest of every window.
pub struct MaxPool {
    pub from: usize,
    pub to: usize,
    window: Window,
    /// Image after image.
    won: Vec<u16>,
}

impl MaxPool {
    pub fn new(from: usize, to: usize, window: Window) -> MaxPool {
        MaxPool { from, to, window, won: Vec::new() }
    }

    pub fn forward(&mut self, maps: &mut Maps, crew: &Crew) {
        let (from, to, table) = (maps.operand(self.from), maps.into(self.to), crew.table);
        let of_image = to.layout.pixels() * to.layout.channels / LANES * self.window.size[0] * self.window.size[1];
        self.won.resize(maps.images * of_image, 0);
        let window = &self.window;
        self.won.par_chunks_exact_mut(of_image).enumerate().for_each(|(image, won)| {
            let (from, to) = ({ from }, { to });
            // SAFETY: the maps hold the batch; each piece writes its image
            unsafe { (table.largest)(&mut Pool { window, image, won }, from, to) }
        });
    }

    pub fn backward(&mut self, maps: &mut Maps, crew: &Crew) {
        let (gradient, to, table) = (maps.gradient(self.to).read(), maps.cleared(self.from), crew.table);
        let of_image = self.won.len() / maps.images;
        let window = &self.window;
        self.won.par_chunks_exact_mut(of_image).enumerate().for_each(|(image, won)| {
            let (gradient, to) = ({ gradient }, { to });
            // SAFETY: as above
            unsafe { (table.largest_back)(&mut Pool { window, image, won }, gradient, to) }
        });
        maps.drop_gradient(self.to);
    }
}

/// Averages over windows so that the map gets the size of another (PyTorch's `AdaptiveAvgPool2d`).
pub struct Average {
    pub from: usize,
    pub to: usize,
}

impl Average {
    /// Every pair of places that meet: image, place on the map, place among the averages; and how many share an average.
    fn meet(&self, maps: &Maps, mut pair: impl FnMut(usize, [usize; 2], [usize; 2], f32)) {
        let [from, to] = [self.from, self.to].map(|v| maps.values[v].layout.size);
        let places = |axis: usize, i: usize| {
            let (size, out) = (from[axis], to[axis]);
            i * size / out..((i + 1) * size).div_ceil(out)
        };
        for image in 0..maps.images {
            for (y, x) in (0..to[0]).flat_map(|y| (0..to[1]).map(move |x| (y, x))) {
                let share = 1.0 / (places(0, y).len() * places(1, x).len()) as f32;
                for (v, u) in places(0, y).flat_map(|v| places(1, x).map(move |u| (v, u))) {
                    pair(image, [v, u], [y, x], share);
                }
            }
        }
    }

    pub fn forward(&self, maps: &mut Maps) {
        let mut to = std::mem::take(&mut maps.values[self.to].buffer);
        to.fill(0.0);
        let (layout, map) = (maps.values[self.to].layout, &maps.values[self.from]);
        self.meet(maps, |image, [v, u], [y, x], share| {
            let (from, at) = (map.layout.at(image, v, u), layout.at(image, y, x));
            let numbers = to[at..at + layout.channels].iter_mut().zip(&map.buffer[from..]);
            numbers.for_each(|(sum, v)| *sum += share * v);
        });
        maps.values[self.to].buffer = to;
    }

    pub fn backward(&self, maps: &mut Maps) {
        let gradient = maps.values[self.to].gradient.take().expect("a value that is read later");
        let layout = maps.values[self.to].of_gradient;
        let of_map = maps.cleared(self.from).layout;
        let mut to = maps.values[self.from].gradient.take().expect("just made");
        self.meet(maps, |image, [v, u], [y, x], share| {
            let (from, at) = (layout.at(image, y, x), of_map.at(image, v, u));
            let numbers = to[at..at + layout.channels].iter_mut().zip(&gradient[from..]);
            numbers.for_each(|(sum, g)| *sum += share * g);
        });
        maps.values[self.from].gradient = Some(to);
        maps.values[self.to].gradient = Some(gradient);
        maps.drop_gradient(self.to);
    }
}
