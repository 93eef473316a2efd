//! Who may import whom: the table in `docs/architecture.md`, read against the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Room to the rooms it may use, from the first table with that header in the architecture page.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string("docs/architecture.md").unwrap();
    page.lines()
        .skip_while(|l| !l.starts_with("| room | may use |"))
        .skip(2)
        .take_while(|l| l.starts_with('|'))
        .map(|l| {
            let fields: Vec<&str> = l.split('|').map(str::trim).collect();
            let uses = fields[2].split_whitespace().filter(|w| *w != "nothing").map(String::from).collect();
            (fields[1].to_string(), uses)
        })
        .collect()
}

/// Source files of each room.
fn sources(folder: &Path, room: Option<&str>, found: &mut Vec<(String, String, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap()) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let of = room.unwrap_or(name.trim_end_matches(".rs")).to_string();
        if path.is_dir() {
            sources(&path, Some(&of), found);
        } else if !["lib", "main"].contains(&of.as_str()) {
            found.push((of, path.display().to_string(), fs::read_to_string(path).unwrap()));
        }
    }
}

#[test]
fn no_room_uses_what_it_may_not() {
    let allowed = allowed();
    let mut found = Vec::new();
    sources(Path::new("src"), None, &mut found);
    let rooms: BTreeSet<&str> = found.iter().map(|(room, ..)| room.as_str()).collect();
    assert_eq!(rooms, allowed.keys().map(String::as_str).collect(), "the table lists every room once");
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (room, path, text) in &found {
        for part in text.split("crate::").skip(1) {
            let other = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            assert!(other == room || allowed[room].contains(other), "{path} uses `{other}`, which `{room}` may not");
            used.entry(room).or_default().insert(other);
        }
    }
    for (room, uses) in &allowed {
        for other in uses {
            let really = used.get(room.as_str()).is_some_and(|u| u.contains(other.as_str()));
            assert!(really, "the table lets `{room}` use `{other}`, and it does not");
        }
    }
}

#[test]
fn unsafe_stands_in_the_kernel_only() {
    let mut found = Vec::new();
    sources(Path::new("src"), None, &mut found);
    for (room, path, text) in found {
        assert!(room == "kernel" || !text.contains("unsafe "), "{path}");
    }
}
