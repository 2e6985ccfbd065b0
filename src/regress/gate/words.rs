//! Splits a command line into words as a shell does: quotes and backslashes, but no other shell features.
//!
//! No shell is involved, so other special characters would reach the program as text. They are rejected explicitly instead.

/// The words of `text`.
///
/// # Errors
/// The part that would need a shell, or an unterminated quote.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(inner) => word.push(inner),
                        None => return Err("unterminated single quote".to_owned()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                            Some('\n') => {}
                            Some(other) => word.extend(['\\', other]),
                            None => return Err("unterminated double quote".to_owned()),
                        },
                        Some(inner @ ('$' | '`')) => return Err(shell(inner)),
                        Some(inner) => word.push(inner),
                        None => return Err("unterminated double quote".to_owned()),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("it ends with a backslash".to_owned()),
            },
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' => return Err(shell(c)),
            '~' if word.is_none() && chars.peek().is_none_or(|next| matches!(next, '/' | ' ')) => {
                return Err(shell(c));
            }
            '#' if word.is_none() => return Err(shell(c)),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match words.first() {
        None => Err("it is empty".to_owned()),
        Some(first) if is_assignment(first) => {
            Err(format!("`{first}` is a shell assignment; start with `env {first}`"))
        }
        Some(_) => Ok(words),
    }
}

fn shell(character: char) -> String {
    format!(
        "`{character}` needs a shell, and none is used here; quote it, write out the value, or pass the whole command as sh -c '…'"
    )
}

/// `NAME=value`, which is not a program's name.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected words are those that `sh -c 'printf "[%s]" WORDS'` printed.
    #[test]
    fn words_are_those_of_a_shell() {
        for (text, expected) in [
            ("llama-bench -m a.gguf  -p 512", &["llama-bench", "-m", "a.gguf", "-p", "512"][..]),
            ("  a\tb\nc ", &["a", "b", "c"]),
            ("a 'b c' \"d e\"f g\\ h", &["a", "b c", "d ef", "g h"]),
            ("a '' \"\"", &["a", "", ""]),
            ("a 'it'\\''s' \"\\$x \\n \\\"q\\\"\"", &["a", "it's", "$x \\n \"q\""]),
            ("a b\\\nc -o x=~/y *.gguf 'x | y > $z'", &["a", "bc", "-o", "x=~/y", "*.gguf", "x | y > $z"]),
            ("./a#b --x={1,2} é", &["./a#b", "--x={1,2}", "é"]),
        ] {
            assert_eq!(
                words(text).as_deref(),
                Ok(&expected.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused_by_name() {
        for (text, reason) in [
            ("a | b", "`|` needs a shell"),
            ("a > out.json", "`>` needs a shell"),
            ("a && b", "`&`"),
            ("a -m $HOME/x", "`$`"),
            ("a \"$HOME\"", "`$`"),
            ("~/bin/a", "`~`"),
            ("a # b", "`#`"),
            ("a 'b", "single quote"),
            ("a \"b", "double quote"),
            ("a \\", "backslash"),
            ("  ", "empty"),
            ("OMP_NUM_THREADS=1 a", "env OMP_NUM_THREADS=1"),
        ] {
            let said = words(text).expect_err(text);
            assert!(said.contains(reason), "{text}: {said}");
        }
    }
}
