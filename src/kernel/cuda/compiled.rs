//! A network on the device in one precision: its weights, maps and the ways of its convolutions.

use super::convolution::{Convolution, Cudnn, Operands, Shape, Way};
use super::device::{self, Buffer, failed, is_logged, return_freed_memory};
use super::kernels::{Kernels, launch};
use crate::error::{Error, Result};
use crate::kernel::net::transposed;
use crate::kernel::{Net, Precision, Step};
use crate::notice::say;
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result, sys};
use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp1, Layout, Tensor};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr;
use std::sync::Arc;

/// Channels of a map are padded to a multiple of this: those that a thread takes (`Eight` in `kernels.cu`).
const EIGHT: usize = 8;

/// cuDNN counts the values of a map in 32 bits with a sign.
const MOST_VALUES: usize = i32::MAX as usize;

/// Smaller batches take the ways of a larger one: to measure costs seconds, and they are the ends of sweeps.
const MEASURED_FROM: usize = 32;

/// What the log says of them.
const LIKE_LARGER: &str = ", as in a larger batch";

/// A network ready to run, one pass at a time.
pub struct Compiled {
    // before the stream, whose context it needs when it is dropped
    cudnn: Cudnn,
    kernels: Kernels,
    blas: Arc<CudaBlas>,
    stream: Arc<CudaStream>,
    precision: Precision,
    side: usize,
    mean: [f32; 3],
    std: [f32; 3],
    classes: usize,
    layers: Vec<Layer>,
    /// Values a image of the largest map.
    largest: usize,
    /// Maps and bits for as many images as were ever needed.
    space: Option<Space>,
    /// Ways of the convolutions, by batch size and layer.
    forward: BTreeMap<usize, Vec<Option<Convolution>>>,
    backward: BTreeMap<usize, Vec<Option<(Convolution, Way)>>>,
    /// Images of the last pass, and of the batch they were rounded up to.
    images: usize,
    batch: usize,
}

// SAFETY: the raw handles of cuDNN may be used by any thread, one at a time; `&mut self` sees to that, and each pass
// binds the context to its thread first
unsafe impl Send for Compiled {}

/// A step of the net; channels are padded.
struct Layer {
    work: Work,
    /// Side and channels of the map it reads, and of that it writes.
    before: (usize, usize),
    after: (usize, usize),
}

enum Work {
    /// Convolution, bias, ReLU, and a pool if one follows.
    Convolution {
        /// outputs × 3 × 3 × inputs.
        weight: Buffer,
        /// inputs × 3 × 3 × outputs, turned.
        turned: Buffer,
        bias: Bias,
        pooled: bool,
    },
    /// A pool that does not follow a convolution.
    Pool,
    Average,
    Linear {
        /// outputs × (row, column, channel).
        weight: Buffer,
        bias: Bias,
        relu: bool,
    },
}

/// For our kernels in f32, for cuDNN in the precision of the maps.
struct Bias {
    f32s: Buffer,
    as_maps: Buffer,
}

/// What a pass writes, for up to `images` images.
struct Space {
    images: usize,
    /// Two maps: a layer reads one and writes the other.
    maps: [Buffer; 2],
    /// For each layer the bits of its ReLU and the corners of its pool: one byte and two for eight values it writes.
    bits: Vec<Buffer>,
    corners: Vec<Buffer>,
    workspace: Buffer,
}

impl Layer {
    /// Values an image that it reads, and writes.
    fn read(&self) -> usize {
        self.before.0 * self.before.0 * self.before.1
    }

    fn written(&self) -> usize {
        self.after.0 * self.after.0 * self.after.1
    }

    /// Whether a ReLU leaves bits, and a pool corners too.
    fn keeps(&self) -> (bool, bool) {
        match self.work {
            Work::Convolution { pooled, .. } => (true, pooled),
            Work::Pool => (true, true),
            Work::Linear { relu, .. } => (relu, false),
            Work::Average => (false, false),
        }
    }

    /// Values an image of the largest map it needs: before a pool, the convolution writes a map of its own.
    fn largest(&self) -> usize {
        self.read().max(self.before.0 * self.before.0 * self.after.1).max(self.written())
    }

    fn shape(&self, images: usize) -> Shape {
        Shape { images, side: self.before.0, inputs: self.before.1, outputs: self.after.1 }
    }
}

