//! What the weights of a file are, whatever its `general.file_type` and its name say.
//!
//! A label is kept if it is the type of most weights in the blocks. As llama-quantize does, a `Q4_K_M` is `Q4_K`
//! with some tensors of more bits, and where a row is no multiple of 256 weights a type with blocks of 32 takes the
//! place of a K-quant. Embedding and head are left out: in a small model they outweigh the rest and often have a type
//! of their own. A label that is wrong is replaced, with a note that keeps it.

use std::path::Path;

use super::file_type::{FILE_TYPES, file_type_label};
use super::value::{Metadata, Value};
use crate::{TensorInfo, TensorType};

/// Weights in a super-block of a K-quant.
const SUPER_BLOCK: u64 = 256;

/// The field's label for the weights, and what is to be said when the file says otherwise.
pub(super) fn quantization(
    metadata: &Metadata,
    tensors: &[TensorInfo],
    path: &Path,
) -> (String, Option<String>) {
    let weights = Weights::of(tensors);
    let Some(most) = weights.most() else { return (String::new(), None) };
    let number = metadata.get("general.file_type").and_then(Value::as_u64);
    let labelled = number.and_then(file_type_label);
    let standing = labelled.filter(|label| weights.bear(label));
    let found = standing.map_or_else(|| weights.name(most), str::to_owned);
    let mut says = Vec::new();
    if standing.is_none()
        && let Some(number) = number
    {
        let label = labelled.map_or_else(|| format!("{number}, which has no name"), str::to_owned);
        says.push(format!("general.file_type says {label}"));
    }
    let named = labels_in(path);
    if !named.is_empty() && !named.iter().any(|label| weights.bear(label)) {
        says.push(format!("the file's name says {}", named.join(" and ")));
    }
    let share = 100.0 * weights.share(most);
    let note = (!says.is_empty())
        .then(|| format!("{}; {share:.0}% of the weights in its blocks are {most}", says.join(", and ")));
    (found, note)
}

/// How many weights of the blocks have which type.
struct Weights<'a>(Vec<(TensorType, u64)>, Vec<&'a TensorInfo>);

impl<'a> Weights<'a> {
    fn of(tensors: &'a [TensorInfo]) -> Self {
        let matrices = |in_blocks: bool| -> Vec<&TensorInfo> {
            let counts = |tensor: &&TensorInfo| {
                tensor.shape.len() > 1 && (!in_blocks || tensor.name.starts_with("blk."))
            };
            tensors.iter().filter(counts).collect()
        };
        let mut counted = matrices(true);
        if counted.is_empty() {
            counted = matrices(false);
        }
        let of_type = |dtype: &TensorType| {
            let these = counted.iter().filter(|tensor| tensor.dtype == *dtype);
            (*dtype, these.map(|tensor| tensor.elements()).fold(0, u64::saturating_add))
        };
        Self(TensorType::ALL.iter().map(of_type).filter(|(_, count)| *count > 0).collect(), counted)
    }

    /// The type of most weights.
    fn most(&self) -> Option<TensorType> {
        self.0.iter().max_by_key(|(_, count)| *count).map(|(dtype, _)| *dtype)
    }

    fn count(&self, dtype: TensorType) -> u64 {
        self.0.iter().find(|(found, _)| *found == dtype).map_or(0, |(_, count)| *count)
    }

    fn share(&self, dtype: TensorType) -> f64 {
        let all = self.0.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
        self.count(dtype) as f64 / all.max(1) as f64
    }

    /// Whether a file with these weights may be called `label`.
    fn bear(&self, label: &str) -> bool {
        let Some(most) = self.most() else { return false };
        let base = base(label);
        if most.label().eq_ignore_ascii_case(base) {
            return true;
        }
        let odd_rows = self.1.iter().any(|tensor| {
            tensor.dtype == most && tensor.shape.last().is_some_and(|row| !row.is_multiple_of(SUPER_BLOCK))
        });
        odd_rows && stand_ins(base).contains(&most)
    }

    /// What llama-quantize calls weights that are mostly `most`.
    fn name(&self, most: TensorType) -> String {
        let size = match most {
            TensorType::Q4_K | TensorType::Q5_K if self.count(TensorType::Q6_K) > 0 => "_M",
            TensorType::Q4_K | TensorType::Q5_K => "_S",
            TensorType::Q3_K => match (self.count(TensorType::Q4_K), self.count(TensorType::Q5_K)) {
                (0, 0) => "_S",
                (four, five) if five > four => "_L",
                _ => "_M",
            },
            _ => "",
        };
        format!("{}{size}", most.label())
    }
}

/// The type that a label stands for: `Q4_K` for `Q4_K_M`.
fn base(label: &str) -> &str {
    match label.rsplit_once('_') {
        Some((base, size)) if base.contains("_K") || base.contains("_k") => {
            if size.chars().all(|letter| letter.is_ascii_alphabetic()) { base } else { label }
        }
        _ => label,
    }
}

/// What takes a K-quant's place in a tensor whose rows are no whole super-blocks.
fn stand_ins(base: &str) -> &'static [TensorType] {
    match base.to_ascii_uppercase().as_str() {
        "Q2_K" | "Q3_K" => &[TensorType::Q4_0],
        "Q4_K" => &[TensorType::Q5_0],
        "Q5_K" => &[TensorType::Q5_1],
        "Q6_K" => &[TensorType::Q8_0],
        "IQ4_XS" => &[TensorType::IQ4_NL],
        _ => &[],
    }
}

