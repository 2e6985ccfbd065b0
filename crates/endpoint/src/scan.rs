//! One streamed chunk of an answer, read without allocation.
//!
//! A structural scan: it follows the nesting, so a `text` inside `logprobs` or inside a string is never taken for the
//! answer's, and the whole of the JSON is checked on the way. It accepts what `serde_json` accepts, and of a
//! duplicate key it takes the last, as `serde_json` does.

use std::ops::Range;

/// A string as it is between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text<'a> {
    /// The bytes between the quotes, escapes as they are.
    pub raw: &'a str,
    /// Its bytes once escapes are resolved.
    pub bytes: u32,
}

impl<'a> Text<'a> {
    /// The characters, escapes resolved.
    pub fn decoded(self) -> impl Iterator<Item = char> + 'a {
        Decoded(self.raw.chars())
    }

    /// Whether it is `other` once escapes are resolved.
    pub fn is(self, other: &str) -> bool {
        if self.has_escapes() { self.decoded().eq(other.chars()) } else { self.raw == other }
    }

    /// Each escape is longer than what it stands for.
    fn has_escapes(self) -> bool {
        self.raw.len() != self.bytes as usize
    }

    fn is_empty(self) -> bool {
        self.raw.is_empty()
    }
}

/// The longest name that is looked for is shorter.
const NAME: usize = 32;

/// A key without escapes; one that had some is put into `room`, unless it is too long to be looked for.
fn name<'a>(key: Text<'a>, room: &'a mut [u8; NAME]) -> &'a str {
    if !key.has_escapes() {
        return key.raw;
    }
    let mut length = 0;
    for c in key.decoded() {
        if length + c.len_utf8() > NAME {
            return "";
        }
        length += c.encode_utf8(&mut room[length..]).len();
    }
    std::str::from_utf8(&room[..length]).unwrap_or_default()
}

struct Decoded<'a>(std::str::Chars<'a>);

impl Iterator for Decoded<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = self.0.next()?;
        if c != '\\' {
            return Some(c);
        }
        Some(match self.0.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut unit = || (0..4).try_fold(0, |sum, _| Some(sum * 16 + self.0.next()?.to_digit(16)?));
                let high = unit()?;
                if (0xD800..0xDC00).contains(&high) {
                    self.0.next()?;
                    self.0.next()?;
                    let mut unit =
                        || (0..4).try_fold(0, |sum, _| Some(sum * 16 + self.0.next()?.to_digit(16)?));
                    char::from_u32(0x10000 + ((high - 0xD800) << 10) + unit()?.wrapping_sub(0xDC00))?
                } else {
                    char::from_u32(high)?
                }
            }
            plain => plain,
        })
    }
}

/// Tokens as the server counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// `prompt_tokens`.
    pub prompt: Option<u64>,
    /// `completion_tokens`.
    pub completion: Option<u64>,
    /// `prompt_tokens_details.cached_tokens`.
    pub cached: Option<u64>,
    /// `completion_tokens_details.reasoning_tokens`.
    pub reasoning: Option<u64>,
}

/// What one chunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chunk<'a> {
    /// `choices[0].delta.content`, or `choices[0].text` of completions.
    pub text: Text<'a>,
    /// `choices[0].delta.reasoning_content`, or `reasoning` as some servers call it.
    pub reasoning: Text<'a>,
    /// Bytes of names and arguments in `choices[0].delta.tool_calls`.
    pub tool_bytes: u32,
    /// Length of `choices[0].token_ids`, where the server gives it.
    pub tokens: Option<u32>,
    /// `choices[0].finish_reason`.
    pub finish: Option<Text<'a>>,
    /// `model`.
    pub model: Option<Text<'a>>,
    /// `usage`.
    pub usage: Option<Usage>,
    /// The value of `error`, unless it is null.
    pub error: Option<&'a str>,
    /// Whether the whole is an object that has `choices`, `usage` or `error`.
    pub is_chunk: bool,
}

impl Chunk<'_> {
    /// Bytes of output: a chunk with none (a role alone, an empty string) delivers nothing that can be read.
    pub fn bytes(&self) -> u32 {
        self.text.bytes.saturating_add(self.reasoning.bytes).saturating_add(self.tool_bytes)
    }
}

/// Bytes that are no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no valid {} at byte {at}", if *is_utf8 { "JSON" } else { "UTF-8" })]
pub struct Malformed {
    /// Where it stops being what it should be.
    pub at: usize,
    /// Whether it is UTF-8 and no JSON, or not even that.
    pub is_utf8: bool,
}

