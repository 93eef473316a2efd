//! The tasks of a schedule, one after the other.

use super::compiled::Compiled;
use super::device::failed;
use super::kernels::{Affine, Function, Geometry, LANES, Loops, launch, run};
use crate::kernel::Precision;
use crate::kernel::schedule::{
    self, At, Average, Contract, EIGHT, Finish, Matrix, Norm, Product, Rows, Slot, Task, Work,
};
use candle_core::Result;
use candle_core::cuda_backend::cudarc::cublas::{result, sys};
use std::ptr;

impl Compiled {
    /// Images to logits.
    pub fn run_forward(&self, images: u64, logits: u64) -> Result<()> {
        let mut done_before = false;
        for (i, task) in self.schedule.forward.iter().enumerate() {
            match *task {
                _ if done_before => done_before = false,
                Task::Forward(Work::Conv(number), x, y) => {
                    let (conv, way) = (&self.schedule.convolutions[number], &self.forward[&self.batch][number]);
                    let finish = self.relu_behind(i).filter(|_| way.is_fused());
                    let operands = self.operands(conv, x, y, finish);
                    way.run(&self.cudnn, operands, &self.workspace, false)?;
                    if let Some(finish) = finish {
                        self.finish(finish, operands.y, operands.y, true)?;
                        done_before = true;
                    }
                }
                _ => self.run(task, images, logits)?,
            }
        }
        Ok(())
    }

    /// The gradient of the logits to that of the images.
    pub fn run_backward(&self, of_logits: u64, images: u64) -> Result<()> {
        self.schedule.backward.iter().try_for_each(|task| self.run(task, images, of_logits))
    }

    /// A task that is no convolution forward.
    fn run(&self, task: &Task, images: u64, logits: u64) -> Result<()> {
        let (kernels, n) = (&self.cudnn.kernels, self.images);
        let (pixels, [s0, s1, s2]) = (self.schedule.size.iter().product::<usize>(), self.schedule.std);
        let (classes, padded) = (self.schedule.classes, self.schedule.classes.next_multiple_of(EIGHT));
        let ends = (classes as i32, padded as i32);
        match task {
            Task::Images(y) => {
                let ([m0, m1, m2], y) = (self.schedule.mean, self.slot(*y));
                launch!(kernels, "normalise", n * pixels, images, y, pixels as u32, m0, m1, m2, s0, s1, s2)
            }
            Task::ImageGradient(g) => {
                launch!(kernels, "image_gradient", n * pixels, self.slot(*g), images, pixels as u32, s0, s1, s2)
            }
            Task::Logits(x) => launch!(kernels, "logits", n * classes, self.slot(*x), logits, ends.0, ends.1),
            Task::Seed(to) => launch!(kernels, "seed", n * padded, logits, self.slot(*to), ends.0, ends.1),
            Task::Clear(y) => self.clear(*y),
            Task::Contract(contract) => self.contract(contract),
            Task::Product(product) => self.multiply(product),
            Task::Forward(work, x, y) => self.work(work, self.slot(*x), self.slot(*y)),
            Task::Back(work, g, to, add) => self.back(work, *g, *to, *add),
        }
    }

    fn work(&self, work: &Work, x: u64, y: u64) -> Result<()> {
        let (kernels, slot) = (&self.cudnn.kernels, |slot: Slot| self.slot(slot));
        let count = |on: &schedule::Geometry, groups: usize| self.batch * on.out[0] * on.out[1] * groups;
        match work {
            Work::Conv(_) => unreachable!("done with what follows"),
            Work::Finish(finish, _) => self.finish(finish, x, y, false),
            Work::Pool(on, finish, corners) => {
                let ([height, width], groups) = (on.size.map(|v| v as i32), finish.channels[1] / EIGHT);
                let (bias, corners) = (finish.bias.map_or(0, |b| self.weight(b)), slot(*corners));
                let (relu, bits) = (i32::from(finish.function.is_some()), finish.bits.map_or(0, slot));
                let (count, groups) = (count(on, groups), groups as i32);
                launch!(kernels, "pool", count, x, y, height, width, bias, groups, relu, bits, corners)
            }
            Work::MaxPool(on, groups, taps) => {
                launch!(kernels, "max_pool", count(on, *groups), x, y, Geometry::new(on, *groups), slot(*taps))
            }
            Work::Average(on, groups, kind) => {
                launch!(kernels, "average", count(on, *groups), x, y, Geometry::new(on, *groups), number_of(*kind))
            }
            Work::Softmax(on, _) => {
                let (shape, [channels, padded]) = self.rows(on);
                run!(kernels.stream, kernels.get("softmax"), shape, x, y, channels, padded)
            }
            Work::Norm(Norm { on, factor, shift, eps }, _) => {
                let (shape, [channels, padded]) = self.rows(on);
                let (factor, shift) = (self.weight(*factor), self.weight(*shift));
                run!(kernels.stream, kernels.get("layer_norm"), shape, x, y, factor, shift, channels, padded, *eps)
            }
        }
    }

