//! From a graph to units: a batch norm takes the sum and the ReLU behind it with it.

use super::convolution::Convolution;
use super::linear::Linear;
use super::maps::Maps;
use super::norm::Norm;
use super::pool::{Average, MaxPool};
use crate::kernel::graph::{Node, Op};
use crate::kernel::learn::{Blueprint, Learned};

/// A step of the way forward, which one of the way back undoes.
pub enum Unit {
    Convolution(Box<Convolution>),
    /// Or what of it there is: a sum, a ReLU.
    Norm(Norm),
    MaxPool(MaxPool),
    Average(Average),
    /// A map becomes a vector.
    Flatten {
        from: usize,
        to: usize,
    },
    Linear(Linear),
    /// Of a vector.
    Relu {
        from: usize,
        to: usize,
    },
}

impl Unit {
    /// Padded channels on the wider side of a Winograd convolution.
    pub fn winograd_channels(&self) -> usize {
        match self {
            Unit::Convolution(conv) => conv.winograd_channels(),
            _ => 0,
        }
    }

    /// Padded outputs of the engine's first convolution.
    pub fn first_outputs(&self) -> usize {
        match self {
            Unit::Convolution(conv) => conv.first_outputs(),
            _ => 0,
        }
    }
}

/// The units of a checked network in the order of computation, and the maps between them.
///
/// # Errors
/// Images that something else than a convolution reads.
pub fn lower(blueprint: &Blueprint) -> Result<(Vec<Unit>, Maps), String> {
    let (graph, nodes) = (&blueprint.graph, blueprint.graph.nodes());
    let readers = graph.readers();
    // the node that alone reads a value
    let alone = |value: usize| {
        let reader = || nodes.iter().position(|n| n.inputs.contains(&value));
        (readers[value] == 1).then(reader).flatten()
    };
    let (mut units, mut done) = (Vec::new(), vec![false; nodes.len()]);
    for (i, Node { op, inputs }) in nodes.iter().enumerate() {
        if done[i] {
            continue;
        }
        let (from, to, is_map, channels) = (inputs[0], i + 1, graph.shape(i + 1).len() == 3, graph.shape(i + 1)[0]);
        let reads_images = inputs.contains(&0) && !matches!(op, Op::Conv { groups: 1, .. });
        if reads_images {
            return Err(format!("a {} of images is not learned here: a convolution must come first", op.name()));
        }
        units.push(match (op, &blueprint.learned[i]) {
            (Op::Conv { window, groups, .. }, Some(Learned::Layer { weight, bias })) => {
                let [inputs, outputs] = [from, to].map(|v| graph.shape(v));
                let conv = Convolution::new([from, to], *window, *groups, [inputs, outputs], (*weight, *bias));
                Unit::Convolution(Box::new(conv))
            }
            (Op::Linear { .. }, Some(Learned::Layer { weight, bias })) => {
                let [inputs, outputs] = [from, to].map(|v| graph.shape(v)[0]);
                Unit::Linear(Linear::new([from, to], [inputs, outputs], (*weight, *bias)))
            }
            (Op::Scale { .. }, Some(learned)) => {
                let mut norm = Norm::of(from, to, channels);
                norm.learned = Some(learned.clone());
                // a sum with what is there already
                let sum = alone(to).filter(|r| {
                    let other = nodes[*r].inputs.iter().find(|v| **v != to);
                    matches!(nodes[*r].op, Op::Add) && other.is_some_and(|v| *v < to)
                });
                if let Some(sum) = sum {
                    done[sum] = true;
                    norm.add = nodes[sum].inputs.iter().copied().find(|v| *v != to);
                    norm.to = sum + 1;
                }
                Unit::Norm(norm)
            }
            (Op::Add, _) => {
                let mut norm = Norm::of(from, to, channels);
                norm.add = Some(inputs[1]);
                Unit::Norm(norm)
            }
            (Op::Activate(_), _) if is_map => {
                let mut norm = Norm::of(from, to, channels);
                norm.relu = true;
                Unit::Norm(norm)
            }
            (Op::Activate(_), _) => Unit::Relu { from, to },
            (Op::MaxPool { window, .. }, _) => Unit::MaxPool(MaxPool::new(from, to, *window)),
            (Op::AdaptiveAverage { .. }, _) => Unit::Average(Average { from, to }),
            (Op::Reshape { .. }, _) => Unit::Flatten { from, to },
            (other, _) => return Err(format!("a {} is not learned here", other.name())),
        });
        if let Some(Unit::Norm(norm)) = units.last_mut().filter(|_| !matches!(op, Op::Activate(_))) {
            let relu = alone(norm.to).filter(|r| matches!(nodes[*r].op, Op::Activate(_)));
            if let Some(relu) = relu {
                done[relu] = true;
                (norm.relu, norm.to) = (true, relu + 1);
            }
        }
    }
    let maps = maps(blueprint, &units);
    Ok((units, maps))
}

/// Which values are stored as maps, and which of those a Winograd convolution reads, forward or back.
fn maps(blueprint: &Blueprint, units: &[Unit]) -> Maps {
    let mut stored: Vec<Option<[bool; 2]>> = vec![None; blueprint.learned.len() + 1];
    let mut border = 0;
    for unit in units {
        let made = match unit {
            Unit::Convolution(conv) => conv.to,
            Unit::Norm(norm) => norm.to,
            Unit::MaxPool(pool) => pool.to,
            Unit::Average(average) => average.to,
            Unit::Flatten { .. } | Unit::Linear(_) | Unit::Relu { .. } => continue,
        };
        stored[made].get_or_insert([false; 2]);
        if let Unit::Convolution(conv) = unit {
            if conv.reads_images() {
                border = border.max(conv.border());
            } else if conv.winograd_channels() > 0 {
                stored[conv.from].get_or_insert([false; 2])[0] = true;
                stored[conv.to].get_or_insert([false; 2])[1] = true;
            }
        }
    }
    Maps::new(&blueprint.graph, &stored, border)
}
