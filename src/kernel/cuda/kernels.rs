//! Our own kernels: compiled when the engine is made, launched on candle's stream.

use super::failed;
use crate::kernel::Precision;
use candle_core::Result;
use cudarc::driver::{CudaFunction, CudaStream};
use cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use std::collections::HashMap;
use std::sync::Arc;

const SOURCE: &str = include_str!("kernels.cu");

const NAMES: [&str; 11] = [
    "normalise",
    "image_gradient",
    "finish",
    "relu_bits",
    "relu_gradient",
    "pool",
    "unpool",
    "average",
    "average_gradient",
    "logits",
    "seed",
];

/// Threads a block: the kernels only wait for memory and share nothing, so that any multiple of 32 does.
pub const THREADS: u32 = 256;

/// The functions of `kernels.cu` for one precision.
pub struct Kernels {
    pub stream: Arc<CudaStream>,
    functions: HashMap<&'static str, CudaFunction>,
}

impl Kernels {
    /// Compiles for the device that `stream` belongs to.
    pub fn new(stream: &Arc<CudaStream>, precision: Precision) -> Result<Kernels> {
        let options: &[&str] = if precision == Precision::Bf16 { &["-DBF16"] } else { &[] };
        let ptx = compile(stream, SOURCE, options)?;
        let module = stream.context().load_module(ptx).map_err(failed)?;
        let load = |name: &'static str| Ok((name, module.load_function(name).map_err(failed)?));
        Ok(Kernels { stream: stream.clone(), functions: NAMES.into_iter().map(load).collect::<Result<_>>()? })
    }

    /// The function of that name.
    pub fn get(&self, name: &str) -> &CudaFunction {
        &self.functions[name]
    }
}

/// PTX of `source` for the device that `stream` belongs to.
pub fn compile(stream: &CudaStream, source: &str, more: &[&str]) -> Result<Ptx> {
    let (major, minor) = stream.context().compute_capability().map_err(failed)?;
    let mut options = vec![format!("--gpu-architecture=compute_{major}{minor}")];
    options.extend(more.iter().map(|option| option.to_string()));
    let options = CompileOptions { options, ..CompileOptions::default() };
    compile_ptx_with_opts(source, options).map_err(failed)
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
        unsafe { launch.launch(shape) }.map(|_| ()).map_err($crate::kernel::cuda::failed)
    }};
}
pub(super) use run;
