//! Numbers that are known when a file is read: weights, shapes, and what is computed of them.

use super::proto::{self, Kind};
use half::{bf16, f16};
use std::rc::Rc;

/// A tensor of known numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its shape; none for a single number.
    pub dims: Vec<usize>,
    /// Row by row; a single one in place of many that are the same.
    pub numbers: Numbers,
}

/// Numbers of one of two kinds; true and false are 1 and 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Of every precision, as f32.
    Float(Rc<Vec<f32>>),
    /// Of every width.
    Int(Rc<Vec<i64>>),
}

/// Numbers that may still be made while a file is read: what a small file asks for must not fill the memory.
#[derive(Debug)]
pub struct Room(usize);

impl Room {
    /// For a network that is made of so many bytes.
    pub fn for_bytes(bytes: usize) -> Room {
        Room(LEAST_ROOM.saturating_add(bytes))
    }

    /// Takes the place of so many numbers.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&mut self, numbers: usize) -> Result<(), String> {
        self.0 = self.0.checked_sub(numbers).ok_or("it makes more numbers than the file has any reason to")?;
        Ok(())
    }
}

/// 1 GiB of floats: VGG-19's weights twice, which ONNX's own tests make of nothing but their shapes.
const LEAST_ROOM: usize = 1 << 28;

/// How many numbers a tensor of this shape has.
///
/// # Errors
/// More than a computer can count.
pub fn count(dims: &[usize]) -> Result<usize, String> {
    let count = dims.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
    count.filter(|n| *n <= MOST).ok_or_else(|| format!("a tensor of shape {dims:?}"))
}

/// No file has as many.
const MOST: usize = 1 << 48;

impl Tensor {
    /// Floats of a shape, or one for all.
    pub fn floats(dims: Vec<usize>, numbers: Vec<f32>) -> Tensor {
        Tensor { dims, numbers: Numbers::Float(Rc::new(numbers)) }
    }

    /// Whole numbers of a shape, or one for all.
    pub fn ints(dims: Vec<usize>, numbers: Vec<i64>) -> Tensor {
        Tensor { dims, numbers: Numbers::Int(Rc::new(numbers)) }
    }

    /// Whole numbers as a vector.
    pub fn vector(numbers: Vec<i64>) -> Tensor {
        Tensor::ints(vec![numbers.len()], numbers)
    }

    /// How many numbers it stands for.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// How many are kept.
    pub fn kept(&self) -> usize {
        match &self.numbers {
            Numbers::Float(numbers) => numbers.len(),
            Numbers::Int(numbers) => numbers.len(),
        }
    }

    /// Room that its numbers take.
    pub fn room(&self) -> usize {
        self.kept() * self.width()
    }

    /// Room that a number takes: f32 are half as wide as whole numbers.
    fn width(&self) -> usize {
        if self.is_float() { 1 } else { 2 }
    }

    /// Whether its numbers are floats.
    pub fn is_float(&self) -> bool {
        matches!(self.numbers, Numbers::Float(_))
    }

    /// The number that all of its places hold, where one is kept for all.
    pub fn only(&self) -> Option<f64> {
        (self.kept() == 1).then(|| self.at(0))
    }

    /// The number of this place, row by row.
    pub fn at(&self, place: usize) -> f64 {
        match &self.numbers {
            Numbers::Float(numbers) => f64::from(numbers[place.min(numbers.len() - 1)]),
            Numbers::Int(numbers) => numbers[place.min(numbers.len() - 1)] as f64,
        }
    }

    /// Every number as a float, moved out where nobody else holds them.
    ///
    /// # Errors
    /// No room for them.
    pub fn into_floats(self, room: &mut Room) -> Result<Vec<f32>, String> {
        let count = self.count();
        room.take(count)?;
        let mut floats = match self.numbers {
            Numbers::Float(numbers) => Rc::try_unwrap(numbers).unwrap_or_else(|shared| shared.to_vec()),
            Numbers::Int(numbers) => numbers.iter().map(|n| *n as f32).collect(),
        };
        if floats.len() != count {
            floats = vec![floats[0]; count];
        }
        Ok(floats)
    }

    /// Every number in double precision.
    ///
    /// # Errors
    /// No room for them.
    pub fn doubles(&self, room: &mut Room) -> Result<Vec<f64>, String> {
        room.take(2 * self.count())?;
        Ok((0..self.count()).map(|i| self.at(i)).collect())
    }

