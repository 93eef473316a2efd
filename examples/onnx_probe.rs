//! Logits and image gradients of ONNX files, for `scripts/onnx_conformance.py`. Reads names of folders from standard input, a line
//! each. In a folder are `model.onnx`, `input.bin`, and `seed.bin`, the gradient with respect to the output (numbers of 8
//! bytes); `output.bin`, `gradient.bin` and `peak.txt` are written beside them, or `refused.txt`. The argument is the engine: `plain`
//! (f64) or `cpu` (f32). With `numbers` behind it the input is no image but any tensor, and a file `batch` in the folder says that
//! its first axis is a batch of so many.

use candle_core::{DType, Device, Tensor};
use foolproof::kernel::Engine;
use foolproof::kernel::cpu::Cpu;
use foolproof::kernel::plain::Plain;
use foolproof::model::onnx::{Imported, import, import_numbers};
use std::error::Error;
use std::fs;
use std::io::BufRead;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (engine, is_image) = (words.first().map_or("plain", String::as_str), words.get(1).is_none());
    for folder in std::io::stdin().lock().lines() {
        let folder = folder?;
        let folder = Path::new(&folder);
        if let Err(problem) = probe(folder, engine, is_image) {
            fs::write(folder.join("refused.txt"), problem.to_string())?;
        }
        println!("{}", folder.display());
    }
    Ok(())
}

fn probe(folder: &Path, engine: &str, is_image: bool) -> Result<(), Box<dyn Error>> {
    let bytes = fs::read(folder.join("model.onnx"))?;
    let batch = fs::read_to_string(folder.join("batch")).ok();
    let imported = match is_image {
        // normalised where the file does it
        true => import(&bytes, Some(folder), None, [0.0; 3], [1.0; 3])?,
        false => import_numbers(&bytes, batch.is_some())?,
    };
    let Imported { graph, notes, .. } = imported;
    fs::write(folder.join("notes.txt"), notes.join("\n"))?;
    let [height, width] = graph.size();
    let (mut input, seed) = (numbers(&folder.join("input.bin"))?, numbers(&folder.join("seed.bin"))?);
    let images = match is_image {
        true => input.len() / (3 * height * width),
        false => batch.map_or(Ok(1), |n| n.trim().parse::<usize>())?,
    };
    let given = input.len() / images;
    if !is_image {
        let rows = input.chunks(given.max(1)).flat_map(|row| {
            let filling = std::iter::repeat_n(0.0, 3 * height * width - row.len());
            row.iter().copied().chain(filling)
        });
        input = rows.collect();
        input.resize(3 * height * width * images, 0.0);
    }
    let classes = graph.classes();
    if seed.len() != images * classes {
        return Err(format!("{} numbers in the output of {images} images, not {}", images * classes, seed.len()).into());
    }
    let x = Tensor::from_vec(input, (images, 3, height, width), &Device::Cpu)?;
    let (logits, gradient) = match engine {
        "plain" => {
            let seed = Tensor::from_vec(seed, (images, classes), &Device::Cpu)?;
            Plain::new(graph.to_f64()).gradient(&x, |_| Ok(seed.clone()))?
        }
        _ => {
            let loss = |row: usize, _: &[f32], gradient: &mut [f32]| {
                gradient.iter_mut().zip(&seed[row * classes..]).for_each(|(g, s)| *g = *s as f32);
            };
            Cpu::new(graph).logits_and_gradient(&x.to_dtype(DType::F32)?, &loss)?
        }
    };
    write(&folder.join("output.bin"), &logits, classes)?;
    write(&folder.join("gradient.bin"), &gradient, given)?;
    Ok(fs::write(folder.join("peak.txt"), peak())?)
}

/// The most memory that this process has held, in KiB, where the system says so.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")).unwrap_or_default().to_owned()
}

fn numbers(path: &Path) -> Result<Vec<f64>, Box<dyn Error>> {
    Ok(fs::read(path)?.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

/// Writes the first `n` numbers of each row.
fn write(path: &Path, tensor: &Tensor, n: usize) -> Result<(), Box<dyn Error>> {
    let rows = tensor.to_dtype(DType::F64)?.flatten_from(1)?.to_vec2::<f64>()?;
    let numbers = rows.iter().flat_map(|row| &row[..n]);
    Ok(fs::write(path, numbers.flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?)
}
