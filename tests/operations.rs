//! Every operation of a graph on odd shapes: values by their definitions, derivatives by central differences, and PyTorch's
//! rules where a function has no derivative.

#[path = "support/random_graph.rs"]
mod random_graph;

use foolproof::kernel::graph::{Activation, Graph, Op, Window};
use foolproof::kernel::plain::Value;
use random_graph::Numbers;

/// An operation and the shapes of what it reads.
type Case = (Op<f64>, Vec<Vec<usize>>);

fn window(size: [usize; 2], stride: [usize; 2], dilation: [usize; 2], padding: [usize; 4]) -> Window {
    Window { size, stride, dilation, padding }
}

const ACTIVATIONS: [Activation; 12] = [
    Activation::Relu,
    Activation::Clip { low: -0.3, high: 0.6 },
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Elu { alpha: 1.5 },
    Activation::Sigmoid,
    Activation::Silu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::HardSigmoid { slope: 1.2, offset: 0.4 },
    Activation::HardSwish,
    Activation::Tanh,
    Activation::Erf,
];

/// Every operation on shapes that are even in nothing.
fn cases() -> Vec<Case> {
    let numbers = &mut Numbers(15);
    let mut all: Vec<Case> = Vec::new();
    for (window, groups, inputs, outputs, size) in [
        (Window::square(3, 1, 1), 1, 3, 5, [5, 7]),
        (Window::square(1, 1, 0), 1, 4, 3, [3, 5]),
        (Window::square(1, 3, 0), 1, 2, 3, [8, 9]), // reaches neither the last row nor the last two columns
        (Window::square(7, 2, 3), 1, 3, 2, [9, 11]),
        (Window::square(3, 2, 0), 1, 2, 3, [8, 6]), // leaves a row and a column
        (Window::square(3, 1, 3), 3, 6, 3, [2, 3]), // windows that see nothing but padding
        (window([3, 2], [2, 3], [1, 2], [1, 0, 2, 1]), 2, 4, 6, [8, 9]),
        (window([3, 3], [1, 1], [3, 2], [3, 2, 3, 2]), 1, 2, 2, [7, 5]),
        (window([5, 3], [2, 1], [1, 1], [0, 1, 1, 2]), 5, 5, 10, [7, 4]), // depthwise, two outputs a channel
        (window([4, 4], [1, 1], [1, 1], [1, 1, 2, 2]), 4, 4, 4, [5, 6]),
    ] {
        let weights = outputs * (inputs / groups) * window.size[0] * window.size[1];
        let (weight, bias) = (numbers.some(weights, 1.0), numbers.some(outputs, 1.0));
        all.push((Op::Conv { window, groups, weight, bias }, vec![vec![inputs, size[0], size[1]]]));
    }
    for (window, ceil, size) in [
        (Window::square(2, 2, 0), false, [5, 7]),
        (Window::square(2, 2, 0), true, [5, 7]),
        (Window::square(3, 2, 1), false, [8, 7]),
        (Window::square(3, 2, 1), true, [8, 7]),
        (Window::square(4, 1, 2), true, [3, 6]),
        (window([3, 2], [2, 3], [1, 1], [0, 1, 2, 0]), true, [6, 8]),
        (window([2, 3], [3, 1], [1, 1], [1, 2, 0, 1]), false, [7, 4]),
    ] {
        let shape = vec![vec![3, size[0], size[1]]];
        all.push((Op::MaxPool { window, ceil }, shape.clone()));
        for count_padding in [false, true] {
            all.push((Op::AveragePool { window, ceil, count_padding }, shape.clone()));
        }
    }
    // the second leaves a window that sees nothing
    for window in [window([2, 3], [1, 2], [2, 1], [1, 1, 0, 1]), window([2, 2], [1, 1], [3, 3], [3, 3, 3, 3])] {
        all.push((Op::MaxPool { window, ceil: false }, vec![vec![2, 5, 2]]));
    }
    for (out, size) in [([1, 1], [5, 3]), ([3, 2], [7, 5]), ([5, 7], [3, 4])] {
        all.push((Op::AdaptiveAverage { out }, vec![vec![2, size[0], size[1]]]));
    }
    let mut scaled = |axis, n| Op::Scale { axis, factor: numbers.some(n, 2.0), shift: numbers.some(n, 1.0) };
    all.push((scaled(0, 3), vec![vec![3, 4, 5]]));
    all.push((scaled(2, 5), vec![vec![3, 4, 5]]));
    all.push((scaled(1, 1), vec![vec![4, 7]]));
    all.extend(ACTIVATIONS.map(|function| (Op::Activate(function), vec![vec![5, 7]])));
    for (shape, outputs) in [(vec![7], 5), (vec![4, 19], 3), (vec![2, 3, 9], 1)] {
        let (weight, bias) = (numbers.some(shape[shape.len() - 1] * outputs, 1.0), numbers.some(outputs, 1.0));
        all.push((Op::Linear { weight, bias }, vec![shape]));
    }
    for (a, b) in [
        (vec![3, 4, 5], vec![3, 4, 5]),
        (vec![3, 4, 5], vec![3, 1, 1]),
        (vec![3, 1, 1], vec![3, 4, 5]),
        (vec![4, 1], vec![1, 5]),
        (vec![5], vec![3, 4, 5]),
        (vec![2, 1, 5], vec![3, 1]),
        (vec![1], vec![2, 3]),
    ] {
        all.push((Op::Add, vec![a.clone(), b.clone()]));
        all.push((Op::Mul, vec![a, b]));
    }
    for axis in 0..3 {
        let part = |n| (0..3).map(|i| if i == axis { n } else { i + 2 }).collect::<Vec<usize>>();
        all.push((Op::Concat { axis }, vec![part(2), part(1), part(4)]));
        all.push((Op::Softmax { axis }, vec![vec![3, 4, 5]]));
        all.push((Op::Mean { axis }, vec![vec![3, 4, 5]]));
        all.push((Op::Slice { axis, start: 1, end: 6, step: 3 }, vec![part(7)]));
    }
    all.push((Op::Concat { axis: 0 }, vec![vec![4]]));
    all.push((Op::Slice { axis: 0, start: 0, end: 5, step: 2 }, vec![vec![5]]));
    all.push((Op::Softmax { axis: 0 }, vec![vec![6]]));
    all.push((Op::Reshape { shape: vec![6, 10] }, vec![vec![3, 4, 5]]));
    for axes in [vec![2, 0, 1], vec![1, 2, 0], vec![0, 2, 1]] {
        all.push((Op::Transpose { axes }, vec![vec![3, 4, 5]]));
    }
    all.push((Op::Transpose { axes: vec![3, 1, 0, 2] }, vec![vec![3, 2, 5, 4]]));
    all.push((Op::MatMul, vec![vec![4, 3], vec![3, 5]]));
    all.push((Op::MatMul, vec![vec![2, 3, 4, 11], vec![2, 3, 11, 1]]));
    for (axis, shape, eps) in [(0, vec![5, 3, 4], 1e-6), (1, vec![4, 7], 1e-5), (0, vec![6], 0.3)] {
        let n = shape[axis];
        all.push((Op::LayerNorm { axis, factor: numbers.some(n, 2.0), shift: numbers.some(n, 1.0), eps }, vec![shape]));
    }
    for (heads, shape) in [(1, vec![5, 9]), (3, vec![7, 27]), (2, vec![1, 12])] {
        all.push((Op::Attention { heads }, vec![shape]));
    }
    all.push((Op::Upsample { times: [2, 3] }, vec![vec![2, 3, 4]]));
    all.push((Op::Pad { padding: [1, 0, 2, 3] }, vec![vec![2, 3, 4]]));
    all.push((Op::Constant { shape: vec![2, 3], values: numbers.some(6, 1.0) }, vec![]));
    all
}

