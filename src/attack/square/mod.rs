//! Square (Andriushchenko et al. 2020): without gradients, a square window at a random place is changed, and the change is
//! kept where the label leads by less than before. Windows shrink with the queries. In Linf a window takes each channel to
//! one end of the budget; in L2 and L1 it takes up what another window gives back, as a hill and a valley ([`shape`]).

mod canvas;
mod random_search;
mod shape;

use super::search;
use super::{Attack, Entry, Kind, Param, Task};
use crate::data::Batch;
use crate::error::Result;
use crate::oracle::Oracle;
use crate::threat::Norm;

pub(super) use canvas::Settings;
pub(super) use random_search::begin;

pub const ENTRY: Entry = Entry {
    name: "square",
    revision: 1,
    summary: "random search with square changes, without gradients (Andriushchenko et al. 2020)",
    source: "Andriushchenko et al. 2020, arXiv:1912.00049",
    norms: &[Norm::Linf, Norm::L2, Norm::L1],
    params: &[
        Param {
            name: "queries",
            kind: Kind::Count,
            default: "5000",
            summary: "images that the net is asked about (AutoAttack: 5000)",
        },
        Param {
            name: "p",
            kind: Kind::Positive,
            default: "0.8",
            summary: "share of the image that the first windows cover (AutoAttack: 0.8)",
        },
    ],
    build: |params, threat| {
        let (eps, p) = (threat.radius()?.to_f64(), params.number("p"));
        if p > 1.0 {
            return Err(format!("`p` = {p} is no share of an image (hint: above 0, up to 1)"));
        }
        Ok(Box::new(Square(Settings { norm: threat.norm, eps, queries: params.count("queries"), p })))
    },
};

struct Square(Settings);

impl Attack for Square {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        let rows: Vec<usize> = (0..batch.len()).collect();
        search::run(&rows, oracle, batch, &mut |row, oracle| {
            let (x, example) = (batch.image(row), batch.example(row));
            Ok(begin(self.0, x, batch.size(), oracle.aim(row), example, &task.streams))
        })
    }

    fn cost(&self) -> u64 {
        self.0.cost()
    }

    fn queries(&self) -> Option<u64> {
        Some(self.0.queries as u64)
    }
}
