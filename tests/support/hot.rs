//! Nets that answer as a built-in one does, with other sizes of logits, or fewer classes.
#![allow(dead_code)] // each test binary uses its part

use candle_core::{DType, Device, Tensor, safetensors};
use std::fs;
use std::path::Path;

/// What becomes of the last layer, 10×256 and 10.
pub struct Head {
    /// Classes that stay, in this order.
    pub classes: Vec<usize>,
    /// Factor of weights.
    pub weights: f32,
    /// Factor of biases.
    pub biases: f32,
}

impl Head {
    /// Logits times a power of two: the same argmax to the bit.
    pub fn times(scale: f32) -> Head {
        Head { classes: (0..10).collect(), weights: scale, biases: scale }
    }

    /// The same logits for every image.
    pub fn dead() -> Head {
        Head { weights: 0.0, ..Head::times(1.0) }
    }

    /// Of a net of these classes alone.
    pub fn of(classes: &[usize]) -> Head {
        Head { classes: classes.to_vec(), weights: 1.0, biases: 1.0 }
    }
}

/// Writes the standard built-in net with another head as `name`.toml and weights into a folder; the model file's path.
pub fn write(folder: &Path, name: &str, head: &Head) -> String {
    let mut net = safetensors::load("configs/models/vgg11-half-cifar10.safetensors", &Device::Cpu).unwrap();
    let rows: Vec<u32> = head.classes.iter().map(|c| *c as u32).collect();
    let rows = Tensor::new(rows, &Device::Cpu).unwrap();
    for (key, values) in net.iter_mut().filter(|(key, _)| !key.starts_with("features")) {
        let factor = if key.ends_with("weight") { head.weights } else { head.biases };
        let of_classes = values.to_dtype(DType::F32).unwrap().index_select(&rows, 0).unwrap();
        *values = (of_classes * f64::from(factor)).unwrap();
    }
    safetensors::save(&net, folder.join(format!("{name}.safetensors"))).unwrap();
    let path = folder.join(format!("{name}.toml"));
    let text = format!(
        "family = \"vgg11_bn\"\nwidth = 0.5\nhead = \"linear\"\nclasses = {}\nside = 32\nmean = [0.4914, 0.4822, 0.4465]\n\
         std = [0.2470, 0.2435, 0.2616]\nweights = \"{name}.safetensors\"\n",
        head.classes.len()
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}