/// Number of an operation in the list of all. A new one does not compile until it has a number, and a number needs a case.
fn kind(op: &Op<f64>) -> usize {
    match op {
        Op::Conv { .. } => 0,
        Op::Scale { .. } => 1,
        Op::Activate(function) => match function {
            Activation::Relu => 20,
            Activation::Clip { .. } => 21,
            Activation::LeakyRelu { .. } => 22,
            Activation::Elu { .. } => 23,
            Activation::Sigmoid => 24,
            Activation::Silu => 25,
            Activation::Gelu => 26,
            Activation::GeluTanh => 27,
            Activation::HardSigmoid { .. } => 28,
            Activation::HardSwish => 29,
            Activation::Tanh => 30,
            Activation::Erf => 31,
        },
        Op::MaxPool { .. } => 2,
        Op::AveragePool { .. } => 3,
        Op::AdaptiveAverage { .. } => 4,
        Op::Linear { .. } => 5,
        Op::Add => 6,
        Op::Mul => 7,
        Op::Concat { .. } => 8,
        Op::Reshape { .. } => 9,
        Op::Transpose { .. } => 10,
        Op::Slice { .. } => 11,
        Op::MatMul => 12,
        Op::Softmax { .. } => 13,
        Op::LayerNorm { .. } => 14,
        Op::Attention { .. } => 15,
        Op::Mean { .. } => 16,
        Op::Upsample { .. } => 17,
        Op::Pad { .. } => 18,
        Op::Constant { .. } => 19,
    }
}

