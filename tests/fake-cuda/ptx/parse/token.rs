//! PTX text to words and marks, and the numbers among the words.

use super::{Operand, Parser, Refusal};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(String),
    Mark(char),
    Text,
}

pub(super) fn tokens(text: &str) -> Result<Vec<(Token, u32)>, Refusal> {
    let bytes = text.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut found = Vec::new();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'%' | b'.');
    while at < bytes.len() {
        let byte = bytes[at];
        let rest = &bytes[at..];
        if byte == b'\n' {
            line += 1;
            at += 1;
        } else if byte.is_ascii_whitespace() || byte == 0 {
            at += 1;
        } else if rest.starts_with(b"//") {
            at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            let end = rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |end| end + 2);
            line += u32::try_from(rest[..end].iter().filter(|b| **b == b'\n').count()).unwrap_or_default();
            at += end;
        } else if byte == b'"' {
            let end = rest[1..].iter().position(|b| *b == b'"').map_or(rest.len(), |end| end + 2);
            found.push((Token::Text, line));
            at += end;
        } else if [&b".loc"[..], b".file"]
            .iter()
            .any(|word| rest.starts_with(word) && rest.get(word.len()).is_some_and(u8::is_ascii_whitespace))
        {
            // Positions in the source end with the line and have no semicolon.
            at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        } else if is_word(byte) {
            let mut end = at;
            loop {
                while end < bytes.len() && is_word(bytes[end]) {
                    end += 1;
                }
                // `L1::no_allocate` is one word; a label's colon stands alone.
                if bytes[end..].starts_with(b"::") {
                    end += 2;
                } else {
                    break;
                }
            }
            found.push((Token::Word(text[at..end].to_owned()), line));
            at = end;
        } else if byte.is_ascii_punctuation() {
            found.push((Token::Mark(char::from(byte)), line));
            at += 1;
        } else {
            return Err(Refusal { line, what: format!("byte {byte:#04x} is not part of PTX") });
        }
    }
    Ok(found)
}

impl Parser {
    pub(super) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    pub(super) fn refuse<T>(&self, what: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal { line: self.line(), what: what.into() })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub(super) fn is(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    pub(super) fn take(&mut self, mark: char) -> bool {
        let there = self.is(mark);
        self.at += usize::from(there);
        there
    }

    pub(super) fn expect(&mut self, mark: char) -> Result<(), Refusal> {
        if self.take(mark) {
            Ok(())
        } else {
            self.refuse(format!("'{mark}' is missing before {:?}", self.peek()))
        }
    }

    pub(super) fn word(&mut self) -> Result<String, Refusal> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            other => self.refuse(format!("a name is missing before {other:?}")),
        }
    }

    pub(super) fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    pub(super) fn skip_to(&mut self, mark: char) {
        while self.at < self.tokens.len() && !self.take(mark) {
            self.at += 1;
        }
    }

    pub(super) fn number(&mut self) -> Result<i64, Refusal> {
        let negative = self.take('-');
        let word = self.word()?;
        match integer(&word) {
            Some(value) if negative => Ok(value.wrapping_neg().cast_signed()),
            Some(value) => Ok(value.cast_signed()),
            None => self.refuse(format!("'{word}' is no number")),
        }
    }

    pub(super) fn small(&mut self) -> Result<u32, Refusal> {
        let number = self.number()?;
        u32::try_from(number).or_else(|_| self.refuse(format!("{number} is out of range")))
    }
}

/// `12`, `0x0c`, `014`, `12U`.
pub(super) fn integer(word: &str) -> Option<u64> {
    let word = word.strip_suffix('U').unwrap_or(word);
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok();
    }
    if word.len() > 1 && word.starts_with('0') {
        return u64::from_str_radix(&word[1..], 8).ok();
    }
    word.parse().ok()
}

pub(super) fn literal(word: &str) -> Option<Operand> {
    let hexadecimal = |digits: &str| u64::from_str_radix(digits, 16).ok();
    match word.get(..2) {
        Some("0f" | "0F") => u32::try_from(hexadecimal(&word[2..])?).ok().map(Operand::Single),
        Some("0d" | "0D") => hexadecimal(&word[2..]).map(Operand::Double),
        _ => integer(word).map(Operand::Integer),
    }
}
