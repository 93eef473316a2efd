//! `attacks NAME`, `datasets NAME`, `models NAME`, `doctor`, `man` and `completions`.

mod support;

use foolproof::attack::ATTACKS;
use foolproof::data::DATASETS;
use foolproof::model::MODELS;
use std::process::{Command, Output};
use support::foolproof;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn ran(arguments: &[&str]) -> Output {
    foolproof().args(arguments).env("FOOLPROOF_DATA", "nowhere").env("HF_HUB_CACHE", "nowhere").output().unwrap()
}

fn ok(arguments: &[&str]) -> String {
    let output = ran(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Nothing is wider than a terminal but what is to be copied as it stands, and no escape codes.
fn is_plain(page: &str, what: &str) {
    let wide = page.lines().filter(|line| line.chars().count() > 80 && !line.starts_with("  ") && line.contains(' '));
    let wide: Vec<&str> = wide.collect();
    assert!(wide.is_empty(), "{what}: {wide:?}");
    assert!(!page.contains('\u{1b}'), "{what}");
}

#[test]
fn every_entry_is_told_in_full() {
    for name in ATTACKS.iter().map(|a| a.name) {
        let page = ok(&["attacks", name]);
        is_plain(&page, name);
        for key in ["attack:", "source:", "norms:", "goals:", "needs:", "cost:", "in a sweep file:"] {
            assert!(page.lines().any(|line| line.starts_with(key)), "{name}: {key}");
        }
    }
    for dataset in DATASETS {
        let name = dataset.name;
        let page = ok(&["datasets", name]);
        is_plain(&page, name);
        if dataset.given {
            assert!(page.contains("the command line gives it"), "{page}");
            continue;
        }
        assert!(page.contains("found:") && page.contains(&format!("data = {{ name = \"{name}\"")), "{page}");
    }
    for name in MODELS.iter().map(|m| m.name) {
        let page = ok(&["models", name]);
        is_plain(&page, name);
        assert!(page.contains("weights:") && page.contains(&format!("models = [\"{name}\"]")), "{page}");
    }
    assert!(ok(&["datasets", "cifar10-sample"]).contains("found:      test: part of the program"));
    assert!(ok(&["datasets", "cifar10"]).contains("found:      test: not here"));
    assert!(ok(&["models", "vgg16.tv_in1k"]).contains("not in the cache"));
}

#[test]
fn an_unknown_name_is_an_error_that_names_the_nearest() {
    for (verb, name, meant) in [
        ("attacks", "pdg", "pgd"),
        ("datasets", "cifar10-sampel", "cifar10-sample"),
        ("models", "vgg16.tv_in1", "vgg16.tv_in1k"),
    ] {
        let output = ran(&[verb, name]);
        let stderr = text(&output.stderr);
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{stderr}");
        assert!(stderr.contains(&format!("did you mean `{meant}`?")), "{stderr}");
    }
    // a long list is cut
    let stderr = text(&ran(&["attacks", "zzzzzzzzzzzzzzzzzz"]).stderr);
    assert!(stderr.contains(&format!("… {} in all", ATTACKS.len())), "{stderr}");
}

#[test]
fn a_sweep_file_that_is_not_there_is_told_with_the_nearest() {
    let output = ran(&["list", "sweeps/pdg.toml"]);
    assert!(text(&output.stderr).contains("did you mean `sweeps/pgd.toml`?"), "{}", text(&output.stderr));
}

#[test]
fn the_examples_of_attacks_are_sweeps() {
    use foolproof::sweep::plan;
    for name in ATTACKS.iter().map(|a| a.name).filter(|name| !["patch", "paste", "class-max"].contains(name)) {
        let page = ok(&["attacks", name]);
        let (_, lines) = page.split_once("in a sweep file:\n").unwrap();
        let sweep = format!(
            "name = \"s\"\n[[sweep]]\nmodels = [\"vgg11-half-cifar10\"]\ndata = {{ name = \"cifar10-sample\" }}\n\
             goals = [\"untargeted\"]\n{lines}"
        );
        let source = foolproof::data::Source::new("nowhere");
        plan::parse(std::path::Path::new("s.toml"), &sweep, &source).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn the_doctor_finds_this_machine_well_and_shows_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = |arguments: &[&str]| {
        let mut command = foolproof();
        command.args(["doctor"]).args(arguments).current_dir(folder.path());
        command.env("HF_HUB_CACHE", folder.path()).env("HF_TOKEN", "hf_marker").env("FOOLPROOF_DATA", "nowhere");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        output
    };
    let loud = doctor(&[]);
    let page = text(&loud.stdout);
    is_plain(&page, "doctor");
    for line in [
        "foolproof:  ",
        "cpu:",
        "engine:",
        "threads:",
        "cuda:",
        "data:",
        "dataset:",
        "hub:",
        "token:      present",
        "cache:",
        "disk:",
    ] {
        assert!(page.lines().any(|l| l.starts_with(line)), "{line}: {page}");
    }
    assert!(page.contains("agree to the bit") && page.contains("images that stand"), "{page}");
    assert!(page.trim_end().ends_with("result:     all well"), "{page}");
    assert!(!page.contains("hf_marker") && text(&loud.stderr).contains("self-test"), "{}", text(&loud.stderr));

    let quiet = doctor(&["--json", "--quiet"]);
    assert!(quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
    let object: serde_json::Value = serde_json::from_slice(&quiet.stdout).unwrap();
    assert_eq!(object["result"], serde_json::json!(["all well"]));
    assert!(object["self-test"].as_array().unwrap().len() >= 5);
}

#[test]
fn the_doctor_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cifar10")).unwrap();
    std::fs::write(folder.path().join("cifar10/test.bin"), "short").unwrap();
    let output = foolproof().args(["doctor", "-q"]).env("FOOLPROOF_DATA", folder.path()).output().unwrap();
    let (page, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{page}");
    assert!(page.contains("FAULT: cifar10, test: not as it should be"), "{page}");
    assert!(
        page.contains("1 at fault") && stderr.contains("1 at fault, told above: dataset: cifar10, test"),
        "{stderr}"
    );
}

#[test]
fn manual_pages_are_of_the_program_and_of_every_verb() {
    let page = ok(&["man"]);
    assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
    for word in [".SH SYNOPSIS", "foolproof\\-doctor(1)", "\\-\\-threads"] {
        assert!(page.contains(word), "{word}");
    }
    let folder = tempfile::tempdir().unwrap();
    let printed = ok(&["man", "--to", folder.path().to_str().unwrap()]);
    let help = ok(&["--help"]);
    let verbs = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| l.starts_with("  "));
    let verbs: Vec<&str> = verbs.filter_map(|l| l.split_whitespace().next()).filter(|verb| *verb != "help").collect();
    assert!(verbs.len() >= 17 && verbs.contains(&"doctor"), "{verbs:?}");
    assert_eq!(printed.lines().count(), verbs.len() + 1, "{printed}");
    for verb in verbs {
        let page = std::fs::read_to_string(folder.path().join(format!("foolproof-{verb}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains(&format!("foolproof\\-{verb}")), "{verb}: {page}");
    }
}

#[test]
fn completions_of_every_shell_know_the_names() {
    for shell in ["bash", "zsh", "elvish", "fish", "powershell"] {
        let script = ok(&["completions", shell]);
        assert!(script.contains("doctor") && script.contains("optimality"), "{shell}");
        if shell == "zsh" {
            assert!(
                script.contains("or path:_foolproof_runs'") && script.contains(":FILE:_foolproof_sweeps'"),
                "{script}"
            );
        }
        if ["bash", "zsh", "fish"].contains(&shell) {
            for name in ["sigma-zero", "imagenette-160px", "convnext_tiny.fb_in1k"] {
                assert!(script.contains(name), "{shell}: {name}");
            }
        }
    }
}

/// What bash offers behind these words, in a folder with two runs and two sweep files.
fn offered(words: &str) -> Option<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    for run in ["results/pgd/cells", "results/pgd-2/cells", "elsewhere/other/cells", "results/no-run"] {
        std::fs::create_dir_all(folder.path().join(run)).unwrap();
    }
    std::fs::create_dir_all(folder.path().join("configs/sweeps")).unwrap();
    for sweep in ["configs/sweeps/pgd.toml", "configs/sweeps/toaster.toml", "mine.toml"] {
        std::fs::write(folder.path().join(sweep), "").unwrap();
    }
    std::fs::write(folder.path().join("completions"), ok(&["completions", "bash"])).unwrap();
    let script = format!(
        "source completions; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         function=$(complete -p foolproof | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         $function foolproof \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\" 2>/dev/null; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).current_dir(folder.path()).output().ok()?;
    let mut offered: Vec<String> = text(&output.stdout).lines().map(String::from).collect();
    offered.sort();
    Some(offered)
}

#[test]
fn bash_completes_names_runs_and_sweep_files() {
    let Some(attacks) = offered("foolproof attacks si") else {
        println!("skipped: no bash");
        return;
    };
    assert_eq!(attacks, ["si-fgsm", "sigma-zero"]);
    let offers = |words: &str| offered(words).unwrap();
    assert_eq!(offers("foolproof datasets imagenette-"), ["imagenette-160px"]);
    assert_eq!(offers("foolproof verify pg"), ["pgd", "pgd-2"]);
    assert_eq!(offers("foolproof compare results/pgd/ pgd-"), ["pgd-2"]);
    assert_eq!(offers("foolproof --out elsewhere report o"), ["other"]);
    assert_eq!(offers("foolproof run sweeps/t"), ["sweeps/toaster.toml"]);
    assert_eq!(offers("foolproof list swee"), ["sweeps/pgd.toml", "sweeps/toaster.toml"]);
    assert_eq!(offers("foolproof --config mi"), ["mine.toml"]);
    assert!(offers("foolproof verify --thr").contains(&"--threads".to_string()));
}
