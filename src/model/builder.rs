//! One description of a network, read for three purposes: with the weights of a file it is built; without, its tensors and
//! its layers are listed, and the graph is an outline, whose large operations have no weights.

use super::convolution::{Bias, Conv};
use super::layer::Layer;
use super::weights::{Taken, Weights};
use crate::config::ModelFile;
use crate::kernel::graph::{Activation, Graph, Op, Window};
use crate::kernel::learn::{Blueprint, Learned};

/// PyTorch's default `eps` of `BatchNorm2d`, also timm's and torchvision's.
const BATCH_NORM_EPS: f64 = 1e-5;

/// `eps` of the layer norms of ViT (timm) and of ConvNeXt (timm and torchvision).
const LAYER_NORM_EPS: f64 = 1e-6;

/// Name and shape of a tensor.
pub type Named = (String, Vec<usize>);

/// A network in the making. A method that computes something takes the values it reads by their numbers (0: the normalised
/// image), and gives the number of the one it makes. A layer is known by the name of its tensors.
pub struct Builder<'a> {
    graph: Graph<f32>,
    taken: Option<Taken<'a>>,
    keys: Option<String>,
    called: String,
    tensors: Vec<Named>,
    layers: Vec<Layer>,
    learned: Vec<Option<Learned>>,
    /// Whether a bias that a file may have is left out where a batch norm follows, which has one.
    spares_biases: bool,
    notes: Vec<String>,
}

/// What a builder leaves.
pub struct Network {
    /// The network.
    pub graph: Graph<f32>,
    /// Every tensor of the weight file that it needs, in the order of computation.
    pub tensors: Vec<Named>,
    /// Every layer whose output is a map, in the order of computation.
    pub layers: Vec<Layer>,
    /// What the user is to know of how the weights were read, a line each.
    pub notes: Vec<String>,
}

