//! The house as `docs/architecture.md` draws it, checked against `crates/` and `src/`: rooms import only rooms above
//! them, and no ban is broken. Between crates Cargo keeps the order; this test keeps the document true, the order within
//! `src/`, and the bans. The lists are parsed from the document, so the document cannot lie.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One import, as `from/module` uses `to/module`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    file: PathBuf,
    from: Vec<String>,
    to: Vec<String>,
}

fn document() -> String {
    fs::read_to_string("docs/architecture.md").expect("docs/architecture.md")
}

fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let start = text.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("section {title}"));
    let rest = &text[start + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

fn rooms() -> Vec<String> {
    let text = document();
    let numbered = section(&text, "Rooms").lines().filter_map(|line| {
        let (number, rest) = line.split_once(". `")?;
        number.parse::<u32>().ok()?;
        Some(rest.split_once('`')?.0.to_owned())
    });
    numbered.collect()
}

/// `from` must not import `to`, except `except`; each a path of modules.
#[derive(Debug)]
struct Ban {
    from: Vec<String>,
    to: Vec<String>,
    except: Option<Vec<String>>,
}

fn bans() -> Vec<Ban> {
    let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let text = document();
    let listed = section(&text, "Bans").lines().filter(|line| line.starts_with("- `"));
    listed
        .map(|line| {
            let names: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
            Ban { from: path(names[0]), to: path(names[1]), except: names.get(2).map(|name| path(name)) }
        })
        .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The module path of a file: `src/run/plan/mod.rs` is `run/plan`, and so is `crates/run/src/plan/mod.rs`.
fn module(file: &Path) -> Vec<String> {
    let relative = file.with_extension("");
    let mut parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.remove(0);
    if file.starts_with("crates") {
        parts.remove(1);
    }
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

/// The rooms that `crate::` reaches from a file besides its own modules, and the room that its own modules are in.
fn neighbours(file: &Path) -> (Option<String>, Vec<String>) {
    if !file.starts_with("crates") {
        return (None, Vec::new());
    }
    let room = module(file).swap_remove(0);
    let root = Path::new("crates").join(&room).join("src/lib.rs");
    let text = fs::read_to_string(root).expect("a crate's lib.rs");
    let alias = |line: &str| Some(line.strip_prefix("use infercost_")?.split_once(" as ")?.0.to_owned());
    (Some(room), text.lines().filter_map(alias).collect())
}

/// Every file of the product.
fn all_sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    for entry in fs::read_dir("crates").expect("crates") {
        sources(&entry.expect("an entry").path().join("src"), &mut files);
    }
    files
}

/// Splits `a::{b, c::{d, e}}` into whole paths.
fn expand(prefix: &[String], text: &str, found: &mut Vec<Vec<String>>) {
    let text = text.trim();
    if let Some(open) = text.find('{') {
        let mut base = prefix.to_vec();
        base.extend(text[..open].split("::").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned));
        let inner = &text[open + 1..text.rfind('}').unwrap_or(text.len())];
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&base, &inner[start..at.max(start)], found);
                    start = at + 1;
                }
                _ => {}
            }
        }
    } else if !text.is_empty() {
        let mut path = prefix.to_vec();
        path.extend(text.split("::").map(|part| part.split_whitespace().next().unwrap_or("").to_owned()));
        found.push(path);
    }
}

/// Every path of our own that a file names, `crate::` and `super::` resolved.
fn imports(file: &Path) -> Vec<Import> {
    let text = fs::read_to_string(file).expect("a source file");
    // Tests may look anywhere: they are not part of the flow.
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let from = module(file);
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find("use ").map(|at| at + 4) {
        let before = rest[..at - 4].chars().last();
        rest = &rest[at..];
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let end = rest.find(';').unwrap_or(rest.len());
        let statement = &rest[..end];
        if ["crate::", "crate::{", "super::", "self::"].iter().any(|start| statement.starts_with(start)) {
            expand(&[], statement, &mut found);
        }
        rest = &rest[end..];
    }
    // Paths written out in place.
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, ':' | '_')) {
                continue;
            }
            let path: String =
                code[at..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, ':' | '_')).collect();
            expand(&[], path.trim_end_matches(':'), &mut found);
        }
    }
    let (room, neighbours) = neighbours(file);
    let resolve = |path: Vec<String>| -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" if path.get(1).is_some_and(|next| neighbours.contains(next)) => Vec::new(),
            "crate" => room.iter().cloned().collect(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        for part in &path[1..] {
            if part == "super" {
                base.pop();
            } else {
                base.push(part.clone());
            }
        }
        Some(base).filter(|path| !path.is_empty())
    };
    let paths: BTreeSet<Vec<String>> = found.into_iter().filter_map(resolve).collect();
    paths.into_iter().map(|to| Import { file: file.to_owned(), from: from.clone(), to }).collect()
}

