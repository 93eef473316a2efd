//! Fully connected layers of a batch.

use gemm::Parallelism;

/// outputs = weight · inputs + bias.
pub struct Linear {
    pub from: usize,
    pub to: usize,
    /// How many in and out.
    inputs: usize,
    outputs: usize,
    tensors: (usize, Option<usize>),
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl Linear {
    pub fn new([from, to]: [usize; 2], [inputs, outputs]: [usize; 2], tensors: (usize, Option<usize>)) -> Linear {
        Linear { from, to, inputs, outputs, tensors, weight: Vec::new(), bias: None }
    }

    pub fn set(&mut self, tensors: &[Vec<f32>]) {
        self.weight.clone_from(&tensors[self.tensors.0]);
        self.bias = self.tensors.1.map(|bias| tensors[bias].clone());
    }

    /// y (n×outputs) of x (n×inputs).
    pub fn forward(&self, x: &[f32], n: usize) -> Vec<f32> {
        let mut y = match &self.bias {
            Some(bias) => bias.repeat(n),
            None => vec![0.0; n * self.outputs],
        };
        let Linear { inputs, outputs, weight, .. } = self;
        add_product(&mut y, (x, [*inputs, 1]), (weight, [1, *inputs]), [n, *inputs, *outputs]);
        y
    }

    /// The gradient n×inputs of that n×outputs.
    pub fn backward(&self, gradient: &[f32], n: usize) -> Vec<f32> {
        let Linear { inputs, outputs, weight, .. } = self;
        let mut back = vec![0.0; n * inputs];
        add_product(&mut back, (gradient, [*outputs, 1]), (weight, [*inputs, 1]), [n, *outputs, *inputs]);
        back
    }

    /// Adds the gradient with respect to the weights.
    pub fn add_weights(&self, x: &[f32], gradient: &[f32], n: usize, weights: &mut [Vec<f32>]) {
        let Linear { inputs, outputs, tensors: (weight, bias), .. } = self;
        add_product(&mut weights[*weight], (gradient, [1, *outputs]), (x, [*inputs, 1]), [*outputs, n, *inputs]);
        if let Some(bias) = bias {
            for gradient in gradient.chunks_exact(*outputs) {
                weights[*bias].iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
            }
        }
    }
}

/// c (m×n, row by row) += a (m×k) · b (k×n), from whose rows and columns to the next it is so far. The order of each sum does not
/// depend on the number of threads: they share rows and columns, never the depth.
fn add_product(c: &mut [f32], (a, of_a): (&[f32], [usize; 2]), (b, of_b): (&[f32], [usize; 2]), [m, k, n]: [usize; 3]) {
    let reach = |[rows, columns]: [usize; 2], [row, column]: [usize; 2]| (rows - 1) * row + (columns - 1) * column + 1;
    assert!(c.len() == m * n && a.len() >= reach([m, k], of_a) && b.len() >= reach([k, n], of_b), "another size");
    let ([a_row, a_column], [b_row, b_column]) = (of_a.map(|s| s as isize), of_b.map(|s| s as isize));
    let (c, a, b, n_) = (c.as_mut_ptr(), a.as_ptr(), b.as_ptr(), n as isize);
    // SAFETY: the matrices lie in their slices, as asserted, and `c` overlaps with nothing
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            n_,
            true,
            a,
            a_column,
            a_row,
            b,
            b_column,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        )
    }
}
