//! Secrets assigned to a name within a text: `api_key='…'`, `Authorization: Bearer …`, embedded JSON and XML, a YAML block,
//! and a pair in which one member names the other.

use std::ops::Range;

use super::names::{
    ambiguous, looks_random, names_setting, number_is_secret, says_nothing, secret_name, value_of_setting,
};
use super::{MARK, SCHEMES};

/// Characters that end an unquoted value.
const ENDS: &str = ",;&)]}\"'`<>|\\";
/// XML attributes and runs of white space are assumed to be no longer than this.
const NEAR: usize = 200;

/// The secret values in a text.
pub(super) fn values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut before: Option<Range<usize>> = None;
    let mut line = Line::default();
    let mut tag = 0;
    while let Some(word) = next_word(text, at) {
        line.advance(text, word.start);
        at = word.end;
        if word.len() < 2 {
            before = Some(word);
            continue;
        }
        let bare = text[word.clone()].trim_start_matches('-');
        let dashes = word.len() - bare.len();
        // Java's `-Dapi.key=…`.
        let mut name = bare.strip_prefix('D').filter(|_| dashes == 1).unwrap_or(bare).to_owned();
        // `API key: …`
        if let Some(before) = before.replace(word.clone())
            && text[before.end..word.start] == *" "
            && matches!(name.to_ascii_lowercase().as_str(), "key" | "token")
        {
            name = format!("{}_{name}", &text[before]);
        }
        let secret = secret_name(&name);
        if (!secret && !ambiguous(&name)) || is_file_of_a_message(text, &word) {
            continue;
        }
        let element = secret.then(|| element(text, &word, &mut tag)).flatten();
        let value = match element {
            Some(value) => value,
            None => match assigned(text, &word) {
                Some(start) => value(text, start, &name, secret, &line),
                None => match pair(text, &word, before_name(text, &word)).filter(|_| secret) {
                    Some(start) => value(text, start, &name, secret, &line),
                    None => match spoken(text, word.end).filter(|_| secret) {
                        Some(value) => value,
                        None => continue,
                    },
                },
            },
        };
        let value = if dashes > 0 && secret && !value.is_empty() { with_more(text, value) } else { value };
        let said = text[value.clone()].trim();
        if says_nothing(said) {
            continue;
        }
        let tells = match said.parse::<f64>() {
            Ok(_) => number_is_secret(&name),
            Err(_) => secret || looks_random(&name, said),
        };
        if tells {
            at = value.end.max(at);
            found.push(value);
        }
    }
    found
}

/// Where the current word's line begins, and how far it is indented.
#[derive(Debug, Default)]
struct Line {
    seen: usize,
    start: usize,
    indent: usize,
    /// Whether the word is the first of its line.
    first: bool,
}

impl Line {
    fn advance(&mut self, text: &str, to: usize) {
        if self.seen == 0 {
            self.indent = indent(text);
        }
        if let Some(line) = text[self.seen..to].rfind('\n') {
            self.start = self.seen + line + 1;
            self.indent = indent(&text[self.start..]);
        }
        self.seen = to;
        self.first =
            self.start + self.indent + usize::from(text[self.start + self.indent..].starts_with("- ")) * 2
                >= to;
    }
}

/// Number of leading blanks.
fn indent(text: &str) -> usize {
    text.bytes().take_while(|byte| *byte == b' ' || *byte == b'\t').count()
}

/// The next run of characters that can be part of a name.
fn next_word(text: &str, from: usize) -> Option<Range<usize>> {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let start = from + text.get(from..)?.find(part)?;
    let length = text[start..].find(|c| !part(c)).unwrap_or(text.len() - start);
    Some(start..start + length)
}

fn skip(text: &str, mut at: usize, set: &[u8]) -> usize {
    while text.as_bytes().get(at).is_some_and(|byte| set.contains(byte)) {
        at += 1;
    }
    at
}

