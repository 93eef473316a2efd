//! How figures are drawn.

pub mod axis;
pub mod canvas;
pub mod curves;
pub mod font;
pub mod groups;
pub mod heat;
pub mod legend;
pub mod look;
mod pdf;
mod pen;
pub mod sheet;
pub mod stamp;
pub mod titles;
