//! What the stand-in pretends, from a file next to it with the library's name and `.script`.
//!
//! One line a fact, `#` begins a comment. Without a file there is one H100.
//!
//! ```text
//! version 12040                        the newest CUDA that the driver runs
//! card h100-sxm5-80gb uuid=00112233445566778899aabbccddeeff pci=0000:3b:00 memory=1073741824 multiprocessors=1
//! fail cuMemAlloc_v2 2 after=3         from the fourth call on; without `after` from the first
//! registers gemv 128                   what `ptxas` said a kernel takes
//! seed 7                               orders warps, and lanes that went apart
//! races off                            races in shared memory are not looked for
//! log /some/file                       a line for each launch that is done, each graph made or launched, each fault
//! ```

use std::path::{Path, PathBuf};

use super::card::{Card, Kind};

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    pub version: i32,
    pub cards: Vec<Card>,
    pub failures: Vec<Failure>,
    pub registers: Vec<(String, u32)>,
    pub seed: u64,
    pub races: bool,
    pub log: Option<PathBuf>,
}

/// A function that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub function: String,
    pub code: i32,
    /// Calls that still work.
    pub after: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            version: 13_000,
            cards: Vec::new(),
            failures: Vec::new(),
            registers: Vec::new(),
            seed: 1,
            races: true,
            log: None,
        }
    }
}

impl Script {
    /// The script at a path, or one H100 where there is none.
    ///
    /// # Errors
    /// The line that cannot be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|error| format!("{}: {error}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::parse("card h100-sxm5-80gb"),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Reads a script.
    ///
    /// # Errors
    /// The line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for (at, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            if !words.is_empty() {
                script.line(&words).map_err(|error| format!("line {}: {error}", at + 1))?;
            }
        }
        Ok(script)
    }

    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("'{text}' is no number"))
        }
        match words {
            ["version", version] => self.version = number(version)?,
            ["card", id, rest @ ..] => {
                let Some(kind) = Kind::named(id) else { return Err(format!("unknown card '{id}'")) };
                let n = self.cards.len() as u32;
                let mut uuid = *b"stand-in card 00";
                uuid[15] += n as u8;
                let (pci, memory, multiprocessors) = ((0, 0x3b + n, 0), kind.memory, kind.multiprocessors);
                let mut card = Card { kind, uuid, pci, memory, multiprocessors };
                for word in rest {
                    match word.split_once('=') {
                        Some(("uuid", text)) => card.uuid = uuid_of(text)?,
                        Some(("pci", text)) => card.pci = pci_of(text)?,
                        Some(("memory", text)) => card.memory = number(text)?,
                        Some(("multiprocessors", text)) => card.multiprocessors = number(text)?,
                        _ => return Err(format!("unknown word '{word}'")),
                    }
                }
                self.cards.push(card);
            }
            ["fail", function, code] => {
                let (function, code) = ((*function).to_owned(), number(code)?);
                self.failures.push(Failure { function, code, after: 0 });
            }
            ["fail", function, code, after] => {
                let Some(after) = after.strip_prefix("after=") else {
                    return Err(format!("unknown word '{after}'"));
                };
                let (function, code) = ((*function).to_owned(), number(code)?);
                self.failures.push(Failure { function, code, after: number(after)? });
            }
            ["registers", kernel, count] => self.registers.push(((*kernel).to_owned(), number(count)?)),
            ["seed", seed] => self.seed = number(seed)?,
            ["races", "off"] => self.races = false,
            ["log", path] => self.log = Some(PathBuf::from(path)),
            _ => return Err(format!("unknown line '{}'", words.join(" "))),
        }
        Ok(())
    }
}

fn uuid_of(text: &str) -> Result<[u8; 16], String> {
    let digits = text.replace('-', "");
    let wrong = || format!("'{text}' is no UUID of 32 hexadecimal digits");
    if digits.len() != 32 || !digits.is_ascii() {
        return Err(wrong());
    }
    let mut bytes = [0; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

fn pci_of(text: &str) -> Result<(u32, u32, u32), String> {
    let parts: Result<Vec<u32>, _> = text.split(':').map(|part| u32::from_str_radix(part, 16)).collect();
    match parts.as_deref() {
        Ok([domain, bus, device]) => Ok((*domain, *bus, *device)),
        _ => Err(format!("'{text}' is no PCI address such as 0000:3b:00")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_what_is_pretended_and_a_wrong_line_is_named() {
        let text = "version 12040 # old\n\ncard l4 uuid=00112233-4455-6677-8899-aabbccddeeff pci=0001:05:00\n\
                    card rtx-5090 memory=4096\nfail cuMemAlloc_v2 2 after=3\nseed 9\nraces off\nregisters gemv 96\n";
        let script = Script::parse(text).expect("a script");
        assert_eq!((script.version, script.seed, script.races), (12_040, 9, false));
        assert_eq!(script.cards[0].uuid[..3], [0, 0x11, 0x22]);
        assert_eq!((script.cards[0].pci, script.cards[1].memory), ((1, 5, 0), 4096));
        assert_ne!(script.cards[0].uuid, script.cards[1].uuid);
        let failure = Failure { function: "cuMemAlloc_v2".to_owned(), code: 2, after: 3 };
        assert_eq!(script.failures, [failure]);
        for (text, word) in [("\ncard h900", "h900"), ("\nfail cuInit x", "'x'"), ("\nnothing", "nothing")] {
            let error = Script::parse(text).expect_err(text);
            assert!(error.contains(word) && error.contains("line 2"), "{error}");
        }
    }
}