type Scan<T> = Result<T, Malformed>;

/// Reads one chunk.
///
/// # Errors
/// Bytes that are no JSON, with the place.
pub fn chunk(bytes: &[u8]) -> Scan<Chunk<'_>> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| Malformed { at: error.valid_up_to(), is_utf8: false })?;
    let mut scan = Scanner { text, bytes, at: 0, depth: 0 };
    let mut chunk = Chunk::default();
    let mut is_known = false;
    scan.space();
    if scan.peek() == Some(b'{') {
        scan.object(|scan, key| {
            match key {
                "choices" => {
                    is_known = true;
                    (chunk.text, chunk.reasoning) = (Text::default(), Text::default());
                    (chunk.tool_bytes, chunk.tokens, chunk.finish) = (0, None, None);
                    scan.first_element(|scan| choice(scan, &mut chunk))?;
                }
                "model" => chunk.model = scan.string_value()?,
                "usage" => {
                    is_known = true;
                    chunk.usage = usage(scan)?;
                }
                "error" => {
                    let value = scan.raw_value()?;
                    chunk.error = (value != "null").then_some(value);
                }
                _ => scan.skip()?,
            }
            Ok(())
        })?;
    } else {
        scan.skip()?;
    }
    chunk.is_chunk = is_known || chunk.error.is_some();
    scan.space();
    if scan.at == bytes.len() { Ok(chunk) } else { Err(Malformed { at: scan.at, is_utf8: true }) }
}

/// Reads the chunks of one stream. Servers write them alike but for the text, so a chunk is first compared with the one
/// before it: where all bytes before and after the text are the same, so is what they mean.
#[derive(Debug, Default)]
pub struct Reader {
    /// The chunk before, empty where it is no pattern.
    before: Vec<u8>,
    text: Range<usize>,
    model: Option<Range<usize>>,
}

impl Reader {
    /// Reads one chunk, as [`chunk`] does.
    ///
    /// # Errors
    /// As [`chunk`].
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Scan<Chunk<'a>> {
        if let Some(chunk) = self.alike(bytes) {
            return Ok(chunk);
        }
        self.before.clear();
        let chunk = chunk(bytes)?;
        let text_alone = Chunk { text: chunk.text, model: chunk.model, is_chunk: true, ..Chunk::default() };
        // A line break would be two lines of data in the stream.
        if chunk == text_alone && !chunk.text.is_empty() && !bytes.contains(&b'\n') {
            let place = |part: Text<'_>| {
                let begin = part.raw.as_ptr().addr() - bytes.as_ptr().addr();
                begin..begin + part.raw.len()
            };
            self.before.extend_from_slice(bytes);
            self.text = place(chunk.text);
            self.model = chunk.model.filter(|model| !model.is_empty() && !model.has_escapes()).map(place);
            if self.model.is_none() && chunk.model.is_some() {
                self.before.clear();
            }
        }
        Ok(chunk)
    }

    fn alike<'a>(&self, bytes: &'a [u8]) -> Option<Chunk<'a>> {
        let (text, rest) = self.text_alike(bytes)?;
        let model = match &self.model {
            Some(place) => {
                let begin = if place.start < self.text.start {
                    place.start
                } else {
                    place.start - self.text.len() + text.raw.len()
                };
                Some(plain(&bytes[begin..begin + place.len()])?)
            }
            None => None,
        };
        rest.is_empty().then_some(Chunk { text, model, is_chunk: true, ..Chunk::default() })
    }

    /// Bytes of text in an event at the front of `bytes` that is one line of data like that of the chunk before, and what
    /// follows it. The line needs no end to be looked for: all of it but the text is known, its model too, and the text has no
    /// line break.
    pub(crate) fn event<'a>(&self, bytes: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let (text, rest) = self.text_alike(bytes.strip_prefix(b"data: ")?)?;
        Some((text.bytes, rest.strip_prefix(b"\n\n")?))
    }

    /// The text of a chunk at the front of `bytes`, and what follows the chunk.
    fn text_alike<'a>(&self, bytes: &'a [u8]) -> Option<(Text<'a>, &'a [u8])> {
        if self.before.is_empty() {
            return None;
        }
        let rest = bytes.strip_prefix(&self.before[..self.text.start])?;
        let length = plain_bytes(rest);
        let behind = rest[length..].strip_prefix(&self.before[self.text.end..])?;
        Some((plain(&rest[..length])?, behind))
    }
}