impl Compiled {
    /// Copies the weights and compiles the kernels.
    pub fn new(net: &Net<f32>, device: &CudaDevice, precision: Precision) -> Result<Compiled> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(failed)?;
        let layers = layers(net, &stream, precision)?;
        Ok(Compiled {
            cudnn: Cudnn::new(&stream)?,
            kernels: Kernels::new(&stream, precision)?,
            blas: device.cublas_handle(),
            stream,
            precision,
            side: net.side,
            mean: net.mean,
            std: net.std,
            classes: net.classes,
            largest: layers.iter().map(Layer::largest).fold(net.side * net.side * EIGHT, usize::max),
            layers,
            space: None,
            forward: BTreeMap::new(),
            backward: BTreeMap::new(),
            images: 0,
            batch: 0,
        })
    }

    /// More images at once are more than the libraries can count.
    pub fn most_images(&self) -> usize {
        // of 2ᵏ, which is what a batch is rounded up to
        let most = (MOST_VALUES / self.largest).max(1);
        1 << most.ilog2()
    }

    /// Gives back all memory but that of the weights.
    pub fn release(&mut self) {
        self.space = None;
        if let Err(problem) = return_freed_memory(&self.stream) {
            say(format_args!("freed memory of the device stays with this process: {problem}"));
        }
    }

    /// Images N×3×side×side, f32, to logits N×classes, f32.
    pub fn logits(&mut self, images: &Tensor) -> Result<Tensor> {
        let n = images.dim(0)?;
        let classes = self.classes;
        self.get_ready(n)?;
        let on_device = OnDevice::new("logits", (n, classes), |x, stream| {
            // SAFETY: every value is written below
            let logits = unsafe { stream.alloc::<f32>(n * classes) }.map_err(failed)?;
            self.forward(x, n, logits.device_ptr(stream).0)?;
            Ok(logits)
        });
        Ok(images.contiguous()?.apply_op1_no_bwd(&on_device)?)
    }

    /// The gradient N×3×side×side with respect to the images of the last call of [`Compiled::logits`], for the gradient
    /// N×classes with respect to their logits.
    pub fn gradient(&mut self, of_logits: &Tensor) -> Result<Tensor> {
        let (n, side) = (self.images, self.side);
        self.get_ready_to_return()?;
        let on_device = OnDevice::new("gradient", (n, 3, side, side), |g, stream| {
            // SAFETY: every value is written below
            let images = unsafe { stream.alloc::<f32>(n * 3 * side * side) }.map_err(failed)?;
            self.backward(g, images.device_ptr(stream).0)?;
            Ok(images)
        });
        Ok(of_logits.contiguous()?.apply_op1_no_bwd(&on_device)?)
    }

    /// Room for so many images, and the ways of their convolutions.
    fn get_ready(&mut self, n: usize) -> Result<()> {
        self.stream.context().bind_to_thread().map_err(failed)?;
        (self.images, self.batch) = (n, rounded(n));
        self.make_space()?;
        if !self.forward.contains_key(&self.batch) {
            let ways = self.forward_ways()?;
            self.forward.insert(self.batch, ways);
        }
        Ok(self.make_workspace()?)
    }

    /// The ways back of the last batch.
    fn get_ready_to_return(&mut self) -> Result<()> {
        self.stream.context().bind_to_thread().map_err(failed)?;
        if !self.backward.contains_key(&self.batch) {
            let ways = self.backward_ways()?;
            self.backward.insert(self.batch, ways);
        }
        Ok(self.make_workspace()?)
    }

    fn forward(&mut self, images: u64, n: usize, logits: u64) -> candle_core::Result<()> {
        let (batch, kernels, space) = (self.batch, &self.kernels, self.space.as_ref().expect("made above"));
        let [mut x, mut y] = space.maps.each_ref().map(Buffer::pointer);
        let pixels = self.side * self.side;
        let ([m0, m1, m2], [s0, s1, s2]) = (self.mean, self.std);
        launch!(kernels, "normalise", n * pixels, images, x, pixels as u32, m0, m1, m2, s0, s1, s2)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let (side, out, groups) = (layer.before.0 as i32, layer.after.0 as i32, (layer.after.1 / EIGHT) as i32);
            let (bits, corners) = (space.bits[i].pointer(), space.corners[i].pointer());
            let eights = batch * layer.written() / EIGHT;
            match &layer.work {
                Work::Convolution { weight, bias, pooled, .. } => {
                    let way = self.forward[&batch][i].as_ref().expect("measured above");
                    let operands = Operands { x, weight: weight.pointer(), y, bias: bias.as_maps.pointer() };
                    way.run(&self.cudnn, operands, &space.workspace)?;
                    if *pooled {
                        // into the map that the convolution has read
                        let bias = bias.f32s.pointer();
                        launch!(kernels, "pool", eights, y, x, side, bias, groups, 1i32, bits, corners)?;
                        continue;
                    }
                    self.after_convolution(i, layer, way, y)?;
                }
                Work::Pool => launch!(kernels, "pool", eights, x, y, side, 0u64, groups, 0i32, bits, corners)?,
                Work::Average => launch!(kernels, "average", eights, x, y, side, out, groups)?,
                Work::Linear { weight, bias, relu } => {
                    self.multiply(weight.pointer(), x, y, (layer.read(), layer.written()), true)?;
                    let bits = if *relu { bits } else { 0 };
                    launch!(kernels, "finish", eights, y, bias.f32s.pointer(), groups, i32::from(*relu), bits)?;
                }
            }
            (x, y) = (y, x);
        }
        let (classes, padded) = (self.classes, self.classes.next_multiple_of(EIGHT));
        launch!(kernels, "logits", n * classes, x, logits, classes as i32, padded as i32)
    }

    fn backward(&mut self, of_logits: u64, images: u64) -> candle_core::Result<()> {
        let (n, batch, kernels) = (self.images, self.batch, &self.kernels);
        let space = self.space.as_ref().expect("made on the way forward");
        // g: gradient with respect to what the layer writes; to: to what it reads
        let [mut g, mut to] = space.maps.each_ref().map(Buffer::pointer);
        let (classes, padded) = (self.classes, self.classes.next_multiple_of(EIGHT));
        launch!(kernels, "seed", n * padded, of_logits, g, classes as i32, padded as i32)?;
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let (side, out, groups) = (layer.before.0 as i32, layer.after.0 as i32, (layer.after.1 / EIGHT) as i32);
            let (bits, corners) = (space.bits[i].pointer(), space.corners[i].pointer());
            let eights = batch * layer.written() / EIGHT;
            let before_pool = batch * layer.before.0 * layer.before.0 * layer.after.1 / EIGHT;
            match &layer.work {
                Work::Convolution { weight, turned, pooled, .. } => {
                    if *pooled {
                        launch!(kernels, "unpool", before_pool, g, to, side, groups, bits, corners)?;
                        (g, to) = (to, g);
                    } else {
                        launch!(kernels, "relu_gradient", eights, g, bits)?;
                    }
                    let (convolution, way) = self.backward[&batch][i].as_ref().expect("measured above");
                    let operands = Operands { x: g, weight: weight.pointer(), y: to, bias: 0 };
                    let (_, operands) = way.reads(layer.shape(batch), operands, turned.pointer());
                    convolution.run(&self.cudnn, operands, &space.workspace)?;
                }
                Work::Pool => launch!(kernels, "unpool", before_pool, g, to, side, groups, bits, corners)?,
                Work::Average => {
                    launch!(kernels, "average_gradient", before_pool, g, to, side, out, groups)?;
                }
                Work::Linear { weight, relu, .. } => {
                    if *relu {
                        launch!(kernels, "relu_gradient", eights, g, bits)?;
                    }
                    self.multiply(weight.pointer(), g, to, (layer.read(), layer.written()), false)?;
                }
            }
            (g, to) = (to, g);
        }
        let pixels = self.side * self.side;
        let [s0, s1, s2] = self.std;
        launch!(kernels, "image_gradient", n * pixels, g, images, pixels as u32, s0, s1, s2)
    }

    /// The product of a fully connected layer for the whole batch: y = x·Wᵀ on the way forward, y = x·W on the way back,
    /// with W outputs×inputs.
    fn multiply(
        &self,
        weight: u64,
        x: u64,
        y: u64,
        (inputs, outputs): (usize, usize),
        forward: bool,
    ) -> candle_core::Result<()> {
        use sys::cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
        use sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        use sys::cudaDataType_t::{CUDA_R_16BF, CUDA_R_32F};
        let data = if self.precision == Precision::Bf16 { CUDA_R_16BF } else { CUDA_R_32F };
        let sums = if self.precision == Precision::Tf32 { CUBLAS_COMPUTE_32F_FAST_TF32 } else { CUBLAS_COMPUTE_32F };
        // cuBLAS counts columns first: our rows are its columns
        let (rows, inner) = if forward { (outputs, inputs) } else { (inputs, outputs) };
        // SAFETY: weight, x and y have outputs×inputs, batch×inner and batch×rows values of type `data` on this device
        unsafe {
            result::gemm_ex(
                *self.blas.handle(),
                if forward { CUBLAS_OP_T } else { CUBLAS_OP_N },
                CUBLAS_OP_N,
                rows as i32,
                self.batch as i32,
                inner as i32,
                ptr::from_ref(&1.0f32).cast(),
                weight as *const _,
                data,
                inputs as i32,
                x as *const _,
                data,
                inner as i32,
                ptr::from_ref(&0.0f32).cast(),
                y as *mut _,
                data,
                rows as i32,
                sums,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(failed)
    }

    /// Room for the batch.
    fn make_space(&mut self) -> candle_core::Result<()> {
        let images = self.batch;
        if self.space.as_ref().is_some_and(|s| s.images >= images) {
            return Ok(());
        }
        // first, so that both are never there at once
        self.space = None;
        let new = |bytes: usize| Buffer::new(&self.stream, bytes);
        let map = images * self.largest * self.precision.bytes();
        let eights = |layer: &Layer| images * layer.written() / EIGHT;
        let bits =
            self.layers.iter().map(|l| new(if l.keeps().0 { eights(l) } else { 0 })).collect::<Result<_, _>>()?;
        let corners =
            self.layers.iter().map(|l| new(if l.keeps().1 { 2 * eights(l) } else { 0 })).collect::<Result<_, _>>()?;
        self.space = Some(Space { images, maps: [new(map)?, new(map)?], bits, corners, workspace: new(0)? });
        Ok(())
    }

    /// Workspace for every way of the batch.
    fn make_workspace(&mut self) -> candle_core::Result<()> {
        let forward = self.forward.get(&self.batch).into_iter().flatten().flatten().map(|c| c.workspace);
        let backward = self.backward.get(&self.batch).into_iter().flatten().flatten().map(|(c, _)| c.workspace);
        let bytes = forward.chain(backward).max().unwrap_or(0);
        let space = self.space.as_mut().expect("made before");
        if space.workspace.bytes() < bytes {
            space.workspace = Buffer::new(&self.stream, 0)?;
            space.workspace = Buffer::new(&self.stream, bytes)?;
        }
        Ok(())
    }

    /// How the convolutions go forward. The maps are scratch.
    fn forward_ways(&self) -> Result<Vec<Option<Convolution>>> {
        let [x, y] = self.scratch();
        let larger = self.larger(&self.forward);
        let way = |(i, layer): (usize, &Layer)| -> Result<Option<Convolution>> {
            let Work::Convolution { weight, bias, pooled, .. } = &layer.work else { return Ok(None) };
            let operands = Operands { x, weight: weight.pointer(), y, bias: bias.as_maps.pointer() };
            let shape = layer.shape(self.batch);
            let known = larger.and_then(|ways| ways[i].as_ref());
            let same = known.and_then(|known| known.like(&self.cudnn, shape, self.precision, operands).ok());
            let (way, whence) = match same {
                Some(same) => (same, LIKE_LARGER.to_string()),
                None => self.measure_forward(i, layer, operands, *pooled)?,
            };
            self.log(i, "forward", shape, format_args!("{}{whence}", way.describe()));
            Ok(Some(way))
        };
        self.layers.iter().enumerate().map(way).collect()
    }

    /// The fastest way forward of a convolution with what follows it: by itself, or with bias and ReLU in it. And what
    /// both took, for the log.
    fn measure_forward(
        &self,
        i: usize,
        layer: &Layer,
        operands: Operands,
        pooled: bool,
    ) -> Result<(Convolution, String)> {
        let shape = layer.shape(self.batch);
        let plain = Convolution::forward(&self.cudnn, shape, self.precision, operands)?;
        // the pool adds bias and ReLU itself
        let fused = if pooled { None } else { plain.fused(&self.cudnn, shape, self.precision, operands)? };
        let Some(fused) = fused else { return Ok((plain, String::new())) };
        let space = Buffer::new(&self.stream, plain.workspace)?;
        let seconds = |way: &Convolution| {
            device::seconds(&self.stream, || {
                way.run(&self.cudnn, operands, &space)?;
                Ok(self.after_convolution(i, layer, way, operands.y)?)
            })
        };
        let (by_fused, by_plain) = (seconds(&fused)?, seconds(&plain)?);
        let both = format!("; with what follows {:.3} ms fused, {:.3} ms plain", 1e3 * by_fused, 1e3 * by_plain);
        Ok((if by_fused <= by_plain { fused } else { plain }, both))
    }

    /// What follows a convolution without a pool that has written `y`: bias and ReLU if it has not done them, and the bits.
    fn after_convolution(&self, i: usize, layer: &Layer, way: &Convolution, y: u64) -> candle_core::Result<()> {
        let Work::Convolution { bias, .. } = &layer.work else { return Ok(()) };
        let space = self.space.as_ref().expect("made before");
        let (kernels, bits) = (&self.kernels, space.bits[i].pointer());
        let (eights, groups) = (self.batch * layer.written() / EIGHT, (layer.after.1 / EIGHT) as i32);
        match way.is_fused() {
            true => launch!(kernels, "relu_bits", eights, y, bits),
            false => launch!(kernels, "finish", eights, y, bias.f32s.pointer(), groups, 1i32, bits),
        }
    }

    /// How the convolutions go back. The maps hold nothing that the way back needs.
    fn backward_ways(&self) -> Result<Vec<Option<(Convolution, Way)>>> {
        let [x, y] = self.scratch();
        let larger = self.larger(&self.backward);
        let way = |(i, layer): (usize, &Layer)| -> Result<Option<(Convolution, Way)>> {
            let Work::Convolution { weight, turned, .. } = &layer.work else { return Ok(None) };
            let operands = Operands { x, weight: weight.pointer(), y, bias: 0 };
            let shape = layer.shape(self.batch);
            let turned = turned.pointer();
            let known = larger.and_then(|ways| ways[i].as_ref());
            let same = known.and_then(|(known, way)| {
                let (shape, operands) = way.reads(shape, operands, turned);
                known.like(&self.cudnn, shape, self.precision, operands).ok().map(|same| (same, *way))
            });
            let (way, whence) = match same {
                Some(same) => (same, LIKE_LARGER),
                None => (Convolution::backward(&self.cudnn, shape, self.precision, operands, turned)?, ""),
            };
            self.log(i, "back", shape, format_args!("{}, {:?}{whence}", way.0.describe(), way.1));
            Ok(Some(way))
        };
        self.layers.iter().enumerate().map(way).collect()
    }

    /// The two maps.
    fn scratch(&self) -> [u64; 2] {
        self.space.as_ref().expect("made before").maps.each_ref().map(Buffer::pointer)
    }

    /// What was measured for the next larger batch, where this one is too small to be measured itself.
    fn larger<'a, T>(&self, measured: &'a BTreeMap<usize, T>) -> Option<&'a T> {
        let next = measured.range(self.batch + 1..).next();
        next.map(|(_, ways)| ways).filter(|_| self.batch < MEASURED_FROM)
    }

    fn log(&self, layer: usize, direction: &str, shape: Shape, what: std::fmt::Arguments) {
        if is_logged() {
            let Shape { images, side, inputs, outputs } = shape;
            let precision = self.precision.name();
            say(format_args!(
                "cuda: layer {layer} {direction} {inputs}->{outputs} side {side}, {images} images, {precision}: {what}"
            ));
        }
    }
}

