//! The changes that Square tries on one image: windows at random places.

use super::shape::{hills, measure, share, side};
use crate::attack::vector::TINY;
use crate::rng::Stream;
use crate::threat::{Norm, l1};

/// Tiles along a side of the first change in L2 and L1 (Andriushchenko et al. 2020, section 4.3).
const TILES: usize = 5;

const CHANNELS: usize = 3;

/// What a search is told. The parameters of Square, and the threat.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub norm: Norm,
    pub eps: f64,
    pub queries: usize,
    pub p: f64,
}

impl Settings {
    /// What a standing image costs, in gradients: a query is a pass forward, about half of one.
    pub fn cost(&self) -> u64 {
        self.queries.div_ceil(2) as u64
    }
}

/// Draws changes of an image.
pub struct Canvas {
    pub settings: Settings,
    /// Height and width.
    size: [usize; 2],
    /// Clean image, 3×H×W.
    x: Vec<f32>,
    stream: Stream,
    /// [`hills`] of the last side.
    hills: Vec<f64>,
}

impl Canvas {
    /// A blank one of the clean image `x`, 3×H×W, of this height and width.
    pub fn new(settings: Settings, size: [usize; 2], x: Vec<f32>, stream: Stream) -> Canvas {
        Canvas { settings, size, x, stream, hills: Vec::new() }
    }

    /// What the search begins with: stripes in Linf, tiles in L2 and L1.
    pub fn start(&mut self) -> Vec<f32> {
        if self.settings.norm == Norm::Linf { self.stripes() } else { self.tiles() }
    }

    /// Another image: the best so far, with a window changed.
    pub fn change(&mut self, best: &[f32], query: usize, point: &mut [f32]) {
        let Settings { norm, p, .. } = self.settings;
        let side = side(norm, share(p, query), self.size);
        match norm {
            Norm::Linf => self.recolour(best, side, point),
            _ => self.move_hills(best, side, point),
        }
    }

    /// Every column of every channel at one end of the budget.
    fn stripes(&mut self) -> Vec<f32> {
        let [height, width] = self.size;
        let mut point = self.x.clone();
        for channel in 0..CHANNELS {
            for column in 0..width {
                let up = self.coin();
                for row in 0..height {
                    let at = (channel * height + row) * width + column;
                    point[at] = self.end(at, up);
                }
            }
        }
        point
    }

    /// Each channel of the window at one end of the budget. From there, the authors' ±2·eps on the image at hand is clipped to
    /// the same.
    fn recolour(&mut self, best: &[f32], side: usize, point: &mut [f32]) {
        let window = self.window(side);
        point.copy_from_slice(best);
        for channel in 0..CHANNELS {
            let up = self.coin();
            for at in window.values(channel, self.size) {
                point[at] = self.end(at, up);
            }
        }
    }

    /// The upper or lower end of what the budget and the box leave a value: a whole number of grey levels, as exactly as it is
    /// stored, where eps is one.
    fn end(&self, at: usize, up: bool) -> f32 {
        let (x, eps) = (f64::from(self.x[at]), self.settings.eps);
        let end = if up { (x + eps).min(1.0) } else { (x - eps).max(0.0) };
        let (level, levels) = ((end * 255.0).round(), eps * 255.0);
        // x are whole levels themselves
        if (levels - levels.round()).abs() < 1e-9 { level as f32 / 255.0 } else { end as f32 }
    }

    /// Tiles of hills, each channel of each up or down, brought to the budget.
    fn tiles(&mut self) -> Vec<f32> {
        let [height, width] = self.size;
        let side = (height.min(width) / TILES).max(1);
        let mut change = vec![0.0; self.x.len()];
        // the tiles stand in the middle
        let [top, left] = self.size.map(|length| length % side / 2);
        for row in 0..height / side {
            for column in 0..width / side {
                let window = Window { row: top + row * side, column: left + column * side, side };
                let hills = self.turned_hills(side);
                for channel in 0..CHANNELS {
                    let sign = self.sign();
                    window.values(channel, self.size).zip(&hills).for_each(|(at, v)| change[at] = sign * v);
                }
            }
        }
        let mut point = self.x.clone();
        self.bring_to_budget(&change, &mut point);
        point
    }

