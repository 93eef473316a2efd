//! Resolves goals.

use super::resolver::Resolver;
use crate::config::At;
use crate::data::{self};
use crate::error::{Result, hint};
use crate::terms::Goal;

/// The goal to reach the class of this name. `Err`: what follows the goal's name in a message.
fn goal_named(class: &str, names: &[String]) -> Result<Goal, String> {
    data::find_class(names, class).map(Goal::Class).map_err(|problem| match problem {
        Some(problem) => format!(": {problem}"),
        None => hint(class, names.iter().map(String::as_str)),
    })
}

/// What has to be said of a number that another class has as its name, as folders may.
fn number_and_name(goal: Goal, wanted: &str, names: &[String]) -> Option<String> {
    let Goal::Class(class) = goal else { return None };
    let (own, other) = (names.get(class)?, names.iter().position(|name| name == wanted)?);
    let is_number = wanted.parse() == Ok(class) && own != wanted;
    is_number.then(|| format!("`target:{wanted}` is class {class}, `{own}`; class `{wanted}` is target:{other}"))
}

impl Resolver<'_> {
    /// The goal of this name; `target:all` stands for one a class, and a class may be given by its name.
    pub(super) fn goals(&self, text: &At<String>, classes: usize, names: &[String]) -> Vec<At<Goal>> {
        let at = |value: Goal| At { value, line: text.line };
        let wanted = text.value.strip_prefix("target:");
        if wanted == Some("all") {
            return (0..classes.min(names.len())).map(|class| at(Goal::Class(class))).collect();
        }
        let goal = Goal::parse(&text.value).ok_or(wanted);
        match goal.or_else(|wanted| wanted.ok_or_else(String::new).and_then(|class| goal_named(class, names))) {
            // without data no class has a name, and why there is none is said already
            Err(_) if wanted.is_some() && names.is_empty() => Vec::new(),
            Err(problem) => {
                let rules =
                    ["untargeted", "target:all", "target:next", "target:least-likely", "target:random", "target:0"];
                let problem = if wanted.is_some() { problem } else { hint(&text.value, rules) };
                self.problem(text.line, format!("unknown goal `{}`{problem}", text.value));
                Vec::new()
            }
            Ok(Goal::Class(class)) if class >= classes => {
                self.problem(
                    text.line,
                    format!(
                        "goal `{}`: the classes are 0 to {} (hint: a number of these, or a name)",
                        text.value,
                        classes - 1
                    ),
                );
                Vec::new()
            }
            Ok(goal) => {
                self.note(wanted.and_then(|wanted| number_and_name(goal, wanted, names)));
                vec![at(goal)]
            }
        }
    }
}
