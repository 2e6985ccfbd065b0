//! HTTP/1.1 as far as an answer needs it: the head, and where its body ends.

use std::time::Duration;

/// Bytes that are no HTTP/1.1 answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHttp {
    /// The head is no HTTP.
    #[error("the response does not start with HTTP/1.1 headers ({0})")]
    Head(httparse::Error),
    /// The head never ends.
    #[error("the response's headers are longer than {} KiB", HEAD_LIMIT >> 10)]
    LongHead,
    /// `Content-Length` or `Transfer-Encoding` cannot be read.
    #[error("the response's headers do not say where its body ends")]
    Length,
    /// A chunk's size or end is not where it must be.
    #[error("the response's chunked body is malformed")]
    Chunk,
}

/// The most bytes that a head may have.
pub(crate) const HEAD_LIMIT: usize = 64 << 10;
const HEADERS: usize = 96;

/// What the head of an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Status code.
    pub(crate) status: u16,
    /// Where the body ends.
    pub(crate) body: Body,
    /// Whether the connection may carry another request.
    pub(crate) keep_alive: bool,
    /// Whether the body is `text/event-stream`.
    pub(crate) is_events: bool,
    /// `Retry-After` in seconds; a date is not read.
    pub(crate) retry_after: Option<Duration>,
}

/// Reads a head and its length in bytes; `None` while it is incomplete. Informational heads (1xx) are passed over.
///
/// # Errors
/// Bytes that are no HTTP, or a head without end.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, BadHttp> {
    let mut begin = 0;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        match answer.parse(&bytes[begin..]).map_err(BadHttp::Head)? {
            httparse::Status::Partial if bytes.len() > HEAD_LIMIT => return Err(BadHttp::LongHead),
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => {
                begin += length;
                let status = answer.code.unwrap_or(0);
                // 101 would change the protocol, which was not requested.
                if !(100..200).contains(&status) || status == 101 {
                    return Ok(Some((read(status, answer.version == Some(1), answer.headers)?, begin)));
                }
            }
        }
    }
}

fn read(status: u16, is_1_1: bool, headers: &[httparse::Header<'_>]) -> Result<Head, BadHttp> {
    let mut head =
        Head { status, body: Body::UntilClose, keep_alive: is_1_1, is_events: false, retry_after: None };
    let (mut length, mut is_chunked) = (None, false);
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let value = header.value.trim_ascii();
        if is("content-length") {
            let text = std::str::from_utf8(value).map_err(|_| BadHttp::Length)?;
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let told: u64 = text.parse().ok().filter(|_| digits).ok_or(BadHttp::Length)?;
            if length.is_some_and(|known| known != told) {
                return Err(BadHttp::Length);
            }
            length = Some(told);
        } else if is("transfer-encoding") {
            // Nothing but `chunked` was asked for.
            is_chunked = value.eq_ignore_ascii_case(b"chunked");
            if !is_chunked && !value.eq_ignore_ascii_case(b"identity") {
                return Err(BadHttp::Length);
            }
        } else if is("connection") {
            let has = |word: &[u8]| {
                value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
            };
            head.keep_alive = if is_1_1 { !has(b"close") } else { has(b"keep-alive") };
        } else if is("content-type") {
            let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
            head.is_events = kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream");
        } else if is("retry-after") {
            let text = std::str::from_utf8(value).unwrap_or_default();
            head.retry_after = text.parse().ok().map(Duration::from_secs);
        }
    }
    head.body = match (is_chunked, length) {
        _ if matches!(status, 204 | 304) => Body::Length(0),
        (true, _) => Body::Chunked(Chunked::Size { size: 0, digits: 0 }),
        (false, Some(length)) => Body::Length(length),
        (false, None) => Body::UntilClose,
    };
    head.keep_alive &= head.body != Body::UntilClose;
    Ok(head)
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, each with its size before it.
    Chunked(Chunked),
    /// All bytes until the server closes.
    UntilClose,
}

