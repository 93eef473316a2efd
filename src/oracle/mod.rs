//! What an attack may ask of a model, and the referee it hands its proposals to. Counts passes, notices faults.

mod ask;
mod log_odds;
mod protocol;

pub use crate::kernel::bus::{index, select, up};
pub use crate::kernel::{Change, Engine, Loss};
pub use ask::{FAINT, Memo, Oracle, Slope, climb};
pub use protocol::{Evidence, Mark, Marks, Pass, Place, Proposal, Referee, Ruling, Spent};
