//! What the binarisation test says of attacks (Zimmermann et al. 2022).

use super::summary::Summary;
use crate::error::Result;
use crate::store::Store;

/// The test of one cell's attack, in counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tested {
    /// Images that it was put to.
    pub images: usize,
    /// Of these, with a readout that tells the points apart: only they say something.
    pub separated: usize,
    /// Of these, fooled by the attack.
    pub fooled: usize,
    /// Of these, fooled by guesses.
    pub guessed: usize,
}

/// The test of a cell's attack; `None`: it was not put to it.
///
/// # Errors
/// A damaged store.
pub fn tested(store: &Store, cell: &Summary) -> Result<Option<Tested>> {
    let rows = store.read_binarised(&cell.id)?;
    let count = |of: fn(&crate::record::Binarised) -> Option<bool>| rows.iter().filter(|r| of(r) == Some(true)).count();
    let separated = rows.iter().filter(|row| row.fooled.is_some()).count();
    let found = Tested { images: rows.len(), separated, fooled: count(|r| r.fooled), guessed: count(|r| r.guessed) };
    Ok((!rows.is_empty()).then_some(found))
}