impl<'a> Builder<'a> {
    /// For a description, with the weights of a file, or to be listed.
    pub fn new(file: &ModelFile, weights: Option<&'a Weights<'a>>) -> Builder<'a> {
        Builder {
            graph: match weights {
                Some(_) => Graph::new(file.size, file.mean, file.std),
                None => Graph::outline(file.size, file.mean, file.std),
            },
            taken: weights.map(Taken::of),
            keys: file.keys.clone(),
            called: file.family.clone(),
            tensors: Vec::new(),
            layers: Vec::new(),
            learned: Vec::new(),
            spares_biases: false,
            notes: Vec::new(),
        }
    }

    /// For a network that is to be trained: listed, without biases that it can do without.
    pub fn to_train(file: &ModelFile) -> Builder<'a> {
        Builder { spares_biases: true, ..Builder::new(file, None) }
    }

    /// What the network is called where a tensor has no place in it; else its family.
    pub fn called(&mut self, name: String) {
        self.called = name;
    }

    /// Whether tensors are named in this way: as the model file says; else as the weight file shows, by a tensor that only
    /// this naming has.
    pub fn is_named(&self, keys: &str, by: &str) -> bool {
        self.keys.as_ref().map_or_else(|| self.has(by), |named| named == keys)
    }

    /// Whether weights are read; else the network is only listed.
    pub fn is_read(&self) -> bool {
        self.taken.is_some()
    }

    /// Whether the file has this tensor; not where the network is only listed.
    pub fn has(&self, tensor: &str) -> bool {
        self.taken.as_ref().is_some_and(|taken| taken.is_there(tensor))
    }

    /// Shape of a tensor of the file; `None`: the network is only listed.
    ///
    /// # Errors
    /// A tensor that is missing.
    pub fn stored(&self, tensor: &str) -> Result<Option<&[usize]>, String> {
        self.taken.as_ref().map(|taken| taken.shape(tensor)).transpose()
    }

    /// Leaves out tensors that the network does not use, where the file has them, and says so.
    pub fn leave_out(&mut self, before: &str, why: &str) {
        let count = self.taken.as_mut().map_or(0, |taken| taken.leave_out(before));
        if count > 0 {
            self.notes.push(format!("{count} tensors `{before}…` are left out: {why}"));
        }
    }

    /// Shape of a value.
    pub fn shape(&self, value: usize) -> &[usize] {
        self.graph.shape(value)
    }

    /// Adds an operation without weights.
    ///
    /// # Errors
    /// See [`Graph::push`].
    pub fn push(&mut self, op: Op<f32>, inputs: &[usize]) -> Result<usize, String> {
        self.learn(op, inputs, None)
    }

    fn learn(&mut self, op: Op<f32>, inputs: &[usize], learned: Option<Learned>) -> Result<usize, String> {
        let made = self.graph.push(op, inputs)?;
        self.learned.push(learned);
        Ok(made)
    }

    /// The layer whose last tensors are its weight and perhaps a bias.
    fn last_layer(&self, has_bias: bool) -> Option<Learned> {
        let weight = self.tensors.len() - 1 - usize::from(has_bias);
        Some(Learned::Layer { weight, bias: has_bias.then_some(weight + 1) })
    }

    fn tensor<T: crate::kernel::Real>(&mut self, name: String, shape: &[usize]) -> Result<Vec<T>, String> {
        let values = match &mut self.taken {
            Some(taken) => taken.take(name.clone(), shape)?,
            None => vec![T::zero(); shape.iter().product()],
        };
        self.tensors.push((name, shape.to_vec()));
        Ok(values)
    }

    /// The same of a tensor that may be large; empty where the network is only listed.
    fn weight(&mut self, name: String, shape: &[usize]) -> Result<Vec<f32>, String> {
        if self.is_read() {
            return self.tensor(name, shape);
        }
        self.tensors.push((name, shape.to_vec()));
        Ok(Vec::new())
    }

    /// Convolution of a map.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite; a map that its windows do not fit on.
    pub fn conv(&mut self, name: &str, x: usize, conv: Conv) -> Result<usize, String> {
        let Conv { outputs, window, groups, bias } = conv;
        let inputs = self.shape(x)[0] / groups;
        let weight = self.weight(format!("{name}.weight"), &[outputs, inputs, window.size[0], window.size[1]])?;
        let bias_name = format!("{name}.bias");
        // listed with the bias that it may have
        let has_bias = match bias {
            Bias::Free => match self.taken {
                None => !self.spares_biases,
                Some(_) => self.has(&bias_name),
            },
            other => other == Bias::Yes,
        };
        let bias = if has_bias { self.tensor(bias_name, &[outputs])? } else { vec![0.0; outputs] };
        let learned = self.last_layer(has_bias);
        let made = self.learn(Op::Conv { window, groups, weight, bias }, &[x], learned)?;
        Ok(self.layer(name, made))
    }

    /// Batch norm over the channels of a map as it is in inference: (x − μ)·γ/√(σ² + ε) + β.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite; variances below 0.
    pub fn norm(&mut self, name: &str, x: usize) -> Result<usize, String> {
        let (channels, first) = (self.shape(x)[0], self.tensors.len());
        let mut get = |part: &str| self.tensor::<f64>(format!("{name}.{part}"), &[channels]);
        let (gamma, beta) = (get("weight")?, get("bias")?);
        let (mean, variance) = (get("running_mean")?, get("running_var")?);
        if let Some(c) = variance.iter().position(|v| *v < 0.0) {
            let found = variance[c];
            return Err(format!("tensor `{name}.running_var`: expected variances from 0, found {found} at {c}"));
        }
        let factor: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + BATCH_NORM_EPS).sqrt()).collect();
        let shift = beta.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
        let learned = Learned::Norm { gamma: first, beta: first + 1, mean: first + 2, variance: first + 3 };
        let made = self.learn(Op::Scale { axis: 0, factor, shift }, &[x], Some(learned))?;
        Ok(self.layer(name, made))
    }

    /// Layer norm along an axis: 0 for the channels of a map, the last for those of tokens.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite.
    pub fn layer_norm(&mut self, name: &str, x: usize, axis: usize) -> Result<usize, String> {
        let size = self.shape(x)[axis];
        let factor = self.tensor(format!("{name}.weight"), &[size])?;
        let shift = self.tensor(format!("{name}.bias"), &[size])?;
        let made = self.push(Op::LayerNorm { axis, factor, shift, eps: LAYER_NORM_EPS }, &[x])?;
        Ok(self.layer(name, made))
    }

    /// A learned factor for every channel of a map, stored in this shape (ConvNeXt's layer scale).
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite.
    pub fn factors(&mut self, name: &str, x: usize, stored: &[usize]) -> Result<usize, String> {
        let factor: Vec<f64> = self.tensor(name.into(), stored)?;
        let shift = vec![0.0; factor.len()];
        self.push(Op::Scale { axis: 0, factor, shift }, &[x])
    }

    /// Fully connected over the last axis, with bias.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite.
    pub fn linear(&mut self, name: &str, x: usize, outputs: usize) -> Result<usize, String> {
        let inputs = *self.shape(x).last().expect("no value is a single number");
        let (weight, bias) = self.weights(name, &[outputs, inputs])?;
        self.learn(Op::Linear { weight, bias }, &[x], self.last_layer(true))
    }

    /// Fully connected over the last axis, its weights stored as those of a convolution in this shape.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite.
    pub fn linear_stored(&mut self, name: &str, x: usize, shape: &[usize]) -> Result<usize, String> {
        let (weight, bias) = self.weights(name, shape)?;
        self.learn(Op::Linear { weight, bias }, &[x], self.last_layer(true))
    }

    /// The same linear layer at every place of a map, its weights stored outputs×inputs.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite.
    pub fn pointwise(&mut self, name: &str, x: usize, outputs: usize) -> Result<usize, String> {
        let (weight, bias) = self.weights(name, &[outputs, self.shape(x)[0]])?;
        let op = Op::Conv { window: Window::square(1, 1, 0), groups: 1, weight, bias };
        let made = self.learn(op, &[x], self.last_layer(true))?;
        Ok(self.layer(name, made))
    }

    fn weights(&mut self, name: &str, shape: &[usize]) -> Result<(Vec<f32>, Vec<f32>), String> {
        Ok((self.weight(format!("{name}.weight"), shape)?, self.tensor(format!("{name}.bias"), &shape[..1])?))
    }

    /// Learned numbers that are read as they are, stored in one shape and used in another.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite.
    pub fn constant(&mut self, name: &str, stored: &[usize], shape: &[usize]) -> Result<usize, String> {
        let values = self.weight(name.into(), stored)?;
        self.push(Op::Constant { shape: shape.to_vec(), values }, &[])
    }

    /// A function of each number.
    ///
    /// # Errors
    /// See [`Graph::push`].
    pub fn activate(&mut self, function: Activation, x: usize) -> Result<usize, String> {
        self.push(Op::Activate(function), &[x])
    }

    /// max(x, 0).
    ///
    /// # Errors
    /// See [`Graph::push`].
    pub fn relu(&mut self, x: usize) -> Result<usize, String> {
        self.activate(Activation::Relu, x)
    }

    /// Maximum of windows that lie on the map.
    ///
    /// # Errors
    /// A map that they do not fit on.
    pub fn max_pool(&mut self, x: usize, window: Window) -> Result<usize, String> {
        self.push(Op::MaxPool { window, ceil: false }, &[x])
    }

    /// Average over windows so that the map becomes side×side.
    ///
    /// # Errors
    /// A value that is no map.
    pub fn average_to(&mut self, side: usize, x: usize) -> Result<usize, String> {
        match self.shape(x) {
            [_, h, w] if [*h, *w] == [side; 2] => Ok(x),
            _ => self.push(Op::AdaptiveAverage { out: [side; 2] }, &[x]),
        }
    }

    /// All numbers of a value as a vector.
    ///
    /// # Errors
    /// See [`Graph::push`].
    pub fn flatten(&mut self, x: usize) -> Result<usize, String> {
        match self.shape(x) {
            [_] => Ok(x),
            shape => {
                let values = shape.iter().product();
                self.push(Op::Reshape { shape: vec![values] }, &[x])
            }
        }
    }

    /// The average of each channel, and a linear layer on those: the last of most networks.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or not finite.
    pub fn averaged_linear(&mut self, name: &str, x: usize, classes: usize) -> Result<usize, String> {
        let averages = self.average_to(1, x)?;
        let averages = self.flatten(averages)?;
        self.linear(name, averages, classes)
    }

    /// Sum of two values.
    ///
    /// # Errors
    /// Values of shapes that do not go together.
    pub fn add(&mut self, x: usize, y: usize) -> Result<usize, String> {
        self.push(Op::Add, &[x, y])
    }

    /// Lists a value as the output of a layer, if it is a map; gives it back.
    pub fn layer(&mut self, name: &str, value: usize) -> usize {
        self.list(name, value, false)
    }

    /// The same, of a layer that a class activation map may be made of where none is asked for.
    pub fn usual(&mut self, name: &str, value: usize) -> usize {
        self.list(name, value, true)
    }

    fn list(&mut self, name: &str, value: usize, usual: bool) -> usize {
        if let [_, height, width] = *self.shape(value) {
            // what a module does behind its batch norm is part of it
            self.layers.retain(|l| l.name != name);
            self.layers.push(Layer { name: name.into(), size: [height, width], value, usual });
        }
        value
    }

    /// The network, all of it read.
    ///
    /// # Errors
    /// A tensor of the file that has no place in it.
    pub(super) fn finish(self) -> Result<Network, String> {
        if let Some(taken) = &self.taken {
            taken.nothing_else(&self.called)?;
        }
        let Builder { graph, tensors, layers, notes, .. } = self;
        Ok(Network { graph, tensors, layers, notes })
    }

    /// What there is to learn of it.
    pub(super) fn blueprint(self) -> Blueprint {
        Blueprint { graph: self.graph, learned: self.learned, tensors: self.tensors }
    }
}
