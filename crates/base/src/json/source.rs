//! Streams the bytes of a file through a sliding window, counting lines and converting UTF-16 to UTF-8.
//!
//! Only the window is kept, and it grows only as far as a reader asks to look ahead.

use std::io::{self, ErrorKind, Read};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// The text encoding of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16Little,
    Utf16Big,
}

/// A file that is read sequentially.
#[derive(Debug)]
pub struct Source<R> {
    reader: R,
    window: Vec<u8>,
    /// Start of the unconsumed bytes in `window`.
    at: usize,
    line: usize,
    encoding: Option<Encoding>,
    /// Bytes of an incomplete UTF-16 character.
    raw: Vec<u8>,
    ended: bool,
}

impl<R: Read> Source<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader, window: Vec::new(), at: 0, line: 1, encoding: None, raw: Vec::new(), ended: false }
    }

    /// The line of the next byte, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The reader, positioned at the end of the window.
    pub fn reader(&self) -> &R {
        &self.reader
    }

    /// The bytes already read, at least one unless the file has ended.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn window(&mut self) -> io::Result<&[u8]> {
        self.ahead(1)
    }

    /// The next byte.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.at == self.window.len() {
            self.ahead(1)?;
        }
        Ok(self.window.get(self.at).copied())
    }

    /// At least the next `bytes` bytes, or all that remain if there are fewer.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn ahead(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.window.len() - self.at < bytes && !self.ended {
            self.fill()?;
        }
        Ok(&self.window[self.at..])
    }

    /// The bytes up to the end of the line, excluding it, and whether that end was found within `most` bytes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn line_ahead(&mut self, most: usize) -> io::Result<(&[u8], bool)> {
        let mut looked = 0;
        loop {
            let (length, ended) = (self.window.len() - self.at, self.ended);
            let fresh = &self.window[self.at + looked..];
            if let Some(end) = fresh.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                return Ok((&self.window[self.at..self.at + looked + end], true));
            }
            if ended || length >= most {
                return Ok((&self.window[self.at..], ended));
            }
            looked = length;
            self.ahead(length + 1)?;
        }
    }

    /// Consumes `bytes` bytes, which must not contain the end of a line.
    pub fn advance(&mut self, bytes: usize) {
        self.at = self.window.len().min(self.at + bytes);
    }

    /// Consumes white space.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn blank(&mut self) -> io::Result<()> {
        self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
    }

    /// Consumes what may surround a document without belonging to it: white space, byte order marks, NUL and DOS's end-of-file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn blank_around(&mut self) -> io::Result<()> {
        loop {
            self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0 | 0x1a))?;
            if self.peek()? != Some(BYTE_ORDER_MARK[0]) || !self.ahead(3)?.starts_with(BYTE_ORDER_MARK) {
                return Ok(());
            }
            self.advance(BYTE_ORDER_MARK.len());
        }
    }

    /// Consumes the rest of the line, including its end. A lone carriage return ends a line too, as in progress bars.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let window = self.window()?;
            if window.is_empty() {
                return Ok(());
            }
            let (length, end) = (window.len(), window.iter().position(|byte| matches!(byte, b'\n' | b'\r')));
            let Some(end) = end else {
                self.advance(length);
                continue;
            };
            self.advance(end);
            if self.ahead(2)?.starts_with(b"\r\n") {
                self.advance(1);
            }
            self.line += usize::from(self.peek()? == Some(b'\n'));
            self.advance(1);
            return Ok(());
        }
    }

    /// Consumes a line and returns it without its end, with invalid UTF-8 replaced; `None` at the end of the file.
    ///
    /// # Errors
    /// If the file cannot be read, or a line is longer than `most` bytes.
    pub fn take_line(&mut self, most: usize) -> io::Result<Option<String>> {
        if self.peek()?.is_none() {
            return Ok(None);
        }
        let line = self.line;
        let (bytes, whole) = self.line_ahead(most)?;
        if !whole {
            let reason = format!("line {line} is longer than {most} bytes");
            return Err(io::Error::new(ErrorKind::InvalidData, reason));
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.skip_line()?;
        Ok(Some(text))
    }

    fn take_while(&mut self, blank: impl Fn(u8) -> bool) -> io::Result<()> {
        loop {
            if self.at == self.window.len() && self.window()?.is_empty() {
                return Ok(());
            }
            while let Some(byte) = self.window.get(self.at).filter(|byte| blank(**byte)) {
                self.line += usize::from(*byte == b'\n');
                self.at += 1;
            }
            if self.at < self.window.len() {
                return Ok(());
            }
        }
    }

    /// Appends another chunk to what is left of the window.
    fn fill(&mut self) -> io::Result<()> {
        self.window.drain(..self.at);
        self.at = 0;
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            None => self.detect()?,
        };
        if encoding == Encoding::Utf8 {
            return match read(&mut self.reader, &mut self.window)? {
                0 => {
                    self.ended = true;
                    Ok(())
                }
                _ => Ok(()),
            };
        }
        self.ended = read(&mut self.reader, &mut self.raw)? == 0;
        let unit = |pair: &[u8]| match encoding {
            Encoding::Utf16Big => u16::from_be_bytes([pair[0], pair[1]]),
            _ => u16::from_le_bytes([pair[0], pair[1]]),
        };
        let mut units: Vec<u16> = self.raw.chunks_exact(2).map(unit).collect();
        // The second half of a surrogate pair may be in the next chunk.
        if !self.ended && units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
            units.pop();
        }
        self.raw.drain(..units.len() * 2);
        let chars = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
        let text: String = chars.collect();
        self.window.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Detects the encoding from the first bytes without consuming them: a byte order mark, else a NUL next to an ASCII character.
    fn detect(&mut self) -> io::Result<Encoding> {
        let mut first = Vec::new();
        while first.len() < 2 && read(&mut self.reader, &mut first)? > 0 {}
        let encoding = match first.as_slice() {
            [0xff, 0xfe, ..] | [1..=0x7f, 0, ..] => Encoding::Utf16Little,
            [0xfe, 0xff, ..] | [0, 1..=0x7f, ..] => Encoding::Utf16Big,
            _ => Encoding::Utf8,
        };
        self.encoding = Some(encoding);
        if encoding == Encoding::Utf8 {
            self.window = first;
        } else {
            self.raw = first;
        }
        Ok(encoding)
    }
}

