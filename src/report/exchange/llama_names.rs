//! Parses llama.cpp's model strings: `llama 8B Q4_K - Medium`, as llama-bench prints them.
//!
//! They consist of architecture, size class and file type, of which the last two may contain blanks. The file type is
//! recognized by the names used in llama.cpp's `llama_ftype_name` since 2023; other strings are not parsed. A file type is
//! named as in `llama-quantize` and file names: `Q4_K_M`.

/// A parsed model string.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelString<'a> {
    pub(super) architecture: &'a str,
    /// `8B`, `30B.A3B`, `17Bx16E (Scout)`.
    pub(super) size: &'a str,
    /// The file type, if llama.cpp knew it.
    pub(super) format: Option<&'static str>,
    /// Whether llama.cpp guessed the file type because the file does not state it.
    pub(super) guessed: bool,
}

/// llama.cpp's name of a file type without the word "mostly", and the label; longer names come before their suffixes.
const FILE_TYPES: [(&str, Option<&str>); 60] = [
    ("unknown, may not work", None),
    ("all F32", Some("F32")),
    ("F32", Some("F32")),
    ("BF16", Some("BF16")),
    ("Q4_1, some F16", Some("Q4_1")),
    ("F16", Some("F16")),
    ("TQ1_0 - 1.69 bpw ternary", Some("TQ1_0")),
    ("TQ2_0 - 2.06 bpw ternary", Some("TQ2_0")),
    ("TQ1_0", Some("TQ1_0")),
    ("TQ2_0", Some("TQ2_0")),
    ("Q1_0", Some("Q1_0")),
    ("Q2_0", Some("Q2_0")),
    ("Q4_0", Some("Q4_0")),
    ("Q4_1", Some("Q4_1")),
    ("Q4_2", Some("Q4_2")),
    ("Q4_3", Some("Q4_3")),
    ("Q5_0", Some("Q5_0")),
    ("Q5_1", Some("Q5_1")),
    ("Q8_0", Some("Q8_0")),
    ("Q4_0_4_4", Some("Q4_0_4_4")),
    ("Q4_0_4_8", Some("Q4_0_4_8")),
    ("Q4_0_8_8", Some("Q4_0_8_8")),
    ("MXFP4 MoE", Some("MXFP4_MOE")),
    ("MXFP4", Some("MXFP4")),
    ("NVFP4", Some("NVFP4")),
    ("Q2_K - Medium", Some("Q2_K")),
    ("Q2_K - Small", Some("Q2_K_S")),
    ("Q3_K - Small", Some("Q3_K_S")),
    ("Q3_K - Medium", Some("Q3_K_M")),
    ("Q3_K - Large", Some("Q3_K_L")),
    ("Q4_K - Small", Some("Q4_K_S")),
    ("Q4_K - Medium", Some("Q4_K_M")),
    ("Q5_K - Small", Some("Q5_K_S")),
    ("Q5_K - Medium", Some("Q5_K_M")),
    ("Q2_K", Some("Q2_K")),
    ("Q2_K_S", Some("Q2_K_S")),
    ("Q3_K", Some("Q3_K")),
    ("Q3_K_S", Some("Q3_K_S")),
    ("Q3_K_M", Some("Q3_K_M")),
    ("Q3_K_L", Some("Q3_K_L")),
    ("Q4_K", Some("Q4_K")),
    ("Q4_K_S", Some("Q4_K_S")),
    ("Q4_K_M", Some("Q4_K_M")),
    ("Q5_K", Some("Q5_K")),
    ("Q5_K_S", Some("Q5_K_S")),
    ("Q5_K_M", Some("Q5_K_M")),
    ("Q6_K", Some("Q6_K")),
    ("IQ1_S", Some("IQ1_S")),
    ("IQ1_M", Some("IQ1_M")),
    ("IQ2_XXS", Some("IQ2_XXS")),
    ("IQ2_XS", Some("IQ2_XS")),
    ("IQ2_S", Some("IQ2_S")),
    ("IQ2_M", Some("IQ2_M")),
    ("IQ3_XXS", Some("IQ3_XXS")),
    ("IQ3_XS", Some("IQ3_XS")),
    ("IQ3_S mix", Some("IQ3_M")),
    ("IQ3_S", Some("IQ3_S")),
    ("IQ3_M", Some("IQ3_M")),
    ("IQ4_NL", Some("IQ4_NL")),
    ("IQ4_XS", Some("IQ4_XS")),
];

