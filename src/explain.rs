//! Where a network looks: Grad-CAM (Selvaraju et al. 2017) on the map of a layer.

use crate::error::Result;
use crate::kernel::graph::Graph;
use crate::kernel::plain::Plain;
use candle_core::{DType, Tensor};

/// A network under explanation, by the plain reference on the CPU: every layer is a value of its own there, and maps are few.
pub struct Explainer {
    network: Plain<f32>,
    /// The value A that the maps weigh.
    features: usize,
}

/// A class activation map.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// Height and width.
    pub size: [usize; 2],
    /// height×width, row by row: ReLU(Σₖ αₖ Aₖ), neither normalised nor resized.
    pub values: Vec<f32>,
}

impl Explainer {
    /// Explains by value `features` of a graph (see [`Graph::push`]), maps K×h×w.
    pub fn new(graph: Graph<f32>, features: usize) -> Explainer {
        Explainer { network: Plain::new(graph), features }
    }

    /// The map of each image for its class: αₖ = mean over places of ∂z_c/∂Aₖ, map = ReLU(Σₖ αₖ Aₖ). Images N×3×H×W on
    /// the CPU, one class an image; an image's map depends on no other image.
    pub fn maps(&self, images: &Tensor, classes: &[usize]) -> Result<Vec<Map>> {
        let (activation, gradient) = self.network.class_activation(images, classes, self.features)?;
        let (n, channels, height, width) = activation.dims4()?;
        let numbers = |t: &Tensor| -> Result<Vec<f64>> { Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?) };
        let (activation, gradient) = (numbers(&activation)?, numbers(&gradient)?);
        let (of_plane, of_image) = (height * width, channels * height * width);
        let map = |row: usize| {
            let mut values = vec![0.0; of_plane];
            let part = row * of_image..(row + 1) * of_image;
            for (a, g) in activation[part.clone()].chunks(of_plane).zip(gradient[part].chunks(of_plane)) {
                let alpha = g.iter().sum::<f64>() / of_plane as f64;
                values.iter_mut().zip(a).for_each(|(v, a)| *v += alpha * a);
            }
            // NaN stays NaN
            let values = values.into_iter().map(|v| if v <= 0.0 { 0.0 } else { v as f32 });
            Map { size: [height, width], values: values.collect() }
        };
        Ok((0..n).map(map).collect())
    }
}

impl Map {
    /// Largest value, at least 0.
    pub fn maximum(&self) -> f32 {
        self.values.iter().copied().fold(0.0, f32::max)
    }

    /// height×width by bilinear interpolation between the centres of the places (PyTorch's `interpolate` with
    /// `align_corners=False`): beyond the outermost centres the map goes on unchanged.
    pub fn upsampled(&self, size: [usize; 2]) -> Vec<f32> {
        // of each output along an axis: place before it, place after it, and the share of the latter
        let between = |axis: usize| {
            let (last, scale) = (self.size[axis] - 1, self.size[axis] as f64 / size[axis] as f64);
            let place = move |i: usize| {
                let at = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
                let before = (at as usize).min(last);
                (before, (before + 1).min(last), at - before as f64)
            };
            (0..size[axis]).map(place).collect::<Vec<_>>()
        };
        let columns = between(1);
        let value = |y: usize, x: usize| f64::from(self.values[y * self.size[1] + x]);
        let mut out = Vec::with_capacity(size[0] * size[1]);
        for (top, bottom, down) in between(0) {
            out.extend(columns.iter().map(|(left, right, along)| {
                let row = |y: usize| value(y, *left) * (1.0 - along) + value(y, *right) * along;
                (row(top) * (1.0 - down) + row(bottom) * down) as f32
            }));
        }
        out
    }

    /// Share of the mass of the map, upsampled to height×width, that lies where `mask`, of that size, holds; `None` where the
    /// map is zero everywhere.
    pub fn share_inside(&self, mask: &[bool], size: [usize; 2]) -> Option<f64> {
        assert_eq!(size[0] * size[1], mask.len(), "a mask of that size");
        let (mut inside, mut all) = (0.0, 0.0);
        for (v, is_inside) in self.upsampled(size).into_iter().zip(mask) {
            all += f64::from(v);
            inside += if *is_inside { f64::from(v) } else { 0.0 };
        }
        (all > 0.0).then(|| inside / all)
    }
}

/// Pearson's correlation of two maps of one size; `None` where one of them is constant.
pub fn correlation(a: &Map, b: &Map) -> Option<f64> {
    assert_eq!(a.values.len(), b.values.len(), "maps of one size");
    let constant = |m: &Map| m.values.iter().all(|v| *v == m.values[0]);
    if constant(a) || constant(b) {
        return None;
    }
    let centred = |m: &Map| -> Vec<f64> {
        let mean = m.values.iter().map(|v| f64::from(*v)).sum::<f64>() / m.values.len() as f64;
        m.values.iter().map(|v| f64::from(*v) - mean).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (a, b) = (centred(a), centred(b));
    Some((dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()).clamp(-1.0, 1.0))
}