#[test]
fn every_operation_has_a_case() {
    let mut kinds: Vec<usize> = cases().iter().map(|(op, _)| kind(op)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (0..32).collect::<Vec<_>>());
}

/// Numbers for values of these shapes.
fn random(shapes: &[Vec<usize>]) -> Vec<Vec<f64>> {
    let mut numbers = Numbers(shapes.concat().iter().sum::<usize>() as u64);
    shapes.iter().map(|shape| numbers.some(shape.iter().product(), 1.0)).collect()
}

fn values<'a, T>(shapes: &'a [Vec<usize>], numbers: &'a [Vec<T>]) -> Vec<Value<'a, T>> {
    shapes.iter().zip(numbers).map(|(shape, numbers)| Value { shape, numbers }).collect()
}

fn shape(op: &Op<f64>, shapes: &[Vec<usize>]) -> Vec<usize> {
    op.shape(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
}

/// All indices of a shape, row by row.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let n: usize = shape.iter().product();
    let index = |mut i: usize| {
        let mut index: Vec<usize> = shape.iter().rev().map(|size| (i % size, i /= size).0).collect();
        index.reverse();
        index
    };
    (0..n).map(index).collect()
}

/// The number at an index.
fn at(x: Value<f64>, index: &[usize]) -> f64 {
    assert_eq!(index.len(), x.shape.len());
    x.numbers[index.iter().zip(x.shape).fold(0, |place, (i, size)| place * size + i)]
}

/// The number at a place of a map, or `None` around it.
fn on_map(x: Value<f64>, channel: usize, place: [isize; 2]) -> Option<f64> {
    let [row, column] = place.map(|p| usize::try_from(p).ok());
    let inside = row? < x.shape[1] && column? < x.shape[2];
    inside.then(|| at(x, &[channel, row.unwrap(), column.unwrap()]))
}

/// Where the taps of a window lie on a map, or around it.
fn taps(window: &Window, index: &[usize]) -> Vec<[isize; 2]> {
    let place = |axis: usize, t: usize| {
        (index[axis + 1] * window.stride[axis] + t * window.dilation[axis]) as isize - window.padding[axis] as isize
    };
    indices(&window.size).iter().map(|t| [place(0, t[0]), place(1, t[1])]).collect()
}

