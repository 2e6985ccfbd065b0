//! Decodes a text's escapes (`%3A` of URLs, `\n` and `\u0026` of JSON, `&quot;` of HTML), and maps what is found in the
//! decoded text back to the original.

use std::ops::Range;

/// How many levels of nested escapes are decoded.
const DEEP: usize = 3;

/// A text with its escapes decoded, and where they were.
pub(super) struct Decoded {
    pub(super) text: String,
    /// For each level, the position of each decoded character, and of the end of its escape before decoding.
    levels: Vec<Vec<(usize, usize)>>,
}

impl Decoded {
    /// `None` if there is no escape in the text.
    pub(super) fn of(text: &str) -> Option<Self> {
        let (mut text, escapes) = once(text)?;
        let mut levels = vec![escapes];
        while levels.len() < DEEP
            && let Some((deeper, escapes)) = once(&text)
        {
            text = deeper;
            levels.push(escapes);
        }
        Some(Self { text, levels })
    }

    /// The corresponding range of the original text.
    pub(super) fn original(&self, part: &Range<usize>) -> Range<usize> {
        let place = |at: usize| {
            self.levels.iter().rev().fold(at, |at, escapes| {
                match escapes[..escapes.partition_point(|(decoded_at, _)| *decoded_at < at)].last() {
                    Some((decoded_at, end)) => end + (at - decoded_at - 1),
                    None => at,
                }
            })
        };
        place(part.start)..place(part.end)
    }
}

fn once(text: &str) -> Option<(String, Vec<(usize, usize)>)> {
    let mut out = String::new();
    let mut escapes = Vec::new();
    let mut copied = 0;
    for (start, _) in text.match_indices(['%', '\\', '&']) {
        if start >= copied
            && let Some((byte, length)) = escape(text.as_bytes(), start)
        {
            out.push_str(&text[copied..start]);
            copied = start + length;
            escapes.push((out.len(), copied));
            out.push(char::from(byte));
        }
    }
    if escapes.is_empty() {
        return None;
    }
    out.push_str(&text[copied..]);
    Some((out, escapes))
}

/// The ASCII character that the escape at a position stands for, and the escape's length.
fn escape(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = &bytes[at..];
    let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let (byte, length) = match rest {
        [b'%', a, b, ..] => (hex(&[*a, *b])?, 3),
        [b'\\', b'u', b'0', b'0', a, b, ..] => (hex(&[*a, *b])?, 6),
        [b'\\', b'n', ..] => (b'\n', 2),
        [b'\\', b't', ..] => (b'\t', 2),
        [b'\\', b'r', ..] => (b'\r', 2),
        [b'\\', c @ (b'"' | b'\'' | b'/' | b'\\'), ..] => (*c, 2),
        [b'&', ..] => {
            let end = rest.iter().take(8).position(|byte| *byte == b';')?;
            let byte = match &rest[1..end] {
                b"amp" => b'&',
                b"lt" => b'<',
                b"gt" => b'>',
                b"quot" => b'"',
                b"apos" => b'\'',
                [b'#', b'x' | b'X', digits @ ..] => hex(digits)?,
                [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
                _ => return None,
            };
            (byte, end + 1)
        }
        _ => return None,
    };
    (byte.is_ascii_graphic() || byte.is_ascii_whitespace()).then_some((byte, length))
}