/// Parses a model string; `None` if it is not in llama.cpp's format.
pub(super) fn model_string(text: &str) -> Option<ModelString<'_>> {
    let mut rest = text.trim();
    let mut guessed = false;
    // In 2023 the word came after the file type, since then before it.
    if let Some(before) = before_end(rest, "(guessed)") {
        (rest, guessed) = (before, true);
    }
    let (mut rest, format) = file_type(rest)?;
    for word in ["mostly", "(guessed)"] {
        if let Some(before) = before_end(rest, word) {
            rest = before;
            guessed |= word == "(guessed)";
        }
    }
    let (architecture, size) = rest.split_once(' ')?;
    let size = size.trim();
    (!size.is_empty()).then_some(ModelString { architecture, size, format, guessed })
}

/// The file type at the end, and the text before it.
fn file_type(text: &str) -> Option<(&str, Option<&'static str>)> {
    // `IQ4_XS - 4.25 bpw`: the bits per weight are a comment of llama.cpp's, and have changed over time.
    let bare = before_end(text, "bpw").and_then(|text| {
        let (head, bits) = text.rsplit_once(" - ")?;
        bits.trim().parse::<f64>().ok().map(|_| head.trim_end())
    });
    [Some(text), bare]
        .into_iter()
        .flatten()
        .find_map(|text| FILE_TYPES.iter().find_map(|(name, label)| Some((before_end(text, name)?, *label))))
}

/// The text before `word` if `text` ends with it, ignoring case.
fn before_end<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(word.len())?;
    let (head, tail) = (text.get(..at)?, text.get(at..)?);
    (tail.eq_ignore_ascii_case(word) && head.ends_with(' ')).then(|| head.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_since_2023_is_taken_apart() {
        for (text, architecture, size, format) in [
            ("llama 7B mostly Q4_0", "llama", "7B", "Q4_0"),
            ("llama 7B MOSTLY Q4_0", "llama", "7B", "Q4_0"),
            ("LLaMA 7B mostly Q4_1, some F16", "LLaMA", "7B", "Q4_1"),
            ("llama 13B mostly Q3_K - Large", "llama", "13B", "Q3_K_L"),
            ("llama 7B mostly Q2_K", "llama", "7B", "Q2_K"),
            ("llama 8B Q4_K - Medium", "llama", "8B", "Q4_K_M"),
            ("llama4 17Bx16E (Scout) Q4_K - Medium", "llama4", "17Bx16E (Scout)", "Q4_K_M"),
            ("llama4 17Bx128E (Maverick) IQ2_XXS - 2.0625 bpw", "llama4", "17Bx128E (Maverick)", "IQ2_XXS"),
            ("qwen3moe 30B.A3B Q4_K - Small", "qwen3moe", "30B.A3B", "Q4_K_S"),
            ("gpt-oss 20B MXFP4 MoE", "gpt-oss", "20B", "MXFP4_MOE"),
            ("qwen2 0.5B Q8_0", "qwen2", "0.5B", "Q8_0"),
            ("llama 1B all F32", "llama", "1B", "F32"),
            ("gemma3 1B BF16", "gemma3", "1B", "BF16"),
            ("gemma3 270M F16", "gemma3", "270M", "F16"),
            ("llama 8B IQ4_XS - 4.25 bpw", "llama", "8B", "IQ4_XS"),
            ("llama 8B IQ3_S mix - 3.66 bpw", "llama", "8B", "IQ3_M"),
            ("llama 8B IQ3_S - 3.4375 bpw", "llama", "8B", "IQ3_S"),
            ("llama 3B TQ1_0 - 1.69 bpw ternary", "llama", "3B", "TQ1_0"),
            ("llama 8B Q4_K_S", "llama", "8B", "Q4_K_S"),
            ("arctic 10B+128x3.66B Q4_0_4_8", "arctic", "10B+128x3.66B", "Q4_0_4_8"),
            ("deepseek2 ?B Q2_K - Medium", "deepseek2", "?B", "Q2_K"),
        ] {
            let expected = ModelString { architecture, size, format: Some(format), guessed: false };
            assert_eq!(model_string(text), Some(expected), "{text}");
        }
        for text in ["llama 7B mostly F16 (guessed)", "llama 7B (guessed) F16"] {
            let expected =
                ModelString { architecture: "llama", size: "7B", format: Some("F16"), guessed: true };
            assert_eq!(model_string(text), Some(expected), "{text}");
        }
        let unknown = model_string("llama 7B mostly unknown, may not work").expect("a form of llama.cpp");
        assert_eq!((unknown.size, unknown.format), ("7B", None));
    }

    #[test]
    fn another_text_is_not_taken_apart() {
        for text in
            ["", "llama", "llama 8B", "my model", "Q4_0", "llama Q4_0", "llama 8B Q9_K", "llama 8B xQ4_0"]
        {
            assert_eq!(model_string(text), None, "{text}");
        }
    }
}