/// The number at an index of what an operation makes, by its definition.
fn defined(op: &Op<f64>, inputs: &[Value<f64>], index: &[usize]) -> f64 {
    let x = inputs.first().copied().unwrap_or(Value { shape: &[], numbers: &[] });
    let along = |axis: usize| (0..x.shape[axis]).map(move |i| [&index[..axis], &[i], &index[axis + 1..]].concat());
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let spread = |x: Value<f64>| {
        let behind = &index[index.len() - x.shape.len()..];
        at(x, &behind.iter().zip(x.shape).map(|(i, size)| if *size == 1 { 0 } else { *i }).collect::<Vec<_>>())
    };
    match op {
        Op::Conv { window, groups, weight, bias } => {
            let (inputs, group) = (x.shape[0] / groups, index[0] / (bias.len() / groups));
            let taps = taps(window, index);
            let weight = |channel: usize, tap: usize| weight[(index[0] * inputs + channel) * taps.len() + tap];
            let terms = indices(&[inputs, taps.len()])
                .into_iter()
                .map(|i| weight(i[0], i[1]) * on_map(x, group * inputs + i[0], taps[i[1]]).unwrap_or(0.0));
            bias[index[0]] + terms.sum::<f64>()
        }
        Op::Scale { axis, factor, shift } => {
            let i = if factor.len() == 1 { 0 } else { index[*axis] };
            factor[i] * at(x, index) + shift[i]
        }
        Op::Activate(function) => activated(*function, at(x, index)),
        Op::MaxPool { window, .. } => {
            let seen = taps(window, index).into_iter().filter_map(|place| on_map(x, index[0], place));
            seen.fold(f64::NEG_INFINITY, f64::max)
        }
        Op::AveragePool { window, count_padding, .. } => {
            let [_, _, below, right] = window.padding.map(|p| p as isize);
            let taps = taps(window, index);
            let seen: Vec<f64> = taps.iter().filter_map(|place| on_map(x, index[0], *place)).collect();
            let padded = |[row, column]: &&[isize; 2]| {
                *row < x.shape[1] as isize + below && *column < x.shape[2] as isize + right
            };
            let count = if *count_padding { taps.iter().filter(padded).count() } else { seen.len() };
            seen.iter().sum::<f64>() / count as f64
        }
        Op::AdaptiveAverage { out } => {
            let range = |axis: usize| {
                let (i, size, out) = (index[axis + 1] as f64, x.shape[axis + 1] as f64, out[axis] as f64);
                (i * size / out).floor() as usize..((i + 1.0) * size / out).ceil() as usize
            };
            let rows = range(0).flat_map(|row| range(1).map(move |column| [index[0], row, column]));
            mean(&rows.map(|place| at(x, &place)).collect::<Vec<_>>())
        }
        Op::Linear { weight, bias } => {
            let (rows, o) = (&index[..index.len() - 1], index[index.len() - 1]);
            let inputs = weight.len() / bias.len();
            (0..inputs).map(|i| weight[o * inputs + i] * at(x, &[rows, &[i]].concat())).sum::<f64>() + bias[o]
        }
        Op::Add => spread(x) + spread(inputs[1]),
        Op::Mul => spread(x) * spread(inputs[1]),
        Op::Concat { axis } => {
            let mut index = index.to_vec();
            let part = inputs.iter().find(|x| {
                let inside = index[*axis] < x.shape[*axis];
                index[*axis] -= if inside { 0 } else { x.shape[*axis] };
                inside
            });
            at(*part.unwrap(), &index)
        }
        Op::Reshape { shape } => x.numbers[indices(shape).iter().position(|i| i == index).unwrap()],
        Op::Transpose { axes } => {
            let of_axis = |axis: usize| index[axes.iter().position(|a| *a == axis).unwrap()];
            at(x, &(0..axes.len()).map(of_axis).collect::<Vec<_>>())
        }
        Op::Slice { axis, start, step, .. } => {
            let mut index = index.to_vec();
            index[*axis] = start + step * index[*axis];
            at(x, &index)
        }
        Op::MatMul => {
            let (before, [i, k]) = (&index[..index.len() - 2], [index[index.len() - 2], index[index.len() - 1]]);
            let terms = (0..x.shape[index.len() - 1])
                .map(|j| at(x, &[before, &[i, j]].concat()) * at(inputs[1], &[before, &[j, k]].concat()));
            terms.sum()
        }
        Op::Softmax { axis } => at(x, index).exp() / along(*axis).map(|i| at(x, &i).exp()).sum::<f64>(),
        Op::LayerNorm { axis, factor, shift, eps } => {
            let line: Vec<f64> = along(*axis).map(|i| at(x, &i)).collect();
            let variance = mean(&line.iter().map(|v| (v - mean(&line)).powi(2)).collect::<Vec<_>>());
            let normal = (at(x, index) - mean(&line)) / (variance + eps).sqrt();
            factor[index[*axis]] * normal + shift[index[*axis]]
        }
        Op::Attention { heads } => {
            let (tokens, width) = (x.shape[0], x.shape[1] / 3);
            let depth = width / heads;
            let first = index[1] / depth * depth;
            let score = |key: usize| {
                let terms = (first..first + depth).map(|i| at(x, &[index[0], i]) * at(x, &[key, width + i]));
                (terms.sum::<f64>() / (depth as f64).sqrt()).exp()
            };
            let all: f64 = (0..tokens).map(score).sum();
            (0..tokens).map(|key| score(key) / all * at(x, &[key, 2 * width + index[1]])).sum()
        }
        Op::Mean { axis } => {
            let place = |i: usize| [&index[..*axis], &[i], &index[*axis..]].concat();
            mean(&(0..x.shape[*axis]).map(|i| at(x, &place(i))).collect::<Vec<_>>())
        }
        Op::Upsample { times } => at(x, &[index[0], index[1] / times[0], index[2] / times[1]]),
        Op::Pad { padding } => {
            let place = [index[1] as isize - padding[0] as isize, index[2] as isize - padding[1] as isize];
            on_map(x, index[0], place).unwrap_or(0.0)
        }
        Op::Constant { shape, values } => at(Value { shape, numbers: values }, index),
    }
}

