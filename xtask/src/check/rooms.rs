//! That arrows between the rooms of the hypervisor point one way: a room is a module at the top of `hyp/src`, and uses only
//! those further down in the list of ARCHITECTURE.md. Tests may look where they like.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

/// What opens the list in ARCHITECTURE.md: a line for each storey, its rooms apart by spaces.
const FENCE: &str = "```rooms\n";

/// Which storey each room is on, counted from the top.
type Storeys = BTreeMap<String, usize>;

/// An arrow between two rooms, and where it starts.
#[derive(Debug, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    file: PathBuf,
    line: usize,
}

/// Checks the sources in `hyp/src` below `root` against `ARCHITECTURE.md` there.
///
/// # Errors
/// Rooms that the list lacks or has in vain, and each arrow that does not lead downwards.
pub fn check(root: &Path) -> Result<()> {
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md cannot be read")?;
    let storeys = storeys(&text)?;
    let sources = root.join("hyp/src");
    let mut arrows = Vec::new();
    let mut rooms = Vec::new();
    for file in source_files(&sources)? {
        let path = file.strip_prefix(&sources)?;
        let Some(room) = room_of(path) else { continue };
        arrows.extend(arrows_of(&room, path, &fs::read_to_string(&file)?));
        rooms.push(room);
    }
    let complaints = complaints(&storeys, &rooms, &arrows);
    ensure!(complaints.is_empty(), "{complaints}");
    Ok(())
}

fn storeys(text: &str) -> Result<Storeys> {
    let list = text.split_once(FENCE).and_then(|(_, rest)| rest.split_once("```"));
    let Some((list, _)) = list else { bail!("ARCHITECTURE.md has no list of rooms between {FENCE:?} and ```") };
    let mut storeys = Storeys::new();
    for (storey, rooms) in list.lines().enumerate() {
        for room in rooms.split_whitespace() {
            let before = storeys.insert(room.to_owned(), storey);
            ensure!(before.is_none(), "ARCHITECTURE.md lists the room `{room}` twice");
        }
    }
    Ok(storeys)
}

/// All Rust sources below `folder` but tests.
fn source_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(source_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The room that a file, by its path below the sources, is in; none for the crate's roots.
fn room_of(path: &Path) -> Option<String> {
    let first = Path::new(path.iter().next()?);
    let name = first.file_stem()?.to_str()?;
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// The arrows from `room` in the source `text` of `file`.
fn arrows_of(room: &str, file: &Path, text: &str) -> Vec<Arrow> {
    // Groups are written by name or in braces.
    let named = Regex::new(r"\bcrate::(?:(\w+)|\{([^}]*)\})").expect("a pattern of ours");
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let text = without_comments(&text[..tests]);
    let mut arrows = Vec::new();
    for found in named.captures_iter(&text) {
        let line = text[..found.get(0).map_or(0, |whole| whole.start())].matches('\n').count() + 1;
        let names = found.get(1).or_else(|| found.get(2)).map_or("", |names| names.as_str());
        for name in names.split(',').filter_map(|name| name.trim().split("::").next()) {
            if !name.is_empty() && name != room {
                arrows.push(Arrow { from: room.to_owned(), to: name.to_owned(), file: file.to_owned(), line });
            }
        }
    }
    arrows
}

fn without_comments(text: &str) -> String {
    let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    text.lines().map(line).collect()
}

fn complaints(storeys: &Storeys, rooms: &[String], arrows: &[Arrow]) -> String {
    let mut text = String::new();
    for room in rooms.iter().filter(|room| !storeys.contains_key(*room)) {
        let _ =
            writeln!(text, "the room hyp/src/{room} is not in ARCHITECTURE.md's list: put it below those that use it");
    }
    for room in storeys.keys().filter(|room| !rooms.contains(room)) {
        let _ = writeln!(text, "ARCHITECTURE.md lists the room `{room}`, which hyp/src does not have: take it out");
    }
    for Arrow { from, to, file, line } in arrows {
        let (Some(above), Some(below)) = (storeys.get(from), storeys.get(to)) else { continue };
        if above >= below {
            let _ = writeln!(
                text,
                "hyp/src/{}:{line}: `{from}` uses `{to}`, which is not below it in ARCHITECTURE.md's list: hand it what \
                 it needs",
                file.display()
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str) -> Arrow {
        Arrow { from: from.into(), to: to.into(), file: "x.rs".into(), line: 1 }
    }

    fn list(text: &str) -> Storeys {
        storeys(&format!("Rooms:\n{FENCE}{text}```\n")).expect("a list")
    }

    #[test]
    fn arrows_are_found_by_name_and_in_braces_but_not_in_comments_and_tests() {
        let text = "use crate::vm::Vm;\n// crate::run\nuse crate::{archive, machine::Machine};\nfn f() { crate::heap::usage() }\n\
                    #[cfg(test)]\nmod tests {\n    use crate::boot;\n}\n";
        let found = arrows_of("exit", Path::new("exit/mod.rs"), text);
        let found: Vec<_> = found.iter().map(|arrow| (arrow.to.as_str(), arrow.line)).collect();
        assert_eq!(found, [("vm", 1), ("archive", 3), ("machine", 3), ("heap", 4)]);
    }

    #[test]
    fn only_arrows_that_lead_downwards_are_right() {
        let (storeys, rooms) = (list("boot\nvm vcpu\narch\n"), ["boot", "vm", "vcpu", "arch"].map(String::from));
        let wrong = |from, to| complaints(&storeys, &rooms, &[arrow(from, to)]).contains("is not below it");
        assert!(!wrong("boot", "arch") && !wrong("vm", "arch"));
        assert!(wrong("arch", "vm") && wrong("vm", "vcpu") && wrong("vcpu", "boot"));
    }

    #[test]
    fn the_list_has_all_rooms_and_no_others() {
        let storeys = list("boot\nvm\n");
        assert!(complaints(&storeys, &["boot".into()], &[]).contains("lists the room `vm`"));
        let rooms = ["boot", "vm", "attic"].map(String::from);
        assert!(complaints(&storeys, &rooms, &[]).contains("hyp/src/attic is not in"));
        assert!(super::storeys(&format!("{FENCE}a\na\n```")).is_err());
        assert!(super::storeys("no list").is_err());
    }

    #[test]
    fn a_room_is_the_first_part_of_a_path() {
        let rooms = ["run/mod.rs", "vm.rs", "vm/life.rs", "lib.rs"].map(|path| room_of(Path::new(path)));
        assert_eq!(rooms, [Some("run".into()), Some("vm".into()), Some("vm".into()), None]);
    }
}
