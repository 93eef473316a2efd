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

/// A module: its path below `crate`, as `report::draw::look`, its file, and its text without tests and comments.
struct Module {
    path: Vec<String>,
    file: String,
    text: String,
}

/// Every module that has a file, of every room.
fn modules() -> Vec<Module> {
    let mut found = Vec::new();
    sources(Path::new("src"), None, &mut found);
    let module = |(_, file, text): (String, String, String)| {
        let path = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        Module { path: path.split('/').map(String::from).collect(), file, text: without_tests(&text) }
    };
    found.into_iter().map(module).filter(|m| m.path.last().is_some_and(|name| name != "tests")).collect()
}

/// The source without comments and without what is behind `#[cfg(test)]`; a block ends at the brace in the column of its
/// first line.
fn without_tests(text: &str) -> String {
    let (mut kept, mut skipped) = (String::new(), None);
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        match skipped {
            Some(at) => {
                let ends = indent == at && (line.trim_end().ends_with(['}', ';']));
                skipped = (!ends).then_some(at);
            }
            None if line.trim_start().starts_with("#[cfg(test)]") => skipped = Some(indent),
            None if line.trim_start().starts_with("//") => {}
            None => kept += &format!("{line}\n"),
        }
    }
    kept
}

/// The paths of a `use` tree: `a::{b, c::{self, d}}` is `a::b`, `a::c`, `a::c::d`.
fn branches(tree: &str) -> Vec<Vec<String>> {
    let words = |path: &str| -> Vec<String> {
        let path = path.split(" as ").next().unwrap_or(path);
        path.split("::").map(str::trim).filter(|w| !w.is_empty() && *w != "self").map(String::from).collect()
    };
    let Some((head, rest)) = tree.split_once('{') else { return vec![words(tree)] };
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 { parts.push(String::new()) } else { parts.last_mut().unwrap().push(c) }
    }
    let head = words(head);
    let below = |part: &String| branches(part.trim()).into_iter().map(|tail| [head.clone(), tail].concat());
    parts.iter().filter(|part| !part.trim().is_empty()).flat_map(below).collect()
}

/// Every path that a module names, from `crate` down: those of `use`, of `pub use` apart, and those in its code that begin with
/// `super::`, `self::` or `crate::`.
fn paths(module: &Module) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let (mut code, mut used, mut handed_on) = (String::new(), Vec::new(), Vec::new());
    let mut statements = module.text.split_inclusive('\n').peekable();
    // columns of the modules without a file of their own that a line lies in: their `super` is this file
    let mut inline: Vec<usize> = Vec::new();
    while let Some(line) = statements.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_end().ends_with('{') && line.trim_start().trim_start_matches("pub ").starts_with("mod ") {
            inline.push(indent);
        } else if line.trim() == "}" && inline.last() == Some(&indent) {
            inline.pop();
        }
        let mut statement = line.to_string();
        let word = line.trim_start();
        let visible = word.starts_with("pub use ") || word.starts_with("pub(crate) use ");
        if !visible && !word.starts_with("use ") {
            code += line;
            continue;
        }
        while !statement.contains(';') {
            statement += statements.next().unwrap_or(";");
        }
        let tree = statement.split_once("use ").unwrap().1.split(';').next().unwrap().replace('\n', " ");
        let tree = if tree.contains('{') { tree } else { tree.trim().to_string() };
        let within = [module.path.clone(), vec!["inline".to_string(); inline.len()]].concat();
        let paths = branches(&tree).into_iter().map(|path| absolute(&within, path));
        if visible { handed_on.extend(paths) } else { used.extend(paths) }
    }
    for part in code.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c))) {
        if ["super::", "self::", "crate::"].iter().any(|head| part.starts_with(head)) {
            used.push(absolute(&module.path, part.split("::").map(String::from).collect()));
        }
    }
    // what is named by a path that `use` or `mod` brought: `look::Look` after `use draw::look`, or of a child
    for part in code.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c))) {
        if part.contains("::") && !part.starts_with("::") {
            used.push([module.path.clone(), part.split("::").map(String::from).collect()].concat());
        }
    }
    (used, handed_on)
}

