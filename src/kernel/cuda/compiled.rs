//! A network on the device in one precision: its weights, buffers and the ways of its convolutions.

use super::convolution::{Convolution, Shape, Way};
use super::cudnn::Cudnn;
use super::cudnn::Operands;
use super::device::{self, Buffer, failed, is_logged, return_freed_memory};
use crate::error::Result;
use crate::kernel::Precision;
use crate::kernel::graph::{Activation, Graph};
use crate::kernel::schedule::{At, Conv, Finish, Form, Schedule, Slot, Task, Work};
use crate::notice::say;
use candle_core::cuda_backend::cudarc::cublas::CudaBlas;
use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp1, Layout, Tensor};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// cuDNN counts the values of a map in 32 bits with a sign.
const MOST_VALUES: usize = i32::MAX as usize;

/// Smaller batches take the ways of a larger one: to measure costs seconds, and they are the ends of sweeps.
const MEASURED_FROM: usize = 32;

/// What the log says of them.
const LIKE_LARGER: &str = ", as in a larger batch";

/// A network ready to run, one pass at a time.
pub struct Compiled {
    // before the stream, whose context it needs when it is dropped
    pub cudnn: Cudnn,
    pub blas: Arc<CudaBlas>,
    pub stream: Arc<CudaStream>,
    pub precision: Precision,
    pub schedule: Schedule,
    /// What the schedule kept, by its numbers.
    weights: Vec<Buffer>,
    /// First byte of each buffer of the schedule, and bytes in all, of one image.
    places: (Vec<usize>, usize),
    /// All buffers, for as many images as were ever needed.
    space: Option<Buffer>,
    pub workspace: Buffer,
    /// Ways of the convolutions, by batch size and convolution.
    pub forward: BTreeMap<usize, Vec<Convolution>>,
    pub backward: BTreeMap<usize, Vec<Option<(Convolution, Way)>>>,
    /// Images of the last pass, and of the batch they were rounded up to.
    pub images: usize,
    pub batch: usize,
}

// SAFETY: the raw handles of cuDNN may be used by any thread, one at a time; `&mut self` sees to that, and each pass
// binds the context to its thread first
unsafe impl Send for Compiled {}

