//! Log prefixes before each line of a file: a task number (`0: `, from srun), a time (docker, kubectl, CI), a container name.
//!
//! Detected from the first lines and removed while the file is read. A file with a JSON line without prefix has none.

use std::io::{self, Read};

/// Bytes examined to detect a prefix.
const LOOK: usize = 64 << 10;
/// Longest prefix, in bytes.
const LONGEST: usize = 256;
/// Maximum number of prefixes before one line: a container's name, then a time.
const MOST: usize = 3;

/// A file with the prefixes of its lines removed.
pub(super) struct Unprefixed<R> {
    inner: R,
    /// Bytes read but not processed yet.
    raw: Vec<u8>,
    /// Bytes ready to be returned.
    out: Vec<u8>,
    given: usize,
    /// Whether the next byte of `raw` starts a line.
    at_start: bool,
    ended: bool,
    /// Whether the first lines have been examined.
    told: bool,
    /// The first prefix, if lines have one.
    prefix: Option<String>,
}

impl<R: Read> Unprefixed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            raw: Vec::new(),
            out: Vec::new(),
            given: 0,
            at_start: true,
            ended: false,
            told: false,
            prefix: None,
        }
    }

    pub(super) fn inner(&self) -> &R {
        &self.inner
    }

    /// The prefix of the first line with one.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn fill(&mut self) -> io::Result<()> {
        let before = self.raw.len();
        self.raw.resize(before + LOOK, 0);
        let read = self.inner.read(&mut self.raw[before..]);
        self.raw.truncate(before + read.as_ref().copied().unwrap_or(0));
        self.ended |= matches!(read, Ok(0));
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Moves whole lines, or the middle of a long one, from `raw` to `out`.
    fn strip(&mut self) {
        let mut at = 0;
        while at < self.raw.len() {
            let rest = &self.raw[at..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            if self.at_start {
                if end.is_none() && rest.len() < LONGEST && !self.ended {
                    break;
                }
                let line = &rest[..end.unwrap_or(rest.len())];
                at += length(line);
                self.at_start = false;
                continue;
            }
            let take = end.map_or(rest.len(), |end| end + 1);
            self.out.extend_from_slice(&rest[..take]);
            self.at_start = end.is_some();
            at += take;
        }
        self.raw.drain(..at);
    }
}