/// Decodes UTF-16, as Windows programs write it; `None` if the bytes are in another encoding.
pub fn text_of_utf16(bytes: &[u8]) -> Option<String> {
    let mut source = Source::new(bytes);
    // Reading from memory does not fail.
    source.ahead(usize::MAX).ok()?;
    (source.encoding != Some(Encoding::Utf8)).then(|| String::from_utf8_lossy(&source.window).into_owned())
}

/// Reads once, appending to `buffer`.
fn read(reader: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let length = buffer.len();
    buffer.resize(length + CHUNK, 0);
    let found = loop {
        match reader.read(&mut buffer[length..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    buffer.truncate(length + found.as_ref().copied().unwrap_or(0));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow pipe does.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(into.len()).min(1);
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut source = Source::new(Drops(bytes));
        let mut found = Vec::new();
        loop {
            source.blank_around().expect("bytes");
            match source.take_line(1000).expect("bytes") {
                Some(line) => found.push(format!("{} {line}", source.line())),
                None => return found,
            }
        }
    }

    #[test]
    fn every_encoding_that_a_shell_writes_is_text() {
        let text = "a \u{1f600}\r\nb é\rc";
        let expected = ["2 a \u{1f600}", "2 b é", "2 c"];
        assert_eq!(lines(text.as_bytes()), expected);
        assert_eq!(lines(format!("\u{feff}{text}\u{1a}").as_bytes()).len(), 3);
        for mark in ["", "\u{feff}"] {
            let units: Vec<u16> = format!("{mark}{text}").encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            assert_eq!(lines(&little), expected);
            assert_eq!(lines(&big), expected);
            // An extra byte at the end is not a character.
            assert_eq!(lines(&[little, vec![b'x']].concat()), expected);
        }
        assert_eq!(lines(b""), Vec::<String>::new());
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(text_of_utf16(&little).as_deref(), Some(text));
        assert_eq!((text_of_utf16(text.as_bytes()), text_of_utf16(b"")), (None, None));
    }

    #[test]
    fn a_line_longer_than_asked_is_an_error() {
        let mut source = Source::new(&b"aaaaaaaaaa\nb"[..]);
        assert!(source.take_line(5).is_ok(), "the window was there already");
        let text = "a".repeat(CHUNK * 3);
        let mut source = Source::new(text.as_bytes());
        let error = source.take_line(CHUNK).expect_err("too long").to_string();
        assert!(error.contains("line 1 is longer"), "{error}");
    }
}
