//! Names of tensors as wrappers leave them: `module.features.0.weight` is `features.0.weight` in
//! `torch.nn.DataParallel`, and `_orig_mod.` comes from `torch.compile`, `model.` from Lightning.

use std::collections::BTreeSet;

/// What wrappers of PyTorch put between the parts of a name, wherever they wrap: `torch.nn.DataParallel` (of `features` alone,
/// too, as in PyTorch's ImageNet example) and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module", "_orig_mod"];

/// The names without what wraps all of them and what wraps parts of them, in the same order, and what was left out; `None`:
/// nothing wraps them.
pub fn unwrapped(names: &[&str]) -> Option<(Vec<String>, String)> {
    let mut parts: Vec<Vec<&str>> = names.iter().map(|name| name.split('.').collect()).collect();
    let mut before = String::new();
    while let Some(first) = wraps_all(&parts) {
        before += &format!("{first}.");
        parts = parts.into_iter().map(|name| name[1..].to_vec()).collect();
    }
    let mut inside: BTreeSet<&str> = BTreeSet::new();
    for name in &mut parts {
        let last = name.len().saturating_sub(1);
        inside.extend(name[..last].iter().filter(|part| WRAPPERS.contains(part)));
        let mut at = 0;
        name.retain(|part| {
            at += 1;
            at > last || !WRAPPERS.contains(part)
        });
    }
    let unwrapped: Vec<String> = parts.iter().map(|name| name.join(".")).collect();
    let distinct = unwrapped.iter().collect::<BTreeSet<_>>().len() == names.len();
    if (before.is_empty() && inside.is_empty()) || !distinct {
        return None;
    }
    let mut left_out: Vec<String> =
        (!before.is_empty()).then(|| format!("`{before}` before all names")).into_iter().collect();
    left_out.extend(inside.iter().map(|part| format!("`{part}.` inside names")));
    Some((unwrapped, format!("of the names of tensors {} is left out", left_out.join(" and "))))
}

/// Whether they are of a checkpoint of the `robustness` library (Engstrom et al. 2019), whose `AttackerModel` keeps `model`,
/// that model once more in its `attacker`, and a `normalizer`.
pub fn keeps_an_attacker<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    let parts: BTreeSet<&str> = names.map(|name| name.split('.').next().unwrap_or_default()).collect();
    parts.is_superset(&["attacker", "model"].into()) && parts.is_subset(&["attacker", "model", "normalizer"].into())
}

/// The first part of every name, if it is the same and wraps whole networks: behind it come the names of layers, not numbers
/// (`features.0.weight`) or tensors (`fc.weight`).
fn wraps_all<'a>(names: &[Vec<&'a str>]) -> Option<&'a str> {
    let first = *names.first()?.first()?;
    let is_layer = |part: &str| !part.starts_with(|c: char| c.is_ascii_digit());
    // a tensor of the network itself, as a transformer's `cls_token`, has a name of its own
    let is_own = |part: &str| is_layer(part) && !["weight", "bias"].contains(&part);
    let wraps = |name: &Vec<&str>| {
        name[0] == first && (name.len() > 2 && is_layer(name[1]) || name.len() == 2 && is_own(name[1]))
    };
    (names.iter().all(wraps) && names.iter().any(|name| name.len() > 2)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_taken_off_and_layers_stay() {
        let of = |before: &str, inner: &str| {
            [format!("{before}classifier.weight"), format!("{before}features.{inner}0.weight")]
        };
        let plain = of("", "").to_vec();
        let taken = |names: &[String]| unwrapped(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (before, inner, said) in [
            ("module.", "", "`module.` before all names"),
            ("_orig_mod.module.", "", "`_orig_mod.module.` before all names"),
            ("model.", "", "`model.` before all names"),
            ("1.", "", "`1.` before all names"),
            ("", "module.", "`module.` inside names"),
            ("model.", "_orig_mod.", "`model.` before all names and `_orig_mod.` inside names"),
        ] {
            let (names, note) = taken(&of(before, inner)).unwrap();
            assert_eq!((names, note), (plain.clone(), format!("of the names of tensors {said} is left out")));
        }
        let token = ["model.blocks.0.weight".to_string(), "model.cls_token".into()];
        assert_eq!(taken(&token).unwrap().0, ["blocks.0.weight", "cls_token"]);
        for names in [
            &plain[..],
            &[],
            &["fc.bias".into(), "fc.weight".into()],
            // a file cut off after the first part of a network
            &["features.0.bias".into(), "features.0.weight".into()],
            // tensors of one module
            &["norm.scale".into(), "norm.shift".into()],
            // what one name was would be lost
            &["a.module.b".into(), "a.b".into()],
            &["model.a.b".into(), "teacher.a.b".into()],
        ] {
            assert_eq!(taken(names), None, "{names:?}");
        }
    }
}