impl Compiled {
    /// Copies the weights and compiles the kernels.
    pub fn new(graph: Graph<f32>, device: &CudaDevice, precision: Precision) -> Result<Compiled> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(failed)?;
        let (graph, _) = graph.folded();
        let mut weights = Vec::new();
        let mut keep = |values: &[f32], form: Form| -> Result<usize> {
            let precision = if form == Form::Floats { Precision::F32 } else { precision };
            weights.push(upload(values, &stream, precision)?);
            Ok(weights.len() - 1)
        };
        let schedule = Schedule::new(&graph, &mut keep)?;
        Ok(Compiled {
            cudnn: Cudnn::new(&stream, precision)?,
            blas: device.cublas_handle(),
            workspace: Buffer::new(&stream, 0)?,
            places: schedule.places(precision.bytes()),
            stream,
            precision,
            schedule,
            weights,
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
        let most = (MOST_VALUES / self.schedule.largest()).max(1);
        1 << most.ilog2()
    }

    /// Gives back all memory but that of the weights.
    pub fn release(&mut self) {
        self.space = None;
        if let Ok(none) = Buffer::new(&self.stream, 0) {
            self.workspace = none;
        }
        if let Err(problem) = return_freed_memory(&self.stream) {
            say(format_args!("freed memory of the device stays with this process: {problem}"));
        }
    }

    /// Images N×3×H×W, f32, to logits N×classes, f32; `returns`: [`Compiled::gradient`] will follow.
    pub fn logits(&mut self, images: &Tensor, returns: bool) -> Result<Tensor> {
        let n = images.dim(0)?;
        let classes = self.schedule.classes;
        self.get_ready(n, returns)?;
        let on_device = OnDevice::new("logits", (n, classes), |x, stream| {
            // SAFETY: every value is written below
            let logits = unsafe { stream.alloc::<f32>(n * classes) }.map_err(failed)?;
            self.run_forward(x, logits.device_ptr(stream).0)?;
            Ok(logits)
        });
        Ok(images.contiguous()?.apply_op1_no_bwd(&on_device)?)
    }

    /// The gradient N×3×H×W with respect to the images of the last call of [`Compiled::logits`], for the gradient
    /// N×classes with respect to their logits.
    pub fn gradient(&mut self, of_logits: &Tensor) -> Result<Tensor> {
        let (n, [height, width]) = (self.images, self.schedule.size);
        self.stream.context().bind_to_thread().map_err(failed)?;
        let on_device = OnDevice::new("gradient", (n, 3, height, width), |g, stream| {
            // SAFETY: every value is written below
            let images = unsafe { stream.alloc::<f32>(n * 3 * height * width) }.map_err(failed)?;
            self.run_backward(g, images.device_ptr(stream).0)?;
            Ok(images)
        });
        Ok(of_logits.contiguous()?.apply_op1_no_bwd(&on_device)?)
    }

    /// Where a buffer lies.
    pub fn slot(&self, slot: Slot) -> u64 {
        let space = self.space.as_ref().expect("made before a pass").pointer();
        space + (self.places.0[slot] * self.batch) as u64
    }

    /// Where something that was kept lies.
    pub fn weight(&self, weight: usize) -> u64 {
        self.weights[weight].pointer()
    }

    /// Either.
    pub fn at(&self, at: At) -> u64 {
        match at {
            At::Slot(slot) => self.slot(slot),
            At::Weight(weight) => self.weight(weight),
        }
    }

    /// Room for so many images, and the ways of their convolutions. All of it before a pass: to measure writes into the
    /// buffers.
    fn get_ready(&mut self, n: usize, returns: bool) -> Result<()> {
        self.stream.context().bind_to_thread().map_err(failed)?;
        (self.images, self.batch) = (n, rounded(n));
        let bytes = self.batch * self.places.1;
        if self.space.as_ref().is_none_or(|space| space.bytes() < bytes) {
            // first, so that both are never there at once
            self.space = None;
            self.space = Some(Buffer::new(&self.stream, bytes)?);
        }
        if !self.forward.contains_key(&self.batch) {
            let ways = self.forward_ways()?;
            self.forward.insert(self.batch, ways);
        }
        if returns && !self.backward.contains_key(&self.batch) {
            let ways = self.backward_ways()?;
            self.backward.insert(self.batch, ways);
        }
        let forward = self.forward.get(&self.batch).into_iter().flatten().map(|c| c.workspace);
        let backward = self.backward.get(&self.batch).into_iter().flatten().flatten().map(|(c, _)| c.workspace);
        let bytes = forward.chain(backward).max().unwrap_or(0);
        if self.workspace.bytes() < bytes {
            self.workspace = Buffer::new(&self.stream, 0)?;
            self.workspace = Buffer::new(&self.stream, bytes)?;
        }
        Ok(())
    }

    /// How the convolutions go forward, in the order of the tasks, which is theirs.
    fn forward_ways(&self) -> Result<Vec<Convolution>> {
        let larger = self.larger(&self.forward);
        let mut ways = Vec::new();
        for (i, task) in self.schedule.forward.iter().enumerate() {
            let Task::Forward(Work::Conv(number), x, y) = *task else { continue };
            let conv = &self.schedule.convolutions[number];
            let finish = self.relu_behind(i);
            let operands = self.operands(conv, x, y, finish);
            let known = larger.map(|ways| &ways[number]);
            let same = known.and_then(|known| known.like(&self.cudnn, self.shape(conv), operands).ok());
            let (way, whence) = match same {
                Some(same) => (same, LIKE_LARGER.to_string()),
                None => self.measure_forward(conv, operands, finish)?,
            };
            self.log(number, "forward", conv, format_args!("{}{whence}", way.describe()));
            ways.push(way);
        }
        Ok(ways)
    }

    /// The fastest way forward of a convolution with what follows it: by itself, or with bias and ReLU in it. And what
    /// both took, for the log.
    fn measure_forward(
        &self,
        conv: &Conv,
        operands: Operands,
        finish: Option<&Finish>,
    ) -> Result<(Convolution, String)> {
        let plain = Convolution::forward(&self.cudnn, self.shape(conv), operands)?;
        let fused = if finish.is_some() { plain.fused(&self.cudnn, operands)? } else { None };
        let (Some(fused), Some(finish)) = (fused, finish) else { return Ok((plain, String::new())) };
        let space = Buffer::new(&self.stream, plain.workspace)?;
        let seconds = |way: &Convolution| {
            device::seconds(&self.stream, || {
                way.run(&self.cudnn, operands, &space, false)?;
                Ok(self.finish(finish, operands.y, operands.y, way.is_fused())?)
            })
        };
        let (by_fused, by_plain) = (seconds(&fused)?, seconds(&plain)?);
        let both = format!("; with what follows {:.3} ms fused, {:.3} ms plain", 1e3 * by_fused, 1e3 * by_plain);
        Ok((if by_fused <= by_plain { fused } else { plain }, both))
    }

    /// What follows a convolution at once, where cuDNN may do it together with it: bias, another value, ReLU.
    pub fn relu_behind(&self, task: usize) -> Option<&Finish> {
        let [Task::Forward(Work::Conv(_), _, of), Task::Forward(Work::Finish(finish, _), x, y)] =
            self.schedule.forward.get(task..task + 2)?
        else {
            return None;
        };
        let in_place = of == x && x == y && !matches!(finish.other, Some(At::Weight(_)));
        (in_place && finish.function == Some(Activation::Relu)).then_some(finish)
    }

    /// Of a convolution on the way forward.
    pub fn operands(&self, conv: &Conv, x: Slot, y: Slot, finish: Option<&Finish>) -> Operands {
        let other = finish.and_then(|f| f.other).map_or(0, |other| self.at(other));
        let [weight, by_taps] = self.filters(conv);
        Operands { x: self.slot(x), weight, by_taps, y: self.slot(y), bias: self.weight(conv.bias), other }
    }

    /// Of a convolution on the way back, and its turned weights.
    pub fn operands_back(&self, conv: &Conv, g: Slot, to: Slot) -> (Operands, Option<u64>) {
        let [weight, by_taps] = self.filters(conv);
        let operands = Operands { x: self.slot(g), weight, by_taps, y: self.slot(to), bias: 0, other: 0 };
        (operands, conv.turned.map(|turned| self.weight(turned)))
    }

    /// Weights as cuDNN and as our kernel reads them.
    fn filters(&self, conv: &Conv) -> [u64; 2] {
        [conv.weight, conv.by_taps.unwrap_or(conv.weight)].map(|w| self.weight(w))
    }

    /// How the convolutions go back.
    fn backward_ways(&self) -> Result<Vec<Option<(Convolution, Way)>>> {
        let larger = self.larger(&self.backward);
        let mut ways: Vec<Option<(Convolution, Way)>> = self.schedule.convolutions.iter().map(|_| None).collect();
        for task in &self.schedule.backward {
            let Task::Back(Work::Conv(number), g, to, _) = *task else { continue };
            let conv = &self.schedule.convolutions[number];
            let ((operands, turned), shape) = (self.operands_back(conv, g, to), self.shape(conv));
            let known = larger.and_then(|ways| ways[number].as_ref());
            let same = known.and_then(|(known, way)| {
                let (shape, operands) = way.reads(shape, operands, turned);
                known.like(&self.cudnn, shape, operands).ok().map(|same| (same, *way))
            });
            let (way, whence) = match same {
                Some(same) => (same, LIKE_LARGER),
                None => (Convolution::backward(&self.cudnn, shape, operands, turned)?, ""),
            };
            self.log(number, "back", conv, format_args!("{}, {:?}{whence}", way.0.describe(), way.1));
            ways[number] = Some(way);
        }
        Ok(ways)
    }

    pub fn shape(&self, conv: &Conv) -> Shape {
        Shape { conv: *conv, images: self.batch, precision: self.precision }
    }

    /// What was measured for the next larger batch, where this one is too small to be measured itself.
    fn larger<'a, T>(&self, measured: &'a BTreeMap<usize, T>) -> Option<&'a T> {
        let next = measured.range(self.batch + 1..).next();
        next.map(|(_, ways)| ways).filter(|_| self.batch < MEASURED_FROM)
    }

    fn log(&self, number: usize, direction: &str, conv: &Conv, what: std::fmt::Arguments) {
        if is_logged() {
            let (Conv { on, inputs, outputs, groups, .. }, images) = (conv, self.batch);
            let ([height, width], [rows, columns]) = (on.size, on.window.size);
            let groups = if *groups > 1 { format!(" in {groups} groups") } else { String::new() };
            let (stride, precision) = (on.window.stride[0], self.precision.name());
            say(format_args!(
                "cuda: convolution {number} {direction} {inputs}->{outputs}{groups}, {rows}x{columns} at stride {stride} on \
                 {height}x{width}, {images} images, {precision}: {what}"
            ));
        }
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
