//! Secrets that a text sets under their name: `api_key='…'`, `--api-key …`, `Authorization: Bearer …`, and JSON within a
//! text, its quotes escaped or not.

use std::ops::Range;

use super::MARK;
use super::names::{doubtful, is_flag, number_is_secret, secret_name, telling};

/// What a value is that tells nothing.
const EMPTY: [&str; 8] = ["null", "none", "true", "false", "nil", "undefined", "unset", "''"];
/// Schemes of a header, after which the secret comes.
const SCHEMES: [&str; 8] =
    ["bearer", "basic", "token", "digest", "apikey", "negotiate", "key", "aws4-hmac-sha256"];

/// The secret values in a text.
pub(super) fn values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut before: Option<Range<usize>> = None;
    while let Some(word) = next_word(text, at) {
        at = word.end;
        let mut name = text[word.clone()].trim_start_matches('-').to_owned();
        let dashes = word.len() - name.len();
        // `API key: …`
        if let Some(before) = before.replace(word.clone())
            && text[before.end..word.start] == *" "
            && matches!(name.to_ascii_lowercase().as_str(), "key" | "token")
        {
            name = format!("{}_{name}", &text[before]);
        }
        // `\n` of an escaped text is no part of the name behind it.
        let escaped =
            word.start > 0 && text.as_bytes()[word.start - 1] == b'\\' && name.starts_with(['n', 't', 'r']);
        if escaped && !secret_name(&name) && !doubtful(&name) {
            name.remove(0);
        }
        let secret = secret_name(&name);
        if !secret && !doubtful(&name) {
            continue;
        }
        let Some(start) = assigned(text, word.end, dashes > 0) else { continue };
        let value = value(text, start, &name);
        let said = &text[value.clone()];
        let bare = said.trim();
        if bare.is_empty() || EMPTY.contains(&bare.to_ascii_lowercase().as_str()) {
            continue;
        }
        let tells = match bare.parse::<f64>() {
            Ok(_) => number_is_secret(&name),
            Err(_) => secret || telling(&name, bare),
        };
        if tells {
            at = value.end.max(at);
            found.push(value);
        }
    }
    found
}

/// The next run of signs that a name may have.
fn next_word(text: &str, from: usize) -> Option<Range<usize>> {
    let part = |sign: char| sign.is_ascii_alphanumeric() || "_-.".contains(sign);
    let start = from + text.get(from..)?.find(part)?;
    let length = text[start..].find(|sign| !part(sign)).unwrap_or(text.len() - start);
    Some(start..start + length)
}

/// Where the value begins that the name before `at` is given.
fn assigned(text: &str, at: usize, flag: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let skip = |mut at: usize, signs: &[u8]| {
        while bytes.get(at).is_some_and(|byte| signs.contains(byte)) {
            at += 1;
        }
        at
    };
    // The quote that ends the name, escaped as often as it may be, and the bracket of `headers["x-api-key"]`.
    let named = skip(at, b"\\\"'`]");
    let blank = skip(named, b" \t");
    match bytes.get(blank) {
        Some(b':' | b'=') => {
            let sign = skip(blank, b":=>");
            let escaped = skip(sign, b" \t\r\n");
            Some(escaped)
        }
        Some(_) if flag && blank > at => {
            let next = text[blank..].split_whitespace().next().unwrap_or_default();
            (!is_flag(next)).then_some(blank)
        }
        // `("X-Api-Key", "…")`
        Some(b',') if named > at => Some(skip(blank, b", \t")),
        _ => None,
    }
}

/// The extent of the value that begins at `start`.
fn value(text: &str, start: usize, name: &str) -> Range<usize> {
    let rest = &text[start..];
    if rest.starts_with(MARK) {
        return start..start + MARK.len();
    }
    // `b'…'`, `r"…"` and `f"…"` of Python.
    let prefix = usize::from(rest.starts_with(['b', 'r', 'f', 'u']) && rest[1..].starts_with(['"', '\'']));
    let slashes = rest[prefix..].bytes().take_while(|byte| *byte == b'\\').count();
    let quote = rest[prefix + slashes..].chars().next().filter(|sign| "\"'`".contains(*sign));
    if let Some(quote) = quote {
        let inner = start + prefix + slashes + 1;
        return inner..inner + quoted(&text[inner..], quote, slashes);
    }
    if let Some(open) = rest.chars().next().filter(|sign| "[{(".contains(*sign)) {
        return start..start + bracketed(rest, open);
    }
    let lower = name.to_ascii_lowercase();
    if lower.contains("cookie") {
        let ends = |sign: char| "\r\n\"'`\\".contains(sign);
        return start..start + rest.find(ends).unwrap_or(rest.len());
    }
    let ends = |sign: char| sign.is_whitespace() || ",;&)]}\"'`<>|\\".contains(sign);
    let word = |text: &str| text.find(ends).unwrap_or(text.len());
    let first = word(rest);
    if SCHEMES.contains(&rest[..first].to_ascii_lowercase().as_str()) {
        let blank = rest[first..].len() - rest[first..].trim_start_matches([' ', '\t']).len();
        let second = &rest[first + blank..];
        if blank > 0 && second.starts_with(MARK) {
            return start..start + first + blank + MARK.len();
        }
        // Digest and AWS's scheme have a list behind them.
        if blank > 0 && matches!(rest[..first].to_ascii_lowercase().as_str(), "digest" | "aws4-hmac-sha256") {
            let ends = |sign: char| "\r\n'`\\".contains(sign);
            return start..start + rest.find(ends).unwrap_or(rest.len());
        }
        if blank > 0 && word(second) > 0 {
            return start..start + first + blank + word(second);
        }
    }
    start..start + first
}

/// Bytes up to the quote that closes: one with as many backslashes before it as the one that opened.
fn quoted(text: &str, quote: char, slashes: usize) -> usize {
    for (at, _) in text.match_indices(quote) {
        let before = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        // Without a backslash of its own, one that is escaped itself closes too.
        if before == slashes || (slashes == 0 && before.is_multiple_of(2)) {
            return at - slashes.min(before);
        }
    }
    text.len()
}

/// Bytes up to and with the bracket that closes.
fn bracketed(text: &str, open: char) -> usize {
    let close = match open {
        '[' => ']',
        '{' => '}',
        _ => ')',
    };
    let mut depth = 0_usize;
    for (at, sign) in text.char_indices() {
        if sign == open {
            depth += 1;
        } else if sign == close {
            depth -= 1;
            if depth == 0 {
                return at + sign.len_utf8();
            }
        }
    }
    text.len()
}