/// Where in a chunked body the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// In a chunk's size.
    Size {
        /// Size so far.
        size: u64,
        /// Digits so far.
        digits: u8,
    },
    /// After the size, in an extension or at the end of the line.
    SizeEnd {
        /// The chunk's size.
        size: u64,
        /// Whether `\r` was the last byte.
        after_return: bool,
    },
    /// In a chunk with so many bytes left.
    Data(u64),
    /// At the `\r` or `\n` after a chunk.
    DataEnd,
    /// In the lines after the last chunk; whether the present line is empty so far.
    Trailer(bool),
    /// At the end.
    Done,
}

/// A piece of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Bytes of the body.
    Data(&'a [u8]),
    /// All bytes given are used up and the body goes on.
    More,
    /// The body is over.
    Done,
}

impl Body {
    /// Takes the next piece from the front of `bytes`.
    ///
    /// # Errors
    /// A chunk whose size or end is broken.
    pub(crate) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Piece<'a>, BadHttp> {
        match self {
            Self::UntilClose if bytes.is_empty() => Ok(Piece::More),
            Self::UntilClose => Ok(Piece::Data(std::mem::take(bytes))),
            Self::Length(0) => Ok(Piece::Done),
            Self::Length(left) => Ok(part(left, bytes)),
            Self::Chunked(state) => state.next(bytes),
        }
    }

    /// Whether the body may end where the server closes.
    pub(crate) fn may_close(&self) -> bool {
        matches!(self, Self::UntilClose | Self::Length(0) | Self::Chunked(Chunked::Done))
    }
}

fn part<'a>(left: &mut u64, bytes: &mut &'a [u8]) -> Piece<'a> {
    if bytes.is_empty() {
        return Piece::More;
    }
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    let (data, rest) = bytes.split_at(length);
    *bytes = rest;
    *left -= length as u64;
    Piece::Data(data)
}

impl Chunked {
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Piece<'a>, BadHttp> {
        loop {
            if let Self::Data(left) = self {
                let piece = part(left, bytes);
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                return Ok(piece);
            }
            if *self == Self::Done {
                return Ok(Piece::Done);
            }
            if let Some((size, rest)) = self.whole_size(bytes) {
                (*self, *bytes) = (Self::Data(size), rest);
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(Piece::More) };
            *bytes = rest;
            *self = self.after(*byte)?;
        }
    }

    /// The usual case between two chunks, all of it here: the end of the one and the size of the other, which is not the last.
    fn whole_size(self, bytes: &[u8]) -> Option<(u64, &[u8])> {
        let line = match self {
            Self::DataEnd => bytes.strip_prefix(b"\r\n")?,
            Self::Size { digits: 0, .. } => bytes,
            _ => return None,
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(u64::from);
        let digits = line.iter().take(8).take_while(|byte| digit(byte).is_some()).count();
        let size = line[..digits].iter().filter_map(digit).fold(0, |size, digit| size << 4 | digit);
        let rest = line[digits..].strip_prefix(b"\r\n")?;
        (size > 0).then_some((size, rest))
    }

    /// The state after one byte that is no data.
    fn after(self, byte: u8) -> Result<Self, BadHttp> {
        Ok(match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                if digits == 15 {
                    return Err(BadHttp::Chunk);
                }
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(BadHttp::Chunk),
            (Self::Size { size, .. }, b'\r') => Self::SizeEnd { size, after_return: true },
            (Self::Size { size, .. }, b';' | b' ' | b'\t') => Self::SizeEnd { size, after_return: false },
            (Self::SizeEnd { size, after_return: false }, b'\r') => {
                Self::SizeEnd { size, after_return: true }
            }
            (Self::SizeEnd { size: 0, after_return: true }, b'\n') => Self::Trailer(true),
            (Self::SizeEnd { size, after_return: true }, b'\n') => Self::Data(size),
            (Self::SizeEnd { size, after_return: false }, byte) if byte != b'\n' => {
                Self::SizeEnd { size, after_return: false }
            }
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::Trailer(true), b'\n') => Self::Done,
            (Self::Trailer(is_empty), b'\r') => Self::Trailer(is_empty),
            (Self::Trailer(_), byte) => Self::Trailer(byte == b'\n'),
            _ => return Err(BadHttp::Chunk),
        })
    }
}
