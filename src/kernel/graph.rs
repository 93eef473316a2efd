//! The engine for any other network: operations that name the values they read, run in order, and back in reverse order
//! with exact derivatives (PyTorch's, where one is a matter of choice). Where a value is read twice, gradients add up.
//!
//! On the CPU convolutions are matrix products over copied rows, image by image, so that an image's result depends on
//! no other image and on no number of threads. Elsewhere candle's operations serve.
//!
//! candle's own gradients are not used: see [`super::plain`].

use super::{Engine, Loss, Net, Step, averages, lend_values};
use crate::error::Result;
use candle_core::{DType, Device, Tensor, WithDType};
use rayon::prelude::*;

/// What a node computes.
#[derive(Debug, Clone)]
pub enum Op {
    /// Convolution with bias, zero padding on all sides.
    Conv {
        /// outputs × inputs × height × width.
        weight: Tensor,
        /// outputs.
        bias: Tensor,
        /// Between windows, both ways.
        stride: usize,
        /// Zeros on each side.
        padding: usize,
    },
    /// max(x, 0); slope 0 at 0, and NaN stays NaN.
    Relu,
    /// Maximum of windows; the first of several, and NaN above all.
    MaxPool {
        /// Height and width of a window.
        window: usize,
        /// Between windows, both ways.
        stride: usize,
        /// By how much the first windows stand out of the map; at most half a window. What lies outside never wins.
        padding: usize,
        /// Whether a window may reach beyond the map at the end (PyTorch's `ceil_mode`).
        ceil: bool,
    },
    /// Average over windows so that the map becomes side×side (PyTorch's AdaptiveAvgPool2d).
    AveragePool {
        /// Side after the operation.
        side: usize,
    },
    /// Fully connected over the flattened map.
    Linear {
        /// outputs × inputs.
        weight: Tensor,
        /// outputs.
        bias: Tensor,
    },
    /// Channels of all its inputs, one after the other.
    Concat,
    /// Sum of its inputs.
    Add,
}

/// A network as a list of operations.
pub struct Graph {
    mean: Tensor,
    std: Tensor,
    /// Operation, and the values it reads. Node i makes value i + 1; value 0 is the normalised image.
    nodes: Vec<(Op, Vec<usize>)>,
}

/// What an operation leaves for its gradient, beside its inputs.
enum Tape {
    Nothing,
    /// Where in its plane each maximum was found.
    Winners(Vec<u32>),
    /// 1 where the maximum of each window is, one tensor for each place in a window.
    Masks(Vec<Tensor>),
}

impl Graph {
    /// Images are normalised by `mean` and `std` a channel, in the type of numbers and on the device of all weights.
    pub fn new(mean: [f64; 3], std: [f64; 3], dtype: DType, device: &Device) -> Result<Graph> {
        let channels =
            |v: [f64; 3]| -> Result<Tensor> { Ok(Tensor::new(&v, device)?.to_dtype(dtype)?.reshape((1, 3, 1, 1))?) };
        Ok(Graph { mean: channels(mean)?, std: channels(std)?, nodes: Vec::new() })
    }

    /// Adds an operation on earlier values (0: the images); returns its value. The last one's are the logits.
    pub fn push(&mut self, op: Op, inputs: &[usize]) -> usize {
        assert!(inputs.iter().all(|i| *i <= self.nodes.len()), "an operation reads earlier values");
        self.nodes.push((op, inputs.to_vec()));
        self.nodes.len()
    }

    /// All operations; number i makes value i + 1.
    pub fn operations(&self) -> impl ExactSizeIterator<Item = &Op> + DoubleEndedIterator {
        self.nodes.iter().map(|(op, _)| op)
    }

    /// The same graph with its weights on `device`.
    pub fn on(&self, device: &Device) -> Result<Graph> {
        let nodes = self.nodes.iter().map(|(op, inputs)| Ok((op.on(device)?, inputs.clone())));
        let nodes = nodes.collect::<Result<_>>()?;
        Ok(Graph { mean: self.mean.to_device(device)?, std: self.std.to_device(device)?, nodes })
    }