    /// Its whole numbers.
    ///
    /// # Errors
    /// Floats; no room for them.
    pub fn whole(&self, room: &mut Room) -> Result<Vec<i64>, String> {
        let Numbers::Int(numbers) = &self.numbers else { return Err("floats, and must be whole numbers".into()) };
        room.take(2 * self.count())?;
        match numbers.len() == self.count() {
            true => Ok(numbers.to_vec()),
            false => Ok(vec![numbers[0]; self.count()]),
        }
    }

    /// Numbers at places that strides lead to: from `start` on, one a dimension of the result, so that 0 repeats. One that
    /// is kept for all stays one.
    ///
    /// # Errors
    /// No room for them.
    pub fn strided(&self, start: usize, dims: &[usize], strides: &[isize], room: &mut Room) -> Result<Tensor, String> {
        let kept = if self.kept() == 1 { 1 } else { count(dims)? };
        room.take(kept.saturating_mul(self.width()))?;
        let numbers = match &self.numbers {
            all if kept == 1 && self.kept() == 1 => all.clone(),
            Numbers::Float(n) => Numbers::Float(Rc::new(strided(n, start, dims, strides))),
            Numbers::Int(n) => Numbers::Int(Rc::new(strided(n, start, dims, strides))),
        };
        Ok(Tensor { dims: dims.to_vec(), numbers })
    }

    /// Reads a file's tensor.
    ///
    /// # Errors
    /// Numbers that are not read, not there, none at all (NaN) or not as many as the shape says.
    pub fn read(tensor: &proto::Tensor) -> Result<Tensor, String> {
        let read = Tensor::as_written(tensor)?;
        let nan = match &read.numbers {
            Numbers::Float(numbers) => numbers.iter().position(|v| v.is_nan()),
            Numbers::Int(_) => None,
        };
        nan.map_or(Ok(read), |place| Err(format!("not a number (NaN) at {place}: what it was made of is damaged")))
    }

    fn as_written(tensor: &proto::Tensor) -> Result<Tensor, String> {
        let kind = Kind::of(tensor.kind)?;
        if tensor.segment {
            return Err("a part of a tensor".into());
        }
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
        let dims = dims.ok_or_else(|| format!("shape {:?}", tensor.dims))?;
        let count = count(&dims)?;
        if tensor.is_external {
            return Err("numbers in another file, which only weights may have".into());
        }
        if let Some(raw) = tensor.raw {
            return of_raw(dims, kind, count, raw);
        }
        let fits = |there: usize| match there == count {
            true => Ok(()),
            false => Err(format!("{there} numbers for shape {dims:?}")),
        };
        match kind {
            Kind::F32 => {
                fits(tensor.floats.len())?;
                Ok(Tensor::floats(dims, tensor.floats.clone()))
            }
            Kind::F64 => {
                fits(tensor.doubles.len())?;
                Ok(Tensor::floats(dims, singles(tensor.doubles.iter().copied())?))
            }
            Kind::F16 | Kind::Bf16 => {
                fits(tensor.ints.len())?;
                let float = |bits: &i64| match kind {
                    Kind::F16 => f16::from_bits(*bits as u16).to_f32(),
                    _ => bf16::from_bits(*bits as u16).to_f32(),
                };
                Ok(Tensor::floats(dims, tensor.ints.iter().map(float).collect()))
            }
            Kind::Int(_) | Kind::Unsigned(_) | Kind::Bool => {
                fits(tensor.ints.len())?;
                Ok(Tensor::ints(dims, tensor.ints.clone()))
            }
        }
    }
}

/// Numbers row by row, from places that strides lead to.
fn strided<T: Copy>(from: &[T], start: usize, dims: &[usize], strides: &[isize]) -> Vec<T> {
    let Some((n, outer)) = dims.split_last() else { return vec![from[start]] };
    let rows: usize = if *n == 0 { 0 } else { outer.iter().product() };
    let (mut numbers, mut index, mut at) = (Vec::with_capacity(rows * n), vec![0; outer.len()], start as isize);
    for _ in 0..rows {
        numbers.extend((0..*n as isize).map(|j| from[(at + j * strides[outer.len()]) as usize]));
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            at -= strides[axis] * outer[axis] as isize;
            index[axis] = 0;
        }
    }
    numbers
}

/// Numbers between the neighbours along each axis of a tensor of this shape.
pub fn strides(dims: &[usize]) -> Vec<isize> {
    (0..dims.len()).map(|i| dims[i + 1..].iter().product::<usize>() as isize).collect()
}

/// Numbers in single precision.
///
/// # Errors
/// One is too large for it. The largest of double precision is not: it stands for infinity, in masks and as a bound.
fn singles(doubles: impl Iterator<Item = f64>) -> Result<Vec<f32>, String> {
    let single = |double: f64| match double as f32 {
        single if single.is_infinite() && double.abs() < f64::MAX => {
            Err(format!("{double:e}, which single precision does not hold"))
        }
        single => Ok(single),
    };
    doubles.map(single).collect()
}

