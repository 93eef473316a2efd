//! The kernels of `pixels.cu` on tensors of one device; `kernel/pixels.rs` says what each does, and has checked the sizes.

use super::device::failed;
use super::kernels::{self, THREADS, run};
use crate::error::Result;
use crate::kernel::ball::{Ball, LANES};
use candle_core::cuda_backend::CudaDType;
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Device, Error, Shape, Storage, Tensor};
use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr};
use std::sync::Arc;

const SOURCE: &str = include_str!("pixels.cu");

/// A step in the Linf ball.
pub fn step_linf(x_adv: &Tensor, gradient: &Tensor, x: &Tensor, step_size: f32, eps: f32) -> Result<Tensor> {
    let [x_adv, gradient, x] = [floats(x_adv)?, floats(gradient)?, floats(x)?];
    let work = Work::new(&x, "step_linf")?;
    let to = work.output::<f32>(x.0.elem_count())?;
    let (blocks, count) = one_a_value(&x)?;
    let (v, g, x_at, y) = (x_adv.1, gradient.1, x.1, work.address(&to));
    run!(work.stream(), &work.function, (blocks, THREADS), count, v, g, x_at, y, step_size, eps)?;
    Ok(work.tensor(to, x.0.shape()))
}

/// A step in the L2 ball.
pub fn step_l2(x_adv: &Tensor, gradient: &Tensor, x: &Tensor, step_size: f32, eps: f64) -> Result<Tensor> {
    let [x_adv, gradient, x] = [floats(x_adv)?, floats(gradient)?, floats(x)?];
    let work = Work::new(&x, "step_l2")?;
    let to = work.output::<f32>(x.0.elem_count())?;
    let (blocks, values) = one_a_row(&x)?;
    let (v, g, x_at, y) = (x_adv.1, gradient.1, x.1, work.address(&to));
    run!(work.stream(), &work.function, (blocks, LANES as u32), values, v, g, x_at, y, step_size, eps)?;
    Ok(work.tensor(to, x.0.shape()))
}

/// Rounded images N×values, u8.
pub fn round_in_ball(images: &Tensor, clean: &Tensor, most: i32) -> Result<Tensor> {
    let (images, clean) = (floats(images)?, bytes(clean)?);
    let work = Work::new(&images, "round_in_ball")?;
    let to = work.output::<u8>(images.0.elem_count())?;
    let (blocks, count) = one_a_value(&images)?;
    let (x, c, y) = (images.1, clean.1, work.address(&to));
    run!(work.stream(), &work.function, (blocks, THREADS), count, x, c, y, most)?;
    let (rows, values) = (images.0.dim(0)?, images.0.elem_count() / images.0.dim(0)?);
    Ok(work.tensor(to, &Shape::from((rows, values))))
}

/// Codes of places, u32, one an image.
pub fn membership(images: &Tensor, clean: &Tensor, rounded: &Tensor, ball: &Ball) -> Result<Tensor> {
    let (images, clean, rounded) = (floats(images)?, bytes(clean)?, bytes(rounded)?);
    let work = Work::new(&images, "membership")?;
    let (blocks, values) = one_a_row(&images)?;
    let to = work.output::<u32>(blocks as usize)?;
    let (x, c, q, y) = (images.1, clean.1, rounded.1, work.address(&to));
    let Ball { is_linf, reach, slack, most, most_square } = *ball;
    let is_linf = i32::from(is_linf);
    let shape = (blocks, LANES as u32);
    run!(work.stream(), &work.function, shape, values, x, c, q, y, is_linf, reach, slack, most, most_square)?;
    Ok(work.tensor(to, &Shape::from(blocks as usize)))
}

/// First-order bounds, f32, one an image.
pub fn first_order(gradient: &Tensor, images: &Tensor, rounded: &Tensor) -> Result<Tensor> {
    let (gradient, images, rounded) = (floats(gradient)?, floats(images)?, bytes(rounded)?);
    let work = Work::new(&images, "first_order")?;
    let (blocks, values) = one_a_row(&images)?;
    let to = work.output::<f32>(blocks as usize)?;
    let (g, x, q, y) = (gradient.1, images.1, rounded.1, work.address(&to));
    run!(work.stream(), &work.function, (blocks, LANES as u32), values, g, x, q, y)?;
    Ok(work.tensor(to, &Shape::from(blocks as usize)))
}

/// 8-bit images as floats, of the same shape.
pub fn to_unit(images: &Tensor) -> Result<Tensor> {
    let images = bytes(images)?;
    let work = Work::new(&images, "to_unit")?;
    let to = work.output::<f32>(images.0.elem_count())?;
    let (blocks, count) = one_a_value(&images)?;
    let (x, y) = (images.1, work.address(&to));
    run!(work.stream(), &work.function, (blocks, THREADS), count, x, y)?;
    Ok(work.tensor(to, images.0.shape()))
}

/// A contiguous tensor, and where its first value lies on the device.
struct Input(Tensor, u64);

fn floats(tensor: &Tensor) -> Result<Input> {
    input::<f32>(tensor)
}

fn bytes(tensor: &Tensor) -> Result<Input> {
    input::<u8>(tensor)
}

fn input<T: CudaDType>(tensor: &Tensor) -> Result<Input> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(cuda) = &*storage else { return Err(Error::msg("a tensor that is not on the device").into()) };
    let values = cuda.as_cuda_slice::<T>()?;
    let address = values.device_ptr(values.stream()).0 + (layout.start_offset() * size_of::<T>()) as u64;
    drop(storage);
    Ok(Input(tensor, address))
}

/// A kernel about to run.
struct Work {
    device: CudaDevice,
    function: CudaFunction,
}

impl Work {
    /// On the device of `input`.
    fn new(input: &Input, kernel: &str) -> Result<Work> {
        let Device::Cuda(device) = input.0.device() else { unreachable!("an input is on a CUDA device") };
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().map_err(failed)?;
        // sums and products round apart, as on the host
        let module = kernels::module(&stream, "pixels", SOURCE, "--fmad=false")?;
        Ok(Work { device: device.clone(), function: module.load_function(kernel).map_err(failed)? })
    }

    fn stream(&self) -> Arc<CudaStream> {
        self.device.cuda_stream()
    }

    /// Room for so many numbers, all of which the kernel writes.
    fn output<T: DeviceRepr>(&self, numbers: usize) -> Result<CudaSlice<T>> {
        // SAFETY: every number is written before any is read
        Ok(unsafe { self.stream().alloc::<T>(numbers) }.map_err(failed)?)
    }

    fn address<T>(&self, slice: &CudaSlice<T>) -> u64 {
        slice.device_ptr(slice.stream()).0
    }

    fn tensor<T: CudaDType>(&self, slice: CudaSlice<T>, shape: &Shape) -> Tensor {
        let storage = CudaStorage::wrap_cuda_slice(slice, self.device.clone());
        Tensor::from_storage(Storage::Cuda(storage), shape.clone(), BackpropOp::none(), false)
    }
}

/// Blocks of a kernel with one thread a value, and the number of values.
fn one_a_value(input: &Input) -> Result<(u32, u32)> {
    let count = u32::try_from(input.0.elem_count()).map_err(|_| Error::msg("more than 2^32 values in a batch"))?;
    Ok((count.div_ceil(THREADS), count))
}

/// Blocks of a kernel with one block an image, and the number of values of an image.
fn one_a_row(input: &Input) -> Result<(u32, u32)> {
    one_a_value(input)?;
    let rows = input.0.dim(0)?;
    Ok((rows as u32, (input.0.elem_count() / rows) as u32))
}