    /// A sequential network as a graph.
    pub fn of<T: WithDType>(net: &Net<T>, device: &Device) -> Result<Graph> {
        let mut graph = Graph::new(net.mean.map(T::to_f64), net.std.map(T::to_f64), T::DTYPE, device)?;
        let tensor = |v: &[T], shape: &[usize]| Tensor::from_slice(v, shape, device);
        let mut last = 0;
        for step in &net.steps {
            let (op, with_relu) = match step {
                Step::Conv { inputs, outputs, weight, bias } => {
                    let weight = tensor(weight, &[*outputs, *inputs, 3, 3])?;
                    (Op::Conv { weight, bias: tensor(bias, &[*outputs])?, stride: 1, padding: 1 }, true)
                }
                Step::MaxPool => (Op::MaxPool { window: 2, stride: 2, padding: 0, ceil: false }, false),
                Step::AveragePool { side } => (Op::AveragePool { side: *side }, false),
                Step::Linear { inputs, outputs, weight, bias, relu } => {
                    let weight = tensor(weight, &[*outputs, *inputs])?;
                    (Op::Linear { weight, bias: tensor(bias, &[*outputs])? }, *relu)
                }
            };
            last = graph.push(op, &[last]);
            if with_relu {
                last = graph.push(Op::Relu, &[last]);
            }
        }
        Ok(graph)
    }

    /// Every value, and what each node leaves.
    fn forward(&self, images: &Tensor) -> Result<(Vec<Tensor>, Vec<Tape>)> {
        let mut values = vec![images.to_dtype(self.mean.dtype())?.broadcast_sub(&self.mean)?.broadcast_div(&self.std)?];
        let mut tapes = Vec::new();
        for (op, inputs) in &self.nodes {
            let inputs: Vec<&Tensor> = inputs.iter().map(|i| &values[*i]).collect();
            let (value, tape) = op.forward(&inputs)?;
            values.push(value);
            tapes.push(tape);
        }
        Ok((values, tapes))
    }

    /// Logits N×classes and image gradient for a gradient with respect to the logits, in the graph's own float type.
    pub fn gradient(&self, images: &Tensor, seed: impl Fn(&Tensor) -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        let (values, tapes) = self.forward(images)?;
        let last = values.last().expect("never empty");
        let logits = last.flatten_from(1)?;
        let mut gradients: Vec<Option<Tensor>> = vec![None; values.len()];
        gradients[self.nodes.len()] = Some(seed(&logits)?.reshape(last.shape())?);
        for (i, ((op, inputs), tape)) in self.nodes.iter().zip(tapes).enumerate().rev() {
            // nobody reads it, or nobody whose value matters
            let Some(gradient) = gradients[i + 1].take() else { continue };
            let read: Vec<&Tensor> = inputs.iter().map(|i| &values[*i]).collect();
            for (input, part) in inputs.iter().zip(op.backward(&gradient, &read, tape)?) {
                gradients[*input] = Some(match gradients[*input].take() {
                    Some(sum) => (sum + part)?,
                    None => part,
                });
            }
        }
        let gradient = gradients[0].take().map_or_else(|| values[0].zeros_like(), Ok)?;
        Ok((logits, gradient.broadcast_div(&self.std)?))
    }
}

impl Engine for Graph {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let (values, _) = self.forward(images)?;
        Ok(values.last().expect("never empty").flatten_from(1)?)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        self.gradient(images, |logits| Ok(loss.on_device(0, logits)?.to_dtype(logits.dtype())?))
    }
}

impl Op {
    fn on(&self, device: &Device) -> Result<Op> {
        let mut op = self.clone();
        if let Op::Conv { weight, bias, .. } | Op::Linear { weight, bias } = &mut op {
            (*weight, *bias) = (weight.to_device(device)?, bias.to_device(device)?);
        }
        Ok(op)
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Tape)> {
        let x = inputs[0];
        Ok(match self {
            Op::Conv { weight, bias, stride, padding } => {
                let y = convolve(x, weight, *stride, *padding)?;
                (y.broadcast_add(&bias.reshape((1, (), 1, 1))?)?, Tape::Nothing)
            }
            Op::Relu => {
                let zeros = x.zeros_like()?;
                (x.le(&zeros)?.where_cond(&zeros, x)?, Tape::Nothing)
            }
            Op::MaxPool { window, stride, padding, ceil } => {
                max_pool(x, Pool::new(x, *window, *stride, *padding, *ceil)?)?
            }
            Op::AveragePool { side } => {
                let rows = average_rows(x.dim(2)?, *side, x)?;
                let y = x.contiguous()?.broadcast_matmul(&rows.t()?.contiguous()?)?;
                (rows.broadcast_matmul(&y.contiguous()?)?, Tape::Nothing)
            }
            Op::Linear { weight, bias } => (connect(x, weight)?.broadcast_add(bias)?, Tape::Nothing),
            Op::Concat => (Tensor::cat(inputs, 1)?, Tape::Nothing),
            Op::Add => {
                let mut sum = x.clone();
                for y in &inputs[1..] {
                    sum = (sum + *y)?;
                }
                (sum, Tape::Nothing)
            }
        })
    }

