//! Resolves norms and budgets.

use super::resolver::Resolver;
use crate::config::{At, Block, ThreatSpec};
use crate::terms::{Budget, Mode, Norm, Ratio, Threat};

/// What has to be said of a radius that somebody rounded: 8-bit images inside it change by a grey level less than was meant.
fn just_below_a_grey_level(eps: Ratio) -> Option<String> {
    let levels = eps.to_f64() * 255.0;
    let meant = levels.ceil();
    let short = meant - levels;
    // a radius that was meant as a whole number of grey levels is nearer to it than this, as 0.0314 or 0.03137
    (short > 0.0 && short < 0.01 && 255 % eps.den() != 0).then(|| {
        format!(
            "eps {eps} is a little less than {meant}/255, so no 8-bit image inside it changes by {meant} grey levels \
             (hint: \"{meant}/255\")"
        )
    })
}

impl Resolver<'_> {
    pub(super) fn threats(&self, block: &Block) -> Vec<Vec<Threat>> {
        let mut threats = Vec::new();
        for spec in &block.threats {
            let Some(norm) = self.choose(&spec.norm, "norm", Norm::all(), Norm::name) else {
                // budgets that are wrong under any norm are named too
                for text in spec.budgets.iter().filter(|(key, _)| *key == "eps").flat_map(|(_, texts)| texts) {
                    self.budget(Norm::Linf, text);
                }
                continue;
            };
            let name = norm.name();
            if let Some(minimal) = &spec.minimal {
                threats.extend(self.minimal(norm, spec, minimal, &block.mode).map(|threat| vec![threat]));
                continue;
            }
            match (&spec.budgets, norm.budget_key()) {
                (Some((given, texts)), Some(key)) if *given == key => {
                    let radii = texts.iter().filter_map(|text| self.budget(norm, text));
                    threats.push(radii.map(|radius| Threat::within(norm, radius)).collect());
                }
                (None, None) => threats.extend(Ratio::new(1, 1).map(|all| vec![Threat::within(norm, all)])),
                (_, Some(key)) => self.problem(spec.norm.line, format!("threat `{name}`: missing key `{key}`")),
                (Some((given, _)), None) => {
                    self.problem(
                        spec.norm.line,
                        format!("threat `{name}` allows every image: it has no `{given}` (hint: remove it)"),
                    );
                }
            }
        }
        threats
    }

    /// How sure a success must be for the search to end, if the block says so.
    pub(super) fn confidence(&self, block: &Block, threats: &[Vec<Threat>]) -> Option<Ratio> {
        let asked = block.confidence.as_ref()?;
        let found = Ratio::of_share(&asked.value).filter(|p| p.num() > 0 && p.num() < p.den());
        if found.is_none() {
            let expected = "expected a probability between 0 and 1 (as \"90 %\")";
            self.problem(asked.line, format!("`confidence` \"{}\": {expected}", asked.value));
        }
        if threats.iter().flatten().any(|t| t.eps.is_minimal()) {
            let hint = "hint: a [[sweep]] of its own";
            self.problem(
                asked.line,
                format!("`confidence` beside a minimal threat, where the nearest success counts ({hint})"),
            );
        }
        found
    }

    /// An 8-bit image cannot change by less than a grey level: every attack would look weak, none would be.
    pub(super) fn refuse_less_than_a_grey_level(&self, block: &Block, threats: &[Vec<Threat>]) {
        for eps in threats.iter().flatten().filter(|t| t.norm.is_ball()).filter_map(|t| t.eps.radius()) {
            if eps.num() > 0 && eps.to_f64() * 255.0 < 1.0 {
                let text = format!("eps {eps} is less than one grey level, 1/255 (hint: `witness = \"f32\"`)");
                self.problem(block.threats.first().map_or(block.line, |t| t.norm.line), text);
            }
        }
    }

    /// More pixels or components than an image has are a slip of the pen.
    pub(super) fn refuse_more_than_all(&self, block: &Block, threats: &[Vec<Threat>], models: &[usize]) {
        let smallest = models.iter().map(|m| self.models[*m].1.file.size).min_by_key(|size| size[0] * size[1]);
        let Some(size) = smallest else { return };
        for threat in threats.iter().flatten() {
            let (all, what) = match threat.norm {
                Norm::Pixels => (size[0] * size[1], "pixels"),
                // channels are components of their own
                Norm::L0 => (3 * size[0] * size[1], "components"),
                _ => continue,
            };
            let Some(count) = threat.eps.radius().filter(|count| count.to_f64() > all as f64) else { continue };
            let spec = block.threats.iter().find(|spec| spec.norm.value == threat.norm.name());
            let images = crate::size::in_words(size);
            self.problem(
                spec.map_or(block.line, |spec| spec.norm.line),
                format!(
                    "count {count}: images of {images} have {all} {what} (hint: papers report most of {})",
                    threat.norm.terms().example
                ),
            );
        }
    }

    /// A threat without a radius, of a norm that measures a distance.
    pub(super) fn minimal(&self, norm: Norm, spec: &ThreatSpec, passes: &At<u64>, mode: &At<String>) -> Option<Threat> {
        let problem = match &spec.budgets {
            Some((key, _)) => format!("a minimal threat has no `{key}`: what counts is the least distance"),
            None if norm.terms().distance.is_none() => {
                format!("threat `{}` measures no distance that could be minimal", norm.name())
            }
            None if mode.value != Mode::At.name() => "a minimal threat has no smaller budgets to go on from".into(),
            None => return Some(Threat { norm, eps: Budget::Minimal { passes: passes.value } }),
        };
        self.problem(spec.norm.line, problem);
        None
    }

    pub(super) fn budget(&self, norm: Norm, text: &At<String>) -> Option<Ratio> {
        let (key, value) = (norm.budget_key().unwrap_or("eps"), &text.value);
        let budget = norm.budget(value).map_err(|expected| {
            let number = value.trim_end().strip_suffix('%').unwrap_or(value);
            let problem = Ratio::refusal(number).unwrap_or_else(|| format!("expected {expected}"));
            self.problem(text.line, format!("{key} `{value}`: {problem}"));
        });
        let budget = budget.ok()?;
        if norm == Norm::Linf {
            self.note(just_below_a_grey_level(budget));
        }
        Some(budget)
    }
}