/// A text without escapes.
fn plain(raw: &[u8]) -> Option<Text<'_>> {
    let raw = std::str::from_utf8(raw).ok()?;
    Some(Text { raw, bytes: u32::try_from(raw.len()).ok()? })
}

fn choice<'a>(scan: &mut Scanner<'a>, chunk: &mut Chunk<'a>) -> Scan<()> {
    let (mut whole, mut delta) = (Text::default(), None);
    scan.object_or_skip(|scan, key| {
        match key {
            "text" => whole = scan.string_value()?.unwrap_or_default(),
            "delta" => delta = self::delta(scan)?,
            "finish_reason" => chunk.finish = scan.string_value()?,
            "token_ids" => {
                let mut count = 0;
                let is_list = scan.elements(|scan| {
                    count += 1;
                    scan.skip()
                })?;
                chunk.tokens = is_list.then_some(count);
            }
            _ => scan.skip()?,
        }
        Ok(())
    })?;
    let delta = delta.unwrap_or(Delta { content: whole, ..Delta::default() });
    chunk.text = delta.content;
    // Servers that give both names give the same text under each.
    chunk.reasoning =
        if delta.reasoning_content.is_empty() { delta.reasoning } else { delta.reasoning_content };
    chunk.tool_bytes = delta.tool_bytes;
    Ok(())
}

#[derive(Default)]
struct Delta<'a> {
    content: Text<'a>,
    reasoning_content: Text<'a>,
    reasoning: Text<'a>,
    tool_bytes: u32,
}

fn delta<'a>(scan: &mut Scanner<'a>) -> Scan<Option<Delta<'a>>> {
    if scan.peek() != Some(b'{') {
        return scan.skip().map(|()| None);
    }
    let mut delta = Delta::default();
    scan.object(|scan, key| {
        match key {
            "content" => delta.content = scan.string_value()?.unwrap_or_default(),
            "reasoning_content" => {
                delta.reasoning_content = scan.string_value()?.unwrap_or_default();
            }
            "reasoning" => delta.reasoning = scan.string_value()?.unwrap_or_default(),
            "tool_calls" => {
                delta.tool_bytes = 0;
                scan.elements(|scan| tool_call(scan, &mut delta.tool_bytes))?;
            }
            _ => scan.skip()?,
        }
        Ok(())
    })?;
    Ok(Some(delta))
}

fn tool_call(scan: &mut Scanner<'_>, bytes: &mut u32) -> Scan<()> {
    let mut of_function = 0;
    scan.object_or_skip(|scan, key| {
        if key != "function" {
            return scan.skip();
        }
        let (mut name, mut arguments) = (0, 0);
        scan.object_or_skip(|scan, key| {
            match key {
                "name" => name = scan.string_value()?.unwrap_or_default().bytes,
                "arguments" => arguments = scan.string_value()?.unwrap_or_default().bytes,
                _ => scan.skip()?,
            }
            Ok(())
        })?;
        of_function = name + arguments;
        Ok(())
    })?;
    *bytes += of_function;
    Ok(())
}

fn usage(scan: &mut Scanner<'_>) -> Scan<Option<Usage>> {
    scan.space();
    if scan.peek() != Some(b'{') {
        scan.skip()?;
        return Ok(None);
    }
    let mut usage = Usage::default();
    scan.object(|scan, key| {
        match key {
            "prompt_tokens" => usage.prompt = scan.count_value()?,
            "completion_tokens" => usage.completion = scan.count_value()?,
            "prompt_tokens_details" => usage.cached = detail(scan, "cached_tokens")?,
            "completion_tokens_details" => usage.reasoning = detail(scan, "reasoning_tokens")?,
            _ => scan.skip()?,
        }
        Ok(())
    })?;
    Ok(Some(usage))
}

fn detail(scan: &mut Scanner<'_>, name: &str) -> Scan<Option<u64>> {
    let mut found = None;
    scan.object_or_skip(|scan, key| {
        if key == name {
            found = scan.count_value()?;
            Ok(())
        } else {
            scan.skip()
        }
    })?;
    Ok(found)
}