/// Functions of one number as their papers write them.
fn activated(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Relu => x.max(0.0),
        Activation::Clip { low, high } => x.clamp(low, high),
        Activation::LeakyRelu { slope } => x.max(0.0) + slope * x.min(0.0),
        Activation::Elu { alpha } => x.max(0.0) + alpha * x.min(0.0).exp_m1(),
        Activation::Sigmoid => 0.5 + 0.5 * (x / 2.0).tanh(),
        Activation::Silu => x * (0.5 + 0.5 * (x / 2.0).tanh()),
        Activation::Gelu => x * 0.5 * libm::erfc(-x / 2f64.sqrt()),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::HardSigmoid { slope, offset } => (slope * x + offset).clamp(0.0, 1.0),
        Activation::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::Tanh => 1.0 - 2.0 / ((2.0 * x).exp() + 1.0),
        Activation::Erf => 1.0 - libm::erfc(x),
    }
}

#[test]
fn values_are_those_of_the_definitions() {
    for (op, shapes) in cases() {
        let (numbers, shape) = (random(&shapes), shape(&op, &shapes));
        let inputs = values(&shapes, &numbers);
        let y = op.forward(&inputs, &shape);
        assert_eq!(y.len(), shape.iter().product::<usize>(), "{op:?}");
        for (y, index) in y.iter().zip(indices(&shape)) {
            let wanted = defined(&op, &inputs, &index);
            assert!(
                *y == wanted || (y - wanted).abs() < 1e-13 * (1.0 + wanted.abs()),
                "{op:?} {index:?}: {y} {wanted}"
            );
        }
    }
}

/// Σ weight · output over the numbers of the output that are finite (a maximum of nothing is not).
fn weighted(y: &[f64], weights: &[f64]) -> f64 {
    y.iter().zip(weights).filter(|(y, _)| y.is_finite()).map(|(y, w)| y * w).sum()
}

#[test]
fn derivatives_are_central_differences() {
    const STEP: f64 = 1e-5;
    for (op, shapes) in cases() {
        let (mut numbers, shape) = (random(&shapes), shape(&op, &shapes));
        let y = op.forward(&values(&shapes, &numbers), &shape);
        let weights = Numbers(7).some(y.len(), 1.0);
        let gradients = op.backward(&values(&shapes, &numbers), &y, &weights);
        assert_eq!(gradients.len(), shapes.len(), "{op:?}");
        for (input, gradient) in gradients.iter().enumerate() {
            assert_eq!(gradient.len(), numbers[input].len(), "{op:?}: input {input}");
            for (i, gradient) in gradient.iter().enumerate() {
                let here = numbers[input][i];
                let mut moved = |by: f64| {
                    numbers[input][i] = here + by;
                    weighted(&op.forward(&values(&shapes, &numbers), &shape), &weights)
                };
                let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                numbers[input][i] = here;
                assert!((gradient - slope).abs() < 1e-8 * (1.0 + slope.abs()), "{op:?}: {gradient} {slope} at {i}");
            }
        }
    }
}

#[test]
fn a_derivative_reads_no_more_than_it_says() {
    for (op, shapes) in cases() {
        let (numbers, shape) = (random(&shapes), shape(&op, &shapes));
        let inputs = values(&shapes, &numbers);
        let y = op.forward(&inputs, &shape);
        let gradient = Numbers(8).some(y.len(), 1.0);
        let reads = matches!(
            op,
            Op::Activate(_) | Op::MaxPool { .. } | Op::Mul | Op::MatMul | Op::LayerNorm { .. } | Op::Attention { .. }
        );
        let shapes_alone: Vec<Value<f64>> = shapes.iter().map(|shape| Value { shape, numbers: &[] }).collect();
        let output = if matches!(op, Op::Softmax { .. }) { y.as_slice() } else { &[] };
        let less = op.backward(if reads { &inputs } else { &shapes_alone }, output, &gradient);
        assert_eq!(less, op.backward(&inputs, &y, &gradient), "{op:?}");
    }
}