/// The steps of a net with their weights on the device. An average of windows of one pixel is left out.
fn layers(net: &Net<f32>, stream: &Arc<CudaStream>, precision: Precision) -> Result<Vec<Layer>> {
    let shapes = net.shapes();
    let padded = |channels: usize| channels.next_multiple_of(EIGHT);
    let mut layers: Vec<Layer> = Vec::new();
    for ((step, from), to) in net.steps.iter().zip(&shapes).zip(&shapes[1..]) {
        let (before, after) = ((from.side, padded(from.channels)), (to.side, padded(to.channels)));
        if before.0 == 0 || after.0 == 0 {
            return Err(Error::usage("the CUDA engine computes no empty map"));
        }
        let work = match step {
            Step::Conv { inputs, outputs, weight, bias } => {
                let turned = transposed(weight, *inputs, *outputs);
                Work::Convolution {
                    weight: upload(&channels_last(weight, *inputs, *outputs), stream, precision)?,
                    turned: upload(&channels_last(&turned, *outputs, *inputs), stream, precision)?,
                    bias: Bias::new(bias, stream, precision)?,
                    pooled: false,
                }
            }
            Step::MaxPool => match layers.last_mut() {
                Some(Layer { work: Work::Convolution { pooled, .. }, after: of_last, .. }) if !*pooled => {
                    (*pooled, *of_last) = (true, after);
                    continue;
                }
                _ => Work::Pool,
            },
            Step::AveragePool { side } if *side == from.side => continue,
            Step::AveragePool { .. } => Work::Average,
            Step::Linear { inputs, outputs, weight, bias, relu } => {
                if *inputs != from.values() {
                    return Err(Error::usage("a linear layer has another size than the map before it"));
                }
                let pixels = from.side * from.side;
                let mut rows = vec![0.0; after.1 * pixels * before.1];
                for (o, row) in weight.chunks(*inputs).enumerate().take(*outputs) {
                    for (i, w) in row.iter().enumerate() {
                        let (channel, pixel) = (i / pixels, i % pixels);
                        rows[(o * pixels + pixel) * before.1 + channel] = *w;
                    }
                }
                let weight = upload(&rows, stream, precision)?;
                Work::Linear { weight, bias: Bias::new(bias, stream, precision)?, relu: *relu }
            }
        };
        layers.push(Layer { work, before, after });
    }
    let ends_in_logits = net.steps.last().is_some_and(|s| matches!(s, Step::Linear { .. }));
    match ends_in_logits && shapes[shapes.len() - 1].channels == net.classes {
        true => Ok(layers),
        false => Err(Error::usage("the CUDA engine needs a net that ends in a linear layer")),
    }
}