/// As many levels as `serde_json` allows.
const DEPTH: u32 = 127;

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn wrong<T>(&self) -> Scan<T> {
        Err(Malformed { at: self.at, is_utf8: true })
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Scan<()> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.wrong()
        }
    }

    fn enter(&mut self) -> Scan<()> {
        self.depth += 1;
        self.at += 1;
        if self.depth > DEPTH { self.wrong() } else { Ok(()) }
    }

    /// The members of the object that begins here; `member` reads each value.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Scan<()>) -> Scan<()> {
        self.enter()?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(b':')?;
            self.space();
            member(self, name(key, &mut [0; NAME]))?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return self.wrong(),
            }
        }
    }

    fn object_or_skip(&mut self, member: impl FnMut(&mut Self, &str) -> Scan<()>) -> Scan<()> {
        if self.peek() == Some(b'{') { self.object(member) } else { self.skip() }
    }

    /// Each element of the list that begins here, or `false` and the value passed over when it is no list.
    fn elements(&mut self, mut element: impl FnMut(&mut Self) -> Scan<()>) -> Scan<bool> {
        if self.peek() != Some(b'[') {
            return self.skip().map(|()| false);
        }
        self.enter()?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(true);
        }
        loop {
            self.space();
            element(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(true);
                }
                _ => return self.wrong(),
            }
        }
    }

    fn first_element(&mut self, mut element: impl FnMut(&mut Self) -> Scan<()>) -> Scan<()> {
        let mut is_first = true;
        let each = |scan: &mut Self| {
            if std::mem::take(&mut is_first) { element(scan) } else { scan.skip() }
        };
        self.elements(each).map(|_| ())
    }

    /// Passes over any value.
    fn skip(&mut self) -> Scan<()> {
        self.space();
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => self.object(|scan, _| scan.skip()),
            Some(b'[') => self.elements(Self::skip).map(|_| ()),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn raw_value(&mut self) -> Scan<&'a str> {
        let begin = self.at;
        self.skip()?;
        Ok(&self.text[begin..self.at])
    }

    fn word(&mut self, word: &[u8]) -> Scan<()> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.wrong()
        }
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - begin
    }

    fn number(&mut self) -> Scan<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leads_with_zero = self.peek() == Some(b'0');
        match self.digits() {
            0 => return self.wrong(),
            digits if digits > 1 && leads_with_zero => return self.wrong(),
            _ => {}
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return self.wrong();
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.wrong();
            }
        }
        Ok(())
    }

    /// A whole number from 0; `None` for any other value.
    fn count_value(&mut self) -> Scan<Option<u64>> {
        let begin = self.at;
        self.skip()?;
        Ok(self.text[begin..self.at].parse().ok())
    }

    /// A string; `None` for any other value.
    fn string_value(&mut self) -> Scan<Option<Text<'a>>> {
        if self.peek() == Some(b'"') { self.string().map(Some) } else { self.skip().map(|()| None) }
    }

    fn string(&mut self) -> Scan<Text<'a>> {
        self.take(b'"')?;
        let begin = self.at;
        // Bytes of escapes beyond those of the characters that they stand for.
        let mut surplus = 0;
        loop {
            self.at += plain_bytes(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => surplus += self.escape()?,
                _ => return self.wrong(),
            }
        }
        let raw = &self.text[begin..self.at];
        self.at += 1;
        Ok(Text { raw, bytes: u32::try_from(raw.len() - surplus).unwrap_or(u32::MAX) })
    }

    /// One escape, a pair of surrogates as one: its bytes less those of the character.
    fn escape(&mut self) -> Scan<usize> {
        let begin = self.at;
        self.at += 1;
        let mut length = 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                match self.unit()? {
                    0xD800..0xDC00 => {
                        length = 4;
                        self.take(b'\\')?;
                        self.take(b'u')?;
                        if !(0xDC00..0xE000).contains(&self.unit()?) {
                            return self.wrong();
                        }
                    }
                    0xDC00..0xE000 => return self.wrong(),
                    unit => length = char::from_u32(unit).map_or(1, char::len_utf8),
                }
            }
            _ => return self.wrong(),
        }
        Ok(self.at - begin - length)
    }

    fn unit(&mut self) -> Scan<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return self.wrong() };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }
}

/// Bytes before the next quote, backslash or control character, eight at a time.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = 0;
    for eight in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let ends = zero_bytes(word ^ (ONES * u64::from(b'"'))) | zero_bytes(word ^ (ONES * u64::from(b'\\')));
        let found = controls | ends;
        if found != 0 {
            // The lowest mark is exact; a borrow can falsify only those above it.
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let plain = |byte: &&u8| !matches!(byte, b'"' | b'\\' | ..0x20);
    at + bytes[at..].iter().take_while(plain).count()
}