    /// Gradient with respect to each input.
    fn backward(&self, g: &Tensor, inputs: &[&Tensor], tape: Tape) -> Result<Vec<Tensor>> {
        let x = inputs[0];
        Ok(match self {
            Op::Conv { weight, stride, padding, .. } => vec![convolve_back(g, weight, *stride, *padding, x)?],
            Op::Relu => {
                // let through where the input is above 0, and where it is NaN, as in PyTorch
                let zeros = x.zeros_like()?;
                vec![x.le(&zeros)?.where_cond(&zeros, g)?]
            }
            Op::MaxPool { window, stride, padding, ceil } => {
                vec![max_unpool(g, tape, Pool::new(x, *window, *stride, *padding, *ceil)?, x)?]
            }
            Op::AveragePool { side } => {
                let rows = average_rows(x.dim(2)?, *side, x)?;
                let up = rows.t()?.contiguous()?.broadcast_matmul(&g.contiguous()?)?;
                vec![up.contiguous()?.broadcast_matmul(&rows)?]
            }
            Op::Linear { weight, .. } => vec![connect_back(g, weight, x)?],
            Op::Concat => {
                let mut first = 0;
                let mut part = |x: &&Tensor| -> Result<Tensor> {
                    let channels = x.dim(1)?;
                    first += channels;
                    Ok(g.narrow(1, first - channels, channels)?.contiguous()?)
                };
                inputs.iter().map(&mut part).collect::<Result<_>>()?
            }
            Op::Add => vec![g.clone(); inputs.len()],
        })
    }
}

