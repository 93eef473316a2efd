//! One node of an ONNX file while it is read: its attributes, each of which must be asked for, and its values.

use super::proto::{Content, Node};
use super::tensor::{Room, Tensor};
use super::value::{Data, Value};
use std::cell::Cell;

/// A node with the values it reads.
pub struct Call<'a> {
    /// As the file has it.
    pub node: &'a Node<'a>,
    /// Version of ONNX's operators.
    pub opset: i64,
    /// Whether what it gives is the network's output and nothing else.
    pub is_last: bool,
    inputs: Vec<Option<Value>>,
    asked: Vec<Cell<bool>>,
}

impl<'a> Call<'a> {
    /// Of a node and its values, `None` where one is left out.
    pub fn new(node: &'a Node<'a>, opset: i64, is_last: bool, inputs: Vec<Option<Value>>) -> Call<'a> {
        Call { node, opset, is_last, inputs, asked: vec![Cell::new(false); node.attributes.len()] }
    }

    /// An attribute, if it is there.
    pub fn attribute(&self, name: &str) -> Option<&'a Content<'a>> {
        let at = self.node.attributes.iter().position(|a| a.name == name)?;
        self.asked[at].set(true);
        Some(&self.node.attributes[at].value)
    }

    /// Attributes that change no result.
    pub fn pass_over(&self, names: &[&str]) {
        for name in names {
            self.attribute(name);
        }
    }

    /// An attribute that nobody asked for.
    pub fn unknown_attribute(&self) -> Option<&'a str> {
        let at = self.asked.iter().position(|asked| !asked.get())?;
        Some(self.node.attributes[at].name)
    }

    /// A whole number.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Content::Int(value)) => Ok(*value),
            Some(_) => Err(format!("attribute `{name}` is no whole number")),
        }
    }

    /// Whether an attribute is not 0.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    /// A number.
    pub fn float(&self, name: &str, default: f32) -> Result<f64, String> {
        match self.attribute(name) {
            None => Ok(f64::from(default)),
            Some(Content::Float(value)) => Ok(f64::from(*value)),
            Some(_) => Err(format!("attribute `{name}` is no number")),
        }
    }

    /// Whole numbers; `None`: not there.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Content::Ints(values)) => Ok(Some(values.clone())),
            Some(_) => Err(format!("attribute `{name}` holds no whole numbers")),
        }
    }

    /// A word.
    pub fn word(&self, name: &str, default: &'static str) -> Result<&'a str, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Content::Text(text)) => {
                std::str::from_utf8(text).map_err(|_| format!("attribute `{name}` is no UTF-8"))
            }
            Some(_) => Err(format!("attribute `{name}` is no text")),
        }
    }

    /// How many values it names.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// All of them.
    ///
    /// # Errors
    /// One that is left out.
    pub fn all(&self) -> Result<Vec<Value>, String> {
        (0..self.inputs.len()).map(|i| self.input(i).cloned()).collect()
    }

    /// A value that must be there.
    pub fn input(&self, i: usize) -> Result<&Value, String> {
        self.maybe(i).ok_or_else(|| format!("input {i} is missing"))
    }

    /// A value that may be left out.
    pub fn maybe(&self, i: usize) -> Option<&Value> {
        self.inputs.get(i)?.as_ref()
    }

    /// Numbers that must not depend on the image, moved out of the call; `what` names them in messages.
    pub fn numbers(&mut self, i: usize, what: &str) -> Result<Tensor, String> {
        let value =
            self.inputs.get_mut(i).and_then(Option::take).ok_or_else(|| format!("{what} (input {i}): missing"))?;
        match (value.data, value.batch) {
            (Data::Known(numbers), None) => Ok(Tensor { dims: value.dims, numbers }),
            (Data::Known(_), Some(_)) => Err(format!("{what} (input {i}) depends on the size of the batch")),
            _ => Err(format!("{what} (input {i}) is computed from the image, and must be constant")),
        }
    }

    /// [`Call::numbers`] where they may be left out.
    pub fn maybe_numbers(&mut self, i: usize, what: &str) -> Result<Option<Tensor>, String> {
        self.maybe(i).is_some().then(|| self.numbers(i, what)).transpose()
    }

    /// Whole numbers that must not depend on the image; `None`: left out.
    pub fn whole(&mut self, i: usize, what: &str, room: &mut Room) -> Result<Option<Vec<i64>>, String> {
        let Some(tensor) = self.maybe_numbers(i, what)? else { return Ok(None) };
        tensor.whole(room).map(Some).map_err(|problem| format!("{what} (input {i}): {problem}"))
    }

    /// Whole numbers of an attribute in older versions, an input in newer ones.
    pub fn whole_or_input(&mut self, name: &str, i: usize, room: &mut Room) -> Result<Option<Vec<i64>>, String> {
        match self.ints(name)? {
            Some(values) => Ok(Some(values)),
            None => self.whole(i, &format!("`{name}`"), room),
        }
    }

    /// A single number that must not depend on the image; `None`: left out.
    pub fn single(&mut self, i: usize, what: &str) -> Result<Option<f64>, String> {
        let Some(tensor) = self.maybe_numbers(i, what)? else { return Ok(None) };
        match tensor.count() == 1 && tensor.kept() == 1 {
            true => Ok(Some(tensor.at(0))),
            false => Err(format!("{what} (input {i}): {} numbers, and must be one", tensor.count())),
        }
    }
}
