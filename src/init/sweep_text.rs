//! A first sweep, with comments.

use super::images::{Images, candidates};
use super::toml::{commented, line, open_line};
use super::weights::Found;
use crate::config::{ModelFile, folder_name, quoted};
use crate::notice::say;
use std::path::Path;

/// A sweep in `folder` over the model of this file.
pub fn text(found: &Found, images: Option<&Images>, model: &Path, folder: &Path) -> String {
    let file = model.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = file.trim_end_matches(".toml");
    let [linf, l2] = budgets(&found.source.file);
    let head = format!(
        "# A first sweep of `{stem}`; written by `foolproof init`. Every key: docs/sweep-file.md.\n\
         # `foolproof --config` and this file runs it, and writes tables, figures and report.html.\n"
    );
    let data = match images {
        Some(images) => line("data", &images.spec(folder), &taken(images)),
        None => open_data(found),
    };
    let models = line("models", &format!("[{}]", quoted(&file)), "beside this file");
    let goals = line("goals", "[\"untargeted\"]", "any wrong class is a success");
    [
        head,
        line("name", &quoted(&folder_name(stem, "init")), "of the folder below results/"),
        line("seed", "0", "of every random choice"),
        "\n# A curve over budgets.\n[[sweep]]\n".into(),
        models.clone(),
        data.clone(),
        goals.clone(),
        "threats = [\n".into(),
        commented(&threat("linf", linf.curve), "no channel of a pixel moves by more"),
        commented(&threat("l2", l2.curve), "length of the whole change, channels in [0,1]"),
        "]\nattacks = [\n".into(),
        commented("  { name = \"noise\" },", "the control: no attack may be weaker"),
        commented("  { name = \"pgd\", steps = 40 },", "projected gradient descent"),
        format!(
            "]\n\n# The number that papers report; the slowest by far: `foolproof list {stem}-sweep.toml` says the price.\n[[sweep]]\n"
        ),
        models,
        data,
        goals,
        commented("threats = [", "the leaderboards' budgets"),
        format!("{}\n{}\n]\n", threat("linf", &[linf.usual]), threat("l2", &[l2.usual])),
        commented("attacks = [{ name = \"autoattack\" }]", "four attacks, one after the other on what still stands"),
    ]
    .concat()
}

/// Budgets of a norm, as a sweep file has them.
struct Budgets {
    curve: &'static [&'static str],
    usual: &'static str,
}

/// In Linf and L2: RobustBench's for CIFAR and for ImageNet, and for a curve those around them.
fn budgets(file: &ModelFile) -> [Budgets; 2] {
    let linf = &["1/255", "2/255", "4/255", "8/255"];
    match file.is_small() {
        true => [Budgets { curve: linf, usual: "8/255" }, Budgets { curve: &["0.25", "0.5", "1"], usual: "0.5" }],
        false => [Budgets { curve: linf, usual: "4/255" }, Budgets { curve: &["1", "3", "5"], usual: "3" }],
    }
}

fn threat(norm: &str, eps: &[&str]) -> String {
    let eps: Vec<String> = eps.iter().map(|eps| quoted(eps)).collect();
    format!("  {{ norm = \"{norm}\", eps = [{}] }},", eps.join(", "))
}

fn taken(images: &Images) -> String {
    match images.name {
        "cifar10-sample" => "the images that the program carries; 1,000 of `cifar10` say more".into(),
        _ => format!("{} images; more of them make narrower intervals", images.subset.len()),
    }
}

fn open_data(found: &Found) -> String {
    let spec = |name: &str| match name {
        "cifar10-sample" => format!("{{ name = \"{name}\" }}"),
        _ => format!("{{ name = \"{name}\", shuffle = 0, take = 100 }}"),
    };
    let named = candidates(found).into_iter().map(spec);
    let folder = "{ name = \"folder\", path = \"pictures\", shuffle = 0, take = 100 }, one folder a class".to_string();
    let all: Vec<String> = named.chain([folder]).collect();
    say(format_args!("to fill in: `data` in the sweep, labelled images of {} classes", found.source.file.classes));
    open_line("data", &format!("labelled images, as {}", all.join(", or ")))
}