/// The path from `crate` down. What begins with no known word may be a child or a crate; no file then has it.
fn absolute(from: &[String], path: Vec<String>) -> Vec<String> {
    let mut base = from.to_vec();
    let mut rest = path.as_slice();
    match rest.first().map(String::as_str) {
        Some("crate") => (base, rest) = (Vec::new(), &rest[1..]),
        Some("self") => rest = &rest[1..],
        _ => {}
    }
    while rest.first().is_some_and(|word| word == "super") {
        base.pop();
        rest = &rest[1..];
    }
    [&base, rest].concat()
}

/// The module that an item of this path is defined in: the longest path that is a module, and from there the way of what that
/// hands on.
fn defined_in<'a>(
    path: &[String],
    modules: &'a BTreeMap<Vec<String>, Module>,
    handed_on: &BTreeMap<Vec<String>, Vec<Vec<String>>>,
) -> Option<&'a Module> {
    let length = (1..=path.len()).rev().find(|n| modules.contains_key(&path[..*n]))?;
    let (module, rest) = (&path[..length], &path[length..]);
    if let Some(item) = rest.first() {
        let on = handed_on[module].iter().find(|on| on.last() == Some(item) && on.as_slice() != path);
        if let Some(on) = on {
            return defined_in(on, modules, handed_on).or_else(|| modules.get(module));
        }
    }
    modules.get(module)
}

/// Of each file the files of its room that it uses.
fn uses_inside_rooms() -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeMap<Vec<String>, Module> = modules().into_iter().map(|m| (m.path.clone(), m)).collect();
    let paths: BTreeMap<Vec<String>, _> = modules.iter().map(|(path, m)| (path.clone(), paths(m))).collect();
    let handed_on = paths.iter().map(|(path, (_, on))| (path.clone(), on.clone())).collect();
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, module) in &modules {
        for used in &paths[path].0 {
            if let Some(other) = defined_in(used, &modules, &handed_on)
                && other.path[0] == path[0]
                && other.file != module.file
            {
                uses.entry(module.file.clone()).or_default().insert(other.file.clone());
            }
        }
    }
    uses
}

/// A way from a file back to itself; `None`: there is none.
fn circle(from: &str, uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = std::collections::VecDeque::from([from]);
    while let Some(file) = waiting.pop_front() {
        for next in uses.get(file).into_iter().flatten() {
            if next == from {
                let mut way = vec![from.to_string(), file.to_string()];
                while let Some(file) = before.get(way.last().unwrap().as_str()) {
                    way.push(file.to_string());
                }
                way.reverse();
                return Some(way);
            }
            if !before.contains_key(next.as_str()) {
                before.insert(next, file);
                waiting.push_back(next);
            }
        }
    }
    None
}

/// Rooms whose circles are still to be mended.
const TO_BE_MENDED: [&str; 0] = [];

#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let uses = uses_inside_rooms();
    let circles: Vec<Vec<String>> = uses.keys().filter_map(|file| circle(file, &uses)).collect();
    let room = |way: &[String]| way[0].trim_start_matches("src/").split(['/', '.']).next().unwrap().to_string();
    let new: Vec<String> =
        circles.iter().filter(|way| !TO_BE_MENDED.contains(&room(way).as_str())).map(|way| way.join(" → ")).collect();
    assert!(new.is_empty(), "{new:#?}");
    for name in TO_BE_MENDED {
        assert!(circles.iter().any(|way| room(way) == name), "`{name}` has no circle any more: it need not be excused");
    }
}

#[test]
fn use_trees_are_read() {
    let flat = |tree: &str| branches(tree).iter().map(|p| p.join("::")).collect::<Vec<_>>();
    assert_eq!(
        flat("super::a::{self, B, c::{D, E as F}}"),
        ["super::a", "super::a::B", "super::a::c::D", "super::a::c::E"]
    );
    let text = "use a;\n#[cfg(test)]\nmod tests {\n    use b;\n}\nfn c() {}\n#[cfg(test)]\nmod tests;\nfn d() {}\n";
    assert_eq!(without_tests(text), "use a;\nfn c() {}\nfn d() {}\n");
}