/// The same operation in f32.
fn single(op: &Op<f64>, shapes: &[Vec<usize>]) -> Op<f32> {
    let mut graph = Graph::new([1, 1], [0.0; 3], [1.0; 3]);
    let inputs: Vec<usize> = shapes
        .iter()
        .map(|shape| {
            let values = vec![0.0; shape.iter().product()];
            graph.push(Op::Constant { shape: shape.clone(), values }, &[]).unwrap()
        })
        .collect();
    graph.push(op.clone(), &inputs).unwrap();
    graph.to_f32().nodes().last().unwrap().op.clone()
}

#[test]
fn single_precision_is_near_and_has_the_same_bits_everywhere() {
    let mut bits = 0u64;
    let mut held = |y: &[f32], wide: &[f64], op: &Op<f64>| {
        for (y, wide) in y.iter().zip(wide) {
            let near = (f64::from(*y) - wide).abs() < 2e-5 * (1.0 + wide.abs());
            assert!(f64::from(*y) == *wide || near, "{op:?}: {y} {wide}");
            if !matches!(op, Op::Conv { .. }) {
                bits = (bits.rotate_left(5) ^ u64::from(y.to_bits())).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            }
        }
    };
    for (op, shapes) in cases() {
        let (numbers, shape, narrow) = (random(&shapes), shape(&op, &shapes), single(&op, &shapes));
        let f32s = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        let numbers32: Vec<Vec<f32>> = numbers.iter().map(|v| f32s(v)).collect();
        let (y, wide) =
            (narrow.forward(&values(&shapes, &numbers32), &shape), op.forward(&values(&shapes, &numbers), &shape));
        held(&y, &wide, &op);
        let gradient = Numbers(9).some(y.len(), 1.0);
        let back = narrow.backward(&values(&shapes, &numbers32), &y, &f32s(&gradient));
        let wide = op.backward(&values(&shapes, &numbers), &wide, &gradient);
        back.iter().zip(&wide).for_each(|(y, wide)| held(y, wide, &op));
    }
    // whatever changes it, machine or program, changes what runs have stored
    assert_eq!(bits, 0x2c75_b4d0_2775_46e5, "{bits:#x}");
}

/// What an operation makes of one value, and the gradient with respect to it of the sum of that.
fn both_ways(op: Op<f64>, shape: &[usize], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (value, out) = ([Value { shape, numbers: x }], op.shape(&[shape]).unwrap());
    let y = op.forward(&value, &out);
    let gradient = op.backward(&value, &y, &vec![1.0; y.len()]).remove(0);
    (y, gradient)
}

