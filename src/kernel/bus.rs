//! The way between this machine's memory and the device: what oracle, judge and the shared descent move goes through here and
//! is counted, so that a test can hold a step of an attack to its bytes. (Attacks that make their images in memory, such as
//! patches, move them themselves.)

use crate::error::Result;
use candle_core::{Device, Shape, Storage, Tensor, WithDType};
use std::sync::atomic::{AtomicU64, Ordering};

static TO_DEVICE: AtomicU64 = AtomicU64::new(0);
static TO_HOST: AtomicU64 = AtomicU64::new(0);

/// Bytes that have crossed since the program began. On the CPU nothing really crosses; it is counted all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossed {
    /// From memory to the device.
    pub to_device: u64,
    /// From the device to memory.
    pub to_host: u64,
}

/// What has crossed so far, in this process.
pub fn crossed() -> Crossed {
    Crossed { to_device: TO_DEVICE.load(Ordering::Relaxed), to_host: TO_HOST.load(Ordering::Relaxed) }
}

/// The values of a tensor, in order.
///
/// # Errors
/// Those of the tensor library; numbers of another type than `V`.
pub fn down<V: WithDType>(tensor: &Tensor) -> Result<Vec<V>> {
    let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
    TO_HOST.fetch_add(bytes as u64, Ordering::Relaxed);
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// The rows of a tensor N×k of f32.
///
/// # Errors
/// Those of the tensor library.
pub fn down_rows(tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    let (_, k) = tensor.dims2()?;
    Ok(down::<f32>(tensor)?.chunks(k).map(<[f32]>::to_vec).collect())
}

/// A tensor of these values on `device`.
///
/// # Errors
/// Those of the tensor library; another number of values than the shape holds.
pub fn up<V: WithDType>(values: Vec<V>, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    TO_DEVICE.fetch_add((values.len() * V::DTYPE.size_in_bytes()) as u64, Ordering::Relaxed);
    Ok(Tensor::from_vec(values, shape.into(), &Device::Cpu)?.to_device(device)?)
}

/// Some of the rows of a tensor, in this order.
///
/// # Errors
/// Those of the tensor library.
pub fn select(tensor: &Tensor, rows: &[usize]) -> Result<Tensor> {
    Ok(tensor.index_select(&index(rows, tensor.device())?, 0)?)
}

/// Numbers of rows as `index_select` takes them.
///
/// # Errors
/// Those of the tensor library.
pub fn index(rows: &[usize], device: &Device) -> Result<Tensor> {
    up::<u32>(rows.iter().map(|r| *r as u32).collect(), rows.len(), device)
}

/// Lends the values of an f32 tensor: without a copy where they lie in this machine's memory, one after the other.
pub fn lend<T>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> T) -> Result<T> {
    lend_values(tensor, look)
}

/// [`lend`] of any type of numbers.
pub(super) fn lend_values<V: WithDType, T>(tensor: &Tensor, look: impl FnOnce(&[V]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(values), Some((from, to))) = (&*storage, layout.contiguous_offsets()) {
        return Ok(look(&V::cpu_storage_as_slice(values)?[from..to]));
    }
    drop(storage);
    Ok(look(&down::<V>(tensor)?))
}
