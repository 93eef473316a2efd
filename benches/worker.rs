//! Does one piece of work a line of input and says how long it took: our side of `scripts/bench_pytorch.py`.
//!
//! `load NET SIDE` (a name of `benches/nets`), `weights FILE`, `gradient BATCH [REPEATS]`, `forward BATCH [REPEATS]`,
//! `check FILE`, `peak` (of memory, since the network was loaded), `flops`. Every answer is one line; of times, seconds a repeat. Options: `--threads N`,
//! `--instructions NAME`; `--device cuda [--precision f32|tf32|bf16]` drives the CUDA engine instead.

mod nets;

#[cfg(feature = "cuda")]
use candle_core::{Device, Tensor};
use foolproof::kernel::cpu::{Cpu, INSTRUCTIONS, Instructions};
#[cfg(feature = "cuda")]
use foolproof::kernel::{Engine, Loss};
use foolproof::kernel::{Graph, Precision};
use nets::{network, pixels, seed, weights};
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
    // name and side
    let mut loaded: Option<(String, usize)> = None;
    let mut net: Option<Graph<f32>> = None;
    let mut engine: Option<Side> = None;
    let precision = option("--precision").map_or(Precision::F32, |name| {
        Precision::ALL.into_iter().find(|p| p.name() == name).expect("f32, tf32 or bf16")
    });
    let on_cuda = option("--device") == Some("cuda");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            ["load", name, side] => {
                let side = side.parse().expect("a number");
                loaded = Some((name.to_string(), side));
                net = Some(network(name, side));
                engine = None;
                forget_peak();
                "ok".to_string()
            }
            ["weights", file] => {
                let (name, side) = loaded.as_ref().expect("loaded");
                std::fs::write(file, weights(name, *side)).expect("a place to write to");
                forget_peak();
                "ok".to_string()
            }
            ["flops"] => flops(instructions).to_string(),
            ["peak"] => peak().to_string(),
            [work, rest, repeats @ ..] => {
                let engine = engine.get_or_insert_with(|| {
                    let net = net.take().expect("loaded");
                    match on_cuda {
                        true => cuda_side(net, precision),
                        false => Side::Cpu(Box::new(Cpu::with(net, instructions))),
                    }
                });
                let repeats = repeats.first().map_or(1, |n| n.parse().expect("a number"));
                match *work {
                    "check" => check(engine, Path::new(rest)),
                    _ => engine.time(rest.parse().expect("a number"), repeats, *work == "gradient").to_string(),
                }
            }
            _ => break,
        };
        println!("{answer}");
        std::io::stdout().flush().expect("a reader");
    }
}

/// Whose turn it is.
enum Side {
    Cpu(Box<Cpu>),
    /// Images stay on the device, and what comes of them too.
    #[cfg(feature = "cuda")]
    Cuda {
        engine: Box<foolproof::kernel::cuda::Cuda>,
        device: Device,
        side: usize,
    },
}

#[cfg(feature = "cuda")]
fn cuda_side(net: Graph<f32>, precision: Precision) -> Side {
    let device = foolproof::kernel::cuda::open(0).expect("a device");
    let [side, _] = net.size();
    let engine = Box::new(foolproof::kernel::cuda::Cuda::new(net, &device, precision).expect("a net for CUDA"));
    Side::Cuda { engine, device, side }
}

#[cfg(not(feature = "cuda"))]
fn cuda_side(_: Graph<f32>, _: Precision) -> Side {
    panic!("built without feature cuda")
}

impl Side {
    fn side(&self) -> usize {
        match self {
            Side::Cpu(engine) => engine.size()[0],
            #[cfg(feature = "cuda")]
            Side::Cuda { side, .. } => *side,
        }
    }

    /// Seconds of one of several passes, after one that is not counted.
    fn time(&self, batch: usize, repeats: usize, gradient: bool) -> f64 {
        let x = pixels(batch, self.side());
        let (logits, seconds) = match self {
            Side::Cpu(engine) => {
                let pass = || engine.images(&x, if gradient { Some(&seed) } else { None }).0;
                let mut logits = pass();
                let began = Instant::now();
                (0..repeats).for_each(|_| logits = pass());
                (logits, began.elapsed().as_secs_f64())
            }
            #[cfg(feature = "cuda")]
            Side::Cuda { engine, device, side } => {
                let x = Tensor::from_vec(x, (batch, 3, *side, *side), device).expect("memory");
                let pass = || match gradient {
                    true => engine.logits_and_gradient(&x, &OnDevice).expect("a pass").0,
                    false => engine.logits(&x).expect("a pass"),
                };
                let mut logits = pass();
                device.synchronize().expect("a device");
                let began = Instant::now();
                (0..repeats).for_each(|_| logits = pass());
                device.synchronize().expect("a device");
                let seconds = began.elapsed().as_secs_f64();
                (logits.flatten_all().and_then(|z| z.to_vec1()).expect("logits"), seconds)
            }
        };
        assert!(logits.iter().all(|z| z.is_finite()), "the net is out of its mind");
        seconds / repeats as f64
    }

    /// Logits and gradients.
    fn compute(&self, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
        match self {
            Side::Cpu(engine) => engine.images(x, Some(&seed)),
            #[cfg(feature = "cuda")]
            Side::Cuda { engine, device, side } => {
                let n = x.len() / (3 * side * side);
                let x = Tensor::from_slice(x, (n, 3, *side, *side), device).expect("memory");
                let (logits, gradient) = engine.logits_and_gradient(&x, &OnDevice).expect("a pass");
                let here = |t: Tensor| t.flatten_all().and_then(|t| t.to_vec1()).expect("numbers");
                (here(logits), here(gradient))
            }
        }
    }
}

/// [`seed`] in tensor operations.
#[cfg(feature = "cuda")]
struct OnDevice;

#[cfg(feature = "cuda")]
impl Loss for OnDevice {
    fn gradient(&self, row: usize, logits: &[f32], gradient: &mut [f32]) {
        seed(row, logits, gradient);
    }

    fn on_device(&self, _: usize, logits: &Tensor) -> foolproof::error::Result<Tensor> {
        let weights = logits.broadcast_sub(&logits.max_keepdim(1)?)?.exp()?;
        let p = weights.broadcast_div(&weights.sum_keepdim(1)?)?;
        let others = p.narrow(1, 1, p.dim(1)? - 1)?;
        Ok(Tensor::cat(&[&others.sum_keepdim(1)?.neg()?, &others], 1)?)
    }
}

/// Writes the images, logits and gradients of a batch of 4, for the other side to compare.
fn check(engine: &Side, file: &Path) -> String {
    let x = pixels(4, engine.side());
    let (logits, gradient) = engine.compute(&x);
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

/// Lets the peak begin anew (Linux, proc(5)): files and numbers that a network was made of are gone.
fn forget_peak() {
    _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Most memory this process has held since [`forget_peak`], in KiB (Linux).
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