fn all_imports() -> Vec<Import> {
    let files = all_sources().into_iter().filter(|file| {
        let name = file.to_string_lossy();
        // Files of tests alone, and the two roots.
        !name.contains("/tests")
            && !name.contains("/testing")
            && module(file) != ["main"]
            && !module(file).is_empty()
    });
    files.flat_map(|file| imports(&file)).collect()
}

#[test]
fn every_room_stands_in_the_document_and_in_the_source() {
    let drawn: BTreeSet<String> = rooms().into_iter().collect();
    let built: BTreeSet<String> = ["src", "crates"]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder of rooms"))
        .map(|entry| entry.expect("an entry").path())
        // The helpers of tests are no room.
        .filter(|path| path.is_dir() && !path.ends_with("testing"))
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    assert_eq!(drawn, built);
}

#[test]
fn a_room_imports_only_rooms_above_it() {
    let order = rooms();
    let floor = |room: &String| order.iter().position(|name| name == room);
    let imports = all_imports();
    assert!(imports.len() > 100, "only {} imports were found: the reader is broken", imports.len());
    let wrong: Vec<String> = imports
        .iter()
        .filter(|import| floor(&import.from[0]) < floor(&import.to[0]))
        .map(|import| {
            format!("{}: {} imports {}", import.file.display(), import.from[0], import.to.join("::"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A module and those below it may use each other; all others only in one direction, also by way of others.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules: BTreeSet<Vec<String>> = all_sources().iter().map(|file| module(file)).collect();
    let mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for Import { from, to, .. } in all_imports() {
        let file =
            (1..=to.len()).rev().map(|length| to[..length].to_vec()).find(|path| modules.contains(path));
        if let Some(to) = file.filter(|to| !to.starts_with(&from) && !from.starts_with(to)) {
            edges.entry(from).or_default().insert(to);
        }
    }
    assert!(edges.len() > 200, "only {} files import others: the reader is broken", edges.len());
    // Takes away whatever imports only what was taken away before; a circle is what stays.
    while let Some(free) = edges
        .iter()
        .find(|(_, targets)| !targets.iter().any(|target| edges.contains_key(target)))
        .map(|(file, _)| file.clone())
    {
        edges.remove(&free);
    }
    let left = |(from, targets): (&Vec<String>, &BTreeSet<Vec<String>>)| {
        let within = targets.iter().filter(|target| edges.contains_key(*target));
        format!("{} -> {}", from.join("/"), within.map(|to| to.join("/")).collect::<Vec<_>>().join(", "))
    };
    let left: Vec<String> = edges.iter().map(left).collect();
    assert!(left.is_empty(), "a circle, and what leads to it:\n{}", left.join("\n"));
}

#[test]
fn no_ban_is_broken() {
    let bans = bans();
    assert!(bans.len() >= 5, "the bans were not read: {bans:?}");
    let mut wrong = Vec::new();
    for import in all_imports() {
        for Ban { from, to, except } in &bans {
            let allowed = except.as_ref().is_some_and(|except| import.to.starts_with(except));
            if import.from.starts_with(from) && import.to.starts_with(to) && !allowed {
                wrong.push(format!("{}: imports {}", import.file.display(), import.to.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stands_only_behind_its_door() {
    let allowed = [
        "crates/base/src/exhausted.rs",
        "crates/base/src/sys.rs",
        "crates/engine/src/fused/cpu/activations.rs",
        "crates/engine/src/fused/cpu/arena.rs",
        "crates/engine/src/fused/cpu/attention.rs",
        "crates/engine/src/fused/cpu/choose.rs",
        "crates/engine/src/fused/cpu/forward/mod.rs",
        "crates/engine/src/fused/cpu/kv.rs",
        "crates/engine/src/fused/cpu/lanes/mod.rs",
        "crates/engine/src/fused/cpu/matmul/mod.rs",
        "crates/engine/src/fused/cpu/pool.rs",
        "crates/engine/src/fused/cpu/prefetch.rs",
        "crates/engine/src/fused/cpu/rows.rs",
        "crates/engine/src/fused/cpu/trial.rs",
        "crates/engine/src/fused/cuda/launch.rs",
        "crates/hardware/src/cuda/driver.rs",
        "crates/hardware/src/cuda/graph.rs",
        "crates/hardware/src/cuda/launch.rs",
        "crates/hardware/src/cuda/library.rs",
        "crates/hardware/src/cuda/load.rs",
        "crates/hardware/src/cuda/nvrtc.rs",
        "crates/hardware/src/cuda/peaks.rs",
        "crates/hardware/src/cuda/pinned.rs",
        "crates/hardware/src/cuda/queue.rs",
        "crates/hardware/src/device/peaks/flops.rs",
        "crates/hardware/src/device/peaks/narrow.rs",
        "crates/hardware/src/nvml/fields.rs",
        "crates/hardware/src/nvml/older.rs",
    ];
    for file in all_sources() {
        let text = fs::read_to_string(&file).expect("a source file");
        let lifts = text.contains("allow(unsafe_code") || text.contains("expect(unsafe_code");
        assert!(!lifts || allowed.contains(&file.to_string_lossy().as_ref()), "{}", file.display());
    }
}

/// Whether the comment and the attributes above line number `at` hold a section on safety.
fn has_section(lines: &[&str], at: usize) -> bool {
    let above = lines[..at].iter().rev().map(|line| line.trim_start());
    above
        .take_while(|line| line.starts_with("//") || line.starts_with('#'))
        .any(|line| line == "/// # Safety")
}

/// Whether what holds the unsafe function at line number `at` answers for it: the trait that it is a method of, or the
/// function that it stands in. Files are formatted, so what holds a line is less indented.
fn is_answered_for(lines: &[&str], at: usize) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut inner = indent(lines[at]);
    for (number, line) in lines[..at].iter().enumerate().rev() {
        if line.trim().is_empty() || indent(line) >= inner {
            continue;
        }
        inner = indent(line);
        let head = line.trim_start().trim_start_matches("unsafe ");
        if head.starts_with(')') {
            // The end of a signature; its beginning is indented alike.
            inner += 1;
        } else if head.contains("fn ") || (head.starts_with("impl") && head.contains(" for ")) {
            return true;
        } else if head.contains("trait ") {
            return has_section(lines, number);
        }
    }
    false
}

#[test]
fn every_unsafe_function_says_what_its_caller_promises() {
    let (mut found, mut wrong) = (0, Vec::new());
    for file in all_sources() {
        let text = fs::read_to_string(&file).expect("a source file");
        // Of a private module all functions may ask for the same, which its head says once.
        let head = text.lines().take_while(|line| line.starts_with("//!"));
        let of_module = head.into_iter().any(|line| line == "//! # Safety of this module");
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            // Of a macro's functions each use is looked at, where it is not within the macro as a whole.
            if code.starts_with("//") || !code.contains("unsafe fn ") || code.contains("unsafe fn $") {
                continue;
            }
            found += 1;
            let by_module = of_module && !code.starts_with("pub unsafe");
            if !by_module && !has_section(&lines, at) && !is_answered_for(&lines, at) {
                wrong.push(format!("{}:{}: {code}", file.display(), at + 1));
            }
        }
    }
    assert!(found > 100, "only {found} unsafe functions were found: the reader is broken");
    assert!(wrong.is_empty(), "no `# Safety`, nor `# Safety of this module`:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns() {
    for file in all_sources() {
        let text = fs::read_to_string(&file).expect("a source file");
        assert!(text.starts_with("//!"), "{} does not begin with `//!`", file.display());
    }
}
