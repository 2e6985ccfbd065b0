//! Text for people: sanitized text of outside origin, numbers with their noun.

use std::fmt::Display;
use std::path::Path;

use super::redact;

/// Text of outside origin without terminal control characters.
pub fn printable(text: &str) -> String {
    clipped(text, usize::MAX)
}

/// The first `most` characters of a text of outside origin, without terminal control characters.
pub fn clipped(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text of outside origin for a message: without secrets, [`clipped`] to 80 characters, with an ellipsis if there were more.
pub fn shown(text: &str) -> String {
    // Redact before clipping, or the beginning of a clipped secret would remain.
    let text = &redact::text(text);
    let mut out = clipped(text, 80);
    if text.chars().nth(80).is_some() {
        out.push('…');
    }
    out
}

/// The compression format of bytes, by their first bytes, and the command that unpacks it.
pub fn compression(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const KINDS: [(&[u8], &str, &str); 5] = [
        (&[0x1f, 0x8b], "gzip", "gunzip -k FILE"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd", "zstd -d FILE"),
        (b"PK\x03\x04", "zip", "unzip FILE"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "xz", "xz -dk FILE"),
        (b"BZh", "bzip2", "bunzip2 -k FILE"),
    ];
    KINDS.iter().find(|(begin, ..)| bytes.starts_with(begin)).map(|(_, kind, how)| (*kind, *how))
}

/// A path for display, without secrets, which a folder name may contain.
pub fn path(path: &Path) -> String {
    redact::text(&path.display().to_string()).into_owned()
}

/// A number with its noun: `1 point`, `2 points`.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    format!("{number} {noun}{}", if number == N::from(1) { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a [2Jb c");
        assert_eq!(clipped("\tabc", 2), " a");
        assert_eq!(shown("x"), "x");
        assert_eq!(shown(&format!("{}sk-0123456789abcdef", " ".repeat(70))).trim(), redact::MARK);
        assert_eq!(shown(&"é".repeat(81)), format!("{}…", "é".repeat(80)));
    }

    #[test]
    fn a_path_may_hold_a_secret() {
        assert_eq!(path(Path::new("/home/u/sk-0123456789abcdef/r.json")), "/home/u/[redacted]/r.json");
        assert_eq!(path(Path::new("/home/u/results/r.json")), "/home/u/results/r.json");
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!((count(1, "point"), count(0, "point")), ("1 point".to_owned(), "0 points".to_owned()));
    }
}
