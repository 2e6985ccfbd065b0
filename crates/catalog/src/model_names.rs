//! Which row a model is that others name: by an id, a hub repository, or a file of one.

use super::{Catalog, ModelRow};

impl Catalog {
    /// The row with this name, if there is one.
    pub fn model_named(&self, name: &str) -> Option<&ModelRow> {
        let last = name.rsplit(['/', '\\']).find(|part| !part.is_empty())?;
        let stem = last.strip_suffix(".gguf").map_or(last, whole);
        let bare = split_format(stem).map(|(bare, _)| bare);
        let same = |known: Option<&str>| known.is_some_and(|known| known.eq_ignore_ascii_case(name));
        let of_repository = self.models.iter().find(|row| {
            same(row.original.as_deref())
                || row.hub.as_ref().is_some_and(|hub| {
                    same(Some(&hub.repo)) || hub.files.values().any(|file| file.eq_ignore_ascii_case(last))
                })
        });
        let tail = |row: &&ModelRow| {
            let original = row.original.as_deref().and_then(|name| name.rsplit('/').next());
            original.is_some_and(|original| {
                [Some(stem), bare].into_iter().flatten().any(|s| s.eq_ignore_ascii_case(original))
            })
        };
        of_repository
            .or_else(|| {
                [Some(name), Some(stem), bare].into_iter().flatten().find_map(|name| self.model(name).ok())
            })
            .or_else(|| self.models.iter().find(tail))
    }
}

/// The format of its weights that a GGUF file's name ends with.
pub fn format_in_name(path: &str) -> Option<&str> {
    let last = path.rsplit(['/', '\\']).find(|part| !part.is_empty())?;
    split_format(whole(last.strip_suffix(".gguf")?)).map(|(_, format)| format)
}

/// The name of a file in parts, without which part it is: `-00001-of-00002`.
fn whole(stem: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match stem.rsplit_once("-of-").map(|(head, all)| (head.rsplit_once('-'), all)) {
        Some((Some((name, part)), all)) if digits(part) && digits(all) => name,
        _ => stem,
    }
}

/// `SmolLM2-135M-Instruct.Q4_1` and `Llama-3.2-1B-Q4_K_M` end with the format of their weights.
fn split_format(stem: &str) -> Option<(&str, &str)> {
    let (bare, format) = stem.rsplit_once(['.', '-'])?;
    let digits = |text: &str| text.chars().next().is_some_and(|sign| sign.is_ascii_digit());
    let upper = format.to_ascii_uppercase();
    let is_format = matches!(upper.as_str(), "F16" | "BF16" | "F32" | "MXFP4" | "NVFP4")
        || ["Q", "IQ", "TQ"].iter().any(|start| upper.strip_prefix(start).is_some_and(digits));
    is_format.then_some((bare, format))
}
