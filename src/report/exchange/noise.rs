//! Log lines between the figures of a file.
//!
//! A line is noise if no JSON can begin there, or only JSON that no benchmark writes. A line that looks like a broken row
//! is not noise: a row that cannot be read must be an error, never be skipped.

use super::json::{self, Fields, Node, RESULT_FIELDS, get};

/// What begins at a position between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// An object.
    Object,
    /// A list, apparently of objects.
    List,
    /// A log line.
    Noise,
}

/// What begins with these bytes.
pub(super) fn start(ahead: &[u8]) -> Start {
    match ahead.first() {
        Some(b'{') if object(&ahead[1..]) => Start::Object,
        Some(b'[') => {
            let rest = trimmed(&ahead[1..]);
            let alone = ahead[1..ahead.len() - rest.len()].contains(&b'\n');
            match rest.first() {
                Some(b'{') if object(&rest[1..]) => Start::List,
                // In a list whose rows are measured one by one, log lines may follow the opening bracket.
                _ if alone && rest.first() != Some(&b']') => Start::List,
                // All there is of a truncated file.
                None => Start::List,
                _ => Start::Noise,
            }
        }
        _ => Start::Noise,
    }
}

/// Whether these bytes continue an object after its `{`: with a name and a colon.
fn object(rest: &[u8]) -> bool {
    let rest = trimmed(rest);
    let Some(name) = rest.strip_prefix(b"\"") else {
        return rest.first() == Some(&b'}') || rest.is_empty();
    };
    let mut escaped = false;
    let end = name.iter().position(|byte| {
        let end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        end || matches!(byte, b'\n' | b'\r')
    });
    match end {
        // The file ends within the name.
        None => true,
        Some(end) if name[end] == b'"' => {
            let rest = trimmed(&name[end + 1..]);
            rest.first() == Some(&b':') || rest.is_empty()
        }
        Some(_) => false,
    }
}

/// Whether a list element that is not an object begins here: a JSON value followed by a comma, a bracket or nothing.
pub(super) fn other_element(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let line = line.trim_end().trim_end_matches([',', ']']);
    !line.is_empty() && matches!(json::values(line).collect::<Vec<_>>().as_slice(), [Ok(_)])
}

/// Whether a line that looks like an object is a log line: it is not JSON, and has none of a row's names.
pub(super) fn broken_object(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    if RESULT_FIELDS.iter().any(|name| line.contains(&format!("\"{name}\""))) {
        return false;
    }
    matches!(json::values(line).next(), Some(Err(broken)) if !broken.cut)
}

/// Where a row begins within a line that starts with something else: an object with several names that only rows have.
pub(super) fn row_within(line: &[u8]) -> Option<usize> {
    let known = |rest: &[u8]| {
        let text = String::from_utf8_lossy(rest);
        RESULT_FIELDS.iter().filter(|name| text.contains(&format!("\"{name}\""))).count() >= 3
    };
    if !known(line) {
        return None;
    }
    let begins = |at: &usize| *at > 0 && start(&line[*at..]) == Start::Object && known(&line[*at..]);
    // A log object before it is skipped separately.
    (0..line.len()).filter(|at| line[*at] == b'{').take(64).find(begins)
}

/// Whether an object does not belong to a benchmark.
pub(super) fn unfamiliar(fields: &Fields) -> bool {
    !RESULT_FIELDS.iter().any(|name| get(fields, name).is_some())
}

/// Whether an object is a structured log line.
pub(super) fn logged(fields: &Fields) -> bool {
    let text = |name: &str| matches!(get(fields, name), Some(Node::Text(_)));
    unfamiliar(fields)
        && ["level", "levelname", "severity", "lvl", "log_level"].iter().any(|name| text(name))
        && ["message", "msg", "event", "text", "log"].iter().any(|name| text(name))
}

/// Whether a file that begins with this line is missing its head: a member of an object, a number of a list, or a closing
/// bracket.
pub(super) fn headless(line: &str) -> bool {
    let line = line.trim();
    let number = |c: char| c.is_ascii_digit() || ".+-eE".contains(c);
    if closes(line) || line.strip_suffix(',').is_some_and(|item| item.chars().all(number)) {
        return true;
    }
    let member =
        || line.strip_prefix('"')?.split_once('"').map(|(_, rest)| rest.trim_start().starts_with(':'));
    member().unwrap_or(false)
}

/// Brackets that a line of a printed value opens minus those that it closes.
pub(super) fn opened(line: &str) -> i32 {
    let line = line.trim();
    i32::from(line.ends_with(['{', '['])) - i32::from(closes(line))
}

/// Whether a line consists of only closing brackets and commas.
fn closes(line: &str) -> bool {
    line.starts_with(['}', ']']) && line.chars().all(|c| "}], ".contains(c))
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let from = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    &bytes[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_log_may_begin_like_json() {
        for (text, expected) in [
            ("{\"n_prompt\": 1}", Start::Object),
            ("{\n  \"n_prompt\": 1}", Start::Object),
            ("{", Start::Object),
            ("{}", Start::Object),
            ("[{\"a\": 1}]", Start::List),
            ("[\n  {\n \"a\": 1", Start::List),
            ("[\nggml_cuda_init: found 1 device\n{", Start::List),
            ("[", Start::List),
            ("[INFO] loading", Start::Noise),
            ("[2026-01-01 10:00:00] x", Start::Noise),
            ("[1/5] x", Start::Noise),
            ("[1, 2]", Start::Noise),
            ("[[1.5, 2]]", Start::Noise),
            ("[]", Start::Noise),
            ("[\n]", Start::Noise),
            ("[\"a\"] x", Start::Noise),
            ("{not json}", Start::Noise),
            ("{'model': 'x'}", Start::Noise),
            ("{\"unfinished\n", Start::Noise),
            ("{\"x\", 1}", Start::Noise),
            ("[{'a': 1}]", Start::Noise),
            ("llama", Start::Noise),
        ] {
            assert_eq!(start(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_broken_row_is_no_log() {
        assert!(broken_object(b"{\"loading\": model}"));
        assert!(!broken_object(b"{\"n_prompt\": 01}"));
        assert!(!broken_object(b"{\"a\": "), "it may go on");
        assert!(!broken_object(b"{\"a\": 1}"));
        assert!(headless("  \"n_gen\": 8,") && headless(" },") && !headless("\"hello\" world"));
        assert!(other_element(b"12,") && other_element(b"\"x\"]") && !other_element(b"1, {\"a\": 2}]"));
        assert!(!other_element(b"main: 12"));
    }
}