#[test]
fn maxima_of_ties_and_nan_follow_pytorch() {
    let nan = f64::NAN;
    let pool = |x: &[f64], shape: [usize; 3], window: Window, ceil| both_ways(Op::MaxPool { window, ceil }, &shape, x);
    // ties go to the first
    let two = Window::square(2, 1, 0);
    let (y, g) = pool(&[1.0, 2.0, 2.0, 0.0, 2.0, 2.0], [1, 2, 3], two, false);
    assert_eq!(y, [2.0; 2]);
    assert_eq!(g, [0.0, 2.0, 0.0, 0.0, 0.0, 0.0], "both windows take the first of their 2s, which is one place");
    let (y, _) = pool(&[1.0, nan, 2.0, 0.0, 2.0, 2.0], [1, 2, 3], two, false);
    assert!(y.iter().all(|v| v.is_nan()));
    // two NaN in one window: PyTorch's loop moves on to the last
    assert_eq!(pool(&[1.0, nan, nan, 0.0], [1, 2, 2], two, false).1, [0.0, 0.0, 1.0, 0.0]);
    // the least number there is still wins over padding, the first of four
    let least = f64::NEG_INFINITY;
    assert_eq!(pool(&[least; 4], [1, 2, 2], two, false), (vec![least], vec![1.0, 0.0, 0.0, 0.0]));
    // padding never wins, not even against negative values; windows of 3 at stride 2 begin at -1 and 1
    let plane: Vec<f64> = (1..=16).map(|v| -f64::from(v)).collect();
    let (y, g) = pool(&plane, [1, 4, 4], Window::square(3, 2, 1), false);
    assert_eq!(y, [-1.0, -2.0, -5.0, -6.0]);
    let at = |places: &[usize]| (0..16).map(|i| if places.contains(&i) { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    assert_eq!(g, at(&[0, 1, 4, 5]));
    // a third window, begun at 3, counts in ceil mode
    let (y, g) = pool(&plane, [1, 4, 4], Window::square(3, 2, 1), true);
    assert_eq!(y, [-1.0, -2.0, -4.0, -5.0, -6.0, -8.0, -13.0, -14.0, -16.0]);
    assert_eq!(g, at(&[0, 1, 3, 4, 5, 7, 12, 13, 15]));
}

/// Values and slopes of PyTorch 2.15 (CPU, f64, tensors too short for its vector code, which knows other rules for NaN) at
/// these points.
const POINTS: [f64; 6] = [-3.0, 0.0, 2.0, 3.0, 6.0, f64::NAN];

#[test]
fn kinks_and_nan_follow_pytorch() {
    let (nan, sixth) = (f64::NAN, 1.0 / 6.0);
    for (function, values, slopes) in [
        (Activation::Relu, [0.0, 0.0, 2.0, 3.0, 6.0, nan], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]),
        (Activation::Clip { low: 0.0, high: 6.0 }, [0.0, 0.0, 2.0, 3.0, 6.0, nan], [0.0, 0.0, 1.0, 1.0, 0.0, 1.0]),
        (Activation::LeakyRelu { slope: 0.5 }, [-1.5, 0.0, 2.0, 3.0, 6.0, nan], [0.5, 0.5, 1.0, 1.0, 1.0, 0.5]),
        (
            Activation::Elu { alpha: 1.5 },
            [-1.4253193974482041, 0.0, 2.0, 3.0, 6.0, nan],
            [0.07468060255179591, 1.5, 1.0, 1.0, 1.0, 1.0],
        ),
        (
            Activation::HardSigmoid { slope: sixth, offset: 0.5 },
            [0.0, 0.5, 0.8333333333333334, 1.0, 1.0, nan],
            [0.0, sixth, sixth, 0.0, 0.0, 0.0],
        ),
        (
            Activation::HardSwish,
            [0.0, 0.0, 1.6666666666666667, 3.0, 6.0, nan],
            [0.0, 0.5, 1.1666666666666665, 1.0, 1.0, 1.0],
        ),
        (
            Activation::Silu,
            [-0.14227761953270035, 0.0, 1.7615941559557646, 2.8577223804672998, 5.985164261060192, nan],
            [-0.08810410601516962, 0.5, 1.0907842487848955, 1.0881041060151693, 1.0123264325915249, nan],
        ),
        (
            Activation::Gelu,
            [-0.00404969409489031, 0.0, 1.9544997361036416, 2.99595030590511, 5.999999994080474, nan],
            [-0.01194564720418392, 0.5, 1.085231801078197, 1.011945647204184, 1.0000000354687093, nan],
        ),
        (
            Activation::GeluTanh,
            [-0.0036373920817729943, 0.0, 1.954597694087775, 2.996362607918227, 5.9999999999156035, nan],
            [-0.011584166630969648, 0.5, 1.0860992566236183, 1.0115841666309695, 1.0000000007709977, nan],
        ),
    ] {
        let (y, g) = both_ways(Op::Activate(function), &[POINTS.len()], &POINTS);
        let same = |a: &f64, b: &f64| (a - b).abs() < 1e-15 + 1e-14 * b.abs() || (a.is_nan() && b.is_nan());
        assert!(y.iter().zip(&values).all(|(a, b)| same(a, b)), "{function:?}: {y:?}");
        assert!(g.iter().zip(&slopes).all(|(a, b)| same(a, b)), "{function:?}: slopes {g:?}");
    }
}

#[test]
fn what_a_closed_relu_holds_back_may_be_nan() {
    for function in [Activation::Relu, Activation::Clip { low: 0.0, high: 6.0 }] {
        let (x, op) = ([-1.0, 0.0, 2.0], Op::Activate(function));
        let g = op.backward(&[Value { shape: &[3], numbers: &x }], &[], &[f64::NAN; 3]).swap_remove(0);
        assert!(g[..2] == [0.0, 0.0] && g[2].is_nan(), "{function:?}: {g:?}");
    }
}
