//! Our own kernels: compiled when the engine is made, launched on candle's stream.

use super::device::failed;
use crate::kernel::Precision;
use crate::kernel::graph::Activation;
use crate::kernel::schedule;
use candle_core::{Error, Result};
use cudarc::driver::{CudaFunction, CudaModule, CudaStream, DeviceRepr};
use cudarc::nvrtc::{Ptx, result as nvrtc, sys};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, PoisonError};

const SOURCE: &str = include_str!("kernels.cu");

const NAMES: [&str; 21] = [
    "normalise",
    "image_gradient",
    "finish",
    "relu_bits",
    "finish_gradient",
    "pool",
    "unpool",
    "max_pool",
    "max_pool_gradient",
    "average",
    "average_gradient",
    "direct",
    "direct_gradient",
    "contract",
    "contract_eights",
    "softmax",
    "softmax_gradient",
    "layer_norm",
    "layer_norm_gradient",
    "logits",
    "seed",
];

/// Threads a block: the kernels only wait for memory and share nothing, so that any multiple of 32 does.
pub const THREADS: u32 = 256;

/// Threads of a row (`LANES` in `kernels.cu`).
pub const LANES: u32 = 128;

/// The functions of `kernels.cu` for one precision.
pub struct Kernels {
    pub stream: Arc<CudaStream>,
    functions: HashMap<&'static str, CudaFunction>,
}

impl Kernels {
    /// Compiles for the device that `stream` belongs to.
    pub fn new(stream: &Arc<CudaStream>, precision: Precision) -> Result<Kernels> {
        let (name, options) = if precision == Precision::Bf16 { ("bf16", "-DBF16") } else { ("f32", "--std=c++17") };
        let module = module(stream, name, SOURCE, options)?;
        let find = |name: &'static str| Ok((name, module.load_function(name).map_err(failed)?));
        Ok(Kernels { stream: stream.clone(), functions: NAMES.into_iter().map(find).collect::<Result<_>>()? })
    }

    /// The function of that name.
    pub fn get(&self, name: &str) -> &CudaFunction {
        &self.functions[name]
    }
}

/// `source` as a module of the device that `stream` belongs to, compiled when its `name` is first asked for. NVRTC writes machine
/// code for the device: the PTX of an NVRTC newer than the driver, as PyTorch brings along, would be refused. Where NVRTC is
/// older than the card, the driver compiles.
///
/// # Errors
/// What the compiler complains of; those of the driver.
pub fn module(stream: &CudaStream, name: &'static str, source: &str, option: &str) -> Result<Arc<CudaModule>> {
    // by card: its contexts are all one, which a module keeps open
    static MODULES: Mutex<BTreeMap<(usize, &str), Arc<CudaModule>>> = Mutex::new(BTreeMap::new());
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    match modules.entry((stream.context().ordinal(), name)) {
        Entry::Occupied(known) => Ok(known.get().clone()),
        Entry::Vacant(new) => Ok(new.insert(load(stream, source, option)?).clone()),
    }
}

fn load(stream: &CudaStream, source: &str, option: &str) -> Result<Arc<CudaModule>> {
    let (major, minor) = stream.context().compute_capability().map_err(failed)?;
    let source = CString::new(source).map_err(failed)?;
    let compile = |architecture: String| {
        Program::compile(&source, &[format!("--gpu-architecture={architecture}"), option.to_string()])
    };
    let code = match compile(format!("sm_{major}{minor}")) {
        Ok(program) => Ptx::from_binary(program.machine_code()?),
        // the oldest cards that the program is for: any newer one takes their PTX
        Err(_) => Ptx::from_src(compile("compute_80".into())?.ptx()?),
    };
    stream.context().load_module(code).map_err(failed)
}

// --- what kernels are given by value, as in `kernels.cu`

/// `Function`: the name's number, and its two parameters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Function(i32, f32, f32);

impl Function {
    /// The function, or none.
    pub fn new(function: Option<Activation>) -> Function {
        match function {
            None => Function(0, 0.0, 0.0),
            Some(Activation::Relu) => Function(1, 0.0, 0.0),
            Some(Activation::Clip { low, high }) => Function(2, low as f32, high as f32),
            Some(Activation::LeakyRelu { slope }) => Function(3, slope as f32, 0.0),
            Some(Activation::HardSigmoid { slope, offset }) => Function(4, slope as f32, offset as f32),
            Some(Activation::Elu { alpha }) => Function(5, alpha as f32, 0.0),
            Some(Activation::Sigmoid) => Function(6, 0.0, 0.0),
            Some(Activation::Silu) => Function(7, 0.0, 0.0),
            Some(Activation::Gelu) => Function(8, 0.0, 0.0),
            Some(Activation::GeluTanh) => Function(9, 0.0, 0.0),
            Some(Activation::HardSwish) => Function(10, 0.0, 0.0),
            Some(Activation::Tanh) => Function(11, 0.0, 0.0),
            Some(Activation::Erf) => Function(12, 0.0, 0.0),
        }
    }
}

/// `Affine`; a pointer of 0 leads nowhere.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Affine {
    pub x: u64,
    pub factor: u64,
    pub bias: u64,
    pub other: u64,
    pub period: u32,
    pub channels: i32,
    pub groups: i32,
}

