//! What a figure's files say of themselves.

use super::look::Look;
use crate::error::Error;
use std::fmt::Display;

/// Of our element in an SVG.
pub const NAMESPACE: &str = "urn:foolproof";

/// The figure of a training.
pub const TRAINING: &str = "training";

/// What a file says of itself.
pub struct Stamp<'a> {
    /// The figure.
    pub look: &'a Look<'a>,
    /// Digest of the plotted points.
    pub points: String,
}

impl Stamp<'_> {
    /// `pgd: robust-accuracy`.
    pub fn title(&self) -> String {
        format!("{}: {}", self.look.run_name, self.look.name)
    }

    /// The run, the digest of the points, and the command that makes the figure again.
    pub fn text(&self) -> String {
        let Look { run, run_name, kind, .. } = self.look;
        // a training writes its figure itself
        let verb = if *kind == TRAINING { "train" } else { "report" };
        format!("foolproof run {run}; {kind}; points sha256 {}; re-made by `foolproof {verb} {run_name}`", self.points)
    }

    /// The same as an element of an SVG.
    pub fn svg(&self) -> String {
        format!(
            "<title>{}</title>\n<metadata><figure xmlns=\"{NAMESPACE}\" run=\"{}\" kind=\"{}\" points=\"{}\">{}</figure>\
             </metadata>\n",
            escaped(&self.title()),
            self.look.run,
            self.look.kind,
            self.points,
            escaped(&self.text())
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Any error of the drawing library.
pub fn figure_error(problem: impl Display) -> Error {
    Error::Figure(format!("the drawing library says: {problem}"))
}
