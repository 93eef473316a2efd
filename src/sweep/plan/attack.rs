//! Resolves attacks and their parameters.

use super::resolver::{MOST_CELLS, ParamProblems, ResolvedAttack, Resolver};
use crate::attack::{self, Kind, Params};
use crate::config::AttackSpec;
use crate::data::{self};
use crate::error::Result;
use crate::placement::Picture;

impl Resolver<'_> {
    /// The attack with every combination of its parameters' values, the last parameter's running fastest.
    pub(super) fn attacks(&self, spec: &AttackSpec) -> Vec<ResolvedAttack> {
        let Some(entry) = self.or_problem(spec.name.line, attack::find(&spec.name.value)) else { return Vec::new() };
        let combinations = spec.params.iter().try_fold(1usize, |n, (_, values)| n.checked_mul(values.len()));
        if combinations.is_none_or(|n| n > MOST_CELLS) {
            self.problem(
                spec.name.line,
                format!("attack `{}` has more than {MOST_CELLS} combinations (hint: shorter lists)", entry.name),
            );
            return Vec::new();
        }
        let mut given: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
        for (key, values) in &spec.params {
            let mut longer = Vec::new();
            for start in &given {
                longer.extend(values.iter().map(|v| [start.as_slice(), &[(key.value.as_str(), v.as_str())]].concat()));
            }
            given = longer;
        }
        let resolve = |given: Vec<(&str, &str)>| match self.resolve(entry, &given) {
            Ok((params, given)) => Some(ResolvedAttack { entry, params, line: spec.name.line, given }),
            Err(problems) => {
                for (i, problem) in problems {
                    self.problem(spec.params[i].0.line, format!("attack `{}`: {problem}", entry.name));
                }
                None
            }
        };
        given.into_iter().filter_map(resolve).collect()
    }

    /// Complete parameters, and the picture that one of them names: in a cell the digest of its file stands for it.
    pub(super) fn resolve(
        &self,
        entry: &attack::Entry,
        given: &[(&str, &str)],
    ) -> Result<(Params, Option<Picture>), ParamProblems> {
        let names_a_picture = |key: &str| entry.params.iter().any(|p| p.name == key && p.kind == Kind::Picture);
        let Some(i) = given.iter().position(|(key, path)| names_a_picture(key) && !path.is_empty()) else {
            return Ok((Params::resolve(entry.params, given)?, None));
        };
        let (digest, picture, note) =
            data::find_picture(given[i].1, self.beside, self.source).map_err(|e| vec![(i, e.to_string())])?;
        self.note(note);
        let mut given = given.to_vec();
        given[i].1 = &digest;
        Ok((Params::resolve(entry.params, &given)?, Some(picture)))
    }
}