    fn back(&self, work: &Work, from: Slot, into: Slot, and: bool) -> Result<()> {
        let (kernels, slot) = (&self.cudnn.kernels, |slot: Slot| self.slot(slot));
        let count = |on: &schedule::Geometry, groups: usize| self.batch * on.size[0] * on.size[1] * groups;
        let (g, to, add) = (slot(from), slot(into), i32::from(and));
        match work {
            Work::Conv(number) => {
                let conv = &self.schedule.convolutions[*number];
                let (convolution, way) = self.backward[&self.batch][*number].as_ref().expect("measured before");
                let (operands, turned) = self.operands_back(conv, from, into);
                let (_, operands) = way.reads(self.shape(conv), operands, turned);
                convolution.run(&self.cudnn, operands, &self.workspace, and)
            }
            Work::Finish(finish, x) => {
                let x = if finish.needs_x() { slot(*x) } else { 0 };
                let (affine, function) = (self.affine(finish, x), Function::new(finish.function));
                let (bits, count) = (finish.bits.map_or(0, slot), self.batch * finish.numbers / EIGHT);
                launch!(kernels, "finish_gradient", count, affine, g, to, add, function, bits)
            }
            Work::Pool(on, finish, corners) => {
                let ([height, width], groups) = (on.size.map(|v| v as i32), finish.channels[1] / EIGHT);
                let (bits, corners) = (finish.bits.map_or(0, slot), slot(*corners));
                launch!(kernels, "unpool", count(on, groups), g, to, height, width, groups as i32, bits, corners)
            }
            Work::MaxPool(on, groups, taps) => {
                let (count, on, taps) = (count(on, *groups), Geometry::new(on, *groups), slot(*taps));
                launch!(kernels, "max_pool_gradient", count, g, to, add, on, taps)
            }
            Work::Average(on, groups, kind) => {
                let (count, on, kind) = (count(on, *groups), Geometry::new(on, *groups), number_of(*kind));
                launch!(kernels, "average_gradient", count, g, to, add, on, kind)
            }
            Work::Softmax(on, y) => {
                let ((shape, [channels, padded]), y) = (self.rows(on), slot(*y));
                run!(kernels.stream, kernels.get("softmax_gradient"), shape, y, g, to, add, channels, padded)
            }
            Work::Norm(Norm { on, factor, eps, .. }, x) => {
                let ((shape, [channels, padded]), function) = (self.rows(on), kernels.get("layer_norm_gradient"));
                let (x, factor) = (slot(*x), self.weight(*factor));
                run!(kernels.stream, function, shape, x, g, to, add, factor, channels, padded, *eps)
            }
        }
    }

    /// What finishes `x` as `y`; where a convolution has done it (`is_done`), the bits alone.
    pub fn finish(&self, finish: &Finish, x: u64, y: u64, is_done: bool) -> Result<()> {
        let (kernels, count) = (&self.cudnn.kernels, self.batch * finish.numbers / EIGHT);
        let bits = finish.bits.map_or(0, |bits| self.slot(bits));
        if is_done {
            return launch!(kernels, "relu_bits", count, y, bits);
        }
        let (affine, function) = (self.affine(finish, x), Function::new(finish.function));
        launch!(kernels, "finish", count, affine, y, function, bits)
    }

    fn affine(&self, finish: &Finish, x: u64) -> Affine {
        let weight = |weight: Option<usize>| weight.map_or(0, |w| self.weight(w));
        // what is kept is the same for each image
        let images = if let Some(At::Weight(_)) = finish.other { 1 } else { self.batch };
        Affine {
            x,
            factor: weight(finish.factor),
            bias: weight(finish.bias),
            other: finish.other.map_or(0, |other| self.at(other)),
            period: (images * finish.numbers / EIGHT) as u32,
            channels: finish.channels[0] as i32,
            groups: (finish.channels[1] / EIGHT) as i32,
        }
    }