/// Where the value assigned to the name `word` begins.
fn assigned(text: &str, word: &Range<usize>) -> Option<usize> {
    let at = word.end;
    // The quote that ends the name, with any number of escapes, and the bracket of `headers["x-api-key"]`.
    let named = skip(text, at, b"\\\"'`]}");
    let blank = skip(text, named, b" \t");
    match text.as_bytes().get(blank) {
        Some(b':' | b'=') => Some(skip(text, skip(text, blank, b":=>"), b" \t")),
        Some(b'-') if text[blank..].starts_with("->") => Some(skip(text, blank + 2, b" \t")),
        // `("X-Api-Key", "…")`, unless the next word is the name of the value's member.
        Some(b',') if named > at && !is_value(text, word.start) => {
            let start = skip(text, blank, b", \t\r\n");
            let quoted = text[start..].starts_with(['"', '\'', '`', '\\']) || text[start..].starts_with("b'");
            (quoted && pair_value(text, start).is_none()).then_some(start)
        }
        _ => None,
    }
}

/// Whether a message is about a file of that name: `/etc/passwd: permission denied`, `./token:3: not a number`.
fn is_file_of_a_message(text: &str, word: &Range<usize>) -> bool {
    let before = &text[..word.start];
    let mut near = before.char_indices().rev().take(NEAR);
    let start = near.find(|(_, c)| c.is_whitespace() || "\"'`(=".contains(*c));
    let folder = &before[start.map_or(0, |(at, c)| at + c.len_utf8())..];
    let is_path = ["/", "./", "../", "~/"].iter().any(|root| folder.starts_with(root));
    if !is_path || folder.starts_with("//") || !folder.ends_with('/') {
        return false;
    }
    let rest = text[word.end..].trim_start_matches(['"', '\'', '`']);
    let Some(rest) = rest.strip_prefix(':') else { return false };
    let digits = rest.bytes().take(NEAR).take_while(u8::is_ascii_digit).count();
    if digits > 0 && rest[digits..].starts_with(':') {
        return true;
    }
    // A message has several words; a single one may be what the file holds.
    let Some(said) = rest.strip_prefix(' ') else { return false };
    let word = |text: &str| text.bytes().take(NEAR).take_while(u8::is_ascii_alphabetic).count();
    let first = word(said);
    first > 0
        && said[first..]
            .strip_prefix(' ')
            .is_some_and(|more| word(more) > 0 || more.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether the quoted text that begins here is itself a value.
fn is_value(text: &str, at: usize) -> bool {
    let before = text.as_bytes()[..at].iter().rev().take(NEAR);
    let mut before = before.skip_while(|byte| b"\\\"'` \t".contains(byte));
    matches!(before.next(), Some(b':' | b'='))
}

/// The text before a name, quoted or not: `name: ` and `key=` mean that the name is itself a value.
fn before_name<'a>(text: &'a str, word: &Range<usize>) -> &'a str {
    let from = word.start.saturating_sub(40);
    let from = (from..=word.start).find(|at| text.is_char_boundary(*at)).unwrap_or(word.start);
    let before = text[from..word.start].trim_end_matches(['\\', '"', '\'', '`']).trim_end();
    let before = before.trim_end_matches([':', '=']).trim_end().trim_end_matches(['\\', '"', '\'', '`']);
    let part = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    &before[before
        .rfind(|c| !part(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8))..]
}

/// The word after `Invalid API key …`, if it looks like a key.
fn spoken(text: &str, at: usize) -> Option<Range<usize>> {
    let start = at + 1;
    let rest = text.get(at..)?.strip_prefix(' ')?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+=.~".contains(byte);
    let length = rest.bytes().take(NEAR).take_while(plain).count();
    let said = rest[..length].trim_end_matches('.');
    let letters = said.bytes().filter(u8::is_ascii_alphabetic).count();
    (letters >= 3 && looks_random("token", said)).then(|| start..start + said.len())
}

/// A flag's value including further comma-separated ones: `--api-key=A,B`.
fn with_more(text: &str, value: Range<usize>) -> Range<usize> {
    let ends = |c: char| c.is_whitespace() || "\"'`<>|;&)]}".contains(c);
    let rest = &text[value.end..];
    let more = if rest.starts_with(',') { rest.find(ends).unwrap_or(rest.len()) } else { 0 };
    let end = value.end + rest[..more].trim_end_matches(',').len();
    value.start..end
}

/// Where the value begins in a pair whose first member is this name: `{"name": "HF_TOKEN", "value": …}`.
fn pair(text: &str, word: &Range<usize>, before: &str) -> Option<usize> {
    if !names_setting(before) {
        return None;
    }
    pair_value(text, word.end)
}

