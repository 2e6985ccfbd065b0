//! Which file of a repository is meant when none is named.
//!
//! A guess here would measure another model than the user thinks, so only a unique match is taken:
//! anything else lists the choices.

/// The one GGUF file meant: the only one there is, or the only one whose name carries the quantization.
///
/// `Ok(None)` says that the repository holds no GGUF file at all. Projectors of vision models (`…mmproj…`), importance
/// matrices and vocabularies are not models and don't count.
///
/// # Errors
/// What the choices are, when there is not exactly one.
pub fn gguf<'a>(files: &'a [String], quant: Option<&str>) -> Result<Option<&'a str>, String> {
    let models: Vec<&str> = files.iter().map(String::as_str).filter(|file| is_gguf_model(file)).collect();
    if models.is_empty() {
        return Ok(None);
    }
    let wanted: Vec<&str> = match quant {
        Some(quant) => models.iter().copied().filter(|file| carries(base(file), quant)).collect(),
        None => models.clone(),
    };
    match (wanted.as_slice(), quant) {
        ([file], _) => match whole(file) {
            Ok(()) => Ok(Some(file)),
            Err(reason) => Err(reason),
        },
        ([], quant) => {
            let quant = quant.unwrap_or_default();
            Err(format!("no GGUF file matches `{quant}`; it has {}", list(&models)))
        }
        ([first, ..], _) if wanted.iter().all(|file| shards(file).is_some()) => match whole(first) {
            Ok(()) => Ok(Some(first)),
            Err(reason) => Err(reason),
        },
        (several, None) => Err(format!("it has {} GGUF files; name one of {}", several.len(), list(several))),
        (several, Some(quant)) => {
            Err(format!("{} GGUF files match `{quant}`; name one of {}", several.len(), list(several)))
        }
    }
}

/// Refuses one piece of a model that was split into several files.
///
/// # Errors
/// What to do about it.
pub fn whole(file: &str) -> Result<(), String> {
    match shards(file) {
        None => Ok(()),
        Some(count) => Err(format!(
            "{} is one of {count} pieces of a split model, which cannot be loaded separately; join them with \
             llama.cpp's `llama-gguf-split --merge FIRST OUT` and give the path of the result, or name a file that is whole",
            base(file)
        )),
    }
}

fn is_gguf_model(file: &str) -> bool {
    let name = base(file).to_ascii_lowercase();
    // A model quantized with an importance matrix may carry the word, but not at either end.
    name.strip_suffix(".gguf").is_some_and(|stem| {
        !stem.contains("mmproj")
            && !stem.starts_with("imatrix")
            && !stem.ends_with("imatrix")
            && !stem.starts_with("ggml-vocab")
    })
}

fn base(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// Whether `name` carries `label` as a whole word: `Q4_K` is not in `x-Q4_K_M.gguf`, nor `F16` in `BF16`.
fn carries(name: &str, label: &str) -> bool {
    let (name, label) = (name.to_ascii_lowercase(), label.to_ascii_lowercase());
    let word = |c: char| c.is_ascii_alphanumeric();
    name.match_indices(&label).any(|(at, _)| {
        let before = name[..at].chars().next_back();
        let after = name[at + label.len()..].chars().next();
        !before.is_some_and(word) && !after.is_some_and(|c| word(c) || c == '_')
    })
}

/// The number of pieces, when the name ends in llama.cpp's `-00001-of-00003.gguf`.
fn shards(file: &str) -> Option<u32> {
    let stem = file.get(..file.len().checked_sub(5)?)?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (_, index) = rest.rsplit_once('-')?;
    let five = |digits: &str| digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
    (five(index) && five(count)).then(|| count.parse().ok())?
}

/// Names, the first dozen of them.
fn list(files: &[&str]) -> String {
    const SHOWN: usize = 12;
    let shown = files.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match files.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[&str], quant: Option<&str>, expected: Result<Option<&str>, &str>) {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        match (gguf(&files, quant), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{files:?} {quant:?}"),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{files:?} {quant:?}: {reason}"),
            (found, expected) => panic!("{files:?} {quant:?}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn only_one_answer_is_an_answer() {
        let many =
            ["README.md", "m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m.Q8_0.gguf", "m-F16.gguf", "m-BF16.gguf"];
        check(&many, Some("q4_k_m"), Ok(Some("m-Q4_K_M.gguf")));
        check(&many, Some("q8_0"), Ok(Some("m.Q8_0.gguf")));
        check(&many, Some("f16"), Ok(Some("m-F16.gguf")));
        check(&many, Some("q4_k"), Err("no GGUF file matches `q4_k`"));
        check(&many, None, Err("5 GGUF files; name one of m-Q4_K_M.gguf"));
        check(&["only.gguf", "mmproj-f16.gguf", "config.json"], None, Ok(Some("only.gguf")));
        let beside = ["m-imatrix-Q8_0.gguf", "m.imatrix.gguf", "m-mmproj-f16.gguf", "ggml-vocab-m.gguf"];
        check(&beside, None, Ok(Some("m-imatrix-Q8_0.gguf")));
        check(&["config.json", "model.safetensors"], None, Ok(None));
        check(&["a/x-q4_0.gguf", "b/x-Q4_0.gguf"], Some("q4_0"), Err("2 GGUF files match `q4_0`"));
    }

    #[test]
    fn a_split_model_is_refused_by_name() {
        let split = ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "m-Q4_0.gguf"];
        check(&split, Some("q8_0"), Err("one of 2 pieces"));
        check(&split[..2], None, Err("--merge"));
        check(&split, Some("q4_0"), Ok(Some("m-Q4_0.gguf")));
        assert!(whole("m-1-of-2.gguf").is_ok());
    }
}