    /// One window gives back its change; another gets new hills over its own, and with them what is left of the budget.
    fn move_hills(&mut self, best: &[f32], side: usize, point: &mut [f32]) {
        let Settings { norm, eps, .. } = self.settings;
        let (window, emptied, hills) = (self.window(side), self.window(side), self.turned_hills(side));
        let mut change: Vec<f64> = best.iter().zip(&self.x).map(|(b, x)| f64::from(*b) - f64::from(*x)).collect();
        let length = measure(norm, change.iter().copied());
        let size = self.size;
        for channel in 0..CHANNELS {
            let sign = self.sign();
            let in_window = || window.values(channel, size);
            let only_emptied = emptied.values(channel, size).filter(|at| !window.holds(*at, size));
            let own = measure(norm, in_window().map(|at| change[at]));
            let both = measure(norm, in_window().chain(only_emptied).map(|at| change[at]));
            let new: Vec<f64> = in_window().zip(&hills).map(|(at, v)| sign * v + change[at] / (TINY + own)).collect();
            // each channel gets back what both windows had, and its part of what the image has left
            let parts = CHANNELS as f64;
            let freed = match norm {
                Norm::L2 => ((eps * eps - length * length).max(0.0) / parts + both * both).sqrt(),
                _ => ((eps - length).max(0.0) / parts + both) * parts,
            };
            let scale = freed / (TINY + measure(norm, new.iter().copied()));
            emptied.values(channel, size).for_each(|at| change[at] = 0.0);
            in_window().zip(new).for_each(|(at, v)| change[at] = v * scale);
        }
        self.bring_to_budget(&change, point);
    }

    /// The clean image with this change, in ball and box: in L2 the change is made as long as the budget, then clipped; in L1
    /// it is projected onto both.
    fn bring_to_budget(&self, change: &[f64], point: &mut [f32]) {
        let Settings { norm, eps, .. } = self.settings;
        let scale = if norm == Norm::L2 { eps / (TINY + measure(norm, change.iter().copied())) } else { 1.0 };
        for ((v, x), d) in point.iter_mut().zip(&self.x).zip(change) {
            let moved = f64::from(*x) + d * scale;
            *v = if norm == Norm::L2 { moved.clamp(0.0, 1.0) as f32 } else { moved as f32 };
        }
        if norm == Norm::L1 {
            l1::project_image(point, &self.x, eps);
        }
    }

    /// Of the hills of a window, rows and columns are exchanged in half of the cases.
    fn turned_hills(&mut self, side: usize) -> Vec<f64> {
        if self.hills.len() != side * side {
            self.hills = hills(self.settings.norm, side);
        }
        if self.coin() {
            return self.hills.clone();
        }
        (0..side * side).map(|i| self.hills[i % side * side + i / side]).collect()
    }

    /// A window at a random place. Where it fits, the last row and column are left out, as in the authors' code.
    fn window(&mut self, side: usize) -> Window {
        let [height, width] = self.size;
        Window { row: self.stream.below(height - side), column: self.stream.below(width - side), side }
    }

    fn coin(&mut self) -> bool {
        self.stream.below(2) == 0
    }

    fn sign(&mut self) -> f64 {
        if self.coin() { 1.0 } else { -1.0 }
    }
}

/// A square part of an image.
struct Window {
    row: usize,
    column: usize,
    side: usize,
}

impl Window {
    /// Places of its values in a channel of an image 3×H×W, row by row.
    fn values(&self, channel: usize, [height, width]: [usize; 2]) -> impl Iterator<Item = usize> {
        let (column, side) = (self.column, self.side);
        let rows = self.row..self.row + side;
        rows.flat_map(move |row| (column..column + side).map(move |x| (channel * height + row) * width + x))
    }

    /// Whether a place in an image 3×H×W lies within its rows and columns.
    fn holds(&self, at: usize, [height, width]: [usize; 2]) -> bool {
        let (row, column) = (at / width % height, at % width);
        (self.row..self.row + self.side).contains(&row) && (self.column..self.column + self.side).contains(&column)
    }
}