    /// Blocks and threads of a kernel of rows, and its channels without and with zeros.
    fn rows(&self, on: &Rows) -> ((u32, u32), [i32; 2]) {
        let padded = on.channels.next_multiple_of(EIGHT);
        (((self.batch * on.rows) as u32, LANES), [on.channels as i32, padded as i32])
    }

    fn clear(&self, y: Slot) -> Result<()> {
        let bytes = self.batch * self.schedule.rooms[y].bytes(self.precision.bytes());
        // SAFETY: the buffer has so many bytes
        unsafe { cudarc::driver::result::memset_d8_async(self.slot(y), 0, bytes, self.stream.cu_stream()) }
            .map_err(failed)
    }

    fn contract(&self, contract: &Contract) -> Result<()> {
        let (kernels, loops) = (&self.cudnn.kernels, contract.loops(self.batch));
        let of_number = self.precision.bytes() * if loops.eights { EIGHT } else { 1 };
        let first = |operand: usize| (loops.offsets[operand] * of_number) as u64;
        let (y, x, z) = contract.at;
        let (y, x) = (self.at(y) + first(0), self.at(x) + first(1));
        let z = z.map_or(0, |z| self.at(z) + first(2));
        let (count, axes, add) = (loops.count, Loops::new(&loops)?, i32::from(contract.add));
        match loops.eights {
            true => launch!(kernels, "contract_eights", count, x, z, y, axes, contract.factor, add),
            false => launch!(kernels, "contract", count, x, z, y, axes, contract.factor, add),
        }
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        use sys::cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
        use sys::cublasOperation_t::{CUBLAS_OP_N, CUBLAS_OP_T};
        use sys::cudaDataType_t::{CUDA_R_16BF, CUDA_R_32F};
        let data = if self.precision == Precision::Bf16 { CUDA_R_16BF } else { CUDA_R_32F };
        let sums = if self.precision == Precision::Tf32 { CUBLAS_COMPUTE_32F_FAST_TF32 } else { CUBLAS_COMPUTE_32F };
        let Product { x, w, y, rows, columns, inner, each, factor, add } = product;
        let first = |m: &Matrix| self.at(m.at) + (m.offset * self.precision.bytes()) as u64;
        let operation = |m: &Matrix| if m.turned { CUBLAS_OP_T } else { CUBLAS_OP_N };
        // the rows of all images are one matrix, or each image has its own
        let (rows, count) = if let Some(each) = each { (*rows, each * self.batch) } else { (rows * self.batch, 1) };
        let old = if *add { &1.0f32 } else { &0.0f32 };
        let (factor, old) = (ptr::from_ref(factor).cast(), ptr::from_ref(old).cast());
        // cuBLAS counts columns first: our rows are its columns
        let (handle, op_w, op_x) = (*self.blas.handle(), operation(w), operation(x));
        let [m, n, k] = [*columns, rows, *inner].map(|size| size as i32);
        let [left, right, to] = [w, x, y].map(|m| (first(m), m.pitch as i32, m.step as i64));
        let (w, x, y) = (left.0 as *const _, right.0 as *const _, to.0 as *mut _);
        let algorithm = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
        // SAFETY: the schedule's matrices lie within the buffers that it named, of values of type `data`
        unsafe {
            match count {
                1 => result::gemm_ex(
                    handle, op_w, op_x, m, n, k, factor, w, data, left.1, x, data, right.1, old, y, data, to.1, sums,
                    algorithm,
                ),
                _ => result::gemm_strided_batched_ex(
                    handle,
                    op_w,
                    op_x,
                    m,
                    n,
                    k,
                    factor,
                    w,
                    data,
                    left.1,
                    left.2,
                    x,
                    data,
                    right.1,
                    right.2,
                    old,
                    y,
                    data,
                    to.1,
                    to.2,
                    count as i32,
                    sums,
                    algorithm,
                ),
            }
        }
        .map_err(failed)
    }
}

/// As in `kernels.cu`.
fn number_of(kind: Average) -> i32 {
    match kind {
        Average::Adaptive => 0,
        Average::Pixels => 1,
        Average::Padded => 2,
    }
}
