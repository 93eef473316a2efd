//! Frost: photographs of frosted panes laid over the picture (Hendrycks and Dietterich 2019). They cannot be made here,
//! so that there is no generator.

use super::entry::Corruption;

pub const CORRUPTION: Corruption = Corruption {
    name: "frost",
    summary: "ice on a pane; needs photographs of frost",
    is_common: true,
    alexnet_error: Some(0.826_572),
    generate: None,
};