/// `Geometry`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Geometry([i32; 15]);

impl Geometry {
    /// Of maps with so many eights of channels.
    pub fn new(on: &schedule::Geometry, groups: usize) -> Geometry {
        let (w, size, out) = (&on.window, on.size, on.out);
        let maps = [size[0], size[1], out[0], out[1], groups];
        let taps = [w.size[0], w.size[1], w.stride[0], w.stride[1], w.dilation[0], w.dilation[1]];
        let mut all = maps.into_iter().chain(taps).chain(w.padding);
        Geometry(std::array::from_fn(|_| all.next().expect("fifteen") as i32))
    }
}

/// `Groups`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Groups(pub [i32; 3]);

/// Axes that a kernel can take.
const AXES: usize = 12;

/// `Loops`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Loops {
    kept: i32,
    summed: i32,
    axes: [[u32; 4]; AXES],
}

impl Loops {
    /// # Errors
    /// More axes than a kernel takes.
    pub fn new(loops: &schedule::Loops) -> Result<Loops> {
        let (kept, summed) = (loops.kept.len(), loops.summed.len());
        if kept + summed > AXES {
            return Err(Error::msg("a value with more axes than the CUDA engine takes"));
        }
        let mut axes = [[0; 4]; AXES];
        for (to, axis) in axes.iter_mut().zip(loops.kept.iter().chain(&loops.summed)) {
            let [y, x, z] = axis.strides;
            *to = [axis.size, y, x, z].map(|v| v as u32);
        }
        Ok(Loops { kept: kept as i32, summed: summed as i32, axes })
    }
}

// SAFETY: plain numbers, laid out as the kernels' structs are
unsafe impl DeviceRepr for Function {}
// SAFETY: as above
unsafe impl DeviceRepr for Affine {}
// SAFETY: as above
unsafe impl DeviceRepr for Geometry {}
// SAFETY: as above
unsafe impl DeviceRepr for Groups {}
// SAFETY: as above
unsafe impl DeviceRepr for Loops {}

/// A compiled program of NVRTC.
struct Program(sys::nvrtcProgram);

impl Program {
    fn compile(source: &CStr, options: &[String]) -> Result<Program> {
        let program = Program(nvrtc::create_program(source, None).map_err(failed)?);
        // SAFETY: a program that was created
        let compiled = unsafe { nvrtc::compile_program(program.0, options) };
        compiled
            .map_err(|problem| Error::msg(format!("NVRTC, {}: {problem:?}\n{}", options.join(" "), program.log())))?;
        Ok(program)
    }

    fn log(&self) -> String {
        // SAFETY: as in `compile`
        let log = unsafe { nvrtc::get_program_log(self.0) }.unwrap_or_default();
        text(&log)
    }

    fn ptx(&self) -> Result<String> {
        // SAFETY: as in `compile`
        Ok(text(&unsafe { nvrtc::get_ptx(self.0) }.map_err(failed)?))
    }

    fn machine_code(&self) -> Result<Vec<u8>> {
        let mut bytes = 0;
        // SAFETY: as in `compile`; `code` has as many bytes as NVRTC writes
        unsafe {
            sys::nvrtcGetCUBINSize(self.0, &mut bytes).result().map_err(failed)?;
            let mut code = vec![0u8; bytes];
            sys::nvrtcGetCUBIN(self.0, code.as_mut_ptr().cast()).result().map_err(failed)?;
            Ok(code)
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once; a failure leaves nothing to do
        unsafe { nvrtc::destroy_program(self.0) }.ok();
    }
}

/// A string of C without its end.
fn text(bytes: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|b| *b as u8).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `launch!(kernels, name, count, arguments…)`: a thread for each of `count`, which is also the first argument. Each
/// argument has the type that the kernel declares: `u64` for a pointer, `u32` for `index_t`, `i32`, `f32`.
///
/// The caller's invariant: every pointer leads to memory of this device that the kernel's documentation fits.
macro_rules! launch {
    ($kernels:expr, $name:literal, $count:expr $(, $argument:expr)* $(,)?) => {{
        // no map has more values than cuDNN counts (`MOST_VALUES`)
        let count = u32::try_from($count).expect("fewer than 2^32 threads");
        let threads = $crate::kernel::cuda::kernels::THREADS;
        let shape = (count.div_ceil(threads), threads);
        $crate::kernel::cuda::kernels::run!($kernels.stream, $kernels.get($name), shape, count $(, $argument)*)
    }};
}
pub(super) use launch;

/// `run!(stream, function, (blocks, threads of a block), arguments…)`, with the invariant of [`launch`].
macro_rules! run {
    ($stream:expr, $function:expr, $shape:expr $(, $argument:expr)*) => {{
        use cudarc::driver::{LaunchConfig, PushKernelArg};
        let (blocks, threads): (u32, u32) = $shape;
        let stream = &$stream;
        let mut launch = stream.launch_builder($function);
        $(let argument = $argument; launch.arg(&argument);)*
        let shape = LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those that the kernel declares, and its pointers lead where it expects them to; it
        // reads and writes below its count only
        unsafe { launch.launch(shape) }.map(|_| ()).map_err($crate::kernel::cuda::device::failed)
    }};
}
pub(super) use run;