/// [`averages`] in the type and on the device of `like`.
fn average_rows(side: usize, out: usize, like: &Tensor) -> Result<Tensor> {
    let rows = Tensor::from_vec(averages(side, out), (out, side), &Device::Cpu)?;
    Ok(rows.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// How a convolution lies on a map.
#[derive(Clone, Copy)]
struct Geometry {
    channels: usize,
    height: usize,
    width: usize,
    kernel: (usize, usize),
    stride: usize,
    padding: usize,
}

impl Geometry {
    fn new(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Geometry> {
        let (_, channels, height, width) = x.dims4()?;
        let (_, inputs, kh, kw) = weight.dims4()?;
        if inputs != channels || height + 2 * padding < kh || width + 2 * padding < kw || stride == 0 {
            let problem =
                format!("a {kh}x{kw} convolution of {inputs} channels on a {height}x{width} map of {channels}");
            return Err(candle_core::Error::msg(problem).into());
        }
        Ok(Geometry { channels, height, width, kernel: (kh, kw), stride, padding })
    }

    fn out(&self) -> (usize, usize) {
        let out = |size: usize, kernel: usize| (size + 2 * self.padding - kernel) / self.stride + 1;
        (out(self.height, self.kernel.0), out(self.width, self.kernel.1))
    }

    /// Rows of the matrix that the weights multiply.
    fn taps(&self) -> usize {
        self.channels * self.kernel.0 * self.kernel.1
    }

    /// Values of an image.
    fn values(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether the map is that matrix already.
    fn is_product(&self) -> bool {
        (self.kernel, self.stride, self.padding) == ((1, 1), 1, 0)
    }

    /// For each row of the matrix and each row of the output: (first place in the matrix, first place in the image,
    /// outputs whose place lies inside).
    fn rows(&self) -> impl Iterator<Item = (usize, isize, std::ops::Range<usize>)> {
        let (oh, ow) = self.out();
        let (kh, kw) = self.kernel;
        let Geometry { height, width, stride, padding, .. } = *self;
        (0..self.taps()).flat_map(move |tap| {
            let (c, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            // x of output i is i·stride + kx − padding
            let first = padding.saturating_sub(kx).div_ceil(stride);
            let end = (width + padding).saturating_sub(kx).div_ceil(stride).min(ow).max(first);
            (0..oh).filter_map(move |oy| {
                let y = (oy * stride + ky).checked_sub(padding).filter(|y| *y < height)?;
                let start = ((c * height + y) * width + kx) as isize - padding as isize;
                Some(((tap * oh + oy) * ow, start, first..end))
            })
        })
    }

    /// The image as a matrix taps × outputs.
    fn unfold<T: WithDType>(&self, image: &[T], columns: &mut [T]) {
        columns.fill(T::zero());
        for (to, from, range) in self.rows() {
            for i in range {
                columns[to + i] = image[(from + (i * self.stride) as isize) as usize];
            }
        }
    }

    /// The transpose of [`Geometry::unfold`]: sums.
    fn fold<T: WithDType>(&self, columns: &[T], image: &mut [T]) {
        for (from, to, range) in self.rows() {
            for i in range {
                image[(to + (i * self.stride) as isize) as usize] += columns[from + i];
            }
        }
    }
}

/// to (m×n) = a (m×k, or its transpose k×m) · b (k×n), on this thread alone.
fn product<T: WithDType>(to: &mut [T], a: &[T], a_transposed: bool, b: &[T], (m, k, n): (usize, usize, usize)) {
    assert!(to.len() == m * n && a.len() == m * k && b.len() == k * n, "a matrix of another size");
    let (a_column, a_row) = if a_transposed { (m, 1) } else { (1, k) };
    // SAFETY: the lengths are those of the matrices, as asserted, and `to` overlaps with nothing; gemm's types are f32
    // and f64 here (see `on_cpu`)
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            a_column as isize,
            a_row as isize,
            b.as_ptr(),
            1,
            n as isize,
            T::zero(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Whether our loops serve: on the CPU, in single or double precision.
fn on_cpu(x: &Tensor) -> Option<DType> {
    Some(x.dtype()).filter(|t| x.device().is_cpu() && matches!(t, DType::F32 | DType::F64))
}

fn convolve(x: &Tensor, weight: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let geometry = Geometry::new(x, weight, stride, padding)?;
    match on_cpu(x) {
        Some(DType::F32) => convolve_in_memory::<f32>(x, weight, geometry),
        Some(_) => convolve_in_memory::<f64>(x, weight, geometry),
        None => Ok(x.conv2d(weight, padding, stride, 1, 1)?),
    }
}

fn convolve_in_memory<T: WithDType>(x: &Tensor, weight: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let (outputs, (oh, ow), taps) = (weight.dim(0)?, geometry.out(), geometry.taps());
    let mut y = vec![T::zero(); x.dim(0)? * outputs * oh * ow];
    lend_values::<T, _>(weight, |weight| {
        lend_values::<T, _>(x, |x| {
            let images = y.par_chunks_mut(outputs * oh * ow).zip(x.par_chunks(geometry.values()));
            images.for_each_init(Vec::new, |columns, (y, image)| {
                let b = match geometry.is_product() {
                    true => image,
                    false => {
                        columns.resize(taps * oh * ow, T::zero());
                        geometry.unfold(image, columns);
                        columns
                    }
                };
                product(y, weight, false, b, (outputs, taps, oh * ow));
            });
        })
    })??;
    Ok(Tensor::from_vec(y, (x.dim(0)?, outputs, oh, ow), &Device::Cpu)?)
}

/// From the gradient `g` with respect to the output of a convolution of `x` to that with respect to `x`.
fn convolve_back(g: &Tensor, weight: &Tensor, stride: usize, padding: usize, x: &Tensor) -> Result<Tensor> {
    let geometry = Geometry::new(x, weight, stride, padding)?;
    match on_cpu(g) {
        Some(DType::F32) => convolve_back_in_memory::<f32>(g, weight, geometry),
        Some(_) => convolve_back_in_memory::<f64>(g, weight, geometry),
        None => convolve_back_of_tensors(g, weight, geometry),
    }
}

/// The same with tensor operations, for other devices.
fn convolve_back_of_tensors(g: &Tensor, weight: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let Geometry { height, width, kernel: (kh, kw), stride, padding, .. } = geometry;
    // rows and columns at the end that no window reached
    let rest = |size: usize, kernel: usize| (size + 2 * padding - kernel) % stride;
    let both = rest(height, kh).min(rest(width, kw));
    let reached = g.conv_transpose2d(weight, padding, both, stride, 1)?;
    let (rows, columns) = (reached.dim(2)?, reached.dim(3)?);
    Ok(reached.pad_with_zeros(2, 0, height - rows)?.pad_with_zeros(3, 0, width - columns)?)
}

fn convolve_back_in_memory<T: WithDType>(g: &Tensor, weight: &Tensor, geometry: Geometry) -> Result<Tensor> {
    let (outputs, (oh, ow), taps) = (weight.dim(0)?, geometry.out(), geometry.taps());
    let n = g.dim(0)?;
    let mut x = vec![T::zero(); n * geometry.values()];
    lend_values::<T, _>(weight, |weight| {
        lend_values::<T, _>(g, |g| {
            let images = x.par_chunks_mut(geometry.values()).zip(g.par_chunks(outputs * oh * ow));
            images.for_each_init(Vec::new, |columns, (image, g)| {
                if geometry.is_product() {
                    return product(image, weight, true, g, (taps, outputs, oh * ow));
                }
                columns.resize(taps * oh * ow, T::zero());
                product(columns, weight, true, g, (taps, outputs, oh * ow));
                geometry.fold(columns, image);
            });
        })
    })??;
    Ok(Tensor::from_vec(x, (n, geometry.channels, geometry.height, geometry.width), &Device::Cpu)?)
}

/// Flattened maps times the transpose of `weight`, outputs × inputs. On the CPU image by image, as a convolution of
/// points: the order of the sums in a product of the whole batch depends on its size.
fn connect(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    match on_cpu(x) {
        Some(_) => Ok(convolve(&points(x)?, &points(weight)?, 1, 0)?.flatten_from(1)?),
        None => Ok(x.flatten_from(1)?.matmul(&weight.t()?)?),
    }
}

/// From the gradient `g` with respect to the output of [`connect`] to that with respect to `x`.
fn connect_back(g: &Tensor, weight: &Tensor, x: &Tensor) -> Result<Tensor> {
    let flat = match on_cpu(g) {
        Some(_) => convolve_back(&points(g)?, &points(weight)?, 1, 0, &points(x)?)?,
        None => g.matmul(weight)?,
    };
    Ok(flat.reshape(x.shape())?)
}

/// All values behind the first dimension as channels of a single pixel.
fn points(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_from(1)?.unsqueeze(2)?.unsqueeze(3)?)
}

/// How windows of a maximum lie on a map.
#[derive(Clone, Copy)]
struct Pool {
    window: usize,
    stride: usize,
    padding: usize,
    height: usize,
    width: usize,
    out: (usize, usize),
}

impl Pool {
    fn new(x: &Tensor, window: usize, stride: usize, padding: usize, ceil: bool) -> Result<Pool> {
        let (_, _, height, width) = x.dims4()?;
        let fits = window > 0 && stride > 0 && 2 * padding <= window && window <= height.min(width) + 2 * padding;
        if !fits || height.min(width) == 0 {
            let problem =
                format!("windows of {window} at stride {stride}, padding {padding}, on a {height}x{width} map");
            return Err(candle_core::Error::msg(problem).into());
        }
        let out = |size: usize| match (ceil, size + 2 * padding - window) {
            (false, room) => room / stride + 1,
            // the last window begins on the map or before it (PyTorch's pooling_output_shape)
            (true, room) => (room.div_ceil(stride) + 1).min((size + padding - 1) / stride + 1),
        };
        Ok(Pool { window, stride, padding, height, width, out: (out(height), out(width)) })
    }

    /// Place on the map of offset `d` in window `i` of a line; outside, the nearest place of the same window, which
    /// changes neither the maximum nor whose it is.
    fn place(&self, i: usize, d: usize, size: usize) -> usize {
        (i * self.stride + d).saturating_sub(self.padding).min(size - 1)
    }

    /// Rows or columns of window `i` that lie on the map.
    fn span(&self, i: usize, size: usize) -> std::ops::RangeInclusive<usize> {
        self.place(i, 0, size)..=self.place(i, self.window - 1, size)
    }

    /// Place of the maximum of window (oy, ox) of a plane: the first of several; NaN above all, the last of them.
    fn winner<T: WithDType>(&self, plane: &[T], oy: usize, ox: usize) -> usize {
        let (ys, xs) = (self.span(oy, self.height), self.span(ox, self.width));
        let mut best = ys.start() * self.width + xs.start();
        for y in ys {
            for x in xs.clone() {
                let (here, v) = (y * self.width + x, plane[y * self.width + x]);
                #[allow(clippy::eq_op)] // is NaN
                if v > plane[best] || v != v {
                    best = here;
                }
            }
        }
        best
    }

    /// Rows, or columns, at offset `d` of each window.
    fn line(&self, d: usize, size: usize, out: usize, x: &Tensor) -> Result<Tensor> {
        let index: Vec<u32> = (0..out).map(|i| self.place(i, d, size) as u32).collect();
        Ok(Tensor::new(index, x.device())?)
    }
}

fn max_pool(x: &Tensor, pool: Pool) -> Result<(Tensor, Tape)> {
    match on_cpu(x) {
        Some(DType::F32) => max_pool_in_memory::<f32>(x, pool),
        Some(_) => max_pool_in_memory::<f64>(x, pool),
        None => max_pool_of_tensors(x, pool),
    }
}

fn max_pool_in_memory<T: WithDType>(x: &Tensor, pool: Pool) -> Result<(Tensor, Tape)> {
    let (n, c, _, _) = x.dims4()?;
    let (oh, ow) = pool.out;
    let mut winners = vec![0u32; n * c * oh * ow];
    let y = lend_values::<T, _>(x, |x| {
        let planes = || x.par_chunks(pool.height * pool.width);
        winners.par_chunks_mut(oh * ow).zip(planes()).for_each(|(winners, plane)| {
            winners.iter_mut().enumerate().for_each(|(i, w)| *w = pool.winner(plane, i / ow, i % ow) as u32);
        });
        let maxima = winners.par_chunks(oh * ow).zip(planes());
        maxima.flat_map_iter(|(winners, plane)| winners.iter().map(|w| plane[*w as usize])).collect::<Vec<T>>()
    })?;
    Ok((Tensor::from_vec(y, (n, c, oh, ow), &Device::Cpu)?, Tape::Winners(winners)))
}

/// The same with tensor operations, for other devices.
fn max_pool_of_tensors(x: &Tensor, pool: Pool) -> Result<(Tensor, Tape)> {
    let ((oh, ow), (_, _, h, w)) = (pool.out, x.dims4()?);
    let x = x.contiguous()?;
    let mut best: Option<Tensor> = None;
    let mut masks: Vec<Tensor> = Vec::new();
    for d in 0..pool.window * pool.window {
        let (ys, xs) = (pool.line(d / pool.window, h, oh, &x)?, pool.line(d % pool.window, w, ow, &x)?);
        let corner = x.index_select(&ys, 2)?.index_select(&xs, 3)?;
        let Some(max) = &best else {
            masks.push(corner.ones_like()?);
            best = Some(corner);
            continue;
        };
        // NaN is not equal to itself
        let wins = (corner.gt(max)?.to_dtype(DType::U8)? + corner.ne(&corner)?.to_dtype(DType::U8)?)?;
        let wins = wins.gt(&wins.zeros_like()?)?;
        best = Some(wins.where_cond(&corner, max)?);
        let stays = wins.eq(&wins.zeros_like()?)?.to_dtype(x.dtype())?;
        for mask in &mut masks {
            *mask = (&*mask * &stays)?;
        }
        masks.push(wins.to_dtype(x.dtype())?);
    }
    Ok((best.expect("windows are not empty"), Tape::Masks(masks)))
}

/// Sends each gradient to the place that won; where windows overlap, gradients add up.
fn max_unpool(g: &Tensor, tape: Tape, pool: Pool, x: &Tensor) -> Result<Tensor> {
    match (tape, on_cpu(g)) {
        (Tape::Winners(winners), Some(DType::F32)) => max_unpool_in_memory::<f32>(g, &winners, pool, x),
        (Tape::Winners(winners), _) => max_unpool_in_memory::<f64>(g, &winners, pool, x),
        (Tape::Masks(masks), _) => max_unpool_of_tensors(g, &masks, pool, x),
        (Tape::Nothing, _) => unreachable!("a pool leaves its winners"),
    }
}

fn max_unpool_in_memory<T: WithDType>(g: &Tensor, winners: &[u32], pool: Pool, x: &Tensor) -> Result<Tensor> {
    let (of_plane, of_output) = (pool.height * pool.width, pool.out.0 * pool.out.1);
    let mut to = vec![T::zero(); x.elem_count()];
    lend_values::<T, _>(g, |g| {
        let planes = to.par_chunks_mut(of_plane).zip(g.par_chunks(of_output)).zip(winners.par_chunks(of_output));
        planes.for_each(|((to, g), winners)| winners.iter().zip(g).for_each(|(w, g)| to[*w as usize] += *g));
    })?;
    Ok(Tensor::from_vec(to, x.shape(), &Device::Cpu)?)
}

fn max_unpool_of_tensors(g: &Tensor, masks: &[Tensor], pool: Pool, x: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    let (oh, ow) = pool.out;
    let zeros = |h: usize, w: usize| Tensor::zeros((n, c, h, w), g.dtype(), g.device());
    let mut to = zeros(h, w)?;
    for (d, mask) in masks.iter().enumerate() {
        let (ys, xs) = (pool.line(d / pool.window, h, oh, x)?, pool.line(d % pool.window, w, ow, x)?);
        let columns = zeros(oh, w)?.index_add(&xs, &(g * mask)?, 3)?;
        to = to.index_add(&ys, &columns, 2)?;
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In [0, 1), without a pattern (multiples of the golden ratio's bits).
    fn scattered(i: usize) -> f64 {
        ((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as f64 / (1u64 << 44) as f64
    }

    #[test]
    fn convolutions_of_tensors_are_those_in_memory() {
        let random = |shape: &[usize]| {
            let values: Vec<f64> = (0..shape.iter().product()).map(|i: usize| scattered(i) - 0.5).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        for (side, kernel, stride, padding) in
            [(9, 3, 1, 1), (11, 7, 2, 0), (12, 7, 2, 3), (6, 1, 1, 0), (7, 1, 2, 0), (10, 3, 3, 2), (5, 5, 4, 2)]
        {
            let (x, weight) = (random(&[2, 3, side, side]), random(&[4, 3, kernel, kernel]));
            let geometry = Geometry::new(&x, &weight, stride, padding).unwrap();
            let ours = convolve(&x, &weight, stride, padding).unwrap();
            let g = random(ours.dims());
            let pairs = [
                (ours, x.conv2d(&weight, padding, stride, 1, 1).unwrap()),
                (
                    convolve_back(&g, &weight, stride, padding, &x).unwrap(),
                    convolve_back_of_tensors(&g, &weight, geometry).unwrap(),
                ),
            ];
            for (ours, theirs) in pairs {
                assert_eq!(ours.dims(), theirs.dims());
                let off = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
                assert!(off < 1e-11, "{side} {kernel} {stride} {padding}: {off}");
            }
        }
    }

    #[test]
    fn a_maximum_of_tensors_is_the_maximum_in_memory() {
        for (side, window, stride, padding, ceil) in [
            (7, 3, 2, 0, true),
            (8, 3, 2, 0, true),
            (8, 3, 2, 0, false),
            (5, 2, 2, 0, false),
            (6, 4, 1, 0, true),
            (7, 3, 2, 1, false),
            (8, 3, 2, 1, true),
            (5, 4, 3, 2, true),
            (2, 4, 1, 2, false),
        ] {
            // few different values, so that ties are many; and some NaN
            let values: Vec<f32> = (0..2 * 3 * side * side)
                .map(|i| if i % 41 == 7 { f32::NAN } else { ((scattered(i) * 4.0).floor() - 2.0) as f32 })
                .collect();
            let x = Tensor::from_vec(values, (2, 3, side, side), &Device::Cpu).unwrap();
            let pool = Pool::new(&x, window, stride, padding, ceil).unwrap();
            let (a, left_a) = max_pool_in_memory::<f32>(&x, pool).unwrap();
            let (b, left_b) = max_pool_of_tensors(&x, pool).unwrap();
            let g = Tensor::from_vec((0..a.elem_count()).map(|i| i as f32).collect(), a.shape(), &Device::Cpu).unwrap();
            let (up_a, up_b) = (max_unpool(&g, left_a, pool, &x).unwrap(), max_unpool(&g, left_b, pool, &x).unwrap());
            let bits = |t: &Tensor| -> Vec<Option<u32>> {
                let v = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                v.iter().map(|v| (!v.is_nan()).then_some(v.to_bits())).collect()
            };
            assert_eq!((bits(&a), bits(&up_a)), (bits(&b), bits(&up_b)), "{side} {window} {stride} {padding} {ceil}");
        }
    }
}