/// A tensor of numbers as they lie in memory.
fn of_raw(dims: Vec<usize>, kind: Kind, count: usize, raw: &[u8]) -> Result<Tensor, String> {
    if count.checked_mul(kind.bytes()) != Some(raw.len()) {
        return Err(format!("{} bytes for shape {dims:?} of {} bytes a number", raw.len(), kind.bytes()));
    }
    let halves = |float: fn(u16) -> f32| raw.as_chunks().0.iter().map(|b| float(u16::from_le_bytes(*b))).collect();
    let wide = |bytes: usize, signed: bool| -> Vec<i64> {
        let number = |b: &[u8]| {
            let mut all = [if signed && b[bytes - 1] & 0x80 != 0 { 0xff } else { 0 }; 8];
            all[..bytes].copy_from_slice(b);
            i64::from_le_bytes(all)
        };
        raw.chunks_exact(bytes).map(number).collect()
    };
    Ok(match kind {
        Kind::F32 => Tensor::floats(dims, raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Kind::F64 => Tensor::floats(dims, singles(raw.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)))?),
        Kind::F16 => Tensor::floats(dims, halves(|bits| f16::from_bits(bits).to_f32())),
        Kind::Bf16 => Tensor::floats(dims, halves(|bits| bf16::from_bits(bits).to_f32())),
        Kind::Int(bytes) => Tensor::ints(dims, wide(bytes, true)),
        Kind::Unsigned(bytes) => Tensor::ints(dims, wide(bytes, false)),
        Kind::Bool => Tensor::ints(dims, raw.iter().map(|b| i64::from(*b != 0)).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: i64, dims: &[i64], raw: &[u8]) -> Result<Tensor, String> {
        let tensor = proto::Tensor { kind, dims: dims.to_vec(), raw: Some(raw), ..proto::Tensor::default() };
        Tensor::read(&tensor)
    }

    #[test]
    fn numbers_of_every_kind_are_read() {
        for (kind, raw) in [
            (1, &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0][..]),
            (10, &[0, 0x3e, 0, 0xc0]),
            (16, &[0xc0, 0x3f, 0, 0xc0]),
            (11, &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
        ] {
            assert_eq!(read(kind, &[1, 2], raw), Ok(Tensor::floats(vec![1, 2], vec![1.5, -2.0])), "{kind}");
        }
        assert_eq!(read(3, &[2], &[0xfe, 2]), Ok(Tensor::vector(vec![-2, 2])));
        assert_eq!(read(2, &[2], &[0xfe, 2]), Ok(Tensor::vector(vec![254, 2])));
        assert_eq!(read(9, &[2], &[0, 1]), Ok(Tensor::vector(vec![0, 1])));
        assert_eq!(read(6, &[1], &[0xfd, 0xff, 0xff, 0xff]), Ok(Tensor::vector(vec![-3])));
        assert_eq!(read(7, &[], &[5, 0, 0, 0, 0, 0, 0, 0]), Ok(Tensor::ints(vec![], vec![5])));
        let halves = proto::Tensor { kind: 10, dims: vec![1], ints: vec![0x3e00], ..proto::Tensor::default() };
        assert_eq!(Tensor::read(&halves), Ok(Tensor::floats(vec![1], vec![1.5])));
        let list = |doubles: &[f64]| {
            let doubles = doubles.to_vec();
            let dims = vec![doubles.len() as i64];
            Tensor::read(&proto::Tensor { kind: 11, dims, doubles, ..proto::Tensor::default() })
        };
        let unbounded = Tensor::floats(vec![3], vec![1.5, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!(list(&[1.5, f64::INFINITY, f64::MIN]), Ok(unbounded));
        assert_eq!(list(&[1.5, -4e38]), Err("-4e38, which single precision does not hold".into()));
        assert!(list(&[1.5, f64::NAN]).unwrap_err().contains("(NaN) at 1"));
    }

    #[test]
    fn a_shape_that_the_numbers_do_not_have_is_refused() {
        for (kind, dims, raw, problem) in [
            (1, &[3][..], &[0; 8][..], "8 bytes for shape [3]"),
            (1, &[1 << 40, 1 << 40], &[0; 8], "a tensor of shape"),
            (1, &[-1], &[0; 4], "shape [-1]"),
            (8, &[1], &[0; 4], "texts"),
            (17, &[1], &[0; 4], "kind 17"),
        ] {
            assert!(read(kind, dims, raw).unwrap_err().contains(problem), "{problem}");
        }
    }
}
