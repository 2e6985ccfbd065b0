//! The house as `docs/architecture.md` draws it, checked against `src/`: rooms import only rooms above
//! them, and no ban is broken. The lists are parsed from the document, so the document cannot lie.

use std::collections::BTreeSet;
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

/// The module path of a file: `src/run/plan/mod.rs` is `run/plan`.
fn module(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix("src").expect("under src").with_extension("");
    let mut parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
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
    for (at, _) in code.match_indices("crate::") {
        let path: String =
            code[at..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, ':' | '_')).collect();
        expand(&[], path.trim_end_matches(':'), &mut found);
    }
    let resolve = |path: Vec<String>| -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
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
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let files = files.into_iter().filter(|file| {
        let name = file.to_string_lossy();
        // Files of tests alone, and the two roots.
        !name.contains("/tests")
            && !name.ends_with("/testing.rs")
            && module(file) != ["main"]
            && !module(file).is_empty()
    });
    files.flat_map(|file| imports(&file)).collect()
}

#[test]
fn every_room_stands_in_the_document_and_in_the_source() {
    let drawn: BTreeSet<String> = rooms().into_iter().collect();
    let built: BTreeSet<String> = fs::read_dir("src")
        .expect("src")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
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
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let allowed = [
        "src/base/exhausted.rs",
        "src/base/sys.rs",
        "src/engine/fused/cpu/activations.rs",
        "src/engine/fused/cpu/arena.rs",
        "src/engine/fused/cpu/attention.rs",
        "src/engine/fused/cpu/choose.rs",
        "src/engine/fused/cpu/forward.rs",
        "src/engine/fused/cpu/forward/experts.rs",
        "src/engine/fused/cpu/kv.rs",
        "src/engine/fused/cpu/lanes.rs",
        "src/engine/fused/cpu/matmul/mod.rs",
        "src/engine/fused/cpu/pool.rs",
        "src/engine/fused/cpu/prefetch.rs",
        "src/hardware/cuda/driver.rs",
        "src/hardware/cuda/launch.rs",
        "src/hardware/cuda/library.rs",
        "src/hardware/cuda/load.rs",
        "src/hardware/cuda/nvrtc.rs",
        "src/hardware/device/peaks/flops.rs",
        "src/hardware/device/peaks/narrow.rs",
        "src/hardware/nvml/fields.rs",
        "src/hardware/nvml/older.rs",
    ];
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        let lifts = text.contains("allow(unsafe_code") || text.contains("expect(unsafe_code");
        assert!(!lifts || allowed.contains(&file.to_string_lossy().as_ref()), "{}", file.display());
    }
}

#[test]
fn every_file_says_what_it_owns() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        assert!(text.starts_with("//!"), "{} does not begin with `//!`", file.display());
    }
}
