//! The beginning of a file on the hub, by range requests (RFC 9110): a header is read without its weights.
//!
//! Nothing is kept. A server that does not understand ranges sends the whole file; then the one answer is read as far
//! as it is needed and the connection is closed. A failure is kept in [`Beginning::failure`], since a reader can only
//! say so in an `io::Error`.

use std::io::{self, Read};
use std::sync::mpsc::Receiver;

use super::client::{Answer, Client, Failure, Method, Part, receive};
use crate::base::sys::Interrupt;

/// Bytes that are asked for at first, and at most: each request asks for twice as many as the one before.
const PIECE: (u64, u64) = (64 << 10, 4 << 20);
/// Bytes that are read ahead of an answer that may be a whole file.
const AHEAD: usize = 16 << 10;

/// Answers that may break off before the file is given up.
const BROKEN: u32 = 3;

/// The bytes of an answer as they come.
type Pieces = Receiver<io::Result<Vec<u8>>>;

/// A reader over a file's first bytes.
pub(super) struct Beginning<'a> {
    client: &'a Client,
    url: &'a str,
    interrupt: &'a Interrupt,
    /// Bytes of the whole file.
    size: u64,
    /// Bytes that came, and how many the next request asks for.
    came: u64,
    ask: u64,
    /// What came and was not read.
    piece: Vec<u8>,
    read: usize,
    /// The answer that is being read, and the byte at which it ends.
    answer: Option<(Pieces, u64)>,
    /// Answers that broke off.
    broken: u32,
    pub(super) failure: Option<Failure>,
}

impl<'a> Beginning<'a> {
    pub(super) fn new(client: &'a Client, url: &'a str, size: u64, interrupt: &'a Interrupt) -> Self {
        Self {
            client,
            url,
            interrupt,
            size,
            came: 0,
            ask: PIECE.0,
            piece: Vec::new(),
            read: 0,
            answer: None,
            broken: 0,
            failure: None,
        }
    }

    /// The next bytes, none at the end of the file.
    fn next(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if self.came >= self.size {
                return Ok(Vec::new());
            }
            let (pieces, end) = match self.answer.take() {
                Some(answer) => answer,
                None => self.request()?,
            };
            let error = match receive(&pieces, self.interrupt)? {
                Some(Ok(piece)) if !piece.is_empty() => {
                    self.came += piece.len() as u64;
                    if self.came > self.size {
                        return Err(Failure::Nonsense(
                            "the server sends more bytes than it announced".into(),
                        ));
                    }
                    if self.came < end {
                        self.answer = Some((pieces, end));
                    }
                    return Ok(piece);
                }
                Some(Err(error)) => error,
                Some(Ok(_)) | None => {
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed early")
                }
            };
            // What follows is asked for anew.
            self.broken += 1;
            if self.broken >= BROKEN {
                return Err(Failure::Transport(ureq::Error::Io(error)));
            }
        }
    }

    /// Asks for the next range; says at which byte the answer ends.
    fn request(&mut self) -> Result<(Pieces, u64), Failure> {
        let until = (self.came + self.ask).min(self.size);
        self.ask = (self.ask * 2).min(PIECE.1);
        let part = Part { from: self.came, until: Some(until) };
        let answer = self.client.ask(Method::Get, self.url, part, self.interrupt)?;
        let end = self.end(&answer, until)?;
        Ok((answer.pieces(AHEAD, 1), end))
    }

    fn end(&self, answer: &Answer, until: u64) -> Result<u64, Failure> {
        if answer.0.status().as_u16() != 206 {
            return if self.came == 0 {
                Ok(self.size)
            } else {
                Err(Failure::Nonsense(
                    "the server answered one range request and sent the whole file on the next".into(),
                ))
            };
        }
        let range = answer.header("content-range").unwrap_or_default();
        let expected = format!("bytes {}-{}/{}", self.came, until - 1, self.size);
        if range == expected {
            return Ok(until);
        }
        let range = range.escape_debug();
        Err(Failure::Nonsense(format!(
            "the server sends the range `{range}` where `{expected}` was requested"
        )))
    }
}

impl Read for Beginning<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() {
            self.piece = match self.next() {
                Ok(piece) => piece,
                Err(failure) => {
                    self.failure = Some(failure);
                    return Err(io::Error::other("the hub did not send it"));
                }
            };
            self.read = 0;
        }
        let count = to.len().min(self.piece.len() - self.read);
        to[..count].copy_from_slice(&self.piece[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}
