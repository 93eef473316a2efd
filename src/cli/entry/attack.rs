//! An attack in full.

use super::super::registries::print;
use super::super::sheet::Sheet;
use crate::attack::{self, Attack, Entry, Kind, Param, Params, Training};
use crate::error::{Error, Result};
use crate::terms::{Budget, Goal, Norm, Ratio, Threat};

/// Prints the attack of this name.
pub fn attack(name: &str) -> Result<()> {
    print(sheet(attack::find(name)?)?.as_bytes())
}

fn sheet(entry: &Entry) -> Result<Sheet> {
    let built = of_norms(entry).map_err(Error::usage)?;
    let (norm, first) = built.first().ok_or_else(|| Error::usage(format!("attack `{}` has no norm", entry.name)))?;
    let mut sheet = Sheet::default();
    sheet.line("attack", entry.name);
    sheet.line("what", entry.summary);
    sheet.line("source", entry.source);
    sheet.line("norms", names(entry.norms.iter().map(|norm| norm.name())));
    let (goals, refused) = goals(first.as_ref());
    sheet.line("goals", names(goals));
    if let Some(refused) = refused {
        sheet.line("", format!("others: {refused}"));
    }
    sheet.line("minimal", minimal(entry));
    let within = first.caveat_within().map_or(String::new(), |why| format!("; within: {why}"));
    sheet.line("modes", format!("at, within{within}"));
    sheet.line("needs", needs(first.as_ref()));
    sheet.line("cost", cost(&built));
    sheet.gap();
    match entry.params {
        [] => sheet.line("parameters", "none"),
        params => {
            sheet.text(0, "parameters, with their defaults:");
            params.iter().for_each(|param| describe(&mut sheet, param));
        }
    }
    sheet.gap();
    sheet.text(0, "in a sweep file:");
    sheet.verbatim(2, &example(entry, *norm));
    Ok(sheet)
}

/// A norm, and the attack with its defaults at the budget that most report.
type Built = (Norm, Box<dyn Attack>);

/// One of each norm.
fn of_norms(entry: &Entry) -> Result<Vec<Built>, String> {
    let params = Params::resolve(entry.params, &[]).map_err(|_| "defaults are complete")?;
    entry.norms.iter().map(|norm| Ok((*norm, entry.build(&params, &usual(*norm))?))).collect()
}

