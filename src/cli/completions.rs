//! `completions`: what clap writes, and for bash and zsh also the names that only the disk knows: runs and sweep files. The
//! scripts look at folders; they do not call the program.

use super::registries::print;
use crate::error::{Result, hint};
use clap::Command;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap_complete::Shell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Prints the script of a shell.
pub fn completions(shell: Shell, mut program: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "foolproof", &mut script);
    let script = String::from_utf8_lossy(&script);
    let of = |names: &[&str]| verbs_that_take(&program, names);
    let (runs, sweeps) = (of(RUNS), of(SWEEPS));
    print(
        match shell {
            Shell::Bash => bash(&script, &runs, &sweeps),
            Shell::Zsh => zsh(&script),
            Shell::Fish => fish(&script, &program),
            _ => script.into_owned(),
        }
        .as_bytes(),
    )
}

/// Arguments that are runs.
const RUNS: &[&str] = &["run", "runs", "baseline"];

/// Arguments that are sweep files.
const SWEEPS: &[&str] = &["config"];

/// Names of the verbs that have such an argument.
fn verbs_that_take(program: &Command, arguments: &[&str]) -> Vec<String> {
    let takes = |verb: &&Command| verb.get_positionals().any(|a| arguments.contains(&a.get_id().as_str()));
    program.get_subcommands().filter(takes).map(|verb| verb.get_name().to_string()).collect()
}

/// Wraps clap's function: where a run or a sweep file stands, those that are there are offered, else files.
fn bash(script: &str, runs: &[String], sweeps: &[String]) -> String {
    let (runs, sweeps) = (runs.join("|"), sweeps.join("|"));
    let own = format!(
        r#"
_foolproof_with_names() {{
    _foolproof "$@"
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" verb= out=results i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${{COMP_WORDS[i]}}" in
            --out) out="${{COMP_WORDS[i+1]}}" ;;
            {runs}|{sweeps}) [[ -n "$verb" ]] || verb="${{COMP_WORDS[i]}}" ;;
        esac
    done
    [[ "$prev" == --config ]] && verb={first}
    [[ "$cur" == -* || ( "$prev" == -* && "$prev" != --config && "$prev" != -q && "$prev" != --quiet && "$prev" != --strict ) ]] && return
    local IFS=$'\n'
    case "$verb" in
        {sweeps})
            COMPREPLY=( $(cd configs 2>/dev/null && {{ compgen -G "$cur*.toml"; compgen -G "$cur*/*.toml"; }} | grep -v '^models/') $(compgen -f -X '!*.toml' -- "$cur") )
            [[ "${{#COMPREPLY[@]}}" -gt 0 ]] || COMPREPLY=( $(compgen -d -- "$cur") )
            type compopt &>/dev/null && compopt -o filenames
            ;;
        {runs})
            COMPREPLY=( $(for cells in "$out"/"$cur"*/cells; do [[ -d "$cells" ]] && cells="${{cells%/cells}}" && echo "${{cells##*/}}"; done) )
            [[ "${{#COMPREPLY[@]}}" -gt 0 ]] || COMPREPLY=( $(compgen -f -- "$cur") )
            type compopt &>/dev/null && compopt -o filenames
            ;;
    esac
}}
"#,
        first = sweeps.split('|').next().unwrap_or_default(),
    );
    let script = script.replace("complete -F _foolproof ", "complete -F _foolproof_with_names ");
    match script.find("\nif [[ \"${BASH_VERSINFO") {
        Some(at) => format!("{}{own}{}", &script[..at], &script[at..]),
        None => script + &own,
    }
}

/// Names two functions where clap completes any file.
fn zsh(script: &str) -> String {
    let own = r#"_foolproof_runs() {
    local out=${opt_args[--out]:-results}
    _alternative "runs:run:($out/*/cells(N:h:t))" 'files:file:_files'
}

_foolproof_sweeps() {
    _alternative 'sweeps:sweep below configs:_files -W configs -g "*.toml"' 'files:file:_files -g "*.toml"'
}
"#;
    let mut lines = Vec::new();
    for line in script.lines() {
        let argument = line.trim_start().trim_start_matches("'*").trim_start_matches('\'').trim_start_matches(':');
        let id = argument.split(" -- ").next().unwrap_or_default();
        let function = match id {
            _ if !line.trim_start().starts_with('\'') => None,
            id if id.starts_with("--config=") => Some("_foolproof_sweeps"),
            id if RUNS.contains(&id) => Some("_foolproof_runs"),
            id if SWEEPS.contains(&id) => Some("_foolproof_sweeps"),
            _ => None,
        };
        let taken = function.map(|function| line.replace(":_files'", &format!(":{function}'")));
        lines.push(taken.unwrap_or_else(|| line.to_string()));
    }
    let script = lines.join("\n") + "\n";
    match script.find("\n_foolproof() {") {
        Some(at) => format!("{}\n{own}{}", &script[..at], &script[at..]),
        None => script,
    }
}

/// The sweep file below `configs/` that may have been meant, else what one is.
pub fn sweep_hint(path: &Path) -> String {
    let (root, mut found) = (Path::new("configs"), Vec::new());
    let folders = entries(root).into_iter().filter(|entry| entry.is_dir()).flat_map(|folder| entries(&folder));
    for file in entries(root).into_iter().chain(folders) {
        let is_model = file.starts_with(crate::model::MODEL_FOLDER);
        if !is_model && file.extension().is_some_and(|end| end == "toml") {
            found.extend(file.strip_prefix(root).ok().map(|below| below.display().to_string()));
        }
    }
    match found.is_empty() {
        true => " (hint: the path of a sweep file, see docs/sweep-file.md)".into(),
        false => hint(&path.display().to_string(), found.iter().map(String::as_str)),
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    entries
}

/// Adds the names that an argument may be, which clap leaves out.
fn fish(script: &str, program: &Command) -> String {
    let mut script = script.to_string();
    for verb in program.get_subcommands() {
        let values = verb.get_positionals().flat_map(|argument| argument.get_possible_values());
        let names: Vec<String> = values.map(|value| value.get_name().to_string()).collect();
        if !names.is_empty() {
            let using = format!("__fish_foolproof_using_subcommand {}", verb.get_name());
            script += &format!("complete -c foolproof -n \"{using}\" -f -a \"{}\"\n", names.join(" "));
        }
    }
    script
}

/// A name that a registry should know: shells complete those that it knows. Any other goes to the registry all the same, which
/// says what is near.
#[derive(Clone)]
pub struct NameOf(pub fn() -> Vec<&'static str>);

impl TypedValueParser for NameOf {
    type Value = String;

    fn parse_ref(&self, command: &Command, argument: Option<&clap::Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}
