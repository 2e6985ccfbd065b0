//! Server-sent events out of bytes that arrive in any pieces.
//!
//! The grammar is that of the HTML standard: lines end with `\n`, `\r\n` or `\r`; `data:` lines of one event are joined
//! by `\n`; a line that begins with `:` is a comment; an empty line ends the event. An event that lies whole in the bytes
//! given is handed on in place; only one that is cut, or that has several data lines, is copied.

use std::ops::ControlFlow;

/// One event with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The data lines, joined by `\n`.
    pub data: &'a [u8],
    /// Whether the server named it `event: error`.
    pub named_error: bool,
}

/// An event larger than [`Splitter::LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {} MiB", Splitter::LIMIT >> 20)]
pub struct TooLarge;

/// Splits a stream of bytes into events.
#[expect(clippy::struct_excessive_bools, reason = "each a fact of its own of where the stream stands")]
#[derive(Debug, Default)]
pub struct Splitter {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Data lines of the present event that could not be handed on in place.
    data: Vec<u8>,
    has_data: bool,
    named_error: bool,
    /// The last byte was `\r`: a `\n` that follows belongs to it.
    after_return: bool,
    /// Some bytes were seen, so a byte-order mark can no longer come.
    begun: bool,
    comments: u64,
}

const MARK: &[u8] = b"\xef\xbb\xbf";

impl Splitter {
    /// The most bytes that an event may have.
    pub const LIMIT: usize = 16 << 20;

    /// Forgets everything but its memory, for the next stream.
    pub fn reset(&mut self) {
        self.line.clear();
        self.data.clear();
        self.has_data = false;
        self.named_error = false;
        self.after_return = false;
        self.begun = false;
        self.comments = 0;
    }

    /// Comment lines so far; servers send them to keep a connection open.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// Whether the next byte begins an event, with nothing before it that counts.
    pub(crate) fn is_between_events(&self) -> bool {
        self.begun && !self.is_inside_event() && !self.named_error && !self.after_return
    }

    /// Whether an event has begun and not ended.
    pub fn is_inside_event(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    /// Takes the next bytes and hands on each event that they complete, until `take` breaks.
    ///
    /// # Errors
    /// An event larger than [`Self::LIMIT`].
    pub fn feed<B>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Event<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, TooLarge> {
        while !bytes.is_empty() {
            if self.after_return {
                self.after_return = false;
                if bytes[0] == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.line.extend_from_slice(bytes);
                return self.check_size().map(|()| ControlFlow::Continue(()));
            };
            let (part, rest) = (&bytes[..end], &bytes[end + 1..]);
            let ended_by_return = bytes[end] == b'\r';
            bytes = rest;
            // `\r\n` is one end when both are here; else the `\n` is awaited.
            if ended_by_return {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            let flow = if self.line.is_empty() {
                self.line(part, &mut bytes, &mut take)
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(part);
                let flow = self.line(&whole, &mut bytes, &mut take);
                whole.clear();
                self.line = whole;
                flow
            };
            self.check_size()?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn check_size(&self) -> Result<(), TooLarge> {
        if self.line.len() + self.data.len() > Self::LIMIT { Err(TooLarge) } else { Ok(()) }
    }

    /// One line without its end; `rest` is what follows it.
    fn line<B>(
        &mut self,
        mut line: &[u8],
        rest: &mut &[u8],
        take: &mut impl FnMut(Event<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix(MARK).unwrap_or(line);
        }
        if line.is_empty() {
            let event = Event { data: &self.data, named_error: self.named_error };
            let flow = if self.has_data { take(event) } else { ControlFlow::Continue(()) };
            self.end_event();
            return flow;
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(0) => {
                self.comments += 1;
                return ControlFlow::Continue(());
            }
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &line[line.len()..]),
        };
        match name {
            b"data" if self.has_data => {
                self.data.push(b'\n');
                self.data.extend_from_slice(value);
            }
            b"data" => {
                let end = match **rest {
                    [b'\n', ..] => 1,
                    [b'\r', b'\n', ..] => 2,
                    _ => 0,
                };
                if end > 0 {
                    *rest = &rest[end..];
                    let flow = take(Event { data: value, named_error: self.named_error });
                    self.end_event();
                    return flow;
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.named_error = value == b"error",
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn end_event(&mut self) {
        self.data.clear();
        self.has_data = false;
        self.named_error = false;
    }
}
