//! A command line as words, the way a shell splits it: quotes and backslashes, and nothing else that a shell does.
//!
//! No shell runs, so its other signs would reach the program as text. They are refused by name instead.

/// The words of `text`.
///
/// # Errors
/// What in it only a shell could do, or a quote that does not end.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match signs.next() {
                        Some('\'') => break,
                        Some(inner) => word.push(inner),
                        None => return Err("a single quote does not end".to_owned()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match signs.next() {
                        Some('"') => break,
                        Some('\\') => match signs.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                            Some('\n') => {}
                            Some(other) => word.extend(['\\', other]),
                            None => return Err("a double quote does not end".to_owned()),
                        },
                        Some(inner @ ('$' | '`')) => return Err(shell(inner)),
                        Some(inner) => word.push(inner),
                        None => return Err("a double quote does not end".to_owned()),
                    }
                }
            }
            '\\' => match signs.next() {
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("it ends with a backslash".to_owned()),
            },
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' => return Err(shell(sign)),
            '~' if word.is_none() && signs.peek().is_none_or(|next| matches!(next, '/' | ' ')) => {
                return Err(shell(sign));
            }
            '#' if word.is_none() => return Err(shell(sign)),
            _ => word.get_or_insert_default().push(sign),
        }
    }
    words.extend(word);
    match words.first() {
        None => Err("it is empty".to_owned()),
        Some(first) if is_assignment(first) => {
            Err(format!("`{first}` is a setting for a shell; begin with `env {first}`"))
        }
        Some(_) => Ok(words),
    }
}

fn shell(sign: char) -> String {
    format!(
        "`{sign}` is for a shell, and none runs here; quote it, write the value itself, or give the whole as sh -c '…'"
    )
}

/// `NAME=value`, which no program is called.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.chars().all(|sign| sign.is_ascii_alphanumeric() || sign == '_')
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
            ("a | b", "`|` is for a shell"),
            ("a > out.json", "`>` is for a shell"),
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