/// outputs×inputs×3×3 to outputs×3×3×inputs, both padded with zeros.
fn channels_last(weight: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let padded = inputs.next_multiple_of(EIGHT);
    let mut last = vec![0.0; outputs.next_multiple_of(EIGHT) * 9 * padded];
    for (i, w) in weight.iter().enumerate() {
        let (output, input, tap) = (i / 9 / inputs, i / 9 % inputs, i % 9);
        last[(output * 9 + tap) * padded + input] = *w;
    }
    last
}

impl Bias {
    fn new(bias: &[f32], stream: &Arc<CudaStream>, precision: Precision) -> Result<Bias> {
        let mut padded = bias.to_vec();
        padded.resize(bias.len().next_multiple_of(EIGHT), 0.0);
        Ok(Bias { f32s: upload(&padded, stream, Precision::F32)?, as_maps: upload(&padded, stream, precision)? })
    }
}

/// Numbers in the precision of maps, on the device.
fn upload(values: &[f32], stream: &Arc<CudaStream>, precision: Precision) -> Result<Buffer> {
    let bytes: Vec<u8> = match precision {
        Precision::Bf16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    Ok(Buffer::of(stream, &bytes)?)
}

/// Work on the device from one f32 tensor to another: `work(where the first lies, stream)` gives the second.
struct OnDevice<F> {
    name: &'static str,
    shape: candle_core::Shape,
    work: RefCell<F>,
}

impl<F: FnMut(u64, &Arc<CudaStream>) -> candle_core::Result<CudaSlice<f32>>> OnDevice<F> {
    fn new(name: &'static str, shape: impl Into<candle_core::Shape>, work: F) -> OnDevice<F> {
        OnDevice { name, shape: shape.into(), work: RefCell::new(work) }
    }
}

impl<F: FnMut(u64, &Arc<CudaStream>) -> candle_core::Result<CudaSlice<f32>>> CustomOp1 for OnDevice<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, candle_core::Shape)> {
        Err(candle_core::Error::msg("the CUDA engine was given a tensor that is not on its device"))
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, candle_core::Shape)> {
        let stream = x.device.cuda_stream();
        let (from, _) = layout.contiguous_offsets().ok_or_else(|| candle_core::Error::msg("not contiguous"))?;
        let pointer = x.as_cuda_slice::<f32>()?.device_ptr(&stream).0 + (from * size_of::<f32>()) as u64;
        let result = (self.work.borrow_mut())(pointer, &stream)?;
        Ok((CudaStorage::wrap_cuda_slice(result, x.device.clone()), self.shape.clone()))
    }
}

/// The batch size that `images` are computed as: 2ᵏ or 3·2ᵏ, so at most a third more, and few in all.
fn rounded(images: usize) -> usize {
    let power = images.next_power_of_two();
    if power >= 4 && images <= power / 4 * 3 { power / 4 * 3 } else { power }
}