/// The labels that a file's name carries as whole words, as it spells them.
fn labels_in(path: &Path) -> Vec<String> {
    let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { return Vec::new() };
    let words = stem.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'));
    let known = |word: &str| {
        // Sizes that have no number of their own: `Q4_K_XL`, `Q4_K_L`.
        let base = base(word);
        FILE_TYPES.iter().any(|(_, label)| {
            label.eq_ignore_ascii_case(word) || (base != word && self::base(label).eq_ignore_ascii_case(base))
        })
    };
    words.filter(|word| known(word)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::parse;
    use crate::testing::Draft;

    /// A model of width 256 (or another) whose tensors have these types, with this label.
    fn draft(label: Option<u32>, width: u64, types: [TensorType; 3]) -> Draft {
        let [embedding, attention, down] = types;
        let mut draft = Draft::new()
            .with("general.file_type", label.map(Value::U32))
            .with("llama.embedding_length", Value::U32(u32::try_from(width).unwrap()));
        draft.tensors.clear();
        draft
            .tensor("token_embd.weight", embedding, &[4000, width])
            .tensor("blk.0.attn_q.weight", attention, &[2 * width, width])
            .tensor("blk.0.ffn_down.weight", down, &[width, width])
            .tensor("output_norm.weight", TensorType::F32, &[width])
    }

    fn read(draft: &Draft, file: &str) -> (String, Option<String>) {
        let bytes = draft.file();
        let header = parse(bytes.as_slice(), bytes.len() as u64, Path::new(file)).unwrap().header;
        (header.quantization, header.quantization_note)
    }

    use TensorType::{F16, Q3_K, Q4_0, Q4_K, Q5_0, Q5_K, Q6_K, Q8_0};

    #[test]
    fn a_true_label_stands_without_a_note() {
        let cases = [
            (15, 256, [Q6_K, Q4_K, Q6_K], "Q4_K_M"),
            (14, 256, [Q6_K, Q4_K, Q5_K], "Q4_K_S"),
            (12, 256, [Q6_K, Q3_K, Q5_K], "Q3_K_M"),
            (7, 64, [Q8_0, Q8_0, Q8_0], "Q8_0"),
            (2, 64, [F16, Q4_0, Q4_0], "Q4_0"),
            // Rows of 64 weights hold no K-quant: llama-quantize takes the next type that fits.
            (15, 64, [Q8_0, Q5_0, Q8_0], "Q4_K_M"),
            (18, 64, [Q8_0, Q8_0, Q8_0], "Q6_K"),
        ];
        for (label, width, types, expected) in cases {
            let found = read(&draft(Some(label), width, types), "model.gguf");
            assert_eq!(found, (expected.to_owned(), None), "{types:?}");
        }
    }

    #[test]
    fn the_weights_name_the_quantization_where_the_label_is_wrong() {
        let check = |label, file: &str, types, expected: &str, parts: &[&str]| {
            let (found, note) = read(&draft(label, 256, types), file);
            let note = note.unwrap_or_default();
            assert_eq!(found, expected, "{note}");
            assert!(parts.iter().all(|part| note.contains(part)), "{note}");
            assert_eq!(parts.is_empty(), note.is_empty(), "{note}");
        };
        let says = "general.file_type says Q4_K_M; 100% of the weights in its blocks are Q8_0";
        check(Some(15), "m.gguf", [Q8_0; 3], "Q8_0", &[says]);
        // The embedding has its own type and decides nothing.
        check(Some(15), "m.gguf", [Q4_K, Q8_0, Q8_0], "Q8_0", &["says Q4_K_M"]);
        check(Some(7), "m.gguf", [Q8_0, Q4_K, Q6_K], "Q4_K_M", &["says Q8_0; 67%", "are Q4_K"]);
        check(Some(7), "m.gguf", [Q8_0, Q3_K, Q5_K], "Q3_K_L", &["says Q8_0"]);
        check(Some(20), "m.gguf", [Q8_0, Q4_K, Q5_K], "Q4_K_S", &["says IQ2_XS"]);
        check(Some(999), "m.gguf", [Q8_0; 3], "Q8_0", &["says 999, which has no name"]);
        // Where rows are whole super-blocks, nothing replaces a K-quant.
        check(Some(15), "m.gguf", [Q5_0; 3], "Q5_0", &["says Q4_K_M"]);
        check(None, "m.gguf", [Q8_0, Q4_K, Q6_K], "Q4_K_M", &[]);
    }

    #[test]
    fn a_name_that_says_otherwise_is_noted() {
        let note = |file: &str| read(&draft(Some(7), 256, [Q8_0; 3]), file).1.unwrap_or_default();
        assert_eq!(
            note("Model-7B.Q4_K_M.gguf"),
            "the file's name says Q4_K_M; 100% of the weights in its blocks are Q8_0"
        );
        assert_eq!(
            note("model-UD-q4_k_xl.gguf"),
            "the file's name says q4_k_xl; 100% of the weights in its blocks are Q8_0"
        );
        for file in
            ["Model-7B.Q8_0.gguf", "model-f16-merged-q8_0.gguf", "model.gguf", "q4-km.gguf", "Q8_0/m.gguf"]
        {
            assert_eq!(note(file), "", "{file}");
        }
        let both = read(&draft(Some(15), 256, [Q8_0; 3]), "m-Q4_K_M.gguf").1.unwrap();
        assert!(
            both.starts_with("general.file_type says Q4_K_M, and the file's name says Q4_K_M; 100%"),
            "{both}"
        );
    }
}
