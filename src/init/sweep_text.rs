//! A first sweep, with comments.

use super::images::{Images, candidates};
use super::toml::{commented, line, open_line};
use super::weights::Found;
use crate::config::quoted;
use crate::notice::say;
use std::path::Path;

/// A sweep in `folder` over the model of this file.
pub fn text(found: &Found, images: Option<&Images>, model: &Path, folder: &Path) -> String {
    let file = model.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = file.trim_end_matches(".toml");
    // RobustBench's budgets for CIFAR and for ImageNet
    let (linf, l2) = if found.source.file.is_small() { ("8/255", "0.5") } else { ("4/255", "3") };
    let head = format!(
        "# A first sweep of `{stem}`; written by `foolproof init`. Every key: docs/sweep-file.md.\n\
         # `foolproof --config` and this file runs it, and writes tables, figures and report.html.\n"
    );
    let data = match images {
        Some(images) => line("data", &images.spec(folder), &taken(images)),
        None => open_data(found),
    };
    [
        head,
        line("name", &quoted(&folder_name(stem)), "of the folder below results/"),
        line("seed", "0", "of every random choice"),
        "\n[[sweep]]\n".into(),
        line("models", &format!("[{}]", quoted(&file)), "beside this file"),
        data,
        line("goals", "[\"untargeted\"]", "any wrong class is a success"),
        commented("threats = [", "the leaderboards' budgets"),
        commented(&format!("  {{ norm = \"linf\", eps = [\"{linf}\"] }},"), "no channel of a pixel moves by more"),
        commented(
            &format!("  {{ norm = \"l2\", eps = [\"{l2}\"] }},"),
            "length of the whole change, channels in [0,1]",
        ),
        "]\nattacks = [\n".into(),
        commented("  { name = \"noise\" },", "the control: no attack may be weaker"),
        commented("  { name = \"pgd\", steps = 40 },", "projected gradient descent"),
        commented(
            "  { name = \"autoattack\" },",
            &format!("the leaderboards' four attacks, one by one; the slowest: `foolproof list {stem}-sweep.toml` says the price"),
        ),
        "]\n".into(),
    ]
    .concat()
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

/// A name that is safe as one of a folder.
fn folder_name(stem: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(safe).take(100).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "init".into() } else { name.into() }
}