/// The threat that most report of this norm.
fn usual(norm: Norm) -> Threat {
    let radius = norm.budget(norm.terms().example).ok().or(Ratio::new(1, 1));
    Threat::within(norm, radius.unwrap_or(Ratio::ZERO))
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Names of the goals that it serves, and why not the others.
fn goals(attack: &dyn Attack) -> (Vec<&'static str>, Option<String>) {
    let all = [
        ("untargeted", Goal::Untargeted),
        ("target:N", Goal::Class(0)),
        ("target:next", Goal::Next),
        ("target:least-likely", Goal::LeastLikely),
        ("target:random", Goal::Random),
    ];
    let refused = all.iter().find_map(|(_, goal)| attack.check_goal(goal).err());
    let served = all.iter().filter(|(_, goal)| attack.check_goal(goal).is_ok()).map(|(name, _)| *name);
    (served.collect(), refused)
}

/// Whether it takes minimal threats, and with which parameters.
fn minimal(entry: &Entry) -> String {
    let takes = |given: &[(&str, &str)]| {
        let Ok(params) = Params::resolve(entry.params, given) else { return false };
        let threat = |norm: &Norm| Threat { norm: *norm, eps: Budget::Minimal { passes: 2000 } };
        entry.norms.iter().any(|norm| entry.build(&params, &threat(norm)).is_ok())
    };
    if takes(&[]) {
        return "yes: it looks for the nearest image, whatever the budget".into();
    }
    let words = entry.params.iter().flat_map(|param| match param.kind {
        Kind::Choice(known) => known.iter().map(|word| (param.name, *word)).collect(),
        _ => Vec::new(),
    });
    match words.into_iter().find(|given| takes(&[*given])) {
        Some((param, word)) => format!("with {param} = \"{word}\""),
        None => "no".into(),
    }
}

/// What the attack asks for.
fn needs(attack: &dyn Attack) -> String {
    let asks = match attack.queries() {
        Some(_) => "logits, no gradients",
        None => "gradients",
    };
    let training = match attack.training() {
        Training::Nothing => "",
        Training::Images => "; training images (`train` of the sweep)",
        Training::ImagesAndNets => "; training images (`train` of the sweep), and gradients while it is fitted to them",
    };
    format!("{asks}{training}")
}

/// Passes with the defaults for an image that is never fooled: one number, or one a norm.
fn cost(built: &[Built]) -> String {
    let passes = |attack: &dyn Attack| attack.queries().unwrap_or(2 * attack.cost());
    let first = built.first().map_or(0, |(_, attack)| passes(attack.as_ref()));
    let numbers = match built.iter().all(|(_, attack)| passes(attack.as_ref()) == first) {
        true => first.to_string(),
        false => names_of(built.iter().map(|(norm, attack)| format!("{} {}", norm.name(), passes(attack.as_ref())))),
    };
    let passes = if numbers == "1" { "pass" } else { "passes" };
    format!(
        "about {numbers} {passes} an image that is never fooled, with the defaults; a gradient is two, and the judge's \
         tests come on top"
    )
}

fn names_of(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

fn describe(sheet: &mut Sheet, param: &Param) {
    let default = if param.default.is_empty() { String::new() } else { format!(" = {}", value(param)) };
    sheet.verbatim(2, &format!("{}{default}", param.name));
    sheet.text(6, &format!("{}: {}", param.kind.values(), param.summary));
}

/// The default as it is written in a sweep file.
fn value(param: &Param) -> String {
    let text = param.default;
    let bare = text.parse::<f64>().is_ok() || param.kind == Kind::Flag;
    if bare { text.into() } else { format!("\"{text}\"") }
}

/// Lines of a block that runs it.
fn example(entry: &Entry, norm: Norm) -> String {
    let budget = norm.budget_key().map_or(String::new(), |key| {
        let example = norm.terms().example;
        let number = if key == "count" { example.to_string() } else { format!("\"{example}\"") };
        format!(", {key} = [{number}]")
    });
    let first = entry.params.first().map_or(String::new(), |param| format!(", {} = {}", param.name, value(param)));
    format!("threats = [{{ norm = \"{}\"{budget} }}]\nattacks = [{{ name = \"{}\"{first} }}]", norm.name(), entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::ATTACKS;

    #[test]
    fn every_attack_is_told_in_full() {
        for entry in ATTACKS {
            let sheet = sheet(entry).unwrap();
            let text = std::str::from_utf8(sheet.as_bytes()).unwrap();
            for param in entry.params {
                let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let summary = param.summary.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(text.contains(&format!("\n  {}", param.name)), "{}: {}", entry.name, param.name);
                assert!(words.contains(&summary), "{}: {}", entry.name, param.name);
            }
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            assert!(!entry.source.is_empty(), "{}", entry.name);
        }
    }

    #[test]
    fn costs_and_goals_are_what_the_attacks_say() {
        let text = |name: &str| {
            let sheet = sheet(attack::find(name).unwrap()).unwrap();
            String::from_utf8(sheet.as_bytes().to_vec()).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(text("pgd").contains("cost: about 80 passes"), "{}", text("pgd"));
        assert!(text("square").contains("needs: logits, no gradients cost: about 5000 passes"), "{}", text("square"));
        assert!(text("apgd").contains("minimal: with search = \"double-bisect\""), "{}", text("apgd"));
        assert!(text("class-max").contains("others: it maximises a class"), "{}", text("class-max"));
        assert!(text("mi-fgsm").contains("within: "), "{}", text("mi-fgsm"));
        assert!(text("patch").contains("while it is fitted"), "{}", text("patch"));
    }
}
