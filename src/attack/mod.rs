//! The attacks: the trait, the registry, and parameters checked against it.
//!
//! An attack proposes images through the [`Oracle`]; the judge decides. To add one: a file, a `mod` line, a line in
//! [`ATTACKS`] (`docs/adding-an-attack.md`).

mod adam;
mod apgd;
mod autoattack;
pub mod class_max;
mod cw;
mod ddn;
mod deepfool;
mod descent;
mod fab;
mod fgsm;
mod fmn;
mod nearest;
mod noise;
mod one_pixel;
mod outward;
mod params;
mod paste;
pub mod patch;
mod pdpgd;
mod pgd;
mod protocol;
mod search;
mod sigma_zero;
mod sparse_rs;
mod spgd;
mod square;
mod state;
mod transfer;
mod vector;
mod workshop;

use crate::error::{Error, Result, hint};

pub use params::{Kind, Param, Params};
pub use protocol::{Attack, Entry, STEPS, StageReport, Task, Training};
pub use state::State;
pub use workshop::{Checkpoint, NoCheckpoint, Workshop};

/// Every attack.
pub const ATTACKS: &[&Entry] = &[
    &noise::ENTRY,
    &fgsm::ENTRY,
    &pgd::ENTRY,
    &apgd::ENTRY,
    &autoattack::ENTRY,
    &ddn::ENTRY,
    &fmn::ENTRY,
    &sigma_zero::ENTRY,
    &deepfool::ENTRY,
    &cw::ENTRY,
    &pdpgd::ENTRY,
    &fab::ENTRY,
    &square::ENTRY,
    &one_pixel::ENTRY,
    &patch::ENTRY,
    &paste::ENTRY,
    &class_max::ENTRY,
    &sparse_rs::ENTRY,
    &spgd::ENTRY,
    &transfer::MI,
    &transfer::NI,
    &transfer::VMI,
    &transfer::DI,
    &transfer::TI,
    &transfer::SI,
    &transfer::ADMIX,
];

/// The attack of this name.
pub fn find(name: &str) -> Result<&'static Entry> {
    ATTACKS
        .iter()
        .copied()
        .find(|a| a.name == name)
        .ok_or_else(|| Error::usage(format!("unknown attack `{name}`{}", hint(name, ATTACKS.iter().map(|a| a.name)))))
}
