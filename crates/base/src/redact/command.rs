//! Secrets in command lines: the word after `--api-key`, `curl -u user:password`, `mysql -ppassword`, `setenv HF_TOKEN …`.
//!
//! A command line is given as words or within a text; both are processed word by word by [`Line`].

use std::ops::Range;

use super::names::{is_flag, number_is_secret, says_nothing, secret_flag, secret_name};
use super::{MARK, SCHEMES};

/// A program whose short flags take a secret.
#[derive(Debug)]
struct Program {
    names: &'static [&'static str],
    /// Flags before a secret: `-u S`, `-uS`, `--user=S`.
    before: &'static [&'static str],
    /// Flags with the secret in the same word: `-pS`.
    within: &'static [&'static str],
    /// The value is a secret only if it contains a colon: a user name alone is not.
    colon: bool,
    /// A subcommand that must precede: `docker login -p S`, and not `docker run -p 80:80`.
    command: Option<&'static str>,
}

const PLAIN: Program = Program { names: &[], before: &[], within: &[], colon: false, command: None };

const PROGRAMS: [Program; 14] = [
    Program {
        names: &["curl", "curl.exe", "http", "https", "xh", "xhs", "aria2c"],
        before: &["-u", "--user", "-U", "--proxy-user", "-a", "-E", "--cert"],
        colon: true,
        ..PLAIN
    },
    Program {
        names: &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlsh",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
            "7z",
            "7za",
        ],
        within: &["-p"],
        ..PLAIN
    },
    Program {
        names: &["sshpass", "mongo", "mongosh", "mongodump", "mongorestore"],
        before: &["-p"],
        ..PLAIN
    },
    Program { names: &["redis-cli", "redis-benchmark", "valkey-cli"], before: &["-a", "--pass"], ..PLAIN },
    Program { names: &["ldapsearch", "ldapadd", "ldapmodify", "ldapwhoami"], before: &["-w"], ..PLAIN },
    Program { names: &["sqlcmd", "bcp", "ipmitool", "zip", "unzip"], before: &["-P"], ..PLAIN },
    Program { names: &["openssl"], before: &["-passin", "-passout", "-pass", "-k", "-K"], ..PLAIN },
    Program { names: &["ssh-keygen"], before: &["-N", "-P"], ..PLAIN },
    Program { names: &["snmpwalk", "snmpget"], before: &["-A", "-X", "-c"], ..PLAIN },
    Program {
        names: &["docker", "podman", "nerdctl", "helm", "oras", "crane", "az", "oc"],
        before: &["-p"],
        command: Some("login"),
        ..PLAIN
    },
    Program { names: &["vault", "wandb", "ngc"], before: &["login"], ..PLAIN },
    Program { names: &["smbclient", "rpcclient"], before: &["-U"], ..PLAIN },
    Program { names: &["xfreerdp"], within: &["/p:"], ..PLAIN },
    Program { names: &["htpasswd"], before: &["-b", "-nb"], ..PLAIN },
];

/// Words before a name and a value separated by a blank: `setenv HF_TOKEN …`.
const SETTERS: [&str; 6] = ["set", "setx", "setenv", "export", "config", "putenv"];

/// Common words of prose, which are never secrets.
const SENTENCE: [&str; 34] = [
    "a", "an", "and", "as", "at", "be", "before", "by", "first", "for", "from", "has", "if", "in", "is",
    "it", "may", "must", "not", "of", "on", "or", "so", "than", "that", "the", "then", "to", "was", "when",
    "where", "which", "with", "without",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Nothing,
    /// The next word is a secret, possibly only if it contains a colon; several may follow; it may or may not be a number.
    One {
        colon: bool,
        several: bool,
        number: bool,
    },
    /// In `--api-key A B`, the words after the first, up to the next flag.
    More,
}

/// The state after the words so far.
#[derive(Debug)]
pub(super) struct Line {
    program: Option<&'static Program>,
    /// Whether the program's subcommand, such as `login`, has been seen.
    command: bool,
    /// Whether it is a `.netrc` entry.
    netrc: bool,
    /// How many words may still come between a setter and the name.
    setter: u8,
    expected: Expected,
}

impl Line {
    pub(super) fn new() -> Self {
        Self { program: None, command: false, netrc: false, setter: 0, expected: Expected::Nothing }
    }

    /// Whether the next word is a secret whatever it is.
    pub(super) fn expects(&self) -> bool {
        matches!(self.expected, Expected::One { .. })
    }

    /// The secret part of the next word.
    pub(super) fn next(&mut self, word: &str) -> Option<Range<usize>> {
        let lower = if word.len() <= 20 { word.to_ascii_lowercase() } else { String::new() };
        let flag = is_flag(word);
        match self.expected {
            Expected::Nothing => {}
            _ if SCHEMES.contains(&lower.as_str()) => return None,
            _ if flag
                || word.is_empty()
                || word.ends_with(':')
                || says_nothing(word)
                || SENTENCE.contains(&lower.as_str()) =>
            {
                self.expected = Expected::Nothing;
            }
            Expected::One { colon, several, number } => {
                let secret = (!colon || word.contains(':')) && (number || word.parse::<f64>().is_err());
                self.expected = if several { Expected::More } else { Expected::Nothing };
                if secret {
                    return Some(0..word.len());
                }
            }
            Expected::More
                if word == MARK
                    || (!word.contains(['/', ':', '=', '<', '>', ',', '|', '&', ';'])
                        && !word.ends_with('.')) =>
            {
                return Some(0..word.len());
            }
            Expected::More => self.expected = Expected::Nothing,
        }
        if word.len() > 4096 {
            return None;
        }
        let file = word.rsplit(['/', '\\']).next().unwrap_or(word);
        if let Some(program) = PROGRAMS.iter().find(|program| program.names.contains(&file)) {
            *self = Self { program: Some(program), ..Self::new() };
            return None;
        }
        if let Some(program) = self.program {
            self.command |= program.command.is_none_or(|command| command == word);
            if self.command {
                match self.of_program(program, word) {
                    Flag::Other => {}
                    Flag::Before => return None,
                    Flag::With(part) => return Some(part),
                }
            }
        }
        let setter = self.setter > 0;
        self.setter = self.setter.saturating_sub(1);
        if SETTERS.contains(&lower.as_str()) || matches!(word, "ENV" | "ARG") {
            self.setter = 4;
        } else if secret_flag(word) {
            // Several keys may follow one flag, but not several passwords.
            let several = ["key", "keys", "tokens", "secrets"].iter().any(|end| lower.ends_with(end));
            let number = number_is_secret(word.trim_start_matches('-'));
            self.expected = Expected::One { colon: false, several, number };
        } else if (setter && named(word)) || (self.netrc && word == "password") {
            self.expected = Expected::One { colon: false, several: false, number: true };
        }
        self.netrc |= word == "machine";
        None
    }

