//! Titles of panels and tables.

use super::look::Look;
use crate::analysis::{Run, Summary};
use crate::error::Result;
use crate::terms::{Goal, Mode, Norm, Precision};

/// Titles of panels: the model, and whatever else differs between them.
pub struct Titles<'a> {
    look: &'a Look<'a>,
    datasets: bool,
    norms: bool,
    witnesses: bool,
    seeds: bool,
}

impl<'a> Titles<'a> {
    /// For panels of these cells.
    pub fn of(complete: &[&Summary], look: &'a Look<'a>) -> Titles<'a> {
        let varies = |f: &dyn Fn(&Summary) -> String| {
            let first = complete.first().map(|s| f(s));
            complete.iter().any(|s| Some(f(s)) != first)
        };
        Titles {
            look,
            datasets: varies(&|s| s.cell.data.text()),
            norms: varies(&|s| s.cell.threat.norm.name().to_string()),
            witnesses: varies(&|s| s.cell.witness.to_string()),
            seeds: varies(&|s| s.cell.seed.to_string()),
        }
    }

    /// Of the panel of this cell.
    pub fn title(&self, s: &Summary) -> String {
        self.with(s, None)
    }

    /// The same, with a budget.
    pub fn with_budget(&self, s: &Summary) -> String {
        let (norm, eps) = (s.cell.threat.norm, s.cell.threat.eps_text());
        let budget = match norm {
            Norm::Pixels => format!("{eps} changed pixel{}", if eps == "1" { "" } else { "s" }),
            _ => format!("{} eps {eps}", self.look.label(norm.name())),
        };
        self.with(s, Some(budget))
    }

    fn with(&self, s: &Summary, budget: Option<String>) -> String {
        let c = &s.cell;
        let mut parts = vec![self.look.label(&c.model.name)];
        if self.datasets {
            parts.push(self.look.label(&c.data.text()));
        }
        if self.norms && budget.is_none() {
            parts.push(self.look.label(c.threat.norm.name()));
        }
        parts.extend(budget);
        if c.goal.is_targeted() {
            parts.push(self.look.label(&c.goal.name()));
        }
        if c.mode != Mode::At {
            parts.push(c.mode.name().to_string());
        }
        if c.precision != Precision::F32 {
            parts.push(format!("{} gradients", c.precision));
        }
        if self.witnesses {
            parts.push(format!("{} witness", c.witness));
        }
        if self.seeds {
            parts.push(format!("seed {}", c.seed));
        }
        let title = format!("{}, n = {}", parts.join(", "), s.n.unwrap_or(0));
        self.look.label(&title)
    }
}

/// The title of a panel of this cell, with the name of its target.
pub fn with_target(run: &Run, s: &Summary, title: String) -> Result<String> {
    match s.cell.goal.is_targeted() {
        true => Ok(with_class_name(title, &s.cell.goal, &run.classes(&s.cell.data.digest)?)),
        false => Ok(title),
    }
}

/// `target:6` becomes `target frog`.
pub fn with_class_name(text: String, goal: &Goal, classes: &[String]) -> String {
    let class = goal.class().and_then(|n| classes.get(n));
    class.map_or(text.clone(), |name| text.replace(&goal.name(), &format!("target {name}")))
}
