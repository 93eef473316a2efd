//! Values of a graph in buffers, and copies of them that lie otherwise.

use super::contract::At;
use super::layout::Layout;
use super::lower::Lowering;
use super::tape::{Base, Tape};
use super::value::Value;
use super::{Form, Room, Slot, weights};
use crate::error::Result;

impl Lowering<'_> {
    /// A value that was made before.
    pub fn value(&self, v: usize) -> Value {
        self.values[v].clone().expect("made before it is read")
    }

    pub fn set(&mut self, v: usize, value: Value) {
        let alone = value.alone && self.readers[v].len() <= 1;
        self.values[v] = Some(Value { alone, ..value });
    }

    pub fn set_at(&mut self, v: usize, at: At, layout: Layout, base: Option<Base>) {
        let shape = self.graph.shape(v).to_vec();
        self.set(v, Value { at, layout, shape, base, alone: true });
    }

    /// Room for a value.
    pub fn new_value(&mut self, layout: Layout, shape: &[usize], depends: bool) -> Value {
        let at = At::Slot(self.tape.slot(Room::Numbers(layout.numbers())));
        let base = depends.then(|| self.tape.base(layout.numbers()));
        Value { at, layout, shape: shape.to_vec(), base, alone: true }
    }

    /// What leads back from a value that depends on the images: `lead` is given its gradient.
    pub fn leads_back(&mut self, from: Option<Base>, lead: impl FnOnce(&mut Tape, Slot) + 'static) {
        if let Some(base) = from {
            self.backs.push((base, Box::new(lead)));
        }
    }

    /// Numbers that do not depend on the images.
    pub fn constant(&mut self, shape: &[usize], values: &[f32]) -> Result<Value> {
        let layout = Layout::rows(shape);
        let mut rows = vec![0.0; layout.numbers()];
        values.iter().enumerate().for_each(|(i, v)| rows[layout.address(i)] = *v);
        let at = At::Weight((self.keep)(&rows, Form::Maps)?);
        Ok(Value { at, layout, shape: shape.to_vec(), base: None, alone: false })
    }

    /// One number a channel, in f32.
    pub fn floats(&mut self, values: &[f64]) -> Result<usize> {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        (self.keep)(&weights::padded(&values), Form::Floats)
    }

    /// A value in a buffer.
    pub fn in_slot(&mut self, v: usize) -> Value {
        let value = self.value(v);
        match value.at {
            At::Slot(_) => value,
            At::Weight(_) => {
                let layout = value.layout.clone();
                self.copy(&value, layout)
            }
        }
    }

    /// A value whose numbers along an axis lie next to each other: as it is, if it `fits`, else a copy.
    pub fn suited(&mut self, value: Value, axis: usize, fits: fn(&Layout, &[usize], usize) -> bool) -> Value {
        match matches!(value.at, At::Slot(_)) && fits(&value.layout, &value.shape, axis) {
            true => value,
            false => self.copy(&value, Layout::with_last(&value.shape, axis)),
        }
    }

    /// A map, channels last.
    pub fn map(&mut self, v: usize) -> Value {
        let value = self.value(v);
        self.suited(value, 0, Layout::is)
    }

    /// A value each of whose axes is one factor.
    pub fn whole(&mut self, value: Value) -> Value {
        match value.is_whole() {
            true => value,
            false => self.copy(&value, Layout::rows(&value.shape)),
        }
    }

    /// A value as another of its shape lies.
    pub fn alike(&mut self, v: usize, like: &Value) -> Value {
        let value = self.value(v);
        if value.lies_as(like) {
            return value;
        }
        let value = if like.is_whole() { value } else { self.whole(value) };
        self.copy(&value, like.layout.clone())
    }

    /// The same numbers elsewhere. One of the two layouts is whole.
    pub fn copy(&mut self, value: &Value, layout: Layout) -> Value {
        let copy = self.new_value(layout, &value.shape, value.base.is_some());
        let (x, y) = (value.view(), copy.view());
        self.tape.contract([&y, &x], None, 1.0, false);
        let base = value.base;
        self.leads_back(copy.base, move |tape, g| {
            tape.contract_back(base.expect("the copy has one"), [&x, &y], None, 1.0, g);
        });
        copy
    }

    /// The same memory read as another shape, where that goes.
    pub fn reshaped(&mut self, v: usize, shape: &[usize]) -> Value {
        let value = self.value(v);
        let value = match value.layout.axes(shape) {
            Some(_) => value,
            None => {
                // row by row, without zeros within
                let flat = Value { shape: vec![value.shape.iter().product()], ..value };
                let layout = Layout::rows(&flat.shape);
                self.copy(&flat, layout)
            }
        };
        Value { shape: shape.to_vec(), ..value }
    }
}