fn pair_value(text: &str, at: usize) -> Option<usize> {
    let start = skip(text, at, b"\\\"'`,; \t\r\n/");
    if start - at > NEAR {
        return None;
    }
    let word = next_word(text, start).filter(|word| word.start == start && word.len() < 20)?;
    let named = skip(text, skip(text, word.end, b"\\\"'`"), b" \t");
    let set = matches!(text.as_bytes().get(named), Some(b':' | b'='));
    (set && value_of_setting(&text[word])).then(|| skip(text, skip(text, named, b":=>"), b" \t\r\n"))
}

/// The text of `<apiKey>…</apiKey>`, `<entry key="apiKey">…</entry>` and `<key>apiKey</key><string>…</string>`.
///
/// `tag` caches the position of the next tag, so that no part of the text is searched twice.
fn element(text: &str, word: &Range<usize>, tag: &mut usize) -> Option<Range<usize>> {
    let rest = &text[word.end..];
    let before = &text[..word.start];
    let start = if rest.starts_with('>') && !before.ends_with('/') {
        1
    } else if before.ends_with('<') && rest.starts_with([' ', '\t', '\n', '\r']) {
        let near = &rest.as_bytes()[..rest.len().min(NEAR)];
        let end = near.iter().position(|byte| b"<>".contains(byte)).filter(|end| near[*end] == b'>')?;
        if near[end - 1] == b'/' {
            return None;
        }
        end + 1
    } else if rest.starts_with(['"', '\'']) && rest[1..].starts_with('>') {
        2
    } else {
        let close = rest.strip_prefix("</")?;
        let near = &close.as_bytes()[..close.len().min(NEAR)];
        let end = near.iter().position(|byte| *byte == b'>')? + 1;
        let blank = near[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if near.get(end + blank) != Some(&b'<') || near.get(end + blank + 1) == Some(&b'/') {
            return None;
        }
        let open = near[end + blank..].iter().position(|byte| *byte == b'>')? + 1;
        2 + end + blank + open
    };
    let inside = rest.get(start..)?;
    let start = word.end + start;
    if let Some(data) = inside.strip_prefix("<![CDATA[") {
        let start = text.len() - data.len();
        return Some(start..start + data.find("]]>").unwrap_or(data.len()));
    }
    if *tag < start {
        *tag = start + inside.find('<').unwrap_or(inside.len());
    }
    (*tag > start && text[*tag..].starts_with("</")).then_some(start..*tag)
}

/// The extent of the value that begins at `start`.
fn value(text: &str, start: usize, name: &str, secret: bool, line: &Line) -> Range<usize> {
    let rest = &text[start..];
    if rest.starts_with(MARK) {
        return start..start + MARK.len();
    }
    if rest.starts_with(['\n', '\r', '|', '>']) {
        if let Some(block) = secret.then(|| block(text, start, line)).flatten() {
            return block;
        }
        let next = skip(text, start, b" \t\r\n");
        // The next line is a different setting.
        let other = next_word(text, next)
            .is_some_and(|word| word.start == next && text[word.end..].starts_with([':', '=', ' ']));
        return if other || next == start {
            start..start
        } else {
            value_here(text, next, name, secret, line)
        };
    }
    value_here(text, start, name, secret, line)
}

fn value_here(text: &str, start: usize, name: &str, secret: bool, line: &Line) -> Range<usize> {
    let rest = &text[start..];
    if rest.starts_with(MARK) {
        return start..start + MARK.len();
    }
    // Python's `b'…'`, `r"…"` and `f"…"`.
    let prefix = usize::from(rest.starts_with(['b', 'r', 'f', 'u']) && rest[1..].starts_with(['"', '\'']));
    let slashes = rest[prefix..].bytes().take_while(|byte| *byte == b'\\').count();
    let quote = rest[prefix + slashes..].chars().next().filter(|c| "\"'`".contains(*c));
    if !secret {
        // Only characters of a secret are consumed, so no part of the text is scanned twice.
        let from = start + prefix + slashes + usize::from(quote.is_some());
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+/.~".contains(byte);
        let length = text.as_bytes()[from..].iter().take_while(|byte| plain(byte)).count();
        let equal = text.as_bytes()[from + length..].iter().take(2).take_while(|byte| **byte == b'=').count();
        return from..from + length + equal;
    }
    if let Some(quote) = quote {
        let inner = start + prefix + slashes + 1;
        let triple: String = std::iter::repeat_n(quote, 2).collect();
        if slashes == 0 && text[inner..].starts_with(&triple) {
            let inner = inner + 2;
            let end = text[inner..].find(&format!("{triple}{quote}"));
            return inner..inner + end.unwrap_or(text.len() - inner);
        }
        return inner..inner + quoted(&text[inner..], quote, slashes);
    }
    if let Some(open) = rest.chars().next().filter(|c| "[{(".contains(*c)) {
        return start..start + bracketed(rest, open);
    }
    let lower = name.to_ascii_lowercase();
    if lower.contains("cookie") {
        let ends = |c: char| "\r\n\"'`\\".contains(c);
        return start..start + rest.find(ends).unwrap_or(rest.len());
    }
    let ends = |c: char| c.is_whitespace() || ENDS.contains(c);
    let word = |text: &str| text.find(ends).unwrap_or(text.len());
    let first = word(rest);
    if SCHEMES.contains(&rest[..first].to_ascii_lowercase().as_str()) {
        let blank = rest[first..].len() - rest[first..].trim_start_matches([' ', '\t']).len();
        let second = &rest[first + blank..];
        if blank > 0 && second.starts_with(MARK) {
            return start..start + first + blank + MARK.len();
        }
        // The digest and AWS schemes are followed by a list.
        if blank > 0 && matches!(rest[..first].to_ascii_lowercase().as_str(), "digest" | "aws4-hmac-sha256") {
            let ends = |c: char| "\r\n'`\\".contains(c);
            return start..start + rest.find(ends).unwrap_or(rest.len());
        }
        if blank > 0 && word(second) > 0 {
            return start..start + first + blank + word(second);
        }
    }
    // `password: correct horse`, alone on its line.
    let words = ["pass", "secret", "mnemonic"].iter().any(|part| lower.contains(part));
    if line.first && words && text[..start].trim_end_matches([' ', '\t']).ends_with(':') {
        let whole = rest.bytes().take(NEAR).position(|byte| b"\r\n".contains(&byte)).unwrap_or(rest.len());
        let others = |c: char| ENDS.contains(c) || "=:".contains(c);
        if whole <= NEAR && rest.is_char_boundary(whole) && !rest[..whole].contains(others) {
            return start..start + rest[..whole].trim_end().len();
        }
    }
    start..start + first
}

/// The lines of a YAML block: after `|` or `>`, or those of a list or map, indented further than their name.
fn block(text: &str, start: usize, line: &Line) -> Option<Range<usize>> {
    let rest = &text[start..];
    let head = rest.bytes().take(8).take_while(|byte| b"|>+-123456789 \t\r".contains(byte)).count();
    if !rest[head..].starts_with('\n') {
        return None;
    }
    let list = rest[..head].trim().is_empty();
    let from = start + head + 1;
    let mut at = from;
    let mut end = from;
    for line_text in text[from..].split_inclusive('\n') {
        let inside = indent(line_text);
        let blank = line_text.trim().is_empty();
        let item = list && inside >= line.indent && line_text[inside..].starts_with("- ");
        if !blank && inside <= line.indent && !item {
            break;
        }
        at += line_text.len();
        if !blank {
            end = at;
        }
    }
    let content = from + (text[from..end].len() - text[from..end].trim_start().len());
    let block = content..content + text[content..end].trim_end().len();
    (!block.is_empty()).then_some(block)
}

/// Bytes up to the closing quote, which has as many backslashes as the opening one.
fn quoted(text: &str, quote: char, slashes: usize) -> usize {
    for (at, _) in text.match_indices(quote) {
        let before = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        // If the opening quote is not escaped, an escaped backslash before a quote does not keep it open.
        if before == slashes || (slashes == 0 && before.is_multiple_of(2)) {
            return at - slashes.min(before);
        }
    }
    text.len()
}

/// Bytes up to and including the closing bracket.
fn bracketed(text: &str, open: char) -> usize {
    let close = match open {
        '[' => ']',
        '{' => '}',
        _ => ')',
    };
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return at + c.len_utf8();
            }
        }
    }
    text.len()
}
