//! What an attack gets of a subset: images, without their labels.

use super::subset::Subset;
use crate::error::Result;
use crate::kernel::bus::up;
use crate::kernel::pixels::to_unit;
use candle_core::{Device, Tensor};

/// Images that an attack works on, a window of them at a time as tensors, the others as they are stored: memory does
/// not grow with their number.
pub struct Batch<'a> {
    subset: &'a Subset,
    rows: &'a [usize],
    starts: Option<&'a [Option<Vec<f32>>]>,
    device: &'a Device,
    /// Most rows that an attack may work on at a time.
    pub window: usize,
}

impl<'a> Batch<'a> {
    /// The images `rows` of `subset`. Images of the subset that have a start in `starts` are to be attacked from there.
    pub fn new(
        subset: &'a Subset,
        rows: &'a [usize],
        starts: Option<&'a [Option<Vec<f32>>]>,
        device: &'a Device,
        window: usize,
    ) -> Batch<'a> {
        Batch { subset, rows, starts, device, window }
    }

    /// These rows alone, as rows 0, 1, …: what `work` of a stage of an attack gets.
    pub fn only<T>(&self, rows: &[usize], work: impl FnOnce(&Batch) -> T) -> T {
        let rows: Vec<usize> = rows.iter().map(|row| self.rows[*row]).collect();
        work(&Batch { rows: &rows, subset: self.subset, starts: self.starts, device: self.device, window: self.window })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Index of a row's image in its split.
    pub fn example(&self, row: usize) -> usize {
        self.subset.examples[self.rows[row]]
    }

    /// Number of values of one image.
    pub fn values(&self) -> usize {
        self.subset.values()
    }

    /// Height and width of an image in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.subset.size
    }

    /// Where tensors live.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// Clean images, N×3×H×W in [0,1].
    pub fn images(&self, rows: &[usize]) -> Result<Tensor> {
        let pixels: Vec<u8> = rows.iter().flat_map(|r| self.subset.image(self.rows[*r])).copied().collect();
        to_tensor(&pixels, self.subset.size, self.device)
    }

    /// The clean image of a row in this machine's memory, 3×H×W in [0,1].
    pub fn image(&self, row: usize) -> Vec<f32> {
        self.subset.image(self.rows[row]).iter().map(|v| f32::from(*v) / 255.0).collect()
    }

    /// Whether a row is to be attacked from a point already found.
    pub fn is_warm(&self, row: usize) -> bool {
        self.starts.is_some_and(|s| s[self.rows[row]].is_some())
    }

    /// Where to attack from, N×3×H×W: the point already found, else the clean image.
    pub fn starts(&self, rows: &[usize]) -> Result<Tensor> {
        let start = |row: &usize| {
            let image = self.rows[*row];
            let clean = || self.subset.image(image).iter().map(|v| f32::from(*v) / 255.0).collect();
            self.starts.and_then(|s| s[image].clone()).unwrap_or_else(clean)
        };
        let values: Vec<f32> = rows.iter().flat_map(start).collect();
        let [height, width] = self.subset.size;
        up(values, (rows.len(), 3, height, width), self.device)
    }
}

/// 8-bit images as a tensor N×3×height×width in [0,1]: `v / 255` in f32, as PyTorch's `ToTensor`.
pub fn to_tensor(pixels: &[u8], size: [usize; 2], device: &Device) -> Result<Tensor> {
    let values = 3 * size[0] * size[1];
    // they cross as bytes
    to_unit(&up(pixels.to_vec(), (pixels.len() / values, values), device)?, size)
}
