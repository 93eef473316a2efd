//! Does one piece of work a line of input and says how long it took: our side of `scripts/bench_pytorch.py`.
//!
//! `load NET SIDE` (vgg16, vgg11-half), `weights FILE`, `gradient BATCH REPEATS`,
//! `forward BATCH REPEATS`, `check FILE`, `peak`, `flops`.
//! Every answer is one line. Options: `--threads N`, `--instructions NAME`.

mod nets;

use foolproof::kernel::cpu::{Cpu, INSTRUCTIONS, Instructions};
use foolproof::kernel::{Net, Step};
use foolproof::model;
use nets::{pixels, seed, vgg16};
use safetensors::tensor::{Dtype, TensorView};
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).map(|i| arguments[i + 1].as_str());
    let threads = option("--threads").map_or(2, |n| n.parse().expect("a number"));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("threads");
    let instructions = option("--instructions")
        .map_or(Instructions::widest(), |name| INSTRUCTIONS.iter().find(|(n, _)| *n == name).expect("a known name").1);
    let mut net: Option<Net<f32>> = None;
    let mut engine: Option<Cpu> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["load", name, side] => {
                net = Some(load(name, side.parse().expect("a number")));
                engine = None;
                "ok".to_string()
            }
            ["weights", file] => {
                write_weights(net.as_ref().expect("loaded"), Path::new(file));
                "ok".to_string()
            }
            ["flops"] => flops(instructions).to_string(),
            ["peak"] => peak().to_string(),
            [work, batch, repeats] => {
                let engine = engine.get_or_insert_with(|| compile(&mut net, instructions));
                let (batch, repeats) = (batch.parse().expect("a number"), repeats.parse().expect("a number"));
                time(engine, batch, repeats, *work == "gradient").to_string()
            }
            ["check", file] => check(engine.get_or_insert_with(|| compile(&mut net, instructions)), Path::new(file)),
            _ => break,
        };
        println!("{answer}");
        std::io::stdout().flush().expect("a reader");
    }
}

fn compile(net: &mut Option<Net<f32>>, instructions: Instructions) -> Cpu {
    Cpu::with(net.take().expect("loaded"), instructions).unwrap_or_else(|_| panic!("a sequential net"))
}

fn load(name: &str, side: usize) -> Net<f32> {
    match name {
        "vgg16" => vgg16(side),
        _ => model::find("vgg11-half-cifar10", Path::new(".")).and_then(|m| m.net()).expect("embedded"),
    }
}

/// Layer 0, 1, … in order: `0.weight`, `0.bias`; and the normalisation.
fn write_weights(net: &Net<f32>, file: &Path) {
    let bytes = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
        vec![("mean".into(), vec![3], bytes(&net.mean)), ("std".into(), vec![3], bytes(&net.std))];
    let mut layer = 0;
    for step in &net.steps {
        let (shape, weight, bias) = match step {
            Step::Conv { inputs, outputs, weight, bias } => (vec![*outputs, *inputs, 3, 3], weight, bias),
            Step::Linear { inputs, outputs, weight, bias, .. } => (vec![*outputs, *inputs], weight, bias),
            Step::MaxPool | Step::AveragePool { .. } => continue,
        };
        tensors.push((format!("{layer}.bias"), vec![bias.len()], bytes(bias)));
        tensors.push((format!("{layer}.weight"), shape, bytes(weight)));
        layer += 1;
    }
    let views = tensors.iter().map(|(name, shape, data)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).expect("the right size"))
    });
    safetensors::serialize_to_file(views, None, file).expect("a place to write to");
}

/// Seconds of one of several repetitions, after one that is not counted.
fn time(engine: &Cpu, batch: usize, repeats: usize, gradient: bool) -> f64 {
    let x = pixels(batch, engine.side());
    let run = || {
        let result = engine.images(&x, if gradient { Some(&seed) } else { None });
        assert!(result.0.iter().all(|z| z.is_finite()), "the net is out of its mind");
    };
    run();
    let began = Instant::now();
    (0..repeats).for_each(|_| run());
    began.elapsed().as_secs_f64() / repeats as f64
}

/// Writes the images, logits and gradients of a batch of 4, for the other side to compare.
fn check(engine: &Cpu, file: &Path) -> String {
    let x = pixels(4, engine.side());
    let (logits, gradient) = engine.images(&x, Some(&seed));
    let bytes = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let shape = vec![4, 3, engine.side(), engine.side()];
    let all = [
        ("gradient", shape.clone(), bytes(&gradient)),
        ("images", shape, bytes(&x)),
        ("logits", vec![4, logits.len() / 4], bytes(&logits)),
    ];
    let views = all
        .iter()
        .map(|(name, shape, data)| (*name, TensorView::new(Dtype::F32, shape.clone(), data).expect("the right size")));
    safetensors::serialize_to_file(views, None, file).expect("a place to write to");
    "ok".to_string()
}

/// Most memory this process ever held, in KiB (Linux).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Measured peak of fused multiply-adds of one core, in FLOP/s.
fn flops(instructions: Instructions) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        const ROUNDS: usize = 20_000_000;
        let began = Instant::now();
        let (sum, lanes) = match instructions {
            // SAFETY: an engine of these instructions could only be asked for where they are
            Instructions::Avx512 if Instructions::widest() >= instructions => (unsafe { peak_512(ROUNDS) }, 16),
            // SAFETY: as above
            Instructions::Avx2 if Instructions::widest() >= instructions => (unsafe { peak_256(ROUNDS) }, 8),
            _ => return 0.0,
        };
        assert!(sum.is_finite());
        (ROUNDS * CHAINS * lanes * 2) as f64 / began.elapsed().as_secs_f64()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        _ = instructions;
        0.0
    }
}

/// Independent chains: more than latency × units on any machine so far.
#[cfg(target_arch = "x86_64")]
const CHAINS: usize = 12;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn peak_512(rounds: usize) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let x = _mm512_set1_ps(0.999);
    let mut sums = [x; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, x, x);
        }
    }
    sums.into_iter().map(|s| _mm512_reduce_add_ps(s)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn peak_256(rounds: usize) -> f32 {
    use std::arch::x86_64::{_mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let x = _mm256_set1_ps(0.999);
    let mut sums = [x; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, x, x);
        }
    }
    sums.into_iter().map(|s| _mm256_cvtss_f32(s)).sum()
}