    fn of_program(&mut self, program: &Program, word: &str) -> Flag {
        let with = |from: usize| {
            if program.colon && !word[from..].contains(':') {
                Flag::Other
            } else {
                Flag::With(from..word.len())
            }
        };
        for flag in program.within {
            if word.starts_with(flag) && word.len() > flag.len() {
                return with(flag.len());
            }
        }
        for flag in program.before {
            let short = flag.len() == 2 && flag.starts_with('-');
            // `-sSu` is `-s -S -u`.
            let together = short
                && program.colon
                && (3..=8).contains(&word.len())
                && word.starts_with('-')
                && word[1..].bytes().all(|byte| byte.is_ascii_alphabetic())
                && word.ends_with(&flag[1..]);
            if word == *flag || together {
                self.expected = Expected::One { colon: program.colon, several: false, number: true };
                return Flag::Before;
            }
            if let Some(rest) = word.strip_prefix(flag)
                && (rest.starts_with('=') || short)
            {
                let from = flag.len() + usize::from(rest.starts_with('='));
                return if from < word.len() { with(from) } else { Flag::Other };
            }
        }
        Flag::Other
    }
}

/// The meaning of a word for a program that takes secrets.
#[derive(Debug)]
enum Flag {
    Other,
    /// The secret is the next word.
    Before,
    /// This part of the word is the secret.
    With(Range<usize>),
}

/// Whether a word after a setter is the name of a secret, spelled as it would not be in prose.
fn named(word: &str) -> bool {
    let name = word.trim_start_matches('$');
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    name.bytes().all(part) && name.contains(['_', '-', '.', ':']) && secret_name(name)
}

/// The secret words in the command lines of a text.
pub(super) fn parts(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut line = Line::new();
    let mut words = Words { text, at: 0, closes: [true; 3] };
    while let Some((word, broken)) = words.next(line.expects()) {
        if broken {
            line = Line::new();
        }
        if let Some(part) = line.next(&text[word.clone()]) {
            found.push(word.start + part.start..word.start + part.end);
        }
    }
    found
}

struct Words<'a> {
    text: &'a str,
    at: usize,
    /// Whether a closing quote of each kind may still follow.
    closes: [bool; 3],
}

impl Words<'_> {
    /// The next word, and whether a command ended before it. A quoted word is kept whole only where a secret is expected.
    fn next(&mut self, whole: bool) -> Option<(Range<usize>, bool)> {
        const QUOTES: [u8; 3] = *b"\"'`";
        let bytes = self.text.as_bytes();
        let mut broken = false;
        // A quote directly after a word closes it.
        let escapes = bytes[self.at..].iter().take_while(|byte| **byte == b'\\').count();
        if bytes.get(self.at + escapes).is_some_and(|byte| self.at > 0 && QUOTES.contains(byte)) {
            self.at += escapes + 1;
        }
        loop {
            let byte = *bytes.get(self.at)?;
            match byte {
                b'\n' => {
                    // After a backslash the command continues.
                    let goes_on = self.text[..self.at].trim_end_matches('\r').ends_with('\\');
                    broken |= !goes_on;
                }
                b'|' | b';' | b'&' => broken = true,
                b'"' | b'\'' | b'`' if whole => {
                    let kind = QUOTES.iter().position(|quote| *quote == byte).unwrap_or(0);
                    let start = self.at + 1;
                    let rest = &self.text[start..];
                    if self.closes[kind] {
                        match rest.find(char::from(byte)) {
                            Some(0) => {}
                            Some(length) => {
                                self.at = start + length;
                                let said = rest[..length].trim_end_matches('\\');
                                return Some((start..start + said.len(), broken));
                            }
                            None => self.closes[kind] = false,
                        }
                    }
                }
                byte if byte.is_ascii_whitespace() || b"\"'`,()[]{}\\:=".contains(&byte) => {}
                _ => break,
            }
            // A redaction mark counts as a word.
            if self.text[self.at..].starts_with(MARK) {
                break;
            }
            self.at += 1;
        }
        let start = self.at;
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`".contains(byte);
        let length = bytes[start..].iter().position(ends).unwrap_or(bytes.len() - start);
        self.at += length;
        let word = &self.text[start..self.at];
        // Trailing punctuation is not part of a word, nor is a mark's bracket; `;` is handled with the next word.
        let cut = word.trim_end_matches([',', ']', ')', '}', '\\', ';']);
        let marked = format!("{cut}]").ends_with(MARK) && word.len() > cut.len();
        self.at = start + (cut.len() + usize::from(marked)).max(1);
        Some((start..self.at, broken))
    }
}
