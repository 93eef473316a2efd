//! The tasks as they are written, and the gradients that have been written so far.

use super::contract::{At, Contract, View};
use super::product::products;
use super::{Finish, Room, Slot, Task, Work};

/// What leads back from a value: it is given the value's gradient.
pub type Lead = Box<dyn FnOnce(&mut Tape, Slot)>;

/// A value whose gradient is wanted, by number. Values that lie in the same memory are one.
pub type Base = usize;

/// Tasks in the order in which they are done.
#[derive(Default)]
pub struct Tape {
    /// So far.
    pub tasks: Vec<Task>,
    /// The buffers.
    pub rooms: Vec<Room>,
    /// Buffers that the way back reads, so that nobody may write in place there.
    pub kept: Vec<bool>,
    /// Where the gradient of each value is, as far as it has been summed.
    gradients: Vec<Option<Slot>>,
    /// Numbers of an image of each value.
    sizes: Vec<usize>,
}

impl Tape {
    /// A new buffer.
    pub fn slot(&mut self, room: Room) -> Slot {
        self.rooms.push(room);
        self.kept.push(false);
        self.rooms.len() - 1
    }

    /// A new value of so many numbers that depends on the images.
    pub fn base(&mut self, numbers: usize) -> Base {
        self.gradients.push(None);
        self.sizes.push(numbers);
        self.sizes.len() - 1
    }

    /// The way back will read these.
    pub fn keep(&mut self, these: [Option<At>; 2]) {
        for at in these.into_iter().flatten() {
            if let At::Slot(slot) = at {
                self.kept[slot] = true;
            }
        }
    }

    /// Adds a task.
    pub fn push(&mut self, task: Task) {
        self.tasks.push(task);
    }

    /// The gradient of a value, to which nothing more will be added.
    pub fn gradient(&mut self, of: Base) -> Option<Slot> {
        self.gradients[of].take()
    }

    /// Where a gradient is written, and whether it is added to what is there.
    pub fn destination(&mut self, of: Base) -> (Slot, bool) {
        if let Some(slot) = self.gradients[of] {
            return (slot, true);
        }
        let slot = self.slot(Room::Numbers(self.sizes[of]));
        self.gradients[of] = Some(slot);
        (slot, false)
    }

    /// Where a gradient is written that may take the place of `g`, which nobody else needs.
    pub fn in_place(&mut self, of: Base, g: Slot) -> (Slot, bool) {
        let there = *self.gradients[of].get_or_insert(g);
        (there, there != g)
    }

    /// The gradient of each of some values is `g`, which nobody else needs.
    pub fn give(&mut self, to: &[Base], g: Slot) {
        let (there, not): (Vec<Base>, Vec<Base>) = to.iter().partition(|b| self.gradients[**b].is_some());
        let all = [there, not].concat();
        for (i, of) in all.iter().enumerate() {
            if i + 1 == all.len() && self.gradients[*of].is_none() {
                self.gradients[*of] = Some(g);
                continue;
            }
            let (to, add) = self.destination(*of);
            let numbers = self.sizes[*of];
            let whole = |slot| View { at: At::Slot(slot), offset: 0, image: numbers, axes: vec![vec![(numbers, 1)]] };
            self.push(Task::Contract(Contract::new([&whole(to), &whole(g)], None, 1.0, add)));
        }
    }

    /// A [`Contract`] into the whole of y.
    pub fn contract(&mut self, views: [&View; 2], z: Option<&View>, factor: f32, add: bool) {
        self.clear_around(views[0], add);
        self.push(Task::Contract(Contract::new(views, z, factor, add)));
    }

    /// The gradient of a value that was read as `x` grows by factor·Σ g·z, where g is seen as y was.
    pub fn contract_back(&mut self, of: Base, [x, y]: [&View; 2], z: Option<&View>, factor: f32, g: Slot) {
        let (to, add) = self.destination(of);
        self.contract([&x.on(to), &y.on(g)], z, factor, add);
    }

    /// [`products`] into the whole of y.
    pub fn multiply(&mut self, views: [&View; 3], sizes: [usize; 3], factor: f32, add: bool) {
        self.clear_around(views[0], add);
        self.multiply_part(views, sizes, factor, add);
    }

    /// [`products`] into a part of what is there.
    pub fn multiply_part(&mut self, views: [&View; 3], sizes: [usize; 3], factor: f32, add: bool) {
        self.tasks.extend(products(views, sizes, factor, add).into_iter().map(Task::Product));
    }

    /// Zeros where a view of all there is leaves something out.
    pub fn clear_around(&mut self, y: &View, add: bool) {
        let At::Slot(slot) = y.at else { return };
        if !add && self.rooms[slot] != Room::Numbers(y.count()) {
            self.push(Task::Clear(slot));
        }
    }

    /// The way back through the function of a finish alone, in place.
    pub fn unfinish(&mut self, finish: &Finish, x: Slot, g: Slot) {
        if finish.function.is_some() {
            self.push(Task::Back(Work::Finish(finish.clone(), x), g, g, false));
        }
    }
}