impl<R: Read> Read for Unprefixed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.told {
            while self.raw.len() < LOOK && !self.ended {
                self.fill()?;
            }
            self.told = true;
            self.prefix = detect(&self.raw);
        }
        while self.given == self.out.len() {
            self.out.clear();
            self.given = 0;
            if self.raw.is_empty() && self.ended {
                return Ok(0);
            }
            if self.prefix().is_none() {
                if self.raw.is_empty() {
                    return self.inner.read(into);
                }
                std::mem::swap(&mut self.out, &mut self.raw);
                continue;
            }
            self.strip();
            if self.out.is_empty() && !self.ended {
                self.fill()?;
            }
        }
        let count = into.len().min(self.out.len() - self.given);
        into[..count].copy_from_slice(&self.out[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// The prefix of most of these lines, provided that no JSON line lacks one.
fn detect(head: &[u8]) -> Option<String> {
    let (mut lines, mut with, mut json) = (0, 0, false);
    let mut first = None;
    for line in head.split(|byte| *byte == b'\n') {
        let bare = line.trim_ascii();
        if bare.is_empty() {
            continue;
        }
        lines += 1;
        let length = length(line);
        if length == 0 {
            if matches!(bare[0], b'{' | b'[' | b'"' | b'}' | b']') {
                return None;
            }
            continue;
        }
        with += 1;
        let rest = line[length..].trim_ascii();
        json |= matches!(rest.first(), Some(b'{' | b'['))
            || rest.starts_with(b"INSERT INTO")
            || rest.windows(9).any(|part| part == b"n_prompt,");
        first.get_or_insert_with(|| String::from_utf8_lossy(&line[..length]).trim().to_owned());
    }
    first.filter(|_| json && with * 2 >= lines)
}

/// Length of a line's prefix, in bytes.
fn length(line: &[u8]) -> usize {
    let mut at = 0;
    for _ in 0..MOST {
        let rest = &line[at..line.len().min(at + LONGEST)];
        let found = task(rest).or_else(|| time(rest)).or_else(|| bracketed(rest)).or_else(|| container(rest));
        let Some(found) = found else { break };
        at += found;
    }
    at
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn spaces(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == b' ').count()
}

/// `0: `, ` 12: `.
fn task(line: &[u8]) -> Option<usize> {
    let before = spaces(line);
    let number = digits(&line[before..]);
    let rest = &line[before + number..];
    ((1..=6).contains(&number) && (rest.starts_with(b": ") || rest.trim_ascii_end() == b":"))
        .then(|| before + number + 1 + usize::from(rest.len() > 1))
}

/// `2026-01-01T00:00:00.123Z `, with `stdout F ` after it in a container's log.
fn time(line: &[u8]) -> Option<usize> {
    let length = date_time(line)?;
    let rest = &line[length..];
    if !rest.is_empty() && !rest.starts_with(b" ") {
        return None;
    }
    let mut all = length + usize::from(!rest.is_empty());
    for stream in [&b"stdout"[..], b"stderr"] {
        let rest = &line[all..];
        if rest.starts_with(stream) && matches!(rest.get(stream.len()..stream.len() + 2), Some(b" F" | b" P"))
        {
            all += stream.len() + 2;
            all += usize::from(line.get(all) == Some(&b' '));
            break;
        }
    }
    Some(all)
}

/// A date and a time of day.
fn date_time(line: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let same = |(form, found): (&u8, &u8)| match form {
        b'0' => found.is_ascii_digit(),
        b'T' => matches!(found, b'T' | b' '),
        c => c == found,
    };
    let head = line.get(..FORM.len())?;
    if !FORM.iter().zip(head).all(same) {
        return None;
    }
    let mut at = FORM.len();
    if matches!(line.get(at), Some(b'.' | b',')) {
        at += 1 + digits(&line[at + 1..]);
    }
    match line.get(at) {
        Some(b'Z') => at += 1,
        Some(b'+' | b'-') => {
            at +=
                1 + line[at + 1..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b':').count();
        }
        _ => {}
    }
    Some(at)
}

/// `[2026-01-01 00:00:00] `, `[pod/name/container] `.
fn bracketed(line: &[u8]) -> Option<usize> {
    let inside = line.strip_prefix(b"[")?;
    let end = inside.iter().position(|byte| *byte == b']')?;
    let name = &inside[..end];
    let known = name.starts_with(b"pod/") || date_time(name).is_some_and(|length| length == name.len());
    let after = end + 2;
    known.then(|| after + usize::from(line.get(after) == Some(&b' ')))
}

/// `bench-1  | `, from docker compose.
fn container(line: &[u8]) -> Option<usize> {
    let name = line.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)).count();
    let gap = spaces(&line[name..]);
    let rest = &line[name + gap..];
    (name > 0 && gap > 0 && rest.starts_with(b"|") && matches!(rest.get(1), None | Some(b' ')))
        .then(|| name + gap + 1 + usize::from(rest.len() > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<String>) {
        let mut file = Unprefixed::new(text.as_bytes());
        let mut found = Vec::new();
        // A few bytes at a time, as a parser may ask.
        let mut bytes = [0; 7];
        loop {
            match file.read(&mut bytes).expect("memory") {
                0 => break,
                count => found.extend_from_slice(&bytes[..count]),
            }
        }
        (String::from_utf8(found).expect("text"), file.prefix().map(str::to_owned))
    }

    #[test]
    fn what_a_log_puts_before_each_line_is_taken_off() {
        let text = "[\n  {\"n_prompt\": 1,\n\n   \"n_gen\": 0}\n]\n";
        for (prefix, shown) in [
            ("0: ", "0:"),
            (" 3: ", "3:"),
            ("2026-01-01T00:00:00.123456789Z ", "2026-01-01T00:00:00.123456789Z"),
            ("2026-01-01T00:00:00+02:00 ", "2026-01-01T00:00:00+02:00"),
            ("2026-01-01T00:00:00Z stdout F ", "2026-01-01T00:00:00Z stdout F"),
            ("[2026-01-01 00:00:00] ", "[2026-01-01 00:00:00]"),
            ("[pod/bench-x7/main] ", "[pod/bench-x7/main]"),
            ("bench-1  | ", "bench-1  |"),
            ("bench-1  | 2026-01-01T00:00:00Z ", "bench-1  | 2026-01-01T00:00:00Z"),
        ] {
            let logged = text.lines().fold(String::new(), |all, line| all + prefix + line + "\n");
            assert_eq!(read(&logged), (text.to_owned(), Some(shown.to_owned())), "{prefix}");
            // A line of the program that collected them is left as it is.
            let with_head = format!("srun: job 17 queued\n{logged}");
            assert_eq!(read(&with_head).0, format!("srun: job 17 queued\n{text}"), "{prefix}");
            let long = format!("{prefix}{{\"a\": [{}1]}}", "0.5,".repeat(50_000));
            assert_eq!(read(&long).0.len(), long.len() - prefix.len(), "{prefix}");
        }
    }

    #[test]
    fn what_has_none_stays_as_it_is() {
        for text in [
            "",
            "{\"a\": 1}\n",
            "2026-01-01T00:00:00Z starting\n{\"a\": 1}\n",
            "0: not JSON\n1: neither\n",
            "12: {\"a\": 1}\n{\"a\": 2}\n",
            "build,n_prompt,n_gen\n1,2,3\n",
            "| model | size |\n",
        ] {
            assert_eq!(read(text), (text.to_owned(), None), "{text}");
        }
    }
}
